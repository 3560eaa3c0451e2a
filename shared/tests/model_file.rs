//! The model file: what is written is read, and each fault is named.

use std::collections::BTreeMap;

use basin_shared::{
    Key, ModelCard, ModelFile, ModelFileError,
    arrays::{Array, Weights},
    energy::EnergyKind,
    file::{
        card::SCHEMA,
        container::{PROBE_IMAGES, Probe, Storage, probe_images},
    },
    models::{Architecture, Initialization, WideResNetConfig},
    samplers::{
        self, ByDistance, ClassGaussian, DistanceTable, Distances, GradientScaling, NoiseTable,
        Sampler, SamplerSettings, Sgld,
    },
    tensors::parameters,
};
use burn::tensor::{Device, Tensor};

const CLASSES: usize = 3;
const RANK: usize = 2;

fn config() -> WideResNetConfig {
    WideResNetConfig::new([10, 1], [1, 8], CLASSES)
}

fn card() -> ModelCard {
    let settings = SamplerSettings {
        energy: EnergyKind::Joint,
        steps: 20,
        start: samplers::Start::Uniform,
        sampler: Sampler::Sgld(Sgld {
            step_size: 0.2,
            noise_std: 0.01,
            friction: 0.5,
            gradient: GradientScaling::Normalize,
            clamp: true,
        }),
    };
    let table = DistanceTable {
        energies: vec![-2.0, 0.5, 3.0],
        distances: vec![0.25, 1.5, 7.0],
        factors: vec![1.0, 2.0, 9.0],
    };
    let by_distance = Sampler::ByDistance(ByDistance {
        h: 0.3,
        beta: 0.8,
        last_steps: 2,
        last_h: 0.3,
    });
    ModelCard {
        schema: SCHEMA,
        name: "test".into(),
        architecture: Architecture::WideResnet(config()),
        class_names: vec!["a".into(), "b".into(), "c".into()],
        data_set: "none".into(),
        method: "standard".into(),
        recipe: String::new(),
        begun_with: None,
        averaged: Vec::new(),
        hardware: vec!["a machine".into()],
        metrics: BTreeMap::from([("clean_accuracy".into(), 0.5)]),
        generation: settings,
        quick: Some(settings),
        denoising: SamplerSettings {
            sampler: by_distance,
            ..settings
        },
        distances: Some(Distances {
            joint: table.clone(),
            marginal: table,
            known_noise: NoiseTable {
                stds: vec![0.0, 1.0],
                lengths: vec![0.0, 5.0],
            },
        }),
        licence: "CC0-1.0".into(),
        author: "a test".into(),
        basin_version: "0.0.0".into(),
        weights_sha256: String::new(),
    }
}

fn array(shape: &[usize], value: f32) -> Array {
    Array {
        shape: shape.to_vec(),
        values: vec![value; shape.iter().product()],
    }
}

fn parts() -> (Weights, ClassGaussian, Probe) {
    let initialization = Initialization {
        gain: 1.0,
        residual_scale: 1.0,
    };
    let model = config().init(initialization, Key::new(1), &Device::flex());
    let start = ClassGaussian {
        mean: array(&[CLASSES, 1, 8, 8], 0.5),
        basis: array(&[RANK, 1, 8, 8], 0.125),
        factor: array(&[CLASSES, RANK, RANK], 0.25),
    };
    let probe = Probe {
        logits: array(&[PROBE_IMAGES, CLASSES], 0.1),
        gradient: array(&[PROBE_IMAGES, 1, 8, 8], 0.1),
    };
    (parameters::collect(&model), start, probe)
}

fn file() -> ModelFile {
    let (weights, start, probe) = parts();
    ModelFile::new(card(), weights, start, probe).unwrap()
}

/// The file with its JSON header changed as text; offsets and data stay.
fn with_header(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(std::str::from_utf8(&bytes[8..8 + length]).unwrap());
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header.as_bytes());
    changed.extend(&bytes[8 + length..]);
    changed
}

