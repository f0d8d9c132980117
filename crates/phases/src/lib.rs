//! Which contrast phase a CT of the abdomen shows, read off its voxels.
//!
//! In reading order: [`coarse`] averages a series to a grid on which a portal vein is five
//! voxels wide; [`spine`] finds where everything else is looked for; [`vessels`] and
//! [`solid`] find aorta, cava, kidneys, liver and spleen by their shape and place, whatever
//! their density; [`features`] measures them; [`recognise`] asks the bundle's network what the
//! densities mean; [`joint`] weighs all acquisitions of an examination and what their names
//! say; [`rules`] are a site's own. Refuses files.

pub mod coarse;
mod discs;
mod features;
pub mod joint;
mod recognise;
pub mod rules;
mod solid;
mod spine;
mod track;
mod vessels;

pub use features::Organs;
pub use recognise::{Look, Recogniser, Seen};
