//! How plugins meet: a typed table in the host. The kernel knows none of the types in it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::{ErrorCode, PluginName};
use crate::{Error, Result};

/// Something that one plugin offers to others.
pub struct Contribution<T: ?Sized> {
    /// Its name, unique among contributions of the same type.
    pub name: String,
    /// Who offers it.
    pub owner: PluginName,
    /// The thing itself.
    pub item: Arc<T>,
}

impl<T: ?Sized> fmt::Debug for Contribution<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.owner)
    }
}

impl<T: ?Sized> Clone for Contribution<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), owner: self.owner.clone(), item: Arc::clone(&self.item) }
    }
}

/// All contributions of a host, by type.
#[derive(Default)]
pub struct Contributions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    generation: u64,
    /// Each list is a `Vec<Contribution<T>>` for the key's `T`.
    lists: HashMap<TypeId, Box<dyn List>>,
}

trait List: Any + Send {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Drops what `owner` gave; true if there was something.
    fn withdraw(&mut self, owner: &PluginName) -> bool;
}

impl<T: ?Sized + Send + Sync + 'static> List for Vec<Contribution<T>> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn withdraw(&mut self, owner: &PluginName) -> bool {
        let before = self.len();
        self.retain(|it| it.owner != *owner);
        self.len() != before
    }
}

impl fmt::Debug for Contributions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contributions").field("generation", &self.generation()).finish()
    }
}

impl Contributions {
    /// Adds an item under a name.
    ///
    /// # Errors
    /// When the name is taken by another item of the same type; nothing is ever shadowed.
    pub fn add<T: ?Sized + Send + Sync + 'static>(
        &self,
        owner: &PluginName,
        name: &str,
        item: Arc<T>,
    ) -> Result<()> {
        let mut inner = self.lock();
        let list = inner
            .lists
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::new(Vec::<Contribution<T>>::new()));
        let Some(list) = list.as_any_mut().downcast_mut::<Vec<Contribution<T>>>() else {
            return Err(Error::internal("contribution list of another type"));
        };
        if let Some(taken) = list.iter().find(|it| it.name == name) {
            let text = format!("`{name}` is already contributed by `{}`", taken.owner);
            return Err(Error::new(ErrorCode::RuntimeError, text));
        }
        list.push(Contribution { name: name.to_owned(), owner: owner.clone(), item });
        inner.generation += 1;
        Ok(())
    }

    /// Every item of this type, in the order in which they were added.
    pub fn all<T: ?Sized + Send + Sync + 'static>(&self) -> Vec<Contribution<T>> {
        let inner = self.lock();
        let list = inner.lists.get(&TypeId::of::<T>());
        let list = list.and_then(|list| list.as_any().downcast_ref::<Vec<Contribution<T>>>());
        list.cloned().unwrap_or_default()
    }

    /// Rises with each change; equal numbers mean an equal table.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Removes everything that a plugin gave.
    pub fn withdraw(&self, owner: &PluginName) {
        let mut inner = self.lock();
        let changed: usize =
            inner.lists.values_mut().map(|list| usize::from(list.withdraw(owner))).sum();
        if changed > 0 {
            inner.generation += 1;
        }
    }

    /// Guards the lists; held for a look-up or an insertion, never while a plugin runs.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Greets: Send + Sync {
        fn greet(&self) -> String;
    }

    struct Hello(&'static str);

    impl Greets for Hello {
        fn greet(&self) -> String {
            format!("hello {}", self.0)
        }
    }

    #[test]
    fn items_are_kept_by_type_and_names_are_never_shadowed() {
        let table = Contributions::default();
        let (a, b) = (PluginName::from("a"), PluginName::from("b"));
        table.add::<dyn Greets>(&a, "x", Arc::new(Hello("x"))).unwrap();
        table.add::<str>(&b, "x", "another type".into()).unwrap();
        let taken = table.add::<dyn Greets>(&b, "x", Arc::new(Hello("y"))).unwrap_err();
        assert_eq!(taken.message(), "`x` is already contributed by `a`");
        let greets = table.all::<dyn Greets>();
        assert_eq!(greets.iter().map(|it| it.item.greet()).collect::<Vec<_>>(), ["hello x"]);
        let before = table.generation();
        table.withdraw(&a);
        assert!(table.all::<dyn Greets>().is_empty() && table.generation() > before);
        assert_eq!(table.all::<str>().len(), 1);
    }
}
