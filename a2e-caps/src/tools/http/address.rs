//! Which addresses are public: where a page may be fetched from without asking the operator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of the IANA registries (RFC 6890 and its updates) that are not for the public: the first
/// address, how many of its bits count, and what they are.
const NOT_PUBLIC_V4: [([u8; 4], u32, &str); 16] = [
    ([0, 0, 0, 0], 8, "this host"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "for protocols"),
    ([192, 0, 2, 0], 24, "for documents"),
    ([192, 88, 99, 0], 24, "a 6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documents"),
    ([203, 0, 113, 0], 24, "for documents"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
    // A part of the line above; here so that a reader finds it.
    ([255, 255, 255, 255], 32, "broadcast"),
];

/// Within `2000::/3`, all of which is otherwise public.
const NOT_PUBLIC_V6: [([u16; 3], u32, &str); 4] = [
    ([0x2001, 0, 0], 23, "for protocols or a tunnel"),
    ([0x2001, 0xdb8, 0], 32, "for documents"),
    ([0x3fff, 0, 0], 20, "for documents"),
    // 6to4 is decided by the address inside, before this list is asked.
    ([0x2002, 0, 0], 16, "a 6to4 tunnel"),
];

/// What keeps an address from being public; `None` when it is.
pub(super) fn why_not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, or behind NAT64 or 6to4.
pub(super) fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let is_in = |(network, length, _): &&([u8; 4], u32, &str)| {
        let difference = bits ^ Ipv4Addr::from(*network).to_bits();
        difference.checked_shr(32 - length).unwrap_or(0) == 0
    };
    NOT_PUBLIC_V4.iter().find(is_in).map(|(.., what)| *what)
}

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = inner(address) {
        return v4(inner);
    }
    let bits = address.to_bits();
    let is_in = |(start, length, _): &&([u16; 3], u32, &str)| {
        let [a, b, c] = *start;
        let difference = bits ^ Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_bits();
        difference.checked_shr(128 - length).unwrap_or(0) == 0
    };
    if let Some((.., what)) = NOT_PUBLIC_V6.iter().find(is_in) {
        return Some(what);
    }
    match address.segments() {
        [0x2000..=0x3fff, ..] => None,
        [0xfc00..=0xfdff, ..] => Some("unique-local"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        _ => Some("not global"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (text, expected) in [
            ("0.0.0.0", Some("this host")),
            ("0.1.2.3", Some("this host")),
            ("10.255.0.1", Some("private")),
            ("100.63.255.255", None),
            ("100.64.0.1", Some("carrier-grade NAT")),
            ("100.127.255.255", Some("carrier-grade NAT")),
            ("100.128.0.0", None),
            ("127.0.0.1", Some("loopback")),
            ("127.9.9.9", Some("loopback")),
            ("169.254.169.254", Some("link-local")),
            ("172.15.255.255", None),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("192.168.1.1", Some("private")),
            ("192.0.0.1", Some("for protocols")),
            ("198.19.0.1", Some("for benchmarks")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("1.1.1.1", None),
            ("8.8.8.8", None),
            ("::", Some("not global")),
            ("::1", Some("loopback")),
            ("::7f00:1", Some("not global")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b::808:808", None),
            ("64:ff9b:1::1", Some("not global")),
            ("2002:7f00:1::", Some("loopback")),
            ("2002:a00:1::1", Some("private")),
            ("2002:808:808::1", None),
            ("2001::1", Some("for protocols or a tunnel")),
            ("2001:db8::1", Some("for documents")),
            ("3fff::1", Some("for documents")),
            ("2606:4700::1111", None),
            ("fc00::1", Some("unique-local")),
            ("fdff::1", Some("unique-local")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("not global")),
            ("ff02::1", Some("multicast")),
            ("100::1", Some("not global")),
            ("5f00::1", Some("not global")),
        ] {
            assert_eq!(why_not_public(text.parse().unwrap()), expected, "{text}");
        }
    }
}
