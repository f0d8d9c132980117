//! Phases of one patient: from volumes as they came to maps between them, or the reason why not.
//!
//! Owns the order of the steps and the limits of the quality gate. What lies on the fixed image
//! already is left alone; a deformation that folds, spreads or does not bring the images nearer
//! is dropped for the rigid map; a rigid map that does not either, for none. Knows nothing of
//! phases: the caller says which image is fixed.

use hepalert_study::alignment::Doubt;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::{Array3, Axis};
use rayon::prelude::*;

use crate::affine::{Affine, Freedom};
use crate::deform::{DeformParams, Level, deform, described};
use crate::descriptor::COMPARED;
use crate::field::Field;
use crate::isotropic::{Isotropic, affordable_mm, affordable_part, body_box, isotropic};
use crate::lattice::Lattice;
use crate::map::Map;
use crate::matching;
use crate::quality::{self, Jacobian};
use crate::warp::Image;

/// Longer lines than this are no scan of a patient.
pub const MAX_ALONG_AXIS: usize = 4096;
/// Images that differ by less than this, in Hounsfield units, are of nothing.
const LEAST_RANGE_HU: f32 = 1.0;

/// How images are aligned.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Edge of the voxels that displacements are estimated on.
    pub spacing_mm: f64,
    /// The deformable search.
    pub deformable: DeformParams,
    /// The rigid search before it, from coarse to fine.
    pub rigid: Vec<Level>,
    /// Whether that may scale and shear too.
    pub freedom: Freedom,
    /// What is accepted.
    pub gate: Gate,
    /// Leave alone what lies on the fixed image already.
    pub recognise_aligned: bool,
}

/// What an alignment must be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Most voxels that are turned inside out, as a share.
    pub folding: f64,
    /// Largest deviation of the Jacobian.
    pub jacobian_deviation: f64,
    /// Least share of the fixed image's tissue that the moving one shows.
    pub coverage: f64,
    /// Largest mean descriptor distance afterwards, in bits of 60: two images of different
    /// places of the body are farther apart.
    pub distance_bits: f64,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { folding: 0.001, jacobian_deviation: 0.4, coverage: 0.3, distance_bits: 14.0 }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            spacing_mm: 2.0,
            deformable: DeformParams::phases(),
            rigid: vec![Level::new(8, 4, 5), Level::new(6, 3, 3), Level::new(5, 2, 2)],
            freedom: Freedom::Rigid,
            gate: Gate::default(),
            recognise_aligned: true,
        }
    }
}

/// Which of the two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageIndex {
    /// The one that stays.
    Fixed,
    /// The moving one of this number, from 0.
    Moving(usize),
}

impl std::fmt::Display for ImageIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ImageIndex::Fixed => f.write_str("the fixed image"),
            ImageIndex::Moving(0) => f.write_str("the moving image"),
            ImageIndex::Moving(n) => write!(f, "moving image {}", n + 1),
        }
    }
}

/// Why images cannot be registered at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RegisterError {
    /// Nothing can be found across a single slice.
    #[error("{0} has one slice only; registration needs a volume")]
    OneSlice(ImageIndex),
    /// One value everywhere.
    #[error("{0} shows the same value everywhere")]
    Constant(ImageIndex),
    /// NaN or infinite.
    #[error("{0} has voxels that are no numbers")]
    NotFinite(ImageIndex),
    /// More than [`MAX_ALONG_AXIS`].
    #[error("{which} has {found} voxels along one axis, at most {MAX_ALONG_AXIS} are taken")]
    TooLong {
        /// Which image.
        which: ImageIndex,
        /// Its longest axis.
        found: usize,
    },
    /// Apart in space.
    #[error("{0} and the fixed image share no part of the patient")]
    NoOverlap(ImageIndex),
}

impl RegisterError {
    /// The number of the moving image at fault; `None` if it is the fixed one.
    pub const fn moving(&self) -> Option<usize> {
        let (RegisterError::OneSlice(which)
        | RegisterError::Constant(which)
        | RegisterError::NotFinite(which)
        | RegisterError::TooLong { which, .. }
        | RegisterError::NoOverlap(which)) = self;
        match which {
            ImageIndex::Fixed => None,
            ImageIndex::Moving(n) => Some(*n),
        }
    }

