//! Attacks on one image by the names that tables give them, with the settings that are usual there.

use serde::{Deserialize, Serialize};

use super::{
    Apgd, Budget, CarliniWagner, DeepFool, Fab, GradientAt, Mim, Norm, OneStep, Origin, Pgd,
    Search, Square,
    in_turn::InTurn,
    pursuit::{Pursuit, Subject},
    square::Draws,
    walk::{Walk, WalkPursuit},
};
use crate::{
    energy::{Conditional, Dlr, Expected, Joint, Objective, TargetedDlr, ranked, softmax},
    key::Key,
};

/// Standard deviation of the noise that TPGD starts from, where its objective has a slope.
const TPGD_NOISE: f32 = 0.001;

/// An attack by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackName {
    /// APGD on the cross-entropy.
    ApgdCe,
    /// APGD on the difference of logits ratio.
    ApgdDlr,
    /// APGD on the targeted ratio, one class after the other.
    ApgdT,
    /// FAB, every other class at once.
    Fab,
    /// FAB, one class after the other.
    FabT,
    /// Square.
    Square,
    /// One step after the sign of the cross-entropy's gradient.
    Fgsm,
    /// One step after the sign of the gradient of E(x, y), from a random start (JEAT eq. 18).
    Energy,
    /// PGD on the cross-entropy, from a random start.
    Pgd,
    /// PGD on TRADES' divergence from what the network makes of the image, which needs no label.
    Tpgd,
    /// PGD on the cross-entropy with momentum, from the image.
    Mim,
    /// DeepFool.
    DeepFool,
    /// Carlini and Wagner's attack, in L2.
    Cw,
}

/// An attack by its name, how often it begins anew, and how many classes it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedAttack {
    /// Which.
    pub name: AttackName,
    /// How often it is tried, from another start each time.
    pub restarts: usize,
    /// How many other classes a targeted one is aimed at, the likeliest first.
    pub targets: usize,
    /// Iterations, or changes tried, of each.
    pub steps: usize,
}

/// Why an attack cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// The model has too few classes.
    #[error(
        "{} compares {expected} classes, the model has {found}; apgd-ce, fab-t and square can be made",
        name.text()
    )]
    Classes {
        /// The attack.
        name: AttackName,
        /// How many classes the model has.
        found: usize,
        /// How many it takes.
        expected: usize,
    },
    /// The attack is defined in the other norm alone.
    #[error("{} is an attack in {}", name.text(), norm.text())]
    Norm {
        /// The attack.
        name: AttackName,
        /// Its norm.
        norm: Norm,
    },
}

impl AttackName {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ApgdCe,
        Self::ApgdDlr,
        Self::ApgdT,
        Self::Fab,
        Self::FabT,
        Self::Square,
        Self::Fgsm,
        Self::Energy,
        Self::Pgd,
        Self::Tpgd,
        Self::Mim,
        Self::DeepFool,
        Self::Cw,
    ];

    /// As it is typed and written.
    pub fn text(self) -> &'static str {
        match self {
            Self::ApgdCe => "apgd-ce",
            Self::ApgdDlr => "apgd-dlr",
            Self::ApgdT => "apgd-t",
            Self::Fab => "fab",
            Self::FabT => "fab-t",
            Self::Square => "square",
            Self::Fgsm => "fgsm",
            Self::Energy => "energy",
            Self::Pgd => "pgd",
            Self::Tpgd => "tpgd",
            Self::Mim => "mim",
            Self::DeepFool => "deep-fool",
            Self::Cw => "cw",
        }
    }

    /// Once, with the usual numbers: those of AutoAttack (100 iterations, 5,000 changes of Square, nine classes), 20 steps
    /// of PGD, 10 of its kin, 50 of DeepFool and 1,000 of Carlini and Wagner's for each of nine constants.
    pub fn once(self) -> NamedAttack {
        NamedAttack {
            name: self,
            restarts: 1,
            targets: 9,
            steps: match self {
                Self::Square => Square::default().queries,
                Self::Fgsm | Self::Energy => 1,
                Self::Pgd => 20,
                Self::Tpgd | Self::Mim => 10,
                Self::DeepFool => DeepFool::default().steps,
                Self::Cw => CarliniWagner::default().steps,
                Self::ApgdCe | Self::ApgdDlr | Self::ApgdT | Self::Fab | Self::FabT => 100,
            },
        }
    }

    /// Whether a network of so many classes can be attacked so in a norm.
    ///
    /// # Errors
    /// If it has too few classes, or the attack is of another norm.
    pub fn check(self, norm: Norm, classes: usize) -> Result<(), AttackError> {
        let (name, found) = (self, classes);
        let expected = match self {
            Self::ApgdDlr => 3,
            Self::ApgdT => 4,
            _ => 2,
        };
        if classes < expected {
            return Err(AttackError::Classes {
                name,
                found,
                expected,
            });
        }
        match (self, norm) {
            (Self::Cw, Norm::Linf) => Err(AttackError::Norm {
                name,
                norm: Norm::L2,
            }),
            _ => Ok(()),
        }
    }
}

