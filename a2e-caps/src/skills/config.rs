//! The settings of a skill plugin.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use a2e_core::children::Sandbox;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where skills are, and what they may do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct SkillConfig {
    /// Folders that are looked through; of two skills with one name that of the later root is taken. One that is
    /// missing may come later.
    #[serde(default = "roots")]
    pub roots: Vec<PathBuf>,
    /// As the reference names its one root; comes before `roots`.
    #[serde(default)]
    pub skills_path: Option<PathBuf>,
    /// Seconds between looks at the folders; 0: only at the start.
    #[serde(default = "poll_s")]
    pub poll_s: f64,
    /// Most bytes of a file; a longer one is left out.
    #[serde(default = "max_skill_bytes")]
    pub max_skill_bytes: NonZeroUsize,
    /// Whether skills that name a program may run it. What stands in a folder then runs with the rights of the host,
    /// or in the sandbox.
    #[serde(default)]
    pub allow_programs: bool,
    /// What programs may touch, by Landlock and seccomp; each may read its own folder as well. `{}` is a sandbox that
    /// writes nothing and has no network.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// Most programs at a time; one more is refused with `overloaded`.
    #[serde(default = "max_programs")]
    pub max_programs: NonZeroUsize,
    /// Most bytes that a program may write; one that writes more is killed.
    #[serde(default = "max_output_bytes")]
    pub max_output_bytes: NonZeroUsize,
    /// Names of variables that programs inherit, beside `PATH`, `HOME`, `LANG`, `LC_ALL`, `TMPDIR`, `TZ` and
    /// `USER`.
    #[serde(default)]
    pub env_pass: Vec<String>,
}

impl SkillConfig {
    /// All roots, in their order.
    pub(super) fn all_roots(&self) -> Vec<PathBuf> {
        self.skills_path.iter().chain(&self.roots).cloned().collect()
    }
}

fn roots() -> Vec<PathBuf> {
    vec!["./skills_folder".into()]
}

fn poll_s() -> f64 {
    2.0
}

fn max_skill_bytes() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add((256 << 10) - 1)
}

fn max_programs() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(15)
}

fn max_output_bytes() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add((1 << 20) - 1)
}
