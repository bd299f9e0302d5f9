//! Questions of a server to the agent whose call it works on.

use serde_json::{Value, json};

use super::{Set, text, until, upstream};

/// Calls a tool, answers the question that comes, and gives the question and what the server was told.
async fn asked(mode: &str, tool: &str, answer: Value) -> (Value, Value) {
    let set = Set::up(json!({ "up": upstream(mode) })).await;
    let mut session = set.host.session();
    let request = json!({ "tool_name": tool, "arguments": {} });
    let id = session.send("tool/call/req", request).await;
    let question = session.next().await.unwrap();
    let mut answer = answer;
    answer["req_id"] = question["id"].clone();
    let wire = answer["type"].as_str().unwrap().to_owned();
    session.send(&wire, answer).await;
    let reply = session.next().await.unwrap();
    assert_eq!(reply["req_id"], id, "{reply}");
    let told = reply["data"]["data"]["text"].as_str().unwrap_or_else(|| panic!("{reply}"));
    let told = serde_json::from_str(told).unwrap();
    set.host.stop().await;
    (question, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_samples_through_the_agent() {
    let content = json!({ "type": "text", "text": "hi" });
    // The reference's client answers under the type of the question.
    for wire in ["mcp/sample/resp", "mcp/sample/req"] {
        let answer =
            json!({ "type": wire, "content": content, "model": "m", "stop_reason": "endTurn" });
        let (question, told) = asked("well", "up__sample", answer).await;
        assert_eq!(question["type"], "mcp/sample/req", "{question}");
        assert_eq!((&question["server_id"], &question["max_tokens"]), (&json!("up"), &json!(7)));
        assert_eq!(question["messages"][0]["content"]["text"], "say hi");
        assert_eq!(question["mcp_request_id"], "q0");
        let expected = json!({ "role": "assistant", "content": content, "model": "m", "stopReason": "endTurn" });
        assert_eq!(told, expected);
    }
    let refusal = json!({ "type": "mcp/sample/resp", "error": "no model here" });
    let (_, told) = asked("well", "up__sample", refusal).await;
    assert_eq!(told, json!({ "code": -32000, "message": "no model here" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_either_era_asks_the_user() {
    let answer =
        json!({ "type": "mcp/elicit/resp", "action": "accept", "content": { "sure": true } });
    let expected = json!({ "action": "accept", "content": { "sure": true } });
    let (question, told) = asked("well", "up__elicit", answer.clone()).await;
    assert_eq!(question["type"], "mcp/elicit/req", "{question}");
    assert_eq!((&question["mode"], &question["message"]), (&json!("form"), &json!("sure?")));
    assert_eq!(question["requested_schema"]["properties"]["sure"]["type"], "boolean");
    assert_eq!(told, expected);
    let (_, told) = asked("modern", "up__elicit", answer).await;
    assert_eq!(told, json!([{ "one": expected }, "s"]));
    let declined = json!({ "type": "mcp/elicit/resp", "action": "decline" });
    assert_eq!(asked("well", "up__elicit", declined).await.1, json!({ "action": "decline" }));
}

/// How the first of two calls of one server goes on, of which it asks something when the second has come.
enum First {
    /// It waits, in a session of its own.
    Waits,
    /// It was cancelled, in a session of its own.
    IsCancelled,
    /// It waits, in the session of the second.
    IsOfTheSame,
    /// It is a task, which is looked after now and then, in a session of its own.
    IsATask,
    /// The same, and it was cancelled.
    IsACancelledTask,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_never_goes_to_the_agent_of_another_session() {
    use First::{IsACancelledTask, IsATask, IsCancelled, IsOfTheSame, Waits};
    for first in [Waits, IsCancelled, IsOfTheSame, IsATask, IsACancelledTask] {
        let is_task = matches!(first, IsATask | IsACancelledTask);
        let mode = if is_task { "modern_pair" } else { "pair" };
        let set = Set::up(json!({ "up": upstream(mode) })).await;
        let mut one = set.host.session();
        let mut two = set.host.session();
        let request = |tool: &str| json!({ "tool_name": tool, "arguments": {} });
        let asks = if is_task {
            json!({ "tool_name": "up__task", "arguments": { "how": "late" } })
        } else {
            request("up__late")
        };
        let late = one.send("tool/call/req", asks).await;
        if matches!(first, IsCancelled | IsACancelledTask) {
            until(&mut two, "up", |it| it["status"] == "ready").await;
            // It has reached the server when a later one has.
            text(&mut one, "up__echo", json!({ "text": "x" })).await;
            one.send("cancel", json!({ "req_id": late })).await;
            assert_eq!(one.reply_to(&late).await["code"], "cancelled");
        }
        if matches!(first, IsOfTheSame) {
            one.send("tool/call/req", request("up__other")).await;
            let question = one.next().await.unwrap();
            assert_eq!(question["type"], "mcp/elicit/req", "{question}");
            let answer = json!({ "action": "decline", "req_id": question["id"] });
            one.send("mcp/elicit/resp", answer).await;
            assert!(one.reply_to(&late).await.to_string().contains("decline"));
        } else {
            let other = two.send("tool/call/req", request("up__other")).await;
            let reply = two.next().await.unwrap();
            assert_eq!(
                (&reply["req_id"], &reply["type"]),
                (&json!(other), &json!("tool/call/resp"))
            );
        }
        if matches!(first, Waits | IsATask) {
            let told = one.reply_to(&late).await.to_string();
            assert!(told.contains("no call is under way"), "{told}");
        }
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_the_roots_of_the_settings() {
    let roots = json!([{ "uri": "file:///srv", "name": "srv" }]);
    let settings = json!({ "servers": { "up": upstream("well") }, "roots": roots });
    let set = Set::with(settings).await;
    let mut session = set.host.session();
    let told = text(&mut session, "up__roots", json!({})).await;
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), json!({ "roots": roots }));
    let reply = session.call("mcp/root/list/req", json!({})).await;
    assert_eq!(reply["roots"], roots);
    // What else it asks is no method here.
    let told: Value =
        serde_json::from_str(&text(&mut session, "up__odd", json!({})).await).unwrap();
    assert_eq!(told["code"], -32601, "{told}");
    set.host.stop().await;
}
