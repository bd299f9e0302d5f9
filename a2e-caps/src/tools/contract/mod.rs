//! What other capabilities may use of the tools capability: its wire types, and the ways to offer tools of
//! one's own.
//!
//! A tool is a function most often: [`Tool`], and [`register_tool!`](crate::register_tool) or a [`ToolSet`].
//!
//! A plugin whose tools are known only while it runs offers them with `host.contribute::<dyn ToolProvider>(name, provider)` in its `start`.
//! The serving tools plugin of the highest priority then lists and runs them:
//!
//! ```
//! use std::sync::Arc;
//! use a2e_caps::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};
//! use a2e_core::{Result, plugin::{Host, Run}};
//!
//! struct Words;
//!
//! #[derive(serde::Deserialize)]
//! struct CountArguments { text: String }
//!
//! impl ToolProvider for Words {
//!     fn tools(&self) -> Vec<ToolDefinition> {
//!         let text = ToolParameter::required("text", "string", "What to count in.");
//!         vec![ToolDefinition::new("count_words", "Counts words.").input(text)]
//!     }
//!     fn run(&self, _tool: &str) -> Run {
//!         Run::Pool
//!     }
//!     fn call(&self, call: ToolCall) -> Result<ToolOutput> {
//!         let CountArguments { text } = call.decode()?;
//!         ToolOutput::of(&text.split_whitespace().count()) // the agent sees {"value": 2}
//!     }
//! }
//!
//! fn start(host: &Host) -> Result<()> {
//!     host.contribute::<dyn ToolProvider>("words", Arc::new(Words))?.keep();
//!     Ok(())
//! }
//! ```

mod set;
#[cfg(test)]
mod tests;
mod tool;

use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::{RawJson, decode_field, encode_value};
use a2e_core::config::nearest;
use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::protocol::{ErrorCode, Event};
use a2e_core::request::{Call, EmitError, Sent};
use a2e_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[doc(hidden)]
pub use a2e_core::inventory as __inventory;

pub use self::set::{LinkedTool, ToolSet};
pub(super) use self::tool::schema_of;
pub use self::tool::{Returns, Tool};
pub use super::content::{Content, MediaPart, Resource, ResourceContents, ResourcePart, TextPart};
pub(crate) use super::files::{file_definitions, file_tools};
pub use super::filter::ListFilter;
#[cfg(feature = "http")]
pub use super::http::HttpGetConfig;
#[cfg(feature = "http")]
pub(crate) use super::http::{base_definitions, base_tools};
pub(crate) use super::protocol::object;
pub use super::protocol::{
    TOOL_EVENT, ToolCallRequest, ToolCallResponse, ToolDefinition, ToolListRequest,
    ToolListResponse, ToolParameter, ToolResult,
};

/// The error for a name that no tool has, with the nearest of those that a caller may know.
///
/// ```
/// use a2e_caps::tools::contract::unknown_tool;
/// let error = unknown_tool("red_file", ["read_file", "grep"]);
/// assert_eq!(error.detail()["nearest"], "read_file");
/// ```
pub fn unknown_tool<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let near = nearest(name, known);
    let hint = near.map(|it| format!("; is `{it}` meant?")).unwrap_or_default();
    let text = format!("no tool is named `{name}`{hint}; `tool/list/req` lists them");
    let error = Error::new(ErrorCode::UnknownTool, text).with_detail("tool_name", name);
    near.into_iter().fold(error, |it, near| it.with_detail("nearest", near))
}

/// A source of tools: built in, or of another plugin.
///
/// A tool whose name is taken is refused and logged, never shadowed. Arguments are checked against
/// the input schema, given or made from `input_parameters`, before a tool sees them. A panic is caught, the call gets `internal_error`.
pub trait ToolProvider: Send + Sync + 'static {
    /// What it offers now: a copy of what is known, no I/O and no wait. Asked whenever contributions
    /// change; a provider whose list is another than before says so with
    /// [`Host::contribution_changed`](a2e_core::plugin::Host::contribution_changed). A list or call that
    /// comes after that sees the new list.
    fn tools(&self) -> Vec<ToolDefinition>;

    /// Tools that exist and are not offered, each with the error that a call of it gets.
    fn withheld(&self) -> Vec<(String, Error)> {
        Vec::new()
    }

    /// Whether the session of this call is offered a tool. Lists leave it out otherwise; a call of it is the
    /// provider's to refuse. Asked on readers: no I/O, no wait.
    fn is_offered(&self, tool: &str, call: &Call) -> bool {
        let _ = (tool, call);
        true
    }

    /// Whether it holds what it offers against approvals of its own: a definition that changes is then not
    /// put in quarantine a second time, unless it is pinned in the settings.
    fn approves(&self) -> bool {
        false
    }

    /// Where this tool runs. `Future` leads to [`call_async`](Self::call_async), the others to
    /// [`call`](Self::call).
    fn run(&self, tool: &str) -> Run {
        let _ = tool;
        Run::Blocking
    }

    /// Runs a tool to its end. A slow tool checks [`ToolCall::is_cancelled`] now and then.
    ///
    /// # Errors
    /// Why the tool failed. `runtime_error` is sent as `tool_error`, other codes as they are.
    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        Err(Error::internal(format!("tool `{}` cannot run on a thread", call.tool())))
    }

    /// Runs a tool as a future, which is dropped when the call ends early.
    ///
    /// The future's errors are those of [`call`](Self::call).
    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        let text = format!("tool `{}` cannot run as a future", call.tool());
        Box::pin(async move { Err(Error::internal(text)) })
    }
}

