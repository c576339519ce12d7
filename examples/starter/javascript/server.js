// A chat server to begin with: it knows login and send_message, and nothing else yet. The protocol is in PROTOCOL.md.
//
//     node server.js [PORT]
//
// Node runs one thing at a time, so nothing here needs a lock. What is missing is marked with TODO.
"use strict";

const crypto = require("crypto");
const net = require("net");

const ACCOUNTS = new Map(Object.entries({
  anna: "pw-anna", ben: "pw-ben", carla: "pw-carla", dora: "pw-dora", emil: "pw-emil", fay: "pw-fay",
}));
const MAX_FRAME = 1048576;

const clients = new Map(); // who is on: name -> Client
const rooms = new Map(); // room_id -> its messages
let nextMessageId = 1;

class Client {
  constructor(socket) {
    this.socket = socket;
    this.name = null; // set by login
    this.transactions = new Map(); // transaction_id -> {room_id, content}, while they wait for confirm_count
    this.bytes = Buffer.alloc(0); // what came and is no whole frame yet
    socket.on("data", (some) => this.take(some));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (this.name !== null && clients.get(this.name) === this) clients.delete(this.name);
    });
  }

  // One packet as one frame: 4 bytes of length, big-endian, then the JSON.
  send(packet) {
    const payload = Buffer.from(JSON.stringify(packet), "utf8");
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.length);
    this.socket.write(Buffer.concat([header, payload]));
  }

  // TCP may hand over half a frame or three: so we collect bytes, and take each frame out once it is whole.
  take(some) {
    this.bytes = Buffer.concat([this.bytes, some]);
    while (this.bytes.length >= 4) {
      const length = this.bytes.readUInt32BE();
      if (length < 1 || length > MAX_FRAME) {
        this.error("unknown", "bad_frame", `a frame of length ${length} can't be read`);
        this.socket.end();
        return;
      }
      if (this.bytes.length < 4 + length) return;
      const payload = this.bytes.subarray(4, 4 + length);
      this.bytes = this.bytes.subarray(4 + length);
      let packet = null;
      try {
        packet = JSON.parse(payload.toString("utf8"));
      } catch {
        // falls through: null is no object either
      }
      if (packet === null || typeof packet !== "object" || Array.isArray(packet)) {
        this.error("unknown", "bad_json", "the payload is no JSON object"); // TODO: the 10th closes (R-JSON-9)
      } else {
        this.handle(packet);
      }
    }
  }

  error(original_action, code, message) {
    this.send({ action: "error", original_action, status: "error", message, code });
  }

  handle({ action, data }) {
    if (typeof action !== "string" || !HANDLERS.has(action)) {
      this.error([...String(action)].slice(0, 64).join(""), "unknown_action", `this server does not know ${action}`);
    } else if (this.name === null && action !== "login") {
      this.error(action, "not_logged_in", `${action} needs a login first`);
    } else {
      const { keys, handler } = HANDLERS.get(action);
      const wrong = Object.keys(keys).find((key) => typeof (data ?? {})[key] !== keys[key]);
      if (wrong) this.error(action, "bad_packet", `data.${wrong}: expected a ${keys[wrong]}`);
      else handler(this, data);
    }
  }
}

function login(client, { chatid, password }) {
  if (client.name !== null) {
    client.error("login", "forbidden", "this connection is logged in already");
  } else if (ACCOUNTS.get(chatid) !== password || clients.has(chatid)) {
    client.send({ action: "login_fail", status: "error", message: "Invalid credentials or user already logged in" });
  } else {
    clients.set(chatid, client);
    client.name = chatid;
    const data = { chatid, session_key: crypto.randomBytes(24).toString("hex") }; // TODO: login with the key (R-SESS-8)
    client.send({ action: "login_success", status: "success", message: "Login successful", data });
  }
}

// The first handshake: tell the sender which letters arrived, and store nothing yet.
function sendMessage(client, { room_id, content }) {
  const transaction_id = "t-" + crypto.randomBytes(8).toString("hex"); // TODO: another's name in chatid is forbidden (R-SESS-7)
  client.transactions.set(transaction_id, { room_id, content });
  const counts = new Map();
  for (const character of content) counts.set(character, (counts.get(character) ?? 0) + 1); // whole code points, not content[i]
  const letter_frequencies = Object.fromEntries(counts);
  client.send({ action: "character_count", data: { transaction_id, letter_frequencies, original_action: "send_message" } });
}

// The sender says whether these are the letters that it meant: store the message and hand it on, or drop it.
function confirmCount(client, { transaction_id, confirm }) {
  const transaction = client.transactions.get(transaction_id);
  if (transaction === undefined) {
    client.error("confirm_count", "transaction_not_found", "no such transaction is open");
    return;
  }
  client.transactions.delete(transaction_id);
  if (!confirm) {
    const message = "You did not confirm the counts: the message was dropped.";
    client.send({ action: "ack", status: "error", message, code: "not_confirmed", data: { transaction_id } });
    return;
  }
  const { room_id, content } = transaction;
  const number = { message_id: nextMessageId++, timestamp: new Date().toISOString().slice(0, 19) + "Z" };
  const stored = { room_id, sender_chatid: client.name, content, ...number };
  rooms.set(room_id, [...(rooms.get(room_id) ?? []), stored]); // TODO: get_messages (R-HIST-1)
  client.send({ action: "ack", status: "success", message: "Action processed successfully.", data: { transaction_id, ...number } });
  const data = { transaction_id: "r-" + crypto.randomBytes(8).toString("hex"), ...stored };
  for (const other of clients.values()) {
    if (other !== client) other.send({ action: "receive_message", status: "success", message: "New message received.", data });
  }
  // TODO: the second handshake: each receiver counts too, and we say whether it is right (R-MSG-16 to R-MSG-18).
}

const HANDLERS = new Map(Object.entries({
  login: { handler: login, keys: { chatid: "string", password: "string" } },
  send_message: { handler: sendMessage, keys: { chatid: "string", room_id: "string", content: "string" } },
  confirm_count: { handler: confirmCount, keys: { transaction_id: "string", confirm: "boolean" } },
}));

const server = net.createServer({ noDelay: true }, (socket) => new Client(socket));
function stop(error) {
  console.error(`cannot listen: ${error.message}`);
  process.exit(1);
}
const port = Number(process.argv[2] ?? 9876);
server.on("error", stop);
if (!Number.isInteger(port) || port < 0 || port > 65535) stop(new Error("the port must be a number from 0 to 65535"));
server.listen(port, "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
