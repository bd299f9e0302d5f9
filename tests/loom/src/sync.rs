//! Stands for the kernel's `sync`: loom's locks, and its atomics with `SeqCst` made
//! true. loom takes a `SeqCst` access for an `AcqRel` one and would report schedules that cannot be.
//! Fences around each access, and an exchange in the place of a store (loom may order a store behind
//! what ran later), give what the language promises where all accesses to a value are `SeqCst`.

use std::sync::PoisonError;

pub use checker::sync::MutexGuard;

/// loom's, as the kernel's own: without poison.
#[derive(Debug, Default)]
pub struct Mutex<T>(checker::sync::Mutex<T>);

#[allow(missing_docs, reason = "as in std")]
impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for tokio's: tasks that wait are not modelled.
#[derive(Debug, Default)]
pub struct Notify;

impl Notify {
    /// Wakes nothing.
    pub fn notify_waiters(&self) {}
}

/// Atomics.
pub mod atomic {
    use checker::sync::atomic as inner;
    pub use std::sync::atomic::Ordering;
    use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

    fn fence_of(order: Ordering) {
        if order == SeqCst {
            inner::fence(SeqCst);
        }
    }

    fn of_load(order: Ordering) -> Ordering {
        if order == SeqCst { Acquire } else { order }
    }

    fn of_exchange(order: Ordering) -> Ordering {
        if order == SeqCst { AcqRel } else { order }
    }

    macro_rules! atomics {
        ($($name:ident: $value:ty),*) => {$(
            /// loom's, with fences for `SeqCst`.
            #[derive(Debug, Default)]
            pub struct $name(inner::$name);

            #[allow(missing_docs, reason = "as in std")]
            impl $name {
                pub fn new(value: $value) -> Self {
                    Self(inner::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    fence_of(order);
                    self.0.load(of_load(order))
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    if order == SeqCst {
                        self.swap(value, order);
                    } else {
                        self.0.store(value, order);
                    }
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    fence_of(order);
                    let before = self.0.swap(value, of_exchange(order));
                    fence_of(order);
                    before
                }

                /// # Errors
                /// As in std.
                pub fn compare_exchange(
                    &self,
                    known: $value,
                    value: $value,
                    order: Ordering,
                    on_failure: Ordering,
                ) -> Result<$value, $value> {
                    fence_of(order);
                    let done =
                        self.0.compare_exchange(known, value, of_exchange(order), of_load(on_failure));
                    fence_of(order);
                    done
                }

                /// As in std: a load, which may see an old value, then exchanges.
                ///
                /// # Errors
                /// As in std.
                pub fn fetch_update(
                    &self,
                    order: Ordering,
                    on_load: Ordering,
                    mut change: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut known = self.load(on_load);
                    while let Some(next) = change(known) {
                        match self.compare_exchange(known, next, order, on_load) {
                            Ok(before) => return Ok(before),
                            Err(newer) => known = newer,
                        }
                    }
                    Err(known)
                }
            }
        )*};
    }

    atomics!(AtomicBool: bool, AtomicU8: u8, AtomicUsize: usize);

    impl AtomicUsize {
        /// As in std.
        pub fn fetch_add(&self, more: usize, order: Ordering) -> usize {
            fence_of(order);
            let before = self.0.fetch_add(more, of_exchange(order));
            fence_of(order);
            before
        }

        /// As in std.
        pub fn fetch_sub(&self, less: usize, order: Ordering) -> usize {
            fence_of(order);
            let before = self.0.fetch_sub(less, of_exchange(order));
            fence_of(order);
            before
        }
    }
}
