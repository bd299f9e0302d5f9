//! W3C trace context (level 1): the field `traceparent` of a request.

use std::fmt;

use crate::codec::encode::hex;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The flags that are passed on: sampled, and random trace id (level 2).
const FLAGS: u8 = 0b11;

/// One place in a trace, as `traceparent` writes it: `00-<trace>-<span>-<flags>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext([u8; LENGTH]);

impl TraceContext {
    /// Reads a `traceparent`; `None` for one that is malformed, which is to be ignored. One of a later
    /// version is read as far as it is known, and passed on as version 00.
    ///
    /// ```
    /// use a2e_core::protocol::TraceContext;
    /// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let context = TraceContext::parse(text).unwrap();
    /// assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// assert!(context.is_sampled());
    /// assert_eq!(TraceContext::parse("00-4bf9-00f0-01"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (own, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = own.split('-');
        let version = hex_digits(fields.next()?, 2)?;
        let (trace, span) = (hex_digits(fields.next()?, 32)?, hex_digits(fields.next()?, 16)?);
        let flags = hex_digits(fields.next()?, 2)?;
        let is_whole = match version {
            "00" => rest.is_empty(),
            "ff" => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        if !is_whole || fields.next().is_some() || is_zero(trace) || is_zero(span) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()? & FLAGS;
        Self::of(trace, span, flags)
    }

    fn of(trace: &str, span: &str, flags: u8) -> Option<Self> {
        format!("00-{trace}-{span}-{flags:02x}").into_bytes().try_into().ok().map(Self)
    }

    /// A place below this one, in the same trace. Without randomness it is this one.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut word = [0; 8];
        let filled = getrandom::fill(&mut word).is_ok();
        let span = hex::<16>(u64::from_be_bytes(word));
        let span = std::str::from_utf8(&span).ok().filter(|_| filled && word != [0; 8]);
        span.and_then(|span| Self::of(self.trace_id(), span, self.flags())).unwrap_or(*self)
    }

    /// The whole text of a `traceparent`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.as_str().get(3..35).unwrap_or_default()
    }

    /// 16 hex digits.
    pub fn span_id(&self) -> &str {
        self.as_str().get(36..52).unwrap_or_default()
    }

    /// Whether its sender records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags() & 1 == 1
    }

    fn flags(&self) -> u8 {
        self.0.last().map_or(0, |digit| digit.wrapping_sub(b'0'))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A field of exactly this many lower-case digits.
fn hex_digits(field: &str, count: usize) -> Option<&str> {
    let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (field.len() == count && field.bytes().all(is_hex)).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_taken_as_the_recommendation_says() {
        let zeros = |count: usize| "0".repeat(count);
        for (text, passed_on) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some("01")),
            (format!("00-{TRACE}-{SPAN}-00"), Some("00")),
            (format!("00-{TRACE}-{SPAN}-03"), Some("03")),
            (format!("00-{TRACE}-{SPAN}-ff"), Some("03")),
            (format!("cc-{TRACE}-{SPAN}-01"), Some("01")),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), Some("01")),
            (format!("cc-{TRACE}-{SPAN}-01.what-comes-later"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", zeros(32)), None),
            (format!("00-{TRACE}-{}-01", zeros(16)), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}-0g"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{TRACE}{SPAN}--01"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (format!("0-0{TRACE}-{SPAN}-01"), None),
            (format!("00-{}ä-{SPAN}-01", zeros(30)), None),
            (String::new(), None),
        ] {
            let context = TraceContext::parse(&text);
            let expected = passed_on.map(|flags| format!("00-{TRACE}-{SPAN}-{flags}"));
            assert_eq!(context.map(|it| it.to_string()), expected, "{text}");
        }
    }

    #[test]
    fn a_child_is_another_place_in_the_same_trace() {
        for flags in ["00", "01", "02", "03"] {
            let parent = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-{flags}")).unwrap();
            let (child, other) = (parent.child(), parent.child());
            assert_eq!(TraceContext::parse(child.as_str()), Some(child));
            assert_eq!(child.trace_id(), TRACE);
            assert_eq!(child.as_str().get(53..), Some(flags));
            assert!(child.span_id() != SPAN && child.span_id() != other.span_id());
            assert_eq!(child.is_sampled(), flags == "01" || flags == "03");
        }
    }
}
