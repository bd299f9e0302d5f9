//! Answers `skill/*`: keeps the catalog, and calls what is in it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use a2e_core::children::{Sandbox, Supervisor};
use a2e_core::config::nearest;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin};
use a2e_core::protocol::{Changed, ErrorCode, Event, EventKind};
use a2e_core::request::Call;
use a2e_core::{Error, Result, Time, register_plugin};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::catalog::{self, Catalog, Root, Skill};
use super::config::SkillConfig;
use super::contract::SkillRoot;
use super::offers::Offers;
use super::program::{self, Input, Ran};
use super::protocol::{
    SKILL_EVENT, SkillCallRequest, SkillCallResponse, SkillDiscoverRequest, SkillDiscoverResponse,
    SkillEvent, SkillFailure, SkillResult,
};
use crate::mcp::contract::{PromptProvider, ResourceProvider};

/// Serves the skills of folders.
struct SkillPlugin(Arc<Shared>);

pub(super) struct Shared {
    config: SkillConfig,
    host: Host,
    /// Held for a copy or a swap.
    catalog: RwLock<Arc<Catalog>>,
    programs: Arc<Semaphore>,
    /// What operators should know of the sandbox.
    sandbox: Option<String>,
}

impl Plugin for SkillPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::discover);
        on.inline(Self::call);
    }

    fn start(&self, host: &Host) -> Result<()> {
        self.0.look();
        let (name, offers) = (host.plugin().as_str(), Arc::new(Offers(Arc::clone(&self.0))));
        host.contribute::<dyn ResourceProvider>(name, Arc::clone(&offers) as _)?.keep();
        host.contribute::<dyn PromptProvider>(name, offers)?.keep();
        let poll = self.0.config.poll_s;
        if poll > 0.0 {
            let shared = Arc::downgrade(&self.0);
            let pause = Duration::from_secs_f64(poll.clamp(0.01, 3600.0));
            self.0.host.spawn(async move {
                loop {
                    tokio::time::sleep(pause).await;
                    let Some(shared) = shared.upgrade() else { return };
                    // A look that panics is repeated.
                    tokio::task::spawn_blocking(move || shared.look_and_tell()).await.ok();
                }
            });
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let count = format!("{} skills", self.0.catalog().len());
        std::iter::once(count).chain(self.0.sandbox.clone()).collect()
    }
}

impl Shared {
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the tenant of a call sees the plugin that brings a skill.
    pub(super) fn is_seen(&self, skill: &Skill, call: &Call) -> bool {
        let tenant = call.identity().tenant.as_deref();
        skill.owner.as_ref().is_none_or(|owner| self.host.is_seen(owner, tenant))
    }

    /// Looks through the folders; whether something changed.
    fn look(&self) -> bool {
        let brought = self.host.contributions::<SkillRoot>().into_iter();
        let brought = brought.map(|it| Root { path: it.item.path.clone(), owner: Some(it.owner) });
        let own = self.config.all_roots().into_iter().map(|path| Root { path, owner: None });
        let roots: Vec<Root> = brought.chain(own).collect();
        let before = self.catalog();
        let found = Catalog::of(&roots, self.config.max_skill_bytes.get(), Some(&before));
        let has_changed = found.is_some();
        if let Some(found) = found {
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        }
        has_changed
    }

    fn look_and_tell(&self) {
        if self.look() {
            self.host.contribution_changed();
            let generation = self.host.contribution_generation();
            self.host.push_users("skill/changed/push", &Changed { generation });
        }
    }
}

impl SkillPlugin {
    fn new(config: SkillConfig, host: &Host) -> Result<Self> {
        if !(0.0..=3600.0).contains(&config.poll_s) {
            return Err(Error::runtime("poll_s: is not within 0 to 3600"));
        }
        let children = if config.allow_programs { Some(host.children()?) } else { None };
        let sandbox = children.zip(config.sandbox.as_ref()).map(|(it, asked)| held(it, asked));
        let programs = Arc::new(Semaphore::new(config.max_programs.get()));
        let (host, catalog) = (host.clone(), RwLock::default());
        Ok(Self(Arc::new(Shared { config, host, catalog, programs, sandbox })))
    }

