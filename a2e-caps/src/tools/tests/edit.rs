//! `edit_file`: exact and counted, all or nothing, never out of a root.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::{Value, json};

use super::{failure, names, result, start, tools};

fn edit(path: &str, edits: Value) -> Value {
    json!({ "path": path, "edits": edits })
}

#[tokio::test]
async fn edits_change_what_they_name_and_show_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for (old, edits, new, diff) in [
        (
            "a\nb\nc\n",
            json!([{ "old": "b", "new": "B" }]),
            "a\nB\nc\n",
            "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n",
        ),
        (
            "x x\ny\n",
            json!([{ "old": "x", "new": "é", "count": 2.0 }, { "old": "y\n", "new": "" }]),
            "é é\n",
            "@@ -1,2 +1,1 @@\n-x x\n-y\n+é é\n",
        ),
        (
            "a b",
            json!([{ "old": "a", "new": "b" }, { "old": "b", "new": "a" }]),
            "b a",
            "@@ -1,1 +1,1 @@\n-a b\n\\ No newline at end of file\n+b a\n\\ No newline at end of file\n",
        ),
        ("gone\r\n", json!([{ "old": "gone\r\n", "new": "" }]), "", "@@ -1,1 +0,0 @@\n-gone\r\n"),
    ] {
        fs::write(&path, old).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o740)).unwrap();
        let it = result(&mut session, "edit_file", edit("f", edits.clone())).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), new, "{edits}");
        assert_eq!(it["data"]["diff"], diff, "{edits}");
        assert_eq!(it["data"]["bytes"], new.len());
        let count = |it: &Value| it["count"].as_f64().unwrap_or(1.0);
        let count: f64 = edits.as_array().unwrap().iter().map(count).sum();
        assert_eq!(it["data"]["replacements"].as_f64(), Some(count));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o740);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
    host.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let text = "one\n  two\nthree two\n";
    fs::write(folder.path().join("f"), text).unwrap();
    fs::write(folder.path().join("bytes"), [0xff, b'a']).unwrap();
    fs::write(folder.path().join("big"), "x".repeat((16 << 20) + 1)).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let inode = fs::metadata(folder.path().join("f")).unwrap().ino();
    let huge = json!([{ "old": "o", "new": "y".repeat(6 << 20), "count": 3 }]);
    for (path, edits, code, part) in [
        (
            "f",
            json!([{ "old": "one", "new": "1" }, { "old": "two", "new": "2" }]),
            "tool_error",
            "edit 1 expects 1 of \"two\" and there is 2, in lines 2, 3",
        ),
        ("f", json!([{ "old": "two", "new": "2", "count": 3 }]), "tool_error", "expects 3"),
        ("f", json!([{ "old": "four", "new": "4" }]), "tool_error", "there is none"),
        (
            "f",
            json!([{ "old": "two\n  three", "new": "" }]),
            "tool_error",
            "its first line is in line 2, 3: compare blanks",
        ),
        (
            "f",
            json!([{ "old": "one\n ", "new": "" }, { "old": "  two", "new": "" }]),
            "tool_error",
            "edits 0 and 1 overlap in line 2",
        ),
        ("f", json!([]), "schema_violation", "1 to 100 edits"),
        ("f", json!([{ "old": "", "new": "x" }]), "schema_violation", "arguments.edits[0].old"),
        ("f", json!([{ "old": "one", "new": "one" }]), "schema_violation", "the same as `old`"),
        ("f", json!([{ "old": "one", "new": "x", "count": 0 }]), "schema_violation", "count"),
        ("f", json!([{ "old": "one" }]), "schema_violation", "edits[0]"),
        ("f", json!({ "old": "one", "new": "1" }), "schema_violation", "expected array"),
        ("f", huge, "tool_error", "that may be"),
        ("nope", json!([{ "old": "a", "new": "b" }]), "tool_error", "not there"),
        ("sub", json!([{ "old": "a", "new": "b" }]), "tool_error", "it is a folder"),
        ("..", json!([{ "old": "a", "new": "b" }]), "tool_error", "it is a folder"),
        ("bytes", json!([{ "old": "a", "new": "b" }]), "tool_error", "no UTF-8 text (byte 0)"),
        ("big", json!([{ "old": "a", "new": "b" }]), "tool_error", "that may be"),
    ] {
        let error = failure(&mut session, "edit_file", edit(path, edits)).await;
        assert_eq!(error["code"], code, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{part}: {error}");
    }
    let many = json!([{ "old": "two", "new": "2" }, { "old": "x", "new": "y" }]);
    let error = failure(&mut session, "edit_file", edit("f", many)).await;
    let expected = json!([
        { "edit": 0, "expected": 1, "found": 2, "lines": [2, 3] },
        { "edit": 1, "expected": 1, "found": 0, "lines": [] },
    ]);
    assert_eq!(error["detail"]["mismatches"], expected, "every mismatch is told at once");
    assert_eq!(fs::read_to_string(folder.path().join("f")).unwrap(), text);
    assert_eq!(fs::metadata(folder.path().join("f")).unwrap().ino(), inode);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    host.stop().await;
}

#[tokio::test]
async fn an_edit_never_leaves_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("in");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    fs::write(root.join("f"), "fine").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    symlink("f", root.join("inside")).unwrap();
    symlink("..", root.join("up")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let plugin = tools("tools", &[&root]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let edits = json!([{ "old": "e", "new": "E", "count": 1 }]);
    let absolute = root.join("f").to_string_lossy().into_owned();
    for path in ["../secret", "link", "inside", "up/secret", "fifo", &absolute] {
        let error = failure(&mut session, "edit_file", edit(path, edits.clone())).await;
        assert_eq!(error["code"], "tool_denied", "{path}: {error}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "fine");
    host.stop().await;
}

#[tokio::test]
async fn editing_is_denied_unless_writing_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "a").unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    assert!(!names(&mut session, json!({})).await.contains(&"edit_file".to_owned()));
    let edits = json!([{ "old": "a", "new": "b" }]);
    let error = failure(&mut session, "edit_file", edit("f", edits)).await;
    assert_eq!(
        (&error["code"], &error["detail"]["setting"]),
        (&json!("tool_denied"), &json!("allow_write"))
    );
    assert_eq!(fs::read_to_string(folder.path().join("f")).unwrap(), "a");
    host.stop().await;
}

#[tokio::test]
async fn edits_of_one_file_at_a_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..24).map(|it| format!("<{it}>")).collect();
    fs::write(folder.path().join("f"), words.join("\n")).unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let mut left: Vec<&String> = words.iter().collect();
    while !left.is_empty() {
        let mut ids = Vec::new();
        for word in &left {
            let arguments = edit("f", json!([{ "old": word, "new": "done" }]));
            ids.push((
                *word,
                session.send("tool/call/req", super::call("edit_file", arguments)).await,
            ));
        }
        let before = left.len();
        for (word, id) in ids {
            let reply = session.reply_to(&id).await;
            if reply["type"] == "tool/call/resp" {
                left.retain(|it| *it != word);
            } else {
                assert!(reply["message"].as_str().unwrap().contains("meanwhile"), "{reply}");
                assert_eq!(reply["retryable"], true);
            }
        }
        assert!(left.len() < before, "the first of them always succeeds");
    }
    let text = fs::read_to_string(folder.path().join("f")).unwrap();
    assert_eq!(text, ["done"; 24].join("\n"), "every edit that was answered is there");
    host.stop().await;
}
