//! The same graph with less to do.
//!
//! An image in two parts that sum to it (coarse and fine, so that bf16 loses little) goes into
//! one convolution that has the same kernel for both: here the image itself does, in `f32`.
//! What nothing reads any more is dropped.

use super::{Filter, Graph, Sum, Value, Work};

pub(super) fn simplify(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        if let Some(whole) = parts_of(graph, at) {
            let node = &mut graph.nodes[at];
            if let Work::Convolve(filter) = &mut node.work {
                *filter = first_half(filter);
                node.inputs = vec![whole];
            }
        }
    }
    drop_unread(graph);
}

/// What the parts that convolution `at` reads sum to, if it treats them alike.
fn parts_of(graph: &Graph, at: usize) -> Option<Value> {
    let node = &graph.nodes[at];
    let Work::Convolve(filter) = &node.work else { return None };
    let joined = work_of(graph, *node.inputs.first()?)?;
    let ((Work::Join, [coarse, fine]), true) = (joined, halves_equal(filter)) else { return None };
    let (Work::Combine(Sum::Subtract), &[whole, taken]) = work_of(graph, *fine)? else {
        return None;
    };
    (taken == *coarse && graph.shape(whole) == graph.shape(taken)).then_some(whole)
}

fn work_of(graph: &Graph, value: Value) -> Option<(&Work, &[Value])> {
    match value {
        Value::Node(node) => Some((&graph.nodes[node].work, &graph.nodes[node].inputs)),
        Value::Image | Value::Constant(_) => None,
    }
}

fn halves_equal(filter: &Filter) -> bool {
    let per_output = filter.inputs * filter.taps();
    let equal = |one: &[f32]| one[..per_output / 2] == one[per_output / 2..];
    filter.inputs.is_multiple_of(2) && filter.weights.chunks_exact(per_output).all(equal)
}

fn first_half(filter: &Filter) -> Filter {
    let per_output = filter.inputs * filter.taps();
    let halves = filter.weights.chunks_exact(per_output);
    let weights = halves.flat_map(|one| &one[..per_output / 2]).copied().collect();
    Filter { inputs: filter.inputs / 2, weights, ..filter.clone() }
}

fn drop_unread(graph: &mut Graph) {
    let mut read = vec![false; graph.nodes.len()];
    let mark = |read: &mut [bool], value: Value| {
        if let Value::Node(node) = value {
            read[node] = true;
        }
    };
    mark(&mut read, graph.output);
    for at in (0..graph.nodes.len()).rev() {
        if read[at] {
            graph.nodes[at].inputs.iter().for_each(|&value| mark(&mut read, value));
        }
    }
    let mut moved = Vec::with_capacity(read.len());
    let mut kept = 0;
    for &read in &read {
        moved.push(kept);
        kept += usize::from(read);
    }
    let follow = |value: Value| match value {
        Value::Node(node) => Value::Node(moved[node]),
        other => other,
    };
    let mut at = 0;
    graph.nodes.retain(|_| {
        at += 1;
        read[at - 1]
    });
    for node in &mut graph.nodes {
        node.inputs.iter_mut().for_each(|value| *value = follow(*value));
    }
    graph.output = follow(graph.output);
}