fn error(bytes: &[u8]) -> String {
    ModelFile::read(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let device = Device::flex();
    for precision in [Storage::Single, Storage::Half] {
        let read = ModelFile::read(&file().write(precision).unwrap()).unwrap();
        assert_eq!(read.card.weights_sha256.len(), 64);
        assert_eq!(read.holds_single_precision(), precision == Storage::Single);
        let x = probe_images(&read.card.architecture).to_data();
        let x = Tensor::<4>::from_data(x, &device);
        let [found, expected] =
            [&read, &file()].map(|file| file.model(&device).logits(x.clone()).into_data());
        let tolerance = if precision == Storage::Single {
            0.0
        } else {
            1e-2
        };
        for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
            assert!(
                (found - expected).abs() <= tolerance,
                "{precision:?}: {found}, {expected}"
            );
        }
        // Written again it is the same file.
        assert_eq!(
            read.write(precision).unwrap(),
            read.write(precision).unwrap()
        );
    }
}

#[test]
fn each_fault_of_a_file_is_named() {
    let bytes = file().write(Storage::Single).unwrap();
    let replaced = |from: &'static str, to: &'static str| {
        with_header(&bytes, |header| {
            assert!(header.contains(from), "{from}");
            header.replacen(from, to, 1)
        })
    };
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let huge_header = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    let large_header = [90_000_000u64.to_le_bytes().as_slice(), b"{}"].concat();
    for (bytes, expected) in [
        (Vec::new(), "no safetensors file"),
        (huge_header, "no safetensors file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1950000\n".to_vec(),
            "this is a Git LFS pointer",
        ),
        (b"\n <!DOCTYPE html><html>".to_vec(), "this is a web page"),
        (b"PK\x03\x04 archive/data.pkl".to_vec(), "torch.save"),
        (
            large_header,
            "its header announces 90000008 bytes, it has 10",
        ),
        (bytes[..bytes.len() - 1].to_vec(), "cut short or padded"),
        ([bytes.as_slice(), &[0]].concat(), "cut short or padded"),
        (flipped, "SHA-256"),
        (replaced("\"basin\"", "\"sink\""), "no `basin` entry"),
        (
            replaced("\\\"schema\\\":2", "\\\"schema\\\":3"),
            "schema 3, this version of Basin reads 2",
        ),
        (
            replaced("\\\"schema\\\":2", "\\\"schema\\\":0"),
            "export the model again",
        ),
        (
            replaced("\\\"licence\\\"", "\\\"license\\\""),
            "model card is not valid: unknown field",
        ),
        (
            replaced("\\\"depth\\\":10", "\\\"depth\\\":11"),
            "depth 11 is not 6n + 4",
        ),
        (
            replaced("\\\"depth\\\":10", "\\\"depth\\\":16"),
            "`layer1.1.conv1.weight` is missing",
        ),
        (
            replaced("\\\"width\\\":1", "\\\"width\\\":99999999"),
            "width is 99999999, expected 1 to 20",
        ),
        (
            replaced("\\\"size\\\":8", "\\\"size\\\":16"),
            "tensor `start.mean` has shape [3, 1, 8, 8]",
        ),
        (
            replaced("\\\"classes\\\":3", "\\\"classes\\\":4"),
            "names 3 classes, the architecture has 4",
        ),
        (
            replaced("\\\"friction\\\":0.5", "\\\"friction\\\":1.5"),
            "friction is 1.5",
        ),
        (
            replaced("\\\"beta\\\":0.8", "\\\"beta\\\":1.8"),
            "denoising settings: by_distance.beta is 1.8, expected 0 to 1",
        ),
        (
            replaced("[-2.0,0.5,3.0]", "[-2.0,0.5,0.5]"),
            "distances, table `joint`: `energies` has 0.5 at entry 2 behind 0.5",
        ),
        (
            replaced("[0.25,1.5,7.0]", "[0.25,1.5,1e39]"),
            "table `joint`: `distances` holds inf at entry 2, expected a finite number",
        ),
        (
            replaced("[0.25,1.5,7.0]", "[0.25,1.5,1.0]"),
            "`distances` has 1 at entry 2 behind 1.5, expected no less: a table must be monotone",
        ),
        (
            replaced("[1.0,2.0,9.0]", "[1.0,9.0]"),
            "2 numbers in column `factors`, expected 3 as in `energies`",
        ),
        (
            with_header(&bytes, |header| {
                let begin = header.find(",\\\"distances\\\"").unwrap();
                let end = header[begin..].find("}}").unwrap() + begin + 2;
                format!("{}{}", &header[..begin], &header[end..])
            }),
            "denoising settings: steps by distance, but the card has no table of distances",
        ),
        (
            replaced("\"class_output.bias\"", "\"class_output.bios\""),
            "`class_output.bias` is missing",
        ),
        (
            replaced("\"dtype\":\"F32\"", "\"dtype\":\"I32\""),
            "is I32, expected F16 or F32",
        ),
        (
            replaced("\"std\\\":[0.5]", "\"std\\\":[0.0]"),
            "deviations finite and > 0",
        ),
    ] {
        let found = error(&bytes);
        assert!(
            found.contains(expected),
            "`{found}` should say `{expected}`"
        );
    }
}

