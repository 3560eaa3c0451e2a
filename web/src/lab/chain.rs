//! A chain as the page knows it: what was asked for, what arrived, what is shown. Plain state; the
//! tensors are the worker's.

use std::sync::Arc;

use basin_protocol::{EnergyKind, GradientScaling, Origin, Plan, Sampler, Sgld};

/// Most frames kept for the scrubber. When there are more, every other one is dropped.
const MOST_KEPT: usize = 64;

/// The images after some steps, and their logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub step: u64,
    /// `[batch, channels, size, size]`
    pub pixels: Arc<[f32]>,
    /// Of what an attack climbs, the gradient there, of the same shape; nothing of other chains.
    pub gradient: Arc<[f32]>,
    /// `[batch, classes]`
    pub logits: Arc<[f32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was begun.
    Empty,
    Running,
    Paused,
    /// All steps are taken.
    Finished,
    /// The numbers left what single precision holds.
    RanAway,
}

/// How far beyond 0 and 1 a pixel may be unsaid: some steps of 255.
const SLACK: f32 = 0.02;

/// What is shown of an attack.
pub const ATTACKED: [EnergyKind; 2] = [EnergyKind::Marginal, EnergyKind::Joint];

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name in messages.
    pub id: u32,
    pub plan: Plan,
    /// The images that the plan starts from, where it does from any.
    pub given: Arc<[f32]>,
    /// Steps to take.
    pub goal: u64,
    pub phase: Phase,
    pub newest: Option<Frame>,
    /// Some of the frames before, oldest first, at least `every` steps apart.
    pub kept: Vec<Frame>,
    every: u64,
    /// The energy of each image after each number of steps from 0 on: `[steps][batch]`. Of the one image of an attack
    /// E(x) and E(x, y), whose difference it climbs.
    pub energies: Vec<Vec<f32>>,
    /// Whether images have left the pixels' range, which a sampler that does not clamp lets them do.
    pub outside: bool,
    /// Which of `kept` is looked at, instead of the newest.
    pub scrubbed: Option<usize>,
    /// What each step took.
    milliseconds: Vec<f64>,
}

impl Default for Chain {
    fn default() -> Self {
        let sampler = Sampler::Sgld(Sgld {
            step_size: 0.0,
            noise_std: 0.0,
            friction: 0.0,
            gradient: GradientScaling::Raw,
            clamp: true,
        });
        let plan = Plan {
            seed: 0,
            morph: None,
            classes: Vec::new(),
            energy: EnergyKind::Joint,
            sampler,
            steps: 0,
            origin: Origin::Noise,
            mixture: None,
            known: None,
            adversary: None,
        };
        Self::new(0, plan, Arc::default(), Phase::Empty)
    }
}

impl Chain {
    /// A chain about to be begun.
    pub fn new(id: u32, plan: Plan, given: Arc<[f32]>, phase: Phase) -> Self {
        Self {
            id,
            goal: plan.steps as u64,
            plan,
            given,
            phase,
            newest: None,
            kept: Vec::new(),
            every: 1,
            energies: Vec::new(),
            outside: false,
            scrubbed: None,
            milliseconds: Vec::new(),
        }
    }

