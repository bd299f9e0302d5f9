//! `a2e approve`: lets calls go on that wait for a person, or refuses them.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::collections::{BTreeSet, VecDeque};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_client::{Client, ClientError};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::approval::{
    ApprovalAnswerRequest, ApprovalAsk, ApprovalList, ApprovalListRequest, ApprovalOver,
};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc::{Receiver, channel};

use crate::commands::remote::{HostArgs, Remote, run as run_to_end};
use crate::defaults::is_config;
use crate::stdout::{forget_what_was_typed, print, print_json};
use crate::{Failure, telemetry};

/// Calls that are told and not looked at yet; what a host lets wait.
const MOST: usize = 1024;

/// Characters of an id that name a call; a whole one has 36.
const SHORTEST_ID: usize = 8;

#[derive(Debug, Args)]
#[command(
    after_help = "Without an id it stays, shows each call that waits, and reads the answer from stdin: `y` lets the call \
    go on, anything else refuses it and is told to the caller as the reason. While it runs, somebody is there to ask; \
    it needs a token of a principal with the right `approve`, the operator token, or a socket of your own user. Nobody \
    approves its own calls.\n\nExamples:\n  a2e approve\n  a2e approve --list --to unix:///run/user/1000/a2e.sock\n  \
    a2e approve a2e.yaml\n  a2e approve 6f1c02d4 --deny \"not on a Friday\""
)]
pub(crate) struct ApproveArgs {
    /// Let this call go on
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    host: HostArgs,
    /// Refuse it, for this reason
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    deny: Option<String>,
    /// Print what waits, and end
    #[arg(long)]
    list: bool,
    /// Print calls and answers as JSON, a line each
    #[arg(long)]
    json: bool,
}

