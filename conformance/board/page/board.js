// The board's page: a row for each student's program, as large as the window allows.
//
// State, and what the act `board` returns: {tell: "HOST:PORT/CODE", stages: [{word, goal}],
// rules: {id: sentence}, names: whether they are shown, trouble: "" or a sentence, rows: [{number,
// name, kind: "server"|"client", stage: null | how many hold, percent: null | 0 to 100, level,
// failing: "" | rule, fails: cases that fail, since, told: seconds ago, running, cases}]}
// Event: changed {}: the page asks for all of it anew, at most once a second.
// Acts of who steers: names {show}, remove {number}, table {} -> {csv}.

import { LIVE, Link, byId, dress, el, remembered, say } from "/webpage/webpage.js";

const ASK_MS = 1000;
const TICK_MS = 10000;
const STUCK_SECONDS = 600;
const ROW_EM = [1.7, 2.3]; // the height of a row: where it is full, where there is room
const HEAD_EM = 1.4;
const WIDTH_EM = 37; // a row is no narrower
const SMALLEST_PX = 13;
const LARGEST_PX = 40;
const GAP_EM = 1.2;
const TITLES = ["Name", "Stage", "Points", "Fails now", "For"];
const PARTS = ["name", "stage", "points", "fails", "since"];

const RUNS = { className: "run", role: "img", "aria-label": "runs now", title: "runs now" };

const link = new Link(take, showState);
const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
let state = { stages: [], rules: {}, rows: [], names: true, trouble: "" };
let came = performance.now();
let asking = 0; // the timer of the next question
let asked = 0; // how many were asked: the answer to an older one is not shown
let opened = null; // the number of the row in the dialog

// --- What the program tells ----------------------------------------------------------------------

function take(events) {
  for (const event of events) {
    if (event.kind === "hello") greet(event);
    else if (event.kind === "changed") askSoon();
  }
}

function greet(hello) {
  document.documentElement.dataset.role = hello.role;
  document.title = hello.title;
  byId("title").textContent = hello.title;
  show(hello.state);
}

function askSoon() {
  if (!asking) asking = setTimeout(ask, ASK_MS);
}

async function ask() {
  asking = 0; // what changes from now on asks again
  asked += 1;
  const number = asked;
  try {
    const next = await link.act("board");
    if (number === asked) show(next);
  } catch {
    // it was said; the next change asks again
  }
}

function show(next) {
  state = next;
  came = performance.now();
  draw();
}

let lost = "";

function showState(which, text) {
  byId("state").textContent = which === LIVE ? "live" : "not connected";
  byId("state").dataset.state = which;
  lost = text;
  showTrouble();
}

