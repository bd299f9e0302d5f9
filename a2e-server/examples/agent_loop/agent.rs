//! The agent: what it does in each step of its plan, and how it chooses a way.

use std::collections::BTreeMap;
use std::error::Error;

use a2e_caps::chains::{ChainNode, ChainRequest, Chains, NodeKind};
use a2e_caps::env::{EnvClient, JsonObject};
use a2e_caps::learn::LearnClient;
use a2e_caps::learn::protocol::{Experience, Strategy};
use a2e_caps::memory::{Memory, MemoryTier};
use a2e_caps::planning::{Planning, TaskAddRequest, TaskInfo, TaskUpdateRequest};
use a2e_caps::tools::client::ToolClient;
use a2e_client::Client;
use serde::Deserialize;
use serde_json::json;

use crate::report;
use crate::walk::{Dice, Sight, Walk, Way};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is to be done, each after the one before it.
const STEPS: [&str; 4] = ["read the orders", "try each way", "walk by what was learned", "report"];

/// What the operator wants.
#[derive(Default, Deserialize)]
struct Orders {
    mazes: Vec<i64>,
    episodes: usize,
}

/// An episode that is over.
pub(crate) struct Episode {
    pub(crate) way: Way,
    pub(crate) reward: f64,
}

pub(crate) struct Agent {
    tools: ToolClient,
    memory: Memory,
    envs: EnvClient,
    learn: LearnClient,
    planning: Planning,
    chains: Chains,
    dice: Dice,
    orders: Orders,
    pub(crate) episodes: Vec<Episode>,
}

impl Agent {
    pub(crate) async fn new(client: &Client) -> Outcome<Self> {
        Ok(Self {
            tools: ToolClient::new(client),
            memory: Memory::open(client, "mazes").await?,
            envs: EnvClient::new(client),
            learn: LearnClient::new(client),
            planning: Planning::new(client),
            chains: Chains::new(client),
            dice: Dice(7),
            orders: Orders::default(),
            episodes: Vec::new(),
        })
    }

    /// Makes the plan, then takes one open task after the other until none is left.
    pub(crate) async fn work(&mut self) -> Outcome<()> {
        let plan = self.planning.create("deliveries", &["todo", "doing", "done"]).await?;
        let mut before = Vec::new();
        for step in STEPS {
            let status = "todo".to_owned();
            let task = TaskAddRequest { status, deps: before, ..TaskAddRequest::new(&plan, step) };
            before = vec![self.planning.add(&task).await?];
        }
        while let Some(task) = self.open_task(&plan).await? {
            self.put(&task, "doing").await?;
            match STEPS.iter().position(|step| *step == task.title) {
                Some(0) => self.read_orders().await?,
                Some(1) => self.try_each_way().await?,
                Some(2) => self.walk_by_what_was_learned().await?,
                _ => self.report().await?,
            }
            self.put(&task, "done").await?;
        }
        Ok(())
    }

    /// A task whose predecessors are done.
    async fn open_task(&self, plan: &str) -> Outcome<Option<TaskInfo>> {
        let tasks = self.planning.tasks(plan, "").await?;
        let is_done = |id: &String| tasks.iter().any(|it| it.task_id == *id && it.status == "done");
        let is_open = |task: &&TaskInfo| task.status == "todo" && task.deps.iter().all(is_done);
        Ok(tasks.iter().find(is_open).cloned())
    }

    async fn put(&self, task: &TaskInfo, column: &str) -> Outcome<()> {
        let change = TaskUpdateRequest::new(&task.plan_id, &task.task_id);
        self.planning.update(&TaskUpdateRequest { status: column.to_owned(), ..change }).await?;
        Ok(())
    }

    async fn read_orders(&mut self) -> Outcome<()> {
        #[derive(Deserialize)]
        struct Read {
            content: String,
        }
        let file = json!({ "path": "orders.json" });
        let read: Read = self.tools.call_as("read_file", &file).await?;
        self.orders = serde_json::from_str(&read.content)?;
        Ok(())
    }

    async fn try_each_way(&mut self) -> Outcome<()> {
        for way in Way::ALL {
            self.episode(way).await?;
        }
        Ok(())
    }

    async fn walk_by_what_was_learned(&mut self) -> Outcome<()> {
        while self.episodes.len() < self.orders.episodes {
            let weights = self.learn.adapt(Strategy::Ucb1).await?.weights;
            let way = self.draw(&weights);
            self.episode(way).await?;
        }
        Ok(())
    }

    /// A way, as likely as its weight says.
    fn draw(&mut self, weights: &BTreeMap<String, f64>) -> Way {
        #[allow(clippy::cast_precision_loss, reason = "below a million")]
        let mut drawn = self.dice.below(1_000_000) as f64 / 1e6;
        for way in Way::ALL {
            drawn -= weights.get(way.name()).copied().unwrap_or_default();
            if drawn < 0.0 {
                return way;
            }
        }
        Way::Wander
    }

    /// Walks through the next maze, remembers the route if it is the best yet, and says how it went.
    async fn episode(&mut self, way: Way) -> Outcome<()> {
        let number = self.episodes.len() % self.orders.mazes.len().max(1);
        let maze = *self.orders.mazes.get(number).ok_or("there are no mazes in the orders")?;
        let options = json!({ "width": 8, "height": 8, "walls": 0.3, "max_steps": 100 });
        let options = JsonObject::of(&options)?;
        let (episode, mut seen) = self.envs.reset("gridworld", Some(maze), options).await?;
        let key = json!({ "maze": maze });
        let known: Option<Vec<String>> = self.memory.recall(&key).await?;
        let best = known.as_ref().map_or(usize::MAX, Vec::len);
        let mut walk = Walk::new(way, known);
        let mut reward = 0.0;
        while !seen.done {
            let sight: Sight = seen.state.decode("state")?;
            let action = json!({ "type": walk.go(&sight, &mut self.dice) });
            seen = episode.step(JsonObject::of(&action)?).await?;
            reward += seen.reward.unwrap_or_default();
        }
        let route = walk.route();
        if !seen.truncated && route.len() < best {
            self.memory.remember(&key, &route, MemoryTier::Episodic).await?;
        }
        let action = JsonObject::of(&json!({ "component_name": way.name() }))?;
        let episode_id = episode.id().to_owned();
        let done = Experience { action, reward, done: true, episode_id, ..Default::default() };
        self.learn.experience(vec![done]).await?;
        episode.close().await?;
        self.episodes.push(Episode { way, reward });
        Ok(())
    }

    /// One chain: the plot is written, and the table too if things have become better.
    async fn report(&self) -> Outcome<()> {
        let plot = ChainNode::tool("plot", "write_file")
            .with("path", report::PLOT)
            .with("content", "$.plot_text")
            .then("better");
        let better = ChainNode {
            condition: "$.gain > 0".to_owned(),
            true_node: "table".to_owned(),
            ..ChainNode::new("better", NodeKind::Branch)
        };
        let table = ChainNode::tool("table", "write_file")
            .with("path", report::TABLE)
            .with("content", "$.table_text");
        let chain = ChainRequest::new([plot, better, table])
            .input("plot_text", report::plot(&self.episodes))
            .input("table_text", report::table(&self.episodes))
            .input("gain", report::gain(&self.episodes));
        let done = self.chains.run(&chain).await?;
        match done.error {
            Some(error) => Err(error.message.into()),
            None => Ok(()),
        }
    }
}
