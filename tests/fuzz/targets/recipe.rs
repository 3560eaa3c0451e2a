//! A recipe of a run.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| basin_trainer::fuzzing::recipe(text));
