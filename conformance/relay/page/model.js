// What the page knows: connections, rows, and which of them are shown. Draws nothing.
//
// Memory is bounded: the oldest rows leave, in groups, and are counted. A row that came while the
// picture is paused is kept, and shown when it goes on.

const MAX_ROWS = 20000;
const LEAVE_AT_ONCE = 1000;
const MAX_KEPT_NAMES = 2000; // of users, rooms and actions, for the lists of the filters
const MAX_CLOSED = 200; // connections that are over

/** By action: the kind of packet, in a word; its colour is in relay.css. */
const KINDS = {
  login: "session", login_success: "session", login_fail: "session", register: "session",
  register_success: "session", register_fail: "session", logout: "session", logout_ack: "session",
  change_password: "session", password_changed: "session",
  send_message: "message", receive_message: "message",
  character_count: "counts", confirm_count: "counts",
  ack: "receipt", error: "error",
  get_messages: "history", messages_list: "history",
  ping: "alive", pong: "alive", typing: "alive", event: "event",
};

/** Return the kind of a row, in a word. */
export function kindOf(row) {
  if (row.kind === "raw") return "bytes";
  const kind = Object.hasOwn(KINDS, row.action) ? KINDS[row.action] : "";
  if (kind) return kind;
  if (/file|upload|download/.test(row.action)) return "file";
  if (/room/.test(row.action)) return "room";
  return "other";
}

export class Model {
  constructor() {
    this.run = "";
    this.clear();
  }

  clear() {
    this.state = {};
    this.rows = [];
    this.dropped = 0;
    this.byNumber = new Map();
    this.connections = new Map();
    this.users = new Set();
    this.rooms = new Set();
    this.actions = new Set();
    this.unnamedSends = new Map(); // by connection: rows that still have no transaction
    this.threads = new Map(); // a key of a message -> the key that stands for all of its keys
    this.faults = [];
    this.step = { on: false, held: [], until: null };
    this.replay = null;
    this.filter = {};
    this.shown = [];
    this.shownTo = 0; // so many rows (with those that left) were looked at for `shown`
    this.arrived = 0;
    this.latest = undefined; // the time of the newest row
    this.version = 0; // grows when lanes may look different
  }

  /** Take the program's greeting; returns whether it is another run than before. */
  greet(run, state) {
    const isNewRun = this.run !== "" && this.run !== run;
    if (isNewRun) this.beginAgain();
    this.run = run;
    this.state = state;
    for (const each of state.connections ?? []) {
      this.connection(each.connection).from = each.from ?? "";
      if (each.user) this.name(each.connection, each.user);
    }
    for (const action of state.actions ?? []) this.keepName(this.actions, action);
    this.faults = state.faults ?? [];
    this.step = state.step ?? this.step;
    this.replay = state.replay ?? null;
    return isNewRun;
  }

  /** Forget what has passed; the filter stays, and what the program told of itself. */
  beginAgain() {
    const { filter, state, version } = this;
    this.clear();
    Object.assign(this, { filter, state, version: version + 1 });
  }

  /** Take an event of the program. Events may be told twice, and of kinds that are not known. */
  take(event) {
    switch (event.kind) {
      case "open": {
        const connection = this.connection(event.connection);
        connection.from = event.from;
        connection.isOpen = true;
        this.add({ ...event, text: `connected from ${event.from}` });
        break;
      }
      case "name": this.name(event.connection, event.user); break;
      case "close": {
        this.connection(event.connection).isOpen = false;
        this.add({ ...event, text: `closed: ${event.how}` });
        this.forgetClosed();
        break;
      }
      case "frame":
      case "raw": this.packet(event); break;
      case "gap": {
        const events = `${event.lost.toLocaleString("en")} event${event.lost === 1 ? "" : "s"}`;
        const why = this.arrived ? "missing here: this page could not keep up"
          : "not kept any more: before this page was opened";
        this.add({ ...event, text: `${events} ${why}` });
        break;
      }
      case "came_of": this.cameOf(event); break;
      case "faults": this.faults = event.faults; break;
      case "step": this.takeStep(event); break;
      case "replay": {
        if (event.round !== this.replay?.round) this.beginAgain();
        this.replay = event;
        break;
      }
    }
  }

  packet(event) {
    if (this.byNumber.has(event.row)) return; // told twice
    const row = { ...event, cameOf: [], isHeld: Boolean(event.held) };
    this.connection(row.connection);
    row.user = this.connections.get(row.connection).user;
    this.byNumber.set(row.row, row);
    if (row.room) this.keepName(this.rooms, row.room);
    if (row.action) this.keepName(this.actions, row.action);
    this.tie(row);
    this.add(row);
  }

  add(row) {
    row.index = this.arrived++;
    row.look = 0; // grows when the row looks different
    if (row.time !== undefined) {
      row.after = row.time - (this.latest ?? row.time); // seconds since the row before
      this.latest = row.time;
    }
    this.rows.push(row);
    if (this.rows.length < MAX_ROWS + LEAVE_AT_ONCE) return;
    for (const old of this.rows.splice(0, LEAVE_AT_ONCE)) {
      if (old.row !== undefined) {
        this.dropped += 1;
        this.byNumber.delete(old.row);
      }
    }
    if (this.threads.size > 4 * MAX_ROWS) this.tieAnew();
  }

