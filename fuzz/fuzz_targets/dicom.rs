//! One DICOM file of any transfer syntax: its header, then its pixels.
#![no_main]

use hepalert_voxels::volume::dicom;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = dicom::read_header(bytes);
    let _ = dicom::read_slice(bytes);
});
