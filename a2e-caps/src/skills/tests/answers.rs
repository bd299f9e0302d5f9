//! Discovery and texts, field by field, and what is refused.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_is_described_as_the_protocol_says() {
    let folder = tempfile::tempdir().unwrap();
    skill(
        folder.path(),
        "pdf",
        "name: pdf\ndescription: Reads PDF files.\nallowed-tools: Read Bash\nversion: 1.2.0\ntags: [doc]\n\
         category: files\nargument-hint: a path\ntriggers: [pdf]\nmetadata: {author: acme}",
        "Secret text.",
    );
    file(folder.path(), "greet/skill.md", "---\ndescription: Greets.\n---\nHello {args}");
    let host = host(&[folder.path()], json!({})).await;
    let mut session = host.session();
    let reply = session.call("skill/discover/req", json!({})).await;
    let skills = reply["skills"].as_array().unwrap();
    let [greet, pdf] = &skills[..] else { panic!("{reply}") };
    assert_eq!(
        pdf,
        &json!({
            "name": "pdf", "version": "1.2.0", "description": "Reads PDF files.", "triggers": ["pdf"],
            "status": "Published", "when_to_use": "Reads PDF files.", "argument_hint": "a path",
            "source": "filesystem", "tools": ["Read", "Bash"], "category": "files", "tags": ["doc"],
            "input_schema": { "type": "object", "properties": { "args": { "type": "string" } } },
            "output_schema": {}, "arguments": null, "metadata": { "author": "acme" },
            "file_path": folder.path().join("pdf/SKILL.md"),
        })
    );
    assert_eq!((&greet["name"], &greet["version"]), (&json!("greet"), &json!("1.0.0")));
    assert_eq!(greet["argument_hint"], "args: string");
    for skill in skills {
        assert!(
            !skill["arguments"].is_object() && !skill.to_string().contains("Secret"),
            "{skill}"
        );
    }
    for (filter, expected) in [
        (json!({ "filter_tags": ["doc", "x"] }), &["pdf"][..]),
        (json!({ "filter_tags": ["x"] }), &[]),
        (json!({ "filter_categories": ["files"] }), &["pdf"]),
        (json!({ "filter_tags": ["doc"], "filter_categories": ["other"] }), &[]),
    ] {
        assert_eq!(names(&mut session, filter.clone()).await, expected, "{filter}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_given_with_its_arguments_and_events() {
    let folder = tempfile::tempdir().unwrap();
    skill(
        folder.path(),
        "a",
        "name: greet\ndescription: d",
        "Greet {args}, then $ARGUMENTS. {other}",
    );
    skill(folder.path(), "b", "name: hidden\ndescription: d\nuser_only: true", "Only for users.");
    let host = host(&[folder.path()], json!({})).await;
    let mut session = host.session();
    assert_eq!(
        names(&mut session, json!({})).await,
        ["greet"],
        "what only users call is not shown"
    );
    for (arguments, expected) in [
        (json!({ "args": "Ada" }), "Greet Ada, then Ada. {other}"),
        (json!({}), "Greet , then . {other}"),
        (json!({ "args": [1, 2], "other": 3 }), "Greet [1,2], then [1,2]. {other}"),
    ] {
        let reply = call(&mut session, "greet", arguments).await;
        assert_eq!((&reply["type"], &reply["name"]), (&json!("skill/call/resp"), &json!("greet")));
        let data = &reply["data"];
        assert_eq!(data["data"], json!({ "prompt": expected, "tools": {} }));
        let said = (&data["success"], &data["error"], &data["truncated"], &reply["error"]);
        assert_eq!(said, (&json!(true), &json!(null), &json!(false), &json!(null)));
        assert!(data["duration_ms"].is_u64() && reply["created_at"].is_number());
        let kinds = [
            "skill.started",
            "skill.preparing",
            "skill.prompt.ready",
            "llm.skipped",
            "skill.completed",
        ];
        for (seq, kind) in kinds.into_iter().enumerate() {
            let event = session.next().await.unwrap();
            assert_eq!((&event["type"], &event["kind"]), (&json!("skill/event"), &json!(kind)));
            assert_eq!((&event["seq"], &event["req_id"]), (&json!(seq), &reply["req_id"]));
            assert_eq!(event["data"]["skill"], "greet");
            assert!(event["data"]["ts"].is_number());
            let kept = &data["events"][seq];
            assert_eq!(
                (&kept["kind"], &kept["seq"], &kept["data"]),
                (&event["kind"], &event["seq"], &event["data"])
            );
        }
    }
    let quiet = json!({ "name": "hidden", "streaming": false });
    let reply = session.call("skill/call/req", quiet).await;
    assert_eq!(reply["data"]["data"]["prompt"], "Only for users.");
    assert!(session.others().is_empty(), "no events where none are wanted");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    skill(folder.path(), "a", "name: a\ndescription: d", "{args}");
    skill(folder.path(), "report", "name: report\ndescription: d", "");
    skill(folder.path(), "hidden", "name: hidden\ndescription: d\nuser_only: true", "");
    let host = host(&[folder.path()], json!({})).await;
    let mut session = host.session();
    for (wire_type, body, loc) in [
        ("skill/discover/req", json!({ "filter_tags": "x" }), "filter_tags"),
        ("skill/discover/req", json!({ "filter_tags": [1] }), "filter_tags[0]"),
        ("skill/discover/req", json!({ "filter_categories": null }), "filter_categories"),
        ("skill/call/req", json!({ "name": 1 }), "name"),
        ("skill/call/req", json!({ "name": "a", "arguments": [] }), "arguments"),
        ("skill/call/req", json!({ "name": "a", "arguments": null }), "arguments"),
        ("skill/call/req", json!({ "name": "a", "streaming": "no" }), "streaming"),
        ("skill/call/req", json!({ "name": "a", "metadata": 1 }), "metadata"),
    ] {
        let reply = session.call(wire_type, body.clone()).await;
        assert_eq!(reply["code"], "schema_violation", "{body}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{body}: {reply}");
    }
    for (name, args, code) in [
        ("nobody", json!("x"), "unknown_skill"),
        ("", json!("x"), "unknown_skill"),
        ("../a", json!("x"), "unknown_skill"),
        ("a", json!("x".repeat(3 << 20)), "skill_error"),
    ] {
        let reply = call(&mut session, name, json!({ "args": args })).await;
        assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!(code)), "{name}");
        assert_eq!(reply["capability_name"], "skill");
    }
    for (name, meant) in [("reprot", Some("report")), ("hiddn", None)] {
        let reply = call(&mut session, name, json!({})).await;
        assert_eq!(reply["code"], "unknown_skill", "{reply}");
        assert_eq!(reply["detail"]["nearest"].as_str(), meant, "{reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_roots_win_and_what_is_no_skill_is_left_out() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    skill(first.path(), "a/b/c", "name: deep\ndescription: d", "deep");
    skill(first.path(), "a", "name: same\ndescription: first", "first");
    skill(first.path(), "x/1/2/3/4/5/6", "name: too-deep\ndescription: d", "");
    skill(first.path(), ".git/hooks", "name: hook\ndescription: d", "");
    skill(first.path(), "no-description", "name: n", "");
    file(first.path(), "broken/SKILL.md", "no block");
    file(
        first.path(),
        "large/SKILL.md",
        &format!("---\nname: large\ndescription: d\n---\n{}", "x".repeat(5000)),
    );
    fs::create_dir(first.path().join("no-text")).unwrap();
    fs::write(first.path().join("no-text/SKILL.md"), b"---\nname: \xff\n---\n").unwrap();
    std::os::unix::fs::symlink(first.path(), first.path().join("loop")).unwrap();
    skill(second.path(), "z", "name: same\ndescription: second", "second");
    file(second.path(), "SKILL.md/not-a-file", "");
    let missing = first.path().join("missing");
    let roots = [first.path(), missing.as_path(), second.path()];
    let host = host(&roots, json!({ "max_skill_bytes": 4000 })).await;
    let mut session = host.session();
    // A skill's own folders are not looked through, so `deep`, below `a`, is none.
    assert_eq!(names(&mut session, json!({})).await, ["same"]);
    let reply = call(&mut session, "same", json!({})).await;
    assert_eq!(reply["data"]["data"]["prompt"], "second");
    host.stop().await;
}
