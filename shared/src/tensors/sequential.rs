//! A plain network: one layer after another, as PyTorch's `nn.Sequential` has them.

use burn::{
    module::Module,
    tensor::{
        Device, Tensor,
        module::{avg_pool2d, max_pool2d},
        ops::{AvgPoolOptions, MaxPoolOptions},
    },
};

use super::{Convolution, Linear, Mode, activation, network::Layered};
use crate::key::Key;
use crate::models::{Architecture, Initialization, Layer, SequentialConfig, Shape};

/// What a layer has learned, if it is one that learns.
#[derive(Module, Debug)]
pub enum Learned {
    /// Of [`Layer::Convolution`].
    Convolution(Convolution),
    /// Of [`Layer::Linear`].
    Linear(Linear),
}

/// One layer after another.
#[derive(Module, Debug)]
pub struct Sequential {
    /// One for each layer of the list.
    layers: Vec<Option<Learned>>,
    #[module(skip)]
    config: SequentialConfig,
}

impl Sequential {
    /// Builds the network with random weights: gain / √fan_in is their deviation, but for the last layer, which is a
    /// [`Linear`] as in other networks. There are no residual sums whose scale matters.
    pub fn init(
        config: &SequentialConfig,
        Initialization { gain, .. }: Initialization,
        key: Key,
        device: &Device,
    ) -> Self {
        let given = config.given().expect("layers are checked");
        let last = config.layers.len() - 1;
        let layer = |place: usize, layer: Layer, given: Shape| {
            let key = key.fold_in(place as u64);
            match (layer, given) {
                (
                    Layer::Convolution {
                        channels,
                        kernel,
                        stride,
                        padding,
                    },
                    Shape::Image(image),
                ) => {
                    let channels = [image.channels, channels];
                    let convolution =
                        Convolution::init(key, channels, kernel, stride, gain, device);
                    Some(Learned::Convolution(convolution.padded_by(padding)))
                }
                (Layer::Linear { outputs }, Shape::Row(inputs)) => {
                    let gain = if place == last { 1.0 } else { gain };
                    let linear = Linear::with_gain(key, [inputs, outputs], gain, device);
                    Some(Learned::Linear(linear))
                }
                _ => None,
            }
        };
        let layers = config.layers.iter().zip(given).enumerate();
        Self {
            layers: layers
                .map(|(place, (&of, given))| layer(place, of, given))
                .collect(),
            config: config.clone(),
        }
    }
}

impl Layered for Sequential {
    fn architecture(&self) -> Architecture {
        Architecture::Sequential(self.config.clone())
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let learned = self.layers.iter_mut().flatten();
        learned
            .filter_map(|learned| match learned {
                Learned::Convolution(convolution) => Some(convolution),
                Learned::Linear(_) => None,
            })
            .collect()
    }

    fn head(&self) -> &Linear {
        match self.layers.last() {
            Some(Some(Learned::Linear(linear))) => linear,
            _ => unreachable!("the last layer is checked to be linear"),
        }
    }

    fn forward(&self, x: Tensor<4>, _: Mode) -> Tensor<2> {
        let batch = x.dims()[0];
        // A row of numbers is an image of one pixel.
        let row = |x: Tensor<4>| {
            let count = x.dims().iter().skip(1).product();
            x.reshape([batch, count, 1, 1])
        };
        let mut x = self.config.normalization.forward(x);
        for (layer, learned) in self.config.layers.iter().zip(&self.layers) {
            x = match (learned, *layer) {
                (Some(Learned::Convolution(convolution)), _) => convolution.forward(x),
                (Some(Learned::Linear(linear)), _) => linear.forward(x).unsqueeze_dims(&[2, 3]),
                (None, Layer::MaxPool { kernel, stride }) => {
                    let options = MaxPoolOptions::new([kernel; 2]);
                    max_pool2d(x, options.with_stride([stride; 2]))
                }
                (None, Layer::AveragePool { kernel, stride }) => {
                    let options = AvgPoolOptions::new([kernel; 2]);
                    avg_pool2d(x, options.with_stride([stride; 2]))
                }
                (None, Layer::Relu) => activation::leaky_relu(x, 0.0),
                (None, Layer::LeakyRelu { slope }) => activation::leaky_relu(x, slope.into()),
                (None, Layer::Silu) => activation::silu(x),
                (None, Layer::Flatten) => row(x),
                (None, Layer::Convolution { .. } | Layer::Linear { .. }) => {
                    unreachable!("these have weights")
                }
            };
        }
        x.flatten(1, 3)
    }
}
