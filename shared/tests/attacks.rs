//! What every attack must do, in one table.

use basin_shared::{
    Classifier, Key,
    attacks::{Attack, Budget, GradientAt, Norm, Pgd},
    classifier::Evaluation,
    energy::{Conditional, Joint, Objective},
};

const IMAGES: usize = 64;
const SIZE: usize = 6;
const PIXELS: usize = SIZE * SIZE;

/// Two classes: is the left or the right half of the image brighter?
struct Halves;

/// Whether a pixel is of the right half.
fn is_right(pixel: usize) -> usize {
    (pixel % SIZE) / (SIZE / 2)
}

const SLOPE: f32 = 10.0 / (PIXELS / 2) as f32;

impl Classifier for Halves {
    fn logits(&self, x: &[f32], _: usize) -> Vec<f32> {
        let mut logits = Vec::new();
        for image in x.chunks_exact(PIXELS) {
            let mut sums = [0.0; 2];
            for (pixel, x) in image.iter().enumerate() {
                sums[is_right(pixel)] += SLOPE * x;
            }
            logits.extend(sums);
        }
        logits
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        let logits = self.logits(x, batch);
        let mut gradient = Vec::new();
        for (image, logits) in logits.chunks_exact(2).enumerate() {
            let mut slope = [0.0; 2];
            objective.slope(image, logits, &mut slope);
            gradient.extend((0..PIXELS).map(|pixel| SLOPE * slope[is_right(pixel)]));
        }
        Evaluation { logits, gradient }
    }
}

type OfBudget = fn(Budget, &[f32], &[usize]) -> Vec<f32>;

