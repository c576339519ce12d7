// The part that every page shares: entering by a link, the stream of events, acts, and small helpers.
//
// Text that came from elsewhere gets into the page by `textContent` only; the page's policy forbids
// everything else.

const TOKEN_KEY = "webpage-token";
const TOKEN_HEADER = "X-Page-Token";
const RETRY_MS = 1500;

export const GONE = "gone"; // the program was started anew, or the link is not this program's
export const LIVE = "live";
export const LOST = "lost"; // the program does not answer; tried again and again

// --- Small helpers -------------------------------------------------------------------------------

/** Return a new element: `el("b", {className: "x"}, "text", otherElement)`. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role" || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children); // a string becomes a text node
  return made;
}

/** Return the element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Read or write what this browser remembers; where it may not, nothing is remembered. */
export function remembered(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch {
    // storage is turned off
  }
  return null;
}

/** Say a sentence in the line that screen readers read out, and show it for a while. */
export function say(text, isError = false) {
  const line = byId("said");
  line.textContent = text;
  line.classList.toggle("error", isError);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { line.textContent = ""; }, isError ? 12000 : 5000);
}

// --- Themes and the projector --------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

/** Make the buttons #theme and #projector work, and take up what this browser remembers. */
export function dress(onChange) {
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "auto";
    byId("theme").textContent = `Colours: ${theme}`;
    byId("projector").setAttribute("aria-pressed", String(root.classList.contains("projector")));
    onChange();
  };
  byId("theme").addEventListener("click", () => {
    const at = THEMES.indexOf(root.dataset.theme ?? "auto");
    root.dataset.theme = THEMES[(at + 1) % THEMES.length];
    remembered("webpage-theme", root.dataset.theme);
    show();
  });
  byId("projector").addEventListener("click", () => {
    const isOn = root.classList.toggle("projector");
    remembered("webpage-projector", isOn ? "on" : "off");
    show();
  });
  const theme = remembered("webpage-theme");
  if (THEMES.includes(theme)) root.dataset.theme = theme;
  if (remembered("webpage-projector") === "on") root.classList.add("projector");
  show();
}

// --- Entering ------------------------------------------------------------------------------------

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

function keepToken(token) {
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // then the page has to be opened by its link again
  }
}

/** Take the token out of the address, so that nobody reads it there or in the history. */
function tokenOfAddress() {
  const token = location.hash.slice(1);
  if (token) history.replaceState(null, "", location.pathname);
  return token;
}

async function post(path, value, token) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", [TOKEN_HEADER]: token },
    body: JSON.stringify(value),
    cache: "no-store",
  });
  const data = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(data.error), { status: answer.status });
  return data;
}

/** The connection of this page to its program. */
export class Link {
  /** `onEvents(list)` gets the events in order; `onState(state, text)` LIVE, LOST or GONE. */
  constructor(onEvents, onState) {
    this.onEvents = onEvents;
    this.onState = onState;
    this.token = "";
    this.role = "";
    this.after = ""; // the id of the last message, to go on from there
  }

  /** Enter by the token of the address, or by the one of this tab; then listen. */
  async start() {
    addEventListener("hashchange", () => {
      const token = tokenOfAddress();
      if (token) this.enter(token);
    });
    await this.enter(tokenOfAddress() || storedToken() || "");
  }

  /** Exchange a token for the cookie, and listen; try again while nobody answers. */
  async enter(token) {
    clearTimeout(this.timer);
    if (!token) {
      this.onState(GONE, "Open this page by its whole link, as the program shows it.");
      return;
    }
    try {
      const answer = await post("/enter", {}, token);
      this.token = answer.token; // another one where the program was started again meanwhile
      this.role = answer.role;
      keepToken(this.token);
      this.listen();
    } catch (error) {
      if (error.status && error.status < 500) {
        this.onState(GONE, error.message);
      } else {
        this.onState(LOST, "The program doesn't answer. Trying again…");
        this.timer = setTimeout(() => this.enter(token), RETRY_MS);
      }
    }
  }

  listen() {
    this.source?.close();
    const source = new EventSource(`/events?as=${this.role}&after=${this.after}`);
    this.source = source;
    source.onopen = () => this.onState(LIVE, "");
    source.onmessage = (message) => {
      this.after = message.lastEventId;
      this.onEvents(JSON.parse(message.data));
    };
    source.onerror = () => {
      source.close();
      if (this.source !== source) return;
      this.onState(LOST, "The program doesn't answer. Trying again…");
      this.timer = setTimeout(() => this.enter(this.token), RETRY_MS);
    };
  }

  /** Do an act; returns its answer. A refusal is said, and thrown. */
  async act(name, value = {}) {
    try {
      return await post(`/act/${name}`, value, this.token);
    } catch (error) {
      say(error.status ? error.message : "The program doesn't answer.", true);
      throw error;
    }
  }
}