    /// Takes in a frame of this chain, the logits of the steps that were taken unseen since the one
    /// before it, `[steps, batch, classes]`, and the time that a step took.
    pub fn receive(&mut self, frame: Frame, unseen: &[f32], milliseconds: f64) {
        let classes = frame.logits.len() / self.plan.classes.len();
        let of_images = |logits: &[f32]| -> Vec<f32> {
            let rows = logits.chunks(classes).zip(&self.plan.classes);
            match self.plan.adversary {
                None => rows.map(|(row, &y)| self.plan.energy_of(row, y)).collect(),
                Some(_) => rows
                    .flat_map(|(row, &y)| ATTACKED.map(|energy| energy.of_logits(row, y)))
                    .collect(),
            }
        };
        let steps = unseen.chunks(frame.logits.len());
        let energies: Vec<_> = steps.chain([&*frame.logits]).map(of_images).collect();
        let sound = energies
            .iter()
            .flatten()
            .chain(frame.pixels.iter())
            .all(|v| v.is_finite());
        if !sound {
            self.phase = Phase::RanAway;
            return;
        }
        let outside = |&v: &f32| !(-SLACK..=1.0 + SLACK).contains(&v);
        self.outside |= frame.pixels.iter().any(outside);
        // A chain that goes on after an interruption shows its last images again.
        self.energies
            .truncate(frame.step as usize + 1 - energies.len());
        self.energies.extend(energies);
        self.milliseconds.push(milliseconds);
        self.kept.retain(|kept| kept.step < frame.step);
        let due = |kept: &Frame| frame.step >= kept.step + self.every;
        if self.kept.last().is_none_or(due) {
            self.kept.push(frame.clone());
            if self.kept.len() > MOST_KEPT {
                let mut even = false;
                self.kept.retain(|_| {
                    even = !even;
                    even
                });
                self.every = (frame.step - self.kept[0].step) / (self.kept.len() as u64 - 1);
            }
        }
        if frame.step >= self.goal {
            self.phase = Phase::Finished;
        }
        self.newest = Some(frame);
    }

    /// Most steps to ask for: one where each is to be seen.
    pub fn most_steps(&self) -> u64 {
        match self.phase {
            Phase::Running if self.newest.is_some() => self.goal.saturating_sub(self.step()).max(1),
            _ => 1,
        }
    }

    /// The frame to show.
    pub fn shown(&self) -> Option<&Frame> {
        self.scrubbed
            .and_then(|index| self.kept.get(index))
            .or(self.newest.as_ref())
    }

    /// Looks at what another chain is looked at: the frame of this step, or the nearest kept one; without a step the
    /// newest.
    pub fn look_at(&mut self, step: Option<u64>) {
        self.scrubbed = step.and_then(|step| {
            let kept = self.kept.iter().enumerate();
            let nearest = kept.min_by_key(|(_, frame)| frame.step.abs_diff(step));
            nearest.map(|(index, _)| index)
        });
    }

    /// The first of its frames, before any step.
    pub fn first(&self) -> Option<&Frame> {
        self.kept.first().filter(|frame| frame.step == 0)
    }

    /// Steps that led to the newest frame.
    pub fn step(&self) -> u64 {
        self.newest.as_ref().map_or(0, |frame| frame.step)
    }

    /// How to begin it again where it stands, and from which images.
    pub fn resumption(&self) -> (Plan, Arc<[f32]>) {
        match &self.newest {
            Some(frame) => self.resumption_at(frame),
            None => (self.plan.clone(), self.given.clone()),
        }
    }

    /// The same, where one of its frames stands.
    pub fn resumption_at(&self, frame: &Frame) -> (Plan, Arc<[f32]>) {
        let origin = Origin::Resume { step: frame.step };
        let plan = Plan {
            origin,
            ..self.plan.clone()
        };
        // What is known, or was before an attack, is beside the images.
        let beside = self.plan.known.is_some() || self.plan.adversary.is_some();
        let x = match beside {
            true => [&self.given[..], &frame.pixels].concat().into(),
            false => frame.pixels.clone(),
        };
        (plan, x)
    }

    /// Median time of its steps; the first compiles and warms up, so it counts only if alone.
    pub fn milliseconds(&self) -> Option<f64> {
        let mut times = self
            .milliseconds
            .get(1..)
            .filter(|t| !t.is_empty())?
            .to_vec();
        times.sort_by(f64::total_cmp);
        Some(times[times.len() / 2])
    }

