//! What a tool gives back beside plain data: texts, images, sounds, links and whole resources, in order.
//!
//! The fields are those of the Model Context Protocol, spelled as the other fields of this wire; its own
//! spelling is read as well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base64;

/// One part of a result, for clients that can show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text for a model.
    Text(TextPart),
    /// A picture.
    Image(MediaPart),
    /// A sound.
    Audio(MediaPart),
    /// A resource that can be read by its URI.
    ResourceLink(Resource),
    /// A resource with its content.
    Resource(ResourcePart),
}

/// Text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextPart {
    /// The text.
    pub text: String,
    /// For whom it is and how much it matters (`audience`, `priority`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

/// Bytes of a media type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaPart {
    /// The bytes as base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Instead of `data`: the field of the result's `data` that has the base64, so that it is sent once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// The media type, such as `image/png`.
    #[serde(alias = "mimeType")]
    pub mime_type: String,
    /// For whom it is and how much it matters (`audience`, `priority`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

/// A resource with its content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcePart {
    /// The content.
    pub resource: ResourceContents,
    /// For whom it is and how much it matters (`audience`, `priority`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

/// What is known of a resource without reading it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// By which it is read.
    pub uri: String,
    /// Its name for programs.
    pub name: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its media type.
    #[serde(default, alias = "mimeType", skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For whom it is and how much it matters (`audience`, `priority`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

/// The content of a resource: `text`, or `blob` as base64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceContents {
    /// By which it is read.
    pub uri: String,
    /// Its media type.
    #[serde(default, alias = "mimeType", skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The text of one that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes of another as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

impl Content {
    /// Text for a model.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPart { text: text.into(), annotations: None })
    }

    /// A picture from its bytes.
    pub fn image(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self::Image(MediaPart::of(bytes, mime_type))
    }

    /// A sound from its bytes.
    pub fn audio(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self::Audio(MediaPart::of(bytes, mime_type))
    }

    /// A picture or a sound whose base64 stands in a field of the result's `data` already; `None` for
    /// other media types.
    pub fn in_field(field: &str, mime_type: &str) -> Option<Self> {
        let (data, field) = (String::new(), field.to_owned());
        let part = MediaPart { data, field, mime_type: mime_type.to_owned(), annotations: None };
        match mime_type.split('/').next() {
            Some("image") => Some(Self::Image(part)),
            Some("audio") => Some(Self::Audio(part)),
            _ => None,
        }
    }

    /// A resource that can be read by its URI.
    pub fn link(resource: Resource) -> Self {
        Self::ResourceLink(resource)
    }

    /// A resource with its content.
    pub fn resource(resource: ResourceContents) -> Self {
        Self::Resource(ResourcePart { resource, annotations: None })
    }
}

impl MediaPart {
    fn of(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self { data: base64::encode(bytes), mime_type: mime_type.into(), ..Self::default() }
    }
}

impl Resource {
    /// A resource of which no more is known.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self { uri: uri.into(), name: name.into(), ..Self::default() }
    }

    /// Sets what it is.
    #[must_use]
    pub fn about(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets its media type.
    #[must_use]
    pub fn of_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}

impl ResourceContents {
    /// Text.
    pub fn text(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let (uri, mime_type) = (uri.into(), Some(mime_type.into()));
        Self { uri, mime_type, text: Some(text.into()), blob: None }
    }

    /// Bytes.
    pub fn blob(uri: impl Into<String>, mime_type: impl Into<String>, bytes: &[u8]) -> Self {
        let (uri, mime_type) = (uri.into(), Some(mime_type.into()));
        Self { uri, mime_type, text: None, blob: Some(base64::encode(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn parts_are_written_one_way_and_read_in_two() {
        for (part, wire) in [
            (Content::text("a"), json!({ "type": "text", "text": "a" })),
            (
                Content::image(b"foo", "image/png"),
                json!({ "type": "image", "data": "Zm9v", "mime_type": "image/png" }),
            ),
            (
                Content::in_field("content", "audio/wav").unwrap(),
                json!({ "type": "audio", "field": "content", "mime_type": "audio/wav" }),
            ),
            (
                Content::link(Resource::new("a:b", "b").of_type("text/plain")),
                json!({ "type": "resource_link", "uri": "a:b", "name": "b", "mime_type": "text/plain" }),
            ),
            (
                Content::resource(ResourceContents::text("a:b", "text/plain", "x")),
                json!({ "type": "resource",
                        "resource": { "uri": "a:b", "mime_type": "text/plain", "text": "x" } }),
            ),
        ] {
            assert_eq!(to_value(&part).unwrap(), wire);
            assert_eq!(from_value::<Content>(wire.clone()).unwrap(), part);
            let theirs = wire.to_string().replace("mime_type", "mimeType");
            assert_eq!(serde_json::from_str::<Content>(&theirs).unwrap(), part);
        }
        assert_eq!(Content::in_field("content", "text/plain"), None);
        assert!(from_value::<Content>(json!({ "type": "video" })).is_err());
    }
}
