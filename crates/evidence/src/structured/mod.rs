//! DICOM SR: an imaging measurement report (TID 1500) as Comprehensive 3D SR.
//!
//! Owns what is said of each finding and of the patient, and the header of the document: preliminary
//! and unverified, with the images and the segmentation it rests on as evidence. Refuses to call a
//! finding by anything but what it is suspected to be.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use hepalert_study::outcome::{AlertLevel, NOTICE, PatientClass};
use hepalert_voxels::volume::Grid;

use crate::dataset::{Dataset, WriteError};
use crate::finding::Finding;
use crate::maker::{Identity, Maker, Series};
use crate::source::{Source, instances, reference};
use crate::{Object, code};
use content::{Item, Relation};

mod content;
mod group;

/// What a report is made of.
#[derive(Debug)]
pub struct Content<'a> {
    /// The images.
    pub source: &'a Source,
    /// The grid that everything lies on: that of the first series as it was stored.
    pub grid: &'a Grid,
    /// The findings, in the order of their segments.
    pub findings: &'a [Finding<'a>],
    /// UID of the segmentation, where there is one.
    pub segmentation: Option<&'a str>,
    /// Whether malignancy is suspected.
    pub verdict: AlertLevel,
    /// The class of both views, where they agree.
    pub class: Option<PatientClass>,
    /// The liver's volume.
    pub liver_cm3: f64,
    /// What lowers the trust in the result, each in a sentence.
    pub limits: &'a [String],
    /// The report of an earlier revision that this one replaces.
    pub predecessor: Option<&'a Predecessor>,
}

/// A report that was written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// Its series.
    pub series_uid: String,
    /// SOPInstanceUID of the report itself.
    pub sop_uid: String,
}

/// Writes a report.
///
/// # Errors
/// [`WriteError::Encode`].
pub fn write(
    content: &Content<'_>,
    maker: &Maker,
    identity: &Identity,
) -> Result<Object, WriteError> {
    let mut object = root(content, maker).into_dataset();
    content.source.put_study(&mut object);
    maker.put_series(&mut object, Series::Report, identity);
    code::put_scheme(&mut object);
    put_document(&mut object);
    if let Some(before) = content.predecessor {
        object.nested(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, replaced(content, before));
    }
    object.items(
        tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
        vec![evidence(content, identity)],
    );
    object.into_object(uids::COMPREHENSIVE3_DSR_STORAGE, identity.uid("report"))
}

/// What the document is worth: preliminary, and seen by nobody.
fn put_document(object: &mut Dataset) {
    object.texts(&[
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::COMPLETION_FLAG, VR::CS, "COMPLETE"),
        (tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
        (tags::PRELIMINARY_FLAG, VR::CS, "PRELIMINARY"),
    ]);
    object.items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    object.items(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new());
}

/// The report of an earlier revision of this study.
fn replaced(content: &Content<'_>, before: &Predecessor) -> Dataset {
    let report = reference(uids::COMPREHENSIVE3_DSR_STORAGE, &before.sop_uid);
    let mut series = Dataset::item(&[(tags::SERIES_INSTANCE_UID, VR::UI, &before.series_uid)]);
    series.nested(tags::REFERENCED_SOP_SEQUENCE, report);
    let study = (tags::STUDY_INSTANCE_UID, VR::UI, content.source.study_uid());
    let mut item = Dataset::item(&[study]);
    item.nested(tags::REFERENCED_SERIES_SEQUENCE, series);
    item
}

/// Every image that was read, and the segmentation.
fn evidence(content: &Content<'_>, identity: &Identity) -> Dataset {
    let series = |uid: &str, items: Vec<Dataset>| {
        let mut item = Dataset::item(&[(tags::SERIES_INSTANCE_UID, VR::UI, uid)]);
        item.items(tags::REFERENCED_SOP_SEQUENCE, items);
        item
    };
    let read = content.source.series.iter();
    let mut all: Vec<Dataset> =
        read.map(|source| series(&source.uid, instances(&source.images))).collect();
    if let Some(uid) = content.segmentation {
        let item = reference(uids::SEGMENTATION_STORAGE, uid);
        all.push(series(&Series::Segmentation.uid(identity), vec![item]));
    }
    let study = (tags::STUDY_INSTANCE_UID, VR::UI, content.source.study_uid());
    let mut item = Dataset::item(&[study]);
    item.items(tags::REFERENCED_SERIES_SEQUENCE, all);
    item
}

fn root(content: &Content<'_>, maker: &Maker) -> Item {
    let language = Item::code(code::LANGUAGE, code::ENGLISH);
    let groups = content
        .findings
        .iter()
        .enumerate()
        .map(|(place, finding)| group::of_finding(content, maker, finding, place));
    let mut measured = Item::container(code::MEASUREMENTS).with_all(Relation::Contains, groups);
    if content.liver_cm3 > 0.0 {
        measured = measured.with(Relation::Contains, group::of_liver(content, maker));
    }
    Item::template(code::REPORT, "1500")
        .with(Relation::HasConceptMod, language)
        .with_all(Relation::HasObsContext, observer(maker))
        .with(Relation::HasConceptMod, Item::code(code::PROCEDURE_REPORTED, code::CT))
        .with(Relation::Contains, measured)
        .with(Relation::Contains, qualitative(content))
}

/// The device that looked, TID 1004.
fn observer(maker: &Maker) -> [Item; 6] {
    [
        Item::code(code::OBSERVER_TYPE, code::DEVICE),
        Item::uid(code::OBSERVER_UID, &maker.device_uid()),
        Item::text(code::OBSERVER_NAME, maker.device.as_deref().unwrap_or("hepalert")),
        Item::text(code::OBSERVER_MANUFACTURER, "hepalert"),
        Item::text(code::OBSERVER_MODEL, "hepalert"),
        Item::text(code::OBSERVER_SERIAL, &maker.serial()),
    ]
}

/// What is said of the patient as a whole, and what that is worth.
fn qualitative(content: &Content<'_>) -> Item {
    let verdict = Item::code(code::SUSPICION, code::verdict(content.verdict));
    let class = content.class.map(code::suspected_class);
    let class = class.map(|class| Item::code(code::PATIENT_CLASS, class));
    let limits = content.limits.iter().map(|limit| Item::text(code::LIMIT, limit));
    Item::container(code::QUALITATIVE)
        .with(Relation::Contains, verdict)
        .with_all(Relation::Contains, class)
        .with_all(Relation::Contains, limits)
        .with(Relation::Contains, Item::text(code::NOTICE, NOTICE))
}

#[cfg(test)]
mod tests;
