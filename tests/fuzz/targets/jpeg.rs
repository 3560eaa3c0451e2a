//! Where a JPEG picture ends.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| basin_trainer::fuzzing::jpeg(bytes));
