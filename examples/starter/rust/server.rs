// A chat server to begin with: it knows login and send_message, and nothing else yet.
//
//     rustc --edition 2021 -o chat server.rs
//     ./chat [PORT]
//
// The protocol is in PROTOCOL.md. Each client has a thread; one lock guards what they share.
// What is missing is marked with TODO.
mod json;
mod wire;
use json::{object, text, Json};
use std::collections::{BTreeMap, HashMap};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use wire::{random_key, receive, timestamp, Wire};

const NAMES: [&str; 6] = ["anna", "ben", "carla", "dora", "emil", "fay"];

/// What all clients share; a lock guards it.
#[derive(Default)]
struct Shared {
    clients: BTreeMap<String, Arc<Wire>>, // who is on
    rooms: HashMap<String, Vec<Json>>,    // room_id -> its messages
    last_message_id: u64,
}

/// One connection.
struct Client {
    wire: Arc<Wire>,
    shared: Arc<Mutex<Shared>>,
    name: Option<String>,                           // set by login
    transactions: HashMap<String, (String, String)>, // transaction_id -> (room_id, content): waits for confirm_count
}

impl Client {
    /// Answer one packet.
    fn handle(&mut self, packet: &Json) {
        let (action, data) = (packet.get("action"), packet.get("data"));
        let action = action.as_text().map_or_else(|| action.write(), str::to_string);
        let get = |key| data.get(key).as_text();
        if !["login", "send_message", "confirm_count"].contains(&action.as_str()) {
            let start: String = action.chars().take(64).collect();
            return self.wire.error(&start, "unknown_action", &format!("this server does not know {action}"));
        }
        if self.name.is_none() && action != "login" {
            return self.wire.error(&action, "not_logged_in", &format!("{action} needs a login first"));
        }
        match (action.as_str(), get("chatid"), get("password"), get("room_id"), get("content"), get("transaction_id"), data.get("confirm")) {
            ("login", Some(chatid), Some(password), ..) => self.login(chatid, password),
            ("send_message", _, _, Some(room_id), Some(content), ..) => self.send_message(room_id, content),
            ("confirm_count", .., Some(key), Json::Bool(confirm)) => self.confirm_count(key, *confirm),
            _ => {
                let keys = match action.as_str() { "login" => ["chatid", "password"], "send_message" => ["room_id", "content"], _ => ["transaction_id", "confirm"] };
                let wrong = keys[usize::from(get(keys[0]).is_some())];
                let kind = if wrong == "confirm" { "true or false" } else { "a text" };
                self.wire.error(&action, "bad_packet", &format!("data.{wrong}: expected {kind}"));
            }
        }
    }

    fn login(&mut self, chatid: &str, password: &str) {
        if self.name.is_some() {
            return self.wire.error("login", "forbidden", "this connection is logged in already");
        }
        let mut shared = self.shared.lock().unwrap();
        if !NAMES.contains(&chatid) || password != format!("pw-{chatid}") || shared.clients.contains_key(chatid) {
            let why = text("Invalid credentials or user already logged in");
            return self.wire.send(object([("action", text("login_fail")), ("status", text("error")), ("message", why)]));
        }
        shared.clients.insert(chatid.to_string(), self.wire.clone());
        self.name = Some(chatid.to_string());
        let key = text(&random_key("")); // TODO: a login with the key (R-SESS-8)
        self.wire.reply("login_success", "Login successful", object([("chatid", text(chatid)), ("session_key", key)]));
    }

    /// Begin the first handshake: tell the sender which letters arrived; store nothing yet.
    fn send_message(&mut self, room_id: &str, content: &str) {
        let key = random_key("t-"); // TODO: another's name in chatid is forbidden (R-SESS-7)
        self.transactions.insert(key.clone(), (room_id.to_string(), content.to_string()));
        let mut counts = BTreeMap::new(); // of chars: whole code points, and not bytes
        for letter in content.chars() {
            *counts.entry(letter.to_string()).or_insert(0) += 1;
        }
        let counts = counts.into_iter().map(|(letter, count)| (letter, Json::Number(count.to_string()))).collect();
        let told = [("transaction_id", text(&key)), ("letter_frequencies", Json::Object(counts)), ("original_action", text("send_message"))];
        self.wire.send(object([("action", text("character_count")), ("data", object(told))]));
    }

    /// End it: the sender says whether the letters are right. Store and hand on, or drop.
    fn confirm_count(&mut self, key: &str, confirm: bool) {
        let Some((room_id, content)) = self.transactions.remove(key) else {
            return self.wire.error("confirm_count", "transaction_not_found", "no such transaction is open");
        };
        if !confirm {
            let why = text("You did not confirm the counts: the message was dropped.");
            return self.wire.send(object([("action", text("ack")), ("status", text("error")), ("message", why),
                ("code", text("not_confirmed")), ("data", object([("transaction_id", text(key))]))]));
        }
        let name = self.name.clone().unwrap_or_default();
        let mut shared = self.shared.lock().unwrap(); // numbering and sending are one step: all get them in the same order
        shared.last_message_id += 1;
        let (id, now) = (Json::Number(shared.last_message_id.to_string()), text(&timestamp()));
        let ack = object([("transaction_id", text(key)), ("message_id", id.clone()), ("timestamp", now.clone())]);
        let message = object([("transaction_id", text(&random_key("r-"))), ("room_id", text(&room_id)),
            ("sender_chatid", text(&name)), ("content", text(&content)), ("message_id", id), ("timestamp", now)]);
        shared.rooms.entry(room_id).or_default().push(message.clone()); // TODO: get_messages (R-HIST-1)
        self.wire.reply("ack", "Action processed successfully.", ack);
        for (other, wire) in &shared.clients { // TODO: who does not read makes all wait: a thread for each
            if *other != name { wire.reply("receive_message", "New message received.", message.clone()); }
        }
        // TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18)
    }
}

/// Serve one client from its first packet to its last.
fn serve(mut socket: TcpStream, shared: Arc<Mutex<Shared>>) -> std::io::Result<()> {
    let wire = Arc::new(Wire::new(socket.try_clone()?));
    let mut client = Client { wire, shared, name: None, transactions: HashMap::new() };
    while let Some(packet) = receive(&mut socket, &client.wire) { // TODO: answer bad_json, and go on (R-JSON-9)
        client.handle(&packet);
    }
    if let Some(name) = client.name { client.shared.lock().unwrap().clients.remove(&name); }
    Ok(())
}

fn main() {
    let stop = |why: String| -> ! {
        eprintln!("cannot listen: {why}");
        std::process::exit(1)
    };
    let port = std::env::args().nth(1).unwrap_or("9876".to_string());
    let port: u16 = port.parse().unwrap_or_else(|error| stop(format!("{port}: {error}")));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| stop(error.to_string()));
    println!("listening on {}", listener.local_addr().unwrap());
    let shared = Arc::new(Mutex::new(Shared::default()));
    for socket in listener.incoming() {
        let shared = shared.clone();
        match socket {
            Ok(socket) => drop(std::thread::spawn(move || serve(socket, shared))),
            Err(why) => { // too many are open: a moment later it is tried again
                eprintln!("cannot accept: {why}");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}
