//! Two JSON values compared field by field.

use serde::Serialize;
use serde_json::Value;

/// Most differences that are listed for one state; the rest is counted.
const MOST: usize = 200;

/// One field that is not the same on both sides.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Field {
    /// A JSON pointer (RFC 6901); empty: the whole value.
    pub(super) path: String,
    /// Missing where the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<Value>,
    /// Missing where the field is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<Value>,
}

/// The fields that differ, in the order of the paths, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) told: Vec<Field>,
    pub(super) more: usize,
}

impl Fields {
    pub(super) fn of(old: &Value, new: &Value) -> Self {
        let mut fields = Self::default();
        fields.compare(&mut String::new(), old, new);
        fields
    }

    /// As deep as the JSON is, which its parser has bounded.
    fn compare(&mut self, path: &mut String, old: &Value, new: &Value) {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                for (name, value) in old {
                    self.at(path, name, Some(value), new.get(name));
                }
                for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                    self.at(path, name, None, Some(value));
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                for place in 0..old.len().max(new.len()) {
                    self.at(path, &place.to_string(), old.get(place), new.get(place));
                }
            }
            _ if old != new => self.add(path, Some(old), Some(new)),
            _ => {}
        }
    }

    fn at(&mut self, path: &mut String, name: &str, old: Option<&Value>, new: Option<&Value>) {
        let length = path.len();
        path.push('/');
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match (old, new) {
            (Some(old), Some(new)) => self.compare(path, old, new),
            _ => self.add(path, old, new),
        }
        path.truncate(length);
    }

    fn add(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>) {
        if self.told.len() == MOST {
            self.more += 1;
            return;
        }
        self.told.push(Field { path: path.to_owned(), old: old.cloned(), new: new.cloned() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_is_told_with_its_path() {
        let field = |path: &str, old: Option<Value>, new: Option<Value>| Field {
            path: path.to_owned(),
            old,
            new,
        };
        let (one, two) = (Some(json!(1)), Some(json!(2)));
        for (old, new, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!(1), json!(2), vec![field("", one.clone(), two.clone())]),
            (json!(1), json!("1"), vec![field("", one.clone(), Some(json!("1")))]),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 2}}),
                vec![field("/a/b", one.clone(), two.clone())],
            ),
            (
                json!({"gone": 1, "same": []}),
                json!({"new": 2, "same": []}),
                vec![field("/gone", one.clone(), None), field("/new", None, two.clone())],
            ),
            (json!([1, 1]), json!([1]), vec![field("/1", one.clone(), None)]),
            (json!([]), json!([[2]]), vec![field("/0", None, Some(json!([2])))]),
            (
                json!({"a/b~": null}),
                json!({"a/b~": 2}),
                vec![field("/a~1b~0", Some(json!(null)), two.clone())],
            ),
            (json!({"": 1}), json!({"": 2}), vec![field("/", one.clone(), two.clone())]),
        ] {
            assert_eq!(Fields::of(&old, &new).told, expected, "{old} {new}");
        }
    }

    #[test]
    fn r20_what_is_too_much_to_tell_is_counted() {
        let fields = Fields::of(&json!(vec![1; 500]), &json!(vec![2; 700]));
        assert_eq!((fields.told.len(), fields.more), (200, 500));
    }
}
