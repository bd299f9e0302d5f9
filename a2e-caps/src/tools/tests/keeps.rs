//! A change of a file keeps all but its content, or is refused with the reason.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "what this machine cannot show, with --nocapture")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};
use serde_json::{Value, json};

use super::{failure, result, start, tools};

/// All that a file is beside its content.
#[derive(Debug, PartialEq)]
struct Facts {
    owner: (u32, u32),
    mode: u32,
    names: u64,
    attributes: BTreeMap<String, Vec<u8>>,
}

fn facts(path: &Path) -> Facts {
    let it = fs::symlink_metadata(path).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let length = listxattr(path, buffer.as_mut_slice()).unwrap_or(0);
    let names = String::from_utf8(buffer[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0; 64 << 10];
        let length = getxattr(path, name, value.as_mut_slice()).unwrap();
        (name.to_owned(), value[..length].to_vec())
    };
    let attributes = names.split_terminator('\0').map(value).collect();
    Facts { owner: (it.uid(), it.gid()), mode: it.mode() & 0o7777, names: it.nlink(), attributes }
}

/// An access list as the kernel keeps it: tag, rights, id of each entry.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const ANY: u32 = u32::MAX;
const SHARED: [(u16, u16, u32); 5] =
    [(1, 6, ANY), (2, 6, 4711), (4, 4, ANY), (16, 6, ANY), (32, 0, ANY)];

type Prepare = fn(&Path) -> std::io::Result<()>;

fn attribute(path: &Path, name: &str, value: &[u8]) -> std::io::Result<()> {
    Ok(setxattr(path, name, value, XattrFlags::empty())?)
}

fn mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Every way to change `f`.
fn changes() -> [(&'static str, Value); 3] {
    let whole = |mode| json!({ "path": "f", "content": "new", "mode": mode });
    [
        ("edit_file", json!({ "path": "f", "edits": [{ "old": "old", "new": "new" }] })),
        ("write_file", whole("overwrite")),
        ("write_file", whole("append")),
    ]
}

#[tokio::test]
async fn a_change_keeps_what_a_file_is_or_is_refused() {
    // What it is; how it is made; in which of the three ways it may be changed; else the reason.
    let cases: [(&str, Prepare, [bool; 3], &str); 16] = [
        ("private", |f| mode(f, 0o600), [true; 3], ""),
        ("odd mode", |f| mode(f, 0o1617), [true; 3], ""),
        ("another owner", |f| chown(f, Some(4711), Some(4712)), [true; 3], ""),
        ("another group", |f| chown(f, None, Some(4712)), [true; 3], ""),
        (
            "attributes",
            |f| {
                attribute(f, "user.origin", b"https://a/\0b")?;
                attribute(f, "user.empty", b"")
            },
            [true; 3],
            "",
        ),
        ("a large attribute", |f| attribute(f, "user.large", &[b'x'; 2000]), [true; 3], ""),
        ("a trusted attribute", |f| attribute(f, "trusted.a2e", b"x"), [true; 3], ""),
        (
            "access list",
            |f| attribute(f, "system.posix_acl_access", &access_list(&SHARED)),
            [true; 3],
            "",
        ),
        (
            "list and owner",
            |f| {
                chown(f, Some(4711), Some(4711))?;
                attribute(f, "system.posix_acl_access", &access_list(&SHARED))
            },
            [true; 3],
            "",
        ),
        (
            "a list of the folder only",
            |f| attribute(f.parent().unwrap(), "system.posix_acl_default", &access_list(&SHARED)),
            [true; 3],
            "",
        ),
        ("read-only", |f| mode(f, 0o444), [false; 3], "read-only (mode 0444)"),
        (
            "read-only, of another",
            |f| {
                chown(f, Some(4711), None)?;
                mode(f, 0o555)
            },
            [false; 3],
            "read-only (mode 0555)",
        ),
        (
            "two names",
            |f| fs::hard_link(f, f.with_file_name("g")),
            [false, false, true],
            "2 names (hard links)",
        ),
        ("set-user-id", |f| mode(f, 0o4755), [false; 3], "set-user-id"),
        ("set-group-id", |f| mode(f, 0o2755), [false; 3], "set-user-id"),
        (
            "capabilities",
            |f| {
                // cap_net_bind_service, as setcap writes it.
                let bytes = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                attribute(f, "security.capability", &bytes)
            },
            [false; 3],
            "rights of its owner",
        ),
    ];
    let mut skipped = 0;
    for (about, prepare, may, reason) in cases {
        for ((tool, arguments), may) in changes().into_iter().zip(may) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("f");
            fs::write(&file, "old").unwrap();
            if let Err(error) = prepare(&file) {
                println!("skipped, this machine has no such file: {about}: {error}");
                skipped += 1;
                break;
            }
            let before = (facts(&file), fs::metadata(&file).unwrap().ino());
            let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
            let (host, mut session) = start([plugin]).await;
            let text = format!("{about}: {tool} {arguments}");
            if may {
                result(&mut session, tool, arguments).await;
                let content = fs::read_to_string(&file).unwrap();
                assert!(["new", "oldnew"].contains(&content.as_str()), "{text}: {content}");
                assert_eq!(facts(&file), before.0, "{text}");
            } else {
                let error = failure(&mut session, tool, arguments).await;
                assert_eq!(error["code"], "tool_denied", "{text}: {error}");
                assert!(error["message"].as_str().unwrap().contains(reason), "{text}: {error}");
                assert_eq!(fs::read_to_string(&file).unwrap(), "old", "{text}");
                assert_eq!((facts(&file), fs::metadata(&file).unwrap().ino()), before, "{text}");
            }
            let others = fs::read_dir(folder.path()).unwrap();
            let left =
                others.filter(|it| it.as_ref().unwrap().path().extension().is_some()).count();
            assert_eq!(left, 0, "{text}: a temporary file stays");
            host.stop().await;
        }
    }
    println!("{skipped} of 16 kinds of files skipped");
}

