//! Whole graphs against their definition, on every level of this processor and several threads.

use crate::element::Element;
use crate::graph::{Filter, Fixed, Graph, Node, Shape, Sum, Value, Work};
use crate::level::Level;
use crate::oracle;
use crate::plan::{FromF32, Plan};

#[path = "../tests/written/mod.rs"]
pub(crate) mod written;

/// Small numbers without a pattern, always the same.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1_u64 << 24) as f32) * 2.0 - 1.0
    }

    fn some(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Builds a graph node by node.
pub(crate) struct Builder {
    graph: Graph,
    noise: Noise,
}

impl Builder {
    pub(crate) fn new(channels: usize, size: [usize; 3]) -> Builder {
        let graph = Graph::of_image(Shape { channels, size });
        Builder { graph, noise: Noise(7) }
    }

    fn add(&mut self, work: Work, inputs: &[Value], shape: Shape) -> Value {
        let (name, inputs) = (format!("n{}", self.graph.nodes.len()), inputs.to_vec());
        self.graph.nodes.push(Node { name, work, inputs, shape });
        self.graph.output = Value::Node(self.graph.nodes.len() - 1);
        self.graph.output
    }

    fn same(&mut self, work: Work, input: Value) -> Value {
        let shape = self.graph.shape(input);
        self.add(work, &[input], shape)
    }

    fn filter(&mut self, inputs: usize, outputs: usize, three: [[usize; 3]; 3]) -> Filter {
        let [kernel, stride, before] = three;
        let count = inputs * outputs * kernel.iter().product::<usize>();
        // About as much goes out as comes in.
        let gain = (3.0 / (count / outputs) as f32).sqrt();
        let weights = self.noise.some(count).into_iter().map(|weight| weight * gain).collect();
        let bias = self.noise.some(outputs);
        Filter { inputs, outputs, kernel, stride, before, after: before, weights, bias }
    }

    pub(crate) fn convolve(
        &mut self,
        input: Value,
        outputs: usize,
        three: [[usize; 3]; 3],
    ) -> Value {
        let shape = self.graph.shape(input);
        let filter = self.filter(shape.channels, outputs, three);
        let [kernel, stride, before] = three;
        let size =
            std::array::from_fn(|a| (shape.size[a] + 2 * before[a] - kernel[a]) / stride[a] + 1);
        self.add(Work::Convolve(filter), &[input], Shape { channels: outputs, size })
    }

    fn spread(&mut self, input: Value, outputs: usize, three: [[usize; 3]; 3]) -> Value {
        let shape = self.graph.shape(input);
        let filter = self.filter(shape.channels, outputs, three);
        let [kernel, stride, before] = three;
        let size =
            std::array::from_fn(|a| (shape.size[a] - 1) * stride[a] + kernel[a] - 2 * before[a]);
        self.add(Work::Spread(filter), &[input], Shape { channels: outputs, size })
    }

    pub(crate) fn normalise(&mut self, input: Value) -> Value {
        let channels = self.graph.shape(input).channels;
        let scale = self.noise.some(channels).into_iter().map(|v| 1.0 + v * 0.3).collect();
        let shift = self.noise.some(channels);
        self.same(Work::Normalise { scale, shift, epsilon: 1e-5 }, input)
    }

    pub(crate) fn leak(&mut self, input: Value, slope: f32) -> Value {
        self.same(Work::Leak { slope }, input)
    }

    fn join(&mut self, inputs: &[Value]) -> Value {
        let channels = inputs.iter().map(|&value| self.graph.shape(value).channels).sum();
        let size = self.graph.shape(inputs[0]).size;
        self.add(Work::Join, inputs, Shape { channels, size })
    }

    fn block(&mut self, input: Value, outputs: usize, three: [[usize; 3]; 3]) -> Value {
        let made = self.convolve(input, outputs, three);
        let made = self.normalise(made);
        self.leak(made, 0.01)
    }

    pub(crate) fn image(&mut self) -> Vec<f32> {
        let count = self.graph.image.numbers().unwrap();
        self.noise.some(count)
    }

    pub(crate) fn graph(self) -> Graph {
        self.graph
    }
}

fn logits<T: Element + FromF32>(
    graph: &Graph,
    image: &[f32],
    level: Level,
    threads: usize,
) -> Vec<f32> {
    let plan = Plan::<T>::new(graph, level).unwrap();
    let mut memory = plan.memory(threads);
    let mut answer = vec![f32::NAN; graph.shape(graph.output).numbers().unwrap()];
    // What an earlier patch left behind must not show.
    let other: Vec<f32> = image.iter().map(|value| 3.0 - value * 100.0).collect();
    plan.run(&other, &mut answer, &mut memory);
    answer.fill(f32::NAN);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| plan.run(image, &mut answer, &mut memory));
    answer
}

