//! Approved definitions of tools: those that are pinned, else the first that were seen.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::Error;
use a2e_core::protocol::{ErrorCode, PluginName};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Catalog, MAX_TOOLS};
use crate::tools::protocol::ToolDefinition;

/// The prefix of a pin.
const PREFIX: &str = "sha256:";

/// The hash of a tool's definition: `sha256:` and 64 hex digits.
///
/// It is taken over name, description, input and output parameters as agents see them, the schemas where
/// they say more than the parameters do, title and annotations where there are any, written as JSON with sorted keys and without blanks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a definition.
    pub fn of(tool: &ToolDefinition) -> Self {
        let mut what = Map::new();
        what.insert("name".to_owned(), json!(tool.name));
        what.insert("description".to_owned(), json!(tool.description));
        what.insert("input_parameters".to_owned(), json!(tool.input_parameters));
        what.insert("output_parameters".to_owned(), json!(tool.output_parameters));
        let own = [
            ("input_schema", &tool.input_schema, tool.is_input_derived()),
            ("output_schema", &tool.output_schema, tool.is_output_derived()),
        ];
        for (key, schema, is_derived) in own {
            let own = schema.as_ref().filter(|_| !is_derived);
            what.extend(own.and_then(|own| Some((key.to_owned(), own.decode().ok()?))));
        }
        what.extend(tool.title.as_ref().map(|it| ("title".to_owned(), json!(it))));
        what.extend(tool.annotations.as_ref().map(|it| ("annotations".to_owned(), json!(it))));
        let what = Value::Object(what);
        let mut text = String::new();
        canonical(&what, &mut text);
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// JSON with sorted keys, whatever order the map keeps.
fn canonical(value: &Value, out: &mut String) {
    let separate = |out: &mut String, place: usize| {
        if place > 0 {
            out.push(',');
        }
    };
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (place, (key, value)) in sorted.into_iter().enumerate() {
                separate(out, place);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (place, value) in list.iter().enumerate() {
                separate(out, place);
                canonical(value, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!("expected \"{PREFIX}\" and 64 hex digits, found {text:?}"))
        })
    }
}

impl schemars::JsonSchema for Pin {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pin".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}

fn parse(text: &str) -> Option<Pin> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(Pin(bytes))
}

/// Why a tool is in quarantine.
#[derive(Debug)]
pub(super) struct Quarantine {
    why: Why,
    found: Pin,
    approved: Option<Pin>,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    /// It is not as `pinned` says.
    Pinned,
    /// It is not as it was when it was first seen.
    Changed,
    /// Another plugin offered the name before.
    Moved,
    /// It is not pinned where every tool must be.
    Missing,
    /// Too many tools have come and gone in this run.
    TooMany,
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Pinned => "its definition is not the one that is pinned",
            Why::Changed => "its definition has changed since it was first seen",
            Why::Moved => "another plugin offered a tool of this name before",
            Why::Missing => "it is not pinned, and `require_pins` is set",
            Why::TooMany => "too many tools have come and gone",
        })?;
        write!(f, " (found {}", self.found)?;
        if let Some(approved) = self.approved {
            write!(f, ", approved {approved}")?;
        }
        f.write_str(")")
    }
}

impl Quarantine {
    /// What a call of the tool is answered.
    pub(super) fn error(&self, tool: &str, owner: &PluginName, collector: &PluginName) -> Error {
        let text = format!(
            "tool `{tool}` of plugin `{owner}` is in quarantine: {self}. Its operator can approve it \
             with `pinned: {{{}: \"{}\"}}` in the settings of plugin `{collector}`",
            // Quoted, so that a name cannot be more than a key where it is pasted.
            Value::from(tool),
            self.found
        );
        let error = Error::new(ErrorCode::ToolDenied, text)
            .with_detail("tool_name", tool)
            .with_detail("plugin", owner.as_str())
            .with_detail("reason", "quarantined")
            .with_detail("setting", "pinned")
            .with_detail("found", self.found.to_string());
        match self.approved {
            Some(approved) => error.with_detail("approved", approved.to_string()),
            None => error,
        }
    }
}

/// By what a definition is approved that no setting pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It comes from this program and its operator's settings.
    Own,
    /// Its provider holds it against approvals of its own.
    Approved,
    /// By being the first that is seen.
    FirstUse,
}

