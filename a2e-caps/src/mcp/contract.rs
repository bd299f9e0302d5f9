//! What other capabilities may use: how a plugin offers resources and prompts to MCP clients, and asks
//! the client of a session.
//!
//! A provider is contributed under a name of its own in the plugin's `start`:
//! `host.contribute::<dyn ResourceProvider>("notes", Arc::new(Notes))?.keep()`. What it lists may change:
//! it then says so with [`Host::contribution_changed`](a2e_core::plugin::Host::contribution_changed), and
//! clients are told.
//!
//! ```
//! use std::sync::Arc;
//! use a2e_caps::mcp::contract::{Page, Resource, ResourceContents, ResourceProvider};
//! use a2e_core::{Result, plugin::BoxFuture, request::Call};
//!
//! struct Motd;
//!
//! impl ResourceProvider for Motd {
//!     fn list(self: Arc<Self>, _cursor: String, _call: Call) -> BoxFuture<Result<Page<Resource>>> {
//!         let it = Resource::new("motd://today", "motd").of_type("text/plain");
//!         Box::pin(async { Ok(Page::whole(vec![it])) })
//!     }
//!     fn read(
//!         self: Arc<Self>,
//!         uri: String,
//!         _call: Call,
//!     ) -> BoxFuture<Result<Option<Vec<ResourceContents>>>> {
//!         Box::pin(async move {
//!             let is_own = uri == "motd://today";
//!             Ok(is_own.then(|| vec![ResourceContents::text(uri, "text/plain", "Be kind.")]))
//!         })
//!     }
//! }
//! ```

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::Result;
use a2e_core::plugin::BoxFuture;
use a2e_core::request::Call;
use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::asks::{AskClient, AskRequest, AskResponse, Question, TASK};
pub use crate::tools::contract::{Content, Resource, ResourceContents};

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What is in this part, in an order that stays.
    pub items: Vec<T>,
    /// What the next part is asked for with; empty when there is none.
    pub next_cursor: String,
}

impl<T> Page<T> {
    /// The only part of a list.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: String::new() }
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self::whole(Vec::new())
    }
}

/// A family of resources, by a URI with holes (RFC 6570).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceTemplate {
    /// Such as `file:///{+path}`.
    pub uri_template: String,
    /// Its name for programs.
    pub name: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What its resources are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

/// A skill: resources below one folder, with a `SKILL.md` that says how to do something (Agent Skills; in MCP
/// the extension `io.modelcontextprotocol/skills`).
#[derive(Clone, Debug, PartialEq)]
pub struct Skill {
    /// The URI of its `SKILL.md`; the part before that is its name.
    pub uri: String,
    /// What stands at the head of that file: `name`, `description` and what else its author wrote.
    pub frontmatter: Map<String, Value>,
    /// Its files; `None` where they are too many to say.
    pub resources: Option<Vec<SkillFile>>,
}

/// One file of a skill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkillFile {
    /// By which it is read.
    pub uri: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

impl Serialize for Skill {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        let mut skill = serializer.serialize_struct("Skill", 3)?;
        skill.serialize_field("uri", &self.uri)?;
        skill.serialize_field("frontmatter", &self.frontmatter)?;
        match &self.resources {
            Some(files) => skill.serialize_field("resources", files)?,
            None => skill.serialize_field("resources", "dynamic")?,
        }
        skill.end()
    }
}

/// What is told of a resource that a client has subscribed to.
pub type Updates = Arc<dyn Fn() + Send + Sync>;

/// Keeps a subscription; what it needs is let go when this is dropped.
pub type Subscribed = Box<dyn Any + Send + Sync>;

/// A source of resources. A resource is the first provider's that reads it, in the order in which plugins are
/// loaded. Futures are dropped when the client waits no more.
pub trait ResourceProvider: Send + Sync + 'static {
    /// A part of the list: the first with an empty cursor, then with those that it gave itself.
    fn list(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Resource>>>;

    /// The families of resources that it can read.
    fn templates(
        self: Arc<Self>,
        cursor: String,
        call: Call,
    ) -> BoxFuture<Result<Page<ResourceTemplate>>> {
        let _ = (cursor, call);
        Box::pin(async { Ok(Page::default()) })
    }

    /// The content of a resource; `None` when it is none of this provider's.
    fn read(
        self: Arc<Self>,
        uri: String,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<ResourceContents>>>>;

    /// The skills among its resources.
    fn skills(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Skill>>> {
        let _ = (cursor, call);
        Box::pin(async { Ok(Page::default()) })
    }

    /// Calls `updates` when this resource has changed, until what it gives back is dropped; `None` when
    /// it is none of this provider's, or never changes.
    fn subscribe(
        self: Arc<Self>,
        uri: String,
        updates: Updates,
    ) -> BoxFuture<Result<Option<Subscribed>>> {
        let _ = (uri, updates);
        Box::pin(async { Ok(None) })
    }

    /// The values that fit a hole of one of its templates, best first; `None` when the template is none
    /// of this provider's.
    fn complete(
        self: Arc<Self>,
        asked: Completing,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<String>>>> {
        let _ = (asked, call);
        Box::pin(async { Ok(None) })
    }
}

/// A text for a conversation, with holes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prompt {
    /// Its name, unique in a host.
    pub name: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its holes.
    #[serde(default)]
    pub arguments: Vec<PromptArgument>,
}

/// A hole of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PromptArgument {
    /// The key.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
}

/// One message of a prompt that was filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PromptMessage {
    /// `user` or `assistant`.
    pub role: String,
    /// What it says.
    pub content: Content,
}

/// A prompt that was filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilledPrompt {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its messages.
    pub messages: Vec<PromptMessage>,
}

/// A source of prompts. A prompt is the first provider's that has its name.
pub trait PromptProvider: Send + Sync + 'static {
    /// A part of the list: the first with an empty cursor, then with those that it gave itself.
    fn list(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Prompt>>>;

    /// Fills in a prompt; `None` when it is none of this provider's. Errors that the client can mend
    /// have the code `schema_violation`.
    fn get(
        self: Arc<Self>,
        name: String,
        arguments: BTreeMap<String, String>,
        call: Call,
    ) -> BoxFuture<Result<Option<FilledPrompt>>>;

    /// The values that fit an argument of one of its prompts, best first; `None` when the prompt is
    /// none of this provider's.
    fn complete(
        self: Arc<Self>,
        asked: Completing,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<String>>>> {
        let _ = (asked, call);
        Box::pin(async { Ok(None) })
    }
}

/// What a completion is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completing {
    /// The template or the prompt.
    pub of: String,
    /// The hole.
    pub argument: String,
    /// What stands in it so far.
    pub value: String,
    /// What stands in the others.
    pub others: BTreeMap<String, String>,
}
