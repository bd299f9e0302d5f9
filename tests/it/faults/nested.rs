//! Requests of handlers: how many one request may lead to, and permits that wait for each other (B6).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::reply_of;
use crate::probe::{Probe, Switch};
use crate::support::{clocked, end, plugin, settled, tuned, with};

#[derive(Debug, Deserialize)]
struct Nothing {}

#[derive(Debug, Deserialize)]
struct Fan {
    /// How many requests it leads to, all at once.
    width: usize,
}
message!(Fan, "fault/fan/req" => Fanned, First);

#[derive(Debug, Default, Serialize)]
struct Fanned {
    replies: usize,
    overloaded: usize,
    others: Vec<String>,
    /// How many of them ran at a time.
    most: usize,
}
message!(Fanned, "fault/fan/resp");

#[derive(Debug, Serialize, Deserialize)]
struct Leaf {}
message!(Leaf, "fault/leaf/req" => Fallen, First);

#[derive(Debug, Serialize, Deserialize)]
struct Fallen {}
message!(Fallen, "fault/leaf/resp");

/// `test.Fan`: makes many requests to itself at a time.
struct Fans {
    running: AtomicUsize,
    most: AtomicUsize,
    /// Whether all have been asked.
    is_asked: watch::Sender<bool>,
}

impl Fans {
    async fn fan(self: Arc<Self>, request: Fan, call: Call) -> Answer<Fanned> {
        self.most.store(0, Ordering::SeqCst);
        self.is_asked.send_replace(false);
        let leaf = Leaf {};
        let mut asked: Vec<Pin<Box<dyn Future<Output = Result<Fallen>> + Send + '_>>> =
            Vec::with_capacity(request.width);
        for _ in 0..request.width {
            asked.push(Box::pin(call.request(&leaf)));
        }
        let mut fanned = Fanned::default();
        poll_fn(|context| {
            asked.retain_mut(|it| match it.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    fanned.count(&answer);
                    false
                }
            });
            // Every one has been polled, so all that may begin at a time begin.
            self.is_asked.send_replace(true);
            if asked.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(asked);
        fanned.most = self.most.load(Ordering::SeqCst);
        Ok(fanned.into())
    }

    async fn leaf(self: Arc<Self>, _: Leaf, _: Call) -> Answer<Fallen> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        // The sender lives as long as the plugin.
        let _asked = self.is_asked.subscribe().wait_for(|it| *it).await.map(drop);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Fallen {}.into())
    }
}

impl Fanned {
    fn count(&mut self, answer: &Result<Fallen>) {
        match answer {
            Ok(_) => self.replies += 1,
            Err(error) if *error.code() == ErrorCode::Overloaded => self.overloaded += 1,
            Err(error) => self.others.push(error.to_string()),
        }
    }
}

impl Plugin for Fans {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Fans::fan);
        on.future(Fans::leaf);
    }
}

fn build_fans(_: Nothing, _: &Host) -> Result<Fans> {
    let (is_asked, _) = watch::channel(false);
    Ok(Fans { running: AtomicUsize::new(0), most: AtomicUsize::new(0), is_asked })
}

register_plugin!(Fans, cls = "test.Fan", capability = "test", config = Nothing, build = build_fans);

/// The requests that a session may have in flight; one request must not lead to more at a time.
const MOST: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn b06_one_request_leads_to_a_bounded_number_of_requests() {
    let (host, _clock) = clocked(with([plugin("fan", "Fan")])).await;
    let mut session = host.session();
    for width in [16, 2_000] {
        let id = session.send("fault/fan/req", json!({ "width": width })).await;
        let fanned = reply_of(&mut session, &id, "a fan").await;
        let count = |name: &str| fanned[name].as_u64().unwrap_or_else(|| panic!("{fanned}"));
        assert_eq!(fanned["others"], json!([]), "{width}");
        assert_eq!(count("replies") + count("overloaded"), width, "each has one answer: {fanned}");
        let at_least = width.min(16);
        assert!(count("replies") >= at_least, "{width}: {fanned}");
        assert!(count("most") <= MOST, "{width}: {} ran at a time", count("most"));
    }
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[derive(Debug, Deserialize)]
struct Cross {
    peer: String,
    probe: String,
}
message!(Cross, "fault/cross/req" => Fallen, First);

#[derive(Debug, Serialize, Deserialize)]
struct Plain {}
message!(Plain, "fault/plain/req" => Fallen, First);

/// `test.Crossing`: asks its peer once the test lets it, with its own permit in hand.
struct Crossing;

impl Crossing {
    async fn cross(self: Arc<Self>, request: Cross, call: Call) -> Answer<Fallen> {
        if let Some(probe) = Probe::of(&request.probe) {
            probe.wait().await;
        }
        call.to_plugin(request.peer).request(&Plain {}).await?;
        Ok(Fallen {}.into())
    }

    async fn plain(self: Arc<Self>, _: Plain, _: Call) -> Answer<Fallen> {
        tokio::task::yield_now().await;
        Ok(Fallen {}.into())
    }
}

impl Plugin for Crossing {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Crossing::cross);
        on.future(Crossing::plain);
    }
}

register_plugin!(
    Crossing,
    cls = "test.Crossing",
    capability = "test",
    config = Nothing,
    build = |_: Nothing, _: &Host| -> Result<Crossing> { Ok(Crossing) }
);

#[tokio::test(flavor = "multi_thread")]
async fn b06_plugins_that_ask_each_other_do_not_wait_for_each_others_permits() {
    let single = |name: &str| tuned(plugin(name, "Crossing"), |it| it.permits = Some(1));
    let config = with([plugin("caller", "Caller"), single("a"), single("b")]);
    // Time stands still, so no deadline undoes the knot.
    let (host, _clock) = clocked(config).await;
    let switch = Switch::new();
    let mut crossings = Vec::new();
    for (name, peer) in [("a", "b"), ("b", "a")] {
        let mut session = host.session();
        let body = json!({
            "to": format!("plugin {name}"), "wire_type": "fault/cross/req",
            "body": { "peer": peer, "probe": switch.key() },
        });
        let id = session.send("caller/ask/req", body).await;
        crossings.push((session, id));
    }
    switch.entered(2).await;
    switch.open();
    for (mut session, id) in crossings {
        let reply = reply_of(&mut session, &id, "a crossing").await;
        assert_eq!(reply["type"], "caller/resp", "{reply}");
        session.finish().await;
    }
    settled(&host).await;
    end(host).await;
}
