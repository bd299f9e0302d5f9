//! The ways of walking that the agent chooses from. None of them sees a wall before it runs into it.

use serde::Deserialize;

/// One of them; each is a component of `learn`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// Anywhere.
    Wander,
    /// Down, and right where that does not go on.
    Down,
    /// Towards the goal; one step in four goes anywhere.
    Greedy,
    /// As it was best until now, by memory; anywhere where nothing is remembered.
    Recall,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Wander, Self::Down, Self::Greedy, Self::Recall];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wander => "wander",
            Self::Down => "down",
            Self::Greedy => "greedy",
            Self::Recall => "recall",
        }
    }
}

type Place = [i64; 2];

/// What the agent looks at in the state of `gridworld`.
#[derive(Deserialize)]
pub(crate) struct Sight {
    agent: Place,
    goal: Place,
}

/// A walk through one maze.
pub(crate) struct Walk {
    way: Way,
    known: std::vec::IntoIter<String>,
    /// Where it was and where it went from there, without the detours.
    route: Vec<(Place, String)>,
}

impl Walk {
    pub(crate) fn new(way: Way, known: Option<Vec<String>>) -> Self {
        Self { way, known: known.unwrap_or_default().into_iter(), route: Vec::new() }
    }

    /// The next action.
    pub(crate) fn go(&mut self, sight: &Sight, dice: &mut Dice) -> String {
        let Sight { agent, goal } = sight;
        // What leads back to a place was a detour.
        let was_here = self.route.iter().position(|(place, _)| place == agent);
        let last = self.route.last().map(|(_, action)| action.clone());
        let is_stuck = self.route.last().is_some_and(|(place, _)| place == agent);
        self.route.truncate(was_here.unwrap_or(self.route.len()));
        let action = match self.way {
            Way::Wander => dice.anywhere(),
            Way::Down if is_stuck && last.as_deref() == Some("down") => "right".to_owned(),
            Way::Down => "down".to_owned(),
            Way::Greedy if dice.below(4) == 0 => dice.anywhere(),
            Way::Greedy => {
                let (right, down) = (goal[0] - agent[0], goal[1] - agent[1]);
                if right > down { "right" } else { "down" }.to_owned()
            }
            Way::Recall => self.known.next().unwrap_or_else(|| dice.anywhere()),
        };
        self.route.push((*agent, action.clone()));
        action
    }

    /// The actions that lead from the first place to where it is now.
    pub(crate) fn route(self) -> Vec<String> {
        self.route.into_iter().map(|(_, action)| action).collect()
    }
}

/// Numbers that a seed decides: `SplitMix64` (Steele, Lea and Flood 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn anywhere(&mut self) -> String {
        match self.below(4) {
            0 => "up",
            1 => "down",
            2 => "left",
            _ => "right",
        }
        .to_owned()
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap_or_default() % most
    }
}
