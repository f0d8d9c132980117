//! The liver's shape.

use super::body::Build;
use super::canvas::Canvas;
use super::draw::Draw;
use super::palette::Palette;
use super::shape::{Bounds, Ellipsoid, Point, Solid, blend, carve, ease};
use hepalert_study::anatomy::Organ;

/// Distance of the liver's surface from the wall and the diaphragm.
pub(super) const CAPSULE_MM: f32 = 2.2;

/// A large right lobe that fills the right dome, a left lobe across the midline, and the
/// hollows that neighbours press into them.
#[derive(Debug)]
pub(super) struct Liver {
    right: Ellipsoid,
    right_low: Ellipsoid,
    left: Ellipsoid,
    middle: Ellipsoid,
    caudate: Ellipsoid,
    /// Stomach, duodenum and pancreas below, the hilum, the right kidney, the gallbladder's
    /// bed, the spine.
    hollows: [Ellipsoid; 5],
    fissure_x: f32,
    fissure_lean: f32,
    fissure_mm: f32,
    tall: f32,
    texture: f32,
}

impl Liver {
    /// A liver for a person of this build.
    pub(super) fn draw(draw: &mut Draw, build: &Build) -> Liver {
        let b = build;
        let depth = draw.uniform(76.0, 98.0);
        let lean = draw.uniform(0.0, 0.14);
        let reach = draw.uniform(0.42, 0.72);
        let left = b.at(0.62 * reach - 0.28, draw.uniform(-0.46, -0.36), -50.0);
        let left_radii = b.radii(reach, draw.uniform(0.36, 0.5), draw.uniform(32.0, 46.0));
        Liver {
            right: b.ellipsoid([-0.48, 0.04, -86.0], [0.66, 1.06, 86.0]),
            right_low: Ellipsoid::turned(
                b.at(-0.52 - 0.5 * lean, 0.06, -86.0),
                b.radii(0.6 - 0.5 * lean, draw.uniform(0.86, 1.0), depth),
                0.0,
                draw.uniform(-0.05, 0.2),
            ),
            left: Ellipsoid::turned(left, left_radii, draw.uniform(-0.2, 0.15), 0.25),
            middle: b.ellipsoid([-0.2, -0.4, -74.0], [0.34, 0.5, draw.uniform(44.0, 58.0)]),
            caudate: b.ellipsoid([-0.12, 0.08, -74.0], [0.13, 0.2, draw.uniform(18.0, 28.0)]),
            hollows: [
                b.ellipsoid([0.12, 0.3, -112.0], [draw.uniform(0.36, 0.46), 0.66, 58.0]),
                b.ellipsoid([-0.19, 0.0, -94.0], [0.16, 0.13, 14.0]),
                b.ellipsoid([-0.37, 0.84, -164.0], [0.37, draw.uniform(0.5, 0.66), 74.0]),
                b.ellipsoid([-0.08, -0.34, -148.0], [draw.uniform(0.24, 0.34), 0.5, 46.0]),
                b.ellipsoid([0.0, 0.9, -80.0], [draw.uniform(0.21, 0.28), 0.68, 400.0]),
            ],
            fissure_x: draw.uniform(0.0, 0.1) * b.half_width,
            fissure_lean: draw.uniform(-0.25, 0.1),
            fissure_mm: draw.uniform(1.0, 4.0),
            tall: b.tall,
            texture: draw.uniform(1.0, 2.5),
        }
    }

    /// Without the texture of the surface and without the body wall.
    pub(super) fn distance(&self, p: Point) -> f32 {
        let right = if p[2] > self.right.centre[2] {
            self.right.distance(p)
        } else {
            // The lower half leans away; at the equator both halves must agree.
            let t = ease(0.0, -22.0, p[2] - self.right.centre[2]);
            let upper = self.right.distance([p[0], p[1], self.right.centre[2]]);
            upper + t * (self.right_low.distance(p) - upper)
        };
        let front = blend(self.left.distance(p), self.middle.distance(p), 22.0);
        let mut d = blend(right, front, 16.0);
        d = carve(d, self.hollows[0].distance(p), 10.0);
        d = blend(d, self.caudate.distance(p), 6.0);
        d = carve(d, self.hollows[1].distance(p), 4.0);
        d = carve(d, self.hollows[2].distance(p), 14.0);
        d = carve(d, self.hollows[3].distance(p), 12.0);
        d = carve(d, self.hollows[4].distance(p), 10.0);
        d.max(-self.fissure(p))
    }

    /// The fissure of the round ligament: open below and in front, closed above.
    fn fissure(&self, p: Point) -> f32 {
        let open = ease(-52.0, -96.0, p[2] / self.tall);
        let wide = self.fissure_mm * open * ease(10.0, -30.0, p[1]);
        (p[0] - self.fissure_x - self.fissure_lean * p[1]).abs() - wide + 6.0 * (1.0 - open)
    }

    /// A box that holds the liver.
    pub(super) fn bounds(&self) -> Bounds {
        let right = self.right.bounds().union(self.right_low.bounds());
        let all = right.union(self.left.bounds()).union(self.middle.bounds());
        let hi = [all.hi[0], all.hi[1], self.right.centre[2] + self.right.radii[2]];
        Bounds { lo: all.lo, hi }.grown(3.0)
    }

    /// Paints the parenchyma with its texture.
    pub(super) fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        canvas.paint(self.bounds(), |spot, ink| {
            let gap = spot.outside_abdomen() + CAPSULE_MM;
            if gap > 0.0 {
                return;
            }
            let d = self.distance(spot.p) + 1.4 * spot.coarse + 0.4 * spot.fine;
            if d < 0.0 {
                let grain = self.texture * (0.8 * spot.coarse + spot.fine);
                ink.cover(palette.liver + grain, Organ::Liver.label());
            }
        });
    }
}
