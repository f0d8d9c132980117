//! Lesion-shuffle (Eq. 9): patches with a lesion where it is, where it is not, carried to
//! healthy liver, and removed.
//!
//! Owns the four schemes. Training and inference call the same functions, so the network
//! is shown in the field what it was trained on. Refuses to know labels' meaning, scores
//! and files. A patch shows the liver region only; everything else is 0 in every phase.

use ndarray::{Array3, Array4, Axis, s};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::lesion::PatchLesion;
use super::prepared::Prepared;
use super::region::LIVER_CLASS;
use hepalert_study::anatomy::is_lesion;

/// Random places tried before the best so far is taken (method 1.5).
const TRIES: usize = 50;

/// The share of a lesion that must fall inside R for a place to be taken at once.
const FIT: f64 = 0.95;

/// Sources that may be pieced together to cover a removed lesion. Two nearly always do;
/// what is still bare after four is masked.
const COVER_ROUNDS: usize = 4;

/// How a patch came about.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum Scheme {
    /// The lesion where it is.
    #[strum(serialize = "op")]
    OriginalPositive,
    /// Liver without any lesion.
    #[strum(serialize = "on")]
    OriginalNegative,
    /// The lesion carried to liver without lesions.
    #[strum(serialize = "sp")]
    ShuffledPositive,
    /// The lesion's place covered with healthy liver.
    #[strum(serialize = "sn")]
    ShuffledNegative,
}

impl Scheme {
    /// All four, in the order of the paper.
    pub const ALL: [Scheme; 4] = hepalert_study::all(Scheme::VARIANTS);

    /// The two-letter code of files and the command line; reading it back is `parse`.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// One patch with its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Normalised values `[phase, z, y, x]`; 0 outside R.
    pub images: Array4<f32>,
    /// 0 outside R, 1 to 6 lesion, 7 the rest of R, `[z, y, x]`.
    pub truth: Array3<u8>,
    /// Where the lesion lies in this patch: its own place (op), the place it was carried to
    /// (sp), the place it was removed from (sn), nowhere (on).
    pub carried: Array3<bool>,
    /// How the patch came about.
    pub scheme: Scheme,
    /// The patch grid's voxel at the patch's first voxel; may lie outside the image.
    pub origin: [isize; 3],
    /// From the source of the transplanted values to where they are, `[z, y, x]` voxels of
    /// the patch grid: `value(v + shift) = image(v)`. Zero for op and on; for sn that of the
    /// first and largest piece.
    pub shift: [isize; 3],
}

/// Draws one patch of a scheme. `class` is what the truth says of the transplant: the
/// lesion's label, or [`LIVER_CLASS`] for a false positive shown as a hard case.
pub fn draw(
    prepared: &Prepared,
    lesion: &PatchLesion,
    class: u8,
    scheme: Scheme,
    generator: &mut ChaCha8Rng,
) -> Patch {
    match scheme {
        Scheme::OriginalPositive => original_positive(prepared, lesion, generator),
        Scheme::OriginalNegative => original_negative(prepared, generator),
        Scheme::ShuffledPositive => shuffled_positive(prepared, lesion, class, generator),
        Scheme::ShuffledNegative => shuffled_negative(prepared, lesion, generator),
    }
}

/// The lesion where it is, its box at a random place inside the patch; of a lesion larger
/// than the patch, as much as fits with its centroid inside.
pub(crate) fn original_positive(
    prepared: &Prepared,
    lesion: &PatchLesion,
    generator: &mut ChaCha8Rng,
) -> Patch {
    let size = prepared.patch_size().map(|n| n as isize);
    let origin = std::array::from_fn(|axis| {
        let (lo, hi, centre) = (lesion.lo[axis], lesion.hi[axis], lesion.anchor[axis]);
        let span = if hi - lo <= size[axis] {
            (hi - size[axis], lo)
        } else {
            (lo.max(centre - size[axis] + 1), centre.min(hi - size[axis]))
        };
        generator.random_range(span.0 as i64..=span.1 as i64) as isize
    });
    let mut patch = cut(prepared, Scheme::OriginalPositive, origin);
    for at in lesion.points.iter().filter_map(|&point| place(point, origin, size)) {
        patch.carried[at] = true;
    }
    patch
}

