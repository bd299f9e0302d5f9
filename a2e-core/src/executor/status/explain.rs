//! The way of a message type through the host, in words.

use super::health;
use crate::executor::kernel::Kernel;
use crate::lifecycle::PluginSlot;
use crate::plugin::{PluginScope, Run};
use crate::protocol::host::{
    ExplainedHandler, ExplainedInterceptor, Explanation, LeftOut, PluginHealth,
};
use crate::protocol::{Deadline, Fold};
use crate::route::Route;
use crate::sessions::{CORE_TYPES, nearest_types};

impl Kernel {
    pub(crate) fn explain_type(&self, message_type: &str) -> Explanation {
        let view = self.plugins.views.of(None);
        let table = &view.table;
        let mut told = Explanation {
            message_type: message_type.to_owned(),
            is_core: CORE_TYPES.contains(&message_type),
            ..Explanation::default()
        };
        match table.get(message_type) {
            Some(route) => self.explain_route(route, &mut told),
            None if told.is_core => {}
            None => {
                told.nearest =
                    nearest_types(table, message_type).into_iter().map(str::to_owned).collect();
            }
        }
        let not_loaded = self.plugin_status().into_iter().filter(|it| it.types.is_empty());
        told.not_loaded = not_loaded
            .filter_map(|it| Some(LeftOut { plugin: it.name, reason: it.reason? }))
            .collect();
        told
    }

    fn explain_route(&self, route: &Route, told: &mut Explanation) {
        let spec = &route.spec;
        told.is_handled = true;
        if !spec.is_one_way {
            told.reply_type = spec.reply_type.to_string();
        }
        told.fold = match spec.fold {
            Fold::MergeBy(field) => format!("merge by {field}"),
            fold => format!("{fold:?}").to_lowercase(),
        };
        told.deadline = match spec.deadline {
            Deadline::None => "none".to_owned(),
            Deadline::TimeoutField(seconds) => format!("field `timeout`, else {seconds} s"),
            _ => {
                let limit = spec.limit(&crate::codec::scan::Slot::Absent);
                limit.map_or("none".to_owned(), |limit| format!("{} s", limit.as_secs_f64()))
            }
        };
        let slots = self.plugins.set.all();
        let slot_of = |number| slots.iter().find(|slot| slot.number() == number);
        told.handlers = route
            .handlers
            .iter()
            .filter_map(|it| Some((slot_of(it.endpoint.label.number)?, it.handler.run)))
            .map(|(slot, run)| explain_handler(slot, run))
            .collect();
        told.interceptors = route
            .interceptors
            .iter()
            .map(|it| ExplainedInterceptor {
                name: it.name.clone(),
                plugin: it.owner().to_owned(),
                priority: it.priority,
            })
            .collect();
        told.left_out = self.left_out(route, &told.handlers);
    }

    /// Plugins that declare the type and are not in its route, or will not be asked.
    fn left_out(&self, route: &Route, asked: &[ExplainedHandler]) -> Vec<LeftOut> {
        let declares = |slot: &PluginSlot| {
            slot.handlers().iter().any(|it| it.spec.wire_type == route.spec.wire_type)
        };
        let head = asked.first().map(|it| it.plugin.clone()).unwrap_or_default();
        let mut left_out = Vec::new();
        for slot in self.plugins.set.all().into_iter().filter(|slot| declares(slot)) {
            let (_, unwell) = health(&slot);
            let is_asked = asked.iter().any(|it| it.plugin == slot.name().as_str());
            let reason = match unwell {
                Some(reason) => reason,
                None if is_asked => continue,
                None => format!("`{head}` comes first and is exclusive"),
            };
            left_out.push(LeftOut { plugin: slot.name().to_string(), reason });
        }
        left_out
    }
}

fn explain_handler(slot: &PluginSlot, run: Run) -> ExplainedHandler {
    let endpoint = &slot.endpoint;
    ExplainedHandler {
        plugin: slot.name().to_string(),
        cls: slot.class.facts().cls.to_owned(),
        priority: endpoint.order.priority,
        exclusive: endpoint.order.is_exclusive,
        run: run.as_str().to_owned(),
        scope: match slot.scope() {
            PluginScope::Host => "host".to_owned(),
            PluginScope::Session => "session".to_owned(),
        },
        permits: (run != Run::Inline).then(|| endpoint.gate.permits().of(run)),
        deadline_s: endpoint.deadline.map(|limit| limit.as_secs_f64()),
        health: if slot.is_serving() { health(slot).0 } else { PluginHealth::Failed },
    }
}
