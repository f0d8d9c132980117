//! Content items: the leaves and branches of a structured report.
//!
//! Owns how each type of value is written (PS3.3 section C.17.3). Knows nothing of what is reported.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use crate::code::Code;
use crate::dataset::{Dataset, held_to};
use crate::source::ImageRef;

/// How an item belongs to the one above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Contains,
    HasObsContext,
    HasConceptMod,
    InferredFrom,
    SelectedFrom,
}

impl Relation {
    fn name(self) -> &'static str {
        match self {
            Relation::Contains => "CONTAINS",
            Relation::HasObsContext => "HAS OBS CONTEXT",
            Relation::HasConceptMod => "HAS CONCEPT MOD",
            Relation::InferredFrom => "INFERRED FROM",
            Relation::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// A content item, and what hangs below it.
#[derive(Debug)]
pub(super) struct Item {
    dataset: Dataset,
    below: Vec<(Relation, Item)>,
}

impl Item {
    fn new(value_type: &str, concept: Option<Code>) -> Item {
        let mut dataset = Dataset::item(&[(tags::VALUE_TYPE, VR::CS, value_type)]);
        if let Some(concept) = concept {
            concept.put(&mut dataset, tags::CONCEPT_NAME_CODE_SEQUENCE);
        }
        Item { dataset, below: Vec::new() }
    }

    pub(super) fn container(concept: Code) -> Item {
        let mut item = Item::new("CONTAINER", Some(concept));
        item.dataset.text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
        item
    }

    /// A container that follows a template of PS3.16.
    pub(super) fn template(concept: Code, template: &str) -> Item {
        let mut item = Item::container(concept);
        let template = Dataset::item(&[
            (tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
            (tags::TEMPLATE_IDENTIFIER, VR::CS, template),
        ]);
        item.dataset.nested(tags::CONTENT_TEMPLATE_SEQUENCE, template);
        item
    }

    pub(super) fn code(concept: Code, value: Code) -> Item {
        let mut item = Item::new("CODE", Some(concept));
        value.put(&mut item.dataset, tags::CONCEPT_CODE_SEQUENCE);
        item
    }

    pub(super) fn text(concept: Code, text: &str) -> Item {
        let mut item = Item::new("TEXT", Some(concept));
        item.dataset.text(tags::TEXT_VALUE, VR::UT, &held_to(text, 1024));
        item
    }

    pub(super) fn uid(concept: Code, uid: &str) -> Item {
        let mut item = Item::new("UIDREF", Some(concept));
        item.dataset.text(tags::UID, VR::UI, uid);
        item
    }

    pub(super) fn number(concept: Code, value: f64, unit: Code) -> Item {
        let mut item = Item::new("NUM", Some(concept));
        let mut measured = Dataset::new();
        measured.decimals(tags::NUMERIC_VALUE, &[value]);
        unit.put(&mut measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE);
        item.dataset.nested(tags::MEASURED_VALUE_SEQUENCE, measured);
        item
    }

    /// An image, or a segment of a segmentation.
    pub(super) fn image(concept: Option<Code>, image: &ImageRef, segment: Option<u16>) -> Item {
        let mut item = Item::new("IMAGE", concept);
        let mut reference = image.item();
        if let Some(segment) = segment {
            reference.short(tags::REFERENCED_SEGMENT_NUMBER, segment);
        }
        item.dataset.nested(tags::REFERENCED_SOP_SEQUENCE, reference);
        item
    }

    /// A line on the image that is selected below: columns and rows, 0.5 the centre of the first.
    pub(super) fn line_on_image(concept: Code, ends: [[f32; 2]; 2]) -> Item {
        let mut item = Item::new("SCOORD", Some(concept));
        item.dataset.text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE");
        item.dataset.floats(tags::GRAPHIC_DATA, &ends.concat());
        item
    }

    /// A point or a line in the patient.
    pub(super) fn in_patient(concept: Code, points_mm: &[[f64; 3]], frame: &str) -> Item {
        let mut item = Item::new("SCOORD3D", Some(concept));
        let kind = if points_mm.len() == 1 { "POINT" } else { "POLYLINE" };
        item.dataset.text(tags::GRAPHIC_TYPE, VR::CS, kind);
        let values: Vec<f32> = points_mm.iter().flatten().map(|mm| *mm as f32).collect();
        item.dataset.floats(tags::GRAPHIC_DATA, &values);
        item.dataset.text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, frame);
        item
    }

    /// With one more below.
    pub(super) fn with(mut self, relation: Relation, item: Item) -> Item {
        self.below.push((relation, item));
        self
    }

    /// With more below.
    pub(super) fn with_all(
        mut self,
        relation: Relation,
        items: impl IntoIterator<Item = Item>,
    ) -> Item {
        self.below.extend(items.into_iter().map(|item| (relation, item)));
        self
    }

    /// The item with all that hangs below it, as a data set.
    pub(super) fn into_dataset(self) -> Dataset {
        let Item { mut dataset, below } = self;
        let below: Vec<Dataset> = below
            .into_iter()
            .map(|(relation, item)| {
                let mut item = item.into_dataset();
                item.text(tags::RELATIONSHIP_TYPE, VR::CS, relation.name());
                item
            })
            .collect();
        if !below.is_empty() {
            dataset.items(tags::CONTENT_SEQUENCE, below);
        }
        dataset
    }
}
