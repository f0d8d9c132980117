//! The organs of the upper abdomen as implicit shapes, and how they are painted.

use super::body::Build;
use super::canvas::{Canvas, Ink, Spot};
use super::draw::Draw;
use super::liver::Liver;
use super::palette::Palette;
use super::shape::{Bead, Bounds, Ellipsoid, Point, Solid, Tube, carve, ease};
use hepalert_study::anatomy::Organ;

/// Smallest distance of an organ from the wall and the diaphragm.
const GAP_MM: f32 = 2.0;

/// All organs of one patient.
#[derive(Debug)]
pub(super) struct Organs {
    /// The liver.
    pub liver: Liver,
    gallbladder: Option<Ellipsoid>,
    spleen: Ellipsoid,
    splenic_hollow: Ellipsoid,
    stomach: Hollow,
    pancreas: Tube,
    kidneys: [Kidney; 2],
    bowel: Vec<Hollow>,
}

/// An organ with a wall and something in it.
#[derive(Debug)]
struct Hollow {
    tube: Tube,
    wall_mm: f32,
    content: Content,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    /// Fluid below a level, gas above it: y of the level and the fluid's HU.
    Level { y: f32, fluid: f32 },
    /// Faeces: HU and the share of gas bubbles, as a threshold on the fine texture.
    Stool { hu: f32, gas_above: f32 },
}

#[derive(Debug)]
struct Kidney {
    body: Ellipsoid,
    sinus: Ellipsoid,
    pelvis: Ellipsoid,
}

fn bead(at: Point, radius: f32) -> Bead {
    Bead { at, radius }
}

impl Organs {
    /// The organs of a person of this build.
    pub(super) fn draw(draw: &mut Draw, build: &Build) -> Organs {
        let b = build;
        let big = draw.uniform(0.85, 1.2);
        let spleen = b.at(0.78, draw.uniform(0.36, 0.5), draw.uniform(-78.0, -64.0));
        Organs {
            liver: Liver::draw(draw, build),
            gallbladder: gallbladder(draw, build),
            spleen: Ellipsoid::turned(
                spleen,
                b.radii(0.31 * big, 0.46 * big, 47.0 * big),
                draw.uniform(-0.35, 0.1),
                draw.uniform(-0.2, 0.1),
            ),
            splenic_hollow: b.ellipsoid(
                [draw.uniform(0.34, 0.46), draw.uniform(0.1, 0.25), -70.0],
                [0.28, 0.42, 64.0],
            ),
            stomach: stomach(draw, build),
            pancreas: pancreas(draw, build),
            kidneys: [kidney(draw, build, -1.0), kidney(draw, build, 1.0)],
            bowel: bowel(draw, build),
        }
    }

    /// Where the splenic vein begins.
    pub(super) fn splenic_hilum(&self, build: &Build) -> Point {
        build.at(0.56, 0.34, -78.0)
    }

    /// The middle of each kidney's sinus: right, left.
    pub(super) fn renal_hila(&self) -> [Point; 2] {
        [self.kidneys[0].sinus.centre, self.kidneys[1].sinus.centre]
    }

    /// All organs, deep ones last.
    pub(super) fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        for hollow in &self.bowel {
            paint_hollow(hollow, canvas, palette, 0);
        }
        self.paint_spleen(canvas, palette);
        paint_hollow(&self.stomach, canvas, palette, Organ::Stomach.label());
        self.liver.paint(canvas, palette);
        self.kidneys.iter().for_each(|kidney| kidney.paint(canvas, palette));
        self.paint_pancreas(canvas, palette);
        self.paint_gallbladder(canvas, palette);
    }

    fn paint_spleen(&self, canvas: &mut Canvas, palette: &Palette) {
        // Early contrast reaches the red pulp in bands.
        let mottle = if palette.phase == hepalert_study::phase::Phase::Ap { 14.0 } else { 2.0 };
        canvas.paint(self.spleen.bounds(), |spot, ink| {
            let whole = self.spleen.distance(spot.p) + 1.2 * spot.coarse;
            let d = carve(whole, self.splenic_hollow.distance(spot.p), 6.0);
            if d.max(spot.outside_abdomen() + GAP_MM) < 0.0 {
                let hu = palette.spleen + mottle * spot.coarse + 1.5 * spot.fine;
                ink.cover(hu, Organ::Spleen.label());
            }
        });
    }

    fn paint_pancreas(&self, canvas: &mut Canvas, palette: &Palette) {
        canvas.paint(self.pancreas.bounds(), |spot, ink| {
            let d = self.pancreas.distance(spot.p) + 1.2 * spot.fine + 1.0 * spot.coarse;
            let hollow = *ink.label == Organ::Stomach.label();
            if d < 0.0 && !hollow && spot.outside_abdomen() < -GAP_MM {
                let lobules = 7.0 * spot.fine - 22.0 * (spot.fine - 1.0).max(0.0);
                ink.cover(palette.pancreas + lobules, Organ::Pancreas.label());
            }
        });
    }

    fn paint_gallbladder(&self, canvas: &mut Canvas, palette: &Palette) {
        let Some(gallbladder) = &self.gallbladder else { return };
        canvas.paint(gallbladder.bounds().grown(2.0), |spot, ink| {
            let d = gallbladder.distance(spot.p) + 0.6 * spot.coarse;
            if d < 0.0 && spot.outside_abdomen() < -GAP_MM {
                let hu = if d > -1.4 { palette.wall } else { palette.bile };
                ink.cover(hu, Organ::Gallbladder.label());
            }
        });
    }
}

