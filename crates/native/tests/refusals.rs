//! Files that cannot be run: each is refused in one sentence, which names the node. And files
//! that are no files: nothing panics.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod written;

use hepalert_native::{LoadError, Network, Options};
use written::{Layer, Message, constant, described, file, integer, integers, node};

fn load(bytes: &[u8]) -> Result<Network, LoadError> {
    Network::load(bytes, &Options::default())
}

/// What is said of a graph of one node `n`, on a patch of two channels.
fn said(node: &Message, constants: &[Message], output: &[usize]) -> String {
    let ends = [described("patch", &[1, 2, 4, 6, 8]), described("n", output)];
    let bytes = file(std::slice::from_ref(node), constants, &ends[0], &ends[1]);
    load(&bytes).unwrap_err().to_string()
}

fn weights(shape: &[usize]) -> Message {
    constant("w", shape, &vec![0.5; shape.iter().product()])
}

const SAME: [usize; 5] = [1, 2, 4, 6, 8];

#[test]
fn a_sound_layer_is_run() {
    let layer = Layer {
        inputs: 2,
        outputs: 3,
        size: [4, 6, 8],
        kernel: [3, 3, 3],
        stride: [1, 2, 2],
        transposed: false,
    };
    let network = load(&layer.file()).unwrap();
    assert_eq!(network.input_shape(), [2, 4, 6, 8]);
    assert_eq!(network.output_shape(), [3, 4, 3, 4]);
    let mut logits = vec![f32::NAN; 3 * 4 * 3 * 4];
    network.run(&[1.0; 2 * 4 * 6 * 8], &mut logits, &mut network.scratch());
    assert!(logits.iter().all(|value| value.is_finite()));
}

#[test]
fn what_cannot_be_run_names_its_node_and_why() {
    let conv = |inputs: &[&str]| node("Conv", inputs, "n");
    let sound = [2, 2, 1, 1, 1];
    let grouped = conv(&["patch", "w"]).inner(5, &integer("group", 2));
    let dilated = conv(&["patch", "w"]).inner(5, &integers("dilations", &[1, 2, 2]));
    let strided = conv(&["patch", "w"]).inner(5, &integers("strides", &[0, 1, 1]));
    let huge = conv(&["patch", "w"]).inner(5, &integers("pads", &[i64::MAX; 6]));
    let domain = conv(&["patch", "w"]).text(7, "com.example");
    let nan = constant("w", &sound, &[0.0, f32::NAN, 0.0, 0.0]);
    let cut = constant("w", &sound, &[0.0; 3]);
    let of_integers = Message::default().integer(1, 2).integer(2, 7).text(8, "w");
    let endless = Message::default().integer(1, -1).integer(2, 1).text(8, "w");
    let plain = conv(&["patch", "w"]);
    for (node, constants, words) in [
        (&node("Softmax", &["patch"], "n"), vec![], "node `n`: operator Softmax"),
        (&domain, vec![weights(&sound)], "`com.example`"),
        (&conv(&["patch"]), vec![], "node `n`: input 1 is missing"),
        (&conv(&["patch", "patch"]), vec![], "input 1 is computed"),
        (&conv(&["other", "w"]), vec![weights(&sound)], "nothing makes `other`"),
        (&plain, vec![weights(&[2, 3, 1, 1, 1])], "an input of 2 channels"),
        (&plain, vec![weights(&[2, 2, 1, 1])], "expected five axes"),
        (&plain, vec![weights(&[2, 2, 1, 1, 17])], "kernel [1, 1, 17]"),
        (&plain, vec![nan], "node `n`: weight 1 is NaN"),
        (&plain, vec![cut], "has 3 numbers, its shape is"),
        (&plain, vec![of_integers], "expected five axes"),
        (&plain, vec![endless], "`w` has the shape [-1]"),
        (&plain, vec![weights(&sound), weights(&sound)], "two constants `w`"),
        (&grouped, vec![weights(&sound)], "groups and dilations"),
        (&dilated, vec![weights(&sound)], "groups and dilations"),
        (&strided, vec![weights(&sound)], "node `n`: kernel"),
        (&huge, vec![weights(&sound)], "pads is"),
    ] {
        let said = said(node, &constants, &SAME);
        assert!(said.contains(words), "{words} in: {said}");
    }
}

