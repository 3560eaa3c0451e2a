//! A chain as the engines run it.

use super::{Annealing, Noise, Sgld};
use crate::{
    classifier::{Classifier, Evaluation},
    energy::{EnergyKind, Mixed, Mixture, Objective},
};

/// Most steps that an engine takes from one frame to the next.
pub const STEPS_PER_FRAME: usize = 32;

/// A chain on its way: all that its next step needs, beside the network.
#[derive(Clone, Debug)]
pub struct HostChain {
    /// The step.
    pub walk: Step,
    /// The noise of the steps.
    pub noise: Noise,
    /// The energy that is descended.
    pub energy: EnergyKind,
    /// The intended class of each image.
    pub classes: Vec<usize>,
    /// Another class that the images are drawn to: [`Mixed`] is then descended, rather than `energy`.
    pub mixture: Option<Mixture>,
    /// The images, `[batch, channels, size, size]`.
    pub x: Vec<f32>,
    /// Their velocities; as many zeros where it begins.
    pub velocity: Vec<f32>,
    /// Steps taken.
    pub step: u64,
}

/// The step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A step of a size that is given.
    Sgld(Sgld),
    /// As long as the data are away.
    ByDistance(Annealing),
}

/// What an observer sees of some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Steps that led to the images.
    pub step: u64,
    /// The images before the last of the steps.
    pub x: Vec<f32>,
    /// The logits before each of them, `[steps, batch, classes]`.
    pub logits: Vec<f32>,
}

/// What a chain descends, or of some of its images a share of the work does.
pub fn objective(
    energy: EnergyKind,
    classes: Vec<usize>,
    mixture: Option<Mixture>,
) -> Box<dyn Objective> {
    match mixture {
        Some(mixture) => Box::new(Mixed { classes, mixture }),
        None => energy.of(classes),
    }
}

impl HostChain {
    /// A frame of no steps yet.
    pub fn frame(&self) -> Frame {
        Frame {
            step: self.step,
            x: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// One step, by what the network has computed of the images; the frame then shows what led to it.
    pub fn step(&mut self, evaluation: Evaluation, frame: &mut Frame) {
        frame.step = self.step;
        frame.x.clone_from(&self.x);
        let energies = self.energies(&evaluation.logits);
        match &self.walk {
            Step::Sgld(sgld) => sgld.step(
                self.noise,
                self.step,
                self.classes.len(),
                &mut self.x,
                &mut self.velocity,
                &evaluation.gradient,
            ),
            Step::ByDistance(annealing) => annealing.step(
                self.noise,
                self.step,
                &mut self.x,
                &energies,
                &evaluation.gradient,
            ),
        }
        frame.logits.extend(evaluation.logits);
        self.step += 1;
    }

    /// The energy of each image. `logits`: `[batch, classes]`.
    pub fn energies(&self, logits: &[f32]) -> Vec<f32> {
        let rows = logits.chunks_exact(logits.len() / self.classes.len());
        rows.zip(&self.classes)
            .map(|(row, &class)| match self.mixture {
                Some(mixture) => mixture.of_logits(row, class),
                None => self.energy.of_logits(row, class),
            })
            .collect()
    }

    /// What the chain descends.
    pub fn objective(&self) -> Box<dyn Objective> {
        objective(self.energy, self.classes.clone(), self.mixture)
    }

    /// Takes `steps` steps, one at least and [`STEPS_PER_FRAME`] at most.
    pub fn advance(&mut self, network: &impl Classifier, steps: usize) -> Frame {
        let (mut frame, objective) = (self.frame(), self.objective());
        for _ in 0..steps.clamp(1, STEPS_PER_FRAME) {
            let evaluation = network.evaluate(&self.x, self.classes.len(), &*objective);
            self.step(evaluation, &mut frame);
        }
        frame
    }
}
