//! Traces over HTTP, and their spans at a collector that reads what OTLP posts to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::raw::Site;
use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-11112222333344445555666677778888-00f067aa0ba902b7-00";

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    start: u64,
    end: u64,
    attributes: String,
}

/// What a collector got.
#[derive(Debug, Default)]
struct Got {
    heads: Vec<String>,
    resources: Vec<String>,
    spans: Vec<Span>,
}

/// Takes posts and answers with a status.
struct Collector {
    address: String,
    got: Arc<Mutex<Got>>,
}

impl Collector {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Got::default()));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (head, body) = read_post(&mut stream);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                let mut kept = kept.lock().unwrap();
                kept.heads.push(head);
                for resource_spans in parts(&body, 1) {
                    kept.resources.extend(parts(resource_spans, 1).into_iter().map(text));
                    let scopes = parts(resource_spans, 2);
                    kept.spans.extend(scopes.iter().flat_map(|it| parts(it, 2)).map(span));
                }
            }
        });
        Self { address, got }
    }

    fn spans(&self) -> Vec<Span> {
        self.got.lock().unwrap().spans.clone()
    }

    /// A host over HTTP whose spans come here.
    fn host(&self, place: &Place) -> (Host, Site) {
        let config = place.config("audit: {enabled: true, path: '{}/audit.jsonl'}");
        let mut serve = a2e(&["serve", "-c", &config, "--listen", "http://127.0.0.1:0"]);
        serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.address);
        serve.env("OTEL_BSP_SCHEDULE_DELAY", "50");
        let host = Host::start(&mut serve);
        let site = Site::at(&host.addresses(1)[0]);
        (host, site)
    }
}

fn read_post(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut block).unwrap();
        bytes.extend_from_slice(&block[..read]);
        let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        if bytes.len() >= at + 4 + length.parse::<usize>().unwrap() {
            return (head, bytes.split_off(at + 4));
        }
    }
}

/// The fields of a protobuf message: number, content of those that have a length, value of the others.
fn fields(mut rest: &[u8]) -> Vec<(u64, &[u8], u64)> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = *rest.split_off_first().unwrap();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let (content, value): (&[u8], u64) = match key & 7 {
            0 => (&[], varint(&mut rest)),
            1 => (&[], u64::from_le_bytes(rest.split_off(..8).unwrap().try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut rest)).unwrap();
                (rest.split_off(..length).unwrap(), 0)
            }
            5 => (rest.split_off(..4).unwrap(), 0),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, content, value));
    }
    fields
}

