//! `grep`: lines of files that fit a regular expression.

use std::io::{self, Read};

use a2e_core::protocol::number::integer;
use a2e_core::{Error, Result};
use cap_std::fs::{File, OpenOptions, OpenOptionsExt};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use regex_syntax::ast::{self, Ast, ClassSetItem};
use serde::Deserialize;
use serde_json::json;

use super::hits::{FileSink, Hits};
use super::lines::{Lines, MAX_LINE};
use super::patterns::{MAX_PATTERN, Pattern};
use super::unseen::Why;
use super::walk::{Found, Seen, Wanted, walk};
use super::{Cut, common, common_output, shares};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter};
use crate::tools::files::roots::Roots;
use crate::tools::files::{names, stop_if_cancelled};

/// Findings of one call.
const MAX_FOUND: usize = 5000;

/// Lines around a finding.
const MAX_CONTEXT: usize = 20;

/// Bytes that one call may read.
const MAX_READ: u64 = 1 << 30;

/// Memory of a compiled pattern, and of its lazy automaton, in bytes.
const MAX_REGEX: usize = 4 << 20;

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "these are the flags of the call")]
struct Arguments {
    pattern: String,
    #[serde(default = "here")]
    path: String,
    #[serde(default)]
    glob: Option<String>,
    #[serde(default)]
    fixed_strings: bool,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    files_only: bool,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    ignored: bool,
    #[serde(default, deserialize_with = "integer")]
    context: usize,
    #[serde(default = "hundred", deserialize_with = "integer")]
    limit: usize,
}

fn here() -> String {
    ".".to_owned()
}

fn hundred() -> usize {
    100
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Finds lines of files, in the order of their paths. Hidden files and what .gitignore and \
         .ignore files leave out are not searched, and a file with a NUL only where `path` names it; \
         of a line beyond 1 MiB the beginning is searched. Links are not followed. `\\r\\n` ends a line \
         as `\\n` does, unless the pattern has a `\\r`. {} {paths}",
        names::ABOUT
    );
    let matches = "Objects of `path`, `line` and `column` (from 1), `text` (near the finding, where \
                   the line is long and `cut`), `before` and `after` (lines around it; one between \
                   two findings is given once).";
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let tool = ToolDefinition::new("grep", about)
        .tagged(&["files", "read", "search"])
        .input(required(
            "pattern",
            "string",
            "A regular expression in Rust's syntax, for one line.",
        ))
        .input(optional("fixed_strings", "boolean", "The pattern is plain text; false by default."))
        .input(optional(
            "ignore_case",
            "boolean",
            "Upper and lower case are one; false by default.",
        ))
        .input(optional("glob", "string", "Only files whose path fits, such as `*.rs` or `src/`."))
        .input(optional("context", "integer", "Lines around a finding; 0 by default, 20 at most."))
        .input(optional(
            "files_only",
            "boolean",
            "Only the first line of each file; false by default.",
        ))
        .input(optional("limit", "integer", "Most findings; 100 by default, 5000 at most."));
    let tool = common(tool)
        .output(required("matches", "array", matches))
        .output(required("searched", "integer", "Files whose lines were looked at."))
        .output(required("binary", "integer", "Files that were skipped since they have a NUL."));
    ToolDefinition { idempotent: true, ..common_output(tool) }
}

/// `budget` bounds the findings as they are written to the wire.
pub(super) fn run(roots: &Roots, call: &ToolCall, budget: usize) -> Result<ToolOutput> {
    let arguments: Arguments = call.decode()?;
    let Arguments { path, hidden, ignored, files_only, .. } = &arguments;
    let (unseen, budget) = shares(budget);
    let glob = arguments.glob.as_deref().map(|glob| Pattern::new(roots, "glob", glob));
    let glob = glob.transpose()?;
    let mut search = Search {
        roots,
        call,
        matcher: matcher(&arguments)?,
        keeps_returns: asks_for_returns(&arguments),
        glob: glob.as_ref(),
        searcher: searcher(arguments.context.min(MAX_CONTEXT)),
        hits: Hits::new(arguments.limit.clamp(1, MAX_FOUND), budget),
        is_first_only: *files_only,
        left: MAX_READ,
        searched: 0,
        binary: 0,
    };
    let wanted = Wanted { hidden: *hidden, ignored: *ignored, pattern: glob.as_ref() };
    let seen = Seen::new(unseen);
    let seen = walk(roots, call, path, wanted, seen, &mut |found, seen| search.visit(found, seen))?;
    let is_cut = seen.cut.is_some();
    let data = json!({
        "matches": search.hits.found,
        "searched": search.searched,
        "binary": search.binary,
        "visited": seen.visited,
        "left_out": seen.left_out,
        "skipped": seen.skipped,
        "unseen": seen.unseen.fitting(),
        "truncated": is_cut,
        "reason": seen.cut,
    });
    Ok(ToolOutput::of(&data)?.truncated(is_cut))
}

