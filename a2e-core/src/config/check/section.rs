//! Reads the keys of one map of the file, notes every mistake and remembers which keys are known.

use crate::config::Position;
use crate::config::problem::{Findings, Spot, did_you_mean};
use crate::config::tree::node::{Data, MapEntry, Node};
use crate::redact::is_secret_key;

/// One map of the file while it is checked. A key that is null counts as absent.
pub(in crate::config) struct Section<'a> {
    findings: &'a Findings,
    plugin: Option<&'a str>,
    /// The whole path, for programs.
    path: String,
    /// The path as messages show it: from the plugin on, once its name is known.
    label: String,
    at: Position,
    entries: &'a [MapEntry],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The map at the top of the file.
    pub(in crate::config) fn root(
        findings: &'a Findings,
        at: Position,
        entries: &'a [MapEntry],
    ) -> Self {
        let (path, label) = (String::new(), String::new());
        Self { findings, plugin: None, path, label, at, entries, known: Vec::new() }
    }

    /// From here on messages name the plugin.
    pub(in crate::config) fn set_plugin(&mut self, name: &'a str) {
        self.plugin = Some(name);
        self.label.clear();
    }

    pub(in crate::config) fn at(&self) -> Position {
        self.at
    }

    pub(in crate::config) fn path(&self) -> &str {
        &self.path
    }

    pub(in crate::config) fn entries(&self) -> &'a [MapEntry] {
        self.entries
    }

    /// The value of a key, which is known from now on.
    pub(in crate::config) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.data, Data::Null | Data::Broken)).then_some(&entry.node)
    }

    /// Whether a value stands there, right or wrong.
    pub(in crate::config) fn has(&self, key: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.key == key && !matches!(entry.node.data, Data::Null))
    }

    /// The text under `name`, without a judgement.
    pub(in crate::config) fn name(&self) -> Option<&'a str> {
        let entry = self.entries.iter().find(|entry| entry.key == "name")?;
        match &entry.node.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// A place below this map.
    pub(in crate::config) fn spot(&self, at: Position, key: &str) -> Spot<'a> {
        Spot { at, plugin: self.plugin, path: join(&self.path, key) }
    }

    /// Notes an error about a key's value.
    pub(in crate::config) fn error(
        &self,
        node: &Node,
        key: &str,
        message: &str,
        hint: Option<String>,
    ) {
        let message = format!("{}: {message}", join(&self.label, key));
        self.findings.error(self.spot(node.at, key), message, hint);
    }

    /// Notes a warning about a key's value.
    pub(in crate::config) fn warning(
        &self,
        at: Position,
        key: &str,
        message: &str,
        hint: Option<String>,
    ) {
        let message = format!("{}: {message}", join(&self.label, key));
        self.findings.warning(self.spot(at, key), message, hint);
    }

    /// Notes that a required key is not there.
    pub(in crate::config) fn missing(&self, key: &str) {
        let message = match self.label.as_str() {
            "" => format!("missing key {key:?}"),
            label => format!("{label}: missing key {key:?}"),
        };
        self.findings.error(self.spot(self.at, key), message, None);
    }

    pub(in crate::config) fn wrong(
        &self,
        node: &Node,
        key: &str,
        expected: &str,
        hint: Option<String>,
    ) {
        let found = node.describe(is_secret_key(key));
        self.error(node, key, &format!("expected {expected}, found {found}"), hint);
    }

    /// A map below this one.
    pub(in crate::config) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let node = self.get(key)?;
        self.map_of(node, key, "a map")
    }

    /// A value as a map, at a path below this one.
    pub(in crate::config) fn map_of(
        &self,
        node: &'a Node,
        key: &str,
        expected: &str,
    ) -> Option<Section<'a>> {
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
    pub(in crate::config) fn list(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        let Data::List(list) = &node.data else {
            let is_one = matches!(node.data, Data::Text(..) | Data::Map(_));
            let hint = is_one.then(|| "begin each entry with \"- \"".to_owned());
            self.wrong(node, key, "a list", hint);
            return None;
        };
        Some(list)
    }

    /// Notes every key that was never asked for. `elsewhere` are keys that belong in a map below.
    pub(in crate::config) fn finish(self, elsewhere: &[(&str, &str)]) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let key = &entry.key;
            // The place for anchors (`x-common: &common {…}`), as other tools have it.
            if self.path.is_empty() && key.starts_with("x-") {
                continue;
            }
            let place = elsewhere.iter().find(|(name, _)| name == key);
            let hint = match place {
                Some((_, place)) => Some(format!("it belongs under {place:?}")),
                None => did_you_mean(key, self.known.iter().copied()),
            };
            let message = match self.label.as_str() {
                "" => format!("unknown key {key:?}"),
                label => format!("unknown key {key:?} in {label}"),
            };
            self.findings.unknown_key(self.spot(entry.at, key), message, hint);
        }
    }

    /// Whether unknown keys are only warnings.
    pub(in crate::config) fn is_lenient(&self) -> bool {
        self.findings.is_lenient()
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, key) if key.starts_with('[') => format!("{path}{key}"),
        (path, key) => format!("{path}.{key}"),
    }
}
