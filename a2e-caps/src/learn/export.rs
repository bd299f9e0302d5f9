//! From the logs of a folder to samples that trainers read: preference pairs and rewards, a JSON object each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::protocol::{Experience, Feedback, Polarity, RatedTurn};

/// Most prompts whose answers wait for one to be paired with; beyond, the first by model and prompt leaves.
const MOST_PROMPTS: usize = 100_000;

/// What is made of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// `{prompt, chosen, rejected, model}`: a correction and what it corrects; an answer that was judged good and
    /// one that was judged bad, of the same prompt. As trainers for direct preference optimization read it.
    Pairs,
    /// `{prompt, completion, reward, model, dimension}` of judgements, `{state, action, reward, next_state, done,
    /// episode_id, step}` of experiences.
    Rewards,
}

/// Writes samples of the folder's logs, a line each, and returns how many. A log that was put aside comes first.
///
/// # Errors
/// Those of reading and writing; a folder without logs is one.
pub fn export(folder: &Path, samples: Samples, out: &mut dyn Write) -> io::Result<u64> {
    let mut count = 0;
    let mut write = |sample: Value| {
        count += 1;
        writeln!(out, "{sample}")
    };
    match samples {
        Samples::Pairs => pairs(folder, &mut write)?,
        Samples::Rewards => rewards(folder, &mut write)?,
    }
    Ok(count)
}

type Take<'t> = &'t mut dyn FnMut(Value) -> io::Result<()>;

/// Answers of one prompt that have met no opposite.
#[derive(Default)]
struct Unpaired {
    good: Vec<String>,
    bad: Vec<String>,
}

fn pairs(folder: &Path, write: Take<'_>) -> io::Result<()> {
    let mut waiting: BTreeMap<(String, String), Unpaired> = BTreeMap::new();
    read(folder, "feedbacks", |it: Feedback| {
        let Some(RatedTurn { prompt, response, model, .. }) = it.rated_turn else { return Ok(()) };
        let pair = |chosen: &str, rejected: &str| json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected, "model": model });
        if it.polarity == Polarity::Corrective {
            let chosen = corrected(&response, &it.correction, it.correction_span);
            return write(pair(&chosen, &response));
        }
        let is_good = it.polarity == Polarity::Positive || it.score > 0.0;
        let is_bad = it.polarity == Polarity::Negative || it.score < 0.0;
        if is_good == is_bad {
            return Ok(());
        }
        if waiting.len() >= MOST_PROMPTS {
            waiting.pop_first();
        }
        let of = waiting.entry((model.clone(), prompt.clone())).or_default();
        let (own, other) =
            if is_good { (&mut of.good, &mut of.bad) } else { (&mut of.bad, &mut of.good) };
        match other.pop() {
            Some(other) if is_good => write(pair(&response, &other)),
            Some(other) => write(pair(&other, &response)),
            None => {
                own.push(response);
                Ok(())
            }
        }
    })
}

/// The response with its wrong part replaced; the correction alone where no part is named.
fn corrected(response: &str, correction: &str, span: Option<(i64, i64)>) -> String {
    let place = |at: i64| {
        let at = usize::try_from(at).ok()?;
        let ends = response.char_indices().map(|(byte, _)| byte).chain([response.len()]);
        ends.clone().nth(at)
    };
    let parts = span.and_then(|(from, to)| {
        let (from, to) = (place(from)?, place(to)?);
        Some((response.get(..from)?, response.get(to..)?)).filter(|_| from <= to)
    });
    match parts {
        Some((before, after)) => format!("{before}{correction}{after}"),
        None => correction.to_owned(),
    }
}

fn rewards(folder: &Path, write: Take<'_>) -> io::Result<()> {
    read(folder, "feedbacks", |it: Feedback| {
        let Some(RatedTurn { prompt, response, model, .. }) = it.rated_turn else { return Ok(()) };
        write(json!({
            "prompt": prompt, "completion": response, "reward": it.score, "model": model,
            "dimension": it.dimension,
        }))
    })?;
    read(folder, "experiences", |it: Experience| {
        write(json!({
            "state": it.state, "action": it.action, "reward": it.reward, "next_state": it.next_state,
            "done": it.done, "episode_id": it.episode_id, "step": it.step,
        }))
    })
}

/// Reads a log, and the one that was put aside before it. A line that is none, as a crash leaves it, is left out.
fn read<T: DeserializeOwned>(
    folder: &Path,
    log: &str,
    mut take: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    for (name, is_needed) in [(format!("{log}.1.jsonl"), false), (format!("{log}.jsonl"), true)] {
        let file = match File::open(folder.join(&name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && !is_needed => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        };
        for line in BufReader::new(file).split(b'\n') {
            if let Ok(record) = serde_json::from_slice(&line?) {
                take(record)?;
            }
        }
    }
    Ok(())
}