    /// The energy over the steps, averaged over the images; of an attack, what it climbs.
    pub fn mean_energy(&self, step: usize) -> Option<f32> {
        let energies = self.energies.get(step)?;
        match (self.plan.adversary, &energies[..]) {
            (Some(_), [marginal, joint, ..]) => Some(joint - marginal),
            _ => Some(energies.iter().sum::<f32>() / energies.len() as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activities::{Activity, dream::Dream};
    use crate::tests::model;

    fn chain(goal: u64) -> Chain {
        let plan = Dream::default().plan(&model());
        let mut chain = Chain::new(1, plan, Arc::default(), Phase::Running);
        chain.goal = goal;
        chain
    }

    fn frame(step: u64) -> Frame {
        let logit = step as f32;
        Frame {
            step,
            pixels: vec![0.5; 4].into(),
            gradient: Arc::default(),
            logits: vec![0.0, 0.0, logit].into(),
        }
    }

    #[test]
    fn it_finishes_at_its_goal_and_knows_its_energies() {
        let mut chain = chain(3);
        for step in 0..=3 {
            assert_eq!(chain.phase, Phase::Running);
            chain.receive(frame(step), &[], 1.0);
        }
        assert_eq!(chain.phase, Phase::Finished);
        assert_eq!(chain.energies, [[0.0], [-1.0], [-2.0], [-3.0]]);
        assert_eq!(chain.mean_energy(2), Some(-2.0));
    }

    #[test]
    fn of_an_attack_both_energies_are_kept_and_their_difference_is_what_it_climbs() {
        let mut chain = chain(3);
        chain.plan = crate::activities::attack::Attack {
            class: Some(2),
            ..Default::default()
        }
        .plan(&model());
        for step in 0..=2 {
            chain.receive(frame(step), &[], 1.0);
        }
        let marginal = -(2.0 + 2f32.exp()).ln();
        let [found, joint] = chain.energies[2][..] else {
            panic!("{:?}", chain.energies)
        };
        assert!((found - marginal).abs() < 1e-6 && joint == -2.0);
        assert_eq!(chain.mean_energy(2), Some(joint - found));
    }

    #[test]
    fn frames_are_thinned_evenly_and_the_newest_is_never_lost() {
        let mut chain = chain(1000);
        for step in 0..=777 {
            chain.receive(frame(step), &[], 1.0);
        }
        assert!(chain.kept.len() <= MOST_KEPT && chain.kept.len() >= MOST_KEPT / 2 - 1);
        let gaps: Vec<u64> = chain
            .kept
            .windows(2)
            .map(|w| w[1].step - w[0].step)
            .collect();
        assert!(gaps.iter().all(|&gap| gap == gaps[0]), "{gaps:?}");
        assert_eq!(chain.shown().unwrap().step, 777);
        chain.scrubbed = Some(0);
        assert_eq!(chain.shown().unwrap().step, 0);
    }

    #[test]
    fn steps_taken_unseen_have_their_energies_on_the_curve() {
        let mut chain = chain(501);
        assert_eq!(chain.most_steps(), 1);
        chain.receive(frame(0), &[], 1.0);
        assert_eq!(chain.most_steps(), 501);
        for last in (3..=501).step_by(3) {
            let unseen = [last - 2, last - 1].map(|step| [0.0, 0.0, step as f32]);
            chain.receive(frame(last), unseen.as_flattened(), 1.0);
        }
        let energies: Vec<_> = (0..=501).map(|step| [-(step as f32)]).collect();
        assert_eq!(chain.energies, energies);
        assert_eq!(chain.phase, Phase::Finished);
        let gaps = chain.kept.windows(2).map(|w| w[1].step - w[0].step);
        let gaps: Vec<_> = gaps.collect();
        assert!(gaps.iter().all(|&gap| gap == gaps[0]), "{gaps:?}");
    }

    #[test]
    fn it_goes_on_from_its_last_images() {
        let mut chain = chain(10);
        assert_eq!(chain.resumption().0, chain.plan);
        for step in 0..=4 {
            chain.receive(frame(step), &[], 1.0);
        }
        assert_eq!(chain.resumption().0.origin, Origin::Resume { step: 4 });
        // The worker shows step 4 again, which must not count twice.
        chain.receive(frame(4), &[], 1.0);
        chain.receive(frame(5), &[], 1.0);
        assert_eq!(chain.energies.len(), 6);
        let steps: Vec<u64> = chain.kept.iter().map(|frame| frame.step).collect();
        assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn numbers_that_are_none_stop_it_at_the_last_good_frame() {
        let mut chain = chain(10);
        chain.receive(frame(0), &[], 1.0);
        chain.receive(
            Frame {
                logits: vec![f32::NAN; 3].into(),
                ..frame(1)
            },
            &[],
            1.0,
        );
        assert_eq!((chain.phase, chain.step()), (Phase::RanAway, 0));
    }
}
