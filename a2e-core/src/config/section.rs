//! Reads the keys of one map of the file, notes every mistake and remembers which keys are known.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Position;
use super::node::{Data, Entry, Node, Origin};
use super::problem::{Findings, Spot, did_you_mean, is_secret_key};

/// One map of the file while it is checked. A key that is null counts as absent.
pub(super) struct Section<'a> {
    findings: &'a Findings,
    plugin: Option<&'a str>,
    /// The whole path, for programs.
    path: String,
    /// The path as messages show it: from the plugin on, once its name is known.
    label: String,
    at: Position,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The map at the top of the file.
    pub(super) fn root(findings: &'a Findings, at: Position, entries: &'a [Entry]) -> Self {
        let (path, label) = (String::new(), String::new());
        Self { findings, plugin: None, path, label, at, entries, known: Vec::new() }
    }

    /// From here on messages name the plugin.
    pub(super) fn set_plugin(&mut self, name: &'a str) {
        self.plugin = Some(name);
        self.label.clear();
    }

    pub(super) fn at(&self) -> Position {
        self.at
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// The value of a key, which is known from now on.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.data, Data::Null | Data::Broken)).then_some(&entry.node)
    }

    /// Whether a value stands there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.key == key && !matches!(entry.node.data, Data::Null))
    }

    /// The text under `name`, without a judgement.
    pub(super) fn name(&self) -> Option<&'a str> {
        let entry = self.entries.iter().find(|entry| entry.key == "name")?;
        match &entry.node.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// A place below this map.
    pub(super) fn spot(&self, at: Position, key: &str) -> Spot<'a> {
        Spot { at, plugin: self.plugin, path: join(&self.path, key) }
    }

    /// Notes an error about a key's value.
    pub(super) fn error(&self, node: &Node, key: &str, message: &str, hint: Option<String>) {
        let message = format!("{}: {message}", join(&self.label, key));
        self.findings.error(self.spot(node.at, key), message, hint);
    }

    /// Notes a warning about a key's value.
    pub(super) fn warning(&self, at: Position, key: &str, message: &str, hint: Option<String>) {
        let message = format!("{}: {message}", join(&self.label, key));
        self.findings.warning(self.spot(at, key), message, hint);
    }

    /// Notes that a required key is not there.
    pub(super) fn missing(&self, key: &str) {
        let message = match self.label.as_str() {
            "" => format!("missing key {key:?}"),
            label => format!("{label}: missing key {key:?}"),
        };
        self.findings.error(self.spot(self.at, key), message, None);
    }

    fn wrong(&self, node: &Node, key: &str, expected: &str, hint: Option<String>) {
        let found = node.describe(is_secret_key(key));
        self.error(node, key, &format!("expected {expected}, found {found}"), hint);
    }

    /// A text; `None` when it is absent or something else, which is then noted.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let node = self.get(key)?;
        match &node.data {
            Data::Text(text, _) if is_one_line(text) => return Some(text),
            Data::Text(..) => self.error(node, key, "must be one line of visible characters", None),
            Data::Bool(_) | Data::Number(_) => {
                self.wrong(node, key, "a text", Some("put it in quotes".to_owned()));
            }
            _ => self.wrong(node, key, "a text", None),
        }
        None
    }

    /// A text that is not empty.
    pub(super) fn word(&mut self, key: &'static str) -> Option<&'a str> {
        let text = self.text(key)?;
        if let (true, Some(node)) = (text.trim().is_empty(), self.get(key)) {
            self.error(node, key, "must not be empty", None);
            return None;
        }
        Some(text)
    }

    /// A path of the file system.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        self.word(key).map(PathBuf::from)
    }

    /// A switch.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Bool(value) => Some(*value),
            Data::Text(text, origin) => {
                let value = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => Some(true),
                    "false" | "no" | "off" => Some(false),
                    _ => None,
                };
                value.inspect(|_| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        if value.is_none() {
            self.wrong(node, key, "true or false", None);
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Number(number) => number.as_i64(),
            Data::Text(text, origin) => {
                text.parse().ok().inspect(|_: &i64| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(node, key, &expected, None);
        }
        value
    }

    /// Puts a whole number within bounds where it belongs; leaves the default otherwise.
    pub(super) fn set(&mut self, key: &'static str, range: RangeInclusive<i64>, slot: &mut usize) {
        let value = self.integer(key, range).and_then(|value| usize::try_from(value).ok());
        *slot = value.unwrap_or(*slot);
    }

    /// A time span in seconds, with fractions, within bounds.
    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<Duration> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Number(number) => number.as_f64(),
            Data::Text(text, origin) => {
                text.parse().ok().inspect(|_: &f64| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        let value = value
            .filter(|value| range.contains(value))
            .and_then(|value| Duration::try_from_secs_f64(value).ok());
        if value.is_none() {
            let expected = format!("seconds from {} to {}", range.start(), range.end());
            self.wrong(node, key, &expected, None);
        }
        value
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let node = self.get(key)?;
        // YAML 1.1 reads a bare `off` as false; where "off" is a word of ours that is what was meant.
        let text = match &node.data {
            Data::Text(text, _) => text.as_str(),
            Data::Bool(false) => "off",
            _ => "",
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = did_you_mean(text, names.iter().copied());
            self.wrong(node, key, &format!("one of {}", names.join(", ")), hint);
        }
        found
    }

    /// A map below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let node = self.get(key)?;
        self.map_of(node, key, "a map")
    }

    /// A value as a map, at a path below this one.
    pub(super) fn map_of(&self, node: &'a Node, key: &str, expected: &str) -> Option<Section<'a>> {
        let Data::Map(entries) = &node.data else {
            self.wrong(node, key, expected, None);
            return None;
        };
        Some(Section {
            findings: self.findings,
            plugin: self.plugin,
            path: join(&self.path, key),
            label: join(&self.label, key),
            at: node.at,
            entries,
            known: Vec::new(),
        })
    }

    /// A list.
    pub(super) fn list(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        let Data::List(list) = &node.data else {
            let is_one = matches!(node.data, Data::Text(..) | Data::Map(_));
            let hint = is_one.then(|| "begin each entry with \"- \"".to_owned());
            self.wrong(node, key, "a list", hint);
            return None;
        };
        Some(list)
    }

    /// Warns of every key that was never asked for. `elsewhere` are keys that belong in a map below.
    pub(super) fn finish(self, elsewhere: &[(&str, &str)]) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let key = &entry.key;
            let place = elsewhere.iter().find(|(name, _)| name == key);
            let hint = match place {
                Some((_, place)) => Some(format!("it belongs under {place:?}")),
                None => did_you_mean(key, self.known.iter().copied()),
            };
            let message = match self.label.as_str() {
                "" => format!("unknown key {key:?}"),
                label => format!("unknown key {key:?} in {label}"),
            };
            self.findings.warning(self.spot(entry.at, key), message, hint);
        }
    }

    /// A number in quotes is read as one, as the reference does, and gets a warning.
    fn quoted(&self, node: &Node, key: &str, origin: Origin) {
        if origin == Origin::Quoted {
            let hint = Some("write it without them".to_owned());
            self.warning(node.at, key, "stands in quotes", hint);
        }
    }
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, key) if key.starts_with('[') => format!("{path}{key}"),
        (path, key) => format!("{path}.{key}"),
    }
}