impl NamedAttack {
    /// How many answers it takes of a network of so many classes at most, of each image.
    pub fn answers(self, classes: usize) -> usize {
        let others = (classes - 1).max(1);
        let run = match self.name {
            // At each place, and again where another class was found.
            AttackName::FabT => 2 * self.steps,
            AttackName::Fab => (others + 1) * self.steps,
            AttackName::DeepFool => others.min(DeepFool::default().others) * self.steps + 1,
            AttackName::Cw => CarliniWagner::default().searches * self.steps,
            _ => self.steps + 1,
        };
        let targets = match self.name {
            AttackName::ApgdT | AttackName::FabT => self.targets.clamp(1, others),
            _ => 1,
        };
        run * targets * self.restarts.max(1)
    }

    /// The attack on an image whose class the network names. Its random numbers are the key's, whichever images are
    /// attacked beside it.
    ///
    /// # Panics
    /// If it cannot be made ([`AttackName::check`]).
    pub fn pursue(self, budget: Budget, subject: &Subject, key: Key) -> Box<dyn Pursuit> {
        let order = ranked(&subject.logits).into_iter();
        let others: Vec<usize> = order.filter(|&class| class != subject.class).collect();
        let targets = match self.name {
            AttackName::ApgdT | AttackName::FabT => self.targets.clamp(1, others.len()),
            _ => 1,
        };
        let (restarts, subject) = (self.restarts.max(1), subject.clone());
        // Restarts of one target follow each other.
        let begin = move |run: usize| {
            let (target, restart) = (run / restarts, run % restarts);
            let aims = match self.name {
                AttackName::Fab => &others[..],
                _ => others.get(target..target + 1)?,
            };
            let run = Run {
                budget,
                subject: &subject,
                aims,
                first: restart == 0,
                key: key.fold_in(run as u64),
            };
            (target < targets).then(|| self.run(run))
        };
        match InTurn::new(begin) {
            Some(all) => Box::new(all),
            None => unreachable!("a first run is always made"),
        }
    }

    fn run(self, run: Run) -> Box<dyn Pursuit> {
        let Run {
            budget,
            subject,
            aims,
            first,
            key,
        } = run;
        let Subject { x, class, .. } = subject;
        let (classes, targets) = (vec![*class], aims[..1].to_vec());
        let apgd = |objective: Box<dyn Objective>| -> Box<dyn Pursuit> {
            let settings = Apgd {
                steps: self.steps,
                ..Apgd::default()
            };
            let start = budget.start_on_surface(key, x, 1);
            Box::new(settings.pursue(budget, objective, x, *class, start))
        };
        let walk = |origin: Origin, search: Search, objective: Box<dyn Objective>| {
            let start = origin.start(budget, x, 1, key);
            let walk = Walk::from(start, budget, search, false);
            Box::new(WalkPursuit::new(walk, objective, x, *class))
        };
        // As in `basin evaluate`: a quarter of the radius, an eighth where there are many steps.
        let share = if self.steps > 50 { 8.0 } else { 4.0 };
        let pgd = Pgd {
            steps: self.steps,
            step_size: budget.epsilon / share,
        };
        let one_step = Search::OneStep(OneStep {
            step_size: budget.epsilon,
            gradient_at: GradientAt::Clean,
        });
        match self.name {
            AttackName::Fgsm => walk(Origin::Image, one_step, Box::new(Conditional { classes })),
            AttackName::Energy => walk(Origin::Ball, one_step, Box::new(Joint { classes })),
            AttackName::Pgd => {
                let objective = Box::new(Conditional { classes });
                walk(Origin::Ball, Search::Pgd(pgd), objective)
            }
            AttackName::Tpgd => {
                let mut probabilities = vec![0.0; subject.logits.len()];
                softmax(&subject.logits, &mut probabilities);
                let objective = Box::new(Expected { probabilities });
                walk(Origin::Noise(TPGD_NOISE), Search::Pgd(pgd), objective)
            }
            AttackName::Mim => {
                let mim = Search::Mim(Mim { pgd, decay: 1.0 });
                walk(Origin::Image, mim, Box::new(Conditional { classes }))
            }
            AttackName::DeepFool => {
                let settings = DeepFool {
                    steps: self.steps,
                    ..DeepFool::default()
                };
                Box::new(settings.pursue(budget, subject))
            }
            AttackName::Cw => {
                let settings = CarliniWagner {
                    steps: self.steps,
                    ..CarliniWagner::default()
                };
                Box::new(settings.pursue(budget, subject))
            }
            AttackName::ApgdCe => apgd(Box::new(Conditional { classes })),
            AttackName::ApgdDlr => apgd(Box::new(Dlr { classes })),
            AttackName::ApgdT => apgd(Box::new(TargetedDlr { classes, targets })),
            AttackName::Fab | AttackName::FabT => {
                let settings = Fab {
                    steps: self.steps,
                    ..Fab::default()
                };
                // At the image first, then half the way to the ball's surface.
                let half = Budget {
                    epsilon: budget.epsilon / 2.0,
                    ..budget
                };
                let start = match first {
                    true => x.clone(),
                    false => half.start_on_surface(key, x, 1),
                };
                Box::new(settings.pursue(budget, subject, aims.to_vec(), start, true))
            }
            AttackName::Square => {
                let settings = Square {
                    queries: self.steps,
                    ..Square::default()
                };
                let draws = Draws::of(key);
                Box::new(settings.pursue(budget, x, subject.shape, *class, draws))
            }
        }
    }
}

/// One of the runs of an attack.
struct Run<'a> {
    budget: Budget,
    subject: &'a Subject,
    /// The classes that it is aimed at, where it is.
    aims: &'a [usize],
    /// Whether it is the first of these.
    first: bool,
    key: Key,
}
