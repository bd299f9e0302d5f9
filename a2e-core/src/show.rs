//! `Debug` for types of which only a few values are worth showing, or may be shown.

/// `show!(Type, name: |it| value, …)`
macro_rules! show {
    ($type:ident $(, $name:ident: |$it:ident| $value:expr)*) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut shown = f.debug_struct(stringify!($type));
                $(
                    let $it = self;
                    shown.field(stringify!($name), &$value);
                )*
                shown.finish_non_exhaustive()
            }
        }
    };
}
