//! What is configured, by session: the tools of every toolkit under one provider.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::config::nearest;
use a2e_core::plugin::{BoxFuture, Host, Run};
use a2e_core::protocol::{ErrorCode, PluginName, SessionId};
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde_json::{Map, Value};

use super::contract::{Toolkit, ToolkitAbout};
use super::kits::Kit;
use super::protocol::ToolkitDefinition;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// Stands between the name of a toolkit and that of its tool.
const BETWEEN: &str = "__";

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A configuration that is in force.
struct Configured {
    tools: Arc<dyn ToolProvider>,
    /// As [`Offered::owner`].
    owner: Option<PluginName>,
    /// Without its secrets.
    shown: Map<String, Value>,
    /// Whether it has any.
    has_secrets: bool,
}

/// By toolkit.
type Session = BTreeMap<String, Configured>;

/// A toolkit that is there.
pub(super) struct Offered {
    kit: Arc<dyn Toolkit>,
    pub(super) about: ToolkitAbout,
    /// The plugin that brings it; `None`: it is built in.
    owner: Option<PluginName>,
}

/// The toolkits of a host, and what is configured of them.
pub(super) struct Toolkits {
    host: Host,
    built_in: Vec<Arc<dyn Toolkit>>,
    /// The operator's own configurations.
    own: BTreeMap<String, Arc<dyn ToolProvider>>,
    /// Guards the configurations; held for a look-up.
    sessions: Mutex<HashMap<SessionId, Session>>,
}

impl Toolkits {
    /// # Errors
    /// When a configuration of the operator cannot be had.
    pub(super) fn new(host: &Host, kits: Vec<Kit>) -> Result<Self> {
        let (mut built_in, mut own) = (Vec::new(), BTreeMap::new());
        for (kit, config) in kits {
            let about = kit.about();
            if let Some(config) = config {
                let wrong = |error: &Error| {
                    Error::runtime(format!("`{}.config`: {}", about.name, error.message()))
                };
                check(&about, &config).map_err(|error| wrong(&error))?;
                let tools = kit.configure_own(&config).map_err(|error| wrong(&error))?;
                own.insert(about.name, tools);
            }
            built_in.push(kit);
        }
        Ok(Self { host: host.clone(), built_in, own, sessions: Mutex::default() })
    }

    /// Those that are built in, then those of other plugins. A name is that of the first one, for every tenant.
    fn all(&self) -> Vec<Offered> {
        let others = self.host.contributions::<dyn Toolkit>().into_iter();
        let others = others.map(|it| (it.item, Some(it.owner)));
        let mut all: Vec<Offered> = Vec::new();
        for (kit, owner) in self.built_in.iter().map(|it| (Arc::clone(it), None)).chain(others) {
            let about = kit.about();
            if all.iter().all(|it| it.about.name != about.name) {
                all.push(Offered { kit, about, owner });
            }
        }
        all
    }

    /// As [`all`](Self::all), for the tenant of a call.
    pub(super) fn all_for(&self, call: &Call) -> Vec<Offered> {
        let mut all = self.all();
        all.retain(|it| self.is_seen(it.owner.as_ref(), call));
        all
    }

    fn is_seen(&self, owner: Option<&PluginName>, call: &Call) -> bool {
        let tenant = call.identity().tenant.as_deref();
        owner.is_none_or(|owner| self.host.is_seen(owner, tenant))
    }

    /// A toolkit as this session sees it.
    pub(super) fn definition(&self, about: ToolkitAbout, session: &SessionId) -> ToolkitDefinition {
        let sessions = self.sessions();
        let given = sessions.get(session).and_then(|it| it.get(&about.name));
        ToolkitDefinition {
            tools: about.tools.iter().map(|it| full_name(&about.name, &it.name)).collect(),
            configured: given.is_some() || self.own.contains_key(&about.name),
            config: given.map(|it| it.shown.clone()),
            name: about.name,
            alias: about.alias,
            description: about.description,
            category: about.category,
            tags: about.tags,
            icon_svg: about.icon_svg,
            schema: about.schema.as_object().cloned().unwrap_or_default(),
            version: about.version,
        }
    }

    /// Puts a configuration of a session in force. Blocks. Gives back whether the host has tools now that it
    /// did not have.
    ///
    /// # Errors
    /// `runtime_error` when there is no such toolkit for this call, or it cannot be had with this configuration.
    pub(super) fn configure(
        &self,
        name: &str,
        config: &Map<String, Value>,
        call: &Call,
    ) -> Result<bool> {
        self.put(self.all_for(call), name, config, call.session_id(), || call.is_cancelled())
    }

