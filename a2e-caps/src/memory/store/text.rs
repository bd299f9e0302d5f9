//! The words of a query, looked for in JSON text without decoding it into values.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::memory::protocol::MemoryEntry;

/// The words of a query, each once, in the form of [`plain`].
#[derive(Debug)]
pub(in crate::memory) struct Words(Vec<String>);

impl Words {
    /// Splits a query at white space.
    pub(in crate::memory) fn of(query: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        for word in query.split_whitespace() {
            let word = plain(word);
            if !words.iter().any(|it| *it == word) {
                words.push(word.into_owned());
            }
        }
        Self(words)
    }

    pub(in crate::memory) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::memory) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::memory) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many of them stand in a document.
    pub(in crate::memory) fn count_in(&self, document: &str) -> usize {
        self.iter().filter(|word| document.contains(word)).count()
    }
}

/// Everything of an entry that a query is looked for in: every text (member names too), number and
/// literal of key and content, and the tags, in the form of [`plain`], each on a line of its own. No word
/// has white space, so none is found across two.
pub(in crate::memory) fn document(entry: &MemoryEntry) -> String {
    let mut text = String::new();
    let mut add = |scalar: &str| {
        text.push_str(&plain(scalar));
        text.push('\n');
    };
    each_scalar(entry.key.raw().get(), &mut add);
    each_scalar(entry.content.get(), &mut add);
    entry.tags.iter().for_each(|tag| add(tag));
    text
}

/// How often a word stands in a document.
pub(in crate::memory) fn count_in(document: &str, word: &str) -> usize {
    document.matches(word).count()
}

/// A text with its letters composed: two that look alike are one.
pub(in crate::memory) fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfc().collect())
}

/// A text in lower case, with its letters composed. Character by character, so that a word has one form
/// wherever it stands (a sigma at a word's end).
fn plain(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        let lower: String = text.chars().flat_map(char::to_lowercase).collect();
        return match composed(&lower) {
            Cow::Borrowed(_) => Cow::Owned(lower),
            Cow::Owned(composed) => Cow::Owned(composed),
        };
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// Calls `visit` with every scalar of a valid JSON text, texts decoded.
fn each_scalar(json: &str, mut visit: impl FnMut(&str)) {
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
        visit(&decoded(scalar));
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
        each_scalar(json, |scalar| all.push(scalar.to_owned()));
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
    fn words_are_counted_once_each_wherever_they_stand() {
        for (query, json, expected) in [
            ("OSLO rain", r#"{"text":"Rain","city":"oslo"}"#, 2),
            ("oslo snow oslo", r#"{"text":"Rain","city":"oslo"}"#, 1),
            ("straße", r#""STRASSE""#, 0),
            ("ÉCOLE", r#""\u00e9cole""#, 1),
            ("e\u{301}cole", r#""\u00c9COLE""#, 1),
            ("\u{c9}cole", r#""e\u0301cole""#, 1),
            ("\u{1112}\u{1161}\u{11ab}", r#""\ud55c""#, 1),
            ("ΣΟΦΟΣ", r#""σοφοσ""#, 1),
            ("city", r#"{"city":1}"#, 1),
            ("2.5", "[2.50]", 1),
            ("{", r#"{"a":1}"#, 0),
            ("ab", r#"["a","b"]"#, 0),
            ("", "{}", 0),
        ] {
            let key = serde_json::from_str(r#"{"none":0}"#).unwrap();
            let content = serde_json::from_str(json).unwrap();
            let tier = crate::memory::protocol::MemoryTier::Working;
            let document = document(&MemoryEntry::new(key, content, tier));
            assert_eq!(Words::of(query).count_in(&document), expected, "{query} in {json}");
        }
    }
}
