//! Schemas: what is made of a definition, and what arguments are told.

use serde_json::json;

use super::*;
use crate::tools::protocol::ToolParameter;

fn parameters() -> Vec<ToolParameter> {
    let mut nested = ToolParameter::optional("opts", "object", "");
    nested.properties = Some(
        [("depth", ToolParameter::required("", "integer", ""))]
            .map(|(key, it)| (key.to_owned(), it))
            .into(),
    );
    vec![
        ToolParameter::required("path", "string", ""),
        ToolParameter::optional("n", "integer", ""),
        ToolParameter::optional("x", "number", ""),
        ToolParameter::optional("on", "boolean", ""),
        ToolParameter::optional("list", "array", ""),
        ToolParameter::optional("mode", "string", "").one_of(&["a", "b"]),
        ToolParameter::optional("level", "integer", "").one_of(&["1", "2"]),
        ToolParameter::optional("any", "object", ""),
        nested,
    ]
}

fn of_parameters() -> Checker {
    let tool = ToolDefinition { input_parameters: parameters(), ..ToolDefinition::new("t", "") };
    Checker::of(&tool.completed().unwrap()).unwrap()
}

fn of_schema(schema: &Value) -> Checker {
    let tool = ToolDefinition::new("t", "").with_input_schema(schema);
    Checker::of(&tool.completed().unwrap()).unwrap()
}

/// The places of all problems.
fn places(checker: &Checker, arguments: &str) -> Vec<String> {
    let raw = RawJson::parse(arguments.to_owned()).unwrap();
    let Err(error) = checker.check(&raw) else { return Vec::new() };
    assert_eq!(error.code().as_str(), "schema_violation");
    let errors = error.detail()["errors"].as_array().unwrap();
    errors.iter().map(|it| it["loc"].as_str().unwrap().to_owned()).collect()
}

fn message(checker: &Checker, arguments: &str) -> String {
    let raw = RawJson::parse(arguments.to_owned()).unwrap();
    checker.check(&raw).unwrap_err().message().to_owned()
}