    /// The reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            RegisterError::OneSlice(_) => "one_slice",
            RegisterError::Constant(_) => "constant_image",
            RegisterError::NotFinite(_) => "not_finite",
            RegisterError::TooLong { .. } => "too_many_voxels_along_axis",
            RegisterError::NoOverlap(_) => "no_overlap",
        }
    }
}

/// What was done with a moving image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlignmentKind {
    /// It lay on the fixed image already, voxel on voxel: nothing.
    Untouched,
    /// It lay on the fixed image already, on another grid.
    Resampled,
    /// It was deformed.
    Deformed,
    /// Turned and moved only, for this reason.
    Rigid(Doubt),
    /// Nothing brings the images together.
    Failed(Doubt),
}

/// What was measured of an alignment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Mean descriptor distance before, in bits of 60.
    pub bits_before: f64,
    /// And after.
    pub bits_after: f64,
    /// How local volume changes.
    pub jacobian: Jacobian,
    /// Share of the fixed image's tissue that the moving one shows.
    pub coverage: f64,
    /// Mean distance that tissue was moved by.
    pub mean_shift_mm: f64,
}

/// Where a moving image lies on the fixed one.
#[derive(Debug)]
pub struct Alignment {
    /// What was done.
    pub kind: AlignmentKind,
    /// From the fixed image's points to the moving image's.
    pub map: Map,
    /// How good it is.
    pub quality: Quality,
}

/// Aligns all moving images with the fixed one; they share its descriptors.
///
/// # Errors
/// [`RegisterError`] of the first image that cannot be registered.
pub fn align(
    fixed: &Volume<f32>,
    moving: &[&Volume<f32>],
    settings: &Settings,
) -> Result<Vec<Alignment>, RegisterError> {
    check(fixed, ImageIndex::Fixed)?;
    for (n, volume) in moving.iter().enumerate() {
        check(volume, ImageIndex::Moving(n))?;
    }
    let within = body_box(fixed);
    let spacing_mm = affordable_mm(fixed.grid(), &within, settings.spacing_mm);
    let target = isotropic(fixed, &within, spacing_mm);
    let codes = described(&target.image, COMPARED);
    let mut cases = Vec::with_capacity(moving.len());
    for (n, volume) in moving.iter().enumerate() {
        cases.push(Case::new(
            Target { isotropic: &target, codes: &codes },
            volume,
            ImageIndex::Moving(n),
            settings,
        )?);
    }
    let restless: Vec<usize> = (0..cases.len()).filter(|n| cases[*n].wants_field()).collect();
    let codes = if restless.is_empty() {
        codes
    } else {
        // Made anew afterwards: eight bytes a voxel that the search has better use for.
        drop(codes);
        let sources: Vec<_> =
            restless.iter().map(|n| (&cases[*n].source.image, cases[*n].rigid)).collect();
        let fields = deform(&target.image, &sources, &settings.deformable);
        // No levels, no fields: rigid by wish.
        drop(sources);
        for (n, field) in restless.into_iter().zip(fields) {
            cases[n].field = Some(field);
        }
        described(&target.image, COMPARED)
    };
    let same = |n: usize| fixed.grid().matches(moving[n].grid());
    let target = Target { isotropic: &target, codes: &codes };
    // One after the other: each uses all threads, and memory for one.
    let judged = cases.into_iter().enumerate();
    Ok(judged.map(|(n, case)| case.judge(target, same(n), &settings.gate)).collect())
}

