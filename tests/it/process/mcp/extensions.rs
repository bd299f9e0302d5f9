//! Extensions of MCP over stdio: tasks and skills.

use serde_json::{Value, json};

use super::{Client, FIXTURE, modern};
use crate::process::support::program::{PATIENCE, Place, now, until};

const CONFIG: &str = "
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: skills, type: skill, cls: a2e.caps.skills.plugin.SkillPlugin, metadata: {roots: [\"{}/skills\"]}}
mcp_server: {task_after_s: 0.2, call_timeout_s: 5, task_ttl_s: 600}
audit: {enabled: true, path: '{}/audit.jsonl'}
";

/// A client of the newest revision that knows tasks, and answers questions.
fn knowing(params: Value) -> Value {
    let tasks = json!({ "io.modelcontextprotocol/tasks": {} });
    modern(params, json!({ "extensions": tasks, "elicitation": {} }))
}

struct Tasks {
    client: Client,
    next: u64,
}

impl Tasks {
    fn start(place: &Place) -> Self {
        Self { client: Client::start(FIXTURE, &place.config(CONFIG)), next: 0 }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        self.client.ask(self.next, method, knowing(params))
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        answer["result"].clone()
    }

    fn look(&mut self, task: &Value) -> Value {
        let answer = self.ask("tasks/get", json!({ "taskId": task["taskId"] }));
        answer["result"].clone()
    }

    /// Looks until a task stands there.
    fn until(&mut self, task: &Value, status: &str) -> Value {
        let start = now();
        loop {
            let seen = self.look(task);
            if seen["status"] == status {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "never {status}: {seen}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn a_call_that_takes_long_is_a_task_and_ends_as_one() {
    let place = Place::new();
    let mut tasks = Tasks::start(&place);
    // What is done at once is no task.
    let plain = tasks.call("greet", json!({ "name": "Ada" }));
    assert_eq!(plain["content"][0]["text"], "Hello, Ada!", "{plain}");
    // The tool says so; no tool has to.
    let said = tasks.call("slow_compute", json!({ "seconds": 0.05, "label": "x" }));
    let slow = tasks.call("sleep", json!({ "ms": 800 }));
    for task in [&said, &slow] {
        assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")));
        assert_eq!(task["ttlMs"], 600_000, "{task}");
        let done = tasks.until(task, "completed");
        assert_eq!(done["result"]["isError"], false, "{done}");
    }
    assert_eq!(tasks.look(&said)["statusMessage"], "computing x");
    // A failure of the tool is a result; what is broken is not.
    let failing = tasks.call("failing_job", json!({}));
    assert_eq!(tasks.until(&failing, "completed")["result"]["isError"], true);
    let broken = tasks.call("protocol_error_job", json!({}));
    assert_eq!(tasks.until(&broken, "failed")["error"]["code"], -32603);
    // Those who do not know tasks wait, or are told what they lack.
    let waits = json!({ "name": "slow_compute", "arguments": { "seconds": 0.5 } });
    let waited = tasks.client.ask(900, "tools/call", modern(waits, json!({})));
    assert_eq!(waited["result"]["content"][0]["text"], "computed ", "{waited}");
    let lacks = json!({ "name": "failing_job", "arguments": {} });
    let refused = tasks.client.ask(901, "tools/call", modern(lacks, json!({})));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let needed = &refused["error"]["data"]["requiredCapabilities"]["extensions"];
    assert_eq!(*needed, json!({ "io.modelcontextprotocol/tasks": {} }), "{refused}");
    // None, and methods that went with the older form.
    for (method, code) in [("tasks/get", -32602), ("tasks/cancel", -32602), ("tasks/list", -32601)]
    {
        let none = tasks.ask(method, json!({ "taskId": "none" }));
        assert_eq!(none["error"]["code"], code, "{method}: {none}");
    }
    tasks.client.end();
}

#[test]
fn a_task_that_is_cancelled_ends_its_call() {
    let place = Place::new();
    let mut tasks = Tasks::start(&place);
    let task = tasks.call("slow_compute", json!({ "seconds": 500 }));
    assert_eq!(tasks.look(&task)["status"], "working");
    for _ in 0..2 {
        let ack = tasks.ask("tasks/cancel", json!({ "taskId": task["taskId"] }));
        assert_eq!(ack["result"], json!({ "resultType": "complete" }), "{ack}");
    }
    tasks.until(&task, "cancelled");
    until(PATIENCE, "the call is cancelled in the host", || {
        let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap_or_default();
        audit.lines().any(|it| it.contains("slow_compute") && it.contains("cancelled"))
    });
    tasks.client.end();
}

#[test]
fn a_task_asks_until_it_has_all_answers() {
    let place = Place::new();
    let mut tasks = Tasks::start(&place);
    let task = tasks.call("multi_input", json!({}));
    let asked = tasks.until(&task, "input_required");
    let keys = |task: &Value| -> Vec<String> {
        task["inputRequests"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&asked), ["first", "second"]);
    assert_eq!(asked["inputRequests"]["first"]["method"], "elicitation/create");
    let mut answer = |key: &str, content: Value| {
        let answers = json!({ key: { "action": "accept", "content": content }, "none": 5 });
        let update = json!({ "taskId": task["taskId"], "inputResponses": answers });
        let ack = tasks.ask("tasks/update", update);
        assert_eq!(ack["result"]["resultType"], "complete", "{ack}");
        tasks.look(&task)
    };
    // An answer of another form is none.
    let wrong = answer("third", json!({}));
    assert_eq!(keys(&wrong), ["first", "second"]);
    assert_eq!(keys(&answer("first", json!({ "confirm": true }))), ["second"]);
    answer("second", json!({ "confirm": true, "again": true }));
    // The same question once more, under a key that is new.
    let again = tasks.until(&task, "input_required");
    let key = keys(&again).remove(0);
    assert_ne!(key, "first");
    let answers = json!({ key: { "action": "decline" } });
    tasks.ask("tasks/update", json!({ "taskId": task["taskId"], "inputResponses": answers }));
    let done = tasks.until(&task, "completed");
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("confirm"), "{done}");
    // Asked first, a task then.
    let asked = tasks.call("test_tool_with_task", json!({}));
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let again = json!({
        "name": "test_tool_with_task", "arguments": {}, "requestState": asked["requestState"],
        "inputResponses": { "user_name": { "action": "accept", "content": { "name": "Ada" } } },
    });
    let task = tasks.ask("tools/call", again)["result"].clone();
    let done = tasks.until(&task, "completed");
    assert_eq!(done["result"]["content"][0]["text"], "Hello, Ada!", "{done}");
    tasks.client.end();
}

#[test]
fn a_session_of_the_older_era_is_told_of_its_tasks() {
    let place = Place::new();
    let mut client = Client::start(FIXTURE, &place.config(CONFIG));
    let known = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let hello = client.initialize("2025-11-25", known);
    let extensions = &hello["result"]["capabilities"]["extensions"];
    assert!(extensions["io.modelcontextprotocol/tasks"].is_object(), "{hello}");
    let made = client.call(2, "slow_compute", json!({ "seconds": 0.3 }));
    let task = made["result"]["taskId"].clone();
    assert!(task.is_string(), "{made}");
    let told = loop {
        let message = client.next();
        if message["method"] == "notifications/tasks" {
            break message["params"].clone();
        }
    };
    assert_eq!((&told["taskId"], &told["status"]), (&task, &json!("completed")), "{told}");
    assert_eq!(told["result"]["content"][0]["text"], "computed ");
    client.end();
}

#[test]
fn tasks_are_bounded_and_one_more_is_waited_for() {
    let place = Place::new();
    let mut tasks = Tasks::start(&place);
    let mut made = Vec::new();
    for _ in 0..128 {
        let task = tasks.call("slow_compute", json!({ "seconds": 500 }));
        assert_eq!(task["resultType"], "task", "{task}");
        made.push(task);
    }
    let waited = tasks.call("slow_compute", json!({ "seconds": 0.5 }));
    assert_eq!(waited["content"][0]["text"], "computed ", "{waited}");
    let refused = tasks.call("failing_job", json!({}));
    assert!(refused["content"][0]["text"].as_str().unwrap().contains("overloaded"), "{refused}");
    tasks.client.end();
}

#[test]
fn skills_are_resources_with_a_manifest_and_prompts() {
    let place = Place::new();
    let skill = place.path("skills/greet");
    std::fs::create_dir_all(skill.join("more")).unwrap();
    let text = "---\nname: greet\ndescription: Greets.\nlicense: MIT\n---\nGreet {args} kindly.\n";
    std::fs::write(skill.join("SKILL.md"), text).unwrap();
    std::fs::write(skill.join("more/words.txt"), "hello").unwrap();
    std::fs::write(skill.join(".hidden"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", skill.join("link")).unwrap();
    let odd = place.path("skills/odd");
    std::fs::create_dir_all(&odd).unwrap();
    std::fs::write(odd.join("SKILL.md"), "---\nname: Odd One\ndescription: d\n---\nx").unwrap();
    let mut tasks = Tasks::start(&place);
    let listed = tasks.ask("skills/list", json!({}))["result"].clone();
    let skills = listed["skills"].as_array().unwrap_or_else(|| panic!("{listed}"));
    // The other's name is none that the extension takes.
    assert_eq!(skills.len(), 1, "{listed}");
    let uri = "skill://greet/SKILL.md";
    assert_eq!(
        (&skills[0]["uri"], &skills[0]["frontmatter"]["license"]),
        (&json!(uri), &json!("MIT"))
    );
    let files = skills[0]["resources"].as_array().unwrap();
    let named: Vec<(&str, u64)> = files
        .iter()
        .map(|it| (it["uri"].as_str().unwrap(), it["size"].as_u64().unwrap()))
        .collect();
    let size = u64::try_from(text.len()).unwrap();
    assert_eq!(named, [(uri, size), ("skill://greet/more/words.txt", 5)]);
    let hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(files[1]["digest"], hello);
    let one = tasks.ask("skills/get", json!({ "uri": uri }));
    assert_eq!(one["result"]["skill"], skills[0], "{one}");
    let none = tasks.ask("skills/get", json!({ "uri": "skill://none/SKILL.md" }));
    assert_eq!(none["error"]["code"], -32602, "{none}");
    for (uri, expected) in [(uri, text), ("skill://greet/more/words.txt", "hello")] {
        let read = tasks.ask("resources/read", json!({ "uri": uri }));
        assert_eq!(read["result"]["contents"][0]["text"], expected, "{read}");
    }
    for uri in [
        "skill://greet/link",
        "skill://greet/.hidden",
        "skill://greet/../odd/SKILL.md",
        "skill://greet/more",
    ] {
        let read = tasks.ask("resources/read", json!({ "uri": uri }));
        assert_eq!(read["error"]["code"], -32602, "{uri}: {read}");
    }
    let resources = tasks.ask("resources/list", json!({}))["result"]["resources"].to_string();
    assert!(
        resources.contains(uri) && resources.contains("skill://Odd%20One/SKILL.md"),
        "{resources}"
    );
    // For clients that know no skills.
    let prompt = json!({ "name": "greet", "arguments": { "args": "Ada" } });
    let prompt = tasks.ask("prompts/get", prompt);
    let content = &prompt["result"]["messages"][0]["content"];
    assert_eq!(content["text"], "Greet Ada kindly.", "{prompt}");
    let prompts = tasks.ask("prompts/list", json!({}))["result"]["prompts"].to_string();
    assert!(prompts.contains("\"greet\""), "{prompts}");
    tasks.client.end();
}
