//! The program `gateway` works: a short run against A2E alone. What it measures is looked at by people.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_run_calls_through_the_gateway_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_gateway"));
    gateway.args(["--short", "--only-a2e", "--out"]).arg(folder.path());
    let output = gateway.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("there is one") {
        // It needs two processors, and says so.
        return;
    }
    assert!(output.status.success(), "{errors}");
    let json = std::fs::read(folder.path().join("gateway.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let named: Vec<_> = rows
        .iter()
        .map(|it| (it["way"].as_str().unwrap(), it["server"].as_str().unwrap()))
        .collect();
    let (own, gateway) = ("a2e, a tool of its own", "a2e, gateway");
    let http = "streamable HTTP";
    assert_eq!(
        named,
        [("stdio", own), ("stdio", gateway), (http, own), (http, gateway)],
        "{report}"
    );
    assert!(rows.iter().all(|it| it["calls_s"]["median"].as_f64() > Some(1.0)), "{report}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("mcp-proxy, gateway, over streamable HTTP: --only-a2e"), "{text}");
}
