//! A wider network that computes what a narrower one does (Chen, Goodfellow & Shlens 2016, *Net2Net*, section
//! 2.2: Net2WiderNet), so that it need not learn it again.
//!
//! New channels repeat the old ones, and whoever reads a channel shares its weight among the copies. The paper
//! draws at random which are repeated; here they are repeated in order, so that all that a residual sum adds
//! up agrees. Its weights are shared evenly and made different by noise; here the shares are drawn for each
//! weight, which parts the copies without changing what the network computes.

use super::Architecture;
use crate::{
    arrays::{Array, Weights},
    key::Key,
};

impl Architecture {
    /// Whether `other` is this network with more channels in its groups, and the same layers: a Wide-ResNet of
    /// width 1 has a shortcut less than the wider ones.
    pub fn is_narrower_than(&self, other: &Self) -> bool {
        let mut wider = self.clone();
        let (Some(width), Some(of_other)) = (wider.width_mut(), other.width()) else {
            return false;
        };
        let is_less = *width < of_other;
        *width = of_other;
        let layers = |of: &Self| of.parameter_shapes().len();
        is_less && wider == *other && layers(self) == layers(other)
    }

    fn width(&self) -> Option<usize> {
        self.clone().width_mut().copied()
    }

    /// None of a network that is a list of layers, each of which has its own.
    fn width_mut(&mut self) -> Option<&mut usize> {
        Some(match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => &mut config.width,
            Self::PreActResnet18(config) => &mut config.width,
            Self::Resnet18(config) => &mut config.width,
            Self::Sequential(_) => return None,
        })
    }
}

/// The weights of `wide` with which it computes what a network of its kind computes with those of `narrow`, to
/// rounding. Another `key` shares the weights among the copies in another way.
///
/// # Panics
/// If `narrow` lacks a tensor of `wide`, or if one has more numbers along an axis than `wide` has: the caller has
/// asked [`Architecture::is_narrower_than`].
pub fn widen(narrow: &Weights, wide: &Architecture, key: Key) -> Weights {
    let shapes = wide.parameter_shapes().into_iter();
    shapes
        .map(|(name, shape)| {
            let wider = widen_tensor(&narrow[&name], shape, key.stream(&name));
            (name, wider)
        })
        .collect()
}

/// Of a convolution [out, in, rows, columns], a linear layer [out, in], or a vector [out].
fn widen_tensor(narrow: &Array, shape: Vec<usize>, key: Key) -> Array {
    let (outputs, taps) = (shape[0], shape.iter().skip(2).product::<usize>());
    let inputs = shape.get(1).copied().unwrap_or(1);
    let old_outputs = narrow.shape[0];
    let old_inputs = narrow.shape.get(1).copied().unwrap_or(1);
    // From 0.5 to 1.5, so that no copy is left out and two of a channel are unlike.
    let mut shares = key.uniforms(outputs * inputs);
    for of_output in shares.chunks_mut(inputs) {
        let mut sums = vec![0.0; old_inputs];
        for (input, share) in of_output.iter_mut().enumerate() {
            *share += 0.5;
            sums[input % old_inputs] += *share;
        }
        for (input, share) in of_output.iter_mut().enumerate() {
            *share /= sums[input % old_inputs];
        }
    }
    let mut values = Vec::with_capacity(outputs * inputs * taps);
    for output in 0..outputs {
        for input in 0..inputs {
            let old = (output % old_outputs) * old_inputs + input % old_inputs;
            let share = shares[output * inputs + input];
            let kernel = &narrow.values[old * taps..][..taps];
            values.extend(kernel.iter().map(|weight| share * weight));
        }
    }
    Array { shape, values }
}
