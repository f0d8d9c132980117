//! A DICOM object, in whatever transfer syntax it names.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use hepalert_voxels::volume::dicom::read::{read_header, read_slice};
    let _ = read_header(bytes);
    let _ = read_slice(bytes);
});
