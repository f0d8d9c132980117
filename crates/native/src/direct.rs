//! Convolution and transposed convolution as they are defined, for any kernel and stride.
//!
//! One task computes some rows of one slice, all channels of them. It packs the input rows that
//! they read, once, with what is still to be done to them and zeros around; then every output is
//! a sum over slices of the kernel, blocks of input channels, rows, columns and channels, in this
//! order. Slices of the kernel that lie outside the volume are left out; they would add zeros.

use crate::axis::Axis;
use crate::element::{Chunk, Element, LANES};
use crate::graph::Filter;
use crate::level::{Level, Width};
use crate::micro::{Product, Step, Weigh, at_width, next_pixels};
use crate::norm::RowSums;
use crate::volume::{Band, Comb, Source, blocks, pack_row};

/// What a core keeps in its second cache beside weights that stream through.
const PACKED_BYTES: usize = 384 << 10;
/// More rows bring nothing, and looking for them takes time.
const MAX_ROWS: usize = 64;
/// Bands of a layer at least, if it has as many rows: enough for both cores to end together.
const FEWEST_BANDS: usize = 16;

/// A convolution that is ready to run.
#[derive(Debug)]
pub(crate) struct Direct<P: Product> {
    axes: [Axis; 3],
    comb: Comb,
    /// Channels of each block of the input.
    inputs: Vec<usize>,
    /// Rows that a task computes.
    pub(crate) rows: usize,
    /// Input rows that a task packs at most.
    packed_rows: usize,
    /// By phases of `[z, y, x]`.
    variants: Vec<Variant<P>>,
    groups: Vec<Group>,
    size: [usize; 3],
}

/// One combination of phases.
#[derive(Debug)]
struct Variant<P: Product> {
    /// Of all slices of the kernel, slice by slice.
    steps: Vec<Step>,
    steps_per_slice: usize,
    /// For each group, slice by slice.
    weights: Vec<Vec<P::Weight>>,
}

/// Output blocks that are computed together.
#[derive(Debug, Clone)]
struct Group {
    first: usize,
    count: usize,
    bias: Vec<Chunk>,
}

impl<P: Weigh> Direct<P> {
    /// Plans `filter` for inputs of some `parts` channels and volumes of `from` to `size` voxels.
    pub(crate) fn new(
        filter: &Filter,
        transposed: bool,
        parts: &[usize],
        from: [usize; 3],
        size: [usize; 3],
        level: Level,
    ) -> Direct<P> {
        let axes: [Axis; 3] = std::array::from_fn(|axis| {
            let make = if transposed { Axis::transposed } else { Axis::convolution };
            make(filter.kernel[axis], filter.stride[axis], filter.before[axis])
        });
        let inputs: Vec<usize> = parts.iter().flat_map(|&channels| block_sizes(channels)).collect();
        let comb = comb(&axes[2], from[2], size[2]);
        let planes = axes[0].most_taps();
        let pixel_bytes = inputs.len() * planes * comb.pixels() * size_of::<P::Pixel>();
        let packed = |rows| most_rows(&axes[1], size[1], rows);
        let every = axes[1].phases.len();
        let fits = |rows: usize| {
            packed(rows) * pixel_bytes <= PACKED_BYTES
                && size[0] * size[1].div_ceil(rows) >= FEWEST_BANDS.min(size[0] * size[1])
        };
        let most = size[1].min(MAX_ROWS).div_ceil(every);
        let rows = (1..=most).map(|n| n * every).take_while(|&n| fits(n)).last();
        let rows = rows.unwrap_or(every);
        let mut made = Direct {
            packed_rows: packed(rows),
            axes,
            comb,
            inputs,
            rows,
            variants: Vec::new(),
            groups: groups(filter, level),
            size,
        };
        made.variants = made.weigh(filter, parts);
        made
    }

    fn weigh(&self, filter: &Filter, parts: &[usize]) -> Vec<Variant<P>> {
        let starts = block_starts(parts);
        let mut variants = Vec::new();
        let [zs, ys, xs] = &self.axes;
        for z in &zs.phases {
            for y in &ys.phases {
                for (phase, x) in xs.phases.iter().enumerate() {
                    let mut variant = Variant {
                        steps: Vec::new(),
                        steps_per_slice: self.inputs.len() * y.taps.len() * x.taps.len(),
                        weights: vec![Vec::new(); self.groups.len()],
                    };
                    for (dz, &tz) in z.taps.iter().enumerate() {
                        for (block, &channels) in self.inputs.iter().enumerate() {
                            for (dy, &ty) in y.taps.iter().enumerate() {
                                for (dx, &tx) in x.taps.iter().enumerate() {
                                    let at = self.place(block, dz, dy, phase, dx);
                                    variant.steps.push(Step { at, channels });
                                    self.weigh_step(
                                        filter,
                                        [tz, ty, tx],
                                        starts[block],
                                        channels,
                                        &mut variant,
                                    );
                                }
                            }
                        }
                    }
                    variants.push(variant);
                }
            }
        }
        variants
    }

