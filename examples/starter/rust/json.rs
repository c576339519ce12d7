// JSON for the starter, as Rust's own library has none.
use std::collections::BTreeMap;

#[derive(Clone)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String), // its digits, as they came
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// Make an object: object([("key", text("value")), ...]).
pub fn object<const N: usize>(parts: [(&str, Json); N]) -> Json {
    Json::Object(parts.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

pub fn text(text: &str) -> Json { Json::Text(text.to_string()) }

impl Json {
    /// Return the value of a key; Null where there is none, or where this is no object.
    pub fn get(&self, key: &str) -> &Json {
        if let Json::Object(map) = self { map.get(key).unwrap_or(&Json::Null) } else { &Json::Null }
    }

    pub fn as_text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// Write it as JSON.
    pub fn write(&self) -> String {
        match self {
            Json::Null => "null".to_string(),
            Json::Bool(yes) => yes.to_string(),
            Json::Number(digits) => digits.clone(),
            Json::Text(text) => quoted(text),
            Json::List(list) => format!("[{}]", list.iter().map(Json::write).collect::<Vec<_>>().join(",")),
            Json::Object(map) => {
                let part = |(key, value): (&String, &Json)| format!("{}:{}", quoted(key), value.write());
                format!("{{{}}}", map.iter().map(part).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Read a whole text as one value; None where it is no JSON.
    pub fn read(text: &str) -> Option<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(1)?;
        reader.take("")?; // the blanks at the end
        (reader.at == text.len()).then_some(value)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' => out += &format!("\\u{:04x}", c as u32),
            _ => out.push(c),
        }
    }
    out + "\""
}

struct Reader<'a> { text: &'a str, at: usize } // at: the next byte to read

impl Reader<'_> {
    /// Take one character.
    fn next(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Pass blanks, then these characters if they are next.
    fn take(&mut self, word: &str) -> Option<()> {
        self.at = self.text.len() - self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > 32 { return None; } // R-JSON-3
        self.take("")?; // blanks
        match self.text[self.at..].chars().next()? {
            '"' => Some(Json::Text(self.string()?)),
            '[' => {
                let mut list = Vec::new();
                self.at += 1;
                while self.take("]").is_none() {
                    if !list.is_empty() { self.take(",")?; }
                    list.push(self.value(depth + 1)?);
                }
                Some(Json::List(list))
            }
            '{' => {
                let (mut map, mut first) = (BTreeMap::new(), true);
                self.at += 1;
                while self.take("}").is_none() {
                    if !std::mem::take(&mut first) { self.take(",")?; }
                    let key = self.string()?;
                    self.take(":")?;
                    map.insert(key, self.value(depth + 1)?);
                }
                Some(Json::Object(map))
            }
            't' => self.take("true").map(|_| Json::Bool(true)),
            'f' => self.take("false").map(|_| Json::Bool(false)),
            'n' => self.take("null").map(|_| Json::Null),
            _ => self.number(),
        }
    }

    /// Read -12.5e+3: Rust reads it, after a look that it is not one of those that only Rust knows (.5, +1, 012, inf).
    fn number(&mut self) -> Option<Json> {
        let rest = &self.text[self.at..];
        let word = &rest[..rest.find(|c: char| !"+-.eE0123456789".contains(c)).unwrap_or(rest.len())];
        let digits = word.strip_prefix('-').unwrap_or(word).as_bytes();
        let begins_right = digits.first()?.is_ascii_digit() && !(digits[0] == b'0' && digits.get(1).is_some_and(u8::is_ascii_digit));
        let dot_is_right = word.split_once('.').map_or(true, |(_, behind)| behind.starts_with(|c: char| c.is_ascii_digit()));
        if !begins_right || !dot_is_right || word.parse::<f64>().is_err() { return None; }
        self.at += word.len();
        Some(Json::Number(word.to_string()))
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut units = Vec::new(); // as UTF-16: \ud83d\ude00 are two units, and one emoji
        loop {
            match self.next()? {
                '"' => return String::from_utf16(&units).ok(), // half of a pair is no text
                '\0'..='\x1f' => return None,
                '\\' => units.push(self.escape()?),
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        let letter = self.next()?;
        if let Some(place) = "\"\\/bfnrt".find(letter) { return Some(b"\"\\/\x08\x0c\n\r\t"[place] as u16); }
        let digits = self.text.get(self.at..self.at + 4)?;
        if letter != 'u' || !digits.bytes().all(|b| b.is_ascii_hexdigit()) { return None; }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }
}
