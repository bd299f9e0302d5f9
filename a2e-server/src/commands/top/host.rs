//! The host's end of `a2e top`: asks it again and again, and does what a key asks for.

use std::time::Duration;

use a2e_client::{CallOptions, Client};
use a2e_core::protocol::host::{
    HostCancelRequest, HostReloadRequest, HostStatus, HostStatusRequest,
};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::Failure;
use crate::commands::remote::Remote;

/// How long a look may take before the host counts as away.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The longest pause before a host that is away is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a key asks of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Cancel { session_id: String, req_id: String },
    Rebuild(String),
}

/// What the host's end tells the screen.
#[derive(Debug)]
pub(super) enum News {
    Status(Box<HostStatus>),
    /// It does not answer, and why.
    Away(String),
    /// What became of a command.
    Done(String),
}

pub(super) async fn look(client: &Client) -> Result<HostStatus, Failure> {
    let status = client.rpc_with(&HostStatusRequest {}, CallOptions::within(LOOK_LIMIT)).await;
    status.map_err(Failure::from)
}

/// Goes on until the screen is gone. Starts with a connection that has just answered.
pub(super) async fn follow(
    remote: Remote,
    client: Client,
    interval: Duration,
    mut commands: Receiver<Command>,
    news: Sender<News>,
) {
    let mut client = Some(client);
    let mut pause = interval;
    loop {
        let command = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => Some(command),
                None => break,
            },
            () = tokio::time::sleep(pause) => None,
        };
        if let Some(command) = command {
            let done = match &client {
                Some(client) => run(client, &command).await,
                None => "not sent: the host does not answer".to_owned(),
            };
            if news.send(News::Done(done)).await.is_err() {
                break;
            }
        }
        let told = match again(&remote, &mut client).await {
            Ok(status) => {
                pause = interval;
                News::Status(Box::new(status))
            }
            Err(failure) => {
                client = None;
                pause = (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                News::Away(format!("{failure}; asked again in {:.0} s", pause.as_secs_f64()))
            }
        };
        if news.send(told).await.is_err() {
            break;
        }
    }
    if let Some(client) = client {
        client.close().await;
    }
}

async fn again(remote: &Remote, client: &mut Option<Client>) -> Result<HostStatus, Failure> {
    let client = match client {
        Some(client) => client,
        None => client.insert(remote.connect().await?),
    };
    look(client).await
}

/// Does it, and says what became of it.
async fn run(client: &Client, command: &Command) -> String {
    match command {
        Command::Cancel { session_id, req_id } => {
            let (session_id, req_id) = (session_id.clone(), req_id.clone());
            let request = HostCancelRequest { session_id, req_id };
            match client.rpc(&request).await {
                Ok(answer) if answer.found => format!("cancelled {}", request.req_id),
                Ok(_) => format!("{} had ended", request.req_id),
                Err(error) => format!("not cancelled: {error}"),
            }
        }
        Command::Rebuild(name) => {
            let request = HostReloadRequest { rebuild: vec![name.clone()] };
            match client.rpc(&request).await {
                Ok(report) if report.ok && report.rebuilt.contains(name) => {
                    format!("built {name} anew")
                }
                Ok(report) => {
                    let why = report.problems.first().map_or("", |it| it.message.as_str());
                    format!("{name} was not built anew: {why}")
                }
                Err(error) => format!("not built anew: {error}"),
            }
        }
    }
}