    /// The same for a session that comes back: whether its tenant still sees the toolkit is asked with each call.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub(super) fn configure_again(
        &self,
        name: &str,
        config: &Map<String, Value>,
        session: &SessionId,
    ) -> Result<bool> {
        self.put(self.all(), name, config, session, || false)
    }

    /// Of these toolkits.
    fn put(
        &self,
        mut all: Vec<Offered>,
        name: &str,
        config: &Map<String, Value>,
        session: &SessionId,
        is_gone: impl Fn() -> bool,
    ) -> Result<bool> {
        let found = all.iter().position(|it| it.about.name == name);
        let Some(Offered { kit, about, owner }) = found.map(|place| all.swap_remove(place)) else {
            let near = nearest(name, all.iter().map(|it| it.about.name.as_str()));
            let hint = near.map(|it| format!(", is `{it}` meant?")).unwrap_or_default();
            let text = format!("no toolkit is named `{name}`{hint}; `toolkit/list/req` lists them");
            return Err(Error::runtime(text).with_detail("toolkit_name", name));
        };
        check(&about, config)?;
        let tools = kit.configure(config)?;
        let (shown, has_secrets) = masked(&about.schema, config);
        let configured = Configured { tools, owner, shown, has_secrets };
        let mut sessions = self.sessions();
        // A session's calls are cancelled before it is forgotten here.
        if is_gone() {
            return Err(Error::new(ErrorCode::Cancelled, "nobody waits for the answer"));
        }
        let was_there = self.is_configured(name, &sessions);
        sessions.entry(session.clone()).or_default().insert(name.to_owned(), configured);
        drop(sessions);
        if !was_there {
            self.host.contribution_changed();
        }
        Ok(!was_there)
    }

    /// A session has ended: what it configured goes.
    pub(super) fn forget(&self, session: &SessionId) {
        let mut sessions = self.sessions();
        let Some(gone) = sessions.remove(session) else { return };
        let has_changed = gone.keys().any(|name| !self.is_configured(name, &sessions));
        drop(sessions);
        drop(gone);
        if has_changed {
            self.host.contribution_changed();
        }
    }

    /// What a session configured, without what has secrets.
    pub(super) fn kept(&self, session: &SessionId) -> Option<BTreeMap<String, Map<String, Value>>> {
        let sessions = self.sessions();
        let all = sessions.get(session)?.iter().filter(|(_, it)| !it.has_secrets);
        let kept: BTreeMap<_, _> = all.map(|(name, it)| (name.clone(), it.shown.clone())).collect();
        (!kept.is_empty()).then_some(kept)
    }

    fn is_configured(&self, name: &str, sessions: &HashMap<SessionId, Session>) -> bool {
        self.own.contains_key(name) || sessions.values().any(|it| it.contains_key(name))
    }

    /// The tools of a toolkit for a call, by the configuration of its session or the operator's.
    fn tools_for(&self, name: &str, call: &Call) -> Option<Arc<dyn ToolProvider>> {
        let sessions = self.sessions();
        let given = sessions.get(call.session_id()).and_then(|it| it.get(name));
        let given = given.map(|it| (Arc::clone(&it.tools), it.owner.clone()));
        drop(sessions);
        match given {
            Some((tools, owner)) => self.is_seen(owner.as_ref(), call).then_some(tools),
            None => self.own.get(name).cloned(),
        }
    }

    /// The provider of a call, and the call as that provider knows it.
    fn find(&self, call: &ToolCall) -> Result<(Arc<dyn ToolProvider>, ToolCall)> {
        let (kit, tool) = call.tool().split_once(BETWEEN).unwrap_or_default();
        let Some(tools) = self.tools_for(kit, call.request()) else {
            if !self.all_for(call.request()).iter().any(|it| it.about.name == kit) {
                let text =
                    format!("no tool is named `{}`; `tool/list/req` lists them", call.tool());
                let error = Error::new(ErrorCode::UnknownTool, text);
                return Err(error.with_detail("tool_name", call.tool()));
            }
            let text = format!(
                "toolkit `{kit}` is not configured in this session; `toolkit/configure/req` does"
            );
            return Err(Error::new(ErrorCode::ToolDenied, text).with_detail("toolkit_name", kit));
        };
        let inner = ToolCall::new(tool.into(), call.arguments().clone(), call.request().clone());
        Ok((tools, inner))
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ToolProvider for Toolkits {
    fn tools(&self) -> Vec<ToolDefinition> {
        let all = self.all();
        let sessions = self.sessions();
        let all = all.into_iter().map(|it| it.about);
        let configured = all.filter(|it| self.is_configured(&it.name, &sessions));
        let mut tools = Vec::new();
        for about in configured {
            for mut tool in about.tools {
                tool.name = full_name(&about.name, &tool.name);
                tool.toolkit = Some(about.name.clone());
                tools.push(tool);
            }
        }
        tools
    }

    fn is_offered(&self, tool: &str, call: &Call) -> bool {
        let kit = tool.split_once(BETWEEN).unwrap_or_default().0;
        self.tools_for(kit, call).is_some()
    }

    fn run(&self, tool: &str) -> Run {
        let (kit, tool) = tool.split_once(BETWEEN).unwrap_or_default();
        let sessions = self.sessions();
        // Where a tool runs does not depend on its configuration.
        let any = sessions.values().find_map(|it| it.get(kit)).map(|it| &it.tools);
        let any = any.or_else(|| self.own.get(kit)).cloned();
        drop(sessions);
        any.map_or(Run::Blocking, |it| it.run(tool))
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        let (tools, inner) = self.find(&call)?;
        tools.call(inner)
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        match self.find(&call) {
            Ok((tools, inner)) => tools.call_async(inner),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

fn full_name(kit: &str, tool: &str) -> String {
    format!("{kit}{BETWEEN}{tool}")
}

/// Holds a configuration against the schema of its toolkit. What is told has no values.
fn check(about: &ToolkitAbout, config: &Map<String, Value>) -> Result<()> {
    let checker = jsonschema::validator_for(&about.schema)
        .map_err(|_| Error::internal(format!("the schema of `{}` is none", about.name)))?;
    let config = Value::Object(config.clone());
    let errors: Vec<Value> = checker
        .iter_errors(&config)
        .take(16)
        .map(|error| {
            let loc = format!("config{}", error.instance_path().as_str().replace('/', "."));
            serde_json::json!({ "loc": loc, "msg": error.masked().to_string() })
        })
        .collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let field = |name: &str| first.get(name).and_then(Value::as_str).unwrap_or_default();
    let text = format!("{}: {}", field("loc"), field("msg"));
    Err(Error::runtime(text).with_detail("errors", errors))
}

/// Whether a part of a schema is `writeOnly` somewhere, or leads to a part that may be.
fn has_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(key, part)| is_secret_at(key, part)),
        Value::Array(list) => list.iter().any(has_secret),
        _ => false,
    }
}

fn is_secret_at(key: &str, part: &Value) -> bool {
    match key {
        "$ref" | "$dynamicRef" | "$recursiveRef" => true,
        "writeOnly" => *part == Value::Bool(true),
        _ => has_secret(part),
    }
}

/// A configuration without its secrets, and whether it has any. A value that holds one is hidden as a whole.
fn masked(schema: &Value, config: &Map<String, Value>) -> (Map<String, Value>, bool) {
    let empty = Map::new();
    let parts = schema.as_object().unwrap_or(&empty);
    // A secret beside the properties, such as in `anyOf`, can be any of them. Definitions count where they are used.
    let is_beside = |key: &str| !matches!(key, "properties" | "$defs" | "definitions");
    let all = parts.iter().any(|(key, part)| is_beside(key) && is_secret_at(key, part));
    let is_secret = |key: &str| {
        all || parts.get("properties").and_then(|it| it.get(key)).is_some_and(has_secret)
    };
    let mut has_secrets = false;
    let shown = config.iter().map(|(key, value)| {
        if !is_secret(key) {
            return (key.clone(), value.clone());
        }
        has_secrets |= *value != Value::Object(Map::new());
        let hidden = match value {
            Value::Object(map) => map
                .keys()
                .map(|key| (key.clone(), Value::from(HIDDEN)))
                .collect::<Map<_, _>>()
                .into(),
            _ => HIDDEN.into(),
        };
        (key.clone(), hidden)
    });
    let shown = shown.collect();
    (shown, has_secrets)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_the_schema_has_it() {
        let secret = || json!({ "writeOnly": true });
        let config = json!({ "a": { "b": "s3cret" }, "c": 1 });
        for (schema, is_hidden, is_other_hidden) in [
            (json!({ "properties": { "a": {}, "c": {} } }), false, false),
            (json!({ "properties": { "a": { "writeOnly": false } } }), false, false),
            (json!({ "properties": { "a": secret() } }), true, false),
            (json!({ "properties": { "a": { "properties": { "b": secret() } } } }), true, false),
            (json!({ "properties": { "a": { "additionalProperties": secret() } } }), true, false),
            (json!({ "properties": { "a": { "anyOf": [{}, secret()] } } }), true, false),
            (
                json!({ "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": secret() } }),
                true,
                false,
            ),
            (json!({ "properties": { "c": {} }, "$defs": { "A": secret() } }), false, false),
            (json!({ "allOf": [{ "properties": { "a": secret() } }] }), true, true),
            (json!({ "additionalProperties": secret() }), true, true),
            (json!({ "$ref": "#/$defs/A" }), true, true),
            (json!({ "writeOnly": true }), true, true),
        ] {
            let (shown, has_secrets) = masked(&schema, config.as_object().unwrap());
            let text = Value::Object(shown.clone()).to_string();
            assert_eq!(!text.contains("s3cret"), is_hidden, "{schema}: {text}");
            assert_eq!(shown["c"] == HIDDEN, is_other_hidden, "{schema}: {text}");
            assert_eq!(has_secrets, is_hidden, "{schema}: no snapshot has it");
        }
    }
}
