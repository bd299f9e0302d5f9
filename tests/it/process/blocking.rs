//! The example of the client for threads against the program, over a socket and as its child.

use std::process::{Command, Stdio};

use super::support::program::{A2E, Host, Place, outcome, workspace};

const CONFIG: &str = "
listen: [\"unix://{}/one.sock\"]
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";

/// The example `blocking`, which Cargo builds with the workspace's tests.
fn example(args: &[&str]) -> (Option<i32>, String, String) {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/blocking");
    let advice = "cargo build -p a2e-client --features blocking --example blocking";
    assert!(path.exists(), "`cargo test --workspace` builds it; alone: {advice}");
    let mut command = Command::new(path);
    command.args(args).current_dir(workspace()).stdin(Stdio::null());
    outcome(&mut command)
}

#[test]
fn the_example_for_threads_talks_to_the_program() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let host = Host::serve(&["-c", &config]);
    let address = host.addresses(1).remove(0);
    for args in [&[&*address][..], &[A2E, "serve", "--stdio", "-c", &config]] {
        let (code, stdout, stderr) = example(args);
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert!(lines[0].ends_with(" tools") && lines[0] != "0 tools", "{stdout}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("event {")).count(), 3, "{stdout}");
        assert_eq!(lines[lines.len() - 2..], ["reply true", "closed"], "{stdout}");
    }
    host.stop();
}

#[test]
fn it_says_what_went_wrong() {
    for (args, said) in [
        (&[][..], "usage: blocking ADDRESS"),
        (&["unix:///no/such/a2e.sock"], "/no/such/a2e.sock"),
        (&["carrier://pigeon"], "expected unix:///path"),
        (&["/no/such/a2e"], "/no/such/a2e"),
    ] {
        let (code, stdout, stderr) = example(args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
