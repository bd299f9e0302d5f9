//! `GET /metrics`: the status of the host as Prometheus reads it.
//!
//! Label values are message types that plugins handle, plugin names, outcomes and counter names: all of them
//! are bounded by the configuration. No text of a client becomes a label.

use std::fmt::Write as _;
use std::sync::Arc;

use a2e_core::executor::{HostStatus, PluginStatus};
use a2e_core::protocol::host::{LATENCY_BOUNDS_US, LatencyStatus};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::Shared;
use crate::http::counts::Counts;

/// The text format (version 0.0.4).
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let page = text(&shared.executor.status(), &shared.counts);
    ([(header::CONTENT_TYPE, KIND)], page).into_response()
}

/// Every metric of a host.
fn text(status: &HostStatus, counts: &Counts) -> String {
    let mut page = Page::default();
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    for (name, help, value) in [
        ("sessions", "Open sessions.", number(status.sessions)),
        ("sessions_parked", "Sessions that wait to be resumed.", number(status.parked_sessions)),
        ("requests_in_flight", "Requests without an answer.", number(status.in_flight)),
        ("requests_waiting", "Of these, those that wait for a permit.", number(status.waiting)),
        ("unsent_bytes", "Bytes that wait to be sent.", number(status.unsent_bytes)),
        ("kept_bytes", "Bytes of sent lines that are kept.", number(status.resume_bytes)),
        ("children", "Child processes that live.", number(status.children)),
        ("generation", "The number of the table of plugins.", status.generation),
        ("degraded", "Whether handlers or the audit fail.", u64::from(status.is_degraded)),
    ] {
        page.begin(name, "gauge", help);
        page.line(name, &[], value);
    }
    page.begin("uptime_seconds", "gauge", "Seconds since the start.");
    let _fits = writeln!(page.0, "a2e_uptime_seconds {}", status.uptime_seconds);
    for (name, help, value) in [
        ("audit_records_total", "Audit records that reached the file.", status.audit_written),
        ("audit_lost_total", "Audit records that were lost.", status.audit_lost),
    ] {
        page.begin(name, "counter", help);
        page.line(name, &[], value);
    }
    page.begin("events_total", "counter", "Unusual events: drops, refusals, late answers.");
    for (name, value) in &status.counters {
        page.line("events_total", &[("event", name)], *value);
    }
    http(&mut page, counts);
    types(&mut page, status);
    plugins(&mut page, &status.plugins);
    page.0
}

fn http(page: &mut Page, counts: &Counts) {
    page.begin("http_answers_total", "counter", "Answers at this address, by status.");
    for (status, count) in counts.answers() {
        page.line("http_answers_total", &[("status", &status.to_string())], count);
    }
    let (name, help) = (
        "http_broken_total",
        "Connections to this address that were lost, no HTTP, or without a whole head in time.",
    );
    page.begin(name, "counter", help);
    page.line(name, &[], counts.broken());
}

fn types(page: &mut Page, status: &HostStatus) {
    page.begin("requests_total", "counter", "Requests that have ended, by type and outcome.");
    for it in &status.types {
        for (outcome, count) in &it.outcomes {
            let labels = [("type", it.message_type.as_str()), ("outcome", outcome)];
            page.line("requests_total", &labels, *count);
        }
    }
    page.begin("request_bytes_total", "counter", "Bytes of requests and of their answers.");
    for it in &status.types {
        for (direction, bytes) in [("in", it.input_bytes), ("out", it.output_bytes)] {
            let labels = [("type", it.message_type.as_str()), ("direction", direction)];
            page.line("request_bytes_total", &labels, bytes);
        }
    }
    page.begin("queue_seconds", "histogram", "From the acceptance of a request to its handler.");
    for it in &status.types {
        page.histogram("queue_seconds", &it.message_type, &it.queue);
    }
    page.begin("run_seconds", "histogram", "From the start of a handler to the answer.");
    for it in &status.types {
        page.histogram("run_seconds", &it.message_type, &it.run);
    }
}

/// One value of a plugin: its name, kind, help, and where it stands.
type PluginMetric = (&'static str, &'static str, &'static str, fn(&PluginStatus) -> u64);

fn plugins(page: &mut Page, plugins: &[PluginStatus]) {
    const METRICS: [PluginMetric; 10] = [
        ("plugin_up", "gauge", "Whether it serves.", |it| u64::from(it.health.is_well())),
        ("plugin_calls_total", "counter", "Handlers that were called.", |it| it.calls),
        ("plugin_panics_total", "counter", "Handlers that panicked.", |it| it.panics),
        ("plugin_timeouts_total", "counter", "Requests beyond their deadline.", |it| it.timeouts),
        ("plugin_rebuilds_total", "counter", "How often it was built anew.", |it| it.rebuilds),
        ("plugin_breaker_opened_total", "counter", "How often its breaker opened.", |it| {
            it.breaker_opened
        }),
        ("plugin_breaker_open", "gauge", "Whether it rests behind its breaker.", |it| {
            u64::from(it.breaker != "closed" && !it.breaker.is_empty())
        }),
        ("plugin_running", "gauge", "Handlers that run.", |it| it.running as u64),
        ("plugin_queued", "gauge", "Requests that wait for its permits.", |it| it.queued as u64),
        ("plugin_stuck", "gauge", "Threads that hang in its handlers.", |it| it.stuck as u64),
    ];
    for (name, kind, help, value) in METRICS {
        page.begin(name, kind, help);
        for plugin in plugins {
            page.line(name, &[("plugin", &plugin.name)], value(plugin));
        }
    }
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _fits = writeln!(self.0, "# HELP a2e_{name} {help}\n# TYPE a2e_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.labelled(name, labels);
        let _fits = writeln!(self.0, " {value}");
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)]) {
        let _fits = write!(self.0, "a2e_{name}");
        for (place, (label, value)) in labels.iter().enumerate() {
            let opening = if place == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _fits = write!(self.0, "{opening}{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    fn histogram(&mut self, name: &str, wire_type: &str, latency: &LatencyStatus) {
        let mut sum = 0;
        let bounds = LATENCY_BOUNDS_US.iter().map(|us| seconds(*us));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&latency.counts) {
            sum += count;
            self.line(&format!("{name}_bucket"), &[("type", wire_type), ("le", &bound)], sum);
        }
        self.labelled(&format!("{name}_sum"), &[("type", wire_type)]);
        let _fits = writeln!(self.0, " {}", seconds(latency.sum_us));
        self.line(&format!("{name}_count"), &[("type", wire_type)], sum);
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_written_exactly() {
        let shown = [0, 50, 1_000_000, 2_500_000, 300_000_000].map(seconds);
        assert_eq!(shown, ["0", "0.00005", "1", "2.5", "300"]);
        let mut page = Page::default();
        page.line("x", &[("type", "a\"b\\\n")], 3);
        assert_eq!(page.0, "a2e_x{type=\"a\\\"b\\\\\\n\"} 3\n");
    }
}