/// What is approved in this run.
#[derive(Debug)]
pub(in crate::tools) struct Approvals {
    pinned: BTreeMap<String, Pin>,
    require_pins: bool,
    /// Guards what was seen first; held for a look-up or a copy.
    seen: Arc<Mutex<Seen>>,
}

/// For each tool name, the plugin that offered it first and the definition at that time. Bound: `2 * MAX_TOOLS`.
pub(super) type Seen = HashMap<String, (PluginName, Pin)>;

impl Approvals {
    pub(in crate::tools) fn new(pinned: BTreeMap<String, Pin>, require_pins: bool) -> Self {
        Self { pinned, require_pins, seen: Arc::default() }
    }

    /// What was seen, for the instance that replaces this one at a reload.
    pub(super) fn seen(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }

    /// Takes over what an instance before has seen: a reload approves nothing by itself.
    pub(super) fn inherit(&self, seen: &Mutex<Seen>) {
        let before = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// Whether a tool may be served so; the first definition of a name is approved by that.
    pub(super) fn judge(
        &self,
        tool: &ToolDefinition,
        owner: &PluginName,
        trust: Trust,
    ) -> Result<(), Quarantine> {
        let found = Pin::of(tool);
        let fail = |why, approved| Err(Quarantine { why, found, approved });
        if let Some(pinned) = self.pinned.get(&tool.name) {
            return if *pinned == found { Ok(()) } else { fail(Why::Pinned, Some(*pinned)) };
        }
        if trust == Trust::Own {
            return Ok(());
        }
        if self.require_pins {
            return fail(Why::Missing, None);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&tool.name) {
            Some((first, _)) if first != owner => fail(Why::Moved, None),
            Some((_, approved)) if *approved != found && trust == Trust::FirstUse => {
                fail(Why::Changed, Some(*approved))
            }
            Some(_) => Ok(()),
            None if seen.len() >= 2 * MAX_TOOLS => fail(Why::TooMany, None),
            None => {
                seen.insert(tool.name.clone(), (owner.clone(), found));
                Ok(())
            }
        }
    }

    /// Logs pins of tools that do not exist: the name may be misspelt.
    pub(super) fn tell_missing(&self, plugin: &PluginName, catalog: &Catalog) {
        for name in self.pinned.keys() {
            if catalog.find(name).is_none() && !catalog.withheld.contains_key(name) {
                tracing::warn!(%plugin, tool = name, "a pinned tool is not offered");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::protocol::ToolParameter;

    fn tool() -> ToolDefinition {
        ToolDefinition::new("a", "b").input(ToolParameter::required("c", "string", "d"))
    }

    #[test]
    fn r39_a_pin_is_stable_and_covers_what_agents_read() {
        let pin = Pin::of(&tool());
        // sha256 of {"description":"b","input_parameters":[{"description":"d","name":"c",
        // "required":true,"type":"string"}],"name":"a","output_parameters":[]}
        assert_eq!(pin.to_string(), PINNED);
        for changed in [
            ToolDefinition { name: "A".into(), ..tool() },
            ToolDefinition { description: "b ".into(), ..tool() },
            tool().input(ToolParameter::optional("e", "string", "")),
            tool().output(ToolParameter::optional("e", "string", "")),
            ToolDefinition::new("a", "b").input(ToolParameter::required("c", "string", "D")),
            ToolDefinition::new("a", "b").input(ToolParameter::optional("c", "string", "d")),
        ] {
            assert_ne!(Pin::of(&changed), pin, "{changed:?}");
        }
        for same in [tool().tagged(&["x"]), ToolDefinition { version: "9".into(), ..tool() }] {
            assert_eq!(Pin::of(&same), pin, "{same:?}");
        }
    }

    const PINNED: &str = "sha256:d51b43b631153547bb3dfdb196fc2b22ab76ff997213f13e815b480e821148dc";

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let read = |text: &str| serde_json::from_value::<Pin>(Value::from(text));
        let pin = Pin::of(&tool());
        assert_eq!(read(&pin.to_string()).unwrap(), pin);
        assert_eq!(read(&pin.to_string().to_uppercase().replace("SHA", "sha")).unwrap(), pin);
        for wrong in ["", "sha256:", "abc", &pin.to_string()[..70], "sha256:é", "md5:00"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("64 hex digits"), "{error}");
        }
    }
}
