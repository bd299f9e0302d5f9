//! A document as the walk sees it: its fenced blocks, each with what is to be done with it.
//!
//! The words behind the language of a fence say it; a page that is rendered shows none of them:
//! `rust FILE` stands in that file of the clone, or makes it; `rust FILE +` is added to it;
//! `sh needs PROGRAM` is passed over where the program is not installed; `unwalked REASON` always.
//! A block of `text` behind one of `sh` is what that prints. `# prints …` behind a command is a part of it.

use std::fs;

use crate::process::support::program::workspace;

/// A document of the root.
pub(super) struct Document {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) blocks: Vec<Block>,
}

/// One fenced block.
pub(super) struct Block {
    /// Of its opening fence, from 1.
    pub(super) line: usize,
    pub(super) language: String,
    /// What stands behind the language.
    pub(super) words: Vec<String>,
    /// Without the indentation of the fence.
    pub(super) lines: Vec<String>,
}

/// What the walk does with a block.
#[derive(Debug, PartialEq)]
pub(super) enum Task<'a> {
    /// A picture.
    Look,
    /// Its commands are run.
    Run,
    /// The same, and what they print is compared.
    RunAndCompare,
    /// What the commands of the block before it print.
    Printed,
    /// It stands in this file, or becomes it.
    File(&'a str),
    /// It is added to this file.
    Add(&'a str),
    /// It is not walked, for this reason.
    Pass(String),
}

impl Document {
    pub(super) fn read(name: &'static str) -> Self {
        let text = fs::read_to_string(workspace().join(name)).unwrap();
        let blocks = blocks(&text);
        Self { name, text, blocks }
    }

    /// A place in it, as a compiler would name it.
    pub(super) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// The text between the heading above a block and the block.
    pub(super) fn prose_before(&self, block: &Block) -> String {
        let above: Vec<&str> = self.text.lines().take(block.line - 1).collect();
        let start = above.iter().rposition(|line| line.starts_with("## ")).unwrap_or(0);
        above[start..].join("\n")
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        match (open, bare.strip_prefix("```")) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                blocks.push(Block {
                    line: number + 1,
                    language,
                    words: words.collect(),
                    lines: vec![],
                });
                open = Some(line.len() - bare.len());
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) => {
                let inner = line.get(indent.min(line.len() - bare.len())..).unwrap();
                blocks.last_mut().unwrap().lines.push(inner.to_owned());
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

impl Block {
    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// What is to be done with it; fails where the fence does not say it.
    pub(super) fn task(&self) -> Result<Task<'_>, String> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        Ok(match (self.language.as_str(), &*words) {
            ("", []) => Task::Look,
            ("text", []) => Task::Printed,
            (_, ["unwalked", reason @ ..]) if !reason.is_empty() => Task::Pass(reason.join(" ")),
            ("sh" | "console", ["needs", program]) if !is_installed(program) => {
                Task::Pass(format!("{program} is not installed"))
            }
            ("sh", [] | ["needs", _]) => Task::Run,
            ("console", [] | ["needs", _]) => Task::RunAndCompare,
            ("rust" | "toml" | "yaml", [file]) => Task::File(file),
            ("rust", [file, "+"]) => Task::Add(file),
            _ => {
                let fence = [&[self.language.as_str()], &*words].concat().join(" ");
                return Err(format!("the fence `{fence}` does not say what to do with the block"));
            }
        })
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
