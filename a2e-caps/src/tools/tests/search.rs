//! `glob` and `grep`: what they find, what they leave out, where they end.
#![cfg(all(unix, feature = "search"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{call, failure, result, start, tools};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A tree with rules, hidden files, a binary one and links that lead out.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("in");
    write(
        &root,
        &[
            (".gitignore", "*.log\n/build/\n!keep.log\n"),
            (".hidden", "needle"),
            (".git/config", "needle"),
            ("a.rs", "fn needle() {}\nlet x = 1;\n"),
            ("b.log", "needle"),
            ("keep.log", "a needle\n"),
            ("build/out.rs", "needle"),
            ("sub/.gitignore", "secret*\n!b.log\n"),
            ("sub/.ignore", "c.txt\n"),
            ("sub/b.log", "Needle\nneedle needle\n"),
            ("sub/c.txt", "needle"),
            ("sub/secret.txt", "needle"),
            ("sub/build/d.txt", "needle"),
            ("sub/deep/er/x.rs", "one\ntwo\nneedle\nfour\nneedle\nsix\n"),
        ],
    );
    fs::write(root.join("binary"), b"needle\0needle").unwrap();
    write(folder.path(), &[("out/secret", "needle")]);
    symlink("../out", root.join("out")).unwrap();
    symlink("../out/secret", root.join("secret")).unwrap();
    symlink(".", root.join("sub/loop")).unwrap();
    folder
}

