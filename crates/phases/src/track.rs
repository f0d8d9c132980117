//! The best path through one candidate per slice: vessels and spine run on, noise does not.

/// A place in a slice that may be what is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// Row of its centre.
    pub y: usize,
    /// Column of its centre.
    pub x: usize,
    /// Index of its radius.
    pub size: usize,
    /// The more the better, about 0 to 2.
    pub score: f32,
    /// What is measured there, in HU.
    pub value: f32,
}

/// The path with the largest sum of scores minus `bend` for every voxel of movement beyond
/// one and every change of size; no step is longer than `most` voxels. Slices without a
/// candidate are bridged by the last one with score 0. `None` without any candidate.
pub(crate) fn track(slices: &[Vec<Candidate>], most: f64, bend: f32) -> Option<Vec<Candidate>> {
    let bend = bend / 20.0;
    let mut filled: Vec<Vec<Candidate>> = Vec::with_capacity(slices.len());
    let first = slices.iter().find(|slice| !slice.is_empty())?;
    let mut last = first.clone();
    for slice in slices {
        if slice.is_empty() {
            last.iter_mut().for_each(|candidate| candidate.score = 0.0);
        } else {
            last.clone_from(slice);
        }
        filled.push(last.clone());
    }
    let mut sums: Vec<Vec<f32>> = vec![filled[0].iter().map(|c| c.score).collect()];
    let mut from: Vec<Vec<usize>> = vec![vec![0; filled[0].len()]];
    for z in 1..filled.len() {
        let (before, sum) = (&filled[z - 1], &sums[z - 1]);
        let (best, origin): (Vec<f32>, Vec<usize>) = filled[z]
            .iter()
            .map(|here| {
                let (mut best, mut origin) = (f32::MIN, 0);
                for (at, there) in before.iter().enumerate() {
                    let dy = here.y as f64 - there.y as f64;
                    let dx = here.x as f64 - there.x as f64;
                    let far = dy.hypot(dx);
                    if far > most && far > 0.0 {
                        continue;
                    }
                    let sizes = here.size.abs_diff(there.size) as f32;
                    let cost = bend * ((far as f32 - 1.0).max(0.0) + sizes);
                    if sum[at] - cost > best {
                        (best, origin) = (sum[at] - cost, at);
                    }
                }
                // Nothing near: the path begins anew, at a price.
                if best == f32::MIN {
                    let at = argmax(sum);
                    (best, origin) = (sum[at] - 1.0, at);
                }
                (best + here.score, origin)
            })
            .unzip();
        sums.push(best);
        from.push(origin);
    }
    let mut at = argmax(sums.last()?);
    let mut path = Vec::with_capacity(filled.len());
    for z in (0..filled.len()).rev() {
        path.push(filled[z][at]);
        at = from[z][at];
    }
    path.reverse();
    Some(path)
}

fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}
