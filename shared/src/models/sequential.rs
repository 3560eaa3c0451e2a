//! A plain network: one layer after another, told as a list.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Extent, Normalization,
    config::{check_input, check_ranges},
};

/// Most numbers that a layer may make of one image.
const MOST_NUMBERS: u64 = 1 << 24;
/// Most weights of all layers: as many as a model file can hold in half precision.
const MOST_WEIGHTS: u64 = 1 << 27;

/// The numbers of a network whose layers follow one another, as PyTorch's `nn.Sequential` has them: parameters are
/// called by the place of their layer in the list, `0.weight`, `0.bias`, `2.weight` where layer 1 has none.
///
/// The last layer is linear and has an output for each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequentialConfig {
    /// In order, the first one of the images.
    pub layers: Vec<Layer>,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Number of logits.
    pub classes: usize,
    /// The normalisation of the input, part of the model; mean 0 and deviation 1 are none.
    pub normalization: Normalization,
}

/// A layer of a [`SequentialConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// A convolution of images, with a bias.
    Convolution {
        /// Channels of its output.
        channels: usize,
        /// Rows and columns of its kernel.
        kernel: usize,
        /// Pixels from one output to the next.
        stride: usize,
        /// Zeros on every side of the images.
        padding: usize,
    },
    /// The largest number under a square window, in each channel.
    MaxPool {
        /// Rows and columns of the window.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// The mean under a square window, in each channel.
    AveragePool {
        /// Rows and columns of the window.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// ReLU.
    Relu,
    /// LeakyReLU: x where x > 0, else slope · x.
    LeakyRelu {
        /// PyTorch's default is 0.01.
        slope: f32,
    },
    /// SiLU, also called Swish.
    Silu,
    /// Images to rows of numbers: channel by channel, each row by row.
    Flatten,
    /// x Wᵀ + b of rows of numbers.
    Linear {
        /// Numbers that it makes of a row.
        outputs: usize,
    },
}

/// What a layer is given, or makes, of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Channels of pixels.
    Image(Extent),
    /// So many numbers in a row.
    Row(usize),
}

/// Why a layer cannot stand where it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum LayerFault {
    #[error("is given {0}, expected an image; put it in front of flatten")]
    NoImage(Shape),
    #[error("is given {0}, expected numbers in a row; put flatten in front of it")]
    NoRow(Shape),
    #[error(
        "is given {given}, expected at least {kernel} × {kernel} pixels with the zeros around them"
    )]
    Kernel { given: Shape, kernel: usize },
    #[error("{name} is {found}, expected {least} to {most}")]
    Range {
        name: &'static str,
        found: usize,
        least: usize,
        most: usize,
    },
    #[error("slope is {0}, expected 0 to 1")]
    Slope(String),
    #[error("makes {found} numbers of one image, expected at most {MOST_NUMBERS}")]
    Numbers { found: u64 },
    #[error(
        "makes {found} of an image, expected a linear layer's {classes} numbers, one for each class"
    )]
    Logits { found: Shape, classes: usize },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Image(Extent { channels, size }) => {
                write!(f, "{channels} channels of {size} × {size} pixels")
            }
            Self::Row(count) => write!(f, "{count} numbers in a row"),
        }
    }
}

impl Shape {
    fn numbers(self) -> u64 {
        match self {
            Self::Image(Extent { channels, size }) => channels as u64 * (size as u64).pow(2),
            Self::Row(count) => count as u64,
        }
    }
}

impl Layer {
    /// What a recipe calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution { .. } => "convolution",
            Self::MaxPool { .. } => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::Relu => "relu",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Silu => "silu",
            Self::Flatten => "flatten",
            Self::Linear { .. } => "linear",
        }
    }

    /// What it makes of what it is given.
    fn output(self, given: Shape) -> Result<Shape, LayerFault> {
        let output = match self {
            Self::Convolution {
                channels,
                kernel,
                stride,
                padding,
            } => {
                in_range("channels", channels, 1, 4096)?;
                in_range("padding", padding, 0, kernel.saturating_sub(1))?;
                let size = windows(given, kernel, stride, padding)?.size;
                Shape::Image(Extent { channels, size })
            }
            Self::MaxPool { kernel, stride } | Self::AveragePool { kernel, stride } => {
                Shape::Image(windows(given, kernel, stride, 0)?)
            }
            Self::LeakyRelu { slope } if !(0.0..=1.0).contains(&slope) => {
                return Err(LayerFault::Slope(slope.to_string()));
            }
            Self::Relu | Self::LeakyRelu { .. } | Self::Silu => given,
            Self::Flatten => match given {
                Shape::Image(_) => Shape::Row(given.numbers() as usize),
                Shape::Row(_) => return Err(LayerFault::NoImage(given)),
            },
            Self::Linear { outputs } => match given {
                Shape::Image(_) => return Err(LayerFault::NoRow(given)),
                Shape::Row(_) => {
                    in_range("outputs", outputs, 1, 65_536)?;
                    Shape::Row(outputs)
                }
            },
        };
        match output.numbers() {
            found if found > MOST_NUMBERS => Err(LayerFault::Numbers { found }),
            _ => Ok(output),
        }
    }

    /// The shape of its weight, `[out, in, kernel, kernel]` or `[out, in]`, if it has one; it has a bias `[out]` too.
    fn weight(self, given: Shape) -> Option<Vec<usize>> {
        match (self, given) {
            (
                Self::Convolution {
                    channels, kernel, ..
                },
                Shape::Image(image),
            ) => Some(vec![channels, image.channels, kernel, kernel]),
            (Self::Linear { outputs }, Shape::Row(inputs)) => Some(vec![outputs, inputs]),
            _ => None,
        }
    }
}

