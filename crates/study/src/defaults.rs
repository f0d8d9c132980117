//! Numbers that hold where a site says nothing, for the configuration and for those who work by them.
//!
//! Owns what two rooms would else write down twice. Durations are in seconds.

/// A file is whole when it lies still for so long.
pub const SETTLE_S: u64 = 3;
/// A file that lies still and cannot be read is given up after so long.
pub const GIVE_UP_S: u64 = 600;
/// A study is complete when nothing was added for so long.
pub const QUIET_S: u64 = 60;
/// The same once every phase that the engine needs is there.
pub const PHASE_QUIET_S: u64 = 15;
/// A study that never comes to rest is taken as it is after so long.
pub const FORCE_COMPLETE_S: u64 = 1800;
/// Most files of one study.
pub const MAX_FILES: usize = 20_000;
/// Tube voltages that networks were trained on, in kV.
pub const KVP: [f64; 2] = [100.0, 140.0];
/// The least extent of a scan along the body, in mm.
pub const MIN_EXTENT_MM: f64 = 60.0;
/// How often the device tells how it is.
pub const HEALTH_S: u64 = 60;
