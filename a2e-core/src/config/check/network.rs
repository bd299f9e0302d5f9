//! Checks `server`, `transport` and `listen`: the addresses of the host.

use std::collections::HashSet;

use crate::config::check::principals::{Given, principals};
use crate::config::check::section::Section;
use crate::config::host::{HostConfig, HttpPaths, Operators, ServerConfig, Tls, TransportConfig};
use crate::config::listen::check_host;
use crate::config::tree::node::Data;
use crate::config::{ListenAddr, Position};

/// An address, and the key that gave it.
type ConfiguredAddress = (ListenAddr, Position, String);

/// Reads `server`, `transport` and `listen`; gives the addresses that result, with their places.
pub(in crate::config) fn network(
    top: &mut Section<'_>,
    config: &mut HostConfig,
    given: &Given<'_>,
) -> Vec<ConfiguredAddress> {
    let mut server_at = None;
    if let Some(section) = top.section("server") {
        let place = section.entries().iter().find(|entry| entry.key == "host");
        server_at = Some(place.map_or(section.at(), |entry| entry.node.at));
        config.server = server(section, given);
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
    let addresses = config.addresses().into_iter();
    addresses.map(|address| (address, at, "server.host".to_owned())).collect()
}

fn server(mut section: Section<'_>, given: &Given<'_>) -> ServerConfig {
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
    server.principals = principals(&mut section, given);
    let operators = [("same_uid", Operators::SameUid), ("token", Operators::Token)];
    server.operators = section.choice("operators", &operators);
    server.allowed_hosts = section.texts("allowed_hosts");
    server.allowed_origins = section.texts("allowed_origins");
    let idle = section.seconds("session_idle_s", 1.0..=86_400.0 * 7.0);
    server.session_idle = idle.unwrap_or(server.session_idle);
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
        if !map.has(name) {
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
    let kinds = ["http", "direct", "subprocess", "stdio"].map(|kind| (kind, kind));
    let kind = section.choice("type", &kinds);
    if !section.has("type") {
        section.missing("type");
    }
    let config = section.section("config");
    section.finish(&[]);
    match kind? {
        "http" => Some(TransportConfig::Http(config.map(http).unwrap_or_default())),
        "direct" => {
            if let Some(config) = config {
                config.finish(&[]);
            }
            Some(TransportConfig::Direct)
        }
        _ => {
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

/// The first parts of the paths at which a host serves other things over HTTP.
const TAKEN: [&str; 8] = ["session", "ws", "health", "metrics", "api", "mcp", "env", ".well-known"];

/// Why nothing can be served at a path.
fn path_problem(path: &str) -> Option<&'static str> {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"/-._~".contains(&it);
    let Some(rest) = path.strip_prefix('/') else { return Some("must begin with /") };
    if !path.bytes().all(is_plain) {
        return Some("must have only letters, digits and - . _ ~ between its /");
    }
    let first = rest.split('/').next().unwrap_or_default();
    TAKEN.contains(&first).then_some("something else is served there")
}

fn http(mut section: Section<'_>) -> HttpPaths {
    let base_url = section.word("base_url").map(str::to_owned);
    let mut paths = HttpPaths { base_url, ..HttpPaths::default() };
    for (key, slot) in
        [("send_path", &mut paths.send_path), ("stream_path", &mut paths.stream_path)]
    {
        if let (Some(path), Some(node)) = (section.word(key), section.get(key)) {
            match path_problem(path) {
                None => path.clone_into(slot),
                Some(problem) => section.error(node, key, problem, None),
            }
        }
    }
    section.finish(&[]);
    paths
}

/// Reads `listen`; also tells whether it holds anything, right or wrong.
fn listen(top: &mut Section<'_>) -> (Vec<ConfiguredAddress>, bool) {
    let (mut places, mut seen) = (Vec::new(), HashSet::new());
    let list = top.list("listen").unwrap_or_default();
    for (place, node) in list.iter().enumerate() {
        let key = format!("listen[{place}]");
        let Data::Text(text, _) = &node.data else {
            if matches!(node.data, Data::Broken) {
                continue;
            }
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
