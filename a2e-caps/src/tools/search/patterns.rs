//! Globs of calls, as compiled matchers.

use a2e_core::{Error, Result};
use globset::{GlobBuilder, GlobMatcher};

/// Longest pattern, in bytes.
pub(super) const MAX_PATTERN: usize = 4096;

/// A glob over paths relative to where the search begins.
#[derive(Debug)]
pub(super) struct Pattern {
    matcher: GlobMatcher,
    /// One without a slash is for names, at every depth.
    is_for_names: bool,
}

impl Pattern {
    /// Compiles a glob: `*`, `?`, `**`, `[…]`, `{a,b}`.
    ///
    /// # Errors
    /// `schema_violation` that names the argument and what is wrong.
    pub(super) fn new(argument: &str, glob: &str) -> Result<Self> {
        let loc = format!("arguments.{argument}");
        if glob.is_empty() || glob.len() > MAX_PATTERN {
            return Err(Error::schema(loc, format!("expected 1 to {MAX_PATTERN} bytes")));
        }
        let glob = glob.strip_prefix("./").unwrap_or(glob);
        let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
        let built = built
            .map_err(|error| Error::schema(loc, format!("{} in glob {glob:?}", error.kind())))?;
        Ok(Self { matcher: built.compile_matcher(), is_for_names: !glob.contains('/') })
    }

    /// Whether a path below the start of the search is meant.
    pub(super) fn matches(&self, path: &str) -> bool {
        let name = || path.rsplit('/').next().unwrap_or(path);
        self.matcher.is_match(if self.is_for_names { name() } else { path })
    }
}
