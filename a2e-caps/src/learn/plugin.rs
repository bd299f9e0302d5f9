//! Answers `learn/*`: notes, plans, reviews, changes, and takes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::{ErrorCode, id};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Error, Result, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::LearnConfig;
use super::files::{self, Files, Log, PATIENCE};
use super::ledger::{Change, Event, Ledger, MOST_NAME, component_of, components_of};
use super::plan;
use super::protocol::{
    HistoryEntry, LearnAdaptRequest, LearnAdaptResponse, LearnApplyRequest, LearnApplyResponse,
    LearnExperienceRequest, LearnExperienceResponse, LearnFeedbackRequest, LearnFeedbackResponse,
    LearnHistoryRequest, LearnHistoryResponse, LearnPlanRequest, LearnPlanResponse,
    LearnReviewRequest, LearnReviewResponse, LearnRollbackRequest, LearnRollbackResponse,
    LearnStatsRequest, LearnStatsResponse, Polarity, Proposal, Strategy,
};
use super::refine::{self, Undo};

/// Changes that history tells.
const TOLD: usize = 100;

/// Records after which the state is written, so that a start has little to note again.
const SAVE_EVERY: usize = 1000;

/// Of what this program writes into a snapshot.
const VERSION: u32 = 1;

/// Learns of feedback and experience, for all sessions of the host.
struct LearnPlugin {
    config: LearnConfig,
    host: Host,
    /// Held by the one that writes, from its check to its end, disk and all. `None`: not opened yet.
    files: Mutex<Option<Files>>,
    /// Whether another instance had its time to let go of the folder. Those who ask later do not wait.
    has_waited: AtomicBool,
    /// Held for a look or a note; `None`: the folder was not read yet.
    ledger: Mutex<Option<Ledger>>,
}

/// What a snapshot holds where there is no folder.
#[derive(Serialize, Deserialize)]
struct Kept {
    state: Map<String, Value>,
    history: Vec<HistoryEntry>,
    undos: Vec<(String, Vec<Undo>)>,
}

impl Plugin for LearnPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        // The first of them opens the folder.
        on.blocking(Self::feedback);
        on.blocking(Self::experience);
        on.blocking(Self::adapt);
        on.blocking(Self::stats);
        on.blocking(Self::plan);
        on.blocking(Self::review);
        on.blocking(Self::apply);
        on.blocking(Self::rollback);
        on.blocking(Self::history);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        if scope != Scope::Host {
            return Ok(None);
        }
        if self.config.store_root.is_some() {
            // The folder is its own snapshot.
            let mut files = self.files();
            let ledger = self.lock().clone();
            if let (Some(files), Some(ledger)) = (files.as_mut(), ledger) {
                files.save(&ledger, self.now())?;
            }
            return Ok(None);
        }
        let Some(ledger) = self.lock().clone() else { return Ok(None) };
        let state = ledger.to_json(&self.config.policy_name, self.now());
        let (history, undos) = ledger.changes();
        State::json(VERSION, &Kept { state, history, undos }).map(Some)
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        if scope != Scope::Host || self.config.store_root.is_some() {
            return Ok(());
        }
        let Kept { state, history, undos } = state.decode()?;
        let mut ledger = Ledger::from_json(state)?;
        ledger.set_changes(history, undos);
        *self.lock() = Some(ledger);
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if scope == Scope::Host && self.config.store_root.is_none() {
            *self.lock() = None;
        }
        Ok(())
    }

    fn teardown(&self) {
        let mut files = self.files();
        let ledger = self.lock().clone();
        if let (Some(open), Some(ledger)) = (files.as_mut(), ledger)
            && let Err(error) = open.save(&ledger, self.now())
        {
            tracing::warn!(%error, "the state is as it was; the logs have the rest");
        }
        // Another instance may wait for the folder.
        *files = None;
    }
}

impl LearnPlugin {
    fn new(config: LearnConfig, host: &Host) -> Result<Self> {
        config.check()?;
        let (files, ledger) = (Mutex::default(), Mutex::default());
        let has_waited = AtomicBool::new(false);
        Ok(Self { config, host: host.clone(), files, has_waited, ledger })
    }

    fn now(&self) -> f64 {
        self.host.now().wall.as_secs_f64()
    }

