//! The folders that file tools may use, and the way from a path in a call to a handle in one.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use nix::libc::{O_NOCTTY, O_NONBLOCK};

use super::names;

/// The roots of one plugin, opened once.
#[derive(Debug)]
pub(in crate::tools) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    /// The folder's name; the first part of a path where there are several roots.
    name: String,
    dir: Dir,
}

/// A place below a root.
#[derive(Debug)]
pub(in crate::tools) struct Place<'r> {
    pub(in crate::tools) dir: &'r Dir,
    /// Relative to the root; `.` for the root itself.
    pub(in crate::tools) path: PathBuf,
    /// Whether it can only be a folder: a slash stands at its end.
    pub(in crate::tools) names_folder: bool,
}

impl Roots {
    /// Opens the folders.
    ///
    /// # Errors
    /// When one is not there or is no folder.
    pub(in crate::tools) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut roots: Vec<Root> = Vec::with_capacity(paths.len());
        for path in paths {
            let failed = |error: io::Error| {
                let text = format!("`roots`: cannot open folder {}: {error}", path.display());
                Error::runtime(text)
            };
            let full = path.canonicalize().map_err(failed)?;
            let dir = Dir::open_ambient_dir(&full, ambient_authority()).map_err(failed)?;
            let name = names::shown(full.file_name().unwrap_or(OsStr::new("root")));
            let is_free = |name: &str| roots.iter().all(|root| root.name != name);
            let mut numbered = (2_u32..).map(|number| format!("{name}-{number}"));
            let name = if is_free(&name) {
                name.clone()
            } else {
                numbered.find(|name| is_free(name)).unwrap_or_default()
            };
            roots.push(Root { name, dir });
        }
        Ok(Self(roots))
    }

    /// One folder that is open already.
    pub(in crate::tools) fn of(name: &str, dir: Dir) -> Self {
        Self(vec![Root { name: name.to_owned(), dir }])
    }

    /// One sentence on how paths are written, for the descriptions of tools.
    pub(in crate::tools) fn about_paths(&self) -> String {
        match self.0.as_slice() {
            [root] => format!("Paths are relative to the folder `{}`.", root.name),
            _ => format!("Paths begin with the name of a folder: {}.", self.names()),
        }
    }

    /// Where a path of a call leads.
    ///
    /// # Errors
    /// `tool_denied` for an absolute path, `tool_error` where the first part names no root.
    pub(in crate::tools) fn resolve(&self, path: &str) -> Result<Place<'_>> {
        let meant = PathBuf::from(names::meant(path));
        if meant.is_absolute() {
            return Err(self.outside(path));
        }
        let names_folder = path.ends_with('/') || path.ends_with("/.");
        if let [root] = self.0.as_slice() {
            return Ok(Place { dir: &root.dir, path: or_dot(&meant), names_folder });
        }
        let mut parts = meant.components().skip_while(|it| *it == Component::CurDir);
        let first = match parts.next() {
            Some(Component::Normal(first)) => Some(names::shown(first)),
            Some(_) => return Err(self.outside(path)),
            None => None,
        };
        let root = self.0.iter().find(|root| Some(&root.name) == first.as_ref());
        let root = root.ok_or_else(|| {
            let text =
                format!("`{path}` does not begin with a folder of this host: {}", self.names());
            self.with_facts(Error::new(ErrorCode::ToolError, text), path)
        })?;
        Ok(Place { dir: &root.dir, path: or_dot(&parts.collect::<PathBuf>()), names_folder })
    }

    /// The error of a tool for what the operating system said about a path.
    pub(in crate::tools) fn failed(&self, what: &str, path: &str, error: &io::Error) -> Error {
        // Leaving the root is the one refusal that does not come from the operating system.
        if error.kind() == ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            return self.outside(path);
        }
        let why = match error.kind() {
            ErrorKind::NotFound => format!("it is not there; {}", self.about_paths()),
            ErrorKind::AlreadyExists => "it exists already".to_owned(),
            ErrorKind::NotADirectory => "a part of it is no folder".to_owned(),
            ErrorKind::IsADirectory => "it is a folder".to_owned(),
            _ => error.to_string(),
        };
        let text = format!("cannot {what} `{path}`: {why}");
        self.with_facts(Error::new(ErrorCode::ToolError, text), path)
    }

    /// The refusal of what is no regular file.
    pub(in crate::tools) fn irregular(&self, path: &str, kind: &str) -> Error {
        let text = format!("`{path}` is a {kind}; only regular files can be used");
        self.with_facts(Error::new(ErrorCode::ToolDenied, text), path)
    }

    /// The refusal of what leads out of all roots.
    pub(in crate::tools) fn outside(&self, path: &str) -> Error {
        let text = format!(
            "`{path}` leads out of the folders that this host opens to tools (setting `roots`). {}",
            self.about_paths()
        );
        self.with_facts(Error::new(ErrorCode::ToolDenied, text), path)
            .with_detail("setting", "roots")
    }

    /// An error about a path, with the names of the roots.
    pub(in crate::tools) fn with_facts(&self, error: Error, path: &str) -> Error {
        let names: Vec<&str> = self.0.iter().map(|root| root.name.as_str()).collect();
        error.with_detail("path", path).with_detail("roots", names)
    }

    /// The names, for people and for a listing of the roots themselves.
    pub(in crate::tools) fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|root| format!("`{}`", root.name)).collect();
        names.join(", ")
    }

    /// What stands before a path below this root, where there are several.
    #[cfg(feature = "search")]
    pub(in crate::tools) fn prefix(&self, dir: &Dir) -> String {
        let is_it = |root: &&Root| std::ptr::eq(&raw const root.dir, dir);
        match self.0.iter().find(is_it) {
            Some(root) if self.0.len() > 1 => format!("{}/", root.name),
            _ => String::new(),
        }
    }

    /// The roots as entries of a folder above them, where there are several.
    pub(in crate::tools) fn as_folder(
        &self,
        path: &str,
    ) -> Option<impl Iterator<Item = (&str, &Dir)>> {
        let is_top = Path::new(path).components().all(|it| it == Component::CurDir);
        (self.0.len() > 1 && is_top)
            .then(|| self.0.iter().map(|root| (root.name.as_str(), &root.dir)))
    }
}

