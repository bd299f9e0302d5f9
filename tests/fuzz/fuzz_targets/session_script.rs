//! Runs the target `session_script` under libFuzzer, half of the mutations by lines.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| a2e_fuzz::session_script::run(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(2) {
        let mut script = data[..size].to_vec();
        if a2e_fuzz::mutate::lines(&mut script, max_size, seed) {
            data[..script.len()].copy_from_slice(&script);
            return script.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});