fn check(volume: &Volume<f32>, which: ImageIndex) -> Result<(), RegisterError> {
    let shape = volume.grid().shape();
    let longest = shape.into_iter().max().unwrap_or(0);
    if longest > MAX_ALONG_AXIS {
        return Err(RegisterError::TooLong { which, found: longest });
    }
    if shape.iter().any(|n| *n < 2) {
        return Err(RegisterError::OneSlice(which));
    }
    let planes = volume.voxels().axis_iter(Axis(0)).into_par_iter().map(|plane| {
        plane.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| {
            // NaN fails every comparison: let it show as an infinite range.
            if v.is_finite() { [low.min(*v), high.max(*v)] } else { [f32::NEG_INFINITY, high] }
        })
    });
    let [low, high] = planes
        .reduce(|| [f32::INFINITY, f32::NEG_INFINITY], |a, b| [a[0].min(b[0]), a[1].max(b[1])]);
    if low == f32::NEG_INFINITY {
        return Err(RegisterError::NotFinite(which));
    }
    if high - low < LEAST_RANGE_HU {
        return Err(RegisterError::Constant(which));
    }
    Ok(())
}

/// The fixed image and its descriptors.
#[derive(Clone, Copy)]
struct Target<'a> {
    isotropic: &'a Isotropic,
    codes: &'a Array3<u64>,
}

impl Target<'_> {
    fn image(&self) -> &Image {
        &self.isotropic.image
    }

    /// How much of it a moved image covers and how far that is from it.
    fn compare(&self, moved: &Image) -> (f64, Option<f64>) {
        self.compare_described(moved, &described(moved, COMPARED))
    }

    /// The same where the moved image's descriptors are there already.
    fn compare_described(&self, moved: &Image, codes: &Array3<u64>) -> (f64, Option<f64>) {
        let distance = quality::descriptor_distance(self.image(), self.codes, moved, codes);
        (quality::coverage(self.image(), moved), distance)
    }

    fn still(&self) -> Field {
        Field::zero(Lattice::new(self.image().shape(), 8))
    }
}

/// One moving image on its way.
struct Case {
    source: Isotropic,
    start: Affine,
    rigid: Affine,
    /// Descriptor distance before anything, and through the rigid map.
    bits: [f64; 2],
    /// Share of the fixed image's tissue that it shows then.
    coverage: [f64; 2],
    lies_on: bool,
    little: bool,
    field: Option<Field>,
}

impl Case {
    fn new(
        target: Target<'_>,
        moving: &Volume<f32>,
        which: ImageIndex,
        settings: &Settings,
    ) -> Result<Case, RegisterError> {
        let grid = &target.isotropic.grid;
        let within = affordable_part(moving, grid);
        let source = isotropic(moving, &within, grid.spacing_mm()[0]);
        let start = between(grid, &source.grid);
        let moved = source.image.warped(&start, &target.still());
        let codes = described(&moved, COMPARED);
        let (coverage, before) = target.compare_described(&moved, &codes);
        drop(moved);
        if coverage == 0.0 {
            return Err(RegisterError::NoOverlap(which));
        }
        let before = before.unwrap_or(f64::INFINITY);
        let little = coverage < settings.gate.coverage;
        let lies_on = settings.recognise_aligned
            && !little
            && matching::lies_on(target.image(), target.codes, &codes);
        drop(codes);
        let mut case = Case {
            bits: [before; 2],
            coverage: [coverage; 2],
            rigid: start,
            field: None,
            lies_on,
            little,
            start,
            source,
        };
        if case.wants_field() {
            case.find_rigid(target, settings);
        }
        Ok(case)
    }

    fn wants_field(&self) -> bool {
        !self.lies_on && !self.little
    }

    /// Keeps the rigid map only where it brings the images nearer.
    fn find_rigid(&mut self, target: Target<'_>, settings: &Settings) {
        let (fixed, moving) = (target.image(), &self.source.image);
        let found = matching::find(fixed, moving, self.start, &settings.rigid, settings.freedom);
        if let (coverage, Some(bits)) = target.compare(&moving.warped(&found, &target.still()))
            && bits < self.bits[0]
        {
            (self.rigid, self.bits[1], self.coverage[1]) = (found, bits, coverage);
        }
    }

