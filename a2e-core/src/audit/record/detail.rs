//! What a request was about, as its record tells it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::line::{push_cut, push_text};
use crate::codec::Incoming;
use crate::redact;

/// Bytes of all fields of a subject, in the form of the file. A field beyond it is left out.
pub(super) const MAX_SUBJECT: usize = 4 * 1024;

/// Bytes of a payload that are recorded.
const MAX_PAYLOAD: usize = 1024;

/// Bytes of a value that are looked at: more than are shown, and no work for a reader.
const MAX_SHOWN: usize = 1024;

/// The payload of a longer line is not looked into: a reader has no time for it.
const MAX_LOOK: usize = 64 * 1024;

/// A payload in the form of the file: each byte at most six, quotes, and what marks a cut.
#[cfg(test)]
pub(super) const MAX_PAYLOAD_FORM: usize = 6 * MAX_PAYLOAD + 16;

/// Fields of the envelope; they have places of their own in a record, or say nothing.
const ENVELOPE: [&str; 5] = ["type", "id", "version", "a2e", "ts"];

/// What a record says of its request beyond type and outcome. Secrets that have a name are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The members of an object, in the form of the file; empty for none.
    subject: String,
    /// A text in the form of the file; empty for none.
    payload: String,
}

impl Detail {
    /// What a line says under these fields, and all of it where the payload is wanted; `None` for nothing.
    pub(crate) fn of(
        fields: &[Cow<'static, str>],
        line: Incoming<'_>,
        with_payload: bool,
    ) -> Option<Self> {
        let mut detail = Self::default();
        for field in fields {
            if let Some(value) = line.field(field).and_then(shown) {
                detail.add(field, &value);
            }
        }
        if with_payload {
            detail.payload = payload(line.text());
        }
        (detail != Self::default()).then_some(detail)
    }

    /// Adds a field to the subject.
    pub fn note(&mut self, field: &str, value: &str) {
        self.add(field, &redact::text(value));
    }

    /// The subject as one JSON object; empty where there is none.
    pub fn subject(&self) -> String {
        if self.subject.is_empty() { String::new() } else { format!("{{{}}}", self.subject) }
    }

    pub(super) fn parts(&self) -> [&str; 2] {
        [&self.subject, &self.payload]
    }

    fn add(&mut self, field: &str, value: &str) {
        let hidden = redact::is_secret_key(field).then_some(redact::HIDDEN);
        let mut form = Vec::with_capacity(field.len() + value.len() + 8);
        if !self.subject.is_empty() {
            form.push(b',');
        }
        push_text(&mut form, field.as_bytes());
        form.push(b':');
        push_text(&mut form, hidden.unwrap_or(value).as_bytes());
        if self.subject.len() + form.len() <= MAX_SUBJECT {
            // It is ASCII.
            self.subject.push_str(&String::from_utf8_lossy(&form));
        }
    }
}

/// A value as a text: a list as the words of a command; objects say too much, null says nothing.
fn shown(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => {
            let text: Cow<'_, str> = serde_json::from_str(json).ok()?;
            Some(redact::text(text.get(..text.floor_char_boundary(MAX_SHOWN))?).into_owned())
        }
        b'[' => {
            let Words(words) = serde_json::from_str(json).ok()?;
            Some(redact::command(words.iter().map(String::as_str)))
        }
        b'{' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

/// The first items of a list.
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let (mut words, mut bytes) = (Vec::new(), 0);
                while bytes < MAX_SHOWN
                    && let Some(item) = items.next_element::<Value>()?
                {
                    let word = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                    bytes += word.len() + 1;
                    words.push(word);
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Words(words))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

/// The fields of a line beyond its envelope, as JSON in a text.
fn payload(line: &str) -> String {
    let mut form = Vec::new();
    if line.len() > MAX_LOOK {
        push_text(&mut form, format!("a line of {} bytes", line.len()).as_bytes());
    } else if let Ok(mut value) = serde_json::from_str::<Value>(line) {
        if let Some(members) = value.as_object_mut() {
            members.retain(|key, _| !ENVELOPE.contains(&key.as_str()));
        }
        redact::value(&mut value);
        push_cut(&mut form, &value.to_string(), MAX_PAYLOAD);
    }
    // It is ASCII.
    String::from_utf8_lossy(&form).into_owned()
}