    fn discover(
        &self,
        request: SkillDiscoverRequest,
        call: &Call,
    ) -> Answer<SkillDiscoverResponse> {
        let SkillDiscoverRequest { filter_tags, filter_categories } = request;
        let catalog = self.0.catalog();
        let is_wanted = |skill: &Skill| {
            let it = &skill.manifest;
            let has_tag =
                filter_tags.is_empty() || it.tags.iter().any(|tag| filter_tags.contains(tag));
            let has_category = filter_categories.is_empty()
                || it
                    .category
                    .as_ref()
                    .is_some_and(|category| filter_categories.contains(category));
            !it.user_only && has_tag && has_category
        };
        let seen = catalog.all(|it| self.0.is_seen(it, call)).filter(|it| is_wanted(it));
        let skills = seen.map(Skill::definition).collect();
        Ok(SkillDiscoverResponse { skills }.into())
    }

    fn call(&self, request: SkillCallRequest, call: &Call) -> Answer<SkillCallResponse> {
        let catalog = self.0.catalog();
        let skill = catalog.find(&request.name, |it| self.0.is_seen(it, call)).cloned();
        let Some(skill) = skill else {
            let shown: String = request.name.chars().take(64).collect();
            let name = request.name;
            // There may be two thousand.
            let shared = Arc::clone(&self.0);
            return Ok(Outcome::on_pool(move |call| {
                let seen = catalog.all(|it| shared.is_seen(it, call));
                let known = seen.filter(|it| !it.manifest.user_only);
                let near = nearest(&name, known.map(|it| it.manifest.name.as_str()));
                let hint = near.map(|it| format!("; is `{it}` meant?")).unwrap_or_default();
                let error =
                    Error::new(ErrorCode::UnknownSkill, format!("no skill `{shown}` here{hint}"));
                Ok(Outcome::Pass(
                    near.into_iter().fold(error, |it, near| it.with_detail("nearest", near)),
                ))
            }));
        };
        if !request.streaming {
            call.mute();
        }
        let (shared, began) = (Arc::clone(&self.0), self.0.host.now());
        let told = Teller {
            call: call.clone(),
            host: self.0.host.clone(),
            name: skill.manifest.name.clone(),
            events: Vec::new(),
        };
        if skill.manifest.command.is_empty() {
            return Ok(Outcome::on_blocking(move |_call| {
                shared.prompt(&skill, &request, told, began)
            }));
        }
        if !shared.config.allow_programs {
            let text = "the skill is a program, and `allow_programs` is off";
            return Err(Error::new(ErrorCode::SkillError, text));
        }
        let Ok(permit) = Arc::clone(&shared.programs).try_acquire_owned() else {
            let text = format!("{} programs of skills run", shared.config.max_programs);
            return Err(Error::new(ErrorCode::Overloaded, text));
        };
        Ok(Outcome::on_future(async move {
            let answer = shared.program(&skill, &request, told, began).await;
            drop(permit);
            answer
        }))
    }
}

/// How far programs are held in.
fn held(children: &Supervisor, asked: &Sandbox) -> String {
    match children.sandbox_refusal() {
        None => "programs run in a sandbox".to_owned(),
        Some(why) if asked.required => format!("programs are not run without a sandbox: {why}"),
        Some(why) => {
            tracing::warn!(why, "programs of skills run without a whole sandbox");
            format!("programs run without a whole sandbox: {why}")
        }
    }
}

