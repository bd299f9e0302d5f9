//! Answers `proc/*`: checks commands against the list, and keeps the processes of each session.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::children::{Holding, Isolation};
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin};
use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::request::Call;
use a2e_core::{Error, Result, register_plugin};
use dashmap::DashMap;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::child::Process;
use super::input::WRITE_LIMIT;
use super::launch::{Launcher, launch};
use super::procs::Procs;
use super::protocol::{
    KillRequest, KillResponse, SpawnRequest, SpawnResponse, Status, StatusRequest, StatusResponse,
    WriteRequest, WriteResponse,
};

/// The end of a session waits this long for its processes; what is left then ends by itself.
const SESSION_END: Duration = Duration::from_millis(350);

/// What is kept of a call's time for its answer.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// The text for a process that the session does not have, or has forgotten.
const NOT_FOUND: &str = "session not found";

/// The settings of `proc`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ProcConfig {
    /// The programs that may be started: `cmd[0]` must be one of them, letter by letter. It is no
    /// sandbox: what an interpreter in it can do, the agent can do.
    #[serde(default = "allowed_commands", alias = "ALLOWED_COMMANDS")]
    pub allowed_commands: Vec<String>,
    /// Seconds after which a process is ended whose request names no `timeout`; 0: never.
    #[serde(default, alias = "DEFAULT_TIMEOUT")]
    pub timeout: u64,
    /// Bytes of output per process that wait for the client, counting 64 for each line; beyond
    /// it the process is held back.
    #[serde(default = "max_output_bytes", alias = "MAX_OUTPUT_BYTES")]
    pub max_output_bytes: NonZeroUsize,
    /// Processes of one session that run at a time.
    #[serde(default = "max_procs", alias = "MAX_PROCS")]
    pub max_procs: u16,
    /// Names of variables that processes inherit, beside `PATH`, `HOME`, `LANG`, `LC_ALL`,
    /// `TMPDIR`, `TZ` and `USER`.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// Seconds from SIGTERM or SIGINT to the kill of the whole tree; at most 3600.
    #[serde(default = "kill_grace_s")]
    pub kill_grace_s: f64,
    /// How processes are held, where it is not as the host holds all: `guard`, or `pidns`, a PID
    /// namespace for each process. The plugin fails to start where this cannot be had.
    #[serde(default)]
    pub isolation: Option<ProcIsolation>,
}

/// What `metadata.isolation` may ask for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcIsolation {
    /// No descendant survives its process or the host.
    Guard,
    /// The same, even when host and guards are killed at once.
    Pidns,
}

fn allowed_commands() -> Vec<String> {
    ["python3", "bash", "ls"].map(str::to_owned).into()
}

fn max_output_bytes() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add((1 << 20) - 1)
}

fn max_procs() -> u16 {
    64
}

fn kill_grace_s() -> f64 {
    2.0
}

impl ProcConfig {
    /// Checked when the plugin was built.
    pub(super) fn kill_grace(&self) -> Duration {
        Duration::try_from_secs_f64(self.kill_grace_s).unwrap_or_default()
    }

    /// The holding that each process is started with.
    pub(super) fn holding(&self) -> Holding {
        if self.isolation == Some(ProcIsolation::Pidns) { Holding::Pidns } else { Holding::Usual }
    }

    /// Whether the host can hold processes so.
    fn check_isolation(&self, host: &Host) -> Result<()> {
        let Some(asked) = self.isolation else { return Ok(()) };
        let children = host.children()?;
        let why = match asked {
            ProcIsolation::Pidns => children.pidns_refusal().map(str::to_owned),
            ProcIsolation::Guard => (children.isolation() == Isolation::Group)
                .then(|| "this host was started without a guard program".to_owned()),
        };
        match why {
            None => Ok(()),
            Some(why) => Err(Error::runtime(format!("isolation: not to be had here: {why}"))),
        }
    }
}

