//! A model file, or, where the input begins with a brace, the header of one whose tensors are right: what is accepted
//! makes a plan, and is written as what is read as the same.

#![no_main]

use basin_shared::{ModelFile, arrays::Storage};
use libfuzzer_sys::fuzz_target;

const FILE: &[u8] = include_bytes!("../../e2e/fixtures/untrained.safetensors");

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"{") {
        let old = u64::from_le_bytes(FILE[..8].try_into().expect("eight bytes")) as usize;
        let length = (bytes.len() as u64).to_le_bytes();
        read(&[&length, bytes, &FILE[8 + old..]].concat());
    } else {
        read(bytes);
    }
});

fn read(bytes: &[u8]) {
    let Ok(file) = ModelFile::read(bytes) else {
        return;
    };
    let _ = file.plan();
    // The checksum is of how the numbers are stored, so that the first writing may change it.
    let written = file.write(Storage::Single).expect("every number is finite");
    let read = ModelFile::read(&written).expect("what was written");
    assert_eq!(read.weights(), file.weights());
    assert_eq!(
        read.write(Storage::Single).expect("the same numbers"),
        written
    );
}
