//! The route table: message type to the plugins that handle it, in the order in which they are asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::PluginSlot;
use super::active::NEVER;
use crate::Time;
use crate::codec::scan::Slot;
use crate::plugin::{Contribution, Handler, Interception, Interceptor, Run, TypeSpec};
use crate::protocol::Deadline;

/// What a request without a deadline of its own gets.
pub(crate) const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// No request outlives this, whatever it asks for.
const CEILING: Duration = Duration::from_mins(10);

/// The ceiling of types that wait for others, `…/await`.
const AWAIT_CEILING: Duration = Duration::from_hours(1);

/// Everything known about one message type.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) spec: TypeSpec,
    /// In the order in which they are asked; one alone when the head is exclusive.
    pub(crate) handlers: Vec<RouteHandler>,
    /// In the order in which they are asked before; most routes have none.
    pub(crate) interceptors: Vec<RouteInterceptor>,
    /// No request of this type outlives this, whatever it asks for.
    ceiling: Duration,
}

/// One interceptor in a route.
#[derive(Clone)]
pub(crate) struct RouteInterceptor {
    pub(crate) name: String,
    /// The plugin that registered it.
    pub(crate) slot: Arc<PluginSlot>,
    pub(crate) priority: i64,
    pub(crate) item: Arc<dyn Interceptor>,
}

impl std::fmt::Debug for RouteInterceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.slot.name)
    }
}

/// One handler in a route.
#[derive(Debug, Clone)]
pub(crate) struct RouteHandler {
    pub(crate) slot: Arc<PluginSlot>,
    /// Its place among the handlers of an instance, for plugins that are built per session.
    pub(crate) index: usize,
    pub(crate) handler: Arc<Handler>,
}

impl Route {
    pub(crate) fn new(
        spec: TypeSpec,
        handlers: Vec<RouteHandler>,
        interceptors: Vec<RouteInterceptor>,
    ) -> Self {
        let ceiling = if spec.wire_type.contains("/await") { AWAIT_CEILING } else { CEILING };
        Self { spec, handlers, interceptors, ceiling }
    }

    /// The plugin of the first handler, where that one runs on the reader as soon as a request comes.
    pub(crate) fn inline_slot(&self) -> Option<&Arc<PluginSlot>> {
        let first = self.handlers.first()?;
        (first.handler.run == Run::Inline && self.interceptors.is_empty()).then_some(&first.slot)
    }

    /// When a request that is accepted now is given up, in monotonic microseconds.
    pub(crate) fn deadline_us(&self, timeout: &Slot<'_>, now: Time) -> u64 {
        self.limit(timeout).map_or(NEVER, |limit| {
            let limit = u64::try_from(limit.as_micros()).unwrap_or(NEVER);
            now.mono_us().saturating_add(limit)
        })
    }

    /// How long a request of this type may take; `None` when it never ends by itself.
    pub(crate) fn limit(&self, timeout: &Slot<'_>) -> Option<Duration> {
        let ceiling = self.ceiling;
        let limit = match self.spec.deadline {
            Deadline::None => return None,
            Deadline::Default => DEFAULT_DEADLINE,
            Deadline::After(limit) => limit,
            Deadline::TimeoutField(default) => match timeout {
                Slot::Number(seconds) if *seconds > 0.0 => {
                    Duration::try_from_secs_f64(*seconds).unwrap_or(ceiling)
                }
                _ => Duration::from_secs(default),
            },
        };
        Some(limit.min(ceiling))
    }
}

/// Type to route. Built once, never changed, swapped whole.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: HashMap<Box<str>, Arc<Route>>,
}

/// Why a plugin's handlers cannot stand in one table with the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}` declares `{wire_type}` as {declared}, but `{other}` as {existing}")]
pub(crate) struct RouteProblem {
    pub(crate) plugin: String,
    wire_type: String,
    declared: String,
    other: String,
    existing: String,
}

