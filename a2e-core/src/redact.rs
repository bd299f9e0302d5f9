//! Secrets are not shown: not in problems of a configuration, not in logs, not in audit records.
//!
//! What is a secret is told by the name beside it (`--token x`, `API_KEY=x`, `Authorization: x`,
//! `{"password": "x"}`) or by its place in a URL. One without a name is not known as one.

use std::borrow::Cow;

use serde_json::Value;

/// What stands in the place of a secret.
pub(crate) const HIDDEN: &str = "***";

/// What the name of a secret has in it.
const PARTS: [&str; 8] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "api_key",
    "authorization",
    "private_key",
];

/// What systems say of files.
const REASONS: [&str; 5] = [
    "Permission denied",
    "No such file or directory",
    "Is a directory",
    "Not a directory",
    "File exists",
];

/// Whether values under this key are never shown (R69).
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    PARTS.iter().any(|part| key.contains(part))
}

/// A text without the secrets that it names.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'=' | b':' | b'@')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let (mark, after) = from.split_at(1);
        shown.push_str(mark);
        rest = after;
        if is_secret_key(last_word(before)) {
            let value = after.trim_start_matches([' ', '"', '\'']);
            shown.push_str(after.strip_suffix(value).unwrap_or_default());
            let quote = after.strip_suffix(value).and_then(|it| it.chars().last());
            let is_end = |it: char| match quote {
                Some(quote @ ('"' | '\'')) => it == quote,
                // A header goes on to its end: `Authorization: Bearer x`.
                _ if mark == ":" => matches!(it, '"' | '\'' | ',' | '}' | '\r' | '\n'),
                _ => matches!(it, ' ' | '&' | ';' | '"' | '\'' | '\n'),
            };
            let end = value.find(is_end).unwrap_or(value.len());
            let (secret, after) = value.split_at(end);
            shown.push_str(if is_reason(secret) { secret } else { HIDDEN });
            rest = after;
        } else if let Some(authority) = after.strip_prefix("//") {
            shown.push_str("//");
            let end = authority.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(authority.len());
            let host = authority.get(..end).and_then(|it| it.rfind('@')).unwrap_or(0);
            let (user, after) = authority.split_at(host);
            shown.push_str(if user.is_empty() { "" } else { HIDDEN });
            rest = after;
        }
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Whether it is no secret but nothing, or why a file of that name could not be used (`cat: secret: Is a directory`).
fn is_reason(value: &str) -> bool {
    let rest = REASONS.iter().find_map(|it| value.strip_prefix(it));
    value.is_empty() || rest.is_some_and(|it| it.is_empty() || it.starts_with(" (os error "))
}

/// The name that a text ends with.
fn last_word(text: &str) -> &str {
    let text = text.trim_end_matches([' ', '"', '\'']);
    let is_name =
        |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    let start = text.rfind(|character| !is_name(character));
    let start = start.map_or(0, |at| {
        at + text.get(at..).and_then(|it| it.chars().next()).map_or(0, char::len_utf8)
    });
    text.get(start..).unwrap_or_default()
}

/// Whether the word behind this one is a secret: an option that takes it as a word of its own.
fn names_the_next(word: &str) -> bool {
    word.starts_with('-') && !word.contains(['=', ' ']) && is_secret_key(word)
}

/// The words of a command as a shell would take them, without the secrets that they name.
pub(crate) fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let (mut shown, mut is_secret) = (String::new(), false);
    for word in words {
        let safe = if is_secret { Cow::Borrowed(HIDDEN) } else { text(word) };
        is_secret = !is_secret && names_the_next(word);
        if !shown.is_empty() {
            shown.push(' ');
        }
        if safe.is_empty() || safe.contains([' ', '\t', '\n', '"', '\'', '\\', '$']) {
            shown.push('\'');
            shown.push_str(&safe.replace('\'', r"'\''"));
            shown.push('\'');
        } else {
            shown.push_str(&safe);
        }
    }
    shown
}

/// Takes the secrets out of a value, at every depth.
pub(crate) fn value(json: &mut Value) {
    match json {
        Value::String(string) => {
            if let Cow::Owned(safe) = text(string) {
                *string = safe;
            }
        }
        Value::Array(items) => {
            let mut is_secret = false;
            for item in items {
                let names_next = !is_secret && item.as_str().is_some_and(names_the_next);
                if is_secret {
                    *item = HIDDEN.into();
                } else {
                    value(item);
                }
                is_secret = names_next;
            }
        }
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                if is_secret_key(key) && !member.is_null() {
                    *member = HIDDEN.into();
                } else {
                    value(member);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn named_secrets_are_hidden_and_nothing_else_is() {
        for (given, shown) in [
            ("notes/a b.md", "notes/a b.md"),
            ("", ""),
            ("a=b: c", "a=b: c"),
            ("x@y", "x@y"),
            ("TOKEN=abc", "TOKEN=***"),
            ("--api-key=abc", "--api-key=***"),
            ("env GITHUB_TOKEN='a b' PATH=/x run", "env GITHUB_TOKEN='***' PATH=/x run"),
            ("MY_PASSWORD=abc;true", "MY_PASSWORD=***;true"),
            ("Authorization: Bearer a.b-c", "Authorization: ***"),
            ("-H \"authorization: Basic x\" -v", "-H \"authorization: ***\" -v"),
            ("{\"password\": \"x\", \"a\": 1}", "{\"password\": \"***\", \"a\": 1}"),
            (
                "https://me:pw@host/p?access_token=abc&x=1",
                "https://***@host/p?access_token=***&x=1",
            ),
            ("https://host:80/a:b", "https://host:80/a:b"),
            ("postgres://u:p@h", "postgres://***@h"),
            ("secret:", "secret:"),
            ("cat: secret: Permission denied", "cat: secret: Permission denied"),
            ("token: Is a directory (os error 21)", "token: Is a directory (os error 21)"),
            (
                "my.secret: No such file or directory\nsecret: x",
                "my.secret: No such file or directory\nsecret: ***",
            ),
            ("password: Permission denied to x", "password: ***"),
            ("é=1 tökentoken=ü", "é=1 tökentoken=***"),
        ] {
            assert_eq!(text(given), shown, "{given}");
        }
    }

    #[test]
    fn the_words_of_a_command_are_told_apart() {
        for (words, shown) in [
            (&["git", "push"][..], "git push"),
            (&["git", "commit", "-m", "a token's use"], r"git commit -m 'a token'\''s use'"),
            (&["x", "--password", "hunter2", "y"], "x --password *** y"),
            (&["x", "--token", "--token", "y"], "x --token *** y"),
            (&["sh", "-c", "SECRET=1 run"], "sh -c 'SECRET=*** run'"),
            (&["a", ""], "a ''"),
            (&[], ""),
        ] {
            assert_eq!(command(words.iter().copied()), shown);
        }
    }

    #[test]
    fn values_are_hidden_at_every_depth() {
        let mut given = json!({
            "cmd": ["x", "--token", "abc", 1, "K_TOKEN=abc"],
            "env": { "A_TOKEN": "abc", "B": "https://u:abc@h" },
            "headers": [{ "Authorization": { "x": "abc" } }],
            "password": null,
        });
        value(&mut given);
        assert!(!given.to_string().contains("abc"), "{given}");
        assert_eq!(given["env"]["B"], "https://***@h");
        assert_eq!(given["cmd"][3], 1);
        assert_eq!(given["password"], json!(null));
    }
}
