//! Runs the target `child_output` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a2e_fuzz::child_output::run(data));
