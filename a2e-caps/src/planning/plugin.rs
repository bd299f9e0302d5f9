//! Answers `planning/*` on threads that may block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Clock, Error, Result, register_plugin};

use super::config::{PlanningConfig, check_change, check_plan, check_task};
use super::protocol::{
    PlanBoardRequest, PlanBoardResponse, PlanCreateRequest, PlanCreateResponse, PlanListRequest,
    PlanListResponse, TaskAddRequest, TaskAddResponse, TaskListRequest, TaskListResponse,
    TaskUpdateRequest, TaskUpdateResponse,
};
use super::store::Store;

/// Keeps plans in a file.
#[derive(Debug)]
struct PlanningPlugin {
    /// `None` in a trial, which makes no file.
    store: Option<Store>,
    clock: Arc<dyn Clock>,
    /// Most bytes of the items of a reply. Written, a character may take six times its bytes.
    budget: usize,
}

impl PlanningPlugin {
    fn new(config: PlanningConfig, host: &Host) -> Result<Self> {
        let (plans, tasks) = (config.max_plans.get(), config.max_tasks.get());
        let store = if host.is_trial() {
            None
        } else {
            let root = config.root.map_or_else(own_folder, Ok)?;
            Some(Store::open(root.join("planning.db"), plans, tasks)?)
        };
        let budget = host.config().limits.max_line_bytes / 8;
        Ok(Self { store, clock: Arc::clone(host.clock()), budget })
    }

    fn store(&self) -> Result<&Store> {
        self.store.as_ref().ok_or_else(|| Error::internal("a trial answers nothing"))
    }

    fn create(&self, request: PlanCreateRequest, call: &Call) -> Answer<PlanCreateResponse> {
        check_plan(&request)?;
        let now = self.clock.now().wall;
        let made = self.store()?.create(request, now, &|| call.is_cancelled());
        let reply = match told(made)? {
            Ok((plan_id, columns)) => {
                call.note_subject("plan_id", || plan_id.clone());
                PlanCreateResponse { success: true, plan_id, columns, ..Default::default() }
            }
            Err((code, error)) => PlanCreateResponse { error, code, ..Default::default() },
        };
        Ok(reply.into())
    }

    fn list(&self, _request: PlanListRequest, call: &Call) -> Answer<PlanListResponse> {
        let (plans, total) = self.store()?.plans(self.budget, call)?;
        Ok(PlanListResponse { plans, total }.into())
    }

    fn add(&self, request: TaskAddRequest, call: &Call) -> Answer<TaskAddResponse> {
        check_task(&request)?;
        let now = self.clock.now().wall;
        let added = self.store()?.add(request, now, &|| call.is_cancelled());
        let reply = match told(added)? {
            Ok((task_id, status)) => {
                call.note_subject("task_id", || task_id.clone());
                TaskAddResponse { success: true, task_id, status, ..Default::default() }
            }
            Err((code, error)) => TaskAddResponse { error, code, ..Default::default() },
        };
        Ok(reply.into())
    }

    fn update(&self, request: TaskUpdateRequest, call: &Call) -> Answer<TaskUpdateResponse> {
        check_change(&request)?;
        let changed = told(self.store()?.update(&request, &|| call.is_cancelled()))?;
        let (success, (code, error)) = match changed {
            Ok(()) => (true, (None, String::new())),
            Err(why) => (false, why),
        };
        Ok(TaskUpdateResponse { success, task_id: request.task_id, error, code }.into())
    }

    fn tasks(&self, request: TaskListRequest, call: &Call) -> Answer<TaskListResponse> {
        let TaskListRequest { plan_id, status } = request;
        let (tasks, total) = self.store()?.tasks((&plan_id, &status), self.budget, call)?;
        Ok(TaskListResponse { tasks, total }.into())
    }

    fn board(&self, request: PlanBoardRequest, call: &Call) -> Answer<PlanBoardResponse> {
        let (boards, truncated) = self.store()?.boards(&request.plan_id, self.budget, call)?;
        Ok(PlanBoardResponse { boards, truncated }.into())
    }
}

impl Plugin for PlanningPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.blocking(Self::create);
        on.blocking(Self::list);
        on.blocking(Self::add);
        on.blocking(Self::update);
        on.blocking(Self::tasks);
        on.blocking(Self::board);
    }

    fn notes(&self) -> Vec<String> {
        self.store.iter().map(|it| format!("plans in {}", it.path().display())).collect()
    }
}

/// What is told in a reply; a file that cannot be used, and a call that was given up, stay errors.
fn told<T>(done: Result<T>) -> Result<Result<T, (Option<ErrorCode>, String)>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) if error.detail().is_empty() && *error.code() != ErrorCode::Cancelled => {
            Ok(Err((Some(error.code().clone()), error.message().to_owned())))
        }
        Err(error) => Err(error),
    }
}

/// A folder of this user below the temporary one. Others may write there too, so one that is not this user's
/// own is refused.
fn own_folder() -> Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let own = nix::unistd::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("a2e-{own}"));
    let failed = |folder: &Path, error: &std::io::Error| {
        Error::runtime(format!("{}: {error}; name another folder as `root`", folder.display()))
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(&folder, &error));
        }
        _ => {}
    }
    let there = folder.symlink_metadata().map_err(|error| failed(&folder, &error))?;
    if !there.is_dir() || there.uid() != own || there.mode() & 0o022 != 0 {
        let text = format!("{} is not a folder of this user alone", folder.display());
        return Err(Error::runtime(format!("{text}; name another one as `root`")));
    }
    Ok(folder.join("planning"))
}

register_plugin!(
    PlanningPlugin,
    cls = "a2e.caps.planning.plugin.PlanningPlugin",
    capability = "planning",
    config = PlanningConfig,
    build = PlanningPlugin::new,
    about = "keeps plans, their tasks and a board in an SQLite file that hosts may share",
    aliases = &["a2e.caps.planning.plugin.HermesPlanningPlugin"]
);
