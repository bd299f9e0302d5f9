//! The file tools: what they read, write and list.

use std::fs;

use serde_json::{Value, json};

use super::{call, failure, names, result, start, tools};

#[tokio::test]
async fn parts_of_a_file_come_by_bytes_and_by_lines() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "eins\nzwei\n\ndrei é\nvier").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (arguments, content, next) in [
        (json!({ "path": "f" }), "eins\nzwei\n\ndrei é\nvier", None),
        (json!({ "path": "./f", "limit": 4 }), "eins", Some(4)),
        (json!({ "path": "f", "offset": 5.0, "limit": 4.0 }), "zwei", Some(9)),
        (json!({ "path": "f", "offset": 11, "limit": 6 }), "drei ", Some(16)),
        (json!({ "path": "f", "offset": 16, "limit": 2 }), "é", Some(18)),
        (json!({ "path": "f", "offset": 23 }), "", None),
        (json!({ "path": "f", "offset": 9_000_000_000_u64 }), "", None),
        (json!({ "path": "f", "unit": "lines", "limit": 2 }), "eins\nzwei\n", Some(2)),
        (json!({ "path": "f", "unit": "lines", "offset": 2, "limit": 2 }), "\ndrei é\n", Some(4)),
        (json!({ "path": "f", "unit": "lines", "offset": 4 }), "vier", None),
        (json!({ "path": "f", "unit": "lines", "offset": 5 }), "", None),
        (json!({ "path": "f", "unit": "lines", "offset": 900_000_000 }), "", None),
        (json!({ "path": "empty" }), "", None),
        (json!({ "path": "empty", "unit": "lines" }), "", None),
    ] {
        let it = result(&mut session, "read_file", arguments.clone()).await;
        let data = &it["data"];
        assert_eq!((&data["content"], &data["encoding"]), (&json!(content), &json!("utf-8")));
        assert_eq!(data["next_offset"].as_u64(), next, "{arguments}");
        assert_eq!((&it["truncated"], &it["success"]), (&json!(false), &json!(true)));
    }
    host.stop().await;
}

#[tokio::test]
async fn what_is_no_text_comes_as_base64() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, encoding, content) in [
        ("text", "grün\0".as_bytes(), "utf-8", "grün\0"),
        ("binary", &[0xff, 0xfe, b'\n', 0][..], "base64", "//4KAA=="),
        ("cut", &[b'a', 0xc3][..], "base64", "YcM="),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
        for unit in ["bytes", "lines"] {
            let it = result(&mut session, "read_file", json!({ "path": name, "unit": unit })).await;
            let data = &it["data"];
            assert_eq!((&data["encoding"], &data["content"]), (&json!(encoding), &json!(content)));
            assert_eq!(data["size"], bytes.len());
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn r20_long_files_come_in_parts_that_join_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let line = "größe \u{1} \"quoted\" 🦀 and some more text\n";
    let long = line.repeat(1_048_576 / line.len() + 1);
    let bytes: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[0] ^ 0x80).collect();
    fs::write(folder.path().join("long"), &long).unwrap();
    fs::write(folder.path().join("bytes"), &bytes).unwrap();
    fs::write(folder.path().join("line"), "x".repeat(500_000) + "\nend").unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("max_result_bytes", 100_000);
    let (host, mut session) = start([plugin]).await;
    for unit in ["bytes", "lines"] {
        let (mut read, mut offset, mut parts) = (String::new(), 0, 0);
        loop {
            let arguments = json!({ "path": "long", "unit": unit, "offset": offset });
            let it = result(&mut session, "read_file", arguments).await;
            assert!(it.to_string().len() < 100_000);
            read.push_str(it["data"]["content"].as_str().unwrap());
            parts += 1;
            match it["data"]["next_offset"].as_u64() {
                Some(next) => offset = next,
                None => break,
            }
            assert_eq!(it["truncated"], true);
        }
        assert!(read == long && parts > 10, "{unit}: {parts}");
    }
    let it = result(&mut session, "read_file", json!({ "path": "bytes" })).await;
    assert_eq!((&it["data"]["encoding"], &it["truncated"]), (&json!("base64"), &json!(true)));
    let it = result(&mut session, "read_file", json!({ "path": "line", "unit": "lines" })).await;
    assert_eq!((&it["data"]["next_offset"], &it["truncated"]), (&json!(1), &json!(true)));
    let rest = json!({ "path": "line", "unit": "lines", "offset": 1 });
    assert_eq!(result(&mut session, "read_file", rest).await["data"]["content"], "end");
    host.stop().await;
}

