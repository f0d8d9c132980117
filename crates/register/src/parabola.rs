//! Lower envelopes of parabolas: the cheapest label of a child for every label of its parent.
//!
//! Along one axis `out[j] = min over i of costs[i] + (i - j + offset)^2`. Three forms of it:
//! [`brute`] is the definition; [`envelope`] finds the lower envelope in one sweep (Felzenszwalb
//! and Huttenlocher 2012); [`Transform`] is what messages use: all three axes in whole numbers of
//! sixteen bits, whole registers of labels at once, and only as far along an axis as the costs
//! allow a cheaper label to lie. For the 9 to 17 labels of a search the last is many times
//! faster than the sweep, which branches on every label (`benches/stages.rs`).

use crate::cost::UNIT;

/// The definition, along one line.
pub fn brute(costs: &[f32], offset: f32) -> Vec<f32> {
    let at = |i: usize, j: usize| costs[i] + (i as f32 - j as f32 + offset).powi(2);
    let least = |j: usize| (0..costs.len()).map(|i| at(i, j)).fold(f32::INFINITY, f32::min);
    (0..costs.len()).map(least).collect()
}

/// The same by the lower envelope: linear in the number of labels.
pub fn envelope(costs: &[f32], offset: f32) -> Vec<f32> {
    // Parabola i has its lowest point at i + offset.
    let apex = |i: usize| f64::from(i as f32) + f64::from(offset);
    let height = |i: usize| f64::from(costs[i]);
    let crossing = |a: usize, b: usize| {
        let (p, q) = (apex(a), apex(b));
        (height(b) + q * q - height(a) - p * p) / (2.0 * (q - p))
    };
    let mut lowest: Vec<(usize, f64)> = Vec::with_capacity(costs.len());
    for i in 0..costs.len() {
        let mut from = f64::NEG_INFINITY;
        while let Some(&(last, begin)) = lowest.last() {
            from = crossing(last, i);
            if from > begin {
                break;
            }
            lowest.pop();
            from = f64::NEG_INFINITY;
        }
        lowest.push((i, from));
    }
    let mut part = 0;
    let mut value = |j: usize| {
        while part + 1 < lowest.len() && lowest[part + 1].1 < j as f64 {
            part += 1;
        }
        let i = lowest[part].0;
        (height(i) + (apex(i) - j as f64).powi(2)) as f32
    };
    (0..costs.len()).map(&mut value).collect()
}

/// `(k + offset)^2` in units of cost for k from `-(side - 1)` to `side - 1`, rounded and
/// saturated: what moving from the parent's label to another costs along one axis.
#[derive(Debug, Clone, Copy)]
pub struct Bend {
    side: usize,
    table: [u16; 33],
}

impl Bend {
    /// The table of one axis.
    pub fn new(side: usize, offset: f32) -> Bend {
        let mut table = [0; 33];
        for (at, out) in table[..2 * side - 1].iter_mut().enumerate() {
            let k = at as f32 - (side as f32 - 1.0);
            *out = ((k + offset) * (k + offset) * UNIT + 0.5).min(65_535.0) as u16;
        }
        Bend { side, table }
    }

    /// What a difference of `k` labels costs.
    pub fn at(&self, k: isize) -> u16 {
        self.table[(k + self.side as isize - 1) as usize]
    }

    /// The differences that can be worth their cost where costs differ by at most `range`:
    /// any other is dearer than staying.
    pub fn worth(&self, range: u16) -> std::ops::RangeInclusive<isize> {
        let reach = self.side as isize - 1;
        let worth = |k: &isize| self.at(*k) <= range.saturating_add(self.at(0));
        let low = (-reach..=0).find(worth).unwrap_or(0);
        let high = (0..=reach).rev().find(worth).unwrap_or(0);
        low..=high
    }
}

/// Buffers for the transform of one cube of labels.
#[derive(Debug)]
pub struct Transform {
    side: usize,
    /// From one row of labels to the next: rows are read at any difference of labels.
    stride: usize,
    a: Vec<u16>,
    b: Vec<u16>,
}

/// Labels in one register: rows of up to 16 or 17 take one each of these.
const NARROW: usize = 16;
const WIDE: usize = 32;

impl Transform {
    /// For cubes of `side` labels along every axis, at most 17.
    pub fn new(side: usize) -> Transform {
        assert!(side <= WIDE / 2 + 1, "at most 17 labels along an axis");
        let stride = 2 * side - 1;
        let size = stride * side * side + side + WIDE;
        Transform { side, stride, a: vec![u16::MAX; size], b: vec![u16::MAX; size] }
    }

    /// Adds to `out` the cheapest of `costs * share + bends` for every label, less the
    /// cheapest of all. `bends` are of the axes `[z, y, x]`.
    #[inline(always)]
    pub fn add_message(&mut self, costs: &[u16], share: u16, bends: &[Bend; 3], out: &mut [u16]) {
        if self.side <= NARROW {
            self.message::<NARROW>(costs, share, bends, out);
        } else {
            self.message::<WIDE>(costs, share, bends, out);
        }
    }

