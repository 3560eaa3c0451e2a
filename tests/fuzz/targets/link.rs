//! What a link to the page holds.

#![no_main]

libfuzzer_sys::fuzz_target!(|hash: &str| basin_web::fuzzing::link(hash));
