//! Blood vessels: the trees inside the liver and the large vessels around it.

use super::body::{Body, Build};
use super::canvas::Canvas;
use super::draw::Draw;
use super::organs::Organs;
use super::palette::Palette;
use super::shape::{Bead, Point, Segment, Solid, along, length, minus};
use hepalert_study::anatomy::{Organ, is_lesion};

/// Branches inside the liver with a smaller radius stay liver in the truth: at the voxel
/// size of CT nobody would draw them.
const LABELLED_RADIUS_MM: f32 = 1.7;
/// Branches inside the liver with at least this radius keep lesions away.
const LARGE_RADIUS_MM: f32 = 3.4;

/// What runs in a vessel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blood {
    HepaticVein,
    PortalVein,
    Cava,
    /// Cava below the renal veins.
    LowerCava,
    Artery,
    /// Mesenteric veins: portal blood that the truth does not label.
    Mesenteric,
}

#[derive(Debug, Clone, Copy)]
struct Vessel {
    segment: Segment,
    blood: Blood,
    inside_liver: bool,
}

/// All vessels of one patient.
#[derive(Debug)]
pub(super) struct Vessels {
    all: Vec<Vessel>,
}

impl Vessels {
    /// The vessels that supply the given organs.
    pub(super) fn draw(draw: &mut Draw, build: &Build, body: &Body, organs: &Organs) -> Vessels {
        let mut grower = Grower { draw, build, all: Vec::new() };
        let spine = body.spine_y() / build.half_depth;
        grower.great(spine, organs);
        grower.mesentery();
        grower.splanchnic(organs.splenic_hilum(build));
        grower.portal_tree();
        grower.hepatic_tree();
        Vessels { all: grower.all }
    }

    /// How far a point is from the nearest large vessel of the liver.
    pub(super) fn clearance(&self, p: Point) -> f32 {
        let large = |v: &&Vessel| v.segment.radius() >= LARGE_RADIUS_MM;
        let distance = |v: &Vessel| v.segment.distance(p);
        self.all.iter().filter(large).map(distance).fold(f32::MAX, f32::min)
    }

    /// All vessels, over the organs.
    pub(super) fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        for vessel in &self.all {
            vessel.paint(canvas, palette);
        }
    }
}

impl Vessel {
    fn paint(&self, canvas: &mut Canvas, palette: &Palette) {
        let (hu, organ) = match self.blood {
            Blood::HepaticVein => (palette.hepatic_vein, Some(Organ::HepaticVessels)),
            Blood::PortalVein => (palette.portal_vein, Some(Organ::PortalVein)),
            Blood::Cava => (palette.cava, None),
            Blood::LowerCava => (palette.lower_cava, None),
            Blood::Artery => (palette.aorta, None),
            Blood::Mesenteric => (palette.portal_vein, None),
        };
        let thin = self.segment.radius() < LABELLED_RADIUS_MM;
        let label = organ.map_or(0, Organ::label);
        canvas.paint(self.segment.bounds(), |spot, ink| {
            if spot.beyond > -1.0 || self.segment.distance(spot.p) + 0.25 * spot.coarse > 0.0 {
                return;
            }
            debug_assert!(!is_lesion(*ink.label), "lesions are painted last");
            let vessel = *ink.label == Organ::HepaticVessels.label()
                || *ink.label == Organ::PortalVein.label();
            let liver = *ink.label == Organ::Liver.label();
            if self.inside_liver && !liver && !vessel {
                return;
            }
            if thin && self.inside_liver {
                *ink.hu = hu;
            } else {
                ink.cover(hu + 1.5 * spot.fine, label);
            }
        });
    }
}

struct Grower<'a> {
    draw: &'a mut Draw,
    build: &'a Build,
    all: Vec<Vessel>,
}

/// A vessel's course: points in the units of `Build::at` with radii in millimetres.
type Course<'a> = &'a [([f32; 3], f32)];