/// Liver without lesions: a random centre in R whose patch holds no lesion voxel; after 50
/// tries the one with the fewest, its lesions masked out of R.
pub(crate) fn original_negative(prepared: &Prepared, generator: &mut ChaCha8Rng) -> Patch {
    let size = prepared.patch_size().map(|n| n as isize);
    let region = prepared.region();
    let mut best = (u32::MAX, [0; 3]);
    for _ in 0..TRIES {
        let Some(centre) = pick(region.voxels(), generator) else { break };
        let lo: [isize; 3] = std::array::from_fn(|axis| centre[axis] - size[axis] / 2);
        let hi = std::array::from_fn(|axis| lo[axis] + size[axis]);
        let lesions = region.lesion_voxels_in(lo, hi);
        if lesions < best.0 {
            best = (lesions, lo);
        }
        if lesions == 0 {
            break;
        }
    }
    let mut patch = cut(prepared, Scheme::OriginalNegative, best.1);
    let lesions = patch.truth.mapv(is_lesion);
    mask_out(&mut patch, &lesions);
    patch
}

/// The lesion carried into an original negative patch, with the same shift for every phase.
/// Only voxels that fall inside the patch's R are copied and marked as carried.
pub(crate) fn shuffled_positive(
    prepared: &Prepared,
    lesion: &PatchLesion,
    class: u8,
    generator: &mut ChaCha8Rng,
) -> Patch {
    let mut patch = original_negative(prepared, generator);
    patch.scheme = Scheme::ShuffledPositive;
    let size = prepared.patch_size().map(|n| n as isize);
    let liver: Vec<[u32; 3]> = patch
        .truth
        .indexed_iter()
        .filter(|(_, truth)| **truth == LIVER_CLASS)
        .map(|((z, y, x), _)| [z as u32, y as u32, x as u32])
        .collect();
    let fits = |point: [isize; 3], shift: [isize; 3]| {
        place(add(point, shift), patch.origin, size)
            .is_some_and(|at| patch.truth[at] == LIVER_CLASS)
    };
    let found = best_shift(
        &lesion.points,
        generator,
        |generator| {
            let target = add(pick(&liver, generator)?, patch.origin);
            Some(subtract(target, lesion.anchor))
        },
        &fits,
    );
    let Some(shift) = found else { return patch };
    let carried: Vec<[isize; 3]> =
        lesion.points.iter().copied().filter(|&point| fits(point, shift)).collect();
    patch.shift = shift;
    for point in carried {
        let Some(at) = place(add(point, shift), patch.origin, size) else { continue };
        copy(prepared, point, &mut patch, at);
        patch.truth[at] = class;
        patch.carried[at] = true;
    }
    patch
}

/// An original positive patch with the lesion covered by healthy liver from elsewhere.
/// Where one source does not reach, further ones fill in; what is left is masked out of R.
pub(crate) fn shuffled_negative(
    prepared: &Prepared,
    lesion: &PatchLesion,
    generator: &mut ChaCha8Rng,
) -> Patch {
    let mut patch = original_positive(prepared, lesion, generator);
    patch.scheme = Scheme::ShuffledNegative;
    let (size, region) = (prepared.patch_size().map(|n| n as isize), prepared.region());
    let mut bare: Vec<[isize; 3]> = lesion.points.clone();
    bare.retain(|&point| place(point, patch.origin, size).is_some());
    for round in 0..COVER_ROUNDS {
        // Deep liver first; what it cannot cover, any healthy liver may.
        let last = round + 1 == COVER_ROUNDS;
        let places = if last { region.healthy() } else { region.deep() };
        let covers = |point, source| {
            let from = add(point, source);
            if last { region.truth_at(from) == LIVER_CLASS } else { region.is_deep(from) }
        };
        let propose = |generator: &mut ChaCha8Rng| {
            let from = match round {
                0 => lesion.anchor,
                _ => bare[generator.random_range(0..bare.len() as u64) as usize],
            };
            Some(subtract(pick(places, generator)?, from))
        };
        let Some(source) = best_shift(&bare, generator, propose, &covers) else { continue };
        if patch.shift == [0; 3] {
            patch.shift = source.map(|d| -d);
        }
        for &point in bare.iter().filter(|&&point| covers(point, source)) {
            let Some(at) = place(point, patch.origin, size) else { continue };
            copy(prepared, add(point, source), &mut patch, at);
            patch.truth[at] = LIVER_CLASS;
        }
        bare.retain(|&point| !covers(point, source));
    }
    let mut left = Array3::from_elem(patch.truth.raw_dim(), false);
    for at in bare.iter().filter_map(|&point| place(point, patch.origin, size)) {
        left[at] = true;
    }
    mask_out(&mut patch, &left);
    patch
}

