//! `gridworld`: a way through a grid with walls, drawn from the seed; as text and as a picture.

use std::collections::VecDeque;

use a2e_core::codec::{RawJson, decode_field};
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::png::Picture;
use super::random::Random;
use crate::env::contract::{
    Environment, EnvironmentClass, JsonObject, Link, Observed, Spaces, kind, unknown_action,
};

/// Longest side of a grid.
const MOST_SIDE: u64 = 32;

/// The reward of a step that does not reach the goal.
const STEP_COST: f64 = -0.01;

/// Points of a cell's side in a picture.
const CELL: usize = 16;

/// Free, wall, agent, goal, the lines between cells.
const PALETTE: [[u8; 3]; 5] =
    [[255, 255, 255], [60, 60, 60], [30, 110, 220], [40, 170, 80], [210, 210, 210]];

/// What each action does to a place.
const WAYS: [(&str, i64, i64); 4] =
    [("up", 0, -1), ("down", 0, 1), ("left", -1, 0), ("right", 1, 0)];

pub(super) struct GridWorlds;

impl EnvironmentClass for GridWorlds {
    fn spaces(&self) -> Spaces {
        let place = json!({ "type": "array", "items": { "type": "integer" }, "minItems": 2, "maxItems": 2 });
        let side = json!({ "type": "integer", "minimum": 2, "maximum": MOST_SIDE, "default": 5 });
        let actions = json!({
            "type": "object",
            "properties": { "type": { "enum": WAYS.map(|way| way.0) } },
            "required": ["type"],
        });
        let states = json!({
            "type": "object",
            "properties": {
                "agent": place, "goal": place, "width": side, "height": side,
                "walls": { "type": "array", "items": place },
            },
            "required": ["agent", "goal", "width", "height", "walls"],
        });
        let options = json!({
            "type": "object",
            "properties": {
                "width": side, "height": side,
                "walls": { "type": "number", "minimum": 0, "maximum": 0.5, "default": 0.2 },
                "slip": { "type": "number", "minimum": 0, "maximum": 1, "default": 0,
                    "description": "how likely a step goes another way" },
                "max_steps": { "type": "integer", "minimum": 1, "default": 200 },
            },
        });
        Spaces::new(&actions, &states).options(&options)
    }

    fn make(&self, _link: Link) -> Result<Box<dyn Environment>> {
        Ok(Box::new(GridWorld::default()))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
struct Options {
    #[serde(default = "five")]
    width: u64,
    #[serde(default = "five")]
    height: u64,
    #[serde(default = "fifth")]
    walls: f64,
    #[serde(default)]
    slip: f64,
    #[serde(default = "two_hundred")]
    max_steps: u64,
}

fn five() -> u64 {
    5
}

fn fifth() -> f64 {
    0.2
}

fn two_hundred() -> u64 {
    200
}

type Place = [i64; 2];

/// What an agent sees.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Grid {
    agent: Place,
    goal: Place,
    width: i64,
    height: i64,
    walls: Vec<Place>,
}

impl Grid {
    /// The place that this action leads to: that of the agent itself where a wall or the edge is.
    fn after(&self, [x, y]: Place, (_, dx, dy): (&str, i64, i64)) -> Place {
        let next = [x + dx, y + dy];
        if self.holds(next) && !self.walls.contains(&next) { next } else { [x, y] }
    }

    /// The number of a cell, row by row.
    fn cell(&self, [x, y]: Place) -> usize {
        usize::try_from(y * self.width + x).unwrap_or_default()
    }

    /// The shortest way from the agent to the goal; `None` where there is none.
    fn way(&self) -> Option<Vec<&'static str>> {
        let cells = usize::try_from(self.width * self.height).unwrap_or_default();
        // From where, and by which action, each cell was reached first.
        let mut reached: Vec<Option<(Place, &'static str)>> = vec![None; cells];
        let mut is_closed = vec![false; cells];
        for place in self.walls.iter().chain([&self.agent]) {
            *is_closed.get_mut(self.cell(*place))? = true;
        }
        let mut open = VecDeque::from([self.agent]);
        while let Some(place) = open.pop_front() {
            if place == self.goal {
                let mut way = Vec::new();
                let mut at = place;
                while let Some(Some((from, action))) = reached.get(self.cell(at)) {
                    way.push(*action);
                    at = *from;
                }
                way.reverse();
                return Some(way);
            }
            for (action, dx, dy) in WAYS {
                let [x, y] = [place[0] + dx, place[1] + dy];
                let cell = self.cell([x, y]);
                if !self.holds([x, y]) || is_closed.get(cell).copied().unwrap_or(true) {
                    continue;
                }
                *is_closed.get_mut(cell)? = true;
                *reached.get_mut(cell)? = Some((place, action));
                open.push_back([x, y]);
            }
        }
        None
    }

    /// Whether a place is inside.
    fn holds(&self, [x, y]: Place) -> bool {
        (0..self.width).contains(&x) && (0..self.height).contains(&y)
    }

