//! DICOM SEG, BINARY: one segment per finding, the liver, and further organs.
//!
//! Owns the modules of a segmentation (PS3.3 section A.51) and the packing of its bits. The grid is
//! that of the images as they were stored, so that no voxel is resampled or mirrored; frames that
//! hold nothing are left out.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use ndarray::{ArrayView3, Axis};

use hepalert_study::anatomy::Organ;
use hepalert_voxels::volume::Grid;

use crate::code::{self, Code};
use crate::dataset::{Dataset, WriteError, held_to};
use crate::finding::{Finding, Shape, Tracking, lps_mm};
use crate::maker::{Identity, Maker, Series};
use crate::source::Source;
use crate::{Object, source};

mod colour;

/// Most bytes of pixels: twenty lesions, liver and six organs in a thousand slices of 512 x 512.
const MAX_PIXEL_BYTES: usize = 1 << 30;

/// What a segmentation is made of.
#[derive(Debug)]
pub struct Content<'a> {
    /// The images.
    pub source: &'a Source,
    /// The grid that everything lies on: that of the first series as it was stored.
    pub grid: &'a Grid,
    /// Findings, one segment each, in this order from number 1.
    pub findings: &'a [Finding<'a>],
    /// Liver and other organs, behind them.
    pub organs: &'a [(Organ, ArrayView3<'a, bool>)],
}

/// Who drew the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The cascade, and nobody has looked.
    Engine,
    /// A reader of this name, by hand or from what an engine began.
    Reader(String),
}

/// A segment before it is written.
struct Segment<'a> {
    label: String,
    category: Code,
    kind: Code,
    /// Where it is, for what is no organ itself.
    region: Option<Code>,
    tracking: Tracking,
    rgb: [u8; 3],
    shape: Shape<'a>,
}

/// One frame: a slice of a segment that holds something.
struct Frame<'a> {
    /// From 0.
    segment: usize,
    slice: usize,
    lo: [usize; 2],
    plane: ndarray::ArrayView2<'a, bool>,
}

/// The segmentation's own UID.
pub fn uid(identity: &Identity) -> String {
    identity.uid("segmentation")
}

/// Writes a segmentation that the cascade made.
///
/// # Errors
/// [`WriteError::Empty`] if there is nothing in any segment.
pub fn write(
    content: &Content<'_>,
    maker: &Maker,
    identity: &Identity,
) -> Result<Object, WriteError> {
    write_by(content, maker, identity, &Author::Engine)
}

/// Writes a segmentation.
///
/// # Errors
/// [`WriteError::Empty`] if there is nothing in any segment.
pub fn write_by(
    content: &Content<'_>,
    maker: &Maker,
    identity: &Identity,
    author: &Author,
) -> Result<Object, WriteError> {
    let segments = segments(content, author);
    let frames = frames(&segments);
    if frames.is_empty() {
        return Err(WriteError::Empty);
    }
    let [_, rows, columns] = content.grid.shape();
    let edge = |n: usize| u16::try_from(n).map_err(|_| WriteError::TooLarge("rows and columns"));
    let mut object = Dataset::new();
    content.source.put_study(&mut object);
    content.source.put_frame_of_reference(&mut object);
    maker.put_series(&mut object, Series::Segmentation, identity);
    code::put_scheme(&mut object);
    put_image(&mut object, author);
    content.source.put_compression(&mut object);
    object.short(tags::ROWS, edge(rows)?);
    object.short(tags::COLUMNS, edge(columns)?);
    object.whole(tags::NUMBER_OF_FRAMES, frames.len());
    let numbered = segments.iter().enumerate().map(|(at, segment)| segment.item(at, maker, author));
    object.items(tags::SEGMENT_SEQUENCE, numbered.collect::<Result<_, _>>()?);
    put_dimensions(&mut object, identity);
    content.source.put_referenced_series(&mut object);
    if let Some(series) = content.source.series.first() {
        object.items(tags::SOURCE_IMAGE_SEQUENCE, source::instances(&series.images));
    }
    object.nested(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, shared(content.grid));
    let groups = frames.iter().map(|frame| frame.groups(content));
    object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups.collect());
    object.bytes(tags::PIXEL_DATA, packed(&frames, rows, columns)?);
    object.into_object(uids::SEGMENTATION_STORAGE, uid(identity))
}

