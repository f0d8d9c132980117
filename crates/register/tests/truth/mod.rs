//! Pairs with known truth: an image deformed by a smooth random field, enhanced otherwise, with
//! noise of its own. Shared by the tests and by `examples/accuracy.rs`.
#![allow(dead_code)]

use std::sync::Arc;

use hepalert_register::warp::trilinear;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::Array3;
use rayon::prelude::*;

/// Random numbers from a seed (SplitMix64): the cases are the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in `[lo, hi)`.
    pub(crate) fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Near a normal variate.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.uniform(-1.0, 1.0)).sum::<f64>() / 2.0_f64.sqrt()
    }
}

/// A cubic B-spline of random knots, in millimetres: vectors `[z, y, x]`.
pub(crate) struct Motion {
    knot_mm: f64,
    knots: [usize; 3],
    values: Vec<[f64; 3]>,
}

impl Motion {
    /// Over a box of `size_mm`, with displacements of at most `most_mm`.
    pub(crate) fn new(draw: &mut Draw, size_mm: [f64; 3], knot_mm: f64, most_mm: f64) -> Motion {
        let knots = size_mm.map(|size| (size / knot_mm).ceil() as usize + 4);
        let count = knots.iter().product::<usize>();
        let values = (0..count).map(|_| [0; 3].map(|_| draw.normal())).collect();
        let mut motion = Motion { knot_mm, knots, values };
        let steps = size_mm.map(|size| (size / 6.0) as usize + 1);
        let mut most = 0.0_f64;
        for at in 0..steps.iter().product::<usize>() {
            let p = [at / (steps[1] * steps[2]), at / steps[2] % steps[1], at % steps[2]];
            let v = motion.at(p.map(|i| i as f64 * 6.0));
            most = most.max(v.iter().map(|c| c * c).sum::<f64>().sqrt());
        }
        for value in &mut motion.values {
            value.iter_mut().for_each(|c| *c *= most_mm / most);
        }
        motion
    }

    /// The displacement at a place.
    pub(crate) fn at(&self, p_mm: [f64; 3]) -> [f64; 3] {
        let taps = [0, 1, 2].map(|axis| {
            let last = (self.knots[axis] - 4) as f64;
            let at = (p_mm[axis] / self.knot_mm).clamp(0.0, last + 0.999);
            let (t, s) = (at.fract(), 1.0 - at.fract());
            let weights = [
                s * s * s / 6.0,
                (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
                t * t * t / 6.0,
            ];
            (at as usize, weights)
        });
        let mut sum = [0.0; 3];
        for (z, wz) in taps[0].1.iter().enumerate() {
            for (y, wy) in taps[1].1.iter().enumerate() {
                for (x, wx) in taps[2].1.iter().enumerate() {
                    let [kz, ky, kx] = [taps[0].0 + z, taps[1].0 + y, taps[2].0 + x];
                    let knot = self.values[(kz * self.knots[1] + ky) * self.knots[2] + kx];
                    (0..3).for_each(|c| sum[c] += wz * wy * wx * knot[c]);
                }
            }
        }
        sum
    }

    /// The `u` with `q = p + u` and `p = q + v(q)`: where the deformed image shows what the
    /// original has at `p`.
    pub(crate) fn inverse_at(&self, p: [f64; 3]) -> [f64; 3] {
        let mut u = [0.0; 3];
        for _ in 0..40 {
            u = self.at([0, 1, 2].map(|c| p[c] + u[c])).map(|v| -v);
        }
        u
    }
}

/// A scan to deform, and where its liver is.
pub(crate) struct Source {
    /// Hounsfield units.
    pub volume: Volume<f32>,
    /// The liver.
    pub liver: Array3<bool>,
}

impl Source {
    fn size_mm(&self) -> [f64; 3] {
        let (shape, spacing) = (self.volume.grid().shape(), self.volume.grid().spacing_mm());
        [0, 1, 2].map(|a| (shape[a] - 1) as f64 * spacing[a])
    }

