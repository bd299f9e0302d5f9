//! Which values are secrets, and which name where they come from.

/// Ends of words in names whose values are secrets.
const NAMES: [&str; 10] = [
    "TOKEN",
    "APIKEY",
    "ACCESSKEY",
    "PRIVATEKEY",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "AUTHORIZATION",
    "COOKIE",
];

/// Words in such names that end harmless words too.
const WORDS: [&str; 2] = ["KEY", "PAT"];

/// Beginnings of secrets that are known by them.
const BEGINNINGS: [&str; 8] =
    ["sk-", "ghp_", "gho_", "github_pat_", "xoxb-", "xoxp-", "AKIA", "eyJ"];

/// Shortest run of letters and digits, some of each, that is taken for a secret.
const RUN: usize = 24;

/// Whether a value is a secret, by its name or by itself.
pub(super) fn is_secret(key: &str, value: &str) -> bool {
    if value.is_empty() || value.contains("${") {
        return false;
    }
    let key = key.to_ascii_uppercase();
    let mut parts = key.split(|c: char| !c.is_ascii_alphanumeric());
    let is_named =
        parts.any(|part| WORDS.contains(&part) || NAMES.iter().any(|it| part.ends_with(it)));
    let words = || value.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let is_known = words().any(|it| BEGINNINGS.iter().any(|begin| it.starts_with(begin)));
    let is_random = |it: &str| {
        it.len() >= RUN
            && it.chars().all(|c| c.is_ascii_alphanumeric())
            && it.chars().any(|c| c.is_ascii_digit())
            && it.chars().any(|c| c.is_ascii_alphabetic())
    };
    is_named || is_known || words().any(is_random)
}

/// A value that names where it comes from, as ours does: `${env:X}`, `${input:x}` and `$X` as `${X}`.
pub(super) fn placeholder(value: &str) -> Option<String> {
    if !value.contains("${") {
        let name = value.strip_prefix('$')?;
        return is_variable(name).then(|| format!("${{{name}}}"));
    }
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        let (name, behind) = behind.split_once('}')?;
        let name = name.rsplit(':').next().unwrap_or(name);
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        out.push_str(before);
        out.push_str("${");
        out.push_str(&name);
        out.push('}');
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The variables that a value names.
pub(super) fn variables(value: &str) -> Vec<&str> {
    value.split("${").skip(1).filter_map(|it| it.split('}').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_looks_tell_a_secret() {
        for (key, value, expected) in [
            ("GITHUB_TOKEN", "x", true),
            ("api-key", "x", true),
            ("openaiApiKey", "x", true),
            ("COMPAT", "x", false),
            ("LEVEL", "debug", false),
            ("MONKEY_BUSINESS", "x", false),
            ("PATH", "/usr/bin", false),
            ("an argument", "sk-abc", true),
            ("an argument", "--token=ghp_abc", true),
            ("an argument", "0123456789abcdef0123456789", true),
            ("an argument", "@modelcontextprotocol/server-everything", false),
            ("TOKEN", "${env:TOKEN}", false),
            ("TOKEN", "", false),
        ] {
            assert_eq!(is_secret(key, value), expected, "{key} {value}");
        }
    }

    #[test]
    fn placeholders_of_others_become_ours() {
        for (value, expected) in [
            ("${env:HOME}", Some("${HOME}")),
            ("Bearer ${input:my-token}", Some("Bearer ${MY_TOKEN}")),
            ("$HOME", Some("${HOME}")),
            ("$5.00", None),
            ("plain", None),
            ("${open", None),
        ] {
            assert_eq!(placeholder(value).as_deref(), expected, "{value}");
        }
    }
}