/// Largest difference to the definition, in units of the answers' own deviation.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mean_square = expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64;
    let worst = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).abs());
    let worst = worst.fold(0.0, |most, one| if one <= most { most } else { one });
    worst / mean_square.sqrt()
}

/// Every level and number of threads gives the definition, and threads change no bit.
fn check(builder: Builder, bound: f64) {
    let mut builder = builder;
    let image = builder.image();
    let graph = builder.graph();
    let expected = oracle::run(&graph, &image);
    for level in Level::available() {
        let one = logits::<f32>(&graph, &image, level, 1);
        let found = error(&one, &expected);
        assert!(found < bound, "{level:?}: {found:e}");
        for threads in [2, 3, 8] {
            let more = logits::<f32>(&graph, &image, level, threads);
            let same = one.iter().zip(&more).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{level:?}: {threads} threads give other bits than one");
        }
    }
}

const PLAIN: f64 = 3e-6;

#[test]
fn convolutions_of_any_kernel_and_stride_are_their_definition() {
    for (channels, outputs, size, three) in [
        (1, 3, [3, 5, 7], [[1, 3, 3], [1, 1, 1], [0, 1, 1]]),
        (4, 16, [4, 9, 33], [[3, 3, 3], [1, 2, 2], [1, 1, 1]]),
        (17, 40, [5, 6, 11], [[3, 3, 3], [2, 2, 2], [1, 1, 1]]),
        (20, 33, [2, 3, 3], [[1, 1, 1], [1, 1, 1], [0, 0, 0]]),
        (3, 2, [6, 7, 8], [[2, 4, 5], [1, 3, 2], [1, 2, 3]]),
        (5, 18, [1, 1, 1], [[3, 3, 3], [1, 1, 1], [1, 1, 1]]),
        (16, 16, [4, 4, 40], [[1, 1, 7], [1, 1, 1], [0, 0, 3]]),
    ] {
        let mut builder = Builder::new(channels, size);
        builder.convolve(Value::Image, outputs, three);
        check(builder, PLAIN);
    }
}

#[test]
fn transposed_convolutions_are_their_definition() {
    for (channels, outputs, size, three) in [
        (4, 6, [3, 4, 5], [[2, 2, 2], [2, 2, 2], [0, 0, 0]]),
        (20, 32, [2, 6, 9], [[1, 2, 2], [1, 2, 2], [0, 0, 0]]),
        (16, 17, [3, 4, 5], [[4, 4, 4], [2, 2, 2], [1, 1, 1]]),
        (3, 5, [2, 3, 17], [[3, 4, 4], [1, 2, 2], [1, 1, 1]]),
        (2, 3, [2, 3, 4], [[1, 2, 1], [2, 3, 3], [0, 0, 0]]),
    ] {
        let mut builder = Builder::new(channels, size);
        builder.spread(Value::Image, outputs, three);
        check(builder, PLAIN);
    }
}

/// Winograd's filters: shapes that are no multiple of a tile, few weights and many, slabs.
#[test]
fn minimal_filtering_is_the_definition_within_its_error() {
    for (channels, outputs, size, kernel) in [
        (16, 16, [2, 9, 13], 1),
        (24, 40, [3, 4, 4], 1),
        (16, 33, [3, 3, 2], 3),
        (48, 80, [4, 10, 7], 3),
        (96, 96, [2, 8, 8], 3),
        (130, 64, [3, 5, 12], 1),
    ] {
        let mut builder = Builder::new(channels, size);
        let blocks = builder.leak(Value::Image, 0.5);
        builder.convolve(blocks, outputs, [[kernel, 3, 3], [1, 1, 1], [kernel / 2, 1, 1]]);
        check(builder, 4e-5);
    }
}

#[test]
fn a_residual_network_with_pooled_skips_is_its_definition() {
    let mut builder = Builder::new(3, [4, 12, 10]);
    let stem = builder.block(Value::Image, 18, [[1, 3, 3], [1, 1, 1], [0, 1, 1]]);
    let inner = builder.block(stem, 24, [[3, 3, 3], [2, 2, 2], [1, 1, 1]]);
    let inner = builder.convolve(inner, 24, [[3, 3, 3], [1, 1, 1], [1, 1, 1]]);
    let inner = builder.normalise(inner);
    let box_size = [2, 2, 2];
    let pooled = Shape { channels: 18, size: [2, 6, 5] };
    let skip = builder.add(Work::Average { box_size }, &[stem], pooled);
    let skip = builder.convolve(skip, 24, [[1, 1, 1], [1, 1, 1], [0, 0, 0]]);
    let skip = builder.normalise(skip);
    let shape = builder.graph.shape(inner);
    let sum = builder.add(Work::Combine(Sum::Add), &[inner, skip], shape);
    let sum = builder.leak(sum, 0.01);
    // Normalised again, though nothing convolved it: the sum gathers its own statistics.
    let again = builder.normalise(sum);
    let up = builder.spread(again, 18, [[2, 2, 2], [2, 2, 2], [0, 0, 0]]);
    let joined = builder.join(&[up, stem, Value::Image]);
    let last = builder.block(joined, 20, [[3, 3, 3], [1, 1, 1], [1, 1, 1]]);
    builder.convolve(last, 5, [[1, 1, 1], [1, 1, 1], [0, 0, 0]]);
    check(builder, 4e-5);
}

