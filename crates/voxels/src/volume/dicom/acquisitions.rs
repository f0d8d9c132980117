//! Several acquisitions in one series, told apart.
//!
//! Scanners and archives put the phases of an examination into one series, at the same
//! positions or half a step apart. Owns the order of trust: acquisition number, stack and
//! temporal position, time, order of instances. A split counts only if what comes of it are
//! whole volumes; the parts of one volume that was scanned in two pieces stay together.

use std::collections::BTreeMap;

use super::SliceHeader;
use super::geometry::{MIN_SLICES, check_steps};

/// Passes of one examination begin at least this far apart; slices of one pass follow each
/// other faster.
const PAUSE_MS: i64 = 5_000;

/// Acquisitions at even steps are several only if they cover each other by this share of the
/// shorter: otherwise they are pieces of one scan.
const MIN_OVERLAP: f64 = 0.5;

/// What tells to which acquisition a slice belongs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks {
    /// AcquisitionNumber.
    pub acquisition: Option<i64>,
    /// StackID of an enhanced object.
    pub stack: Option<String>,
    /// TemporalPositionIdentifier.
    pub temporal: Option<i64>,
    /// InstanceNumber.
    pub instance: Option<i64>,
}

impl Marks {
    /// What a header says of it.
    pub fn of(header: &SliceHeader) -> Marks {
        Marks {
            acquisition: header.acquisition_number,
            stack: header.stack.clone(),
            temporal: header.temporal_position,
            instance: header.instance_number,
        }
    }
}

/// A slice among those of its series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member<'a> {
    /// What tells its acquisition.
    pub marks: &'a Marks,
    /// When it was acquired, in ms on any clock.
    pub acquired_ms: Option<i64>,
    /// Along the normal.
    pub position_mm: Option<f64>,
}

/// [`split`] by the headers themselves; `acquired_ms` reads the clock of one.
pub fn split_headers(
    headers: &[SliceHeader],
    acquired_ms: impl Fn(&SliceHeader) -> Option<i64>,
) -> Vec<Vec<usize>> {
    let marks: Vec<Marks> = headers.iter().map(Marks::of).collect();
    let member = |(header, marks)| Member {
        marks,
        acquired_ms: acquired_ms(header),
        position_mm: SliceHeader::position_mm(header),
    };
    split(&headers.iter().zip(&marks).map(member).collect::<Vec<_>>())
}

/// The slices of one series by acquisition, as indices: one group if there is only one, or if
/// nothing tells them apart.
pub fn split(members: &[Member<'_>]) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..members.len()).collect();
    let Some(positions) = members.iter().map(|member| member.position_mm).collect() else {
        return vec![all];
    };
    let series = Series { members, positions };
    let even = series.is_whole(&all);
    let mut keys = vec![
        (series.by_acquisition(), Trust::Number),
        (series.by_stack_and_time_index(), Trust::Number),
        (series.by_pause(), Trust::Guess),
    ];
    if !even {
        // The order of instances is what a sender made of it: it only resolves what is none.
        keys.extend([(series.by_run(), Trust::Guess), (series.by_turn(), Trust::Guess)]);
    }
    let found = keys.into_iter().find(|(groups, trust)| series.accepts(groups, even, *trust));
    let found = found.map(|(groups, _)| groups);
    found.unwrap_or_else(|| vec![all])
}

/// How far a key is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A number that was meant to tell: one acquisition may have lost a slice.
    Number,
    /// Every group must be whole.
    Guess,
}

struct Series<'a> {
    members: &'a [Member<'a>],
    positions: Vec<f64>,
}

