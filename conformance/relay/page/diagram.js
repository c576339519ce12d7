// The sequence diagram: a lane for each connection and one for the server, an arrow for each row.
//
// Only the rows in view are in the document, however many there are. The server's lane is in the
// middle; connections stand to its left and right in turn, so that a new one never moves the others
// past each other. The list can be walked by keyboard, and each row has its words for screen readers.

import { el } from "/webpage/webpage.js";
import { kindOf } from "/model.js";

const ROW_REM = 2.75;
const GUTTER_REM = 5.5;
const NARROW_REM = 5; // lanes narrower than this have their names upright
const SMALL_REM = 40; // in a narrower diagram labels begin at its left
const MIN_LANE_REM = 1.1;
const OVERSCAN = 6;
const LATER_S = 1; // a row that comes so long after the one before shows how long
const MAX_LANES = 220;
const AT_END_PX = 8;

const FAULT_WORDS = {
  drop: "dropped", delay: "delayed", duplicate: "sent twice", swap: "swapped with the next",
  split: "split", join: "joined with the next", cut: "cut, then closed", reset: "reset",
  letter: "a letter changed", anagram: "two letters swapped", count: "a count changed",
  id: "transaction changed", edit: "edited", again: "sent again by hand",
};
const NEVER_ARRIVE = ["drop", "cut", "reset"];

/** Return the words for a fault, as the relay marks it ("delay 300"). */
export function faultWords(fault) {
  const [kind, value] = fault.split(" ", 2);
  const words = Object.hasOwn(FAULT_WORDS, kind) ? FAULT_WORDS[kind] : fault;
  if (kind === "delay" && value) return `${words} ${value} ms`;
  return words;
}

