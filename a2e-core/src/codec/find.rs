//! Single fields of a checked line, found without decoding the rest of it.

use super::decode::Incoming;
use super::scan::member::{unescaped, within_quotes};
use super::text::long_plain_run;

impl<'a> Incoming<'a> {
    /// The value of a field as it is written; dots lead into objects (`arguments.path`). Of a key that
    /// stands twice the last one counts, as it does for most readers.
    pub(crate) fn field(&self, path: &str) -> Option<&'a str> {
        let mut keys = path.split('.');
        let first = keys.next()?;
        let mut json = if self.members.is_empty() {
            member(self.text, first)?.0
        } else {
            let members = self.members.iter().rev();
            members
                .map(|it| (it.key(self.text), it))
                .find(|(key, _)| is_key(key, first))?
                .1
                .value(self.text)
        };
        for key in keys {
            json = member(json, key)?.0;
        }
        Some(json)
    }

    /// Whether a key on this path stands twice, so that two readers may take two values for it.
    pub(crate) fn is_ambiguous(&self, path: &str) -> bool {
        let mut json = self.text;
        for key in path.split('.') {
            match member(json, key) {
                Some((_, count)) if count > 1 => return true,
                Some((value, _)) => json = value,
                None => return false,
            }
        }
        false
    }
}

/// Whether a key, quotes included, is this one.
fn is_key(written: &str, key: &str) -> bool {
    let inner = within_quotes(written);
    inner == key || (inner.contains('\\') && unescaped(written) == key)
}

/// The value of a member of an object, and how often its key stands there; `None` where there is none.
pub(crate) fn member<'a>(json: &'a str, key: &str) -> Option<(&'a str, usize)> {
    let bytes = json.as_bytes();
    let mut at = skip(bytes, 0, is_space);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    let (mut found, mut count) = (None, 0);
    loop {
        at = skip(bytes, at, |byte| is_space(byte) || byte == b',');
        if bytes.get(at) != Some(&b'"') {
            return found.map(|value| (value, count));
        }
        let written = at;
        at = end_of_string(bytes, at);
        let name = json.get(written..at)?;
        let value = skip(bytes, at, |byte| is_space(byte) || byte == b':');
        at = end_of_value(bytes, value);
        if is_key(name, key) {
            (found, count) = (json.get(value..at), count + 1);
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip(bytes: &[u8], at: usize, is_skipped: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| is_skipped(**byte)).count()
}

/// The place behind a string that begins here.
fn end_of_string(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    loop {
        at += long_plain_run(bytes, at);
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            None => return bytes.len(),
            Some(_) => at += 1,
        }
    }
}

/// The place behind a value that begins here.
fn end_of_value(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            // Behind a number or a word.
            b'}' | b',' if depth == 0 => return at,
            byte if depth == 0 && is_space(byte) => return at,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::codec::scan::scan;

    fn field(line: &str, path: &str) -> Option<String> {
        let scanned = scan(line.as_bytes()).unwrap();
        let found = Incoming::of(&scanned).field(path).map(str::to_owned);
        let body = Incoming::of(&scanned).to_body();
        assert_eq!(body.as_incoming().field(path).map(str::to_owned), found, "{line}");
        found
    }

    #[test]
    fn a_field_is_found_as_it_is_written() {
        let line = r#" {"a":1 ,"b" : {"c":[{"c":"x}"},2] , "d":"q\"}","e":{}},"f":-1.5e3,"f":null,"g":"t"} "#;
        for (path, expected) in [
            ("a", Some("1")),
            ("b.c", Some(r#"[{"c":"x}"},2]"#)),
            ("b.d", Some(r#""q\"}""#)),
            ("b.e", Some("{}")),
            ("b.e.x", None),
            ("b.c.c", None),
            ("f", Some("null")),
            ("g", Some("\"t\"")),
            ("g.x", None),
            ("c", None),
            ("", None),
            ("b.", None),
        ] {
            assert_eq!(field(line, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn no_spelling_hides_a_field() {
        for line in [
            r#"{"a":{"p\u0061th":"x"}}"#,
            r#"{"\u0061":{"path":"x"}}"#,
            r#"{"a":{"path":"y","path":"x"}}"#,
            r#"{"a":{"path":"y"},"a":{"p\u0061th":"x"}}"#,
        ] {
            assert_eq!(field(line, "a.path").as_deref(), Some("\"x\""), "{line}");
            let scanned = scan(line.as_bytes()).unwrap();
            let is_double = line.matches(r#":""#).count() > 1;
            assert_eq!(Incoming::of(&scanned).is_ambiguous("a.path"), is_double, "{line}");
        }
        // More members than are kept.
        let many: serde_json::Map<String, Value> =
            (0..100).map(|at| (format!("k{at}"), at.into())).collect();
        let many = Value::Object(many).to_string().replace('}', ",\"path\":\"x\"}");
        assert_eq!(field(&many, "path").as_deref(), Some("\"x\""));
    }

    proptest! {
        #[test]
        fn each_member_of_any_object_is_found(
            members in prop::collection::btree_map("[a-z\"\\\\{,:é]{0,4}", any::<(String, Vec<i8>)>(), 0..5)
        ) {
            let line = serde_json::to_string(&members).unwrap();
            for (key, value) in &members {
                if key.contains('.') { continue; }
                let found = field(&line, key).unwrap();
                let expected = serde_json::to_value(value).unwrap();
                prop_assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
            }
        }
    }
}
