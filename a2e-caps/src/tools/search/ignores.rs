//! The rules of `.gitignore` and `.ignore` files, read through directory handles.

use std::io::Read;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use nix::libc::{O_NOCTTY, O_NONBLOCK};

/// Longest file of rules, in bytes; what is beyond is not read.
const MAX_RULES: u64 = 256 * 1024;

/// The rules of one folder.
#[derive(Debug)]
pub(super) struct Rules {
    /// Bytes of the folder's path, with the slash behind it.
    prefix: usize,
    git: Gitignore,
    own: Gitignore,
}

/// The rules that hold in a folder: those of the folders above it, the nearest last.
#[derive(Debug, Default)]
pub(super) struct Ignores(Vec<Rules>);

impl Ignores {
    /// Enters a folder; `path` is its path from the root, empty for the root itself.
    pub(super) fn enter(&mut self, dir: &Dir, path: &str) {
        let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
        let git = rules(dir, ".gitignore");
        let own = rules(dir, ".ignore");
        self.0.push(Rules { prefix, git, own });
    }

    /// Leaves the folder that was entered last.
    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// Whether a path, given from the root, is left out. As in ripgrep the nearest file decides, and
    /// `.ignore` files come before `.gitignore` files.
    pub(super) fn has(&self, path: &str, is_dir: bool) -> bool {
        let decide = |of: fn(&Rules) -> &Gitignore| {
            self.0.iter().rev().find_map(|rules| {
                let below = path.get(rules.prefix..)?;
                match of(rules).matched(below, is_dir) {
                    Match::None => None,
                    Match::Ignore(_) => Some(true),
                    Match::Whitelist(_) => Some(false),
                }
            })
        };
        decide(|rules| &rules.own).or_else(|| decide(|rules| &rules.git)).unwrap_or(false)
    }
}

/// Rules that cannot be read or understood are no rules; the others of the file hold.
fn rules(dir: &Dir, name: &str) -> Gitignore {
    let Some(text) = text(dir, name) else { return Gitignore::empty() };
    let mut builder = GitignoreBuilder::new("");
    for line in text.lines() {
        if let Some(error) = builder.add_line(None, line).err() {
            tracing::debug!(file = name, %error, "ignore rule not understood");
        }
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn text(dir: &Dir, name: &str) -> Option<String> {
    // Most folders have none: asked first, which is cheaper than a failed open by handles.
    if !dir.symlink_metadata(name).ok()?.is_file() {
        return None;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    let file = dir.open_with(name, &options).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_RULES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}
