//! Answers `memory/*`: checks and decodes, asks the store, ranks on copies outside its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::codec::decode_field;
use a2e_core::dispatch::Call;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Scope};
use a2e_core::protocol::{ErrorCode, SessionId, id};
use a2e_core::snapshot::State;
use a2e_core::{Clock, Error, Result, register_plugin};

use super::config::MemoryConfig;
use super::json::JsonObject;
use super::protocol::{
    MemoryEntry, MemoryForgetRequest, MemoryForgetResponse, MemoryInitRequest, MemoryInitResponse,
    MemoryRetrieveRequest, MemoryRetrieveResponse, MemoryStoreRequest, MemoryStoreResponse,
};
use super::store::Store;
use super::store::key::canonical;
use super::store::rank::{Cut, Search, Wanted};
use super::store::saved;
use super::store::shelves::{Owner, Partition};
use super::store::text::Words;
use super::store::tier::{Doomed, Entry};

/// Longest query, in bytes: each of its words is looked for in each entry.
const MAX_QUERY: usize = 1024;

/// Most bytes of agent id, namespace and scope together.
const MAX_PARTITION: usize = 8192;

/// What has to look at more entries goes to the pool.
const INLINE_ENTRIES: usize = 256;

/// What costs more goes to the pool, in bytes that are looked at. Measured at 2 ns each, so that the
/// reader stays below its 100 us.
const INLINE_COST: usize = 32 << 10;

/// Keeps entries in RAM.
struct MemoryPlugin(Arc<Shared>);

/// What also work in the pool needs.
struct Shared {
    /// Guards the entries; held for look-ups and insertions, never while entries are ranked or encoded.
    store: Mutex<Store>,
    clock: Arc<dyn Clock>,
    /// Most bytes of entries in a reply.
    max_reply: usize,
}

impl Plugin for MemoryPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::init);
        on.inline(Self::store);
        on.inline(Self::retrieve);
        on.inline(Self::forget);
    }

    fn session_ended(&self, session: &SessionId) {
        self.0.store().close(session);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        if scope != Scope::Host {
            return Ok(None);
        }
        let now = self.0.clock.now();
        let lasting = self.0.store().lasting(now.mono);
        saved::save(&lasting, now).map(Some)
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        if scope == Scope::Host {
            let lasting = saved::restore(&state, self.0.clock.now())?;
            self.0.store().refill(lasting);
        }
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        match scope {
            Scope::Host => self.0.store().clear(),
            Scope::Session(session) => self.0.store().clear_session(session),
        }
        Ok(())
    }
}

impl MemoryPlugin {
    fn new(config: MemoryConfig, host: &Host) -> Result<Self> {
        config.check()?;
        if config.path.is_some() {
            tracing::warn!(plugin = %host.plugin(), "`path` is ignored: backend `memory` has no file");
        }
        Ok(Self(Arc::new(Shared {
            store: Mutex::new(Store::new(config)),
            clock: Arc::clone(host.clock()),
            // What is not ASCII grows to three times its bytes when it is written.
            max_reply: host.config().limits.max_line_bytes / 3,
        })))
    }

    #[allow(clippy::unused_self, reason = "the shape of a handler")]
    fn init(&self, request: MemoryInitRequest, call: &Call) -> Answer<MemoryInitResponse> {
        let MemoryInitRequest { namespace, scope, metadata: _ } = request;
        let owner = match call.agent_id() {
            agent if agent.is_empty() => Owner::Session(call.session_id().clone()),
            agent => Owner::Agent(agent.as_ref().to_owned()),
        };
        let partition = Partition { owner, namespace: namespace.clone(), scope };
        if partition.len() > MAX_PARTITION {
            let bytes = partition.len();
            let text = format!(
                "agent id, namespace and scope have {bytes} bytes together; at most {MAX_PARTITION}"
            );
            return Err(Error::schema("namespace", text));
        }
        let memory_id = id::random_hex()?;
        let now = self.0.clock.now().mono;
        self.0.store().open(call.session_id(), &memory_id, partition, now)?;
        Ok(MemoryInitResponse { memory_id, namespace, success: true }.into())
    }

    fn store(&self, request: MemoryStoreRequest, call: &Call) -> Answer<MemoryStoreResponse> {
        self.0.store().weigh(call.session_id(), &request.memory_id, None)?;
        let shared = Arc::clone(&self.0);
        on_pool_if(cost_of(&request.entries) > INLINE_COST, call, move |call| {
            shared.store_entries(request, call)
        })
    }

    fn retrieve(
        &self,
        request: MemoryRetrieveRequest,
        call: &Call,
    ) -> Answer<MemoryRetrieveResponse> {
        if request.query.len() > MAX_QUERY {
            let text = format!("{} bytes; at most {MAX_QUERY}", request.query.len());
            return Err(Error::schema("query", text));
        }
        let weight = self.0.store().weigh(call.session_id(), &request.memory_id, request.tier)?;
        let is_heavy = cost_of(&request.keys) > INLINE_COST
            || (request.keys.is_empty() && weight.entries > INLINE_ENTRIES);
        let shared = Arc::clone(&self.0);
        if is_heavy {
            let work = move |call: &Call| answer(shared.search(request, call)?, call);
            return Ok(Outcome::on_pool(work));
        }
        let search = shared.search(request, call)?;
        if search.cost() > INLINE_COST {
            return Ok(Outcome::on_pool(move |call| answer(search, call)));
        }
        answer(search, call)
    }

