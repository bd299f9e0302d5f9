//! Runs the target `registry_yaml` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a2e_fuzz::registry_yaml::run(data));
