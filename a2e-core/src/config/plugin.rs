//! One entry of `plugins`: which class, under which name, with which settings.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Position;
use super::check::section::Section;
use super::tree::node::{Data, Node};
use crate::protocol::{CapabilityName, id::PluginName};

/// The scope of one instance of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PluginScope {
    /// One instance for all sessions.
    Host,
    /// One instance for each session.
    Session,
}

/// The keys of `metadata` that the host itself reads; `None` leaves the choice to the plugin's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginMeta {
    /// Whether it is loaded at all.
    pub enabled: bool,
    /// Where it stands among the plugins of one message type; higher comes first.
    pub priority: Option<i64>,
    /// Whether it alone handles its types while it is at the head.
    pub exclusive: Option<bool>,
    /// Whether the host refuses to start without it.
    pub required: bool,
    /// The scope of one instance.
    pub scope: Option<PluginScope>,
    /// Calls that it runs at a time.
    pub permits: Option<usize>,
    /// The longest that one of its handlers may take; the deadline of the message type holds as well.
    pub deadline: Option<Duration>,
    /// The tenants whose sessions see it; `None`: every session does.
    pub tenants: Option<Vec<String>>,
}

/// The keys of `metadata` that the host reads; every other one is a setting of the plugin.
pub(super) const META_KEYS: [&str; 8] =
    ["enabled", "priority", "exclusive", "required", "scope", "permits", "deadline_s", "tenants"];

impl Default for PluginMeta {
    fn default() -> Self {
        Self {
            enabled: true,
            priority: None,
            exclusive: None,
            required: false,
            scope: None,
            permits: None,
            deadline: None,
            tenants: None,
        }
    }
}

/// One plugin that the host is to load.
#[derive(Clone)]
#[non_exhaustive]
pub struct PluginConfig {
    /// The instance name, unique in a host.
    pub name: PluginName,
    /// `type` as it was written.
    pub type_name: String,
    /// `type` with aliases resolved.
    pub capability: CapabilityName,
    /// The registered name of the class, or an alias of it.
    pub cls: String,
    /// What the host reads.
    pub metadata: PluginMeta,
    settings: Map<String, Value>,
    /// The places of the settings, by path: `roots`, `roots[0]`, `http_get.timeout_s`.
    positions: BTreeMap<String, Position>,
    pub(super) source: Source,
}

/// Where an entry stands, for later problems with its settings.
#[derive(Clone, Default)]
pub(super) struct Source {
    /// Whether a setting that its class does not know is only a warning.
    pub(super) is_lenient: bool,
    pub(super) file: String,
    pub(super) path: String,
    pub(super) at: Position,
    pub(super) cls_at: Position,
    /// Whether it is a section of a front, and no entry of `plugins`.
    pub(super) is_front: bool,
}

impl PluginConfig {
    /// An entry for a host that is built in code.
    ///
    /// ```
    /// use a2e_core::config::PluginConfig;
    /// let plugin = PluginConfig::new("files", "tools", "a2e.caps.tools.plugin.ToolPlugin")
    ///     .with_setting("roots", ["/srv/data"]);
    /// assert_eq!(plugin.settings()["roots"][0], "/srv/data");
    /// ```
    pub fn new(
        name: impl Into<String>,
        type_name: impl Into<String>,
        cls: impl Into<String>,
    ) -> Self {
        let type_name = type_name.into();
        Self {
            name: PluginName::from(name.into()),
            capability: CapabilityName::parse(&type_name),
            type_name,
            cls: cls.into(),
            metadata: PluginMeta::default(),
            settings: Map::new(),
            positions: BTreeMap::new(),
            source: Source::default(),
        }
    }

    /// Adds or replaces a setting of the plugin; what the host reads is in [`PluginConfig::metadata`].
    #[must_use]
    pub fn with_setting(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }

    /// Replaces what the host reads.
    #[must_use]
    pub fn with_metadata(mut self, metadata: PluginMeta) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether a setting that its class does not know is a warning, and no error.
    #[must_use]
    pub fn lenient(mut self, is_lenient: bool) -> Self {
        self.source.is_lenient = is_lenient;
        self
    }

    /// The plugin's own settings: every key of `metadata` that the host does not read.
    pub fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// Whether the other entry says the same, wherever it stands.
    #[cfg(feature = "host")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.metadata == other.metadata && self.has_same_instance(other)
    }

    /// Whether an instance of the one can serve as the other: they differ in nothing but order,
    /// permits and deadline.
    #[cfg(feature = "host")]
    pub(crate) fn has_same_instance(&self, other: &Self) -> bool {
        self.name == other.name
            && self.cls == other.cls
            && self.type_name == other.type_name
            && self.settings == other.settings
            && self.metadata.scope == other.metadata.scope
    }

    /// The place of a setting in the file: of the key for a path such as `roots` or
    /// `http_get.timeout_s`, of the value for `roots[0]`.
    pub fn position_of(&self, path: &str) -> Option<Position> {
        self.positions.get(path).copied()
    }

    /// The place of the entry in the file.
    pub fn position(&self) -> Option<Position> {
        (self.source.at != Position::default()).then_some(self.source.at)
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.settings.keys().collect();
        f.debug_struct("PluginConfig")
            .field("name", &self.name)
            .field("type", &self.type_name)
            .field("cls", &self.cls)
            .field("metadata", &self.metadata)
            .field("settings", &keys) // the values may hold secrets
            .finish_non_exhaustive()
    }
}

