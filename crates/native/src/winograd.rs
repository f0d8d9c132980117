//! Winograd's minimal filtering within slices, F(4 x 4, 3 x 3): a quarter of the products.
//!
//! For kernels `k x 3 x 3`, stride 1, padding 1 (A. Lavin and S. Gray, arXiv 1509.09308; points
//! 0, 1, -1, 2, -2, infinity). Every 6 x 6 inputs give 36 numbers, each of those is a convolution
//! across slices and channels alone, and 36 of its sums give 4 x 4 outputs. Nothing is left out:
//! what changes is rounding. Its error is about ten times that of the plain sum (measured in
//! `tests`, against f64), far below what normalisation and training leave.
//!
//! Order of summation, for each of the 36: slices of the kernel, blocks of input channels,
//! channels; then the sums of the 36, columns first.

use fearless_simd::{f32x16, prelude::*};

use crate::axis::Axis;
use crate::direct::{block_sizes, block_starts};
use crate::element::{Chunk, Element, LANES};
use crate::graph::Filter;
use crate::level::{Level, Width};
use crate::micro::{Product, Single, Step, at_width, next_pixels};
use crate::norm::RowSums;
use crate::volume::{Band, Comb, Source, blocks, pack_row};

/// Numbers per tile.
pub(crate) const POINTS: usize = 36;
/// Inputs, and outputs, along one axis of a tile.
const INS: usize = 6;
pub(crate) const OUTS: usize = 4;

const FILTER: [[f64; 3]; INS] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A convolution that is ready to run.
#[derive(Debug)]
pub(crate) struct Winograd {
    /// Across slices.
    pub(crate) axis: Axis,
    inputs: Vec<usize>,
    pub(crate) groups: Vec<(usize, usize)>,
    /// `[point][group]`: slices, blocks, channels.
    weights: Vec<Vec<Vec<Chunk>>>,
    bias: Vec<Chunk>,
    pub(crate) size: [usize; 3],
}

/// Whether this way fits a convolution.
pub(crate) fn fits(filter: &Filter, transposed: bool) -> bool {
    let plane = |sizes: [usize; 3]| [sizes[1], sizes[2]];
    !transposed
        && plane(filter.kernel) == [3; 2]
        && plane(filter.stride) == [1; 2]
        && plane(filter.before) == [1; 2]
        && plane(filter.after) == [1; 2]
}

impl Winograd {
    pub(crate) fn new(
        filter: &Filter,
        parts: &[usize],
        size: [usize; 3],
        level: Level,
    ) -> Winograd {
        let inputs: Vec<usize> = parts.iter().flat_map(|&channels| block_sizes(channels)).collect();
        let count = blocks(filter.outputs);
        let groups: Vec<(usize, usize)> = (0..count)
            .step_by(level.blocks())
            .map(|first| (first, level.blocks().min(count - first)))
            .collect();
        let bias = |at: usize| filter.bias.get(at).copied().unwrap_or_default();
        let mut made = Winograd {
            axis: Axis::convolution(filter.kernel[0], filter.stride[0], filter.before[0]),
            inputs,
            groups,
            weights: Vec::new(),
            bias: (0..count).map(|b| std::array::from_fn(|l| bias(b * LANES + l))).collect(),
            size,
        };
        made.weights = (0..POINTS).map(|point| made.weigh(filter, parts, point)).collect();
        made
    }

    fn weigh(&self, filter: &Filter, parts: &[usize], point: usize) -> Vec<Vec<Chunk>> {
        let starts = block_starts(parts);
        let (row, column) = (FILTER[point / INS], FILTER[point % INS]);
        let weight = |output: usize, input: usize, z: usize| {
            if output >= filter.outputs {
                return 0.0;
            }
            let mut sum = 0.0;
            for y in 0..3 {
                for x in 0..3 {
                    sum += row[y] * column[x] * f64::from(filter.at(output, input, [z, y, x]));
                }
            }
            sum as f32
        };
        let mut found = vec![Vec::new(); self.groups.len()];
        for (&(first, count), into) in self.groups.iter().zip(&mut found) {
            for z in 0..filter.kernel[0] {
                for (&start, &channels) in starts.iter().zip(&self.inputs) {
                    for input in start..start + channels {
                        for block in first..first + count {
                            let of = |lane: usize| weight(block * LANES + lane, input, z);
                            into.push(std::array::from_fn(of));
                        }
                    }
                }
            }
        }
        found
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        let chunks = self.weights.iter().flatten().map(Vec::len).sum::<usize>();
        chunks * size_of::<Chunk>()
    }

    pub(crate) fn out_blocks(&self) -> usize {
        self.bias.len()
    }

    fn across(&self) -> usize {
        self.size[2].div_ceil(OUTS)
    }

    /// Tiles in so many rows of outputs.
    pub(crate) fn tiles(&self, rows: usize) -> usize {
        rows.div_ceil(OUTS) * self.across()
    }

