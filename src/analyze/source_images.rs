//! The images of a study as the archive knows them, for objects that refer to them.
//!
//! Owns which image shows which slice of the results: by where both lie. What names the patient is
//! read here, goes into [`Source`], and from there into those objects alone.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;

use crate::intake::reading::load;
use crate::intake::{GateParams, Refusal};
use hepalert_evidence::source::{ImageRef, Source, SourceSeries, space_of, wanted};
use hepalert_study::files::PhaseFiles;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Grid;
use hepalert_voxels::volume::dicom::SliceHeader;

/// Cosines of one direction differ by less: over 500 mm, half a millimetre.
const COSINE_ERROR: f64 = 1e-3;
/// Positions in the plane of a slice differ by less than this share of a voxel.
const IN_PLANE_ERROR: f64 = 0.1;

/// Headers of the phases that were read, before anything is computed: the files may be gone later.
#[derive(Default)]
pub(super) struct SourceImages {
    headers: BTreeMap<Phase, Vec<SliceHeader>>,
    copied: BTreeMap<dicom_core::Tag, String>,
}

impl SourceImages {
    /// Of these phases; nothing of a study that is no DICOM.
    pub(super) fn read<'a>(
        phases: impl Iterator<Item = &'a PhaseFiles>,
        gate: &GateParams,
    ) -> Result<Option<SourceImages>, Refusal> {
        let mut found = SourceImages::default();
        for files in phases {
            let headers = load::headers(files, gate)?;
            if headers.is_empty() {
                return Ok(None);
            }
            if found.copied.is_empty() {
                found.copied = load::texts(files, &wanted())?;
            }
            found.headers.insert(files.phase, headers);
        }
        Ok((!found.headers.is_empty()).then_some(found))
    }

    /// As objects refer to them: results lie on `grid`, which is that of the phase `reference`.
    pub(super) fn source(&self, reference: Phase, grid: &Grid) -> Source {
        let on_it = self.headers.get(&reference).map_or(&[][..], Vec::as_slice);
        let mut slices = vec![Vec::new(); grid.shape()[0]];
        for header in on_it {
            if let Some(slice) = slice_of(header, grid) {
                slices[slice].push(ImageRef::of(header));
            }
        }
        slices.iter_mut().for_each(|images| images.sort());
        let others = self.headers.iter().filter(|(phase, _)| **phase != reference);
        let read = self.headers.get_key_value(&reference).into_iter().chain(others);
        Source {
            copied: self.copied.clone(),
            frame_of_reference_uid: space_of(on_it),
            series: read.map(|(phase, headers)| SourceSeries::of(*phase, headers)).collect(),
            slices,
            lossy: self.headers.values().flatten().any(|header| header.lossy),
        }
    }

    /// How far the scanner's clock is from UTC, in s, where the images say.
    pub(super) fn offset_s(&self) -> Option<i32> {
        offset_s(self.copied.get(&tags::TIMEZONE_OFFSET_FROM_UTC)?.trim())
    }

    /// StudyInstanceUID.
    pub(super) fn study_uid(&self) -> &str {
        self.copied.get(&tags::STUDY_INSTANCE_UID).map_or("", String::as_str)
    }
}

/// `+0100` as seconds; none if it is no offset.
fn offset_s(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number = |from: usize| digits.get(from..from + 2)?.parse::<u8>().ok().map(i32::from);
    let (hours, minutes) = (number(0)?, number(2)?);
    let fits = digits.len() == 4 && hours <= 14 && minutes < 60;
    fits.then_some(sign * (3600 * hours + 60 * minutes))
}

/// The slice of a grid that an image lies on: nearest along the stack, and in its plane the same
/// rows and columns, so that a place on one is the same place on the other.
fn slice_of(header: &SliceHeader, grid: &Grid) -> Option<usize> {
    let [slices, rows, columns] = grid.shape();
    if (usize::from(header.rows?), usize::from(header.columns?)) != (rows, columns) {
        return None;
    }
    let [x, y, z] = header.image_position_mm?;
    let corner = grid.ras_mm([0.0; 3]);
    let apart = [-x - corner[0], -y - corner[1], z - corner[2]];
    let along = |axis: usize| {
        let step = grid.affine().map(|row| row[axis]);
        dot(apart, step) / dot(step, step)
    };
    let place = along(2).round();
    let lies_there = along(0).abs() < IN_PLANE_ERROR && along(1).abs() < IN_PLANE_ERROR;
    let inside = (0.0..slices as f64).contains(&place);
    (lies_there && inside && is_parallel(header, grid)).then_some(place as usize)
}

fn is_parallel(header: &SliceHeader, grid: &Grid) -> bool {
    let Some([rx, ry, rz, cx, cy, cz]) = header.image_orientation else { return false };
    let cosine = |axis: usize, [x, y, z]: [f64; 3]| {
        let step = grid.affine().map(|row| row[axis]);
        dot(step, [-x, -y, z]) / dot(step, step).sqrt()
    };
    let cosines = [cosine(0, [rx, ry, rz]), cosine(1, [cx, cy, cz])];
    cosines.iter().all(|cosine| (cosine - 1.0).abs() < COSINE_ERROR)
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(p, q)| p * q).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_hours_and_minutes_with_a_sign() {
        for (text, seconds) in [("+0100", 3600), ("-0330", -12_600), ("+0000", 0)] {
            assert_eq!(offset_s(text), Some(seconds));
        }
        for wrong in ["", "0100", "+100", "+1500", "+01000", "+0a00", "\u{e9}0100"] {
            assert_eq!(offset_s(wrong), None, "{wrong}");
        }
    }
}