fn parts(message: &[u8], number: u64) -> Vec<&[u8]> {
    fields(message).into_iter().filter(|it| it.0 == number).map(|it| it.1).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn span(message: &[u8]) -> Span {
    let part = |number| parts(message, number).first().copied().unwrap_or_default();
    let time = |number| fields(message).into_iter().find(|it| it.0 == number).unwrap().2;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Span {
        name: text(part(5)),
        trace: hex(part(1)),
        id: hex(part(2)),
        parent: hex(part(4)),
        start: time(7),
        end: time(8),
        attributes: parts(message, 9).into_iter().map(text).collect(),
    }
}

fn call(id: &str, tool: &str, arguments: Value, traceparent: Option<&str>) -> String {
    let mut message =
        json!({ "type": "tool/call/req", "id": id, "tool_name": tool, "arguments": arguments });
    if let Some(traceparent) = traceparent {
        message["traceparent"] = traceparent.into();
    }
    message.to_string()
}

fn post(site: &Site, session: &str, body: &str, more: &[(&str, &str)]) {
    let headers = [&[("X-Session-Id", session)], more].concat();
    let reply = site.request("POST /send", &headers, body.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The trace of each request, as the audit has it.
fn audited(place: &Place) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let calls = lines.filter(|line| line["type"] == "tool/call/req");
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
    calls.map(|line| (field(&line, "req_id"), field(&line, "trace_id"))).collect()
}

#[test]
fn a_header_names_the_trace_of_lines_that_name_none() {
    let place = Place::new();
    let (host, site) = super::host(&place, "audit: {enabled: true, path: '{}/audit.jsonl'}");
    let session = site.open();
    let echo = |id: &str, trace| call(id, "echo", json!({}), trace);
    let other = "00-aaaabbbbccccddddeeeeffff00001111-00f067aa0ba902b7-01";
    let both = [echo("a", None), echo("b", Some(other))].join("\n");
    post(&site, &session, &both, &[("traceparent", PARENT), ("tracestate", "a=1")]);
    post(&site, &session, &echo("c", None), &[]);
    post(&site, &session, &echo("d", None), &[("traceparent", "00-what")]);
    // Which of two is meant is not for us to say.
    post(&site, &session, &echo("e", None), &[("traceparent", PARENT), ("traceparent", other)]);
    // A repeat is the same request in another attempt of its sender.
    post(&site, &session, &echo("a", None), &[("traceparent", other)]);
    let answers = site.stream(&session, None).take(6);
    assert!(answers.iter().all(|it| it.message["type"] == "tool/call/resp"), "{answers:?}");
    host.stop();
    let expected = [
        ("a", TRACE),
        ("b", "aaaabbbbccccddddeeeeffff00001111"),
        ("c", "-"),
        ("d", "-"),
        ("e", "-"),
    ];
    assert_eq!(audited(&place), expected.map(|(id, trace)| (id.to_owned(), trace.to_owned())));
    let audit = place.text("audit.jsonl");
    let (code, stdout, stderr) = outcome(&mut a2e(&["audit", "verify", &audit]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn spans_of_a_traced_request_reach_the_collector() {
    let collector = Collector::start("200 OK");
    let place = Place::new();
    let (host, site) = collector.host(&place);
    let session = site.open();
    let sleep = json!({ "ms": 20 });
    post(&site, &session, &call("inline", "echo", json!({}), Some(PARENT)), &[]);
    post(&site, &session, &call("queued", "sleep", sleep, Some(PARENT)), &[]);
    post(&site, &session, &call("bad", "no_such_tool", json!({}), Some(PARENT)), &[]);
    post(&site, &session, &call("quiet", "echo", json!({}), Some(UNSAMPLED)), &[]);
    post(&site, &session, &call("none", "echo", json!({}), None), &[]);
    site.stream(&session, None).take(5);
    until(PATIENCE, "three requests", || {
        collector.spans().iter().filter(|it| it.name == "tool/call/req").count() == 3
    });
    // What is left comes at the end.
    host.stop();
    let spans = collector.spans();
    assert!(spans.iter().all(|it| it.trace == TRACE), "only what is sampled: {spans:#?}");
    let request = |id: &str| {
        let is_it = |it: &&Span| it.name == "tool/call/req" && it.attributes.contains(id);
        spans.iter().find(is_it).cloned().unwrap_or_else(|| panic!("{id}: {spans:#?}"))
    };
    let below = |parent: &Span, name: &str| {
        let is_it = |it: &&Span| it.parent == parent.id && it.name == name;
        spans.iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    for (id, outcome) in [("inline", "ok"), ("queued", "ok"), ("bad", "error")] {
        let request = request(id);
        assert_eq!(request.parent, "00f067aa0ba902b7", "{id}");
        assert!(request.attributes.contains(outcome), "{request:?}");
        let runs = below(&request, "run");
        assert!(!runs.is_empty(), "{id}: {spans:#?}");
        for run in runs {
            assert!(run.start >= request.start && run.end >= run.start, "{run:?} {request:?}");
            assert!(run.attributes.contains("demo"), "{run:?}");
        }
    }
    let queued = request("queued");
    let [queue] = &below(&queued, "queue")[..] else { panic!("{spans:#?}") };
    assert!(queue.start >= queued.start && queue.end <= queued.end, "{queue:?} {queued:?}");
    let run = below(&queued, "run").into_iter().max_by_key(|it| it.end - it.start).unwrap();
    assert!(run.end - run.start >= 20_000_000, "a sleep of 20 ms: {run:?}");
    let got = collector.got.lock().unwrap();
    assert!(got.heads[0].starts_with("post /v1/traces "), "{}", got.heads[0]);
    assert!(got.heads[0].contains("application/x-protobuf"), "{}", got.heads[0]);
    assert!(got.resources[0].contains("service.name"), "{:?}", got.resources);
}

#[test]
fn a_collector_that_refuses_or_is_not_there_is_told_of_and_changes_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Collector::start("503 Service Unavailable");
    let mut missing = Collector::start("200 OK");
    missing.address = format!("http://{gone}");
    for (collector, said) in [(refusing, "refused spans"), (missing, "did not reach")] {
        let place = Place::new();
        let (host, site) = collector.host(&place);
        let session = site.open();
        post(&site, &session, &call("a", "echo", json!({}), Some(PARENT)), &[]);
        assert_eq!(site.stream(&session, None).take(1)[0].message["type"], "tool/call/resp");
        host.until_logged(said);
        post(&site, &session, &call("b", "echo", json!({}), Some(PARENT)), &[]);
        assert_eq!(site.stream(&session, Some(1)).take(1)[0].message["type"], "tool/call/resp");
        host.stop();
    }
    let mut serve = a2e(&["serve", "--stdio"]);
    serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example");
    let (code, _, stderr) = outcome(&mut serve);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("http://"), "{stderr}");
}
