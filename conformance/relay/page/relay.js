// The relay's page: what its program tells it, and what it asks. This file puts the parts together.
//
// Events (objects with `kind`; times in seconds since the relay began):
//   open      {connection, from, time}
//   name      {connection, user, time}
//   frame     {connection, row, to: "server"|"client", time, action, summary, size, room,
//              transaction, message (a message_id, or null), counts: "agree"|"differ"|"none",
//              fault: null|"drop"|"delay 300"..., held}
//   raw       {connection, row, to, time, size, summary, fault, held}: bytes that are no frame
//   came_of   {row, text}: what became of a row ("sent again: row 17, 5.0 s later")
//   close     {connection, how, time}
//   faults    {faults: [{id, text, hits}]}: the list as it is now
//   step      {on, held: [row], until: null | action}: as it is now
//   replay    {position, length, speed, paused, round}: of `relay --play`, in seconds; with another
//             round it begins again
// State, for a page that comes later: {target, listening, seed, connections: [{connection, from,
// user}], kinds: [{kind, does, value: "MS"|"BYTES"|""}], actions: [all that are known],
// faults: [...], step: {...}, replay: {...} | null}
//
// Acts (those with * may be called by the wall):
//   row*         {row} -> what `Story.detail` returns, and `user`
//   fault_add    {fault: "delay 300", action, to, user, every, first, p}, texts -> {faults}
//   fault_remove {id} -> {faults}
//   step         {do: "on"|"off"|"one"|"until", row?, action?} -> {}
//   edit         {row, json} -> {}: puts this JSON in the place of a held row's, and lets it go
//   again        {row} -> {}: sends a row's frame once more
//   replay       {do: "pause"|"go"|"again"|"speed", speed} -> {}

import { GONE, LIVE, Link, byId, dress, el, remembered, say } from "/webpage/webpage.js";
import { Diagram } from "/diagram.js";
import { Details } from "/details.js";
import { Steering } from "/steering.js";
import { Model } from "/model.js";

const DRAW_MS = 60;

const model = new Model();
const diagram = new Diagram(model, byId("diagram"), (row) => details.open(row), drawSoon);
const link = new Link(take, showState);
const steering = new Steering(model, link);
const details = new Details(model, link, follow, steering);
let timer = 0;
let isPaused = false;

// --- What the program tells ----------------------------------------------------------------------

function take(events) {
  for (const event of events) {
    if (event.kind === "hello") greet(event);
    else model.take(event);
  }
  details.refresh();
  drawSoon();
}

function greet(hello) {
  const isNewRun = model.greet(hello.run, hello.state);
  const { target, listening, replay } = hello.state;
  const way = replay ? listening : `clients → ${listening} → ${target}`;
  document.title = replay ? way : `${hello.title} before ${target}`;
  byId("title").textContent = hello.title;
  byId("target").textContent = way;
  document.documentElement.dataset.role = hello.role;
  steering.greet(hello.state);
  if (isNewRun) say("The relay was started anew: the picture begins anew, too.");
}

