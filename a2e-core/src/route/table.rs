//! The route table: message type to the plugins that handle it, in the order in which they are asked.

use std::collections::HashMap;
use std::sync::Arc;

use super::Endpoint;
use crate::Time;
use crate::codec::scan::Slot;
use crate::config::ApproveRule;
use crate::layers::{NEVER, micros};
use crate::plugin::{Contribution, Handler, Interception, Interceptor};
use crate::request::{PluginLabel, TypeSpec};

/// Everything known about one message type.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) spec: Arc<TypeSpec>,
    /// In the order in which they are asked; one alone when the head is exclusive.
    pub(crate) handlers: Vec<RouteHandler>,
    /// In the order in which they are asked before; most routes have none.
    pub(crate) interceptors: Vec<RouteInterceptor>,
}

#[derive(Clone)]
pub(crate) struct RouteInterceptor {
    pub(crate) name: String,
    /// The plugin that registered it; none for a rule of the configuration.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) priority: i64,
    pub(crate) item: Arc<dyn Interceptor>,
}

impl std::fmt::Debug for RouteInterceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.owner())
    }
}

impl RouteInterceptor {
    /// The plugin that registered it; empty for a rule of the configuration.
    pub(crate) fn owner(&self) -> &str {
        self.endpoint.as_ref().map_or("", |endpoint| endpoint.label.name.as_str())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RouteHandler {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) handler: Arc<Handler>,
}

impl Route {
    /// When a request that is accepted now is given up, in monotonic microseconds.
    pub(crate) fn deadline_us(&self, timeout: &Slot<'_>, now: Time) -> u64 {
        let limit = self.spec.limit(timeout);
        limit.map_or(NEVER, |limit| now.mono_us().saturating_add(micros(limit)))
    }

    /// The same route with the handlers that are meant alone; `None` when none is.
    pub(crate) fn only(&self, is_meant: impl Fn(&PluginLabel) -> bool) -> Option<Self> {
        let meant = self.handlers.iter().filter(|it| is_meant(&it.endpoint.label));
        let handlers: Vec<RouteHandler> = meant.cloned().collect();
        (!handlers.is_empty()).then(|| Self {
            spec: Arc::clone(&self.spec),
            handlers,
            interceptors: self.interceptors.clone(),
        })
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
        endpoints: &[Arc<Endpoint>],
        interceptions: &[Contribution<Interception>],
        rules: &[ApproveRule],
    ) -> (Self, Vec<RouteProblem>) {
        let mut by_type: HashMap<Box<str>, Vec<RouteHandler>> = HashMap::new();
        let mut problems = Vec::new();
        let mut sorted: Vec<&Arc<Endpoint>> = endpoints.iter().collect();
        sorted.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.order.priority));
        for endpoint in sorted {
            let handlers = endpoint.handlers();
            if let Some(problem) = contradiction(&by_type, endpoint, &handlers) {
                problems.push(problem);
                continue;
            }
            for handler in &*handlers {
                let (endpoint, handler) = (Arc::clone(endpoint), Arc::clone(handler));
                let entry = RouteHandler { endpoint, handler };
                let wire_type = entry.handler.spec.wire_type.as_ref().into();
                by_type.entry(wire_type).or_default().push(entry);
            }
        }
        let routes = by_type.into_iter().filter_map(|(wire_type, mut handlers)| {
            let head = handlers.first()?;
            let mut spec = Arc::clone(&head.handler.spec);
            if head.endpoint.order.is_exclusive {
                handlers.truncate(1);
            }
            for other in handlers.iter().skip(1).map(|it| &it.handler.spec) {
                if other.subject != spec.subject {
                    Arc::make_mut(&mut spec).add_subject(other);
                }
            }
            let mut interceptors = interceptors(&wire_type, endpoints, interceptions);
            interceptors.extend(rules.iter().filter(|it| it.takes(&wire_type)).map(of_rule));
            Some((wire_type, Arc::new(Route { spec, handlers, interceptors })))
        });
        (Self { routes: routes.collect() }, problems)
    }

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
    endpoints: &[Arc<Endpoint>],
    interceptions: &[Contribution<Interception>],
) -> Vec<RouteInterceptor> {
    let taking = interceptions.iter().filter(|it| it.item.takes(wire_type));
    let mut found: Vec<RouteInterceptor> = taking
        .filter_map(|it| {
            Some(RouteInterceptor {
                name: it.name.clone(),
                endpoint: Some(Arc::clone(endpoints.iter().find(|e| e.label.name == it.owner)?)),
                priority: it.item.priority,
                item: Arc::clone(&it.item.item),
            })
        })
        .collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.priority));
    found
}

/// Behind all others: what it looks at is what goes on.
fn of_rule(rule: &ApproveRule) -> RouteInterceptor {
    RouteInterceptor {
        name: rule.name.clone(),
        endpoint: None,
        priority: i64::MIN,
        item: Arc::new(rule.clone()),
    }
}

/// The first type that this plugin declares otherwise than a plugin before it, or twice.
fn contradiction(
    by_type: &HashMap<Box<str>, Vec<RouteHandler>>,
    endpoint: &Endpoint,
    handlers: &[Arc<Handler>],
) -> Option<RouteProblem> {
    let plugin = &endpoint.label.name;
    let problem = |ours: &TypeSpec, other: &PluginLabel, theirs: &TypeSpec| RouteProblem {
        plugin: plugin.to_string(),
        wire_type: ours.wire_type.to_string(),
        declared: describe(ours),
        other: other.name.to_string(),
        existing: describe(theirs),
    };
    handlers.iter().enumerate().find_map(|(index, handler)| {
        let ours = &handler.spec;
        let mut earlier = handlers.iter().take(index);
        if let Some(twice) = earlier.find(|it| it.spec.wire_type == ours.wire_type) {
            return Some(problem(ours, &endpoint.label, &twice.spec));
        }
        let existing = by_type.get(ours.wire_type.as_ref())?.first()?;
        let theirs = &existing.handler.spec;
        (!ours.agrees_with(theirs)).then(|| problem(ours, &existing.endpoint.label, theirs))
    })
}

fn describe(spec: &TypeSpec) -> String {
    let answer = if spec.is_one_way { "one-way" } else { spec.reply_type.as_ref() };
    format!("{answer} with fold {:?} and deadline {:?}", spec.fold, spec.deadline)
}