    fn weigh_step(
        &self,
        filter: &Filter,
        tap: [usize; 3],
        start: usize,
        channels: usize,
        variant: &mut Variant<P>,
    ) {
        for (group, into) in self.groups.iter().zip(&mut variant.weights) {
            let weight = |channel: usize, output: usize| {
                let output = group.first * LANES + output;
                match output < filter.outputs && channel < channels {
                    true => filter.at(output, start + channel, tap),
                    false => 0.0,
                }
            };
            P::weigh(channels, group.count, weight, into);
        }
    }

    /// Where the first pixel of a step lies in what is packed.
    fn place(&self, block: usize, dz: usize, dy: usize, phase: usize, dx: usize) -> usize {
        let base = self.axes[2].phases[phase].base + self.comb.skip.cast_signed();
        let Ok(base) = usize::try_from(base) else { unreachable!("zeros cover the kernel") };
        let row = (block * self.axes[0].most_taps() + dz) * self.packed_rows + dy;
        row * self.comb.pixels() + self.comb.place(base + dx)
    }

    /// Pixels that a worker needs room for.
    pub(crate) fn room(&self) -> usize {
        self.inputs.len() * self.axes[0].most_taps() * self.packed_rows * self.comb.pixels()
    }

    /// Computes one band.
    #[inline(always)]
    pub(crate) fn band<S: Width, T: Element>(
        &self,
        simd: S,
        sources: &[Source<'_, T>],
        band: Band<'_, T>,
        packed: &mut [P::Pixel],
    ) {
        self.pack(simd, sources, &band, packed);
        let slices = self.slices(sources, band.z);
        let (low, _) = self.axes[1].span(band.y..band.y + band.rows);
        let out_blocks = self.groups.iter().map(|group| group.count).sum::<usize>();
        let row_chunks = self.size[2] * out_blocks;
        for (at, group) in self.groups.iter().enumerate() {
            for row in 0..band.rows {
                let y = band.y + row;
                let from = (self.axes[1].first(y) - low).cast_unsigned() * self.comb.pixels();
                let mut line = Line {
                    input: &packed[from..],
                    out: &mut band.out[row * row_chunks..(row + 1) * row_chunks],
                    out_blocks,
                    group,
                    normalised: !band.moments.is_empty(),
                    moments: band
                        .moments
                        .get_mut(group.first..group.first + group.count)
                        .unwrap_or_default(),
                };
                self.line(simd, &mut line, at, [band.z, y], slices.clone());
            }
        }
    }

    /// Slices of the kernel that lie within the volume.
    fn slices<T>(&self, sources: &[Source<'_, T>], z: usize) -> std::ops::Range<usize> {
        let depth = sources.first().map_or(0, |source| source.size()[0]);
        self.axes[0].within(z, depth)
    }

    #[inline(always)]
    fn pack<S: Width, T: Element>(
        &self,
        simd: S,
        sources: &[Source<'_, T>],
        band: &Band<'_, T>,
        packed: &mut [P::Pixel],
    ) {
        let (low, high) = self.axes[1].span(band.y..band.y + band.rows);
        let (rows, pixels) = ((high - low).cast_unsigned(), self.comb.pixels());
        let (first, planes) = (self.axes[0].first(band.z), self.axes[0].most_taps());
        let mut block = 0;
        for source in sources {
            for own in 0..blocks(source.channels()) {
                for dz in self.slices(sources, band.z) {
                    let from = (block * planes + dz) * self.packed_rows * pixels;
                    let to = packed[from..from + rows * pixels].chunks_exact_mut(pixels);
                    for (dy, to) in to.enumerate() {
                        let at = [first + dz.cast_signed(), low + dy.cast_signed()];
                        simd.vectorize(
                            #[inline(always)]
                            || {
                                pack_row(simd, source, own, at, self.comb, to, P::pack);
                            },
                        );
                    }
                }
                block += 1;
            }
        }
    }

    /// All pixels of one row and one group.
    #[inline(always)]
    fn line<S: Width, T: Element>(
        &self,
        simd: S,
        line: &mut Line<'_, T, P>,
        group: usize,
        [z, y]: [usize; 2],
        slices: std::ops::Range<usize>,
    ) {
        let [zs, ys, xs] = [0, 1, 2].map(|axis| self.axes[axis].phases.len());
        for phase in 0..xs.min(self.size[2]) {
            let variant = &self.variants[((z % zs) * ys + y % ys) * xs + phase];
            let steps =
                slices.start * variant.steps_per_slice..slices.end * variant.steps_per_slice;
            let rows = |steps: &[Step]| steps.iter().map(|&step| P::rows(step)).sum::<usize>();
            let skipped = rows(&variant.steps[..steps.start]) * line.group.count;
            let count = (self.size[2] - phase).div_ceil(xs);
            let pixels = Pixels {
                steps: &variant.steps[steps],
                weights: &variant.weights[group][skipped..],
                count,
                phase,
                every: xs,
            };
            match line.group.count {
                1 => pixels.compute::<S, T, 1>(simd, line),
                2 if S::BLOCKS >= 2 => pixels.compute::<S, T, 2>(simd, line),
                _ => unreachable!("groups are made for the level"),
            }
        }
    }
}

/// One row of output and where its input begins.
struct Line<'a, T, P: Product> {
    input: &'a [P::Pixel],
    out: &'a mut [[T; LANES]],
    out_blocks: usize,
    group: &'a Group,
    normalised: bool,
    moments: &'a mut [crate::norm::Moments],
}

/// Every pixel of a row of one phase.
struct Pixels<'a, P: Product> {
    steps: &'a [Step],
    weights: &'a [P::Weight],
    count: usize,
    phase: usize,
    every: usize,
}

impl<P: Product> Pixels<'_, P> {
    #[inline(always)]
    fn compute<S: Width, T: Element, const O: usize>(&self, simd: S, line: &mut Line<'_, T, P>) {
        let mut tally = [RowSums::empty(simd); O];
        let mut done = 0;
        while done < self.count {
            let (start, width, known) = next_pixels(self.count, done, S::PIXELS / O);
            at_width!(S, O, width, PIXELS => {
                simd.vectorize(#[inline(always)] || {
                    self.some::<S, T, PIXELS, O>(simd, line, &mut tally, start, known);
                });
            });
            done = start + width;
        }
        if line.normalised {
            for o in 0..O {
                tally[o].end(&mut line.moments[o], self.count);
            }
        }
    }

    /// Pixels from `start` on, of which `known` are computed already.
    #[inline(always)]
    fn some<S: Width, T: Element, const N: usize, const O: usize>(
        &self,
        simd: S,
        line: &mut Line<'_, T, P>,
        tally: &mut [RowSums<S>; O],
        start: usize,
        known: usize,
    ) {
        let mut sums = P::sums::<S, N, O>(simd, self.steps, self.weights, &line.input[start..]);
        for o in 0..O {
            let bias = f32::get(simd, &line.group.bias[o]);
            for n in 0..N {
                sums[n][o] += bias;
            }
        }
        if line.normalised {
            for o in 0..O {
                if start + known == 0 {
                    tally[o] = RowSums::begin(simd, &mut line.moments[o], sums[0][o]);
                }
                for n in 0..N {
                    if n >= known {
                        tally[o].add(sums[n][o]);
                    }
                }
            }
        }
        for n in 0..N {
            let pixel = (start + n) * self.every + self.phase;
            let at = pixel * line.out_blocks + line.group.first;
            for (o, to) in line.out[at..at + O].iter_mut().enumerate() {
                T::put(sums[n][o], to);
            }
        }
    }
}

