//! `http_get` against real servers on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use a2e_core::config::PluginConfig;
use serde_json::{Value, json};

use super::{CLS, call, failure, names, result, start};

/// A server on an address of this machine. It tells each request's head, and answers it so.
fn serve(
    address: &str,
    answer: impl Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let head = head(&mut stream);
            if heads.try_send(head.clone()).is_err() {
                break;
            }
            // The client may have gone: that is for the test to say.
            answer(&head, &mut stream).ok();
        }
    });
    (address, seen)
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|read| read > 0) {}
    head
}

/// The path of a request.
fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

fn respond(out: &mut dyn Write, head: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(out, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n")?;
    out.write_all(body)
}

fn http(settings: Value) -> PluginConfig {
    PluginConfig::new("tools", "tools", CLS).with_setting("http_get", settings)
}

/// Lets tools reach this address of this machine, and no other one inside.
fn one_allowed() -> PluginConfig {
    http(json!({ "allow_private": ["127.0.0.1"], "timeout_s": 10 }))
}

#[tokio::test]
async fn pages_come_with_status_type_and_body() {
    let (address, seen) = serve("127.0.0.1:0", |head, out| match path(head) {
        "/text" => respond(
            out,
            "200 OK\r\nContent-Type: text/plain\r\nETag: \"e\"\r\nX-Odd: y",
            "größe".as_bytes(),
        ),
        "/bytes" => respond(out, "200 OK", &[0xff, 0]),
        "/packed" => respond(out, "200 OK\r\nContent-Encoding: gzip", &[0x1f, 0x8b, 0xff]),
        "/chunked" => out.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        "/empty" => respond(out, "204 No Content", b""),
        "/open" => out.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        _ => respond(out, "404 Not Found", b"no"),
    });
    let (host, mut session) = start([one_allowed()]).await;
    assert_eq!(names(&mut session, json!({})).await, ["http_get"]);
    for (path, status, body, encoding) in [
        ("/text", 200, "größe", "utf-8"),
        ("/bytes", 200, "/wA=", "base64"),
        ("/packed", 200, "H4v/", "base64"),
        ("/chunked", 200, "abc", "utf-8"),
        ("/empty", 204, "", "utf-8"),
        ("/open", 200, "until the end", "utf-8"),
        ("/nope?q=1", 404, "no", "utf-8"),
    ] {
        let url = format!("http://{address}{path}");
        let it = result(&mut session, "http_get", json!({ "url": url })).await;
        let data = &it["data"];
        assert_eq!((&data["status"], &data["body"]), (&json!(status), &json!(body)), "{path}");
        assert_eq!((&data["encoding"], &data["url"]), (&json!(encoding), &json!(url)));
        assert_eq!((&it["truncated"], &data["redirects"]), (&json!(false), &json!([])));
        if path == "/text" {
            assert_eq!(
                (&data["content_type"], &data["headers"]["etag"]),
                (&json!("text/plain"), &json!("\"e\""))
            );
            assert!(data["headers"].get("x-odd").is_none(), "{data}");
        }
    }
    let heads: Vec<String> = seen.try_iter().collect();
    let first = heads[0].to_ascii_lowercase();
    assert!(first.starts_with("get /text http/1.1\r\n"), "{first}");
    for line in [format!("host: {address}\r\n"), "accept-encoding: identity\r\n".to_owned()] {
        assert!(first.contains(&line), "{first}");
    }
    let arguments = json!({ "url": format!("http://{address}/text"), "method": "HEAD",
        "headers": { "Accept": "text/plain", "User-Agent": "me" } });
    let it = result(&mut session, "http_get", arguments).await;
    assert_eq!((&it["data"]["status"], &it["data"]["body"]), (&json!(200), &json!("")));
    let head = seen.recv().unwrap().to_ascii_lowercase();
    assert!(
        head.starts_with("head /text")
            && head.contains("accept: text/plain")
            && head.contains("user-agent: me\r\n"),
        "{head}"
    );
    host.stop().await;
}

#[tokio::test]
async fn r60_what_is_not_public_is_not_reached() {
    let (address, seen) = serve("127.0.0.1:0", |_, out| respond(out, "200 OK", b"inside"));
    let port = address.port();
    let (host, mut session) = start([http(json!({}))]).await;
    for target in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LOCALHOST.:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("127.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::1]:{port}"),
        format!("[::]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::127.0.0.1]:{port}"),
        format!("[64:ff9b::127.0.0.1]:{port}"),
        format!("[2002:7f00:1::]:{port}"),
        "10.0.0.1".to_owned(),
        "169.254.169.254".to_owned(),
        "[fe80::1]".to_owned(),
        "[fd00::1]".to_owned(),
        "100.64.0.1".to_owned(),
        "224.0.0.1".to_owned(),
    ] {
        let error =
            failure(&mut session, "http_get", json!({ "url": format!("http://{target}/") })).await;
        // Some systems do not resolve the odd ways to write an address.
        if error["code"] == "tool_error" {
            assert!(
                error["message"].as_str().unwrap().contains("not resolved"),
                "{target}: {error}"
            );
            continue;
        }
        assert_eq!(error["code"], "tool_denied", "{target}: {error}");
        assert_eq!(error["detail"]["setting"], "http_get.allow_private", "{target}");
    }
    assert!(seen.try_recv().is_err(), "nobody came");
    host.stop().await;
}

