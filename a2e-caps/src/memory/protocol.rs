//! The wire of `memory/*`: messages and entries as agents and hosts write them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use a2e_core::codec::RawJson;
use a2e_core::message;
use a2e_core::protocol::{ErrorCode, number};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::json::{JsonObject, limited_list, number_or_absent};

/// Opens a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryInitRequest {
    /// Which of the agent's episodic memories; any text.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Narrows the namespace: other scopes have other episodic entries.
    #[serde(default)]
    pub scope: BTreeMap<String, String>,
    /// For the agent's own use; accepted and not kept.
    #[serde(default)]
    pub metadata: BTreeMap<String, RawJson>,
}

impl Default for MemoryInitRequest {
    fn default() -> Self {
        let (scope, metadata) = (BTreeMap::new(), BTreeMap::new());
        Self { namespace: default_namespace(), scope, metadata }
    }
}

/// The memory that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryInitResponse {
    /// Names the memory in the other requests of this session; 32 hex digits that cannot be guessed.
    pub memory_id: String,
    /// As it was asked for.
    pub namespace: String,
    /// Always true; what fails is answered with an error.
    #[serde(default = "yes")]
    pub success: bool,
    /// Never there, since `success` is always true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// How much it holds; absent from other implementations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<MemoryLimits>,
}

/// How much a memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLimits {
    /// Most working entries; one more, and the oldest is evicted.
    pub working: usize,
    /// Most episodic entries, as `working`.
    pub episodic: usize,
    /// Most semantic entries, as `working`; those of every session count.
    pub semantic: usize,
    /// Most bytes of one entry: content, source, tags and key, and 256 for the entry.
    pub max_entry_bytes: usize,
    /// Most bytes of all entries of the host.
    pub max_bytes: usize,
    /// Most memories that a session may open.
    pub max_memories: usize,
}

/// Writes entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStoreRequest {
    /// As `memory/init/resp` gave it.
    pub memory_id: String,
    /// The entries; read one by one, so that a bad one does not spoil the others.
    #[serde(default, deserialize_with = "limited_list")]
    pub entries: Vec<JsonObject>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStoreResponse {
    /// The keys that this request wrote, in its order.
    #[serde(default)]
    pub stored: Vec<JsonObject>,
    /// One text for each entry that was not stored, such as ``entries[2]: missing field `key` ``.
    #[serde(default)]
    pub errors: Vec<String>,
    /// The keys of the entries that had to leave for them, the oldest of a full tier; absent where none
    /// had to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicted: Vec<JsonObject>,
}

/// Asks for the entries that meet every condition that is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryRetrieveRequest {
    /// As `memory/init/resp` gave it.
    pub memory_id: String,
    /// The key is one of these.
    #[serde(default, deserialize_with = "limited_list")]
    pub keys: Vec<JsonObject>,
    /// One of its words at least occurs in key, content or tags, in upper or lower case; composed and
    /// decomposed letters are one. At most 1,024 bytes.
    #[serde(default)]
    pub query: String,
    /// The entry has one of these.
    #[serde(default, deserialize_with = "limited_list")]
    pub tags: Vec<String>,
    /// The entry is in this tier; empty is all.
    #[serde(default, with = "tier_or_all")]
    #[schemars(schema_with = "tier_or_all::schema")]
    pub tier: Option<MemoryTier>,
    /// Most entries in the reply. A reply may hold fewer when they are large, see
    /// `total`.
    #[serde(default = "default_limit", deserialize_with = "number::integer")]
    pub limit: usize,
    /// Least score of an entry: 0.25 for a tier that was asked for, 1 for a key that was, the share of
    /// the tags that were and that it has, and the share of the query's words that it has. How relevant
    /// the words are in it counts for less than one word more: with a query alone, 1 and more is an
    /// entry that has all words.
    #[serde(default)]
    pub min_score: f64,
}

impl Default for MemoryRetrieveRequest {
    /// No condition; the id of the memory is to be filled in.
    fn default() -> Self {
        Self {
            memory_id: String::new(),
            keys: Vec::new(),
            query: String::new(),
            tags: Vec::new(),
            tier: None,
            limit: default_limit(),
            min_score: 0.0,
        }
    }
}

/// The entries that were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryRetrieveResponse {
    /// Best first; equal scores by tier (working, episodic, semantic), then in the order of insertion.
    /// `score` is that of this search.
    #[serde(default)]
    pub entries: Vec<MemoryEntry>,
    /// How many were found, also those beyond `limit` and those that would have made the reply larger
    /// than the host's `max_line_bytes`.
    #[serde(default, deserialize_with = "number::integer")]
    pub total: usize,
}

