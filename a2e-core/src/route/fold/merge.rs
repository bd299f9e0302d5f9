//! The `Merge` fold: several replies become one, without decoding what is in them.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use crate::codec::RawJson;
use crate::codec::encode_fields;
use crate::{Error, Result};

/// The fields of a reply; values stay raw.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Joins the body fields of several replies, given in priority order: arrays are joined, of other
/// fields the first stands. With `unique`, array items that are objects with an equal text there
/// are kept once, the first.
pub(super) fn merge(replies: &[Vec<u8>], unique: Option<&str>) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(format!("merge: {error}"));
    let texts: Vec<String> =
        replies.iter().map(|fields| format!("{{{}}}", String::from_utf8_lossy(fields))).collect();
    let mut merged: BTreeMap<String, Vec<Vec<&RawValue>>> = BTreeMap::new();
    let mut singles = Fields::new();
    for text in &texts {
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| failed(&error))?;
        for (key, value) in fields {
            match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
                _ if singles.contains_key(&key) => {}
                Ok(items) => merged.entry(key).or_default().push(items),
                Err(_) if merged.contains_key(&key) => {}
                Err(_) => drop(singles.insert(key, value)),
            }
        }
    }
    let mut body: BTreeMap<&str, RawJson> = BTreeMap::new();
    for (key, lists) in &merged {
        let text = join(lists, unique);
        body.insert(key, RawJson::parse(text).map_err(|error| failed(&error))?);
    }
    for (key, value) in &singles {
        let raw = RawJson::parse(value.get().to_owned()).map_err(|error| failed(&error))?;
        body.insert(key, raw);
    }
    let mut out = Vec::new();
    encode_fields(&body, &mut out).map_err(|error| failed(&error))?;
    Ok(out)
}

fn join(lists: &[Vec<&RawValue>], unique: Option<&str>) -> String {
    let mut seen: HashSet<String> = HashSet::new();
    let mut text = String::from("[");
    for item in lists.iter().flatten() {
        if let Some(name) = unique.and_then(|field| text_field(item, field))
            && !seen.insert(name)
        {
            continue;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(item.get());
    }
    text.push(']');
    text
}

/// The text under `field`, if the item is an object that has one.
fn text_field(item: &RawValue, field: &str) -> Option<String> {
    let fields: Fields<'_> = serde_json::from_str(item.get()).ok()?;
    serde_json::from_str(fields.get(field)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_the_first_of_a_name_stays() {
        for (replies, unique, expected) in [
            (vec![r#""a":[1,2]"#, r#""a":[2,3]"#], None, r#""a":[1,2,2,3]"#),
            (vec!["", r#""a":[]"#, r#""a":[{"x":1}]"#], None, r#""a":[{"x":1}]"#),
            (vec![r#""n":1,"a":[]"#, r#""n":2,"b":"x""#], None, r#""a":[],"b":"x","n":1"#),
            (
                vec![
                    r#""t":[{"name":"a","v":1},{"name":"b"}]"#,
                    r#""t":[{"name":"a","v":2},{"v":3},7]"#,
                ],
                Some("name"),
                r#""t":[{"name":"a","v":1},{"name":"b"},{"v":3},7]"#,
            ),
        ] {
            let replies: Vec<Vec<u8>> = replies.iter().map(|it| it.as_bytes().to_vec()).collect();
            let merged = merge(&replies, unique).unwrap();
            assert_eq!(String::from_utf8(merged).unwrap(), expected);
        }
    }
}
