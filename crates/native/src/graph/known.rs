//! What the names of a file stand for while its nodes are read.

use super::{Fixed, Graph, Shape, Value};
use crate::model::Tensor;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    Value(Value),
    Constant(&'a Tensor<'a>),
    /// A value without slices: the importer's filters across slices join one where a network is
    /// only as deep as they are.
    Empty,
}

/// Keeps a constant that is read like a value.
pub(super) fn keep(graph: &mut Graph, tensor: &Tensor<'_>) -> Result<Value, String> {
    let [1, channels, z, y, x] = tensor.shape[..] else {
        return Err(format!("the constant is {:?}, expected [1, c, z, y, x]", tensor.shape));
    };
    let shape = Shape { channels, size: [z, y, x] };
    let numbers = shape.numbers().ok_or("the constant is too large or empty")?;
    graph.count(numbers)?;
    let values = finite(tensor.f32s()?)?;
    graph.constants.push(Fixed { shape, values });
    Ok(Value::Constant(graph.constants.len() - 1))
}

pub(super) fn finite(values: Vec<f32>) -> Result<Vec<f32>, String> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("weight {at} is {}", values[at])),
        None => Ok(values),
    }
}
