//! Where the time of the first stage goes, by the caller's clock.

/// Tells seconds since some moment. The first stage has no clock of its own.
pub type Clock<'a> = &'a (dyn Fn() -> f64 + Sync);

/// Seconds that parts of the first stage were busy. A network on a device of its own is beside the
/// others; one on the cores takes turns with them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Busy {
    /// The networks.
    pub network_s: f64,
    /// Cutting patches out of the volume.
    pub gather_s: f64,
    /// Adding tiles up and finishing slices.
    pub blend_s: f64,
    /// From finished slices to scores on the study's grid.
    pub export_s: f64,
    /// Waiting for the networks; by turns that is all of their time.
    pub wait_s: f64,
    /// Tiles that were run.
    pub tiles_run: usize,
}

/// A clock and what it has told.
pub(super) struct Meter<'a> {
    pub clock: Clock<'a>,
    pub busy: Busy,
}

impl Meter<'_> {
    /// Does some work and adds its time to a part.
    pub(super) fn time<T>(
        &mut self,
        part: fn(&mut Busy) -> &mut f64,
        work: impl FnOnce() -> T,
    ) -> T {
        let started = (self.clock)();
        let done = work();
        *part(&mut self.busy) += (self.clock)() - started;
        done
    }
}
