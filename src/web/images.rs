//! Volumes for the viewer: made once, kept on the disk, sent as they lie there.
//!
//! Owns what each layer shows and the windows. Images are sent with `no-store`: they stay on no disk but
//! this device's.

use std::fs;
use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as Named, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use ndarray::Zip;

use super::browser_volumes::{by_gain, gzip, onto, whole};
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::study::key;
use super::study_images::{Images, Numbers, Reading};
use hepalert_study::anatomy::{Organ, is_lesion, is_of_liver};
use hepalert_study::result::{LABELS_BASE, LABELS_HIGH, LESIONS, result_name};
use hepalert_voxels::volume::{Grid, LabelMap, Volume, nifti};

/// Layers of labels that there are.
pub(super) const LAYERS: [&str; 6] = ["final", "base", "high", "discarded", "instances", "organs"];
/// So many bytes hold any header.
const HEADER: usize = 4096;

/// Reads what is kept, or makes and keeps it.
///
/// # Errors
/// Whatever making it says.
pub(super) fn kept(
    site: &PageState,
    name: &str,
    make: impl FnOnce() -> Result<Vec<u8>, Problem>,
) -> Result<Vec<u8>, Problem> {
    if let Some(bytes) = site.cache.read(name) {
        return Ok(bytes);
    }
    let bytes = make()?;
    site.cache.put(name, &bytes);
    Ok(bytes)
}

fn name_of(reading: &Reading, what: &str) -> String {
    format!("{}-{what}.gz", result_name(reading.key.as_str(), reading.revision))
}

/// A CT as it is sent.
fn image_bytes(site: &PageState, reading: &Reading, of: Images) -> Result<Vec<u8>, Problem> {
    kept(site, &name_of(reading, &of.name()), || {
        let (volume, numbers) = reading.image(of)?;
        // Read already: who asks for the numbers next need not read the images again.
        let text = serde_json::to_vec(&numbers).map_err(Problem::fault)?;
        site.cache.put(&slices_of(reading, of), &text);
        Ok(nifti::write::write_i16(&whole(volume)))
    })
}

fn slices_of(reading: &Reading, of: Images) -> String {
    name_of(reading, &format!("{}-slices", of.name()))
}

/// InstanceNumber of each slice of a phase, from the feet.
///
/// # Errors
/// [`Problem`] if its images are gone.
pub(super) fn slice_numbers(
    site: &PageState,
    reading: &Reading,
    of: Images,
) -> Result<Numbers, Problem> {
    let bytes = kept(site, &slices_of(reading, of), || {
        serde_json::to_vec(&reading.image(of)?.1).map_err(Problem::fault)
    })?;
    serde_json::from_slice(&bytes).map_err(Problem::fault)
}

/// The grid of a phase in RAS order.
///
/// # Errors
/// [`Problem`] if its images are gone.
pub(super) fn grid_of(
    site: &PageState,
    reading: &Reading,
    of: Images,
) -> Result<Arc<Grid>, Problem> {
    let path = site.cache.path(&name_of(reading, &of.name()));
    let mut head = Vec::new();
    let read = fs::File::open(&path).and_then(|f| f.take(HEADER as u64).read_to_end(&mut head));
    if read.is_err() {
        head = image_bytes(site, reading, of)?;
        head.truncate(HEADER);
    }
    let facts = nifti::read::peek(&head).map_err(Problem::fault)?;
    Ok(Arc::new(facts.grid))
}

/// A layer on the grid that the report's masks lie on.
fn layer_labels(reading: &Reading, layer: &str) -> Result<LabelMap, Problem> {
    let lesions_of = |name| {
        let mut labels = reading.labels(name)?;
        labels.voxels_mut().mapv_inplace(|label| if is_lesion(label) { label } else { 0 });
        Ok::<_, Problem>(labels)
    };
    match layer {
        "base" => lesions_of(LABELS_BASE),
        "high" => lesions_of(LABELS_HIGH),
        "organs" => {
            let mut labels = reading.labels(LABELS_BASE)?;
            // Where a lesion is there is liver.
            let organ = |label: u8| if is_lesion(label) { Organ::Liver.label() } else { label };
            labels.voxels_mut().mapv_inplace(organ);
            Ok(labels)
        }
        "instances" => Ok(instances(reading)?.0),
        "final" => {
            let (mut map, classes) = instances(reading)?;
            let class = |id: u8| classes.get(usize::from(id)).copied().unwrap_or(0);
            map.voxels_mut().mapv_inplace(class);
            Ok(map)
        }
        "discarded" => {
            let (kept, _) = instances(reading)?;
            let mut labels = lesions_of(LABELS_HIGH)?;
            let base = lesions_of(LABELS_BASE)?;
            Zip::from(labels.voxels_mut()).and(base.voxels()).and(kept.voxels()).for_each(
                |label, &base, &kept| *label = if kept > 0 { 0 } else { (*label).max(base) },
            );
            Ok(labels)
        }
        _ => Err(Problem::not_found("layer")),
    }
}

/// Each kept lesion's number where it is, and the classes by number.
fn instances(reading: &Reading) -> Result<(LabelMap, Vec<u8>), Problem> {
    let numbers = reading.numbers(LESIONS)?;
    let mut classes = vec![0; 256];
    for lesion in reading.report.lesions.iter().filter(|lesion| lesion.id < 256) {
        classes[lesion.id as usize] = lesion.class.label();
    }
    let grid = Arc::clone(numbers.grid());
    Ok((Volume::new(grid, numbers.voxels().mapv(|id| id.clamp(0.0, 255.0) as u8)), classes))
}

/// Sends gzipped bytes; `plain` is their size unpacked, by which progress is shown.
pub(super) fn sent(bytes: Vec<u8>, plain: usize) -> Response {
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(HeaderName::from_static("x-plain-bytes"), plain.into());
    response
}

