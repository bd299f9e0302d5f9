//! The problems of a configuration, for people and for programs.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

use super::Position;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The host starts; what stands there has probably no effect.
    Warning,
    /// The host does not start.
    Error,
}

/// One thing that is wrong, with the place.
///
/// Its text form is `a2e.yaml:12:7: plugin "files": unknown key "root" (did you mean "roots"?)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stops the host.
    pub severity: Severity,
    /// The file as it was named; empty where the configuration did not come from one.
    pub file: String,
    /// The line, from 1; 0 where it is not known.
    pub line: u32,
    /// The column in characters, from 1; 0 where it is not known.
    pub column: u32,
    /// The plugin whose entry it is in.
    pub plugin: Option<String>,
    /// The key, such as `plugins[1].metadata.priority`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Problem {
    /// Whether it stops the host.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", 0) => {}
            ("", line) => write!(f, "{line}:{}: ", self.column)?,
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        if let Some(plugin) = &self.plugin {
            write!(f, "plugin {plugin:?}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every problem of a configuration that has at least one error, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// Errors and warnings together.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            let end = if place == 0 { "" } else { "\n" };
            let kind = if problem.is_error() { "" } else { "warning: " };
            write!(f, "{end}{kind}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The findings of all checks, so that they are reported at once.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    /// Whether an unknown key is only a warning.
    is_lenient: bool,
    list: RefCell<Vec<Problem>>,
}

/// A key that nobody reads is a slip of the hand: the setting that was meant is not in force.
pub(super) fn unknown_key_severity(is_lenient: bool) -> Severity {
    if is_lenient { Severity::Warning } else { Severity::Error }
}

/// A place that a finding is about.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub(super) at: Position,
    pub(super) plugin: Option<&'a str>,
    pub(super) path: String,
}

impl Findings {
    pub(super) fn new(file: &str, is_lenient: bool) -> Self {
        Self { file: file.to_owned(), is_lenient, list: RefCell::new(Vec::new()) }
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    /// Notes a key that nobody reads.
    pub(super) fn unknown_key(&self, spot: Spot<'_>, message: String, hint: Option<String>) {
        self.push(unknown_key_severity(self.is_lenient), spot, message, hint);
    }

    pub(super) fn error(&self, spot: Spot<'_>, message: String, hint: Option<String>) {
        self.push(Severity::Error, spot, message, hint);
    }

    pub(super) fn warning(&self, spot: Spot<'_>, message: String, hint: Option<String>) {
        self.push(Severity::Warning, spot, message, hint);
    }

    fn push(&self, severity: Severity, spot: Spot<'_>, message: String, hint: Option<String>) {
        self.list.borrow_mut().push(Problem {
            severity,
            file: self.file.clone(),
            line: spot.at.line,
            column: spot.at.column,
            plugin: spot.plugin.map(str::to_owned),
            path: spot.path,
            message,
            hint,
        });
    }

    /// What was found, in the order of the file.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| (problem.line, problem.column));
        list
    }
}

/// The hint "did you mean …?" where one of the names is near enough.
///
/// ```
/// use a2e_core::config::did_you_mean;
/// assert_eq!(did_you_mean("rots", ["paths", "roots"]).unwrap(), "did you mean \"roots\"?");
/// assert_eq!(did_you_mean("colour", ["paths", "roots"]), None);
/// ```
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, names).map(|name| format!("did you mean {name:?}?"))
}

/// No key is as long; comparing takes time with the square of the length.
const MAX_WORD: usize = 64;

/// The name that is nearest to the word, if a slip of the hand could have made the word of it.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase().replace('-', "_");
    if folded.len() > MAX_WORD {
        return None;
    }
    let allowed = (folded.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (strsim::osa_distance(&folded, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
