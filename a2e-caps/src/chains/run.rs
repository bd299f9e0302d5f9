//! The run of a chain: from node to node, in the order that the nodes say.

use std::collections::HashSet;
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, EventKind};
use a2e_core::request::Call;
use a2e_core::{Error, Result, Time};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::nodes::Worker;
use super::path::Context;
use super::plan::{Plan, failure};
use super::plugin::Limits;
use super::protocol::{
    CHAIN_EVENT, ChainError, ChainNode, ChainPhase, ChainRequest, ChainResponse, NodeKind,
};
use crate::json::Room;

/// What a request may ask for at most; the host gives a little more.
const LONGEST: Duration = Duration::from_mins(10);

/// What is kept of a call's time for its answer.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// The time of a chain whose request names none.
const DEFAULT_SECONDS: u64 = 300;

/// How long a chain may take: as it asks for, and less than its call has.
pub(super) fn limit(request: &ChainRequest, call: &Call) -> Duration {
    let seconds = u64::try_from(request.timeout).ok().filter(|it| *it > 0);
    let asked = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS)).min(LONGEST);
    call.remaining().map_or(asked, |left| asked.min(left.saturating_sub(ANSWER_TIME)))
}

/// A chain that is about to run.
pub(super) struct Run<'a> {
    pub(super) request: &'a ChainRequest,
    pub(super) plan: Plan<'a>,
    pub(super) worker: Worker,
    pub(super) limits: Limits,
    pub(super) started: Time,
    /// How long it may take from then on.
    pub(super) limit: Duration,
}

/// How far a chain has come.
#[derive(Debug)]
struct Progress<'a> {
    outputs: Map<String, Value>,
    tally: Tally,
    /// The node that was visited last.
    last: &'a str,
    /// The node that runs, as the last event told.
    running: Option<&'a str>,
}

#[derive(Debug)]
struct Tally {
    /// What is left for outputs; those that were replaced have taken theirs.
    room: Room,
    has_failures: bool,
}

