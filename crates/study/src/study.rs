//! A patient's examination: its phases, and whether they lie on one grid.
//!
//! Owns the two states of a study. An unaligned
//! [`Study`] cannot be segmented, by type: only an [`AlignedStudy`] can. Knows nothing of
//! files and nothing of the patient: the key is a keyed hash made elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::phase::Phase;
use hepalert_voxels::volume::{Axes, Grid, Orientation, Volume};

/// Names a study without naming the patient: 32 lower-case hex digits (128 bits of
/// HMAC-SHA256 of the study UID under the site key).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct StudyKey(String);

impl StudyKey {
    /// Takes 32 lower-case hex digits; anything else is `None`.
    pub fn new(text: &str) -> Option<StudyKey> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (text.len() == 32 && text.chars().all(hex)).then(|| StudyKey(text.to_owned()))
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StudyKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<StudyKey, &'static str> {
        StudyKey::new(&text).ok_or("a study key has 32 lower-case hex digits")
    }
}

impl fmt::Display for StudyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a patient without saying who: as a [`StudyKey`] names a study, of what the hospital's
/// number for the patient is and who gave it. It stays in the store of this device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PatientKey(StudyKey);

impl PatientKey {
    /// Of a hash under the site key.
    pub fn new(hash: StudyKey) -> PatientKey {
        PatientKey(hash)
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// How much of the study's identity leaves the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// The study key only.
    Minimal,
    /// And the study UID.
    Linked,
    /// And the accession number.
    Full,
}

/// An examination as it came: one volume in Hounsfield units per phase, each on its own grid.
#[derive(Debug)]
pub struct Study {
    /// Who this is, without saying who.
    pub key: StudyKey,
    /// Hounsfield units per phase.
    pub phases: BTreeMap<Phase, Volume<f32>>,
}

/// How a study was stored before it was brought into the orientation an engine wants.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    turned: Vec<(Axes, Arc<Grid>)>,
}

/// The way of one grid from the engine's orientation back to the order of storage.
#[derive(Debug, Clone)]
pub struct Back {
    axes: Axes,
    used: [usize; 3],
    grid: Arc<Grid>,
}

impl Study {
    /// The study with the axes of all phases in one orientation, and the way back. No voxel
    /// changes its value. `None` leaves them as they are stored.
    pub fn brought_into(self, orientation: Option<Orientation>) -> (Study, Stored) {
        let Study { key, phases } = self;
        let mut turned = Vec::with_capacity(phases.len());
        let phases = phases.into_iter().map(|(phase, volume)| {
            let wanted = orientation.map(|wanted| Axes::to(wanted, volume.grid()));
            let axes = wanted.unwrap_or(Axes::STORED);
            turned.push((axes, Arc::clone(volume.grid())));
            (phase, axes.turn_volume(volume))
        });
        let phases = phases.collect();
        (Study { key, phases }, Stored { turned })
    }
}

impl Stored {
    /// The way back for the grid that a study is analysed on: one of its phases', or a new one,
    /// which stays as it is.
    pub fn back(&self, used: &Arc<Grid>) -> Back {
        let mut phases = self.turned.iter();
        let found = phases.find(|(axes, stored)| axes.grid(stored).matches(used));
        match found {
            Some((axes, stored)) => {
                Back { axes: axes.inverse(), used: used.shape(), grid: Arc::clone(stored) }
            }
            None => Back { axes: Axes::STORED, used: used.shape(), grid: Arc::clone(used) },
        }
    }
}

impl Back {
    /// The grid as it was stored.
    pub fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// A volume in the order of storage.
    pub fn volume<T: Copy + Send + Sync>(&self, used: Volume<T>) -> Volume<T> {
        let voxels = self.axes.turn(used.into_voxels());
        Volume::new(Arc::clone(&self.grid), voxels)
    }

    /// An array of the grid that was analysed, or of a box of it, in the order of storage.
    pub fn array<T: Copy + Send + Sync>(&self, used: Array3<T>) -> Array3<T> {
        self.axes.turn(used)
    }

    /// A whole slice of the grid that was analysed, as a half-open box in the order of storage.
    pub fn slice(&self, z: usize) -> [[usize; 3]; 2] {
        let [_, rows, columns] = self.used;
        self.region([[z, 0, 0], [z + 1, rows, columns]])
    }

    /// A half-open box `[z, y, x]` in the order of storage.
    pub fn region(&self, used: [[usize; 3]; 2]) -> [[usize; 3]; 2] {
        self.axes.turn_box(self.used, used)
    }
}

/// An examination whose phases share one grid, in channel order.
#[derive(Debug)]
pub struct AlignedStudy {
    key: StudyKey,
    phases: Vec<(Phase, Volume<f32>)>,
}

/// Why phases are not one aligned study.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAligned {
    /// A setting needs a phase that is not there.
    #[error("phase {0} is missing")]
    Missing(Phase),
    /// Two phases lie on different grids.
    #[error("phase {0} lies on another grid than phase {1}: register them first")]
    Grid(Phase, Phase),
}

impl AlignedStudy {
    /// Takes the given phases out of a study, in the given order. All must share one grid.
    ///
    /// # Errors
    /// [`NotAligned`] names the first phase that is missing or lies elsewhere.
    pub fn from_study(study: Study, wanted: &[Phase]) -> Result<AlignedStudy, NotAligned> {
        let Study { key, mut phases } = study;
        let mut aligned: Vec<(Phase, Volume<f32>)> = Vec::with_capacity(wanted.len());
        for &phase in wanted {
            let volume = phases.remove(&phase).ok_or(NotAligned::Missing(phase))?;
            if let Some((first, fixed)) = aligned.first()
                && !fixed.grid().matches(volume.grid())
            {
                return Err(NotAligned::Grid(phase, *first));
            }
            aligned.push((phase, volume));
        }
        assert!(!aligned.is_empty(), "a study is aligned over at least one phase");
        Ok(AlignedStudy { key, phases: aligned })
    }

    /// The study in an orientation, and the way back.
    pub fn brought_into(self, orientation: Option<Orientation>) -> (AlignedStudy, Back) {
        let AlignedStudy { key, phases } = self;
        let study = Study { key, phases: phases.into_iter().collect() };
        let wanted: Vec<Phase> = study.phases.keys().copied().collect();
        let (study, stored) = study.brought_into(orientation);
        let Study { key, mut phases } = study;
        let phases: Vec<(Phase, Volume<f32>)> =
            wanted.into_iter().filter_map(|phase| phases.remove_entry(&phase)).collect();
        let study = AlignedStudy { key, phases };
        let back = stored.back(study.grid());
        (study, back)
    }

    /// The study's key.
    pub fn key(&self) -> &StudyKey {
        &self.key
    }

    /// The grid that all phases share.
    pub fn grid(&self) -> &Arc<Grid> {
        self.phases[0].1.grid()
    }

    /// The phases in channel order, in Hounsfield units.
    pub fn phases(&self) -> &[(Phase, Volume<f32>)] {
        &self.phases
    }
}