fn attacks() -> [(&'static str, OfBudget); 5] {
    fn energy(at: GradientAt, budget: Budget, x: &[f32], classes: &[usize]) -> Vec<f32> {
        let objective = Joint {
            classes: classes.to_vec(),
        };
        Attack::energy(budget, &objective, at).run(&Halves, x, classes.len(), Key::new(3))
    }
    fn pgd(budget: Budget) -> Pgd {
        Pgd {
            steps: 10,
            step_size: budget.epsilon / 5.0,
        }
    }
    [
        ("fgsm", |budget, x, classes| {
            let objective = Conditional {
                classes: classes.to_vec(),
            };
            Attack::fgsm(budget, &objective).run(&Halves, x, classes.len(), Key::new(3))
        }),
        ("pgd", |budget, x, classes| {
            let objective = Conditional {
                classes: classes.to_vec(),
            };
            let attack = Attack::pgd(budget, &objective, pgd(budget));
            attack.run(&Halves, x, classes.len(), Key::new(3))
        }),
        ("targeted pgd", |budget, x, classes| {
            let objective = Conditional {
                classes: classes.iter().map(|class| 1 - class).collect(),
            };
            let attack = Attack {
                targeted: true,
                ..Attack::pgd(budget, &objective, pgd(budget))
            };
            attack.run(&Halves, x, classes.len(), Key::new(3))
        }),
        ("energy attack at the clean image", |budget, x, classes| {
            energy(GradientAt::Clean, budget, x, classes)
        }),
        ("energy attack at the start", |budget, x, classes| {
            energy(GradientAt::Start, budget, x, classes)
        }),
    ]
}

/// Images from uniform noise, with a little more light on the side of their class.
fn images() -> (Vec<f32>, Vec<usize>) {
    let classes = Key::new(2).integers(IMAGES, 2);
    let noise = Key::new(1).uniforms(IMAGES * PIXELS);
    let light = |i: usize| match is_right(i % PIXELS) == classes[i / PIXELS] {
        true => 0.1,
        false => 0.0,
    };
    let lit = noise.iter().enumerate().map(|(i, x)| x * 0.9 + light(i));
    (lit.collect(), classes)
}

fn accuracy(x: &[f32], classes: &[usize]) -> f32 {
    let logits = Halves.logits(x, classes.len());
    let named = logits.chunks_exact(2).map(|f| usize::from(f[1] > f[0]));
    let right = named.zip(classes).filter(|(named, class)| named == *class);
    right.count() as f32 / classes.len() as f32
}

#[test]
fn attacks_stay_in_ball_and_box_and_lower_accuracy() {
    let (x, classes) = images();
    let clean = accuracy(&x, &classes);
    let l2 = Budget {
        norm: Norm::L2,
        epsilon: 1.0,
    };
    for budget in [Budget::linf(0.1), l2] {
        for (name, attack) in attacks() {
            let x_adv = attack(budget, &x, &classes);
            let spent = budget.spent(&x_adv, &x, IMAGES);
            let most = spent.into_iter().fold(0.0, f32::max);
            assert!(
                most <= 1.0 + 1e-5,
                "{name} leaves the ball: {most} of its radius"
            );
            assert!(
                x_adv.iter().all(|x| (0.0..=1.0).contains(x)),
                "{name} leaves the box"
            );
            let attacked = accuracy(&x_adv, &classes);
            assert!(
                attacked < clean - 0.2,
                "{name}: accuracy {attacked}, clean {clean}"
            );
        }
    }
}

#[test]
fn a_ball_of_radius_zero_holds_only_the_image() {
    let (x, classes) = images();
    for norm in [Norm::Linf, Norm::L2] {
        let budget = Budget { norm, epsilon: 0.0 };
        for (name, attack) in attacks() {
            assert_eq!(attack(budget, &x, &classes), x, "{name}, {norm:?}");
        }
    }
}

/// Whoever has to await the network asks and takes: it is the same attack.
#[test]
fn an_attempt_by_hand_is_the_attack_run_through() {
    let (x, classes) = images();
    let objective = Conditional { classes };
    let pgd = Pgd {
        steps: 4,
        step_size: 0.03,
    };
    let attack = Attack::pgd(Budget::linf(0.1), &objective, pgd);
    let mut attempt = attack.begin(&x, IMAGES, Key::new(3));
    let mut asked = 0;
    while let Some(point) = attempt.asks() {
        let found = Halves.evaluate(point, IMAGES, &objective);
        attempt.take(&found);
        asked += 1;
    }
    assert_eq!(asked, 4);
    assert_eq!(attempt.end(), attack.run(&Halves, &x, IMAGES, Key::new(3)));
}

/// The median length of a point of an L2 ball of d dimensions is ε · 2^(−1/d).
#[test]
fn an_l2_start_is_uniform_in_the_ball() {
    let count = 4000;
    let x = vec![0.5; count * 3];
    let budget = Budget {
        norm: Norm::L2,
        epsilon: 0.4,
    };
    let start = budget.random_start(Key::new(6), &x, count);
    let spent = budget.spent(&start, &x, count);
    let within = spent.iter().filter(|&&s| s <= 0.5f32.powf(1.0 / 3.0));
    let share = within.count() as f32 / count as f32;
    assert!(
        (share - 0.5).abs() < 5.0 * 0.5 / (count as f32).sqrt(),
        "{share}"
    );
}

/// JEAT's printed attack ends with half of the pixels at ±ε and the others uniform between.
#[test]
fn the_energy_attack_ends_half_on_the_balls_surface() {
    let x = vec![0.5; IMAGES * PIXELS];
    let objective = Joint {
        classes: vec![0; IMAGES],
    };
    let attack = Attack::energy(Budget::linf(0.1), &objective, GradientAt::Clean);
    let x_adv = attack.run(&Halves, &x, IMAGES, Key::new(5));
    // The gradient of E(x, 0) is zero on the right half, where the start stays as it is.
    let left = x_adv
        .iter()
        .enumerate()
        .filter(|(i, _)| is_right(i % PIXELS) == 0);
    let on_surface = left.filter(|(_, x)| (**x - 0.5).abs() >= 0.0999).count() as f32;
    let count = (IMAGES * PIXELS / 2) as f32;
    let share = on_surface / count;
    assert!((share - 0.5).abs() < 5.0 * 0.5 / count.sqrt(), "{share}");
}
