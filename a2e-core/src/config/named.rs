//! Messages that use one of many things by its name, as capabilities register them: settings may then
//! speak of a tool, and the kernel knows none.

/// Things of one kind that are listed and used by name.
///
/// ```
/// use a2e_core::config::Named;
/// a2e_core::inventory::submit! {
///     Named {
///         one: "robot",
///         many: "robots",
///         request: "robot/move/req",
///         name: "robot_name",
///         arguments: "way",
///         list: "robot/list/resp",
///         items: "robots",
///         item_name: "name",
///     }
/// }
/// assert!(Named::linked().any(|it| it.many == "robots"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The key that settings have for one: `tool`.
    pub one: &'static str,
    /// The key that settings have for a list of them: `tools`.
    pub many: &'static str,
    /// The message that uses one.
    pub request: &'static str,
    /// Its field with the name.
    pub name: &'static str,
    /// Its field with what is given to the thing.
    pub arguments: &'static str,
    /// The reply that lists them.
    pub list: &'static str,
    /// Its field with the list.
    pub items: &'static str,
    /// The field of an item with its name.
    pub item_name: &'static str,
}

inventory::collect!(Named);

impl Named {
    /// Every kind that is linked into the program.
    pub fn linked() -> impl Iterator<Item = &'static Self> {
        inventory::iter::<Self>.into_iter()
    }
}
