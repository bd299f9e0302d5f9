//! Pushes: their share of the outbound room, and batches.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::{Call, EmitError};
use a2e_core::testing::TestHost;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
struct NoConfig {}
#[derive(Deserialize)]
struct Flood {}
#[derive(Deserialize)]
struct Count {}
#[derive(Serialize)]
struct Said {
    pushed: usize,
}
#[derive(Serialize)]
struct Noise {
    text: String,
}

message!(Said, "flood/resp");
message!(Flood, "flood/req" => Said, First);
message!(Count, "flood/count/req" => Said, First);
message!(Noise, "flood/push");

static COUNTED: AtomicUsize = AtomicUsize::new(0);

struct Flooder;

impl Flooder {
    fn build(_: NoConfig, _: &Host) -> Result<Self> {
        Ok(Self)
    }

    /// Pushes until there is no room.
    fn flood(&self, _: Flood, call: &Call) -> Answer<Said> {
        let session = call.session();
        let noise = Noise { text: "x".repeat(16 << 10) };
        let mut pushed = 0;
        while session.queue(&noise, None) != Err(EmitError::Full) {
            pushed += 1;
        }
        session.flush();
        Ok(Said { pushed }.into())
    }

    fn count(&self, _: Count, _: &Call) -> Answer<Said> {
        Ok(Said { pushed: COUNTED.fetch_add(1, Ordering::Relaxed) }.into())
    }
}

impl Plugin for Flooder {
    fn handlers(on: &mut Handlers<Self>) {
        on.pool(Self::flood);
        on.inline(Self::count);
    }
}

register_plugin!(
    Flooder,
    cls = "tests.Flooder",
    capability = "test",
    config = NoConfig,
    build = Flooder::build
);

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_flood_of_pushes_does_not_stop_the_reading_of_its_session() {
    let config = HostConfig::new().plugin(PluginConfig::new("flooder", "test", "tests.Flooder"));
    let host = TestHost::start(config).await;
    let mut session = host.session();
    // Nothing is read here: what is sent stays in the pipe and in the sink.
    let flood = session.send("flood/req", json!({})).await;
    host.until("the flood", |status| status.unsent_bytes >= 512 << 10).await;
    let count = session.send("flood/count/req", json!({})).await;
    let served = async {
        while COUNTED.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.expect("the session is read on");

    let pushed = session.reply_to(&flood).await["pushed"].as_u64().unwrap();
    session.reply_to(&count).await;
    let came = session.others().into_iter().filter(|it| it["type"] == "flood/push").count();
    assert_eq!(came as u64, pushed, "all that was taken was sent");
    // Half of 1 MiB in the sink, and what went to the pipe at once.
    assert!((30..=60).contains(&pushed), "{pushed}");
    host.stop().await;
}
