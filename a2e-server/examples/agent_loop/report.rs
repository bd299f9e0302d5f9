//! What is told of the episodes: a table, and a plot as SVG.

use std::fmt::Write;

use crate::agent::Episode;
use crate::walk::Way;

/// The files of the report.
pub(crate) const PLOT: &str = "agent_loop.svg";
pub(crate) const TABLE: &str = "agent_loop.txt";

/// Episodes of a line of the table.
const BIN: usize = 20;

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn mean(episodes: &[Episode]) -> f64 {
    episodes.iter().map(|it| it.reward).sum::<f64>() / episodes.len().max(1) as f64
}

/// How much more the last episodes brought than the first.
pub(crate) fn gain(episodes: &[Episode]) -> f64 {
    let bins = || episodes.chunks(BIN).map(mean);
    bins().next_back().unwrap_or_default() - bins().next().unwrap_or_default()
}

/// The mean reward, and how often each way was chosen.
pub(crate) fn table(episodes: &[Episode]) -> String {
    let mut text = String::from("episodes   reward");
    for way in Way::ALL {
        write!(text, "{:>8}", way.name()).ok();
    }
    for (number, bin) in episodes.chunks(BIN).enumerate() {
        let first = number * BIN + 1;
        write!(text, "\n{first:>3} - {:<3}{:>8.2}", first + bin.len() - 1, mean(bin)).ok();
        for way in Way::ALL {
            let times = bin.iter().filter(|it| it.way == way).count();
            write!(text, "{times:>8}").ok();
        }
    }
    text
}

/// The picture: its size, and the place of the axes in it.
const SIZE: (f64, f64) = (720.0, 420.0);
const LEFT: f64 = 64.0;
const RIGHT: f64 = 696.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 364.0;

fn colour(way: Way) -> &'static str {
    match way {
        Way::Wander => "#b8b8b8",
        Way::Down => "#e0a030",
        Way::Greedy => "#4a90d9",
        Way::Recall => "#2e9e5b",
    }
}

/// The height of a reward from -1 to 1.
fn height(reward: f64) -> f64 {
    BOTTOM - f64::midpoint(reward.clamp(-1.0, 1.0), 1.0) * (BOTTOM - TOP)
}

/// A dot for each episode in the colour of its way, and a line through the means.
pub(crate) fn plot(episodes: &[Episode]) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let at = |number: usize| {
        LEFT + (number as f64 + 0.5) / episodes.len().max(1) as f64 * (RIGHT - LEFT)
    };
    let (width, tall) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {tall}\" width=\"{width}\" \
         height=\"{tall}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"{tall}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">Reward of each episode, and the \
         mean of {BIN}</text>\n"
    );
    axes(&mut svg, episodes.len(), at);
    for (number, episode) in episodes.iter().enumerate() {
        let (x, y, fill) = (at(number), height(episode.reward), colour(episode.way));
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{fill}\"/>").ok();
    }
    let mut points = String::new();
    for (number, bin) in episodes.chunks(BIN).enumerate() {
        let middle = number * BIN + bin.len() / 2;
        write!(points, "{:.1},{:.1} ", at(middle), height(mean(bin))).ok();
    }
    let points = points.trim_end();
    writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#222\" stroke-width=\"2\"/>"
    )
    .ok();
    let mut x = LEFT + 4.0;
    for way in Way::ALL {
        let (fill, name) = (colour(way), way.name());
        writeln!(svg, "<circle cx=\"{x}\" cy=\"44\" r=\"4\" fill=\"{fill}\"/>").ok();
        writeln!(svg, "<text x=\"{}\" y=\"48\">{name}</text>", x + 10.0).ok();
        x += 84.0;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lines of the grid with their numbers, and what the axes are.
fn axes(svg: &mut String, episodes: usize, at: impl Fn(usize) -> f64) {
    for reward in [-1.0, -0.5, 0.0, 0.5, 1.0] {
        let y = height(reward);
        let (text_x, text_y) = (LEFT - 8.0, y + 4.0);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {y}H{RIGHT}\" stroke=\"#ddd\"/>\n\
             <text x=\"{text_x}\" y=\"{text_y}\" text-anchor=\"end\">{reward:.1}</text>"
        )
        .ok();
    }
    for number in (0..=episodes).step_by(BIN).skip(1) {
        let (x, y) = (at(number - 1), BOTTOM + 18.0);
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{number}</text>").ok();
    }
    let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 42.0);
    let centre = f64::midpoint(TOP, BOTTOM);
    writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#333\"/>\n\
         <text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">episode</text>\n\
         <text x=\"18\" y=\"{centre}\" text-anchor=\"middle\" \
         transform=\"rotate(-90 18 {centre})\">reward</text>"
    )
    .ok();
}
