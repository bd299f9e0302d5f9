//! The words of a query, looked for in JSON text without decoding it into values.

use std::borrow::Cow;
use std::ops::ControlFlow;

#[cfg(feature = "sqlite")]
use crate::memory::protocol::MemoryEntry;

/// The words of a query, in lower case.
#[derive(Debug)]
pub(in crate::memory) struct Words(Vec<String>);

impl Words {
    /// Splits a query at white space.
    pub(in crate::memory) fn of(query: &str) -> Self {
        Self(query.split_whitespace().map(|word| lower(word).into_owned()).collect())
    }

    pub(in crate::memory) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(feature = "sqlite")]
    pub(in crate::memory) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Starts a search in one entry.
    pub(in crate::memory) fn search(&self) -> Search<'_> {
        Search { missing: self.0.iter().map(String::as_str).collect() }
    }
}

/// The words that one entry has not shown yet.
#[derive(Debug)]
pub(in crate::memory) struct Search<'a> {
    missing: Vec<&'a str>,
}

impl Search<'_> {
    pub(in crate::memory) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Looks in plain text.
    pub(in crate::memory) fn text(&mut self, text: &str) {
        if !self.is_done() {
            let text = lower(text);
            self.missing.retain(|word| !text.contains(word));
        }
    }

    /// Looks in every text (member names too), number and literal of a JSON value.
    pub(in crate::memory) fn json(&mut self, json: &str) {
        each_scalar(json, |scalar| {
            self.text(scalar);
            if self.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
}

/// Everything of an entry that a query is looked for in, in lower case: a word is in it exactly when
/// [`Search`] finds it, for no word has white space.
#[cfg(feature = "sqlite")]
pub(in crate::memory) fn document(entry: &MemoryEntry) -> String {
    let mut text = String::new();
    let mut add = |scalar: &str| {
        text.push_str(&lower(scalar));
        text.push('\n');
    };
    let mut each = |json: &str| {
        each_scalar(json, |scalar| {
            add(scalar);
            ControlFlow::Continue(())
        });
    };
    each(entry.key.raw().get());
    each(entry.content.get());
    entry.tags.iter().for_each(|tag| add(tag));
    if text.contains('\0') { text.replace('\0', "\n") } else { text }
}

/// How often a word stands in a document.
#[cfg(feature = "sqlite")]
pub(in crate::memory) fn count_in(document: &str, word: &str) -> usize {
    document.matches(word).count()
}

/// Character by character, so that a word has one form wherever it stands (a sigma at a word's end).
fn lower(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(text.chars().flat_map(char::to_lowercase).collect());
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// Calls `visit` with every scalar of a valid JSON text, texts decoded.
fn each_scalar(json: &str, mut visit: impl FnMut(&str) -> ControlFlow<()>) {
    let structure = ['{', '}', '[', ']', ',', ':', ' ', '\t', '\n', '\r'];
    let mut rest = json;
    loop {
        rest = rest.trim_start_matches(structure);
        if rest.is_empty() {
            return;
        }
        let end = match rest.strip_prefix('"') {
            Some(inner) => 1 + text_length(inner),
            None => rest.find(structure).unwrap_or(rest.len()),
        };
        let (scalar, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if visit(&decoded(scalar)).is_break() {
            return;
        }
        rest = after;
    }
}

/// The bytes of a JSON text after its first quote, the closing one included.
fn text_length(inner: &str) -> usize {
    let mut is_escaped = false;
    let close = inner.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    });
    close.map_or(inner.len(), |at| at + 1)
}

/// A text without quotes and escapes; one that has no characters (a lone surrogate) as it is written.
fn decoded(scalar: &str) -> Cow<'_, str> {
    let Some(inner) = scalar.strip_prefix('"') else { return Cow::Borrowed(scalar) };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    if inner.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(scalar)
    {
        return Cow::Owned(text);
    }
    Cow::Borrowed(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(json: &str) -> Vec<String> {
        let mut all = Vec::new();
        each_scalar(json, |scalar| {
            all.push(scalar.to_owned());
            ControlFlow::Continue(())
        });
        all
    }

    #[test]
    fn scalars_are_found_and_decoded() {
        for (json, expected) in [
            (
                r#"{"a": [1, -2.5e3 ,true],"b\n":"x\"y"}"#,
                vec!["a", "1", "-2.5e3", "true", "b\n", "x\"y"],
            ),
            (r#""\\""#, vec!["\\"]),
            (r#"["\\\"","z"]"#, vec!["\\\"", "z"]),
            (r#"["\u00e9","{[,:]}"]"#, vec!["é", "{[,:]}"]),
            (r#""\ud800 x""#, vec!["\\ud800 x"]),
            ("null", vec!["null"]),
            ("[[],{}]", vec![]),
            (r#""""#, vec![""]),
        ] {
            assert_eq!(scalars(json), expected, "{json}");
        }
    }

    #[test]
    fn all_words_must_stand_somewhere() {
        for (query, json, is_found) in [
            ("OSLO rain", r#"{"text":"Rain","city":"oslo"}"#, true),
            ("oslo snow", r#"{"text":"Rain","city":"oslo"}"#, false),
            ("straße", r#""STRASSE""#, false),
            ("ÉCOLE", r#""\u00e9cole""#, true),
            ("ΣΟΦΟΣ", r#""σοφοσ""#, true),
            ("city", r#"{"city":1}"#, true),
            ("2.5", "[2.50]", true),
            ("{", r#"{"a":1}"#, false),
            ("", "{}", true),
        ] {
            let words = Words::of(query);
            let mut search = words.search();
            search.json(json);
            assert_eq!(search.is_done(), is_found, "{query} in {json}");
        }
    }
}
