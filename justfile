# What a person runs. `just` alone lists it.
default:
    @just --list

# The main job on a synthetic study, with a real broker.
demo *ARGS:
    scripts/demo {{ARGS}}

# Everything CI checks.
test:
    scripts/test

# Licences, advisories and sources of all dependencies (needs cargo-deny).
deny:
    cargo deny check

# Rewrite golden texts after a wanted change.
bless:
    UPDATE_EXPECT=1 REGENERATE=1 cargo test

# Cross-build for a Jetson (needs cross and a container engine).
jetson:
    cross build --release --target aarch64-unknown-linux-gnu --no-default-features

# The first stage without its network: time per part and memory for 30 to 240 slices, then each
# part in bytes per second next to a plain copy of memory. About two minutes.
bench-first-stage *SLICES:
    cargo bench --bench first_stage -- {{SLICES}}
    cargo bench --bench stages

# Lesion detection against the PyPI package connected-components-3d, by turns in one run.
# Needs Python with `pip install connected-components-3d numpy nibabel`.
compare-cc3d *MASKS:
    cargo bench --no-run --bench seg2det
    python3 benches/compare_cc3d.py "$(ls -t target/release/deps/seg2det-* | grep -v '\.d$' | head -1)" {{MASKS}}
