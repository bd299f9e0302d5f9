//! Unix and TCP sockets with a real host behind them.

use std::sync::Arc;

use a2e_client::{Client, ClientError, Closed, EventMessage, Options};
use a2e_core::Executor;
use a2e_core::protocol::{ErrorCode, EventKind, Ping};
use a2e_core::transport::{from_tcp, from_unix};
use tokio::net::{TcpListener, UnixListener};

use crate::support::*;

/// Talks to a host in every way at once.
async fn talk(client: Client) {
    let big = "b".repeat(1 << 20);
    let calls = (0..64_u64).map(|number| {
        let (client, big) = (client.clone(), big.clone());
        tokio::spawn(async move {
            match number % 4 {
                0 => assert_eq!(client.rpc(&echo(&big)).await.unwrap().text.len(), big.len()),
                1 => assert_eq!(client.rpc(&Sleep { ms: number }).await.unwrap().ms, number),
                2 => {
                    // The host may drop the others when we are slow to read.
                    let mut artifacts = 0;
                    let count = |event: EventMessage| {
                        artifacts += usize::from(*event.kind() == EventKind::Artifact);
                    };
                    client.rpc_with_events(&Story { events: 50 }, count).await.unwrap();
                    assert_eq!(artifacts, 5);
                }
                _ => assert!(client.rpc(&Ping {}).await.unwrap().uptime_seconds >= 0.0),
            }
        })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    nothing_is_left(&client);
    client.close().await;
    assert!(matches!(client.closed().await, Closed::ByUs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_carries_everything() {
    let host = Arc::new(Executor::builder(config()).start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a2e.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let accepting = tokio::spawn({
        let host = Arc::clone(&host);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                host.spawn(from_unix(stream));
            }
        }
    });
    talk(Client::unix(&path, Options::new("test")).await.unwrap()).await;
    let address = format!("unix://{}", path.display());
    talk(Client::connect_to(&address, Options::new("test")).await.unwrap()).await;
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_socket_carries_everything() {
    let host = Arc::new(Executor::builder(config()).start().await.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = tokio::spawn({
        let host = Arc::clone(&host);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                host.spawn(from_tcp(stream));
            }
        }
    });
    talk(Client::tcp(&address, Options::new("test")).await.unwrap()).await;
    let url = format!("tcp://{address}");
    let client = Client::connect_to(&url, Options::new("test")).await.unwrap();
    talk(client.clone()).await;
    // A host that goes away.
    let client = Client::connect_to(&url, Options::new("test")).await.unwrap();
    let calling = client.call(&Sleep { ms: 60_000 }).await.unwrap();
    until("acceptance", || host.status().in_flight == 1).await;
    host.shutdown(std::time::Duration::ZERO).await;
    let error = calling.reply().await.unwrap_err();
    assert_eq!(error.code(), Some(&ErrorCode::ShuttingDown));
    assert!(matches!(client.closed().await, Closed::Ended));
    accepting.abort();
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_named() {
    for (address, part) in [
        ("unix:///no/such/a2e.sock", "cannot reach unix:///no/such/a2e.sock: "),
        ("tcp://127.0.0.1:1", "cannot reach tcp://127.0.0.1:1: "),
        ("unix://", "expected unix:///path"),
        ("tcp://localhost", "expected unix:///path"),
        ("http://localhost", "expected unix:///path"),
        ("http://localhost:80/path", "expected unix:///path"),
        ("ftp://localhost:80", "expected unix:///path"),
        ("", "expected unix:///path"),
    ] {
        let error = Client::connect_to(address, Options::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
