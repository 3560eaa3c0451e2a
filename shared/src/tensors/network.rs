//! A network of any of the architectures.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

#[cfg(all(feature = "cubecl", not(feature = "autotune")))]
use super::sequence::Sequence;
use super::{
    Convolution, DmWideResNet, Frozen, Linear, Mode, PreActResNet18, Precision, ResNet18,
    Sequential, StandardWideResNet, WideResNet,
};
#[cfg(feature = "flex")]
use super::{convolution::runs_on_flex, parameters};
#[cfg(feature = "flex")]
use crate::engine::{
    cpu::{CompiledNetwork, amx::Amx},
    plan::Plan,
};
use crate::{
    key::Key,
    models::{Architecture, Initialization},
};

/// What is trained, kept in checkpoints and exported. The names of its parameters are those of the
/// architecture within.
///
/// [`Network::forward`] says the mode; attacks and samplers take it as [`Network::frozen`] gives it.
#[derive(Module, Debug)]
pub enum Network {
    /// See [`Architecture::WideResnet`].
    WideResnet(WideResNet),
    /// See [`Architecture::StandardWideResnet`].
    StandardWideResnet(StandardWideResNet),
    /// See [`Architecture::DmWideResnet`].
    DmWideResnet(DmWideResNet),
    /// See [`Architecture::PreActResnet18`].
    PreActResnet18(PreActResNet18),
    /// See [`Architecture::Resnet18`].
    Resnet18(ResNet18),
    /// See [`Architecture::Sequential`].
    Sequential(Sequential),
}

impl Architecture {
    /// Builds the network with random weights.
    pub fn init(&self, initialization: Initialization, key: Key, device: &Device) -> Network {
        debug_assert_eq!(self.check(), Ok(()));
        match self {
            Self::WideResnet(config) => {
                Network::WideResnet(config.init(initialization, key, device))
            }
            Self::StandardWideResnet(config) => Network::StandardWideResnet(
                StandardWideResNet::init(config, initialization, key, device),
            ),
            Self::DmWideResnet(config) => {
                Network::DmWideResnet(DmWideResNet::init(config, initialization, key, device))
            }
            Self::PreActResnet18(config) => {
                Network::PreActResnet18(PreActResNet18::init(config, initialization, key, device))
            }
            Self::Resnet18(config) => {
                Network::Resnet18(ResNet18::init(config, initialization, key, device))
            }
            Self::Sequential(config) => {
                Network::Sequential(Sequential::init(config, initialization, key, device))
            }
        }
    }
}

/// What every network is asked.
pub(super) trait Layered {
    /// Which network, with all its numbers.
    fn architecture(&self) -> Architecture;

    /// All convolutions, the first layer first.
    fn convolutions(&mut self) -> Vec<&mut Convolution>;

    /// The last layer.
    fn head(&self) -> &Linear;

    /// See [`Network::forward`].
    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2>;
}

impl Network {
    fn layers(&self) -> &dyn Layered {
        match self {
            Self::WideResnet(network) => network,
            Self::StandardWideResnet(network) => network,
            Self::DmWideResnet(network) => network,
            Self::PreActResnet18(network) => network,
            Self::Resnet18(network) => network,
            Self::Sequential(network) => network,
        }
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let layers: &mut dyn Layered = match self {
            Self::WideResnet(network) => network,
            Self::StandardWideResnet(network) => network,
            Self::DmWideResnet(network) => network,
            Self::PreActResnet18(network) => network,
            Self::Resnet18(network) => network,
            Self::Sequential(network) => network,
        };
        layers.convolutions()
    }

    /// Which network, with all its numbers.
    pub fn architecture(&self) -> Architecture {
        self.layers().architecture()
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.architecture().classes()
    }

    /// The network that computes in this precision, as do its frozen copies.
    #[must_use]
    pub fn computing_in(mut self, precision: Precision) -> Self {
        for convolution in self.convolutions() {
            convolution.compute_in(precision);
        }
        self
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.layers().head().weight.val().device()
    }

