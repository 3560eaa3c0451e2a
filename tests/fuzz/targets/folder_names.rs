//! Folders of pictures as a data set.

#![no_main]

libfuzzer_sys::fuzz_target!(|names: &str| basin_trainer::fuzzing::folder_names(names));
