//! The reference's own client in Python, unchanged, over stdio and over HTTP. The checkout that `A2E_PYTHON_SDK` names
//! has it; nothing is fetched.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::support::program::{A2E, Host, Place, a2e_at, workspace};
use crate::faults::skipped;

/// The Python of a checkout: that of its `venv`, where it has one.
fn python(sdk: &Path) -> PathBuf {
    let own = sdk.join("venv/bin/python");
    if own.exists() { own } else { "python3".into() }
}

/// A folder with what the configuration names, and the configuration.
fn prepared() -> (Place, String) {
    let place = Place::new();
    let skill =
        "---\nname: greet\ndescription: Greets.\ncategory: manners\n---\nSay hello to {args}.\n";
    for (name, text) in [("files/a.txt", "hello\n"), ("skills/greet/skill.md", skill)] {
        let path = place.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let yaml = std::fs::read_to_string(workspace().join("tests/data/reference_client.yaml"));
    let config = place.config_as_is(&yaml.unwrap());
    (place, config)
}

/// What each check got over one transport.
fn checked(sdk: &Path, place: &Place, transport: &[&str]) -> Map<String, Value> {
    let own = workspace();
    let script = own.join("tests/data/reference_client.py");
    let upstream = own.join("a2e-caps/src/mcp/tests/upstream.py");
    let config = place.path("a2e.yaml");
    let folder = config.parent().unwrap();
    let paths = [sdk, folder, &upstream].map(|it| it.to_str().unwrap());
    let mut command = a2e_at(&python(sdk), &[script.to_str().unwrap()]);
    // What it asks over HTTP is on this machine.
    command.args(paths).args(transport).env("NO_PROXY", "127.0.0.1");
    let output = command.output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{transport:?}: {wrong}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_reference_client_gets_over_http_what_it_gets_over_stdio() {
    let Some(sdk) = std::env::var_os("A2E_PYTHON_SDK").map(PathBuf::from) else {
        return skipped("no checkout of the reference's SDK: A2E_PYTHON_SDK");
    };
    let (place, config) = prepared();
    let command = ["subprocess", A2E, "serve", "--stdio", "-c", &config];
    let over_stdio = checked(&sdk, &place, &command);
    let (place, config) = prepared();
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let over_http = checked(&sdk, &place, &["http", &host.addresses(1)[0]]);
    assert!(over_stdio.len() > 15, "{over_stdio:?}");
    for (name, got) in &over_stdio {
        assert_eq!(over_http.get(name), Some(got), "{name}: over HTTP, over stdio");
    }
    assert_eq!(over_http.len(), over_stdio.len());
    host.stop();
}
