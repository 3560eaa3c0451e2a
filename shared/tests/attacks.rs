//! What every attack must do, in one table.

use basin_shared::{
    Classifier, Energy, Key,
    attacks::{Budget, GradientAt, Norm, Pgd, energy_attack, fgsm, pgd},
};
use burn::tensor::{Device, Int, Tensor};

/// Two classes: is the left or the right half of the image brighter?
struct Halves;

impl Classifier for Halves {
    fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        let [batch, _, _, width] = x.dims();
        let half = |from| {
            x.clone()
                .narrow(3, from, width / 2)
                .reshape([batch as i32, -1])
                .mean_dim(1)
        };
        Tensor::cat(vec![half(0), half(width / 2)], 1) * 10.0
    }
}

type Attack = Box<dyn Fn(Tensor<4>, Tensor<1, Int>, Budget) -> Tensor<4>>;

fn attacks() -> Vec<(&'static str, Attack)> {
    let energy = |gradient_at| -> Attack {
        Box::new(move |x, y, budget| {
            energy_attack(
                &Halves,
                x,
                &Energy::Joint(y),
                budget,
                gradient_at,
                Key::new(3),
            )
        })
    };
    vec![
        ("fgsm", Box::new(|x, y, budget| fgsm(&Halves, x, y, budget))),
        (
            "pgd",
            Box::new(|x, y, budget| {
                let settings = Pgd {
                    steps: 10,
                    step_size: budget.epsilon / 5.0,
                };
                pgd(&Halves, x, y, budget, settings, Key::new(3))
            }),
        ),
        (
            "energy attack at the clean image",
            energy(GradientAt::Clean),
        ),
        ("energy attack at the start", energy(GradientAt::Start)),
    ]
}

/// Images from uniform noise, with a little more light on the side of their class.
fn images(device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let noise = Key::new(1).uniform([64, 1, 6, 6], device) * 0.9;
    let y: Vec<i64> = Key::new(2)
        .integers(64, 2)
        .into_iter()
        .map(|class| class as i64)
        .collect();
    let left: Vec<f32> = y
        .iter()
        .map(|&class| if class == 0 { 0.1 } else { 0.0 })
        .collect();
    let left = Tensor::<1>::from_floats(left.as_slice(), device).reshape([64, 1, 1, 1]);
    let right = left.clone().neg() + 0.1;
    let light = Tensor::cat(
        vec![left.expand([64, 1, 6, 3]), right.expand([64, 1, 6, 3])],
        3,
    );
    (noise + light, Tensor::from_data(y.as_slice(), device))
}

fn accuracy(x: Tensor<4>, y: Tensor<1, Int>) -> f32 {
    Halves
        .logits(x)
        .argmax(1)
        .squeeze_dim::<1>(1)
        .equal(y)
        .float()
        .mean()
        .into_scalar()
}

#[test]
fn attacks_stay_in_ball_and_box_and_lower_accuracy() {
    let device = Device::flex();
    let (x, y) = images(&device);
    let clean = accuracy(x.clone(), y.clone());
    let l2 = Budget {
        norm: Norm::L2,
        epsilon: 1.0,
    };
    let budgets = [Budget::linf(0.1), l2];
    for (budget, (name, attack)) in budgets
        .into_iter()
        .flat_map(|b| attacks().into_iter().map(move |a| (b, a)))
    {
        let x_adv = attack(x.clone(), y.clone(), budget);
        let spent: f32 = budget.spent(x_adv.clone(), x.clone()).max().into_scalar();
        assert!(
            spent <= 1.0 + 1e-5,
            "{name} leaves the ball: {spent} of its radius"
        );
        let [least, most]: [f32; 2] = [
            x_adv.clone().min().into_scalar(),
            x_adv.clone().max().into_scalar(),
        ];
        assert!(
            least >= 0.0 && most <= 1.0,
            "{name} leaves the box: {least} to {most}"
        );
        let attacked = accuracy(x_adv, y.clone());
        assert!(
            attacked < clean - 0.2,
            "{name}: accuracy {attacked}, clean {clean}"
        );
    }
}

#[test]
fn a_ball_of_radius_zero_holds_only_the_image() {
    let (x, y) = images(&Device::flex());
    for (name, attack) in attacks() {
        let x_adv = attack(x.clone(), y.clone(), Budget::linf(0.0));
        assert_eq!(x_adv.into_data(), x.to_data(), "{name}");
    }
}

/// The median length of a point of an L2 ball of d dimensions is ε · 2^(−1/d).
#[test]
fn an_l2_start_is_uniform_in_the_ball() {
    let x = Tensor::<4>::full([4000, 1, 1, 3], 0.5, &Device::flex());
    let budget = Budget {
        norm: Norm::L2,
        epsilon: 0.4,
    };
    let start = budget.random_start(Key::new(6), x.clone());
    let within = budget
        .spent(start, x)
        .lower_equal_scalar(0.5f32.powf(1.0 / 3.0));
    let share: f32 = within.float().mean().into_scalar();
    assert!((share - 0.5).abs() < 5.0 * 0.5 / 4000f32.sqrt(), "{share}");
}

/// JEAT's printed attack ends with half of the pixels at ±ε and the others uniform between.
#[test]
fn the_energy_attack_ends_half_on_the_balls_surface() {
    let device = Device::flex();
    let x = Tensor::<4>::full([64, 1, 6, 6], 0.5, &device);
    let y = Tensor::<1, Int>::zeros([64], &device);
    let budget = Budget::linf(0.1);
    let x_adv = energy_attack(
        &Halves,
        x,
        &Energy::Joint(y),
        budget,
        GradientAt::Clean,
        Key::new(5),
    );
    // The gradient of E(x, 0) is zero on the right half, where the start stays as it is.
    let left = (x_adv.narrow(3, 0, 3) - 0.5).abs();
    let on_surface: f32 = left
        .greater_equal_scalar(0.0999)
        .float()
        .mean()
        .into_scalar();
    let count = 64.0 * 18.0f32;
    assert!(
        (on_surface - 0.5).abs() < 5.0 * 0.5 / count.sqrt(),
        "{on_surface}"
    );
}
