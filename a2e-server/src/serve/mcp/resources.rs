//! Resources that the front has itself: large results, files below the roots of the tools; and subscriptions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use a2e_caps::mcp::contract::{ResourceProvider, Subscribed, Updates};
use a2e_caps::tools::contract::{Content, ToolCallRequest, ToolListRequest};
use a2e_client::{CallOptions, Client};
use a2e_core::codec::RawJson;
use rmcp::model::{
    CallToolResult, ContentBlock, ErrorData, ReadResourceResult, Resource, ResourceContents,
    ResourceTemplate,
};
use serde_json::{Map, Value, json};

use super::convert::{self, cut};
use super::desk::Desk;
use super::session::{Context, Kind, Session};

/// Bytes of results that a session keeps; the oldest leave first.
const MAX_KEPT: usize = 32 << 20;

/// Bytes of the beginning that a model gets with the link.
const BEGINNING: usize = 4096;

/// Most subscriptions of a session.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// Most bytes of a file that is read as a resource.
const MAX_FILE: usize = 16 << 20;

/// Begins the URI of a result.
const RESULT: &str = "a2e://result/";

/// Begins the URI of a file.
const FILE: &str = "file:///";

/// The large results of a session, newest last.
#[derive(Default)]
pub(super) struct Results(Mutex<VecDeque<(u64, String)>>);

impl Results {
    fn keep(&self, text: String) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(1, |(number, _)| number + 1);
        kept.push_back((number, text));
        while kept.len() > 1 && kept.iter().map(|(_, text)| text.len()).sum::<usize>() > MAX_KEPT {
            kept.pop_front();
        }
        number
    }

    fn find(&self, number: u64) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(it, _)| *it == number).map(|(_, text)| text.clone())
    }
}

impl Session {
    /// Replaces what is large in a result by its beginning and a link, where the client can come back to it:
    /// a request to read it names no session, so it must come from the one that has it.
    pub(super) fn shortened(&self, mut result: CallToolResult) -> CallToolResult {
        let most = self.front.settings.inline_bytes;
        if self.kind != Kind::Session || result.is_error == Some(true) {
            return result;
        }
        let mut links = Vec::new();
        for block in &mut result.content {
            if let ContentBlock::Text(text) = block
                && text.text.len() > most
            {
                let whole = std::mem::take(&mut text.text);
                text.text = cut(&whole, BEGINNING);
                let size = whole.len() as u64;
                let number = self.results.keep(whole);
                let link = Resource::new(format!("{RESULT}{number}"), format!("result-{number}"));
                let about =
                    format!("The whole result, {size} bytes; kept while the session lives.");
                links.push(ContentBlock::resource_link(
                    link.with_description(about).with_mime_type("text/plain").with_size(size),
                ));
            }
        }
        if !links.is_empty() {
            // The data says the same as the text.
            result.structured_content = None;
            result.content.extend(links);
        }
        result
    }

    /// A resource of the front's own: `None` where the URI is none.
    pub(super) fn own_resource(&self, uri: &str) -> Option<ReadResourceResult> {
        let number = uri.strip_prefix(RESULT)?.parse().ok()?;
        let text = self.results.find(number)?;
        let contents = ResourceContents::text(text, uri).with_mime_type("text/plain");
        Some(ReadResourceResult::new(vec![contents]))
    }
}

/// The template of files, where a tool reads them.
pub(super) async fn file_template(client: &Client) -> Option<ResourceTemplate> {
    let asked = ToolListRequest { query: "read_file".to_owned(), ..ToolListRequest::default() };
    let listed = client.rpc(&asked).await.ok()?;
    listed.tools.iter().find(|tool| tool.name == "read_file")?;
    let about = "A file below the folders that the tools of this host may use.";
    Some(ResourceTemplate::new("file:///{+path}", "file").with_description(about))
}

/// A file, read by the tool and so with its confinement and its audit; `None` where the URI is none.
pub(super) async fn read_file(
    client: &Client,
    uri: &str,
    context: &Context,
) -> Option<Result<ReadResourceResult, ErrorData>> {
    let path = decoded(uri.strip_prefix(FILE)?)?;
    // A path of its own is absolute; what the template makes of `a/b` is below the first root.
    let whole = read_path(client, &format!("/{path}"), uri).await;
    let read = match whole {
        Err(_) => read_path(client, &path, uri).await,
        read => read,
    };
    Some(read.map_err(|error| convert::error(&error, context)))
}