impl Series<'_> {
    fn sorted(&self, group: &[usize]) -> Vec<f64> {
        let mut sorted: Vec<f64> = group.iter().map(|at| self.positions[*at]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn is_whole(&self, group: &[usize]) -> bool {
        group.len() >= MIN_SLICES && check_steps(&self.sorted(group)).is_ok()
    }

    fn accepts(&self, groups: &[Vec<usize>], even: bool, trust: Trust) -> bool {
        if groups.len() < 2 || groups.iter().any(|group| group.len() < MIN_SLICES) {
            return false;
        }
        let whole = groups.iter().filter(|group| self.is_whole(group)).count();
        let sound = whole == groups.len() || (trust == Trust::Number && !even && whole > 0);
        let least = if even { MIN_OVERLAP } else { 0.0 };
        let pairs = groups.iter().enumerate();
        let mut pairs = pairs.flat_map(|(at, a)| groups[at + 1..].iter().map(move |b| (a, b)));
        sound && pairs.all(|(a, b)| self.overlap(a, b) > least)
    }

    /// The share of the shorter of two groups that lies within the other.
    fn overlap(&self, a: &[usize], b: &[usize]) -> f64 {
        let ends = |group: &[usize]| {
            let sorted = self.sorted(group);
            (sorted[0], sorted[sorted.len() - 1])
        };
        let ((a0, a1), (b0, b1)) = (ends(a), ends(b));
        let shorter = (a1 - a0).min(b1 - b0).max(f64::MIN_POSITIVE);
        (a1.min(b1) - a0.max(b0)) / shorter
    }

    /// Groups of equal keys, lowest first; slices without a key make it useless.
    fn by_key<K: Ord>(&self, key: impl Fn(&Member<'_>) -> Option<K>) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            let Some(key) = key(member) else { return Vec::new() };
            groups.entry(key).or_default().push(at);
        }
        groups.into_values().collect()
    }

    fn by_acquisition(&self) -> Vec<Vec<usize>> {
        self.by_key(|member| member.marks.acquisition)
    }

    fn by_stack_and_time_index(&self) -> Vec<Vec<usize>> {
        self.by_key(|member| {
            let Marks { stack, temporal, .. } = member.marks;
            (stack.is_some() || temporal.is_some()).then(|| (*temporal, stack.clone()))
        })
    }

    /// Cut where the clock stood for longer than between two slices of one pass.
    fn by_pause(&self) -> Vec<Vec<usize>> {
        let Some(order) = self.in_order(|member| member.acquired_ms) else { return Vec::new() };
        let passes = order.chunk_by(|a, b| b.0.saturating_sub(a.0) <= PAUSE_MS);
        passes.map(|pass| pass.iter().map(|(_, at)| *at).collect()).collect()
    }

    /// Cut where the positions, taken in order of instances, turn back or stand still.
    fn by_run(&self) -> Vec<Vec<usize>> {
        let Some(order) = self.in_order(|member| member.marks.instance) else { return Vec::new() };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (_, at) in order {
            let goes_on = groups.last().is_some_and(|group| match group[..] {
                [.., before, last] => {
                    let step = self.positions[last] - self.positions[before];
                    (self.positions[at] - self.positions[last]) * step > 0.0
                }
                [last] => self.positions[at] != self.positions[last],
                [] => true,
            });
            match groups.last_mut().filter(|_| goes_on) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        groups
    }

    /// The first instance at every position, the second, and so on.
    fn by_turn(&self) -> Vec<Vec<usize>> {
        let Some(order) = self.in_order(|member| member.marks.instance) else { return Vec::new() };
        let mut order: Vec<usize> = order.into_iter().map(|(_, at)| at).collect();
        // Stable: instances stay in order at each position.
        order.sort_by(|a, b| self.positions[*a].total_cmp(&self.positions[*b]));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for same in order.chunk_by(|a, b| self.positions[*b] - self.positions[*a] < 0.01) {
            for (turn, at) in same.iter().enumerate() {
                if turn == groups.len() {
                    groups.push(Vec::new());
                }
                groups[turn].push(*at);
            }
        }
        groups
    }

    /// All slices with their key, in its order; `None` if one has no key.
    fn in_order(&self, key: impl Fn(&Member<'_>) -> Option<i64>) -> Option<Vec<(i64, usize)>> {
        let keyed = self.members.iter().enumerate().map(|(at, member)| Some((key(member)?, at)));
        let mut order = keyed.collect::<Option<Vec<_>>>()?;
        order.sort_unstable();
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice: acquisition, temporal position, seconds, instance, position.
    type Row = (Option<i64>, Option<i64>, Option<i64>, i64, f64);

    fn sizes(rows: &[Row]) -> Vec<usize> {
        groups(rows).iter().map(Vec::len).collect()
    }

    fn groups(rows: &[Row]) -> Vec<Vec<usize>> {
        let marks: Vec<Marks> = rows
            .iter()
            .map(|&(acquisition, temporal, _, instance, _)| Marks {
                acquisition,
                temporal,
                instance: Some(instance),
                stack: None,
            })
            .collect();
        let members: Vec<Member<'_>> = rows
            .iter()
            .zip(&marks)
            .map(|(&(_, _, second, _, position), marks)| Member {
                marks,
                acquired_ms: second.map(|second| second * 1000),
                position_mm: Some(position),
            })
            .collect();
        split(&members)
    }

    /// `count` slices of 5 mm from `from`, instances from `first`.
    fn pass(row: Row, count: usize) -> Vec<Row> {
        let (acquisition, temporal, second, first, from) = row;
        let slice =
            |n: usize| (acquisition, temporal, second, first + n as i64, from + 5.0 * n as f64);
        (0..count).map(slice).collect()
    }

    #[test]
    fn passes_at_the_same_positions_are_told_apart_by_each_mark() {
        let two = |a: Row, b: Row| [pass(a, 20), pass(b, 22)].concat();
        let acquisitions = two((Some(1), None, None, 1, 0.0), (Some(2), None, None, 1, 0.0));
        assert_eq!(sizes(&acquisitions), [20, 22]);
        let temporal = two((Some(1), Some(1), None, 1, 0.0), (Some(1), Some(2), None, 1, 0.0));
        assert_eq!(sizes(&temporal), [20, 22]);
        let times = two((None, None, Some(10), 1, 0.0), (None, None, Some(40), 1, 0.0));
        assert_eq!(sizes(&times), [20, 22]);
        let instances = two((None, None, None, 1, 0.0), (None, None, None, 21, 0.0));
        assert_eq!(sizes(&instances), [20, 22]);
        let mut turns = two((None, None, None, 1, 0.0), (None, None, None, 1, 0.0));
        turns.truncate(40);
        (0..40).for_each(|at| turns[at].3 = 2 * turns[at].3 + i64::from(at >= 20));
        assert_eq!(sizes(&turns), [20, 20]);
        assert_eq!(groups(&turns)[0], (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn interleaved_passes_are_two_volumes_though_their_steps_are_even() {
        for shift in [2.5, 1.0] {
            let rows = |a: Row, b: Row| [pass(a, 36), pass(b, 36)].concat();
            let acquisition = rows((Some(1), None, None, 1, 0.0), (Some(2), None, None, 1, shift));
            assert_eq!(sizes(&acquisition), [36, 36], "{shift}");
            let time = rows((Some(1), None, Some(72), 1, 0.0), (Some(1), None, Some(12), 1, shift));
            assert_eq!(sizes(&time), [36, 36], "{shift}");
        }
    }

    #[test]
    fn one_scan_stays_one_whatever_its_numbers() {
        let plain = pass((Some(3), None, Some(1), 1, 0.0), 40);
        assert_eq!(sizes(&plain), [40]);
        // Step and shoot: a number and a time for every slice.
        let mut steps = plain.clone();
        (0..40).for_each(|n| (steps[n].0, steps[n].2) = (Some(n as i64), Some(7 * n as i64)));
        assert_eq!(sizes(&steps), [40]);
        // Two pieces, end to end.
        let mut pieces = plain;
        pieces[20..].iter_mut().for_each(|row| (row.0, row.2) = (Some(4), Some(30)));
        assert_eq!(sizes(&pieces), [40]);
    }

    #[test]
    fn nothing_is_split_that_gives_no_whole_volume() {
        // One slice at the position of another.
        let mut rows = pass((Some(1), None, None, 1, 0.0), 20);
        rows[7].4 = 40.0;
        assert_eq!(sizes(&rows), [20]);
        // A second pass of three slices.
        let few =
            [pass((Some(1), None, None, 1, 0.0), 20), pass((Some(2), None, None, 21, 0.0), 3)];
        assert_eq!(sizes(&few.concat()), [23]);
        // With numbers that tell, an acquisition that lost a slice is known for itself.
        let mut torn =
            [pass((Some(1), None, None, 1, 0.0), 20), pass((Some(2), None, None, 21, 0.0), 20)]
                .concat();
        torn.remove(30);
        assert_eq!(sizes(&torn), [20, 19]);
        torn.iter_mut().for_each(|row| row.0 = None);
        assert_eq!(sizes(&torn), [39]);
    }
}
