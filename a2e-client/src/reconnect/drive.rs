//! The task of a client: reads its connection, and makes it again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::id::random_hex;
use a2e_core::transport::Connection;
use tokio::time::Instant;

use crate::calling::TimeLimit;
use crate::error::{ClientError, Closed};
use crate::link::Link;
use crate::link::outbox::Outbox;
use crate::link::reader::Reader;
use crate::reconnect::numbering::Numbering;
use crate::reconnect::policy::Reconnect;
use crate::reconnect::repeat::repeat_calls;
use crate::reconnect::state::{ConnectionState, SessionStart};
use crate::reconnect::target::Target;
use crate::transport::Process;

/// A connection that lasts this long is a success; one that is lost sooner counts as a failed attempt,
/// so that a host that falls over at each greeting is not greeted for ever.
const STEADY: Duration = Duration::from_secs(1);

/// Reads until the client has ended.
pub(crate) async fn drive(link: Arc<Link>, mut reader: Reader, target: Option<Target>) {
    let mut losses = Losses::default();
    let mut is_resumed = false;
    loop {
        let began = now();
        let reason = {
            let reading = reader.read();
            tokio::pin!(reading);
            tokio::select! {
                biased;
                reason = &mut reading => reason,
                () = repeat_calls(&link, is_resumed) => reading.await,
            }
        };
        let policy = link.options.reconnect.clone();
        let (Some(policy), Some(target), false) = (policy, &target, link.is_closing()) else {
            drop(reader);
            return link.end(reason);
        };
        let numbering = reader.into_numbering();
        link.interrupt(&reason);
        if began.elapsed() >= STEADY {
            losses = Losses::default();
        }
        let returning = Returning { link: &link, policy: &policy, target };
        match returning.run(reason, numbering, &mut losses).await {
            Ok(back) => reader = back,
            Err(closed) => return link.end(closed),
        }
        is_resumed = matches!(
            &*link.states().borrow(),
            ConnectionState::Connected(SessionStart::Resumed { .. })
        );
    }
}

#[allow(clippy::disallowed_methods, reason = "the clock of tokio's timers, which wait for it")]
fn now() -> Instant {
    Instant::now()
}

/// Losses and failed attempts since the connection was steady.
#[derive(Debug, Default)]
struct Losses {
    failed: u32,
    since: Option<Instant>,
}

/// A connection on its way back.
struct Returning<'a> {
    link: &'a Arc<Link>,
    policy: &'a Reconnect,
    target: &'a Target,
}

impl Returning<'_> {
    /// Tries until a connection stands, the policy gives up, or this side wants the end.
    async fn run(
        &self,
        lost: Closed,
        numbering: Numbering,
        losses: &mut Losses,
    ) -> Result<Reader, Closed> {
        let mut numbering = numbering;
        let mut why = ClientError::from(lost.clone());
        let since = *losses.since.get_or_insert_with(now);
        let give_up = |attempts: u32, last: ClientError| Closed::GaveUp {
            attempts,
            lost: Arc::new(lost.clone()),
            last: Arc::new(last),
        };
        if let Some(process) = self.link.replace_process(None) {
            // It may go on without us; two hosts must not.
            process.kill().await;
        }
        loop {
            let left = self.policy.within.map(|limit| limit.saturating_sub(since.elapsed()));
            let is_over = left.is_some_and(|left| left.is_zero())
                || self.policy.attempts.is_some_and(|most| losses.failed >= most);
            if is_over {
                return Err(give_up(losses.failed, why));
            }
            let attempt = losses.failed.saturating_add(1);
            self.link.tell(ConnectionState::Reconnecting { attempt, reason: why.clone() });
            let delay = self.policy.delay(attempt, chance());
            let delay = left.map_or(delay, |left| delay.min(left));
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.link.close_wanted() => return Err(Closed::ByUs),
            }
            losses.failed = attempt;
            match self.attempt(numbering).await? {
                Ok(reader) => return Ok(reader),
                Err((error, kept)) => {
                    tracing::debug!(attempt, %error, "not reconnected");
                    (why, numbering) = (error, kept);
                    if is_final(&why) {
                        return Err(give_up(attempt, why));
                    }
                }
            }
        }
    }

    /// Connects and shakes hands; when this side wants the end, it stops at once.
    async fn attempt(
        &self,
        numbering: Numbering,
    ) -> Result<Result<Reader, (ClientError, Numbering)>, Closed> {
        let limit = TimeLimit::new(Some(self.link.options.handshake_timeout));
        let opened = tokio::select! {
            opened = self.target.open(limit) => opened,
            () = self.link.close_wanted() => return Err(Closed::ByUs),
        };
        let (connection, process) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err((error, numbering))),
        };
        let mut reader = self.reader(connection, process.as_ref(), numbering);
        let greeted = tokio::select! {
            greeted = reader.greet(limit) => Some(greeted),
            () = self.link.close_wanted() => None,
        };
        match greeted {
            Some(Ok(())) => {
                self.link.replace_process(process);
                Ok(Ok(reader))
            }
            Some(Err(error)) => {
                end_now(process).await;
                Ok(Err((error, reader.into_numbering())))
            }
            None => {
                drop(reader);
                end_now(process).await;
                Err(Closed::ByUs)
            }
        }
    }

    fn reader(
        &self,
        connection: Connection,
        process: Option<&Process>,
        numbering: Numbering,
    ) -> Reader {
        let Connection { source, sink, peer } = connection;
        tracing::debug!(peer = peer.name, "connected again");
        let number = self.link.outbox().number + 1;
        let outbox = Outbox::new(sink, self.link.options.max_unsent_bytes, number);
        Reader::new(self.link, outbox, source, process.map(Process::watch), numbering)
    }
}

async fn end_now(process: Option<Process>) {
    if let Some(process) = process {
        process.kill().await;
    }
}

/// Refusals that no further attempt will change.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Handshake { reason } => {
            matches!(&**reason, "auth_failed" | "version_mismatch")
        }
        _ => false,
    }
}

/// Which part of a wait is taken off; without randomness, none.
fn chance() -> u8 {
    let hex = random_hex().unwrap_or_default();
    hex.get(..2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(u8::MAX)
}