async fn read_path(
    client: &Client,
    path: &str,
    uri: &str,
) -> Result<ReadResourceResult, a2e_client::ClientError> {
    let (mut offset, mut text, mut blobs) = (0_u64, String::new(), Vec::new());
    let mut kind = None;
    while text.len() < MAX_FILE {
        let arguments = json!({ "path": path, "offset": offset });
        let asked = ToolCallRequest {
            session_id: String::new(),
            tool_name: "read_file".to_owned(),
            arguments: RawJson::of(&arguments)
                .map_err(|error| a2e_client::ClientError::Protocol(error.to_string().into()))?,
            correlation_id: String::new(),
            streaming: false,
            timeout: 30,
        };
        let part = client.rpc_with(&asked, CallOptions::default()).await?.data;
        let data: Map<String, Value> =
            part.data.and_then(|data| data.decode().ok()).unwrap_or_default();
        let content = data.get("content").and_then(Value::as_str).unwrap_or_default();
        kind = kind.or_else(|| part.content.iter().find_map(media_of));
        if data.get("encoding").is_some_and(|it| it == "base64") {
            blobs.push(content.to_owned());
        } else {
            text.push_str(content);
        }
        match data.get("next_offset").and_then(Value::as_u64) {
            // Base64 of parts is not joined; a file that is no text comes as far as one part goes.
            Some(next) if blobs.is_empty() => offset = next,
            _ => break,
        }
    }
    let contents = match blobs.pop() {
        Some(blob) => ResourceContents::blob(blob, uri)
            .with_mime_type(kind.unwrap_or_else(|| "application/octet-stream".to_owned())),
        None => ResourceContents::text(text, uri).with_mime_type("text/plain"),
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

/// The media type of an image or a sound.
fn media_of(part: &Content) -> Option<String> {
    match part {
        Content::Image(it) | Content::Audio(it) => Some(it.mime_type.clone()),
        _ => None,
    }
}

/// `%41` is `A`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |it: u8| char::from(it).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// What a session is told of, by URI.
#[derive(Default)]
pub(super) struct Subscriptions(Mutex<HashMap<String, Option<Subscribed>>>);

impl Subscriptions {
    /// # Errors
    /// When there are as many as may be.
    pub(super) fn add(&self, uri: String, kept: Option<Subscribed>) -> Result<(), ErrorData> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_SUBSCRIPTIONS && !all.contains_key(&uri) {
            return Err(ErrorData::internal_error("too many subscriptions in this session", None));
        }
        all.insert(uri, kept);
        Ok(())
    }

    pub(super) fn remove(&self, uri: &str) {
        let removed = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uri);
        drop(removed);
    }
}

/// Subscribes with the provider that has the resource; `None` when none tells of it.
pub(super) async fn subscribe(
    desk: &Desk,
    tenant: Option<&str>,
    uri: &str,
    updates: Updates,
) -> Option<Subscribed> {
    for provider in desk.contributed::<dyn ResourceProvider>(tenant) {
        let asked = Arc::clone(&provider.item).subscribe(uri.to_owned(), Arc::clone(&updates));
        match asked.await {
            Ok(Some(subscribed)) => return Some(subscribed),
            Ok(None) => {}
            Err(error) => tracing::warn!(provider = provider.name, %error, "no subscription"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Results, decoded};

    #[test]
    fn uris_are_decoded_or_refused() {
        for (text, expected) in [
            ("a/b.txt", Some("a/b.txt")),
            ("a%20b", Some("a b")),
            ("%C3%A4", Some("ä")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_oldest_results_leave() {
        let results = Results::default();
        let numbers: Vec<u64> = (0..5).map(|_| results.keep("x".repeat(10 << 20))).collect();
        let found = numbers.iter().map(|number| results.find(*number).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [false, false, true, true, true]);
        assert!(results.find(99).is_none());
    }
}
