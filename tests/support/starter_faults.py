"""Faults of students, planted by a patch into the starter in JavaScript.

Owns the table `FAULTS`: for each, what is replaced in examples/starter/javascript/server.js, and
the rule that the kit has to blame. tests/conformance/test_starter_faults.py grades them.

A fault needs something to be wrong in: the starter has no files, no rooms of its own, no second
handshake, no keys of clients, and keeps nothing over a kill. The faults of these are planted in the
reference alone (support/planted_faults, support/restarting_server.py), and of what starts a process
(memory, threads, open files) in tests/conformance/test_sharp.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKED: Final = "ACCOUNTS.get(chatid) !== password"
COUNTED: Final = "counts.set(character, (counts.get(character) ?? 0) + 1)"
HANDED_ON: Final = "if (other !== client) other.send("
LOGGED_IN: Final = "    clients.set(chatid, client);\n    client.name = chatid;\n"
STAMP: Final = 'new Date().toISOString().slice(0, 19) + "Z"'
WHOLE: Final = "if (this.bytes.length < 4 + length) return;"
TAKEN: Final = "handle({ action, data }) {\n"
LOST: Final = r'replace(/[^\x00-\x7f]/gu, process.env.LC_ALL === "C" ? "?" : "$&")'
KEY: Final = 'crypto.randomBytes(24).toString("hex")'


FURTHER: Final = """
function getMessages(client, { room_id, from_time }) {
  const messages = (rooms.get(room_id) ?? []).filter((each) => each.timestamp >= from_time);
  const data = { room_id, messages, has_more: false };
  client.send({ action: "messages_list", status: "success", message: "", data });
}

function register(client, { chatid, password }) {
  if (ACCOUNTS.has(chatid)) {
    const message = "taken";
    client.send({ action: "register_fail", status: "error", message, code: "name_taken" });
    return;
  }
  ACCOUNTS.set(chatid, password);
  client.send({ action: "register_success", status: "success", message: "", data: { chatid } });
}

