//! Panics of another crate's code that are caught, and are no news to a user.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns; `None` where it panics, of which nothing is printed.
pub(super) fn quietly<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                previous(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::quietly;

    #[test]
    #[allow(clippy::panic)]
    fn a_panic_is_none_and_another_thread_is_heard() {
        assert_eq!(quietly(|| 3), Some(3));
        let caught: Option<()> = quietly(|| panic!("unheard"));
        assert!(caught.is_none());
        assert_eq!(quietly(|| quietly(|| 4)), Some(Some(4)));
    }
}