fn segments<'a>(content: &Content<'a>, author: &Author) -> Vec<Segment<'a>> {
    let noun = match author {
        Author::Engine => "Finding",
        Author::Reader(_) => "Label",
    };
    let findings = content.findings.iter().map(|finding| {
        let suspected = code::suspected_words(finding.kind);
        Segment {
            label: format!("{noun} {}: {suspected}", finding.number),
            category: code::ABNORMAL,
            kind: code::LESION,
            region: Some(code::LIVER),
            tracking: finding.tracking.clone(),
            rgb: colour::of_finding(finding.kind),
            shape: finding.shape,
        }
    });
    let organs = content.organs.iter().map(|&(organ, mask)| Segment {
        label: code::organ(organ).meaning.to_owned(),
        category: code::ANATOMY,
        kind: code::organ(organ),
        region: None,
        tracking: Tracking::of_organ(organ, content.source.study_uid()),
        rgb: colour::of_organ(organ),
        shape: Shape { lo: [0; 3], mask },
    });
    findings.chain(organs).collect()
}

fn frames<'a>(segments: &[Segment<'a>]) -> Vec<Frame<'a>> {
    let mut frames = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let [z, y, x] = segment.shape.lo;
        for slice in 0..segment.shape.mask.len_of(Axis(0)) {
            let plane = segment.shape.mask.index_axis_move(Axis(0), slice);
            if plane.iter().any(|on| *on) {
                frames.push(Frame { segment: at, slice: z + slice, lo: [y, x], plane });
            }
        }
    }
    frames
}

fn put_image(object: &mut Dataset, author: &Author) {
    let (label, description, creator) = match author {
        Author::Engine => {
            ("SUSPECTED", "Liver, and suspected findings if any; not a diagnosis", "")
        }
        Author::Reader(name) => {
            ("LABELS", "Labels for research and training; not a diagnosis", name.as_str())
        }
    };
    object.texts(&[
        (tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::SEGMENTATION_TYPE, VR::CS, "BINARY"),
        // Findings lie in the liver.
        (tags::SEGMENTS_OVERLAP, VR::CS, "YES"),
        (tags::CONTENT_LABEL, VR::CS, label),
        (tags::CONTENT_DESCRIPTION, VR::LO, description),
        (tags::CONTENT_CREATOR_NAME, VR::PN, creator),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
    ]);
    object.short(tags::SAMPLES_PER_PIXEL, 1);
    object.short(tags::BITS_ALLOCATED, 1);
    object.short(tags::BITS_STORED, 1);
    object.short(tags::HIGH_BIT, 0);
    object.short(tags::PIXEL_REPRESENTATION, 0);
}

fn put_dimensions(object: &mut Dataset, identity: &Identity) {
    let organization = identity.uid("dimensions");
    let uid = (tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.as_str());
    object.nested(tags::DIMENSION_ORGANIZATION_SEQUENCE, Dataset::item(&[uid]));
    let index = |pointer, group, label| {
        let mut item = Dataset::item(&[uid, (tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label)]);
        item.tag(tags::DIMENSION_INDEX_POINTER, pointer);
        item.tag(tags::FUNCTIONAL_GROUP_POINTER, group);
        item
    };
    let indices = vec![
        index(
            tags::REFERENCED_SEGMENT_NUMBER,
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            "Segment Number",
        ),
        index(
            tags::IMAGE_POSITION_PATIENT,
            tags::PLANE_POSITION_SEQUENCE,
            "Image Position (Patient)",
        ),
    ];
    object.items(tags::DIMENSION_INDEX_SEQUENCE, indices);
}

/// What holds for every frame: how slices lie, and how far apart.
fn shared(grid: &Grid) -> Dataset {
    let [slice_mm, row_mm, column_mm] = grid.spacing_mm();
    let direction = |column: usize, length: f64| {
        let [x, y, z] = grid.affine().map(|row| row[column] / length);
        [-x, -y, z]
    };
    let mut orientation = Dataset::new();
    let cosines = [direction(0, column_mm), direction(1, row_mm)].concat();
    orientation.decimals(tags::IMAGE_ORIENTATION_PATIENT, &cosines);
    let mut measures = Dataset::new();
    measures.decimals(tags::SLICE_THICKNESS, &[slice_mm]);
    measures.decimals(tags::SPACING_BETWEEN_SLICES, &[slice_mm]);
    measures.decimals(tags::PIXEL_SPACING, &[row_mm, column_mm]);
    let mut groups = Dataset::new();
    groups.nested(tags::PLANE_ORIENTATION_SEQUENCE, orientation);
    groups.nested(tags::PIXEL_MEASURES_SEQUENCE, measures);
    groups
}

