//! One patient laid on the table: the anatomy, the scan's geometry, and slice by slice the
//! way from shapes to stored values.

use std::sync::Arc;

use ndarray::Array3;
use ndarray::parallel::prelude::*;

use super::body::{Body, Build};
use super::canvas::{Canvas, Fields, Frame};
use super::contrast::Enhancement;
use super::draw::{Draw, Stream};
use super::lesions::{self, Planted, Site};
use super::motion::Motion;
use super::organs::Organs;
use super::palette::{Palette, Physiology};
use super::scanner::Scanner;
use super::shape::{Bounds, minus};
use super::vessels::Vessels;
use super::{Case, Size};
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::{Grid, LabelMap, Volume};

/// Sheets per slice that are painted and averaged: the slice's thickness.
const SHEETS: usize = 3;
const SLICE_MM: f64 = 5.0;

/// Everything about one patient but the phase.
pub(super) struct Scene {
    plan: Plan,
    fields: Fields,
    body: Body,
    organs: Organs,
    vessels: Vessels,
    /// In the order they were planted.
    pub lesions: Vec<Planted>,
    physiology: Physiology,
    scanner: Scanner,
}

impl Scene {
    /// The patient of this seed.
    pub(super) fn new(seed: u64, case: Case, size: Size) -> Scene {
        assert!(size.pixels > 0 && size.slices != Some(0), "a scan has voxels");
        let mut draw = Draw::new(seed, Stream::Anatomy);
        let build = Build::draw(&mut draw);
        let body = Body::draw(&mut draw, &build);
        let organs = Organs::draw(&mut draw, &build);
        let vessels = Vessels::draw(&mut draw, &build, &body, &organs);
        let physiology = Physiology::draw(&mut draw);
        let scanner = Scanner::draw(&mut draw);
        let plan = Plan::draw(&mut draw, &build, &body, size);
        let fields = Fields::draw(&mut Draw::new(seed, Stream::Texture), plan.bounds());
        let site = Site { liver: &organs.liver, vessels: &vessels, body: &body };
        let lesions = lesions::plant(&mut Draw::new(seed, Stream::Lesions), case, &site);
        Scene { plan, fields, body, organs, vessels, lesions, physiology, scanner }
    }

    /// One phase as the reference is scanned: Hounsfield units, labels, and for every voxel the
    /// number of its lesion.
    pub(super) fn scan(&self, seed: u64, phase: Phase) -> (Volume<i16>, LabelMap, Array3<u8>) {
        self.scan_in(seed, &Palette::of(&self.physiology, phase), &self.plan.stack, None)
    }

    /// One phase in another breath and on slices of its own, with the true field: for every
    /// voxel of the reference grid the way to where it is seen, `[x, y, z]` in millimetres RAS.
    pub(super) fn scan_moved(&self, seed: u64, phase: Phase) -> (Volume<i16>, Array3<[f32; 3]>) {
        let mut draw = Draw::new(seed, Stream::Motion { phase: phase as u64 });
        let motion = Motion::draw(&mut draw, self.plan.bounds());
        let stack = self.plan.stack_of(phase, &mut draw);
        let palette = Palette::of(&self.physiology, phase);
        let (volume, ..) = self.scan_in(seed, &palette, &stack, Some(&motion));
        (volume, self.plan.field(&motion))
    }

    /// One scan with this enhancement.
    pub(super) fn scan_after(&self, seed: u64, added: Enhancement, seconds: f32) -> Volume<i16> {
        let palette = Palette::after(&self.physiology, added, seconds);
        self.scan_in(seed, &palette, &self.plan.stack, None).0
    }

    fn scan_in(
        &self,
        seed: u64,
        palette: &Palette,
        stack: &Stack,
        motion: Option<&Motion>,
    ) -> (Volume<i16>, LabelMap, Array3<u8>) {
        let grid = self.plan.grid(stack);
        let [slices, rows, columns] = grid.shape();
        let mut hu = Array3::<i16>::zeros((slices, rows, columns));
        let mut labels = Array3::<u8>::zeros((slices, rows, columns));
        let mut owner = Array3::<u8>::zeros((slices, rows, columns));
        ndarray::Zip::indexed(hu.outer_iter_mut())
            .and(labels.outer_iter_mut())
            .and(owner.outer_iter_mut())
            .into_par_iter()
            .for_each(|(z, mut hu, mut labels, mut owner)| {
                let slice = self.slice(z, seed, palette, stack, motion);
                hu.iter_mut().zip(&slice.hu).for_each(|(to, v)| *to = quantise(*v));
                labels.iter_mut().zip(&slice.label).for_each(|(to, v)| *to = *v);
                owner.iter_mut().zip(&slice.lesion).for_each(|(to, v)| *to = *v);
            });
        (Volume::new(grid.clone(), hu), Volume::new(grid, labels), owner)
    }

