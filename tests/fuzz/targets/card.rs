//! A model card in a file that is right otherwise: what is accepted is written as what is read as the same.

#![no_main]

use basin_shared::{ModelFile, arrays::Storage};
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

const FILE: &[u8] = include_bytes!("../../e2e/fixtures/untrained.safetensors");

fuzz_target!(|card: &str| {
    let tensors = SafeTensors::deserialize(FILE)
        .expect("the fixture is sound")
        .tensors();
    let metadata = [("basin".to_owned(), card.to_owned())];
    let bytes = safetensors::serialize(tensors, Some(metadata.into())).expect("views are valid");
    let Ok(file) = ModelFile::read(&bytes) else {
        return;
    };
    let written = file
        .write(Storage::Half)
        .expect("half precision holds the weights");
    let mut read = ModelFile::read(&written).expect("what was written");
    read.card
        .weights_sha256
        .clone_from(&file.card.weights_sha256);
    assert_eq!(read, file);
});
