//! The trace of a request (W3C): its own place in it, and a span for each hop.
//!
//! A span tells its parent by `parent_id` and not by `tracing`'s own parent, which would keep a request's span
//! open for as long as a handler that was given up goes on.

use tracing::Span;
use tracing::field::Empty;

use crate::counters::{Count, Counters};
use crate::protocol::TraceContext;
use crate::sync::Mutex;

/// Bytes of a `tracestate` that are passed on; the recommendation asks for no more.
const MAX_STATE: usize = 512;

/// Members of a `tracestate`.
const MAX_MEMBERS: usize = 32;

/// What a sender says of the trace, checked.
#[derive(Clone, Debug)]
pub(crate) struct TraceHead {
    parent: TraceContext,
    state: Option<Box<str>>,
}

impl TraceHead {
    /// Reads `traceparent` and `tracestate`. What is malformed is counted and ignored: the first with all of the
    /// trace, the second alone.
    pub(crate) fn read(counters: &Counters, parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = TraceContext::parse(parent);
        let kept = state.filter(|state| is_state(state));
        if parent.is_none() || kept.is_none() && state.is_some() {
            counters.add(Count::TraceMalformed);
        }
        Some(Self { parent: parent?, state: kept.map(Into::into) })
    }
}

/// Which hop a request is.
#[derive(Clone, Copy)]
pub(crate) struct Hop<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) session: &'a str,
}

/// Of a request whose sender said what trace it belongs to.
#[derive(Debug)]
pub(crate) struct Trace {
    own: TraceContext,
    state: Option<Box<str>>,
    /// From acceptance to answer. Guards its end, which happens once.
    span: Mutex<Span>,
}

impl Trace {
    /// The trace of a request that a handler of this one makes.
    pub(crate) fn child(&self, hop: Hop<'_>) -> Self {
        Self::of(TraceHead { parent: self.own, state: self.state.clone() }, hop)
    }

    /// The trace of a request of this sender.
    pub(crate) fn of(TraceHead { parent, state }: TraceHead, hop: Hop<'_>) -> Self {
        let own = parent.child();
        let span = tracing::info_span!(
            target: "a2e::trace",
            parent: None,
            "request",
            trace_id = own.trace_id(),
            span_id = own.span_id(),
            parent_id = parent.span_id(),
            sampled = own.is_sampled(),
            kind = hop.kind,
            req_id = hop.id,
            session_id = hop.session,
            outcome = Empty,
        );
        Self { own, state, span: Mutex::new(span) }
    }

    pub(crate) fn context(&self) -> TraceContext {
        self.own
    }

    pub(crate) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// As its audit record says it.
    pub(crate) fn id(&self) -> &str {
        self.own.trace_id()
    }

    /// The time in which it waits for a permit of this plugin.
    pub(crate) fn queue(&self, plugin: &str) -> Span {
        let own = &self.own;
        tracing::info_span!(
            target: "a2e::trace",
            parent: None,
            "queue",
            trace_id = own.trace_id(),
            parent_id = own.span_id(),
            sampled = own.is_sampled(),
            plugin,
        )
    }

    /// The time in which a handler of this plugin runs.
    pub(crate) fn run(&self, plugin: &str) -> Span {
        let own = &self.own;
        tracing::info_span!(
            target: "a2e::trace",
            parent: None,
            "run",
            trace_id = own.trace_id(),
            parent_id = own.span_id(),
            sampled = own.is_sampled(),
            plugin,
        )
    }

    /// The request was answered.
    pub(crate) fn end(&self, outcome: &str) {
        let span = std::mem::replace(&mut *self.span.lock(), Span::none());
        span.record("outcome", outcome);
    }
}

/// Whether a `tracestate` is passed on: at most 512 bytes, 32 members, each `key=value` of the characters
/// that the recommendation allows.
fn is_state(text: &str) -> bool {
    let is_member = |member: &str| {
        let Some((key, value)) = member.split_once('=') else { return false };
        let in_key = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/@".contains(&c);
        let in_value = |c: u8| matches!(c, b' '..=b'~') && c != b'=';
        let is_sized = |part: &str| (1..=256).contains(&part.len());
        let is_good = key.bytes().all(in_key) && value.bytes().all(in_value);
        is_good && is_sized(key) && is_sized(value)
    };
    // Empty members are allowed, blanks around each as well.
    let members =
        text.split(',').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty());
    let is_short =
        text.len() <= MAX_STATE && members.clone().take(MAX_MEMBERS + 1).count() <= MAX_MEMBERS;
    is_short && members.clone().next().is_some() && members.clone().all(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracestate_is_passed_on_or_dropped_whole() {
        let many = |count: usize| vec!["a=b"; count].join(",");
        for (text, is_good) in [
            ("congo=t61rcWkgMzE".to_owned(), true),
            ("rojo=00f067aa0ba902b7,congo=t61 rcWk".to_owned(), true),
            ("a=1 , , b@c=2".to_owned(), true),
            (many(32), true),
            (many(33), false),
            ("a".repeat(257) + "=1", false),
            ("a=".to_owned() + &"1".repeat(257), false),
            ("a=".to_owned() + &"1".repeat(600), false),
            ("A=1".to_owned(), false),
            ("a".to_owned(), false),
            ("a=".to_owned(), false),
            ("=a".to_owned(), false),
            ("a=b=c".to_owned(), false),
            ("a=ä".to_owned(), false),
            (String::new(), false),
            (" , ".to_owned(), false),
        ] {
            assert_eq!(is_state(&text), is_good, "{text}");
        }
    }
}
