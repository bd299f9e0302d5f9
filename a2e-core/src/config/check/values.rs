//! Reads single values of a map: texts, switches, numbers, time spans, words of a list.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::check::section::Section;
use crate::config::problem::did_you_mean;
use crate::config::tree::node::{Data, Node, Origin};

impl<'a> Section<'a> {
    /// A text; `None` when it is absent or something else, which is then noted.
    pub(in crate::config) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let node = self.get(key)?;
        match &node.data {
            Data::Text(text, _) if is_one_line(text) => return Some(text),
            Data::Text(..) => self.error(node, key, "must be one line of visible characters", None),
            Data::Bool(_) | Data::Number(_) => {
                self.wrong(node, key, "a text", Some("put it in quotes".to_owned()));
            }
            _ => self.wrong(node, key, "a text", None),
        }
        None
    }

    /// A text that is not empty.
    pub(in crate::config) fn word(&mut self, key: &'static str) -> Option<&'a str> {
        let text = self.text(key)?;
        if let (true, Some(node)) = (text.trim().is_empty(), self.get(key)) {
            self.error(node, key, "must not be empty", None);
            return None;
        }
        Some(text)
    }

    /// A path of the file system.
    pub(in crate::config) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        self.word(key).map(PathBuf::from)
    }

    /// A switch.
    pub(in crate::config) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Bool(value) => Some(*value),
            Data::Text(text, origin) => {
                let value = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => Some(true),
                    "false" | "no" | "off" => Some(false),
                    _ => None,
                };
                value.inspect(|_| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        if value.is_none() {
            self.wrong(node, key, "true or false", None);
        }
        value
    }

    /// A whole number within bounds.
    pub(in crate::config) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Number(number) => number.as_i64(),
            Data::Text(text, origin) => {
                text.parse().ok().inspect(|_: &i64| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(node, key, &expected, None);
        }
        value
    }

    /// Puts a whole number within bounds where it belongs; leaves the default otherwise.
    pub(in crate::config) fn set(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        slot: &mut usize,
    ) {
        let value = self.integer(key, range).and_then(|value| usize::try_from(value).ok());
        *slot = value.unwrap_or(*slot);
    }

    /// A time span in seconds, with fractions, within bounds.
    pub(in crate::config) fn seconds(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<Duration> {
        let node = self.get(key)?;
        let value = match &node.data {
            Data::Number(number) => number.as_f64(),
            Data::Text(text, origin) => {
                text.parse().ok().inspect(|_: &f64| self.quoted(node, key, *origin))
            }
            _ => None,
        };
        let value = value
            .filter(|value| range.contains(value))
            .and_then(|value| Duration::try_from_secs_f64(value).ok());
        if value.is_none() {
            let expected = format!("seconds from {} to {}", range.start(), range.end());
            self.wrong(node, key, &expected, None);
        }
        value
    }

    /// A list of texts, none of them empty.
    pub(in crate::config) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let list = self.list(key).unwrap_or_default();
        let text = |node: &Node| match &node.data {
            Data::Text(text, _) if !text.is_empty() => Some(text.clone()),
            Data::Broken => None,
            _ => {
                self.wrong(node, key, "a text", None);
                None
            }
        };
        list.iter().filter_map(text).collect()
    }

    /// One of several words.
    pub(in crate::config) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let node = self.get(key)?;
        // YAML 1.1 reads a bare `off` as false; where "off" is a word of ours that is what was meant.
        let text = match &node.data {
            Data::Text(text, _) => text.as_str(),
            Data::Bool(false) => "off",
            _ => "",
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = did_you_mean(text, names.iter().copied());
            self.wrong(node, key, &format!("one of {}", names.join(", ")), hint);
        }
        found
    }

    /// A number in quotes is read as one, as the reference does, and gets a warning.
    fn quoted(&self, node: &Node, key: &str, origin: Origin) {
        if origin == Origin::Quoted {
            let hint = Some("write it without them".to_owned());
            self.warning(node.at, key, "stands in quotes", hint);
        }
    }
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
