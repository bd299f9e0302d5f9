//! `http`: pages below a URL, with headers that nobody sees.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each request with its own head; some pages redirect, to another port of this machine or here.
async fn server(away: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap_or(b'\n'));
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                let target = match head.split(' ').nth(1).unwrap_or_default() {
                    "/v1/away" => format!("http://127.0.0.1:{away}/else"),
                    "/v1/inside" => format!("http://127.0.0.1:{away}/private"),
                    "/v1/up" => "../admin".to_owned(),
                    "/v1/coded" => "/v1/..%2fadmin".to_owned(),
                    "/v1/secure" => format!("https://127.0.0.1:{away}/else"),
                    "/v1/down" => "sub/items".to_owned(),
                    "/v1/open" => "/open/items".to_owned(),
                    _ => String::new(),
                };
                let reply = if target.is_empty() {
                    format!(
                        "HTTP/1.1 200 x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{head}",
                        head.len()
                    )
                } else {
                    format!("HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n")
                };
                stream.write_all(reply.as_bytes()).await.ok();
            });
        }
    });
    port
}

fn settings(within: &[String]) -> Value {
    json!({ "within": within, "http_get": { "allow_private": true } })
}

async fn body(session: &mut TestSession, path: &str) -> String {
    let reply = call(session, "http__get", json!({ "path": path })).await;
    reply["data"]["data"]["body"].as_str().unwrap_or_else(|| panic!("{path}: {reply}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_below_the_base_and_headers_go_to_its_server_alone() {
    let other = server(0).await;
    let port = server(other).await;
    let opened = format!("http://127.0.0.1:{port}/v1");
    let elsewhere = format!("http://127.0.0.1:{other}/else");
    let beside = format!("http://127.0.0.1:{port}/open");
    let all = [opened.clone(), elsewhere, beside];
    let (host, mut session) = start(&[("http", settings(&all))]).await;
    let config = json!({ "base_url": opened, "headers": { "Authorization": "Bearer s3cret", "X-Own": "1" } });
    configure(&mut session, "http", config).await;
    assert_eq!(tools(&mut session).await, ["http__get"]);
    for (path, line) in [
        ("", "get /v1/ http"),
        ("items?page=2", "get /v1/items?page=2 http"),
        ("/items", "get /v1/items http"),
        ("down", "get /v1/sub/items http"),
        ("group%2Fproject", "get /v1/group%2fproject http"),
    ] {
        let head = body(&mut session, path).await;
        assert!(head.starts_with(line), "{path}: {head}");
        assert!(
            head.contains("authorization: bearer s3cret") && head.contains("x-own: 1"),
            "{head}"
        );
    }
    for (path, line) in [("away", "get /else"), ("open", "get /open/items")] {
        let head = body(&mut session, path).await;
        assert!(head.starts_with(line), "{path}: {head}");
        assert!(!head.contains("s3cret") && !head.contains("x-own"), "beside the base: {head}");
    }
    for path in ["up", "inside", "coded", "secure"] {
        let reply = call(&mut session, "http__get", json!({ "path": path })).await;
        assert_eq!(reply["code"], "tool_denied", "{path}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains("redirects to"), "{reply}");
    }
    let arguments = json!({ "path": "items", "allow_downgrade": true });
    let reply = call(&mut session, "http__get", arguments).await;
    assert_eq!(reply["code"], "schema_violation", "the operator's to say: {reply}");
    for path in [
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "a/./b",
        "a b",
        "x\u{1}",
        "..%2f..%2fadmin",
        "a%5C..%5c..%5cadmin",
        "..%252fadmin",
        "..;x/admin",
    ] {
        let reply = call(&mut session, "http__get", json!({ "path": path })).await;
        assert_eq!(reply["code"], "schema_violation", "{path}: {reply}");
    }
    let listed = kit(&mut session, "http").await;
    assert_eq!(listed["config"]["headers"], json!({ "Authorization": "***", "X-Own": "***" }));
    assert_eq!(listed["config"]["base_url"], opened);
    assert_eq!(listed["schema"]["properties"]["headers"]["writeOnly"], true);
    host.stop().await;
}

/// This number of headers, with values of this size.
fn many(count: usize, size: usize) -> Value {
    (0..count).map(|number| (format!("X-{number}"), json!("x".repeat(size)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configurations_tell_no_secret() {
    let (host, mut session) =
        start(&[("http", settings(&["http://a.example/v1".to_owned()]))]).await;
    for (config, why) in [
        (json!({}), "base_url"),
        (json!({ "base_url": 5 }), "base_url"),
        (json!({ "base_url": "a.example" }), "base_url"),
        (json!({ "base_url": "ftp://a.example" }), "base_url"),
        (json!({ "base_url": "http://me:s3cret@a.example/v1" }), "base_url"),
        (json!({ "base_url": "http://a.example/v1?k=v" }), "base_url"),
        (json!({ "base_url": "http://a.example/" }), "operator opened"),
        (json!({ "base_url": "https://a.example/v1" }), "operator opened"),
        (json!({ "base_url": "http://a.example.evil.example/v1" }), "operator opened"),
        (
            json!({ "base_url": "http://a.example/v1", "headers": { "a b": "s3cret" } }),
            "headers.a b",
        ),
        (
            json!({ "base_url": "http://a.example/v1", "headers": { "Host": "s3cret" } }),
            "headers.Host",
        ),
        (json!({ "base_url": "http://a.example/v1", "headers": { "X": "s3cret\n" } }), "headers.X"),
        (json!({ "base_url": "http://a.example/v1", "headers": { "X": 5 } }), "config.headers"),
        (json!({ "base_url": "http://a.example/v1", "headers": ["s3cret"] }), "config.headers"),
        (json!({ "base_url": "http://a.example/v1", "token": "s3cret" }), "token"),
        (json!({ "base_url": "http://a.example/v1/..%2fx/" }), "`.` or `..`"),
        (
            json!({ "base_url": "http://a.example/v1", "headers": many(40_000, 1) }),
            "headers: at most",
        ),
        (json!({ "base_url": "http://a.example/v1", "headers": many(65, 1) }), "headers: at most"),
        (
            json!({ "base_url": "http://a.example/v1", "headers": many(5, 8000) }),
            "headers: at most",
        ),
    ] {
        let text = refused(&mut session, "http", config.clone()).await;
        assert!(text.contains(why) && !text.contains("s3cret"), "{why}: {text}");
    }
    assert!(tools(&mut session).await.is_empty());
    let most = json!({ "base_url": "http://a.example/v1", "headers": many(64, 400) });
    configure(&mut session, "http", most).await;
    host.stop().await;
}
