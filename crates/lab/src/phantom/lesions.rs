//! Lesions: which kinds a patient has, where, of what shape, and how they take up contrast.

use super::Case;
use super::body::Body;
use super::canvas::{Canvas, Ink, Spot};
use super::draw::Draw;
use super::liver::{CAPSULE_MM, Liver};
use super::palette::Palette;
use super::shape::{Bounds, Ellipsoid, Point, dot, ease, length, minus};
use super::vessels::Vessels;
use hepalert_study::anatomy::{Lesion, Organ};
use hepalert_study::phase::Phase;

/// Free space between two lesions.
const APART_MM: f32 = 4.0;
/// A patient has at most this many.
pub(super) const MAX_LESIONS: usize = 12;

/// One lesion in the deformed patient's space.
#[derive(Debug, Clone)]
pub(super) struct Planted {
    /// The type.
    pub kind: Lesion,
    shape: Ellipsoid,
    waves: [Wave; 4],
    /// How strongly it differs from the textbook.
    temper: f32,
    /// Which of a type's looks.
    variant: f32,
}

/// One lobulation of the surface.
#[derive(Debug, Clone, Copy)]
struct Wave {
    way: Point,
    count: f32,
    height: f32,
    start: f32,
}

/// What a lesion is placed among.
#[derive(Debug)]
pub(super) struct Site<'a> {
    /// The liver it must lie in.
    pub liver: &'a Liver,
    /// The vessels it keeps clear of.
    pub vessels: &'a Vessels,
    /// The wall and the diaphragm.
    pub body: &'a Body,
}

impl Site<'_> {
    /// How deep a point lies under the liver's surface.
    fn depth(&self, p: Point) -> f32 {
        let abdomen = self.body.beyond(p).max(self.body.above(p)) + CAPSULE_MM;
        -self.liver.distance(p).max(abdomen)
    }
}

/// The lesions of a patient. The first of a malignant patient is malignant, has a radius
/// of at least 10 mm and lies whole in the liver.
pub(super) fn plant(draw: &mut Draw, case: Case, site: &Site) -> Vec<Planted> {
    let mut planted: Vec<Planted> = Vec::new();
    for (number, kind) in kinds(draw, case).into_iter().enumerate() {
        let anchor = number == 0 && case == Case::Malignant;
        let radius = radius(draw, kind).max(if anchor { 10.0 } else { 0.0 });
        let least = if anchor { 10.0 } else { 5.0 };
        if let Some((centre, radius)) = find_place(draw, radius, least, site, &planted) {
            planted.push(Planted::draw(draw, kind, centre, radius));
        }
    }
    planted
}

fn kinds(draw: &mut Draw, case: Case) -> Vec<Lesion> {
    let mut kinds = Vec::new();
    if case == Case::Malignant {
        let dice = draw.uniform(0.0, 1.0);
        let (kind, most) = match dice {
            d if d < 0.36 => (Lesion::Hcc, 3),
            d if d < 0.6 => (Lesion::Icc, 2),
            _ => (Lesion::Meta, 6),
        };
        let least = if kind == Lesion::Meta { 2 } else { 1 };
        kinds.resize(draw.whole(least, most), kind);
    }
    let benign = match case {
        Case::Malignant if draw.chance(0.6) => 0,
        Case::Malignant => draw.whole(1, 3),
        Case::Benign => draw.whole(1, 5),
        Case::Normal => 0,
    };
    for _ in 0..benign {
        kinds.push(match draw.uniform(0.0, 1.0) {
            d if d < 0.42 => Lesion::Cyst,
            d if d < 0.74 => Lesion::Hem,
            _ => Lesion::Other,
        });
    }
    kinds.truncate(MAX_LESIONS);
    kinds
}

fn radius(draw: &mut Draw, kind: Lesion) -> f32 {
    let (lo, hi) = match kind {
        Lesion::Hcc => (9.0, 30.0),
        Lesion::Icc => (11.0, 30.0),
        Lesion::Meta => (6.0, 22.0),
        Lesion::Hem => (6.0, 26.0),
        Lesion::Other => (7.0, 24.0),
        Lesion::Cyst => (5.0, 24.0),
    };
    // Small ones are common.
    lo + (hi - lo) * draw.uniform(0.0, 1.0).powf(1.7)
}

/// A free place and the radius that fits there; shrinks towards `least` when it finds none.
fn find_place(
    draw: &mut Draw,
    mut radius: f32,
    least: f32,
    site: &Site,
    others: &[Planted],
) -> Option<(Point, f32)> {
    let bounds = site.liver.bounds();
    for attempt in 1..=4000 {
        let p = bounds.draw(draw);
        let free = |other: &Planted| {
            length(minus(p, other.shape.centre)) > other.reach() + 1.2 * radius + APART_MM
        };
        if site.depth(p) > 0.9 * radius + 2.0
            && site.vessels.clearance(p) > 0.7 * radius
            && others.iter().all(free)
        {
            return Some((p, radius));
        }
        if attempt % 100 == 0 {
            radius = (0.9 * radius).max(least);
        }
    }
    None
}

