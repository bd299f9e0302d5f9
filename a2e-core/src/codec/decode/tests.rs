//! Tests of the typed decode: errors, and that it reads what `serde_json` reads.

use super::*;
use crate::codec::scan::scan;

#[derive(Debug, serde::Deserialize)]
struct Sample {
    name: String,
    #[serde(default, deserialize_with = "crate::protocol::number::integer")]
    count: u8,
    data: Option<RawJson>,
}

fn read(line: &str) -> Result<Sample, Error> {
    decode(Incoming::of(&scan(line.as_bytes()).unwrap()))
}

#[test]
fn r13_a_wrong_field_is_named_with_its_path() {
    for (line, loc, part) in [
        (r#"{"name":5}"#, "name", "expected a string"),
        (r#"{"type":"x"}"#, "", "missing field `name`"),
        (r#"{"name":"a","count":"5"}"#, "count", "expected an integer"),
        (r#"{"name":"a","count":256}"#, "count", "fits u8"),
        (r#"{"name":"a","count":1.5}"#, "count", "expected an integer"),
        (r#"{"name":"a","name":"b"}"#, "", "duplicate field `name`"),
    ] {
        let error = read(line).unwrap_err();
        assert_eq!(error.code().as_str(), "schema_violation", "{line}");
        let first = &error.detail()["errors"][0];
        assert_eq!(first["loc"], loc, "{line}");
        assert!(first["msg"].as_str().unwrap().contains(part), "{line}: {first}");
        assert!(!error.message().contains("at line"), "{error}");
    }
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    #[default]
    First,
    Other(u8),
}

/// Every kind of field.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
struct Wide {
    text: String,
    letter: char,
    yes: bool,
    small: i8,
    large: u64,
    ratio: f64,
    maybe: Option<String>,
    few: Option<u8>,
    list: Vec<i32>,
    pair: (u8, String),
    map: std::collections::BTreeMap<i32, f32>,
    choice: Choice,
    any: serde_json::Value,
    raw: Option<RawJson>,
    unit: (),
}

#[test]
fn each_kind_of_field_is_read_as_serde_json_reads_it() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "-7",
        "255",
        "300",
        "1.5",
        "1e3",
        r#""""#,
        r#""x""#,
        r#""a\u00e9\n""#,
        r#""first""#,
        "[]",
        "[1,2]",
        r#"[3,"t"]"#,
        "{}",
        r#"{"1":2.5}"#,
        r#"{"other":9}"#,
        r#"{"x":[{"y":null}]}"#,
    ];
    let keys = [
        "text",
        "letter",
        "yes",
        "small",
        "large",
        "ratio",
        "maybe",
        "few",
        "list",
        "pair",
        "map",
        "choice",
        "any",
        "raw",
        "unit",
        r"t\u0065xt",
        "unknown",
    ];
    for (key, value) in keys.iter().flat_map(|key| values.map(|value| (key, value))) {
        let line = format!(r#"{{ "type" : "x" , "{key}" :{value}, "z":0}}"#);
        let ours: Result<Wide, Error> = decode(Incoming::of(&scan(line.as_bytes()).unwrap()));
        let theirs = serde_json::from_str(&line).map_err(|error| without_position(&error));
        match (ours, theirs) {
            (Ok(ours), theirs) => assert_eq!(Ok(ours), theirs, "{line}"),
            (Err(ours), Ok::<Wide, _>(theirs)) => panic!("{line}: {ours}, but {theirs:?}"),
            (Err(ours), Err(theirs)) => {
                assert_eq!(ours.detail()["errors"][0]["msg"], theirs, "{line}");
            }
        }
    }
}

#[test]
fn unknown_fields_and_whole_floats_are_fine() {
    let it = read(r#"{"name":"a","count":7.0,"extra":[1,{"x":2}],"data":[[1]]}"#).unwrap();
    assert_eq!((it.name.as_str(), it.count, it.data.unwrap().get()), ("a", 7, "[[1]]"));
}

#[test]
fn r13_what_is_wrong_in_a_raw_field_is_named_with_its_path() {
    for (raw, loc) in [
        (r#"{"name":5}"#, "arguments.name"),
        (r#"{"name":"a","count":-1}"#, "arguments.count"),
        ("{}", "arguments"),
        ("[]", "arguments"),
    ] {
        let raw = RawJson::parse(raw.to_owned()).unwrap();
        let error = decode_field::<Sample>(&raw, "arguments").unwrap_err();
        assert_eq!(error.code().as_str(), "schema_violation");
        assert_eq!(error.detail()["errors"][0]["loc"], loc, "{raw:?}");
    }
    let raw = RawJson::parse(r#"{"name":"a","x":[]}"#.to_owned()).unwrap();
    assert_eq!(decode_field::<Sample>(&raw, "arguments").unwrap().name, "a");
}
