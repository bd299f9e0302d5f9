//! The command of a child: program, arguments, folder, environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::sandbox::Sandbox;

/// The variables that a child inherits without being asked.
pub const ENV_DEFAULT: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER"];

/// Where the program's standard input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StdinMode {
    /// A pipe whose other end is `Child::stdin`.
    #[default]
    Pipe,
    /// `/dev/null`.
    Null,
}

/// How a program is to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holding {
    /// As the supervisor holds all: under a guard where it has one.
    #[default]
    Usual,
    /// In a PID namespace of its own, where the kernel allows it; else as usual, which is logged.
    PreferPidns,
    /// In a PID namespace of its own; the start fails where that is not allowed (R37).
    Pidns,
}

/// A program to start. No shell is added: the arguments reach the program as they are.
///
/// ```
/// use a2e_core::children::{Command, StdinMode};
/// let mut command = Command::new("python3").args(["-m", "http.server"]).env("PORT", "80");
/// command.stdin = StdinMode::Null;
/// assert_eq!(command.args.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name that is looked up in the child's `PATH`.
    pub program: OsString,
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    /// The folder to start in; `None`: the host's. A relative program path starts here.
    pub cwd: Option<PathBuf>,
    /// Names of further host variables that the child inherits, beside [`ENV_DEFAULT`].
    pub env_pass: Vec<String>,
    /// Laid over what is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// Where standard input comes from.
    pub stdin: StdinMode,
    /// How it is held.
    pub holding: Holding,
    /// What it may touch; `None`: what the host may.
    pub sandbox: Option<Sandbox>,
}

impl Command {
    /// This program without arguments, with a stdin pipe and the default environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable over what is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The whole environment of the child, where `host` looks up the host's variables.
    pub(super) fn environment(
        &self,
        host: impl Fn(&OsStr) -> Option<OsString>,
    ) -> Vec<(OsString, OsString)> {
        let passed = self.env_pass.iter().map(String::as_str);
        let mut all: BTreeMap<OsString, OsString> = ENV_DEFAULT
            .into_iter()
            .chain(passed)
            .filter_map(|name| Some((name.into(), host(name.as_ref())?)))
            .collect();
        all.extend(self.env.clone());
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r36_only_named_variables_are_inherited_and_the_callers_win() {
        let mut command = Command::new("x").env("HOME", "/h").env("NEW", "1");
        command.env_pass = vec!["EXTRA".to_owned(), "MISSING".to_owned()];
        let host = |name: &OsStr| {
            let set = ["PATH", "HOME", "SECRET", "EXTRA"].map(OsStr::new);
            set.contains(&name).then(|| OsString::from("host"))
        };
        let env = command.environment(host);
        let env: Vec<(&str, &str)> =
            env.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert_eq!(env, [("EXTRA", "host"), ("HOME", "/h"), ("NEW", "1"), ("PATH", "host")]);
    }
}