/// Images by their name in an address.
///
/// # Errors
/// [`Problem`] if there are none of that name.
pub(super) fn images_of(name: &str) -> Result<Images, Problem> {
    Images::parse(name).ok_or_else(|| Problem::not_found("phase"))
}

/// Work on whole volumes: few at a time.
pub(super) async fn heavily<T: Send + 'static>(
    site: &Arc<PageState>,
    work: impl FnOnce(&PageState) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let _permit = site.heavy.acquire().await.map_err(Problem::fault)?;
    let site = Arc::clone(site);
    blocking(move || work(&site)).await
}

/// `GET /api/v1/studies/{key}/{revision}/image/{phase}`.
pub(super) async fn image(
    State(site): State<Arc<PageState>>,
    Named((study, revision, phase)): Named<(String, u32, String)>,
) -> Result<Response, Problem> {
    let (key, of) = (key(&study)?, images_of(&phase)?);
    heavily(&site, move |site| {
        let reading = Reading::open(site, key, revision)?;
        let bytes = image_bytes(site, &reading, of)?;
        // A gzip stream ends with the size of what is in it.
        let plain = bytes.last_chunk::<4>().map_or(0, |end| u32::from_le_bytes(*end) as usize);
        Ok(sent(bytes, plain))
    })
    .await
}

/// `GET /api/v1/studies/{key}/{revision}/layer/{layer}/{phase}`.
pub(super) async fn layer(
    State(site): State<Arc<PageState>>,
    Named((study, revision, layer, phase)): Named<(String, u32, String, String)>,
) -> Result<Response, Problem> {
    let (key, of) = (key(&study)?, images_of(&phase)?);
    heavily(&site, move |site| {
        let reading = Reading::open(site, key, revision)?;
        let grid = grid_of(site, &reading, of)?;
        let labels = onto(layer_labels(&reading, &layer)?, &grid).into_voxels();
        Ok(sent(gzip(&labels.iter().copied().collect::<Vec<u8>>()), labels.len()))
    })
    .await
}

/// `GET /api/v1/studies/{key}/{revision}/gains/{phase}`.
pub(super) async fn gains(
    State(site): State<Arc<PageState>>,
    Named((study, revision, phase)): Named<(String, u32, String)>,
) -> Result<Response, Problem> {
    let (key, of) = (key(&study)?, images_of(&phase)?);
    heavily(&site, move |site| {
        let reading = Reading::open(site, key, revision)?;
        let grid = grid_of(site, &reading, of)?;
        let steps = whole(reading.numbers("gains.nii.gz")?);
        let bytes = by_gain(&onto(steps, &grid));
        Ok(sent(gzip(&bytes), bytes.len()))
    })
    .await
}

/// Windows for the organs of a phase: centre and width in HU, by what their voxels show.
///
/// # Errors
/// [`Problem`] if images or labels are gone.
pub(super) fn windows(
    site: &PageState,
    reading: &Reading,
    of: Images,
) -> Result<Vec<(String, [f32; 2])>, Problem> {
    let name = name_of(reading, &format!("{}-windows", of.name()));
    let bytes = kept(site, &name, || {
        let image = nifti::read::read(&image_bytes(site, reading, of)?);
        let image = image.map_err(Problem::fault)?;
        let labels = onto(reading.labels(LABELS_BASE)?, image.grid());
        let organs: [(&str, IsOf); 3] =
            [("liver", is_of_liver), ("spleen", |label| label == 11), ("pancreas", |l| l == 12)];
        let found = organs
            .into_iter()
            .filter_map(|(organ, is_of)| Some((organ, window_of(&image, &labels, is_of)?)));
        let found: Vec<(&str, [f32; 2])> = found.collect();
        serde_json::to_vec(&found).map_err(Problem::fault)
    })?;
    serde_json::from_slice(&bytes).map_err(Problem::fault)
}

/// Whether a label belongs to an organ.
type IsOf = fn(u8) -> bool;

/// Fewer voxels are no organ.
const MIN_VOXELS: usize = 200;

/// The median of an organ, and a width that shows what differs from it by a little: three times
/// the spread of its middle four fifths, rounded to tens.
fn window_of(image: &Volume<f32>, labels: &LabelMap, is_of: IsOf) -> Option<[f32; 2]> {
    let pairs = image.voxels().iter().zip(labels.voxels());
    let mut hu: Vec<f32> = pairs.filter(|(_, l)| is_of(**l)).map(|(hu, _)| *hu).collect();
    if hu.len() < MIN_VOXELS {
        return None;
    }
    hu.sort_unstable_by(f32::total_cmp);
    let at = |part: f64| hu[((hu.len() - 1) as f64 * part) as usize];
    let width = (3.0 * (at(0.9) - at(0.1))).clamp(120.0, 400.0);
    let tens = |hu: f32| (hu / 10.0).round() * 10.0;
    Some([tens(at(0.5)), tens(width)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn a_window_lies_around_its_organ() {
        let grid = Arc::new(Grid::axial([1, 30, 30], [1.0; 3], [0.0; 3]));
        let image = Array3::from_shape_fn([1, 30, 30], |(_, y, x)| {
            if y < 15 { 100.0 + (x % 5) as f32 * 10.0 } else { -1000.0 }
        });
        let labels = Array3::from_shape_fn([1, 30, 30], |(_, y, _)| if y < 15 { 7 } else { 0 });
        let (image, labels) =
            (Volume::new(Arc::clone(&grid), image), Volume::new(Arc::clone(&grid), labels));
        assert_eq!(window_of(&image, &labels, is_of_liver), Some([120.0, 120.0]));
        assert_eq!(window_of(&image, &labels, |label| label == 11), None);
    }
}
