//! The built-in tools that the settings ask for.

use std::sync::Arc;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};

use super::config::{BuiltinTool, ToolConfig};
use super::contract::{ToolDefinition, ToolProvider};
use super::files::FileProvider;
use super::files::roots::Roots;

/// The providers of the built-in tools, in the order of lists.
///
/// # Errors
/// When a root is no folder that can be opened, a setting is out of its range, or a tool is asked
/// for that this program was built without.
pub(super) fn providers(
    config: &ToolConfig,
    max_result_bytes: usize,
) -> Result<Vec<Arc<dyn ToolProvider>>> {
    // The rest is for the fields beside the content; a path alone may need 24 KiB when escaped.
    let budget = max_result_bytes - max_result_bytes.min(64 * 1024) / 2;
    let wants = |tool| config.wants(tool);
    let mut own: Vec<Arc<dyn ToolProvider>> = Vec::new();
    if !config.roots.is_empty() {
        let roots = Arc::new(Roots::open(&config.roots)?);
        let write = config.allow_write;
        own.push(Arc::new(FileProvider::new(Arc::clone(&roots), wants, write, budget)));
        own.push(search(config, &roots, budget)?);
    }
    own.push(http(config, budget)?);
    Ok(own)
}

#[cfg(feature = "search")]
#[allow(clippy::unnecessary_wraps, reason = "the shape of the other one")]
fn search(config: &ToolConfig, roots: &Arc<Roots>, budget: usize) -> Result<Arc<dyn ToolProvider>> {
    let wants = |tool| config.wants(tool);
    Ok(Arc::new(super::search::SearchProvider::new(Arc::clone(roots), wants, budget)))
}

#[cfg(not(feature = "search"))]
fn search(config: &ToolConfig, _: &Arc<Roots>, _: usize) -> Result<Arc<dyn ToolProvider>> {
    absent(config, &BuiltinTool::SEARCH, "search")
}

/// A page is fetched only where the operator said so: a request can carry data of the agent to anywhere.
fn http(config: &ToolConfig, budget: usize) -> Result<Arc<dyn ToolProvider>> {
    if !config.wants(BuiltinTool::HttpGet) {
        return Ok(Arc::new(Withheld(Vec::new())));
    }
    let Some(settings) = &config.http_get else {
        let text = "this host does not let tools fetch pages; its operator can add `http_get: {}` to \
                    the settings of the tools plugin";
        return Ok(Arc::new(Withheld::of(BuiltinTool::HttpGet, text, "http_get")));
    };
    offer_http(config, settings, budget)
}

#[cfg(feature = "http")]
fn offer_http(
    _: &ToolConfig,
    settings: &super::HttpGetConfig,
    budget: usize,
) -> Result<Arc<dyn ToolProvider>> {
    Ok(Arc::new(super::http::HttpProvider::new(settings, budget)?))
}

#[cfg(not(feature = "http"))]
fn offer_http(_: &ToolConfig, _: &super::HttpGetConfig, _: usize) -> Result<Arc<dyn ToolProvider>> {
    Err(Error::runtime("`http_get`: this program was built without the feature `http`"))
}

/// Tools that this program was built without: an error where they are asked for by name.
#[cfg(not(feature = "search"))]
fn absent(
    config: &ToolConfig,
    tools: &[BuiltinTool],
    feature: &str,
) -> Result<Arc<dyn ToolProvider>> {
    let mut withheld = Withheld(Vec::new());
    for tool in tools.iter().filter(|tool| config.wants(**tool)) {
        let name = tool.name();
        let text = format!("`{name}`: this program was built without the feature `{feature}`");
        if config.providers.is_some() {
            return Err(Error::runtime(format!("`providers`: {text}")));
        }
        withheld.0.extend(Withheld::of(*tool, &text, "providers").0);
    }
    Ok(Arc::new(withheld))
}

/// Tools that are not offered, each with the reason.
struct Withheld(Vec<(String, Error)>);

impl Withheld {
    fn of(tool: BuiltinTool, text: &str, setting: &str) -> Self {
        let error = Error::new(ErrorCode::ToolDenied, text);
        let error = error.with_detail("tool_name", tool.name()).with_detail("setting", setting);
        Self(vec![(tool.name().to_owned(), error)])
    }
}

impl ToolProvider for Withheld {
    fn tools(&self) -> Vec<ToolDefinition> {
        Vec::new()
    }

    fn withheld(&self) -> Vec<(String, Error)> {
        self.0.clone()
    }
}
