//! Every kept input, once through its target.

use std::fs;
use std::path::Path;

fn replay(name: &str) {
    let target = a2e_fuzz::TARGETS.into_iter().find(|(known, _)| *known == name);
    let (_, run) = target.expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("each target has a corpus") {
        let path = entry.expect("the folder can be read").path();
        let data = fs::read(&path).expect("an input");
        // Which input failed, where the panic does not say it.
        let outcome = std::panic::catch_unwind(|| run(&data));
        assert!(outcome.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
    run(&[]);
}

#[test]
fn audit_read() {
    replay("audit_read");
}

#[test]
fn child_output() {
    replay("child_output");
}

#[test]
fn line() {
    replay("line");
}

#[test]
fn registry_yaml() {
    replay("registry_yaml");
}

#[test]
fn session_script() {
    replay("session_script");
}

#[test]
fn snapshot_load() {
    replay("snapshot_load");
}
