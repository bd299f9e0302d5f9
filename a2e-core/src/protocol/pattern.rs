//! Patterns of texts: message types, names of tools.

/// Whether a text fits a pattern, in which each `*` stands for any run of characters.
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.len() >= tail.len() && left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        let cases = [
            ("tool/call/req", "tool/call/req", true),
            ("tool/call/req", "tool/call/re", false),
            ("*", "anything", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("tool/*", "tool/call/req", true),
            ("tool/*", "tool", false),
            ("tool/*", "tools/x", false),
            ("*/req", "tool/call/req", true),
            ("*/req", "tool/call/resp", false),
            ("tool/*/req", "tool/list/req", true),
            ("tool/*/req", "tool/req", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("*b*b*", "abc", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
