//! Liver and spleen: the largest even regions on their side of the spine.

use super::coarse::Coarse;
use super::spine::Frame;

/// Half the edge of the square in which a place must be even.
const HALF_MM: f64 = 7.5;
/// Bins of this width are searched for the most frequent density.
const BIN_HU: f32 = 4.0;
/// Parenchyma lies within this of its most frequent density.
const NEAR_HU: f32 = 14.0;

/// An organ of even density.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Solid {
    /// Its most frequent density.
    pub hu: f32,
    /// Even tissue of this density, in cm3: less than the organ.
    pub volume_cm3: f64,
    /// First and last slice that hold a share of it.
    pub slices: [usize; 2],
    /// Centre `[z, y, x]`.
    pub centre: [f64; 3],
    /// What one in fifty voxels about it exceeds, above its own density: vessels.
    pub vessels_hu: f32,
}

struct Even {
    z: usize,
    y: usize,
    x: usize,
    hu: f32,
}

/// The liver: to the patient's right.
pub(crate) fn liver(coarse: &Coarse, frame: &Frame) -> Option<Solid> {
    let all = even_places(coarse, frame, |front, left, _| left < -12.0 && front > -22.0, -15.0);
    solid(coarse, all)
}

/// The spleen: to the left and to the back, at the height of the liver.
pub(crate) fn spleen(coarse: &Coarse, frame: &Frame, liver: &Solid) -> Option<Solid> {
    let [low, high] = liver.slices;
    let tall = (high - low) / 4;
    let place = |front: f64, left: f64, z: usize| {
        left > 45.0 && (-45.0..60.0).contains(&front) && z >= low + tall && z <= high
    };
    solid(coarse, even_places(coarse, frame, place, 20.0))
}

/// Every second place in plane whose surroundings are even soft tissue.
fn even_places(
    coarse: &Coarse,
    frame: &Frame,
    place: impl Fn(f64, f64, usize) -> bool,
    least_hu: f32,
) -> Vec<Even> {
    let [nz, ny, nx] = coarse.shape();
    let [_, dy, dx] = coarse.step_mm;
    let [ry, rx] = [(HALF_MM / dy).round() as usize, (HALF_MM / dx).round() as usize];
    let mut found = Vec::new();
    for z in 0..nz {
        let [sy, sx] = frame.spine[z];
        for y in (ry..ny.saturating_sub(ry)).step_by(2) {
            for x in (rx..nx.saturating_sub(rx)).step_by(2) {
                let (front, left) = ((sy - y as f64) * dy, (x as f64 - sx) * dx);
                let centre = coarse.hu[[z, y, x]];
                if !(least_hu..240.0).contains(&centre)
                    || !place(front, left, z)
                    || frame.depth_mm[[z, y, x]] < 15.0
                {
                    continue;
                }
                let square = coarse.hu.slice(ndarray::s![z, y - ry..=y + ry, x - rx..=x + rx]);
                let count = square.len() as f32;
                let mean = square.iter().sum::<f32>() / count;
                let spread = square.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count;
                if spread.sqrt() < 14.0 && (least_hu..230.0).contains(&mean) {
                    found.push(Even { z, y, x, hu: mean });
                }
            }
        }
    }
    found
}

fn solid(coarse: &Coarse, places: Vec<Even>) -> Option<Solid> {
    let bin = |hu: f32| ((hu + 20.0) / BIN_HU).floor().max(0.0) as usize;
    let mut counts = [0.0_f32; 80];
    for place in &places {
        if let Some(count) = counts.get_mut(bin(place.hu)) {
            *count += 1.0;
        }
    }
    let smooth = |at: usize| -> f32 {
        (0..5).map(|k| counts.get((at + k).wrapping_sub(2)).copied().unwrap_or(0.0)).sum()
    };
    let best = (0..counts.len()).max_by(|a, b| smooth(*a).total_cmp(&smooth(*b)))?;
    let peak = best as f32 * BIN_HU - 20.0 + BIN_HU / 2.0;
    let mut near: Vec<&Even> = places.iter().filter(|p| (p.hu - peak).abs() < NEAR_HU).collect();
    if near.is_empty() {
        return None;
    }
    let volume_cm3 = near.len() as f64 * 4.0 * coarse.voxel_cm3();
    let mut values: Vec<f32> = near.iter().map(|p| p.hu).collect();
    values.sort_unstable_by(f32::total_cmp);
    let hu = values[values.len() / 2];
    near.sort_by_key(|p| p.z);
    let share = |part: usize| near[(near.len() - 1) * part / 100].z;
    let n = near.len() as f64;
    let centre = [
        near.iter().map(|p| p.z as f64).sum::<f64>() / n,
        near.iter().map(|p| p.y as f64).sum::<f64>() / n,
        near.iter().map(|p| p.x as f64).sum::<f64>() / n,
    ];
    Some(Solid {
        hu,
        volume_cm3,
        slices: [share(2), share(98)],
        centre,
        vessels_hu: vessels(coarse, &near, hu),
    })
}

/// Voxels between even places of an organ are vessels where they are brighter.
fn vessels(coarse: &Coarse, near: &[&Even], hu: f32) -> f32 {
    let [_, ny, nx] = coarse.shape();
    let mut values = Vec::new();
    for place in near {
        // Half a square away: where a square is not even, its edge is a vessel.
        for (dy, dx) in [(-4_isize, 0_isize), (4, 0), (0, -4), (0, 4)] {
            let (y, x) = (place.y.wrapping_add_signed(dy), place.x.wrapping_add_signed(dx));
            if y < ny && x < nx {
                let v = coarse.hu[[place.z, y, x]];
                if (hu - 20.0..hu + 160.0).contains(&v) {
                    values.push(v);
                }
            }
        }
    }
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() * 49 / 50).map_or(0.0, |v| v - hu)
}