impl ApproveArgs {
    /// A configuration in the place of the id is one, as in other commands.
    fn take_file(&mut self) -> Result<(), Failure> {
        let config = &mut self.host.config;
        if self.host.to.is_none() && config.named().is_none() {
            config.file =
                self.id.take_if(|it| is_config(Path::new(it.as_str()))).map(PathBuf::from);
        }
        match (&self.id, self.list, &self.deny) {
            (Some(_), true, _) => Err(Failure::usage("--list takes no ID (see --help)")),
            (None, _, Some(_)) => Err(Failure::usage("--deny needs an ID (see --help)")),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run(mut args: ApproveArgs) -> Result<(), Failure> {
    args.take_file()?;
    telemetry::start(Some("error"))?;
    let (args, host) = (&args, args.host.needed()?);
    let result = match &args.id {
        _ if args.list => run_to_end(list(args, &host)),
        Some(id) => run_to_end(answer_one(args, &host, id)),
        None => run_to_end(stay(args, &host)),
    };
    telemetry::finish();
    result
}

async fn list(args: &ApproveArgs, host: &Remote) -> Result<(), Failure> {
    let ApprovalList { approvals, .. } = host.ask(&ApprovalListRequest {}).await?;
    approvals.iter().try_for_each(|ask| show(args, ask))
}

async fn answer_one(args: &ApproveArgs, host: &Remote, id: &str) -> Result<(), Failure> {
    let client = host.connect().await?;
    let waiting = client.rpc(&ApprovalListRequest {}).await?.approvals;
    // A person may type the beginning of it; a short one could be that of another call by now.
    let is_meant = |it: &&ApprovalAsk| id.len() >= SHORTEST_ID && it.approval_id.starts_with(id);
    let mut meant = waiting.iter().filter(is_meant);
    let (Some(ask), None) = (meant.next(), meant.next()) else {
        let text = format!(
            "not one call waits under {id:?} (of {SHORTEST_ID} characters at least); `a2e approve --list` shows them"
        );
        return Err(Failure::refused(text));
    };
    let told = decide(args, &client, ask, args.deny.is_none(), args.deny.as_deref()).await;
    client.close().await;
    if told? { Ok(()) } else { Err(Failure::refused("it waits no more")) }
}

/// What comes while somebody is there.
enum News {
    Ask(Box<ApprovalAsk>),
    Over(ApprovalOver),
}

async fn stay(args: &ApproveArgs, host: &Remote) -> Result<(), Failure> {
    let (sender, news) = channel(MOST);
    let asks = sender.clone();
    let builder = Client::builder().options(host.options().approver());
    let client = builder
        .on_push("approval/ask/push", move |message| {
            if let Ok(ask) = message.decode() {
                // Beyond it they wait, and are listed.
                let _full = asks.try_send(News::Ask(Box::new(ask)));
            }
        })
        .on_push("approval/over/push", move |message| {
            if let Ok(over) = message.decode() {
                let _full = sender.try_send(News::Over(over));
            }
        })
        .connect_to(&host.address)
        .await?;
    let waiting: VecDeque<_> = client.rpc(&ApprovalListRequest {}).await?.approvals.into();
    let seen = waiting.iter().map(|it: &ApprovalAsk| it.approval_id.clone()).collect();
    let is_terminal = std::io::stdin().is_terminal();
    let shown = Arc::default();
    let lines = stdin(Arc::clone(&shown), is_terminal)?;
    let mut desk = Desk { client, lines, news, waiting, seen, ahead: None, is_terminal, shown };
    while let Some(ask) = desk.next().await? {
        show(args, &ask)?;
        desk.forget_what_was_typed();
        if !args.json {
            print("approve? [y/N] ")?;
        }
        if !desk.answer(args, &ask).await? {
            break;
        }
    }
    desk.client.close().await;
    Ok(())
}

/// A person, or a script, with the calls that wait.
struct Desk {
    client: Client,
    lines: Receiver<Line>,
    news: Receiver<News>,
    waiting: VecDeque<ApprovalAsk>,
    /// The ids of calls that were told and are not over.
    seen: BTreeSet<String>,
    /// A line of a script that came before there was a call.
    ahead: Option<String>,
    is_terminal: bool,
    /// How many calls were shown; held while a terminal's line is read and while what was typed is dropped.
    shown: Arc<Mutex<u64>>,
}

/// A line of the input, and how many calls had been shown when it was read.
struct Line {
    text: String,
    shown: u64,
}

impl Desk {
    /// The next call; `None` at the end of the input.
    async fn next(&mut self) -> Result<Option<ApprovalAsk>, Failure> {
        loop {
            if let Some(ask) = self.waiting.pop_front() {
                return Ok(Some(ask));
            }
            tokio::select! {
                news = self.news.recv() => self.note(news),
                line = self.lines.recv(), if self.ahead.is_none() => match line {
                    None => return Ok(None),
                    // What is typed at a terminal is meant for what is shown there.
                    Some(line) => self.ahead = Some(line.text).filter(|_| !self.is_terminal),
                },
                _ = self.client.closed() => return Err(gone()),
            }
        }
    }

    /// Waits for the answer about one call, or for its end; false at the end of the input.
    async fn answer(&mut self, args: &ApproveArgs, ask: &ApprovalAsk) -> Result<bool, Failure> {
        loop {
            if let Some(line) = self.ahead.take() {
                return self.say(args, ask, line.trim()).await.map(|()| true);
            }
            tokio::select! {
                line = self.lines.recv() => match line {
                    None => return Ok(false),
                    Some(line) => self.ahead = Some(line).filter(|it| self.is_for_what_is_shown(it)).map(|it| it.text),
                },
                news = self.news.recv() => {
                    if let Some(News::Over(over)) = &news
                        && over.approval_id == ask.approval_id
                    {
                        return self.is_over(args, over).await;
                    }
                    self.note(news);
                }
                _ = self.client.closed() => return Err(gone()),
            }
        }
    }

    /// What was typed at a terminal before a call was shown is not meant for it.
    fn forget_what_was_typed(&self) {
        let mut shown = locked(&self.shown);
        forget_what_was_typed();
        *shown += 1;
    }

    fn is_for_what_is_shown(&self, line: &Line) -> bool {
        !self.is_terminal || line.shown == *locked(&self.shown)
    }

    async fn say(&self, args: &ApproveArgs, ask: &ApprovalAsk, line: &str) -> Result<(), Failure> {
        let is_yes = matches!(line, "y" | "Y" | "yes");
        let reason = (!is_yes && !matches!(line, "" | "n" | "N" | "no")).then_some(line);
        let is_first = decide(args, &self.client, ask, is_yes, reason).await?;
        if is_first || args.json { Ok(()) } else { print("it waits no more\n") }
    }

    /// The call that was shown has ended. What a person types now may be meant for it.
    async fn is_over(&mut self, args: &ApproveArgs, over: &ApprovalOver) -> Result<bool, Failure> {
        if args.json {
            print_json(over)?;
            return Ok(true);
        }
        let by = if over.by.is_empty() { String::new() } else { format!(" by {:?}", over.by) };
        print(&format!("\n{}{by}\n", over.outcome))?;
        if !self.is_terminal {
            return Ok(true);
        }
        print("press Enter to go on ")?;
        Ok(self.lines.recv().await.is_some())
    }

    fn note(&mut self, news: Option<News>) {
        match news {
            // It may have been listed already.
            Some(News::Ask(ask)) if self.seen.insert(ask.approval_id.clone()) => {
                self.waiting.push_back(*ask);
            }
            Some(News::Over(over)) => {
                self.seen.remove(&over.approval_id);
                self.waiting.retain(|it| it.approval_id != over.approval_id);
            }
            Some(News::Ask(_)) | None => {}
        }
    }
}

fn gone() -> Failure {
    Failure::refused("the host is gone")
}

/// Tells the host; false when the call waited no more.
async fn decide(
    args: &ApproveArgs,
    client: &Client,
    ask: &ApprovalAsk,
    approve: bool,
    reason: Option<&str>,
) -> Result<bool, Failure> {
    let answer = ApprovalAnswerRequest {
        approval_id: ask.approval_id.clone(),
        digest: ask.digest.clone(),
        approve,
        reason: reason.unwrap_or_default().to_owned(),
    };
    match client.rpc(&answer).await {
        Ok(reply) if args.json => print_json(&reply).map(|()| true),
        Ok(reply) => print(if reply.approved { "approved\n" } else { "denied\n" }).map(|()| true),
        Err(ClientError::Remote(error)) if error.code == ErrorCode::UnknownApproval => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Shows a call. What a peer chose is in quotes and escaped; the message is ASCII, as it came over the wire.
fn show(args: &ApproveArgs, ask: &ApprovalAsk) -> Result<(), Failure> {
    if args.json {
        return print_json(ask);
    }
    let ApprovalAsk { approval_id, principal, agent_id, message_type, rules, left_s, .. } = ask;
    let message = ask.request.get();
    let rules = rules.join("; ");
    print(&format!(
        "{approval_id}  {message_type:?} of {principal:?} (agent {agent_id:?}), {left_s:.0} s left\n  \
         by    {rules:?}\n  sends {message}\n"
    ))
}

/// Standard input line by line, read on a thread of its own.
fn stdin(shown: Arc<Mutex<u64>>, is_terminal: bool) -> Result<Receiver<Line>, Failure> {
    let (lines, input) = channel(1);
    let read = move || {
        while let Some(line) = read_line(&shown, is_terminal)
            && lines.blocking_send(line).is_ok()
        {}
    };
    std::thread::Builder::new()
        .name("a2e-stdin".into())
        .spawn(read)
        .map_err(|error| Failure::internal(format_args!("no thread for stdin: {error}")))?;
    Ok(input)
}

/// The next line. One of a terminal is read and numbered in one step, so that none was read before a call is shown
/// and numbered behind.
fn read_line(shown: &Mutex<u64>, is_terminal: bool) -> Option<Line> {
    loop {
        // A terminal has a line or nothing; a pipe may have half of one, which must hold nobody up.
        let is_there = |wait| !is_terminal || has_input(wait);
        is_there(PollTimeout::NONE);
        let number = is_terminal.then(|| locked(shown));
        if is_there(PollTimeout::ZERO) {
            let mut text = String::new();
            let read = std::io::stdin().read_line(&mut text).unwrap_or(0);
            let shown = number.map_or(0, |it| *it);
            return (read > 0).then_some(Line { text, shown });
        }
    }
}

/// Waits for input, or its end; an interrupted wait is none.
fn has_input(wait: PollTimeout) -> bool {
    let stdin = std::io::stdin();
    poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], wait).is_ok_and(|found| found > 0)
}

fn locked(shown: &Mutex<u64>) -> MutexGuard<'_, u64> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}