export class Diagram {
  /** `open(row)` is called for a row that is chosen; `moved()` when somebody has scrolled. */
  constructor(model, box, open, moved) {
    this.model = model;
    this.box = box; // scrolls; holds the heads and the canvas
    this.open = open;
    this.moved = moved;
    this.heads = el("div", { className: "heads", "aria-hidden": "true" });
    this.lines = el("div", { className: "lines", "aria-hidden": "true" });
    this.canvas = el("div", { className: "canvas", role: "presentation" });
    this.canvas.append(this.lines);
    box.append(this.heads, this.canvas);
    this.drawn = new Map(); // row -> {element, look}
    this.lanes = new Map(); // connection -> x in px
    this.chosen = null;
    this.isFollowing = true;
    this.top = 0; // where the box was scrolled to last
    this.laneLook = "";
    box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => this.click(event));
  }

  /** Sizes have changed: of the window, or of the type. */
  measure() {
    if (!this.box.clientWidth) return;
    this.rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.rowHeight = Math.round(ROW_REM * this.rem);
    this.laneLook = "";
    for (const { element } of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.draw();
  }

  toEnd() {
    this.isFollowing = true;
  }

  focus() {
    this.box.focus();
  }

  // --- Drawing -----------------------------------------------------------------------------------

  draw() {
    if (!this.rem) return;
    const { shown } = this.model;
    this.drawLanes();
    this.canvas.style.height = `${shown.length * this.rowHeight}px`;
    if (this.isFollowing) this.scrollTo(this.box.scrollHeight);
    this.drawRows();
  }

  drawRows() {
    const { shown } = this.model;
    const top = this.box.scrollTop;
    const first = Math.max(0, Math.floor(top / this.rowHeight) - OVERSCAN);
    const count = Math.ceil(this.box.clientHeight / this.rowHeight) + 2 * OVERSCAN;
    const window = shown.slice(first, first + count);
    const wanted = new Set(window);
    for (const [row, { element, look }] of this.drawn) {
      if (wanted.has(row) && look === row.look) continue;
      element.remove();
      this.drawn.delete(row);
    }
    window.forEach((row, at) => {
      let found = this.drawn.get(row);
      if (!found) {
        found = { element: this.row(row), look: row.look };
        this.drawn.set(row, found);
        this.canvas.append(found.element);
      }
      const { element } = found;
      element.style.top = `${(first + at) * this.rowHeight}px`;
      element.setAttribute("aria-posinset", String(first + at + 1));
      element.setAttribute("aria-setsize", String(shown.length));
      element.setAttribute("aria-selected", String(row === this.chosen));
    });
    const isDrawn = this.chosen && this.drawn.has(this.chosen);
    if (isDrawn) this.box.setAttribute("aria-activedescendant", `row-${this.chosen.index}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  // --- Lanes -------------------------------------------------------------------------------------

  drawLanes() {
    const { model } = this;
    const look = `${model.version} ${this.box.clientWidth} ${model.isFiltered() && model.shown.length}`;
    if (look === this.laneLook) return;
    this.laneLook = look;
    const connections = this.laneConnections();
    const left = connections.filter((_, at) => at % 2 === 0).reverse();
    const right = connections.filter((_, at) => at % 2 === 1);
    const order = [...left, null, ...right]; // null: the server
    const gutter = GUTTER_REM * this.rem;
    const room = this.box.clientWidth - gutter;
    const lane = Math.max(MIN_LANE_REM * this.rem, room / order.length);
    this.width = gutter + lane * order.length;
    this.canvas.style.width = `${this.width}px`;
    this.heads.style.width = `${this.width}px`;
    this.heads.classList.toggle("upright", lane < NARROW_REM * this.rem);
    this.lanes.clear();
    this.heads.replaceChildren();
    const lines = [];
    order.forEach((connection, at) => {
      const x = Math.round(gutter + lane * (at + 0.5));
      if (connection) this.lanes.set(connection.number, x);
      else this.serverX = x;
      const name = connection ? laneName(connection) : "server";
      const kind = !connection ? "server" : connection.isOpen ? "" : "ended";
      const head = el("div", { className: `head ${kind}`, title: name }, el("span", {}, name));
      head.style.left = `${x}px`;
      head.style.maxWidth = `${Math.round(lane - 0.4 * this.rem)}px`;
      this.heads.append(head);
      const line = el("div", { className: `lane ${kind}` });
      line.style.left = `${x}px`;
      lines.push(line);
    });
    this.lines.replaceChildren(...lines);
    for (const { element } of this.drawn.values()) element.remove();
    this.drawn.clear();
  }

  /** The connections that get a lane: with a filter those that it shows; in order of coming. */
  laneConnections() {
    const { model } = this;
    let found = [...model.connections.values()];
    if (model.isFiltered()) {
      const used = new Set(model.shown.map((row) => row.connection));
      found = found.filter((each) => used.has(each.number));
    } else {
      const inView = new Set(model.shown.slice(-400).map((row) => row.connection));
      found = found.filter((each) => each.isOpen || inView.has(each.number));
    }
    return found.sort((one, other) => one.number - other.number).slice(-MAX_LANES);
  }

  // --- Rows --------------------------------------------------------------------------------------

  row(row) {
    const element = el("div", { className: "row", id: `row-${row.index}`, role: "option" });
    element.classList.add(row.kind);
    element.rowOf = row;
    element.setAttribute("aria-label", this.words(row));
    const time = row.time === undefined ? "" : `${row.time.toFixed(3)} s`;
    const number = row.row === undefined ? "" : `#${row.row}`;
    const later = row.after >= LATER_S ? el("em", {}, ` +${row.after.toFixed(1)} s`) : "";
    element.append(
      el("div", { className: "gutter" }, el("b", {}, time), el("span", {}, number, later)));
    if (row.kind === "gap") {
      element.append(el("div", { className: "note" }, row.text));
    } else if (row.kind === "open" || row.kind === "close") {
      this.addNote(element, row);
    } else {
      this.addArrow(element, row);
    }
    element.style.height = `${this.rowHeight}px`;
    return element;
  }

  addNote(element, row) {
    const x = this.lanes.get(row.connection) ?? this.serverX;
    const mark = el("i", { className: `dot ${row.kind}` });
    mark.style.left = `${x}px`;
    const label = el("div", { className: "label" });
    label.append(el("span", { className: "summary" }, row.text));
    this.place(label, x, x);
    element.append(mark, label);
  }

  addArrow(element, row) {
    const kind = kindOf(row);
    const mine = this.lanes.get(row.connection);
    const client = mine ?? (row.connection % 2 ? GUTTER_REM * this.rem : this.width); // no lane
    const [from, to] = row.to === "server" ? [client, this.serverX] : [this.serverX, client];
    const fault = row.fault ? row.fault.split(" ")[0] : "";
    const isLost = row.isHeld || NEVER_ARRIVE.includes(fault);
    const end = isLost ? (from + to) / 2 : to;
    element.dataset.kind = kind;
    if (fault) element.dataset.fault = fault;
    element.classList.toggle("held", row.isHeld);
    element.classList.toggle("lost", isLost && !row.isHeld);
    const line = el("div", { className: "line" });
    line.style.left = `${Math.min(from, end)}px`;
    line.style.width = `${Math.abs(end - from)}px`;
    const tip = el("i", { className: isLost ? "stop" : end > from ? "tip right" : "tip left" });
    tip.textContent = isLost ? (row.isHeld ? "‖" : "×") : "";
    tip.style.left = `${end}px`;
    const label = el("div", { className: "label" }, ...labelParts(row, kind));
    this.place(label, Math.min(from, to), Math.max(from, to), badgesOf(row).length > 1);
    element.append(line, tip, label);
  }

  /** Put a label above its arrow; one that is long goes on to where there is more room. */
  place(label, left, right, isLong = false) {
    const gap = 0.5 * this.rem;
    if (this.width < SMALL_REM * this.rem) {
      label.style.left = `${GUTTER_REM * this.rem}px`;
      label.style.maxWidth = `${this.width - GUTTER_REM * this.rem - gap}px`;
      return;
    }
    const most = isLong ? 0.45 : 0.56; // of the width, where an arrow may begin
    const isLeft = left - GUTTER_REM * this.rem <= most * (this.width - GUTTER_REM * this.rem);
    if (isLeft) {
      label.style.left = `${left + gap}px`;
      label.style.maxWidth = `${this.width - left - 2 * gap}px`;
    } else {
      label.style.right = `${this.width - right + gap}px`;
      label.style.maxWidth = `${right - GUTTER_REM * this.rem - gap}px`;
    }
  }

  /** A row in words, for screen readers. */
  words(row) {
    if (row.kind === "gap") return row.text;
    const connection = this.model.connections.get(row.connection);
    const name = connection ? laneName(connection) : `connection ${row.connection}`;
    const time = row.time === undefined ? "" : `${row.time.toFixed(1)} s. `;
    if (row.text) return `${time}${name}: ${row.text}`;
    const way = row.to === "server" ? `${name} to server` : `server to ${name}`;
    const parts = [`${way}: ${kindOf(row)}`, row.action, row.summary, ...badgesOf(row)];
    return `${time}Row ${row.row}. ${parts.filter(Boolean).join(", ")}`;
  }

  // --- Walking and choosing ----------------------------------------------------------------------

  /** The newest row is followed until somebody scrolls up, and again from the end on. */
  scrolled() {
    const { box } = this;
    if (box.scrollTop + box.clientHeight >= box.scrollHeight - AT_END_PX) this.isFollowing = true;
    else if (box.scrollTop < this.top) this.isFollowing = false;
    this.top = box.scrollTop;
    this.drawRows();
    this.moved();
  }

  scrollTo(top) {
    this.box.scrollTop = top;
    this.top = this.box.scrollTop; // as far as it goes
  }

  click(event) {
    const row = event.target.closest(".row")?.rowOf;
    if (!row) return;
    this.choose(row);
    if (row.row !== undefined) this.open(row);
  }

  key(event) {
    const { shown } = this.model;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.rowHeight) - 2);
    const at = this.chosen ? shown.indexOf(this.chosen) : -1;
    const from = at < 0 ? shown.length : at;
    const to = {
      ArrowUp: from - 1, ArrowDown: from + 1, PageUp: from - page, PageDown: from + page,
      Home: 0, End: shown.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.choose(shown[Math.min(shown.length - 1, Math.max(0, to))]);
    } else if (event.key === "Enter" && this.chosen?.row !== undefined) {
      event.preventDefault();
      this.open(this.chosen);
    }
  }

  choose(row) {
    if (!row) return;
    this.chosen = row;
    const at = this.model.shown.indexOf(row);
    const top = at * this.rowHeight;
    const room = this.box.clientHeight - this.heads.offsetHeight - this.rowHeight;
    this.isFollowing = at === this.model.shown.length - 1;
    this.moved();
    if (this.isFollowing) this.scrollTo(this.box.scrollHeight);
    else if (top < this.box.scrollTop) this.scrollTo(top);
    else if (top > this.box.scrollTop + room) this.scrollTo(top - room);
    this.drawRows();
  }
}

function laneName(connection) {
  return connection.user || `connection ${connection.number}`;
}

function badgesOf(row) {
  const found = [];
  if (row.isHeld) found.push("held");
  if (row.fault) found.push(faultWords(row.fault));
  if (row.counts === "agree") found.push("counts agree");
  if (row.counts === "differ") found.push("counts differ");
  return [...found, ...row.cameOf];
}

function labelParts(row, kind) {
  const parts = [el("span", { className: "kind" }, kind)];
  if (row.action) parts.push(el("b", {}, row.action));
  if (row.summary) parts.push(el("span", { className: "summary" }, row.summary));
  if (row.isHeld) parts.push(el("span", { className: "badge held" }, "held"));
  if (row.fault) parts.push(el("span", { className: "badge fault" }, faultWords(row.fault)));
  if (row.counts === "agree") parts.push(el("span", { className: "badge good" }, "counts agree"));
  if (row.counts === "differ") parts.push(el("span", { className: "badge bad" }, "counts differ"));
  for (const text of row.cameOf) parts.push(el("span", { className: "badge came" }, `→ ${text}`));
  return parts;
}