function showState(state, text) {
  const words = { [LIVE]: "live", lost: "not connected", [GONE]: "not connected" };
  byId("state").textContent = words[state];
  byId("state").dataset.state = state;
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

// --- Drawing -------------------------------------------------------------------------------------

function drawSoon() {
  if (!timer) timer = setTimeout(draw, DRAW_MS);
}

function draw() {
  timer = 0;
  if (!isPaused) model.show();
  const waiting = model.waiting();
  const old = model.dropped ? `, ${model.dropped.toLocaleString("en")} older ones left this page` : "";
  const of = model.isFiltered() ? ` of ${model.rowCount().toLocaleString("en")}` : "";
  const count = model.shownCount();
  const packets = count === 1 && !of ? "packet" : "packets";
  byId("count").textContent = `${count.toLocaleString("en")}${of} ${packets}${old}`;
  byId("pause").textContent = isPaused ? `Go on (${waiting.toLocaleString("en")} new)` : "Pause";
  byId("nothing").hidden = model.shown.length > 0;
  byId("nothing-text").textContent = model.isFiltered()
    ? "Nothing fits this filter yet." : nothingYet(model.state);
  fillFilters();
  steering.draw();
  diagram.draw();
  byId("newest").hidden = diagram.isFollowing;
}

function nothingYet({ listening, replay }) {
  if (!listening || replay) return "Nothing has passed yet.";
  return `Nothing has passed yet. Start a client with the relay's address: ${listening}.`;
}

function pause(isOn) {
  isPaused = isOn;
  byId("pause").setAttribute("aria-pressed", String(isOn));
  say(isOn ? "Paused: what comes now is shown when you go on." : "Live again.");
  if (!isOn) diagram.toEnd();
  drawSoon();
}

// --- Filters -------------------------------------------------------------------------------------

const FIELDS = ["user", "room", "action", "transaction"];

function fillFilters() {
  for (const [name, values] of [
    ["users", model.users], ["rooms", model.rooms], ["seen-actions", model.actions],
  ]) {
    const list = byId(name);
    if (list.children.length === values.size) continue;
    const known = new Set(Array.from(list.children, (option) => option.value));
    for (const value of values) if (!known.has(value)) list.append(el("option", { value }));
  }
}

function filter() {
  model.setFilter(Object.fromEntries(FIELDS.map((name) => [name, byId(`by-${name}`).value.trim()])));
  byId("clear").disabled = !model.isFiltered();
  diagram.toEnd();
  drawSoon();
}

/** On small screens and the projector the filter is shown only when it is asked for. */
function showFilters(isOn) {
  const isShown = document.documentElement.classList.toggle("filters", isOn);
  byId("open-filters").setAttribute("aria-expanded", String(isShown));
}

/** Show only one message, on its way through everybody; or what else is given, as {user: "ada"}. */
function follow(fields) {
  for (const name of FIELDS) byId(`by-${name}`).value = fields[name] ?? "";
  filter();
  if (fields.transaction) say("Following one message through everybody.");
  else say(model.isFiltered() ? "Filtered." : "All packets are shown.");
}

// --- Keyboard ------------------------------------------------------------------------------------

const KEYS = {
  " ": () => pause(!isPaused),
  "/": () => {
    showFilters(true);
    byId("by-user").focus();
  },
  d: () => byId("diagram").focus(),
  p: () => byId("projector").click(),
  t: () => byId("theme").click(),
  f: () => steering.openFaults(),
  h: () => steering.toggleHolding(),
  n: () => steering.releaseOne(),
  m: () => details.follow(diagram.chosen),
  c: () => follow({}),
  "?": () => byId("help").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("help").open) {
    if (details.close() || steering.closeFaults()) diagram.focus();
    return;
  }
  const isTyped = event.target.closest("input, select, textarea, dialog");
  const isPressed = event.key === " " && event.target.closest("button, summary");
  if (isTyped || isPressed || event.ctrlKey || event.metaKey || event.altKey) return;
  const does = byId("keys").checked || event.key === "?" ? KEYS[event.key] : undefined;
  if (!does) return;
  event.preventDefault();
  does();
});

// --- Start ---------------------------------------------------------------------------------------

byId("pause").addEventListener("click", () => pause(!isPaused));
byId("newest").addEventListener("click", () => {
  diagram.toEnd();
  diagram.focus();
  drawSoon();
});
byId("open-filters").addEventListener("click", () => showFilters());
byId("clear").addEventListener("click", () => follow({}));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
for (const name of FIELDS) byId(`by-${name}`).addEventListener("input", filter);
byId("open-help").addEventListener("click", () => byId("help").showModal());
byId("keys").checked = remembered("relay-keys") !== "off";
byId("keys").addEventListener("change", () => {
  remembered("relay-keys", byId("keys").checked ? "on" : "off");
});
dress(() => diagram.measure());
new ResizeObserver(() => diagram.measure()).observe(byId("diagram"));
link.start();
drawSoon();
