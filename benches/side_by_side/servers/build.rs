//! Finds or builds the programs that are measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;

/// Where the programs are, or why they are missing.
#[derive(Debug)]
pub struct Programs {
    pub itself: PathBuf,
    pub a2e: PathBuf,
    pub peers: Result<PathBuf, String>,
    /// The Python that has the MCP SDK.
    pub mcp_python: Result<PathBuf, String>,
    /// A checkout of the A2E Python SDK.
    pub a2e_python: Result<PathBuf, String>,
}

impl Programs {
    pub fn find(options: &Options) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let itself = std::env::current_exe().map_err(|error| format!("our own path: {error}"))?;
        let target = itself.ancestors().nth(2).unwrap_or(root).to_owned();
        let a2e = target.join("release/a2e");
        if !(options.no_build && a2e.is_file()) {
            build(root, &["-p", "a2e-server", "--bin", "a2e"], &target)?;
        }
        let peers = target.join("peers/release/a2e-peers");
        let peers = if options.no_peers {
            Err("--no-peers".to_owned())
        } else if options.no_build && peers.is_file() {
            Ok(peers)
        } else {
            let manifest = root.join("benches/peers/Cargo.toml").display().to_string();
            let args = ["--locked", "--manifest-path", &manifest];
            build(root, &args, &target.join("peers")).map(|()| peers)
        };
        let a2e_python = find_a2e_python(options.a2e_python.as_deref());
        Ok(Self { itself, a2e, peers, mcp_python: find_mcp(), a2e_python })
    }

    /// Why a program of the system is missing.
    pub fn is_missing(&self, name: &str) -> Option<String> {
        let runs = runs(Command::new(name).arg("--version"));
        (!runs).then(|| format!("{name} is not installed"))
    }
}

/// Builds in release mode; what cargo says goes to our stderr.
fn build(root: &Path, args: &[&str], target: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--target-dir"]).arg(target).args(args).current_dir(root);
    // Set by the cargo that runs us; they would rebuild everything.
    for (name, _) in std::env::vars_os() {
        let is_cargos = name.to_str().is_some_and(|it| it.starts_with("CARGO_PKG_"));
        if is_cargos || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build {}: {status}", args.join(" "))),
        Err(error) => Err(format!("cargo build {}: {error}", args.join(" "))),
    }
}

fn find_mcp() -> Result<PathBuf, String> {
    let has_mcp = runs(Command::new("python3").args(["-c", "import mcp.server"]));
    if has_mcp { Ok("python3".into()) } else { Err("python3 has no package `mcp`".to_owned()) }
}

/// The checkout, if python can import its server.
fn find_a2e_python(checkout: Option<&Path>) -> Result<PathBuf, String> {
    let folder = checkout.ok_or("no checkout given (--a2e-python DIR)")?;
    let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
    let import = "import sys; sys.path.insert(0, sys.argv[1]); import a2e.core.server.executor";
    let tried = Command::new("python3").args(["-c", import]).arg(&folder).output();
    let tried = tried.map_err(|error| format!("python3: {error}"))?;
    if tried.status.success() {
        return Ok(folder);
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let reason = said.lines().last().unwrap_or("python3 failed");
    Err(format!("python3 cannot use {}: {reason}", folder.display()))
}

fn runs(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