    #[inline(always)]
    fn message<const LANES: usize>(
        &mut self,
        costs: &[u16],
        share: u16,
        bends: &[Bend; 3],
        out: &mut [u16],
    ) {
        let side = self.side;
        let range = self.load(costs, share);
        let (bend, worth) = (&bends[2], bends[2].worth(range));
        for row in 0..side * side {
            // The front pad holds what a row's first label may look back at.
            let at = row * self.stride + side - 1;
            let mut least = [u16::MAX; LANES];
            for k in worth.clone() {
                cheaper(&self.a[(at as isize + k) as usize..], bend.at(k), &mut least);
            }
            self.b[row * self.stride..][..LANES].copy_from_slice(&least);
        }
        let (bend, worth) = (&bends[1], bends[1].worth(range));
        for (z, y) in (0..side).flat_map(|z| (0..side).map(move |y| (z, y))) {
            let least = self.across::<LANES>(&self.b, bend, &worth, y, |y| z * side + y);
            self.a[(z * side + y) * self.stride..][..LANES].copy_from_slice(&least);
        }
        let (bend, worth) = (&bends[0], bends[0].worth(range));
        let mut floor = u16::MAX;
        for (z, y) in (0..side).flat_map(|z| (0..side).map(move |y| (z, y))) {
            let least = self.across::<LANES>(&self.a, bend, &worth, z, |z| z * side + y);
            floor = least[..side].iter().fold(floor, |floor, v| floor.min(*v));
            self.b[(z * side + y) * self.stride..][..LANES].copy_from_slice(&least);
        }
        for (row, out) in out.chunks_exact_mut(side).enumerate() {
            let message = &self.b[row * self.stride..][..side];
            for (out, v) in out.iter_mut().zip(message) {
                *out = out.saturating_add(v - floor);
            }
        }
        self.a.fill(u16::MAX);
    }

    /// Rows of scaled costs behind a front pad; their largest.
    #[inline(always)]
    fn load(&mut self, costs: &[u16], share: u16) -> u16 {
        let mut range = 0;
        for (row, costs) in costs.chunks_exact(self.side).enumerate() {
            let to = &mut self.a[row * self.stride + self.side - 1..][..self.side];
            for (to, cost) in to.iter_mut().zip(costs) {
                *to = scaled(*cost, share);
                range = range.max(*to);
            }
        }
        range
    }

    #[inline(always)]
    fn across<const LANES: usize>(
        &self,
        rows: &[u16],
        bend: &Bend,
        worth: &std::ops::RangeInclusive<isize>,
        at: usize,
        row: impl Fn(usize) -> usize,
    ) -> [u16; LANES] {
        let mut least = [u16::MAX; LANES];
        let first = (at as isize + worth.start()).max(0) as usize;
        let last = (at as isize + worth.end()).min(self.side as isize - 1) as usize;
        for i in first..=last {
            let bend = bend.at(i as isize - at as isize);
            cheaper(&rows[row(i) * self.stride..], bend, &mut least);
        }
        least
    }
}

/// A cost as the parent hears it.
#[inline(always)]
pub fn scaled(cost: u16, share: u16) -> u16 {
    ((u32::from(cost) * u32::from(share)) >> 16) as u16
}

#[inline(always)]
fn cheaper<const LANES: usize>(costs: &[u16], bend: u16, least: &mut [u16; LANES]) {
    let Some(costs) = costs.first_chunk::<LANES>() else { return };
    for lane in 0..LANES {
        least[lane] = least[lane].min(costs[lane].saturating_add(bend));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_envelope_is_the_definition(
            costs in proptest::collection::vec(0.0..200.0_f32, 1..20),
            offset in -6.0..6.0_f32,
        ) {
            for (fast, slow) in envelope(&costs, offset).iter().zip(brute(&costs, offset)) {
                prop_assert!((fast - slow).abs() <= 1e-3 * slow.abs().max(1.0), "{fast} {slow}");
            }
        }

        /// In whole numbers it is exact, whatever is skipped as not worth it.
        #[test]
        fn a_message_is_the_cheapest_over_the_cube(
            side in prop_oneof![Just(3_usize), Just(5), Just(9), Just(17)],
            offset in [-9.0..9.0_f32, -2.0..2.0, -0.5..0.5],
            share in prop_oneof![Just(u16::MAX), any::<u16>()],
            most in prop_oneof![Just(300_u16), Just(9_000), Just(u16::MAX)],
            seed in any::<u32>(),
        ) {
            let mut state = seed | 1;
            let costs: Vec<u16> = (0..side.pow(3)).map(|_| {
                state ^= state << 13; state ^= state >> 17; state ^= state << 5;
                (state % (u32::from(most) + 1)) as u16
            }).collect();
            let bends = offset.map(|offset| Bend::new(side, offset));
            let mut out = vec![0; costs.len()];
            let mut transform = Transform::new(side);
            // Twice: buffers must be as new after the first.
            transform.add_message(&costs, share, &bends, &mut out);
            out.fill(0);
            transform.add_message(&costs, share, &bends, &mut out);
            let slow = slow_message(&costs, share, &bends, side);
            prop_assert_eq!(out, slow);
        }
    }

    fn slow_message(costs: &[u16], share: u16, bends: &[Bend; 3], side: usize) -> Vec<u16> {
        let mut values: Vec<u16> = costs.iter().map(|cost| scaled(*cost, share)).collect();
        for (axis, stride) in [(2, 1), (1, side), (0, side * side)] {
            let before = values.clone();
            for (at, value) in values.iter_mut().enumerate() {
                let j = at / stride % side;
                let line = |i: usize| before[at - j * stride + i * stride];
                let cost =
                    |i: usize| line(i).saturating_add(bends[axis].at(i as isize - j as isize));
                *value = (0..side).map(cost).min().unwrap();
            }
        }
        let floor = *values.iter().min().unwrap();
        values.iter().map(|value| value - floor).collect()
    }
}
