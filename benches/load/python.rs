//! The Pythons that servers need, each with what it has to import.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names a checkout of the reference's SDK: the folder that holds its package `a2e`.
const CHECKOUT: &str = "A2E_PYTHON_SDK";

/// A Python of our own with `FastAPI` and uvicorn.
pub fn venv(target: &Path) -> Result<PathBuf, String> {
    let folder = target.join("load/venv");
    let python = folder.join("bin/python");
    if !run(Command::new(&python).args(["-c", "import fastapi, uvicorn, uvloop"])) {
        if !run(Command::new("python3").args(["-m", "venv"]).arg(&folder)) {
            return Err("python3 makes no venv".to_owned());
        }
        let packages = ["-m", "pip", "install", "--quiet", "fastapi", "uvicorn[standard]"];
        if !run(Command::new(&python).args(packages)) {
            return Err("pip installs no FastAPI".to_owned());
        }
    }
    Ok(python)
}

/// The checkout of the reference's SDK, and a Python that can import its server: this one, that of the checkout's
/// `venv`, or `python3`.
pub fn reference(python: Option<&Path>) -> Result<(PathBuf, PathBuf), String> {
    let named = std::env::var_os(CHECKOUT).ok_or(format!("no checkout of its SDK: {CHECKOUT}"))?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| error.to_string());
    let sdk = absolute(Path::new(&named))?;
    let own = sdk.join("venv/bin/python");
    let python = match python {
        Some(python) => absolute(python)?,
        None if own.exists() => own,
        None => "python3".into(),
    };
    let import = "import sys; sys.path.insert(0, sys.argv[1]); import uvicorn, a2e.core.server";
    let tried = Command::new(&python).args(["-c", import]).arg(&sdk).output();
    let tried = tried.map_err(|error| format!("{}: {error}", python.display()))?;
    if tried.status.success() {
        return Ok((sdk, python));
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let why = said.lines().last().unwrap_or("it failed");
    Err(format!("{} cannot import its server: {why}", python.display()))
}

fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