    fn at(&self, p_mm: [f64; 3]) -> f32 {
        let spacing = self.volume.grid().spacing_mm();
        trilinear(self.volume.voxels(), [0, 1, 2].map(|a| p_mm[a] / spacing[a]))
    }
}

/// What contrast makes of Hounsfield units, as a table of (before, after).
pub(crate) type Contrast = &'static [(f32, f32)];
/// As it was scanned.
pub(crate) const VENOUS: Contrast = &[];
/// Less of everything.
pub(crate) const DELAYED: Contrast =
    &[(-30.0, -30.0), (20.0, 20.0), (70.0, 65.0), (110.0, 92.0), (170.0, 125.0), (900.0, 855.0)];
/// Bright vessels, a dull liver.
pub(crate) const ARTERIAL: Contrast = &[
    (-30.0, -30.0),
    (20.0, 20.0),
    (70.0, 60.0),
    (110.0, 70.0),
    (140.0, 110.0),
    (170.0, 230.0),
    (300.0, 380.0),
    (900.0, 900.0),
];
/// No contrast: vessels darker than the liver, the liver nearly without texture.
pub(crate) const NATIVE: Contrast = &[
    (-30.0, -30.0),
    (20.0, 18.0),
    (70.0, 50.0),
    (110.0, 60.0),
    (150.0, 44.0),
    (250.0, 60.0),
    (500.0, 300.0),
    (900.0, 800.0),
];

/// How a pair is made.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Voxels of both images; the fixed image's slices and the moving one's.
    pub in_plane_mm: f64,
    /// Slices of the fixed image.
    pub fixed_slice_mm: f64,
    /// Slices of the moving image.
    pub moving_slice_mm: f64,
    /// Longest displacement.
    pub most_mm: f64,
    /// Between the knots of the motion.
    pub knot_mm: f64,
    /// What the moving phase looks like.
    pub contrast: Contrast,
    /// Deviation of the noise that each image gets of its own.
    pub noise_hu: f64,
}

/// The phases a moving image may be of, and what they are called.
pub(crate) const CONTRASTS: [(&str, Contrast); 3] =
    [("delayed", DELAYED), ("arterial", ARTERIAL), ("native", NATIVE)];

/// A random case: any motion, contrast, noise and thickness of slices a site may have.
pub(crate) struct Drawn {
    /// Which of the scans to deform.
    pub source: usize,
    /// What the moving phase is called.
    pub phase: &'static str,
    /// How the pair is made.
    pub how: How,
}

impl Drawn {
    /// The case of a seed; `slices_mm` are those of the moving image.
    pub(crate) fn new(seed: u64, sources: usize, slices_mm: &[f64]) -> Drawn {
        let mut draw = Draw::new(seed);
        let mut below = |n: usize| (draw.bits() % n as u64) as usize;
        let (source, slice_mm) = (below(sources), slices_mm[below(slices_mm.len())]);
        let (phase, contrast) = CONTRASTS[below(CONTRASTS.len())];
        let how = How {
            in_plane_mm: if slice_mm <= 3.0 { slice_mm } else { 1.5 },
            fixed_slice_mm: slice_mm.min(5.0),
            moving_slice_mm: slice_mm,
            most_mm: draw.uniform(4.0, 20.0),
            knot_mm: draw.uniform(50.0, 80.0),
            contrast,
            noise_hu: draw.uniform(4.0, 12.0),
        };
        Drawn { source, phase, how }
    }
}

/// Two images of which it is known where every point went.
pub(crate) struct Pair {
    /// As it was.
    pub fixed: Volume<f32>,
    /// Deformed, enhanced otherwise.
    pub moving: Volume<f32>,
    motion: Motion,
    points: Vec<[f64; 3]>,
}

impl Pair {
    /// The pair of a seed.
    pub(crate) fn new(source: &Source, how: &How, seed: u64) -> Pair {
        let mut draw = Draw::new(seed);
        let motion = Motion::new(&mut draw, source.size_mm(), how.knot_mm, how.most_mm);
        let spacing = |slice: f64| [slice, how.in_plane_mm, how.in_plane_mm];
        let scan = |spacing_mm, motion: Option<&Motion>, contrast, seed| {
            let how = Scan { spacing_mm, motion, contrast, noise_hu: how.noise_hu, seed };
            Volume::new(
                Arc::new(Grid::axial(how.shape(source), spacing_mm, ORIGIN)),
                how.of(source),
            )
        };
        let fixed = scan(spacing(how.fixed_slice_mm), None, VENOUS, 2 * seed + 1_000);
        let moving =
            scan(spacing(how.moving_slice_mm), Some(&motion), how.contrast, 2 * seed + 1_001);
        let mut pair = Pair { fixed, moving, motion, points: liver_points(source) };
        pair.keep_what_both_show(source.size_mm());
        pair
    }

