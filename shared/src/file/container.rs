//! The model file: one `.safetensors` whose metadata is the whole [`ModelCard`].
//!
//! Beside the network's parameters it holds the class Gaussians of the start (`start.*`) and, for
//! the self-test of an engine, reference logits and gradients of two fixed images (`probe.*`). A
//! file may come from anyone, so reading trusts nothing: each fault is a [`ModelFileError`].

use std::collections::BTreeMap;

use half::f16;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

pub use crate::arrays::Storage;
use crate::{
    arrays::{Array, Weights},
    engine::plan::Plan,
    file::card::{ModelCard, SCHEMA},
    key::Key,
    models::{Architecture, ConfigError, NoEngine, is_statistic},
    samplers::{ClassGaussian, Distances, Sampler, SamplerSettings, TableError},
};

/// Largest file that is read, in bytes: WRN-28-10 in single precision and some.
pub const LARGEST_FILE: usize = 256 << 20;
/// Images of the probe.
pub const PROBE_IMAGES: usize = 2;
/// Most directions of the class Gaussians.
pub const LARGEST_RANK: usize = 512;
const CARD_KEY: &str = "basin";

/// A model file in memory, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The card.
    pub card: ModelCard,
    weights: Weights,
    start: ClassGaussian,
    probe: Probe,
}

/// What the trainer's CPU engine computed of the images of [`probe_images`] with these weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// f(x), `[PROBE_IMAGES, classes]`.
    pub logits: Array,
    /// ∇_x E(x, y) for y = 0, 1, …, `[PROBE_IMAGES, channels, height, width]`.
    pub gradient: Array,
}

/// Why a file is not a model that can be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum ModelFileError {
    #[error("the file has {found} bytes, more than the {most} that a model may have")]
    TooLarge { found: usize, most: usize },
    #[error(
        "the file is cut short or padded: its header announces {expected} bytes, it has {found}; \
         get it again"
    )]
    Length { found: usize, expected: u128 },
    #[error("this is {0}")]
    Other(OtherFile),
    #[error("this is no safetensors file ({0}); expected one made by `basin export`")]
    Container(SafeTensorError),
    #[error("the metadata has no `basin` entry, the model card; expected a file of `basin export`")]
    NoCard,
    #[error("the model card is not valid: {0}")]
    Card(serde_json::Error),
    #[error("the model card has schema {found}, this version of Basin reads {SCHEMA}; {advice}")]
    Schema { found: u64, advice: &'static str },
    #[error("architecture: {0}")]
    Architecture(#[from] ConfigError),
    #[error("the card names {found} classes, the architecture has {expected}")]
    ClassNames { found: usize, expected: usize },
    #[error("{which} settings: {fault}")]
    Sampler { which: &'static str, fault: String },
    #[error("distances, table `{which}`: {fault}")]
    Distances {
        which: &'static str,
        fault: TableError,
    },
    #[error(
        "{which} settings: steps by distance, but the card has no table of distances; expected one, as \
         `basin export` measures it"
    )]
    NoDistances { which: &'static str },
    #[error("tensor `{name}` is missing; the architecture wants it with shape {expected:?}")]
    MissingTensor { name: String, expected: Vec<usize> },
    #[error("tensor `{name}` is not part of the architecture")]
    ExtraTensor { name: String },
    #[error("tensor `{name}` has shape {found:?}, the architecture wants {expected:?}")]
    Shape {
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("tensor `{name}` is {found}, expected F16 or F32")]
    Dtype { name: String, found: String },
    #[error("tensor `{name}` holds {value} at index {index}; every number must be finite")]
    NotFinite {
        name: String,
        index: usize,
        value: f32,
    },
    #[error("the tensor data has SHA-256 {found}, the card says {expected}; get the file again")]
    Checksum { found: String, expected: String },
}

/// What often lies in a safetensors file's place, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what it is")]
pub enum OtherFile {
    #[error(
        "a Git LFS pointer, a few lines in the place of the file; get the file itself, as by `git lfs pull` \
         or by the site's download link"
    )]
    LfsPointer,
    #[error("a web page; get the file itself, by the site's download link")]
    WebPage,
    #[error(
        "what PyTorch's torch.save writes; make a safetensors file of it in Python with \
         safetensors.torch.save_file(state_dict, path)"
    )]
    PyTorch,
}