/// The processes of all sessions, each seen by its own session only.
#[derive(Debug)]
struct ProcPlugin {
    launcher: Arc<Launcher>,
    sessions: DashMap<SessionId, Arc<Procs>>,
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
impl ProcPlugin {
    fn new(config: ProcConfig, host: &Host) -> Result<Self> {
        if !(0.0..=3600.0).contains(&config.kill_grace_s) {
            let text = format!("kill_grace_s: {} is not within 0..=3600", config.kill_grace_s);
            return Err(Error::runtime(text));
        }
        config.check_isolation(host)?;
        let launcher = Arc::new(Launcher { config, host: host.clone() });
        Ok(Self { launcher, sessions: DashMap::new() })
    }

    fn spawn(&self, request: SpawnRequest, call: &Call) -> Answer<SpawnResponse> {
        let Launcher { config, host } = &*self.launcher;
        let refused = |code, why: String| Ok(SpawnResponse::refused(code, why).into());
        let Some(program) = request.cmd.first().filter(|program| !program.is_empty()) else {
            return refused(ErrorCode::SchemaViolation, "Empty command".to_owned());
        };
        if !config.allowed_commands.contains(program) {
            let text = format!(
                "Command not allowed: `{program}` is not in `metadata.allowed_commands` \
                 (or `ALLOWED_COMMANDS`) of plugin `{}`",
                host.plugin()
            );
            let refused = SpawnResponse::refused(ErrorCode::ToolDenied, text);
            return Ok(self.unless_another(refused));
        }
        let procs = self.procs(call)?;
        let Some(slot) = procs.reserve() else {
            let text = format!(
                "Too many processes: {} run in this session, which is `metadata.max_procs` of \
                 plugin `{}`",
                config.max_procs,
                host.plugin()
            );
            return refused(ErrorCode::ProcLimit, text);
        };
        let launcher = Arc::clone(&self.launcher);
        Ok(Outcome::on_future(launch(launcher, request, call.clone(), procs, slot)))
    }

    fn write(&self, request: WriteRequest, call: &Call) -> Answer<WriteResponse> {
        let WriteRequest { proc_id, data, eof } = request;
        let Some(process) = self.find(&proc_id, call) else {
            let error = NOT_FOUND.to_owned();
            let code = Some(ErrorCode::UnknownProc);
            let response = WriteResponse { proc_id, error, code, ..WriteResponse::default() };
            return Ok(self.unless_another(response));
        };
        let turn = process.input.turn();
        let limit = time_left(call).min(WRITE_LIMIT);
        Ok(Outcome::on_future(async move {
            let outcome = if process.has_ended() {
                let text = format!("the process has ended: {}", process.status());
                Err(Error::new(ErrorCode::ProcDead, text))
            } else {
                process.input.write(turn, &data, eof, limit).await
            };
            let (ok, pid) = (outcome.is_ok(), process.pid());
            let (code, error) = match outcome {
                Ok(()) => (None, String::new()),
                Err(error) => (Some(error.code().clone()), error.message().to_owned()),
            };
            Ok(WriteResponse { proc_id, ok, pid, error, code }.into())
        }))
    }

    fn kill(&self, request: KillRequest, call: &Call) -> Answer<KillResponse> {
        let Some(process) = self.find(&request.proc_id, call) else {
            let (state, error) = (Status::NotFound.to_string(), NOT_FOUND.to_owned());
            let code = Some(ErrorCode::UnknownProc);
            return Ok(self.unless_another(KillResponse { ok: false, state, error, code }));
        };
        if !process.kill(request.signal) {
            let error = "the process has ended before".to_owned();
            let (state, code) = (process.status().to_string(), Some(ErrorCode::ProcDead));
            return Ok(KillResponse { ok: false, state, error, code }.into());
        }
        let limit = time_left(call);
        Ok(Outcome::on_future(async move {
            // With a longer grace than the call may last, the kill goes on without it.
            timeout(limit, process.killed()).await.ok();
            let state = process.status().to_string();
            Ok(KillResponse { ok: true, state, ..KillResponse::default() }.into())
        }))
    }

