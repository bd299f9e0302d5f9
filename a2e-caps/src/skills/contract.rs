//! How other plugins bring skills: a folder that is looked through as the roots are.
//!
//! ```
//! use std::sync::Arc;
//! use a2e_caps::skills::contract::SkillRoot;
//! use a2e_core::{Result, plugin::Host};
//!
//! fn start(host: &Host) -> Result<()> {
//!     let root = SkillRoot { path: "/opt/pack/skills".into() };
//!     host.contribute("pack", Arc::new(root))?.keep();
//!     Ok(())
//! }
//! ```

use std::path::PathBuf;

/// A folder of skills. Configured roots come after it, so that an operator's skill takes the place of its
/// namesake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillRoot {
    /// The folder.
    pub path: PathBuf,
}
