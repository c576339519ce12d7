// Faults and step: what the one who controls may ask of the relay, and how it stands now.

import { byId, el, say } from "/webpage/webpage.js";

export class Steering {
  constructor(model, link) {
    this.model = model;
    this.link = link;
    this.kinds = [];
    this.look = "";
    byId("open-faults").addEventListener("click", () => this.toggleFaults());
    byId("faults-close").addEventListener("click", () => this.closeFaults());
    byId("fault-form").addEventListener("submit", (event) => this.add(event));
    byId("fault-form").addEventListener("input", () => this.preview());
    byId("hold").addEventListener("click", () => this.toggleHolding());
    byId("release-one").addEventListener("click", () => this.releaseOne());
    byId("release-until").addEventListener("click", () => this.releaseUntil());
    byId("replay-pause").addEventListener("click", () => this.replay(
      { do: this.model.replay?.paused ? "go" : "pause" }));
    byId("replay-again").addEventListener("click", () => this.replay({ do: "again" }));
    byId("replay-speed").addEventListener("change", () => this.replay(
      { do: "speed", speed: Number(byId("replay-speed").value) }));
  }

  greet(state) {
    this.look = "";
    this.kinds = state.kinds ?? [];
    byId("fault-kind").replaceChildren(...this.kinds.map(({ kind, does }) =>
      el("option", { value: kind }, `${kind}: ${does}`)));
    const actions = (state.actions ?? []).map((value) => el("option", { value }));
    byId("known-actions").replaceChildren(...actions);
    this.preview();
  }

  /** Show how faults, step and replay stand now. */
  draw() {
    const { faults, step, replay } = this.model;
    const look = JSON.stringify([faults, step, replay]);
    if (look === this.look) return;
    this.look = look;
    byId("open-faults").textContent = faults.length ? `Faults (${faults.length})` : "Faults";
    byId("fault-list").replaceChildren(...faults.map((fault) => this.item(fault)));
    byId("no-faults").hidden = faults.length > 0;
    byId("faults-in-force").textContent = faults.map(({ text }) => text).join("; ");
    byId("faults-banner").hidden = faults.length === 0;
    const held = step.held.length;
    byId("hold").setAttribute("aria-pressed", String(step.on));
    byId("hold").textContent = step.on ? `Let all go (${held} held)` : "Hold";
    byId("stepping").hidden = !step.on;
    byId("release-one").disabled = held === 0;
    byId("until").textContent = step.until ? `running until ${step.until}` : "";
    byId("replay").hidden = !replay;
    byId("open-faults").hidden = Boolean(replay); // what has passed can't be changed any more
    byId("hold").hidden = Boolean(replay);
    if (replay) {
      const isOver = replay.position >= replay.length;
      const end = isOver ? ": the end" : "";
      byId("replay-at").textContent =
        `${replay.position.toFixed(1)} of ${replay.length.toFixed(1)} s${end}`;
      byId("replay-pause").disabled = isOver;
      this.showSpeed(String(replay.speed));
      byId("replay-pause").textContent = replay.paused ? "Play" : "Stop";
      byId("replay-pause").setAttribute("aria-label", replay.paused ? "Play on" : "Stop playing");
    }
  }

  showSpeed(speed) {
    const select = byId("replay-speed");
    const isKnown = Array.from(select.options).some((option) => option.value === speed);
    if (!isKnown) select.append(el("option", { value: speed }, speed));
    if (document.activeElement !== select) select.value = speed;
  }

  async act(name, value) {
    try {
      return await this.link.act(name, value);
    } catch {
      return null; // the refusal was said
    }
  }

  /** Whether this browser may change what passes: it controls, and it is no recording. */
  maySteer() {
    return this.link.role === "control" && !this.model.replay;
  }

  // --- Faults ------------------------------------------------------------------------------------

  item(fault) {
    const hits = fault.hits === 1 ? "struck once" : `struck ${fault.hits} times`;
    const remove = el("button", { type: "button", "aria-label": `Remove ${fault.text}` }, "Remove");
    remove.addEventListener("click", () => this.act("fault_remove", { id: fault.id }));
    return el("li", {}, el("code", {}, fault.text), el("span", { className: "soft" }, hits), remove);
  }

  toggleFaults() {
    if (byId("faults").hidden) this.openFaults();
    else this.closeFaults();
  }

  /** Show the panel; with a row, its form is filled in for packets as this one. */
  openFaults(row) {
    if (!this.maySteer()) return;
    if (row) {
      byId("fault-action").value = row.action;
      byId("fault-to").value = row.to;
      byId("fault-user").value = "";
      this.preview();
    }
    byId("details").hidden = true;
    byId("faults").hidden = false;
    byId("open-faults").setAttribute("aria-expanded", "true");
    byId("fault-kind").focus();
  }

  /** Returns whether the panel was open. */
  closeFaults() {
    const wasOpen = !byId("faults").hidden;
    byId("faults").hidden = true;
    byId("open-faults").setAttribute("aria-expanded", "false");
    return wasOpen;
  }

  fields() {
    const text = (id) => byId(id).value.trim();
    const kind = byId("fault-kind").value;
    const value = this.kinds.find((each) => each.kind === kind)?.value;
    const given = {
      fault: value && text("fault-value") ? `${kind} ${text("fault-value")}` : kind,
      action: text("fault-action"), to: text("fault-to"), user: text("fault-user"),
      every: text("fault-every"), first: text("fault-first"), p: text("fault-p"),
    };
    return Object.fromEntries(Object.entries(given).filter(([, each]) => each));
  }

  preview() {
    const kind = byId("fault-kind").value;
    const about = this.kinds.find((each) => each.kind === kind);
    byId("fault-value-field").hidden = !about?.value;
    byId("fault-value-name").textContent = about?.value === "MS" ? "milliseconds" : "bytes";
    const { fault, action, to, user, every, first, p } = this.fields();
    const what = every && every !== "1" ? `each ${ordinal(every)} ${action ?? "packet"}` :
      `each ${action ?? "packet"}`;
    const words = [
      `${fault ?? ""}: ${what}`, user ? `of ${user}` : "", to ? `to the ${to}` : "",
      p ? `with probability ${p}` : "", first ? `the first ${first} times` : "",
    ];
    byId("fault-words").textContent = words.filter(Boolean).join(", ");
  }

  async add(event) {
    event.preventDefault();
    const answer = await this.act("fault_add", this.fields());
    if (answer) say("The fault is in force.");
  }

  // --- Step --------------------------------------------------------------------------------------

  toggleHolding() {
    if (this.maySteer()) this.act("step", { do: this.model.step.on ? "off" : "on" });
  }

  releaseOne() {
    if (this.maySteer()) this.act("step", { do: "one" });
  }

  releaseUntil() {
    const action = byId("until-action").value.trim();
    if (action) this.act("step", { do: "until", action });
    else say("Name the action first, as ack.", true);
  }

  replay(value) {
    this.act("replay", value);
  }
}

function ordinal(text) {
  const number = Number(text);
  const end = [11, 12, 13].includes(number % 100) ? "th" : ["th", "st", "nd", "rd"][number % 10] ?? "th";
  return `${text}${end}`;
}