impl OtherFile {
    /// What these bytes are, if one of them.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = bytes.trim_ascii_start();
        let begins = |word: &str| {
            let start = text.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
        };
        // A zip archive, and a pickle, as it was before.
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
            return Some(Self::PyTorch);
        }
        if begins("version https://git-lfs") {
            return Some(Self::LfsPointer);
        }
        let page = ["<!doctype", "<html", "<?xml", "<head", "<body"];
        page.into_iter().any(begins).then_some(Self::WebPage)
    }
}

/// The images of the probe, from a fixed key: `[PROBE_IMAGES, channels, size, size]`.
pub fn probe_images(architecture: &Architecture) -> Array {
    let shape = [&[PROBE_IMAGES], architecture.image().as_slice()].concat();
    Array {
        values: Key::new(0x70_726f_6265).uniforms(shape.iter().product()),
        shape,
    }
}

impl ModelFile {
    /// Joins the parts of a file.
    ///
    /// # Errors
    /// As reading: parts that do not fit each other, or a number that is not finite.
    pub fn new(
        card: ModelCard,
        weights: Weights,
        start: ClassGaussian,
        probe: Probe,
    ) -> Result<Self, ModelFileError> {
        let file = Self {
            card,
            weights,
            start,
            probe,
        };
        check_card(&file.card)?;
        let rank = file.start.basis.shape.first().copied().unwrap_or(0);
        let tensors = file.tensors();
        let found = tensors
            .iter()
            .map(|(name, array)| (name.clone(), array.shape.clone()));
        check_shapes(found.collect(), &file.card, rank)?;
        for (name, array) in &tensors {
            check_finite(name, &array.values)?;
        }
        Ok(file)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first fault found; see [`ModelFileError`]. Never panics, and allocates no more than a
    /// few times the file's own length.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelFileError> {
        if bytes.len() > LARGEST_FILE {
            return Err(ModelFileError::TooLarge {
                found: bytes.len(),
                most: LARGEST_FILE,
            });
        }
        if let Some(other) = OtherFile::of(bytes) {
            return Err(ModelFileError::Other(other));
        }
        let container = SafeTensors::deserialize(bytes).map_err(|error| match error {
            SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => {
                ModelFileError::Length {
                    found: bytes.len(),
                    expected: announced_length(bytes),
                }
            }
            other => ModelFileError::Container(other),
        })?;
        let (header_length, metadata) =
            SafeTensors::read_metadata(bytes).map_err(ModelFileError::Container)?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(CARD_KEY));
        let card = parse_card(json.ok_or(ModelFileError::NoCard)?)?;
        check_card(&card)?;

        let views: BTreeMap<String, TensorView> = container.tensors().into_iter().collect();
        let shapes: BTreeMap<_, _> = views
            .iter()
            .map(|(name, view)| (name.clone(), view.shape().to_vec()))
            .collect();
        let rank = shapes
            .get("start.basis")
            .and_then(|shape| shape.first())
            .copied()
            .unwrap_or(0);
        check_shapes(shapes, &card, rank)?;

