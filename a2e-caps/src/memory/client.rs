//! Typed calls of `memory/*` for agents in Rust.

use std::fmt;

use a2e_client::{Client, ClientError};
use a2e_core::codec::RawJson;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{
    MemoryEntry, MemoryForgetRequest, MemoryInitRequest, MemoryRetrieveRequest,
    MemoryRetrieveResponse, MemoryStoreRequest, MemoryStoreResponse, MemoryTier,
};
use crate::json::JsonObject;

/// A memory that was opened on a host. It ends with the connection; opening it again finds what
/// outlives sessions.
///
/// ```
/// use a2e_caps::memory::{Memory, MemoryRetrieveRequest, MemoryTier};
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
/// use serde_json::json;
///
/// # a2e_caps::link();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("memory", "memory", "a2e.caps.memory.plugin.MemoryPlugin");
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("agent")).await?;
/// let memory = Memory::open(&client, "trips").await?;
/// memory.remember(&json!({ "city": "Oslo" }), &"rain", MemoryTier::Episodic).await?;
///
/// let weather: Option<String> = memory.recall(&json!({ "city": "Oslo" })).await?;
/// assert_eq!(weather.as_deref(), Some("rain"));
///
/// let wanted = MemoryRetrieveRequest { query: "RAIN".into(), ..Default::default() };
/// assert_eq!(memory.retrieve(wanted).await?.total, 1);
/// # client.close().await;
/// # Ok::<(), a2e_caps::memory::MemoryError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    client: Client,
    memory_id: String,
}

impl Memory {
    /// Opens the agent's memory of this namespace.
    ///
    /// # Errors
    /// As [`Client::rpc`]; `memory_full` when the session has too many.
    pub async fn open(client: &Client, namespace: &str) -> Result<Self, MemoryError> {
        let request = MemoryInitRequest { namespace: namespace.to_owned(), ..Default::default() };
        Self::open_with(client, request).await
    }

    /// As [`open`](Self::open), with a scope.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_with(
        client: &Client,
        request: MemoryInitRequest,
    ) -> Result<Self, MemoryError> {
        let memory_id = client.rpc(&request).await?.memory_id;
        Ok(Self { client: client.clone(), memory_id })
    }

    /// The id under which this session knows it.
    pub fn id(&self) -> &str {
        &self.memory_id
    }

    /// Stores entries. The reply tells which were not stored, and why.
    ///
    /// # Errors
    /// When an entry has no JSON form, and as [`Client::rpc`].
    pub async fn store(&self, entries: &[MemoryEntry]) -> Result<MemoryStoreResponse, MemoryError> {
        let entries = entries.iter().map(JsonObject::of).collect::<Result<_, _>>()?;
        let request = MemoryStoreRequest { memory_id: self.memory_id.clone(), entries };
        Ok(self.client.rpc(&request).await?)
    }

    /// Finds entries; `memory_id` is filled in.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn retrieve(
        &self,
        mut wanted: MemoryRetrieveRequest,
    ) -> Result<MemoryRetrieveResponse, MemoryError> {
        wanted.memory_id.clone_from(&self.memory_id);
        Ok(self.client.rpc(&wanted).await?)
    }

    /// Removes entries and returns how many; `memory_id` is filled in.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn forget(&self, mut doomed: MemoryForgetRequest) -> Result<usize, MemoryError> {
        doomed.memory_id.clone_from(&self.memory_id);
        Ok(self.client.rpc(&doomed).await?.deleted)
    }

    /// Stores one value under a key, a struct or map.
    ///
    /// # Errors
    /// [`MemoryError::NotStored`] when the host refuses the entry; else as [`store`](Self::store).
    pub async fn remember<K, V>(
        &self,
        key: &K,
        value: &V,
        tier: MemoryTier,
    ) -> Result<(), MemoryError>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        let entry = MemoryEntry::new(JsonObject::of(key)?, RawJson::of(value)?, tier);
        let mut errors = self.store(&[entry]).await?.errors;
        errors.pop().map_or(Ok(()), |error| Err(MemoryError::NotStored(error)))
    }

    /// The value under a key; `None` when there is none. The nearest tier wins: working, episodic,
    /// semantic.
    ///
    /// # Errors
    /// When the value is no `V`, and as [`Client::rpc`].
    pub async fn recall<V: DeserializeOwned>(
        &self,
        key: &(impl Serialize + ?Sized),
    ) -> Result<Option<V>, MemoryError> {
        let keys = vec![JsonObject::of(key)?];
        let wanted = MemoryRetrieveRequest { keys, limit: 1, ..Default::default() };
        let found = self.retrieve(wanted).await?.entries.pop();
        Ok(found.map(|entry| entry.content.decode()).transpose()?)
    }
}

/// Why a call of a memory failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum MemoryError {
    /// The call failed.
    Call(ClientError),
    /// A key, a value or an entry is not the JSON that it should be.
    Json(serde_json::Error),
    /// The host took the request and refused the entry; its text.
    NotStored(String),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Json(error) => error.fmt(f),
            Self::NotStored(text) => write!(f, "not stored: {text}"),
        }
    }
}

impl std::error::Error for MemoryError {}

impl From<ClientError> for MemoryError {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

impl From<serde_json::Error> for MemoryError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}
