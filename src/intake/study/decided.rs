//! What was decided of a study's phases, told: its series one by one, and why each is read or not.
//!
//! Owns the words and the limits that both ways of deciding share. Holds no text of a header.

use hepalert_phases::Seen;

use super::phases::Scan;
use crate::intake::facts::StudyFiles;
use crate::intake::reading::gate::Refusal;
use hepalert_study::phase::Phase;

/// Slices closer than this are passed over: the coarse volume has one every 5 mm.
pub(super) const LOOK_MM: f64 = 2.4;
/// A look less probable than this is not told as what a series shows.
pub(super) const CLEAR: f64 = 0.5;
/// Images that give a named phase less than this contradict its name.
pub(super) const CONTRADICTS: f64 = 0.1;
/// So do images that give another phase more than this, however the series came to be read.
pub(super) const SHOWS_ANOTHER: f64 = 0.8;

/// One series of a study, told.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesLine {
    /// Which of the study's series it is, see [`StudyFiles::series`].
    pub at: usize,
    /// What its header says.
    pub scan: Scan,
    /// Series of one acquisition carry one number, from 1.
    pub acquisition: usize,
    /// What its images show.
    pub seen: Option<Seen>,
    /// The most probable phase, all witnesses weighed; `None` for none of these.
    pub phase: Option<Phase>,
    /// How probable.
    pub probability: f64,
    /// The phase it is read as.
    pub chosen: Option<Phase>,
    /// Read, or why not.
    pub outcome: String,
    /// What images and names say of it.
    pub signs: Vec<String>,
}

impl SeriesLine {
    /// Why it is read, or why not, in a sentence.
    pub fn why(&self) -> String {
        let signs = self.signs.iter().map(String::as_str);
        std::iter::once(self.outcome.as_str()).chain(signs).collect::<Vec<_>>().join("; ")
    }

    /// Another series of its scan is read instead, which that one is told too.
    pub fn give_way(&mut self, other: &mut SeriesLine, reason: &str) {
        if let Some(phase) = self.chosen.take() {
            self.outcome = format!("not read: {reason}");
            other.chosen = Some(phase);
            other.outcome = format!("read as {phase} in place of a series that comes first");
        }
    }
}

/// The outcome of looking.
#[derive(Debug)]
pub struct Decided {
    /// The study with every phase that can be told.
    pub told: StudyFiles,
    /// Why the expected phases are not all there.
    pub refusal: Option<Refusal>,
    /// The series that were looked at, in the order of the candidates: of very many not all.
    pub series: Vec<SeriesLine>,
}

/// A look and the densities that it rests on.
pub(crate) fn described(seen: &Seen) -> String {
    let (look, p) = seen.best();
    let name = if p < CLEAR { "unclear, perhaps " } else { "" };
    let organs = &seen.organs;
    let pairs = [
        ("aorta", organs.aorta_hu),
        ("liver", organs.liver_hu),
        ("spleen", organs.spleen_hu),
        ("kidney", organs.cortex_hu),
        ("pelvis", organs.pelvis_hu),
        ("cava", organs.upper_cava_hu),
    ];
    let told: Vec<String> =
        pairs.iter().filter_map(|(name, hu)| Some(format!("{name} {:.0}", (*hu)?))).collect();
    if !seen.has_evidence() {
        let which = if organs.aorta_hu.is_none() { "no aorta" } else { "no liver" };
        return format!("{which} was found");
    }
    format!("images show {name}{} {p:.2} ({} HU)", look.name().replace('_', " "), told.join(", "))
}
