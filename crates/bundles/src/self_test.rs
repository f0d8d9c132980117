//! The self-test of a bundle: every fold of every network against its golden patch.

use std::time::Instant;

use super::{Bundle, Role};
use hepalert_engines::EngineError;
use hepalert_engines::backend::Runtime;
use hepalert_engines::conformance::{self, Conformity};

/// How much is run of each fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestDepth {
    /// Its golden patch, once.
    Patch,
    /// The whole suite: the patch several times over and in every way a patch is handed in.
    Suite,
}

/// A fold of a network that passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkTest {
    /// Its network.
    pub role: Role,
    /// Which fold.
    pub fold: usize,
    /// How close its answer was.
    pub conformity: Conformity,
    /// Seconds per patch.
    pub patch_s: f64,
}

impl Bundle {
    /// Loads every network and puts each fold through `depth`; `visit` is told of those that passed.
    ///
    /// # Errors
    /// [`EngineError`] of the first network that cannot be loaded or fails.
    pub fn test_all(
        &self,
        runtime: &Runtime,
        depth: TestDepth,
        mut visit: impl FnMut(NetworkTest),
    ) -> Result<(), EngineError> {
        for (role, _) in self.networks() {
            let tolerance = role.precision(runtime.precision).tolerance();
            for (fold, engine) in self.load(role, runtime)?.iter_mut().enumerate() {
                let golden = self.golden(role, fold)?;
                let began = Instant::now();
                let (conformity, runs) = match depth {
                    TestDepth::Patch => {
                        (conformance::self_test(engine.as_mut(), &golden, tolerance)?, 1)
                    }
                    TestDepth::Suite => (
                        conformance::suite(engine.as_mut(), &golden, tolerance)?,
                        conformance::SUITE_RUNS,
                    ),
                };
                let patch_s = began.elapsed().as_secs_f64() / runs as f64;
                visit(NetworkTest { role, fold, conformity, patch_s });
            }
        }
        Ok(())
    }
}