    fn files(&self) -> MutexGuard<'_, Option<Files>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the ledger, which is read first if that was not done.
    fn look<R>(&self, look: impl FnOnce(&mut Ledger) -> R) -> Result<R> {
        // With an open folder there is a ledger, so the one that writes does not come here.
        if self.config.store_root.is_some() && self.lock().is_none() {
            drop(self.open()?);
        }
        let mut ledger = self.lock();
        let ledger = ledger.get_or_insert_with(|| Ledger::new(self.now()));
        Ok(look(ledger))
    }

    /// The right to write, with an open folder where there is one.
    fn open(&self) -> Result<MutexGuard<'_, Option<Files>>> {
        let mut files = self.files();
        let mut opened = None;
        if let Some(root) = self.config.store_root.as_ref().filter(|_| files.is_none()) {
            let LearnConfig { policy_name, max_log_bytes, .. } = &self.config;
            let has_waited = self.has_waited.swap(true, Ordering::Relaxed);
            let patience = if has_waited { Duration::ZERO } else { PATIENCE };
            let lock = files::locked(root, patience)?;
            let (open, ledger) = Files::open(root, lock, policy_name, *max_log_bytes, self.now())?;
            (*files, opened) = (Some(open), Some(ledger));
        }
        let mut ledger = self.lock();
        if let Some(opened) = opened {
            *ledger = Some(opened);
        } else if ledger.is_none() {
            *ledger = Some(Ledger::new(self.now()));
        }
        drop(ledger);
        Ok(files)
    }

    /// As [`open`](Self::open), for a call. One that was cancelled while it waited has no effect.
    fn open_for(&self, call: &Call) -> Result<MutexGuard<'_, Option<Files>>> {
        let files = self.open()?;
        if call.is_cancelled() {
            return Err(Error::new(ErrorCode::Cancelled, "nobody waits for the answer"));
        }
        Ok(files)
    }

    /// Puts records on the disk, if there is a folder, and then into the ledger.
    fn note<T: Serialize>(
        &self,
        files: &mut Option<Files>,
        log: Log,
        records: &[T],
        mut note: impl FnMut(&mut Ledger, &T),
    ) -> Result<()> {
        if let Some(files) = files {
            files.append(log, records, || self.look(|ledger| ledger.clone()), self.now())?;
        }
        self.look(|ledger| records.iter().for_each(|record| note(ledger, record)))?;
        if let Some(files) = files.as_mut().filter(|files| files.since() >= SAVE_EVERY) {
            self.write_state(files)?;
        }
        Ok(())
    }

    /// A state that cannot be written is no failure of what was noted: the logs have it.
    fn write_state(&self, files: &mut Files) -> Result<()> {
        let ledger = self.look(|ledger| ledger.clone())?;
        if let Err(error) = files.save(&ledger, self.now()) {
            tracing::warn!(%error, "the state is as it was; the logs have the rest");
        }
        Ok(())
    }

    fn feedback(
        &self,
        request: LearnFeedbackRequest,
        call: &Call,
    ) -> Answer<LearnFeedbackResponse> {
        let mut feedbacks = request.feedbacks;
        let now = self.host.now().wall;
        for (place, feedback) in feedbacks.iter_mut().enumerate() {
            if feedback.polarity == Polarity::Corrective && feedback.correction.is_empty() {
                let loc = format!("feedbacks[{place}].correction");
                return Err(Error::schema(loc, "is empty, although the feedback is corrective"));
            }
            if feedback.feedback_id.is_empty() {
                feedback.feedback_id = format!("b_{}", now.as_nanos() + place as u128);
            }
            feedback.ts.get_or_insert(now.as_secs_f64());
        }
        let mut files = self.open_for(call)?;
        let most = self.config.max_components;
        self.look(|ledger| ledger.check(feedbacks.iter().map(component_of), most))??;
        self.note(&mut files, Log::Feedbacks, &feedbacks, Ledger::note_feedback)?;
        let last = feedbacks.last().map(component_of);
        let new_score =
            last.map(|last| self.look(|ledger| ledger.score(last))).transpose()?.flatten();
        Ok(LearnFeedbackResponse { recorded: feedbacks.len(), new_score }.into())
    }

    fn experience(
        &self,
        request: LearnExperienceRequest,
        call: &Call,
    ) -> Answer<LearnExperienceResponse> {
        let mut experiences = request.experiences;
        let mut names = Vec::new();
        for experience in &mut experiences {
            if experience.experience_id.is_empty() {
                experience.experience_id = id::random_hex()?;
            }
            experience.ts.get_or_insert(self.now());
            names.extend(components_of(experience).0);
        }
        let mut files = self.open_for(call)?;
        let most = self.config.max_components;
        self.look(|ledger| ledger.check(names.iter().map(String::as_str), most))??;
        let before = self.look(|ledger| ledger.experiences())?;
        self.note(&mut files, Log::Experiences, &experiences, Ledger::note_experience)?;
        let after = self.look(|ledger| ledger.experiences())?;
        let turn = |count: u64| count.checked_div(self.config.adapt_every).unwrap_or_default();
        if turn(after) > turn(before) {
            let strategy = self.config.strategy;
            let request = LearnAdaptRequest { strategy, ..LearnAdaptRequest::default() };
            if let Err(error) = self.adapt_with(&mut files, &request) {
                tracing::warn!(%error, "weights are as they were");
            }
        }
        Ok(LearnExperienceResponse { stored: experiences.len() }.into())
    }

    fn adapt(&self, request: LearnAdaptRequest, call: &Call) -> Answer<LearnAdaptResponse> {
        let mut files = self.open_for(call)?;
        let message = self.adapt_with(&mut files, &request)?;
        let name = &request.component_name;
        let (updated, weights) =
            self.look(|ledger| (ledger.records(name), ledger.weights(name)))?;
        Ok(LearnAdaptResponse { updated, message, weights }.into())
    }

    /// Makes weights, reviews them as any change, and puts them in force.
    fn adapt_with(&self, files: &mut Option<Files>, request: &LearnAdaptRequest) -> Result<String> {
        let LearnAdaptRequest { component_name, strategy, weights } = request;
        let custom = weights.as_ref().unwrap_or(&self.config.custom_weights);
        check_weights(*strategy, custom)?;
        let experiences = self.look(|ledger| ledger.experiences())?;
        let least = self.config.min_experiences;
        if experiences < least {
            return Ok(format!("{experiences} experiences of {least}: nothing is changed"));
        }
        let now = self.now();
        let refinement_id = short_id()?;
        let proposal = self.look(|ledger| {
            let edits = plan::weights(ledger, *strategy, custom, component_name, &self.config);
            plan::adaptation(refinement_id, component_name, *strategy, edits, now)
        })?;
        if proposal.edits.is_empty() {
            return Ok("the weights stay as they are".to_owned());
        }
        let count = proposal.edits.len();
        let review = self.look(|ledger| self.reviewed(ledger, &proposal))?;
        if !review.approved {
            return Ok(format!("not approved: {}", review.reasons.join("; ")));
        }
        // Whole seconds, as the reference writes it.
        let version = format!("v{}", self.host.now().wall.as_secs());
        let (change, faults) = self.change(files, proposal, Some(version.clone()))?;
        let made = change.applied.len();
        let faults =
            if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) };
        Ok(format!("{made} of {count} values are in force as {version}{faults}"))
    }

    fn reviewed(&self, ledger: &Ledger, proposal: &Proposal) -> LearnReviewResponse {
        refine::review(proposal, self.config.confidence_threshold, ledger.past_edits())
    }

    /// Puts a change in force as far as it goes; gives it, and what was wrong with its edits.
    fn change(
        &self,
        files: &mut Option<Files>,
        proposal: Proposal,
        policy_version: Option<String>,
    ) -> Result<(Change, Vec<String>)> {
        let now = self.now();
        let (mut change, faults) = self.look(|ledger| ledger.try_out(proposal, now))?;
        if !change.applied.is_empty() {
            change.policy_version = policy_version;
            self.keep_change(files, &change)?;
        }
        Ok((change, faults))
    }

    fn keep_change(&self, files: &mut Option<Files>, change: &Change) -> Result<()> {
        self.note(files, Log::Refinements, std::slice::from_ref(change), |ledger, change| {
            ledger.note_change(change.clone(), false);
        })?;
        files.as_mut().map_or(Ok(()), |files| self.write_state(files))
    }

    fn stats(&self, request: LearnStatsRequest, _call: &Call) -> Answer<LearnStatsResponse> {
        let components = self.look(|ledger| ledger.records(&request.component_name))?;
        Ok(LearnStatsResponse { components }.into())
    }

    fn plan(&self, request: LearnPlanRequest, _call: &Call) -> Answer<LearnPlanResponse> {
        let now = self.now();
        let plan = self.look(|ledger| plan::proposals(ledger, &request, &self.config, now))?;
        let mut proposals = plan;
        for proposal in &mut proposals {
            proposal.refinement_id = short_id()?;
        }
        let status = if proposals.is_empty() { "empty" } else { "ready" }.to_owned();
        Ok(LearnPlanResponse { plan_id: short_id()?, proposals, status }.into())
    }

    fn review(&self, request: LearnReviewRequest, _call: &Call) -> Answer<LearnReviewResponse> {
        refine::check(&request.proposal)?;
        Ok(self.look(|ledger| self.reviewed(ledger, &request.proposal))?.into())
    }

    fn apply(&self, request: LearnApplyRequest, call: &Call) -> Answer<LearnApplyResponse> {
        let mut proposal = request.proposal;
        refine::check(&proposal)?;
        if proposal.refinement_id.is_empty() {
            proposal.refinement_id = short_id()?;
        }
        let refinement_id = proposal.refinement_id.clone();
        call.note_subject("proposal.refinement_id", || refinement_id.clone());
        let total = proposal.edits.len();
        let mut files = self.open_for(call)?;
        let (applied_edits, error) = if self.look(|ledger| ledger.has_undo(&refinement_id))? {
            (0, format!("{refinement_id} is in force already"))
        } else if total == 0 {
            (0, "there is no edit".to_owned())
        } else {
            let (change, faults) = self.change(&mut files, proposal, None)?;
            (change.applied.len(), faults.join("; "))
        };
        let (failed_edits, rollback_available) = (total - applied_edits, applied_edits > 0);
        Ok(LearnApplyResponse {
            refinement_id,
            applied_edits,
            failed_edits,
            rollback_available,
            error,
        }
        .into())
    }

    fn rollback(
        &self,
        request: LearnRollbackRequest,
        call: &Call,
    ) -> Answer<LearnRollbackResponse> {
        let LearnRollbackRequest { refinement_id } = request;
        let mut files = self.open_for(call)?;
        if !self.look(|ledger| ledger.has_undo(&refinement_id))? {
            let error = format!("No rollback snapshot for {refinement_id}");
            return Ok(LearnRollbackResponse { refinement_id, rolled_back: false, error }.into());
        }
        let change = Change {
            event: Event::RolledBack,
            refinement_id: refinement_id.clone(),
            ts: self.now(),
            proposal: None,
            applied: Vec::new(),
            undo: Vec::new(),
            policy_version: None,
        };
        self.keep_change(&mut files, &change)?;
        let (rolled_back, error) = (true, String::new());
        Ok(LearnRollbackResponse { refinement_id, rolled_back, error }.into())
    }

    fn history(&self, _: LearnHistoryRequest, _call: &Call) -> Answer<LearnHistoryResponse> {
        let mut entries = self.look(|ledger| ledger.history(TOLD))?;
        // Text beyond ASCII grows to three times its bytes when it is written.
        let mut left = self.host.config().limits.max_line_bytes / 3;
        let sizes = entries.iter().rev().map(|it| json!(it).to_string().len());
        let fitting = sizes
            .take_while(|size| {
                let fits = *size <= left;
                left = left.saturating_sub(*size);
                fits
            })
            .count();
        entries.drain(..entries.len() - fitting);
        Ok(LearnHistoryResponse { entries }.into())
    }
}

