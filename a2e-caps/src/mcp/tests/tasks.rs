//! Calls that a server makes tasks, in both eras.

use serde_json::{Value, json};

use super::{Set, failure, until, upstream};

/// The eras of the protocol.
const ERAS: [&str; 2] = ["well", "modern"];

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_waited_for_and_asks_meanwhile() {
    for era in ERAS {
        let set = Set::up(json!({ "up": upstream(era) })).await;
        let mut session = set.host.session();
        let request =
            json!({ "tool_name": "up__task", "arguments": { "how": "ask" }, "streaming": true });
        let id = session.send("tool/call/req", request).await;
        let mut told = Vec::new();
        let reply = loop {
            let line = session.next().await.unwrap();
            match line["type"].as_str().unwrap() {
                "tool/event" => told.push(line["data"]["message"].clone()),
                "mcp/elicit/req" => {
                    assert_eq!(line["message"], "sure?");
                    let content = json!({ "sure": true });
                    let answer =
                        json!({ "req_id": line["id"], "action": "accept", "content": content });
                    session.send("mcp/elicit/resp", answer).await;
                }
                _ => break line,
            }
        };
        assert_eq!(reply["req_id"], id, "{era}: {reply}");
        let text =
            reply["data"]["data"]["text"].as_str().unwrap_or_else(|| panic!("{era}: {reply}"));
        let expected = json!({ "action": "accept", "content": { "sure": true } });
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected, "{era}");
        // How far it is comes with the looks that the newer era takes.
        assert_eq!(told.first().cloned(), (era == "modern").then(|| json!("look 1")), "{told:?}");
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_or_is_not_waited_for_is_told_so() {
    for era in ERAS {
        let set = Set::up(json!({ "up": upstream(era) })).await;
        let mut session = set.host.session();
        let error = failure(&mut session, "up__task", json!({ "how": "fail" })).await;
        assert_eq!(error["code"], "mcp_protocol_error", "{era}: {error}");
        assert_eq!(error["detail"]["rpc_code"], -32050, "{era}: {error}");
        let request =
            json!({ "tool_name": "up__task", "arguments": { "how": "never" }, "timeout": 1 });
        assert_eq!(session.call_error("tool/call/req", request).await, "timeout", "{era}");
        until(&mut session, "up", |it| {
            let lines = it["stderr"].as_array().unwrap();
            lines.contains(&json!("cancelled never"))
        })
        .await;
        set.host.stop().await;
    }
}
