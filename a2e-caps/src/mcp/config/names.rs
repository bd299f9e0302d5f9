//! Patterns over names, where each `*` stands for any run of characters; addresses and what is below them.

use reqwest::Url;

/// Whether a name fits a pattern. Time grows with the product of their lengths at most.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// An address of a server; `None` where it is none. One with a user in front of its host is read as another
/// host by people; an encoded `/` is a separator to some servers.
pub(super) fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    let path = url.path().to_ascii_lowercase();
    (is_plain && !path.contains("%2f") && !path.contains("%5c")).then_some(url)
}

/// Whether an address is an allowed one or below it, on the same scheme, host and port.
pub(crate) fn is_below(allowed: &str, text: &str) -> bool {
    let (Some(allowed), Some(url)) = (address(allowed), address(text)) else { return false };
    let base = allowed.path().trim_end_matches('/');
    let is_at =
        url.path().strip_prefix(base).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    let has_query = allowed.query().is_none_or(|query| url.query() == Some(query));
    url.origin() == allowed.origin() && is_at && has_query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_below_another_on_one_host_only() {
        for (allowed, url, expected) in [
            ("https://example.org", "https://example.org/mcp?x=1", true),
            ("https://example.org/mcp", "https://example.org/mcp", true),
            ("https://example.org/mcp/", "https://example.org/mcp/a", true),
            ("https://example.org/mcp", "https://example.org:443/mcp", true),
            ("https://example.org/mcp?k=1", "https://example.org/mcp?k=1", true),
            ("https://example.org/mcp?k=1", "https://example.org/mcp", false),
            ("https://example.org", "https://example.org@169.254.169.254/", false),
            ("https://example.org", "https://user:p@example.org/", false),
            ("https://example.org", "https://example.org.evil.net/", false),
            ("https://example.org", "https://example.org:8443/", false),
            ("https://example.org", "http://example.org/", false),
            ("https://example.org/mcp", "https://example.org/mcp/../admin", false),
            ("https://example.org/mcp", "https://example.org/mcp/%2e%2e/admin", false),
            ("https://example.org/mcp", "https://example.org/mcp/..%2fadmin", false),
            ("https://example.org/mcp", "https://example.org/mcp\\..\\admin", false),
            ("https://example.org/mcp", "https://example.org/mcpx", false),
            ("https://", "https://example.org/", false),
            ("", "https://example.org/", false),
        ] {
            assert_eq!(is_below(allowed, url), expected, "{allowed} {url}");
        }
    }

    #[test]
    fn a_star_is_any_run() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("a*", "a", true),
            ("*b", "ab", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("read_*", "write_x", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
