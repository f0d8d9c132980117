//! Phases onto one grid: the only place where a study of several phases becomes an
//! [`AlignedStudy`].
//!
//! Owns which phase stays, and what is said of each that was moved. Which engine then runs
//! follows from what could be aligned; [`best`] is the rule. Refuses to know how images are
//! registered (`hepalert-register`), files and clocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use hepalert_register::align::{self as registration, AlignmentKind, Quality, RegisterError};
use hepalert_study::alignment::{AlignmentMethod, Doubt};
use hepalert_study::phase::Phase;
use hepalert_study::study::{AlignedStudy, NotAligned, Study};
use hepalert_voxels::volume::Volume;

pub use hepalert_register::align::Settings as Registration;

/// The phase that stays where it is, if it is there; else the next of these: the better the
/// liver stands out, the better others find their place.
const REFERENCE: [Phase; 4] = [Phase::Vp, Phase::Dp, Phase::Ap, Phase::Nc];
/// A phase that shows less of the reference's tissue than this is said to be incomplete.
const WHOLE: f64 = 0.97;

/// How phases are aligned.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The phase that stays, where a study has it.
    pub reference: Option<Phase>,
    /// How the others are moved.
    pub registration: Registration,
}

impl Rules {
    /// Onto this phase, where a study has it.
    pub fn onto(reference: Phase) -> Rules {
        Rules { reference: Some(reference), ..Rules::default() }
    }
}

/// A study on one grid, and how each phase came there.
#[derive(Debug)]
pub struct Aligned {
    /// The phases in channel order.
    pub study: AlignedStudy,
    /// What was done, in channel order; empty where there is one phase.
    pub phases: Vec<PhaseAlignment>,
}

/// How a phase came onto the grid of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseAlignment {
    /// Which phase.
    pub phase: Phase,
    /// What was done with it; `None` for the reference itself.
    pub moved: Option<(AlignmentKind, Quality)>,
}

impl PhaseAlignment {
    /// A word for reports.
    pub fn method(&self) -> AlignmentMethod {
        match self.moved {
            None => AlignmentMethod::Reference,
            Some((AlignmentKind::Untouched, _)) => AlignmentMethod::AlreadyAligned,
            Some((AlignmentKind::Resampled, _)) => AlignmentMethod::Resampled,
            Some((AlignmentKind::Deformed, _)) => AlignmentMethod::Deformable,
            Some((AlignmentKind::Rigid(_), _)) => AlignmentMethod::Rigid,
            Some((AlignmentKind::Failed(_), _)) => AlignmentMethod::Failed,
        }
    }

    /// Why it is not as it should be, for reports.
    pub fn doubt(&self) -> Option<Doubt> {
        match self.moved {
            Some((AlignmentKind::Rigid(doubt) | AlignmentKind::Failed(doubt), _)) => Some(doubt),
            Some((
                AlignmentKind::Untouched | AlignmentKind::Resampled | AlignmentKind::Deformed,
                _,
            ))
            | None => None,
        }
    }

    /// Whether it shows less of the patient than the reference does.
    pub fn is_incomplete(&self) -> bool {
        self.moved.is_some_and(|(_, quality)| quality.coverage < WHOLE)
    }
}

/// Why a study is not on one grid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AlignError {
    /// A phase is not there.
    #[error("phase {0} is missing")]
    Missing(Phase),
    /// A phase cannot be registered.
    #[error("phase {phase}: {error}")]
    Unusable {
        /// Which phase; the reference where it is at fault.
        phase: Phase,
        /// What is wrong with it.
        error: RegisterError,
    },
    /// No map brings these phases onto the reference.
    #[error("phases {} could not be aligned with the reference: {}", codes(.phases), reasons(.phases))]
    Failed {
        /// Each with what the gate found.
        phases: Vec<(Phase, Doubt)>,
    },
}

impl AlignError {
    /// The phases that stand in the way.
    pub fn phases(&self) -> Vec<Phase> {
        match self {
            AlignError::Missing(phase) | AlignError::Unusable { phase, .. } => vec![*phase],
            AlignError::Failed { phases } => phases.iter().map(|(phase, _)| *phase).collect(),
        }
    }

    /// The reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            AlignError::Missing(_) => "missing_phase",
            AlignError::Unusable { error, .. } => error.code(),
            AlignError::Failed { .. } => "alignment_failed",
        }
    }
}

fn codes(phases: &[(Phase, Doubt)]) -> String {
    phases.iter().map(|(phase, _)| phase.code()).collect::<Vec<_>>().join(", ")
}

fn reasons(phases: &[(Phase, Doubt)]) -> String {
    phases.iter().map(|(_, doubt)| doubt.name()).collect::<Vec<_>>().join(", ")
}

/// Brings the wanted phases onto the grid of the reference. What lies there already is not
/// touched; a voxel that a phase does not show is air there.
///
/// # Errors
/// [`AlignError`] names the phases that stand in the way.
///
/// # Panics
/// If no phase is wanted.
pub fn align(study: Study, wanted: &[Phase], rules: &Rules) -> Result<Aligned, AlignError> {
    align_by(study, wanted, |phases| move_all(phases, rules))
}

