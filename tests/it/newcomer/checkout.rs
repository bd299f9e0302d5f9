//! The clone that is walked. It stays, so that the next walk compiles only what has changed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::document::{Document, Task};
use crate::process::support::program::workspace;

pub(super) struct Checkout {
    pub(super) folder: PathBuf,
    /// What the workspace has built serves here, too.
    pub(super) target: PathBuf,
}

impl Checkout {
    /// A clone of the repository, with what is not committed yet.
    pub(super) fn of_what_is_here() -> Self {
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap().to_owned();
        // `target` is no part of the workspace, so a crate in it can stand for itself.
        let place = workspace().join("target/walk");
        let folder = place.join("a2e");
        // What the walk before made beside it.
        for entry in fs::read_dir(&place).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path != folder && !path.ends_with(".cargo") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        let commit = commit_of_what_is_here();
        if !folder.join(".git").exists() {
            fs::create_dir_all(&place).unwrap();
            git(Command::new("git")
                .args(["clone", "--quiet", "--shared", "--no-checkout"])
                .arg(workspace())
                .arg(&folder));
        }
        let at = |args: &[&str]| git(Command::new("git").arg("-C").arg(&folder).args(args));
        at(&["checkout", "--quiet", "--force", "--detach", &commit]);
        at(&["clean", "--quiet", "-ffdx"]);
        // A crate of one's own is built like the workspace, so that what is built of others serves both.
        fs::create_dir_all(place.join(".cargo")).unwrap();
        fs::write(place.join(".cargo/config.toml"), profile_of_the_workspace()).unwrap();
        Self { folder, target }
    }

    /// Puts the blocks that are files where they belong.
    pub(super) fn put_files(&self, document: &Document) {
        for block in &document.blocks {
            match block.task().unwrap() {
                Task::File(file) => {
                    let path = self.folder.join(file);
                    let is_here =
                        fs::read_to_string(&path).is_ok_and(|it| it.contains(&block.text()));
                    if !is_here {
                        fs::create_dir_all(path.parent().unwrap()).unwrap();
                        fs::write(path, block.text()).unwrap();
                    }
                }
                Task::Add(file) => {
                    let path = self.folder.join(file);
                    let text = fs::read_to_string(&path).unwrap();
                    fs::write(path, text + &block.text()).unwrap();
                }
                _ => {}
            }
        }
        // The versions that are on this machine.
        for entry in fs::read_dir(self.folder.parent().unwrap()).unwrap() {
            let crate_folder = entry.unwrap().path();
            if crate_folder.join("Cargo.toml").exists() && crate_folder != self.folder {
                fs::copy(self.folder.join("Cargo.lock"), crate_folder.join("Cargo.lock")).unwrap();
            }
        }
    }
}

/// The tables of its manifest that say how a debug build is made.
fn profile_of_the_workspace() -> String {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let tables = manifest.split("\n[").filter(|table| table.starts_with("profile.dev"));
    tables.map(|table| format!("[{table}\n")).collect()
}

/// Everything that is not ignored, as a commit of no branch.
fn commit_of_what_is_here() -> String {
    let place = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(workspace()).env("GIT_INDEX_FILE", place.path().join("index"));
        command.args(["-c", "user.name=walk", "-c", "user.email=walk@localhost"]);
        git(command.args(args))
    };
    at(&["read-tree", "HEAD"]);
    at(&["add", "--all"]);
    let tree = at(&["write-tree"]);
    at(&["commit-tree", &tree, "-p", "HEAD", "-m", "what is here"])
}

/// What a command of git prints.
fn git(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
