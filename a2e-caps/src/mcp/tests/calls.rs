//! Calls of tools: results, progress, cancel, deadlines.

use serde_json::{Value, json};

use super::{Set, call, failure, program, servers, text, tools, upstream, with};

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_server_are_tools_of_the_host() {
    let set = Set::up(json!({ "up": with("well", json!({ "name": "Upper" })) })).await;
    let mut session = set.host.session();
    let tools = tools(&mut session).await;
    let echo = &tools["up__echo"];
    assert_eq!(echo["description"], "[MCP:Upper] Says it again.");
    assert_eq!(echo["tags"], json!(["mcp", "up", "Upper", "read-only"]));
    assert_eq!(echo["streaming"], false);
    assert_eq!(echo["annotations"]["readOnlyHint"], true);
    assert_eq!(echo["input_schema"]["properties"]["text"]["type"], "string");
    assert_eq!(echo["input_parameters"][0]["name"], "text");
    // More than a page of them.
    assert!(tools.keys().filter(|it| it.starts_with("up__")).count() > 10);
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "grüß dich" })).await, "grüß dich");
    let data = call(&mut session, "up__typed", json!({ "a": 2, "b": 3 })).await;
    assert_eq!(data["data"], json!({ "sum": 5 }));
    let data = call(&mut session, "up__image", json!({})).await;
    assert_eq!(data["content"][1]["data"], "R0lGODlh");
    assert_eq!(data["data"]["text"], "a dot");
    let data = call(&mut session, "up__fail", json!({})).await;
    assert_eq!((&data["success"], &data["error"]), (&json!(false), &json!("no luck")));
    let error = failure(&mut session, "up__echo", json!({ "txt": 1 })).await;
    assert_eq!(error["code"], "schema_violation");
    let info = servers(&mut session).await["up"].clone();
    assert_eq!(
        (&info["status"], &info["server_name"], &info["mcp_version"], &info["transport"]),
        (&json!("ready"), &json!("upstream"), &json!("2025-06-18"), &json!("stdio"))
    );
    assert_eq!((&info["resources_count"], &info["prompts_count"]), (&json!(2), &json!(1)));
    assert_eq!(info["stderr"], json!(["begins as well"]));
    for (filter, count) in [("", 1), ("ready", 1), ("error", 0)] {
        let request = json!({ "status_filter": filter });
        let reply = session.call("mcp/server/list/req", request).await;
        assert_eq!(reply["servers"].as_array().unwrap().len(), count, "{filter}");
    }
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_in_order_and_a_cancel_is_passed_on() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    let request =
        json!({ "tool_name": "up__slow", "arguments": { "steps": 4 }, "streaming": true });
    session.send("tool/call/req", request).await;
    let mut told = Vec::new();
    let reply = loop {
        let line = session.next().await.unwrap();
        if line["type"] == "tool/event" {
            told.push((line["data"]["pct"].clone(), line["data"]["message"].clone()));
            continue;
        }
        break line;
    };
    assert_eq!(reply["data"]["data"]["text"], "done", "{reply}");
    let expected: Vec<(Value, Value)> =
        (1..5).map(|step| (json!(step * 25), json!(format!("step {step}")))).collect();
    assert_eq!(told, expected);

    let request = json!({ "tool_name": "up__slow", "arguments": { "steps": 2000 }, "timeout": 1 });
    let error = session.call_error("tool/call/req", request).await;
    assert_eq!(error, "timeout");
    // The server was told, and says so.
    super::until(&mut session, "up", |it| {
        let lines = it["stderr"].as_array().unwrap();
        lines.iter().any(|line| line.as_str().unwrap().starts_with("cancelled"))
    })
    .await;
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "after" })).await, "after");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_renames_and_fixed_arguments_are_the_operators() {
    let more = json!({
        "include": ["e*", "typed", "env"], "exclude": ["elicit"],
        "rename": { "echo": "say" },
        "fixed": { "typed": { "b": 40 } },
        "env": { "GREETING": "hi" }, "cwd": "/",
    });
    let set = Set::up(json!({ "up": with("well", more) })).await;
    let mut session = set.host.session();
    let tools = tools(&mut session).await;
    let names: Vec<&String> = tools.keys().filter(|it| it.starts_with("up__")).collect();
    assert_eq!(names, ["up__env", "up__say", "up__typed"]);
    assert_eq!(tools["up__typed"]["input_schema"]["required"], json!(["a"]));
    assert!(tools["up__typed"]["input_schema"]["properties"].get("b").is_none());
    assert_eq!(text(&mut session, "up__say", json!({ "text": "x" })).await, "x");
    let data = call(&mut session, "up__typed", json!({ "a": 2 })).await;
    assert_eq!(data["data"]["sum"], 42);
    let env: Value = serde_json::from_str(&text(&mut session, "up__env", json!({})).await).unwrap();
    assert_eq!((&env["env"]["GREETING"], &env["cwd"]), (&json!("hi"), &json!("/")));
    assert!(env["env"].get("CARGO").is_none(), "only what was named is inherited");
    for tool in ["up__echo", "up__elicit", "up__die"] {
        assert_eq!(failure(&mut session, tool, json!({})).await["code"], "unknown_tool");
    }
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_for_its_server_is_told_so() {
    let set = Set::up(json!({ "up": with("well", json!({ "timeout": 0.3 })) })).await;
    let mut session = set.host.session();
    let error = failure(&mut session, "up__never", json!({})).await;
    assert_eq!(error["code"], "mcp_server_unavailable");
    assert!(error["message"].as_str().unwrap().contains("within"), "{error}");
    assert_eq!(error["detail"]["server_id"], "up");
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    assert!(program().ends_with("upstream.py"));
    set.host.stop().await;
}