fn check_weights(strategy: Strategy, weights: &BTreeMap<String, f64>) -> Result<()> {
    if strategy != Strategy::Custom {
        return Ok(());
    }
    if weights.is_empty() {
        let text = "are missing: `custom` takes them from the request or from `custom_weights`";
        return Err(Error::schema("weights", text));
    }
    let wrong = weights.iter().find(|(_, it)| !(it.is_finite() && **it >= 0.0));
    match wrong {
        Some((name, _)) => Err(Error::schema(format!("weights.{name}"), "is below 0")),
        None if weights.len() > 1000 => Err(Error::schema("weights", "more than 1000")),
        None if weights.keys().any(|name| name.len() > MOST_NAME) => {
            Err(Error::schema("weights", format!("a name has more than {MOST_NAME} bytes")))
        }
        None => Ok(()),
    }
}

/// 12 hex digits.
fn short_id() -> Result<String> {
    Ok(id::random_hex()?.chars().take(12).collect())
}

register_plugin!(
    LearnPlugin,
    cls = "a2e.caps.learn.plugin.LearnPlugin",
    capability = "learning",
    config = LearnConfig,
    build = LearnPlugin::new,
    about = "learns of feedback and experience: records, weights, changes of the policy and back",
    default_settings = Some("{}")
);