/// Removes the entries that have one of the keys or one of the tags; none of both: nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryForgetRequest {
    /// As `memory/init/resp` gave it.
    pub memory_id: String,
    /// Keys to remove.
    #[serde(default, deserialize_with = "limited_list")]
    pub keys: Vec<JsonObject>,
    /// Tags to remove.
    #[serde(default, deserialize_with = "limited_list")]
    pub tags: Vec<String>,
    /// Where; empty is everywhere.
    #[serde(default = "episodic", with = "tier_or_all")]
    #[schemars(schema_with = "tier_or_all::schema")]
    pub tier: Option<MemoryTier>,
}

impl Default for MemoryForgetRequest {
    /// Nothing; the id of the memory is to be filled in.
    fn default() -> Self {
        Self { memory_id: String::new(), keys: Vec::new(), tags: Vec::new(), tier: episodic() }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryForgetResponse {
    /// How many entries.
    #[serde(default, deserialize_with = "number::integer")]
    pub deleted: usize,
}

message!(MemoryInitResponse, "memory/init/resp");
message!(MemoryStoreResponse, "memory/store/resp");
message!(MemoryRetrieveResponse, "memory/retrieve/resp");
message!(MemoryForgetResponse, "memory/forget/resp");
message!(MemoryInitRequest, "memory/init/req" => MemoryInitResponse, First; subject "namespace");
message!(MemoryStoreRequest, "memory/store/req" => MemoryStoreResponse, First);
message!(MemoryRetrieveRequest, "memory/retrieve/req" => MemoryRetrieveResponse, First);
message!(MemoryForgetRequest, "memory/forget/req" => MemoryForgetResponse, First);

/// One entry of a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryEntry {
    /// The key under which it is found.
    pub key: JsonObject,
    /// Its content, any JSON.
    pub content: RawJson,
    /// Its tier.
    pub tier: MemoryTier,
    /// Further words under which it is found.
    #[serde(default, deserialize_with = "limited_list")]
    pub tags: Vec<String>,
    /// Where it came from, as the agent says.
    #[serde(default)]
    pub source: String,
    /// As stored: the agent's own weight, which is kept and never used. In a reply to
    /// `memory/retrieve`: how well the entry meets the conditions.
    #[serde(default = "one")]
    pub score: f64,
    /// Seconds until it is forgotten, counted from the store; 0 is never.
    #[serde(default, deserialize_with = "number::integer")]
    pub ttl: u64,
    /// Seconds since the Unix epoch; absent or null lets the host set the time of the store.
    #[serde(
        default,
        deserialize_with = "number_or_absent",
        skip_serializing_if = "Option::is_none"
    )]
    pub created_at: Option<f64>,
    /// As `created_at`.
    #[serde(
        default,
        deserialize_with = "number_or_absent",
        skip_serializing_if = "Option::is_none"
    )]
    pub updated_at: Option<f64>,
}

impl MemoryEntry {
    /// An entry without tags, source or end.
    pub fn new(key: JsonObject, content: RawJson, tier: MemoryTier) -> Self {
        Self {
            key,
            content,
            tier,
            tags: Vec::new(),
            source: String::new(),
            score: 1.0,
            ttl: 0,
            created_at: None,
            updated_at: None,
        }
    }
}

/// How far an entry reaches, and how long it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryTier {
    /// This session.
    Working,
    /// This agent, in one namespace and scope.
    Episodic,
    /// Every session of the host.
    Semantic,
}

impl MemoryTier {
    /// Every tier, in the order of replies.
    pub const ALL: [Self; 3] = [Self::Working, Self::Episodic, Self::Semantic];

    /// The tier as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Episodic => "episodic",
            Self::Semantic => "semantic",
        }
    }

    fn read<E: de::Error>(text: &str) -> Result<Self, E> {
        const NAMES: &[&str] = &["working", "episodic", "semantic"];
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| E::unknown_variant(text, NAMES))
    }
}

impl Serialize for MemoryTier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MemoryTier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer).and_then(|text| Self::read(&text))
    }
}

impl JsonSchema for MemoryTier {
    fn schema_name() -> Cow<'static, str> {
        "MemoryTier".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

/// `""` stands for all tiers.
mod tier_or_all {
    use super::{Cow, Deserialize, Deserializer, MemoryTier, Serializer};

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(
        tier: &Option<MemoryTier>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(tier.map_or("", MemoryTier::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MemoryTier>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { MemoryTier::read(&text).map(Some) }
    }

    pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let [working, episodic, semantic] = MemoryTier::ALL.map(MemoryTier::as_str);
        schemars::json_schema!({ "type": "string", "enum": ["", working, episodic, semantic] })
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn default_limit() -> usize {
    10
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn episodic() -> Option<MemoryTier> {
    Some(MemoryTier::Episodic)
}
