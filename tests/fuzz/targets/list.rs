//! A list of models, as another host may have written it.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| basin_web::fuzzing::list(text));
