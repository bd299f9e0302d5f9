//! Tests that a machine cannot run are counted: `.ci/run` fails where more are skipped than it expects.

use std::io::Write;

/// Says why a test is not run here, and adds a line to the file that `A2E_SKIPPED` names.
#[allow(clippy::print_stdout, reason = "the output of a test")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
    let Some(path) = std::env::var_os("A2E_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let file = std::fs::File::options().create(true).append(true).open(path);
    file.and_then(|mut it| it.write_all(line.as_bytes()))
        .expect("writes a line for each skipped test");
}