#[tokio::test]
async fn a_location_is_followed_as_browsers_do_or_shown_whole() {
    let (address, seen) = serve("127.0.0.1:0", |head, out| {
        let to: &[u8] = match path(head) {
            "/utf8" => "/größe/ß?q=ä".as_bytes(),
            "/latin1" => b"/gr\xf6\xdfe",
            "/blank" => b"/a b/c  d?x y",
            "/back" => br"\a\b",
            "/host" => "http://größe.example/ü".as_bytes(),
            "/empty" => b"",
            "/kept" => {
                return out.write_all(
                    "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: /ü\r\n\r\n".as_bytes(),
                );
            }
            "/latin1-kept" => {
                return out.write_all(
                    b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: /\xfc\r\n\r\n",
                );
            }
            _ => return respond(out, "200 OK", b"here"),
        };
        out.write_all(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ")?;
        out.write_all(to)?;
        out.write_all(b"\r\n\r\n")
    });
    let (host, mut session) = start([one_allowed()]).await;
    let url = |path: &str| format!("http://{address}{path}");
    for (from, to) in [
        ("/utf8", "/gr%C3%B6%C3%9Fe/%C3%9F?q=%C3%A4"),
        ("/latin1", "/gr%F6%DFe"),
        ("/blank", "/a%20b/c%20%20d?x%20y"),
        ("/back", "/a/b"),
    ] {
        let it = result(&mut session, "http_get", json!({ "url": url(from) })).await;
        let data = &it["data"];
        assert_eq!((&data["url"], &data["body"]), (&json!(url(to)), &json!("here")), "{from}");
        assert_eq!(data["redirects"], json!([url(from)]));
        let heads: Vec<String> = seen.try_iter().collect();
        assert_eq!(heads.iter().map(|it| path(it)).collect::<Vec<_>>(), [from, to]);
    }
    let error = failure(&mut session, "http_get", json!({ "url": url("/host") })).await;
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("redirects to `http://größe.example/ü`"), "{text}");
    let it = result(&mut session, "http_get", json!({ "url": url("/empty") })).await;
    assert_eq!(it["data"]["status"], 302, "nowhere to go: it is the page");
    for (from, shown) in [("/kept", "/ü"), ("/latin1-kept", "/%FC")] {
        let it = result(&mut session, "http_get", json!({ "url": url(from) })).await;
        assert_eq!(it["data"]["headers"]["location"], shown, "{it}");
    }
    host.stop().await;
}

