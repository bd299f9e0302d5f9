//! From the tree of the file to the checked form: one function per section, every problem noted.

use std::collections::HashSet;
use std::time::Duration;

use super::host::{AuditConfig, AuditMode, AuditOnError, SessionIdSource, SnapshotMode};
use super::host::{HostConfig, HttpPaths, ServerConfig, SnapshotStoreConfig, Tls, TransportConfig};
use super::listen::check_host;
use super::node::{Data, Node};
use super::problem::Findings;
use super::section::Section;
use super::{ListenAddr, PluginConfig, Position, Secret, limits, plugin};

/// The longest time that a setting of the host may name: ten years.
const MAX_SECONDS: f64 = 315_360_000.0;
const TRANSPORTS: [(&str, Kind); 4] = [
    ("http", Kind::Http),
    ("direct", Kind::Direct),
    ("subprocess", Kind::Stdio),
    ("stdio", Kind::Stdio),
];

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Direct,
    Stdio,
}

/// Checks a whole file; what is wrong is left at its default and noted.
pub(super) fn check(root: &Node, findings: &Findings, file: &str) -> HostConfig {
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
    config.auth_token = token(&mut top);
    let listen_places = network(&mut top, &mut config);
    config.audit = audit(&mut top);
    snapshots(&mut top, &mut config);
    if let Some(section) = top.section("global_limits") {
        config.limits = limits::check(section);
    }
    config.plugins = plugins(&mut top, file);
    for (address, at, key) in listen_places {
        if let Some(problem) = config.check_address(&address) {
            findings.error(top.spot(at, &key), problem.message, problem.hint);
        }
    }
    top.finish(&[]);
    config
}

fn token(top: &mut Section<'_>) -> Option<Secret> {
    let text = top.text("auth_token")?;
    let at = top.get("auth_token").map_or_else(|| top.at(), |node| node.at);
    if text.is_empty() {
        top.warning(at, "auth_token", "is empty, so none is asked for", None);
        return None;
    }
    let token = Secret::new(text);
    if token.is_short() {
        let hint = "\"openssl rand -hex 16\" prints one that is long enough".to_owned();
        top.warning(at, "auth_token", "has less than 128 bits", Some(hint));
    }
    Some(token)
}

/// An address, and the key that gave it.
type Place = (ListenAddr, Position, String);

/// Reads `server`, `transport` and `listen`; gives the addresses that result, with their places.
fn network(top: &mut Section<'_>, config: &mut HostConfig) -> Vec<Place> {
    let mut server_at = None;
    if let Some(section) = top.section("server") {
        let place = section.entries().iter().find(|entry| entry.key == "host");
        server_at = Some(place.map_or(section.at(), |entry| entry.node.at));
        config.server = server(section);
    }
    let transport_at = top.get("transport").map(|node| node.at);
    config.transport = top.section("transport").and_then(transport);
    let (places, is_given) = listen(top);
    config.listen = places.iter().map(|(address, ..)| address.clone()).collect();
    if is_given {
        return places;
    }
    let (host, port) = (config.server.host.clone(), config.server.port);
    match (transport_at, server_at) {
        // `server` alone says where to listen, but not how: lines over TCP.
        (None, Some(_)) => config.listen = vec![ListenAddr::Tcp { host, port }],
        (None, None) => return Vec::new(),
        (Some(_), _) => {}
    }
    let at = server_at.or(transport_at).unwrap_or_default();
    let addresses = config.addresses(false).into_iter();
    addresses.map(|address| (address, at, "server.host".to_owned())).collect()
}

fn server(mut section: Section<'_>) -> ServerConfig {
    let mut server = ServerConfig::default();
    if let (Some(host), Some(node)) = (section.word("host"), section.get("host")) {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match check_host(host) {
            Ok(()) => host.clone_into(&mut server.host),
            Err(reason) => section.error(node, "host", reason, None),
        }
    }
    let port = section.integer("port", 0..=65_535).and_then(|port| u16::try_from(port).ok());
    server.port = port.unwrap_or(server.port);
    server.tls = tls(&mut section);
    if let Some(node) = section.get("auth_token") {
        let hint = "write it at the top of the file".to_owned();
        section.warning(node.at, "auth_token", "is ignored here", Some(hint));
    }
    section.finish(&[]);
    server
}

fn tls(section: &mut Section<'_>) -> Tls {
    const EXPECTED: &str = "\"external\" or {cert: FILE, key: FILE}";
    let Some(node) = section.get("tls") else { return Tls::None };
    if matches!(&node.data, Data::Text(text, _) if text == "external") {
        return Tls::External;
    }
    let Some(mut map) = section.map_of(node, "tls", EXPECTED) else { return Tls::None };
    let (cert, key) = (map.file("cert"), map.file("key"));
    for name in ["cert", "key"] {
        if !map.entries().iter().any(|entry| entry.key == name) {
            map.missing(name);
        }
    }
    map.finish(&[]);
    match (cert, key) {
        (Some(cert), Some(key)) => Tls::Cert { cert, key },
        // An error is noted; the address is not reported a second time for the same reason.
        _ => Tls::External,
    }
}