impl Planted {
    fn draw(draw: &mut Draw, kind: Lesion, centre: Point, radius: f32) -> Planted {
        let (uneven, lobes) = match kind {
            Lesion::Hcc => (0.1, 0.05),
            Lesion::Icc => (0.2, 0.1),
            Lesion::Meta => (0.1, 0.06),
            Lesion::Hem => (0.15, 0.07),
            Lesion::Other => (0.25, 0.1),
            Lesion::Cyst => (0.08, 0.02),
        };
        let radii = [0; 3].map(|_| draw.around(radius, uneven));
        let turn = draw.uniform(0.0, 3.1);
        let waves = [1.5, 2.2, 3.1, 4.3].map(|count| Wave {
            way: draw.direction(),
            count: draw.around(count, 0.2),
            height: lobes * draw.uniform(0.3, 1.0),
            start: draw.uniform(0.0, std::f32::consts::TAU),
        });
        Planted {
            kind,
            shape: Ellipsoid::turned(centre, radii, turn, draw.uniform(-0.8, 0.8)),
            waves,
            temper: draw.uniform(0.75, 1.35),
            variant: draw.uniform(0.0, 1.0),
        }
    }

    /// No part is further from the centre.
    fn reach(&self) -> f32 {
        let waves: f32 = self.waves.iter().map(|wave| wave.height).sum();
        self.radius() * (1.0 + waves)
    }

    fn radius(&self) -> f32 {
        self.shape.radii.into_iter().fold(0.0, f32::max)
    }

    /// Half axes of the undisturbed ellipsoid.
    pub(super) fn radii_mm(&self) -> [f64; 3] {
        self.shape.radii.map(f64::from)
    }

    /// 0 in the centre, 1 on the surface.
    fn place(&self, p: Point) -> f32 {
        let unit = self.shape.unit(p);
        let r = length(unit);
        let way = unit.map(|c| c / r.max(1e-3));
        let lobes: f32 = self
            .waves
            .iter()
            .map(|w| w.height * (w.count * dot(w.way, way) * 2.0 + w.start).sin())
            .sum();
        // The lobes fade towards the centre, where there is no direction.
        r - lobes * ease(0.0, 0.8, r)
    }

    /// Over the liver and its vessels, and nowhere else.
    pub(super) fn paint(&self, number: u8, canvas: &mut Canvas, palette: &Palette) {
        let look = Look::of(self, palette);
        // Half of a soft edge lies outside of the truth.
        let soft = look.soft_mm / self.radius();
        let bounds = Bounds::ball(self.shape.centre, self.reach() + look.soft_mm);
        let tissue = Organ::Liver.label()..=Organ::PortalVein.label();
        canvas.paint(bounds, |spot, ink| {
            let t = self.place(spot.p);
            if t < 1.0 + 0.5 * soft && tissue.contains(ink.label) {
                look.ink(t, soft, spot, ink);
                if t < 1.0 {
                    *ink.label = self.kind.label();
                    *ink.lesion = number;
                }
            }
        });
    }
}

/// How a lesion looks in one phase.
#[derive(Debug)]
struct Look {
    core: f32,
    edge: f32,
    /// Core up to here, edge from there (in units of the radius).
    turn: [f32; 2],
    capsule: Option<f32>,
    /// Nodules of this HU where the coarse texture is above the threshold, from `turn` on.
    nodules: Option<(f32, f32)>,
    scar: Option<f32>,
    coarse: f32,
    fine: f32,
    soft_mm: f32,
}

impl Look {
    fn of(lesion: &Planted, palette: &Palette) -> Look {
        match lesion.kind {
            Lesion::Hcc => Look::hcc(lesion, palette),
            Lesion::Icc => Look::icc(lesion, palette),
            Lesion::Meta => Look::meta(lesion, palette),
            Lesion::Hem => Look::hem(lesion, palette),
            Lesion::Other => Look::other(lesion, palette),
            Lesion::Cyst => Look::cyst(palette),
        }
    }

    fn plain(core: f32, edge: f32, soft_mm: f32) -> Look {
        Look {
            core,
            edge,
            turn: [0.5, 0.9],
            capsule: None,
            nodules: None,
            scar: None,
            coarse: 2.0,
            fine: 1.5,
            soft_mm,
        }
    }

    /// Bright in the arterial phase, washed out later, a capsule that stays.
    fn hcc(lesion: &Planted, palette: &Palette) -> Look {
        let (d, capsule) = match palette.phase {
            Phase::Nc => (-11.0, -6.0),
            Phase::Ap => (42.0, 14.0),
            Phase::Vp => (-32.0, 8.0),
            Phase::Dp => (-24.0, 20.0),
        };
        let hu = palette.liver + d * lesion.temper;
        let mosaic = if palette.phase == Phase::Nc { 3.0 } else { 6.5 };
        Look {
            capsule: (lesion.variant < 0.7).then_some(palette.liver + capsule),
            scar: (lesion.variant > 0.75).then_some(hu - 22.0),
            coarse: mosaic,
            ..Look::plain(hu, hu, 1.5)
        }
    }

