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