    fn forget(&self, request: MemoryForgetRequest, call: &Call) -> Answer<MemoryForgetResponse> {
        let weight = self.0.store().weigh(call.session_id(), &request.memory_id, request.tier)?;
        let is_heavy = cost_of(&request.keys) > INLINE_COST
            || (!request.tags.is_empty() && weight.entries > INLINE_ENTRIES);
        let shared = Arc::clone(&self.0);
        on_pool_if(is_heavy, call, move |call| shared.forget(request, call))
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_entries(
        &self,
        request: MemoryStoreRequest,
        call: &Call,
    ) -> Result<MemoryStoreResponse> {
        let now = self.clock.now();
        let mut entries = Vec::with_capacity(request.entries.len());
        for (place, raw) in request.entries.iter().enumerate() {
            let loc = format!("entries[{place}]");
            let wire = decode_field::<MemoryEntry>(raw.raw(), &loc);
            let entry = wire.map_err(|error| error.message().to_owned()).and_then(|wire| {
                Entry::new(wire, now).map_err(|error| format!("{loc}.key: {error}"))
            });
            entries.push(entry);
        }
        let mut reply = MemoryStoreResponse::default();
        let mut store = self.store();
        stop_if_cancelled(call)?;
        for (place, entry) in entries.into_iter().enumerate() {
            let put = entry.and_then(|entry| {
                let key = entry.wire.key.clone();
                let put = store.put(call.session_id(), &request.memory_id, entry, now.mono);
                put.map(|()| key).map_err(|error| format!("entries[{place}]: {error}"))
            });
            match put {
                Ok(key) => reply.stored.push(key),
                Err(error) => reply.errors.push(error),
            }
        }
        Ok(reply)
    }

    fn search(&self, request: MemoryRetrieveRequest, call: &Call) -> Result<Search> {
        let ids = ids_of(&request.keys)?;
        let by_key = !ids.is_empty();
        let wanted = Wanted {
            by_key,
            by_tier: request.tier.is_some(),
            tags: request.tags.into_iter().collect(),
            words: Words::of(&request.query),
            min_score: request.min_score,
        };
        let cut = Cut { entries: request.limit, bytes: self.max_reply };
        let (session, memory) = (call.session_id(), &request.memory_id);
        let ids = by_key.then_some(ids.as_slice());
        let now = self.clock.now().mono;
        let entries = self.store().collect(session, memory, request.tier, ids, now)?;
        Ok(Search { entries, wanted, cut })
    }

    fn forget(&self, request: MemoryForgetRequest, call: &Call) -> Result<MemoryForgetResponse> {
        let doomed =
            Doomed { ids: ids_of(&request.keys)?, tags: request.tags.into_iter().collect() };
        let now = self.clock.now().mono;
        let mut store = self.store();
        stop_if_cancelled(call)?;
        let deleted =
            store.forget(call.session_id(), &request.memory_id, request.tier, &doomed, now)?;
        Ok(MemoryForgetResponse { deleted })
    }
}

/// Does the work here, or leaves it to the pool. Requests that a session sends without waiting for the
/// answer before may then overtake each other.
fn on_pool_if<R: 'static>(
    is_heavy: bool,
    call: &Call,
    work: impl FnOnce(&Call) -> Result<R> + Send + 'static,
) -> Answer<R> {
    if is_heavy {
        return Ok(Outcome::on_pool(move |call| work(call).map(Outcome::Reply)));
    }
    work(call).map(Outcome::Reply)
}

fn answer(search: Search, call: &Call) -> Answer<MemoryRetrieveResponse> {
    let (entries, total) = search.run(|| !call.is_cancelled());
    stop_if_cancelled(call)?;
    Ok(MemoryRetrieveResponse { entries, total }.into())
}

/// What it costs to decode objects: an entry takes 1 to 4 us before its bytes count.
fn cost_of(objects: &[JsonObject]) -> usize {
    objects.iter().map(|it| 1024 + it.raw().get().len()).sum()
}

fn ids_of(keys: &[JsonObject]) -> Result<Vec<Arc<str>>> {
    let id = |(place, key)| {
        let refused = |error| Error::schema(format!("keys[{place}]"), format!("{error}"));
        canonical(key).map_err(refused)
    };
    keys.iter().enumerate().map(id).collect()
}

/// A cancelled call has no effect.
fn stop_if_cancelled(call: &Call) -> Result<()> {
    if call.is_cancelled() {
        return Err(Error::new(ErrorCode::Cancelled, "nobody waits for the answer"));
    }
    Ok(())
}

register_plugin!(
    MemoryPlugin,
    cls = "a2e.caps.memory.plugin.MemoryPlugin",
    capability = "memory",
    config = MemoryConfig,
    build = MemoryPlugin::new,
    about = "remembers entries in RAM, kept in snapshots: working, episodic, semantic",
    aliases = &[
        "a2e.caps.memory.MemoryPlugin",
        "a2e.plugins.memory.MemoryPlugin",
        "memory.inmemory.InMemoryPlugin",
    ],
    default_settings = Some("{}")
);