#[test]
fn shapes_must_be_fixed_and_kept() {
    let leak = node("LeakyRelu", &["patch"], "n");
    assert!(said(&leak, &[], &[1, 2, 4, 6, 9]).contains("the file says"));
    assert!(said(&leak, &[], &[2, 2, 4, 6, 8]).contains("expected [1, c, z, y, x]"));
    let open = file(
        std::slice::from_ref(&leak),
        &[],
        &described("patch", &[0, 2, 4, 6, 8]),
        &described("n", &SAME),
    );
    assert!(load(&open).unwrap_err().to_string().contains("without a size"));
    let large = [1, 1 << 20, 1 << 20, 1 << 20, 1 << 20];
    let large = file(&[leak], &[], &described("patch", &large), &described("n", &large));
    assert!(load(&large).unwrap_err().to_string().contains("too large"));
}

/// What stands in the file instead of the numbers that a node needs.
#[test]
fn a_wrong_initialiser_names_its_node() {
    let conv = node("Conv", &["patch", "w"], "n");
    let norm = node("InstanceNormalization", &["patch", "w", "b"], "n");
    let biased = node("Conv", &["patch", "w", "b"], "n");
    let sound = weights(&[2, 2, 1, 1, 1]);
    let two = |name: &str, values: [f32; 2]| constant(name, &[2], &values);
    let infinite = constant("w", &[2, 2, 1, 1, 1], &[0.0, 0.0, f32::INFINITY, 0.0]);
    let of_kind = |kind: i64| {
        let dims = [2, 2, 1, 1, 1].iter().fold(Message::default(), |made, &n| made.integer(1, n));
        dims.integer(2, kind).text(8, "w").bytes(9, &[0; 8])
    };
    let elsewhere = of_kind(1).integer(14, 1);
    for (node, constants, words) in [
        (&conv, vec![], "node `n`: nothing makes `w`"),
        (&conv, vec![infinite], "node `n`: weight 2 is inf"),
        (&conv, vec![of_kind(10)], "node `n`: `w` is f16, not f32"),
        (&conv, vec![of_kind(9)], "node `n`: `w` is of kind 9, not f32"),
        (&conv, vec![elsewhere], "node `n`: `w` lies in another file"),
        (&biased, vec![sound, constant("b", &[3], &[0.0; 3])], "node `n`: `b` is [3], expected 2"),
        (&norm, vec![two("w", [1.0; 2])], "node `n`: nothing makes `b`"),
        (&norm, vec![two("w", [1.0, f32::NAN]), two("b", [0.0; 2])], "node `n`: weight 1 is NaN"),
        (&norm, vec![two("w", [1.0; 2]), constant("b", &[1], &[0.0])], "`b` is [1], expected 2"),
    ] {
        let said = said(node, &constants, &SAME);
        assert!(said.contains(words), "{words} in: {said}");
    }
}

