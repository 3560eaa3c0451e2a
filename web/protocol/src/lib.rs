//! What the page and its workers say to each other, and a worker to its partners.
//!
//! A message is a [`Request`] or a [`Reply`] as JSON, with one array of bytes or numbers beside it
//! where the variant says so. The page asks and the worker answers, one step at a time: a chain
//! that is not asked for its next step is paused.

use std::collections::BTreeMap;

pub use basin_shared::{
    attacks::{Budget, Norm},
    class_names,
    energy::{EnergyKind, Mixture, softmax},
    metrics, ranges,
    robust_accuracy::RobustAccuracy,
    samplers::{
        ByDistance, DistanceTable, Distances, GradientScaling, Known, NoiseTable, Observation,
        Sampler, SamplerSettings, Sgld, Start,
    },
};
use serde::{Deserialize, Serialize};

/// From the page to a worker, or from a worker to a partner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Read the model file beside this message, and use it if it is sound.
    /// Answered by [`Reply::Loaded`], [`Reply::Refused`] or [`Reply::Unable`].
    Load,
    /// Read the model file beside this message, of another network for the same images and classes, to run attacks
    /// on beside the model in use. Answered by [`Reply::RivalLoaded`].
    LoadRival,
    /// Begin a chain; where it starts from an image, that image is beside this message.
    /// Not answered, unless refused.
    Begin {
        /// Names the chain in later messages.
        chain: u32,
        /// The chain.
        plan: Plan,
    },
    /// Show the images as they are, then take a step; where steps are fast, take some more before.
    /// Answered by [`Reply::Frame`].
    Advance {
        /// Which chain; another than the last begun is not answered.
        chain: u32,
        /// Most steps to take.
        most: u64,
    },
    /// Only evaluate the images beside this message, a share of another worker's.
    /// Answered by [`Reply::Evaluated`].
    Evaluate {
        /// The class of each image.
        classes: Vec<usize>,
        /// The energy whose gradient is wanted; without it, only logits are.
        energy: Option<EnergyKind>,
        /// Another class that is mixed in.
        mixture: Option<Mixture>,
    },
    /// The logits of the images beside this message; the chain that runs is left alone. Answered by
    /// [`Reply::Logits`].
    Logits {
        /// How many images there are.
        images: usize,
        /// Whether the rival's are wanted, rather than those of the model in use.
        rival: bool,
    },
    /// Take a step apart: of the chain of this plan, which resumes with what is beside this message as one that
    /// begins does. The chain that runs is left alone. Answered by [`Reply::Dissected`].
    Dissect {
        /// The chain.
        plan: Plan,
        /// Which of its images to show.
        image: usize,
    },
}

/// From a worker to whom it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The engine's program is on its way.
    Fetching {
        /// Bytes that arrived.
        loaded: u64,
        /// Bytes in all, where the server says so and does not compress.
        total: Option<u64>,
    },
    /// The program is here and being compiled.
    Compiling,
    /// The GPU compiles its kernels.
    Kernels {
        /// Those that are compiled.
        compiled: usize,
        /// All of them.
        total: usize,
    },
    /// The engine runs and waits for a model.
    Ready,
    /// The model is in use. Beside it: the class means, `[classes, channels, size, size]`.
    Loaded {
        /// What the file says of the model.
        model: Box<Model>,
        /// How far this engine is from the numbers in the file.
        self_test: SelfTest,
    },
    /// The rival is there, by its name; or why it is not.
    RivalLoaded {
        /// The name, or the fault.
        rival: Result<String, String>,
    },
    /// The model file cannot be used; the model before it, if any, still is.
    Refused {
        /// The loader's own words.
        message: String,
    },
    /// Beside it: the images, `[batch, channels, size, size]`; of an attack, the gradient of what it climbs, of the same
    /// shape; then the logits before each of the steps taken, `[steps, batch, classes]`; the last are those of the images.
    Frame {
        /// Which chain.
        chain: u32,
        /// Steps that led to these images.
        step: u64,
        /// What one of the steps took.
        milliseconds: f64,
        /// How many workers shared it.
        workers: usize,
    },
    /// Beside it: the logits, `[batch, classes]`, then the gradient of each image's energy, if it was wanted,
    /// `[batch, channels, size, size]`.
    Evaluated,
    /// Beside it: the logits, `[images, classes]`; none where there is a fault.
    Logits {
        /// Why there are none, if there are none.
        fault: Option<String>,
    },
    /// Beside it, each `[channels, size, size]`: the image, the gradient of its energy, what the step adds but
    /// for noise, the noise that it adds, and the image after it.
    Dissected {
        /// The numbers of the step, or why there is none.
        step: Result<Dissection, String>,
    },
    /// The GPU engine cannot hold the network of the file that it was asked to load, and would not if it
    /// were started again; the CPU engine may.
    Unable {
        /// The engine's own words.
        message: String,
    },
    /// There is no program to run: it is missing, cut short, or of another version than what starts it. Said by the
    /// script that starts it.
    NotStarted {
        /// What the browser says of it.
        message: String,
    },
    /// The engine stopped and must be started again.
    Crashed {
        /// Why, as far as is known.
        message: String,
    },
}

