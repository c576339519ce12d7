// The panel with everything about one packet: length bytes, JSON, counts, rules, what came of it.

import { byId, el, say } from "/webpage/webpage.js";
import { faultWords } from "/diagram.js";
import { kindOf } from "/model.js";

export class Details {
  /** `follow(fields)` sets the filter. */
  constructor(model, link, follow, steering) {
    this.model = model;
    this.link = link;
    this.followFields = follow;
    this.steering = steering;
    this.row = null;
    this.box = byId("details");
    this.body = byId("details-body");
    byId("details-close").addEventListener("click", () => this.close() && byId("diagram").focus());
  }

  /** Ask for a row in full and show it. */
  async open(row) {
    this.row = row;
    this.look = row.look;
    try {
      const detail = await this.link.act("row", { row: row.row });
      if (this.row === row) this.show(row, detail);
    } catch {
      // the refusal was said
    }
  }

  /** Ask again where something became of the row meanwhile. */
  refresh() {
    if (!this.row || this.box.hidden || this.row.look === this.look) return;
    if (!this.body.querySelector("textarea:focus")) this.open(this.row);
  }

  /** Returns whether it was open. */
  close() {
    const wasOpen = !this.box.hidden;
    this.box.hidden = true;
    this.row = null;
    return wasOpen;
  }

  /** Follow the message of a row through everybody. */
  follow(row) {
    if (row?.transaction) this.followFields({ transaction: row.transaction });
    else say("This packet belongs to no message: choose one that has a transaction.");
  }

  show(row, detail) {
    const who = detail.user || row.user || `connection ${detail.connection}`;
    const way = detail.to === "server" ? `${who} → server` : `server → ${who}`;
    byId("details-title").textContent = `#${detail.row} ${detail.action || "bytes"}`;
    byId("details-way").textContent = `${way}, at ${detail.time.toFixed(3)} s`;
    this.body.replaceChildren(
      this.buttons(row),
      ...this.marks(row, detail),
      ...lengthPart(detail),
      ...this.textPart(row, detail),
      ...countsPart(detail),
      ...rulesPart(detail),
    );
    const wasHidden = this.box.hidden;
    byId("faults").hidden = true;
    this.box.hidden = false;
    if (wasHidden) byId("details-title").focus();
  }

  buttons(row) {
    const box = el("div", { className: "buttons" });
    const add = (text, does) => {
      const button = el("button", { type: "button" }, text);
      button.addEventListener("click", does);
      box.append(button);
    };
    if (row.transaction) add("Follow this message", () => this.follow(row));
    if (row.user) add(`Only ${row.user}`, () => this.followFields({ user: row.user }));
    if (row.room) add(`Only room ${row.room}`, () => this.followFields({ room: row.room }));
    if (row.action) add(`Only ${row.action}`, () => this.followFields({ action: row.action }));
    if (this.steering.maySteer() && kindOf(row) !== "bytes" && !row.isHeld) {
      add("Send once more", () => this.again(row));
      add("Break such packets", () => this.steering.openFaults(row));
    }
    return box;
  }

  async again(row) {
    await this.link.act("again", { row: row.row }).catch(() => {});
  }

  marks(row, detail) {
    const found = [];
    if (row.isHeld) found.push(["held", "The relay holds it. Only this connection waits."]);
    if (detail.fault) found.push(["fault", `Fault: ${faultWords(detail.fault)}.`]);
    for (const text of detail.came_of ?? []) found.push(["came", `→ ${text}`]);
    return found.map(([kind, text]) => el("p", { className: `mark ${kind}` }, text));
  }

  textPart(row, detail) {
    const parts = [];
    if (row.isHeld && this.steering.maySteer()) {
      parts.push(...this.editor(row, detail));
    } else {
      parts.push(el("h3", {}, detail.hex ? "The bytes" : "The JSON"), json(detail.hex || detail.json));
    }
    for (const [at, sent] of (detail.sent ?? []).entries()) {
      const which = detail.sent.length > 1 ? `What the relay sent, ${at + 1}` : "What the relay sent";
      parts.push(el("h3", {}, which), json(sent));
    }
    if (detail.sent?.length === 0 && !row.isHeld) {
      parts.push(el("p", { className: "mark fault" }, "The relay sent nothing of it."));
    }
    return parts;
  }

  editor(row, detail) {
    const text = el("textarea", { id: "edit", rows: 12, value: detail.json, spellcheck: false });
    const send = el("button", { type: "button" }, "Send this instead");
    const release = el("button", { type: "button" }, "Let it go unchanged");
    send.addEventListener("click", () =>
      this.link.act("edit", { row: row.row, json: text.value }).catch(() => {}));
    release.addEventListener("click", () =>
      this.link.act("step", { do: "one", row: row.row }).catch(() => {}));
    const hides = detail.json.includes("********")
      ? [el("p", { className: "soft" }, "Stars that you leave stand for the hidden text.")] : [];
    return [
      el("h3", {}, el("label", { for: "edit" }, "The JSON, to be changed")), text, ...hides,
      el("div", { className: "buttons" }, release, send),
    ];
  }
}

function lengthPart(detail) {
  if (!detail.length_hex) return [];
  return [
    el("h3", {}, "The length"),
    el("p", {}, el("code", { className: "hex" }, detail.length_hex),
      ` = ${detail.length.toLocaleString("en")} bytes follow, ${detail.size.toLocaleString("en")} in all`),
  ];
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;

/** A text with its keys, texts and numbers in colours; anything that is no JSON stays as it is. */
function json(text) {
  const box = el("pre", { tabIndex: 0, "aria-label": "content of the packet", role: "region" });
  let done = 0;
  for (const found of text.matchAll(TOKEN)) {
    box.append(text.slice(done, found.index));
    const kind = found[3] ? "number" : found[2] ? "key" : "text";
    box.append(el("span", { className: kind }, found[1] ?? found[3]), found[2] ?? "");
    done = found.index + found[0].length;
  }
  box.append(text.slice(done));
  return box;
}

function countsPart(detail) {
  const { verdict, text, expected = {}, came } = detail.counts ?? {};
  if (!verdict || verdict === "none") return [];
  const word = verdict === "agree" ? "The counts agree." : "The counts differ.";
  const parts = [el("h3", {}, "The counts"), el("p", { className: `mark ${verdict}` }, word)];
  if (text !== null && text !== undefined) parts.push(el("p", {}, "of the text ", el("q", {}, text)));
  const counted = came && typeof came === "object" ? came : {};
  const letters = new Set([...Object.keys(expected), ...Object.keys(counted)]);
  const wrong = [...letters].filter((letter) => expected[letter] !== counted[letter]);
  if (wrong.length) {
    const rows = wrong.slice(0, 30).map((letter) => el("tr", {},
      el("td", {}, el("code", {}, letter === " " ? "space" : letter)),
      el("td", {}, String(expected[letter] ?? 0)), el("td", {}, String(counted[letter] ?? 0))));
    parts.push(el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "letter"),
      el("th", {}, "in the text"), el("th", {}, "in the packet"))), el("tbody", {}, ...rows)));
  }
  return parts;
}

function rulesPart(detail) {
  if (!detail.rules?.length) return [];
  const items = detail.rules.map((rule) =>
    el("li", {}, el("b", {}, rule.id), ` ${rule.sentence}`));
  return [
    el("details", {}, el("summary", {}, `Rules that speak of it (${items.length})`),
      el("ul", { className: "rules" }, ...items)),
  ];
}