/// Shapes that do not meet, or grow past all bounds, within the graph.
#[test]
fn a_shape_that_cannot_be_names_its_node() {
    let one = constant("one", &[1, 2, 4, 6, 9], &[0.5; 2 * 4 * 6 * 9]);
    let add = node("Add", &["patch", "one"], "n");
    let join = node("Concat", &["patch", "one"], "n");
    let channels = join.clone().inner(5, &integer("axis", 1));
    let slices = join.inner(5, &integer("axis", 2));
    let rows = node("Concat", &["patch", "patch"], "n").inner(5, &integer("axis", 3));
    let many = node("Concat", &["patch"; 2000], "n").inner(5, &integer("axis", 2));
    let up = node("ConvTranspose", &["patch", "w"], "n").inner(5, &integers("strides", &[16; 3]));
    let pool = node("AveragePool", &["patch"], "n").inner(5, &integers("kernel_shape", &[8; 3]));
    for (node, constants, words) in [
        (&add, vec![one.clone()], "node `n`: its inputs are 2 x [4, 6, 8] and 2 x [4, 6, 9]"),
        (&channels, vec![one.clone()], "node `n`: it joins [2 x [4, 6, 8], 2 x [4, 6, 9]]"),
        (&slices, vec![one], "node `n`: it joins [2 x [4, 6, 8], 2 x [4, 6, 9]]"),
        (&rows, vec![], "node `n`: axis 3; only channels and slices can be joined"),
        (&many, vec![], "node `n`: it joins too many slices"),
        (&pool, vec![], "node `n`: only boxes side by side"),
    ] {
        let said = said(node, &constants, &SAME);
        assert!(said.contains(words), "{words} in: {said}");
    }
    let long = described("patch", &[1, 2, 4, 4, 400]);
    let ends = [&long, &described("n", &SAME)];
    let file = file(&[up], &[weights(&[2, 2, 1, 1, 1])], ends[0], ends[1]);
    let said = load(&file).unwrap_err().to_string();
    assert_eq!(said, "node `n`: it makes 2 x [49, 49, 6385], which is too large or empty");
}

/// `--winograd` joins what lies before and after, also where nothing does.
#[test]
fn slices_may_be_none_where_they_are_joined() {
    let whole = |name: &str, value: i64| {
        Message::default().integer(1, 1).integer(2, 7).text(8, name).integer(7, value)
    };
    let constants = [whole("from", 4), whole("to", 9), whole("axis", 2)];
    let slice = node("Slice", &["patch", "from", "to", "axis"], "none");
    let join = |axis: i64| node("Concat", &["none", "patch"], "n").inner(5, &integer("axis", axis));
    let ends = [described("patch", &SAME), described("n", &SAME)];
    let sound = file(&[slice.clone(), join(2)], &constants, &ends[0], &ends[1]);
    let network = load(&sound).unwrap();
    let patch: Vec<f32> = (0..2 * 4 * 6 * 8).map(|at| at as f32).collect();
    let mut found = vec![f32::NAN; patch.len()];
    network.run(&patch, &mut found, &mut network.scratch());
    assert_eq!(found, patch);
    let read = node("LeakyRelu", &["none"], "n");
    for node in [join(1), read] {
        let file = file(&[slice.clone(), node], &constants, &ends[0], &ends[1]);
        assert_eq!(load(&file).unwrap_err().to_string(), "node `n`: input 0 has no slices");
    }
}

/// Bytes changed, cut and doubled, always the same: loading ends, in a network or a sentence.
#[test]
fn spoiled_files_never_panic() {
    let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/segment");
    let tiny = std::fs::read(tiny.join("tiny.onnx")).unwrap();
    let layer = Layer {
        inputs: 2,
        outputs: 3,
        size: [2, 3, 4],
        kernel: [1, 3, 3],
        stride: [1, 1, 1],
        transposed: false,
    };
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut loaded) = (0, 0);
    for round in 0..3000 {
        let mut bytes = if round % 20 == 0 { tiny.clone() } else { layer.file() };
        for _ in 0..1 + random(3) {
            // Weights are most of a file; what stands before and after them is what is read.
            let near = bytes.len().min(1500);
            let at = match random(2) {
                0 => random(near),
                _ => bytes.len() - 1 - random(near),
            };
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        match load(&bytes) {
            Ok(_) => loaded += 1,
            Err(error) => {
                refused += 1;
                assert!(error.to_string().lines().count() == 1, "{error}");
            }
        }
    }
    assert!(refused > 1000 && loaded > 100, "{refused} refused, {loaded} loaded");
}
