//! State dictionaries of published PyTorch models, as safetensors: of JEM, TRADES, RobustBench, and those
//! who build on them.

use std::collections::BTreeMap;

use basin_shared::{
    ModelFileError,
    arrays::{Array, Weights},
    file::container::decode,
    models::Architecture,
};
use safetensors::SafeTensors;

/// What wrappers put in front of every name.
const PREFIXES: [&str; 3] = ["module.", "model.", "f."];

/// Why a state dictionary cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PytorchError {
    #[error(
        "this is no safetensors file ({0}); make one in Python with \
         safetensors.torch.save_file(state_dict, path)"
    )]
    Container(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Tensor(#[from] ModelFileError),
    #[error(
        "`{name}` is {found:?}, the recipe's normalization has {expected:?}; \
         the network was trained with the former"
    )]
    Normalization {
        name: String,
        found: Vec<f32>,
        expected: Vec<f32>,
    },
}

/// The tensors of an architecture, by the names that Basin gives them.
pub(crate) fn weights(bytes: &[u8], architecture: &Architecture) -> Result<Weights, PytorchError> {
    let container = SafeTensors::deserialize(bytes)?;
    let mut found = BTreeMap::new();
    for (name, view) in container.tensors() {
        let name = renamed(&name, architecture);
        if is_unused(&name, architecture) {
            continue;
        }
        let array = Array {
            shape: view.shape().to_vec(),
            values: decode(&name, &view)?,
        };
        found.insert(name, array);
    }
    let normalization = architecture.normalization();
    for (names, expected) in [
        (["mean", "mu"], &normalization.mean),
        (["std", "sigma"], &normalization.std),
    ] {
        for name in names {
            if let Some(array) = found.remove(name)
                && array.values != *expected
            {
                return Err(PytorchError::Normalization {
                    name: name.into(),
                    found: array.values,
                    expected: expected.clone(),
                });
            }
        }
    }
    let mut weights = Weights::new();
    for (name, expected) in architecture.parameter_shapes() {
        match found.remove(&name) {
            None => return Err(ModelFileError::MissingTensor { name, expected }.into()),
            Some(Array { shape: found, .. }) if found != expected => {
                return Err(ModelFileError::Shape {
                    name,
                    found,
                    expected,
                }
                .into());
            }
            Some(array) => weights.insert(name, array),
        };
    }
    match found.pop_first() {
        Some((name, _)) => Err(ModelFileError::ExtraTensor { name }.into()),
        None => Ok(weights),
    }
}

fn renamed(name: &str, architecture: &Architecture) -> String {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    match architecture {
        // A list of one module there.
        Architecture::WideResnet(_) => name.replace(".shortcut.0.", ".shortcut."),
        _ => name.into(),
    }
}

/// Whether the authors' code keeps a tensor that its forward pass never reads: the number of batches
/// that BatchNorm saw, TRADES's second first group, JEM's two other heads.
fn is_unused(name: &str, architecture: &Architecture) -> bool {
    let of_jem = matches!(architecture, Architecture::WideResnet(_))
        && (name.starts_with("linear.") || name.starts_with("energy_output."));
    name.ends_with(".num_batches_tracked") || name.starts_with("sub_block1.") || of_jem
}

#[cfg(test)]
mod tests {
    use basin_shared::models::{Activation, Normalization, WideResNetConfig};
    use safetensors::{Dtype, tensor::TensorView};

    use super::*;

    fn jem() -> Architecture {
        Architecture::WideResnet(WideResNetConfig {
            depth: 10,
            width: 1,
            channels: 3,
            size: 32,
            classes: 10,
            activation: Activation::LeakyRelu,
            normalization: Normalization {
                mean: vec![0.5; 3],
                std: vec![0.5; 3],
            },
        })
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
        let found = weights(&state_dictionary(|_| {}), &jem()).unwrap();
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
            weights(&dictionary, &jem()).unwrap_err().to_string()
        };
        let missing = message(|shapes| {
            shapes.remove(0);
        });
        assert!(missing.contains("`conv1.weight` is missing"), "{missing}");
        let extra = message(|shapes| shapes.push(("f.bn1.weight".into(), vec![64])));
        assert!(extra.contains("`bn1.weight` is not part"), "{extra}");
        let shape = message(|shapes| shapes[1].1 = vec![17]);
        assert!(
            shape.contains("has shape [17]") && shape.contains("[16]"),
            "{shape}"
        );
        let other = weights(b"PK\x03\x04 a zip archive", &jem());
        let other = other.unwrap_err().to_string();
        assert!(other.contains("safetensors.torch.save_file"), "{other}");
    }
}
