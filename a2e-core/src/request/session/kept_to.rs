//! What a principal sees of a list: what it may use.

use serde_json::value::RawValue;

use super::Session;
use crate::codec::find::member;
use crate::config::Named;
use crate::transport::Allowed;

impl Session {
    /// The fields of a reply with the items of its list alone that the principal may use; `None` where
    /// nothing is to be changed.
    #[inline]
    pub(in crate::request) fn kept_to_allowed(
        &self,
        wire_type: &str,
        fields: &[u8],
    ) -> Option<Vec<u8>> {
        let allowed = self.identity().allowed.as_deref()?;
        let named = Named::linked().find(|it| it.list == wire_type && allowed.keeps(it.many))?;
        Some(narrowed(allowed, named, fields))
    }
}

/// The fields of a list without what may not be used; a list that cannot be read is empty.
fn narrowed(allowed: &Allowed, named: &Named, fields: &[u8]) -> Vec<u8> {
    let line = format!("{{{}}}", String::from_utf8_lossy(fields));
    let Some((list, _)) = member(&line, named.items) else { return fields.to_vec() };
    let items: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
    let is_allowed = |item: &&RawValue| {
        let name = member(item.get(), named.item_name);
        let name: Option<String> = name.and_then(|(name, _)| serde_json::from_str(name).ok());
        name.is_some_and(|name| allowed.has_name(named.many, &name))
    };
    let kept: Vec<&str> = items.into_iter().filter(is_allowed).map(RawValue::get).collect();
    let kept = format!("[{}]", kept.join(","));
    // The list is a part of the line, and is found again by its place in it.
    let start = list.as_ptr() as usize - line.as_ptr() as usize;
    let (before, after) = (line.get(1..start), line.get(start + list.len()..line.len() - 1));
    [before.unwrap_or_default(), &kept, after.unwrap_or_default()].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_may_be_used_and_the_rest_of_its_fields() {
        let named = Named {
            one: "robot",
            many: "robots",
            request: "robot/move/req",
            name: "robot",
            arguments: "way",
            list: "robot/list/resp",
            items: "robots",
            item_name: "name",
        };
        let few = vec![("robots", vec!["a*".to_owned()])];
        let allowed = Allowed { names: few, ..Allowed::default() };
        for (fields, expected) in [
            (
                r#""robots":[{"name":"ab","x":1},{"name":"b"}],"n":2"#,
                r#""robots":[{"name":"ab","x":1}],"n":2"#,
            ),
            (r#""n":2,"robots":[{"name":"b"}]"#, r#""n":2,"robots":[]"#),
            (r#""robots":[{"name":"\u0061"},{},{"name":5},7]"#, r#""robots":[{"name":"\u0061"}]"#),
            (r#""robots":{"name":"b"}"#, r#""robots":[]"#),
            (r#""robots":[]"#, r#""robots":[]"#),
            (r#""n":2"#, r#""n":2"#),
            ("", ""),
        ] {
            let kept = narrowed(&allowed, &named, fields.as_bytes());
            assert_eq!(String::from_utf8(kept).unwrap(), expected, "{fields}");
        }
    }
}