#[tokio::test]
async fn a_path_with_a_slash_at_its_end_is_a_folders() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "old").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let second = tempfile::tempdir().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    for (roots, prefix) in [
        (&[folder.path()][..], String::new()),
        (&[folder.path(), second.path()], format!("{name}/")),
    ] {
        let plugin = tools("tools", roots).with_setting("allow_write", true);
        let (host, mut session) = start([plugin]).await;
        for end in ["notes/", "notes/.", "notes//", "sub/notes/", "f/", "f/.", "sub/"] {
            let path = format!("{prefix}{end}");
            for (tool, arguments) in [
                ("write_file", json!({ "path": path, "content": "x" })),
                ("write_file", json!({ "path": path, "content": "x", "mode": "overwrite" })),
                ("write_file", json!({ "path": path, "content": "x", "mode": "append" })),
                ("write_file", json!({ "path": path, "content": "x", "parents": true })),
                ("edit_file", json!({ "path": path, "edits": [{ "old": "old", "new": "x" }] })),
                ("read_file", json!({ "path": path })),
            ] {
                let error = failure(&mut session, tool, arguments).await;
                assert_eq!(error["code"], "tool_error", "{tool} {path}: {error}");
                if tool != "read_file" {
                    let text = error["message"].as_str().unwrap();
                    assert!(text.contains("slash at its end"), "{text}");
                }
            }
        }
        let error =
            failure(&mut session, "list_dir", json!({ "path": format!("{prefix}f/") })).await;
        assert_eq!(error["code"], "tool_error", "{error}");
        let arguments = json!({ "path": format!("{prefix}sub/") });
        assert_eq!(result(&mut session, "list_dir", arguments).await["data"]["entries"], json!([]));
        host.stop().await;
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["f", "sub"], "nothing was made");
    assert_eq!(fs::read_to_string(folder.path().join("f")).unwrap(), "old");
}

#[tokio::test]
async fn many_who_overwrite_a_file_all_do_and_it_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "old").unwrap();
    mode(&file, 0o640).unwrap();
    let has_attribute = attribute(&file, "user.origin", b"a").is_ok();
    let before = facts(&file);
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for path in ["f", "new"] {
        let mut ids = Vec::new();
        for number in 0..60 {
            let arguments =
                json!({ "path": path, "content": "x".repeat(number), "mode": "overwrite" });
            let request = super::call("write_file", arguments);
            ids.push(session.send("tool/call/req", request).await);
        }
        for id in ids {
            let reply = session.reply_to(&id).await;
            assert_eq!(reply["type"], "tool/call/resp", "{reply}");
        }
    }
    assert_eq!(facts(&file), before);
    assert_eq!(before.attributes.is_empty(), !has_attribute);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
    host.stop().await;
}
