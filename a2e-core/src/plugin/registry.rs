//! The plugin classes that are linked into this program.

use super::Descriptor;

/// Every linked class, sorted by `cls`: link order means nothing.
#[derive(Debug)]
pub struct Registry {
    classes: Vec<&'static Descriptor>,
}

/// Two linked classes claim one name.
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
    pub fn of(mut classes: Vec<&'static Descriptor>) -> Result<Self, RegistryError> {
        classes.sort_by_key(|class| class.cls);
        let registry = Self { classes };
        let mut names: Vec<&str> = registry.names().collect();
        names.sort_unstable();
        let twice = names.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some((*a).to_owned()),
            _ => None,
        });
        match twice {
            Some(name) => Err(RegistryError(name)),
            None => Ok(registry),
        }
    }

    /// The class of this name or alias.
    pub fn find(&self, cls: &str) -> Option<&'static Descriptor> {
        self.classes.iter().copied().find(|it| it.cls == cls || it.aliases.contains(&cls))
    }

    /// Every class, by name.
    pub fn classes(&self) -> &[&'static Descriptor] {
        &self.classes
    }

    /// The linked names that are most like `cls`, best first, at most three.
    pub fn nearest(&self, cls: &str) -> Vec<&'static str> {
        let mut scored: Vec<(f64, &'static str)> =
            self.names().map(|name| (likeness(name, cls), name)).filter(|it| it.0 > 0.7).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(3).map(|it| it.1).collect()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.classes.iter().flat_map(|it| std::iter::once(it.cls).chain(it.aliases.iter().copied()))
    }
}

/// Whole names, or only their last parts: `ToolPlugin` finds `a2e.caps.tools.plugin.ToolPlugin`.
fn likeness(name: &str, asked: &str) -> f64 {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    strsim::jaro_winkler(name, asked).max(strsim::jaro_winkler(&last(name), &last(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(cls: &'static str, aliases: &'static [&'static str]) -> &'static Descriptor {
        let build = |_: &crate::config::PluginConfig, _: &super::super::Host| {
            Err(crate::Error::runtime("never built"))
        };
        Box::leak(Box::new(Descriptor {
            aliases,
            ..Descriptor::new(cls, "test", |_| vec![], build)
        }))
    }

    #[test]
    fn classes_are_sorted_and_found_by_name_or_alias() {
        let registry =
            Registry::of(vec![class("b.Two", &["old.Two"]), class("a.One", &[])]).unwrap();
        let names: Vec<&str> = registry.classes().iter().map(|it| it.cls).collect();
        assert_eq!(names, ["a.One", "b.Two"]);
        assert_eq!(registry.find("old.Two").map(|it| it.cls), Some("b.Two"));
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
