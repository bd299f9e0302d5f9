//! `${VAR}` and `${VAR:-default}` in values, after parsing, so that no value changes the structure.
//!
//! The default stands in for a variable that is unset or empty. `$$` is a literal `$`; a `$` before
//! anything but `{` or `$` stands for itself. Keys are left alone.

use crate::config::Position;
use crate::config::tree::node::{Data, Node, Origin};

/// Looks up a variable of the environment.
pub(in crate::config) type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The longest value after expansion; no registry needs a longer one.
const MAX_TEXT: usize = 1 << 20;

/// A value whose variable is missing or whose reference is malformed.
pub(in crate::config) struct Failure {
    pub(in crate::config) at: Position,
    pub(in crate::config) path: String,
    pub(in crate::config) reason: String,
}

/// Expands every text below the node, which stands at `path`. A failed value is left broken, so
/// that the checks do not complain of it a second time.
pub(in crate::config) fn expand(
    node: &mut Node,
    path: &str,
    env: &Env<'_>,
    failures: &mut Vec<Failure>,
) {
    match &mut node.data {
        Data::Text(text, origin) if text.contains('$') => match expand_text(text, env) {
            Ok(expanded) => {
                *origin = match (expanded.references, *origin) {
                    (0, before) => before,
                    (1, Origin::Plain) if expanded.is_whole => Origin::Reference,
                    _ => Origin::Mixed,
                };
                *text = expanded.text;
            }
            Err(reason) => {
                failures.push(Failure { at: node.at, path: path.to_owned(), reason });
                node.data = Data::Broken;
            }
        },
        Data::List(list) => {
            for (place, item) in list.iter_mut().enumerate() {
                expand(item, &format!("{path}[{place}]"), env, failures);
            }
        }
        Data::Map(map) => {
            for entry in map {
                let dot = if path.is_empty() { "" } else { "." };
                expand(&mut entry.node, &format!("{path}{dot}{}", entry.key), env, failures);
            }
        }
        _ => {}
    }
}

struct Expanded {
    text: String,
    references: usize,
    /// Whether the value was one reference and nothing else.
    is_whole: bool,
}

fn expand_text(text: &str, env: &Env<'_>) -> Result<Expanded, String> {
    let mut out =
        Expanded { text: String::with_capacity(text.len()), references: 0, is_whole: true };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.text.push_str(before);
        out.is_whole &= before.is_empty();
        rest = if let Some(after) = after.strip_prefix('{') {
            let (inside, after) =
                after.split_once('}').ok_or_else(|| "\"${\" without \"}\"".to_owned())?;
            out.text.push_str(&resolve(inside, env)?);
            out.references += 1;
            after
        } else {
            out.text.push('$');
            out.is_whole = false;
            after.strip_prefix('$').unwrap_or(after)
        };
        if out.text.len() > MAX_TEXT {
            return Err("the expanded value is longer than 1 MiB".to_owned());
        }
    }
    out.is_whole &= rest.is_empty();
    out.text.push_str(rest);
    Ok(out)
}

fn resolve(inside: &str, env: &Env<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        // The text itself is not shown: it may be a part of a secret that holds a "$".
        return Err("write ${NAME} or ${NAME:-default}, and $$ for a literal $".to_owned());
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!(
            "the default of ${{{name}}} holds another reference; only text may stand there"
        ));
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the variable {name} is not set and has no default")),
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