#[tokio::test]
async fn a_file_of_one_mebibyte_comes_whole() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "0123456789abcdef".repeat(65_536)).unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let it = result(&mut session, "read_file", json!({ "path": "f" })).await;
    assert_eq!(it["data"]["content"].as_str().unwrap().len(), 1 << 20);
    assert_eq!((&it["truncated"], &it["data"]["next_offset"]), (&json!(false), &Value::Null));
    host.stop().await;
}

#[tokio::test]
async fn failures_say_what_was_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("f"), "x").unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for (tool, arguments, code, part) in [
        ("read_file", json!({ "path": "nope" }), "tool_error", "not there"),
        ("read_file", json!({ "path": "sub" }), "tool_error", "it is a folder"),
        ("read_file", json!({ "path": "" }), "tool_error", "it is a folder"),
        ("read_file", json!({ "path": "f/x" }), "tool_error", "no folder"),
        ("read_file", json!({ "path": "a\u{0}b" }), "tool_error", "cannot read"),
        ("read_file", json!({ "path": "x".repeat(5000) }), "tool_error", "cannot read"),
        ("read_file", json!({}), "schema_violation", "arguments.path: missing"),
        ("read_file", json!({ "path": 5 }), "schema_violation", "arguments.path: expected string"),
        ("read_file", json!({ "path": "f", "offset": -1 }), "schema_violation", "arguments.offset"),
        ("read_file", json!({ "path": "f", "unit": "rows" }), "schema_violation", "bytes, lines"),
        ("list_dir", json!({ "path": "f" }), "tool_error", "no folder"),
        ("list_dir", json!({ "path": "nope" }), "tool_error", "not there"),
        ("write_file", json!({ "path": "f", "content": "y" }), "tool_error", "exists already"),
        ("write_file", json!({ "path": "sub", "content": "y" }), "tool_error", "it is a folder"),
        ("write_file", json!({ "path": ".", "content": "y" }), "tool_error", "it is a folder"),
        ("write_file", json!({ "path": "a/b", "content": "y" }), "tool_error", "not there"),
    ] {
        let text = format!("{tool} {arguments}");
        let error = failure(&mut session, tool, arguments).await;
        assert_eq!(error["code"], code, "{text}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{text}: {error}");
        if code == "tool_error" {
            assert!(error["detail"]["roots"].is_array(), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("f")).unwrap(), "x");
    host.stop().await;
}

#[tokio::test]
async fn files_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for (arguments, expected) in [
        (json!({ "path": "f", "content": "1" }), "1"),
        (json!({ "path": "f", "content": "é", "mode": "overwrite" }), "é"),
        (json!({ "path": "f", "content": "3", "mode": "append" }), "é3"),
        (json!({ "path": "new", "content": "4", "mode": "append" }), "4"),
        (json!({ "path": "newer", "content": "", "mode": "overwrite" }), ""),
        (json!({ "path": "a/b/c", "content": "5", "parents": true }), "5"),
        (json!({ "path": "a/b/../d", "content": "6" }), "6"),
    ] {
        let path = arguments["path"].as_str().unwrap().to_owned();
        let it = result(&mut session, "write_file", arguments.clone()).await;
        assert_eq!(it["data"]["bytes"], arguments["content"].as_str().unwrap().len());
        assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), expected);
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "no temporary file stays: {left:?}");
    host.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn an_overwritten_file_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, "1").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let arguments = json!({ "path": "script", "content": "2", "mode": "overwrite" });
    result(&mut session, "write_file", arguments).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
    host.stop().await;
}

