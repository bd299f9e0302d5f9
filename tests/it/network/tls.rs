//! TLS in front of sockets and HTTP, with a certificate of the operator's.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::support::program::{Host, PATIENCE, Place, workspace};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn file(name: &str) -> String {
    workspace().join("tests/data/tls").join(name).to_str().unwrap().to_owned()
}

/// A connection that trusts the certificate of the tests, and nothing else.
fn connect(address: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(Path::new(&file("cert.pem"))).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(client, stream)
}

fn config(place: &Place, cert: &str, key: &str) -> String {
    place.config(&format!(
        "auth_token: {TOKEN}\nserver: {{tls: {{cert: '{cert}', key: '{key}'}}}}\nplugins:\n  \
        - {{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}}\n"
    ))
}

#[test]
fn r60_lines_and_http_are_served_behind_tls_and_never_without() {
    let place = Place::new();
    let config = config(&place, &file("cert.pem"), &file("key.pem"));
    let listen = ["--listen", "tcp://0.0.0.0:0", "--listen", "http://127.0.0.1:0"];
    let host = Host::serve(&[&["-c", &config][..], &listen].concat());
    let addresses = host.addresses(2);
    let port = |place: usize| addresses[place].rsplit(':').next().unwrap().to_owned();
    let (lines, http) = (format!("127.0.0.1:{}", port(0)), format!("127.0.0.1:{}", port(1)));

    let mut agent = BufReader::new(connect(&lines));
    let long = "x".repeat(300_000);
    let hello = format!(r#"{{"type":"handshake/req","id":"h","auth_token":"{TOKEN}"}}"#);
    let call = format!(
        r#"{{"type":"tool/call/req","id":"c","tool_name":"echo","arguments":{{"text":"{long}"}}}}"#
    );
    agent.get_mut().write_all(format!("{hello}\n{call}\n").as_bytes()).unwrap();
    let mut reply = String::new();
    agent.read_line(&mut reply).unwrap();
    assert!(reply.contains(r#""ok":true"#), "{reply}");
    reply.clear();
    agent.read_line(&mut reply).unwrap();
    assert!(reply.contains(&long), "{} bytes", reply.len());

    let mut web = connect(&http);
    let request =
        format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", port(1));
    web.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    web.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");

    // MCP is served there as well.
    let begin = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"tls","version":"1"}}}"#;
    let mut web = connect(&http);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{begin}",
        port(1),
        begin.len()
    );
    web.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    web.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("serverInfo"), "{reply}");

    // Without TLS nothing is understood, and nothing is told.
    for address in [&lines, &http] {
        let mut plain = TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(format!("{hello}\nGET /health HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut told = Vec::new();
        let _reset = plain.read_to_end(&mut told);
        let text = String::from_utf8_lossy(&told);
        assert!(!text.contains("handshake") && !text.contains("HTTP"), "{text}");
    }
    drop(agent);
    host.stop();
}

#[test]
fn r60_a_certificate_that_cannot_be_used_is_told_before_anything_listens() {
    let place = Place::new();
    let empty = place.text("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (cert, key, none) = (file("cert.pem"), file("key.pem"), place.text("none.pem"));
    let rows = [
        (&none, &key, "none.pem"),
        (&cert, &none, "none.pem"),
        (&empty, &key, "empty.pem"),
        (&cert, &empty, "empty.pem"),
        (&key, &key, "key.pem"),
        (&cert, &cert, "cert.pem"),
    ];
    for (cert, key, named) in rows {
        let config = config(&place, cert, key);
        let mut host = Host::serve(&["-c", &config, "--listen", "tcp://127.0.0.1:0"]);
        assert_eq!(host.code(PATIENCE), Some(1), "{cert} {key}");
        host.until_logged("server.tls");
        host.until_logged(named);
    }
}
