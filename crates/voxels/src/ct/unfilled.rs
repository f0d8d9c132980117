//! Slices that were never filled with an image, wholly or from some line on.
//!
//! A file that was reserved at full size and cut while it was copied holds one value from
//! the cut on. So does the air around a phantom without noise: what tells them apart is that
//! a cut goes through the body.

use super::profile::{Lines, Profile};

/// A band this narrow is no cut: a few lines hold one value in clipped images too.
const MIN_BAND: f64 = 0.03;

/// A band that ends at a line through this share of the widest body cuts it. The first line
/// of a round body is a fifth of its width at the most, in 5 mm pixels.
const CUT: f64 = 0.3;

/// Without other slices to compare with: a band this broad on one side alone, that ends at a
/// line through most of the widest body.
const LONE_BAND: f64 = 0.1;
const LONE_CUT: f64 = 0.6;

/// Of what slices usually show of the body where the band lies, this much is gone.
const LOST: f64 = 0.25;

/// A slice with less of a body than this share of the usual is empty.
const EMPTY: f64 = 0.01;

/// The slices without an image, or with a part of one.
pub(super) fn unfilled(profiles: &[Profile]) -> Vec<usize> {
    let rows = Usual::of(profiles, |profile| &profile.rows);
    let columns = Usual::of(profiles, |profile| &profile.columns);
    let usual_body = median(profiles.iter().map(Profile::body).collect()) as f64;
    let is_unfilled = |profile: &Profile| {
        let banded = profile.rows.constant.iter().any(Option::is_some);
        profile.is_constant()
            || (banded && (profile.body() as f64) < EMPTY * usual_body)
            || rows.is_cut(&profile.rows)
            || rows.is_cut_alone(&profile.rows)
            // Files are cut between rows: columns need the word of other slices.
            || columns.is_cut(&profile.columns)
    };
    (0..profiles.len()).filter(|&z| is_unfilled(&profiles[z])).collect()
}

/// The upper one of two in the middle; 0 of none.
fn median<T: Ord + Copy + Default>(mut counts: Vec<T>) -> T {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or_default()
}

/// What the lines of a series usually cross of the body.
struct Usual {
    /// Per line, the median over slices.
    body: Vec<u32>,
    /// The median over slices of their widest line.
    widest: f64,
}

impl Usual {
    fn of(profiles: &[Profile], lines: fn(&Profile) -> &Lines) -> Usual {
        let count = profiles.first().map_or(0, |profile| lines(profile).body.len());
        let at = |line: usize| profiles.iter().map(|profile| lines(profile).body[line]).collect();
        let widest = |profile: &Profile| lines(profile).body.iter().copied().max().unwrap_or(0);
        Usual {
            body: (0..count).map(|line| median(at(line))).collect(),
            widest: f64::from(median(profiles.iter().map(widest).collect())),
        }
    }

    /// A band that goes through the body where other slices show one.
    fn is_cut(&self, lines: &Lines) -> bool {
        let count = lines.body.len() as f64;
        let lost = |band: &Band| {
            let usual: f64 = self.body[band.from..band.to].iter().map(|n| f64::from(*n)).sum();
            usual / (band.length() as f64 * self.widest)
        };
        let is_cut = |band: &Band| {
            band.length() as f64 >= MIN_BAND * count
                && self.cut(lines, band) >= CUT
                && lost(band) >= LOST
        };
        self.widest > 0.0 && bands(&lines.constant).iter().any(is_cut)
    }

    /// A band that goes through the middle of the body, on one side of it.
    fn is_cut_alone(&self, lines: &Lines) -> bool {
        if self.widest == 0.0 {
            return false;
        }
        let bands = bands(&lines.constant);
        let mut cut = bands.iter().filter(|band| self.cut(lines, band) >= LONE_CUT);
        matches!((cut.next(), cut.next()), (Some(band), None)
            if band.length() as f64 >= LONE_BAND * lines.body.len() as f64)
    }

    /// The share of the widest body that the lines beside a band cross. Two on either side:
    /// the first may be filled in part.
    fn cut(&self, lines: &Lines, band: &Band) -> f64 {
        let before = lines.body[..band.from].iter().rev().take(2);
        let behind = lines.body[band.to..].iter().take(2);
        f64::from(before.chain(behind).copied().max().unwrap_or(0)) / self.widest
    }
}

/// Lines in a row that hold the same one value: half-open.
struct Band {
    from: usize,
    to: usize,
}

impl Band {
    fn length(&self) -> usize {
        self.to - self.from
    }
}

fn bands(constant: &[Option<f32>]) -> Vec<Band> {
    let mut bands = Vec::new();
    let mut from = 0;
    for alike in constant.chunk_by(|a, b| a == b) {
        let to = from + alike.len();
        if alike[0].is_some() {
            bands.push(Band { from, to });
        }
        from = to;
    }
    bands
}