#[tokio::test]
async fn writing_is_denied_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = tools("tools", &[folder.path()]);
    let all = ["read_file", "write_file", "edit_file", "list_dir"];
    let files = plain.clone().with_setting("providers", all.to_vec());
    for (plugin, listed, code) in [
        (files, &["read_file", "list_dir"][..], "tool_denied"),
        (plain.clone().with_setting("providers", ["write_file"]), &[], "tool_denied"),
        (plain.clone().with_setting("providers", ["list_dir"]), &["list_dir"], "unknown_tool"),
        (plain.with_setting("roots", json!([])), &[], "unknown_tool"),
    ] {
        let (host, mut session) = start([plugin]).await;
        assert_eq!(names(&mut session, json!({})).await, listed);
        let error =
            failure(&mut session, "write_file", json!({ "path": "f", "content": "" })).await;
        assert_eq!(error["code"], code);
        if code == "tool_denied" {
            assert!(error["message"].as_str().unwrap().contains("allow_write"), "{error}");
        }
        host.stop().await;
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn folders_are_listed_sorted_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("b/c/d")).unwrap();
    for (name, content) in [("a", "12"), ("b/x", ""), ("b/c/y", ""), ("é", "")] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (arguments, expected, truncated) in [
        (json!({}), &["a", "b", "é"][..], false),
        (json!({ "path": "b" }), &["c", "x"], false),
        (json!({ "path": "b/c/.." }), &["c", "x"], false),
        (json!({ "depth": 2 }), &["a", "b", "b/c", "b/x", "é"], false),
        (json!({ "depth": 99 }), &["a", "b", "b/c", "b/c/d", "b/c/y", "b/x", "é"], false),
        (json!({ "depth": 99, "limit": 3 }), &["a", "b", "b/c"], true),
        (json!({ "limit": 2 }), &["a", "b"], true),
        (json!({ "limit": 3 }), &["a", "b", "é"], false),
    ] {
        let it = result(&mut session, "list_dir", arguments.clone()).await;
        let entries = it["data"]["entries"].as_array().unwrap();
        let names: Vec<&str> = entries.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{arguments}");
        assert_eq!(
            (&it["truncated"], &it["data"]["truncated"]),
            (&json!(truncated), &json!(truncated))
        );
    }
    let it = result(&mut session, "list_dir", json!({})).await;
    let first = &it["data"]["entries"][0];
    assert_eq!((&first["kind"], &first["size"]), (&json!("file"), &json!(2)));
    assert!(first["modified"].as_i64().unwrap() > 1_000_000_000);
    assert_eq!(it["data"]["entries"][1]["kind"], "dir");
    host.stop().await;
}

#[tokio::test]
async fn r20_a_large_folder_fits_into_its_result() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2000 {
        fs::write(folder.path().join(format!("é{number:04}")), "").unwrap();
    }
    let plugin = tools("tools", &[folder.path()]).with_setting("max_result_bytes", 20_000);
    let (host, mut session) = start([plugin]).await;
    let it = result(&mut session, "list_dir", json!({ "limit": 9999 })).await;
    let entries = it["data"]["entries"].as_array().unwrap();
    assert!(entries.len() > 50 && it["truncated"] == true && it["summary"].is_null(), "{it}");
    assert_eq!(entries[0]["name"], "é0000");
    host.stop().await;
}

#[tokio::test]
async fn several_roots_are_told_apart_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [("one/f", "1"), ("two/f", "2"), ("more/one/f", "3")] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let roots = ["one", "two", "more/one"].map(|it| folder.path().join(it));
    let roots: Vec<_> = roots.iter().map(std::path::PathBuf::as_path).collect();
    let (host, mut session) = start([tools("tools", &roots)]).await;
    for (path, content) in [("one/f", "1"), ("two/f", "2"), ("one-2/f", "3"), ("./two/./f", "2")] {
        let it = result(&mut session, "read_file", json!({ "path": path })).await;
        assert_eq!(it["data"]["content"], content, "{path}");
    }
    for (path, code) in [
        ("f", "tool_error"),
        ("three/f", "tool_error"),
        ("../one/f", "tool_denied"),
        ("one/../two/f", "tool_denied"),
        ("", "tool_error"),
    ] {
        let error = failure(&mut session, "read_file", json!({ "path": path })).await;
        assert_eq!(error["code"], code, "{path}: {error}");
        assert_eq!(error["detail"]["roots"], json!(["one", "two", "one-2"]));
    }
    let it = result(&mut session, "list_dir", json!({ "depth": 2 })).await;
    let entries = it["data"]["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "one/f", "two", "two/f", "one-2", "one-2/f"]);
    let listed = session.call("tool/list/req", json!({ "query": "read_file" })).await;
    assert!(listed["tools"][0]["description"].as_str().unwrap().contains("`one`, `two`, `one-2`"));
    host.stop().await;
}