#[tokio::test]
async fn r60_a_redirect_is_checked_like_a_request() {
    let (inside, seen) = serve("127.0.0.2:0", |_, out| respond(out, "200 OK", b"inside"));
    let port = inside.port();
    let (address, heads_seen) = serve("127.0.0.1:0", move |head, out| {
        let to = match path(head) {
            "/v4" => format!("http://127.0.0.2:{port}/"),
            "/number" => format!("http://2130706434:{port}/"),
            "/mapped" => format!("http://[::ffff:127.0.0.2]:{port}/"),
            "/meta" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "/twice" => "/v4".to_owned(),
            "/scheme" => "file:///etc/passwd".to_owned(),
            "/user" => format!("http://a:b@127.0.0.1:{port}/"),
            "/loop" => "/loop".to_owned(),
            "/5" | "/4" | "/3" | "/2" | "/1" => {
                format!("{}", path(head)[1..].parse::<u32>().unwrap() - 1)
            }
            _ => return respond(out, "200 OK", b"there"),
        };
        respond(out, &format!("302 Found\r\nSet-Cookie: a=b\r\nLocation: {to}"), b"ignored")
    });
    let (host, mut session) = start([one_allowed()]).await;
    let url = |path: &str| json!({ "url": format!("http://{address}{path}") });
    for (path, code, part) in [
        ("/v4", "tool_denied", "127.0.0.2 (loopback)"),
        ("/number", "tool_denied", "127.0.0.2 (loopback)"),
        ("/mapped", "tool_denied", "(loopback)"),
        ("/meta", "tool_denied", "link-local"),
        ("/twice", "tool_denied", "127.0.0.2 (loopback)"),
        ("/scheme", "tool_error", "redirects to"),
        ("/user", "tool_error", "credentials"),
        ("/loop", "tool_error", "more than 5 times"),
    ] {
        let error = failure(&mut session, "http_get", url(path)).await;
        assert_eq!(error["code"], code, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{path}: {error}");
    }
    assert!(seen.try_recv().is_err(), "nobody came inside");
    let it = result(&mut session, "http_get", url("/5")).await;
    let data = &it["data"];
    assert_eq!((&data["body"], &data["url"]), (&json!("there"), &url("/0")["url"]));
    assert_eq!(data["redirects"].as_array().unwrap().len(), 5);
    let heads: Vec<String> = heads_seen.try_iter().map(|it| it.to_ascii_lowercase()).collect();
    assert!(heads.len() > 10 && heads.iter().all(|it| !it.contains("cookie")), "{heads:?}");
    host.stop().await;
}

#[tokio::test]
async fn r20_bodies_and_times_have_bounds() {
    let (address, _seen) = serve("127.0.0.1:0", |head, out| match path(head) {
        "/endless" => {
            write!(out, "HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                out.write_all(&[b'x'; 4096])?;
            }
        }
        "/slow" => {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            loop {
                out.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "/header" => {
            write!(out, "HTTP/1.1 200 OK\r\n")?;
            (0..100_000).try_for_each(|it| write!(out, "X-{it}: {}\r\n", "y".repeat(100)))
        }
        "/short" => out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        "/nothing" => Ok(()),
        "/garbage" => out.write_all(b"220 mail.example ESMTP\r\n"),
        _ => respond(out, "200 OK", "é".repeat(1000).as_bytes()),
    });
    let settings = json!({ "allow_private": true, "max_bytes": 10_001, "timeout_s": 0.7 });
    let (host, mut session) = start([http(settings)]).await;
    let url = |path: &str| format!("http://{address}{path}");
    for (path, wanted, bytes, is_cut) in [
        ("/endless", None, 10_001, true),
        ("/endless", Some(10), 10, true),
        ("/endless", Some(1_000_000), 10_001, true),
        ("/whole", None, 2000, false),
        ("/whole", Some(2000), 2000, false),
        ("/whole", Some(1999), 1998, true),
        ("/whole", Some(0), 0, true),
    ] {
        let mut arguments = json!({ "url": url(path) });
        if let Some(wanted) = wanted {
            arguments["max_bytes"] = json!(wanted);
        }
        let it = result(&mut session, "http_get", arguments.clone()).await;
        assert_eq!(
            (&it["data"]["bytes"], &it["truncated"]),
            (&json!(bytes), &json!(is_cut)),
            "{arguments}"
        );
        assert_eq!(it["data"]["encoding"], "utf-8");
    }
    for (path, part) in [
        ("/slow", "not done within 0.7 s"),
        ("/header", "cannot fetch"),
        ("/short", "cannot fetch"),
        ("/nothing", "cannot fetch"),
        ("/garbage", "cannot fetch"),
    ] {
        let error = failure(&mut session, "http_get", json!({ "url": url(path) })).await;
        assert_eq!((&error["code"], &error["retryable"]), (&json!("tool_error"), &json!(true)));
        assert!(error["message"].as_str().unwrap().contains(part), "{path}: {error}");
    }
    let mut short = call("http_get", json!({ "url": url("/slow") }));
    short["timeout"] = json!(1);
    assert!(session.call("tool/call/req", short).await["code"].is_string());
    host.stop().await;
}

#[tokio::test]
async fn a_cancelled_call_lets_go_of_its_server() {
    let (closed, is_closed) = sync_channel(1);
    let (address, seen) = serve("127.0.0.1:0", move |_, out| {
        write!(out, "HTTP/1.1 200 OK\r\n\r\n")?;
        while out.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        closed.send(()).map_err(std::io::Error::other)
    });
    let (host, mut session) = start([one_allowed()]).await;
    let request = call("http_get", json!({ "url": format!("http://{address}/") }));
    let id = session.send("tool/call/req", request).await;
    tokio::task::spawn_blocking(move || seen.recv().unwrap()).await.unwrap();
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    let waited =
        tokio::task::spawn_blocking(move || is_closed.recv_timeout(Duration::from_secs(10)));
    assert!(waited.await.unwrap().is_ok(), "the connection is closed");
    host.stop().await;
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_anything_is_sent() {
    let (address, seen) = serve("127.0.0.1:0", |_, out| respond(out, "200 OK", b""));
    let (host, mut session) = start([one_allowed()]).await;
    let url = format!("http://{address}/");
    for (arguments, loc) in [
        (json!({}), "arguments.url"),
        (json!({ "url": "nonsense" }), "arguments.url"),
        (json!({ "url": "ftp://a/" }), "arguments.url"),
        (json!({ "url": format!("http://me:secret@{address}/") }), "arguments.url"),
        (json!({ "url": format!("{url}\r\nX: y") }), "arguments.url"),
        (json!({ "url": url, "method": "POST" }), "arguments.method"),
        (json!({ "url": url, "headers": { "Cookie": "a=b" } }), "arguments.headers.Cookie"),
        (
            json!({ "url": url, "headers": { "authorization": "x" } }),
            "arguments.headers.authorization",
        ),
        (json!({ "url": url, "headers": { "host": "inside" } }), "arguments.headers.host"),
        (
            json!({ "url": url, "headers": { "accept": "a\r\nHost: b" } }),
            "arguments.headers.accept",
        ),
        (
            json!({ "url": url, "headers": { "accept": "x".repeat(2000) } }),
            "arguments.headers.accept",
        ),
    ] {
        let error = failure(&mut session, "http_get", arguments.clone()).await;
        assert_eq!(error["code"], "schema_violation", "{arguments}: {error}");
        assert_eq!(error["detail"]["errors"][0]["loc"], loc, "{arguments}: {error}");
        assert!(!error["message"].as_str().unwrap().contains("secret"), "{error}");
    }
    assert!(seen.try_recv().is_err());
    host.stop().await;
}

#[tokio::test]
async fn it_is_offered_only_where_the_operator_says_so() {
    for (plugin, code, part) in [
        (PluginConfig::new("tools", "tools", CLS), "tool_denied", "http_get: {}"),
        (
            PluginConfig::new("tools", "tools", CLS).with_setting("providers", ["http_get"]),
            "tool_denied",
            "http_get: {}",
        ),
        (http(json!({})).with_setting("providers", ["read_file"]), "unknown_tool", "http_get"),
    ] {
        let (host, mut session) = start([plugin]).await;
        assert!(names(&mut session, json!({})).await.is_empty());
        let error = failure(&mut session, "http_get", json!({ "url": "http://a/" })).await;
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        host.stop().await;
    }
    for (settings, part) in [
        (json!({ "max_bytes": 0 }), "http_get.max_bytes"),
        (json!({ "timeout_s": -1 }), "http_get.timeout_s"),
        (json!({ "allow_private": "yes" }), "http_get.allow_private"),
        (json!({ "allow_private": ["10.0.0.0/40"] }), "no network"),
        (json!({ "ca_file": "/no/such/file" }), "http_get.ca_file"),
    ] {
        let (host, mut session) = start([http(settings)]).await;
        assert_eq!(session.call_error("tool/list/req", json!({})).await, "unknown_type");
        let status = format!("{:?}", host.executor().status());
        assert!(status.contains(part), "{part}: {status}");
        host.stop().await;
    }
}

/// A server with a certificate of `tls/ca.pem` for `localhost`; the key is for this test alone.
fn serve_tls(body: &'static str, location: Option<String>) -> SocketAddr {
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
    let chain = vec![CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            if stream.read(&mut [0; 4096]).is_err() {
                continue;
            }
            let head = match &location {
                Some(to) => format!("302 Found\r\nLocation: {to}"),
                None => "200 OK".to_owned(),
            };
            respond(&mut stream, &head, body.as_bytes()).ok();
        }
    });
    address
}

#[tokio::test]
async fn https_is_spoken_with_servers_that_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, include_bytes!("tls/ca.pem")).unwrap();
    let (plain, seen) = serve("127.0.0.1:0", |_, out| respond(out, "200 OK", b"in the clear"));
    let address = serve_tls("secret page", None);
    let down = serve_tls("", Some(format!("http://{plain}/")));
    let settings = json!({ "allow_private": ["127.0.0.1", "::1"], "ca_file": ca });
    let (host, mut session) = start([http(settings)]).await;
    for name in ["localhost", "127.0.0.1"] {
        let url = format!("https://{name}:{}/", address.port());
        let it = result(&mut session, "http_get", json!({ "url": url })).await;
        assert_eq!(it["data"]["body"], "secret page", "{it}");
    }
    let url = format!("https://127.0.0.1:{}/", down.port());
    let error = failure(&mut session, "http_get", json!({ "url": url })).await;
    assert_eq!(error["code"], "tool_denied", "{error}");
    assert!(error["message"].as_str().unwrap().contains("allow_downgrade"), "{error}");
    assert!(seen.try_recv().is_err());
    let it = result(&mut session, "http_get", json!({ "url": url, "allow_downgrade": true })).await;
    assert_eq!(it["data"]["body"], "in the clear");
    host.stop().await;
    // Without that file the certificate is one of a stranger; or there are none to trust at all.
    let (host, mut session) = start([http(json!({ "allow_private": true }))]).await;
    let url = format!("https://127.0.0.1:{}/", address.port());
    let error = failure(&mut session, "http_get", json!({ "url": url })).await;
    assert_eq!(error["code"], "tool_error");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("TLS") || text.contains("certificates to trust"), "{error}");
    host.stop().await;
}
