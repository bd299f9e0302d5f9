//! Globs of calls, as compiled matchers.

use a2e_core::{Error, Result};
use globset::{GlobBuilder, GlobMatcher};

use crate::tools::files::roots::Roots;

/// Longest pattern, in bytes.
pub(super) const MAX_PATTERN: usize = 4096;

/// A glob over paths relative to where the search begins.
#[derive(Debug)]
pub(super) struct Pattern {
    matcher: GlobMatcher,
    /// One without a slash is for names, at every depth.
    is_for_names: bool,
    /// One with a slash at its end is for folders.
    is_for_folders: bool,
    /// Its parts that begin with a dot: the hidden names that it means.
    dots: Vec<GlobMatcher>,
    names_git: bool,
}

impl Pattern {
    /// Compiles a glob: `*`, `?`, `**`, `[…]`, `{a,b}`.
    ///
    /// # Errors
    /// `schema_violation` that names the argument and what is wrong; `tool_denied` for one that leads
    /// out of where the search begins.
    pub(super) fn new(roots: &Roots, argument: &str, glob: &str) -> Result<Self> {
        let wrong = |why: String| Error::schema(format!("arguments.{argument}"), why);
        if glob.is_empty() || glob.len() > MAX_PATTERN {
            return Err(wrong(format!("expected 1 to {MAX_PATTERN} bytes")));
        }
        let first = glob.strip_prefix('{').and_then(|it| it.split('}').next());
        let is_absolute = first.unwrap_or(glob).split(',').any(|it| it.starts_with('/'));
        if is_absolute || glob.split(['/', '{', '}', ',']).any(|part| part == "..") {
            return Err(roots.outside(glob));
        }
        let parts: Vec<&str> = glob.split('/').filter(|it| !it.is_empty() && *it != ".").collect();
        if parts.is_empty() {
            return Err(wrong(format!("{glob:?} is the folder itself; `*` is what stands in it")));
        }
        let matcher = compiled(&parts.join("/"))
            .map_err(|error| wrong(format!("{} in glob {glob:?}", error.kind())))?;
        let dotted: Vec<String> = glob.split('/').flat_map(dotted).collect();
        Ok(Self {
            matcher,
            is_for_names: parts.len() == 1,
            is_for_folders: glob.ends_with('/') || glob.ends_with("/."),
            dots: dotted.iter().filter_map(|name| compiled(name).ok()).collect(),
            names_git: dotted.iter().any(|name| name == ".git"),
        })
    }

    /// Whether this entry below the start of the search is meant.
    pub(super) fn matches(&self, path: &str, is_dir: bool) -> bool {
        (is_dir || !self.is_for_folders) && self.fits(path)
    }

    /// Whether this file is meant: by itself, or by a folder above it.
    pub(super) fn covers(&self, path: &str) -> bool {
        if !self.is_for_folders {
            return self.fits(path);
        }
        path.match_indices('/').any(|(at, _)| self.fits(path.get(..at).unwrap_or_default()))
    }

    fn fits(&self, path: &str) -> bool {
        let name = || path.rsplit('/').next().unwrap_or(path);
        self.matcher.is_match(if self.is_for_names { name() } else { path })
    }

    /// Whether only folders are meant.
    pub(super) fn is_for_folders(&self) -> bool {
        self.is_for_folders
    }

    /// Whether it means this name though it begins with a dot. What git keeps for itself is meant by
    /// its whole name only.
    pub(super) fn means_hidden(&self, name: &str) -> bool {
        if name == ".git" { self.names_git } else { self.dots.iter().any(|it| it.is_match(name)) }
    }
}

/// The hidden names that a part of a glob between slashes means.
fn dotted(part: &str) -> Vec<String> {
    let is_whole = part.matches('{').count() == part.matches('}').count();
    let names = if is_whole && !part.starts_with('{') {
        vec![part.to_owned()]
    } else {
        // Names behind a brace, or with one that holds a slash: in `.{a,b/c}` the name goes on.
        let pieces = part.split_inclusive(['{', '}', ',']);
        let name = |piece: &str| match piece.strip_suffix('{') {
            Some(name) => format!("{name}*"),
            None => piece.trim_end_matches(['}', ',']).to_owned(),
        };
        pieces.map(name).collect()
    };
    let plain = names.into_iter().map(|name| match name.strip_prefix("[.]") {
        Some(rest) => format!(".{rest}"),
        None => name.trim_start_matches('\\').to_owned(),
    });
    plain.filter(|name| name.starts_with('.') && name != ".").collect()
}

fn compiled(glob: &str) -> Result<GlobMatcher, globset::Error> {
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher())
}