#[tokio::test]
async fn a_root_that_is_not_there_fails_the_plugin_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start([tools("tools", &[&folder.path().join("nope")])]).await;
    let code = session.call_error("tool/call/req", call("read_file", json!({ "path": "f" }))).await;
    assert_eq!(code, "unknown_type");
    let status = format!("{:?}", host.executor().status());
    assert!(status.contains("nope") && status.contains("cannot open folder"), "{status}");
    host.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn names_that_are_no_text_are_listed_once_and_open_by_what_was_shown() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let shown = [
        (&b"a\xfe"[..], "a\\xfe"),
        (b"a\xff", "a\\xff"),
        (b"a\\xff", "a\\x5cxff"),
        (b"back\\slash", "back\\slash"),
        ("a\u{fffd}".as_bytes(), "a\u{fffd}"),
        (b"cut\xc3", "cut\\xc3"),
    ];
    let dir = folder.path().join(OsStr::from_bytes(b"d\x80"));
    fs::create_dir(&dir).unwrap();
    for (bytes, name) in shown {
        for above in [folder.path(), &dir] {
            fs::write(above.join(OsStr::from_bytes(bytes)), name).unwrap();
        }
    }
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    let list = async |session: &mut _, path: &str, depth: u32| -> Vec<String> {
        let it = result(session, "list_dir", json!({ "path": path, "depth": depth })).await;
        assert_eq!((&it["data"]["skipped"], &it["truncated"]), (&json!(0), &json!(false)));
        let entries = it["data"]["entries"].as_array().unwrap();
        entries.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = list(&mut session, ".", 2).await;
    let mut expected: Vec<String> = vec!["d\\x80".to_owned()];
    for (_, name) in shown {
        expected.extend([name.to_owned(), format!("d\\x80/{name}")]);
    }
    let mut sorted = all.clone();
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected, "everything once");
    assert_eq!(list(&mut session, "d\\x80", 1).await.len(), shown.len());
    for path in all.iter().filter(|it| *it != "d\\x80") {
        let it = result(&mut session, "read_file", json!({ "path": path })).await;
        assert_eq!(it["data"]["content"], path.strip_prefix("d\\x80/").unwrap_or(path), "{path}");
        let write = json!({ "path": path, "content": "new", "mode": "overwrite" });
        assert_eq!(result(&mut session, "write_file", write).await["data"]["path"], json!(path));
    }
    for (bytes, name) in shown {
        let text = fs::read_to_string(folder.path().join(OsStr::from_bytes(bytes))).unwrap();
        assert_eq!(text, "new", "{name}");
    }
    let listed = session.call("tool/list/req", json!({ "query": "list_dir" })).await;
    assert!(listed["tools"][0]["description"].as_str().unwrap().contains("\\xff"), "{listed}");
    host.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_listing_shows_what_it_may_not_look_at() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("closed")).unwrap();
    fs::write(folder.path().join("closed/f"), "").unwrap();
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    symlink("dangling", folder.path().join("loop")).unwrap();
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(folder.path().join("closed"), closed).unwrap();
    // The superuser reads it all the same.
    let is_readable = fs::read_dir(folder.path().join("closed")).is_ok();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let it = result(&mut session, "list_dir", json!({ "depth": 3 })).await;
    let names: Vec<&str> = it["data"]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let expected: &[&str] = if is_readable {
        &["closed", "closed/f", "dangling", "loop"]
    } else {
        &["closed", "dangling", "loop"]
    };
    assert_eq!(names, expected);
    assert_eq!(it["data"]["skipped"], i32::from(!is_readable));
    fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    host.stop().await;
}

#[tokio::test]
async fn reading_beyond_the_end_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "eins\nzwei\ndrei").unwrap();
    fs::write(folder.path().join("ends"), "eins\nzwei\n").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (path, unit, offset, end, text) in [
        ("f", "lines", 4_u64, 3, Some("offset 4 is beyond the end: the file has 3 lines")),
        ("f", "lines", u64::MAX, 3, Some("the file has 3 lines")),
        ("f", "lines", 3, 3, None),
        ("f", "lines", 2, 3, None),
        ("ends", "lines", 0, 2, None),
        ("ends", "lines", 3, 2, Some("the file has 2 lines")),
        ("f", "bytes", 15, 14, Some("offset 15 is beyond the end: the file has 14 bytes")),
        ("f", "bytes", u64::MAX, 14, Some("the file has 14 bytes")),
        ("f", "bytes", 14, 14, None),
        ("f", "bytes", 3, 14, None),
        ("empty", "lines", 1, 0, Some("the file has 0 lines")),
        ("empty", "bytes", 1, 0, Some("the file has 0 bytes")),
        ("empty", "bytes", 0, 0, None),
    ] {
        let arguments = json!({ "path": path, "unit": unit, "offset": offset });
        let it = result(&mut session, "read_file", arguments.clone()).await;
        assert_eq!(it["data"]["end"], end, "{arguments}: {it}");
        assert!(it["data"]["next_offset"].is_null(), "{it}");
        match text {
            Some(text) => {
                assert!(it["summary"].as_str().unwrap().contains(text), "{arguments}: {it}");
                assert_eq!(it["data"]["content"], "");
            }
            None => assert!(it["summary"].is_null(), "{arguments}: {it}"),
        }
    }
    // Where the part ends before the file does, its end is not known in lines.
    let part = json!({ "path": "f", "unit": "lines", "limit": 1 });
    assert!(result(&mut session, "read_file", part).await["data"]["end"].is_null());
    host.stop().await;
}