impl Frame<'_> {
    fn groups(&self, content: &Content<'_>) -> Dataset {
        let segment = self.segment + 1;
        let mut groups = Dataset::new();
        let images = content.source.slices.get(self.slice).map_or(&[][..], Vec::as_slice);
        if !images.is_empty() {
            groups.nested(tags::DERIVATION_IMAGE_SEQUENCE, derivation(images));
        }
        let mut frame = Dataset::new();
        frame.longs(tags::DIMENSION_INDEX_VALUES, &[segment as u32, self.slice as u32 + 1]);
        groups.nested(tags::FRAME_CONTENT_SEQUENCE, frame);
        let mut position = Dataset::new();
        let corner = lps_mm(content.grid, [self.slice as f64, 0.0, 0.0]);
        position.decimals(tags::IMAGE_POSITION_PATIENT, &corner);
        groups.nested(tags::PLANE_POSITION_SEQUENCE, position);
        let mut identification = Dataset::new();
        identification.short(tags::REFERENCED_SEGMENT_NUMBER, segment as u16);
        groups.nested(tags::SEGMENT_IDENTIFICATION_SEQUENCE, identification);
        groups
    }
}

fn derivation(images: &[source::ImageRef]) -> Dataset {
    let mut item = Dataset::new();
    let sources = images.iter().map(|image| {
        let mut item = image.item();
        code::SEGMENTED_FROM.put(&mut item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE);
        // No voxel was moved: archives need not look for a registration.
        item.text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
        item
    });
    item.items(tags::SOURCE_IMAGE_SEQUENCE, sources.collect());
    code::SEGMENTATION.put(&mut item, tags::DERIVATION_CODE_SEQUENCE);
    item
}

impl Segment<'_> {
    fn item(&self, at: usize, maker: &Maker, author: &Author) -> Result<Dataset, WriteError> {
        let how = match author {
            Author::Engine => "AUTOMATIC",
            Author::Reader(_) => "SEMIAUTOMATIC",
        };
        let number = u16::try_from(at + 1).map_err(|_| WriteError::TooLarge("segments"))?;
        let mut item = Dataset::item(&[
            (tags::SEGMENT_LABEL, VR::LO, &held_to(&self.label, 64)),
            (tags::SEGMENT_ALGORITHM_TYPE, VR::CS, how),
            (tags::SEGMENT_ALGORITHM_NAME, VR::LO, "hepalert"),
        ]);
        item.short(tags::SEGMENT_NUMBER, number);
        self.category.put(&mut item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE);
        self.kind.put(&mut item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE);
        if let Some(region) = self.region {
            region.put(&mut item, tags::ANATOMIC_REGION_SEQUENCE);
        }
        item.text(tags::TRACKING_ID, VR::UT, &self.tracking.id);
        item.text(tags::TRACKING_UID, VR::UI, &self.tracking.uid);
        item.shorts(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &colour::cie_lab(self.rgb));
        item.nested(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, maker.algorithm());
        Ok(item)
    }
}

/// One bit per pixel, the first in the lowest bit, frames without a gap: PS3.5 section 8.1.1.
fn packed(frames: &[Frame<'_>], rows: usize, columns: usize) -> Result<Vec<u8>, WriteError> {
    let too_large = WriteError::TooLarge("frames");
    let bits = rows.checked_mul(columns).and_then(|n| n.checked_mul(frames.len()));
    let bytes = bits.map(|bits| bits.div_ceil(8)).filter(|bytes| *bytes <= MAX_PIXEL_BYTES);
    let mut packed = vec![0u8; bytes.ok_or(too_large)?];
    for (at, frame) in frames.iter().enumerate() {
        for (y, row) in frame.plane.rows().into_iter().enumerate() {
            let first = (at * rows + frame.lo[0] + y) * columns + frame.lo[1];
            for (x, _) in row.iter().enumerate().filter(|(_, on)| **on) {
                packed[(first + x) / 8] |= 1 << ((first + x) % 8);
            }
        }
    }
    Ok(packed)
}

#[cfg(test)]
mod tests;
