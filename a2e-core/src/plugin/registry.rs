//! The plugin classes that are linked into this program.

use std::sync::Arc;

use super::{Descriptor, PluginClass};
use crate::sync::RwLock;

/// Every class, sorted by `cls`: link order means nothing.
#[derive(Debug, Default)]
pub struct Registry {
    /// Guards the list; held for a look or an insertion.
    classes: RwLock<Vec<Arc<dyn PluginClass>>>,
}

/// Two classes claim one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two plugin classes are registered as `{0}`; a `cls` or alias may stand once in a program")]
pub struct RegistryError(pub String);

impl Registry {
    /// Reads the link-time registrations.
    ///
    /// # Errors
    /// When a `cls` or alias stands twice.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::of(inventory::iter::<Descriptor>.into_iter().collect())
    }

    /// A registry of these classes, for tests and hosts that do not use link-time registration.
    ///
    /// # Errors
    /// When a `cls` or alias stands twice.
    pub fn of(classes: Vec<&'static Descriptor>) -> Result<Self, RegistryError> {
        let registry = Self::default();
        for class in classes {
            registry.add(Arc::new(class))?;
        }
        Ok(registry)
    }

    /// Adds a class that is known only at run time.
    ///
    /// # Errors
    /// When its `cls` or an alias is taken.
    pub fn add(&self, class: Arc<dyn PluginClass>) -> Result<(), RegistryError> {
        let mut classes = self.classes.write();
        let mut own: Vec<&str> = Vec::new();
        for name in names(&*class) {
            if own.contains(&name) || classes.iter().any(|it| names(&**it).contains(&name)) {
                return Err(RegistryError(name.to_owned()));
            }
            own.push(name);
        }
        let place = classes.partition_point(|it| it.facts().cls < class.facts().cls);
        classes.insert(place, class);
        Ok(())
    }

    /// Removes a class; plugins of it that are loaded stay.
    pub fn remove(&self, cls: &str) -> bool {
        let mut classes = self.classes.write();
        let before = classes.len();
        classes.retain(|it| it.facts().cls != cls);
        classes.len() != before
    }

    /// The class of this name or alias.
    pub fn find(&self, cls: &str) -> Option<Arc<dyn PluginClass>> {
        self.classes().into_iter().find(|it| names(&**it).contains(&cls))
    }

    /// Every class, by name.
    pub fn classes(&self) -> Vec<Arc<dyn PluginClass>> {
        self.classes.read().clone()
    }

    /// The linked names that are most like `cls`, best first, at most three.
    pub fn nearest(&self, cls: &str) -> Vec<String> {
        let classes = self.classes();
        let known = classes.iter().flat_map(|it| names(&**it));
        let mut scored: Vec<(f64, &str)> =
            known.map(|name| (likeness(name, cls), name)).filter(|it| it.0 > 0.7).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(3).map(|it| it.1.to_owned()).collect()
    }
}

fn names(class: &dyn PluginClass) -> Vec<&str> {
    std::iter::once(class.facts().cls).chain(class.facts().aliases.iter().copied()).collect()
}

/// Whole names, or only their last parts: `ToolPlugin` finds `a2e.caps.tools.plugin.ToolPlugin`.
fn likeness(name: &str, asked: &str) -> f64 {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    strsim::jaro_winkler(name, asked).max(strsim::jaro_winkler(&last(name), &last(asked)))
}

#[cfg(test)]
mod tests {
    use super::super::ClassFacts;
    use super::*;

    fn class(cls: &'static str, aliases: &'static [&'static str]) -> &'static Descriptor {
        Box::leak(Box::new(Descriptor {
            facts: ClassFacts { aliases, ..ClassFacts::new(cls, "test") },
            check: |_| vec![],
            schema: || None,
            build: |_, _| Err(crate::Error::runtime("never built")),
        }))
    }

    #[test]
    fn classes_are_sorted_and_found_by_name_or_alias() {
        let registry =
            Registry::of(vec![class("b.Two", &["old.Two"]), class("a.One", &[])]).unwrap();
        let names: Vec<String> =
            registry.classes().iter().map(|it| it.facts().cls.to_owned()).collect();
        assert_eq!(names, ["a.One", "b.Two"]);
        assert_eq!(registry.find("old.Two").unwrap().facts().cls, "b.Two");
        assert!(registry.find("Two").is_none());
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        for classes in [
            vec![class("a.One", &[]), class("a.One", &[])],
            vec![class("a.One", &[]), class("b.Two", &["a.One"])],
            vec![class("a.One", &["x"]), class("b.Two", &["x"])],
        ] {
            assert!(Registry::of(classes).is_err());
        }
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let registry = Registry::of(vec![
            class("a2e.caps.tools.plugin.ToolPlugin", &[]),
            class("a2e.caps.memory.plugin.MemoryPlugin", &[]),
        ])
        .unwrap();
        for asked in ["a2e.caps.tool.plugin.ToolPlugin", "ToolPlugin", "toolplugin"] {
            assert_eq!(registry.nearest(asked)[0], "a2e.caps.tools.plugin.ToolPlugin", "{asked}");
        }
        assert!(registry.nearest("qqqq").is_empty());
    }
}