/// As [`align`], but phases that lie on one grid stay as they are: whoever made them so has
/// aligned them.
///
/// # Errors
/// [`AlignError`] names the phases that stand in the way.
///
/// # Panics
/// If no phase is wanted.
pub fn align_given(study: Study, wanted: &[Phase], rules: &Rules) -> Result<Aligned, AlignError> {
    align_by(study, wanted, |phases| {
        let mut grids = phases.values().map(|volume| volume.grid());
        let first = grids.next();
        match first.is_some_and(|first| grids.all(|grid| first.matches(grid))) {
            true => Ok(Vec::new()),
            false => move_all(phases, rules),
        }
    })
}

/// The one place where phases become an [`AlignedStudy`]; `bring` brings several onto one grid.
fn align_by(
    study: Study,
    wanted: &[Phase],
    bring: impl FnOnce(&mut BTreeMap<Phase, Volume<f32>>) -> Result<Vec<PhaseAlignment>, AlignError>,
) -> Result<Aligned, AlignError> {
    assert!(!wanted.is_empty(), "an engine takes at least one phase");
    let Study { key, mut phases } = study;
    phases.retain(|phase, _| wanted.contains(phase));
    if let Some(missing) = wanted.iter().find(|phase| !phases.contains_key(phase)) {
        return Err(AlignError::Missing(*missing));
    }
    let moved = if phases.len() > 1 { bring(&mut phases)? } else { Vec::new() };
    let study =
        AlignedStudy::from_study(Study { key, phases }, wanted).map_err(|error| match error {
            NotAligned::Missing(phase) | NotAligned::Grid(phase, _) => AlignError::Missing(phase),
        })?;
    Ok(Aligned { study, phases: moved })
}

fn move_all(
    phases: &mut BTreeMap<Phase, Volume<f32>>,
    rules: &Rules,
) -> Result<Vec<PhaseAlignment>, AlignError> {
    let preferred = rules.reference.into_iter().chain(REFERENCE);
    let Some(reference) = preferred.into_iter().find(|phase| phases.contains_key(phase)) else {
        return Ok(Vec::new());
    };
    let moving: Vec<Phase> = phases.keys().copied().filter(|phase| *phase != reference).collect();
    let volumes: Vec<&Volume<f32>> = moving.iter().map(|phase| &phases[phase]).collect();
    let found = registration::align(&phases[&reference], &volumes, &rules.registration);
    let found = found.map_err(|error| {
        let phase = error.moving().map_or(reference, |n| moving[n]);
        AlignError::Unusable { phase, error }
    })?;
    let failed = moving.iter().zip(&found).filter_map(|(phase, found)| match found.kind {
        AlignmentKind::Failed(doubt) => Some((*phase, doubt)),
        AlignmentKind::Untouched
        | AlignmentKind::Resampled
        | AlignmentKind::Deformed
        | AlignmentKind::Rigid(_) => None,
    });
    let failed: Vec<_> = failed.collect();
    if !failed.is_empty() {
        return Err(AlignError::Failed { phases: failed });
    }
    let grid = Arc::clone(phases[&reference].grid());
    let mut said = vec![PhaseAlignment { phase: reference, moved: None }];
    for (phase, found) in moving.into_iter().zip(found) {
        if found.kind != AlignmentKind::Untouched
            && let Some(volume) = phases.get_mut(&phase)
        {
            *volume = found.map.warp(volume, &grid).volume;
        }
        said.push(PhaseAlignment { phase, moved: Some((found.kind, found.quality)) });
    }
    said.sort_by_key(|alignment| alignment.phase);
    Ok(said)
}

/// Which of several engines a study is for: of those whose phases are all there, the one that
/// takes most phases; of equals one with the portal venous phase, then one with the native, then
/// the first.
pub fn best<'a>(engines: impl IntoIterator<Item = &'a [Phase]>, there: &[Phase]) -> Option<usize> {
    let fits = |phases: &[Phase]| phases.iter().all(|phase| there.contains(phase));
    let fitting = engines.into_iter().enumerate().filter(|(_, phases)| fits(phases));
    // `max_by_key` takes the last of equals: number backwards.
    fitting.max_by_key(|(n, phases)| (worth(phases), std::cmp::Reverse(*n))).map(|(n, _)| n)
}

/// How good it is to read these phases; larger is better.
pub fn worth(phases: &[Phase]) -> (usize, bool, bool) {
    (phases.len(), phases.contains(&Phase::Vp), phases.contains(&Phase::Nc))
}

#[cfg(test)]
mod tests {
    use hepalert_study::study::StudyKey;
    use hepalert_voxels::volume::Grid;
    use ndarray::Array3;

    use super::*;
    use Phase::{Ap, Dp, Nc, Vp};