    /// The logits f(x), with the batch's statistics where the mode says so.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]` in [0, 1]
    /// - returns `[batch, classes]`
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.layers().forward(x, mode)
    }

    /// The logits f(x) in evaluation mode, whatever is tracked. Shapes as in [`Network::forward`].
    pub fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward(x, Mode::Evaluate)
    }

    /// This network with the weights and statistics that it has now, as attacks and samplers take
    /// it: compiled where an engine runs such a network on its device, as tensors elsewhere.
    pub fn frozen(&self) -> Frozen {
        #[cfg_attr(not(feature = "flex"), expect(unused_mut))]
        let mut network = self.valid();
        #[cfg(feature = "flex")]
        if let Some(compiled) = network.compiled() {
            return Frozen::Compiled(Box::new(compiled));
        }
        #[cfg(all(feature = "cubecl", not(feature = "autotune")))]
        if super::cube::is_cube(&network.device())
            && let Ok(outline) = network.architecture().outline()
        {
            let precision = network.convolutions()[0].precision();
            let sequence = Sequence::new(&network, &outline, precision);
            return Frozen::Sequence(Box::new(sequence));
        }
        Frozen::Tensors(Box::new(network))
    }

    /// On the processor's engine, if the weights are there and it runs such a network in its precision.
    #[cfg(feature = "flex")]
    fn compiled(&mut self) -> Option<CompiledNetwork> {
        let outline = self.architecture().outline().ok()?;
        if !runs_on_flex(&self.layers().head().weight.val()) {
            return None;
        }
        let precision = self.convolutions()[0].precision();
        let plan = || Plan::new(&outline, &parameters::collect(self));
        match (precision, Amx::get()) {
            (Precision::F32, _) => Some(CompiledNetwork::new(plan())),
            (Precision::Bf16, Some(amx)) => Some(CompiledNetwork::in_bf16(plan(), amx)),
            (Precision::Bf16, None) => None,
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::{
        Classifier,
        energy::EnergyKind,
        models::{
            Layer, Normalization, PreActResNet18Config, ResNet18Config, SequentialConfig,
            WideResNetConfig,
        },
    };
    use burn::tensor::{DType, Int};

    use crate::tensors::{energy, from_host, to_host};

    fn architectures() -> [Architecture; 6] {
        let normalization = Normalization::uniform(3, 0.5, 0.25);
        let wide = WideResNetConfig {
            normalization: normalization.clone(),
            ..WideResNetConfig::new([10, 1], [3, 16], 4)
        };
        let pre_act = PreActResNet18Config {
            width: 16,
            final_batch_norm: true,
            channels: 3,
            size: 16,
            classes: 4,
            normalization: normalization.clone(),
        };
        let resnet = ResNet18Config {
            width: 16,
            channels: 3,
            size: 16,
            classes: 4,
            normalization: normalization.clone(),
        };
        let convolution = |kernel, stride, padding| Layer::Convolution {
            channels: 8,
            kernel,
            stride,
            padding,
        };
        let sequential = SequentialConfig {
            layers: vec![
                convolution(3, 1, 1),
                Layer::Relu,
                convolution(4, 2, 1),
                Layer::Silu,
                Layer::MaxPool {
                    kernel: 2,
                    stride: 2,
                },
                convolution(2, 1, 0),
                Layer::LeakyRelu { slope: 0.1 },
                Layer::Flatten,
                Layer::Linear { outputs: 9 },
                Layer::Silu,
                Layer::Linear { outputs: 4 },
            ],
            channels: 3,
            size: 16,
            classes: 4,
            normalization,
        };
        [
            Architecture::WideResnet(wide.clone()),
            Architecture::StandardWideResnet(wide.clone()),
            Architecture::DmWideResnet(wide),
            Architecture::PreActResnet18(pre_act),
            Architecture::Resnet18(resnet),
            Architecture::Sequential(sequential),
        ]
    }

    /// L2 norm of the difference over that of what was expected.
    fn off<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f32 {
        let norm = |x: Tensor<D>| x.powf_scalar(2.0).sum().sqrt().into_scalar::<f32>();
        norm(found - expected.clone()) / norm(expected)
    }

    #[test]
    fn bf16_is_near_f32_and_what_is_trained_stays_f32() {
        let device = Device::flex().autodiff();
        let initialization = Initialization {
            gain: 1.4,
            residual_scale: 0.5,
        };
        for architecture in architectures() {
            let title = architecture.title();
            let model = architecture.init(initialization, Key::new(1), &device);
            let x = Key::new(2).uniform([6, 3, 16, 16], &device);
            let y = Tensor::<1, Int>::from_data([0, 1, 2, 3, 0, 1], &device);
            let first = |model: Network| {
                let mut model = model;
                model.convolutions()[0].weight.val()
            };
            let of = |model: &Network| {
                let f = model.logits(x.clone());
                let mut gradients = energy::conditional(f.clone(), y.clone()).mean().backward();
                let gradient = first(model.clone()).grad_remove(&mut gradients).unwrap();
                (f.inner(), gradient)
            };
            let (f, gradient) = of(&model);
            let half = model.computing_in(Precision::Bf16);
            let (f_half, gradient_half) = of(&half);
            assert_eq!(f_half.dtype(), DType::F32, "{title}");
            assert_eq!(gradient_half.dtype(), DType::F32, "{title}");
            // Rounded indeed, but no more than eight bits explain. A share p of ReLU's signs turned
            // changes gradients by √p, which is much where it is little in the logits.
            let smooth = title.contains("Wide-ResNet");
            let most = if smooth { 0.1 } else { 0.5 };
            let errors = (off(f_half, f), off(gradient_half, gradient));
            let near = (1e-4..0.05).contains(&errors.0) && (1e-4..most).contains(&errors.1);
            assert!(near, "{title}: {errors:?}");

            // Attacks and samplers see the same network.
            let frozen = half.frozen();
            let expected = half.logits(x.clone()).inner();
            let objective = EnergyKind::Marginal.of(vec![0; 6]);
            let found = frozen.evaluate(&to_host(x.clone().inner()), 6, &*objective);
            let f_frozen = from_host(found.logits, expected.dims(), &expected.device());
            // What is compiled sums in another order, and a sum that is a little off may be rounded the
            // other way.
            let far = off(f_frozen, expected);
            assert!(far < 5e-3, "{title}: {far}");
            assert!(found.gradient.iter().any(|&g| g != 0.0), "{title}");
            for (name, weights) in parameters::collect(&half.valid()) {
                assert!(
                    weights.values.iter().all(|w| w.is_finite()),
                    "{title}: {name}"
                );
            }
        }
    }
}