fn matcher(arguments: &Arguments) -> Result<RegexMatcher> {
    let pattern = &arguments.pattern;
    let wrong = |why: &str| Error::schema("arguments.pattern", why);
    if pattern.is_empty() || pattern.len() > MAX_PATTERN {
        return Err(wrong(&format!("expected 1 to {MAX_PATTERN} bytes")));
    }
    if !arguments.fixed_strings {
        // Several lines, of which one has a mark under the place. The matcher's own error shows the
        // pattern as it was changed.
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
        parsed.map_err(|error| wrong(&error.to_string()))?;
    }
    let mut builder = RegexMatcherBuilder::new();
    builder
        .fixed_strings(arguments.fixed_strings)
        .case_insensitive(arguments.ignore_case)
        .line_terminator(Some(b'\n'))
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX);
    builder.build(pattern).map_err(|error| wrong(&error.to_string()))
}

/// Whether a pattern asks for `\r`: then the end of a line is searched as it is.
fn asks_for_returns(arguments: &Arguments) -> bool {
    struct Returns(bool);
    impl ast::Visitor for Returns {
        type Output = bool;
        type Err = ();

        fn finish(self) -> Result<bool, ()> {
            Ok(self.0)
        }

        fn visit_pre(&mut self, it: &Ast) -> Result<(), ()> {
            self.0 |= matches!(it, Ast::Literal(it) if it.c == '\r');
            Ok(())
        }

        fn visit_class_set_item_pre(&mut self, it: &ClassSetItem) -> Result<(), ()> {
            self.0 |= matches!(it, ClassSetItem::Literal(it) if it.c == '\r');
            Ok(())
        }
    }
    if arguments.fixed_strings {
        return arguments.pattern.contains('\r');
    }
    let parsed = ast::parse::Parser::new().parse(&arguments.pattern);
    parsed.is_ok_and(|it| ast::visit(&it, Returns(false)) == Ok(true))
}

fn searcher(context: usize) -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .before_context(context)
        .after_context(context)
        // Every line of a context may be as long as a line may be.
        .heap_limit(Some((context + 2) * (MAX_LINE + 1)))
        // The lines come decoded.
        .bom_sniffing(false)
        .build()
}

struct Search<'a> {
    roots: &'a Roots,
    call: &'a ToolCall,
    matcher: RegexMatcher,
    keeps_returns: bool,
    glob: Option<&'a Pattern>,
    searcher: Searcher,
    hits: Hits,
    is_first_only: bool,
    /// Bytes that may still be read.
    left: u64,
    searched: usize,
    binary: usize,
}

impl Search<'_> {
    fn visit(&mut self, found: &Found<'_>, seen: &mut Seen) -> Result<Option<Cut>> {
        let is_meant = self.glob.is_none_or(|glob| glob.covers(found.below));
        if !found.kind.is_file() || !is_meant {
            return Ok(None);
        }
        let file = match open(found) {
            Ok(file) => file,
            Err(error) if found.is_named => {
                return Err(self.roots.failed("search", found.path, &error));
            }
            Err(_) => {
                seen.skip(found.path);
                return Ok(None);
            }
        };
        let (kept, room) = self.hits.mark();
        let mut sink = FileSink {
            hits: &mut self.hits,
            matcher: &self.matcher,
            path: found.path,
            before: Vec::new(),
            is_binary: false,
            is_first_only: self.is_first_only,
        };
        // A file that is named is searched, whatever it is.
        let binary =
            if found.is_named { BinaryDetection::none() } else { BinaryDetection::quit(0) };
        self.searcher.set_binary_detection(binary);
        let file = Bounded { file, call: self.call, left: &mut self.left };
        let mut lines = Lines::new(file, self.keeps_returns);
        let searched = self.searcher.search_reader(&self.matcher, &mut lines, &mut sink);
        let is_binary = sink.is_binary;
        let (is_like_text, cut) = (lines.begins_as_text(), lines.cut);
        stop_if_cancelled(self.call)?;
        if self.left == 0 {
            return Ok(Some(Cut::BytesRead));
        }
        if is_binary {
            self.hits.forget(kept, room);
            self.binary += 1;
            if is_like_text {
                seen.unseen.note(found.path, Why::Binary, None);
            } else {
                seen.unseen.note_plain_binary(found.path);
            }
        } else if searched.is_err() {
            self.hits.forget(kept, room);
            seen.skip(found.path);
        } else {
            self.searched += 1;
            if cut.is_some() {
                seen.unseen.note(found.path, Why::LongLine, cut);
            }
        }
        Ok(self.hits.cut)
    }
}

/// Opens a regular file by its folder's handle; another one may stand there by now.
fn open(found: &Found<'_>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    let file = found.dir.open_with(found.name, &options)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// Reads a file while the call matters and the bytes last.
struct Bounded<'a> {
    file: File,
    call: &'a ToolCall,
    left: &'a mut u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.call.is_cancelled() || *self.left == 0 {
            // Not `Interrupted`, which would be tried again.
            return Err(io::Error::other("the search is over"));
        }
        let most = usize::try_from(*self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        *self.left -= read as u64;
        Ok(read)
    }
}
