//! Nothing leads out of a root, and nothing but a regular file is opened.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{call, failure, result, start, tools};

/// A folder with `in/`, the root, and `out/secret` beside it.
fn layout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("in/sub")).unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("out/secret"), "secret").unwrap();
    fs::write(folder.path().join("in/f"), "fine").unwrap();
    folder
}

#[tokio::test]
async fn no_path_leads_out_of_a_root() {
    let folder = layout();
    let root = folder.path().join("in");
    symlink("../out/secret", root.join("link")).unwrap();
    symlink(folder.path().join("out"), root.join("folder")).unwrap();
    symlink("../../out", root.join("sub/up")).unwrap();
    symlink("sub/up", root.join("twice")).unwrap();
    symlink("f", root.join("good")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let plugin = tools("tools", &[&root]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let absolute = folder.path().join("out/secret").to_string_lossy().into_owned();
    let inside = root.join("f").to_string_lossy().into_owned();
    for path in [
        "../out/secret",
        "sub/../../out/secret",
        "link",
        "folder/secret",
        "sub/up/secret",
        "twice/secret",
        "../in/f",
        &absolute,
        &inside,
        "/etc/hostname",
        "/",
        "..",
    ] {
        for (tool, arguments) in [
            ("read_file", json!({ "path": path })),
            ("list_dir", json!({ "path": path })),
            ("write_file", json!({ "path": path, "content": "x", "mode": "overwrite" })),
            ("write_file", json!({ "path": path, "content": "x", "mode": "append" })),
            ("write_file", json!({ "path": format!("{path}/x"), "content": "x", "parents": true })),
        ] {
            let error = failure(&mut session, tool, arguments.clone()).await;
            let code = error["code"].as_str().unwrap();
            assert!(["tool_denied", "tool_error"].contains(&code), "{arguments}: {error}");
            let text = error.to_string();
            assert!(!text.contains("\"secret\"") || text.contains(path), "{text}");
            if tool == "read_file" {
                assert_eq!(
                    (code, &error["detail"]["setting"]),
                    ("tool_denied", &json!("roots")),
                    "{path}"
                );
            }
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("out/secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
    assert_eq!(
        result(&mut session, "read_file", json!({ "path": "good" })).await["data"]["content"],
        "fine"
    );
    assert_eq!(
        failure(&mut session, "read_file", json!({ "path": "loop" })).await["code"],
        "tool_error"
    );
    host.stop().await;
}

#[tokio::test]
async fn a_listing_shows_links_and_does_not_follow_them() {
    let folder = layout();
    let root = folder.path().join("in");
    symlink(folder.path().join("out"), root.join("folder")).unwrap();
    let (host, mut session) = start([tools("tools", &[&root])]).await;
    let it = result(&mut session, "list_dir", json!({ "depth": 9 })).await;
    let entries = it["data"]["entries"].as_array().unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("f", "file"), ("folder", "symlink"), ("sub", "dir")]);
    host.stop().await;
}

#[tokio::test]
async fn a_link_is_neither_written_through_nor_replaced() {
    let folder = layout();
    let root = folder.path().join("in");
    symlink("f", root.join("good")).unwrap();
    let plugin = tools("tools", &[&root]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for mode in ["create", "overwrite", "append"] {
        let arguments = json!({ "path": "good", "content": "x", "mode": mode });
        let error = failure(&mut session, "write_file", arguments).await;
        assert_eq!(error["code"], "tool_denied", "{error}");
        assert!(error["message"].as_str().unwrap().contains("symbolic link"), "{error}");
    }
    assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "fine");
    assert!(fs::symlink_metadata(root.join("good")).unwrap().is_symlink());
    host.stop().await;
}

#[tokio::test]
async fn a_folder_that_turns_into_a_link_is_no_way_out() {
    let folder = layout();
    let root = folder.path().join("in");
    fs::write(root.join("sub/secret"), "fine").unwrap();
    fs::rename(root.join("sub"), root.join("real")).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (root, out, is_over) = (root.clone(), folder.path().join("out"), Arc::clone(&is_over));
        std::thread::spawn(move || swap(&root, &out, &is_over))
    };
    let plugin = tools("tools", &[&root]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let (mut good, mut bad) = (0, 0);
    for round in 0..600 {
        let request = match round % 3 {
            0 => call("read_file", json!({ "path": "sub/secret" })),
            1 => {
                call("write_file", json!({ "path": "sub/w", "content": "x", "mode": "overwrite" }))
            }
            _ => call("list_dir", json!({ "path": "sub" })),
        };
        let reply = session.call("tool/call/req", request).await;
        if reply["type"] == "error" {
            bad += 1;
        } else {
            good += 1;
            assert_ne!(reply["data"]["data"]["content"], "secret", "{reply}");
        }
    }
    is_over.store(true, Ordering::Release);
    swapping.join().unwrap();
    assert!(good > 0 && bad > 0, "both states were seen: {good}, {bad}");
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
    host.stop().await;
}

/// Lets `sub` be a link to the folder within and a link to the one outside, in turn.
fn swap(root: &Path, out: &Path, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        for target in [Path::new("real"), out] {
            symlink(target, root.join("next")).unwrap();
            fs::rename(root.join("next"), root.join("sub")).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

#[tokio::test]
async fn fifos_sockets_and_devices_are_refused_at_once() {
    let folder = layout();
    let root = folder.path().join("in");
    let fifo = std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
    assert!(fifo.success());
    let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let plugin = tools("tools", &[&root]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for (path, kind) in [("fifo", "fifo"), ("socket", "socket")] {
        for (tool, arguments) in [
            ("read_file", json!({ "path": path })),
            ("write_file", json!({ "path": path, "content": "x", "mode": "overwrite" })),
            ("write_file", json!({ "path": path, "content": "x", "mode": "append" })),
        ] {
            let error = failure(&mut session, tool, arguments).await;
            assert_eq!(error["code"], "tool_denied", "{error}");
            assert!(error["message"].as_str().unwrap().contains(kind), "{error}");
        }
    }
    host.stop().await;
    let (host, mut session) = start([tools("tools", &[Path::new("/dev")])]).await;
    for path in ["null", "zero", "tty"] {
        let error = failure(&mut session, "read_file", json!({ "path": path })).await;
        assert_eq!(error["code"], "tool_denied", "{error}");
    }
    host.stop().await;
}