function showTrouble() {
  const text = lost || state.trouble;
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

// --- Rows ----------------------------------------------------------------------------------------

/** Return how many seconds ago something was that the program told as `seconds` ago. */
function ago(seconds) {
  return seconds + (performance.now() - came) / 1000;
}

function inWords(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return "0 min";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

function isDone(row) {
  return row.stage === state.stages.length;
}

function isStuck(row) {
  return Boolean(row.failing) && ago(row.since) >= STUCK_SECONDS && ago(row.told) < 6 * STUCK_SECONDS;
}

const ORDERS = {
  help: (one, other) => isStuck(other) - isStuck(one)
    || (isStuck(one) ? other.since - one.since : 0)
    || Boolean(other.failing) - Boolean(one.failing)
    || (one.stage ?? 0) - (other.stage ?? 0),
  name: () => 0,
  stage: (one, other) => (other.stage ?? -1) - (one.stage ?? -1)
    || (other.percent ?? -1) - (one.percent ?? -1),
};

function sorted() {
  const order = ORDERS[byId("order").value];
  const last = (one, other) => byName.compare(one.name, other.name) || one.number - other.number;
  return [...state.rows].sort((one, other) => order(one, other) || last(one, other));
}

function percent(row) {
  return row.percent === null ? "–" : `${Math.floor(row.percent)} %`;
}

/** Return the stage in words: the next one, which is being worked on. */
function stageWord(row) {
  if (row.kind === "client") return "client";
  if (row.stage === null) return "–";
  const next = state.stages[row.stage];
  return next ? `${row.stage + 1} ${next.word}` : `all ${row.stage}`;
}

function stageCell(row) {
  const cell = el("td", { className: isDone(row) ? "stage done" : "stage" });
  if (row.kind === "server") {
    const strip = el("span", { className: "strip", "aria-hidden": "true" });
    state.stages.forEach((_, at) => strip.append(el("i", { className: at < row.stage ? "held" : "" })));
    cell.append(strip);
  }
  cell.append(el("span", { className: "word" }, stageWord(row)));
  return cell;
}

/** Return the rule that fails, and for how long: two cells. */
function failsCells(row) {
  const rule = el("td", { className: "fails" });
  const since = el("td", { className: "since" });
  if (row.failing) {
    rule.append(el("span", { className: "rule" }, row.failing));
    since.append(inWords(ago(row.since)));
    if (isStuck(row)) since.append(el("span", { className: "hidden-text" }, ", stuck"));
  } else if (row.stage !== null || row.percent !== null) {
    rule.append(el("span", { className: "nothing-fails" }, "nothing"));
  } else if (row.running) {
    rule.append("first run");
  }
  return [rule, since];
}

function rowOf(row) {
  const name = el("button", { type: "button", title: row.name }, row.name);
  name.addEventListener("click", () => open(row.number));
  name.dataset.number = row.number;
  return el("tr", { className: isStuck(row) ? "stuck" : "" },
    el("th", { scope: "row" }, name, ...(row.running ? [el("span", RUNS, " ▶")] : [])),
    stageCell(row),
    el("td", { className: "points" }, percent(row)),
    ...failsCells(row));
}

function tableOf(rows) {
  const widths = PARTS.map((part) => el("col", { className: `w-${part}` }));
  const heads = TITLES.map((title, at) => el("th", { scope: "col", className: PARTS[at] }, title));
  return el("table", {},
    el("colgroup", {}, ...widths),
    el("thead", {}, el("tr", {}, ...heads)),
    el("tbody", {}, ...rows.map(rowOf)));
}

// --- Drawing -------------------------------------------------------------------------------------

/** Return [columns, size of the text in pixels, height of a row in em] with which the rows fit:
 * the largest text there is. */
function fitting(count) {
  const { clientWidth: wide, clientHeight: high } = byId("tables").parentElement;
  let best = [1, 0, ROW_EM[0]];
  for (let columns = 1; columns <= 4; columns += 1) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const left = high - rows - 1; // without the lines between
    const across = wide / (columns * WIDTH_EM + (columns - 1) * GAP_EM + 1.2);
    const size = Math.min(across, left / (HEAD_EM + rows * ROW_EM[0]), LARGEST_PX);
    const row = Math.min(ROW_EM[1], (left / size - HEAD_EM) / rows);
    if (size > best[1]) best = [columns, size, row];
  }
  if (best[1] >= SMALLEST_PX) return best;
  const columns = Math.max(1, Math.floor(wide / (WIDTH_EM * SMALLEST_PX)));
  return [columns, SMALLEST_PX, ROW_EM[0]]; // too many: it is scrolled
}

function draw() {
  const rows = sorted();
  byId("nothing").hidden = rows.length > 0;
  byId("tell").textContent = `--tell ${state.tell ?? ""}`;
  byId("tell-large").textContent = `--tell ${state.tell ?? ""}`;
  byId("names").textContent = state.names ? "Hide names" : "Show names";
  byId("names").setAttribute("aria-pressed", String(!state.names));
  byId("most").replaceChildren(...most());
  byId("sum").textContent = sum(rows);
  showTrouble();
  drawTables(rows, ...fitting(rows.length));
  if (opened !== null) fill();
}

let drawn = "";

/** Draw the rows, where something of them has changed: who is among them by keyboard stays there. */
function drawTables(rows, columns, size, row) {
  const shown = rows.map((each) => [each, inWords(ago(each.since)), isStuck(each)]);
  const next = JSON.stringify([columns, size, row, state.stages, shown], (key, value) =>
    (["since", "told", "cases"].includes(key) ? undefined : value));
  if (next === drawn) return;
  drawn = next;
  const focused = document.activeElement?.dataset?.number;
  const each = Math.ceil(rows.length / columns);
  const tables = [];
  for (let at = 0; at < rows.length; at += each) tables.push(tableOf(rows.slice(at, at + each)));
  byId("tables").style.fontSize = `${size}px`;
  byId("tables").style.lineHeight = String(row);
  byId("tables").replaceChildren(...tables);
  if (focused) document.querySelector(`[data-number="${Number(focused)}"]`)?.focus();
}

function sum(rows) {
  const count = (fits) => rows.filter(fits).length;
  const parts = [`${rows.length} here`];
  for (const [word, number] of [
    ["running", count((row) => row.running)],
    ["stuck for 10 min", count(isStuck)],
    ["through all stages", count(isDone)],
  ]) if (number) parts.push(`${number} ${word}`);
  return rows.length ? parts.join(" · ") : "";
}

/** Return the rules that fail most now, three at most, each with its sentence. */
function most() {
  const counts = new Map();
  for (const row of state.rows) {
    if (row.failing) counts.set(row.failing, (counts.get(row.failing) ?? 0) + 1);
  }
  return [...counts]
    .sort(([one, n], [other, m]) => m - n || byName.compare(one, other))
    .slice(0, 3)
    .filter(([, number]) => number > 1)
    .map(([rule, number]) => el("li", {},
      el("b", {}, `${rule} fails ${number} times`), ` ${state.rules[rule] ?? ""}`));
}

// --- One row -------------------------------------------------------------------------------------

function open(number) {
  opened = number;
  fill();
  if (opened !== null) byId("details").showModal();
}

function fill() {
  const row = state.rows.find((each) => each.number === opened);
  if (!row) {
    byId("details").close();
    return;
  }
  const lines = [
    ["Program", row.kind],
    ["Stage", row.stage === null ? "not known" : `${row.stage} of ${state.stages.length} hold`],
    ["Next", row.stage === null ? "" : state.stages[row.stage]?.goal ?? "nothing: all hold"],
    ["Points", row.percent === null ? "" : `${row.percent} % of level ${row.level}`],
    ["Fails now", row.failing && `${row.failing}, for ${inWords(ago(row.since))}`],
    ["The rule", state.rules[row.failing] ?? ""],
    ["Last told", `${inWords(ago(row.told))} ago` + (row.running ? `; runs, ${row.cases} cases so far` : "")],
  ];
  byId("details-title").textContent = row.name;
  byId("details-list").replaceChildren(...lines.filter(([, text]) => text)
    .flatMap(([title, text]) => [el("dt", {}, title), el("dd", {}, text)]));
}

// --- What is done --------------------------------------------------------------------------------

async function act(name, value) {
  try {
    return await link.act(name, value);
  } catch {
    return null; // it was said
  }
}

async function save() {
  const answer = await act("table");
  if (!answer) return;
  const file = new Blob(["\ufeff", answer.csv], { type: "text/csv" });
  const address = URL.createObjectURL(file);
  el("a", { href: address, download: "board.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), ASK_MS);
  say("Saved as board.csv, with all names.");
}

function nextOrder() {
  const order = byId("order");
  order.selectedIndex = (order.selectedIndex + 1) % order.options.length;
  order.dispatchEvent(new Event("change"));
  say(`Order: ${order.selectedOptions[0].textContent}.`);
}

const KEYS = {
  o: nextOrder,
  n: () => {
    if (document.documentElement.dataset.role === "control") byId("names").click();
  },
  p: () => byId("projector").click(),
  t: () => byId("theme").click(),
  "?": () => byId("help").showModal(),
};

addEventListener("keydown", (event) => {
  const isTyped = event.target.closest("input, select, dialog");
  if (isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
  const does = byId("keys").checked || event.key === "?" ? KEYS[event.key] : undefined;
  if (!does) return;
  event.preventDefault();
  does();
});

// --- Start ---------------------------------------------------------------------------------------

byId("names").addEventListener("click", () => act("names", { show: !state.names }));
byId("save").addEventListener("click", save);
byId("remove").addEventListener("click", () => {
  act("remove", { number: opened });
  byId("details").close();
});
byId("details").addEventListener("close", () => { opened = null; });
byId("open-help").addEventListener("click", () => byId("help").showModal());
byId("order").value = remembered("board-order") ?? "help";
if (!byId("order").value) byId("order").value = "help";
byId("order").addEventListener("change", () => {
  remembered("board-order", byId("order").value);
  draw();
});
byId("keys").checked = remembered("board-keys") !== "off";
byId("keys").addEventListener("change", () => {
  remembered("board-keys", byId("keys").checked ? "on" : "off");
});
dress(draw);
new ResizeObserver(draw).observe(document.querySelector("main"));
setInterval(draw, TICK_MS);
link.start();