        let found = hex(&Sha256::digest(&bytes[8 + header_length..]));
        if found != card.weights_sha256 {
            return Err(ModelFileError::Checksum {
                found,
                expected: card.weights_sha256,
            });
        }
        let mut arrays = BTreeMap::new();
        for (name, view) in views {
            let values = decode(&name, &view)?;
            check_finite(&name, &values)?;
            arrays.insert(
                name,
                Array {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        let mut take = |name: &str| arrays.remove(name).expect("check_shapes found it");
        let start = ClassGaussian {
            mean: take("start.mean"),
            basis: take("start.basis"),
            factor: take("start.factor"),
        };
        let probe = Probe {
            logits: take("probe.logits"),
            gradient: take("probe.gradient"),
        };
        Ok(Self {
            card,
            weights: arrays,
            start,
            probe,
        })
    }

    /// The bytes of the file; the card's checksum is computed on the way.
    ///
    /// # Errors
    /// A weight that half precision cannot hold.
    pub fn write(&self, storage: Storage) -> Result<Vec<u8>, ModelFileError> {
        let mut encoded = Vec::new();
        for (name, array) in self.tensors() {
            let half = storage == Storage::Half && !keeps_single_precision(&name);
            let bytes: Vec<u8> = if half {
                let rounded: Vec<f16> = array.values.iter().map(|&v| f16::from_f32(v)).collect();
                check_finite(
                    &name,
                    &rounded.iter().map(|v| v.to_f32()).collect::<Vec<_>>(),
                )?;
                rounded.iter().flat_map(|v| v.to_le_bytes()).collect()
            } else {
                array.values.iter().flat_map(|v| v.to_le_bytes()).collect()
            };
            let dtype = if half { Dtype::F16 } else { Dtype::F32 };
            encoded.push((name, dtype, array.shape.clone(), bytes));
        }
        let serialize = |card: &ModelCard| {
            let views = encoded.iter().map(|(name, dtype, shape, bytes)| {
                let view = TensorView::new(*dtype, shape.clone(), bytes);
                (
                    name.as_str(),
                    view.expect("as many bytes as the shape says"),
                )
            });
            let json = serde_json::to_string(card).expect("a card is plain data");
            // One entry: the order of several would differ from one writing to the next.
            let metadata = [(CARD_KEY.into(), json)];
            safetensors::serialize(views, Some(metadata.into())).expect("views are valid")
        };
        let unsigned = serialize(&self.card);
        let header = u64::from_le_bytes(unsigned[..8].try_into().expect("eight bytes")) as usize;
        let weights_sha256 = hex(&Sha256::digest(&unsigned[8 + header..]));
        Ok(serialize(&ModelCard {
            weights_sha256,
            ..self.card.clone()
        }))
    }

    /// The network as a plan, for Basin's own engines.
    ///
    /// # Errors
    /// If they do not run such a network.
    pub fn plan(&self) -> Result<Plan, NoEngine> {
        self.card.architecture.plan(&self.weights)
    }

    /// The parameters by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The class Gaussians of the start.
    pub fn class_gaussian(&self) -> &ClassGaussian {
        &self.start
    }

    /// What an engine must reproduce.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Whether some weight needs more than half precision, as in a file written with
    /// [`Storage::Single`].
    pub fn holds_single_precision(&self) -> bool {
        let fits = |&value: &f32| f16::from_f32(value).to_f32() == value;
        let may_be_half = |(name, _): &(&String, _)| !keeps_single_precision(name);
        !self
            .weights
            .iter()
            .filter(may_be_half)
            .all(|(_, array)| array.values.iter().all(fits))
    }

    fn tensors(&self) -> BTreeMap<String, &Array> {
        let named = [
            ("start.mean", &self.start.mean),
            ("start.basis", &self.start.basis),
            ("start.factor", &self.start.factor),
            ("probe.logits", &self.probe.logits),
            ("probe.gradient", &self.probe.gradient),
        ];
        let named = named
            .into_iter()
            .map(|(name, array)| (name.to_owned(), array));
        self.weights
            .iter()
            .map(|(name, array)| (name.clone(), array))
            .chain(named)
            .collect()
    }
}

/// Whether a tensor is never stored in half precision: the probe, which is what an engine is compared
/// with, and running statistics, as half precision has no variance below 6e-8.
pub fn keeps_single_precision(name: &str) -> bool {
    name.starts_with("probe.") || is_statistic(name)
}

/// The length that a file's header announces; 0 where even the header is cut.
fn announced_length(bytes: &[u8]) -> u128 {
    let Some(length) = bytes.first_chunk::<8>() else {
        return 8;
    };
    let header = u64::from_le_bytes(*length) as u128;
    let json = usize::try_from(header)
        .ok()
        .and_then(|h| bytes.get(8..8usize.checked_add(h)?));
    let tensors: Option<serde_json::Map<String, serde_json::Value>> =
        json.and_then(|json| serde_json::from_slice(json).ok());
    let end = |tensor: &serde_json::Value| tensor["data_offsets"][1].as_u64();
    let data = tensors
        .iter()
        .flat_map(|map| map.values())
        .filter_map(end)
        .max()
        .unwrap_or(0);
    8 + header + data as u128
}

fn parse_card(json: &str) -> Result<ModelCard, ModelFileError> {
    /// Read first, as another schema may have other fields.
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: u64,
    }
    let Versioned { schema } = serde_json::from_str(json).map_err(ModelFileError::Card)?;
    if schema == 1 {
        let mut card = serde_json::from_str(json).map_err(ModelFileError::Card)?;
        name_samplers(&mut card);
        return serde_json::from_value(card).map_err(ModelFileError::Card);
    }
    if schema != SCHEMA as u64 {
        let newer = schema > SCHEMA as u64;
        let advice = if newer {
            "update Basin"
        } else {
            "export the model again"
        };
        return Err(ModelFileError::Schema {
            found: schema,
            advice,
        });
    }
    serde_json::from_str(json).map_err(ModelFileError::Card)
}

/// A card of the first schema as one of this: every sampler was Langevin dynamics.
fn name_samplers(card: &mut serde_json::Value) {
    card["schema"] = SCHEMA.into();
    for which in ["generation", "quick", "denoising"] {
        let sampler = card.get_mut(which).and_then(|of| of.get_mut("sampler"));
        if let Some(sampler) = sampler {
            *sampler = serde_json::json!({ "sgld": sampler.take() });
        }
    }
}

fn check_card(card: &ModelCard) -> Result<(), ModelFileError> {
    card.architecture.check()?;
    let (found, expected) = (card.class_names.len(), card.architecture.classes());
    if found != expected {
        return Err(ModelFileError::ClassNames { found, expected });
    }
    for (which, settings) in [
        ("generation", Some(&card.generation)),
        ("quick", card.quick.as_ref()),
        ("denoising", Some(&card.denoising)),
    ] {
        if let Some(fault) = settings.and_then(SamplerSettings::fault) {
            return Err(ModelFileError::Sampler { which, fault });
        }
        let by_distance = |s: &SamplerSettings| matches!(s.sampler, Sampler::ByDistance(_));
        if card.distances.is_none() && settings.is_some_and(by_distance) {
            return Err(ModelFileError::NoDistances { which });
        }
    }
    let tables = card.distances.as_ref().map_or(Ok(()), Distances::check);
    tables.map_err(|(which, fault)| ModelFileError::Distances { which, fault })
}

/// Each tensor that the card implies is there, with its shape, and no other is.
fn check_shapes(
    mut found: BTreeMap<String, Vec<usize>>,
    card: &ModelCard,
    rank: usize,
) -> Result<(), ModelFileError> {
    let rank = rank.clamp(1, LARGEST_RANK);
    let (image, classes) = (card.architecture.image(), card.architecture.classes());
    let images = |count: usize| [&[count], image.as_slice()].concat();
    let mut expected = card.architecture.parameter_shapes();
    expected.extend([
        ("start.mean".to_owned(), images(classes)),
        ("start.basis".to_owned(), images(rank)),
        ("start.factor".to_owned(), vec![classes, rank, rank]),
        ("probe.logits".to_owned(), vec![PROBE_IMAGES, classes]),
        ("probe.gradient".to_owned(), images(PROBE_IMAGES)),
    ]);
    for (name, expected) in expected {
        match found.remove(&name) {
            None => return Err(ModelFileError::MissingTensor { name, expected }),
            Some(found) if found != expected => {
                return Err(ModelFileError::Shape {
                    name,
                    found,
                    expected,
                });
            }
            Some(_) => {}
        }
    }
    match found.pop_first() {
        Some((name, _)) => Err(ModelFileError::ExtraTensor { name }),
        None => Ok(()),
    }
}

/// The numbers of a tensor in single or half precision.
///
/// # Errors
/// If it has another type.
pub fn decode(name: &str, view: &TensorView) -> Result<Vec<f32>, ModelFileError> {
    match view.dtype() {
        Dtype::F16 => {
            let (numbers, _) = view.data().as_chunks::<2>();
            Ok(numbers
                .iter()
                .map(|&bytes| f16::from_le_bytes(bytes).to_f32())
                .collect())
        }
        Dtype::F32 => {
            let (numbers, _) = view.data().as_chunks::<4>();
            Ok(numbers
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect())
        }
        other => Err(ModelFileError::Dtype {
            name: name.to_owned(),
            found: format!("{other:?}"),
        }),
    }
}

fn check_finite(name: &str, values: &[f32]) -> Result<(), ModelFileError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(ModelFileError::NotFinite {
            name: name.to_owned(),
            index,
            value: values[index],
        }),
        None => Ok(()),
    }
}

/// Bytes as hexadecimal digits, as checksums are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
