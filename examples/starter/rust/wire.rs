// The wire of the starter: frames of packets, keys that nobody guesses, and the time.
use crate::json::{object, text, Json};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

const MAX_FRAME: usize = 1_048_576;

/// Where a client is written to. Two threads must not mix their bytes: so there is a lock.
pub struct Wire(Mutex<TcpStream>);

impl Wire {
    pub fn new(socket: TcpStream) -> Wire {
        Wire(Mutex::new(socket))
    }

    /// Send one packet as one frame: 4 bytes of length, big-endian, then the JSON.
    pub fn send(&self, packet: Json) {
        let payload = packet.write().into_bytes();
        let frame = [&(payload.len() as u32).to_be_bytes()[..], &payload].concat();
        let _ = self.0.lock().unwrap().write_all(&frame); // who is gone misses it
    }

    pub fn reply(&self, action: &str, message: &str, data: Json) {
        self.send(object([("action", text(action)), ("status", text("success")), ("message", text(message)), ("data", data)]));
    }

    pub fn error(&self, original: &str, code: &str, message: &str) {
        self.send(object([("action", text("error")), ("status", text("error")), ("message", text(message)),
            ("original_action", text(original)), ("code", text(code))]));
    }
}

/// Return the next packet. TCP may hand over half a frame or three: read_exact waits for all of it.
pub fn receive(socket: &mut TcpStream, wire: &Wire) -> Option<Json> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes(header) as usize;
    if !(1..=MAX_FRAME).contains(&length) {
        wire.error("unknown", "bad_frame", &format!("a frame of length {length} can't be read"));
        return None;
    }
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).ok()?;
    Json::read(&String::from_utf8(payload).ok()?).filter(|packet| matches!(packet, Json::Object(_)))
}

/// Return random digits behind a prefix: the keys of Rust's hash maps are random, so we take theirs.
pub fn random_key(prefix: &str) -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{prefix}{:016x}{:016x}", number(), number())
}

/// Return the time as 2026-01-31T12:00:00Z.
pub fn timestamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (mut day, mut year, mut month) = (seconds / 86_400, 1970, 0);
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + leap(year) as u64 {
        day -= 365 + leap(year) as u64;
        year += 1;
    }
    let days = [31, 28 + leap(year) as u64, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= days[month] {
        day -= days[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
}
