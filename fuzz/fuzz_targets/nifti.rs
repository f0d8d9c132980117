//! A NIfTI file, as it lies in an export folder: first its head alone, then all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../readers.rs"]
mod readers;

fuzz_target!(|bytes: &[u8]| readers::nifti(bytes));
