//! The trunk: skin, fat, muscle, ribs, spine, lungs, diaphragm and the table.

use super::canvas::{Canvas, Ink, Spot};
use super::draw::Draw;
use super::palette::Palette;
use super::shape::{Ellipsoid, Point, Solid, blend, ease};

/// Skin thickness.
const SKIN_MM: f32 = 2.0;
/// The wall is thicker by this much on both sides of the spine: the back muscles.
const BACK_MM: f32 = 17.0;

/// The sizes that all anatomy hangs on.
#[derive(Debug, Clone)]
pub(super) struct Build {
    /// Half the width of the abdominal cavity.
    pub half_width: f32,
    /// Half the depth of the abdominal cavity.
    pub half_depth: f32,
    /// Heights are multiples of this: 1 for a liver 165 mm high.
    pub tall: f32,
}

impl Build {
    /// A person.
    pub(super) fn draw(draw: &mut Draw) -> Build {
        let half_width = draw.uniform(116.0, 146.0);
        Build {
            half_width,
            half_depth: half_width * draw.uniform(0.61, 0.74),
            tall: draw.uniform(0.88, 1.1),
        }
    }

    /// A point given in half widths, half depths and millimetres of height at `tall` 1.
    pub(super) fn at(&self, u: f32, v: f32, z: f32) -> Point {
        [u * self.half_width, v * self.half_depth, z * self.tall]
    }

    /// Radii in the same units as [`Build::at`].
    pub(super) fn radii(&self, u: f32, v: f32, z: f32) -> Point {
        self.at(u, v, z)
    }

    /// An ellipsoid in the units of [`Build::at`].
    pub(super) fn ellipsoid(&self, centre: Point, radii: Point) -> Ellipsoid {
        let [u, v, z] = centre;
        let [ru, rv, rz] = radii;
        Ellipsoid::new(self.at(u, v, z), self.radii(ru, rv, rz))
    }
}

/// The trunk of one patient.
#[derive(Debug, Clone)]
pub(super) struct Body {
    build: Build,
    /// 1 for an ellipse, less for a squarer trunk.
    roundness: f32,
    widening: f32,
    wall_mm: f32,
    fat_mm: f32,
    fat_front: f32,
    fat_side: f32,
    domes: [Ellipsoid; 3],
    heart: Ellipsoid,
    rib_start: f32,
    rib_step: f32,
    rib_slope: f32,
    /// y of the centre of the vertebral bodies.
    spine_y: f32,
    spine_radii: [f32; 2],
    disc_phase: f32,
    table_gap: f32,
    lung_hu: f32,
}

impl Body {
    /// The trunk of a person of this build.
    pub(super) fn draw(draw: &mut Draw, build: &Build) -> Body {
        let b = build;
        let domes = [
            b.ellipsoid([-0.48, 0.04, -86.0], [0.66, 1.06, 86.0]),
            b.ellipsoid([0.48, 0.08, -95.0], [0.66, 1.02, draw.uniform(74.0, 86.0)]),
            b.ellipsoid([0.0, -0.3, -70.0], [0.5, 0.62, 56.0]),
        ];
        let heart = Ellipsoid::turned(
            b.at(draw.uniform(0.1, 0.22), -0.36, draw.uniform(26.0, 34.0)),
            b.radii(draw.uniform(0.36, 0.46), draw.uniform(0.4, 0.5), 44.0),
            0.35,
            0.2,
        );
        Body {
            roundness: draw.uniform(0.35, 0.8),
            widening: draw.uniform(-0.05, 0.04),
            wall_mm: draw.uniform(9.0, 15.0),
            fat_mm: 5.0 + 24.0 * draw.uniform(0.0, 1.0).powi(2),
            fat_front: draw.uniform(-0.2, 0.5),
            fat_side: draw.uniform(-0.3, 0.3),
            domes,
            heart,
            rib_start: draw.uniform(80.0, 115.0),
            rib_step: draw.uniform(26.0, 33.0),
            rib_slope: draw.uniform(75.0, 110.0),
            spine_y: b.half_depth - draw.uniform(20.0, 27.0),
            spine_radii: [draw.uniform(22.0, 27.0), draw.uniform(16.5, 20.0)],
            disc_phase: draw.uniform(0.0, 1.0),
            table_gap: draw.uniform(2.0, 8.0),
            lung_hu: draw.uniform(-880.0, -800.0),
            build: build.clone(),
        }
    }

    /// Half the outer width, for the field of view.
    pub(super) fn half_width_outside(&self) -> f32 {
        self.build.half_width + self.wall_mm + self.fat_mm * (1.0 + self.fat_side.max(0.0))
    }

    /// y of the centre of the vertebral bodies.
    pub(super) fn spine_y(&self) -> f32 {
        self.spine_y
    }

