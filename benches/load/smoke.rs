//! The program `load` works: a short run against A2E alone. What it measures is looked at by people.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_run_measures_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"));
    load.args(["--short", "--only-a2e", "--out"]).arg(folder.path());
    let output = load.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("there is one") {
        // It needs two processors, and says so.
        return;
    }
    assert!(output.status.success(), "{errors}");
    let json = std::fs::read(folder.path().join("load.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    let sessions = &report["sessions"][0];
    assert_eq!(
        (&sessions["server"], &sessions["sessions"]),
        (&"a2e".into(), &20.into()),
        "{report}"
    );
    assert!(sessions["calls"].as_u64() >= Some(20), "{report}");
    assert_eq!(report["idle"][0]["connections"], 200, "{report}");
    assert_eq!(report["pings"].as_array().unwrap().len(), 2, "{report}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["## Sessions", "## Idle", "## One ping", "## Not measured", "reference's own server"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
