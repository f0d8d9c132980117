//! The parts of an ONNX file that are used, as they are written there.
//!
//! Field numbers are those of onnx.proto3. Refuses weights in other files, sparse ones, and
//! tensors whose bytes are not what their shape says. Knows nothing of what operators mean.

use std::collections::HashMap;

use crate::error::LoadError;
use crate::wire::{Broken, Field, Message, floats, integers};

/// nnU-Net's graphs have some hundred nodes, with Winograd's filters written out some thousand.
const MAX_NODES: usize = 1 << 16;
/// A tensor here has at most five axes.
const MAX_AXES: usize = 8;

/// One graph.
#[derive(Debug, Default)]
pub(crate) struct Model<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) constants: HashMap<&'a str, Tensor<'a>>,
    /// Inputs that are no constants.
    pub(crate) inputs: Vec<Described<'a>>,
    pub(crate) outputs: Vec<Described<'a>>,
}

/// One operation.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) operator: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: HashMap<&'a str, Attribute<'a>>,
}

/// What an attribute may hold here.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attribute<'a> {
    pub(crate) float: Option<f32>,
    pub(crate) integer: Option<i64>,
    pub(crate) text: Option<&'a str>,
    pub(crate) tensor: Option<Tensor<'a>>,
    pub(crate) integers: Vec<i64>,
}

/// Numbers of a file and their shape.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Vec<usize>,
    kind: i64,
    raw: Option<&'a [u8]>,
    floats: Vec<f32>,
    integers: Vec<i64>,
    elsewhere: bool,
}

/// An input or output: its name, and its shape where that is fixed.
#[derive(Debug, Default)]
pub(crate) struct Described<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_f32: bool,
    /// `None` for an axis without a size.
    pub(crate) shape: Vec<Option<usize>>,
}

const KIND_F32: i64 = 1;
const KIND_I64: i64 = 7;

impl Tensor<'_> {
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))
    }

    /// Its numbers.
    pub(crate) fn f32s(&self) -> Result<Vec<f32>, String> {
        self.check(KIND_F32, "f32")?;
        let found = match self.raw {
            Some(raw) => match raw.as_chunks() {
                (numbers, []) => numbers.iter().copied().map(f32::from_le_bytes).collect(),
                _ => return Err(self.cut()),
            },
            None => self.floats.clone(),
        };
        self.counted(found)
    }

    /// Its integers.
    pub(crate) fn i64s(&self) -> Result<Vec<i64>, String> {
        self.check(KIND_I64, "i64")?;
        let found = match self.raw {
            Some(raw) => match raw.as_chunks() {
                (numbers, []) => numbers.iter().copied().map(i64::from_le_bytes).collect(),
                _ => return Err(self.cut()),
            },
            None => self.integers.clone(),
        };
        self.counted(found)
    }

    fn check(&self, kind: i64, name: &str) -> Result<(), String> {
        if self.elsewhere {
            return Err(format!("`{}` lies in another file", self.name));
        }
        if self.kind != kind {
            return Err(format!("`{}` is {}, not {name}", self.name, kind_name(self.kind)));
        }
        Ok(())
    }

    fn cut(&self) -> String {
        format!("`{}` ends within a number", self.name)
    }

    fn counted<T>(&self, found: Vec<T>) -> Result<Vec<T>, String> {
        if self.count() == Some(found.len()) {
            return Ok(found);
        }
        Err(format!("`{}` has {} numbers, its shape is {:?}", self.name, found.len(), self.shape))
    }
}

/// What onnx.proto3 calls it, of the kinds that weights come in.
fn kind_name(kind: i64) -> String {
    let name = match kind {
        KIND_F32 => "f32",
        2 | 3 => "8-bit integers",
        KIND_I64 => "i64",
        10 => "f16",
        11 => "f64",
        16 => "bf16",
        other => return format!("of kind {other}"),
    };
    name.to_owned()
}

/// Reads a file.
pub(crate) fn read(bytes: &[u8]) -> Result<Model<'_>, LoadError> {
    let mut graph = None;
    for field in Message::new(bytes) {
        match field? {
            (7, Field::Bytes(found)) if graph.is_none() => graph = Some(found),
            (7, _) => return Err(LoadError::graph("it holds more than one graph")),
            _ => {}
        }
    }
    let Some(bytes) = graph else { return Err(LoadError::graph("it holds no graph")) };
    read_graph(bytes)
}