/// The first schema: samplers without a name, and no distances.
#[test]
fn a_file_of_the_first_schema_is_read_as_before() {
    let mut old = card();
    old.distances = None;
    old.denoising = old.generation;
    let (weights, start, probe) = parts();
    let file = ModelFile::new(old, weights, start, probe).unwrap();
    let bytes = file.write(Storage::Single).unwrap();
    let first = with_header(&bytes, |header| {
        let named = "\\\"sampler\\\":{\\\"sgld\\\":{";
        assert_eq!(header.matches(named).count(), 3);
        header
            .replace("\\\"schema\\\":2", "\\\"schema\\\":1")
            .replace(named, "\\\"sampler\\\":{")
            .replace("\\\"clamp\\\":true}}", "\\\"clamp\\\":true}")
    });
    let read = ModelFile::read(&first).unwrap();
    let expected = ModelFile::read(&bytes).unwrap();
    assert_eq!(read.card, expected.card);
}

#[test]
fn faulty_parts_are_named() {
    let (weights, start, probe) = parts();
    let build = |weights| ModelFile::new(card(), weights, start.clone(), probe.clone());
    let mut extra = weights.clone();
    extra.insert("layer9.weight".into(), array(&[1], 0.0));
    assert!(
        matches!(build(extra), Err(ModelFileError::ExtraTensor { name }) if name == "layer9.weight")
    );
    let mut infinite = weights.clone();
    infinite.get_mut("conv1.bias").unwrap().values[3] = f32::NAN;
    let error = build(infinite).unwrap_err().to_string();
    assert!(
        error.starts_with("tensor `conv1.bias` holds NaN at index 3"),
        "{error}"
    );
    let mut large = weights;
    large.get_mut("conv1.bias").unwrap().values[0] = 1e6;
    let error = build(large)
        .unwrap()
        .write(Storage::Half)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("tensor `conv1.bias` holds inf at index 0"),
        "{error}"
    );
}

/// No cut and no single changed byte of the header makes reading panic.
#[test]
fn damaged_files_never_panic() {
    let bytes = file().write(Storage::Half).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for length in (0..header + 64).step_by(7) {
        assert!(ModelFile::read(&bytes[..length]).is_err());
    }
    for (i, place) in Key::new(1).integers(2000, header).into_iter().enumerate() {
        let mut changed = bytes.clone();
        changed[place] = changed[place].wrapping_add(1 + (i % 255) as u8);
        let _ = ModelFile::read(&changed);
    }
}