fn paths(it: &Value) -> Vec<&str> {
    it["data"]["paths"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

#[tokio::test]
async fn globs_find_what_is_neither_hidden_nor_ignored() {
    let folder = tree();
    let (host, mut session) = start([tools("tools", &[&folder.path().join("in")])]).await;
    for (arguments, expected) in [
        (json!({ "pattern": "*.rs" }), &["a.rs", "sub/deep/er/x.rs"][..]),
        (json!({ "pattern": "./*.rs" }), &["a.rs", "sub/deep/er/x.rs"]),
        (json!({ "pattern": "sub/*.rs" }), &[]),
        (json!({ "pattern": "sub/**/*.rs" }), &["sub/deep/er/x.rs"]),
        (json!({ "pattern": "**/*.{log,txt}" }), &["keep.log", "sub/b.log", "sub/build/d.txt"]),
        (json!({ "pattern": "[ab].*" }), &["a.rs", "sub/b.log"]),
        (
            json!({ "pattern": "*.txt", "ignored": true }),
            &["sub/build/d.txt", "sub/c.txt", "sub/secret.txt"],
        ),
        (json!({ "pattern": "build", "kind": "dir" }), &["sub/build/"]),
        (json!({ "pattern": "d*", "kind": "any" }), &["sub/build/d.txt", "sub/deep/"]),
        (
            json!({ "pattern": ".*", "hidden": true }),
            &[".gitignore", ".hidden", "sub/.gitignore", "sub/.ignore"],
        ),
        (json!({ "pattern": "config", "hidden": true, "ignored": true }), &[".git/config"]),
        (json!({ "pattern": "*.log", "path": "sub" }), &["sub/b.log"]),
        (json!({ "pattern": "er/*", "path": "sub/deep" }), &["sub/deep/er/x.rs"]),
        (json!({ "pattern": "*", "path": "sub/../sub/deep/er" }), &["sub/deep/er/x.rs"]),
        // It leads out: a link, but no file.
        (json!({ "pattern": "secret" }), &[]),
        (json!({ "pattern": "secret", "kind": "any" }), &["secret"]),
        (json!({ "pattern": "no such" }), &[]),
    ] {
        let it = result(&mut session, "glob", arguments.clone()).await;
        assert_eq!(paths(&it), expected, "{arguments}");
        assert_eq!(it["truncated"], false);
    }
    host.stop().await;
}

/// `path:line:column` of every match.
fn places(it: &Value) -> Vec<String> {
    let place =
        |it: &Value| format!("{}:{}:{}", it["path"].as_str().unwrap(), it["line"], it["column"]);
    it["data"]["matches"].as_array().unwrap().iter().map(place).collect()
}

#[tokio::test]
async fn grep_finds_lines_with_their_places() {
    let folder = tree();
    let (host, mut session) = start([tools("tools", &[&folder.path().join("in")])]).await;
    for (arguments, expected) in [
        (
            json!({ "pattern": "needle" }),
            &[
                "a.rs:1:4",
                "keep.log:1:3",
                "sub/b.log:2:1",
                "sub/build/d.txt:1:1",
                "sub/deep/er/x.rs:3:1",
                "sub/deep/er/x.rs:5:1",
            ][..],
        ),
        (
            json!({ "pattern": "^needle", "glob": "*.log", "ignore_case": true }),
            &["sub/b.log:1:1", "sub/b.log:2:1"],
        ),
        (json!({ "pattern": r"needle\(\)" }), &["a.rs:1:4"]),
        (json!({ "pattern": "needle()", "fixed_strings": true }), &["a.rs:1:4"]),
        (json!({ "pattern": "(", "fixed_strings": true }), &["a.rs:1:10"]),
        (
            json!({ "pattern": "needle", "files_only": true, "path": "sub/deep" }),
            &["sub/deep/er/x.rs:3:1"],
        ),
        (json!({ "pattern": "needle", "hidden": true, "glob": ".hidden" }), &[".hidden:1:1"]),
        (json!({ "pattern": "needle", "ignored": true, "path": "build" }), &["build/out.rs:1:1"]),
        (json!({ "pattern": "nothing like it" }), &[]),
    ] {
        let it = result(&mut session, "grep", arguments.clone()).await;
        assert_eq!(places(&it), expected, "{arguments}");
        assert_eq!((&it["truncated"], &it["data"]["skipped"]), (&json!(false), &json!(0)));
    }
    let it = result(&mut session, "grep", json!({ "pattern": "needle" })).await;
    assert_eq!((&it["data"]["binary"], &it["data"]["searched"]), (&json!(1), &json!(5)), "{it}");
    // .git, .gitignore, .hidden; b.log, build; in sub: both files of rules, c.txt, secret.txt
    assert_eq!(it["data"]["left_out"], 9, "{it}");
    let around = json!({ "pattern": "needle", "path": "sub/deep", "context": 1 });
    let it = result(&mut session, "grep", around).await;
    let seen = |at: usize, key: &str| it["data"]["matches"][at][key].clone();
    assert_eq!((seen(0, "before"), seen(0, "after")), (json!(["two"]), json!(["four"])));
    assert_eq!((seen(1, "before"), seen(1, "after")), (Value::Null, json!(["six"])));
    assert_eq!(seen(1, "text"), "needle");
    host.stop().await;
}

#[tokio::test]
async fn no_search_leads_out_of_a_root() {
    let folder = tree();
    let root = folder.path().join("in");
    let (host, mut session) = start([tools("tools", &[&root])]).await;
    let all = json!({ "pattern": "needle", "hidden": true, "ignored": true });
    let it = result(&mut session, "grep", all).await;
    let text = it.to_string();
    assert!(!text.contains("out/secret") && !text.contains("\"secret\""), "{text}");
    for tool in ["glob", "grep"] {
        let absolute = root.to_string_lossy().into_owned();
        for path in ["..", "../out", "out", "sub/../../out", "/", &absolute] {
            let error = failure(&mut session, tool, json!({ "pattern": "*", "path": path })).await;
            let code = error["code"].as_str().unwrap();
            // `*` is no regular expression, and the path is looked at before the pattern or after.
            assert!(["tool_denied", "schema_violation"].contains(&code), "{tool} {path}: {error}");
        }
        let arguments = json!({ "pattern": "needle", "path": "../out" });
        assert_eq!(failure(&mut session, tool, arguments).await["code"], "tool_denied");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_race_does_not_lead_out_either() {
    let folder = tree();
    let root = folder.path().join("in");
    fs::remove_file(root.join("out")).unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let (swap, stop) = (root.join("swap"), Arc::clone(&ends));
    let swapping = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            fs::create_dir(&swap).unwrap();
            fs::write(swap.join("secret"), "fine").unwrap();
            fs::remove_dir_all(&swap).unwrap();
            symlink("../out", &swap).unwrap();
            fs::remove_file(&swap).unwrap();
        }
    });
    let (host, mut session) = start([tools("tools", &[&root])]).await;
    for _ in 0..200 {
        let it =
            result(&mut session, "grep", json!({ "pattern": "needle", "glob": "swap/*" })).await;
        assert_eq!(it["data"]["matches"], json!([]), "{it}");
    }
    ends.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    host.stop().await;
}

#[tokio::test]
async fn several_roots_are_searched_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a/x.rs", "one"), ("a/.gitignore", "y.rs"), ("b/y.rs", "one")]);
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let (host, mut session) = start([tools("tools", &[&a, &b])]).await;
    let it = result(&mut session, "glob", json!({ "pattern": "*.rs" })).await;
    assert_eq!(paths(&it), ["a/x.rs", "b/y.rs"]);
    let it = result(&mut session, "glob", json!({ "pattern": "*.rs", "path": "b" })).await;
    assert_eq!(paths(&it), ["b/y.rs"]);
    for (pattern, expected) in [("*/", &["a/", "b/"][..]), ("b/", &["b/"]), ("b/*/", &[])] {
        let it = result(&mut session, "glob", json!({ "pattern": pattern })).await;
        assert_eq!(paths(&it), expected, "{pattern}");
    }
    let it = result(&mut session, "grep", json!({ "pattern": "one", "path": "b/y.rs" })).await;
    assert_eq!(places(&it), ["b/y.rs:1:1"]);
    let read = json!({ "path": "b/y.rs" });
    assert_eq!(result(&mut session, "read_file", read).await["data"]["content"], "one");
    let it = result(&mut session, "grep", json!({ "pattern": "one", "path": "a" })).await;
    assert_eq!(places(&it), ["a/x.rs:1:1"]);
    host.stop().await;
}

