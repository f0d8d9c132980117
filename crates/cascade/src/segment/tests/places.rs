//! By turns on the cores or beside a device: the same calls, the same scores.

use super::*;
use hepalert_engines::Placement;

/// An engine that says it works elsewhere.
struct Beside(Box<dyn Engine>);

impl Engine for Beside {
    fn spec(&self) -> &EngineSpec {
        self.0.spec()
    }
    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        self.0.infer(patches, logits)
    }
    fn placement(&self) -> Placement {
        Placement::Accelerator
    }
}

/// An engine that keeps its answers to itself and leaves `room` alone.
struct Lending(Box<dyn Engine>);

impl Engine for Lending {
    fn spec(&self) -> &EngineSpec {
        self.0.spec()
    }
    fn infer(
        &mut self,
        _: ArrayView5<'_, f32>,
        _: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        unreachable!("who only looks does not ask for a copy")
    }
    fn infer_with(
        &mut self,
        patches: ArrayView5<'_, f32>,
        room: &mut Array5<f32>,
        look: &mut dyn FnMut(ArrayView5<'_, f32>),
    ) -> Result<(), EngineError> {
        room.fill(f32::NAN);
        let mut own = Array5::zeros(self.spec().output_shape());
        self.0.infer(patches, own.view_mut())?;
        look(own.view());
        Ok(())
    }
}

#[test]
fn where_the_network_works_changes_no_score() {
    let study = study_of(image([9, 17, 14]), [5.0, 1.0, 1.1]);
    for (fusion, mirror_axes, batch) in [
        (Fusion::Logits, vec![], 1),
        (Fusion::Logits, vec![1], 3),
        (Fusion::Probabilities, vec![2], 2),
    ] {
        let mut plan = plan();
        (plan.network.fusion, plan.network.mirror_axes, plan.batch) = (fusion, mirror_axes, batch);
        let both = || [placed(&plan, 0), placed(&plan, 1)];
        let turns = run(&study, &plan, both().into());
        let lent = both().map(|engine| Box::new(Lending(engine)) as Box<dyn Engine>);
        let beside = both().map(|engine| Box::new(Beside(engine)) as Box<dyn Engine>);
        for other in [run(&study, &plan, lent.into()), run(&study, &plan, beside.into())] {
            assert_eq!(turns.margin, other.margin);
            assert_eq!(turns.best_lesion, other.best_lesion);
            assert_eq!(turns.best_other, other.best_other);
        }
    }
}

#[test]
fn an_engine_beside_is_stopped_between_tiles_too() {
    let study = study_of(image([9, 17, 14]), [5.0, 1.0, 1.1]);
    let plan = plan();
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Beside(placed(&plan, 0)))];
    let mut seen = 0;
    let stopped = segment(&study, &plan, &mut engines, &mut |at| {
        seen = at.tiles_done;
        if at.tiles_done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(SegmentError::Cancelled)), "{stopped:?}");
    assert_eq!(seen, 3);
}
