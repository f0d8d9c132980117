//! The operators, one by one: what each takes and what shape it makes.

use super::known::{Known, finite, keep};
use super::{Filter, Graph, MAX_KERNEL, MAX_SIZE, Shape, Sum, Value, Work};
use crate::model;

/// A node and what its inputs are.
pub(super) struct Call<'a> {
    pub(super) node: &'a model::Node<'a>,
    /// `None` where an optional one is left out.
    pub(super) inputs: Vec<Option<Known<'a>>>,
}

/// Work, what it reads, and the shape it makes; `None` if the first input is passed on.
type Read = Result<Option<(Work, Vec<Value>, Shape)>, String>;

impl Call<'_> {
    pub(super) fn read(&self, graph: &mut Graph) -> Read {
        match self.node.operator {
            "Conv" => self.convolve(graph, false),
            "ConvTranspose" => self.convolve(graph, true),
            "InstanceNormalization" => self.normalise(graph),
            "LeakyRelu" => self.leak(graph, self.float("alpha", 0.01)),
            "Relu" => self.leak(graph, 0.0),
            "Concat" => self.concat(graph),
            "Slice" => self.slice(graph),
            "Add" => self.combine(graph, Sum::Add),
            "Sub" => self.combine(graph, Sum::Subtract),
            "Mul" => self.combine(graph, Sum::Multiply),
            "Floor" => self.one(graph, Work::Floor),
            "AveragePool" => self.average(graph),
            "Identity" | "Dropout" => Ok(None),
            other => Err(format!("operator {other} is not among those that can be run here")),
        }
    }

    fn known(&self, at: usize) -> Option<Known<'_>> {
        self.inputs.get(at).copied().flatten()
    }

    /// Input `at` as a value; a constant becomes one.
    pub(super) fn value(&self, graph: &mut Graph, at: usize) -> Result<Value, String> {
        match self.known(at) {
            Some(Known::Value(value)) => Ok(value),
            Some(Known::Constant(tensor)) => keep(graph, tensor),
            Some(Known::Empty) => Err(format!("input {at} has no slices")),
            None => Err(format!("input {at} is missing")),
        }
    }

    fn tensor(&self, at: usize) -> Result<&model::Tensor<'_>, String> {
        match self.known(at) {
            Some(Known::Constant(tensor)) => Ok(tensor),
            Some(_) => Err(format!("input {at} is computed, not a constant")),
            None => Err(format!("input {at} is missing")),
        }
    }

    /// Numbers of a constant input of one axis.
    fn numbers(&self, at: usize, count: usize) -> Result<Vec<f32>, String> {
        let tensor = self.tensor(at)?;
        if tensor.shape != [count] {
            return Err(format!("`{}` is {:?}, expected {count}", tensor.name, tensor.shape));
        }
        finite(tensor.f32s()?)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.node.attributes.get(name).and_then(|found| found.float).unwrap_or(default)
    }

    fn integer(&self, name: &str, default: i64) -> i64 {
        self.node.attributes.get(name).and_then(|found| found.integer).unwrap_or(default)
    }

    /// An attribute of `N` sizes, or what stands for it.
    fn sizes<const N: usize>(&self, name: &str, default: [usize; N]) -> Result<[usize; N], String> {
        let Some(found) = self.node.attributes.get(name) else { return Ok(default) };
        let sizes: Option<Vec<usize>> = found
            .integers
            .iter()
            .map(|&size| usize::try_from(size).ok().filter(|&size| size <= MAX_KERNEL))
            .collect();
        let sizes = sizes.and_then(|sizes| sizes.try_into().ok());
        sizes.ok_or_else(|| format!("{name} is {:?}", found.integers))
    }

    fn convolve(&self, graph: &mut Graph, transposed: bool) -> Read {
        let value = self.value(graph, 0)?;
        let shape = graph.shape(value);
        let tensor = self.tensor(1)?;
        let [first, second, z, y, x] = tensor.shape[..] else {
            return Err(format!("`{}` is {:?}, expected five axes", tensor.name, tensor.shape));
        };
        let (inputs, outputs) = if transposed { (first, second) } else { (second, first) };
        self.check_plain(&tensor.shape)?;
        if inputs != shape.channels || outputs == 0 {
            let (found, has) = (&tensor.shape, shape.channels);
            return Err(format!("weights {found:?} for an input of {has} channels"));
        }
        let kernel = [z, y, x];
        let stride = self.sizes("strides", [1; 3])?;
        let pads = self.sizes("pads", [0; 6])?;
        let (before, after) = ([pads[0], pads[1], pads[2]], [pads[3], pads[4], pads[5]]);
        let weights = in_order(finite(tensor.f32s()?)?, [first, second], transposed);
        let bias = match self.known(2) {
            Some(_) => self.numbers(2, outputs)?,
            None => vec![0.0; outputs],
        };
        let filter = Filter { inputs, outputs, kernel, stride, before, after, weights, bias };
        let size = size_after(&filter, shape.size, transposed)
            .ok_or_else(|| format!("kernel {kernel:?}, strides {stride:?}, pads {pads:?}"))?;
        let work = if transposed { Work::Spread(filter) } else { Work::Convolve(filter) };
        Ok(Some((work, vec![value], Shape { channels: outputs, size })))
    }

    /// What no exported nnU-Net asks for.
    fn check_plain(&self, shape: &[usize]) -> Result<(), String> {
        let kernel = [shape[2], shape[3], shape[4]];
        if !kernel.iter().all(|size| (1..=MAX_KERNEL).contains(size)) {
            return Err(format!("kernel {kernel:?}"));
        }
        if self.sizes("kernel_shape", kernel)? != kernel {
            return Err("kernel_shape is not that of the weights".to_owned());
        }
        if self.integer("group", 1) != 1 || self.sizes("dilations", [1; 3])? != [1; 3] {
            return Err("groups and dilations cannot be run here".to_owned());
        }
        let padding = self.node.attributes.get("auto_pad").and_then(|found| found.text);
        let shaped = self.node.attributes.contains_key("output_shape");
        if padding.is_some_and(|how| how != "NOTSET") || shaped {
            return Err("auto_pad and output_shape cannot be run here".to_owned());
        }
        match self.sizes("output_padding", [0; 3])? {
            [0, 0, 0] => Ok(()),
            other => Err(format!("output_padding {other:?}")),
        }
    }

    fn normalise(&self, graph: &mut Graph) -> Read {
        let value = self.value(graph, 0)?;
        let shape = graph.shape(value);
        let scale = self.numbers(1, shape.channels)?;
        let shift = self.numbers(2, shape.channels)?;
        let epsilon = self.float("epsilon", 1e-5);
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(format!("epsilon is {epsilon}"));
        }
        Ok(Some((Work::Normalise { scale, shift, epsilon }, vec![value], shape)))
    }

    fn leak(&self, graph: &mut Graph, slope: f32) -> Read {
        match slope {
            1.0 => Ok(None),
            _ if slope.is_finite() => self.one(graph, Work::Leak { slope }),
            _ => Err(format!("alpha is {slope}")),
        }
    }

    fn one(&self, graph: &mut Graph, work: Work) -> Read {
        let value = self.value(graph, 0)?;
        Ok(Some((work, vec![value], graph.shape(value))))
    }

    fn concat(&self, graph: &mut Graph) -> Read {
        // Of slices, nothing adds nothing.
        let slices = matches!(self.integer("axis", 0), 2 | -3);
        let values = (0..self.inputs.len())
            .filter(|&at| !(slices && matches!(self.known(at), Some(Known::Empty))))
            .map(|at| self.value(graph, at))
            .collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<Shape> = values.iter().map(|&value| graph.shape(value)).collect();
        let Some(&first) = shapes.first() else { return Err("it joins nothing".to_owned()) };
        let unequal = || Err(format!("it joins {shapes:?}"));
        match self.integer("axis", 0) {
            1 | -4 => {
                if shapes.iter().any(|shape| shape.size != first.size) {
                    return unequal();
                }
                let sum = |sum: usize, shape: &Shape| sum.checked_add(shape.channels);
                let channels = shapes.iter().try_fold(0, sum).ok_or("too many channels")?;
                Ok(Some((Work::Join, values, Shape { channels, ..first })))
            }
            2 | -3 => {
                let plane = |shape: &Shape| (shape.channels, shape.size[1], shape.size[2]);
                if shapes.iter().any(|shape| plane(shape) != plane(&first)) {
                    return unequal();
                }
                // Before the list is made: the same long value may be named any number of times.
                let depth = |sum: usize, shape: &Shape| sum.checked_add(shape.size[0]);
                let depth = shapes.iter().try_fold(0, depth).filter(|&depth| depth <= MAX_SIZE);
                depth.ok_or("it joins too many slices")?;
                let planes: Vec<(usize, usize)> = (0..)
                    .zip(&shapes)
                    .flat_map(|(at, shape)| (0..shape.size[0]).map(move |z| (at, z)))
                    .collect();
                let size = [planes.len(), first.size[1], first.size[2]];
                Ok(Some((Work::Slices(planes), values, Shape { size, ..first })))
            }
            axis => Err(format!("axis {axis}; only channels and slices can be joined")),
        }
    }

    /// Along z only; what is asked of other axes must leave them whole.
    fn slice(&self, graph: &mut Graph) -> Read {
        let value = self.value(graph, 0)?;
        let shape = graph.shape(value);
        let [starts, ends] = [1, 2].map(|at| self.tensor(at).and_then(model::Tensor::i64s));
        let (starts, ends) = (starts?, ends?);
        let count = starts.len();
        let axes = match self.known(3) {
            Some(_) => self.tensor(3)?.i64s()?,
            None => (0..).take(count).collect(),
        };
        let steps = match self.known(4) {
            Some(_) => self.tensor(4)?.i64s()?,
            None => vec![1; count],
        };
        if [ends.len(), axes.len(), steps.len()] != [count; 3] || count > 5 {
            return Err("starts, ends, axes and steps differ in number".to_owned());
        }
        let full = [1, shape.channels, shape.size[0], shape.size[1], shape.size[2]];
        let mut planes: Vec<usize> = (0..shape.size[0]).collect();
        for at in 0..count {
            let axis = usize::try_from(if axes[at] < 0 { axes[at] + 5 } else { axes[at] });
            let Some(&size) = axis.ok().and_then(|axis| full.get(axis)) else {
                return Err(format!("axis {}", axes[at]));
            };
            let range = range(starts[at], ends[at], steps[at], size)?;
            match axes[at] {
                2 | -3 => planes = range,
                _ if range.len() == size && steps[at] == 1 => {}
                axis => return Err(format!("axis {axis}; only slices can be chosen")),
            }
        }
        let size = [planes.len(), shape.size[1], shape.size[2]];
        let planes = planes.into_iter().map(|z| (0, z)).collect();
        Ok(Some((Work::Slices(planes), vec![value], Shape { size, ..shape })))
    }

    fn combine(&self, graph: &mut Graph, sum: Sum) -> Read {
        if let Some(number) = self.number(1)? {
            return self.one(graph, Work::CombineNumber(sum, number));
        }
        if let Some(number) = self.number(0)? {
            let value = self.value(graph, 1)?;
            let work = match sum {
                Sum::Subtract => Work::NumberMinus(number),
                Sum::Add | Sum::Multiply => Work::CombineNumber(sum, number),
            };
            return Ok(Some((work, vec![value], graph.shape(value))));
        }
        let values = [self.value(graph, 0)?, self.value(graph, 1)?];
        let [a, b] = values.map(|value| graph.shape(value));
        let mut size = [0; 3];
        for axis in 0..3 {
            size[axis] = match (a.size[axis], b.size[axis]) {
                (a, b) if a == b => a,
                (1, more) | (more, 1) => more,
                _ => return Err(format!("its inputs are {a:?} and {b:?}")),
            };
        }
        if a.channels != b.channels {
            return Err(format!("its inputs are {a:?} and {b:?}"));
        }
        Ok(Some((Work::Combine(sum), values.to_vec(), Shape { size, ..a })))
    }

    /// A constant of one number.
    fn number(&self, at: usize) -> Result<Option<f32>, String> {
        match self.known(at) {
            Some(Known::Constant(tensor)) if tensor.shape.iter().all(|&size| size == 1) => {
                Ok(finite(tensor.f32s()?)?.first().copied())
            }
            _ => Ok(None),
        }
    }

    fn average(&self, graph: &mut Graph) -> Read {
        let value = self.value(graph, 0)?;
        let shape = graph.shape(value);
        let box_size = self.sizes("kernel_shape", [0; 3])?;
        let plain = self.sizes("strides", [1; 3])? == box_size
            && self.sizes("pads", [0; 6])? == [0; 6]
            && self.node.attributes.get("auto_pad").is_none_or(|how| how.text == Some("NOTSET"))
            && self.integer("ceil_mode", 0) == 0;
        let fits = (0..3).all(|axis| box_size[axis] > 0 && box_size[axis] <= shape.size[axis]);
        if !plain || !fits {
            return Err("only boxes side by side, without padding, can be averaged".to_owned());
        }
        let size = std::array::from_fn(|axis| shape.size[axis] / box_size[axis]);
        Ok(Some((Work::Average { box_size }, vec![value], Shape { size, ..shape })))
    }
}

