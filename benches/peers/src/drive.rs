//! Keeps a number of calls in flight with a peer's own client, and says what that gave: a goal is a
//! line on stdin (`time MICROSECONDS`, `messages COUNT`), the answer a line of JSON on stdout.

use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::Ended;

#[derive(Clone, Copy)]
enum Goal {
    Time(Duration),
    Messages(u64),
}

/// The time, for measuring alone.
#[allow(clippy::disallowed_methods, reason = "a driver measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// `call` gives whether the answer was right.
pub async fn run<C, F>(window: usize, call: C) -> Ended
where
    C: Fn() -> F,
    F: Future<Output = Result<bool, Box<dyn Error + Send + Sync>>>,
{
    let mut line = String::new();
    // The clients have nothing to do between two goals, so the runtime may wait here.
    while std::io::stdin().read_line(&mut line)? > 0 {
        let goal = match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["time", micros] => Goal::Time(Duration::from_micros(micros.parse()?)),
            ["messages", count] => Goal::Messages(count.parse()?),
            _ => return Err(format!("no goal: {line}").into()),
        };
        println!("{}", exchange(window, goal, &call).await?);
        line.clear();
    }
    Ok(())
}

/// What is counted begins when the window is full, as in the tight driver.
async fn exchange<C, F>(
    window: usize,
    goal: Goal,
    call: &C,
) -> Result<serde_json::Value, Box<dyn Error + Send + Sync>>
where
    C: Fn() -> F,
    F: Future<Output = Result<bool, Box<dyn Error + Send + Sync>>>,
{
    let timed = || async {
        let start = now();
        let is_right = call().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>((is_right, start.elapsed()))
    };
    let mut calls: FuturesUnordered<_> = (0..window).map(|_| timed()).collect();
    let (mut all, mut counted) = (0_u64, 0_u64);
    let mut start = None;
    let mut spent = Duration::ZERO;
    let mut is_over = false;
    let mut nanos: Vec<u64> = Vec::new();
    while let Some(answer) = calls.next().await {
        let (is_right, took) = answer?;
        if !is_right {
            return Err("a wrong answer".into());
        }
        all += 1;
        match start {
            None if all >= window as u64 => start = Some(now()),
            Some(start) if !is_over => {
                counted += 1;
                nanos.push(u64::try_from(took.as_nanos())?);
                spent = now() - start;
                is_over = match goal {
                    Goal::Time(time) => spent >= time,
                    Goal::Messages(count) => counted >= count,
                };
            }
            _ => {}
        }
        if !is_over {
            calls.push(timed());
        }
    }
    nanos.sort_unstable();
    let quantile = |part: f64| {
        let place = ((nanos.len() as f64 * part).ceil() as usize).clamp(1, nanos.len().max(1));
        nanos.get(place - 1).map(|nanos| *nanos as f64 / 1000.0)
    };
    Ok(json!({
        "rate": counted as f64 / spent.as_secs_f64(),
        "replies": all,
        "p50": quantile(0.5),
        "p99": quantile(0.99),
        "p999": quantile(0.999),
    }))
}