    fn judge(self, target: Target<'_>, same_grid: bool, gate: &Gate) -> Alignment {
        if self.little {
            return self.unmoved(target, AlignmentKind::Failed(Doubt::LittleOverlap));
        }
        if self.lies_on {
            let kind = if same_grid { AlignmentKind::Untouched } else { AlignmentKind::Resampled };
            return self.unmoved(target, kind);
        }
        let Some(field) = &self.field else {
            return self.rigidly(target, Doubt::AskedFor, self.bits[1], gate);
        };
        let (coverage, bits) = target.compare(&self.source.image.warped(&self.rigid, field));
        let (bits, jacobian) = (bits.unwrap_or(f64::INFINITY), quality::jacobian(field));
        let doubt = if jacobian.folding > gate.folding {
            Some(Doubt::Folding)
        } else if jacobian.deviation > gate.jacobian_deviation {
            Some(Doubt::UnevenVolumeChange)
        } else if bits > self.bits[1] {
            Some(Doubt::NoGain)
        } else {
            None
        };
        let nearest = bits.min(self.bits[1]);
        match doubt {
            Some(doubt) => self.rigidly(target, doubt, nearest, gate),
            None if nearest > gate.distance_bits => {
                self.unmoved(target, AlignmentKind::Failed(Doubt::TooDifferent))
            }
            None => {
                let found =
                    Found { rigid: self.rigid, field: field.clone(), bits, coverage, jacobian };
                self.finish(target, AlignmentKind::Deformed, found)
            }
        }
    }

    /// Turned and moved only, unless the images are too different wherever they are put: `nearest`
    /// is as near as they came.
    fn rigidly(&self, target: Target<'_>, doubt: Doubt, nearest: f64, gate: &Gate) -> Alignment {
        if nearest > gate.distance_bits {
            return self.unmoved(target, AlignmentKind::Failed(Doubt::TooDifferent));
        }
        self.through(
            target,
            AlignmentKind::Rigid(doubt),
            self.rigid,
            (self.bits[1], self.coverage[1]),
        )
    }

    fn unmoved(&self, target: Target<'_>, kind: AlignmentKind) -> Alignment {
        self.through(target, kind, self.start, (self.bits[0], self.coverage[0]))
    }

    /// No deformation.
    fn through(
        &self,
        target: Target<'_>,
        kind: AlignmentKind,
        rigid: Affine,
        (bits, coverage): (f64, f64),
    ) -> Alignment {
        let field = target.still();
        let jacobian = Jacobian { folding: 0.0, deviation: 0.0 };
        self.finish(target, kind, Found { rigid, field, bits, coverage, jacobian })
    }

    fn finish(&self, target: Target<'_>, kind: AlignmentKind, found: Found) -> Alignment {
        let grid = &target.isotropic.grid;
        let map = Map::new(grid, found.field, &found.rigid, &self.source.grid);
        let quality = Quality {
            bits_before: self.bits[0],
            bits_after: found.bits,
            jacobian: found.jacobian,
            coverage: found.coverage,
            mean_shift_mm: mean_shift(target.isotropic, &map),
        };
        Alignment { kind, map, quality }
    }
}

/// A map and what was measured of it.
struct Found {
    rigid: Affine,
    field: Field,
    bits: f64,
    coverage: f64,
    jacobian: Jacobian,
}

/// The voxels of one grid that lie where those of another do.
fn between(fixed: &Grid, moving: &Grid) -> Affine {
    match Affine::of(moving).inverse() {
        Some(inverse) => Affine::of(fixed).then(&inverse),
        None => Affine::IDENTITY,
    }
}

/// Mean distance over every fourth voxel of the body.
fn mean_shift(target: &Isotropic, map: &Map) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u64);
    for ((z, y, x), hu) in target.image.voxels.indexed_iter() {
        if z % 4 == 0 && y % 4 == 0 && x % 4 == 0 && *hu > -200.0 {
            let p = target.grid.ras_mm([z as f64, y as f64, x as f64]);
            let q = map.at(p);
            sum += (0..3).map(|c| (q[c] - p[c]).powi(2)).sum::<f64>().sqrt();
            count += 1;
        }
    }
    sum / count.max(1) as f64
}
