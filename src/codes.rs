//! What every code means, and what to do: the codes of refused and failed studies, of a degraded
//! device, of a report's quality, of engines that were not taken, of commands.
//!
//! Owns the sentences that go with codes which have no type of their own; those of refused
//! studies are intake's. `docs/codes.md` is written from here, and a test finds each code that
//! the program can send. Refuses to send.

mod archive;
mod device;
mod studies;

use crate::intake::{QualityFlag, RefusalCode};

use archive::ARCHIVE;
use device::{COMMANDS, DEGRADED, ENGINES};
use studies::{FAILED, QUALITY, REFUSED, STRANGERS};

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
    let rejected = RefusalCode::ALL.map(|code| Meaning {
        code: code.as_str(),
        sentence: code.sentence(),
        advice: code.advice(),
    });
    let reading = QualityFlag::ALL.map(|flag| Meaning {
        code: flag.as_str(),
        sentence: flag.sentence(),
        advice: flag.advice(),
    });
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
        Chapter { title: "Archives", seen: "`hepalert archive`", codes: ARCHIVE.to_vec() },
    ]
}

/// What the code of an archive's work means.
pub fn of_archive(code: &str) -> Option<Meaning> {
    ARCHIVE.into_iter().find(|meaning| meaning.code == code)
}

/// What the code of a study means, where it is known.
pub fn of_study(code: &str) -> Option<Meaning> {
    chapters().into_iter().take(2).flat_map(|chapter| chapter.codes).find(|m| m.code == code)
}

const fn meaning(code: &'static str, sentence: &'static str, advice: &'static str) -> Meaning {
    Meaning { code, sentence, advice }
}

#[cfg(test)]
mod tests {
    use crate::intake::folder::stranger_kind::Kind;

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
    fn every_kind_of_stranger_is_explained() {
        let unexplained: Vec<_> =
            Kind::ALL.into_iter().filter(|kind| of_study(kind.as_str()).is_none()).collect();
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
