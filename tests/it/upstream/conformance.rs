//! The conformance suite of MCP against this host as a client: every scenario that is not OAuth.

use std::path::Path;
use std::process::Command;

use crate::faults::skipped;
use crate::process::support::packages::{Packages, ran};
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

/// The suite and its node; `None` where they cannot be had.
fn installed() -> Option<Packages> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp-conformance");
    let packages = Packages::installed(folder, &PACKAGES, &[]);
    packages.filter(|it| ran(Command::new(it.npm("node")).arg("--version")))
}

#[test]
fn the_suite_finds_nothing_in_the_client() {
    let Some(packages) = installed() else {
        return skipped("the conformance suite of MCP cannot be installed from npm here");
    };
    let client = workspace().join("tests/data/mcp_conformance_client.py");
    let client = format!("python3 {} {A2E}", client.display());
    let folder = packages.folder();
    let suite = folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let mut failed = Vec::new();
    for (version, scenarios) in SCENARIOS {
        for scenario in scenarios {
            let mut run = Command::new(packages.npm("node"));
            run.arg(&suite).args(["client", "--command", &client, "--scenario", scenario]);
            run.args(["--spec-version", version]).current_dir(folder);
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
