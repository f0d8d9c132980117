//! A NIfTI file, as it lies in an export folder: first its head alone, then all of it.
#![no_main]

use hepalert_voxels::volume::nifti;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = nifti::peek(bytes);
    let _ = nifti::read(bytes);
    let _ = nifti::read_labels(bytes);
});
