//! Aorta, inferior cava and kidneys: round things at known places beside the spine.

use super::coarse::Coarse;
use super::discs::{Ask, Disc, Window, candidates};
use super::spine::Frame;
use super::track::{Candidate, track};

/// Radii of an aorta, in mm; an aneurysm's blood is not wider than the last.
const AORTA_MM: [f64; 4] = [7.0, 9.0, 11.5, 14.5];
const CAVA_MM: [f64; 4] = [6.0, 8.0, 10.5, 13.0];
const KIDNEY_MM: [f64; 3] = [17.0, 22.0, 27.0];

/// A tube followed from slice to slice.
#[derive(Debug, Clone)]
pub(crate) struct Tube {
    /// One place per slice.
    pub path: Vec<Candidate>,
    /// HU per slice.
    pub hu: Vec<f32>,
    /// How round and even it is, 0 to 2.
    pub score: Vec<f32>,
}

/// The aorta: before the spine, a little to the left.
pub(crate) fn aorta(coarse: &Coarse, frame: &Frame) -> Option<Tube> {
    let window = Window { front_mm: [-4.0, 66.0], left_mm: [-14.0, 46.0] };
    let ask = Ask { even: 1.0, least_hu: 15.0, most_hu: 700.0, darkest_hu: f32::MIN };
    tube(coarse, frame, window, &AORTA_MM, ask, |_, _| true)
}

/// The inferior cava: before the spine, to the right of the aorta.
pub(crate) fn cava(coarse: &Coarse, frame: &Frame, aorta: &Tube) -> Option<Tube> {
    let window = Window { front_mm: [2.0, 80.0], left_mm: [-58.0, 12.0] };
    let ask = Ask { even: 1.0, least_hu: 15.0, most_hu: 500.0, darkest_hu: f32::MIN };
    let [_, dy, dx] = coarse.step_mm;
    let apart = |z: usize, c: &Candidate| {
        let of = &aorta.path[z];
        let far = ((c.y as f64 - of.y as f64) * dy).hypot((c.x as f64 - of.x as f64) * dx);
        far > AORTA_MM[of.size] + CAVA_MM[c.size] + 1.0 && c.x < of.x
    };
    tube(coarse, frame, window, &CAVA_MM, ask, apart)
}

fn tube(
    coarse: &Coarse,
    frame: &Frame,
    window: Window,
    radii_mm: &[f64],
    ask: Ask,
    keep: impl Fn(usize, &Candidate) -> bool,
) -> Option<Tube> {
    let discs: Vec<Disc> = radii_mm.iter().map(|mm| Disc::of(*mm, coarse.step_mm)).collect();
    let slices: Vec<Vec<Candidate>> = (0..coarse.shape()[0])
        .map(|z| {
            let mut found = candidates(coarse, z, frame.spine[z], window, &discs, ask);
            found.retain(|c| c.score > 1.0 && keep(z, c));
            found
        })
        .collect();
    let path = track(&slices, 4.0, 1.0)?;
    let hu = path.iter().map(|c| c.value).collect();
    let score = path.iter().map(|c| c.score).collect();
    Some(Tube { path, hu, score })
}

/// One kidney.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Kidney {
    /// Slice of its middle.
    pub z: usize,
    /// Row of its centre.
    pub y: usize,
    /// Column of its centre.
    pub x: usize,
    /// Median of its inside.
    pub middle_hu: f32,
    /// What nine tenths of its inside stay below: cortex in the arterial phase.
    pub bright_hu: f32,
    /// The brightest: urine with contrast.
    pub brightest_hu: f32,
    /// How round it is, 0 to 1.
    pub score: f32,
}

/// Rows of a kidney in millimetres of height.
const KIDNEY_RUN_MM: f64 = 45.0;

/// The right and the left kidney, where they are in the scan; `highest` is a slice that they
/// do not reach above.
pub(crate) fn kidneys(
    coarse: &Coarse,
    frame: &Frame,
    aorta: &Tube,
    highest: usize,
) -> [Option<Kidney>; 2] {
    [[-100.0, -28.0], [28.0, 100.0]].map(|left_mm| kidney(coarse, frame, aorta, highest, left_mm))
}

fn kidney(
    coarse: &Coarse,
    frame: &Frame,
    aorta: &Tube,
    highest: usize,
    left_mm: [f64; 2],
) -> Option<Kidney> {
    let discs: Vec<Disc> = KIDNEY_MM.iter().map(|mm| Disc::of(*mm, coarse.step_mm)).collect();
    let window = Window { front_mm: [-40.0, 45.0], left_mm };
    let ask = Ask { even: 0.15, least_hu: -60.0, most_hu: 900.0, darkest_hu: -250.0 };
    let [_, dy, dx] = coarse.step_mm;
    let apart = |z: usize, c: &Candidate| {
        let of = &aorta.path[z];
        let far = ((c.y as f64 - of.y as f64) * dy).hypot((c.x as f64 - of.x as f64) * dx);
        far > AORTA_MM[of.size] + KIDNEY_MM[c.size] - 4.0
    };
    let best: Vec<Option<Candidate>> = (0..=highest.min(coarse.shape()[0] - 1))
        .map(|z| {
            let mut found = candidates(coarse, z, frame.spine[z], window, &discs, ask);
            found.retain(|c| c.value > 10.0 && frame.depth_mm[[z, c.y, c.x]] > 25.0 && apart(z, c));
            found.into_iter().max_by(|a, b| a.score.total_cmp(&b.score))
        })
        .collect();
    let run = ((KIDNEY_RUN_MM / coarse.step_mm[0]) as usize).clamp(3, best.len().max(3));
    let sum = |z: usize| -> f32 {
        let part = best.get(z..z + run).unwrap_or_default();
        part.iter().map(|c| c.map_or(0.0, |c| c.score)).sum()
    };
    let top = (0..best.len().saturating_sub(run - 1)).max_by(|a, b| sum(*a).total_cmp(&sum(*b)))?;
    measure(coarse, &discs, &best[top..top + run], top, sum(top) / run as f32)
}

/// What the inside of a kidney's discs shows.
fn measure(
    coarse: &Coarse,
    discs: &[Disc],
    best: &[Option<Candidate>],
    top: usize,
    score: f32,
) -> Option<Kidney> {
    let (mut all, mut peaks) = (Vec::new(), Vec::new());
    for (z, c) in (top..).zip(best).filter_map(|(z, c)| c.map(|c| (z, c))) {
        let slice = coarse.hu.index_axis(ndarray::Axis(0), z);
        if let Some(inside) = discs[c.size].inside(&slice, c.y, c.x) {
            // Not the very brightest: a voxel may reach into bone.
            peaks.push(inside[inside.len().saturating_sub(3)]);
            all.extend(inside);
        }
    }
    let middle = best[best.len() / 2].or_else(|| best.iter().flatten().next().copied())?;
    // The fat of the sinus is no kidney.
    all.retain(|v| *v > 0.0);
    all.sort_unstable_by(f32::total_cmp);
    peaks.sort_unstable_by(f32::total_cmp);
    Some(Kidney {
        z: top + best.len() / 2,
        y: middle.y,
        x: middle.x,
        middle_hu: *all.get(all.len() / 2)?,
        bright_hu: *all.get(all.len() * 9 / 10)?,
        // The second of all slices: one may hold a stone.
        brightest_hu: *peaks.get(peaks.len().saturating_sub(2))?,
        score,
    })
}
