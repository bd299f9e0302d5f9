//! Where plugin code is called, and what plugins made is dropped, so that a panic stays inside.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls plugin code; a panic becomes its text.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(text_of)
}

/// The text of a panic. What was thrown may itself panic when it is dropped; then it is leaked.
pub(crate) fn text_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
        .to_owned();
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(second);
    }
    text
}

/// Drops what a plugin made: closures, futures, state, itself.
pub(crate) fn discard<T>(what: &str, value: T) {
    if let Err(panic) = catch(|| drop(value)) {
        tracing::error!(what, panic, "a plugin panicked while something of it was dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }

    #[test]
    fn r31_a_panic_stays_inside_also_while_dropping() {
        assert_eq!(catch(|| 5), Ok(5));
        assert_eq!(catch(|| panic!("a {}", 1)), Err::<(), _>("a 1".into()));
        assert_eq!(catch(|| std::panic::panic_any(Bomb)), Err::<(), _>("no text".into()));
        discard("bombs", Bomb);
    }
}
