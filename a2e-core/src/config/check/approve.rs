//! Checks `approve`: the calls that a person has to approve.

use crate::config::check::section::Section;
use crate::config::tree::node::{Data, Node};
use crate::config::{ApproveRule, Named};

/// Each call of a type that rules are for is looked at by each of them.
const MOST: usize = 256;

pub(in crate::config) fn approve(top: &mut Section<'_>) -> Vec<ApproveRule> {
    let list = top.list("approve").unwrap_or_default();
    if let Some(node) = list.get(MOST) {
        top.error(node, "approve", &format!("there are more than {MOST} rules"), None);
    }
    let rules = list.iter().take(MOST).enumerate();
    rules.filter_map(|(place, node)| rule(top, &format!("approve[{place}]"), node)).collect()
}

fn rule<'a>(top: &Section<'a>, key: &str, node: &'a Node) -> Option<ApproveRule> {
    let expected = "a map with type, the name of a tool, arguments";
    let mut section = top.map_of(node, key, expected)?;
    let wire_type = section.word("type").map(str::to_owned);
    let mut named = None;
    for kind in Named::linked() {
        if let Some(pattern) = section.word(kind.one) {
            named = Some((kind, pattern.to_owned()));
        }
    }
    let mut arguments = Vec::new();
    for entry in section.section("arguments").iter().flat_map(Section::entries) {
        match &entry.node.data {
            Data::Text(pattern, _) => arguments.push((entry.key.clone(), pattern.clone())),
            Data::Bool(_) | Data::Number(_) => {
                arguments.push((entry.key.clone(), entry.node.to_json().to_string()));
            }
            Data::Broken => {}
            _ => {
                let key = format!("arguments.{}", entry.key);
                section.wrong(&entry.node, &key, "a pattern", None);
            }
        }
    }
    if wire_type.is_none() && named.is_none() {
        section.missing("type");
    }
    section.finish(&[]);
    let told = [wire_type.as_deref(), named.as_ref().map(|(_, pattern)| pattern.as_str())];
    let told: Vec<&str> = told.into_iter().flatten().collect();
    let name = format!("{key}: {}", told.join(" "));
    Some(ApproveRule { name, wire_type, named, arguments })
}
