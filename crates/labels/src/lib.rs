//! Label maps that people correct, and the cases they belong to.
//!
//! In reading order: [`labelling`] is one label map under correction, [`operation`] what can be
//! done to it, [`edit`] how, [`regions`] its single regions, [`change`] what an operation did and
//! how that is taken back, [`cases`] the folder they live in, [`fuse`] a person's labels and a
//! network's made one, [`monai`] the calls by which 3D Slicer works on such a folder. Refuses networks, web and clocks:
//! times come in. Voxels are handed around in RAS order, `[z, y, x]` from the feet, the back and
//! the left, and written back in the order of the file they came from.

pub mod cases;
mod change;
mod edit;
pub mod fuse;
pub mod labelling;
pub mod monai;
pub mod operation;
mod refused;
pub mod regions;

pub use change::{Change, Stretch};
pub use labelling::Labelling;
pub use operation::{Context, Operation};
pub use refused::Refused;
