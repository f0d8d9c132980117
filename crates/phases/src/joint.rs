//! The phases of all acquisitions of an examination together.
//!
//! Owns the weighing of witnesses: what images show, what names say, which phases come in
//! which order, and which come alone. Every assignment of phases to acquisitions is tried.
//! Refuses images and texts: probabilities come in, probabilities go out.

use hepalert_study::phase::Phase;

/// Of each acquisition: nc, ap, vp, dp, none of these.
pub const STATES: usize = 5;
const NONE: usize = 4;
/// More acquisitions than this are judged one by one: 5^7 assignments are tried in a moment.
const MAX_TOGETHER: usize = 7;
/// The images may always be wrong by this much: no more certainty than this comes of them.
const DOUBT: f64 = 0.03;
/// A second acquisition of a contrast phase that is there already.
const TWICE: f64 = 0.03;
/// A later phase acquired before an earlier one.
const BACKWARDS: f64 = 0.02;
/// Phases out of the order in which blood carries contrast, by what images show.
const UNLIKELY_FADING: f64 = 0.15;
/// An examination with a single enhanced acquisition is portal venous as a rule.
const ALONE: [f64; STATES] = [1.0, 0.2, 1.0, 0.06, 1.0];
/// A name says the phase: so much more likely than any other.
pub const STRONG: f64 = 25.0;
/// An abbreviation that also means other things.
pub const WEAK: f64 = 4.0;
/// The site's own rule.
pub const RULE: f64 = 60.0;

/// What is known of one acquisition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Acquisition {
    /// What its images say; `None` if they say nothing.
    pub images: Option<[f64; STATES]>,
    /// Phases that witnesses name, each with how much more likely it makes that phase.
    pub named: Vec<(Phase, f64)>,
    /// How much more likely an enhanced phase is by the header, 1 if it says nothing.
    pub enhanced: f64,
    /// When it began, if known, in ms.
    pub at_ms: Option<i64>,
    /// Aortic density, for the order in which contrast fades.
    pub aorta_hu: Option<f32>,
}

/// The probability of every state of every acquisition.
pub fn weigh(acquisitions: &[Acquisition]) -> Vec<[f64; STATES]> {
    let own: Vec<[f64; STATES]> = acquisitions.iter().map(alone).collect();
    if acquisitions.len() > MAX_TOGETHER {
        return own.into_iter().map(normalised).collect();
    }
    let mut sums = vec![[0.0; STATES]; acquisitions.len()];
    let count = STATES.pow(acquisitions.len() as u32);
    let mut states = vec![0; acquisitions.len()];
    for number in 0..count {
        let mut rest = number;
        for state in &mut states {
            *state = rest % STATES;
            rest /= STATES;
        }
        let p: f64 = states.iter().zip(&own).map(|(s, own)| own[*s]).product();
        let p = p * together(acquisitions, &states);
        for (sum, state) in sums.iter_mut().zip(&states) {
            sum[*state] += p;
        }
    }
    sums.into_iter().map(normalised).collect()
}

/// What its own witnesses make of an acquisition.
fn alone(acquisition: &Acquisition) -> [f64; STATES] {
    let flat = [0.24, 0.24, 0.24, 0.24, 0.04];
    let mut p =
        acquisition.images.unwrap_or(flat).map(|p| (1.0 - DOUBT) * p + DOUBT / STATES as f64);
    for (phase, weight) in &acquisition.named {
        p[*phase as usize] *= weight;
    }
    let enhanced = if acquisition.enhanced > 0.0 { acquisition.enhanced } else { 1.0 };
    p[1..NONE].iter_mut().for_each(|p| *p *= enhanced);
    p
}

/// How well the phases of an examination go together.
fn together(acquisitions: &[Acquisition], states: &[usize]) -> f64 {
    let enhanced = states.iter().filter(|s| (1..NONE).contains(*s)).count();
    let mut p = 1.0;
    for (i, (a, one)) in acquisitions.iter().zip(states).enumerate() {
        if enhanced == 1 {
            p *= ALONE[*one];
        }
        for (b, other) in acquisitions.iter().zip(states).skip(i + 1) {
            if *one == NONE || *other == NONE {
                continue;
            }
            if one == other {
                p *= if *one == 0 { 0.3 } else { TWICE };
                continue;
            }
            let (early, late) = if one < other { (a, b) } else { (b, a) };
            if let (Some(early), Some(late)) = (early.at_ms, late.at_ms)
                && early > late
            {
                p *= BACKWARDS;
            }
            // Native apart, the aorta only fades.
            if one.min(other) > &0
                && let (Some(early), Some(late)) = (early.aorta_hu, late.aorta_hu)
                && late > early + 10.0
            {
                p *= UNLIKELY_FADING;
            }
        }
    }
    p
}

fn normalised(p: [f64; STATES]) -> [f64; STATES] {
    let sum: f64 = p.iter().sum();
    if sum > 0.0 { p.map(|p| p / sum) } else { [1.0 / STATES as f64; STATES] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(images: [f64; STATES], aorta_hu: f32) -> Acquisition {
        Acquisition { images: Some(images), aorta_hu: Some(aorta_hu), ..Acquisition::default() }
    }

    fn best(p: &[f64; STATES]) -> (usize, f64) {
        p.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }

    #[test]
    fn the_third_of_three_is_delayed_though_alone_it_would_be_portal() {
        // A real examination whose last acquisition is early for a delayed one.
        let arterial = seen([0.01, 0.97, 0.01, 0.0, 0.01], 304.0);
        let portal = seen([0.0, 0.02, 0.97, 0.01, 0.0], 206.0);
        let last = seen([0.0, 0.01, 0.86, 0.13, 0.0], 150.0);
        let p = weigh(&[arterial.clone(), portal.clone(), last.clone()]);
        assert_eq!([best(&p[0]).0, best(&p[1]).0, best(&p[2]).0], [1, 2, 3], "{p:?}");
        assert!(best(&p[1]).1 > 0.9);
        let alone = weigh(std::slice::from_ref(&last));
        assert_eq!(best(&alone[0]).0, 2);
        // No order of the list matters.
        let turned = weigh(&[last, arterial, portal]);
        assert!((turned[0][3] - p[2][3]).abs() < 1e-12);
    }

    #[test]
    fn images_win_over_a_name_and_a_name_over_silence() {
        let native = seen([0.98, 0.0, 0.01, 0.0, 0.01], 42.0);
        let lying = Acquisition { named: vec![(Phase::Vp, STRONG)], ..native };
        assert_eq!(best(&weigh(&[lying])[0]).0, 0);
        let silent = Acquisition { named: vec![(Phase::Vp, STRONG)], ..Acquisition::default() };
        let (state, p) = best(&weigh(&[silent])[0]);
        assert!(state == 2 && p > 0.8, "{p}");
        let nothing = weigh(&[Acquisition::default()]);
        assert!(best(&nothing[0]).1 < 0.7, "no evidence is no certainty");
    }

    #[test]
    fn the_clock_speaks_against_backward_phases() {
        let open =
            |at_ms| Acquisition { at_ms: Some(at_ms), ..seen([0.0, 0.5, 0.5, 0.0, 0.0], 180.0) };
        let p = weigh(&[open(60_000), open(0)]);
        assert_eq!((best(&p[0]).0, best(&p[1]).0), (2, 1));
    }
}