impl RouteTable {
    /// Sorts the handlers of these plugins by priority, high first, ties in the order given.
    /// A plugin that contradicts an earlier one about a type is left out and reported.
    pub(crate) fn build(
        slots: &[Arc<PluginSlot>],
        interceptions: &[Contribution<Interception>],
    ) -> (Self, Vec<RouteProblem>) {
        let mut by_type: HashMap<Box<str>, Vec<RouteHandler>> = HashMap::new();
        let mut problems = Vec::new();
        let mut sorted: Vec<&Arc<PluginSlot>> = slots.iter().collect();
        sorted.sort_by_key(|slot| std::cmp::Reverse(slot.priority));
        for slot in sorted {
            if let Some(problem) = contradiction(&by_type, slot) {
                problems.push(problem);
                continue;
            }
            for (index, handler) in slot.handlers().iter().enumerate() {
                let entry =
                    RouteHandler { slot: Arc::clone(slot), index, handler: Arc::clone(handler) };
                by_type.entry(handler.spec.wire_type.as_ref().into()).or_default().push(entry);
            }
        }
        let routes = by_type.into_iter().filter_map(|(wire_type, mut handlers)| {
            let head = handlers.first()?;
            let spec = head.handler.spec.clone();
            if head.slot.is_exclusive {
                handlers.truncate(1);
            }
            let interceptors = interceptors(&wire_type, slots, interceptions);
            Some((wire_type, Arc::new(Route::new(spec, handlers, interceptors))))
        });
        (Self { routes: routes.collect() }, problems)
    }

    /// The route of a type.
    pub(crate) fn get(&self, wire_type: &str) -> Option<&Arc<Route>> {
        self.routes.get(wire_type)
    }

    /// Every type, sorted.
    pub(crate) fn types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.routes.keys().map(AsRef::as_ref).collect();
        types.sort_unstable();
        types
    }
}

/// The interceptors of a type by priority, high first, ties in the order of registration.
fn interceptors(
    wire_type: &str,
    slots: &[Arc<PluginSlot>],
    interceptions: &[Contribution<Interception>],
) -> Vec<RouteInterceptor> {
    let taking = interceptions.iter().filter(|it| it.item.takes(wire_type));
    let mut found: Vec<RouteInterceptor> = taking
        .filter_map(|it| {
            Some(RouteInterceptor {
                name: it.name.clone(),
                slot: Arc::clone(slots.iter().find(|slot| slot.name == it.owner)?),
                priority: it.item.priority,
                item: Arc::clone(&it.item.item),
            })
        })
        .collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.priority));
    found
}

/// The first type that this plugin declares otherwise than a plugin before it, or twice.
fn contradiction(
    by_type: &HashMap<Box<str>, Vec<RouteHandler>>,
    slot: &PluginSlot,
) -> Option<RouteProblem> {
    let problem = |ours: &TypeSpec, other: &PluginSlot, theirs: &TypeSpec| RouteProblem {
        plugin: slot.name.to_string(),
        wire_type: ours.wire_type.to_string(),
        declared: describe(ours),
        other: other.name.to_string(),
        existing: describe(theirs),
    };
    slot.handlers().iter().enumerate().find_map(|(index, handler)| {
        let ours = &handler.spec;
        let mut earlier = slot.handlers().iter().take(index);
        if let Some(twice) = earlier.find(|it| it.spec.wire_type == ours.wire_type) {
            return Some(problem(ours, slot, &twice.spec));
        }
        let existing = by_type.get(ours.wire_type.as_ref())?.first()?;
        let theirs = &existing.handler.spec;
        (ours != theirs).then(|| problem(ours, &existing.slot, theirs))
    })
}

fn describe(spec: &TypeSpec) -> String {
    let answer = if spec.is_one_way { "one-way" } else { spec.reply_type.as_ref() };
    format!("{answer} with fold {:?} and deadline {:?}", spec.fold, spec.deadline)
}
