//! The slice of the largest disagreement: image, the person's outlines green, the machine's orange.

use std::collections::BTreeSet;
use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, s};

use super::CurateError;
use super::judge::sides;
use super::predict::Predicted;
use super::table::{Row, named};
use crate::report::output;
use hepalert_labels::cases::folder::image_of;
use hepalert_labels::cases::{CaseError, ImageFile};
use hepalert_labels::labelling::Labelling;
use hepalert_pictures::canvas::{Canvas, Colour, LINE_PX};
use hepalert_pictures::findings::LIVER_WINDOW_HU;
use hepalert_voxels::volume::{Axes, LabelMap};

/// Small images are drawn larger, so that the words fit.
const LEAST_PX: usize = 400;
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
    let Some([lo, hi]) = row.largest_box else { return Ok(()) };
    let volume = image_of(image)?;
    let volume = Axes::ras(volume.grid()).turn_volume(volume);
    let [first, second] = sides(expert, predicted, marked);
    let z = most_of([&first, &second], [lo, hi], row.largest_labels.unwrap_or_default());
    let slice = volume.voxels().index_axis(Axis(0), z);
    let scale = LEAST_PX.div_ceil(slice.dim().1);
    let mut canvas = Canvas::from_grey(seen(slice.mapv(grey).view(), scale).view());
    outlines(&mut canvas, (&first, z), scale, PERSON);
    outlines(&mut canvas, (&second, z), scale, MACHINE);
    mark(&mut canvas, [lo, hi], slice.dim(), scale);
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

/// The slice of the box in which most voxels are called these two things.
fn most_of(maps: [&LabelMap; 2], [lo, hi]: [[usize; 3]; 2], labels: [u8; 2]) -> usize {
    let count = |z: &usize| {
        let [one, other] = maps.map(|map| map.voxels().slice(s![*z, lo[1]..hi[1], lo[2]..hi[2]]));
        one.iter().zip(other).filter(|(one, other)| [**one, **other] == labels).count()
    };
    (lo[0]..hi[0]).rev().max_by_key(count).unwrap_or(lo[0])
}

/// The corners of the box, a little outside of it.
fn mark(
    canvas: &mut Canvas,
    [lo, hi]: [[usize; 3]; 2],
    (height, width): (usize, usize),
    scale: usize,
) {
    const ARM_PX: usize = 8;
    let rows = [(height - hi[1]) * scale, (height - lo[1]) * scale - 1];
    let columns = [(width - hi[2]) * scale, (width - lo[2]) * scale - 1];
    let [top, bottom] = [rows[0].wrapping_sub(3), rows[1] + 3];
    let [left, right] = [columns[0].wrapping_sub(3), columns[1] + 3];
    for arm in 0..ARM_PX {
        for row in [top, bottom] {
            canvas.set(left.wrapping_add(arm), row, PLACE);
            canvas.set(right.wrapping_sub(arm), row, PLACE);
        }
        for column in [left, right] {
            canvas.set(column, top.wrapping_add(arm), PLACE);
            canvas.set(column, bottom.wrapping_sub(arm), PLACE);
        }
    }
}

/// As radiologists look: the front at the top, the patient's right at the left.
fn seen<T: Clone>(slice: ArrayView2<'_, T>, scale: usize) -> Array2<T> {
    let (height, width) = slice.dim();
    Array2::from_shape_fn((height * scale, width * scale), |(row, column)| {
        slice[[height - 1 - row / scale, width - 1 - column / scale]].clone()
    })
}

fn grey(hu: f32) -> u8 {
    let [dark, bright] = LIVER_WINDOW_HU;
    ((hu - dark) / (bright - dark) * 255.0).clamp(0.0, 255.0) as u8
}

/// One outline per class, so that a border between two classes shows.
fn outlines(canvas: &mut Canvas, (map, z): (&LabelMap, usize), scale: usize, colour: Colour) {
    let slice = map.voxels().index_axis(Axis(0), z);
    let labels: BTreeSet<u8> = slice.iter().copied().filter(|label| *label > 0).collect();
    for wanted in labels {
        let mask = seen(slice.mapv(|label| label == wanted).view(), scale);
        canvas.outline(mask.view(), colour);
    }
}
