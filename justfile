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

# Cross-build for a Jetson without a container engine: target/jetson/hepalert.
jetson:
    scripts/jetson build

# Unit tests and the demo as a Jetson's processor runs them, in an emulator.
jetson-check:
    scripts/jetson check

# Cross-build for a Jetson with cross and a container engine.
jetson-cross:
    cross build --release --target aarch64-unknown-linux-gnu --no-default-features --features tract

# The Debian package: for this processor, or `just deb arm64`.
deb *ARGS:
    scripts/deb {{ARGS}}

# Install, update, remove and purge the package on a copy of this system.
deb-check:
    scripts/deb-check

# Lesion detection against the PyPI package connected-components-3d, by turns in one run.
# Needs Python with `pip install connected-components-3d numpy nibabel`.
compare-cc3d *MASKS:
    cargo bench --no-run --bench seg2det
    python3 benches/compare_cc3d.py "$(ls -t target/release/deps/seg2det-* | grep -v '\.d$' | head -1)" {{MASKS}}
