//! Feature `otlp`: the spans of traced requests go to a collector (OTLP, protobuf over HTTP), where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names one. The other standard variables (`OTEL_SERVICE_NAME`, `OTEL_BSP_…`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, …) mean what the specification says.
//!
//! The kernel names trace, span and parent in fields of its spans, so they are taken from there and not made
//! by a tracer of the SDK. What its queue (`OTEL_BSP_MAX_QUEUE_SIZE`) has no room for is dropped.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use a2e_core::{Clock, SystemClock};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
    SpanProcessor,
};
use tokio::net::TcpStream;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::Failure;

/// The spans of the kernel's hops.
pub(crate) const TARGET: &str = "a2e::trace";

/// How long a collector may take for a batch; the standard's default.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the last batch holds up the end of the program.
const LAST: Duration = Duration::from_secs(2);

/// Bytes of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;

static PROCESSOR: OnceLock<Arc<BatchSpanProcessor>> = OnceLock::new();

/// Makes spans into those of OpenTelemetry when they end.
pub(crate) struct Export {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    ids: RandomIdGenerator,
    clock: SystemClock,
}

/// The layer, where a collector is named.
///
/// # Errors
/// When the variables cannot be followed.
pub(crate) fn export() -> Result<Option<Export>, Failure> {
    let named = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
    let endpoint = named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| named("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let is_off = named("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let Some(endpoint) = endpoint.filter(|_| !is_off) else { return Ok(None) };
    if !endpoint.starts_with("http://") {
        let text = format_args!("OTLP goes over http:// to a collector, not to {endpoint}");
        return Err(Failure::usage(text));
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(Post).build();
    let exporter = exporter.map_err(|error| Failure::usage(format_args!("OTLP: {error}")))?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let mut resource = Resource::builder();
    if named("OTEL_SERVICE_NAME").is_none() && named("OTEL_RESOURCE_ATTRIBUTES").is_none() {
        resource = resource.with_service_name("a2e");
    }
    processor.set_resource(&resource.build());
    let processor = Arc::clone(PROCESSOR.get_or_init(|| Arc::new(processor)));
    let scope =
        InstrumentationScope::builder("a2e").with_version(env!("CARGO_PKG_VERSION")).build();
    let (ids, clock) = (RandomIdGenerator::default(), SystemClock::default());
    Ok(Some(Export { processor, scope, ids, clock }))
}

/// Sends what is left.
pub(crate) fn finish() {
    if let Some(processor) = PROCESSOR.get() {
        // What went wrong was logged when it was posted.
        let _told = processor.shutdown_with_timeout(LAST);
    }
}

/// A span that has not ended.
#[derive(Default)]
struct Open {
    start: Duration,
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
    parent_id: Option<SpanId>,
    is_sampled: bool,
    /// The type of a request, its name.
    kind: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Visit for Open {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "trace_id" => self.trace_id = TraceId::from_hex(value).ok(),
            "span_id" => self.span_id = SpanId::from_hex(value).ok(),
            "parent_id" => self.parent_id = SpanId::from_hex(value).ok(),
            "kind" => self.kind = Some(value.to_owned()),
            name => self.attributes.push(KeyValue::new(format!("a2e.{name}"), value.to_owned())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "sampled" {
            self.is_sampled = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Open {
    fn end(self, name: &'static str, end: Duration, export: &Export) -> Option<SpanData> {
        let flags = TraceFlags::SAMPLED;
        let span_id = self.span_id.unwrap_or_else(|| export.ids.new_span_id());
        let state = TraceState::default();
        let at = |time: Duration| -> SystemTime { UNIX_EPOCH + time };
        let is_request = self.kind.is_some();
        let outcome = self.attributes.iter().find(|it| it.key.as_str() == "a2e.outcome");
        let has_failed = outcome.is_some_and(|it| it.value.as_str() != "ok");
        Some(SpanData {
            span_context: SpanContext::new(self.trace_id?, span_id, flags, false, state),
            parent_span_id: self.parent_id?,
            parent_span_is_remote: is_request,
            span_kind: if is_request { SpanKind::Server } else { SpanKind::Internal },
            name: self.kind.map_or(name.into(), Into::into),
            start_time: at(self.start),
            end_time: at(end),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if has_failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: export.scope.clone(),
        })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Export {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut open = Open { start: self.clock.now().wall, ..Open::default() };
        attributes.record(&mut open);
        if open.is_sampled {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let end = self.clock.now().wall;
        if let Some(data) = open.end(span.metadata().name(), end, self) {
            self.processor.on_end(data);
        }
    }
}

/// Posts a batch, on the thread that the processor has for it.
#[derive(Debug)]
struct Post;

impl HttpClient for Post {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let answer = post(request);
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => tracing::warn!(status = %answer.status(), "the collector refused spans"),
            Err(error) => tracing::warn!(%error, "spans did not reach the collector"),
        }
        Box::pin(ready(answer))
    }
}

fn post(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, exchange(request)).await? })
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let url = std::mem::take(request.uri_mut());
    let authority = url.authority().ok_or("the endpoint names no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    *request.uri_mut() = url.path_and_query().map_or("/", |it| it.as_str()).parse()?;
    request.headers_mut().insert("host", authority.as_str().parse()?);
    // It ends with this exchange; what goes wrong with it goes wrong with the answer as well.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
