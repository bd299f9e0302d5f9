//! Turns the tree of the file into the checked form: one function per section, every problem noted.

mod approve;
mod network;
mod principals;
pub(in crate::config) mod section;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::config::check::network::network;
use crate::config::check::principals::{Given, check_tenants};
use crate::config::check::section::Section;
use crate::config::host::{AuditConfig, AuditDetail, AuditMode, AuditOnError, HostConfig};
use crate::config::host::{SessionIdSource, SnapshotMode, SnapshotStoreConfig, TenantConfig};
use crate::config::problem::Findings;
use crate::config::tree::expand::Env;
use crate::config::tree::node::{Data, Node};
use crate::config::{PluginConfig, Secret, TokenDigest, limits, plugin};

/// The longest time that a setting of the host may name: ten years.
const MAX_SECONDS: f64 = 315_360_000.0;
/// The sections that belong to fronts of the program.
const FRONTS: [&str; 1] = ["mcp_server"];

/// Checks a whole file. Each problem is noted, and its value left at the default.
pub(in crate::config) fn check(
    root: &Node,
    findings: &Findings,
    file: &str,
    env: &Env<'_>,
) -> HostConfig {
    let mut config = HostConfig::default();
    let entries: &[_] = match &root.data {
        Data::Map(entries) => entries,
        _ => &[],
    };
    let mut top = Section::root(findings, root.at, entries);
    if !matches!(root.data, Data::Map(_) | Data::Null) {
        let message = format!("expected a map of settings, found {}", root.describe(false));
        findings.error(top.spot(root.at, ""), message, None);
        return config;
    }
    if let Some(id) = top.word("host_id") {
        id.clone_into(&mut config.host_id);
    }
    let auth = token(&mut top, "auth_token");
    // One that cannot be read is noted, and opens nothing.
    config.operator_token = token(&mut top, "operator_token").unwrap_or_default();
    let own = [
        ("auth_token", auth.as_ref().ok().and_then(Option::as_ref)),
        ("operator_token", config.operator_token.as_ref()),
    ];
    let tokens = own
        .into_iter()
        .filter_map(|(key, token)| Some((TokenDigest::of(token?.expose()), format!("`{key}`"))));
    let given = Given { env, tokens: tokens.collect() };
    let places = network(&mut top, &mut config, &given);
    config.audit = audit(&mut top);
    snapshots(&mut top, &mut config);
    if let Some(section) = top.section("global_limits") {
        config.limits = limits::check(section);
    }
    config.tenants = tenants(&mut top);
    config.approve = approve::approve(&mut top);
    config.plugins = plugins(&mut top, file);
    check_tenants(&top, root, &config);
    for key in FRONTS {
        config.fronts.extend(top.section(key).map(|section| plugin::front(&section, file, key)));
    }
    // A token that could not be read is one error, not two.
    if let Ok(token) = auth {
        config.auth_token = token;
        for (address, at, key) in places {
            if let Some(problem) = config.check_address(&address) {
                // What `listen` names will be listened at. What `transport` and `server` say may be
                // meant for a client, or overruled on the command line; the listener checks again when it binds.
                let is_sure = key.starts_with("listen");
                let note = if is_sure { Findings::error } else { Findings::warning };
                note(findings, top.spot(at, &key), problem.message, problem.hint);
            }
        }
    }
    top.finish(&[]);
    config
}

/// The token, if there is one; an error when it cannot be read, which is then noted.
fn token(top: &mut Section<'_>, key: &'static str) -> Result<Option<Secret>, ()> {
    let at = top.get(key).map_or(top.at(), |node| node.at);
    let Some(text) = top.text(key) else {
        return if top.has(key) { Err(()) } else { Ok(None) };
    };
    if text.is_empty() {
        top.warning(at, key, "is empty, so none is asked for", None);
        return Ok(None);
    }
    let token = Secret::new(text);
    if token.is_short() {
        let hint = "\"openssl rand -hex 16\" prints one that is long enough".to_owned();
        top.warning(at, key, "has less than 128 bits", Some(hint));
    }
    Ok(Some(token))
}

