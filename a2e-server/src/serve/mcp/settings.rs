//! `mcp_server` of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use a2e_core::config::{HostConfig, Problem, Severity, settings_problems};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

/// What `mcp_server` may hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct McpSettings {
    /// Whether MCP is served at `http://` addresses.
    pub(crate) enabled: bool,
    /// The path there.
    pub(crate) path: String,
    /// The request types beside tools that are offered as tools, as patterns without `/req`: `memory/*`.
    pub(crate) expose: Vec<String>,
    /// Seconds after which a session in which nothing happens ends.
    #[serde(deserialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) session_ttl: Duration,
    /// Seconds that a call may take, also while it waits for an answer of the client's user.
    #[serde(deserialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) call_timeout_s: Duration,
    /// Seconds after which a call becomes a task, where the client knows tasks.
    #[serde(deserialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) task_after_s: Duration,
    /// Seconds that a task may take, and that its result is kept.
    #[serde(deserialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) task_ttl_s: Duration,
    /// Most entries of a part of a list.
    pub(crate) page: usize,
    /// Bytes of a result above which a session gets a link to it and its beginning.
    pub(crate) inline_bytes: usize,
    /// What clients tell their model of this host.
    pub(crate) instructions: Option<String>,
    /// Lists of tools by name, each at a path of its own (`/mcp/NAME`), as patterns of tool names.
    pub(crate) views: BTreeMap<String, Vec<String>>,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/mcp".to_owned(),
            expose: vec!["memory/*".to_owned()],
            session_ttl: Duration::from_mins(30),
            call_timeout_s: Duration::from_mins(5),
            task_after_s: Duration::from_secs(5),
            task_ttl_s: Duration::from_hours(1),
            page: 250,
            inline_bytes: 256 * 1024,
            instructions: None,
            views: BTreeMap::new(),
        }
    }
}

impl McpSettings {
    /// How long a call may take: one that can become a task may take as long as that.
    pub(crate) fn limit(&self, knows_tasks: bool) -> Duration {
        if knows_tasks { self.task_ttl_s.max(self.call_timeout_s) } else { self.call_timeout_s }
    }

    /// Reads them; what is wrong stands in the list with its place.
    pub(crate) fn of(config: &HostConfig) -> (Self, Vec<Problem>) {
        let Some(section) = config.fronts.iter().find(|front| front.cls == "mcp_server") else {
            return (Self::default(), Vec::new());
        };
        let (settings, mut problems) = settings_problems::<Self>(section);
        let settings = settings.unwrap_or_default();
        let mut wrong = |path: &str, text: &str| {
            problems.push(section.setting_problem(Severity::Error, path, text, None));
        };
        let is_word = |it: &str| {
            !it.is_empty() && it.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c))
        };
        let (path, http) = (settings.path.as_str(), config.http_paths());
        let taken = ["/session", "/ws", "/health", "/metrics", &http.send_path, &http.stream_path];
        if !path.starts_with('/') || path.ends_with('/') || !is_word(path) {
            wrong("path", "path: must begin with / and have letters, digits, - _ . after it");
        } else if taken.contains(&path) || path.starts_with("/api") {
            wrong("path", "path: something else is served there");
        }
        if settings.page == 0 {
            wrong("page", "page: must be at least 1");
        }
        for name in settings.views.keys().filter(|name| !is_word(name) || *name == "search") {
            wrong("views", &format!("views: {name:?} cannot be the name of a view"));
        }
        if settings.session_ttl < settings.call_timeout_s {
            let text = "session_ttl: shorter than call_timeout_s: a session may end while a call is waited for";
            let path = "session_ttl";
            problems.push(section.setting_problem(Severity::Warning, path, text, None));
        }
        (settings, problems)
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if (0.1..=86_400.0 * 7.0).contains(&seconds) => Ok(duration),
        _ => Err(de::Error::custom("expected seconds from 0.1 to 604800")),
    }
}
