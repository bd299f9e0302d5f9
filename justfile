# The usual commands, by name. `just ci` is what a change must pass.

default: test

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

test:
    cargo test --workspace

bench:
    cargo bench -p benches

# Every fuzz target for this long; `tests/fuzz/run` does more.
fuzz SECONDS="60":
    FUZZ_SECONDS={{SECONDS}} tests/fuzz/run

# Every loom model under every schedule, this long for each; `tests/loom/run` does fewer schedules.
loom SECONDS="600":
    LOOM_MAX_DURATION={{SECONDS}} tests/loom/run --long

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

ci:
    .ci/run