fn audit(top: &mut Section<'_>) -> AuditConfig {
    let mut audit = AuditConfig::default();
    let legacy = top.file("audit_log_path");
    if let Some(mut section) = top.section("audit") {
        let is_enabled = section.flag("enabled").unwrap_or(false);
        audit.path = section.file("path");
        if let Some(mut rotate) = section.section("rotate") {
            let bytes = rotate.integer("max_bytes", 0..=1 << 40);
            audit.max_bytes = bytes.and_then(|n| u64::try_from(n).ok()).unwrap_or(audit.max_bytes);
            let count = rotate.integer("backup_count", 0..=10_000);
            audit.backup_count =
                count.and_then(|n| u32::try_from(n).ok()).unwrap_or(audit.backup_count);
            rotate.finish(&[]);
        }
        let sources = [("uuid", SessionIdSource::Uuid), ("host_id", SessionIdSource::HostId)];
        audit.session_id_source =
            section.choice("session_id_source", &sources).unwrap_or(audit.session_id_source);
        let reactions = [("continue", AuditOnError::Continue), ("refuse", AuditOnError::Refuse)];
        audit.on_error = section.choice("on_error", &reactions);
        let details = [
            ("none", AuditDetail::None),
            ("subject", AuditDetail::Subject),
            ("payload", AuditDetail::Payload),
        ];
        audit.detail = section.choice("detail", &details).unwrap_or_default();
        let mode = audit_mode(&mut section);
        audit.mode = if is_enabled { mode.unwrap_or(AuditMode::Write) } else { AuditMode::Off };
        if let (false, Some(AuditMode::Buffered | AuditMode::Write | AuditMode::Sync)) =
            (is_enabled, mode)
        {
            let hint = Some("add \"enabled: true\"".to_owned());
            section.warning(section.at(), "mode", "has no effect while audit is off", hint);
        }
        section.finish(&[]);
    }
    if let (Some(node), AuditMode::Off) = (top.get("audit_log_path"), audit.mode) {
        let hint = Some("add \"audit: {enabled: true}\"".to_owned());
        top.warning(node.at, "audit_log_path", "has no effect while audit is off", hint);
    }
    audit.path = audit.path.or(legacy);
    audit
}

fn audit_mode(section: &mut Section<'_>) -> Option<AuditMode> {
    let modes = [AuditMode::Off, AuditMode::Buffered, AuditMode::Write, AuditMode::Sync];
    section.choice("mode", &modes.map(|mode| (mode.as_str(), mode)))
}

fn snapshots(top: &mut Section<'_>, config: &mut HostConfig) {
    config.snapshot_store = top.section("snapshot_store").and_then(store);
    let modes = [
        ("host", SnapshotMode::Host),
        ("plugin", SnapshotMode::Plugin),
        ("hybrid", SnapshotMode::Hybrid),
    ];
    config.snapshot_mode = top.choice("snapshot_mode", &modes).unwrap_or(config.snapshot_mode);
    let mut span = |key: &'static str, least: f64, slot: &mut Duration| {
        *slot = top.seconds(key, least..=MAX_SECONDS).unwrap_or(*slot);
    };
    span("snapshot_interval_s", 1.0, &mut config.snapshot_interval);
    span("session_ttl", 0.0, &mut config.session_ttl);
}

fn store(mut section: Section<'_>) -> Option<SnapshotStoreConfig> {
    let kinds = ["file", "sqlite", "memory", "custom"].map(|kind| (kind, kind));
    let is_given = section.has("type");
    let kind = section.choice("type", &kinds).or((!is_given).then_some("file"));
    let mut config = section.section("config");
    let mut path = |key: &'static str| {
        let Some(config) = config.as_mut() else {
            section.missing(&format!("config.{key}"));
            return None;
        };
        let path = config.file(key);
        if !config.has(key) {
            config.missing(key);
        }
        path
    };
    let store = match kind? {
        "file" => path("root").map(|root| SnapshotStoreConfig::File { root }),
        "sqlite" => path("db_path").map(|db_path| SnapshotStoreConfig::Sqlite { db_path }),
        "memory" => Some(SnapshotStoreConfig::Memory),
        _ => {
            let entries = config.take().map_or(&[][..], |config| config.entries());
            let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
            Some(SnapshotStoreConfig::Custom(pairs.collect()))
        }
    };
    section.finish(&[("root", "config"), ("db_path", "config")]);
    if let Some(config) = config {
        config.finish(&[]);
    }
    store
}

fn tenants(top: &mut Section<'_>) -> BTreeMap<String, TenantConfig> {
    let mut tenants = BTreeMap::new();
    for entry in top.section("tenants").iter().flat_map(Section::entries) {
        let key = format!("tenants.{}", entry.key);
        let Some(mut section) = top.map_of(&entry.node, &key, "a map with the tenant's limits")
        else {
            continue;
        };
        let limit = section.integer("max_in_flight", 1..=1 << 20);
        let max_in_flight = limit.and_then(|limit: i64| usize::try_from(limit).ok());
        section.finish(&[]);
        tenants.insert(entry.key.clone(), TenantConfig { max_in_flight });
    }
    tenants
}

fn plugins(top: &mut Section<'_>, file: &str) -> Vec<PluginConfig> {
    let (mut plugins, mut lines) = (Vec::new(), HashMap::new());
    for (place, node) in top.list("plugins").unwrap_or_default().iter().enumerate() {
        let key = format!("plugins[{place}]");
        let Some(mut section) = top.map_of(node, &key, "a map with name, type and cls") else {
            continue;
        };
        // The name of an entry with other mistakes is taken, too.
        let named = section.get("name").zip(section.name());
        let plugin = plugin::check(section, file);
        let Some((node, name)) = named else { continue };
        if let Some(line) = lines.get(name) {
            let message = format!("the name {name:?} is taken by the plugin at line {line}");
            top.error(node, &format!("{key}.name"), &message, None);
        } else {
            lines.insert(name, node.at.line);
            plugins.extend(plugin);
        }
    }
    plugins
}
