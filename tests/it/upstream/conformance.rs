//! The conformance suite of MCP against this host as a client: every scenario that is not OAuth.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::real::ran;
use crate::faults::skipped;
use crate::process::support::program::{A2E, workspace};

/// The suite; it needs a newer node than most machines have, which npm brings too.
const PACKAGES: [&str; 2] = ["@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22"];

/// The revision, and the scenarios of it.
const SCENARIOS: [(&str, &[&str]); 2] = [
    (
        "2025-11-25",
        &["initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"],
    ),
    (
        "2026-07-28",
        &[
            "tools_call",
            "request-metadata",
            "sep-2322-client-request-state",
            "http-standard-headers",
            "http-custom-headers",
            "http-invalid-tool-headers",
            "json-schema-ref-no-deref",
        ],
    ),
];

/// The folder with the suite; `None` where it cannot be had.
fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp-conformance");
    if folder.join("whole").exists() {
        return Some(folder);
    }
    std::fs::create_dir_all(&folder).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).args(PACKAGES);
    let is_whole =
        ran(&mut npm) && ran(Command::new(folder.join("node_modules/.bin/node")).arg("--version"));
    is_whole.then(|| std::fs::write(folder.join("whole"), "").unwrap())?;
    Some(folder)
}

#[test]
fn the_suite_finds_nothing_in_the_client() {
    let Some(folder) = installed() else {
        return skipped("the conformance suite of MCP cannot be installed from npm here");
    };
    let client = workspace().join("tests/data/mcp_conformance_client.py");
    let client = format!("python3 {} {A2E}", client.display());
    let suite = folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let mut failed = Vec::new();
    for (version, scenarios) in SCENARIOS {
        for scenario in scenarios {
            let mut run = Command::new(folder.join("node_modules/.bin/node"));
            run.arg(&suite).args(["client", "--command", &client, "--scenario", scenario]);
            run.args(["--spec-version", version]).current_dir(&folder);
            let output = run.output().unwrap();
            let told = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&told);
            if !output.status.success() || !told.contains("OVERALL: PASSED") {
                failed.push(format!("{version} {scenario}:\n{told}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