#[tokio::test]
async fn r20_a_search_says_when_and_why_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let name = format!("f{number:03}-{}", "n".repeat(60));
        fs::write(folder.path().join(name), "needle\n".repeat(3)).unwrap();
    }
    let mut deep = folder.path().join("z");
    for _ in 0..70 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("lost"), "needle").unwrap();
    let small = tools("tools", &[folder.path()]).with_setting("max_result_bytes", 8192);
    let (host, mut session) = start([small]).await;
    for (tool, arguments, reason, least, most) in [
        ("glob", json!({ "pattern": "f*", "limit": 7 }), "limit", 7, 7),
        ("glob", json!({ "pattern": "f*" }), "result_size", 20, 200),
        ("glob", json!({ "pattern": "lost" }), "depth", 0, 0),
        ("grep", json!({ "pattern": "needle", "limit": 7 }), "limit", 7, 7),
        ("grep", json!({ "pattern": "needle", "limit": 1 }), "limit", 1, 1),
        ("grep", json!({ "pattern": "needle", "limit": 5000 }), "result_size", 5, 100),
        ("grep", json!({ "pattern": "needle", "path": "z" }), "depth", 0, 0),
    ] {
        let it = result(&mut session, tool, arguments.clone()).await;
        let data = &it["data"];
        assert_eq!(
            (&data["reason"], &it["truncated"]),
            (&json!(reason), &json!(true)),
            "{arguments}"
        );
        let found = data["paths"].as_array().or(data["matches"].as_array()).unwrap().len();
        let too_deep = data["unseen"].as_array().unwrap().iter().find(|it| it["why"] == "depth");
        assert_eq!(too_deep.is_some(), reason == "depth", "{data}");
        assert!((least..=most).contains(&found), "{arguments}: {found}");
        assert!(data.to_string().len() <= 8192);
    }
    host.stop().await;
}

