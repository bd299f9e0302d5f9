//! Answers `memory/*`: checks and decodes, asks the store, ranks on copies outside its lock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::codec::decode_field;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Scope};
use a2e_core::protocol::{ErrorCode, SessionId, id};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Clock, Error, Result, register_plugin};

#[cfg(feature = "sqlite")]
use super::config::Backend;
use super::config::MemoryConfig;
use super::protocol::{
    MemoryEntry, MemoryForgetRequest, MemoryForgetResponse, MemoryInitRequest, MemoryInitResponse,
    MemoryLimits, MemoryRetrieveRequest, MemoryRetrieveResponse, MemoryStoreRequest,
    MemoryStoreResponse,
};
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteStore;
use super::store::key::canonical;
use super::store::rank::{Cut, Search, Wanted};
use super::store::saved;
use super::store::shelves::{Owner, Partition};
use super::store::text::{Words, composed};
use super::store::tier::{Doomed, Entry};
use super::store::{Put, Store};
use crate::json::JsonObject;

/// Longest query, in bytes: each of its words is looked for in each entry.
const MAX_QUERY: usize = 1024;

/// Most bytes of agent id, namespace and scope together.
const MAX_PARTITION: usize = 8192;

/// Searches over more entries go to the pool.
const INLINE_ENTRIES: usize = 256;

/// Searches over more bytes go to the pool. Measured at 2 ns each, so that the
/// reader stays below its 100 us.
const INLINE_COST: usize = 32 << 10;

/// Keeps entries where its settings say.
struct MemoryPlugin(Arc<Shared>);

/// The part that work on other threads needs too.
struct Shared {
    keep: Keep,
    clock: Arc<dyn Clock>,
    limits: MemoryLimits,
    /// Most bytes of entries in a reply.
    max_reply: usize,
}

enum Keep {
    /// Guards the entries; held for look-ups and insertions, never while entries are ranked or encoded.
    Ram(Mutex<Store>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
}

impl Plugin for MemoryPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        // With a file they only look up the memory here; the rest goes on where it may block.
        on.inline(Self::init);
        on.inline(Self::store);
        on.inline(Self::retrieve);
        on.inline(Self::forget);
    }

    fn session_ended(&self, session: &SessionId) {
        match &self.0.keep {
            Keep::Ram(store) => lock(store).close(session),
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => {
                if let Err(error) = store.close(session) {
                    tracing::warn!(%error, "the memory of a session that has ended is not cleared");
                }
            }
        }
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        if scope != Scope::Host {
            return Ok(None);
        }
        match &self.0.keep {
            Keep::Ram(store) => {
                let now = self.0.clock.now();
                let lasting = lock(store).lasting(now.mono);
                saved::save(&lasting, now).map(Some)
            }
            // A file is its own snapshot.
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(_) => Ok(None),
        }
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        if scope != Scope::Host {
            return Ok(());
        }
        let lasting = saved::restore(&state, self.0.clock.now())?;
        match &self.0.keep {
            Keep::Ram(store) => lock(store).refill(lasting),
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => {
                if store.take_over(lasting)? {
                    tracing::info!("the new memory file takes over the entries of the snapshot");
                }
            }
        }
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        match (&self.0.keep, scope) {
            (Keep::Ram(store), Scope::Host) => lock(store).clear(),
            (Keep::Ram(store), Scope::Session(session)) => lock(store).clear_session(session),
            #[cfg(feature = "sqlite")]
            (Keep::Sqlite(store), Scope::Host) => store.clear()?,
            #[cfg(feature = "sqlite")]
            (Keep::Sqlite(store), Scope::Session(session)) => store.clear_session(session)?,
        }
        Ok(())
    }
}

