//! A file `SKILL.md`, read leniently: front matter of YAML between lines of `---`, then the text.
//!
//! The form is that of Agent Skills (agentskills.io), with what the reference's `skill.md` and Claude's skills add.
//! What is wrong with a name or a length is a warning; a file without a description or a block is no skill.

use serde_json::{Map, Value};

/// Longest description, in characters.
const MOST_DESCRIPTION: usize = 1024;

/// Longest name, in characters.
const MOST_NAME: usize = 64;

/// A skill as its file says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) version: Option<String>,
    pub(super) when_to_use: Option<String>,
    pub(super) argument_hint: Option<String>,
    pub(super) category: Option<String>,
    pub(super) icon: Option<String>,
    pub(super) triggers: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) tools: Option<Vec<String>>,
    pub(super) toolkits: Option<Vec<String>>,
    pub(super) arguments: Option<Vec<String>>,
    pub(super) timeout_seconds: Option<u64>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Only users call it: it is not shown to agents.
    pub(super) user_only: bool,
    pub(super) input_schema: Option<Map<String, Value>>,
    pub(super) output_schema: Option<Map<String, Value>>,
    /// `license`, `compatibility` and the file's own `metadata`.
    pub(super) metadata: Map<String, Value>,
    /// All that stands in the block, as its author wrote it.
    pub(super) fields: Map<String, Value>,
    pub(super) body: String,
    /// What was put right.
    pub(super) warnings: Vec<String>,
}

/// Reads a file. `folder` is the name of its folder.
///
/// # Errors
/// Why it is no skill.
pub(super) fn parse(text: &str, folder: &str, is_reference: bool) -> Result<Manifest, String> {
    let (block, body) = split(text)?;
    let mut warnings = Vec::new();
    let fields = yaml(block, &mut warnings)?;
    let own = |key: &str| fields.get(key).filter(|value| !value.is_null());
    let nested = |key: &str| own("metadata").and_then(|it| it.get(key)).filter(|it| !it.is_null());
    let either = |key: &str| own(key).or_else(|| nested(key));
    let text = |key: &str| either(key).and_then(plain).filter(|it| !it.trim().is_empty());
    let list = |key: &str| either(key).map(words);

    let name = match own("name").and_then(plain).map(|it| it.trim().to_owned()) {
        Some(name) if !name.is_empty() => name,
        Some(_) if !is_reference => return Err("`name` is blank".to_owned()),
        _ if folder.is_empty() => return Err("`name` is missing".to_owned()),
        _ => {
            warnings.push(format!("no name; the folder's is taken: {folder}"));
            folder.to_owned()
        }
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.chars().count() > MOST_NAME || !name.chars().all(is_plain) {
        warnings.push(format!(
            "the name is not of up to {MOST_NAME} small letters, digits and hyphens"
        ));
    }
    let description = own("description").and_then(plain).unwrap_or_default().trim().to_owned();
    let mut description = match (description.is_empty(), is_reference) {
        (false, _) => description,
        (true, true) => name.clone(),
        (true, false) => return Err("`description` is missing or blank".to_owned()),
    };
    if let Some((end, _)) = description.char_indices().nth(MOST_DESCRIPTION) {
        warnings.push(format!("the description is cut at {MOST_DESCRIPTION} characters"));
        description.truncate(end);
    }
    let mut metadata = own("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in ["license", "compatibility", "slash", "user_facing"] {
        if let Some(value) = own(key) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let is_hidden = own("disable-model-invocation").is_some_and(says_yes);
    let schema = |key: &str| own(key).and_then(Value::as_object).cloned();
    let command = either("command").map(words).unwrap_or_default();
    Ok(Manifest {
        description,
        version: text("version"),
        when_to_use: text("when_to_use"),
        argument_hint: text("argument-hint").or_else(|| text("argument_hint")),
        category: text("category"),
        icon: text("icon"),
        triggers: list("triggers").unwrap_or_default(),
        tags: list("tags").unwrap_or_default(),
        tools: list("tools").or_else(|| list("allowed-tools")),
        toolkits: list("toolkits"),
        arguments: own("arguments").filter(|it| it.is_array()).map(words),
        timeout_seconds: either("timeout_seconds").and_then(Value::as_u64).filter(|it| *it > 0),
        command,
        user_only: either("user_only").is_some_and(says_yes) || is_hidden,
        input_schema: schema("input_schema"),
        output_schema: schema("output_schema"),
        metadata,
        body: body.trim().to_owned(),
        warnings,
        name,
        fields,
    })
}

/// The block and the text behind it.
fn split(text: &str) -> Result<(&str, &str), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut at = 0;
    let mut begin = None;
    for line in text.split_inclusive('\n') {
        let is_mark = if begin.is_none() { line.trim_end() == "---" } else { line.trim() == "---" };
        match (begin, is_mark) {
            (None, false) => return Err("does not begin with `---`".to_owned()),
            (None, true) => begin = Some(at + line.len()),
            (Some(begin), true) => {
                let block = text.get(begin..at).unwrap_or_default();
                return Ok((block, text.get(at + line.len()..).unwrap_or_default()));
            }
            (Some(_), false) => {}
        }
        at += line.len();
    }
    match begin {
        Some(_) => Err("its block has no end".to_owned()),
        None => Err("is empty".to_owned()),
    }
}

/// The fields of the block; a second time with quotes where a colon in a value breaks it.
fn yaml(block: &str, warnings: &mut Vec<String>) -> Result<Map<String, Value>, String> {
    // As YAML 1.2 has it, so that a skill may be named `off`.
    let read = |text: &str| {
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|it| it.to_string())
    };
    let value = read(block).or_else(|error| {
        let first = error.lines().next().unwrap_or_default().to_owned();
        let quoted = read(&quoted(block)).map_err(|_| format!("YAML: {first}"))?;
        warnings.push("values with colons should stand in quotes".to_owned());
        Ok::<_, String>(quoted)
    })?;
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Err("its block is empty".to_owned()),
        _ => Err("its block is no mapping".to_owned()),
    }
}