/// Weights as `[output, input, tap]`; transposed ones come with inputs first.
fn in_order(weights: Vec<f32>, [first, second]: [usize; 2], transposed: bool) -> Vec<f32> {
    if !transposed {
        return weights;
    }
    let taps = weights.len() / (first * second);
    let mut ordered = Vec::with_capacity(weights.len());
    for output in 0..second {
        for input in 0..first {
            let at = (input * second + output) * taps;
            ordered.extend_from_slice(&weights[at..at + taps]);
        }
    }
    ordered
}

/// Voxels that a filter makes, if there are any.
fn size_after(filter: &Filter, size: [usize; 3], transposed: bool) -> Option<[usize; 3]> {
    let mut made = [0; 3];
    for axis in 0..3 {
        let (kernel, stride) = (filter.kernel[axis], filter.stride[axis]);
        let pads = filter.before[axis].checked_add(filter.after[axis])?;
        if stride == 0 || filter.before[axis] >= kernel || filter.after[axis] >= kernel {
            return None;
        }
        made[axis] = if transposed {
            (size[axis] - 1).checked_mul(stride)?.checked_add(kernel)?.checked_sub(pads)?
        } else {
            size[axis].checked_add(pads)?.checked_sub(kernel)? / stride + 1
        };
        if made[axis] == 0 {
            return None;
        }
    }
    Some(made)
}

/// ONNX's slice of one axis: negative ends count from the end, both are clamped.
fn range(start: i64, end: i64, step: i64, size: usize) -> Result<Vec<usize>, String> {
    let size = i64::try_from(size).map_err(|_| "an axis is too long".to_owned())?;
    if step < 1 {
        return Err(format!("step {step}"));
    }
    let clamp = |at: i64| if at < 0 { at.saturating_add(size).max(0) } else { at.min(size) };
    let (start, end) = (clamp(start), clamp(end));
    let step = usize::try_from(step).map_err(|_| "a step is too long".to_owned())?;
    Ok((start..end).step_by(step).filter_map(|at| usize::try_from(at).ok()).collect())
}
