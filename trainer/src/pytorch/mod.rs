//! State dictionaries of published PyTorch models, as safetensors: of JEM, TRADES, RobustBench, and those
//! who build on them; read, and written for them.

mod names;

use std::collections::{BTreeMap, BTreeSet};

use basin_shared::{
    ModelFileError,
    arrays::{Array, Weights},
    file::container::{OtherFile, decode},
    models::{Architecture, Normalization},
};
use half::bf16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use names::{DEVIATIONS, MEANS, is_unused, published_name, renamed};

/// Why a state dictionary cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PytorchError {
    #[error("this is {0}")]
    Other(OtherFile),
    #[error(
        "this is no safetensors file ({0}); make one in Python with \
         safetensors.torch.save_file(state_dict, path)"
    )]
    Container(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Tensor(#[from] ModelFileError),
    #[error(
        "`{first}` and `{second}` are both `{name}`, with other numbers: of which model? Save the state \
         dictionary of one of them alone"
    )]
    Ambiguous {
        name: String,
        first: String,
        second: String,
    },
    #[error("{fault}{hint}")]
    Unfit {
        fault: ModelFileError,
        /// The nearest name of those left, as a sentence.
        hint: String,
    },
    #[error("`{name}` has {found} numbers, expected one for each of the {channels} channels")]
    Channels {
        name: String,
        found: usize,
        channels: usize,
    },
}

/// What is in a state dictionary.
#[derive(Debug)]
pub(crate) struct StateDictionary {
    /// The tensors of the architecture, by the names that Basin gives them.
    pub weights: Weights,
    /// The mean that the network was trained with, if it is there.
    pub mean: Option<Vec<f32>>,
    /// The standard deviation, likewise.
    pub std: Option<Vec<f32>>,
}

impl StateDictionary {
    /// Reads a state dictionary of this architecture.
    pub(crate) fn read(bytes: &[u8], architecture: &Architecture) -> Result<Self, PytorchError> {
        if let Some(other) = OtherFile::of(bytes) {
            return Err(PytorchError::Other(other));
        }
        let mut found = unwrapped(bytes, architecture)?;
        let [channels, ..] = architecture.image();
        let mut normalization = |names: &[&str]| {
            let mut kept = names.iter().filter_map(|name| found.remove(*name));
            let array: Option<(String, Array)> = kept.next();
            array
                .map(|(name, array)| per_channel(name, array, channels))
                .transpose()
        };
        let (mean, std) = (normalization(&MEANS)?, normalization(&DEVIATIONS)?);
        let mut weights = Weights::new();
        let shapes = architecture.parameter_shapes();
        let ours: BTreeSet<&String> = shapes.iter().map(|(name, _)| name).collect();
        for (name, expected) in &shapes {
            let (name, expected) = (name.clone(), expected.clone());
            match found.remove(&name) {
                None => {
                    let others = found.keys().filter(|other| !ours.contains(*other));
                    let hint = nearest(&name, others);
                    let fault = ModelFileError::MissingTensor { name, expected };
                    let hint = hint.map(|other| {
                        let (theirs, Array { shape, .. }) = &found[other];
                        format!("; nearest to it is `{theirs}`, of shape {shape:?}")
                    });
                    let hint = hint.unwrap_or_default();
                    return Err(PytorchError::Unfit { fault, hint });
                }
                Some((_, Array { shape: found, .. })) if found != expected => {
                    return Err(ModelFileError::Shape {
                        name,
                        found,
                        expected,
                    }
                    .into());
                }
                Some((_, array)) => weights.insert(name, array),
            };
        }
        match found.pop_first() {
            Some((name, (theirs, _))) => {
                let hint = nearest(&name, ours.into_iter());
                let hint = hint.map(|ours| format!("; nearest to it there is `{ours}`"));
                Err(PytorchError::Unfit {
                    fault: ModelFileError::ExtraTensor { name: theirs },
                    hint: hint.unwrap_or_default(),
                })
            }
            None => Ok(Self { weights, mean, std }),
        }
    }

    /// The normalisation that the network was trained with, the recipe's where the dictionary has none; and
    /// a sentence that says which it is.
    pub(crate) fn normalization(&self, recipe: &Normalization) -> (Normalization, String) {
        let normalization = Normalization {
            mean: self.mean.clone().unwrap_or_else(|| recipe.mean.clone()),
            std: self.std.clone().unwrap_or_else(|| recipe.std.clone()),
        };
        let of = |found: &Option<Vec<f32>>| match found {
            Some(_) => "the state dictionary's",
            None => "the recipe's",
        };
        let said = format!(
            "normalisation: mean {:?}, {}; standard deviation {:?}, {}",
            normalization.mean,
            of(&self.mean),
            normalization.std,
            of(&self.std)
        );
        (normalization, said)
    }
}

