//! Checks `server.principals`: names, tokens, tenants, rights, and what each may use.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::check::section::Section;
use crate::config::host::HostConfig;
use crate::config::problem::did_you_mean;
use crate::config::tree::expand::Env;
use crate::config::tree::node::{Data, Node};
use crate::config::{Named, PrincipalConfig, Secret, TokenDigest};
use crate::transport::{Allowed, Identity, Right, Rights};

/// A token is compared with that of each principal.
const MOST: usize = 1024;

/// The longest token file.
const MAX_TOKEN: u64 = 4096;

/// What is known before the principals are read.
pub(in crate::config) struct Given<'a> {
    pub(in crate::config) env: &'a Env<'a>,
    /// Tokens that stand elsewhere in the file, by their keys.
    pub(in crate::config) tokens: Vec<(TokenDigest, String)>,
}

/// Reads the list under `principals`.
pub(in crate::config) fn principals(
    section: &mut Section<'_>,
    given: &Given<'_>,
) -> Vec<PrincipalConfig> {
    let (mut principals, mut names) = (Vec::new(), HashMap::new());
    let mut tokens = given.tokens.clone();
    let list = section.list("principals").unwrap_or_default();
    if let Some(node) = list.get(MOST) {
        section.error(node, "principals", &format!("there are more than {MOST}"), None);
    }
    for (place, node) in list.iter().take(MOST).enumerate() {
        let key = format!("principals[{place}]");
        let Some(mut entry) = section.map_of(node, &key, "a map with name and token") else {
            continue;
        };
        let name = name(&mut entry, &mut names);
        let token = token(&mut entry, given.env);
        if let Some(token) = &token {
            let digest = TokenDigest::of(token);
            if let Some((_, other)) = tokens.iter().find(|(known, _)| *known == digest) {
                entry.error(node, "token", &format!("is also that of {other}"), None);
            } else {
                tokens.push((digest, format!("the principal at line {}", node.at.line)));
            }
        }
        let identity = Identity {
            name: name.clone().unwrap_or_default(),
            tenant: entry.word("tenant").map(str::to_owned),
            rights: rights(&mut entry),
            ..Identity::of(name.unwrap_or_default())
        };
        let identity = identity.with_allowed(allowed(&mut entry));
        entry.finish(&[]);
        principals.extend(token.map(|token| PrincipalConfig::new(identity, &token)));
    }
    principals
}

fn name(entry: &mut Section<'_>, names: &mut HashMap<String, u32>) -> Option<String> {
    if !entry.has("name") {
        entry.missing("name");
    }
    let (name, node) = (entry.word("name")?, entry.get("name")?);
    if name.contains(':') {
        // `token:agent`, `plugin:x` are names of the host's.
        entry.error(node, "name", "must have no colon", None);
    } else if let Some(line) = names.insert(name.to_owned(), node.at.line) {
        let message = format!("the name {name:?} is taken by the principal at line {line}");
        entry.error(node, "name", &message, None);
    }
    Some(name.to_owned())
}

/// The token, from the one place that is named.
fn token(entry: &mut Section<'_>, env: &Env<'_>) -> Option<String> {
    let keys = ["token", "token_file", "token_env"];
    let nodes = keys.map(|key| entry.get(key));
    let mut given = keys.into_iter().zip(nodes).filter_map(|(key, node)| Some((key, node?)));
    let (first, second) = (given.next(), given.next());
    let Some((key, node)) = first else {
        if !keys.iter().any(|key| entry.has(key)) {
            entry.missing("token");
        }
        return None;
    };
    if let Some((second, node)) = second {
        entry.error(node, second, &format!("stands beside {key}; one is enough"), None);
        return None;
    }
    let token = match key {
        "token" => entry.text("token")?.to_owned(),
        "token_env" => {
            let name = entry.word("token_env")?;
            env(name).unwrap_or_else(|| {
                entry.error(node, key, &format!("the variable {name} is not set"), None);
                String::new()
            })
        }
        _ => from_file(entry, node)?,
    };
    if token.is_empty() {
        entry.error(node, key, "gives no token", None);
        return None;
    }
    if Secret::new(token.as_str()).is_short() {
        let hint = "\"openssl rand -hex 16\" prints one that is long enough".to_owned();
        entry.warning(node.at, key, "has less than 128 bits", Some(hint));
    }
    Some(token)
}

fn from_file(entry: &mut Section<'_>, node: &Node) -> Option<String> {
    let path = entry.file("token_file")?;
    match read(&path) {
        Err(error) => {
            entry.error(node, "token_file", &format!("cannot read it: {error}"), None);
            None
        }
        Ok((_, mode)) if mode & 0o002 != 0 => {
            let hint = Some("chmod o-w".to_owned());
            entry.error(node, "token_file", "everybody may write this file", hint);
            None
        }
        Ok((token, mode)) => {
            if mode & 0o004 != 0 {
                let hint = Some("chmod o-r".to_owned());
                entry.warning(node.at, "token_file", "everybody may read this file", hint);
            }
            Some(token.trim().to_owned())
        }
    }
}

/// The text of a file, and the file's mode.
fn read(path: &Path) -> std::io::Result<(String, u32)> {
    let file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    let mut text = String::new();
    file.take(MAX_TOKEN + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TOKEN {
        return Err(std::io::Error::other(format!("it has more than {MAX_TOKEN} bytes")));
    }
    // What is given through a pipe or a descriptor has no mode of its own.
    let mode = if meta.is_file() { meta.permissions().mode() } else { 0 };
    Ok((text, mode))
}

fn rights(entry: &mut Section<'_>) -> Rights {
    let mut rights = Rights::default();
    for (place, node) in entry.list("rights").unwrap_or_default().iter().enumerate() {
        let text = match &node.data {
            Data::Text(text, _) => text.as_str(),
            _ => "",
        };
        if let Some(right) = Right::ALL.into_iter().find(|right| right.as_str() == text) {
            rights.grant(right);
        } else {
            let words = Right::ALL.map(Right::as_str);
            let hint = did_you_mean(text, words);
            let expected = format!("one of {}", words.join(", "));
            entry.wrong(node, &format!("rights[{place}]"), &expected, hint);
        }
    }
    rights
}

fn allowed(entry: &mut Section<'_>) -> Allowed {
    let mut list = |key: &'static str| {
        let patterns = entry.texts(key);
        entry.has(key).then_some(patterns)
    };
    Allowed {
        types: list("capabilities"),
        names: Named::linked().filter_map(|it| Some((it.many, list(it.many)?))).collect(),
    }
}

/// Notes each principal whose tenant stands nowhere else.
pub(in crate::config) fn check_tenants(top: &Section<'_>, root: &Node, config: &HostConfig) {
    let in_plugins = config.plugins.iter().filter_map(|it| it.metadata.tenants.as_ref()).flatten();
    let known: BTreeSet<&str> =
        config.tenants.keys().chain(in_plugins).map(String::as_str).collect();
    let list = root.entry("server").and_then(|server| server.entry("principals"));
    let Some(Data::List(list)) = list.map(|node| &node.data) else { return };
    for (place, entry) in list.iter().enumerate() {
        let Some(node) = entry.entry("tenant") else { continue };
        if let Data::Text(tenant, _) = &node.data
            && !known.contains(tenant.as_str())
        {
            let hint = did_you_mean(tenant, known.iter().copied());
            let hint = hint.or_else(|| Some(format!("add \"tenants: {{{tenant}: {{}}}}\"")));
            let key = format!("server.principals[{place}].tenant");
            let message = format!("neither tenants nor a plugin names {tenant:?}");
            top.error(node, &key, &message, hint);
        }
    }
}