/// The block with quotes around plain values of its outermost fields.
fn quoted(block: &str) -> String {
    let mut out = String::with_capacity(block.len() + 64);
    for line in block.lines() {
        let parts = line.split_once(": ").filter(|(key, value)| {
            let is_key = !key.is_empty() && !key.starts_with([' ', '#', '-', '"', '\'']);
            let value = value.trim();
            is_key
                && !value.is_empty()
                && !value.starts_with(['"', '\'', '[', '{', '|', '>', '&', '*'])
        });
        match parts {
            Some((key, value)) => {
                let value = value.trim().replace('\\', r"\\").replace('"', "\\\"");
                out.extend([key, ": \"", &value, "\""]);
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// A scalar as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A list of texts; one text is its words.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(plain).collect(),
        other => {
            let text = plain(other).unwrap_or_default();
            let pieces = text.split([' ', ',', '\t', '\n']).filter(|it| !it.is_empty());
            pieces.map(str::to_owned).collect()
        }
    }
}

fn says_yes(value: &Value) -> bool {
    let text = plain(value).unwrap_or_default().to_ascii_lowercase();
    matches!(text.as_str(), "true" | "1" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        parse(text, "folder", false)
    }

    #[test]
    fn a_standard_file_is_read() {
        let text = "\u{feff}---\nname: pdf-forms\ndescription: Fills in forms.\nlicense: MIT\n\
                    compatibility: needs python\nallowed-tools: Bash(git:*) Read\n\
                    metadata:\n  author: acme\n  version: \"1.2\"\n---\n\n# Forms\n\nText.\n---\nmore\n";
        let it = read(text).unwrap();
        assert_eq!((it.name.as_str(), it.description.as_str()), ("pdf-forms", "Fills in forms."));
        assert_eq!(it.version.as_deref(), Some("1.2"));
        assert_eq!(it.tools.unwrap(), ["Bash(git:*)", "Read"]);
        assert_eq!(it.body, "# Forms\n\nText.\n---\nmore");
        assert_eq!(it.metadata["license"], "MIT");
        assert_eq!(it.metadata["author"], "acme");
        assert!(it.warnings.is_empty() && !it.user_only, "{:?}", it.warnings);
    }

    #[test]
    fn what_can_be_put_right_is_put_right() {
        for (fields, check) in [
            (
                "name: A B\ndescription: d",
                (|it| it.name == "A B" && it.warnings.len() == 1) as fn(&Manifest) -> bool,
            ),
            ("description: d", |it| it.name == "folder" && it.warnings.len() == 1),
            ("name: n\ndescription: use when: asked", |it| {
                it.description == "use when: asked" && it.warnings.len() == 1
            }),
            ("name: n\ndescription: say \"hi\": now\ntags: [a, b]", |it| {
                it.description == "say \"hi\": now" && it.tags == ["a", "b"]
            }),
            ("name: n\ndescription: d\nuser_only: \"Yes\"", |it| it.user_only),
            ("name: n\ndescription: d\nuser_only: 0", |it| !it.user_only),
            ("name: n\ndescription: d\ndisable-model-invocation: true", |it| it.user_only),
            ("name: n\ndescription: d\nversion: 2", |it| it.version.as_deref() == Some("2")),
            ("name: n\ndescription: d\ntriggers: a, b c", |it| it.triggers == ["a", "b", "c"]),
            ("name: n\ndescription: d\ncommand: [run.sh, -x]", |it| it.command == ["run.sh", "-x"]),
            ("name: n\ndescription: d\nmetadata: {command: run.sh -x}", |it| {
                it.command == ["run.sh", "-x"]
            }),
            ("name: n\ndescription: d\narguments: {a: 1}", |it| it.arguments.is_none()),
            ("name: n\ndescription: d\narguments: [a]", |it| {
                it.arguments.as_deref() == Some(&["a".to_owned()][..])
            }),
            ("name: n\ndescription: d\nmetadata: 5\ntools: null", |it| it.tools.is_none()),
            ("name: off\ndescription: no\nuser_only: on", |it| it.name == "off" && it.user_only),
        ] {
            let it = read(&format!("---\n{fields}\n  ---  \nbody")).unwrap();
            assert!(check(&it), "{fields}: {it:?}");
            assert_eq!(it.body, "body");
        }
        let long = format!("---\nname: n\ndescription: {}\n---\n", "ä".repeat(2000));
        let it = read(&long).unwrap();
        assert_eq!((it.description.chars().count(), it.warnings.len()), (1024, 1));
    }

    #[test]
    fn what_is_no_skill_says_why() {
        for (text, expected) in [
            ("", "is empty"),
            ("# Title\n", "does not begin with `---`"),
            (" ---\nname: n\n---\n", "does not begin with `---`"),
            ("---\nname: n\ndescription: d\n", "its block has no end"),
            ("---\n---\nbody", "its block is empty"),
            ("---\n- a\n---\n", "no mapping"),
            ("---\nname: [\n---\n", "YAML: "),
            ("---\nname: n\n---\n", "`description` is missing or blank"),
            ("---\nname: n\ndescription: \"  \"\n---\n", "`description` is missing or blank"),
            ("---\nname: \" \"\ndescription: d\n---\n", "`name` is blank"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let bare = parse("---\ntags: [x]\n---\nbody", "greeter", true).unwrap();
        let said = (bare.name.as_str(), bare.description.as_str(), json!(bare.tags));
        assert_eq!(said, ("greeter", "greeter", json!(["x"])), "as the reference has it");
    }
}
