//! `sqlite`: queries that read, and nothing else.

use rusqlite::Connection;

use super::*;

fn database(folder: &Path) {
    let file = Connection::open(folder.join("data.db")).unwrap();
    file.execute_batch(
        "CREATE TABLE t (id INTEGER, name TEXT, score REAL, raw BLOB);
         INSERT INTO t VALUES (1, 'Ada', 1.5, x'00ff'), (2, 'Bo', NULL, NULL);
         CREATE VIEW v AS SELECT name FROM t;
         CREATE TABLE big (n INTEGER, text TEXT);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)
         INSERT INTO big SELECT n, 'row' || n FROM c;",
    )
    .unwrap();
    Connection::open(folder.join("other.db")).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_read_and_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path());
    let (host, mut session) = start(&[("sqlite", within(folder.path()))]).await;
    configure(&mut session, "sqlite", json!({ "path": "data.db" })).await;
    assert_eq!(tools(&mut session).await, ["sqlite__query", "sqlite__tables"]);
    let listed = call(&mut session, "sqlite__tables", json!({})).await;
    let names: Vec<&Value> =
        listed["data"]["data"]["tables"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["big", "t", "v"]);
    for (arguments, rows) in [
        (
            json!({ "sql": "SELECT * FROM t ORDER BY id" }),
            json!([[1, "Ada", 1.5, { "hex": "00ff" }], [2, "Bo", null, null]]),
        ),
        (
            json!({ "sql": "SELECT name FROM t WHERE id = ?1 OR name = ?2", "params": [1, "Bo"] }),
            json!([["Ada"], ["Bo"]]),
        ),
        (
            json!({ "sql": "SELECT ?1, ?2, ?3, ?4", "params": [null, true, 1.5, "x"] }),
            json!([[null, 1, 1.5, "x"]]),
        ),
        (json!({ "sql": "WITH a AS (SELECT 1) SELECT count(*) FROM v, a" }), json!([[2]])),
        (json!({ "sql": "SELECT 9e999" }), json!([[null]])),
        (json!({ "sql": "VALUES (1), (2), (3)", "max_rows": 2 }), json!([[1], [2]])),
        (json!({ "sql": "SELECT 1 WHERE 0" }), json!([])),
    ] {
        let reply = call(&mut session, "sqlite__query", arguments.clone()).await;
        assert_eq!(reply["data"]["data"]["rows"], rows, "{arguments}: {reply}");
    }
    let many = call(&mut session, "sqlite__query", json!({ "sql": "SELECT n FROM big" })).await;
    assert_eq!(many["data"]["data"]["rows"].as_array().unwrap().len(), 1000);
    assert_eq!(
        (&many["data"]["truncated"], &many["data"]["data"]["truncated"]),
        (&json!(true), &json!(true))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_more_than_a_query_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path());
    let settings = json!({ "within": [folder.path()], "timeout_s": 0.3 });
    let (host, mut session) = start(&[("sqlite", settings)]).await;
    configure(&mut session, "sqlite", json!({ "path": folder.path().join("data.db") })).await;
    let other = folder.path().join("other.db").display().to_string();
    for (sql, code) in [
        ("INSERT INTO t VALUES (3, 'x', 0, 0)".to_owned(), "tool_denied"),
        ("DELETE FROM t".into(), "tool_denied"),
        ("UPDATE t SET id = 5".into(), "tool_denied"),
        ("DROP TABLE t".into(), "tool_denied"),
        ("CREATE TEMP TABLE y (z)".into(), "tool_denied"),
        (format!("ATTACH '{other}' AS o"), "tool_denied"),
        ("PRAGMA journal_mode = DELETE".into(), "tool_denied"),
        ("PRAGMA query_only = OFF".into(), "tool_denied"),
        ("BEGIN IMMEDIATE".into(), "tool_denied"),
        (format!("VACUUM INTO '{other}2'"), "tool_denied"),
        ("SELECT load_extension('x')".into(), "tool_error"),
        ("SELECT fts3_tokenizer('simple')".into(), "tool_error"),
        ("SELECT json_patch('{}', '{}')".into(), "tool_error"),
        ("SELECT json_pretty('[]')".into(), "tool_error"),
        ("nonsense".into(), "tool_error"),
        ("SELECT * FROM missing".into(), "tool_error"),
        ("SELECT 1; DELETE FROM t".into(), "tool_denied"),
        ("SELECT 1; SELECT 2".into(), "tool_error"),
        ("SELECT zeroblob(100000000)".into(), "tool_error"),
        (format!("SELECT '{}'", "x".repeat(70_000)), "tool_error"),
        (
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
                .into(),
            "timeout",
        ),
    ] {
        let shown: String = sql.chars().take(60).collect();
        let reply = call(&mut session, "sqlite__query", json!({ "sql": sql })).await;
        assert_eq!(reply["code"], code, "{shown}: {reply}");
    }
    for (arguments, code) in [
        (json!({}), "schema_violation"),
        (json!({ "sql": 5 }), "schema_violation"),
        (json!({ "sql": "SELECT ?1", "params": [{}] }), "schema_violation"),
        (json!({ "sql": "SELECT ?1", "params": [] }), "tool_error"),
        (json!({ "sql": "SELECT 1", "max_rows": "x" }), "schema_violation"),
    ] {
        let reply = call(&mut session, "sqlite__query", arguments.clone()).await;
        assert_eq!(reply["code"], code, "{arguments}: {reply}");
    }
    let rows =
        call(&mut session, "sqlite__query", json!({ "sql": "SELECT count(*) FROM t" })).await;
    assert_eq!(rows["data"]["data"]["rows"], json!([[2]]), "nothing was changed");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_bounded_give_what_those_of_sqlite_give() {
    let folder = tempfile::tempdir().unwrap();
    let file = Connection::open(folder.path().join("data.db")).unwrap();
    file.execute_batch(
        "CREATE TABLE t (s TEXT, long TEXT); CREATE VIEW v AS SELECT replace(s, 'a', 'e') AS e FROM t;
         CREATE INDEX i ON t (instr(s, '.'));
         INSERT INTO t VALUES ('a.b', printf('%300000d', 1)), ('ab.c', 'short');",
    )
    .unwrap();
    let (host, mut session) = start(&[("sqlite", within(folder.path()))]).await;
    configure(&mut session, "sqlite", json!({ "path": "data.db" })).await;
    for sql in [
        "SELECT instr('aäb', 'b'), instr(12.5, '.'), instr(x'0102', x'02'), instr(NULL, 'x')",
        "SELECT replace('abcb', 'b', 'xy'), replace('abc', '', 'x'), replace(121, 1, NULL)",
        "SELECT trim('--a-', '-'), ltrim('xya', 'xy'), rtrim('axy', 'xy'), trim(' a '), ltrim(5, 5)",
        "SELECT 'Ada' LIKE 'aD%', 'a_b' LIKE 'a!_b' ESCAPE '!', 'axb' LIKE 'a!_b' ESCAPE '!', NULL LIKE 'a'",
        "SELECT 'abc' GLOB 'a[bx]*', 'Abc' GLOB 'a*', 5 LIKE 5, x'61' LIKE 'a'",
        "SELECT e FROM v ORDER BY e",
        "SELECT s FROM t WHERE instr(s, '.') = 3",
        "SELECT s, octet_length(long) FROM t ORDER BY s",
        "SELECT count(*), max(s), group_concat(s ORDER BY s), json_extract('{\"a\":[1,2]}', '$.a[1]') FROM t",
    ] {
        // The plain library is the second opinion.
        let mut query = file.prepare(sql).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            (0..columns).map(|place| row.get::<_, rusqlite::types::Value>(place)).collect()
        });
        let rows: Vec<Vec<rusqlite::types::Value>> = rows.unwrap().map(Result::unwrap).collect();
        let json = |value: &rusqlite::types::Value| match value {
            rusqlite::types::Value::Null => Value::Null,
            rusqlite::types::Value::Integer(number) => json!(number),
            rusqlite::types::Value::Real(number) => json!(number),
            rusqlite::types::Value::Text(text) => json!(text),
            rusqlite::types::Value::Blob(_) => panic!("no blobs here"),
        };
        let rows: Vec<Vec<Value>> = rows.iter().map(|row| row.iter().map(json).collect()).collect();
        let reply = call(&mut session, "sqlite__query", json!({ "sql": sql })).await;
        assert_eq!(reply["data"]["data"]["rows"], json!(rows), "{sql}: {reply}");
    }
    let sought = "x".repeat(257);
    for (sql, why) in [
        ("SELECT s LIKE ?1 FROM t", "like: what is sought"),
        ("SELECT s LIKE ?1 ESCAPE '!' FROM t", "like: what is sought"),
        ("SELECT s GLOB ?1 FROM t", "glob: what is sought"),
        ("SELECT instr(s, ?1) FROM t", "instr: what is sought"),
        ("SELECT replace(s, ?1, '') FROM t", "replace: what is sought"),
        ("SELECT trim(s, ?1) FROM t", "trim: what is sought"),
        ("SELECT long, ?1 FROM t", "256 KiB at most"),
        ("SELECT replace(printf('%200000d', 1), ' ', 'xx'), ?1", "too big"),
    ] {
        let arguments = json!({ "sql": sql, "params": [sought] });
        let reply = call(&mut session, "sqlite__query", arguments).await;
        assert_eq!(reply["code"], "tool_error", "{sql}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains(why), "{sql}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_long_row_ends_in_time_and_what_is_sorted_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let file = Connection::open(folder.path().join("data.db")).unwrap();
    file.execute_batch(
        "CREATE TABLE t (s TEXT); INSERT INTO t VALUES (replace(printf('%200000d', 1), ' ', 'a'))",
    )
    .unwrap();
    let settings = json!({ "within": [folder.path()], "timeout_s": 0.3 });
    let (host, mut session) = start(&[("sqlite", settings)]).await;
    configure(&mut session, "sqlite", json!({ "path": "data.db" })).await;
    // Some 10^10 comparisons for one row, with no step of a loop between them.
    let pattern = format!("%{}b", "a".repeat(250));
    let terms = vec!["(s LIKE ?1)"; 400].join(" + ");
    let arguments = json!({ "sql": format!("SELECT {terms} FROM t"), "params": [pattern] });
    let reply = call(&mut session, "sqlite__query", arguments).await;
    assert_eq!(reply["code"], "timeout", "{reply}");
    host.stop().await;

    let settings = json!({ "within": [folder.path()], "timeout_s": 60 });
    let (host, mut session) = start(&[("sqlite", settings)]).await;
    configure(&mut session, "sqlite", json!({ "path": "data.db" })).await;
    let sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)
               SELECT n FROM c ORDER BY printf('%200000d', n)";
    let reply = call(&mut session, "sqlite__query", json!({ "sql": sql })).await;
    assert_eq!(reply["code"], "tool_error", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("memory"), "{reply}");
    let again =
        call(&mut session, "sqlite__query", json!({ "sql": "SELECT length(s) FROM t" })).await;
    assert_eq!(again["data"]["data"]["rows"], json!([[200_000]]), "{again}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_elsewhere_and_files_of_other_kinds_are_refused() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    database(outside.path());
    std::fs::write(folder.path().join("text"), "no database, but long enough to be read").unwrap();
    std::os::unix::fs::symlink(outside.path().join("data.db"), folder.path().join("link.db"))
        .unwrap();
    let (host, mut session) = start(&[("sqlite", within(folder.path()))]).await;
    for config in [
        json!({}),
        json!({ "path": 5 }),
        json!({ "path": "missing.db" }),
        json!({ "path": "." }),
        json!({ "path": "text" }),
        json!({ "path": "link.db" }),
        json!({ "path": outside.path().join("data.db") }),
        json!({ "path": "file:/etc/passwd?mode=ro" }),
    ] {
        refused(&mut session, "sqlite", config).await;
    }
    assert!(tools(&mut session).await.is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_stops() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path());
    let settings = json!({ "within": [folder.path()], "timeout_s": 60 });
    let (host, mut session) = start(&[("sqlite", settings)]).await;
    configure(&mut session, "sqlite", json!({ "path": "data.db" })).await;
    let endless =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";
    let body = json!({ "tool_name": "sqlite__query", "arguments": { "sql": endless } });
    let id = session.send("tool/call/req", body).await;
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    host.until("the query stops", |it| it.in_flight == 0).await;
    host.stop().await;
}
