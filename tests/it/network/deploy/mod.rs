//! The examples of a deployment, as far as a machine without systemd and Docker as masters can try them.

use std::path::Path;

use nix::sys::signal::Signal;

use super::raw::Site;
use crate::faults::skipped;
use crate::process::support::program::{A2E, Host, Place, a2e, a2e_at, outcome, workspace};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn example(name: &str) -> String {
    let path = workspace().join("a2e-server/examples/deploy").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What stands behind a key, or an instruction, of a file; the last of them counts.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines.next_back().unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[test]
fn the_unit_of_systemd_starts_reloads_and_ends_a_host() {
    let place = Place::new();
    let config = place.config("");
    let unit = example("a2e.service");
    let unit = [
        ("/usr/local/bin/a2e", A2E),
        ("/etc/a2e/a2e.yaml", &config),
        ("unix:///run/a2e/a2e.sock", &place.socket()),
        ("127.0.0.1:8765", "127.0.0.1:0"),
    ]
    .into_iter()
    .fold(unit, |unit, (theirs, ours)| {
        assert!(unit.contains(theirs), "{theirs}");
        unit.replace(theirs, ours)
    });
    std::fs::write(place.path("a2e.service"), &unit).unwrap();
    let mut verify = a2e_at(Path::new("systemd-analyze"), &["verify", &place.text("a2e.service")]);
    if Path::new("/usr/bin/systemd-analyze").exists() {
        let (code, _, stderr) = outcome(&mut verify);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
    } else {
        skipped("no systemd-analyze");
    }
    let words: Vec<&str> = value(&unit, "ExecStart=").split(' ').collect();
    let host = Host::start(&mut a2e_at(Path::new(words[0]), &words[1..]));
    host.addresses(2);
    assert_eq!(value(&unit, "ExecReload="), "/bin/kill -HUP $MAINPID");
    host.signal(Signal::SIGHUP);
    host.until_logged("\"reloaded\"");
    host.stop();
}

#[test]
fn the_image_has_what_it_copies_and_its_command_serves_with_a_token_only() {
    let file = example("Dockerfile");
    for line in file.lines().filter(|it| it.starts_with("COPY ") && !it.contains("--from")) {
        let source = line.split(' ').nth(1).unwrap();
        assert!(workspace().join(source).exists(), "{line}");
    }
    let list = |key: &str| serde_json::from_str::<Vec<String>>(value(&file, key)).unwrap();
    assert_eq!(list("ENTRYPOINT "), ["/usr/local/bin/a2e"]);
    let command = list("CMD ");
    let place = Place::new();
    let yaml = example("container.yaml");
    // The port is the container's own there; here it is whatever is free.
    let config = place.config_as_is(&yaml.replace("0.0.0.0:8765", "0.0.0.0:0"));
    let args: Vec<String> =
        command.iter().map(|it| it.replace("/etc/a2e/a2e.yaml", &config)).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (code, _, stderr) = outcome(a2e(&args).current_dir(place.path("")));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("A2E_TOKEN is not set"), "{stderr}");
    let host = Host::start(a2e(&args).env("A2E_TOKEN", TOKEN).current_dir(place.path("")));
    let address = host.addresses(1).remove(0).replace("0.0.0.0", "127.0.0.1");
    let site = Site { token: Some(TOKEN), ..Site::at(&address) };
    // As it is called through the port that the container publishes.
    for (name, status) in [("localhost:8765", 200), ("127.0.0.1:8765", 200), ("evil:8765", 403)] {
        for line in ["GET /health", "POST /session"] {
            assert_eq!(site.request(line, &[("Host", name)], b"").status, status, "{line} {name}");
        }
    }
    host.stop();
}
