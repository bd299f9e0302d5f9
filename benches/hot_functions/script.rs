//! What callgrind saw, as a script for the linker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Says what the file is and how it is made again; linkers read it as a comment.
const HEAD: &str = "\
/* Functions that run when `a2e` starts and when it serves, for the linker to put side by side.
   Written by `cargo run --release -p benches --features peers --bin hot_functions`; a name that a linker does not
   find is no error. */
SECTIONS
{
  .text.hot :
  {
";
const END: &str = "  }
}
INSERT BEFORE .text;
";

/// A pattern stands for many functions if they are more than so many times the bytes that ran.
const WIDE: u64 = 3;

/// The program's functions, and what the linker is told of them.
pub struct Symbols {
    program: String,
    /// Bytes of each function.
    sizes: HashMap<String, u64>,
    /// Bytes of all functions that a pattern stands for.
    meant: HashMap<String, u64>,
}

impl Symbols {
    pub fn of(program: &Path) -> Result<Self, String> {
        let nm = Command::new("nm").arg("--print-size").arg(program).output();
        let nm = nm.map_err(|error| format!("nm: {error}"))?;
        let mut sizes = HashMap::new();
        for line in String::from_utf8_lossy(&nm.stdout).lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(_), Some(size), Some(kind), Some(name)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if matches!(kind, "t" | "T" | "w" | "W") {
                sizes.insert(name.to_owned(), u64::from_str_radix(size, 16).unwrap_or(0));
            }
        }
        if sizes.is_empty() {
            return Err(format!("{} has no symbols", program.display()));
        }
        let mut meant: HashMap<String, u64> = HashMap::new();
        for (name, size) in &sizes {
            *meant.entry(without_hash(name)).or_default() += size;
        }
        Ok(Self { program: program.display().to_string(), sizes, meant })
    }

    /// Functions that callgrind names in the files of a group, as patterns with the bytes that ran.
    pub fn that_ran(&self, folder: &Path, group: &str) -> Result<BTreeMap<String, u64>, String> {
        let mut names = BTreeSet::new();
        let files = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
        for file in files.flatten() {
            let name = file.file_name();
            if name.to_string_lossy().split_once('.').is_some_and(|(first, _)| first == group) {
                let text =
                    std::fs::read_to_string(file.path()).map_err(|error| error.to_string())?;
                functions_of(&text, &self.program, &mut names);
            }
        }
        let mut ran: BTreeMap<String, u64> = BTreeMap::new();
        for name in &names {
            if let Some(size) = self.sizes.get(name) {
                *ran.entry(without_hash(name)).or_default() += size;
            }
        }
        // A start alone runs a thousand.
        if ran.len() < 100 {
            return Err(format!("valgrind named {} functions of {group}", ran.len()));
        }
        Ok(ran)
    }

    /// The script: group by group, the patterns that stand for much else at the end of theirs.
    pub fn script(&self, groups: &[BTreeMap<String, u64>]) -> String {
        let mut script = HEAD.to_owned();
        let mut is_written = BTreeSet::new();
        for group in groups {
            let is_wide = |(pattern, ran): &(&String, &u64)| {
                self.meant.get(*pattern).is_some_and(|meant| *meant > **ran * WIDE)
            };
            let (wide, narrow): (Vec<_>, Vec<_>) = group.iter().partition(is_wide);
            for (pattern, _) in narrow.into_iter().chain(wide) {
                if is_written.insert(pattern) {
                    // Where the function is, and where it would be as a cold one.
                    // Writing to a string cannot fail.
                    let _written =
                        writeln!(script, "    *(.text.{pattern} .text.unlikely.{pattern})");
                }
            }
        }
        script + END
    }
}

/// Lines of interest are `ob=(1) /a/file` and `fn=(2) name`; each is short, `fn=(2)`, from its second
/// appearance on. `cob=` and `cfn=` name what is called.
fn functions_of(text: &str, program: &str, names: &mut BTreeSet<String>) {
    let mut objects: HashMap<&str, &str> = HashMap::new();
    let (mut own, mut called) = ("", "");
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (number, name) = value.split_once(' ').unwrap_or((value, ""));
        match key {
            "ob" | "cob" => {
                if !name.is_empty() {
                    objects.insert(number, name);
                }
                let object = objects.get(number).copied().unwrap_or_default();
                if key == "ob" { own = object } else { called = object }
            }
            "fn" | "cfn" => {
                let object = match key {
                    "fn" => own,
                    // No `cob=` before it: it is in the caller's file.
                    _ if called.is_empty() => own,
                    _ => called,
                };
                called = if key == "cfn" { "" } else { called };
                // `'2` marks a function that was called by itself.
                let name = name.split('\'').next().unwrap_or_default();
                if object == program && is_symbol(name) {
                    names.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Not an address without a name, or `(below main)`.
fn is_symbol(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte);
    !name.is_empty() && !name.starts_with("0x") && name.bytes().all(is_part)
}

/// The name as a pattern that holds for other builds and compilers: the digest at the end of a name of
/// the older mangling, and those of crates in the newer one, are left open.
fn without_hash(name: &str) -> String {
    if name.starts_with("_ZN") {
        return name
            .rfind("17h")
            .and_then(|at| name.get(..at + 3))
            .map_or_else(|| name.to_owned(), |kept| format!("{kept}*"));
    }
    if !name.starts_with("_R") {
        return name.to_owned();
    }
    let mut pattern = String::new();
    let mut rest = name;
    while let Some(at) = rest.find("Cs") {
        let (before, crate_and_on) = rest.split_at(at + 2);
        pattern.push_str(before);
        // A digest is a number to the base of 62, ended by `_`.
        match crate_and_on.split_once('_') {
            Some((digest, on))
                if digest.len() > 8 && digest.bytes().all(|it| it.is_ascii_alphanumeric()) =>
            {
                pattern.push_str("*_");
                rest = on;
            }
            _ => rest = crate_and_on,
        }
    }
    pattern + rest
}
