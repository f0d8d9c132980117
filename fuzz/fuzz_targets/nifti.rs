//! A NIfTI file, packed or not, as the intake and the loader read it.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use hepalert_voxels::volume::nifti::read::{peek, read, read_labels};
    // Large volumes are right and slow: the gate bounds them before they are read.
    if peek(bytes).is_ok_and(|facts| facts.grid.voxels() < 1 << 22) {
        let _ = read(bytes);
        let _ = read_labels(bytes);
    }
});
