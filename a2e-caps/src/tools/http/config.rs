//! The settings of `http_get`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// What `http_get` may do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct HttpGetConfig {
    /// Addresses inside that may be reached: `true` for all, or a list such as `["10.1.0.0/16"]`.
    #[serde(default)]
    pub allow_private: Networks,
    /// Most bytes of a body; 1 MiB by default, 64 MiB at most.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// How long one call may take, redirects included, in seconds; 20 by default.
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// A PEM file of certificates that are trusted besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Addresses inside that may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Networks {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those of some networks, each an address and how many of its bits count.
    Of(Vec<(IpAddr, u8)>),
}

impl Networks {
    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Of(list) => list.iter().any(|network| is_in(address, *network)),
        }
    }
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let same = |difference: u128, width: u32| {
        let ignored = width.saturating_sub(u32::from(bits));
        difference.checked_shr(ignored).unwrap_or(0) == 0
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits() ^ b.to_bits(), 128),
        _ => false,
    }
}

/// An address, or an address and a number of bits.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address = IpAddr::from_str(address).ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;

        impl<'de> Visitor<'de> for Choice {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let example = Ipv4Addr::new(10, 1, 0, 0);
                write!(f, "true, false or a list of networks such as \"{example}/16\"")
            }

            fn visit_bool<E: Error>(self, is_all: bool) -> Result<Networks, E> {
                Ok(if is_all { Networks::All } else { Networks::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Networks, A::Error> {
                let mut networks = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    let wrong = || A::Error::custom(format!("{text:?} is no network"));
                    networks.push(network(&text).ok_or_else(wrong)?);
                }
                Ok(Networks::Of(networks))
            }
        }

        deserializer.deserialize_any(Choice)
    }
}

impl schemars::JsonSchema for Networks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Networks".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["boolean", "array"], "items": { "type": "string" } })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_are_read_and_hold_their_addresses() {
        let read = |value| serde_json::from_value::<Networks>(value);
        for (value, inside, outside) in [
            (json!(["10.1.0.0/16"]), &["10.1.0.0", "10.1.255.255"][..], &["10.2.0.0", "::1"][..]),
            (
                json!(["127.0.0.1", "fd00::/8"]),
                &["127.0.0.1", "fdff::1"],
                &["127.0.0.2", "fc00::1"],
            ),
            (json!(["0.0.0.0/0"]), &["1.2.3.4"], &["::1"]),
            (json!([]), &[], &["127.0.0.1"]),
            (json!(true), &["::1", "10.0.0.1"], &[]),
            (json!(false), &[], &["10.0.0.1"]),
        ] {
            let networks = read(value.clone()).unwrap();
            let has = |text: &&str| networks.contains(text.parse().unwrap());
            assert!(inside.iter().all(has), "{value}");
            assert!(!outside.iter().any(has), "{value}");
        }
        for wrong in [json!("yes"), json!(["10.0.0.0/33"]), json!(["x"]), json!([5]), json!(["1/"])]
        {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