impl MemoryPlugin {
    fn new(config: MemoryConfig, host: &Host) -> Result<Self> {
        config.check()?;
        // Text beyond ASCII grows to three times its bytes when it is written.
        let max_reply = host.config().limits.max_line_bytes / 3;
        let limits = config.limits();
        let keep = keep(config, host)?;
        Ok(Self(Arc::new(Shared { keep, clock: Arc::clone(host.clock()), limits, max_reply })))
    }

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
        match &self.0.keep {
            Keep::Ram(store) => {
                let now = self.0.clock.now().mono;
                lock(store).open(call.session_id(), &memory_id, partition, now)?;
            }
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => store.open(call.session_id(), &memory_id, partition)?,
        }
        let limits = Some(self.0.limits);
        let (success, code) = (true, None);
        Ok(MemoryInitResponse { memory_id, namespace, success, code, limits }.into())
    }

    /// Tells the audit which memory a request is about: its id says nothing once the session is gone.
    fn note(&self, call: &Call, id: &str) {
        call.note_subject("namespace", || {
            let namespace = match &self.0.keep {
                Keep::Ram(store) => lock(store).namespace(call.session_id(), id),
                #[cfg(feature = "sqlite")]
                Keep::Sqlite(store) => store.namespace(call.session_id(), id),
            };
            namespace.unwrap_or_default()
        });
    }

    fn store(&self, request: MemoryStoreRequest, call: &Call) -> Answer<MemoryStoreResponse> {
        self.note(call, &request.memory_id);
        match &self.0.keep {
            Keep::Ram(store) => {
                lock(store).weigh(call.session_id(), &request.memory_id, None)?;
                let shared = Arc::clone(&self.0);
                on_pool_if(cost_of(&request.entries) > INLINE_COST, call, move |call| {
                    shared.store_entries(request, call)
                })
            }
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(_) => self.in_turn(&request.memory_id.clone(), call, |shared, call| {
                shared.store_entries(request, call)
            }),
        }
    }

    fn retrieve(
        &self,
        request: MemoryRetrieveRequest,
        call: &Call,
    ) -> Answer<MemoryRetrieveResponse> {
        self.note(call, &request.memory_id);
        if request.query.len() > MAX_QUERY {
            let text = format!("{} bytes; at most {MAX_QUERY}", request.query.len());
            return Err(Error::schema("query", text));
        }
        #[cfg(feature = "sqlite")]
        if matches!(self.0.keep, Keep::Sqlite(_)) {
            return self.in_turn(&request.memory_id.clone(), call, |shared, call| {
                shared.find(request, call)
            });
        }
        #[allow(irrefutable_let_patterns, reason = "with one backend there is one pattern")]
        let Keep::Ram(store) = &self.0.keep else {
            return Err(Error::internal("this memory is not in RAM"));
        };
        let weight = lock(store).weigh(call.session_id(), &request.memory_id, request.tier)?;
        let is_heavy = cost_of(&request.keys) > INLINE_COST
            || (request.keys.is_empty() && weight.entries > INLINE_ENTRIES);
        let shared = Arc::clone(&self.0);
        if is_heavy {
            let work = move |call: &Call| shared.find(request, call).map(Outcome::Reply);
            return Ok(Outcome::on_pool(work));
        }
        let search = shared.search(store, request, call)?;
        if search.cost() > INLINE_COST {
            return Ok(Outcome::on_pool(move |call| answer(search, call).map(Outcome::Reply)));
        }
        answer(search, call).map(Outcome::Reply)
    }

    fn forget(&self, request: MemoryForgetRequest, call: &Call) -> Answer<MemoryForgetResponse> {
        self.note(call, &request.memory_id);
        match &self.0.keep {
            Keep::Ram(store) => {
                let weight =
                    lock(store).weigh(call.session_id(), &request.memory_id, request.tier)?;
                let is_heavy = cost_of(&request.keys) > INLINE_COST
                    || (!request.tags.is_empty() && weight.entries > INLINE_ENTRIES);
                let shared = Arc::clone(&self.0);
                on_pool_if(is_heavy, call, move |call| shared.forget(request, call))
            }
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(_) => self.in_turn(&request.memory_id.clone(), call, |shared, call| {
                shared.forget(request, call)
            }),
        }
    }

    /// Work with a file, on a thread that may block and after the session's requests before this one.
    #[cfg(feature = "sqlite")]
    fn in_turn<R: 'static>(
        &self,
        memory: &str,
        call: &Call,
        work: impl FnOnce(&Shared, &Call) -> Result<R> + Send + 'static,
    ) -> Answer<R> {
        let Keep::Sqlite(store) = &self.0.keep else {
            return Err(Error::internal("this memory has no file"));
        };
        let ticket = store.ticket(call.session_id(), memory)?;
        let shared = Arc::clone(&self.0);
        Ok(Outcome::on_blocking(move |call| {
            if !ticket.wait(|| call.is_cancelled()) {
                return Err(cancelled());
            }
            work(&shared, call).map(Outcome::Reply)
        }))
    }
}

