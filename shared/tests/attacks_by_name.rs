//! Every attack that has a name, on a network whose decision boundaries are planes: how far the nearest one is is known
//! exactly, so that nothing within less can be right and what is found within more must be.

use basin_shared::{
    Classifier, Key,
    attacks::{
        AttackError, AttackName, Budget, Event, Found, NamedAttack, Norm, Subject, named, pursue,
    },
    classifier::Evaluation,
    energy::Objective,
};

const SHAPE: [usize; 3] = [3, 6, 6];
const PIXELS: usize = 108;
const CLASSES: usize = 5;
const IMAGES: usize = 24;

/// f = W x, `[classes, pixels]`.
struct Planes(Vec<f32>);

impl Planes {
    fn new() -> Self {
        Self(Key::new(1).normals(CLASSES * PIXELS))
    }

    fn row(&self, class: usize) -> &[f32] {
        &self.0[class * PIXELS..][..PIXELS]
    }

    /// How far the nearest image of another class is.
    fn distance(&self, subject: &Subject, norm: Norm) -> f32 {
        let to = |other: usize| {
            let pairs = self.row(subject.class).iter().zip(self.row(other));
            let normal: Vec<f32> = pairs.map(|(a, b)| a - b).collect();
            (subject.logits[subject.class] - subject.logits[other]) / norm.dual_of(&normal)
        };
        let others = (0..CLASSES).filter(|&class| class != subject.class);
        others.map(to).fold(f32::INFINITY, f32::min)
    }
}

impl Classifier for Planes {
    fn logits(&self, x: &[f32], _: usize) -> Vec<f32> {
        let images = x.chunks_exact(PIXELS);
        let of = |image: &[f32]| -> Vec<f32> {
            let rows = self.0.chunks_exact(PIXELS);
            let dot = |row: &[f32]| -> f64 {
                row.iter()
                    .zip(image)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x))
                    .sum()
            };
            rows.map(|row| dot(row) as f32).collect()
        };
        images.flat_map(of).collect()
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        let logits = self.logits(x, batch);
        let mut gradient = Vec::new();
        for (image, logits) in logits.chunks_exact(CLASSES).enumerate() {
            let mut slope = [0.0; CLASSES];
            objective.slope(image, logits, &mut slope);
            let of = |pixel| {
                let classes = slope.iter().enumerate();
                classes
                    .map(|(class, slope)| slope * self.0[class * PIXELS + pixel])
                    .sum::<f32>()
            };
            gradient.extend((0..PIXELS).map(of));
        }
        Evaluation { logits, gradient }
    }
}

/// Far from black and white, where the pixel range would be in the way.
fn subjects() -> Vec<Subject> {
    let network = Planes::new();
    let images = Key::new(2).uniforms(IMAGES * PIXELS);
    let subject = |x: &[f32]| {
        let x: Vec<f32> = x.iter().map(|x| 0.4 + 0.2 * x).collect();
        let logits = network.logits(&x, 1);
        Subject {
            class: named(&logits),
            x,
            shape: SHAPE,
            logits,
        }
    };
    images.chunks_exact(PIXELS).map(subject).collect()
}

/// What an attack finds when each image may change by so many times the distance of its nearest boundary.
fn found(name: AttackName, norm: Norm, times: f32, batch: usize) -> Vec<(Budget, Found)> {
    let (network, subjects) = (Planes::new(), subjects());
    let budgets: Vec<Budget> = subjects
        .iter()
        .map(|subject| Budget {
            norm,
            epsilon: network.distance(subject, norm) * times,
        })
        .collect();
    let attack = NamedAttack {
        steps: match name {
            AttackName::Square => 1500,
            AttackName::Cw => 300,
            other => other.once().steps,
        },
        ..name.once()
    };
    let pursuits = subjects
        .iter()
        .zip(&budgets)
        .enumerate()
        .map(|(i, (subject, budget))| {
            attack.pursue(*budget, subject, Key::new(3).fold_in(i as u64))
        });
    let mut all = vec![None; IMAGES];
    pursue(&network, batch, pursuits, |event| {
        if let Event::Ended {
            place,
            found,
            answers,
        } = event
        {
            assert!(answers <= attack.answers(CLASSES), "{name:?}: {answers}");
            all[place] = Some(found);
        }
    });
    let all = all
        .into_iter()
        .map(|found| found.expect("an end for each image"));
    budgets.into_iter().zip(all).collect()
}