impl Shared {
    /// A text: read now, so that it is as it stands on the disk.
    fn prompt(
        &self,
        skill: &Skill,
        request: &SkillCallRequest,
        mut told: Teller,
        began: Time,
    ) -> Answer<SkillCallResponse> {
        told.tell("skill.started");
        told.tell("skill.preparing");
        let read = catalog::read(&skill.file, self.config.max_skill_bytes.get());
        let body = read.map_err(|why| {
            let text = format!("the skill `{}` {why}", skill.manifest.name);
            Error::new(ErrorCode::SkillError, text)
        })?;
        let args = match request.arguments.get("args") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        // One pass: what the arguments say is no place for more of them.
        let pieces = body.body.split("{args}").map(|piece| piece.replace("$ARGUMENTS", &args));
        let prompt = pieces.collect::<Vec<_>>().join(&args);
        if prompt.len() > self.host.config().limits.max_line_bytes / 3 {
            let text = format!("the text of the skill would have {} bytes", prompt.len());
            return Err(Error::new(ErrorCode::SkillError, text));
        }
        told.tell("skill.prompt.ready");
        told.tell("llm.skipped");
        told.tell("skill.completed");
        Ok(self.response(told, began, json!({ "prompt": prompt, "tools": {} }), None).into())
    }

    async fn program(
        &self,
        skill: &Skill,
        request: &SkillCallRequest,
        mut told: Teller,
        began: Time,
    ) -> Answer<SkillCallResponse> {
        told.tell("skill.started");
        let folder = skill.file.parent().map(PathBuf::from).unwrap_or_default();
        let SkillCallRequest { name, arguments, correlation_id, metadata, .. } = request;
        let input = Input { name, arguments, correlation_id, metadata };
        let command = &skill.manifest.command;
        let call = told.call.clone();
        let ran = program::run(&self.host, &self.config, command, &folder, &input, &call).await;
        let Ran { data, failure } = ran.inspect_err(|_| told.tell("skill.failed"))?;
        told.tell(if failure.is_none() { "skill.completed" } else { "skill.failed" });
        Ok(self.response(told, began, data, failure).into())
    }

    fn response(
        &self,
        told: Teller,
        began: Time,
        data: Value,
        failure: Option<String>,
    ) -> SkillCallResponse {
        let now = self.host.now();
        let code = failure.as_ref().map(|_| ErrorCode::SkillError);
        let error_code = code.as_ref().map(|code| code.as_str().to_owned());
        let error = failure.clone().map(|message| SkillFailure {
            code: ErrorCode::SkillError.as_str().to_owned(),
            message,
            retryable: false,
        });
        let result = SkillResult {
            success: failure.is_none(),
            data,
            summary: Value::Null,
            truncated: false,
            error: failure,
            error_code,
            code,
            duration_ms: u64::try_from(now.since(began).as_millis()).unwrap_or_default(),
            events: told.events,
        };
        let created_at = now.wall.as_secs_f64();
        SkillCallResponse { name: told.name, data: Some(result), error, created_at }
    }
}

/// Tells how a call goes, and keeps it for the result.
struct Teller {
    call: Call,
    host: Host,
    name: String,
    events: Vec<SkillEvent>,
}

impl Teller {
    fn tell(&mut self, kind: &'static str) {
        let mut data = Map::new();
        data.insert("skill".to_owned(), json!(self.name));
        data.insert("ts".to_owned(), json!(self.host.now().wall.as_secs_f64()));
        let seq = u64::try_from(self.events.len()).unwrap_or_default();
        let req_id = self.call.id().to_owned();
        self.events.push(SkillEvent { kind: kind.to_owned(), req_id, data: data.clone(), seq });
        let kind = EventKind::Other(kind.into());
        // A reader that is too slow has them in the result.
        self.call.emit(Event { wire_type: SKILL_EVENT.into(), kind, data }).ok();
    }
}

register_plugin!(
    SkillPlugin,
    cls = "a2e.caps.skills.plugin.SkillPlugin",
    capability = "skill",
    config = SkillConfig,
    build = SkillPlugin::new,
    about =
        "skills of folders with SKILL.md: texts for agents, and programs where they are allowed"
);