/// Makes or opens what the settings name.
fn keep(config: MemoryConfig, host: &Host) -> Result<Keep> {
    #[cfg(feature = "sqlite")]
    if config.backend == Backend::Sqlite && !host.is_trial() {
        let path = config.path.clone().unwrap_or_default();
        let store = SqliteStore::open_file(path.as_ref(), config, host.now())?;
        return Ok(Keep::Sqlite(store));
    }
    if config.path.is_some() {
        tracing::warn!(plugin = %host.plugin(), "`path` is ignored: backend `memory` has no file");
    }
    Ok(Keep::Ram(Mutex::new(Store::new(config))))
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
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
        let (session, memory) = (call.session_id(), &request.memory_id);
        let put: Vec<Result<Put, String>> = match &self.keep {
            Keep::Ram(store) => {
                let mut store = lock(store);
                stop_if_cancelled(call)?;
                let mut put = |(place, entry): (usize, Result<Entry, String>)| {
                    let entry = entry?;
                    let key = entry.wire.key.clone();
                    let put = store.put(session, memory, entry, now.mono);
                    let evicted =
                        |list: Vec<Arc<Entry>>| list.iter().map(|it| it.wire.key.clone()).collect();
                    put.map(|list| Put { key, evicted: evicted(list) })
                        .map_err(|error| format!("entries[{place}]: {error}"))
                };
                entries.into_iter().enumerate().map(&mut put).collect()
            }
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => {
                store.put_all(session, memory, entries, now.mono, &|| call.is_cancelled())?
            }
        };
        let mut reply = MemoryStoreResponse::default();
        for put in put {
            match put {
                Ok(Put { key, evicted }) => {
                    reply.stored.push(key);
                    reply.evicted.extend(evicted);
                }
                Err(error) => reply.errors.push(error),
            }
        }
        Ok(reply)
    }

    /// The whole of a search.
    fn find(&self, request: MemoryRetrieveRequest, call: &Call) -> Result<MemoryRetrieveResponse> {
        match &self.keep {
            Keep::Ram(store) => answer(self.search(store, request, call)?, call),
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => {
                let ids = ids_of(&request.keys)?;
                let ids = (!ids.is_empty()).then_some(ids.as_slice());
                let cut = Cut { entries: request.limit, bytes: self.max_reply };
                let (memory, tier) = (request.memory_id.clone(), request.tier);
                let wanted = wanted(request, ids.is_some());
                let now = self.clock.now().mono;
                let is_cancelled = || call.is_cancelled();
                let place = (call.session_id(), memory.as_str());
                let (entries, total) =
                    store.search(place, tier, ids, &wanted, cut, now, &is_cancelled)?;
                stop_if_cancelled(call)?;
                Ok(MemoryRetrieveResponse { entries, total })
            }
        }
    }

    /// What a search in RAM would look through.
    fn search(
        &self,
        store: &Mutex<Store>,
        request: MemoryRetrieveRequest,
        call: &Call,
    ) -> Result<Search> {
        let ids = ids_of(&request.keys)?;
        let ids = (!ids.is_empty()).then_some(ids.as_slice());
        let cut = Cut { entries: request.limit, bytes: self.max_reply };
        let now = self.clock.now().mono;
        let (session, tier) = (call.session_id(), request.tier);
        let entries = lock(store).collect(session, &request.memory_id, tier, ids, now)?;
        Ok(Search { entries, wanted: wanted(request, ids.is_some()), cut })
    }

    fn forget(&self, request: MemoryForgetRequest, call: &Call) -> Result<MemoryForgetResponse> {
        let doomed = Doomed { ids: ids_of(&request.keys)?, tags: tags_of(&request.tags) };
        let now = self.clock.now().mono;
        let (session, memory, tier) = (call.session_id(), &request.memory_id, request.tier);
        let deleted = match &self.keep {
            Keep::Ram(store) => {
                let mut store = lock(store);
                stop_if_cancelled(call)?;
                store.forget(session, memory, tier, &doomed, now)?
            }
            #[cfg(feature = "sqlite")]
            Keep::Sqlite(store) => {
                let is_cancelled = || call.is_cancelled();
                store.forget((session, memory), tier, &doomed, now, &is_cancelled)?
            }
        };
        Ok(MemoryForgetResponse { deleted })
    }
}

/// The conditions of a search.
fn wanted(request: MemoryRetrieveRequest, by_key: bool) -> Wanted {
    Wanted {
        by_key,
        by_tier: request.tier.is_some(),
        tags: tags_of(&request.tags),
        words: Words::of(&request.query),
        min_score: request.min_score,
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

fn answer(search: Search, call: &Call) -> Result<MemoryRetrieveResponse> {
    let (entries, total) = search.run(|| !call.is_cancelled());
    stop_if_cancelled(call)?;
    Ok(MemoryRetrieveResponse { entries, total })
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

fn tags_of(tags: &[String]) -> BTreeSet<String> {
    tags.iter().map(|tag| composed(tag).into_owned()).collect()
}

/// A cancelled call has no effect.
fn stop_if_cancelled(call: &Call) -> Result<()> {
    if call.is_cancelled() {
        return Err(cancelled());
    }
    Ok(())
}

fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, "nobody waits for the answer")
}

register_plugin!(
    MemoryPlugin,
    cls = "a2e.caps.memory.plugin.MemoryPlugin",
    capability = "memory",
    config = MemoryConfig,
    build = MemoryPlugin::new,
    about = "remembers entries, in RAM with snapshots or in SQLite: working, episodic, semantic",
    aliases = &[
        "a2e.caps.memory.MemoryPlugin",
        "a2e.plugins.memory.MemoryPlugin",
        "memory.inmemory.InMemoryPlugin",
    ],
    default_settings = Some("{}")
);
