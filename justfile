# What a person runs. `just` alone lists it.
default:
    @just --list

# The main job on a synthetic study, with a real broker.
demo *ARGS:
    scripts/demo {{ARGS}}

# Everything CI checks.
test:
    scripts/test

# Studies flow in while daemon, inference process and broker are killed: nothing may be lost.
# `just campaign --kills 1000 --seed 1`.
campaign *ARGS:
    scripts/campaign {{ARGS}}

# Three days of a busy scanner in about twenty minutes: memory, database and folders stay as they are.
soak STUDIES_PER_HOUR="6":
    HEPALERT_SOAK_STUDIES={{STUDIES_PER_HOUR}} \
        cargo test --test it -- soak:: --ignored --nocapture

# Every reader of bytes from outside, each for so long: `just fuzz 60`, `just fuzz 60 dicom syntaxes`.
fuzz SECONDS="60" *TARGETS:
    scripts/fuzz {{SECONDS}} {{TARGETS}}

# The programs and files below examples/, against a real broker. With HEPALERT_NODE_RED the flow is run, too.
examples:
    cargo build --bin hepalert
    python3 -m venv target/examples
    target/examples/bin/pip install --quiet -r examples/tests/requirements.txt
    PYTHONDONTWRITEBYTECODE=1 HEPALERT=$PWD/target/debug/hepalert target/examples/bin/python -m unittest discover -s examples/tests

# Licences, advisories and sources of all dependencies (needs cargo-deny).
deny:
    cargo deny check

# The built-in engine against tract, on the tests' network and the demonstration engine.
oracle:
    cargo test -p hepalert-engines --features tract --lib oracle

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
    cross build --release --target aarch64-unknown-linux-gnu --no-default-features

# The Debian package: for this processor, or `just deb arm64`.
deb *ARGS:
    scripts/deb {{ARGS}}

# Install, update, remove and purge the package on a copy of this system.
deb-check:
    scripts/deb-check

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

# hepalert's first stage against nnU-Net's own predictors, voxel by voxel: prints a table, fails
# below 99.995 %. Needs Python with engines/recipe/requirements-parity.txt; for the cases of
# nnU-Net v1 also `pip install --no-deps nnunet==1.7.1`, for OpenVINO's columns `openvino`.
parity *ARGS:
    cargo build --release
    OMP_NUM_THREADS=1 python3 tests/parity/parity.py {{ARGS}}

# The importer of nnU-Net results folders: what it takes, and what it refuses by name.
parity-importer:
    python3 -m unittest discover -s engines/recipe -p 'test_*.py'

# The whole first stage against nnU-Net's own predictor, same weights, by turns. Needs Python
# with engines/recipe/requirements-parity.txt and `openvino`.
compare-nnunet *ARGS:
    cargo build --release --bin hepalert
    cargo build --release -p hepalert-native --example peak
    python3 benches/compare_nnunet.py {{ARGS}}

# The paper's experiment on synthetic patients that no training has seen, in both settings: tables and
# plots in OUT/SETTING/tables. Resumable; about a minute of two cores a patient and setting.
experiment OUT="experiment" PATIENTS="200":
    cargo build --release --bin hepalert
    scripts/experiment --setting diagnosis --out {{OUT}}/diagnosis --patients {{PATIENTS}}
    scripts/experiment --setting screening --out {{OUT}}/screening --patients {{PATIENTS}}

# Studies per hour of an archive on one and two tasks, and the share of time that is not analysis.
archive-scaling FOLDER *ARGS:
    cargo build --release --bin hepalert
    python3 benches/archive_scaling.py target/release/hepalert {{FOLDER}} {{ARGS}}

# Registration against known truth: random motions, contrasts and slices of phantoms and of the scans
# below DATA. Fails if a case is worse than before alignment, folds, or a mean error passes its bar.
# About ten minutes on two cores.
registration-cases CASES="50" SEED="1" DATA="../shared/data":
    cargo run --release -p hepalert-register --example accuracy -- random {{CASES}} {{SEED}} {{DATA}}

# Registration beside the reference program and beside convexadam on the same pairs: error, time, memory.
# DEEDS is a folder with a build of deedsBCV. Needs Python with numpy, for convexadam `pip install convexadam`.
compare-registration DEEDS DATA="../shared/data" *ARGS:
    cargo build --release --bin hepalert
    mkdir -p target/pairs
    cargo run --release -p hepalert-register --example accuracy -- table 1 {{DATA}} target/pairs
    python3 benches/compare_registration.py --pairs target/pairs --deeds {{DEEDS}} --hepalert target/release/hepalert {{ARGS}}

# On a Jetson: shim, plans, golden patches, time per patch, memory, temperatures.
jetson-selftest BUNDLE SECONDS="600":
    cargo build --release --no-default-features
    scripts/jetson-selftest {{BUNDLE}} {{SECONDS}}

# The shim for the TensorRT of this machine, beside the release build.
trt-shim:
    scripts/trt-shim target/release

# A real NVIDIA library on the CPU (TensorRT-RTX from PyPI, 170 MB, into target): refusals, and plans
# of our networks. Runs nothing on a GPU.
rtx-check:
    tests/tensorrt/rtx-check
