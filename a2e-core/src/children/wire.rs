//! The protocol between host and guard over their socket, for `monitor` and `guard`.
//!
//! Host to guard: one mark byte ([`WITH_STDIN`] carries the stdin pipe as ancillary data), the
//! launch block (length, then NUL-ended fields), then one byte per order. Guard to host: lines.
//! End of file from either side means that the side is gone.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::child::Exit;
use super::sandbox::Sandbox;

/// The first argument of the hidden subcommand.
pub(super) const GUARD_WORD: &str = "__guard";
/// The argument behind the parent's id: a guard as usual.
pub(super) const GUARD_WAY: &str = "--";
/// The same: hold a PID namespace with a guard in it.
pub(super) const PIDNS_WAY: &str = "--pidns";
/// The same: the guard in such a namespace, its first process.
pub(super) const INIT_WAY: &str = "--init";
/// The same: try whether a namespace can be made, say why not, and end.
pub(super) const PROBE_WAY: &str = "--probe";
/// Set in a guard's own environment only, so that a program which forgot to call
/// `run_if_guard` refuses to start supervisors instead of starting itself for ever.
pub(super) const GUARD_MARK: &str = "A2E_GUARD";

/// The environment of a guard: none of the program's variables can reach into it.
pub(super) fn guard_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let path = std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path));
    std::iter::once((GUARD_MARK, OsString::from("1"))).chain(path)
}

/// Mark byte: the program's stdin is null.
pub(super) const WITHOUT_STDIN: u8 = b'n';
/// Mark byte: the program's stdin is the pipe that comes with this byte.
pub(super) const WITH_STDIN: u8 = b'p';

/// Order byte: kill every descendant, then end. Any other byte is a signal number for the group.
pub(super) const END_TREE: u8 = 0;

/// Bound of the launch block in bytes; Linux itself takes at most 6 MiB of arguments and
/// environment together.
pub(super) const MAX_BLOCK: usize = 6 << 20;
/// Bound of one line from the guard in bytes.
pub(super) const MAX_LINE: usize = 2048;

/// What the guard needs to start the program beyond its argument list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    /// Empty: where the host is.
    pub(super) cwd: PathBuf,
    /// As JSON on the wire; empty without one.
    pub(super) sandbox: Option<Sandbox>,
    pub(super) env: Vec<(OsString, OsString)>,
}

impl Block {
    /// Length and fields. Fails with the reason when a field has a NUL byte, a name is empty or
    /// has `=`, or the block is longer than [`MAX_BLOCK`].
    pub(super) fn encode(&self) -> Result<Vec<u8>, &'static str> {
        let mut body = Vec::new();
        push(&mut body, self.cwd.as_os_str())?;
        let sandbox = self.sandbox.as_ref().map(serde_json::to_string).transpose();
        let sandbox = sandbox.map_err(|_| "a path of the sandbox is no UTF-8")?;
        push(&mut body, sandbox.unwrap_or_default().as_ref())?;
        for (name, value) in &self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err("the name of an environment variable is empty or has `=`");
            }
            push(&mut body, name)?;
            push(&mut body, value)?;
        }
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if body.len() > MAX_BLOCK {
            return Err("the environment is too long");
        }
        let mut block = length.to_le_bytes().to_vec();
        block.append(&mut body);
        Ok(block)
    }

    /// Reads what [`Block::encode`] wrote.
    pub(super) fn read(from: &mut impl io::Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_BLOCK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        // The last field ends with a NUL, so the last piece is empty and no field.
        let body = body.strip_suffix(b"\0").unwrap_or(&body);
        let mut fields =
            body.split(|byte| *byte == 0).map(|field| OsString::from_vec(field.into()));
        let cwd = fields.next().unwrap_or_default().into();
        let sandbox = fields.next().filter(|it| !it.is_empty());
        let sandbox = sandbox.map(|it| serde_json::from_slice(it.as_bytes())).transpose()?;
        let mut env = Vec::new();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            env.push((name, value));
        }
        Ok(Self { cwd, sandbox, env })
    }
}

