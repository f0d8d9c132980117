//! What every code means, and what to do: the codes of refused and failed studies, of a degraded
//! device, of a report's quality, of engines that were not taken, of commands.
//!
//! Owns the sentences that go with codes which have no type of their own; those of refused
//! studies are intake's. `docs/codes.md` is written from here, and a test finds each code that
//! the program can send. Refuses to send.

mod archive;
mod device;
mod files;
mod studies;

use crate::intake::{QualityFlag, RefusalCode};
use hepalert_study::phase::Phase;

use archive::ARCHIVE;
use device::{COMMANDS, DEGRADED, ENGINES};
use files::{EDITS, FILES};
use studies::{FAILED, LESIONS, QUALITY, REFUSED, STRANGERS};

/// A code, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// As it is sent.
    pub code: &'static str,
    /// What it means.
    pub sentence: &'static str,
    /// What to do next.
    pub advice: &'static str,
}

/// A chapter of the table: where its codes stand, and its codes.
#[derive(Debug)]
pub struct Chapter {
    /// What these codes are.
    pub title: &'static str,
    /// Where they are seen.
    pub seen: &'static str,
    /// The codes.
    pub codes: Vec<Meaning>,
}

/// All codes there are.
pub fn chapters() -> Vec<Chapter> {
    let rejected = RefusalCode::ALL.map(of_refusal);
    let reading = QualityFlag::ALL.map(of_flag);
    vec![
        Chapter {
            title: "Studies that are refused",
            seen: "`event/study` with `rejected`, `hepalert queue`, `hepalert study show`",
            codes: rejected.into_iter().chain(REFUSED).chain(STRANGERS).collect(),
        },
        Chapter {
            title: "Studies that fail or wait",
            seen: "`event/study` with `failed`, `hepalert queue`, `event/engine`",
            codes: FAILED.to_vec(),
        },
        Chapter {
            title: "Quality of a report",
            seen: "`quality` in `report.json`, `event/result` and `event/alert`",
            codes: QUALITY.into_iter().chain(reading).collect(),
        },
        Chapter {
            title: "What became of a lesion",
            seen: "`reclassified.outcome` in `report.json`, what `hepalert analyze` says is discarded",
            codes: LESIONS.to_vec(),
        },
        Chapter {
            title: "A degraded device",
            seen: "`reasons` in `status`",
            codes: DEGRADED.to_vec(),
        },
        Chapter {
            title: "Engines that are not taken",
            seen: "`event/engine` with `refused` or `rolled_back`, `hepalert engine`",
            codes: ENGINES.to_vec(),
        },
        Chapter {
            title: "Commands that are refused",
            seen: "`reply/...`",
            codes: COMMANDS.to_vec(),
        },
        Chapter {
            title: "Files that a command cannot use",
            seen: "`code` of a failing command with `--json`, `code` of `Refused` in Python",
            codes: FILES.to_vec(),
        },
        Chapter {
            title: "Edits of labels that are refused",
            seen: "the labeler",
            codes: EDITS.to_vec(),
        },
        Chapter { title: "Archives", seen: "`hepalert archive`", codes: ARCHIVE.to_vec() },
    ]
}

/// What the reason of a degraded device means.
pub fn of_device(code: &str) -> Option<Meaning> {
    DEGRADED.into_iter().find(|meaning| meaning.code == code)
}

/// What the code of an archive's work means.
pub fn of_archive(code: &str) -> Option<Meaning> {
    ARCHIVE.into_iter().find(|meaning| meaning.code == code)
}

/// What the code of a study means, where it is known.
pub fn of_study(code: &str) -> Option<Meaning> {
    let refusal = RefusalCode::ALL.into_iter().find(|known| known.as_str() == code);
    refusal.map(of_refusal).or_else(|| {
        let others = REFUSED.into_iter().chain(STRANGERS).chain(FAILED);
        others.into_iter().find(|meaning| meaning.code == code)
    })
}

/// A flag of a report's quality as a person reads it: code, sentence and next step.
pub fn told(flag: &str) -> String {
    of_quality(flag).map_or(flag.to_owned(), |meaning| {
        format!("{flag} ({}; {})", sentence_for(flag, meaning), meaning.advice)
    })
}

/// The sentence of a flag's meaning; that of `phase_nc_incomplete` names the phase.
pub fn sentence_for(flag: &str, meaning: Meaning) -> String {
    let word = flag.strip_prefix("phase_").and_then(|rest| rest.split('_').next());
    match word.and_then(Phase::from_code) {
        Some(phase) => meaning.sentence.replace("this phase", &format!("the phase {phase}")),
        None => meaning.sentence.to_owned(),
    }
}

/// What a flag of a report's quality means.
pub fn of_quality(code: &str) -> Option<Meaning> {
    let flag = QualityFlag::ALL.into_iter().find(|known| known.as_str() == code);
    // `phase_*_incomplete` stands for that of each phase.
    let is_code = |known: &str| match known.split_once('*') {
        Some((before, after)) => {
            let rest = code.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            rest.is_some_and(|phase| phase == "*" || Phase::from_code(phase).is_some())
        }
        None => known == code,
    };
    let found = QUALITY.into_iter().find(|meaning| is_code(meaning.code));
    found.or_else(|| flag.map(of_flag))
}

fn of_refusal(code: RefusalCode) -> Meaning {
    meaning(code.as_str(), code.sentence(), code.advice())
}

fn of_flag(flag: QualityFlag) -> Meaning {
    meaning(flag.as_str(), flag.sentence(), flag.advice())
}

const fn meaning(code: &'static str, sentence: &'static str, advice: &'static str) -> Meaning {
    Meaning { code, sentence, advice }
}

#[cfg(test)]
mod tests {
    use crate::intake::folder::stranger_kind::StrangerKind;

    use super::*;

    #[test]
    fn every_code_is_explained_once_in_its_chapter() {
        for chapter in chapters() {
            let mut codes: Vec<_> = chapter.codes.iter().map(|meaning| meaning.code).collect();
            let all = codes.len();
            codes.sort_unstable();
            codes.dedup();
            assert_eq!(codes.len(), all, "{}", chapter.title);
        }
        assert_eq!(of_study("worker_died").unwrap().code, "worker_died");
        assert_eq!(of_study("disk_full"), None, "a device's, not a study's");
    }

    #[test]
    fn every_code_is_found_in_its_own_chapter() {
        let chapters = chapters();
        let of: [fn(&str) -> Option<Meaning>; 4] = [of_study, of_study, of_quality, of_device];
        for (chapter, of) in [0, 1, 2, 4].map(|at| &chapters[at]).into_iter().zip(of) {
            for known in &chapter.codes {
                assert_eq!(of(known.code), Some(*known), "{}", chapter.title);
            }
        }
        // One code in two chapters: each has words of its own.
        assert_ne!(of_device("engine_unusable"), of_study("engine_unusable"));
        assert_eq!(of_quality("engine_unusable"), None);
        assert_eq!(of_quality("phase_nc_incomplete").unwrap().code, "phase_*_incomplete");
        assert_eq!(of_quality("phase_xy_incomplete"), None);
    }

    #[test]
    fn every_kind_of_stranger_is_explained() {
        let unexplained: Vec<_> = StrangerKind::ALL
            .into_iter()
            .filter(|kind| of_study(kind.as_str()).is_none())
            .collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
    }

    #[test]
    fn all_that_ails_the_export_folder_is_explained() {
        let known: Vec<_> = DEGRADED.iter().map(|meaning| meaning.code).collect();
        for code in crate::intake::Degraded::CODES {
            assert!(known.contains(&code), "{code}");
        }
    }
}
