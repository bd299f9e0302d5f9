//! Opens the registry file and leads it through parser, expansion and checks.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::problem::{Findings, Spot};
use super::tree::expand::{Env, expand};
use super::tree::node::{Data, Node};
use super::tree::yaml;
use super::{ConfigErrors, HostConfig, Position, Problem, check};

/// A file above this is refused before it is parsed (R69).
const MAX_BYTES: u64 = 1 << 20;

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// What the file says, checked.
    pub config: HostConfig,
    /// What probably has no effect, or is risky; `check --strict` refuses these too.
    pub warnings: Vec<Problem>,
}

impl HostConfig {
    /// Reads a file, with the variables of this process's environment.
    ///
    /// # Errors
    /// Every problem of the file, when one of them is an error: among others when it cannot be read,
    /// is larger than 1 MiB, is no UTF-8, may be written by everybody, or has a key that nobody reads.
    pub fn from_yaml(path: impl AsRef<Path>) -> Result<LoadedConfig, ConfigErrors> {
        Self::from_yaml_as(path, false)
    }

    /// As [`HostConfig::from_yaml`]; where `is_lenient`, a key that nobody reads is a warning, also in
    /// the settings of plugins.
    ///
    /// # Errors
    /// As [`HostConfig::from_yaml`].
    pub fn from_yaml_as(
        path: impl AsRef<Path>,
        is_lenient: bool,
    ) -> Result<LoadedConfig, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let findings = Findings::new(&name, is_lenient);
        let text = read(path, &findings);
        load(findings, text.as_deref(), &name, &|key| std::env::var(key).ok())
    }

    /// Reads a text. The name stands in problems; `env` gives the variables.
    ///
    /// # Errors
    /// As [`HostConfig::from_yaml`].
    pub fn from_str(
        name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<LoadedConfig, ConfigErrors> {
        let findings = Findings::new(name, false);
        let is_small = text.len() as u64 <= MAX_BYTES;
        if !is_small {
            too_large(&findings);
        }
        load(findings, is_small.then_some(text), name, env)
    }
}

fn load(
    findings: Findings,
    text: Option<&str>,
    name: &str,
    env: &Env<'_>,
) -> Result<LoadedConfig, ConfigErrors> {
    let mut config = HostConfig::default();
    match text.map(yaml::parse) {
        None => {}
        Some(Err(error)) => findings.error(spot(error.at), error.message, error.hint),
        Some(Ok(mut tree)) => {
            let mut failures = Vec::new();
            expand(&mut tree, "", env, &mut failures);
            for failure in failures {
                let plugin = plugin_at(&tree, &failure.path);
                let shown = match (plugin, failure.path.split_once("].")) {
                    (Some(_), Some((_, inside))) => inside,
                    _ => &failure.path,
                };
                let message = format!("{shown}: {}", failure.reason);
                findings.error(Spot { at: failure.at, plugin, path: failure.path }, message, None);
            }
            config = check::check(&tree, &findings, name, env);
        }
    }
    let problems = findings.into_sorted();
    if problems.iter().any(Problem::is_error) {
        return Err(ConfigErrors::new(problems));
    }
    Ok(LoadedConfig { config, warnings: problems })
}

fn spot(at: Position) -> Spot<'static> {
    Spot { at, plugin: None, path: String::new() }
}

/// The name of the plugin that a path such as `plugins[2].metadata.x` is in.
fn plugin_at<'a>(tree: &'a Node, path: &str) -> Option<&'a str> {
    let (place, _) = path.strip_prefix("plugins[")?.split_once(']')?;
    let Data::List(plugins) = &tree.entry("plugins")?.data else { return None };
    match &plugins.get(place.parse::<usize>().ok()?)?.entry("name")?.data {
        Data::Text(name, _) => Some(name),
        _ => None,
    }
}

fn too_large(findings: &Findings) {
    let message = format!("the file is larger than {MAX_BYTES} bytes");
    findings.error(spot(Position::default()), message, None);
}

/// The text of the file; `None` after a problem that is noted.
fn read(path: &Path, findings: &Findings) -> Option<String> {
    let mut bytes = Vec::new();
    let outcome = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        if metadata.is_file() {
            check_permissions(&metadata, findings);
        }
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    match outcome {
        Err(error) => {
            findings.error(spot(Position::default()), format!("cannot read it: {error}"), None);
            return None;
        }
        Ok(length) if length as u64 > MAX_BYTES => {
            too_large(findings);
            return None;
        }
        Ok(_) => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default());
            findings.error(spot(yaml::end_of(&before)), "is not UTF-8".to_owned(), None);
            None
        }
    }
}

/// Write access to the file is a decision about the code that runs (R69).
fn check_permissions(metadata: &std::fs::Metadata, findings: &Findings) {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    let spot = spot(Position::default());
    if mode & 0o002 != 0 {
        let hint = "chmod o-w".to_owned();
        findings.error(spot, "everybody may write this file".to_owned(), Some(hint));
    } else if mode & 0o020 != 0 {
        let hint = "chmod g-w".to_owned();
        findings.warning(spot, "its group may write this file".to_owned(), Some(hint));
    }
}
