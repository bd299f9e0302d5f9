//! Peers that speak another protocol, as a web page has a browser do: told once, never obeyed.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use a2e_core::testing::TestHost;
use tokio::io::AsyncReadExt;

use crate::support::{Carrier, PATIENCE, audited, counter, end, plugin, records, serves, with};

/// What a page can send without being asked: a body of lines behind a head.
fn page(method: &str) -> String {
    let body = "{\"type\":\"echo/inline/req\",\"id\":\"page\",\"text\":\"obeyed\"}\n";
    format!(
        "{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends bytes and reads to the end of the stream.
async fn answer_to(carrier: Carrier, host: &TestHost, pieces: &[&[u8]]) -> String {
    let mut connection = carrier.connect(host).await;
    for piece in pieces {
        let mut sent = 0;
        while sent < piece.len() {
            match connection.sink.try_write(&piece[sent..]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.sink.ready().await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    let read = connection.source.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("the host ends the connection").unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_answered_once_and_nothing_of_it_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let host = TestHost::start(audited(with([plugin("echo", "Echo")]), &path)).await;
    let (post, get, brew) = (page("POST"), page("GET"), page("BREW"));
    let slow: Vec<&[u8]> = post.as_bytes().chunks(60).collect();
    let tls = b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03";
    let cases: [&[&[u8]]; 7] = [
        &[post.as_bytes()],
        &[get.as_bytes(), post.as_bytes()],
        &[brew.as_bytes()],
        // Judged before a line has come whole.
        &[b"POST "],
        &[b"P", b"OST /a/long/way"],
        &[tls],
        &slow,
    ];
    let mut tries = 0;
    for carrier in [Carrier::Memory, Carrier::Socket, Carrier::Tcp] {
        for pieces in cases {
            let answer = answer_to(carrier, &host, pieces).await;
            tries += 1;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{carrier:?} {pieces:?}: {answer}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "once: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert!(body.contains("A2E line protocol"), "{answer}");
            assert!(!answer.contains("obeyed\""), "{answer}");
        }
    }
    assert_eq!(counter(&host, "refused"), tries);
    end(host).await;
    let records = records(&path);
    assert_eq!(records.len() as u64, tries, "each is recorded");
    assert!(records.iter().all(|it| it["outcome"] == "refused" && it["plugin"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_garbage_is_an_error_like_any_other() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    for carrier in Carrier::ALL {
        for first in ["hello", "GETTING on", "\u{16}\u{4}", "get ready", "HTTP/1.1 200 OK"] {
            let mut session = carrier.open(&host).await;
            session.send_line(first).await;
            let answer = crate::support::next(&mut session).await;
            assert_eq!(answer["code"], "parse_error", "{carrier:?} {first}: {answer}");
            // Where lines have begun, a request line is one of them.
            session.send_line("GET / HTTP/1.1").await;
            let answer = crate::support::next(&mut session).await;
            assert_eq!(answer["code"], "parse_error", "{carrier:?} {first}: {answer}");
            serves(&mut session).await;
            assert!(session.finish().await.is_empty());
        }
    }
    // What starts the host over stdio is not a page.
    let mut session = Carrier::Stdio.open(&host).await;
    session.send_line("GET / HTTP/1.1").await;
    assert_eq!(crate::support::next(&mut session).await["code"], "parse_error");
    serves(&mut session).await;
    session.finish().await;
    end(host).await;
}

#[test]
fn a_browser_at_a_listener_of_the_program_gets_no_further() {
    use crate::process::support::program::{Host, Place};

    let place = Place::new();
    let host = Host::serve(&["--listen", "tcp://127.0.0.1:0", "--listen", &place.socket()]);
    let addresses = host.addresses(2);
    let read_all = |mut stream: Box<dyn Read>| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(!answer.contains("pong"), "{answer}");
    };
    let page = page("POST").replace("echo/inline/req", "ping");
    let tcp = addresses.iter().find_map(|it| it.strip_prefix("tcp://")).unwrap();
    let mut stream = std::net::TcpStream::connect(tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(page.as_bytes()).unwrap();
    read_all(Box::new(stream));
    let mut stream = std::os::unix::net::UnixStream::connect(place.path("a2e.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(page.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(Box::new(stream));
    host.until_logged("refused: no A2E lines");
    host.stop();
}