    #[test]
    fn the_engine_with_most_phases_that_are_there_is_best() {
        let engines: [&[Phase]; 5] = [&[Vp], &[Nc], &[Nc, Ap, Vp, Dp], &[Nc, Ap, Vp], &[Ap, Dp]];
        assert_eq!(best(engines, &Phase::ALL), Some(2));
        assert_eq!(best(engines, &[Nc, Ap, Vp]), Some(3));
        assert_eq!(best(engines, &[Nc, Vp]), Some(0));
        assert_eq!(best(engines, &[Nc, Ap]), Some(1));
        assert_eq!(best(engines, &[Ap, Vp, Dp]), Some(4));
        assert_eq!(best(engines, &[Dp]), None);
    }

    fn volume(shape: [usize; 3], slice_mm: f64, at: [f64; 3], gain: f32) -> Volume<f32> {
        let grid = Arc::new(Grid::axial(shape, [slice_mm, 2.0, 2.0], at));
        let value = |(z, y, x): (usize, usize, usize)| {
            let [a, b, c] = grid.ras_mm([z as f64, y as f64, x as f64]);
            // Bumps of about 15 mm.
            let wave = (a / 5.0).sin() * (b / 6.0).cos() + (c / 7.0 + a / 11.0).sin();
            40.0 + gain * wave as f32
        };
        Volume::new(Arc::clone(&grid), Array3::from_shape_fn(shape, value))
    }

    fn study(phases: impl IntoIterator<Item = (Phase, Volume<f32>)>) -> Study {
        let key = StudyKey::new(&"c".repeat(32)).unwrap();
        Study { key, phases: phases.into_iter().collect() }
    }

    #[test]
    fn phases_come_onto_the_grid_of_the_venous_one_and_it_is_said_how() {
        let venous = volume([24, 40, 44], 3.0, [0.0; 3], 60.0);
        let grid = Arc::clone(venous.grid());
        let same = volume([24, 40, 44], 3.0, [0.0; 3], -30.0);
        // Half the slices, and the lowest part of the patient not scanned.
        let native = volume([9, 40, 44], 6.0, [0.0, 0.0, 12.0], 25.0);
        let study = study([(Vp, venous), (Ap, same), (Nc, native)]);
        let arterial = study.phases[&Ap].voxels().clone();
        let found = align(study, &[Nc, Ap, Vp], &Rules::default()).unwrap();
        let methods: Vec<_> = found.phases.iter().map(|p| (p.phase, p.method().name())).collect();
        assert_eq!(methods, [(Nc, "resampled"), (Ap, "already_aligned"), (Vp, "reference")]);
        assert!(found.phases[0].is_incomplete() && !found.phases[1].is_incomplete());
        assert!(found.study.grid().matches(&grid));
        assert_eq!(found.study.phases()[1].1.voxels(), arterial, "left alone to the bit");
        let native = found.study.phases()[0].1.voxels();
        assert_eq!(native[[0, 20, 20]], hepalert_register::map::OUTSIDE_HU);
        assert!(native[[12, 20, 20]] > -100.0);
    }

    /// The site's choice of the phase that stays, and a gate that takes no deformation.
    #[test]
    fn what_the_gate_refuses_comes_rigidly_onto_the_phase_that_stays() {
        let venous = volume([24, 40, 44], 3.0, [0.0; 3], 60.0);
        let arterial = volume([24, 40, 44], 3.0, [1.0, 0.0, 2.0], -30.0);
        let grid = Arc::clone(arterial.grid());
        let mut rules = Rules::onto(Ap);
        rules.registration.gate.jacobian_deviation = 0.0;
        rules.registration.recognise_aligned = false;
        let found = align(study([(Vp, venous), (Ap, arterial)]), &[Ap, Vp], &rules).unwrap();
        let said: Vec<_> = found.phases.iter().map(|p| (p.phase, p.method(), p.doubt())).collect();
        let rigid = (Vp, AlignmentMethod::Rigid, Some(Doubt::UnevenVolumeChange));
        assert_eq!(said, [(Ap, AlignmentMethod::Reference, None), rigid]);
        assert!(found.study.grid().matches(&grid));
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let venous = || volume([24, 40, 44], 3.0, [0.0; 3], 60.0);
        let align =
            |study, wanted: &[Phase]| super::align(study, wanted, &Rules::default()).unwrap_err();
        let missing = align(study([(Vp, venous())]), &[Ap, Vp]);
        assert_eq!((missing.code(), missing.phases()), ("missing_phase", vec![Ap]));
        let far = study([(Vp, venous()), (Ap, volume([24, 40, 44], 3.0, [900.0, 0.0, 0.0], 60.0))]);
        let far = align(far, &[Ap, Vp]);
        assert_eq!((far.code(), far.phases()), ("no_overlap", vec![Ap]));
        let little = volume([24, 40, 44], 3.0, [0.0, 0.0, 60.0], 60.0);
        let little = align(study([(Vp, venous()), (Dp, little)]), &[Vp, Dp]);
        assert_eq!((little.code(), little.phases()), ("alignment_failed", vec![Dp]));
        assert!(little.to_string().contains("little_overlap"), "{little}");
    }
}
