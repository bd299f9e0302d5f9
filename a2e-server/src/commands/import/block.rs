//! One server, as another program knows it, and as ours will.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::secret;

/// One server.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// As the other program names it.
    pub(super) name: String,
    /// The id that ours has.
    pub(super) id: String,
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: String,
    pub(super) url: String,
    pub(super) is_sse: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) timeout: Option<f64>,
    pub(super) is_disabled: bool,
    /// What it is besides, which cannot be had here.
    kind: String,
}

impl Block {
    pub(super) fn of(name: &str, it: &Map<String, Value>) -> Self {
        let text = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| it.get(*key)?.as_str());
            found.unwrap_or_default().to_owned()
        };
        let texts = |key: &str| {
            let list = it.get(key).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let pairs = |keys: &[&str]| {
            let map = keys.iter().find_map(|key| it.get(*key)?.as_object());
            let pairs = map.into_iter().flatten().map(|(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (key.clone(), value)
            });
            pairs.collect::<BTreeMap<_, _>>()
        };
        let is = |key: &str, value: bool| it.get(key).and_then(Value::as_bool) == Some(value);
        let mut env = pairs(&["env", "envs"]);
        // goose keeps the values of these in a keyring.
        env.extend(texts("env_keys").into_iter().map(|key| {
            let value = format!("${{{key}}}");
            (key, value)
        }));
        let kind = text(&["type", "transport"]);
        Self {
            name: name.to_owned(),
            id: id(name),
            command: text(&["command", "cmd"]),
            args: texts("args"),
            env,
            cwd: text(&["cwd"]),
            url: text(&["url", "uri", "serverUrl", "httpUrl"]),
            is_sse: kind == "sse",
            headers: pairs(&["headers"]),
            timeout: it.get("timeout").and_then(Value::as_f64).filter(|it| *it > 0.0),
            is_disabled: is("disabled", true) || is("enabled", false),
            kind,
        }
    }

    /// The server as ours will have it; `None` for one that cannot be had. Says what a person should know.
    pub(super) fn cleaned(mut self, notes: &mut Vec<String>) -> Option<Self> {
        let name = self.name.clone();
        if self.command.is_empty() && self.url.is_empty() {
            let what = if self.kind.is_empty() { "nothing to run" } else { &self.kind };
            notes.push(format!("{name}: left out: it has neither `command` nor `url` ({what})"));
            return None;
        }
        if self.command.is_empty() && !self.url.starts_with("http") {
            notes.push(format!("{name}: left out: `{}` is no address over HTTP", self.url));
            return None;
        }
        let prefix = self.id.to_ascii_uppercase().replace('-', "_");
        let mut hide = |value: &mut String, key: &str, variable: String| {
            if let Some(named) = secret::placeholder(value) {
                value.clone_from(&named);
                for variable in secret::variables(&named) {
                    notes.push(format!("{name}: {key} comes from the variable {variable}"));
                }
            } else if secret::is_secret(key, value) {
                *value = format!("${{{variable}}}");
                notes.push(format!(
                    "{name}: {key} looks like a secret and is not written: set the variable {variable}"
                ));
            }
        };
        for (key, value) in &mut self.env {
            hide(value, key, key.clone());
        }
        for (key, value) in &mut self.headers {
            let variable = key.to_ascii_uppercase().replace('-', "_");
            hide(value, key, format!("{prefix}_{variable}"));
        }
        let mut option = String::new();
        for (place, value) in self.args.iter_mut().enumerate() {
            let variable = format!("{prefix}_ARG_{}", place + 1);
            let given = value.split_once('=').filter(|(name, _)| name.starts_with('-'));
            if let Some((name, text)) = given {
                let (name, mut text) = (name.to_owned(), text.to_owned());
                hide(&mut text, &name, variable);
                *value = format!("{name}={text}");
                option.clear();
            } else if value.starts_with('-') {
                hide(value, "an argument", variable);
                option.clone_from(value);
            } else {
                let name = if option.is_empty() { "an argument" } else { &option };
                hide(value, name, variable);
                option.clear();
            }
        }
        if let Some((place, query)) = self.url.clone().split_once('?') {
            let hidden = query.split('&').enumerate().map(|(number, pair)| {
                let Some((name, text)) = pair.split_once('=') else { return pair.to_owned() };
                let mut text = text.to_owned();
                hide(&mut text, name, format!("{prefix}_QUERY_{}", number + 1));
                format!("{name}={text}")
            });
            self.url = format!("{place}?{}", hidden.collect::<Vec<_>>().join("&"));
        }
        if !self.command.is_empty() {
            self.url.clear();
            self.headers.clear();
        }
        Some(self)
    }
}

/// Letters, digits, `-` and `_` of a name.
fn id(name: &str) -> String {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fit: String = name.chars().map(|c| if is_fit(c) { c } else { '_' }).collect();
    let parts: Vec<&str> = fit.split('_').filter(|part| !part.is_empty()).collect();
    let id = parts.join("_");
    let id = id.get(..id.len().min(64)).unwrap_or_default().trim_end_matches('_').to_owned();
    if id.is_empty() { "server".to_owned() } else { id }
}
