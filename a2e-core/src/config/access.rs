//! Questions to a configuration: its plugins, its addresses, and whether they are safe to serve at.

use super::host::{HostConfig, HttpPaths, Tls, TransportConfig};
use super::{ListenAddr, PluginConfig, Problem, Secret, Severity};

impl HostConfig {
    /// The defaults: no plugins, nothing said about where to listen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin after those that are there.
    #[must_use]
    pub fn plugin(mut self, plugin: PluginConfig) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// The plugin of this name.
    pub fn get_plugin(&self, name: &str) -> Option<&PluginConfig> {
        self.plugins.iter().find(|plugin| plugin.name.as_str() == name)
    }

    /// The plugins that are to be loaded, in order.
    pub fn enabled_plugins(&self) -> impl Iterator<Item = &PluginConfig> {
        self.plugins.iter().filter(|plugin| plugin.metadata.enabled)
    }

    /// The keys beside `plugins` in which the other configuration differs. `host_id` is left out:
    /// where none is given it is made up anew each time.
    pub(crate) fn differs_beyond_plugins(&self, other: &Self) -> Vec<&'static str> {
        let text = |token: &Option<Secret>| token.as_ref().map(|it| it.expose().to_owned());
        let differences = [
            ("server", self.server != other.server),
            ("auth_token", text(&self.auth_token) != text(&other.auth_token)),
            ("operator_token", text(&self.operator_token) != text(&other.operator_token)),
            ("transport", self.transport != other.transport),
            ("listen", self.listen != other.listen),
            ("audit", self.audit != other.audit),
            ("snapshot_store", self.snapshot_store != other.snapshot_store),
            ("snapshot_mode", self.snapshot_mode != other.snapshot_mode),
            ("snapshot_interval_s", self.snapshot_interval != other.snapshot_interval),
            ("session_ttl", self.session_ttl != other.session_ttl),
            ("global_limits", self.limits != other.limits),
            ("approve", self.approve != other.approve),
            ("tenants", self.tenants != other.tenants),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Where the host listens when no flag says it: `listen`, else what `transport` and `server`
    /// give, else stdio.
    pub fn addresses(&self) -> Vec<ListenAddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let (host, port) = (self.server.host.clone(), self.server.port);
        match &self.transport {
            Some(TransportConfig::Direct) => Vec::new(),
            Some(TransportConfig::Http(_)) => vec![ListenAddr::Http { host, port }],
            Some(TransportConfig::Stdio) | None => vec![ListenAddr::Stdio],
        }
    }

    /// The paths that HTTP is served at, by `transport` where that is http.
    pub fn http_paths(&self) -> HttpPaths {
        match &self.transport {
            Some(TransportConfig::Http(paths)) => paths.clone(),
            _ => HttpPaths::default(),
        }
    }

    /// What is wrong with a configuration that was put together in code; one that was read from
    /// text has been checked for this, and for more.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            self.listen.iter().filter_map(|address| self.check_address(address)).collect();
        let mut seen = std::collections::HashSet::new();
        for (place, plugin) in self.plugins.iter().enumerate() {
            if !seen.insert(plugin.name.as_str()) {
                problems.push(Problem {
                    plugin: Some(plugin.name.to_string()),
                    path: format!("plugins[{place}].name"),
                    ..error("the name is taken by an earlier plugin".to_owned(), None)
                });
            }
        }
        problems
    }

    /// Whether the host may listen there (R60): what other machines can reach needs a token and
    /// TLS, and the token must be worth its name (R62). The hint holds the line to add.
    pub fn check_address(&self, address: &ListenAddr) -> Option<Problem> {
        if address.is_local() {
            return None;
        }
        let mut missing = Vec::new();
        let mut lines = Vec::new();
        let principals = &self.server.principals;
        if !self.needs_token() {
            missing.push("a token");
            lines.push("\"auth_token: ${A2E_TOKEN}\" at the top");
        } else if self.auth_token.as_ref().is_some_and(Secret::is_short) {
            missing.push("a token of at least 128 bits");
            lines.push("a longer \"auth_token\", such as \"openssl rand -hex 16\" prints");
        } else if principals.iter().any(|it| it.has_short_token) {
            missing.push("tokens of at least 128 bits");
            lines.push("longer tokens of principals, such as \"openssl rand -hex 16\" prints");
        }
        if self.server.tls == Tls::None {
            missing.push("TLS");
            lines.push("\"tls: {cert: FILE, key: FILE}\" or \"tls: external\" under \"server\"");
        }
        if missing.is_empty() {
            return None;
        }
        let message = format!(
            "{address} can be reached from other machines and needs {}",
            missing.join(" and ")
        );
        Some(error(message, Some(format!("add {}", lines.join(", and ")))))
    }
}

fn error(message: String, hint: Option<String>) -> Problem {
    Problem {
        severity: Severity::Error,
        file: String::new(),
        line: 0,
        column: 0,
        plugin: None,
        path: String::new(),
        message,
        hint,
    }
}
