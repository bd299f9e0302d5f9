//! How plugins meet: a typed table in the host. The kernel knows none of the types in it.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::protocol::{ErrorCode, PluginName};
use crate::sync::Mutex;
use crate::{Error, Result};

/// Something that one plugin offers to others.
pub struct Contribution<T: ?Sized> {
    /// Its name, unique among contributions of the same type.
    pub name: String,
    /// The plugin that offers it.
    pub owner: PluginName,
    /// The thing itself.
    pub item: Arc<T>,
}

/// Keeps a contribution in the table; it is withdrawn when this is dropped.
#[must_use = "the contribution is withdrawn when this is dropped; `keep` it to leave it until the plugin ends"]
pub struct Registration {
    /// The list that it stands in.
    key: TypeId,
    number: u64,
    table: Weak<Contributions>,
}

impl Registration {
    /// Leaves the contribution where it is until its plugin ends.
    pub fn keep(mut self) {
        self.table = Weak::new();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.remove(|key, it| key == self.key && it.number == self.number);
        }
    }
}

show!(Registration, number: |it| it.number);

/// One instance of a plugin, as the table tells it from an earlier one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: PluginName,
    pub(crate) epoch: u64,
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
    /// Guards the lists; held for a look-up or an insertion, never while a plugin runs.
    inner: Mutex<Inner>,
    /// The generation, for consumers that wait for a change.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    generation: u64,
    /// The number of the contribution that was added last.
    last: u64,
    /// Instances that are being started by a reload: what they give is seen once they serve.
    staged: HashSet<u64>,
    lists: HashMap<TypeId, Vec<Entry>>,
}

/// A contribution in the list of its type.
struct Entry {
    name: String,
    owner: Owner,
    /// Tells it from every other contribution of the host.
    number: u64,
    /// An `Arc<T>` for the `T` of the list.
    item: Box<dyn Any + Send + Sync>,
}

impl Inner {
    /// The items of this type whose instance is seen.
    fn items<T: ?Sized + Send + Sync + 'static>(
        &self,
        is_seen: impl Fn(u64) -> bool,
    ) -> impl DoubleEndedIterator<Item = Contribution<T>> {
        let list = self.lists.get(&TypeId::of::<T>()).into_iter().flatten();
        list.filter(move |it| is_seen(it.owner.epoch)).filter_map(|it| {
            let item = Arc::clone(it.item.downcast_ref::<Arc<T>>()?);
            Some(Contribution { name: it.name.clone(), owner: it.owner.name.clone(), item })
        })
    }
}

show!(Contributions, generation: |it| it.generation());

