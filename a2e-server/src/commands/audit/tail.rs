//! `a2e audit tail`: the last records for people, and those that are added.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_core::audit::rotated_files;
use clap::Args;
use serde::Deserialize;

use super::{FileArgs, unread};
use crate::Failure;
use crate::stdout::try_print;

/// How often a file that is followed is looked at.
const TICK: Duration = Duration::from_millis(100);

/// A line that is longer is shown in parts.
const MAX_LINE: u64 = 64 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    a2e audit tail audit.jsonl -n 50\n  \
    a2e audit tail audit.jsonl -f --json | jq 'select(.outcome != \"ok\")'")]
pub(super) struct TailArgs {
    #[command(flatten)]
    file: FileArgs,
    /// How many records to show first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Go on with what is added, also when the file is rotated
    #[arg(short, long)]
    follow: bool,
    /// Print the lines as they stand in the file, without seals
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TailArgs) -> Result<(), Failure> {
    let file = args.file.path()?;
    let failed = |error: io::Error| unread(&file, &error);
    let mut tail = Tail::open(&file).map_err(failed)?;
    let mut last = VecDeque::new();
    let mut keep = |line: String| {
        last.push_back(line);
        if last.len() > args.lines {
            last.pop_front();
        }
        true
    };
    tail.read(&mut keep).map_err(failed)?;
    let show = |line: &str| {
        let text = if args.json { format!("{line}\n") } else { shown(line) };
        try_print(&text)
    };
    for line in last {
        if !show(&line)? {
            return Ok(());
        }
    }
    if !args.follow {
        return Ok(());
    }
    let mut failure = None;
    loop {
        std::thread::sleep(TICK);
        let mut each = |line: String| match show(&line) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                failure = Some(error);
                false
            }
        };
        let goes_on = tail.read(&mut each).and_then(|goes_on| {
            // Rotated: the rest of the old file was read above, but for what came just now.
            Ok(goes_on && (!tail.is_moved(&file)? || tail.next(&file, &mut each)?))
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !goes_on.map_err(failed)? {
            return Ok(());
        }
    }
}

/// The lines of a file that grows.
struct Tail {
    reader: BufReader<File>,
    /// The bytes of a line that has no end yet.
    part: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), part: Vec::new() })
    }

    /// Gives every whole line that is there and no seal; false when `each` wants no more.
    fn read(&mut self, each: &mut impl FnMut(String) -> bool) -> io::Result<bool> {
        let length = self.reader.get_ref().metadata()?.len();
        if length < self.reader.stream_position()? {
            // Emptied by an operator.
            self.reader.seek(SeekFrom::Start(0))?;
            self.part.clear();
        }
        loop {
            let room = MAX_LINE.saturating_sub(self.part.len() as u64).max(1);
            let read = (&mut self.reader).take(room).read_until(b'\n', &mut self.part)?;
            let is_whole = self.part.last() == Some(&b'\n');
            if !is_whole && (self.part.len() as u64) < MAX_LINE {
                if read == 0 {
                    return Ok(true);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.part).trim_end().to_owned();
            self.part.clear();
            if !line.starts_with("{\"seal\":") && !each(line) {
                return Ok(false);
            }
        }
    }

    /// Whether the path names another file now.
    fn is_moved(&self, path: &Path) -> io::Result<bool> {
        let ours = self.reader.get_ref().metadata()?;
        match std::fs::metadata(path) {
            Ok(there) => Ok((there.dev(), there.ino()) != (ours.dev(), ours.ino())),
            // Between two renames; there will be one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the old file to its end, then those that were begun and rotated since, then the new one.
    fn next(&mut self, path: &Path, each: &mut impl FnMut(String) -> bool) -> io::Result<bool> {
        if !self.read(each)? {
            return Ok(false);
        }
        let files = rotated_files(path);
        let mut is_ours =
            |file: &PathBuf| matches!(self.is_moved(file), Ok(false)) && file.exists();
        let ours = files.iter().position(&mut is_ours);
        // Moved elsewhere by an operator: go on with the present file.
        let newer = ours.map_or(files.len().saturating_sub(1), |place| place + 1);
        for file in files.iter().skip(newer) {
            *self = Self::open(file)?;
            if !self.read(each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The fields of a record that are shown.
#[derive(Deserialize)]
struct Shown {
    ts: f64,
    #[serde(rename = "type")]
    kind: Option<String>,
    outcome: Option<String>,
    plugin: Option<String>,
    error_code: Option<String>,
    agent_id: Option<String>,
    req_id: Option<String>,
    queue_us: Option<u64>,
    run_us: Option<u64>,
    #[serde(default)]
    subject: BTreeMap<String, String>,
    gap: Option<Gap>,
}

#[derive(Deserialize)]
struct Gap {
    first: u64,
    last: u64,
    lost: u64,
    reason: String,
}

fn shown(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<Shown>(line) else {
        return format!("not a record: {line}\n");
    };
    let time = clock(record.ts);
    if let Some(Gap { first, last, lost, reason }) = record.gap {
        return format!("{time} {lost} records were dropped (seq {first} to {last}): {reason}\n");
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let outcome = match (record.outcome.as_deref(), &record.error_code) {
        (Some(outcome), Some(code)) => format!("{outcome} {code}"),
        (outcome, _) => outcome.unwrap_or("-").to_owned(),
    };
    format!(
        "{time} {outcome:<24} {:<24} {:<12} {:>9} queue {:>9} run  agent {} req {}{}\n",
        text(&record.kind),
        text(&record.plugin),
        super::bars::span(record.queue_us.unwrap_or(0)),
        super::bars::span(record.run_us.unwrap_or(0)),
        text(&record.agent_id),
        text(&record.req_id),
        about(&record.subject),
    )
}

/// What a request was about; a value that is not one plain word stands in quotes.
fn about(subject: &BTreeMap<String, String>) -> String {
    let fields = subject.iter().map(|(field, value)| {
        let is_plain = !value.is_empty() && value.chars().all(|it| it.is_ascii_graphic());
        if is_plain { format!("  {field} {value}") } else { format!("  {field} {value:?}") }
    });
    fields.collect()
}

/// Date and time in UTC, to the millisecond.
fn clock(ts: f64) -> String {
    let millis = Duration::try_from_secs_f64(ts).unwrap_or_default().as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(i64::try_from(days).unwrap_or(0));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970 (the "civil from days" method of H. Hinnant).
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last of its year; 400 years repeat.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ts, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_826_143.25, "2000-02-29T12:09:03.250Z"),
            (1_764_000_000.042_1, "2025-11-24T16:00:00.042Z"),
            (4_107_542_399.999, "2100-02-28T23:59:59.999Z"),
            (-5.0, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(clock(ts), expected);
        }
    }

    #[test]
    fn what_a_request_was_about_stands_at_the_end() {
        let line =
            r#"{"ts":0,"type":"x","req_id":"7","subject":{"a.path":"p","b":"x y\n","c":""}}"#;
        let shown = shown(line);
        assert!(shown.ends_with("req 7  a.path p  b \"x y\\n\"  c \"\"\n"), "{shown}");
    }

    #[test]
    fn what_is_no_record_is_shown_as_it_is() {
        assert_eq!(shown("{\"a\":1}"), "not a record: {\"a\":1}\n");
        assert!(shown("\u{fffd}").starts_with("not a record"));
    }
}