impl Place<'_> {
    /// Opens a regular file; a fifo or a device is refused and never waited for.
    ///
    /// # Errors
    /// As [`Roots::failed`] and [`Roots::irregular`] say it.
    pub(in crate::tools) fn open(
        &self,
        roots: &Roots,
        what: &str,
        shown: &str,
        options: &mut OpenOptions,
    ) -> Result<File> {
        let failed = |error: io::Error| roots.failed(what, shown, &error);
        // To open some devices does something. What is opened is looked at again below, since
        // another file may stand there by then.
        let before = self.dir.metadata(&self.path);
        if let Some(kind) = before.ok().and_then(|it| irregular_kind(it.file_type())) {
            return Err(roots.irregular(shown, kind));
        }
        options.custom_flags(O_NONBLOCK | O_NOCTTY);
        let file = self.dir.open_with(&self.path, options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        match irregular_kind(metadata.file_type()) {
            Some(kind) => Err(roots.irregular(shown, kind)),
            None if metadata.is_dir() => {
                Err(roots.failed(what, shown, &ErrorKind::IsADirectory.into()))
            }
            None if self.names_folder => {
                Err(roots.failed(what, shown, &ErrorKind::NotADirectory.into()))
            }
            None => Ok(file),
        }
    }

    /// The folder that it stands in, relative to the root, and its name there; `None` where the
    /// path has no name at its end.
    pub(in crate::tools) fn split(&self) -> Option<(PathBuf, OsString)> {
        let name = self.path.file_name()?.to_owned();
        Some((or_dot(self.path.parent()?), name))
    }
}

/// What it is, when it is neither a regular file nor a folder.
pub(in crate::tools) fn irregular_kind(kind: cap_std::fs::FileType) -> Option<&'static str> {
    use cap_std::fs::FileTypeExt;
    if kind.is_file() || kind.is_dir() {
        None
    } else if kind.is_symlink() {
        Some("symbolic link")
    } else if kind.is_fifo() {
        Some("fifo")
    } else if kind.is_socket() {
        Some("socket")
    } else {
        Some("device")
    }
}

fn or_dot(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