    /// Nobody can say where a point lies that has left the moving image.
    fn keep_what_both_show(&mut self, size_mm: [f64; 3]) {
        let shown = |p: &[f64; 3]| {
            let u = self.motion.inverse_at(*p);
            (0..3).all(|c| (0.0..=size_mm[c]).contains(&(p[c] + u[c])))
        };
        let points = std::mem::take(&mut self.points);
        self.points = points.into_iter().filter(shown).collect();
    }

    /// Points of the liver and where they went, `[x, y, z]` in mm RAS.
    pub(crate) fn truth(&self) -> impl Iterator<Item = ([f64; 3], [f64; 3])> {
        // Grid::axial runs along RAS, so x, y, z of a point are its axes backwards.
        let ras = |p: [f64; 3]| [0, 1, 2].map(|c| p[2 - c] + ORIGIN[c]);
        self.points.iter().map(move |p| {
            let u = self.motion.inverse_at(*p);
            (ras(*p), ras([0, 1, 2].map(|c| p[c] + u[c])))
        })
    }

    /// How far the points of the liver are from where they are said to be, in mm; sorted.
    pub(crate) fn errors_mm(&self, to: impl Fn([f64; 3]) -> [f64; 3]) -> Vec<f64> {
        let error = |(at, truth): ([f64; 3], [f64; 3])| {
            let q = to(at);
            (0..3).map(|c| (q[c] - truth[c]).powi(2)).sum::<f64>().sqrt()
        };
        let mut errors: Vec<f64> = self.truth().map(error).collect();
        errors.sort_by(f64::total_cmp);
        errors
    }
}

const ORIGIN: [f64; 3] = [-150.0, -120.0, 40.0];

/// Mean of some numbers.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// About two thousand points of the liver, `[z, y, x]` in mm from the first voxel.
fn liver_points(source: &Source) -> Vec<[f64; 3]> {
    let spacing = source.volume.grid().spacing_mm();
    let voxels = source.liver.iter().filter(|on| **on).count();
    let every = (voxels / 2_000).max(1);
    let inside = source.liver.indexed_iter().filter(|(_, on)| **on).step_by(every);
    inside
        .map(|((z, y, x), _)| [z as f64 * spacing[0], y as f64 * spacing[1], x as f64 * spacing[2]])
        .collect()
}

struct Scan<'a> {
    spacing_mm: [f64; 3],
    motion: Option<&'a Motion>,
    contrast: Contrast,
    noise_hu: f64,
    seed: u64,
}

impl Scan<'_> {
    fn shape(&self, source: &Source) -> [usize; 3] {
        [0, 1, 2].map(|a| (source.size_mm()[a] / self.spacing_mm[a]) as usize + 1)
    }

    /// A voxel is the mean over its width and thickness.
    fn of(&self, source: &Source) -> Array3<f32> {
        let spacing = source.volume.grid().spacing_mm();
        let parts =
            [0, 1, 2].map(|a| ((self.spacing_mm[a] / spacing[a]).round() as usize).clamp(1, 5));
        let mut out = Array3::<f32>::zeros(self.shape(source));
        out.outer_iter_mut().into_par_iter().enumerate().for_each(|(z, mut plane)| {
            let mut draw = Draw::new(self.seed ^ (z as u64) << 32);
            for ((y, x), out) in plane.indexed_iter_mut() {
                let middle = [0, 1, 2].map(|a| [z, y, x][a] as f64 * self.spacing_mm[a]);
                let v = self.motion.map_or([0.0; 3], |motion| motion.at(middle));
                let mut sum = 0.0;
                for part in 0..parts.iter().product::<usize>() {
                    let i =
                        [part / (parts[1] * parts[2]), part / parts[2] % parts[1], part % parts[2]];
                    let within = |a: usize| (i[a] as f64 + 0.5) / parts[a] as f64 - 0.5;
                    let q = [0, 1, 2].map(|a| middle[a] + within(a) * self.spacing_mm[a] + v[a]);
                    sum += enhanced(source.at(q), self.contrast);
                }
                let mean = sum / parts.iter().product::<usize>() as f32;
                *out = mean + (self.noise_hu * draw.normal()) as f32;
            }
        });
        out
    }
}

fn enhanced(hu: f32, table: Contrast) -> f32 {
    let Some(next) = table.iter().position(|(from, _)| *from > hu) else {
        return table.last().map_or(hu, |(from, to)| hu - from + to);
    };
    let Some(before) = next.checked_sub(1) else { return hu };
    let ((a, b), (c, d)) = (table[before], table[next]);
    b + (d - b) * (hu - a) / (c - a)
}
