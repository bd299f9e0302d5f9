//! Runs the target `snapshot_load` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a2e_fuzz::snapshot_load::run(data));