impl<'a> Run<'a> {
    /// Runs the chain to its end or to its deadline.
    pub(super) async fn to_end(&self) -> ChainResponse {
        let tally = Tally { room: Room(self.limits.bytes), has_failures: false };
        let mut progress = Progress { outputs: Map::new(), tally, last: "", running: None };
        let ended = timeout(self.limit, self.walk(&mut progress)).await.unwrap_or_else(|_| {
            let text = format!("the chain was not done within {:.1} s", self.limit.as_secs_f64());
            Err(failure(ErrorCode::Timeout, "", text))
        });
        if let (Some(node), Err(error)) = (progress.running, &ended) {
            self.tell(node, ChainPhase::Error, None, &error.message, None);
        }
        let error = ended.err();
        let final_output = progress.outputs.get(progress.last).filter(|_| error.is_none()).cloned();
        let duration = self.worker.host.now().since(self.started);
        ChainResponse {
            chain_id: self.request.chain_id.clone(),
            success: error.is_none() && !progress.tally.has_failures,
            final_output: final_output.unwrap_or_default(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            nodes_run: progress.outputs.len(),
            outputs: progress.outputs,
            code: error.as_ref().map(|it| it.code.clone()),
            error,
        }
    }

    /// The time that is left for a node.
    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.worker.host.now().since(self.started))
    }

    async fn walk(&self, progress: &mut Progress<'a>) -> Result<(), ChainError> {
        let (mut visited, mut next) = (HashSet::new(), self.request.entry_node.as_str());
        while !next.is_empty() {
            // Branches wait for nothing; deadline and cancel are seen here.
            tokio::task::yield_now().await;
            if !visited.insert(next) {
                let text = format!("`{next}` was visited before");
                return Err(failure(ErrorCode::ChainCycle, next, text));
            }
            let node = self.plan.find(next).ok_or_else(|| {
                failure(ErrorCode::ChainError, next, format!("`{next}` is no node"))
            })?;
            progress.last = next;
            next = match node.kind {
                NodeKind::Branch => self.branch(node, progress)?,
                NodeKind::Map => self.map(node, progress).await?,
                _ => self.step(node, progress).await?,
            };
        }
        Ok(())
    }

    fn context<'p>(&'p self, outputs: &'p Map<String, Value>) -> Context<'p> {
        Context { input: &self.request.initial_input, outputs, item: None }
    }

    fn branch(&self, node: &'a ChainNode, progress: &Progress<'a>) -> Result<&'a str, ChainError> {
        let holds = self.context(&progress.outputs).holds(&node.condition);
        let holds = holds.map_err(|text| failure(ErrorCode::ChainError, &node.node_id, text))?;
        Ok(if holds { &node.true_node } else { &node.false_node })
    }

    async fn step(
        &self,
        node: &'a ChainNode,
        progress: &mut Progress<'a>,
    ) -> Result<&'a str, ChainError> {
        let id = node.node_id.as_str();
        self.tell(id, ChainPhase::Start, None, "", None);
        progress.running = Some(id);
        let context = self.context(&progress.outputs);
        let output = match context.arguments(&node.input, &node.input_map, self.limits.bytes) {
            Ok(arguments) => self.worker.run(node, &arguments, self.left()).await,
            Err(error) => Err(error),
        };
        progress.running = None;
        let copies = copies(node);
        match output.and_then(|it| self.measured(id, it, copies, &mut progress.tally)) {
            Ok(output) => {
                self.tell(id, ChainPhase::Done, Some(&output), "", None);
                progress.outputs.insert(id.to_owned(), output);
                Ok(&node.next_node)
            }
            Err(error) => {
                self.tell(id, ChainPhase::Error, None, error.message(), None);
                progress.outputs.insert(id.to_owned(), Value::Null);
                progress.tally.room.take(id);
                progress.tally.has_failures = true;
                match node.on_error.as_str() {
                    "skip" => Ok(&node.next_node),
                    "" | "abort" => Err(node_failure(id, &error)),
                    other => Ok(other),
                }
            }
        }
    }

    async fn map(
        &self,
        node: &'a ChainNode,
        progress: &mut Progress<'a>,
    ) -> Result<&'a str, ChainError> {
        let wrong = |text: String| failure(ErrorCode::ChainError, &node.node_id, text);
        let path = if node.items_path.is_empty() { "$" } else { node.items_path.as_str() };
        let context = self.context(&progress.outputs);
        let items = context.items(path, self.limits.bytes);
        let items = items.map_err(|error| node_failure(&node.node_id, &error))?;
        if items.len() > self.limits.items {
            let (count, most) = (items.len(), self.limits.items);
            return Err(wrong(format!("{count} items; a map may have {most} (max_items)")));
        }
        let inner = self.plan.find(&node.map_node);
        let inner = inner.ok_or_else(|| wrong(format!("`{}` is no node", node.map_node)))?;
        let tally = &mut progress.tally;
        let outputs = self.items((inner, copies(node)), context, &items, tally).await;
        if let Some(last) = outputs.last() {
            let last = self.measured(&inner.node_id, last.clone(), 1, tally);
            let last = last.map_err(|error| node_failure(&inner.node_id, &error))?;
            progress.outputs.insert(inner.node_id.clone(), last);
        }
        tally.room.take(&node.node_id);
        progress.outputs.insert(node.node_id.clone(), Value::Array(outputs));
        Ok(&node.next_node)
    }

    /// Runs a node for each item, several at a time; the outputs of those that succeed, in the order of the
    /// items.
    async fn items(
        &self,
        (node, copies): (&ChainNode, usize),
        context: Context<'_>,
        items: &[Value],
        tally: &mut Tally,
    ) -> Vec<Value> {
        let mut runs = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            runs.push(self.item(node, context, index, item));
        }
        let runs = futures_util::stream::iter(runs).buffer_unordered(self.limits.parallel);
        let mut runs = std::pin::pin!(runs);
        let (mut done, id) = (Vec::with_capacity(items.len()), node.node_id.as_str());
        while let Some((index, output)) = runs.next().await {
            match output.and_then(|it| self.measured("", it, copies, tally)) {
                Ok(output) => {
                    self.tell(id, ChainPhase::Done, Some(&output), "", Some(index));
                    done.push((index, output));
                }
                Err(error) => {
                    self.tell(id, ChainPhase::Error, None, error.message(), Some(index));
                    tally.has_failures = true;
                }
            }
        }
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, output)| output).collect()
    }

    /// One item of a map.
    async fn item(
        &self,
        node: &ChainNode,
        context: Context<'_>,
        index: usize,
        item: &Value,
    ) -> (usize, Result<Value>) {
        self.tell(&node.node_id, ChainPhase::Start, None, "", Some(index));
        let arguments = if node.input.is_empty() && node.input_map.is_empty() {
            Ok(Map::from_iter([("item".to_owned(), item.clone())]))
        } else {
            let context = Context { item: Some(item), ..context };
            context.arguments(&node.input, &node.input_map, self.limits.bytes)
        };
        match arguments {
            Ok(arguments) => (index, self.worker.run(node, &arguments, self.left()).await),
            Err(error) => (index, Err(error)),
        }
    }

    /// Counts an output with its name and as often as it stands in the reply; refuses one that the reply has no
    /// room for.
    fn measured(&self, id: &str, output: Value, copies: usize, tally: &mut Tally) -> Result<Value> {
        let mut room = tally.room;
        if !(room.take(id) && (0..copies).all(|_| room.take(&output))) {
            let most = self.limits.bytes;
            let text = format!("the outputs have more than {most} bytes (max_output_bytes)");
            return Err(Error::new(ErrorCode::OutOfMemory, text));
        }
        tally.room = room;
        Ok(output)
    }

    /// Sends an event. A slow reader misses some; the reply has every output.
    fn tell(
        &self,
        node_id: &str,
        phase: ChainPhase,
        output: Option<&Value>,
        error: &str,
        index: Option<usize>,
    ) {
        let kind = EventKind::Status;
        let data = index.map_or_else(|| json!({}), |index| json!({ "index": index }));
        let told = Told { kind: &kind, data, node_id, phase, output, error };
        if let Err(error) = self.worker.call.emit_fields(CHAIN_EVENT, &kind, &told) {
            tracing::debug!(%error, "an event of a chain was not taken");
        }
    }
}

/// A `chain/event` without the number that the host gives it.
#[derive(Serialize)]
struct Told<'a> {
    kind: &'a EventKind,
    data: Value,
    node_id: &'a str,
    phase: ChainPhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

/// How often the output of a node stands in the reply: that of the last one is the final output as well.
fn copies(node: &ChainNode) -> usize {
    if node.next_node.is_empty() { 2 } else { 1 }
}

/// What a node failed of, as what ended the chain.
fn node_failure(id: &str, error: &Error) -> ChainError {
    let mut failed = failure(ErrorCode::ChainNodeError, id, error.message().to_owned());
    failed.cause = Some(error.code().clone());
    failed
}
