//! Whatever the order of arrival, each message reaches its caller (properties).

use std::collections::HashMap;
use std::time::Duration;

use a2e_client::{CallOptions, Calling, Options};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

/// What the fake host sends next, for the call of this number.
#[derive(Clone, Copy, Debug)]
enum Act {
    Event(usize),
    Reply(usize),
    Error(usize),
    Push,
    Garbage,
    /// The caller lets go.
    Drop(usize),
    /// How the bytes are cut: what was gathered goes out.
    Flush,
}

/// How a call should end.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Reply(String),
    Error,
    Closed,
    Dropped,
}

fn act(calls: usize) -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..calls).prop_map(Act::Event),
        3 => (0..calls).prop_map(Act::Reply),
        1 => (0..calls).prop_map(Act::Error),
        2 => Just(Act::Push),
        1 => Just(Act::Garbage),
        1 => (0..calls).prop_map(Act::Drop),
        2 => Just(Act::Flush),
    ]
}

/// What a naive model says that each caller sees, and what is left over.
#[derive(Default)]
struct Model {
    ends: HashMap<usize, End>,
    events: HashMap<usize, Vec<u64>>,
    /// Events of calls that have ended, which go to handlers of the type.
    late_events: u64,
    late_replies: u64,
}

impl Model {
    fn take(&mut self, act: Act, number: u64) {
        match act {
            Act::Event(call) if self.ends.contains_key(&call) => self.late_events += 1,
            Act::Event(call) => self.events.entry(call).or_default().push(number),
            Act::Reply(call) | Act::Error(call) if self.ends.contains_key(&call) => {
                self.late_replies += 1;
            }
            Act::Reply(call) => drop(self.ends.insert(call, End::Reply(number.to_string()))),
            Act::Error(call) => drop(self.ends.insert(call, End::Error)),
            Act::Drop(call) => drop(self.ends.entry(call).or_insert(End::Dropped)),
            Act::Push | Act::Garbage | Act::Flush => {}
        }
    }
}

fn line(act: Act, ids: &[String], number: u64) -> Option<String> {
    Some(match act {
        Act::Event(call) => {
            json!({ "type": "x/event", "req_id": ids[call], "seq": number }).to_string()
        }
        Act::Reply(call) => {
            let text = number.to_string();
            json!({ "type": "test/echo/resp", "req_id": ids[call], "text": text }).to_string()
        }
        Act::Error(call) => {
            json!({ "type": "error", "req_id": ids[call], "code": "x" }).to_string()
        }
        Act::Push => json!({ "type": "test/notice/push", "number": number }).to_string(),
        Act::Garbage => "{garbage".to_owned(),
        Act::Drop(_) | Act::Flush => return None,
    })
}

async fn finish(mut calling: Calling<Echoed>) -> (Vec<u64>, End) {
    let mut events = Vec::new();
    while let Some(event) = calling.next_event().await {
        events.push(event.seq().unwrap());
    }
    let end = match calling.reply().await {
        Ok(echoed) => End::Reply(echoed.text),
        Err(error) if error.remote().is_some() => End::Error,
        Err(_) => End::Closed,
    };
    (events, end)
}

async fn play(calls: usize, acts: Vec<Act>) {
    let (client, mut peer) = fake(Options::default()).await;
    let mut pushes = client.pushes("test/notice/push");
    let mut late_events = client.pushes("x/event");
    let mut callings = Vec::new();
    let mut ids = Vec::new();
    for number in 0..calls {
        callings.push(Some(client.call(&echo(&number.to_string())).await.unwrap()));
        ids.push(heard(&mut peer).await.1);
    }
    let (mut model, mut gathered, mut sent_pushes) = (Model::default(), String::new(), Vec::new());
    let (mut garbage, mut handled) = (0, 0);
    for (number, act) in (0_u64..).zip(acts) {
        if let Some(line) = line(act, &ids, number) {
            gathered.push_str(&line);
            gathered.push('\n');
            handled += 1;
        }
        match act {
            Act::Push => sent_pushes.push(number),
            Act::Garbage => garbage += 1,
            _ => {}
        }
        if matches!(act, Act::Flush | Act::Drop(_)) {
            peer.send_bytes(std::mem::take(&mut gathered).as_bytes()).await;
        }
        if let Act::Drop(call) = act {
            // What was sent before is delivered before; a ping in between shows it.
            let ((), pinged) = futures_util::join!(pong(&mut peer), client.ping());
            pinged.unwrap();
            callings[call].take();
        }
        model.take(act, number);
    }
    peer.send_bytes(gathered.as_bytes()).await;
    drop(peer);
    for (number, calling) in callings.into_iter().enumerate() {
        let Some(calling) = calling else { continue };
        let (events, end) = finish(calling).await;
        assert_eq!(events, model.events.remove(&number).unwrap_or_default(), "call {number}");
        assert_eq!(end, model.ends.remove(&number).unwrap_or(End::Closed), "call {number}");
    }
    client.closed().await;
    for number in sent_pushes {
        assert_eq!(pushes.next().await.unwrap().decode::<Notice>().unwrap().number, number);
    }
    let mut late = 0;
    while late_events.next().await.is_some() {
        late += 1;
    }
    let stats = client.stats();
    assert_eq!((late, stats.late_replies), (model.late_events, model.late_replies), "{handled}");
    assert_eq!((stats.bad_lines, stats.unclaimed, stats.pending), (garbage, 0, 0));
}

/// Answers the next ping; cancels come before it.
async fn pong(peer: &mut a2e_core::testing::TestSession) {
    loop {
        let (message, id) = heard(peer).await;
        if message["type"] == "ping" {
            return peer.send_line(&json!({ "type": "pong", "req_id": id }).to_string()).await;
        }
        assert_eq!(message["type"], "cancel");
    }
}

proptest! {
    #[test]
    fn r41_each_message_reaches_its_caller_in_any_order(
        (calls, acts) in (1_usize..8)
            .prop_flat_map(|calls| (Just(calls), prop::collection::vec(act(calls), 0..80))),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let played = tokio::time::timeout(Duration::from_secs(20), play(calls, acts)).await;
            played.expect("nothing hangs");
        });
    }
}

#[test]
fn an_answer_at_the_deadline_is_counted_once() {
    // Either side may win the race: the call ends once and nothing is left.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let (host, client) = host().await;
        let calls = (0..300_u64).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let options = CallOptions::within(Duration::from_micros(3000 + number * 20));
                client.rpc_with(&Sleep { ms: 5 }, options).await.is_ok()
            })
        });
        let results = futures_util::future::join_all(calls).await;
        let answered = results.into_iter().filter(|it| *it.as_ref().unwrap()).count() as u64;
        // The handshake was answered too.
        until("all ends", || client.stats().timeouts + client.stats().answered >= 301).await;
        let stats = client.stats();
        assert_eq!(stats.timeouts + answered, 300, "{stats:?}");
        nothing_is_left(&client);
        host.stop().await;
    });
}
