//! What a search finds that is easily missed, and what it says it did not see.
#![cfg(all(unix, feature = "search"))]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::{failure, result, start, tools};

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The paths that a `glob` found, or `path:line:column` of what a `grep` did.
fn found(it: &Value) -> Vec<String> {
    let place =
        |it: &Value| format!("{}:{}:{}", it["path"].as_str().unwrap(), it["line"], it["column"]);
    match it["data"]["paths"].as_array() {
        Some(paths) => paths.iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
        None => it["data"]["matches"].as_array().unwrap().iter().map(place).collect(),
    }
}

#[tokio::test]
async fn lines_end_where_they_end_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let utf16: Vec<u8> =
        "\u{feff}one\r\ntwo;\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(
        folder.path(),
        &[
            ("dos", b"one\r\ntwo;\r\n\r\nfour \r\nlast"),
            ("mixed", b"one\ntwo;\r\n\nx\ry\n"),
            ("marked", b"\xef\xbb\xbfone\r\n"),
            ("wide", &utf16),
        ],
    );
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (pattern, expected) in [
        ("one$", &["dos:1:1", "marked:1:1", "mixed:1:1", "wide:1:1"][..]),
        ("^one$", &["dos:1:1", "marked:1:1", "mixed:1:1", "wide:1:1"]),
        ("^$", &["dos:3:1", "mixed:3:1"]),
        (";$", &["dos:2:4", "mixed:2:4", "wide:2:4"]),
        (
            "[^;]$",
            &["dos:1:3", "dos:4:5", "dos:5:4", "marked:1:3", "mixed:1:3", "mixed:4:3", "wide:1:3"],
        ),
        ("\\s$", &["dos:4:5"]),
        ("st$|ur $", &["dos:4:3", "dos:5:3"]),
        ("x.y", &["mixed:4:1"]),
        // Asked for, it is there.
        (
            "\\r$",
            &[
                "dos:1:4",
                "dos:2:5",
                "dos:3:1",
                "dos:4:6",
                "marked:1:4",
                "mixed:2:5",
                "wide:1:4",
                "wide:2:5",
            ],
        ),
        ("[\\r]y", &["mixed:4:2"]),
        ("one\r", &["dos:1:1", "marked:1:1", "wide:1:1"]),
    ] {
        let it = result(&mut session, "grep", json!({ "pattern": pattern })).await;
        assert_eq!(found(&it), expected, "{pattern}");
        let texts = it["data"]["matches"].as_array().unwrap();
        assert!(texts.iter().all(|it| !it["text"].as_str().unwrap().ends_with('\r')), "{it}");
    }
    let fixed = json!({ "pattern": "one\r", "fixed_strings": true });
    let it = result(&mut session, "grep", fixed).await;
    assert_eq!(found(&it), ["dos:1:1", "marked:1:1", "wide:1:1"]);
    host.stop().await;
}

#[tokio::test]
async fn a_long_line_or_a_nul_hides_itself_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat((1 << 20) + 100);
    let near = "y".repeat((1 << 20) - 10);
    write(
        folder.path(),
        &[
            ("bundle.js", format!("needle 1\n{long} needle\nneedle 3\n{long}").as_bytes()),
            ("near", [near.as_str(), &near, &near, "needle"].join("\n").as_bytes()),
            ("data.bin", b"\x7fELF\x02\x01\0\0needle"),
            ("app.log", format!("needle\n{}\0rest\n", "line\n".repeat(30_000)).as_bytes()),
            ("zeros", b"\0needle\n"),
        ],
    );
    for number in 0..150 {
        fs::write(folder.path().join(format!("a{number:03}.png")), b"\x89PNG\r\n\x1a\n\0\0")
            .unwrap();
    }
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let it = result(&mut session, "grep", json!({ "pattern": "needle", "context": 3 })).await;
    assert_eq!(found(&it), ["bundle.js:1:1", "bundle.js:3:1", "near:4:1"], "{}", it["summary"]);
    let data = &it["data"];
    assert_eq!((&data["binary"], &data["skipped"]), (&json!(153), &json!(0)));
    let unseen = data["unseen"].as_array().unwrap();
    let told = |path: &str| unseen.iter().find(|it| it["path"] == path);
    assert_eq!(told("app.log").unwrap()["why"], "binary", "not lost among pictures: {unseen:?}");
    assert_eq!(
        told("bundle.js").unwrap(),
        &json!({ "path": "bundle.js", "why": "long_line", "line": 2 })
    );
    assert_eq!(unseen.len(), 100);
    // Named, each is searched.
    for (path, expected) in [
        ("app.log", &["app.log:1:1"][..]),
        ("data.bin", &["data.bin:1:9"]),
        ("zeros", &["zeros:1:2"]),
        ("bundle.js", &["bundle.js:1:1", "bundle.js:3:1"]),
    ] {
        let it = result(&mut session, "grep", json!({ "pattern": "needle", "path": path })).await;
        assert_eq!(found(&it), expected);
        assert_eq!((&it["data"]["binary"], &it["data"]["searched"]), (&json!(0), &json!(1)));
    }
    host.stop().await;
}

