//! `approve`: what rules fit, and what is refused with its place.

use crate::config::tests::{good, load};
use crate::config::{ApproveRule, Named};

inventory::submit! {
    Named {
        one: "robot",
        many: "robots",
        request: "robot/move/req",
        name: "robot_name",
        arguments: "way",
        list: "robot/list/resp",
        items: "robots",
        item_name: "name",
    }
}

fn rule(text: &str) -> ApproveRule {
    good(&format!("approve: [{text}]")).approve.remove(0)
}

#[test]
fn a_call_waits_when_type_name_and_arguments_fit() {
    let deep =
        format!(r#"{{"robot_name":"r2","way":{{"to":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (text, wire_type, line, takes, asks) in [
        ("{type: '*'}", "any/req", "{}", true, true),
        ("{type: proc/spawn/req}", "proc/spawn/req", r#"{"cmd":["ls"]}"#, true, true),
        ("{type: proc/*}", "tool/call/req", "{}", false, false),
        ("{robot: 'r*'}", "robot/move/req", r#"{"robot_name":"r2"}"#, true, true),
        ("{robot: 'r*'}", "robot/move/req", r#"{"robot_name":"\u0072x"}"#, true, true),
        ("{robot: 'r*'}", "robot/move/req", r#"{"robot_name":"c3"}"#, true, false),
        ("{robot: 'r*'}", "robot/move/req", r"{}", true, false),
        ("{robot: 'r*'}", "robot/stop/req", r#"{"robot_name":"r2"}"#, false, true),
        // Read by one as the first, by another as the last.
        ("{robot: 'r*'}", "robot/move/req", r#"{"robot_name":"r2","robot_name":"c3"}"#, true, true),
        (
            "{robot: 'r*'}",
            "robot/move/req",
            r#"{"robot_name":"c3","robot\u005fname":"c4"}"#,
            true,
            true,
        ),
        (
            "{robot: r2, arguments: {to: '/etc/*'}}",
            "robot/move/req",
            r#"{"robot_name":"r2","way":{"to":"/etc/x"}}"#,
            true,
            true,
        ),
        (
            "{robot: r2, arguments: {to: '/etc/*'}}",
            "robot/move/req",
            r#"{"robot_name":"r2","way":{"to":"/tmp"}}"#,
            true,
            false,
        ),
        (
            "{robot: r2, arguments: {to: '/etc/*'}}",
            "robot/move/req",
            r#"{"robot_name":"r2","way":{"to":"/tmp","to":"/srv"}}"#,
            true,
            true,
        ),
        (
            "{robot: r2, arguments: {to: '/etc/*'}}",
            "robot/move/req",
            r#"{"robot_name":"r2","to":"/etc/x"}"#,
            true,
            false,
        ),
        ("{robot: r2, arguments: {to: '/etc/*'}}", "robot/move/req", deep.as_str(), true, true),
        (
            "{robot: r2, arguments: {a.b: '5*'}}",
            "robot/move/req",
            r#"{"robot_name":"r2","way":{"a":{"b":52}}}"#,
            true,
            true,
        ),
        (
            "{type: '*', arguments: {cmd: '*\"rm\"*'}}",
            "proc/spawn/req",
            r#"{"cmd": [ "sh", "r\u006d" ]}"#,
            true,
            true,
        ),
        ("{type: '*', arguments: {force: true}}", "x/req", r#"{"force":true}"#, true, true),
        ("{type: '*', arguments: {force: true}}", "x/req", r#"{"force":false}"#, true, false),
        ("{type: '*', arguments: {force: '*'}}", "x/req", "{}", true, false),
    ] {
        let rule = rule(text);
        assert_eq!(rule.takes(wire_type), takes, "{text} {wire_type}");
        if takes {
            assert_eq!(rule.asks_for(wire_type, line), asks, "{text} {line}");
        }
    }
    assert_eq!(rule("{type: a/*, robot: r2}").name, "approve[0]: a/* r2");
}

#[test]
fn what_is_wrong_with_a_rule_is_told_with_its_place() {
    for (list, expected) in [
        ("5", "approve: expected a list"),
        ("{type: x}", "approve: expected a list"),
        ("[5]", "approve[0]: expected a map"),
        ("[{}]", "approve[0]: missing key \"type\""),
        ("[{arguments: {a: b}}]", "approve[0]: missing key \"type\""),
        ("[{type: ''}]", "approve[0].type: must not be empty"),
        ("[{type: 5}]", "approve[0].type: expected a text"),
        ("[{type: x, robt: y}]", "did you mean \"robot\"?"),
        ("[{type: x, arguments: y}]", "approve[0].arguments: expected a map"),
        ("[{type: x, arguments: {a: [b]}}]", "approve[0].arguments.a: expected a pattern"),
    ] {
        let errors = load(&format!("approve: {list}")).expect_err(list).to_string();
        assert!(errors.contains(expected), "{list}: {errors}");
    }
}
