//! What PyTorch's state dictionaries call the tensors of a network.

use basin_shared::models::Architecture;

/// What wrappers put in front of every name, in any nesting: of PyTorch itself, of its compiler, of the
/// robustness library, of a sequence of normalisation and network, and of JEM.
const WRAPPERS: [&str; 9] = [
    "module.",
    "_orig_mod.",
    "model.",
    "attacker.",
    "net.",
    "network.",
    "backbone.",
    "1.",
    "f.",
];
/// Modules that only normalise.
const NORMALIZERS: [&str; 6] = [
    "normalizer.",
    "normalize.",
    "normalization.",
    "normalisation.",
    "norm_layer.",
    "0.",
];
/// What a network's mean is called.
pub(super) const MEANS: [&str; 4] = ["mean", "mu", "new_mean", "_mean"];
/// What its standard deviation is called.
pub(super) const DEVIATIONS: [&str; 5] = ["std", "sigma", "new_std", "_std", "sd"];

/// What the authors' code calls a tensor: the inverse of [`renamed`].
pub(super) fn published_name(name: &str, architecture: &Architecture) -> String {
    match architecture {
        // The features are one module there, the head another.
        Architecture::WideResnet(_) if !name.starts_with("class_output.") => {
            format!("f.{}", name.replace(".shortcut.", ".shortcut.0."))
        }
        _ => name.into(),
    }
}

/// What Basin calls a tensor that a state dictionary has by this name.
pub(super) fn renamed(name: &str, architecture: &Architecture) -> String {
    // The layers of a list are called by numbers, as what a sequence wraps is: the last number is the layer's.
    let is_whole = |rest: &&str| !["weight", "bias"].contains(rest);
    let mut name = name;
    while let Some(rest) = WRAPPERS
        .iter()
        .find_map(|wrapper| name.strip_prefix(wrapper).filter(is_whole))
    {
        name = rest;
    }
    for normalizer in NORMALIZERS {
        if let Some(rest) = name.strip_prefix(normalizer)
            && MEANS.iter().chain(&DEVIATIONS).any(|known| *known == rest)
        {
            name = rest;
        }
    }
    match architecture {
        // A list of one module there.
        Architecture::WideResnet(_) => name.replace(".shortcut.0.", ".shortcut."),
        _ => name.into(),
    }
}

/// Whether the authors' code keeps a tensor that its forward pass never reads: the number of batches
/// that BatchNorm saw, TRADES's second first group, JEM's two other heads.
pub(super) fn is_unused(name: &str, architecture: &Architecture) -> bool {
    let of_jem = matches!(architecture, Architecture::WideResnet(_))
        && (name.starts_with("linear.") || name.starts_with("energy_output."));
    name.ends_with(".num_batches_tracked") || name.starts_with("sub_block1.") || of_jem
}

#[cfg(test)]
mod tests {
    use basin_shared::models::{Layer, Normalization, SequentialConfig, WideResNetConfig};

    use super::*;

    #[test]
    fn jems_features_are_a_module_there() {
        let jem = Architecture::WideResnet(WideResNetConfig::new([10, 1], [3, 32], 10));
        let published = |name| published_name(name, &jem);
        assert_eq!(
            published("layer2.0.shortcut.bias"),
            "f.layer2.0.shortcut.0.bias"
        );
        assert_eq!(published("class_output.bias"), "class_output.bias");
    }

    #[test]
    fn the_number_of_a_layer_is_no_wrapper() {
        let sequence = Architecture::Sequential(SequentialConfig {
            layers: vec![Layer::Flatten, Layer::Linear { outputs: 2 }],
            channels: 1,
            size: 8,
            classes: 2,
            normalization: Normalization::uniform(1, 0.0, 1.0),
        });
        for (theirs, ours) in [
            ("1.weight", "1.weight"),
            ("1.1.weight", "1.weight"),
            ("module.1.bias", "1.bias"),
            ("module.model.1.1.bias", "1.bias"),
            ("_orig_mod.net.0.weight", "0.weight"),
            ("module.mean", "mean"),
            ("0.mean", "mean"),
            ("model.0.std", "std"),
        ] {
            assert_eq!(renamed(theirs, &sequence), ours, "{theirs}");
        }
    }
}