/// All that determines a chain, beside the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The random seed, of start and steps both.
    pub seed: u32,
    /// Another seed, if the noise is between those of two.
    pub morph: Option<Morph>,
    /// The intended class of each image.
    pub classes: Vec<usize>,
    /// Which energy is descended.
    pub energy: EnergyKind,
    /// Another class that is mixed in; the energy is then E(x, y).
    pub mixture: Option<Mixture>,
    /// The step.
    pub sampler: Sampler,
    /// How many of them it is to take: the last of those by distance add no noise.
    pub steps: usize,
    /// Where it starts.
    pub origin: Origin,
    /// What is known of the image that it is to restore. That image is then beside the request, once, before any
    /// others, and [`Origin::Image`] starts from the plainest image that agrees with it.
    pub known: Option<Known>,
    /// Who attacks the images, if anybody does: the chain then climbs the energy in the place of sampling. The images
    /// as they were are beside the request, before those of a chain that is resumed.
    pub adversary: Option<Adversary>,
}

impl Plan {
    /// The energy of one image, of this class. `logits`: `[classes]`
    pub fn energy_of(&self, logits: &[f32], class: usize) -> f32 {
        match self.mixture {
            Some(mixture) => mixture.of_logits(logits, class),
            None => self.energy.of_logits(logits, class),
        }
    }
}

/// On the way from the noise of a plan's seed to that of another, at start and steps both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Morph {
    /// The other seed.
    pub seed: u32,
    /// The share of the way, in [0, 1].
    pub share: f32,
}

/// Projected gradient ascent (Madry et al. 2018), from the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adversary {
    /// What may change.
    pub budget: Budget,
    /// Step size, in [0, 1] pixel units.
    pub step_size: f32,
    /// Whether the rival's network is attacked, rather than that of the model in use.
    pub rival: bool,
}

/// The numbers of one step of one image: x ← x − factor · g + noise_std · ξ, and back to where pixels may be, with g
/// the gradient as the sampler scales it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dissection {
    /// The energy of the image.
    pub energy: f32,
    /// How far the energy says that the data are, in L2; none where the step does not go by it.
    pub distance: Option<f32>,
    /// Factor of the gradient; none where the step is no multiple of it, as of what is known in part.
    pub factor: Option<f32>,
    /// Standard deviation of the noise.
    pub noise_std: f32,
}

/// Where a chain starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Uniform noise.
    Noise,
    /// The class Gaussian.
    Class {
        /// Factor of the deviations from the class's mean.
        spread: f32,
    },
    /// The images beside the request, with Gaussian noise of this deviation, clipped to [0, 1].
    Image {
        /// Standard deviation of the noise, in [0, 1] pixel units.
        noise: f32,
    },
    /// The images beside the request, which are what this many steps led to.
    Resume {
        /// Steps taken.
        step: u64,
    },
}

/// What a model file says of its model, as far as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// A name for people.
    pub name: String,
    /// The network in a few words.
    pub architecture: String,
    /// Trained numbers.
    pub parameters: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image.
    pub size: usize,
    /// What each logit stands for.
    pub class_names: Vec<String>,
    /// What it was trained on.
    pub data_set: String,
    /// How.
    pub method: String,
    /// The recipe, TOML.
    pub recipe: String,
    /// What was measured, by name.
    pub metrics: BTreeMap<String, f64>,
    /// What it was trained on; empty where the file does not say.
    pub hardware: Vec<String>,
    /// To draw a class.
    pub generation: SamplerSettings,
    /// The same in few steps, where the file says how.
    pub quick: Option<SamplerSettings>,
    /// To clean a noisy image.
    pub denoising: SamplerSettings,
    /// What E(x, y) and E(x) tell of the distance to the data, where the file says it.
    pub distances: Option<Distances>,
    /// Licence of the weights.
    pub licence: String,
    /// Who made it.
    pub author: String,
    /// The version of Basin that wrote the file.
    pub basin_version: String,
    /// SHA-256 of the tensor data.
    pub weights_sha256: String,
    /// Length of the file in bytes.
    pub file_length: usize,
}

/// Largest differences between what an engine computed and what the model file holds, each as a
/// share of the largest number of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The difference of the logits.
    pub logits: f32,
    /// The difference of the gradient with respect to the images.
    pub gradient: f32,
}

impl SelfTest {
    /// What an engine may differ by. Single precision in another order of summation differs by
    /// about 1e-5 here; a shader that did not run differs by about 1.
    pub const TOLERANCE: f32 = 1e-2;

    /// The larger of the two.
    pub fn largest(&self) -> f32 {
        // Not `max`, which would drop a NaN.
        if self.logits > self.gradient || self.logits.is_nan() {
            self.logits
        } else {
            self.gradient
        }
    }

    /// Whether the engine may be used.
    pub fn passed(&self) -> bool {
        self.logits <= Self::TOLERANCE && self.gradient <= Self::TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_not_a_number_fails_the_self_test() {
        let nan = SelfTest {
            logits: f32::NAN,
            gradient: 0.0,
        };
        assert!(!nan.passed() && nan.largest().is_nan());
        assert!(
            !SelfTest {
                logits: 0.0,
                gradient: f32::NAN
            }
            .passed()
        );
        assert!(
            SelfTest {
                logits: 1e-5,
                gradient: 3e-5
            }
            .passed()
        );
    }
}
