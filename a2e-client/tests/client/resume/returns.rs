//! The session goes on behind the line that was read last; every line comes once.

use std::sync::{Arc, Mutex};

use a2e_client::{ConnectionState, SessionStart};
use a2e_core::protocol::HandshakeRequest;
use a2e_core::transport::{Connection, memory_pair};
use serde_json::json;

use super::host::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_lost_connection_comes_back_and_the_session_goes_on() {
    for place in [Place::unix(), Place::tcp().await] {
        let (mut ring, seen) = (Ring::new("s1"), Seen::default());
        let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
        let session = client.session().unwrap();
        for number in 0..3 {
            peer.send(&mut ring, notice(number)).await;
        }
        seen.heard(3).await;
        drop(peer);
        // Sent while nobody reads.
        (3..6).for_each(|number| drop(ring.push(&notice(number))));
        let mut peer = place.accept().await;
        let request = peer.greet(&mut ring).await;
        assert_eq!(request["resume"], json!({ "session_id": "s1", "last_seq": 3 }));
        assert_eq!(request["agent_id"], "test");
        peer.send(&mut ring, notice(6)).await;
        seen.heard(7).await;
        assert_eq!(seen.notices(), [0, 1, 2, 3, 4, 5, 6]);
        let states = ["connected", "attempt 1", "reconnected, nothing was lost"];
        assert_eq!(seen.states(), states);
        assert_eq!(client.session().unwrap().session_id, session.session_id);
        let calling = client.call(&echo("again")).await.unwrap();
        let request = peer.expect("test/echo/req").await;
        peer.answer(&mut ring, &request).await;
        assert_eq!(calling.reply().await.unwrap().text, "again");
        nothing_is_left(&client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_the_same_program_is_come_back_to() {
    let waiting: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let theirs = Arc::clone(&waiting);
    let open = move || {
        let theirs = Arc::clone(&theirs);
        async move {
            let (ours, other) = memory_pair();
            theirs.lock().unwrap().push(other);
            Ok(ours)
        }
    };
    let host = a2e_core::testing::TestHost::start(config()).await;
    let connecting = tokio::spawn(agent().connect_by(open));
    let next = async || {
        until("a connection", || !waiting.lock().unwrap().is_empty()).await;
        waiting.lock().unwrap().remove(0)
    };
    // A first connection that is lost, a second one to a real host.
    let mut first = a2e_core::testing::TestSession::over(next().await);
    let (_, id) = heard(&mut first).await;
    let answer = json!({ "type": "handshake/resp", "req_id": id, "session_id": "s1" });
    first.send_line(&answer.to_string()).await;
    let client = connecting.await.unwrap().unwrap();
    drop(first);
    let second = next().await;
    let serving = host.executor().spawn(second);
    back(&client, 1).await;
    assert!(matches!(client.state(), ConnectionState::Connected(SessionStart::New)));
    assert_eq!(client.rpc(&echo("x")).await.unwrap().text, "x");
    client.close().await;
    drop(serving);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_was_torn_comes_once() {
    // How many bytes of the line arrive. Without its newline it is whole.
    let length = notice(1).to_string().len();
    for arrived in [0, 1, length / 2, length - 1, length, length + 1] {
        let place = Place::unix();
        let (mut ring, seen) = (Ring::new("s1"), Seen::default());
        let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
        peer.send(&mut ring, notice(0)).await;
        let line = ring.push(&notice(1));
        peer.bytes(&line.as_bytes()[..arrived]).await;
        drop(peer);
        let mut peer = place.accept().await;
        let request = peer.greet(&mut ring).await;
        let whole = u64::from(arrived >= length);
        assert_eq!(request["resume"]["last_seq"], 1 + whole, "{arrived} bytes");
        peer.send(&mut ring, notice(2)).await;
        seen.heard(3).await;
        assert_eq!(seen.notices(), [0, 1, 2], "{arrived} bytes");
        assert_eq!(client.stats().bad_lines, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_no_program_takes_are_counted_too() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let options = a2e_client::Options::new("test").reconnect(brisk()).max_line_bytes(2000);
    let agent = a2e_client::Client::builder().options(options);
    let (client, mut peer) = place.meet(seen.by(agent), &mut ring).await;
    for strange in [
        json!({ "type": "test/other/push" }),
        json!({ "no": "type" }),
        json!({ "type": "error", "req_id": "unknown", "code": "cancelled", "message": "" }),
        json!({ "type": "test/notice/push", "number": 1, "text": "x".repeat(3000) }),
        json!(5),
        notice(0),
    ] {
        peer.send(&mut ring, strange).await;
    }
    // A handshake of the program itself has an answer that does not count.
    let request = HandshakeRequest::default();
    let greeting = client.rpc(&request);
    let answering = async {
        let request = peer.expect("handshake/req").await;
        let answer = json!({ "type": "handshake/resp", "req_id": request["id"] });
        peer.bytes(format!("{answer}\n").as_bytes()).await;
    };
    let (greeted, ()) = futures_util::join!(greeting, answering);
    assert!(greeted.unwrap().ok);
    seen.heard(1).await;
    drop(peer);
    let request = place.accept().await.greet(&mut ring).await;
    assert_eq!(request["resume"]["last_seq"], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_lines_are_told_and_keep_their_numbers() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::of("s1", 2), Seen::default());
    let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
    peer.send(&mut ring, notice(0)).await;
    seen.heard(1).await;
    drop(peer);
    (1..=10).for_each(|number| drop(ring.push(&notice(number))));
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    seen.heard(3).await;
    assert_eq!(seen.states().last().unwrap(), "reconnected, 8 lines of the host were lost");
    assert_eq!(client.stats().lines_lost, 8);
    peer.send(&mut ring, notice(11)).await;
    seen.heard(4).await;
    assert_eq!(seen.notices(), [0, 9, 10, 11]);
    drop(peer);
    let request = place.accept().await.greet(&mut ring).await;
    assert_eq!(request["resume"]["last_seq"], 12);
    back(&client, 2).await;
    assert_eq!(seen.notices().len(), 4, "nothing comes twice");
    assert_eq!(client.stats().lines_lost, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_host_numbers_begin_again() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
    for number in 0..4 {
        peer.send(&mut ring, notice(number)).await;
    }
    seen.heard(4).await;
    drop(peer);
    ring.is_restarted = true;
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    peer.send(&mut ring, notice(4)).await;
    seen.heard(5).await;
    let state = client.state();
    let expected = SessionStart::Resumed { gap: None };
    assert!(matches!(state, ConnectionState::Connected(it) if it == expected), "{state}");
    drop(peer);
    let request = place.accept().await.greet(&mut ring).await;
    assert_eq!(request["resume"], json!({ "session_id": "s1", "last_seq": 1 }));
    back(&client, 2).await;
    assert_eq!(seen.notices(), [0, 1, 2, 3, 4]);
    assert_eq!(client.stats().lines_lost, 0, "as far as is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_gone_gives_way_to_a_new_one() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
    peer.send(&mut ring, notice(0)).await;
    seen.heard(1).await;
    drop(peer);
    let mut ring = Ring::new("s2");
    let mut peer = place.accept().await;
    let request = peer.greet(&mut ring).await;
    assert_eq!(request["resume"], json!({ "session_id": "s1", "last_seq": 1 }));
    peer.send(&mut ring, notice(1)).await;
    seen.heard(2).await;
    assert_eq!(seen.states().last().unwrap(), "reconnected with a new session");
    assert_eq!(client.session().unwrap().session_id, "s2");
    drop(peer);
    let request = place.accept().await.greet(&mut ring).await;
    assert_eq!(request["resume"], json!({ "session_id": "s2", "last_seq": 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_knows_no_resume_is_not_asked_for_a_session() {
    let place = Place::unix();
    let seen = Seen::default();
    let address = place.address.clone();
    let connecting = tokio::spawn({
        let agent = seen.by(agent());
        async move { agent.connect_to(&address).await.unwrap() }
    });
    for id in ["s1", "s2"] {
        let mut peer = place.accept().await;
        let request = peer.expect("handshake/req").await;
        assert_eq!(request["resume"], json!({ "session_id": "", "last_seq": 0 }));
        let answer = json!({ "type": "handshake/resp", "req_id": request["id"], "session_id": id });
        peer.bytes(format!("{answer}\n{}\n", notice(0)).as_bytes()).await;
    }
    let client = connecting.await.unwrap();
    seen.heard(2).await;
    until("the new session", || client.session().unwrap().session_id == "s2").await;
    assert!(seen.states().contains(&"reconnected with a new session".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_behind_the_answer_comes_once_and_in_order() {
    const FLOOD: u64 = 20_000;
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let options = a2e_client::Options::new("test").reconnect(brisk());
    let bound = a2e_client::Bound { messages: 100, bytes: 1 << 20 };
    let agent = a2e_client::Client::builder().options(options.push_bound(bound));
    let (client, peer) = place.meet(seen.by(agent), &mut ring).await;
    let mut stream = client.pushes("test/notice/push");
    drop(peer);
    (0..FLOOD).for_each(|number| drop(ring.push(&notice(number))));
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    seen.heard(usize::try_from(FLOOD).unwrap()).await;
    assert!(seen.notices().into_iter().eq(0..FLOOD));
    // A stream that is not read is bounded; what gave way is counted.
    assert_eq!(client.stats().pushes_dropped, FLOOD - 100);
    assert_eq!(stream.next().await.unwrap().decode::<Notice>().unwrap().number, FLOOD - 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_are_there_before_the_first_line() {
    let place = Place::unix();
    let seen = Seen::default();
    let address = place.address.clone();
    let agent = seen.by(agent());
    let connecting = tokio::spawn(async move { agent.connect_to(&address).await });
    let mut peer = place.accept().await;
    // Even before the answer to the handshake, and right behind it.
    let mut ring = Ring::new("s1");
    let request = peer.expect("handshake/req").await;
    let text = format!("{}\n{}{}\n", notice(0), ring.greeting(&request), notice(1));
    peer.bytes(text.as_bytes()).await;
    let client = connecting.await.unwrap().unwrap();
    seen.heard(2).await;
    assert_eq!(seen.notices(), [0, 1]);
    assert_eq!(client.stats().unclaimed, 0);
}