/// The places of a square window on an image, its channels those of the image.
fn windows(
    given: Shape,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<Extent, LayerFault> {
    in_range("kernel", kernel, 1, 31)?;
    in_range("stride", stride, 1, 31)?;
    let Shape::Image(Extent { channels, size }) = given else {
        return Err(LayerFault::NoImage(given));
    };
    match (size + 2 * padding).checked_sub(kernel) {
        None => Err(LayerFault::Kernel { given, kernel }),
        Some(way) => Ok(Extent {
            channels,
            size: way / stride + 1,
        }),
    }
}

fn in_range(name: &'static str, found: usize, least: usize, most: usize) -> Result<(), LayerFault> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(LayerFault::Range {
            name,
            found,
            least,
            most,
        }),
    }
}

impl SequentialConfig {
    /// Checks all numbers, so that nothing after it meets an absurd one, or layers that do not fit each other.
    ///
    /// # Errors
    /// The first number that is out of range, or the first layer that does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_input(self.channels, self.size, self.classes, &self.normalization)?;
        check_ranges(&[("the number of layers", self.layers.len(), 1, 100)])?;
        let given = self.given()?;
        let weights = self.layers.iter().zip(&given);
        let weights = weights.filter_map(|(layer, &given)| layer.weight(given));
        let sizes = weights.map(|shape| shape.iter().map(|&n| n as u64).product::<u64>());
        let found = sizes.sum();
        match found > MOST_WEIGHTS {
            true => Err(ConfigError::Weights {
                found,
                most: MOST_WEIGHTS,
            }),
            false => Ok(()),
        }
    }

    /// What each layer is given.
    ///
    /// # Errors
    /// The first layer that does not fit what it is given, or the last one if it makes no logits.
    pub fn given(&self) -> Result<Vec<Shape>, ConfigError> {
        let fault = |place: usize, fault| ConfigError::Layer {
            place,
            name: self.layers[place].name(),
            fault,
        };
        let mut shape = Shape::Image(Extent {
            channels: self.channels,
            size: self.size,
        });
        let mut given = Vec::new();
        for (place, layer) in self.layers.iter().enumerate() {
            given.push(shape);
            shape = layer.output(shape).map_err(|why| fault(place, why))?;
        }
        match (self.layers.last(), shape) {
            (Some(Layer::Linear { .. }), Shape::Row(count)) if count == self.classes => Ok(given),
            _ => Err(fault(
                self.layers.len() - 1,
                LayerFault::Logits {
                    found: shape,
                    classes: self.classes,
                },
            )),
        }
    }

    /// Name and shape of every tensor, without building the network.
    ///
    /// # Panics
    /// If the layers do not fit each other: whoever reads them checks that before.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let given = self.given().unwrap_or_else(|fault| panic!("{fault}"));
        let mut shapes = Vec::new();
        for (place, (layer, &given)) in self.layers.iter().zip(&given).enumerate() {
            if let Some(weight) = layer.weight(given) {
                let bias = vec![weight[0]];
                shapes.push((format!("{place}.weight"), weight));
                shapes.push((format!("{place}.bias"), bias));
            }
        }
        shapes
    }

    /// What a person calls the network.
    pub(super) fn title(&self) -> String {
        let count = |name| {
            self.layers
                .iter()
                .filter(|layer| layer.name() == name)
                .count()
        };
        let of = |count, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        format!(
            "plain network of {} and {}",
            of(count("convolution"), "convolution"),
            of(count("linear"), "linear layer")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The network of Wong et al. (2020) for MNIST.
    fn of_fast(change: impl Fn(&mut SequentialConfig)) -> SequentialConfig {
        let convolution = |channels| Layer::Convolution {
            channels,
            kernel: 4,
            stride: 2,
            padding: 1,
        };
        let linear = |outputs| Layer::Linear { outputs };
        let mut config = SequentialConfig {
            layers: vec![
                convolution(16),
                Layer::Relu,
                convolution(32),
                Layer::Relu,
                Layer::Flatten,
                linear(100),
                Layer::Relu,
                linear(10),
            ],
            channels: 1,
            size: 28,
            classes: 10,
            normalization: Normalization::uniform(1, 0.0, 1.0),
        };
        change(&mut config);
        config
    }

    #[test]
    fn names_and_shapes_are_those_of_nn_sequential() {
        let config = of_fast(|_| {});
        assert_eq!(config.check(), Ok(()));
        let shapes = config.parameter_shapes();
        let shapes: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect();
        let expected: [(&str, &[usize]); 8] = [
            ("0.weight", &[16, 1, 4, 4]),
            ("0.bias", &[16]),
            ("2.weight", &[32, 16, 4, 4]),
            ("2.bias", &[32]),
            ("5.weight", &[100, 1568]),
            ("5.bias", &[100]),
            ("7.weight", &[10, 100]),
            ("7.bias", &[10]),
        ];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named_with_what_it_is_given() {
        let fault = |change: fn(&mut SequentialConfig)| {
            let fault = of_fast(change).check().unwrap_err();
            fault.to_string()
        };
        type Change = fn(&mut SequentialConfig);
        let cases: [(Change, &str); 12] = [
            (
                |config| config.layers.retain(|&layer| layer != Layer::Flatten),
                "layer 4 (linear) is given 32 channels of 7 × 7 pixels, expected numbers in a row; put flatten in \
                 front of it",
            ),
            (
                |config| config.layers.insert(4, Layer::Flatten),
                "layer 5 (flatten) is given 1568 numbers in a row, expected an image; put it in front of flatten",
            ),
            (
                |config| {
                    let pool = Layer::MaxPool {
                        kernel: 8,
                        stride: 8,
                    };
                    config.layers.insert(4, pool);
                },
                "layer 4 (max_pool) is given 32 channels of 7 × 7 pixels, expected at least 8 × 8 pixels with the \
                 zeros around them",
            ),
            (
                |config| {
                    config.layers[2] = Layer::Convolution {
                        channels: 32,
                        kernel: 4,
                        stride: 0,
                        padding: 1,
                    };
                },
                "layer 2 (convolution) stride is 0, expected 1 to 31",
            ),
            (
                |config| {
                    config.layers[0] = Layer::Convolution {
                        channels: 16,
                        kernel: 3,
                        stride: 1,
                        padding: 3,
                    };
                },
                "layer 0 (convolution) padding is 3, expected 0 to 2",
            ),
            (
                |config| config.layers[1] = Layer::LeakyRelu { slope: f32::NAN },
                "layer 1 (leaky_relu) slope is NaN, expected 0 to 1",
            ),
            (
                |config| config.layers[7] = Layer::Linear { outputs: 12 },
                "layer 7 (linear) makes 12 numbers in a row of an image, expected a linear layer's 10 numbers, one \
                 for each class",
            ),
            (
                |config| config.layers.push(Layer::Relu),
                "layer 8 (relu) makes 10 numbers in a row of an image, expected a linear layer's 10 numbers, one for \
                 each class",
            ),
            (
                |config| config.layers.clear(),
                "the number of layers is 0, expected 1 to 100",
            ),
            (
                |config| {
                    config.size = 256;
                    config.layers[0] = Layer::Convolution {
                        channels: 4096,
                        kernel: 1,
                        stride: 1,
                        padding: 0,
                    };
                },
                "layer 0 (convolution) makes 268435456 numbers of one image, expected at most 16777216",
            ),
            (
                |config| config.layers[5] = Layer::Linear { outputs: 65_537 },
                "layer 5 (linear) outputs is 65537, expected 1 to 65536",
            ),
            (
                |config| {
                    config.layers[5] = Layer::Linear { outputs: 65_536 };
                    config.layers[0] = Layer::Convolution {
                        channels: 16,
                        kernel: 3,
                        stride: 1,
                        padding: 1,
                    };
                },
                "the layers have 411705488 weights, expected at most 134217728",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(fault(change), expected);
        }
    }

    #[test]
    fn the_list_survives_json_and_unknown_words_are_refused() {
        let config = of_fast(|config| {
            config.layers[1] = Layer::LeakyRelu { slope: 0.01 };
            config.layers[3] = Layer::Silu;
        });
        let json = serde_json::to_string(&config).unwrap();
        assert!(
            json.contains(r#""silu","flatten",{"linear":{"outputs":100}}"#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<SequentialConfig>(&json).unwrap(),
            config
        );
        for (from, to, expected) in [
            ("silu", "gelu", "unknown variant `gelu`"),
            ("outputs", "size", "unknown field `size`"),
        ] {
            let fault = serde_json::from_str::<SequentialConfig>(&json.replace(from, to));
            let fault = fault.unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