/// Reads one entry; `None` when a required key is missing, which is then noted.
pub(super) fn check(mut section: Section<'_>, file: &str) -> Option<PluginConfig> {
    let name = section.word("name");
    if name.is_none() && !section.has("name") {
        section.missing("name");
    }
    if let Some(name) = name {
        section.set_plugin(name);
    }
    let mut required = |key: &'static str| {
        let word = section.word(key);
        if word.is_none() && !section.has(key) {
            section.missing(key);
        }
        word
    };
    let (type_name, cls) = (required("type"), required("cls"));
    let metadata = metadata(&mut section);
    let at = section.at();
    let cls_at = section.get("cls").map_or(at, |node| node.at);
    let (file, path) = (file.to_owned(), section.path().to_owned());
    let is_lenient = section.is_lenient();
    let source = Source { is_lenient, file, path, at, cls_at, is_front: false };
    section.finish(&META_KEYS.map(|key| (key, "metadata")));
    let mut plugin = PluginConfig::new(name?, type_name?, cls?);
    plugin.source = source;
    if let Some((meta, settings, positions)) = metadata {
        (plugin.metadata, plugin.settings, plugin.positions) = (meta, settings, positions);
    }
    Some(plugin)
}

/// Reads the section of a front: all of it is settings.
pub(super) fn front(section: &Section<'_>, file: &str, key: &str) -> PluginConfig {
    let at = section.at();
    let (is_lenient, path) = (section.is_lenient(), section.path().to_owned());
    let file = file.to_owned();
    let mut front = PluginConfig::new(key, key, key);
    front.source = Source { is_lenient, file, path, at, cls_at: at, is_front: true };
    (front.settings, front.positions) = settings(section, &[]);
    front
}

type Metadata = (PluginMeta, Map<String, Value>, BTreeMap<String, Position>);

/// Reads `metadata`, or the `config` of an old sample in its place.
fn metadata(section: &mut Section<'_>) -> Option<Metadata> {
    let (new, old) = (section.section("metadata"), section.get("config"));
    let map = match (new, old) {
        (new, None) => new?,
        (new, Some(old)) => {
            let is_used = new.is_none() && !section.has("metadata");
            let message = if is_used { "is out of date" } else { "is out of date and ignored" };
            section.warning(old.at, "config", message, Some("write \"metadata\"".to_owned()));
            if is_used { section.map_of(old, "config", "a map")? } else { new? }
        }
    };
    Some(meta(map))
}

fn meta(mut map: Section<'_>) -> Metadata {
    let default = PluginMeta::default();
    let meta = PluginMeta {
        enabled: map.flag("enabled").unwrap_or(default.enabled),
        priority: map.integer("priority", -1_000_000..=1_000_000),
        exclusive: map.flag("exclusive"),
        required: map.flag("required").unwrap_or(default.required),
        scope: map
            .choice("scope", &[("host", PluginScope::Host), ("session", PluginScope::Session)]),
        permits: map.integer("permits", 1..=65_536).and_then(|n| usize::try_from(n).ok()),
        deadline: map.seconds("deadline_s", 0.001..=604_800.0),
        tenants: tenants(&mut map),
    };
    let (settings, positions) = settings(&map, &META_KEYS);
    (meta, settings, positions)
}

/// What stands under the other keys, and where.
fn settings(
    map: &Section<'_>,
    without: &[&str],
) -> (Map<String, Value>, BTreeMap<String, Position>) {
    let (mut settings, mut positions) = (Map::new(), BTreeMap::new());
    for entry in map.entries().iter().filter(|entry| !without.contains(&entry.key.as_str())) {
        settings.insert(entry.key.clone(), entry.node.to_json());
        note(&mut positions, entry.key.clone(), entry.at, &entry.node);
    }
    (settings, positions)
}

/// The names under `tenants`.
fn tenants(map: &mut Section<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for (place, node) in map.list("tenants")?.iter().enumerate() {
        match &node.data {
            Data::Text(name, _) if !name.is_empty() => names.push(name.clone()),
            _ => map.wrong(node, &format!("tenants[{place}]"), "the name of a tenant", None),
        }
    }
    Some(names)
}

/// Notes the place of a setting and of everything in it, as far as the path stays short: long keys
/// in aliases could make gigabytes of paths.
fn note(positions: &mut BTreeMap<String, Position>, path: String, at: Position, node: &Node) {
    const MAX_PATH: usize = 256;
    if path.len() > MAX_PATH {
        return;
    }
    match &node.data {
        Data::Map(map) => {
            for entry in map {
                note(positions, format!("{path}.{}", entry.key), entry.at, &entry.node);
            }
        }
        Data::List(list) => {
            for (place, item) in list.iter().enumerate() {
                note(positions, format!("{path}[{place}]"), item.at, item);
            }
        }
        _ => {}
    }
    positions.insert(path, at);
}
