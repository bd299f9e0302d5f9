//! A plugin that pushes to agents, and an agent that follows the pushes.
//!
//! ```text
//! cargo run --example push_events
//! ```

#![allow(clippy::print_stderr, reason = "an example tells what it does")]

use std::time::Duration;

use a2e_client::{Client, Options};
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::{Executor, Result, message, register_plugin};
use serde::{Deserialize, Serialize};

/// `ticker/start/req`: how many ticks.
#[derive(Serialize, Deserialize)]
struct StartRequest {
    ticks: u32,
}

/// `ticker/start/resp`.
#[derive(Serialize, Deserialize)]
struct StartResponse {}

/// `ticker/tick/push`: one of the ticks, counted from 1.
#[derive(Serialize, Deserialize)]
struct Tick {
    number: u32,
}

message!(StartResponse, "ticker/start/resp");
message!(StartRequest, "ticker/start/req" => StartResponse, First);
message!(Tick, "ticker/tick/push");

#[derive(Deserialize)]
struct TickerConfig {
    #[serde(default = "ten")]
    interval_ms: u64,
}

fn ten() -> u64 {
    10
}

struct Ticker {
    interval: Duration,
    host: Host,
}

impl Ticker {
    fn new(config: TickerConfig, host: &Host) -> Result<Self> {
        Ok(Self { interval: Duration::from_millis(config.interval_ms), host: host.clone() })
    }

    fn start(&self, request: StartRequest, call: &Call) -> Answer<StartResponse> {
        let (host, interval, session) = (self.host.clone(), self.interval, call.session());
        // The first tick comes after the reply on the wire.
        call.after_reply(move |_| {
            host.spawn(async move {
                for number in 1..=request.ticks {
                    tokio::time::sleep(interval).await;
                    // Waits while the agent reads slowly; ends when the agent has left.
                    if session.push_wait(&Tick { number }, None).await.is_err() {
                        return;
                    }
                }
            });
        });
        Ok(StartResponse {}.into())
    }
}

impl Plugin for Ticker {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Ticker::start);
    }
}

register_plugin!(
    Ticker,
    cls = "examples.Ticker",
    capability = "test",
    config = TickerConfig,
    build = Ticker::new
);

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let config = HostConfig::new().plugin(PluginConfig::new("ticker", "test", "examples.Ticker"));
    let host = Executor::builder(config).start().await?;
    let client = Client::connect(host.connect(), Options::new("listener")).await?;

    let mut ticks = client.pushes("ticker/tick/push");
    client.rpc(&StartRequest { ticks: 3 }).await?;
    for expected in 1..=3 {
        let tick: Tick = ticks.next().await.ok_or("the pushes have ended")?.decode()?;
        assert_eq!(tick.number, expected);
        eprintln!("tick {}", tick.number);
    }

    client.close().await;
    host.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