    /// Dark and lobulated with a faint rim; the centre fills late.
    fn icc(lesion: &Planted, palette: &Palette) -> Look {
        let (core, edge) = match palette.phase {
            Phase::Nc => (-16.0, -14.0),
            Phase::Ap => (-22.0, 8.0),
            Phase::Vp => (-46.0, -26.0),
            Phase::Dp => (-8.0, -16.0),
        };
        let [core, edge] = [core, edge].map(|d| palette.liver + d * lesion.temper);
        Look { turn: [0.55, 0.95], coarse: 6.0, fine: 3.0, ..Look::plain(core, edge, 3.0) }
    }

    /// Dark with a fuzzy rim; large ones are often necrotic in the middle.
    fn meta(lesion: &Planted, palette: &Palette) -> Look {
        let (core, edge) = match palette.phase {
            Phase::Nc => (-17.0, -12.0),
            Phase::Ap => (-28.0, 6.0),
            Phase::Vp => (-58.0, -38.0),
            Phase::Dp => (-34.0, -16.0),
        };
        let [core, edge] = [core, edge].map(|d| palette.liver + d * lesion.temper);
        let necrosis = lesion.variant < 0.3 && lesion.radius() > 11.0;
        Look {
            turn: [0.45, 1.0],
            scar: necrosis.then_some(24.0),
            coarse: 4.0,
            fine: 2.0,
            ..Look::plain(core.max(28.0), edge.max(32.0), 3.5)
        }
    }

    /// Nodules as bright as blood at the edge that close in on the centre.
    fn hem(lesion: &Planted, palette: &Palette) -> Look {
        let unfilled = 38.0 + 14.0 * lesion.temper;
        let (core, from, threshold) = match palette.phase {
            Phase::Nc => return Look::plain(palette.cava - 3.0, palette.cava - 3.0, 1.0),
            Phase::Ap => (unfilled, 0.7, 0.3),
            Phase::Vp if lesion.variant < 0.25 => (palette.portal_vein - 8.0, 0.0, 9.0),
            Phase::Vp => (unfilled + 12.0, 0.4 + 0.2 * lesion.variant, -0.35),
            Phase::Dp => (palette.portal_vein - 6.0, 0.0, 9.0),
        };
        let edge = core + if threshold < 9.0 { 14.0 } else { 0.0 };
        Look {
            turn: [from, 0.95],
            nodules: (threshold < 9.0).then_some((palette.aorta - 6.0, threshold)),
            coarse: 4.0,
            ..Look::plain(core, edge, 1.0)
        }
    }

    /// Focal nodular hyperplasia with its scar, or a patch of fat.
    fn other(lesion: &Planted, palette: &Palette) -> Look {
        if lesion.variant < 0.45 {
            let (d, scar) = match palette.phase {
                Phase::Nc => (-5.0, -10.0),
                Phase::Ap => (55.0, 0.0),
                Phase::Vp => (15.0, -14.0),
                Phase::Dp => (5.0, 14.0),
            };
            let hu = palette.liver + d * lesion.temper;
            return Look { scar: Some(palette.liver + scar), ..Look::plain(hu, hu, 1.5) };
        }
        let hu = palette.liver - 34.0 * lesion.temper;
        Look { coarse: 3.0, ..Look::plain(hu, hu, 5.0) }
    }

    fn cyst(palette: &Palette) -> Look {
        Look { coarse: 0.0, fine: 0.5, ..Look::plain(palette.water, palette.water, 0.6) }
    }

    fn ink(&self, t: f32, soft: f32, spot: &Spot, ink: &mut Ink) {
        let [from, to] = self.turn;
        let mut hu = self.core + ease(from, to, t) * (self.edge - self.core);
        hu += self.coarse * spot.coarse + self.fine * spot.fine;
        if let Some((bright, threshold)) = self.nodules
            && t > from
        {
            let fill = ease(threshold, threshold + 0.5, spot.coarse + 0.3 * spot.fine);
            hu += fill * (bright - hu);
        }
        if let Some(scar) = self.scar {
            // A star: the texture makes its arms.
            hu += ease(0.42, 0.2, t + 0.1 * spot.coarse + 0.06 * spot.fine) * (scar - hu);
        }
        if let Some(capsule) = self.capsule {
            hu += ease(0.86, 0.93, t) * (capsule - hu);
        }
        let cover = (0.5 + (1.0 - t) / soft.max(0.01)).clamp(0.0, 1.0);
        *ink.hu += cover * (hu - *ink.hu);
    }
}
