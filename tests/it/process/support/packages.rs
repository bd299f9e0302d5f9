//! Packages from npm and `PyPI`, installed once into a folder. The benches install theirs with this file, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with packages.
pub(crate) struct Packages(PathBuf);

impl Packages {
    /// Installs them, where that was not done before; `None` where they cannot be had.
    pub(crate) fn installed(folder: PathBuf, npm: &[&str], pypi: &[&str]) -> Option<Self> {
        // Says what was installed, once all of it is there.
        let (whole, wanted) = (folder.join("whole"), [npm, pypi].concat().join("\n"));
        if std::fs::read_to_string(&whole).is_ok_and(|there| there == wanted) {
            return Some(Self(folder));
        }
        std::fs::create_dir_all(&folder).ok()?;
        let here = Self(folder);
        let mut from_npm = Command::new("npm");
        from_npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&here.0).args(npm);
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(here.0.join("venv"));
        let mut pip = Command::new(here.pypi("python"));
        pip.args(["-m", "pip", "install", "--quiet"]).args(pypi);
        let is_whole = (npm.is_empty() || ran(&mut from_npm))
            && (pypi.is_empty() || (ran(&mut venv) && ran(&mut pip)));
        is_whole.then(|| std::fs::write(whole, wanted))?.ok()?;
        Some(here)
    }

    /// The folder: node finds the packages of scripts that are in it.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// A program of the packages from npm.
    pub(crate) fn npm(&self, program: &str) -> PathBuf {
        self.0.join("node_modules/.bin").join(program)
    }

    /// A program of the packages from `PyPI`; `python` has all of them.
    pub(crate) fn pypi(&self, program: &str) -> PathBuf {
        self.0.join("venv/bin").join(program)
    }
}

/// Whether a command ends well.
pub(crate) fn ran(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
