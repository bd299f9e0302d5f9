//! From an accepted `proc/spawn/req` to a process that is followed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Result;
use a2e_core::children::{Command, StdinMode as ChildStdin};
use a2e_core::plugin::{Answer, Host};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::id::random_hex;
use a2e_core::request::Call;
use tokio::sync::OwnedSemaphorePermit;

use super::child::Process;
use super::plugin::ProcConfig;
use super::procs::Procs;
use super::protocol::{SpawnRequest, SpawnResponse, StdinMode};
use super::pump;

/// How long after the spawn reply the first output is sent, unless the client's handshake said that it
/// needs no wait. The reference client takes a request off its list in another thread than the one that
/// reads, and loses events of that request until it has.
const FIRST_OUTPUT: Duration = Duration::from_millis(20);

/// Where programs are looked for when the host has no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// What all launches of a plugin share.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) config: ProcConfig,
    pub(super) host: Host,
}

impl SpawnResponse {
    /// Nothing was started.
    pub(super) fn refused(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { error: why.into(), code: Some(code), ..Self::default() }
    }
}

/// Starts the program and answers. Its output follows when the answer is on its way; if there is
/// no answer (cancelled, timed out, session gone), the process is killed.
pub(super) async fn launch(
    launcher: Arc<Launcher>,
    request: SpawnRequest,
    call: Call,
    procs: Arc<Procs>,
    slot: OwnedSemaphorePermit,
) -> Answer<SpawnResponse> {
    match started(&launcher, request, &call, procs, slot).await {
        Ok(response) => Ok(response.into()),
        Err(error) => Ok(SpawnResponse::refused(error.code().clone(), error.message()).into()),
    }
}

async fn started(
    launcher: &Launcher,
    request: SpawnRequest,
    call: &Call,
    procs: Arc<Procs>,
    slot: OwnedSemaphorePermit,
) -> Result<SpawnResponse> {
    let Launcher { config, host } = launcher;
    let limit = u64::try_from(request.timeout).unwrap_or_default();
    let limit = [limit, config.timeout].into_iter().find(|limit| *limit > 0);
    let id = random_hex()?;
    let mut child = host.children()?.spawn(command(config, &request)).await?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let process = Arc::new(Process::new(id, &request.cmd, child, host.now().wall));
    let response = SpawnResponse {
        proc_id: process.id.clone(),
        ok: true,
        pid: process.pid(),
        error: String::new(),
        code: None,
    };
    call.note_subject("proc_id", || response.proc_id.clone());
    let session = call.session();
    // Without either the process is dropped here, which kills it.
    let Some(hold) = session.hold().filter(|_| procs.add(Arc::clone(&process))) else {
        return Ok(SpawnResponse::refused(ErrorCode::ShuttingDown, "the session has ended"));
    };
    let task = pump::Task {
        process,
        session,
        req_id: call.id().to_owned(),
        stdout,
        stderr,
        limit: limit.map(Duration::from_secs),
        grace: config.kill_grace(),
        max_waiting: config.max_output_bytes.get(),
        hold,
        slot,
    };
    let host = host.clone();
    call.after_reply(move |was_reply| {
        if was_reply {
            host.spawn(async move {
                if !task.session.takes_early_events() {
                    tokio::time::sleep(FIRST_OUTPUT).await;
                }
                pump::run(task).await;
            });
        } else {
            procs.remove(&task.process.id);
            task.process.abandon();
        }
    });
    Ok(response)
}

fn command(config: &ProcConfig, request: &SpawnRequest) -> Command {
    let mut words = request.cmd.iter().map(OsString::from);
    let mut program = words.next().unwrap_or_default();
    // The list of allowed programs names those of the host. With a PATH of its own the message
    // would say itself which file such a name means.
    if request.env.contains_key("PATH") && !program.as_encoded_bytes().contains(&b'/') {
        program = in_hosts_path(&program).into();
    }
    let mut command = Command::new(program).args(words);
    command.cwd = Some(&request.cwd).filter(|cwd| !cwd.is_empty()).map(PathBuf::from);
    command.env = request.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    command.env_pass.clone_from(&config.env_pass);
    command.holding = config.holding();
    command.stdin = match request.stdin_mode {
        StdinMode::Pipe => ChildStdin::Pipe,
        StdinMode::Null => ChildStdin::Null,
    };
    command
}

/// The file that a name means in the host; the name itself where there is none, so that the
/// system says so.
fn in_hosts_path(program: &OsString) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let found = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| Path::new("/nonexistent").join(program))
}
