//! The toolkits that are built in.

mod filesystem;
#[cfg(feature = "sqlite")]
mod functions;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "sqlite")]
mod query;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use a2e_core::schema::schema_of;
use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::ToolkitConfig;
use super::contract::Toolkit;

/// A toolkit and, where the operator gives one, the configuration of sessions that give none.
pub(super) type Kit = (Arc<dyn Toolkit>, Option<Map<String, Value>>);

/// The built-in toolkits that the operator opens; their tools use `budget` bytes of a result.
///
/// # Errors
/// When a setting is out of its range.
pub(super) fn built_in(config: ToolkitConfig, budget: usize) -> Result<Vec<Kit>> {
    let mut kits: Vec<Kit> = Vec::new();
    if let Some(settings) = config.filesystem {
        kits.push((filesystem::kit(&settings, budget), settings.config));
    }
    #[cfg(feature = "http")]
    if let Some(settings) = config.http {
        let own = settings.config.clone();
        kits.push((http::kit(settings, budget), own));
    }
    #[cfg(feature = "sqlite")]
    if let Some(settings) = config.sqlite {
        kits.push((sqlite::kit(&settings, budget)?, settings.config));
    }
    Ok(kits)
}

/// The schema of a configuration.
fn schema<T: JsonSchema>() -> Value {
    let mut schema = schema_of::<T>();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
    }
    schema
}

/// A configuration that fits its schema, as its type.
fn read<T: DeserializeOwned>(config: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(config.clone()))
        .map_err(|_| Error::runtime("the configuration does not fit its schema"))
}

/// Where a path of an agent leads: the folder of the operator that it is below, and the rest. `None` also
/// where nothing is there: an agent does not learn what is beside its folders.
fn resolve<'w>(within: &'w [PathBuf], path: &str) -> Option<(&'w Path, PathBuf)> {
    within.iter().find_map(|folder| {
        let full = folder.join(path).canonicalize().ok()?;
        let rest = full.strip_prefix(folder.canonicalize().ok()?).ok()?;
        Some((folder.as_path(), rest.to_owned()))
    })
}