fn push(body: &mut Vec<u8>, field: &OsStr) -> Result<(), &'static str> {
    if has_nul(field) {
        return Err("a NUL byte in the command");
    }
    body.extend_from_slice(field.as_bytes());
    body.push(0);
    Ok(())
}

/// Whether the operating system could not take this text.
pub(super) fn has_nul(text: &OsStr) -> bool {
    text.as_bytes().contains(&0)
}

/// One line from the guard.
#[derive(Debug, PartialEq)]
pub(super) enum Report {
    /// The program runs with this process id.
    Started(u32),
    /// The program was not started: error number of the system (0 when there is none) and text.
    Failed(i32, String),
    /// The program has ended.
    Ended(Exit),
}

impl Report {
    pub(super) fn to_line(&self) -> String {
        match self {
            Self::Started(pid) => format!("pid {pid}\n"),
            Self::Failed(errno, text) => {
                let text: String = text.chars().filter(|c| !c.is_control()).take(400).collect();
                format!("error {errno} {text}\n")
            }
            Self::Ended(Exit { code: Some(code), .. }) => format!("exit {code}\n"),
            Self::Ended(exit) => format!("signal {}\n", exit.signal.unwrap_or_default()),
        }
    }

    /// `None` for a line that no guard writes.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (word, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some(match word {
            "pid" => Self::Started(rest.parse().ok()?),
            "error" => {
                let (errno, text) = rest.split_once(' ')?;
                Self::Failed(errno.parse().ok()?, text.to_owned())
            }
            "exit" => Self::Ended(Exit { code: Some(rest.parse().ok()?), signal: None }),
            "signal" => Self::Ended(Exit { code: None, signal: Some(rest.parse().ok()?) }),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back_the_same() {
        let env = vec![("A".into(), "".into()), ("B".into(), "x=y\nz".into())];
        for cwd in ["", "/tmp"] {
            for env in [vec![], env.clone()] {
                let held = Sandbox { write: vec!["/a \n\"b".into()], ..Sandbox::default() };
                for sandbox in [None, Some(held)] {
                    let block = Block { cwd: cwd.into(), sandbox, env: env.clone() };
                    let bytes = block.encode().unwrap();
                    assert_eq!(Block::read(&mut bytes.as_slice()).unwrap(), block);
                }
            }
        }
    }

    #[test]
    fn a_block_that_the_system_could_not_take_is_refused() {
        let with = |name: &str, value: &str| Block {
            env: vec![(name.into(), value.into())],
            ..Block::default()
        };
        assert!(with("A\0", "").encode().is_err());
        assert!(with("A", "b\0").encode().is_err());
        assert!(with("A=B", "").encode().is_err());
        assert!(with("", "x").encode().is_err());
        assert!(with("A", &"x".repeat(MAX_BLOCK)).encode().is_err());
        let path = PathBuf::from(OsString::from_vec(vec![0xff]));
        let sandbox = Some(Sandbox { read: vec![path], ..Sandbox::default() });
        assert!(Block { sandbox, ..Block::default() }.encode().is_err());
    }

    #[test]
    fn a_cut_or_oversized_block_is_an_error_and_no_allocation() {
        assert!(Block::read(&mut [1, 0].as_slice()).is_err());
        assert!(Block::read(&mut [9, 0, 0, 0, b'x'].as_slice()).is_err());
        assert!(Block::read(&mut [255, 255, 255, 255].as_slice()).is_err());
    }

    #[test]
    fn reports_read_back_and_unknown_lines_are_none() {
        for report in [
            Report::Started(7),
            Report::Failed(2, "no such file: a b".to_owned()),
            Report::Ended(Exit { code: Some(3), signal: None }),
            Report::Ended(Exit { code: None, signal: Some(9) }),
        ] {
            let line = report.to_line();
            assert_eq!(Report::parse(line.trim_end().as_bytes()), Some(report));
        }
        for line in ["", "pid", "pid x", "exit -", "hello world", "error 2"] {
            assert_eq!(Report::parse(line.as_bytes()), None, "{line}");
        }
        let long = Report::Failed(2, "x\n".repeat(5000)).to_line();
        assert!(long.len() < MAX_LINE && long.matches('\n').count() == 1);
    }
}