/// All attacks in both norms, where they are defined.
fn cases() -> impl Iterator<Item = (AttackName, Norm)> {
    let pairs = AttackName::ALL
        .into_iter()
        .flat_map(|name| [(name, Norm::Linf), (name, Norm::L2)]);
    pairs.filter(|(name, norm)| name.check(*norm, CLASSES).is_ok())
}

fn share_fooled(found: &[(Budget, Found)]) -> f64 {
    found.iter().filter(|(_, found)| found.fooled).count() as f64 / found.len() as f64
}

#[test]
fn with_three_times_what_it_takes_every_attack_fools_and_stays_within() {
    let network = Planes::new();
    for (name, norm) in cases() {
        let found = found(name, norm, 3.0, 7);
        let share = share_fooled(&found);
        // TRADES' divergence grows on both sides of an image, and half of all starts lie on that where the class
        // becomes surer.
        let least = if name == AttackName::Tpgd { 0.25 } else { 0.75 };
        assert!(share >= least, "{name:?} in {norm:?} fools {share}");
        for ((budget, found), subject) in found.iter().zip(subjects()) {
            let (x_adv, fooled) = (&found.x_adv, found.fooled);
            assert!(
                x_adv.iter().all(|x| (0.0..=1.0).contains(x)),
                "{name:?} in {norm:?}"
            );
            let spent = budget.spent(x_adv, &subject.x, 1)[0];
            let other = named(&network.logits(x_adv, 1)) != subject.class;
            assert!(
                !fooled || (other && spent < 1.0 + 1e-4),
                "{name:?} in {norm:?}: {spent}"
            );
        }
    }
}

#[test]
fn with_less_than_it_takes_none_fools() {
    for (name, norm) in cases() {
        assert_eq!(
            share_fooled(&found(name, norm, 0.99, 9)),
            0.0,
            "{name:?} in {norm:?}"
        );
        assert_eq!(
            share_fooled(&found(name, norm, 0.0, 9)),
            0.0,
            "{name:?} in {norm:?}"
        );
    }
}

/// Those that are aimed at each class need hardly more than the distance itself.
#[test]
fn with_little_more_than_it_takes_the_strong_ones_fool_every_image() {
    for norm in [Norm::Linf, Norm::L2] {
        for name in [AttackName::ApgdT, AttackName::Fab, AttackName::FabT] {
            let share = share_fooled(&found(name, norm, 1.02, 8));
            assert_eq!(share, 1.0, "{name:?} in {norm:?}");
        }
    }
}

#[test]
fn attacks_that_look_for_the_nearest_image_find_it() {
    let network = Planes::new();
    for (name, norm) in [
        (AttackName::DeepFool, Norm::Linf),
        (AttackName::DeepFool, Norm::L2),
        (AttackName::Cw, Norm::L2),
    ] {
        for ((_, found), subject) in found(name, norm, 3.0, 8).iter().zip(subjects()) {
            let ratio = norm.between(&subject.x, &found.x_adv) / network.distance(&subject, norm);
            assert!(
                (1.0..1.06).contains(&ratio),
                "{name:?} in {norm:?}: {ratio} times as far"
            );
        }
    }
}

/// Each image has its own random numbers.
#[test]
fn how_many_are_attacked_together_changes_nothing() {
    for (name, norm) in cases() {
        assert_eq!(
            found(name, norm, 1.5, 1),
            found(name, norm, 1.5, 11),
            "{name:?} in {norm:?}"
        );
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let two = |name: AttackName| name.check(Norm::Linf, 2).map_err(|error| error.to_string());
    assert_eq!(two(AttackName::ApgdCe), Ok(()));
    let said = two(AttackName::ApgdT).unwrap_err();
    assert!(
        said.starts_with("apgd-t compares 4 classes, the model has 2"),
        "{said}"
    );
    assert_eq!(
        AttackName::Cw.check(Norm::Linf, 10),
        Err(AttackError::Norm {
            name: AttackName::Cw,
            norm: Norm::L2
        })
    );
}