impl Kidney {
    fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        canvas.paint(self.body.bounds().grown(6.0), |spot, ink| {
            let d = self.body.distance(spot.p) + 0.8 * spot.coarse;
            if d > 5.0 || spot.beyond > -GAP_MM {
                return;
            }
            let sinus = self.sinus.distance(spot.p) + 1.2 * spot.coarse;
            let hu = if d > 0.0 {
                palette.fat + 6.0 * spot.fine
            } else if self.pelvis.distance(spot.p) < 0.0 {
                palette.pelvis
            } else if sinus < 0.0 {
                palette.fat + 25.0 * spot.fine
            } else {
                let deep = ease(-6.0, -8.0, d) * ease(-0.6, 0.0, spot.coarse);
                palette.cortex + deep * (palette.medulla - palette.cortex)
            };
            ink.cover(hu, 0);
        });
    }
}

fn paint_hollow(hollow: &Hollow, canvas: &mut Canvas, palette: &Palette, label: u8) {
    canvas.paint(hollow.tube.bounds(), |spot, ink| {
        let d = hollow.tube.distance(spot.p) + 1.6 * spot.coarse;
        if d < 0.0 && spot.outside_abdomen() < -GAP_MM {
            hollow.ink(d, spot, ink, palette, label);
        }
    });
}

impl Hollow {
    fn ink(&self, d: f32, spot: &Spot, ink: &mut Ink, palette: &Palette, label: u8) {
        let hu = if d > -self.wall_mm * (1.0 + 0.25 * spot.coarse) {
            palette.wall + 5.0 * spot.fine
        } else {
            match self.content {
                // A fluid level is flat in the scanner, whatever the organ's shape.
                Content::Level { y, .. } if spot.still[1] < y => -960.0,
                Content::Level { fluid, .. } => fluid + 6.0 * spot.fine,
                Content::Stool { gas_above, .. } if spot.fine > gas_above => -650.0,
                Content::Stool { hu, .. } => hu + 18.0 * spot.coarse + 22.0 * spot.fine,
            }
        };
        ink.cover(hu, label);
    }
}

fn gallbladder(draw: &mut Draw, b: &Build) -> Option<Ellipsoid> {
    let (turn, tilt) = (draw.uniform(-0.6, 0.6), draw.uniform(-0.2, 0.5));
    let low = draw.uniform(-132.0, -118.0);
    let centre = b.at(draw.uniform(-0.36, -0.26), draw.uniform(-0.44, -0.26), low);
    let wide = draw.uniform(10.0, 18.0);
    let radii = [wide, wide * draw.uniform(0.9, 1.4), draw.uniform(20.0, 33.0)];
    // The rest have had it removed.
    draw.chance(0.9).then(|| Ellipsoid::turned(centre, radii, turn, tilt))
}

fn stomach(draw: &mut Draw, b: &Build) -> Hollow {
    let full = draw.uniform(0.65, 1.2);
    let low = draw.uniform(-10.0, 4.0);
    let beads = [
        bead(b.at(0.42, 0.2, -52.0), 34.0 * full),
        bead(b.at(0.44, -0.08, -80.0), 29.0 * full),
        bead(b.at(0.36, -0.42, -106.0 + low), 26.0 * full),
        bead(b.at(0.12, -0.5, -126.0 + low), 18.0 * full),
        bead(b.at(-0.1, -0.36, -130.0), 10.0),
    ];
    let fluid = if draw.chance(0.3) { draw.uniform(30.0, 60.0) } else { draw.uniform(0.0, 25.0) };
    Hollow {
        tube: Tube::new(&beads, 12.0),
        wall_mm: draw.uniform(3.0, 5.5),
        content: Content::Level { y: draw.uniform(-0.8, -0.25) * b.half_depth, fluid },
    }
}

