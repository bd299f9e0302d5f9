//! What a reload did, or why it did nothing.

use std::fmt;

use serde::Serialize;

use crate::config::{ConfigErrors, Problem};

/// What a reload did, by plugin names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The number of the table in force; rises with each change.
    pub generation: u64,
    /// Plugins that are new.
    pub added: Vec<String>,
    /// Plugins that are gone. Their calls in flight come to their end.
    pub removed: Vec<String>,
    /// Plugins that were built anew, with the state of the instance before.
    pub rebuilt: Vec<String>,
    /// Plugins whose priority, permits or the like changed; the instance stayed.
    pub adjusted: Vec<String>,
    /// Plugins that were not touched.
    pub kept: Vec<String>,
    /// Plugins that failed before, with the same configuration, and fail still.
    pub failed: Vec<String>,
    /// Keys that differ from what the host was started with and take effect at its next start.
    pub needs_restart: Vec<&'static str>,
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("rebuilt", &self.rebuilt),
            ("adjusted", &self.adjusted),
            ("failed", &self.failed),
        ];
        for (what, names) in parts.iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{what}: {}; ", names.join(", "))?;
        }
        write!(f, "kept: {}", self.kept.len())
    }
}

/// One thing that keeps a configuration from being put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReloadProblem {
    /// The plugin, where it is one's.
    pub plugin: Option<String>,
    /// What is wrong, and where in the file.
    pub message: String,
}

impl ReloadProblem {
    pub(super) fn of_plugin(name: impl ToString, message: impl Into<String>) -> Self {
        Self { plugin: Some(name.to_string()), message: message.into() }
    }

    pub(super) fn of_config(problem: Problem) -> Self {
        Self { plugin: problem.plugin.clone(), message: problem.to_string() }
    }
}

/// Why a reload did nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The host was started without a file.
    #[error("this host was started without a configuration file, so there is none to read again")]
    NoFile,
    /// The file has errors.
    #[error("{0}")]
    Config(ConfigErrors),
    /// A plugin that is new or changed cannot be had.
    #[error("{}", .0.iter().map(|it| it.message.clone()).collect::<Vec<_>>().join("; "))]
    Plugins(Vec<ReloadProblem>),
    /// Eight reloads wait already.
    #[error("too many reloads wait for their turn; ask again later")]
    Busy,
    /// The host is ending.
    #[error("the host is ending")]
    Ending,
}

impl ReloadError {
    /// Every problem, one by one.
    pub fn problems(&self) -> Vec<ReloadProblem> {
        match self {
            Self::Config(errors) => {
                errors.problems().iter().cloned().map(ReloadProblem::of_config).collect()
            }
            Self::Plugins(problems) => problems.clone(),
            other => vec![ReloadProblem { plugin: None, message: other.to_string() }],
        }
    }
}
