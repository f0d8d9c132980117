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
use super::organs::Organs;
use super::palette::{Palette, Physiology};
use super::scanner::Scanner;
use super::shape::Bounds;
use super::vessels::Vessels;
use super::{Case, Size};
use hepalert_study::study::Phase;
use hepalert_voxels::volume::{Grid, LabelMap, Volume};

/// Sheets per slice that are painted and averaged: the slice's thickness.
const SHEETS: usize = 3;
const SLICE_MM: f64 = 5.0;

/// Everything about one patient but the phase.
pub struct Scene {
    grid: Arc<Grid>,
    frame: Frame,
    /// Height of slice 0 in the patient.
    bottom_mm: f32,
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
    pub fn new(seed: u64, case: Case, size: Size) -> Scene {
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
        let (grid, frame, bottom_mm) = (plan.grid(), plan.frame, plan.bottom_mm);
        Scene {
            grid,
            frame,
            bottom_mm,
            fields,
            body,
            organs,
            vessels,
            lesions,
            physiology,
            scanner,
        }
    }

    /// One phase: Hounsfield units, labels, and for every voxel the number of its lesion.
    pub fn scan(&self, seed: u64, phase: Phase) -> (Volume<i16>, LabelMap, Array3<u8>) {
        self.scan_in(seed, &Palette::of(&self.physiology, phase))
    }

    /// One scan with this enhancement.
    pub fn scan_after(&self, seed: u64, added: Enhancement, seconds: f32) -> Volume<i16> {
        self.scan_in(seed, &Palette::after(&self.physiology, added, seconds)).0
    }

    fn scan_in(&self, seed: u64, palette: &Palette) -> (Volume<i16>, LabelMap, Array3<u8>) {
        let [slices, rows, columns] = self.grid.shape();
        let mut hu = Array3::<i16>::zeros((slices, rows, columns));
        let mut labels = Array3::<u8>::zeros((slices, rows, columns));
        let mut owner = Array3::<u8>::zeros((slices, rows, columns));
        ndarray::Zip::indexed(hu.outer_iter_mut())
            .and(labels.outer_iter_mut())
            .and(owner.outer_iter_mut())
            .into_par_iter()
            .for_each(|(z, mut hu, mut labels, mut owner)| {
                let slice = self.slice(z, seed, palette);
                hu.iter_mut().zip(&slice.hu).for_each(|(to, v)| *to = quantise(*v));
                labels.iter_mut().zip(&slice.label).for_each(|(to, v)| *to = *v);
                owner.iter_mut().zip(&slice.lesion).for_each(|(to, v)| *to = *v);
            });
        (Volume::new(self.grid.clone(), hu), Volume::new(self.grid.clone(), labels), owner)
    }

    /// One slice; the truth is that of its middle sheet.
    fn slice(&self, z: usize, seed: u64, palette: &Palette) -> Canvas<'_> {
        let thick = self.grid.spacing_mm()[0] as f32;
        let middle = self.bottom_mm + z as f32 * thick;
        let mut slice = self.sheet(middle, palette);
        for side in 1..=SHEETS / 2 {
            let off = side as f32 * thick / SHEETS as f32;
            for other in [self.sheet(middle - off, palette), self.sheet(middle + off, palette)] {
                slice.hu.iter_mut().zip(&other.hu).for_each(|(sum, v)| *sum += v);
            }
        }
        slice.hu.iter_mut().for_each(|sum| *sum /= SHEETS as f32);
        let stream = Stream::Noise { phase: palette.phase as u64, slice: z as u64 };
        let scale = self.grid.spacing_mm()[2] as f32;
        let width = self.frame.xs.len();
        self.scanner.expose(&mut slice.hu, width, scale, &mut Draw::new(seed, stream));
        slice
    }

    fn sheet(&self, z: f32, palette: &Palette) -> Canvas<'_> {
        let mut canvas = Canvas::at(&self.frame, &self.fields, z);
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
    bottom_mm: f32,
    slices: usize,
    spacing_mm: [f64; 3],
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
            bottom_mm: top - (slices - 1) as f32 * thick as f32,
            slices,
            spacing_mm: [thick, pixel, pixel],
            table_mm: f64::from(draw.uniform(-900.0, -100.0)).round(),
        }
    }

    /// Rows run to the left and columns to the back, as an axial DICOM slice is stored.
    fn grid(&self) -> Arc<Grid> {
        let n = self.frame.xs.len();
        let [dz, dy, dx] = self.spacing_mm;
        let edge = |d: f64| (n as f64 - 1.0) / 2.0 * d;
        let affine =
            [[-dx, 0.0, 0.0, edge(dx)], [0.0, -dy, 0.0, edge(dy)], [0.0, 0.0, dz, self.table_mm]];
        Arc::new(Grid::new([self.slices, n, n], self.spacing_mm, affine))
    }

    fn bounds(&self) -> Bounds {
        let last = self.frame.xs.len() - 1;
        let high = (self.slices as f64 * self.spacing_mm[0]) as f32;
        let hi = [self.frame.xs[last], self.frame.ys[last], self.bottom_mm + high];
        Bounds { lo: [self.frame.xs[0], self.frame.ys[0], self.bottom_mm], hi }.grown(20.0)
    }
}

/// Twelve bits, as scanners store them.
fn quantise(hu: f32) -> i16 {
    hu.round().clamp(-1024.0, 3071.0) as i16
}
