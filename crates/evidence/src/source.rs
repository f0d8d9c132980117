//! The images that results were made from, as an archive knows them.
//!
//! Owns which attributes are copied: what names patient and study, and nothing else. Refuses to
//! read files: texts come in.

use std::collections::BTreeMap;
use std::fmt;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use hepalert_study::phase::Phase;
use hepalert_voxels::volume::dicom::SliceHeader;
use hepalert_voxels::volume::dicom::write::uid_of;

use crate::dataset::{Dataset, held_to};

/// What is copied word for word, its type, and the most characters it may have. Those that an
/// object must have are written empty where the source has none.
const COPIED: [(Tag, VR, usize, Need); 15] = [
    (tags::STUDY_DATE, VR::DA, 8, Need::Required),
    (tags::STUDY_TIME, VR::TM, 16, Need::Required),
    (tags::ACCESSION_NUMBER, VR::SH, 16, Need::Required),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN, 324, Need::Required),
    (tags::STUDY_DESCRIPTION, VR::LO, 64, Need::Optional),
    (tags::PATIENT_NAME, VR::PN, 324, Need::Required),
    (tags::PATIENT_ID, VR::LO, 64, Need::Required),
    (tags::ISSUER_OF_PATIENT_ID, VR::LO, 64, Need::Optional),
    (tags::PATIENT_BIRTH_DATE, VR::DA, 8, Need::Required),
    (tags::PATIENT_SEX, VR::CS, 16, Need::Required),
    (tags::PATIENT_AGE, VR::AS, 4, Need::Optional),
    (tags::PATIENT_SIZE, VR::DS, 16, Need::Optional),
    (tags::PATIENT_WEIGHT, VR::DS, 16, Need::Optional),
    (tags::STUDY_INSTANCE_UID, VR::UI, 64, Need::Required),
    (tags::STUDY_ID, VR::SH, 16, Need::Required),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// What is read besides: of the scanner's clock, of the space, and of compression that lost something.
const BESIDES: [Tag; 4] = [
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::POSITION_REFERENCE_INDICATOR,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// The attributes that [`Source::copied`] may hold.
pub fn wanted() -> Vec<Tag> {
    COPIED.iter().map(|(tag, ..)| *tag).chain(BESIDES).collect()
}

/// One image, or one frame of an image that holds many.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef {
    /// Its SOP class.
    pub class: String,
    /// Its SOP instance UID.
    pub uid: String,
    /// The frame, from 1; none of an image that is one.
    pub frame: Option<u32>,
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImageRef(..)")
    }
}

impl ImageRef {
    /// The image of a header.
    pub fn of(header: &SliceHeader) -> ImageRef {
        ImageRef {
            class: header.sop_class.clone(),
            uid: header.sop_uid.clone(),
            frame: header.frame.and_then(|frame| u32::try_from(frame + 1).ok()),
        }
    }

    /// As an item of a sequence of references.
    pub(crate) fn item(&self) -> Dataset {
        let mut item = reference(&self.class, &self.uid);
        if let Some(frame) = self.frame {
            item.whole(tags::REFERENCED_FRAME_NUMBER, frame as usize);
        }
        item
    }
}

/// A reference to an instance.
pub(crate) fn reference(class: &str, uid: &str) -> Dataset {
    Dataset::item(&[
        (tags::REFERENCED_SOP_CLASS_UID, VR::UI, class),
        (tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid),
    ])
}

/// A series that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSeries {
    /// Its UID.
    pub uid: String,
    /// What it was read as.
    pub phase: Phase,
    /// Its images, each instance once, in order of their UIDs.
    pub images: Vec<ImageRef>,
}

impl SourceSeries {
    /// The series of these headers.
    pub fn of(phase: Phase, headers: &[SliceHeader]) -> SourceSeries {
        let mut images: Vec<ImageRef> = headers.iter().map(ImageRef::of).collect();
        images.sort();
        let uid = headers.first().map_or(String::new(), |header| header.series_uid.clone());
        SourceSeries { uid, phase, images }
    }
}

/// The space that these headers of one series say they lie in. A scanner always says it; where it was
/// lost, the series is a space of its own.
pub fn space_of(headers: &[SliceHeader]) -> String {
    let said = headers.iter().find_map(|header| header.frame_of_reference_uid.clone());
    let series = headers.first().map_or("", |header| header.series_uid.as_str());
    said.unwrap_or_else(|| uid_of(&format!("space of {series}")))
}

/// Where results come from.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Texts of [`wanted`], as stored.
    pub copied: BTreeMap<Tag, String>,
    /// The space of the series that the results lie in.
    pub frame_of_reference_uid: String,
    /// The series that were read; the first is the one that the results lie on.
    pub series: Vec<SourceSeries>,
    /// Per slice of the results, the images that show it: one, more where slices were averaged,
    /// none where no image lies there.
    pub slices: Vec<Vec<ImageRef>>,
    /// Lossy compression was on the way.
    pub lossy: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(..)")
    }
}