impl Grower<'_> {
    fn run(&mut self, blood: Blood, inside_liver: bool, course: Course) -> Vec<Bead> {
        let build = self.build;
        let beads: Vec<Bead> = course
            .iter()
            .map(|([u, v, z], radius)| Bead { at: build.at(*u, *v, *z), radius: *radius })
            .collect();
        let fine = smooth(&beads);
        self.join(blood, inside_liver, &fine);
        fine
    }

    fn join(&mut self, blood: Blood, inside_liver: bool, beads: &[Bead]) {
        self.all.extend(beads.windows(2).map(|pair| Vessel {
            segment: Segment::new(pair[0], pair[1]),
            blood,
            inside_liver,
        }));
    }

    fn great(&mut self, spine: f32, organs: &Organs) {
        let (wide, deep) = (self.draw.uniform(8.5, 12.0), spine - 0.36);
        let aorta = [
            ([0.1, spine - 0.28, 60.0], wide * 1.1),
            ([0.09, spine - 0.3, -60.0], wide),
            ([0.06, spine - 0.36, -150.0], wide * 0.85),
            ([0.05, spine - 0.38, -300.0], wide * 0.75),
        ];
        self.run(Blood::Artery, false, &aorta);
        let wide = self.draw.uniform(8.5, 12.5);
        let cava = [
            ([-0.1, -0.1, 22.0], wide * 1.1),
            ([-0.16, 0.1, -14.0], wide * 1.2),
            ([-0.19, 0.26, -60.0], wide),
            ([-0.18, deep, -110.0], wide),
            ([-0.16, deep, -300.0], wide * 0.9),
        ];
        self.run(Blood::Cava, false, &cava);
        // Below the lower renal vein no kidney's blood has come in.
        let [right, left] = organs.renal_hila();
        let mouth = right[2].min(left[2]) + 2.0;
        for vessel in self.all.iter_mut().filter(|vessel| vessel.blood == Blood::Cava) {
            if vessel.segment.top() < mouth {
                vessel.blood = Blood::LowerCava;
            }
        }
        for (hilum, x) in organs.renal_hila().into_iter().zip([-0.16, 0.02]) {
            let root = self.build.at(x, deep - 0.02, 0.0);
            let start = Bead { at: [root[0], root[1], hilum[2] + 6.0], radius: 4.2 };
            self.join(Blood::Cava, false, &[start, Bead { at: hilum, radius: 3.4 }]);
        }
    }

    /// Coeliac trunk, arteries to liver and spleen, splenic vein, main portal vein.
    fn splanchnic(&mut self, spleen: Point) {
        let trunk = self.build.at(0.07, 0.12, -96.0);
        let wave = self.draw.uniform(4.0, 9.0);
        let splenic: Vec<Bead> = (0..=10)
            .map(|i| {
                let t = i as f32 / 10.0;
                let mut at = along(trunk, t, minus(spleen, trunk));
                at[2] += wave * (t * 14.0).sin();
                Bead { at, radius: 2.4 - 0.8 * t }
            })
            .collect();
        self.join(Blood::Artery, false, &splenic);
        let hepatic = [
            ([0.07, 0.12, -96.0], 2.8),
            ([-0.04, -0.02, -102.0], 2.4),
            ([-0.16, -0.08, -96.0], 1.8),
        ];
        self.run(Blood::Artery, false, &hepatic);
        let vein =
            [([-0.02, 0.08, -120.0], 5.2), ([0.2, 0.14, -110.0], 4.6), ([0.42, 0.28, -94.0], 4.0)];
        let mut beads = self.run(Blood::PortalVein, false, &vein);
        beads.drain(..beads.len() - 1);
        beads.push(Bead { at: spleen, radius: 3.2 });
        self.join(Blood::PortalVein, false, &beads);
    }

    fn mesentery(&mut self) {
        let trunk = [
            ([-0.02, 0.06, -118.0], 5.0),
            ([-0.02, 0.02, -170.0], 4.4),
            ([-0.04, -0.1, -290.0], 3.6),
        ];
        self.run(Blood::Mesenteric, false, &trunk);
        let artery = [
            ([0.07, 0.14, -112.0], 3.6),
            ([0.06, 0.04, -140.0], 3.2),
            ([0.05, -0.06, -290.0], 2.8),
        ];
        self.run(Blood::Artery, false, &artery);
        for _ in 0..self.draw.whole(18, 40) {
            let z = self.draw.uniform(-250.0, -120.0);
            let root = [self.draw.uniform(-0.05, 0.1), -0.02, z];
            let (u, v) = (self.draw.uniform(-0.6, 0.65), self.draw.uniform(-0.75, 0.1));
            let wide = self.draw.uniform(0.7, 1.8);
            let end = [u, v, z + self.draw.uniform(-40.0, 25.0)];
            let bend = [0.6 * u, 0.3 * v, z + self.draw.uniform(-15.0, 15.0)];
            let course = [(root, wide), (bend, wide), (end, 0.6 * wide)];
            self.run(Blood::Mesenteric, false, &course);
        }
    }

    fn portal_tree(&mut self) {
        let wide = self.draw.uniform(5.6, 7.8);
        let main = [
            ([-0.02, 0.08, -120.0], wide),
            ([-0.12, 0.06, -104.0], wide),
            ([-0.21, 0.0, -92.0], wide),
        ];
        // Outside the liver too: the hilum is fat.
        self.run(Blood::PortalVein, false, &main);
        let shift = self.draw.uniform(-7.0, 7.0);
        let right = [([-0.21, 0.0, -92.0], 0.85), ([-0.42, 0.04, -88.0 + shift], 0.72)];
        let left =
            [([-0.21, 0.0, -92.0], 0.72), ([-0.1, -0.14, -76.0], 0.66), ([0.04, -0.3, -70.0], 0.6)];
        let fork = [-0.42, 0.04, -88.0 + shift];
        let umbilical = [0.04, -0.3, -70.0];
        let ends: [([f32; 3], [f32; 3], f32); 8] = [
            (fork, [-0.62, -0.36, -58.0], 0.56),
            (fork, [-0.6, -0.3, -122.0], 0.5),
            (fork, [-0.7, 0.46, -72.0], 0.5),
            (fork, [-0.66, 0.42, -130.0], 0.5),
            (fork, [-0.85, 0.0, -90.0], 0.4),
            (umbilical, [0.3, -0.36, -48.0], 0.42),
            (umbilical, [0.22, -0.56, -72.0], 0.42),
            (umbilical, [-0.2, -0.6, -74.0], 0.42),
        ];
        self.run(Blood::PortalVein, true, &right.map(|(at, share)| (at, share * wide)));
        self.run(Blood::PortalVein, true, &left.map(|(at, share)| (at, share * wide)));
        for (from, to, share) in ends {
            self.limb(Blood::PortalVein, from, to, share * wide);
        }
    }

    fn hepatic_tree(&mut self) {
        let wide = self.draw.uniform(4.8, 7.0);
        let mouth = [-0.17, 0.08, -22.0];
        let ends: [([f32; 3], f32); 5] = [
            ([-0.74, 0.3, -104.0], 1.0),
            ([-0.34, -0.42, -104.0], 0.9),
            ([0.2, -0.42, -58.0], 0.8),
            ([-0.6, -0.2, -60.0], 0.55),
            ([-0.8, 0.34, -60.0], 0.5),
        ];
        for (to, share) in ends {
            self.limb(Blood::HepaticVein, mouth, to, share * wide);
        }
    }

    /// A main branch inside the liver that bends, tapers and sends off side branches.
    fn limb(&mut self, blood: Blood, from: [f32; 3], to: [f32; 3], wide: f32) {
        let noise = [0.05, 0.07, 6.0].map(|amount| self.draw.uniform(-amount, amount));
        let to: [f32; 3] = std::array::from_fn(|axis| to[axis] + noise[axis]);
        let bow = [0.04, 0.06, 6.0].map(|amount| self.draw.uniform(-amount, amount));
        let bend = std::array::from_fn(|axis| 0.5 * (from[axis] + to[axis]) + bow[axis]);
        let course = [(from, wide), (bend, 0.78 * wide), (to, 0.42 * wide)];
        let beads = self.run(blood, true, &course);
        for at in [0.3, 0.5, 0.65, 0.8, 0.95] {
            let bead = beads[((beads.len() - 1) as f32 * at) as usize];
            self.twig(blood, bead, 2);
        }
    }

    /// A side branch, itself branching `order` times.
    fn twig(&mut self, blood: Blood, root: Bead, order: usize) {
        let radius = (root.radius * self.draw.uniform(0.55, 0.8)).max(1.0);
        let way = self.draw.direction();
        let reach = self.draw.uniform(16.0, 34.0) * (0.7 + 0.1 * radius);
        let mid = along(root.at, 0.5 * reach, way);
        let turn = self.draw.direction();
        let end = along(along(root.at, reach, way), 0.3 * reach, turn);
        let beads = [
            Bead { at: root.at, radius },
            Bead { at: mid, radius: 0.85 * radius },
            Bead { at: end, radius: 0.55 * radius },
        ];
        self.join(blood, true, &beads);
        if order > 1 {
            self.twig(blood, beads[1], order - 1);
            self.twig(blood, beads[2], order - 1);
        }
    }
}

/// Catmull-Rom interpolation with a bead about every 8 mm.
fn smooth(beads: &[Bead]) -> Vec<Bead> {
    let last = beads.len() - 1;
    let mut fine = vec![beads[0]];
    for i in 0..last {
        let [a, b, c, d] = [i.saturating_sub(1), i, i + 1, (i + 2).min(last)].map(|k| beads[k]);
        let steps = (length(minus(c.at, b.at)) / 8.0).ceil().max(1.0) as usize;
        for step in 1..=steps {
            let t = step as f32 / steps as f32;
            let at = std::array::from_fn(|axis| {
                let [a, b, c, d] = [a, b, c, d].map(|bead| bead.at[axis]);
                b + 0.5
                    * t
                    * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
            });
            fine.push(Bead { at, radius: b.radius + t * (c.radius - b.radius) });
        }
    }
    fine
}
