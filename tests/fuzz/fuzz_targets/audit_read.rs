//! Runs the target `audit_read` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a2e_fuzz::audit_read::run(data));