fn read_graph(bytes: &[u8]) -> Result<Model<'_>, LoadError> {
    let mut model = Model::default();
    let mut inputs = Vec::new();
    for field in Message::new(bytes) {
        match field? {
            (1, Field::Bytes(node)) => model.nodes.push(read_node(node)?),
            (5, Field::Bytes(tensor)) => {
                let tensor = read_tensor(tensor)?;
                if let Some(twice) = model.constants.insert(tensor.name, tensor) {
                    return Err(LoadError::graph(format!("two constants `{}`", twice.name)));
                }
            }
            (11, Field::Bytes(input)) => inputs.push(read_described(input)?),
            (12, Field::Bytes(output)) => model.outputs.push(read_described(output)?),
            (15, _) => return Err(LoadError::graph("it holds sparse constants")),
            _ => {}
        }
        if model.nodes.len() > MAX_NODES {
            return Err(LoadError::graph(format!("more than {MAX_NODES} nodes")));
        }
    }
    inputs.retain(|input| !model.constants.contains_key(input.name));
    model.inputs = inputs;
    Ok(model)
}

fn read_node(bytes: &[u8]) -> Result<Node<'_>, LoadError> {
    let mut node = Node::default();
    for field in Message::new(bytes) {
        match field? {
            (1, Field::Bytes(name)) => node.inputs.push(text(name)?),
            (2, Field::Bytes(name)) => node.outputs.push(text(name)?),
            (3, Field::Bytes(name)) => node.name = text(name)?,
            (4, Field::Bytes(name)) => node.operator = text(name)?,
            (5, Field::Bytes(attribute)) => {
                let (name, attribute) = read_attribute(attribute)?;
                node.attributes.insert(name, attribute);
            }
            (7, Field::Bytes(name)) => node.domain = text(name)?,
            _ => {}
        }
    }
    Ok(node)
}

fn read_attribute(bytes: &[u8]) -> Result<(&str, Attribute<'_>), LoadError> {
    let (mut name, mut found) = ("", Attribute::default());
    for field in Message::new(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => name = text(bytes)?,
            (2, Field::Four(bytes)) => found.float = Some(f32::from_le_bytes(bytes)),
            (3, Field::Integer(value)) => found.integer = Some(value.cast_signed()),
            (4, Field::Bytes(bytes)) => found.text = Some(text(bytes)?),
            (5, Field::Bytes(bytes)) => found.tensor = Some(read_tensor(bytes)?),
            (8, field) => integers(field, &mut found.integers)?,
            _ => {}
        }
    }
    Ok((name, found))
}

fn read_tensor(bytes: &[u8]) -> Result<Tensor<'_>, LoadError> {
    let (mut tensor, mut shape) = (Tensor::default(), Vec::new());
    for field in Message::new(bytes) {
        match field? {
            (1, field) => integers(field, &mut shape)?,
            (2, Field::Integer(kind)) => tensor.kind = kind.cast_signed(),
            (4, field) => floats(field, &mut tensor.floats)?,
            (7, field) => integers(field, &mut tensor.integers)?,
            (8, Field::Bytes(name)) => tensor.name = text(name)?,
            (9, Field::Bytes(raw)) => tensor.raw = Some(raw),
            (13, _) => tensor.elsewhere = true,
            (14, Field::Integer(place)) => tensor.elsewhere |= place != 0,
            _ => {}
        }
    }
    tensor.shape = axes(shape, tensor.name)?;
    Ok(tensor)
}

fn axes(shape: Vec<i64>, name: &str) -> Result<Vec<usize>, LoadError> {
    let wrong = || LoadError::graph(format!("`{name}` has the shape {shape:?}"));
    if shape.len() > MAX_AXES {
        return Err(LoadError::graph(format!("`{name}` has {} axes", shape.len())));
    }
    shape.iter().map(|&size| usize::try_from(size).map_err(|_| wrong())).collect()
}

/// `ValueInfoProto`: name and type; of the type the tensor's; of that the kind and the shape.
fn read_described(bytes: &[u8]) -> Result<Described<'_>, LoadError> {
    let mut found = Described::default();
    for field in Message::new(bytes) {
        match field? {
            (1, Field::Bytes(name)) => found.name = text(name)?,
            (2, Field::Bytes(kind)) => {
                for field in Message::new(kind) {
                    if let (1, Field::Bytes(tensor)) = field? {
                        read_type(tensor, &mut found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read_type(bytes: &[u8], into: &mut Described<'_>) -> Result<(), LoadError> {
    for field in Message::new(bytes) {
        match field? {
            (1, Field::Integer(kind)) => into.is_f32 = kind.cast_signed() == KIND_F32,
            (2, Field::Bytes(shape)) => {
                for axis in Message::new(shape) {
                    let (1, Field::Bytes(axis)) = axis? else { continue };
                    if into.shape.len() == MAX_AXES {
                        return Err(LoadError::graph(format!("`{}` has too many axes", into.name)));
                    }
                    into.shape.push(size_of_axis(axis)?);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn size_of_axis(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut size = None;
    for field in Message::new(bytes) {
        if let (1, Field::Integer(value)) = field? {
            size = usize::try_from(value).ok();
        }
    }
    Ok(size)
}

fn text(bytes: &[u8]) -> Result<&str, LoadError> {
    std::str::from_utf8(bytes).map_err(|_| LoadError::graph("a name in it is not UTF-8"))
}