/// One call of a tool, as the tool sees it.
#[derive(Clone, Debug)]
pub struct ToolCall {
    tool: Arc<str>,
    arguments: RawJson,
    call: Call,
}

impl ToolCall {
    /// A call of `tool`, by the name that its provider gave it.
    pub fn new(tool: Arc<str>, arguments: RawJson, call: Call) -> Self {
        Self { tool, arguments, call }
    }

    /// The tool's name.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The arguments: a JSON object, not decoded.
    pub fn arguments(&self) -> &RawJson {
        &self.arguments
    }

    /// The arguments as a struct. Those that the definition does not know were refused before.
    ///
    /// # Errors
    /// `schema_violation` with the path of what is wrong, such as `arguments.path`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode_field(&self.arguments, "arguments")
    }

    /// The request behind it: session, agent, requests to other plugins.
    pub fn request(&self) -> &Call {
        &self.call
    }

    /// Sends an event of this call as `tool/event`; dropped when the agent wants none.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn emit(&self, event: Event) -> Result<Sent, EmitError> {
        self.call.emit(event.under(TOOL_EVENT))
    }

    /// As [`emit`](Self::emit), but waits for room.
    ///
    /// # Errors
    /// As [`Call::emit_wait`].
    pub async fn emit_wait(&self, event: Event) -> Result<Sent, EmitError> {
        self.call.emit_wait(event.under(TOOL_EVENT)).await
    }

    /// Whether the call was cancelled or has timed out: its result is not used.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Time that is left until the call ends with `timeout`.
    pub fn remaining(&self) -> Option<Duration> {
        self.call.remaining()
    }
}

/// What a tool gives back. The plugin makes a [`ToolResult`] of it: a value that is no object
/// becomes `{"value": …}`, one that is too large is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolOutput {
    /// Any JSON.
    pub data: RawJson,
    /// The same in short.
    pub summary: Option<Value>,
    /// Whether `data` is only a part.
    pub is_truncated: bool,
    /// What clients that can show media show instead of `data`, in order; sent beside it.
    pub content: Vec<Content>,
    /// Code and text, where the tool ran and did not succeed (`success: false`).
    pub failure: Option<(String, String)>,
}

impl ToolOutput {
    /// A result without more.
    pub fn raw(data: RawJson) -> Self {
        Self { data, summary: None, is_truncated: false, content: Vec::new(), failure: None }
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// `internal_error` when the value has no form on the wire, such as NaN.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let unfit = |why: String| Error::internal(format!("result not encoded: {why}"));
        let bytes = encode_value(value).map_err(|error| unfit(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| unfit(error.to_string()))?;
        Ok(Self::raw(RawJson::parse(text).map_err(|error| unfit(error.to_string()))?))
    }

    /// A result that is texts, images, sounds, links or resources. Clients that know none of them get the
    /// texts as `data.text`.
    ///
    /// ```
    /// use a2e_caps::tools::contract::{Content, Tool, ToolCall, ToolOutput};
    ///
    /// fn dot((): (), _: &ToolCall) -> a2e_core::Result<ToolOutput> {
    ///     ToolOutput::media([Content::text("a dot"), Content::image(b"GIF89a", "image/gif")])
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn media(content: impl IntoIterator<Item = Content>) -> Result<Self> {
        let content = Vec::from_iter(content);
        let texts = content.iter().filter_map(|it| match it {
            Content::Text(it) => Some(it.text.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        Ok(Self { content, ..Self::of(&serde_json::json!({ "text": text }))? })
    }

    /// Adds a part for clients that can show it.
    #[must_use]
    pub fn with_content(mut self, part: Content) -> Self {
        self.content.push(part);
        self
    }

    /// Adds the result in short.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<Value>) -> Self {
        self.summary = Some(summary.into());
        self
    }

    /// Says that `data` is only a part.
    #[must_use]
    pub fn truncated(mut self, is_truncated: bool) -> Self {
        self.is_truncated = is_truncated;
        self
    }

    /// Says that the tool ran and did not succeed, where `data` still tells something.
    #[must_use]
    pub fn failed(mut self, code: impl Into<String>, text: impl Into<String>) -> Self {
        self.failure = Some((code.into(), text.into()));
        self
    }
}
