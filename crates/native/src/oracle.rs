//! The definition of every operation, in `f64`, one number after the other: what tests believe.

use crate::graph::{Filter, Graph, Shape, Sum, Value, Work};

/// Numbers of a value, `[channel, z, y, x]`.
#[derive(Clone)]
struct Numbers {
    shape: Shape,
    values: Vec<f64>,
}

impl Numbers {
    fn of(shape: Shape, values: &[f32]) -> Numbers {
        Numbers { shape, values: values.iter().map(|&value| f64::from(value)).collect() }
    }

    fn made(shape: Shape, mut value: impl FnMut(usize, [usize; 3]) -> f64) -> Numbers {
        let [depth, height, width] = shape.size;
        let mut values = Vec::new();
        for channel in 0..shape.channels {
            for z in 0..depth {
                for y in 0..height {
                    for x in 0..width {
                        values.push(value(channel, [z, y, x]));
                    }
                }
            }
        }
        Numbers { shape, values }
    }

    /// Axes of size 1 are repeated.
    fn at(&self, channel: usize, at: [usize; 3]) -> f64 {
        let size = self.shape.size;
        let [z, y, x]: [usize; 3] = std::array::from_fn(|axis| at[axis].min(size[axis] - 1));
        self.values[((channel * size[0] + z) * size[1] + y) * size[2] + x]
    }
}

/// All logits of a patch.
pub(crate) fn run(graph: &Graph, image: &[f32]) -> Vec<f64> {
    let mut made: Vec<Numbers> = Vec::new();
    let get = |made: &[Numbers], value: Value| match value {
        Value::Image => Numbers::of(graph.image, image),
        Value::Constant(at) => Numbers::of(graph.constants[at].shape, &graph.constants[at].values),
        Value::Node(node) => made[node].clone(),
    };
    for node in &graph.nodes {
        let inputs: Vec<Numbers> = node.inputs.iter().map(|&value| get(&made, value)).collect();
        made.push(compute(&node.work, &inputs, node.shape));
    }
    get(&made, graph.output).values
}

fn compute(work: &Work, inputs: &[Numbers], shape: Shape) -> Numbers {
    let first = &inputs[0];
    match work {
        Work::Convolve(filter) => convolve(filter, first, shape),
        Work::Spread(filter) => spread(filter, first, shape),
        Work::Normalise { scale, shift, epsilon } => {
            let voxels = shape.size.iter().product::<usize>();
            let moments: Vec<(f64, f64)> = first
                .values
                .chunks(voxels)
                .map(|values| {
                    let mean = values.iter().sum::<f64>() / voxels as f64;
                    let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
                    (mean, (squares / voxels as f64 + f64::from(*epsilon)).sqrt())
                })
                .collect();
            Numbers::made(shape, |channel, at| {
                let (mean, deviation) = moments[channel];
                let plain = (first.at(channel, at) - mean) / deviation;
                plain * f64::from(scale[channel]) + f64::from(shift[channel])
            })
        }
        Work::Leak { slope } => Numbers::made(shape, |channel, at| match first.at(channel, at) {
            value if value > 0.0 => value,
            value => value * f64::from(*slope),
        }),
        Work::Join => {
            let values = inputs.iter().flat_map(|input| input.values.clone()).collect();
            Numbers { shape, values }
        }
        Work::Slices(slices) => Numbers::made(shape, |channel, [z, y, x]| {
            let (input, z) = slices[z];
            inputs[input].at(channel, [z, y, x])
        }),
        Work::Combine(sum) => Numbers::made(shape, |channel, at| {
            combine(*sum, first.at(channel, at), inputs[1].at(channel, at))
        }),
        Work::CombineNumber(sum, number) => Numbers::made(shape, |channel, at| {
            combine(*sum, first.at(channel, at), f64::from(*number))
        }),
        Work::NumberMinus(number) => {
            Numbers::made(shape, |channel, at| f64::from(*number) - first.at(channel, at))
        }
        Work::Floor => Numbers::made(shape, |channel, at| first.at(channel, at).floor()),
        Work::Average { box_size } => Numbers::made(shape, |channel, at| {
            let mut sum = 0.0;
            for z in 0..box_size[0] {
                for y in 0..box_size[1] {
                    for x in 0..box_size[2] {
                        let within = [z, y, x];
                        let at = std::array::from_fn(|a| at[a] * box_size[a] + within[a]);
                        sum += first.at(channel, at);
                    }
                }
            }
            sum / box_size.iter().product::<usize>() as f64
        }),
    }
}

fn combine(sum: Sum, a: f64, b: f64) -> f64 {
    match sum {
        Sum::Add => a + b,
        Sum::Subtract => a - b,
        Sum::Multiply => a * b,
    }
}

/// Every tap of a kernel `[z, y, x]`.
fn taps(filter: &Filter) -> Vec<[usize; 3]> {
    let [kz, ky, kx] = filter.kernel;
    let planes = (0..kz).flat_map(|z| (0..ky).map(move |y| (z, y)));
    planes.flat_map(|(z, y)| (0..kx).map(move |x| [z, y, x])).collect()
}

fn convolve(filter: &Filter, input: &Numbers, shape: Shape) -> Numbers {
    Numbers::made(shape, |output, at| {
        let mut sum = f64::from(filter.bias[output]);
        for tap in taps(filter) {
            let from: [usize; 3] = std::array::from_fn(|a| {
                (at[a] * filter.stride[a] + tap[a]).wrapping_sub(filter.before[a])
            });
            if (0..3).all(|axis| from[axis] < input.shape.size[axis]) {
                for channel in 0..filter.inputs {
                    let weight = f64::from(filter.at(output, channel, tap));
                    sum += weight * input.at(channel, from);
                }
            }
        }
        sum
    })
}

fn spread(filter: &Filter, input: &Numbers, shape: Shape) -> Numbers {
    let mut made = Numbers::made(shape, |output, _| f64::from(filter.bias[output]));
    let [_, height, width] = shape.size;
    let voxels = shape.size.iter().product::<usize>();
    let [iz, iy, ix] = input.shape.size;
    for at in 0..iz * iy * ix {
        let from = [at / (iy * ix), at / ix % iy, at % ix];
        for tap in taps(filter) {
            let to: [usize; 3] = std::array::from_fn(|a| {
                (from[a] * filter.stride[a] + tap[a]).wrapping_sub(filter.before[a])
            });
            if (0..3).all(|axis| to[axis] < shape.size[axis]) {
                for output in 0..filter.outputs {
                    for channel in 0..filter.inputs {
                        let weight = f64::from(filter.at(output, channel, tap));
                        made.values[output * voxels + (to[0] * height + to[1]) * width + to[2]] +=
                            weight * input.at(channel, from);
                    }
                }
            }
        }
    }
    made
}