    /// One slice; the truth is that of its middle sheet.
    fn slice(
        &self,
        z: usize,
        seed: u64,
        palette: &Palette,
        stack: &Stack,
        motion: Option<&Motion>,
    ) -> Canvas<'_> {
        let thick = stack.thick_mm as f32;
        let middle = stack.bottom_mm + z as f32 * thick;
        let sheet = |height: f32| self.sheet(height, palette, motion);
        let mut slice = sheet(middle);
        for side in 1..=SHEETS / 2 {
            let off = side as f32 * thick / SHEETS as f32;
            for other in [sheet(middle - off), sheet(middle + off)] {
                slice.hu.iter_mut().zip(&other.hu).for_each(|(sum, v)| *sum += v);
            }
        }
        slice.hu.iter_mut().for_each(|sum| *sum /= SHEETS as f32);
        let stream = Stream::Noise { phase: palette.phase as u64, slice: z as u64 };
        let scale = self.plan.pixel_mm as f32;
        let width = self.plan.frame.xs.len();
        self.scanner.expose(&mut slice.hu, width, scale, &mut Draw::new(seed, stream));
        slice
    }

    fn sheet(&self, z: f32, palette: &Palette, motion: Option<&Motion>) -> Canvas<'_> {
        let mut canvas = Canvas::at(&self.plan.frame, &self.fields, motion, z);
        self.body.paint(&mut canvas, palette);
        self.organs.paint(&mut canvas, palette);
        self.vessels.paint(&mut canvas, palette);
        for (number, lesion) in (1..).zip(&self.lesions) {
            lesion.paint(number, &mut canvas, palette);
        }
        canvas
    }
}

/// Where the scan lies in the patient.
struct Plan {
    frame: Frame,
    /// The slices of the reference phase.
    stack: Stack,
    pixel_mm: f64,
    /// z of the lowest slice in the scanner.
    table_mm: f64,
}

impl Plan {
    fn draw(draw: &mut Draw, build: &Build, body: &Body, size: Size) -> Plan {
        let width = 2.0 * body.half_width_outside() * draw.uniform(1.05, 1.24);
        // Two decimals, as scanners have it.
        let clinical = (f64::from(width) / 512.0 * 100.0).round() / 100.0;
        let pixel = clinical.clamp(0.65, 0.9) * 512.0 / size.pixels as f64;
        let high = (185.0 * build.tall + draw.uniform(15.0, 60.0)).clamp(180.0, 280.0);
        let clinical = (f64::from(high) / SLICE_MM) as usize;
        let slices = size.slices.unwrap_or(clinical);
        let thick = SLICE_MM * clinical as f64 / slices as f64;
        let top = draw.uniform(8.0, 26.0);
        let [x, y] = [draw.uniform(-8.0, 8.0), draw.uniform(-2.0, 16.0)];
        let line = |off: f32| -> Vec<f32> {
            let middle = (size.pixels as f32 - 1.0) / 2.0;
            (0..size.pixels).map(|i| (i as f32 - middle) * pixel as f32 + off).collect()
        };
        Plan {
            frame: Frame { xs: line(x), ys: line(y) },
            stack: Stack {
                bottom_mm: top - (slices - 1) as f32 * thick as f32,
                slices,
                thick_mm: thick,
            },
            pixel_mm: pixel,
            table_mm: f64::from(draw.uniform(-900.0, -100.0)).round(),
        }
    }

    /// The slices of another phase: over the same height, begun elsewhere; half of the native
    /// ones twice as thick, as archives have them.
    fn stack_of(&self, phase: Phase, draw: &mut Draw) -> Stack {
        let thicker = if phase == Phase::Nc && draw.chance(0.5) { 2 } else { 1 };
        let thick_mm = self.stack.thick_mm * thicker as f64;
        let begun = draw.uniform(-0.5, 0.5) * thick_mm as f32;
        let slices = self.stack.slices.div_ceil(thicker);
        Stack { bottom_mm: self.stack.bottom_mm + begun, slices, thick_mm }
    }

    /// Rows run to the left and columns to the back, as an axial DICOM slice is stored.
    fn grid(&self, stack: &Stack) -> Arc<Grid> {
        let n = self.frame.xs.len();
        let (d, dz) = (self.pixel_mm, stack.thick_mm);
        let edge = (n as f64 - 1.0) / 2.0 * d;
        let z = self.table_mm + f64::from(stack.bottom_mm - self.stack.bottom_mm);
        let affine = [[-d, 0.0, 0.0, edge], [0.0, -d, 0.0, edge], [0.0, 0.0, dz, z]];
        Arc::new(Grid::new([stack.slices, n, n], [dz, d, d], affine))
    }

    /// Where every voxel of the reference is seen after this motion. The patient's x and y run
    /// against RAS.
    fn field(&self, motion: &Motion) -> Array3<[f32; 3]> {
        let n = self.frame.xs.len();
        Array3::from_shape_fn((self.stack.slices, n, n), |(z, row, column)| {
            let height = self.stack.bottom_mm + z as f32 * self.stack.thick_mm as f32;
            let p = [self.frame.xs[column], self.frame.ys[row], height];
            let [x, y, z] = minus(motion.inverse(p), p);
            [-x, -y, z]
        })
    }

    fn bounds(&self) -> Bounds {
        let last = self.frame.xs.len() - 1;
        let high = (self.stack.slices as f64 * self.stack.thick_mm) as f32;
        let hi = [self.frame.xs[last], self.frame.ys[last], self.stack.bottom_mm + high];
        Bounds { lo: [self.frame.xs[0], self.frame.ys[0], self.stack.bottom_mm], hi }.grown(20.0)
    }
}

/// The slices of one scan.
struct Stack {
    /// Height of slice 0 in the patient.
    bottom_mm: f32,
    slices: usize,
    thick_mm: f64,
}

/// Twelve bits, as scanners store them.
fn quantise(hu: f32) -> i16 {
    hu.round().clamp(-1024.0, 3071.0) as i16
}