/// A state dictionary of these weights, by the names of the architecture's published code, in single precision; and the
/// normalisation, which that code keeps elsewhere, as `mean` and `std`, `[channels, 1, 1]`. BatchNorm's count of
/// batches is left out, as PyTorch fills it in.
///
/// # Panics
/// If there are not as many weights as their shapes say.
pub(crate) fn write(architecture: &Architecture, weights: &Weights) -> Vec<u8> {
    let normalization = architecture.normalization();
    let constants = [("mean", &normalization.mean), ("std", &normalization.std)];
    let constants = constants.map(|(name, values)| {
        let shape = vec![values.len(), 1, 1];
        (name.to_owned(), shape, values)
    });
    let weights = weights.iter().map(|(name, array)| {
        let name = published_name(name, architecture);
        (name, array.shape.clone(), &array.values)
    });
    let tensors = weights.chain(constants);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("as many numbers as the shape says"))
    });
    safetensors::serialize(views, None).expect("views are valid")
}

/// Tensors by the names that Basin gives them, with the names that they have in the file. Those that two wrappers
/// keep are there once if they are the same.
fn unwrapped(
    bytes: &[u8],
    architecture: &Architecture,
) -> Result<BTreeMap<String, (String, Array)>, PytorchError> {
    let container = SafeTensors::deserialize(bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let mut views: BTreeMap<String, TensorView> = container.tensors().into_iter().collect();
    // Of tensors that share their numbers one is stored, and the metadata says which stands for which.
    for (alias, stored) in metadata.metadata().iter().flatten() {
        if let Some(view) = views.get(stored).cloned() {
            views.entry(alias.clone()).or_insert(view);
        }
    }
    let mut found: BTreeMap<String, (String, Array)> = BTreeMap::new();
    for (theirs, view) in views {
        let name = renamed(&theirs, architecture);
        if is_unused(&name, architecture) {
            continue;
        }
        let array = Array {
            shape: view.shape().to_vec(),
            values: numbers(&theirs, &view)?,
        };
        match found.get(&name) {
            Some((_, other)) if *other == array => {}
            Some((first, _)) => {
                return Err(PytorchError::Ambiguous {
                    name,
                    first: first.clone(),
                    second: theirs,
                });
            }
            None => {
                found.insert(name, (theirs, array));
            }
        }
    }
    Ok(found)
}

/// The numbers of a tensor of any of PyTorch's floating-point types.
fn numbers(name: &str, view: &TensorView) -> Result<Vec<f32>, PytorchError> {
    match view.dtype() {
        Dtype::F64 => {
            let (numbers, _) = view.data().as_chunks::<8>();
            let numbers = numbers
                .iter()
                .map(|&bytes| f64::from_le_bytes(bytes) as f32);
            Ok(numbers.collect())
        }
        Dtype::BF16 => {
            let (numbers, _) = view.data().as_chunks::<2>();
            let numbers = numbers
                .iter()
                .map(|&bytes| bf16::from_le_bytes(bytes).to_f32());
            Ok(numbers.collect())
        }
        _ => Ok(decode(name, view)?),
    }
}

/// One number for each channel, of `[channels]` or `[1, channels, 1, 1]` or one for all of them.
fn per_channel(name: String, array: Array, channels: usize) -> Result<Vec<f32>, PytorchError> {
    match array.values.len() {
        1 => Ok(vec![array.values[0]; channels]),
        found if found == channels => Ok(array.values),
        found => Err(PytorchError::Channels {
            name,
            found,
            channels,
        }),
    }
}

/// The name most like this one.
fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let likeness = |other: &&String| strsim::jaro_winkler(name, other);
    others.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
mod tests {
    use basin_shared::{
        Key,
        models::{Layer, PreActResNet18Config, ResNet18Config, SequentialConfig, WideResNetConfig},
    };
    use safetensors::{Dtype, tensor::TensorView};

    use super::*;

    fn jem() -> Architecture {
        Architecture::WideResnet(WideResNetConfig::new([10, 1], [3, 32], 10))
    }

    /// The parameters as JEM's code names them, each number that of its tensor in the list; and what
    /// else is in its checkpoints.
    fn state_dictionary(change: impl Fn(&mut Vec<(String, Vec<usize>)>)) -> Vec<u8> {
        let theirs = |name: String| match name.starts_with("class_output") {
            true => name,
            false => format!("f.{}", name.replace(".shortcut.", ".shortcut.0.")),
        };
        let shapes = jem().parameter_shapes().into_iter();
        let mut shapes: Vec<_> = shapes.map(|(name, shape)| (theirs(name), shape)).collect();
        for unused in ["f.linear.weight", "f.linear.bias", "energy_output.weight"] {
            shapes.push((unused.into(), vec![1]));
        }
        change(&mut shapes);
        let bytes: Vec<_> = (0u16..)
            .zip(&shapes)
            .map(|(n, (_, shape))| f32::from(n).to_le_bytes().repeat(shape.iter().product()))
            .collect();
        let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn jems_names_become_ours() {
        let found = StateDictionary::read(&state_dictionary(|_| {}), &jem());
        let found = found.unwrap().weights;
        assert_eq!(found.len(), jem().parameter_shapes().len());
        for (n, (name, shape)) in (0u16..).zip(jem().parameter_shapes()) {
            assert_eq!(found[&name].shape, shape, "{name}");
            assert_eq!(found[&name].values[0], f32::from(n), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |change: fn(&mut Vec<(String, Vec<usize>)>)| {
            let dictionary = state_dictionary(change);
            let error = StateDictionary::read(&dictionary, &jem()).unwrap_err();
            error.to_string()
        };
        let missing = message(|shapes| {
            shapes.remove(0);
        });
        assert!(missing.contains("`conv1.weight` is missing"), "{missing}");
        let renamed = message(|shapes| {
            let place = shapes.iter().position(|(name, _)| name == "f.conv1.weight");
            shapes[place.unwrap()].0 = "f.conv_1.weight".into();
        });
        assert!(
            renamed.contains("`conv1.weight` is missing")
                && renamed.ends_with("nearest to it is `f.conv_1.weight`, of shape [16, 3, 3, 3]"),
            "{renamed}"
        );
        let extra = message(|shapes| shapes.push(("f.bn1.weight".into(), vec![64])));
        assert!(
            extra.contains("`f.bn1.weight` is not part")
                && extra.contains("nearest to it there is `"),
            "{extra}"
        );
        let shape = message(|shapes| shapes[1].1 = vec![17]);
        assert!(
            shape.contains("has shape [17]") && shape.contains("[16]"),
            "{shape}"
        );
        let other = StateDictionary::read(b"PK\x03\x04 a zip archive", &jem());
        let other = other.unwrap_err().to_string();
        assert!(other.contains("safetensors.torch.save_file"), "{other}");
    }

    /// A file of these tensors, each of one repeated number.
    fn file(tensors: &[(String, Vec<usize>, f32)], aliases: &[(&str, &str)]) -> Vec<u8> {
        let bytes: Vec<_> = tensors
            .iter()
            .map(|(_, shape, value)| value.to_le_bytes().repeat(shape.iter().product()))
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        let aliases = aliases
            .iter()
            .map(|(alias, name)| ((*alias).into(), (*name).into()));
        safetensors::serialize(views, Some(aliases.collect())).unwrap()
    }

    /// Every parameter behind this prefix.
    fn behind(prefix: &str, value: f32) -> Vec<(String, Vec<usize>, f32)> {
        let shapes = jem().parameter_shapes().into_iter();
        shapes
            .map(|(name, shape)| (format!("{prefix}{name}"), shape, value))
            .collect()
    }

    #[test]
    fn wrappers_in_any_nesting_are_taken_off() {
        for prefix in [
            "module.",
            "model.",
            "_orig_mod.",
            "attacker.model.",
            "module._orig_mod.model.",
            "module.attacker.model.",
            "1.",
            "model.net.module.",
        ] {
            let read = StateDictionary::read(&file(&behind(prefix, 2.0), &[]), &jem());
            assert_eq!(
                read.unwrap().weights.len(),
                jem().parameter_shapes().len(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn two_models_in_one_file_are_refused_by_name_and_one_twice_is_one() {
        let twice = [
            behind("module.", 2.0),
            behind("module.attacker.model.", 2.0),
        ]
        .concat();
        let read = StateDictionary::read(&file(&twice, &[]), &jem()).unwrap();
        assert!(read.weights.values().all(|array| array.values[0] == 2.0));
        let two = [behind("module.", 2.0), behind("model.", 3.0)].concat();
        for _ in 0..5 {
            let error = StateDictionary::read(&file(&two, &[]), &jem()).unwrap_err();
            let expected = "`model.class_output.bias` and `module.class_output.bias` are both `class_output.bias`";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_normalisation_of_the_file_is_taken_and_told() {
        let recipe = Normalization::uniform(3, 0.5, 0.25);
        for [mean, std] in [
            ["normalizer.new_mean", "normalizer.new_std"],
            [
                "module.attacker.normalize.mean",
                "module.attacker.normalize.std",
            ],
            ["mu", "sigma"],
            ["0.mean", "0.std"],
        ] {
            let mut tensors = behind("model.", 1.0);
            tensors.push((mean.into(), vec![1, 3, 1, 1], 0.4375));
            let read = StateDictionary::read(&file(&tensors, &[]), &jem()).unwrap();
            let (found, said) = read.normalization(&recipe);
            assert_eq!(
                (found.mean, found.std),
                (vec![0.4375; 3], vec![0.25; 3]),
                "{mean}"
            );
            assert_eq!(
                said,
                "normalisation: mean [0.4375, 0.4375, 0.4375], the state dictionary's; standard deviation \
                 [0.25, 0.25, 0.25], the recipe's"
            );
            tensors.push((std.into(), vec![1], 0.125));
            let read = StateDictionary::read(&file(&tensors, &[]), &jem()).unwrap();
            assert_eq!(read.normalization(&recipe).0.std, [0.125; 3], "{std}");
        }
        let mut tensors = behind("model.", 1.0);
        tensors.push(("mean".into(), vec![2], 0.5));
        let error = StateDictionary::read(&file(&tensors, &[]), &jem()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`mean` has 2 numbers, expected one for each of the 3 channels"
        );
    }

    /// What is written is read again to the bit, the normalisation included, of every architecture; and JEM's names are
    /// those of JEM's code.
    #[test]
    fn what_is_written_for_pytorch_is_read_again() {
        let wide = WideResNetConfig {
            normalization: Normalization {
                mean: vec![0.4375, 0.5, 0.25],
                std: vec![0.125, 0.25, 0.5],
            },
            ..WideResNetConfig::new([10, 1], [3, 32], 10)
        };
        let resnet = ResNet18Config {
            channels: 3,
            size: 32,
            classes: 10,
            width: 8,
            normalization: wide.normalization.clone(),
        };
        let pre_act = PreActResNet18Config {
            channels: 3,
            size: 32,
            classes: 10,
            width: 8,
            final_batch_norm: true,
            normalization: wide.normalization.clone(),
        };
        let sequential = SequentialConfig {
            layers: vec![
                Layer::Relu,
                Layer::Convolution {
                    channels: 2,
                    kernel: 4,
                    stride: 3,
                    padding: 1,
                },
                Layer::Flatten,
                Layer::Linear { outputs: 10 },
            ],
            channels: 3,
            size: 32,
            classes: 10,
            normalization: wide.normalization.clone(),
        };
        for architecture in [
            Architecture::WideResnet(wide.clone()),
            Architecture::StandardWideResnet(wide.clone()),
            Architecture::DmWideResnet(wide.clone()),
            Architecture::PreActResnet18(pre_act),
            Architecture::Resnet18(resnet),
            Architecture::Sequential(sequential),
        ] {
            let shapes = architecture.parameter_shapes().into_iter().enumerate();
            let weights: Weights = shapes
                .map(|(n, (name, shape))| {
                    let values = Key::new(n as u64).normals(shape.iter().product());
                    (name, Array { shape, values })
                })
                .collect();
            let bytes = write(&architecture, &weights);
            let read = StateDictionary::read(&bytes, &architecture).unwrap();
            assert!(read.weights == weights, "{architecture:?}");
            let (found, _) = read.normalization(&Normalization::uniform(3, 0.0, 1.0));
            assert_eq!(found, wide.normalization, "{architecture:?}");
        }
    }

    #[test]
    fn shared_tensors_and_other_precisions_are_read() {
        let mut tensors = behind("model.", 1.5);
        let (name, _, _) = tensors.pop().unwrap();
        let (stored, shape, _) = tensors.last().unwrap().clone();
        let ours: BTreeMap<_, _> = jem().parameter_shapes().into_iter().collect();
        let same = ours[name.strip_prefix("model.").unwrap()] == shape;
        let read = StateDictionary::read(&file(&tensors, &[(&name, &stored)]), &jem());
        // The metadata gives a tensor that is not stored the shape of the one that is.
        assert_eq!(read.is_ok(), same, "{:?}", read.err());
        for dtype in [Dtype::F64, Dtype::F16, Dtype::BF16] {
            let tensors = behind("model.", 1.5);
            let number = match dtype {
                Dtype::F64 => 1.5_f64.to_le_bytes().to_vec(),
                Dtype::F16 => half::f16::from_f32(1.5).to_le_bytes().to_vec(),
                _ => bf16::from_f32(1.5).to_le_bytes().to_vec(),
            };
            let bytes = tensors
                .iter()
                .map(|(_, shape, _)| number.repeat(shape.iter().product()));
            let bytes: Vec<_> = bytes.collect();
            let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
                (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
            });
            let read = StateDictionary::read(&safetensors::serialize(views, None).unwrap(), &jem());
            let weights = read.unwrap().weights;
            assert!(
                weights
                    .values()
                    .all(|array| array.values.iter().all(|&v| v == 1.5))
            );
        }
    }
}
