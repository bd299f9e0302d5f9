//! The URLs that may be fetched, and where a redirect leads.

use std::fmt::Write as _;

use hyper::Uri;

/// Longest URL, in bytes.
pub(super) const MAX_URL: usize = 8192;

/// An `http` or `https` URL without credentials and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) is_tls: bool,
    /// A name or an address, that of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Begins with `/`.
    pub(super) path: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("is longer than {MAX_URL} bytes"));
        }
        if let Some(odd) = text.chars().find(|it| !it.is_ascii_graphic() || *it == '\\') {
            return Err(format!("has {odd:?}, which must be percent-encoded"));
        }
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => {
                return Err(format!("is of scheme `{other}`; http and https are allowed"));
            }
            None => return Err("is no full URL; it begins with http:// or https://".to_owned()),
        };
        let authority = uri.authority().map_or("", |it| it.as_str());
        if authority.contains('@') {
            return Err("has credentials, which are not sent".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("has no host".to_owned());
        }
        let port = match uri.port() {
            Some(port) => port.as_u16(),
            // A colon with nothing or a wrong number behind it.
            None if authority.rsplit(']').next().is_some_and(|it| it.contains(':')) => {
                return Err("has no good port".to_owned());
            }
            None if is_tls => 443,
            None => 80,
        };
        if port == 0 {
            return Err("has no good port".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port, path })
    }

    /// Where a redirect leads from here.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        let own = self.path.split('?').next().unwrap_or_default();
        let start = location.split(['/', '?']).next().unwrap_or_default();
        let target = if start.contains(':') {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if location.is_empty() {
            self.to_string()
        } else {
            let path = match location.as_bytes() {
                [b'/', ..] => location.to_owned(),
                [b'?', ..] => format!("{own}{location}"),
                _ => format!("{}/{location}", own.rsplit_once('/').map_or("", |(above, _)| above)),
            };
            format!("{}://{}{}", self.scheme(), self.authority(), without_dots(&path))
        };
        Self::parse(&target)
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// Whether another URL leads to the same server.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let server = |it: &Self| (it.is_tls, it.host.to_ascii_lowercase(), it.port);
        server(self) == server(other)
    }

    /// Host and, where it is not the usual one, port.
    pub(super) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

/// A `Location` as browsers read it: without blanks around it, with every byte that a URL may not have
/// percent-encoded, be it UTF-8 or not, and with `/` for `\` before the query.
pub(super) fn cleaned(location: &[u8]) -> String {
    let mut url = String::with_capacity(location.len());
    let mut is_in_path = true;
    for byte in location.trim_ascii() {
        is_in_path &= !matches!(byte, b'?' | b'#');
        match byte {
            b'\t' | b'\r' | b'\n' => {}
            b'\\' if is_in_path => url.push('/'),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}' | ..=b' ' | 0x7f.. => {
                // Writing to a text cannot fail.
                write!(url, "%{byte:02X}").unwrap_or_default();
            }
            _ => url.push(char::from(*byte)),
        }
    }
    url
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (place, part) in parts.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        match *part {
            "." | ".." => {
                if *part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_urls_are_read() {
        for (text, expected) in [
            ("http://a", "http://a/"),
            ("HTTPS://A.b:443/x?y=1#z", "https://a.b/x?y=1"),
            ("http://a:8080?q", "http://a:8080/?q"),
            ("http://[::1]:81/", "http://[::1]:81/"),
            ("https://[2001:db8::1]/", "https://[2001:db8::1]/"),
            ("http://0x7f.1/", "http://0x7f.1/"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for (text, part) in [
            ("", "no URL"),
            ("a.b/c", "no "),
            ("/x", "no full URL"),
            ("ftp://a/", "scheme `ftp`"),
            ("file:///etc/passwd", "no URL"),
            ("javascript:alert(1)", "no "),
            ("http://user:pw@a/", "credentials"),
            ("http://user@a/", "credentials"),
            ("http://a b/", "percent-encoded"),
            ("http://a/\\x", "percent-encoded"),
            ("http://ä/", "percent-encoded"),
            ("http://a/\r\nHost: b", "percent-encoded"),
            ("http://:80/", "no"),
            ("http://a:0/", "port"),
            ("http://a:/", "port"),
            ("http://a:99999/", "port"),
            (&format!("http://a/{}", "x".repeat(9000)), "longer"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn redirects_lead_where_the_standard_says() {
        let base = Url::parse("http://a:81/b/c/d?q").unwrap();
        for (location, expected) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z", "http://a:81/y?z"),
            ("y", "http://a:81/b/c/y"),
            ("./y", "http://a:81/b/c/y"),
            ("../y/", "http://a:81/b/y/"),
            ("../../../y", "http://a:81/y"),
            ("..", "http://a:81/b/"),
            ("?z", "http://a:81/b/c/d?z"),
            ("#f", "http://a:81/b/c/d?q"),
            ("y?a=/../b", "http://a:81/b/c/y?a=/../b"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location}");
        }
        for (location, expected) in [
            ("/größe".as_bytes(), "http://a:81/gr%C3%B6%C3%9Fe"),
            (b"/gr\xf6\xdfe", "http://a:81/gr%F6%DFe"),
            (b"  /a b\tc ", "http://a:81/a%20bc"),
            ("ü?q=ä b#z ü".as_bytes(), "http://a:81/b/c/%C3%BC?q=%C3%A4%20b"),
            (b"/%20%C3%B6?{\"x\"}", "http://a:81/%20%C3%B6?%7B%22x%22%7D"),
            (br"\y\..\z?a\b", "http://a:81/z?a%5Cb"),
            (br"http:\\x\y", "http://x/y"),
            (b"/a|b'c", "http://a:81/a|b'c"),
        ] {
            let shown = String::from_utf8_lossy(location);
            assert_eq!(base.join(&cleaned(location)).unwrap().to_string(), expected, "{shown}");
        }
        for wrong in ["http://größe/", "//a b/", "http://u@ä/", "ä:b"] {
            assert!(base.join(&cleaned(wrong.as_bytes())).is_err(), "{wrong}");
        }
        for wrong in ["javascript:1", "ftp://x", "http://u@x/", "//", "/a b"] {
            assert!(base.join(wrong).is_err(), "{wrong}");
        }
    }
}
