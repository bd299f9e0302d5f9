//! Runs the target `line` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a2e_fuzz::line::run(data));