impl Contributions {
    /// Adds an item under a name. What a staged instance adds is seen once it serves; it may take the
    /// names of the instance that it replaces.
    /// Errors: When the name is taken by another item of the same type; nothing is ever shadowed.
    pub(crate) fn add<T: ?Sized + Send + Sync + 'static>(
        self: &Arc<Self>,
        owner: &Owner,
        name: &str,
        item: Arc<T>,
    ) -> Result<Registration> {
        let mut inner = self.inner.lock();
        let is_staged = inner.staged.contains(&owner.epoch);
        inner.last += 1;
        let number = inner.last;
        let list = inner.lists.entry(TypeId::of::<T>()).or_default();
        let is_taken = |it: &&Entry| {
            let is_replaced = it.owner.name == owner.name && it.owner.epoch != owner.epoch;
            it.name == name && !(is_staged && is_replaced)
        };
        if let Some(taken) = list.iter().find(is_taken) {
            let text = format!("`{name}` is already contributed by `{}`", taken.owner.name);
            return Err(Error::new(ErrorCode::RuntimeError, text));
        }
        let (name, owner) = (name.to_owned(), owner.clone());
        list.push(Entry { name, owner, number, item: Box::new(item) });
        if !is_staged {
            self.note_change(&mut inner);
        }
        Ok(Registration { key: TypeId::of::<T>(), number, table: Arc::downgrade(self) })
    }

    /// Says that a contribution offers something else than before, so that consumers look again.
    pub(crate) fn touch(&self) {
        self.note_change(&mut self.inner.lock());
    }

    fn note_change(&self, inner: &mut Inner) {
        inner.generation += 1;
        self.changed.send_replace(inner.generation);
    }

    /// Sees the generation change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Every item of this type, in the order in which they were added.
    pub fn all<T: ?Sized + Send + Sync + 'static>(&self) -> Vec<Contribution<T>> {
        self.all_after(&[], &[])
    }

    /// As [`all`](Self::all), as if these staged instances served and those others were gone.
    pub(crate) fn all_after<T: ?Sized + Send + Sync + 'static>(
        &self,
        arriving: &[u64],
        leaving: &[u64],
    ) -> Vec<Contribution<T>> {
        let inner = self.inner.lock();
        let is_seen = |epoch| {
            (!inner.staged.contains(&epoch) || arriving.contains(&epoch))
                && !leaving.contains(&epoch)
        };
        inner.items(is_seen).collect()
    }

    /// The item of this type that was added last.
    pub fn last<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Contribution<T>> {
        let inner = self.inner.lock();
        inner.items(|epoch| !inner.staged.contains(&epoch)).next_back()
    }

    /// Removes what an instance gave of one type.
    pub(crate) fn withdraw_type<T: ?Sized + Send + Sync + 'static>(&self, epoch: u64) {
        self.remove(|key, it| key == TypeId::of::<T>() && it.owner.epoch == epoch);
    }

    fn remove(&self, is_it: impl Fn(TypeId, &Entry) -> bool) {
        let mut inner = self.inner.lock();
        let mut has_changed = false;
        for (key, list) in &mut inner.lists {
            let before = list.len();
            list.retain(|it| !is_it(*key, it));
            has_changed |= list.len() != before;
        }
        if has_changed {
            self.note_change(&mut inner);
        }
    }

    /// Rises with each change; equal numbers mean an equal table.
    pub fn generation(&self) -> u64 {
        self.inner.lock().generation
    }

    /// What this instance adds is not seen until [`exchange`](Self::exchange).
    pub(crate) fn stage(&self, epoch: u64) {
        self.inner.lock().staged.insert(epoch);
    }

    /// In one step: shows what the arriving instances gave, removes what the leaving ones gave.
    pub(crate) fn exchange(&self, arriving: &[u64], leaving: &[u64]) {
        let mut inner = self.inner.lock();
        for epoch in arriving {
            inner.staged.remove(epoch);
        }
        for list in inner.lists.values_mut() {
            list.retain(|it| !leaving.contains(&it.owner.epoch));
        }
        self.note_change(&mut inner);
    }

    /// Removes everything that an instance gave.
    pub(crate) fn withdraw(&self, epoch: u64) {
        self.inner.lock().staged.remove(&epoch);
        self.remove(|_, it| it.owner.epoch == epoch);
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

    fn owner(name: &str, epoch: u64) -> Owner {
        Owner { name: PluginName::from(name), epoch }
    }

    fn greets(table: &Arc<Contributions>) -> Vec<String> {
        table.all::<dyn Greets>().iter().map(|it| it.item.greet()).collect()
    }

    #[test]
    fn items_are_kept_by_type_and_names_are_never_shadowed() {
        let table = Arc::new(Contributions::default());
        let (a, b) = (owner("a", 1), owner("b", 2));
        table.add::<dyn Greets>(&a, "x", Arc::new(Hello("x"))).unwrap().keep();
        table.add::<str>(&b, "x", "another type".into()).unwrap().keep();
        let taken = table.add::<dyn Greets>(&b, "x", Arc::new(Hello("y"))).unwrap_err();
        assert_eq!(taken.message(), "`x` is already contributed by `a`");
        assert_eq!(greets(&table), ["hello x"]);
        let before = table.generation();
        table.withdraw(a.epoch);
        assert!(greets(&table).is_empty() && table.generation() > before);
        assert_eq!(table.all::<str>().len(), 1);
    }

    #[test]
    fn a_staged_instance_takes_over_in_one_step() {
        let table = Arc::new(Contributions::default());
        let (old, new, other) = (owner("a", 1), owner("a", 2), owner("b", 3));
        table.add::<dyn Greets>(&old, "x", Arc::new(Hello("old"))).unwrap().keep();
        table.stage(new.epoch);
        let before = table.generation();
        table.add::<dyn Greets>(&new, "x", Arc::new(Hello("new"))).unwrap().keep();
        table.add::<dyn Greets>(&new, "x", Arc::new(Hello("twice"))).unwrap_err();
        table.add::<dyn Greets>(&other, "x", Arc::new(Hello("other"))).unwrap_err();
        assert_eq!(greets(&table), ["hello old"]);
        assert_eq!(table.generation(), before, "nobody sees a change yet");
        assert_eq!(table.all_after::<dyn Greets>(&[2], &[1]).len(), 1);
        table.exchange(&[2], &[1]);
        assert_eq!(greets(&table), ["hello new"]);
        assert_eq!(table.generation(), before + 1);
        // One that is given up leaves nothing.
        table.stage(4);
        table.add::<dyn Greets>(&owner("a", 4), "x", Arc::new(Hello("newest"))).unwrap().keep();
        table.withdraw(4);
        assert_eq!(greets(&table), ["hello new"]);
    }

    #[test]
    fn a_registration_withdraws_when_it_is_dropped() {
        let table = Arc::new(Contributions::default());
        let mut seen = table.watch();
        let a = owner("a", 1);
        let first = table.add::<dyn Greets>(&a, "x", Arc::new(Hello("x"))).unwrap();
        table.add::<dyn Greets>(&a, "y", Arc::new(Hello("y"))).unwrap().keep();
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), table.generation());
        drop(first);
        assert_eq!(greets(&table), ["hello y"]);
        assert!(seen.has_changed().unwrap(), "consumers are told of what went");
        table.add::<dyn Greets>(&a, "x", Arc::new(Hello("again"))).unwrap().keep();
        assert_eq!(greets(&table), ["hello y", "hello again"]);
    }
}
