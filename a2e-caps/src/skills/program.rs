//! A skill that is a program: it gets the call as a line of JSON and writes its result.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use a2e_core::children::Command;
use a2e_core::plugin::Host;
use a2e_core::protocol::{ErrorCode, Event, EventKind};
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;

use super::config::SkillConfig;
use super::protocol::SKILL_EVENT;

/// What a program reads: one line.
#[derive(Serialize)]
pub(super) struct Input<'c> {
    pub(super) name: &'c str,
    pub(super) arguments: &'c Map<String, Value>,
    pub(super) correlation_id: &'c str,
    pub(super) metadata: &'c Map<String, Value>,
}

/// A line of a program that is an event.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    wire_type: String,
    kind: String,
    #[serde(default)]
    data: Map<String, Value>,
}

/// What a program gave.
pub(super) struct Ran {
    pub(super) data: Value,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

/// The program of a skill, inside its folder.
///
/// # Errors
/// When it is outside, or not there.
pub(super) fn inside(folder: &Path, program: &str) -> Result<PathBuf> {
    let refused = |why: &str| {
        let text = format!("the skill's program `{program}` {why}");
        Error::new(ErrorCode::SkillError, text)
    };
    let folder = folder.canonicalize().map_err(|_| refused("has lost its folder"))?;
    let file = folder.join(program).canonicalize().map_err(|_| refused("is not there"))?;
    if !file.starts_with(&folder) {
        return Err(refused("is outside of its folder"));
    }
    if file.is_file() { Ok(file) } else { Err(refused("is no file")) }
}

/// Runs it to its end. Dropped, it is killed with all that it started.
pub(super) async fn run(
    host: &Host,
    config: &SkillConfig,
    command: &[String],
    folder: &Path,
    input: &Input<'_>,
    call: &Call,
) -> Result<Ran> {
    let mut words = command.iter();
    let program = inside(folder, words.next().map_or("", String::as_str))?;
    let mut command = Command::new(program).args(words.map(OsString::from));
    command.cwd = Some(folder.to_owned());
    command.env_pass.clone_from(&config.env_pass);
    command.sandbox.clone_from(&config.sandbox);
    if let Some(sandbox) = &mut command.sandbox {
        sandbox.read.push(folder.to_owned());
    }
    let mut line = serde_json::to_vec(input)
        .map_err(|error| Error::internal(format!("arguments not encoded: {error}")))?;
    line.push(b'\n');
    let mut child = host.children()?.spawn(command).await?;
    child.drain_stderr();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // One that does not read needs no arguments.
            stdin.write_all(&line).await.ok();
        }
    };
    let most_bytes = config.max_output_bytes.get();
    let ((), output) = tokio::join!(feed, read(stdout, most_bytes, call));
    let output = output?;
    let exit = child.gone().await;
    let said = child.last_words().await.map(|line| format!("; it said last: {line}"));
    let failure = (!exit.is_success())
        .then(|| format!("the skill's program ended with {exit}{}", said.unwrap_or_default()));
    Ok(Ran { data: result(output), failure })
}

/// What it writes, without the lines that are events: those are told at once.
async fn read(stdout: Option<Receiver>, most_bytes: usize, call: &Call) -> Result<String> {
    let Some(mut stdout) = stdout else { return Ok(String::new()) };
    let (mut output, mut line) = (Vec::new(), Vec::new());
    let mut total = 0;
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
        total += count;
        if total > most_bytes {
            let text = format!("the skill's program wrote more than {most_bytes} bytes");
            return Err(Error::new(ErrorCode::SkillError, text));
        }
        for byte in buffer.get(..count).unwrap_or_default() {
            line.push(*byte);
            if *byte == b'\n' && !is_event(&line, call).await? {
                output.append(&mut line);
            } else if *byte == b'\n' {
                line.clear();
            }
        }
    }
    output.append(&mut line);
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Tells an event, if the line is one.
async fn is_event(line: &[u8], call: &Call) -> Result<bool> {
    let Ok(Told { wire_type, kind, data }) = serde_json::from_slice(line) else { return Ok(false) };
    if wire_type != SKILL_EVENT {
        return Ok(false);
    }
    let kind = EventKind::parse(&kind);
    call.emit_wait(Event { wire_type: SKILL_EVENT.into(), kind, data }).await?;
    Ok(true)
}

/// An object as it is, all else as text.
fn result(output: String) -> Value {
    match serde_json::from_str(output.trim()) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({ "text": output }),
    }
}
