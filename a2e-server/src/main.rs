//! The program `a2e`: every capability of `a2e-caps` behind the command line of [`a2e_server`].

use std::process::ExitCode;

fn main() -> ExitCode {
    a2e_server::cli(std::env::args_os())
}