fn transport(mut section: Section<'_>) -> Option<TransportConfig> {
    let kind = section.choice("type", &TRANSPORTS);
    if !section.entries().iter().any(|entry| entry.key == "type") {
        section.missing("type");
    }
    let config = section.section("config");
    section.finish(&[]);
    match kind? {
        Kind::Http => Some(TransportConfig::Http(config.map(http).unwrap_or_default())),
        Kind::Direct => {
            if let Some(config) = config {
                config.finish(&[]);
            }
            Some(TransportConfig::Direct)
        }
        Kind::Stdio => {
            // How a client starts the host; known, and of no use to the host itself.
            if let Some(mut config) = config {
                for key in ["command", "env", "cwd"] {
                    config.get(key);
                }
                config.finish(&[]);
            }
            Some(TransportConfig::Stdio)
        }
    }
}

fn http(mut section: Section<'_>) -> HttpPaths {
    let mut paths = HttpPaths::default();
    paths.base_url = section.word("base_url").map(str::to_owned);
    for (key, slot) in
        [("send_path", &mut paths.send_path), ("stream_path", &mut paths.stream_path)]
    {
        match (section.word(key), section.get(key)) {
            (Some(path), _) if path.starts_with('/') => path.clone_into(slot),
            (Some(_), Some(node)) => section.error(node, key, "must begin with /", None),
            _ => {}
        }
    }
    section.finish(&[]);
    paths
}

/// Reads `listen`; also tells whether it holds anything, right or wrong.
fn listen(top: &mut Section<'_>) -> (Vec<Place>, bool) {
    let (mut places, mut seen) = (Vec::new(), HashSet::new());
    let list = top.list("listen").unwrap_or_default();
    for (place, node) in list.iter().enumerate() {
        let key = format!("listen[{place}]");
        let Data::Text(text, _) = &node.data else {
            let message = format!("expected an address, found {}", node.describe(false));
            top.error(node, &key, &message, None);
            continue;
        };
        match text.parse::<ListenAddr>() {
            Ok(address) if seen.insert(address.clone()) => places.push((address, node.at, key)),
            Ok(_) => top.error(node, &key, "the address stands twice", None),
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                top.error(node, &key, &error.to_string(), hint);
            }
        }
    }
    (places, !list.is_empty())
}

fn audit(top: &mut Section<'_>) -> AuditConfig {
    let mut audit = AuditConfig::default();
    let legacy = top.file("audit_log_path");
    if let Some(mut section) = top.section("audit") {
        let is_enabled = section.flag("enabled").unwrap_or(false);
        audit.path = section.file("path");
        if let Some(mut rotate) = section.section("rotate") {
            let bytes = rotate.integer("max_bytes", 0..=i64::MAX);
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
        audit.on_error = section.choice("on_error", &reactions).unwrap_or(audit.on_error);
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
    section.choice(
        "mode",
        &[
            ("off", AuditMode::Off),
            ("buffered", AuditMode::Buffered),
            ("write", AuditMode::Write),
            ("sync", AuditMode::Sync),
        ],
    )
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

#[derive(Clone, Copy)]
enum Store {
    File,
    Sqlite,
    Memory,
    Custom,
}

fn store(mut section: Section<'_>) -> Option<SnapshotStoreConfig> {
    let kinds = [
        ("file", Store::File),
        ("sqlite", Store::Sqlite),
        ("memory", Store::Memory),
        ("custom", Store::Custom),
    ];
    let is_given = section.get("type").is_some();
    let kind = section.choice("type", &kinds).or((!is_given).then_some(Store::File));
    let mut config = section.section("config");
    let mut path = |key: &'static str| {
        let Some(config) = config.as_mut() else {
            section.missing(&format!("config.{key}"));
            return None;
        };
        let path = config.file(key);
        if config.get(key).is_none() {
            config.missing(key);
        }
        path
    };
    let store = match kind? {
        Store::File => path("root").map(|root| SnapshotStoreConfig::File { root }),
        Store::Sqlite => path("db_path").map(|db_path| SnapshotStoreConfig::Sqlite { db_path }),
        Store::Memory => Some(SnapshotStoreConfig::Memory),
        Store::Custom => {
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

fn plugins(top: &mut Section<'_>, file: &str) -> Vec<PluginConfig> {
    let (mut plugins, mut seen) = (Vec::new(), HashSet::new());
    for (place, node) in top.list("plugins").unwrap_or_default().iter().enumerate() {
        let key = format!("plugins[{place}]");
        let Some(section) = top.map_of(node, &key, "a map with name, type and cls") else {
            continue;
        };
        let Some(plugin) = plugin::check(section, file) else { continue };
        if seen.insert(plugin.name.clone()) {
            plugins.push(plugin);
        } else {
            let message =
                format!("the name {:?} is taken by an earlier plugin", plugin.name.as_str());
            top.error(node, &format!("{key}.name"), &message, None);
        }
    }
    plugins
}
