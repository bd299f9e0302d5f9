//! Replies that say no.

use serde_json::Value;

/// Why a reply refuses: `ok` or `success` is false in it or in its `data`; `None` for one that does not.
pub(crate) fn refusal(reply: &Value) -> Option<String> {
    let is_no = |it: &Value, key: &str| it.get(key) == Some(&Value::Bool(false));
    let says_no = |it: &&Value| is_no(it, "ok") || is_no(it, "success");
    let place = [Some(reply), reply.get("data")].into_iter().flatten().find(says_no)?;
    let text = |key: &str| place.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let why = ["error", "message", "reason"].into_iter().find_map(text);
    Some(match (text("code"), why) {
        (Some(code), Some(why)) => format!("refused, {code}: {why}"),
        (Some(why), None) | (None, Some(why)) => format!("refused: {why}"),
        (None, None) => "refused".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reply_that_says_no_is_told_from_others() {
        for (reply, expected) in [
            (json!({ "type": "x/resp" }), None),
            (json!({ "ok": true, "success": true, "data": { "success": true } }), None),
            (json!({ "ok": null, "data": [false] }), None),
            (json!({ "data": { "data": { "ok": false } } }), None),
            (json!({ "ok": false }), Some("refused")),
            (json!({ "success": false, "message": "no" }), Some("refused: no")),
            (json!({ "ok": false, "code": "c", "error": "no" }), Some("refused, c: no")),
            (json!({ "data": { "success": false, "error": "no" } }), Some("refused: no")),
        ] {
            assert_eq!(refusal(&reply).as_deref(), expected, "{reply}");
        }
    }
}
