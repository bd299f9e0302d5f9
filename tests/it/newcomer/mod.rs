//! The first hour of a newcomer: README and CONTRIBUTING are walked in a clone, block by block, as they stand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]
#![allow(clippy::print_stdout, reason = "a walk says what it passed over")]

mod checkout;
mod document;
mod shell;

use std::fs;
use std::path::Path;

use crate::process::support::program::workspace;
use checkout::Checkout;
use document::{Document, Task};
use shell::Script;

const DOCUMENTS: [&str; 2] = ["README.md", "CONTRIBUTING.md"];

/// Blocks that are never walked; each says why behind the language of its fence.
const UNWALKED: usize = 5;

/// Lines of two screens with 100 columns and 50 rows.
const TWO_SCREENS: usize = 100;

#[test]
fn each_block_says_what_is_to_be_done_with_it() {
    let mut passed = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        for block in &document.blocks {
            let place = document.place(block.line);
            match block.task().unwrap_or_else(|error| panic!("{place}: {error}")) {
                Task::Pass(reason) if block.words[0] == "unwalked" => passed.push(reason),
                Task::File(file) | Task::Add(file) => {
                    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
                    let is_named = document.prose_before(block).contains(&format!("{name}`"));
                    assert!(is_named, "{place}: the text above does not name {name}");
                }
                _ => {}
            }
        }
        // Its marks are where its commands are.
        Script::of(&document);
    }
    assert_eq!(passed.len(), UNWALKED, "{passed:#?}");
}

#[test]
fn a_block_of_a_file_that_is_there_is_a_part_of_it() {
    let mut seen = 0;
    for document in DOCUMENTS.map(Document::read) {
        for block in &document.blocks {
            let Ok(Task::File(file)) = block.task() else { continue };
            let Ok(text) = fs::read_to_string(workspace().join(file)) else { continue };
            let place = document.place(block.line);
            assert!(text.contains(&block.text()), "{place}: {file} says something else");
            seen += 1;
        }
    }
    assert!(seen >= 2, "the examples are shown: {seen}");
}

#[test]
#[ignore = "it builds a clone, ten minutes: `A2E_WALK=1 .ci/run` does it"]
fn the_first_hour() {
    let clone = Checkout::of_what_is_here();
    let mut walked = 0;
    for document in DOCUMENTS.map(Document::read) {
        clone.put_files(&document);
        let script = Script::of(&document);
        let printed = script.walk(&document, &clone.folder, &clone.target);
        let printed = printed.unwrap_or_else(|error| panic!("{error}"));
        walked += script.walked;
        if document.name == "README.md" {
            let first = printed.values().next().unwrap();
            let rows: usize = first.lines().map(|line| line.len().div_ceil(100).max(1)).sum();
            assert!(rows <= TWO_SCREENS, "README.md: its first command prints {rows} rows");
        }
        for block in &document.blocks {
            if let Ok(Task::Pass(reason)) = block.task() {
                println!("{}: not walked: {reason}", document.place(block.line));
            }
        }
    }
    println!("{walked} blocks of commands walked");
}