impl Source {
    /// StudyInstanceUID of all its images.
    pub fn study_uid(&self) -> &str {
        self.copied.get(&tags::STUDY_INSTANCE_UID).map_or("", String::as_str)
    }

    /// The modules of patient and study.
    pub(crate) fn put_study(&self, dataset: &mut Dataset) {
        for (tag, vr, most, need) in COPIED {
            let text = self.copied.get(&tag).map_or("", String::as_str);
            let text = fitting(text, vr, most);
            if need == Need::Required || !text.is_empty() {
                dataset.text(tag, vr, &text);
            }
        }
    }

    /// The module of the frame of reference.
    pub(crate) fn put_frame_of_reference(&self, dataset: &mut Dataset) {
        let indicator = self.copied.get(&tags::POSITION_REFERENCE_INDICATOR);
        let indicator = held_to(indicator.map_or("", String::as_str), 64);
        dataset.texts(&[
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, &self.frame_of_reference_uid),
            (tags::POSITION_REFERENCE_INDICATOR, VR::LO, &indicator),
        ]);
    }

    /// Whether what the images show is what was measured, and if not, by how much it was compressed
    /// as far as the images say: what they leave out is left out here.
    pub(crate) fn put_compression(&self, dataset: &mut Dataset) {
        let is_lossy = if self.lossy { "01" } else { "00" };
        dataset.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, is_lossy);
        let told = [
            (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS),
            (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS),
        ];
        for (tag, vr) in told.into_iter().filter(|_| self.lossy) {
            if let Some(text) = self.copied.get(&tag) {
                dataset.text(tag, vr, text);
            }
        }
    }

    /// Every instance that was read, once, by series: PS3.3 section C.12.2.
    pub(crate) fn put_referenced_series(&self, dataset: &mut Dataset) {
        let series = self.series.iter().map(|series| {
            let mut item = Dataset::item(&[(tags::SERIES_INSTANCE_UID, VR::UI, &series.uid)]);
            item.items(tags::REFERENCED_INSTANCE_SEQUENCE, instances(&series.images));
            item
        });
        dataset.items(tags::REFERENCED_SERIES_SEQUENCE, series.collect());
    }
}

/// A text that its type allows; what is none of its type is left out, since an archive may refuse all for it.
fn fitting(text: &str, vr: VR, most: usize) -> String {
    match vr {
        // Three groups of at most 64 characters each (PS3.5 section 6.2).
        VR::PN => {
            let groups = text.split('=').take(3).map(|group| held_to(group, 64));
            groups.collect::<Vec<_>>().join("=").trim_end_matches('=').to_owned()
        }
        VR::DA if !(text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit())) => {
            String::new()
        }
        VR::TM if !is_time(text) => String::new(),
        _ => held_to(text, most),
    }
}

/// `HHMMSS.FFFFFF`, from its end on left out.
fn is_time(text: &str) -> bool {
    let (whole, part) =
        text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let pairs = [24, 60, 61].into_iter().zip((0..whole.len()).step_by(2));
    let fits = |(most, at): (u8, usize)| {
        whole.get(at..at + 2).and_then(|two| two.parse::<u8>().ok()).is_some_and(|n| n < most)
    };
    let has_part =
        part.is_none_or(|part| (1..=6).contains(&part.len()) && digits(part) && whole.len() == 6);
    matches!(whole.len(), 2 | 4 | 6) && digits(whole) && pairs.into_iter().all(fits) && has_part
}

/// References to whole instances, each once.
pub(crate) fn instances(images: &[ImageRef]) -> Vec<Dataset> {
    let mut seen: Vec<(&str, &str)> =
        images.iter().map(|image| (image.uid.as_str(), image.class.as_str())).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.into_iter().map(|(uid, class)| reference(class, uid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_of_its_type_is_left_out_and_names_keep_their_groups() {
        let long = "x".repeat(80);
        let name = fitting(&format!("{long}=\u{5c71}^\u{592a}"), VR::PN, 324);
        assert_eq!(name, format!("{}=\u{5c71}^\u{592a}", "x".repeat(64)));
        for (text, vr) in
            [("2026-01-31", VR::DA), ("08:00:00", VR::TM), ("256000", VR::TM), ("080", VR::TM)]
        {
            assert_eq!(fitting(text, vr, 16), "", "{text}");
        }
        for (text, vr) in
            [("20260131", VR::DA), ("08", VR::TM), ("080059.123", VR::TM), ("235960", VR::TM)]
        {
            assert_eq!(fitting(text, vr, 16), text);
        }
    }
}