#[tokio::test]
async fn odd_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(root.join("long"), format!("{}needle", "x".repeat(3 << 20))).unwrap();
    fs::write(root.join("late"), format!("needle\n{}\0", "x\n".repeat(200_000))).unwrap();
    fs::write(root.join("latin1"), b"gr\xfcn needle\n").unwrap();
    fs::write(root.join("wide"), format!("{}needle{}\n", "a".repeat(5000), "b".repeat(5000)))
        .unwrap();
    fs::write(root.join(".gitignore"), "[bad\n\\\n/**/**\\\nfoo\n").unwrap();
    let (host, mut session) = start([tools("tools", &[root])]).await;
    let it = result(&mut session, "grep", json!({ "pattern": "needle" })).await;
    assert_eq!(places(&it), ["latin1:1:6", "wide:1:5001"], "{it}");
    let data = &it["data"];
    assert_eq!((&data["binary"], &data["skipped"]), (&json!(1), &json!(0)), "{it}");
    let unseen = json!([
        { "path": "late", "why": "binary" },
        { "path": "long", "why": "long_line", "line": 1 },
    ]);
    assert_eq!(data["unseen"], unseen, "{it}");
    assert_eq!(data["matches"][0]["text"], "gr\u{fffd}n needle");
    let wide = &data["matches"][1];
    assert!(wide["cut"] == true && wide["text"].as_str().unwrap().contains("needle"), "{wide}");
    host.stop().await;
}

#[tokio::test]
async fn a_bad_pattern_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (tool, arguments, loc, part) in [
        ("grep", json!({ "pattern": "a(b" }), "arguments.pattern", "unclosed group"),
        ("grep", json!({ "pattern": "a{9999}{9999}" }), "arguments.pattern", ""),
        ("grep", json!({ "pattern": "a\\nb" }), "arguments.pattern", ""),
        ("grep", json!({ "pattern": "" }), "arguments.pattern", "1 to 4096"),
        ("grep", json!({ "pattern": "x".repeat(5000) }), "arguments.pattern", "1 to 4096"),
        ("grep", json!({ "pattern": "x", "glob": "a[" }), "arguments.glob", "a["),
        ("grep", json!({ "pattern": "x", "context": -1 }), "arguments.context", ""),
        ("glob", json!({ "pattern": "a{b" }), "arguments.pattern", "a{b"),
        ("glob", json!({ "pattern": "" }), "arguments.pattern", "1 to 4096"),
        ("glob", json!({ "pattern": "x", "kind": "link" }), "arguments.kind", "file, dir, any"),
    ] {
        let error = failure(&mut session, tool, arguments.clone()).await;
        assert_eq!(error["code"], "schema_violation", "{arguments}: {error}");
        assert_eq!(error["detail"]["errors"][0]["loc"], loc, "{arguments}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{arguments}: {error}");
    }
    let marked = failure(&mut session, "grep", json!({ "pattern": "a(b" })).await;
    assert!(marked["message"].as_str().unwrap().contains("\n     ^"), "under the place: {marked}");
    host.stop().await;
}

#[tokio::test]
async fn r32_a_search_ends_when_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let text = "some words that are no match at all\n".repeat(400_000);
    for number in 0..8 {
        fs::write(folder.path().join(format!("f{number}")), &text).unwrap();
    }
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let slow = json!({ "pattern": "(w[a-z ]+){6}[^a]x" });
    let id = session.send("tool/call/req", call("grep", slow)).await;
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    host.until("the thread is free", |status| {
        status.plugins.iter().all(|plugin| plugin.running == 0 && plugin.stuck == 0)
    })
    .await;
    host.stop().await;
}
