//! An attack, step by step, as a chain that climbs.

use basin_protocol::Adversary;
use basin_shared::{classifier::Evaluation, energy::EnergyKind, samplers::Frame};

use crate::engine::Network;

/// An attack on its way.
#[derive(Clone, Debug)]
pub(crate) struct Climb {
    pub adversary: Adversary,
    /// The energy that is climbed.
    pub energy: EnergyKind,
    /// The class of each image.
    pub classes: Vec<usize>,
    /// The images as they were, and as they are. `[batch, channels, size, size]`
    pub x: Vec<f32>,
    pub x_adv: Vec<f32>,
    /// Steps taken.
    pub step: u64,
}

impl Climb {
    /// Takes some steps, one at least, and shows what led to the last of them, and the gradient there.
    pub(crate) async fn advance(
        &mut self,
        network: &impl Network,
        steps: usize,
    ) -> Result<(Frame, Vec<f32>), String> {
        let batch = self.classes.len();
        let objective = self.energy.of(self.classes.clone());
        let (mut logits, mut last) = (Vec::new(), Vec::new());
        let mut frame = Frame {
            step: self.step,
            x: Vec::new(),
            logits: Vec::new(),
        };
        for _ in 0..steps.max(1) {
            let Evaluation {
                logits: found,
                gradient,
            } = network.evaluate(&self.x_adv, batch, &*objective).await?;
            (frame.step, frame.x) = (self.step, self.x_adv.clone());
            logits.extend(found);
            self.step(&gradient);
            last = gradient;
        }
        frame.logits = logits;
        Ok((frame, last))
    }

    /// One step up the gradient of the energy.
    pub(crate) fn step(&mut self, gradient: &[f32]) {
        let Adversary {
            budget, step_size, ..
        } = self.adversary;
        let batch = self.classes.len();
        budget.step(&mut self.x_adv, &self.x, gradient, step_size, batch);
        self.step += 1;
    }
}