    /// Chunks of one transformed slice.
    pub(crate) fn plane(&self, tiles: usize) -> usize {
        POINTS * self.inputs.len() * tiles
    }

    /// Chunks that [`Winograd::transform`] needs beside it.
    pub(crate) fn row_room(&self) -> usize {
        2 * INS * (self.across() * OUTS + 2)
    }

    /// Steps of all slices of the kernel, for planes of some tiles.
    pub(crate) fn steps(&self, tiles: usize) -> Vec<Step> {
        let taps = self.axis.most_taps();
        let steps = (0..taps).flat_map(|z| {
            self.inputs.iter().enumerate().map(move |(block, &channels)| Step {
                at: z * self.plane(tiles) + block * tiles,
                channels,
            })
        });
        steps.collect()
    }

    /// Transforms slice `z` of the input, for outputs of `rows` rows from `y` on.
    #[inline(always)]
    pub(crate) fn transform<S: Width, T: Element>(
        &self,
        simd: S,
        sources: &[Source<'_, T>],
        [z, y, rows]: [usize; 3],
        room: &mut [Chunk],
        to: &mut [Chunk],
    ) {
        let (across, tiles) = (self.across(), self.tiles(rows));
        let width = across * OUTS + 2;
        let comb = Comb { skip: 1, stride: 1, length: width };
        let (packed, columns) = room[..2 * INS * width].split_at_mut(INS * width);
        let mut block = 0;
        for source in sources {
            for own in 0..blocks(source.channels()) {
                for tile_row in 0..rows.div_ceil(OUTS) {
                    let top = (y + tile_row * OUTS).cast_signed() - 1;
                    simd.vectorize(
                        #[inline(always)]
                        || {
                            for (dy, to) in packed.chunks_exact_mut(width).enumerate() {
                                let at = [z.cast_signed(), top + dy.cast_signed()];
                                pack_row(simd, source, own, at, comb, to, Single::pack);
                            }
                            down(simd, packed, columns, width);
                            let first = block * tiles + tile_row * across;
                            let step = self.inputs.len() * tiles;
                            along(simd, columns, width, &mut to[first..], across, step);
                        },
                    );
                }
                block += 1;
            }
        }
    }

    /// Sums of one point, group and output slice. `from` begins at the slice of the first tap.
    #[inline(always)]
    pub(crate) fn multiply<S: Width>(
        &self,
        simd: S,
        products: &Products<'_>,
        from: &[Chunk],
        to: &mut [Chunk],
    ) {
        let weights = &self.weights[products.point][products.group];
        let rows = weights.len() / self.axis.most_taps();
        let weights = &weights[products.taps.start * rows..products.taps.end * rows];
        let (_, count) = self.groups[products.group];
        match count {
            1 => products.compute::<S, 1>(simd, self.inputs.len(), weights, from, to),
            2 if S::BLOCKS >= 2 => {
                products.compute::<S, 2>(simd, self.inputs.len(), weights, from, to);
            }
            _ => unreachable!("groups are made for the level"),
        }
    }

    /// Outputs of one band from its sums: the tiles of a point and block lie at
    /// `point * step + block * stride + first`.
    #[inline(always)]
    pub(crate) fn gather<S: Width, T: Element>(
        &self,
        simd: S,
        sums: &[Chunk],
        [step, stride, first]: [usize; 3],
        mut band: Band<'_, T>,
    ) {
        for block in 0..self.out_blocks() {
            for tile_row in 0..band.rows.div_ceil(OUTS) {
                let sums = &sums[block * stride + first + tile_row * self.across()..];
                simd.vectorize(
                    #[inline(always)]
                    || self.gather_row(simd, sums, step, [block, tile_row], &mut band),
                );
            }
        }
    }

    /// One row of tiles of one block.
    #[inline(always)]
    fn gather_row<S: Width, T: Element>(
        &self,
        simd: S,
        sums: &[Chunk],
        step: usize,
        [block, tile_row]: [usize; 2],
        band: &mut Band<'_, T>,
    ) {
        let (width, out_blocks) = (self.size[2], self.out_blocks());
        let rows = OUTS.min(band.rows - tile_row * OUTS);
        let bias = f32::get(simd, &self.bias[block]);
        let mut tally = RowSums::empty(simd);
        for tile in 0..self.across() {
            let outs = output(simd, bias, &sums[tile..], step);
            if tile == 0
                && let Some(moments) = band.moments.get_mut(block)
            {
                tally = RowSums::begin(simd, moments, outs[0][0]);
            }
            let columns = OUTS.min(width - tile * OUTS);
            for dy in 0..OUTS {
                for dx in 0..OUTS {
                    if dy < rows && dx < columns {
                        tally.add(outs[dy][dx]);
                        let at = (tile_row * OUTS + dy) * width + tile * OUTS + dx;
                        T::put(outs[dy][dx], &mut band.out[at * out_blocks + block]);
                    }
                }
            }
        }
        if let Some(moments) = band.moments.get_mut(block) {
            tally.end(moments, rows * width);
        }
    }
}

/// Which sums are to be made.
#[derive(Debug, Clone)]
pub(crate) struct Products<'a> {
    /// Of all slices of the kernel.
    pub(crate) steps: &'a [Step],
    /// Slices of the kernel that lie within the volume.
    pub(crate) taps: std::ops::Range<usize>,
    pub(crate) point: usize,
    pub(crate) group: usize,
    pub(crate) tiles: usize,
    /// Chunks from one block of the result to the next.
    pub(crate) stride: usize,
}