/// What the importer writes out for other backends: slices taken apart, weighted and put together.
#[test]
fn slices_numbers_and_constants_are_their_definition() {
    let mut builder = Builder::new(3, [4, 6, 5]);
    let first = builder.convolve(Value::Image, 20, [[1, 3, 3], [1, 1, 1], [0, 1, 1]]);
    let shape = builder.graph.shape(first);
    let plane = Shape { size: [1, 6, 5], ..shape };
    let values = builder.noise.some(20 * 30);
    builder.graph.constants.push(Fixed { shape: plane, values });
    let two = Shape { size: [2, 6, 5], ..shape };
    let even = builder.add(Work::Slices(vec![(0, 0), (0, 2)]), &[first], two);
    let odd = builder.add(Work::Slices(vec![(0, 1), (0, 3)]), &[first], two);
    let odd = builder.same(Work::CombineNumber(Sum::Multiply, -2.5), odd);
    let less = builder.add(Work::Combine(Sum::Subtract), &[even, odd], two);
    let less = builder.same(Work::NumberMinus(0.25), less);
    let slices = vec![(1, 0), (0, 1), (1, 0), (0, 0)];
    let back = builder.add(Work::Slices(slices), &[less, Value::Constant(0)], shape);
    let more = builder.add(Work::Combine(Sum::Add), &[back, Value::Constant(0)], shape);
    let more = builder.normalise(more);
    let joined = builder.join(&[more, first]);
    let leaked = builder.leak(joined, 1.5);
    let twice = builder.leak(leaked, -0.2);
    let scaled = builder.same(Work::CombineNumber(Sum::Multiply, 100.0), twice);
    builder.same(Work::Floor, scaled);
    // A floor jumps: nearly all must be equal, and none further than one step.
    let image = builder.image();
    let graph = builder.graph();
    let expected = oracle::run(&graph, &image);
    for level in Level::available() {
        let found = logits::<f32>(&graph, &image, level, 2);
        let apart = found.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs());
        let apart: Vec<f64> = apart.collect();
        assert!(apart.iter().all(|&d| d <= 1.0), "{level:?}");
        let unequal = apart.iter().filter(|&&d| d > 0.0).count();
        assert!(unequal * 1000 < apart.len(), "{level:?}: {unequal} of {}", apart.len());
    }
}

/// A NaN in the patch must reach the logits: whoever runs a network looks for it there.
#[test]
fn a_nan_is_not_lost() {
    let mut builder = Builder::new(2, [2, 8, 8]);
    let first = builder.block(Value::Image, 16, [[1, 3, 3], [1, 1, 1], [0, 1, 1]]);
    let second = builder.block(first, 16, [[3, 3, 3], [1, 1, 1], [1, 1, 1]]);
    builder.convolve(second, 3, [[1, 1, 1], [1, 1, 1], [0, 0, 0]]);
    let mut image = builder.image();
    image[77] = f32::NAN;
    let graph = builder.graph();
    for level in Level::available() {
        let found = logits::<f32>(&graph, &image, level, 1);
        assert!(found.iter().all(|value| value.is_nan()), "{level:?}");
    }
}

/// bf16 loses digits, not the picture.
#[test]
fn bf16_is_the_definition_to_two_digits() {
    let mut builder = Builder::new(3, [4, 12, 16]);
    let first = builder.block(Value::Image, 16, [[1, 3, 3], [1, 1, 1], [0, 1, 1]]);
    let down = builder.block(first, 40, [[3, 3, 3], [1, 2, 2], [1, 1, 1]]);
    let deep = builder.block(down, 40, [[3, 3, 3], [1, 1, 1], [1, 1, 1]]);
    let up = builder.spread(deep, 16, [[1, 2, 2], [1, 2, 2], [0, 0, 0]]);
    let joined = builder.join(&[up, first]);
    let last = builder.block(joined, 16, [[1, 3, 3], [1, 1, 1], [0, 1, 1]]);
    builder.convolve(last, 4, [[1, 1, 1], [1, 1, 1], [0, 0, 0]]);
    let image = builder.image();
    let graph = builder.graph();
    let expected = oracle::run(&graph, &image);
    for level in Level::available().filter(|level| level.has_bf16()) {
        let one = logits::<u16>(&graph, &image, level, 1);
        let found = error(&one, &expected);
        assert!((1e-4..0.1).contains(&found), "{found:e}");
        for threads in [2, 3, 8] {
            let more = logits::<u16>(&graph, &image, level, threads);
            assert!(one.iter().zip(&more).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads}");
        }
    }
}
