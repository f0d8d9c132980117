//! Round things of even density in fat: vessels across their course, kidneys.

use ndarray::ArrayView2;

use super::coarse::Coarse;
use super::track::Candidate;

/// Where in a slice to look, in millimetres from the spine: back to front (`-y`), and
/// towards the patient's left (`x`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Towards the front, from and to.
    pub front_mm: [f64; 2],
    /// Towards the left, from and to.
    pub left_mm: [f64; 2],
}

/// A disc and the ring around it, as offsets in voxels.
#[derive(Debug)]
pub(crate) struct Disc {
    inner: Vec<[isize; 2]>,
    ring: Vec<[isize; 2]>,
}

/// What is asked of a disc.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// Weight of evenness inside.
    pub even: f32,
    /// Least HU of the middle.
    pub least_hu: f32,
    /// Most HU of the middle.
    pub most_hu: f32,
    /// What is darker than this around it does not count: a kidney lies in fat, not in lung.
    pub darkest_hu: f32,
}

impl Disc {
    /// A disc of this radius; its inside stops short of the border, its ring begins beyond.
    pub(crate) fn of(radius_mm: f64, step_mm: [f64; 3]) -> Disc {
        let [_, dy, dx] = step_mm;
        let reach = ((radius_mm + 8.0) / dy.min(dx)).ceil() as isize;
        let (mut inner, mut ring) = (Vec::new(), Vec::new());
        for v in -reach..=reach {
            for u in -reach..=reach {
                let far = (v as f64 * dy).hypot(u as f64 * dx);
                if far <= radius_mm - 0.8 {
                    inner.push([v, u]);
                } else if far > radius_mm + 1.8 && far <= radius_mm + 5.5 {
                    ring.push([v, u]);
                }
            }
        }
        Disc { inner, ring }
    }

    /// The inside's values, sorted; `None` at the border of the slice.
    pub(crate) fn inside(
        &self,
        slice: &ArrayView2<'_, f32>,
        y: usize,
        x: usize,
    ) -> Option<Vec<f32>> {
        let mut values = read(slice, y, x, &self.inner)?;
        values.sort_unstable_by(f32::total_cmp);
        Some(values)
    }

    /// How much the place looks like a round thing.
    fn score(&self, slice: &ArrayView2<'_, f32>, y: usize, x: usize, ask: Ask) -> Option<[f32; 2]> {
        let centre = slice[[y, x]];
        if centre < ask.least_hu || centre > ask.most_hu {
            return None;
        }
        let inside = self.inside(slice, y, x)?;
        let middle = inside[inside.len() / 2];
        if middle < ask.least_hu || middle > ask.most_hu {
            return None;
        }
        let ring = read(slice, y, x, &self.ring)?;
        let step = 22.0_f32.max(0.15 * middle);
        let is_darker = |v: &&f32| **v < middle - step && **v > ask.darkest_hu;
        let darker = ring.iter().filter(is_darker).count() as f32 / ring.len() as f32;
        let band = 16.0_f32.max(0.12 * middle);
        let even = inside.iter().filter(|v| (**v - middle).abs() < band).count() as f32
            / inside.len() as f32;
        Some([darker + ask.even * even, middle])
    }
}

fn read(
    slice: &ArrayView2<'_, f32>,
    y: usize,
    x: usize,
    offsets: &[[isize; 2]],
) -> Option<Vec<f32>> {
    offsets
        .iter()
        .map(|[v, u]| {
            let (y, x) = (y.checked_add_signed(*v)?, x.checked_add_signed(*u)?);
            slice.get([y, x]).copied()
        })
        .collect()
}

/// All candidates of a slice, the best radius at every place.
pub(crate) fn candidates(
    coarse: &Coarse,
    z: usize,
    spine: [f64; 2],
    window: Window,
    discs: &[Disc],
    ask: Ask,
) -> Vec<Candidate> {
    let slice = coarse.hu.index_axis(ndarray::Axis(0), z);
    let [_, dy, dx] = coarse.step_mm;
    let rows = [spine[0] - window.front_mm[1] / dy, spine[0] - window.front_mm[0] / dy];
    let columns = [spine[1] + window.left_mm[0] / dx, spine[1] + window.left_mm[1] / dx];
    let mut found = Vec::new();
    let (ny, nx) = slice.dim();
    for y in rows[0].max(0.0) as usize..=(rows[1].max(0.0) as usize).min(ny.saturating_sub(1)) {
        for x in
            columns[0].max(0.0) as usize..=(columns[1].max(0.0) as usize).min(nx.saturating_sub(1))
        {
            let scored = discs.iter().enumerate().filter_map(|(size, disc)| {
                let [score, value] = disc.score(&slice, y, x, ask)?;
                Some(Candidate { y, x, size, score, value })
            });
            found.extend(scored.max_by(|a, b| a.score.total_cmp(&b.score)));
        }
    }
    found
}
