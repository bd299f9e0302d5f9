//! `http`: pages below a base URL, with headers that the tools send and nobody sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::Result;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{read, schema};
use crate::toolkits::config::HttpSettings;
use crate::toolkits::contract::{Toolkit, ToolkitAbout};
use crate::tools::contract::{ToolProvider, base_definitions, base_tools};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What every path is below, such as `https://api.example.com/v1/`.
    base_url: String,
    /// Sent with every request below the base URL, such as `Authorization`; at most 64, of 32 KiB in all.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    headers: BTreeMap<String, String>,
}

struct Http {
    settings: HttpSettings,
    budget: usize,
}

/// The toolkit.
pub(super) fn kit(settings: HttpSettings, budget: usize) -> Arc<dyn Toolkit> {
    Arc::new(Http { settings, budget })
}

impl Http {
    fn tools(&self, config: &Map<String, Value>, is_own: bool) -> Result<Arc<dyn ToolProvider>> {
        let Config { base_url, headers } = read(config)?;
        let HttpSettings { within, http_get, .. } = &self.settings;
        base_tools(&base_url, &headers, within, is_own, http_get, self.budget)
    }
}

impl Toolkit for Http {
    fn about(&self) -> ToolkitAbout {
        let about = "Fetches pages below a base URL, with headers such as a token.";
        let about = ToolkitAbout::new("http", about, schema::<Config>(), base_definitions());
        ToolkitAbout { category: "web".into(), tags: vec!["web".into()], ..about }
    }

    fn configure(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        self.tools(config, false)
    }

    fn configure_own(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        self.tools(config, true)
    }
}
