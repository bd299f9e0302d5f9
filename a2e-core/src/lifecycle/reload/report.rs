//! What a reload did, or why it did nothing.

use crate::config::{ConfigErrors, Problem};
use crate::protocol::ErrorCode;
use crate::protocol::host::{ReloadProblem, ReloadReport};

/// A report in one line, for the log.
pub(super) fn summary(report: &ReloadReport) -> String {
    let parts = [
        ("added", &report.added),
        ("removed", &report.removed),
        ("rebuilt", &report.rebuilt),
        ("adjusted", &report.adjusted),
        ("failed", &report.failed),
    ];
    let told = parts.iter().filter(|(_, names)| !names.is_empty());
    let mut told: Vec<String> =
        told.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
    told.push(format!("kept: {}", report.kept.len()));
    told.join("; ")
}

pub(super) fn of_plugin(name: impl ToString, message: impl Into<String>) -> ReloadProblem {
    ReloadProblem { plugin: Some(name.to_string()), message: message.into() }
}

pub(super) fn of_config(problem: &Problem) -> ReloadProblem {
    ReloadProblem { plugin: problem.plugin.clone(), message: problem.to_string() }
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
    /// What kind of failure it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Config(_) => ErrorCode::SchemaViolation,
            Self::NoFile | Self::Plugins(_) => ErrorCode::RuntimeError,
            Self::Busy => ErrorCode::Overloaded,
            Self::Ending => ErrorCode::ShuttingDown,
        }
    }

    /// Every problem, one by one.
    pub fn problems(&self) -> Vec<ReloadProblem> {
        match self {
            Self::Config(errors) => errors.problems().iter().map(of_config).collect(),
            Self::Plugins(problems) => problems.clone(),
            other => vec![ReloadProblem { plugin: None, message: other.to_string() }],
        }
    }
}
