//! What the benches of the first stage share: a synthetic study and a stand-in network.

use std::collections::BTreeMap;
use std::sync::Arc;

use hepalert_bundles::{
    BundleFile, Decision, Fusion, Golden, NetworkPlan, Reader, Resampling, Sums,
};
use hepalert_cascade::segment::{AirTiles, Plan};
use hepalert_engines::{Engine, EngineError, EngineSpec};
use hepalert_study::anatomy;
use hepalert_study::phase::Phase;
use hepalert_study::study::{AlignedStudy, Study, StudyKey};
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::{Array3, ArrayView5, ArrayViewMut5};

/// A body of noise in air.
pub(crate) fn phantom(slices: usize, phase: u32) -> Volume<i16> {
    let grid = Arc::new(Grid::axial([slices, 512, 512], [5.0, 0.75, 0.75], [0.0; 3]));
    let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| {
        let (dy, dx) = ((y as f32 - 256.0) / 180.0, (x as f32 - 256.0) / 230.0);
        let hash = ((z * 512 + y) * 512 + x) as u32 ^ (phase << 28);
        let noise = (hash.wrapping_mul(2_654_435_761) >> 16) as i16 & 31;
        let wave = ((z * 3 + y + 2 * x) as f32 * 0.02).sin() * 60.0;
        if dy * dy + dx * dx < 1.0 { 40 + wave as i16 + noise } else { -1000 + noise / 8 }
    });
    Volume::new(grid, voxels)
}

/// An aligned study of these volumes.
pub(crate) fn aligned(volumes: Vec<Volume<f32>>) -> AlignedStudy {
    let Some(key) = StudyKey::new(&"0".repeat(32)) else { unreachable!("a key") };
    let wanted: Vec<Phase> = Phase::ALL.into_iter().take(volumes.len()).collect();
    let phases: BTreeMap<Phase, Volume<f32>> = wanted.iter().copied().zip(volumes).collect();
    let study = AlignedStudy::from_study(Study { key, phases }, &wanted);
    let Ok(study) = study else { unreachable!("one grid") };
    study
}

/// A synthetic study of some phases.
#[allow(dead_code, reason = "not every bench makes one")]
pub(crate) fn study(slices: usize, phases: u32) -> AlignedStudy {
    let volume = |phase| {
        let volume = phantom(slices, phase);
        Volume::new(Arc::clone(volume.grid()), volume.voxels().mapv(f32::from))
    };
    aligned((0..phases).map(volume).collect())
}

/// The small network's plan: 0.8 x 0.8 x 5 mm, tiles of 16 x 128 x 128, 14 classes.
pub(crate) fn plan(channels: usize) -> Plan {
    let Ok(file) = BundleFile::new("none", &"0".repeat(64), 0) else { unreachable!("a name") };
    let normalisation = Normalisation::Ct { mean: 60.0, std: 50.0, lower: -150.0, upper: 250.0 };
    let network = NetworkPlan {
        files: vec![file.clone()],
        reader: Reader::SimpleItk,
        classes: anatomy::class_names().map(str::to_owned).to_vec(),
        channels,
        patch: [16, 128, 128],
        spacing_mm: [5.0, 0.8, 0.8],
        transpose_forward: [0, 1, 2],
        normalisation: vec![normalisation; channels],
        resampling: Resampling::Default,
        resampling_logits: Resampling::Default,
        mirror_axes: vec![],
        tile_step: 0.5,
        fusion: Fusion::Logits,
        sums: Sums::F16,
        decision: Decision::Argmax,
        postprocessing: vec![],
        mask_value: 0.0,
        golden: Golden { input: file.clone(), expected: vec![file], stride: [1, 1, 1] },
    };
    Plan { network, batch: 1, air: AirTiles::RunAll, memory_budget_bytes: 8 << 30 }
}

/// A network that answers at once.
pub(crate) fn stand_in(plan: &Plan) -> Box<dyn Engine> {
    Box::new(StandIn(plan.network.spec(plan.batch)))
}

/// Smooth logits, written once into each set of buffers.
struct StandIn(EngineSpec);

impl Engine for StandIn {
    fn spec(&self) -> &EngineSpec {
        &self.0
    }

    fn infer(
        &mut self,
        _: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        if logits.iter().take(14).any(|&v| v != 0.0) {
            return Ok(());
        }
        for ((_, class, z, y, x), out) in logits.indexed_iter_mut() {
            let place = (z * 5 + y * 3 + x * 2) as f32;
            *out = 4.0 * (place * 0.01 * (1 + class) as f32).sin() + 0.1 * class as f32 + 0.05;
        }
        Ok(())
    }
}