fn pancreas(draw: &mut Draw, b: &Build) -> Tube {
    let thick = draw.uniform(0.75, 1.15);
    let rise = draw.uniform(-8.0, 8.0);
    let beads = [
        bead(b.at(-0.15, 0.06, -146.0), 11.0 * thick),
        bead(b.at(-0.13, 0.0, -130.0), 13.5 * thick),
        bead(b.at(0.02, -0.1, -118.0 + 0.4 * rise), 8.0 * thick),
        bead(b.at(0.22, -0.04, -108.0 + rise), 9.5 * thick),
        bead(b.at(0.5, 0.24, -90.0 + rise), 9.0 * thick),
    ];
    Tube::new(&beads, 6.0)
}

fn kidney(draw: &mut Draw, b: &Build, side: f32) -> Kidney {
    let z = if side < 0.0 { draw.uniform(-150.0, -132.0) } else { draw.uniform(-138.0, -118.0) };
    let centre = b.at(side * draw.uniform(0.4, 0.48), draw.uniform(0.44, 0.54), z);
    let size = draw.uniform(0.88, 1.12);
    let (turn, tilt) = (side * draw.uniform(0.3, 0.7), side * draw.uniform(-0.3, -0.1));
    let inward = [centre[0] - side * 10.0, centre[1] - 6.0, centre[2]];
    let hilum = [centre[0] - side * 15.0, centre[1] - 8.0, centre[2]];
    Kidney {
        body: Ellipsoid::turned(centre, [25.0, 27.0, 52.0].map(|r| r * size), turn, tilt),
        sinus: Ellipsoid::turned(inward, [18.0, 8.0, 27.0].map(|r| r * size), turn, tilt),
        pelvis: Ellipsoid::turned(hilum, [9.0, 4.0, 10.0], turn, tilt),
    }
}

fn bowel(draw: &mut Draw, b: &Build) -> Vec<Hollow> {
    let mut all = vec![colon(draw, b), duodenum(draw, b)];
    let space = Bounds { lo: b.at(-0.5, -0.66, -240.0), hi: b.at(0.62, 0.15, -138.0) };
    for _ in 0..draw.whole(26, 44) {
        let mut at = space.draw(draw);
        let wide = draw.uniform(8.0, 13.0);
        let mut beads = vec![bead(at, wide)];
        for _ in 0..3 {
            let way = draw.direction();
            at = std::array::from_fn(|axis| at[axis] + 26.0 * way[axis] * [1.0, 0.7, 0.7][axis]);
            beads.push(bead(at, draw.around(wide, 0.2)));
        }
        let level = if draw.chance(0.2) { at[1] } else { -500.0 };
        all.push(Hollow {
            tube: Tube::new(&beads, 5.0),
            wall_mm: draw.uniform(2.5, 5.0),
            content: Content::Level { y: level, fluid: draw.uniform(8.0, 45.0) },
        });
    }
    all
}

fn colon(draw: &mut Draw, b: &Build) -> Hollow {
    let wide = draw.uniform(13.0, 21.0);
    let drop = draw.uniform(-25.0, 5.0);
    let way = [
        [-0.74, 0.2, -250.0],
        [-0.72, -0.1, -180.0],
        [-0.6, -0.55, -158.0],
        [-0.2, -0.72, -160.0 + drop],
        [0.25, -0.72, -156.0 + drop],
        [0.62, -0.5, -126.0],
        [0.8, 0.02, -108.0],
        [0.78, 0.3, -160.0],
        [0.76, 0.34, -260.0],
    ];
    let beads: Vec<Bead> =
        way.iter().map(|[u, v, z]| bead(b.at(*u, *v, *z), draw.around(wide, 0.25))).collect();
    let content = if draw.chance(0.6) {
        Content::Stool { hu: draw.uniform(-30.0, 60.0), gas_above: draw.uniform(0.2, 1.6) }
    } else {
        Content::Level { y: draw.uniform(-0.75, -0.4) * b.half_depth, fluid: 20.0 }
    };
    Hollow { tube: Tube::new(&beads, 8.0), wall_mm: draw.uniform(1.5, 3.0), content }
}

fn duodenum(draw: &mut Draw, b: &Build) -> Hollow {
    let way = [
        [-0.1, -0.36, -130.0],
        [-0.27, -0.16, -130.0],
        [-0.29, 0.08, -150.0],
        [-0.12, 0.2, -172.0],
        [0.14, 0.16, -170.0],
    ];
    let beads: Vec<Bead> =
        way.iter().map(|[u, v, z]| bead(b.at(*u, *v, *z), draw.uniform(9.0, 13.0))).collect();
    let content = Content::Level { y: -500.0, fluid: draw.uniform(5.0, 40.0) };
    Hollow { tube: Tube::new(&beads, 6.0), wall_mm: 3.0, content }
}
