//! The skills of all roots, as they were found last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use a2e_core::protocol::PluginName;
use serde_json::json;

use super::manifest::{self, Manifest};
use super::protocol::{SkillDefinition, SkillStatus};
use crate::json::JsonObject;

/// How far below a root is looked, how many folders in all, and how many skills.
const MOST_DEPTH: usize = 6;
const MOST_FOLDERS: usize = 2000;
const MOST_SKILLS: usize = 2000;

/// Folders that hold no skills of their own.
const PASSED: [&str; 2] = [".git", "node_modules"];

/// A folder that is looked through.
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// The plugin that brings it; `None`: it is configured.
    pub(super) owner: Option<PluginName>,
}

/// A skill that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Skill {
    pub(super) file: PathBuf,
    /// As [`Root::owner`].
    pub(super) owner: Option<PluginName>,
    pub(super) manifest: Manifest,
}

/// What was found, and by what a change is seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    /// By name; of namesakes the last is taken that a tenant sees.
    skills: BTreeMap<String, Vec<Skill>>,
    marks: Vec<Mark>,
}

type Mark = (PathBuf, Option<PluginName>, u64, Option<SystemTime>);

/// The files of the roots in their order, with their owners; of a root sorted.
fn files(roots: &[Root]) -> Vec<(PathBuf, Option<PluginName>)> {
    let mut files = Vec::new();
    let mut left = MOST_FOLDERS;
    for root in roots {
        let mut found = Vec::new();
        look(&root.path, 0, &mut left, &mut found);
        found.sort();
        files.extend(found.into_iter().map(|file| (file, root.owner.clone())));
    }
    files.truncate(MOST_SKILLS);
    files
}

/// Looks through a folder; what lies below a skill is its own.
fn look(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut names = BTreeSet::new();
    for entry in entries.flatten().take(MOST_SKILLS * 4) {
        names.insert(entry.file_name());
    }
    // Exactly this name; on a disk that does not tell letters apart both are one file.
    let own = ["SKILL.md", "skill.md"]
        .into_iter()
        .find(|name| names.contains(std::ffi::OsStr::new(name)));
    if let Some(name) = own.filter(|name| folder.join(name).is_file()) {
        found.push(folder.join(name));
        return;
    }
    for name in names.iter().filter(|_| depth < MOST_DEPTH) {
        let path = folder.join(name);
        if !PASSED.iter().any(|passed| name == passed) && path.is_dir() {
            look(&path, depth + 1, left, found);
        }
    }
}

fn mark((file, owner): &(PathBuf, Option<PluginName>)) -> Mark {
    let facts = fs::metadata(file).ok();
    let length = facts.as_ref().map_or(0, fs::Metadata::len);
    (file.clone(), owner.clone(), length, facts.and_then(|it| it.modified().ok()))
}

/// Reads a file, as long as it is not too long.
///
/// # Errors
/// Why it is no skill.
pub(super) fn read(file: &Path, most_bytes: usize) -> Result<Manifest, String> {
    let length = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > u64::try_from(most_bytes).unwrap_or(u64::MAX) {
        return Err(format!("has {length} bytes; at most {most_bytes}"));
    }
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
    let is_reference = file.file_name().is_some_and(|name| name == "skill.md");
    manifest::parse(&text, &folder.to_string_lossy(), is_reference)
}

impl Catalog {
    /// Looks through the roots; `None` when nothing changed since `before`.
    pub(super) fn of(roots: &[Root], most_bytes: usize, before: Option<&Self>) -> Option<Self> {
        let files = files(roots);
        let marks: Vec<Mark> = files.iter().map(mark).collect();
        if before.is_some_and(|before| before.marks == marks) {
            return None;
        }
        let mut skills: BTreeMap<String, Vec<Skill>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (file, owner) in files {
            match read(&file, most_bytes) {
                Ok(mut manifest) => {
                    for warning in std::mem::take(&mut manifest.warnings) {
                        tracing::warn!(file = %file.display(), warning, "a skill is not as it should be");
                    }
                    // Read again when it is called.
                    manifest.body = String::new();
                    let namesakes = skills.entry(manifest.name.clone()).or_default();
                    if let Some(other) = namesakes.last() {
                        let (by, other) = (file.display(), other.file.display());
                        tracing::info!(%other, %by, "a skill is replaced by one of its name");
                    }
                    namesakes.push(Skill { file, owner, manifest });
                }
                Err(why) => left_out.push(format!("{} {why}", file.display())),
            }
        }
        if !left_out.is_empty() {
            tracing::warn!(files = left_out.join("; "), "no skills");
        }
        Some(Self { skills, marks })
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.skills.len()
    }

    /// The skill of this name, of those that are seen.
    pub(super) fn find(&self, name: &str, is_seen: impl Fn(&Skill) -> bool) -> Option<&Skill> {
        self.skills.get(name)?.iter().rev().find(|it| is_seen(it))
    }

    /// A skill for each name, of those that are seen.
    pub(super) fn all(&self, is_seen: impl Fn(&Skill) -> bool) -> impl Iterator<Item = &Skill> {
        self.skills.values().filter_map(move |it| it.iter().rev().find(|it| is_seen(it)))
    }
}

impl Skill {
    /// As agents see it.
    pub(super) fn definition(&self) -> SkillDefinition {
        let it = self.manifest.clone();
        let input = it.input_schema.map_or_else(
            || json!({ "type": "object", "properties": { "args": { "type": "string" } } }),
            serde_json::Value::Object,
        );
        let object = |value| JsonObject::of(value).unwrap_or_default();
        SkillDefinition {
            version: it.version.unwrap_or_else(|| "1.0.0".to_owned()),
            when_to_use: it.when_to_use.unwrap_or_else(|| it.description.clone()),
            argument_hint: it.argument_hint.unwrap_or_else(|| "args: string".to_owned()),
            description: it.description,
            triggers: it.triggers,
            status: SkillStatus::Published,
            source: "filesystem".to_owned(),
            tools: it.tools,
            toolkits: it.toolkits,
            input_schema: object(&input),
            output_schema: object(&serde_json::Value::Object(it.output_schema.unwrap_or_default())),
            instructions: None,
            file_path: Some(self.file.display().to_string()),
            category: it.category,
            icon: it.icon,
            arguments: it.arguments,
            tags: Some(it.tags),
            timeout_seconds: it.timeout_seconds,
            metadata: JsonObject::of(&it.metadata).ok(),
            name: it.name,
        }
    }
}