/// Of at most 50 proposed shifts the first that fits 95 % of the points, else the best.
/// `None` if there are no points, no proposal or no fit at all.
fn best_shift(
    points: &[[isize; 3]],
    generator: &mut ChaCha8Rng,
    mut propose: impl FnMut(&mut ChaCha8Rng) -> Option<[isize; 3]>,
    fits: &impl Fn([isize; 3], [isize; 3]) -> bool,
) -> Option<[isize; 3]> {
    if points.is_empty() {
        return None;
    }
    let mut best = (0, None);
    for _ in 0..TRIES {
        let shift = propose(generator)?;
        let fit = points.iter().filter(|&&point| fits(point, shift)).count();
        if fit > best.0 {
            best = (fit, Some(shift));
        }
        if fit as f64 >= FIT * points.len() as f64 {
            break;
        }
    }
    best.1
}

/// Cuts the box at `origin` out of the masked images and the truth; 0 beyond the image.
fn cut(prepared: &Prepared, scheme: Scheme, origin: [isize; 3]) -> Patch {
    let size = prepared.patch_size();
    let [z, y, x] = size;
    let mut patch = Patch {
        images: Array4::zeros([prepared.images().len_of(Axis(0)), z, y, x]),
        truth: Array3::zeros(size),
        carried: Array3::from_elem(size, false),
        scheme,
        origin,
        shift: [0; 3],
    };
    let shape = prepared.region().truth().shape();
    let lo: [isize; 3] = std::array::from_fn(|axis| origin[axis].clamp(0, shape[axis] as isize));
    let hi: [isize; 3] = std::array::from_fn(|axis| {
        (origin[axis] + size[axis] as isize).clamp(lo[axis], shape[axis] as isize)
    });
    let to = |at: [isize; 3], axis: usize| at[axis] - origin[axis];
    if (0..3).any(|axis| lo[axis] >= hi[axis]) {
        return patch;
    }
    let whole = s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]];
    let part = s![to(lo, 0)..to(hi, 0), to(lo, 1)..to(hi, 1), to(lo, 2)..to(hi, 2)];
    patch.truth.slice_mut(part).assign(&prepared.region().truth().slice(whole));
    for (mut to, from) in patch.images.outer_iter_mut().zip(prepared.images().outer_iter()) {
        to.slice_mut(part).assign(&from.slice(whole));
    }
    patch
}

/// Takes voxels out of the patch's R: 0 in every phase, truth 0.
fn mask_out(patch: &mut Patch, gone: &Array3<bool>) {
    patch.truth.zip_mut_with(gone, |truth, &gone| *truth = if gone { 0 } else { *truth });
    for mut image in patch.images.outer_iter_mut() {
        image.zip_mut_with(gone, |value, &gone| *value = if gone { 0.0 } else { *value });
    }
}

/// Copies all phases of one image voxel into the patch.
fn copy(prepared: &Prepared, from: [isize; 3], patch: &mut Patch, to: [usize; 3]) {
    let [z, y, x] = from.map(|n| n as usize);
    for phase in 0..patch.images.len_of(Axis(0)) {
        patch.images[[phase, to[0], to[1], to[2]]] = prepared.images()[[phase, z, y, x]];
    }
}

/// A uniformly random one of the places.
fn pick(places: &[[u32; 3]], generator: &mut ChaCha8Rng) -> Option<[isize; 3]> {
    if places.is_empty() {
        return None;
    }
    // Drawn as u64, so that machines of any word size draw the same.
    let index = generator.random_range(0..places.len() as u64) as usize;
    Some(places[index].map(|n| n as isize))
}

/// The patch index of a grid voxel, if it lies in the patch.
fn place(point: [isize; 3], origin: [isize; 3], size: [isize; 3]) -> Option<[usize; 3]> {
    let at: [isize; 3] = subtract(point, origin);
    (0..3).all(|axis| (0..size[axis]).contains(&at[axis])).then(|| at.map(|n| n as usize))
}

fn add(a: [isize; 3], b: [isize; 3]) -> [isize; 3] {
    std::array::from_fn(|axis| a[axis] + b[axis])
}

fn subtract(a: [isize; 3], b: [isize; 3]) -> [isize; 3] {
    std::array::from_fn(|axis| a[axis] - b[axis])
}