impl Products<'_> {
    #[inline(always)]
    fn compute<S: Width, const O: usize>(
        &self,
        simd: S,
        blocks: usize,
        weights: &[Chunk],
        from: &[Chunk],
        to: &mut [Chunk],
    ) {
        let steps = &self.steps[..self.taps.len() * blocks];
        let mut done = 0;
        while done < self.tiles {
            let (start, width, _) = next_pixels(self.tiles, done, S::PIXELS / O);
            at_width!(S, O, width, PIXELS => {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let from = &from[start..];
                        let sums = Single::sums::<S, PIXELS, O>(simd, steps, weights, from);
                        for o in 0..O {
                            let to = &mut to[o * self.stride + start..][..PIXELS];
                            for p in 0..PIXELS {
                                sums[p][o].store_array(&mut to[p]);
                            }
                        }
                    },
                );
            });
            done = start + width;
        }
    }
}

/// Down every column of six rows.
#[inline(always)]
fn down<S: Width>(simd: S, from: &[Chunk], to: &mut [Chunk], width: usize) {
    for column in 0..width {
        let mut six = [f32x16::splat(simd, 0.0); INS];
        for row in 0..INS {
            six[row] = f32::get(simd, &from[row * width + column]);
        }
        let six = input(simd, six);
        for row in 0..INS {
            six[row].store_array(&mut to[row * width + column]);
        }
    }
}

/// Along every row of six, tile by tile; points lie `step` chunks apart.
#[inline(always)]
fn along<S: Width>(
    simd: S,
    from: &[Chunk],
    width: usize,
    to: &mut [Chunk],
    across: usize,
    step: usize,
) {
    for (row, from) in from.chunks_exact(width).enumerate() {
        for tile in 0..across {
            let Some(chunks) = from[tile * OUTS..].first_chunk::<INS>() else {
                unreachable!("rows are as long as their tiles")
            };
            let mut six = [f32x16::splat(simd, 0.0); INS];
            for column in 0..INS {
                six[column] = f32::get(simd, &chunks[column]);
            }
            let six = input(simd, six);
            for column in 0..INS {
                six[column].store_array(&mut to[(row * INS + column) * step + tile]);
            }
        }
    }
}

/// The input transform of one axis.
#[inline(always)]
fn input<S: Simd>(simd: S, d: [f32x16<S>; INS]) -> [f32x16<S>; INS] {
    let (two, four) = (f32x16::splat(simd, 2.0), f32x16::splat(simd, 4.0));
    let five = f32x16::splat(simd, 5.0);
    let (even, odd) = (d[4] - d[2] * four, d[3] - d[1] * four);
    let (wide, far) = (d[4] - d[2], (d[3] - d[1]) * two);
    [
        d[0].mul_add(four, d[4] - d[2] * five),
        even + odd,
        even - odd,
        wide + far,
        wide - far,
        d[1].mul_add(four, d[5] - d[3] * five),
    ]
}

/// The output transform of one axis.
#[inline(always)]
fn outputs<S: Simd>(simd: S, m: [f32x16<S>; INS]) -> [f32x16<S>; OUTS] {
    let (two, four) = (f32x16::splat(simd, 2.0), f32x16::splat(simd, 4.0));
    let eight = f32x16::splat(simd, 8.0);
    let (near, near_odd) = (m[1] + m[2], m[1] - m[2]);
    let (far, far_odd) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + near + far,
        far_odd.mul_add(two, near_odd),
        far.mul_add(four, near),
        far_odd.mul_add(eight, near_odd) + m[5],
    ]
}

/// All outputs of a tile, `[y][x]`, from sums that lie `step` chunks apart.
#[inline(always)]
fn output<S: Simd>(
    simd: S,
    bias: f32x16<S>,
    sums: &[Chunk],
    step: usize,
) -> [[f32x16<S>; OUTS]; OUTS] {
    let zero = f32x16::splat(simd, 0.0);
    let mut columns = [[zero; INS]; OUTS];
    for column in 0..INS {
        let mut six = [zero; INS];
        for row in 0..INS {
            six[row] = f32::get(simd, &sums[(row * INS + column) * step]);
        }
        let four = outputs(simd, six);
        for y in 0..OUTS {
            columns[y][column] = four[y];
        }
    }
    let mut made = [[zero; OUTS]; OUTS];
    for y in 0..OUTS {
        made[y] = outputs(simd, columns[y]);
        for x in 0..OUTS {
            made[y][x] += bias;
        }
    }
    made
}