#[test]
fn arguments_are_checked_and_every_problem_is_named() {
    let checker = of_parameters();
    for (arguments, expected) in [
        (r#"{"path":"p"}"#, &[][..]),
        (r#"{"path":"p","n":5}"#, &[]),
        (r#"{"path":"p","n":5.0}"#, &[]),
        (r#"{"path":"p","n":-3e2}"#, &[]),
        (r#"{"path":"p","n":5.5}"#, &["arguments.n"]),
        (r#"{"path":"p","n":"5"}"#, &["arguments.n"]),
        (r#"{"path":"p","n":null}"#, &["arguments.n"]),
        (r#"{"path":"p","n":1e999}"#, &["arguments.n"]),
        (r#"{"path":"p","n":true}"#, &["arguments.n"]),
        (r#"{"path":"p","x":5}"#, &[]),
        (r#"{"path":"p","x":-0.5}"#, &[]),
        (r#"{"path":"p","x":"0.5"}"#, &["arguments.x"]),
        (r#"{"path":"p","x":[]}"#, &["arguments.x"]),
        (r#"{"path":"p","on":false}"#, &[]),
        (r#"{"path":"p","on":"false"}"#, &["arguments.on"]),
        (r#"{"path":"p","on":0}"#, &["arguments.on"]),
        (r#"{"path":"p","list":[1,"a"]}"#, &[]),
        (r#"{"path":"p","list":{}}"#, &["arguments.list"]),
        (r#"{"path":"p","mode":"b"}"#, &[]),
        (r#"{"path":"p","mode":"\u0062"}"#, &[]),
        (r#"{"path":"p","mode":"c"}"#, &["arguments.mode"]),
        (r#"{"path":"p","level":2}"#, &[]),
        (r#"{"path":"p","level":3}"#, &["arguments.level"]),
        (r#"{"path":"p","any":{"x":{"y":[]}}}"#, &[]),
        (r#"{"path":"p","any":null}"#, &["arguments.any"]),
        (r#"{"path":"p","unknown":{"x":[]}}"#, &["arguments.unknown"]),
        (r#"{"pth":"p"}"#, &["arguments.path", "arguments.pth"]),
        (r#"{"path":"p","opts":{"depth":1}}"#, &[]),
        (r#"{"path":"p","opts":{"depth":1,"more":2}}"#, &["arguments.opts.more"]),
        (r#"{"path":"p","opts":{}}"#, &["arguments.opts.depth"]),
        (r#"{"path":"p","opts":{"depth":"1"}}"#, &["arguments.opts.depth"]),
        (r#"{"path":"p","opts":[]}"#, &["arguments.opts"]),
        (r#"{"path":"p","path":"q"}"#, &["arguments.path"]),
        (r#"{"\u0070ath":"p"}"#, &[]),
        ("{}", &["arguments.path"]),
        (r#"{"path":5}"#, &["arguments.path"]),
        (
            r#"{"n":"1","x":"2","on":3}"#,
            &["arguments.n", "arguments.on", "arguments.path", "arguments.x"],
        ),
    ] {
        let mut found = places(&checker, arguments);
        found.sort();
        assert_eq!(found, expected, "{arguments}");
    }
}

#[test]
fn a_message_says_what_would_be_right() {
    let checker = of_parameters();
    for (arguments, expected) in [
        (
            r#"{"path":"p","n":"5"}"#,
            "arguments.n: expected integer, found a string; write it without quotes",
        ),
        (
            r#"{"path":"p","n":null}"#,
            "arguments.n: expected integer, found null; leave it out instead",
        ),
        (r#"{"path":null}"#, "arguments.path: expected string, found null"),
        (r#"{"path":"p","mode":"c"}"#, "arguments.mode: expected one of a, b"),
        ("{}", "arguments.path: missing; a string is required"),
        (r#"{"path":"p","lits":[]}"#, "arguments.lits: unknown; did you mean \"list\"?"),
        (
            r#"{"path":"p","opts":{"depth":1,"zzzz":1}}"#,
            "arguments.opts.zzzz: unknown; there are depth",
        ),
    ] {
        assert_eq!(message(&checker, arguments), expected, "{arguments}");
    }
    let bare = Checker::of(&ToolDefinition::new("t", "").completed().unwrap()).unwrap();
    assert_eq!(places(&bare, "{}"), [""; 0]);
    assert_eq!(message(&bare, r#"{"a":1}"#), "arguments.a: unknown; there are none here");
    let many: Vec<String> = (0..100).map(|it| format!(r#""unknown_{it}":1"#)).collect();
    let raw = RawJson::parse(format!("{{{}}}", many.join(","))).unwrap();
    assert_eq!(bare.check(&raw).unwrap_err().detail()["errors"].as_array().unwrap().len(), 32);
}

#[test]
fn an_own_schema_may_nest_refer_and_choose() {
    let checker = of_schema(&json!({
        "type": "object",
        "properties": {
            "edits": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/edit" } },
            "where": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/place" }] },
            "size": { "type": ["integer", "null"], "minimum": 1 },
            "id": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 4 },
            "pair": { "prefixItems": [{ "type": "string" }, { "type": "integer" }], "items": false },
        },
        "required": ["edits"],
        "$defs": {
            "edit": {
                "type": "object",
                "properties": { "old": { "type": "string" }, "new": { "type": "string" } },
                "required": ["old"],
            },
            "place": { "type": "object", "properties": { "line": { "type": "integer" } } },
        },
    }));
    for (arguments, expected) in [
        (r#"{"edits":[{"old":"a","new":"b"}],"where":{"line":1},"size":null}"#, &[][..]),
        (r#"{"edits":[{"old":"a"}],"where":"x","size":3,"id":"abc","pair":["a",1]}"#, &[]),
        (r#"{"edits":[]}"#, &["arguments.edits"]),
        (r#"{"edits":[{"old":"a"},{"old":5}]}"#, &["arguments.edits[1].old"]),
        (r#"{"edits":[{"new":"a"}]}"#, &["arguments.edits[0].old"]),
        (r#"{"edits":[{"old":"a","nwe":"b"}]}"#, &["arguments.edits[0].nwe"]),
        (r#"{"edits":[{"old":"a"}],"where":5}"#, &["arguments.where"]),
        (r#"{"edits":[{"old":"a"}],"where":{"lin":1}}"#, &["arguments.where"]),
        (r#"{"edits":[{"old":"a"}],"size":0}"#, &["arguments.size"]),
        (r#"{"edits":[{"old":"a"}],"id":"A"}"#, &["arguments.id"]),
        (r#"{"edits":[{"old":"a"}],"id":"abcde"}"#, &["arguments.id"]),
        (r#"{"edits":[{"old":"a"}],"pair":["a",1,2]}"#, &["arguments.pair[2]"]),
        (r#"{"edits":[{"old":"a"}],"edit":1}"#, &["arguments.edit"]),
    ] {
        assert_eq!(places(&checker, arguments), expected, "{arguments}");
    }
    let text = message(&checker, r#"{"edits":[{"old":"a","nwe":"b"}]}"#);
    assert_eq!(text, "arguments.edits[0].nwe: unknown; did you mean \"new\"?");
    let text = message(&checker, r#"{"edits":[{"old":"a"}],"where":{"lin":1}}"#);
    let forms = "arguments.where: fits none of 2 forms (arguments.where: expected string, found an \
                 object | arguments.where.lin: unknown; did you mean \"line\"?)";
    assert_eq!(text, forms);
    let long = format!(r#"{{"edits":[{{"old":"a"}}],"id":"{}"}}"#, "x".repeat(9000));
    assert!(message(&checker, &long).len() < 200, "what is wrong is not told back whole");
}

#[test]
fn an_object_that_lists_its_properties_takes_no_others_unless_it_says_so() {
    let property = json!({ "a": { "type": "integer" } });
    for (schema, is_taken) in [
        (json!({ "properties": property }), false),
        (json!({ "type": "object", "properties": {} }), false),
        (json!({ "type": "object" }), true),
        (json!({}), true),
        (json!({ "properties": property, "additionalProperties": true }), true),
        (json!({ "properties": property, "additionalProperties": { "type": "integer" } }), true),
        (json!({ "properties": property, "patternProperties": { "^b": {} } }), true),
        (json!({ "properties": property, "allOf": [{ "properties": { "b": {} } }] }), true),
        (json!({ "properties": property, "anyOf": [{ "required": ["b"] }, {}] }), true),
        (
            json!({ "properties": property, "$ref": "#/$defs/b", "$defs": { "b": { "properties": { "b": {} } } } }),
            true,
        ),
        // What only looks like a schema is a value.
        (json!({ "properties": { "b": { "const": 1, "default": { "properties": {} } } } }), true),
    ] {
        let found = places(&of_schema(&schema), r#"{"b":1}"#);
        assert_eq!(found.is_empty(), is_taken, "{schema}: {found:?}");
    }
    // What is listed is what is checked.
    let listed = ToolDefinition::new("t", "").with_input_schema(&json!({ "properties": property }));
    let listed: Value = listed.completed().unwrap().input_schema.unwrap().decode().unwrap();
    assert_eq!(
        (&listed["additionalProperties"], &listed["type"]),
        (&json!(false), &json!("object"))
    );
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_and_nothing_is_fetched() {
    for (schema, part) in [
        (json!({ "type": "strnig" }), "must have the type `object`"),
        (json!({ "type": "array" }), "must have the type `object`"),
        (json!([]), "must be an object"),
        (json!(true), "must be an object"),
        (json!({ "properties": 5 }), "schema"),
        (json!({ "properties": { "a": { "type": "text" } } }), "schema"),
        (json!({ "properties": { "a": { "pattern": "(" } } }), "schema"),
        (json!({ "properties": { "a": { "$ref": "#/$defs/no" } } }), "schema"),
        (json!({ "properties": { "a": { "$ref": "file:///etc/passwd" } } }), "schema"),
        (json!({ "properties": { "a": { "$ref": "http://127.0.0.1:9/x.json" } } }), "schema"),
        (json!({ "$schema": "http://127.0.0.1:9/own.json", "type": "object" }), "schema"),
    ] {
        for tool in [
            ToolDefinition::new("t", "").with_input_schema(&schema),
            ToolDefinition::new("t", "").with_output_schema(&schema),
        ] {
            let made = tool.completed().map_err(|error| error.message().to_owned());
            let made = made.and_then(|tool| Checker::of(&tool).map(|_| ()));
            let why = made.unwrap_err();
            assert!(why.contains(part), "{schema}: {why}");
        }
    }
    let odd = ToolParameter::optional("a", "text", "");
    let error = ToolDefinition::new("t", "").input(odd).completed().unwrap_err();
    assert!(error.message().contains("unknown type `text`; there are string, integer"), "{error}");
    let odd = ToolParameter::optional("a", "strng", "");
    let error = ToolDefinition::new("t", "").input(odd).completed().unwrap_err();
    assert!(error.message().contains("did you mean \"string\"?"), "{error}");
    let deep = (0..200).fold(json!({}), |inner, _| json!({ "properties": { "a": inner } }));
    assert!(ToolDefinition::new("t", "").with_input_schema(&deep).completed().is_err());
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = of_schema(&json!({
        "properties": { "below": { "type": "array", "items": { "$ref": "#" } } },
    }));
    let nested = |levels: usize| {
        (0..levels).fold("{}".to_owned(), |inner, _| format!(r#"{{"below":[{inner}]}}"#))
    };
    assert_eq!(places(&tree, &nested(60)), [""; 0]);
    let wrong = nested(20).replace("{}", r#"{"blow":[]}"#);
    assert_eq!(places(&tree, &wrong).len(), 1);
    for circle in [
        json!({ "$ref": "#" }),
        json!({ "properties": { "a": { "$ref": "#/properties/a" } } }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
    ] {
        let tool = ToolDefinition::new("t", "").with_input_schema(&circle);
        // Refused or without effect; in any case it comes to an end.
        if let Ok(checker) = Checker::of(&tool.completed().unwrap()) {
            let _ends = places(&checker, r#"{"a":1}"#);
        }
    }
}

#[test]
fn parameter_lists_follow_an_own_schema() {
    let tool = ToolDefinition::new("t", "")
        .with_input_schema(&json!({
            "properties": {
                "b": { "type": "string", "description": "B.", "enum": ["x", "y"] },
                "a": { "$ref": "#/$defs/a" },
                "c": { "type": ["null", "integer"] },
                "d": { "anyOf": [{ "type": "null" }, { "type": "array", "items": {} }] },
                "e": { "enum": [1, 2] },
                "f": { "const": true },
                "g": {},
            },
            "required": ["d", "b"],
            "$defs": {
                "a": { "type": "object", "properties": { "in": { "$ref": "#/$defs/a" } }, "description": "A." },
            },
        }))
        .with_output_schema(&json!({ "properties": { "n": { "type": "number" } } }))
        .completed()
        .unwrap();
    let told: Vec<_> = tool
        .input_parameters
        .iter()
        .map(|it| (it.name.as_str(), it.kind.as_str(), it.required))
        .collect();
    assert_eq!(
        told,
        [
            ("d", "array", true),
            ("b", "string", true),
            ("a", "object", false),
            ("c", "integer", false),
            ("e", "integer", false),
            ("f", "boolean", false),
            ("g", "string", false),
        ]
    );
    let of = |name: &str| tool.input_parameters.iter().find(|it| it.name == name).unwrap();
    assert_eq!(of("b").choices.as_deref().unwrap(), ["x", "y"]);
    assert_eq!(of("e").choices.as_deref().unwrap(), ["1", "2"]);
    assert_eq!((of("b").description.as_str(), of("a").description.as_str()), ("B.", "A."));
    assert_eq!(of("a").properties.as_ref().unwrap()["in"].kind, "object");
    assert_eq!(tool.output_parameters[0].kind, "number");
    // What was complete stays as it is.
    assert_eq!(tool.clone().completed().unwrap(), tool);
    let plain = ToolDefinition::new("t", "").input(ToolParameter::required("a", "string", "A."));
    let plain = plain.output(ToolParameter::required("n", "integer", "")).completed().unwrap();
    assert_eq!(plain.clone().completed().unwrap(), plain);
    let schema: Value = plain.output_schema.unwrap().decode().unwrap();
    assert_eq!(
        schema,
        json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] })
    );
}