  connection(number) {
    let found = this.connections.get(number);
    if (!found) {
      found = { number, user: "", from: "", isOpen: true };
      this.connections.set(number, found);
      this.version += 1;
    }
    return found;
  }

  name(number, user) {
    this.connection(number).user = user;
    this.keepName(this.users, user);
    this.version += 1;
  }

  keepName(names, name) {
    if (names.size < MAX_KEPT_NAMES) names.add(name);
  }

  forgetClosed() {
    this.version += 1;
    const closed = [...this.connections.values()].filter((each) => !each.isOpen);
    for (const each of closed) this.unnamedSends.delete(each.number);
    for (const each of closed.slice(0, -MAX_CLOSED)) this.connections.delete(each.number);
  }

  cameOf(event) {
    const row = this.byNumber.get(event.row);
    if (!row || row.cameOf.includes(event.text) || row.cameOf.length > 20) return;
    row.cameOf.push(event.text);
    row.look += 1;
  }

  takeStep(step) {
    for (const number of this.step.held) this.setHeld(number, false);
    this.step = step;
    for (const number of step.held) this.setHeld(number, true);
  }

  setHeld(number, isHeld) {
    const row = this.byNumber.get(number);
    if (!row || row.isHeld === isHeld) return;
    row.isHeld = isHeld;
    row.look += 1;
  }

  // --- One message, through everybody ------------------------------------------------------------
  // The sender's packets share one transaction, the receivers' another; `message_id` ties them. A
  // first `send_message` may have no transaction yet: the counts that answer it do.

  tie(row) {
    if (!row.transaction) {
      if (row.action !== "send_message" || row.to !== "server") return;
      const waiting = this.unnamedSends.get(row.connection) ?? [];
      this.unnamedSends.set(row.connection, [...waiting.slice(-20), row]);
      return;
    }
    const isCounts = row.action === "character_count" && row.to === "client";
    const waiting = isCounts ? this.unnamedSends.get(row.connection) : undefined;
    if (waiting?.length && !this.threads.has(this.keyOf(row))) {
      waiting.shift().transaction = row.transaction;
    }
    this.find(this.keyOf(row));
    if (row.message !== null && row.message !== undefined) {
      this.threads.set(this.find(this.keyOf(row)), this.find(`message ${row.message}`));
    }
  }

  tieAnew() {
    this.threads.clear();
    for (const row of this.rows) if (row.transaction) this.tie(row);
  }

  keyOf(row) {
    return `${row.user || row.connection} ${row.transaction}`;
  }

  find(key) {
    if (!this.threads.has(key)) this.threads.set(key, key);
    let root = key;
    while (this.threads.get(root) !== root) root = this.threads.get(root);
    this.threads.set(key, root);
    return root;
  }

  // --- What is shown -----------------------------------------------------------------------------

  isFiltered() {
    return Object.values(this.filter).some(Boolean);
  }

  setFilter(filter) {
    this.filter = filter;
    this.shown = [];
    this.shownTo = 0;
    this.version += 1;
    this.show();
  }

  /** Bring `shown` up to date. */
  show() {
    const first = this.arrived - this.rows.length;
    if (this.isFiltered() && this.filter.transaction) {
      this.shown = this.rows.filter((row) => this.fits(row)); // threads may have grown together
    } else {
      const old = this.shown.findIndex((row) => row.index >= first);
      if (old > 0) this.shown.splice(0, old);
      else if (old < 0) this.shown = [];
      for (const row of this.rows.slice(Math.max(0, this.shownTo - first))) {
        if (this.fits(row)) this.shown.push(row);
      }
    }
    this.shownTo = this.arrived;
  }

  /** How many rows have come since the picture was paused. */
  waiting() {
    return this.arrived - this.shownTo;
  }

  rowCount() {
    return this.byNumber.size;
  }

  shownCount() {
    if (!this.isFiltered() && !this.waiting()) return this.byNumber.size;
    return this.shown.reduce((sum, row) => sum + (row.row !== undefined), 0);
  }

  fits(row) {
    const { user, room, action, transaction } = this.filter;
    if (row.kind === "gap") return true;
    if (user) {
      const name = this.connections.get(row.connection)?.user || row.user || String(row.connection);
      if (!like(name, user)) return false;
    }
    if (room && !like(row.room ?? "", room)) return false;
    if (action && !like(row.action ?? "", action)) return false;
    if (transaction) {
      if (!row.transaction) return false;
      if (row.transaction === transaction) return true;
      return this.threadsOf(transaction).has(this.find(this.keyOf(row)));
    }
    return true;
  }

  threadsOf(transaction) {
    if (this.followed?.transaction === transaction && this.followed.at === this.arrived) {
      return this.followed.threads;
    }
    const threads = new Set();
    for (const row of this.rows) {
      if (row.transaction === transaction) threads.add(this.find(this.keyOf(row)));
    }
    this.followed = { transaction, at: this.arrived, threads };
    return threads;
  }
}

/** Whether a text is what a filter asks for: equal, or with * for any letters. */
function like(text, wanted) {
  if (!wanted.includes("*")) return text.toLowerCase() === wanted.toLowerCase();
  const parts = wanted.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "i").test(text);
}
