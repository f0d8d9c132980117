//! The slice of the largest disagreement: image, the person's outlines green, the machine's orange.

use std::collections::BTreeSet;
use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};

use super::CurateError;
use super::judge::{lesions, only};
use super::predict::Predicted;
use super::table::{Row, named};
use crate::report::canvas::{Canvas, Colour, LINE_PX};
use crate::report::output;
use crate::report::pictures::LIVER_WINDOW_HU;
use hepalert_labels::cases::folder::image_of;
use hepalert_labels::cases::{CaseError, ImageFile};
use hepalert_labels::labelling::Labelling;
use hepalert_voxels::volume::{Axes, LabelMap};

const PERSON: Colour = [80, 230, 80];
const MACHINE: Colour = [255, 150, 40];
const PLACE: Colour = [120, 200, 255];

/// Draws it into a file. Without a person's labels the high view stands in their place.
pub(super) fn draw(
    to: &Path,
    row: &Row,
    image: &ImageFile,
    (expert, predicted): (Option<&Labelling>, &Predicted),
    marked: &BTreeSet<u8>,
) -> Result<(), CurateError> {
    let Some([z, y, x]) = row.largest_at else { return Ok(()) };
    let volume = image_of(image)?;
    let volume = Axes::ras(volume.grid()).turn_volume(volume);
    let (first, classes) = match expert {
        Some(expert) => (expert, marked.clone()),
        None => (&predicted.high, lesions()),
    };
    let [first, second] = [first, &predicted.base].map(|map| only(map.map(), &classes));
    let slice = volume.voxels().index_axis(Axis(0), z);
    let mut canvas = Canvas::from_grey(seen(slice.mapv(grey).view()).view());
    outlines(&mut canvas, &first, z, PERSON);
    outlines(&mut canvas, &second, z, MACHINE);
    let (height, width) = slice.dim();
    let (row_px, column_px) = (height - 1 - y, width - 1 - x);
    for arm in 4..10 {
        canvas.set(column_px + arm, row_px, PLACE);
        canvas.set(column_px.wrapping_sub(arm), row_px, PLACE);
        canvas.set(column_px, row_px + arm, PLACE);
        canvas.set(column_px, row_px.wrapping_sub(arm), PLACE);
    }
    let [one, other] = row.largest_labels.unwrap_or_default().map(named);
    let against = row.against.as_deref().unwrap_or_default();
    canvas.text(3, 2, &format!("{against}: {one}"), PERSON);
    canvas.text(3, 2 + LINE_PX, &format!("engine: {other}"), MACHINE);
    canvas.text(3, 2 + 2 * LINE_PX, &format!("slice {z}, R left"), PLACE);
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|reason| CaseError::File { path: folder.to_owned(), reason })?;
    Ok(output::put(to, &canvas.png()?, &[])?)
}

/// As radiologists look: the front at the top, the patient's right at the left.
fn seen<T: Clone>(slice: ArrayView2<'_, T>) -> Array2<T> {
    let (height, width) = slice.dim();
    Array2::from_shape_fn((height, width), |(row, column)| {
        slice[[height - 1 - row, width - 1 - column]].clone()
    })
}

fn grey(hu: f32) -> u8 {
    let [dark, bright] = LIVER_WINDOW_HU;
    ((hu - dark) / (bright - dark) * 255.0).clamp(0.0, 255.0) as u8
}

/// One outline per class, so that a border between two classes shows.
fn outlines(canvas: &mut Canvas, map: &LabelMap, z: usize, colour: Colour) {
    let slice = map.voxels().index_axis(Axis(0), z);
    let labels: BTreeSet<u8> = slice.iter().copied().filter(|label| *label > 0).collect();
    for wanted in labels {
        canvas.outline(seen(slice.mapv(|label| label == wanted).view()).view(), colour);
    }
}