    /// Millimetres beyond the cavity's wall along the ray from the centre.
    pub(super) fn beyond(&self, p: Point) -> f32 {
        let grow = 1.0 + self.widening * (p[2] + 80.0) / 100.0;
        let u = p[0] / (self.build.half_width * grow);
        let v = p[1] / self.build.half_depth;
        let (u2, v2) = (u * u, v * v);
        let square = (u2 * u2 + v2 * v2).sqrt();
        let r = (self.roundness * (u2 + v2) + (1.0 - self.roundness) * square).sqrt();
        if r < 0.2 {
            return -60.0;
        }
        (p[0] * p[0] + p[1] * p[1]).sqrt() * (1.0 - 1.0 / r)
    }

    /// Millimetres above the diaphragm, negative below.
    pub(super) fn above(&self, p: Point) -> f32 {
        // Below its centre a dome goes on as a cylinder: the diaphragm lies on the wall.
        let dome = |d: &Ellipsoid| d.distance([p[0], p[1], p[2].max(d.centre[2])]);
        let [right, left, centre] = &self.domes;
        blend(blend(dome(right), dome(left), 12.0), dome(centre), 14.0)
    }

    /// Everything of the trunk that organs are painted over.
    pub(super) fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        canvas.survey(|still, p| {
            let beyond = self.beyond(still);
            (beyond, if beyond < 2.0 { self.above(p) } else { 0.0 })
        });
        canvas.fill(|spot, ink| self.layer(spot, ink, palette));
        self.chest(canvas, palette);
        self.back(canvas, palette);
    }

    fn layer(&self, spot: &Spot, ink: &mut Ink, palette: &Palette) {
        let [x, y, _] = spot.still;
        let norm = (x * x + y * y).sqrt().max(1.0);
        let (side, back) = ((x / norm).powi(2), y / norm);
        let fat = self.fat_mm * (1.0 - self.fat_front * back + self.fat_side * side);
        let wall = self.wall_mm * (1.0 - 0.25 * side - 0.15 * (-back).max(0.0))
            + ease(0.45, 0.95, back) * (BACK_MM - 6.0 * ease(14.0, 0.0, x.abs()));
        let depth = spot.beyond + 0.8 * spot.coarse - wall;
        let lie = self.build.half_depth + self.wall_mm + BACK_MM - 3.0 + 0.7 * self.fat_mm;
        if spot.beyond > wall + fat + SKIN_MM || y > lie {
            *ink.hu = self.table(x, y - lie);
        } else if spot.beyond > wall + fat || y > lie - SKIN_MM {
            *ink.hu = 5.0;
        } else if depth > 0.0 {
            *ink.hu = palette.fat + 5.0 * spot.coarse + 4.0 * spot.fine;
        } else if spot.beyond > 0.0 {
            *ink.hu = self.wall(spot, palette);
        } else {
            *ink.hu = palette.fat + 9.0 * spot.coarse + 7.0 * spot.fine;
        }
    }

    /// Muscle layers with fat between them, and the ribs.
    fn wall(&self, spot: &Spot, palette: &Palette) -> f32 {
        let [x, y, z] = spot.still;
        let round = 1.0 - y / (x * x + y * y).sqrt().max(1.0);
        let line = (self.rib_start - self.rib_slope * round - z) / self.rib_step;
        let number = line.round();
        let reach = if number <= 2.0 { 1.75 } else { 2.25 - 0.27 * number };
        if round < reach && (-8.0..7.0).contains(&number) {
            let across = (line - number) * self.rib_step / 7.5;
            let deep = (spot.beyond - 0.45 * self.wall_mm) / (0.36 * self.wall_mm);
            let rim = across * across + deep * deep;
            if rim < 1.0 {
                return if rim > 0.45 { 520.0 } else { palette.marrow + 40.0 * spot.fine };
            }
        }
        let sheets = ((spot.beyond + 1.5 * spot.coarse) * 1.1).sin();
        let fatty = ease(0.86, 1.0, sheets) * 0.5;
        let muscle = palette.muscle + 5.0 * spot.fine;
        muscle + fatty * (palette.fat - muscle)
    }

    /// A curved carbon shell filled with foam.
    fn table(&self, x: f32, under: f32) -> f32 {
        let depth = under - self.table_gap + x * x / 900.0;
        match depth {
            d if !(0.0..30.0).contains(&d) || x.abs() > 210.0 => -1000.0,
            d if !(1.8..28.2).contains(&d) => 260.0,
            _ => -960.0,
        }
    }

    fn chest(&self, canvas: &mut Canvas, palette: &Palette) {
        if canvas.z() < -130.0 * self.build.tall {
            return;
        }
        canvas.fill(|spot, ink| {
            if spot.beyond > -1.5 || spot.above < -2.5 {
                return;
            }
            let [x, y, z] = spot.still;
            let recess = (-62.0 - 48.0 * y / self.build.half_depth) * self.build.tall;
            let midline = ((x - 4.0) / 24.0).powi(2) + ((y - self.spine_y + 28.0) / 26.0).powi(2);
            *ink.hu = if spot.above < 0.0 || midline < 1.0 && spot.coarse > 0.9 {
                palette.muscle
            } else if z < recess || midline < 1.0 {
                palette.fat
            } else {
                let sag = 40.0 * y / self.build.half_depth;
                self.lung_hu + sag + 22.0 * spot.coarse + 45.0 * spot.fine.max(0.0)
            };
        });
        self.paint_heart(canvas, palette);
    }

    fn paint_heart(&self, canvas: &mut Canvas, palette: &Palette) {
        canvas.paint(self.heart.bounds().grown(8.0), |spot, ink| {
            let d = self.heart.distance(spot.p) + 1.2 * spot.coarse;
            if d > 5.0 || spot.beyond > -2.0 || spot.above < 0.0 {
                return;
            }
            let septum = (spot.p[0] - self.heart.centre[0] + 0.5 * spot.p[1] + 20.0).abs() < 5.0;
            *ink.hu = match d {
                d if d > 0.0 => palette.fat,
                d if d > -8.0 || septum => palette.myocardium,
                _ => palette.heart,
            };
        });
    }

    /// Back muscles, then the spine.
    fn back(&self, canvas: &mut Canvas, palette: &Palette) {
        let [z, y] = [canvas.z(), self.spine_y];
        let psoas = ease(-95.0, -190.0, z / self.build.tall);
        let column = |x: f32, y: f32, rx: f32, ry: f32| Ellipsoid::new([x, y, z], [rx, ry, 60.0]);
        let mut muscles = vec![
            column(-33.0, y + 30.0, 28.0, 19.0),
            column(33.0, y + 30.0, 28.0, 19.0),
            column(-13.0, y - 19.0, 10.0, 5.0),
            column(15.0, y - 18.0, 9.0, 5.0),
        ];
        if psoas > 0.05 {
            let [rx, ry] = [8.0 + 14.0 * psoas, 8.0 + 13.0 * psoas];
            muscles.extend([-1.0, 1.0].map(|side| column(side * (26.0 + rx), y + 2.0, rx, ry)));
            let flank = 62.0 + 10.0 * psoas;
            muscles.extend([-flank, flank].map(|x| column(x, y + 22.0, 16.0, 13.0 * psoas)));
        }
        for muscle in &muscles {
            canvas.paint(muscle.bounds(), |spot, ink| {
                let d = muscle.distance(spot.still) + 0.8 * spot.coarse;
                if d < 0.0 && *ink.hu < 200.0 && *ink.hu > -950.0 {
                    let streak = 22.0 * (spot.fine - 1.2).max(0.0);
                    *ink.hu = palette.muscle + 4.0 * spot.fine - streak;
                }
            });
        }
        self.spine(canvas, palette);
    }

    fn spine(&self, canvas: &mut Canvas, palette: &Palette) {
        let [z, y] = [canvas.z(), self.spine_y];
        let [rx, ry] = self.spine_radii;
        let level = (z / 34.0 + self.disc_phase).rem_euclid(1.0);
        let canal = y + ry + 7.0;
        let area = Ellipsoid::new([0.0, y + 15.0, z], [52.0, 52.0, 1.0]);
        canvas.paint(area.bounds(), |spot, ink| {
            let [x, y_here, _] = spot.still;
            let hole = ((x / 10.5).powi(2) + ((y_here - canal) / 8.0).powi(2)).sqrt();
            let front = ((x / rx).powi(2) + ((y_here - y) / ry).powi(2)).sqrt();
            let bone = if hole < 1.0 {
                Some(20.0 + 20.0 * ease(0.7, 0.5, hole))
            } else if front < 1.0 {
                Some(vertebra(front, level, palette.marrow + 32.0 * spot.fine))
            } else {
                arch([x, y_here - canal], hole, level).map(|hu| hu + 40.0 * spot.fine)
            };
            if let Some(hu) = bone {
                *ink.hu = hu;
            }
        });
    }
}

/// Body of a vertebra or the disc above it; `level` runs from 0 to 1 over both.
fn vertebra(front: f32, level: f32, marrow: f32) -> f32 {
    match level {
        l if l < 0.2 => 85.0,
        l if !(0.25..0.95).contains(&l) => 330.0,
        _ if front > 0.9 => 380.0,
        _ => marrow,
    }
}

/// Lamina, spinous and transverse processes behind the body, if there is bone.
fn arch(from_canal: [f32; 2], hole: f32, level: f32) -> Option<f32> {
    let [x, y] = from_canal;
    let spinous = x.abs() < 3.6 && (6.0..31.0).contains(&y) && (0.25..0.9).contains(&level);
    let transverse = (y - 4.0 + 0.2 * x.abs()).abs() < 4.5
        && (9.0..33.0).contains(&x.abs())
        && (0.35..0.7).contains(&level);
    let facet = ((x.abs() - 15.0) / 6.5).powi(2) + ((y - 6.0) / 7.5).powi(2) < 1.0;
    if hole < 1.38 && (0.2..0.95).contains(&level) || facet {
        Some(430.0)
    } else {
        (spinous || transverse).then_some(310.0)
    }
}