    /// What comes from outside may be anything.
    fn check(&self, loc: &str) -> Result<()> {
        let most = i64::try_from(MOST_SIDE).unwrap_or_default();
        let is_sized = |side: i64| (2..=most).contains(&side);
        let is_sound = is_sized(self.width)
            && is_sized(self.height)
            && self.walls.len() <= 1024
            && self.walls.iter().chain([&self.agent, &self.goal]).all(|place| self.holds(*place));
        if is_sound { Ok(()) } else { Err(Error::schema(loc, "is no grid")) }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for y in 0..self.height {
            for x in 0..self.width {
                let place = [x, y];
                text.push(match place {
                    it if it == self.agent => 'A',
                    it if it == self.goal => 'G',
                    it if self.walls.contains(&it) => '#',
                    _ => '.',
                });
            }
            text.push('\n');
        }
        text
    }

    fn picture(&self) -> Picture {
        let size = |length: i64| usize::try_from(length).unwrap_or_default() * CELL + 1;
        let (width, height) = (size(self.width), size(self.height));
        let mut picture = Picture::new(width, height);
        let mut cell = |place: &Place, margin: usize, colour: u8| {
            let [x, y] = place.map(|at| usize::try_from(at).unwrap_or_default() * CELL + 1);
            let inner = CELL - 1 - 2 * margin;
            picture.fill(x + margin, y + margin, inner, inner, colour);
        };
        self.walls.iter().for_each(|wall| cell(wall, 0, 1));
        cell(&self.goal, 0, 3);
        cell(&self.agent, 3, 2);
        for line in (0..width.max(height)).step_by(CELL) {
            picture.fill(line, 0, 1, height, 4);
            picture.fill(0, line, width, 1, 4);
        }
        picture
    }
}

#[derive(Default, Serialize, Deserialize)]
struct GridWorld {
    grid: Grid,
    random: Option<Random>,
    slip: f64,
    steps: u64,
    max_steps: u64,
}

impl Environment for GridWorld {
    fn reset(&mut self, seed: u64, options: &JsonObject) -> Result<Observed> {
        let Options { width, height, walls, slip, max_steps } = options.decode("options")?;
        let sides = 2..=MOST_SIDE;
        for (name, is_sound) in [
            ("width", sides.contains(&width)),
            ("height", sides.contains(&height)),
            ("walls", (0.0..=0.5).contains(&walls)),
            ("slip", (0.0..=1.0).contains(&slip)),
            ("max_steps", (1..=1_000_000).contains(&max_steps)),
        ] {
            if !is_sound {
                return Err(Error::schema(format!("options.{name}"), "is out of bounds"));
            }
        }
        let mut random = Random::new(seed);
        let side = |length: u64| i64::try_from(length).unwrap_or_default();
        let (width, height) = (side(width), side(height));
        let goal = [width - 1, height - 1];
        let mut grid = Grid { agent: [0, 0], goal, width, height, walls: Vec::new() };
        // A way that no wall stands in: there always is one.
        let mut way = vec![grid.agent];
        let mut at = grid.agent;
        while at != goal {
            let [x, y] = at;
            let goes_down = x == goal[0] || (y < goal[1] && random.below(2) == 1);
            at = if goes_down { [x, y + 1] } else { [x + 1, y] };
            way.push(at);
        }
        for y in 0..height {
            for x in 0..width {
                if random.unit() < walls && !way.contains(&[x, y]) {
                    grid.walls.push([x, y]);
                }
            }
        }
        let first = Observed::of(&grid)?;
        *self = Self { grid, random: Some(random), slip, steps: 0, max_steps };
        Ok(first)
    }

    fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        let asked = kind(action)?;
        let Some(mut way) = WAYS.into_iter().find(|way| way.0 == asked) else {
            return Err(unknown_action(&asked, &WAYS.map(|way| way.0)));
        };
        if let Some(random) = self.random.as_mut().filter(|_| self.slip > 0.0)
            && random.unit() < self.slip
        {
            let number = usize::try_from(random.below(4)).unwrap_or_default();
            way = WAYS.get(number).copied().unwrap_or(way);
        }
        self.grid.agent = self.grid.after(self.grid.agent, way);
        self.steps += 1;
        let is_there = self.grid.agent == self.grid.goal;
        let seen = Observed::of(&self.grid)?.reward(if is_there { 1.0 } else { STEP_COST });
        Ok(seen.done(is_there).truncated(!is_there && self.steps >= self.max_steps))
    }

    fn render(&mut self, mode: &str) -> Result<Option<Value>> {
        Ok(match mode {
            "text" => Some(json!(self.grid.text())),
            "screenshot" | "png" => Some(self.grid.picture().shown(&PALETTE)),
            "rgb_array" => Some(self.grid.picture().rgb(&PALETTE)),
            _ => None,
        })
    }

    fn plan(&mut self, state: Option<&JsonObject>) -> Result<Vec<JsonObject>> {
        let grid: Grid = state.map_or_else(|| Ok(self.grid.clone()), |it| it.decode("state"))?;
        grid.check("state")?;
        let way = grid.way().unwrap_or_default();
        let action = |name| JsonObject::of(&json!({ "type": name })).unwrap_or_default();
        Ok(way.into_iter().map(action).collect())
    }

    fn save(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    fn restore(&mut self, saved: &RawJson) -> Result<()> {
        let saved: Self = decode_field(saved, "snapshot.saved")?;
        saved.grid.check("snapshot.saved.grid")?;
        *self = saved;
        Ok(())
    }
}