/// Files with hidden names at several depths, and links of all kinds.
fn hidden_tree(root: &Path) {
    write(
        root,
        &[
            (".env", b"needle"),
            (".github/workflows/ci.yml", b"needle"),
            (".github/.secret/x.yml", b"needle"),
            (".cache/.env", b"needle"),
            (".git/config", b"needle"),
            (".gitignore", b""),
            ("src/.env", b"needle"),
            ("src/a.rs", b"needle"),
            ("src/deep/b.rs", b"needle"),
            ("docs/src/c.md", b"needle"),
            ("out/f", b"needle"),
        ],
    );
    fs::write(root.join(OsStr::from_bytes(b"odd\xff.rs")), "needle").unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("src", root.join("to-folder")).unwrap();
    symlink("src/a.rs", root.join("to-file")).unwrap();
    symlink("../src/a.rs", root.join("docs/up")).unwrap();
    symlink("/etc/passwd", root.join("to-out")).unwrap();
    symlink("to-itself", root.join("to-itself")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[tokio::test]
async fn a_pattern_means_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    hidden_tree(folder.path());
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (pattern, expected) in [
        (".env", &[".env", "src/.env"][..]),
        (".*", &[".cache/.env", ".env", ".gitignore", "src/.env"]),
        ("**/.env", &[".env", "src/.env"]),
        (".e{nv,x}", &[".env", "src/.env"]),
        (".{env,x}", &[".env", "src/.env"]),
        ("\\.env", &[".env", "src/.env"]),
        ("{.github,src}/**", &[".github/workflows/ci.yml", "src/a.rs", "src/deep/b.rs"]),
        (".github/**", &[".github/workflows/ci.yml"]),
        ("./.github//workflows/./*.yml", &[".github/workflows/ci.yml"]),
        (".github/.*/*", &[".github/.secret/x.yml"]),
        (".cache/.env", &[".cache/.env"]),
        (".git/*", &[".git/config"]),
        (".git*", &[".gitignore"]),
        ("*env", &[]),
        ("src/", &["docs/src/", "src/"]),
        ("./src/", &["docs/src/", "src/"]),
        ("docs/*/", &["docs/src/"]),
        ("*/", &["docs/", "docs/src/", "out/", "src/", "src/deep/"]),
        (".github/", &[".github/"]),
        ("[.]env", &[".env", "src/.env"]),
        ("**/", &["docs/", "docs/src/", "out/", "src/", "src/deep/"]),
        ("a.rs/", &[]),
        ("odd*", &["odd\\xff.rs"]),
    ] {
        let it = result(&mut session, "glob", json!({ "pattern": pattern })).await;
        let expected: Vec<&str> = expected.to_vec();
        assert_eq!(found(&it), expected, "{pattern}");
    }
    for (glob, expected) in [
        ("src/", &["docs/src/c.md:1:1", "src/a.rs:1:1", "src/deep/b.rs:1:1"][..]),
        (".github/", &[".github/workflows/ci.yml:1:1"]),
        (".env", &[".env:1:1", "src/.env:1:1"]),
        ("src/*/", &["src/deep/b.rs:1:1"]),
        ("odd*", &["odd\\xff.rs:1:1"]),
    ] {
        let it = result(&mut session, "grep", json!({ "pattern": "needle", "glob": glob })).await;
        assert_eq!(found(&it), expected, "{glob}");
    }
    let read = json!({ "path": "odd\\xff.rs" });
    assert_eq!(result(&mut session, "read_file", read).await["data"]["content"], "needle");
    host.stop().await;
}

#[tokio::test]
async fn a_pattern_that_leads_out_is_refused_with_the_roots() {
    let folder = tempfile::tempdir().unwrap();
    hidden_tree(folder.path());
    let absolute = format!("{}/src/*", folder.path().display());
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for pattern in [
        "/etc/*",
        &absolute,
        "../*",
        "src/../*.rs",
        "..",
        "../",
        "{..,src}/*",
        "**/..",
        "{/etc,src}/*",
        "{src,/etc}/*",
    ] {
        for (tool, arguments) in [
            ("glob", json!({ "pattern": pattern })),
            ("grep", json!({ "pattern": "x", "glob": pattern })),
        ] {
            let error = failure(&mut session, tool, arguments).await;
            assert_eq!(error["code"], "tool_denied", "{pattern}: {error}");
            assert_eq!(error["detail"]["setting"], "roots", "{error}");
            assert!(error["detail"]["roots"].is_array(), "{error}");
            let read = failure(&mut session, "read_file", json!({ "path": "../x" })).await;
            assert_eq!(error["detail"]["roots"], read["detail"]["roots"]);
        }
    }
    for pattern in [".", "./", "./."] {
        let error = failure(&mut session, "glob", json!({ "pattern": pattern })).await;
        assert_eq!(error["code"], "schema_violation", "{pattern}: {error}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_file_is_what_read_file_opens() {
    let folder = tempfile::tempdir().unwrap();
    hidden_tree(folder.path());
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let files = ["docs/up", "fifo", "to-file"];
    let links = ["dangling", "docs/up", "fifo", "to-file", "to-folder", "to-itself", "to-out"];
    for (arguments, expected) in [
        (json!({ "pattern": "{to-*,up,dangling,fifo}" }), &[files[0], files[2]][..]),
        (json!({ "pattern": "{to-*,up,dangling,fifo}", "kind": "dir" }), &[]),
        (json!({ "pattern": "{to-*,up,dangling,fifo}", "kind": "any" }), &links),
        (json!({ "pattern": "*", "path": "src/a.rs" }), &["src/a.rs"]),
        (json!({ "pattern": "*", "path": "to-file" }), &["src/a.rs"]),
        (json!({ "pattern": "*.md", "path": "src/a.rs" }), &[]),
        (json!({ "pattern": "*", "path": "./src/.env" }), &["src/.env"]),
    ] {
        let it = result(&mut session, "glob", arguments.clone()).await;
        let expected: Vec<&str> = expected.to_vec();
        assert_eq!(found(&it), expected, "{arguments}");
        for path in expected.iter().filter(|_| arguments.get("kind").is_none()) {
            result(&mut session, "read_file", json!({ "path": path })).await;
        }
    }
    for (path, expected) in [
        ("src/a.rs", &["src/a.rs:1:1"][..]),
        ("docs/up", &["src/a.rs:1:1"]),
        (".env", &[".env:1:1"]),
        ("docs/../src/./a.rs", &["src/a.rs:1:1"]),
        ("odd\\xff.rs", &["odd\\xff.rs:1:1"]),
    ] {
        let it = result(&mut session, "grep", json!({ "pattern": "needle", "path": path })).await;
        assert_eq!(found(&it), expected, "{path}");
        assert_eq!(it["data"]["visited"], 1);
    }
    for (path, code) in [
        ("fifo", "tool_denied"),
        ("src/a.rs/", "tool_error"),
        ("src/a.rs/x", "tool_error"),
        ("dangling", "tool_error"),
        ("to-out", "tool_denied"),
    ] {
        for tool in ["glob", "grep"] {
            let error = failure(&mut session, tool, json!({ "pattern": "x", "path": path })).await;
            assert_eq!(error["code"], code, "{tool} {path}: {error}");
        }
    }
    host.stop().await;
}