    fn status(&self, request: StatusRequest, call: &Call) -> Answer<StatusResponse> {
        let StatusRequest { proc_id } = request;
        let (mut status, mut error, mut procs) = (Status::NotFound, "", None);
        if proc_id.is_empty() {
            procs = Some(self.known(call).map(|procs| procs.infos()).unwrap_or_default());
        } else if let Some(process) = self.find(&proc_id, call) {
            status = process.status();
        } else {
            error = NOT_FOUND;
        }
        let (status, error) = (status.to_string(), error.to_owned());
        let is_unknown = !error.is_empty();
        let code = is_unknown.then_some(ErrorCode::UnknownProc);
        let response = StatusResponse { proc_id, status, error, code, procs };
        Ok(if is_unknown { self.unless_another(response) } else { response.into() })
    }

    /// Answers for a process that is not here: another plugin for `proc/*` may have it.
    fn unless_another<R>(&self, response: R) -> Outcome<R> {
        if self.is_last() {
            return response.into();
        }
        Outcome::Pass(Error::new(ErrorCode::UnknownProc, NOT_FOUND))
    }

    /// Whether no other plugin is asked after this one.
    fn is_last(&self) -> bool {
        let host = &self.launcher.host;
        let is_exclusive = host
            .plugin_configs()
            .iter()
            .any(|it| it.name == *host.plugin() && it.metadata.exclusive == Some(true));
        is_exclusive || host.plugins_of(host.capability().as_str()).last() == Some(host.plugin())
    }

    fn find(&self, id: &str, call: &Call) -> Option<Arc<Process>> {
        self.known(call)?.find(id)
    }

    fn known(&self, call: &Call) -> Option<Arc<Procs>> {
        self.sessions.get(call.session_id()).map(|procs| Arc::clone(&procs))
    }

    /// The table of the call's session, made on first use.
    fn procs(&self, call: &Call) -> Result<Arc<Procs>> {
        let make = || Arc::new(Procs::new(self.launcher.config.max_procs.into()));
        let id = call.session_id();
        let procs = Arc::clone(&self.sessions.entry(id.clone()).or_insert_with(make));
        // A session's calls are cancelled before it is forgotten here; one that comes later must
        // not make its table again.
        if call.is_cancelled() {
            self.sessions.remove(id);
            return Err(Error::new(ErrorCode::ShuttingDown, "the session has ended"));
        }
        Ok(procs)
    }
}

/// How long a call may wait and still answer by itself.
fn time_left(call: &Call) -> Duration {
    call.remaining().map_or(Duration::MAX, |left| left.saturating_sub(ANSWER_TIME))
}

impl Plugin for ProcPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::spawn);
        on.inline(Self::write);
        on.inline(Self::kill);
        on.inline(Self::status);
    }

    fn session_ended(&self, session: &SessionId) {
        let Some((_, procs)) = self.sessions.remove(session) else { return };
        let processes = procs.close();
        for process in &processes {
            process.end_with_session();
        }
        let told = async {
            for process in &processes {
                process.told().await;
            }
        };
        // Called on a thread that may block, within the host's runtime.
        let all = Handle::current().block_on(async { timeout(SESSION_END, told).await });
        if all.is_err() {
            tracing::debug!(%session, "processes are still being killed after their session's end");
        }
    }

    fn teardown(&self) {
        // What still runs is killed when its record is dropped.
        self.sessions.clear();
    }
}

register_plugin!(
    ProcPlugin,
    cls = "a2e.caps.proc.plugin.ProcPlugin",
    capability = "proc",
    config = ProcConfig,
    build = ProcPlugin::new,
    about = "starts programs from a list, and streams what they write"
);