/// Channels of each block of a value.
pub(crate) fn block_sizes(channels: usize) -> impl Iterator<Item = usize> {
    (0..blocks(channels)).map(move |block| (channels - block * LANES).min(LANES))
}

/// The first channel of each block of joined values.
pub(crate) fn block_starts(parts: &[usize]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut before = 0;
    for &channels in parts {
        starts.extend((0..blocks(channels)).map(|block| before + block * LANES));
        before += channels;
    }
    starts
}

fn groups(filter: &Filter, level: Level) -> Vec<Group> {
    let count = blocks(filter.outputs);
    let bias = |block: usize| -> Chunk {
        let bias = |lane: usize| filter.bias.get(block * LANES + lane).copied().unwrap_or_default();
        std::array::from_fn(bias)
    };
    (0..count)
        .step_by(level.blocks())
        .map(|first| {
            let count = level.blocks().min(count - first);
            Group { first, count, bias: (first..first + count).map(bias).collect() }
        })
        .collect()
}

/// Most input rows that bands of some rows read.
fn most_rows(axis: &Axis, height: usize, rows: usize) -> usize {
    let starts = (0..height).step_by(rows);
    let spans = starts.map(|y| axis.span(y..(y + rows).min(height)));
    spans.map(|(low, high)| (high - low).cast_unsigned()).max().unwrap_or_default()
}

/// Zeros before and after a row so that every tap of every output finds a pixel.
fn comb(axis: &Axis, from: usize, to: usize) -> Comb {
    let (low, high) = axis.span(0..to);
    // A phase may begin before what its outputs read, where it has none.
    let low = axis.phases.iter().map(|phase| phase.base).fold(low, isize::min);
    let skip = usize::try_from(-low).unwrap_or_default();
    let last = (high.max(from.cast_signed())).cast_unsigned() + skip;
    Comb { skip, stride: axis.stride, length: last.div_ceil(axis.stride) }
}