const HANDLERS = new Map(Object.entries({
  get_messages: { handler: getMessages, keys: { room_id: "string", from_time: "string" } },
  register: { handler: register, keys: { chatid: "string", password: "string" } },
"""
"""What a student has written next: without a history and accounts, faults can't be told apart."""


def starter() -> str:
    """Return the starter in JavaScript, which knows `get_messages` and `register` too."""
    path = Path(__file__).resolve().parents[2] / "examples/starter/javascript/server.js"
    known = '!["login", "register"].includes(action)'
    source = path.read_text("utf-8").replace('action !== "login"', known)
    return source.replace("\nconst HANDLERS = new Map(Object.entries({\n", FURTHER)


@dataclass(frozen=True)
class StarterFault:
    """`old` becomes `new`; `rule` is blamed then, by a case that does not fail without it. What
    fails besides is decided `by_chance` where the fault loses a race."""

    mistake: str
    rule: str
    old: str
    new: str
    by_chance: bool = False

    def planted_in(self, source: str) -> str:
        """Return the source with the fault; AssertionError where the starter has changed."""
        assert source.count(self.old) == 1, self.mistake
        return source.replace(self.old, self.new)


FAULTS: Final = (
    StarterFault(
        "passwords are the same in capitals and small letters",
        "R-SESS-4",
        CHECKED,
        "ACCOUNTS.get(chatid)?.toLowerCase() !== password.toLowerCase()",
    ),
    StarterFault(
        "of a password the first eight characters count",
        "R-SESS-4",
        CHECKED,
        "ACCOUNTS.get(chatid)?.slice(0, 8) !== password.slice(0, 8)",
    ),
    StarterFault(
        "of a password the first 72 bytes count",
        "R-SESS-4",
        CHECKED,
        "ACCOUNTS.get(chatid)?.slice(0, 72) !== password.slice(0, 72)",
    ),
    StarterFault(
        "blanks around a password are cut off",
        "R-SESS-4",
        CHECKED,
        "ACCOUNTS.get(chatid) !== password.trim()",
    ),
    StarterFault("a count is a byte", "R-MSG-1", COUNTED, f"{COUNTED[:-1]} & 255)"),
    StarterFault(
        "a count is a byte with a sign",
        "R-MSG-1",
        COUNTED,
        "counts.set(character, (((counts.get(character) ?? 0) + 1) << 24) >> 24)",
    ),
    StarterFault(
        "UTF-16 units are counted",
        "R-MSG-1",
        "for (const character of content)",
        'for (const character of content.split(""))',
    ),
    StarterFault(
        "the text is normalised before it is counted",
        "R-MSG-1",
        "for (const character of content)",
        "for (const character of content.normalize())",
    ),
    StarterFault(
        "a text of more than 10,000 letters is cut",
        "R-MSG-1",
        "for (const character of content)",
        "for (const character of content.slice(0, 10000))",
    ),
    StarterFault(
        "actions are taken in lower case",
        "R-ERR-4",
        TAKEN,
        f'{TAKEN}    if (typeof action === "string") action = action.toLowerCase();\n',
    ),
    StarterFault(
        "ids of rooms are folded",
        "R-ROOM-7",
        "client.transactions.set(transaction_id, { room_id, content })",
        "client.transactions.set(transaction_id, { room_id: room_id.toLowerCase(), content })",
    ),
    StarterFault(
        "ids of rooms are normalised",
        "R-ROOM-7",
        "client.transactions.set(transaction_id, { room_id, content })",
        "client.transactions.set(transaction_id, { room_id: room_id.normalize(), content })",
    ),
    StarterFault(
        "the JSON reader knows no \\b and \\f",
        "R-FRAME-1",
        'JSON.parse(payload.toString("utf8"))',
        'JSON.parse(payload.toString("utf8").replace(/\\\\[bf]/g, "?"))',
    ),
    StarterFault(
        "room is made for all the bytes that are announced",
        "R-FRAME-4",
        WHOLE,
        f"this.room ??= Buffer.alloc(40 * length, 1);\n      {WHOLE}",
    ),
    StarterFault(
        "a file is opened for each client and never closed",
        "R-SESS-9",
        "    this.socket = socket;\n",
        "    this.socket = socket;\n    this.log = require('fs').openSync(__filename);\n",
    ),
    StarterFault(
        "whether a name is free is looked up in one step, and taken in another",
        "R-ACC-2",
        "  ACCOUNTS.set(chatid, password);\n",
        "  setTimeout(() => ACCOUNTS.set(chatid, password), 2);\n",
        by_chance=True,
    ),
    StarterFault(
        "session keys are counted", "R-SESS-2", KEY, 'String(nextMessageId++).padStart(48, "0")'
    ),
    StarterFault(
        "session keys are the time", "R-SESS-2", KEY, 'String(Date.now()).padStart(48, "0")'
    ),
    StarterFault(
        "times are those of the place, with a Z",
        "R-ORDER-4",
        STAMP,
        STAMP.replace("Date()", "Date(Date.now() - 60000 * new Date().getTimezoneOffset())"),
    ),
    StarterFault(
        "the hours have twelve hours (`hh` for `HH`)",
        "R-ORDER-4",
        STAMP,
        STAMP.replace(
            "Date()", "Date(Date.now() + (new Date().getUTCHours() > 12 ? -12 : 12) * 3.6e6)"
        ),
    ),
    StarterFault(
        "texts are stored in the system's encoding (`LC_ALL=C`)",
        "R-HIST-1",
        "client.name, content, ...number",
        f"client.name, content: content.{LOST}, ...number",
    ),
    StarterFault(
        "passwords are compared in the system's encoding (`LC_ALL=C`)",
        "R-SESS-4",
        CHECKED,
        f"ACCOUNTS.get(chatid)?.{LOST} !== password.{LOST}",
    ),
    StarterFault(
        "the clock is asked twice",
        "R-MSG-4",
        "...stored };",
        '...stored, timestamp: new Date(Date.now() + 1000).toISOString().slice(0, 19) + "Z" };',
    ),
    StarterFault(
        "whether the place is free is looked up in one step, and taken in another",
        "R-SESS-5",
        LOGGED_IN,
        "    client.name = chatid;\n    setTimeout(() => clients.set(chatid, client), 2);\n",
        by_chance=True,
    ),
    StarterFault(
        "deliveries overtake each other",
        "R-ORDER-2",
        HANDED_ON,
        "const late = (packet) => setTimeout(() => other.send(packet), 8 * Math.random());\n"
        "    if (other !== client) late(",
        by_chance=True,
    ),
    StarterFault(
        "what a slow reader does not take is dropped in silence",
        "R-MSG-21",
        HANDED_ON,
        "if (other !== client && other.socket.writableLength < 100000) other.send(",
    ),
    StarterFault(
        "the message goes to the others before it is confirmed",
        "R-MSG-2",
        "  const counts = new Map();\n",
        "  const early = { transaction_id, room_id, sender_chatid: client.name, content };\n"
        "  const packet = { action: 'receive_message', status: 'success', data: early };\n"
        "  for (const other of clients.values()) if (other !== client) other.send(packet);\n"
        "  const counts = new Map();\n",
    ),
    StarterFault(
        "sixty-four clients are served, and no more",
        "R-LIM-10",
        "\nfunction stop(error) {",
        "\nserver.maxConnections = 64;\nfunction stop(error) {",
    ),
    StarterFault(
        "one read is one frame",
        "R-FRAME-2",
        WHOLE,
        "if (this.bytes.length < 4 + length) { this.bytes = Buffer.alloc(0); return; }",
    ),
    StarterFault(
        "what came with a frame is thrown away",
        "R-FRAME-2",
        "this.bytes = this.bytes.subarray(4 + length);",
        "this.bytes = Buffer.alloc(0);",
    ),
    StarterFault(
        "an endless loop at a message of 300 characters",
        "R-MSG-1",
        "  const counts = new Map();\n",
        "  while (content.length > 300);\n  const counts = new Map();\n",
    ),
    StarterFault(
        "the program ends at an unknown action",
        "R-ERR-4",
        "      this.error([...String(action)]",
        "      process.exit(3); this.error([...String(action)]",
    ),
)
