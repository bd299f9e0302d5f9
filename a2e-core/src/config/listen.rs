//! Where a host listens: `tcp://host:port`, `http://host:port`, `unix:///path`, `stdio`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// One address to serve at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// The standard input and output of this process.
    Stdio,
    /// A Unix socket.
    Unix(PathBuf),
    /// Lines over TCP.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// POST and server-sent events.
    Http {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ListenAddrError {
    message: String,
    hint: Option<String>,
}

impl ListenAddrError {
    fn new(message: &str, hint: Option<String>) -> Self {
        Self { message: message.to_owned(), hint }
    }

    /// What would be right, where that can be guessed.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// The longest path that fits a socket address on Linux (`sun_path` less its end mark).
const MAX_UNIX_PATH: usize = 107;
const FORMS: &str = "expected tcp://host:port, http://host:port, unix:///path or stdio";

impl ListenAddr {
    /// Whether only this machine can reach it. A name other than `localhost` counts as reachable,
    /// since what it stands for may change.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Stdio | Self::Unix(_) => true,
            Self::Tcp { host, .. } | Self::Http { host, .. } => is_loopback(host),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "stdio" => Ok(Self::Stdio),
                path if path.starts_with('/') => Err(guess(&format!("unix://{path}"))),
                other if host_and_port(other).is_ok() => Err(guess(&format!("tcp://{other}"))),
                _ => Err(ListenAddrError::new(FORMS, None)),
            };
        };
        match scheme {
            "tcp" => host_and_port(rest).map(|(host, port)| Self::Tcp { host, port }),
            "http" => host_and_port(rest.strip_suffix('/').unwrap_or(rest))
                .map(|(host, port)| Self::Http { host, port }),
            "unix" => unix(rest),
            "stdio" => Err(guess("stdio")),
            "https" => Err(ListenAddrError::new(
                FORMS,
                Some(format!("write \"http://{rest}\" and set server.tls")),
            )),
            _ => Err(ListenAddrError::new(FORMS, None)),
        }
    }
}

fn guess(right: &str) -> ListenAddrError {
    ListenAddrError::new(FORMS, Some(format!("did you mean {right:?}?")))
}

fn unix(path: &str) -> Result<ListenAddr, ListenAddrError> {
    if !path.starts_with('/') || path.len() == 1 {
        return Err(ListenAddrError::new("the path of a Unix socket must begin with /", None));
    }
    if path.len() > MAX_UNIX_PATH {
        let message = format!("the path of a Unix socket has at most {MAX_UNIX_PATH} bytes");
        return Err(ListenAddrError::new(&message, None));
    }
    Ok(ListenAddr::Unix(path.into()))
}

fn host_and_port(text: &str) -> Result<(String, u16), ListenAddrError> {
    let wrong = |message: &str| ListenAddrError::new(message, None);
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
    let is_number = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    let port = match port.parse() {
        Ok(port) if is_number => port,
        _ => return Err(wrong("the port must be a number from 0 to 65535")),
    };
    let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(inside)) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
        Some(_) => return Err(wrong("only an IPv6 address stands in brackets")),
        None if host.contains(':') => {
            return Err(wrong("an IPv6 address stands in brackets, as in tcp://[::1]:8765"));
        }
        None => host,
    };
    check_host(host).map_err(wrong)?;
    Ok((host.to_owned(), port))
}

/// Whether it can be a host at all: a name or an address without brackets, scheme or port.
pub(super) fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is missing");
    }
    let is_address = host.parse::<IpAddr>().is_ok();
    let is_name =
        host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    if is_address || is_name { Ok(()) } else { Err("the host is neither a name nor an address") }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Stdio => return f.write_str("stdio"),
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => ("tcp", host, port),
            Self::Http { host, port } => ("http", host, port),
        };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}
