//! Checks a plugin's own settings against its config type.

#[cfg(test)]
mod tests;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::plugin::META_KEYS;
use crate::config::problem::{did_you_mean, unknown_key_severity};
use crate::config::settings::walk::{Unknown, Walk, WalkError};
use crate::config::{PluginConfig, Position, Problem, Severity};
use crate::redact::is_secret_key;

/// Keys that the host gives every plugin besides its settings; a config type need not know them.
const CONTRACT_KEYS: [&str; 4] = ["name", "type", "audit_log", "session_id"];

/// Keys that stand in the reference's samples, and that the reference does not read either.
const SAMPLE_KEYS: [&str; 2] = ["DISABLE_NETWORK", "network_disabled"];

/// Decodes the settings of a plugin into its config type.
///
/// A value that does not fit is an error at its place; several are found at once as far as the type
/// has defaults for them. So is a key that the type does not know, with the nearest name, unless the
/// entry is [lenient](PluginConfig::lenient); the value is there nevertheless. A
/// type that takes any key (a map, or `#[serde(flatten)]`) knows all of them.
pub fn settings_problems<T: DeserializeOwned>(plugin: &PluginConfig) -> (Option<T>, Vec<Problem>) {
    let mut settings: Map<String, Value> = plugin.settings().clone();
    settings.retain(|key, _| !CONTRACT_KEYS.contains(&key.as_str()));
    let unknown = RefCell::new(Vec::new());
    let (mut errors, mut removed) = (Vec::new(), BTreeSet::new());
    let value = loop {
        let error = match decode::<T>(&settings, &unknown) {
            Ok(value) => break errors.is_empty().then_some(value),
            Err(error) => error,
        };
        // Look for the next error without the key that caused this one.
        let key = error.path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let is_echo = removed.iter().any(|key| error.message == format!("missing field `{key}`"));
        if !is_echo {
            errors.push(error);
        }
        if is_echo || settings.remove(&key).is_none() {
            break None;
        }
        removed.insert(key);
    };
    let mut seen = BTreeSet::new();
    let mut problems: Vec<Problem> = unknown
        .into_inner()
        .iter()
        .filter(|found| seen.insert(found.path.clone()))
        .map(|found| unknown_key(plugin, found))
        .chain(errors.iter().map(|error| wrong_value(plugin, error)))
        .collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    (value, problems)
}

fn decode<T: DeserializeOwned>(
    settings: &Map<String, Value>,
    unknown: &RefCell<Vec<Unknown>>,
) -> Result<T, WalkError> {
    T::deserialize(Walk::top(&Value::Object(settings.clone()), unknown))
}

fn unknown_key(plugin: &PluginConfig, found: &Unknown) -> Problem {
    let (parent, key) = match found.path.rsplit_once('.') {
        Some((parent, key)) => (Some(parent), key),
        None => (None, found.path.as_str()),
    };
    if parent.is_none() && SAMPLE_KEYS.contains(&key) {
        let text = format!("{key:?} has no effect: it stands in samples, and nothing reads it");
        return plugin.setting_problem(Severity::Warning, &found.path, text, None);
    }
    let meta: &[&str] = if parent.is_none() { &META_KEYS } else { &[] };
    let message = match parent {
        Some(parent) => format!("unknown key {key:?} in {parent}"),
        None => format!("unknown key {key:?}"),
    };
    let hint = did_you_mean(key, found.fields.iter().chain(meta).copied());
    let severity = unknown_key_severity(plugin.source.is_lenient);
    plugin.setting_problem(severity, &found.path, message, hint)
}

fn wrong_value(plugin: &PluginConfig, error: &WalkError) -> Problem {
    let text = error.message.replace('`', "\"");
    let message = match error.path.as_str() {
        "" => text.replace("missing field", "missing key"),
        path if is_secret_key(path) => format!("{path}: the value does not fit"),
        path => format!("{path}: {}", text.replace("missing field", "missing key")),
    };
    let hint = variant_hint(&error.message);
    plugin.setting_problem(Severity::Error, &error.path, shorten(message), hint)
}

/// serde quotes a wrong text in full.
fn shorten(message: String) -> String {
    const MAX_CHARS: usize = 300;
    match message.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message,
    }
}

/// serde says: unknown variant `x`, expected one of `a`, `b`.
fn variant_hint(message: &str) -> Option<String> {
    let mut words = message.strip_prefix("unknown variant ")?.split('`').skip(1).step_by(2);
    did_you_mean(words.next()?, words)
}

impl PluginConfig {
    /// A problem with a setting, at the nearest place at or above its path that is known; an empty
    /// path stands for the entry as a whole.
    pub fn setting_problem(
        &self,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        let mut known = path;
        let at = loop {
            if let Some(at) = self.position_of(known) {
                break at;
            }
            match known.rfind(['.', '[']) {
                Some(end) => known = known.get(..end).unwrap_or_default(),
                None => break self.source.at,
            }
        };
        if self.source.is_front {
            let message = format!("{}: {}", self.name, message.into());
            return Problem { plugin: None, ..self.problem_at(severity, at, path, message, hint) };
        }
        let dot = if path.is_empty() { "" } else { "." };
        self.problem_at(severity, at, &format!("metadata{dot}{path}"), message.into(), hint)
    }

    /// A problem with `cls`: no such class, or one that cannot be built.
    pub fn cls_problem(
        &self,
        severity: Severity,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        self.problem_at(severity, self.source.cls_at, "cls", message.into(), hint)
    }

    fn problem_at(
        &self,
        severity: Severity,
        at: Position,
        key: &str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let dot = if self.source.path.is_empty() || key.is_empty() { "" } else { "." };
        Problem {
            severity,
            file: self.source.file.clone(),
            line: at.line,
            column: at.column,
            plugin: Some(self.name.to_string()),
            path: format!("{}{dot}{key}", self.source.path),
            message,
            hint,
        }
    }
}
