//! A checked graph: every operator known, every shape fixed, every weight a number.
//!
//! Owns what can be run here. Refuses the rest by the node's name: operators that nnU-Net's
//! exported networks do not hold, groups, dilations, shapes that do not fit. Knows nothing of
//! how anything is computed.

use std::fmt;

use crate::error::LoadError;

mod build;
mod known;
mod operators;
mod simplify;

/// Most numbers of one value: four gigabytes of `f32`.
const MAX_NUMBERS: usize = 1 << 30;
/// Most weights of all nodes together, each counted as often as it is read: a gigabyte of `f32`,
/// twice what nnU-Net's largest presets have.
const MAX_WEIGHTS: usize = 1 << 28;
/// Most voxels along one axis; nnU-Net plans patches of some hundred.
const MAX_SIZE: usize = 1 << 12;
/// nnU-Net's kernels are 3, merged upsampling makes them 4; a pooled skip may take 8.
const MAX_KERNEL: usize = 16;

/// Channels and voxels `[z, y, x]` of a value; its batch is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) channels: usize,
    pub(crate) size: [usize; 3],
}

/// As refusals say it.
impl fmt::Debug for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} x {:?}", self.channels, self.size)
    }
}

impl Shape {
    pub(crate) fn numbers(self) -> Option<usize> {
        let product = self.size.iter().try_fold(self.channels, |n, &size| n.checked_mul(size))?;
        let sound =
            (1..=MAX_NUMBERS).contains(&product) && self.size.iter().all(|&size| size <= MAX_SIZE);
        sound.then_some(product)
    }
}

/// A value of the graph: a node by its index, or what comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Image,
    Node(usize),
    Constant(usize),
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) inputs: Vec<Value>,
    pub(crate) shape: Shape,
}

/// What an operation does.
#[derive(Debug)]
pub(crate) enum Work {
    Convolve(Filter),
    /// A transposed convolution.
    Spread(Filter),
    Normalise {
        scale: Vec<f32>,
        shift: Vec<f32>,
        epsilon: f32,
    },
    /// `v` if it is positive, else `slope * v`.
    Leak {
        slope: f32,
    },
    /// All channels of the inputs, one after the other.
    Join,
    /// Slices, each of one input: `(input, z)`.
    Slices(Vec<(usize, usize)>),
    /// Of two inputs; sizes of 1 are repeated.
    Combine(Sum),
    /// Of one input and one number.
    CombineNumber(Sum, f32),
    /// The number first: it minus the input.
    NumberMinus(f32),
    Floor,
    /// The mean of boxes that do not overlap.
    Average {
        box_size: [usize; 3],
    },
}

impl Work {
    /// Numbers that it keeps from the file, or as many as its lists take room.
    fn weights(&self) -> usize {
        match self {
            Work::Convolve(filter) | Work::Spread(filter) => {
                filter.weights.len() + filter.bias.len()
            }
            Work::Normalise { scale, shift, .. } => scale.len() + shift.len(),
            Work::Slices(planes) => planes.len() * size_of::<(usize, usize)>() / size_of::<f32>(),
            _ => 0,
        }
    }
}

/// Arithmetic of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Add,
    Subtract,
    Multiply,
}

/// A convolution's numbers.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    /// Zeros before and after each axis.
    pub(crate) before: [usize; 3],
    pub(crate) after: [usize; 3],
    /// `[output, input, z, y, x]`, also of transposed ones.
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Filter {
    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The weight of a tap `[z, y, x]`.
    pub(crate) fn at(&self, output: usize, input: usize, [z, y, x]: [usize; 3]) -> f32 {
        let [_, ky, kx] = self.kernel;
        self.weights[((output * self.inputs + input) * self.taps()) + (z * ky + y) * kx + x]
    }
}

/// A tensor of the file that a node reads like a value.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) shape: Shape,
    /// `[channel, z, y, x]`
    pub(crate) values: Vec<f32>,
}

/// The graph.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) image: Shape,
    pub(crate) output: Value,
    /// In an order in which they can be run.
    pub(crate) nodes: Vec<Node>,
    pub(crate) constants: Vec<Fixed>,
    /// Of [`MAX_WEIGHTS`], so many may still be kept.
    weights_left: usize,
}

impl Graph {
    /// Reads and checks an ONNX file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Graph, LoadError> {
        let mut graph = build::build(&crate::model::read(bytes)?, MAX_WEIGHTS)?;
        simplify::simplify(&mut graph);
        Ok(graph)
    }

    /// A graph that passes its image on.
    pub(crate) fn of_image(image: Shape) -> Graph {
        let (nodes, constants) = (Vec::new(), Vec::new());
        Graph { image, output: Value::Image, nodes, constants, weights_left: MAX_WEIGHTS }
    }

    /// Counts weights that are about to be kept.
    fn count(&mut self, weights: usize) -> Result<(), String> {
        let left = self.weights_left.checked_sub(weights);
        self.weights_left = left.ok_or_else(|| {
            format!("with it more than {MAX_WEIGHTS} weights are read, each counted every time")
        })?;
        Ok(())
    }

    pub(crate) fn shape(&self, value: Value) -> Shape {
        match value {
            Value::Image => self.image,
            Value::Node(node) => self.nodes[node].shape,
            Value::Constant(constant) => self.constants[constant].shape,
        }
    }
}
