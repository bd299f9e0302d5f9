//! What is measured: many sessions with a call a second each, many idle connections, one ping at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::caller::{Ask, Caller, Speech};
use super::histogram::Histogram;
use super::servers::{Running, Usage};

/// Sessions that are opened at the same time.
const OPENING: usize = 32;

/// Between two calls of a session.
const PERIOD: Duration = Duration::from_secs(1);

/// Calls, and connections, that are made before anything is measured.
const WARM: usize = 20;

/// A server settles before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// How long an answer may take; one that does not come ends the part.
const ANSWER: Duration = Duration::from_secs(30);

/// How long all sessions of a part may take to open.
const OPENED: Duration = Duration::from_mins(1);

/// Many sessions, each with a stream and a call a second.
#[derive(Debug, Default)]
pub struct Sessions {
    pub count: usize,
    pub calls: u64,
    /// Calls that could not begin in their second: the one before had no answer.
    pub late: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the server, for a session that has been opened and has called.
    pub rss_kib_each: f64,
    /// Of one processor, in per cent.
    pub cpu: f64,
}

/// Many connections of a session each, and silence.
#[derive(Debug, Default)]
pub struct Idle {
    pub count: usize,
    pub open_s: f64,
    pub rss_kib_each: f64,
    pub cpu: f64,
}

/// One ping at a time.
#[derive(Debug, Default)]
pub struct Pings {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Waits for an answer, but not for ever.
async fn answered<T>(answer: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
    }
}

/// Opens one session with a stream.
pub async fn open(address: SocketAddr, speech: Speech) -> Result<Caller, String> {
    answered(Caller::open(address, speech, true)).await
}

async fn open_all(
    running: &Running,
    speech: Speech,
    count: usize,
    with_stream: bool,
) -> Result<Vec<Caller>, String> {
    let address = match speech {
        Speech::A2eLines => running.tcp.ok_or("no address for lines")?,
        _ => running.http,
    };
    let (mut opening, gate) = (JoinSet::new(), Arc::new(Semaphore::new(OPENING)));
    for _ in 0..count {
        let gate = Arc::clone(&gate);
        opening.spawn(async move {
            let _turn = gate.acquire().await;
            answered(Caller::open(address, speech, with_stream)).await
        });
    }
    let mut callers = Vec::with_capacity(count);
    let all = async {
        while let Some(opened) = opening.join_next().await {
            let opened = opened.map_err(|error| error.to_string())?;
            callers.push(opened.map_err(|error| format!("session {}: {error}", callers.len()))?);
        }
        Ok(())
    };
    match timeout(OPENED, all).await {
        Ok(done) => done.map(|()| callers),
        Err(_) => Err(format!("{} sessions open after {} s", callers.len(), OPENED.as_secs())),
    }
}

fn kib_each(before: Usage, after: Usage, count: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let count = count as f64;
    (after.rss_kib - before.rss_kib) / count
}

fn cpu(before: Usage, after: Usage, time: Duration) -> f64 {
    100.0 * after.cpu.saturating_sub(before.cpu).as_secs_f64() / time.as_secs_f64()
}

/// A call a second in each of many sessions, spread over the second.
pub async fn sessions(
    running: &Running,
    speech: Speech,
    count: usize,
    time: Duration,
) -> Result<Sessions, String> {
    // What a server needs once is not counted with its sessions.
    let mut first = open_all(running, speech, 1, true).await?;
    for caller in &mut first {
        for _ in 0..WARM {
            answered(caller.ask(Ask::Echo)).await?;
        }
    }
    let before = running.usage();
    let callers = open_all(running, speech, count, true).await?;
    let found = Arc::new(Mutex::new((Histogram::default(), 0_u64, 0_u64)));
    let start = Instant::now() + SETTLE;
    // The first second is not counted: connections, code and queues are warm then.
    let (from, end) = (start + PERIOD, start + PERIOD + time);
    let mut calling = JoinSet::new();
    for (number, mut caller) in (0_u32..).zip(callers) {
        let found = Arc::clone(&found);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        calling.spawn(async move {
            let mut next = start + PERIOD * number / count;
            let (mut times, mut late) = (Vec::new(), 0);
            while next < end {
                sleep_until(next).await;
                let took = answered(caller.ask(Ask::Echo)).await?;
                if next >= from {
                    times.push(took);
                }
                next += PERIOD;
                while next < Instant::now() {
                    next += PERIOD;
                    late += 1;
                }
            }
            let mut found = found.lock().await;
            for took in times {
                found.0.add(took);
                found.1 += 1;
            }
            found.2 += late;
            Ok::<Caller, String>(caller)
        });
    }
    sleep_until(from).await;
    let began = running.usage();
    sleep_until(end).await;
    let ended = running.usage();
    // Sessions stay open until the last has ended.
    let mut open = Vec::with_capacity(count);
    while let Some(done) = calling.join_next().await {
        let done = done.map_err(|error| error.to_string())?;
        open.push(done.map_err(|error| format!("a call: {error}"))?);
    }
    let (times, calls, late) = &*found.lock().await;
    Ok(Sessions {
        count: open.len(),
        calls: *calls,
        late: *late,
        p50_ms: times.quantile(0.5).unwrap_or_default() / 1000.0,
        p99_ms: times.quantile(0.99).unwrap_or_default() / 1000.0,
        rss_kib_each: kib_each(before, ended, count),
        cpu: cpu(began, ended, time),
    })
}

/// Connections with a session each that say nothing for some time.
pub async fn idle(
    running: &Running,
    speech: Speech,
    count: usize,
    time: Duration,
) -> Result<Idle, String> {
    let _first = open_all(running, speech, WARM, false).await?;
    let (before, start) = (running.usage(), Instant::now());
    let open = open_all(running, speech, count, false).await?;
    let open_s = start.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let began = running.usage();
    sleep(time).await;
    let ended = running.usage();
    let (count, rss_kib_each) = (open.len(), kib_each(before, ended, count));
    Ok(Idle { count, open_s, rss_kib_each, cpu: cpu(began, ended, time) })
}

/// Pings one at a time over each of these ways by turns.
pub async fn pings(ways: &mut [(String, Caller)], rounds: u64) -> Vec<Result<Pings, String>> {
    let mut found = vec![Ok(Histogram::default()); ways.len()];
    for round in 0..rounds + 10 {
        for ((_, caller), found) in ways.iter_mut().zip(&mut found) {
            let Ok(times) = found else { continue };
            match answered(caller.ask(Ask::Ping)).await {
                // The first ten are for warmth.
                Ok(took) if round >= 10 => times.add(took),
                Ok(_) => {}
                Err(why) => *found = Err(why),
            }
        }
    }
    let quantile = |it: &Histogram, part| it.quantile(part).unwrap_or_default();
    let figures = |it: Histogram| Pings {
        count: rounds,
        p50_us: quantile(&it, 0.5),
        p99_us: quantile(&it, 0.99),
    };
    found.into_iter().map(|it| it.map(figures)).collect()
}
