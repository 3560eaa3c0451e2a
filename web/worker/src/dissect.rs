//! One step taken apart: what the gradient makes of an image, and what the noise does.

use basin_protocol::Dissection;
use basin_shared::samplers::{HostChain, Step};

use crate::{climb::Climb, engine::Network};

/// Of all images of a batch: x, the gradient, what the step adds but for noise, the noise, and x after it.
pub(crate) type Parts = [Vec<f32>; 5];

/// A step of a chain, with the numbers of one image. It begins at rest: of momentum, nothing is seen.
pub(crate) async fn chain(
    network: &impl Network,
    chain: HostChain,
    image: usize,
) -> Result<(Dissection, Parts), String> {
    let objective = chain.objective();
    let evaluation = network
        .evaluate(&chain.x, chain.classes.len(), &*objective)
        .await?;
    let energy = chain.energies(&evaluation.logits)[image];
    let mut step = match &chain.walk {
        Step::Sgld(sgld) => Dissection {
            energy,
            distance: None,
            factor: Some(sgld.step_size),
            noise_std: sgld.noise_std,
        },
        Step::ByDistance(annealing) => {
            let [h, spread] = annealing.shares(chain.step);
            let size = chain.x.len() / chain.classes.len();
            let alone = annealing.observation.is_none();
            let distance = annealing.table.distance(energy);
            Dissection {
                energy,
                distance: alone.then_some(distance),
                factor: alone.then(|| h * annealing.table.factor(energy)),
                noise_std: spread * distance / (size as f32).sqrt(),
            }
        }
    };
    let mut still = chain.clone();
    match &mut still.walk {
        Step::Sgld(sgld) => sgld.noise_std = 0.0,
        // What is taken away is all that the step goes.
        Step::ByDistance(annealing) => annealing.sampler.beta = 1.0,
    }
    let after = |mut chain: HostChain| {
        let mut frame = chain.frame();
        chain.step(evaluation.clone(), &mut frame);
        chain.x
    };
    let x = chain.x.clone();
    let (known, count) = (step.factor.is_none(), chain.classes.len());
    let (still, next) = (after(still), after(chain));
    let (drift, noise) = (difference(&still, &x), difference(&next, &still));
    if known {
        // What is known tells how much noise there is, rather than the energy.
        let of_image = noise.chunks(noise.len() / count).nth(image).unwrap_or(&[]);
        let square: f32 = of_image.iter().map(|noise| noise * noise).sum();
        step.noise_std = (square / of_image.len() as f32).sqrt();
    }
    Ok((step, [x, evaluation.gradient, drift, noise, next]))
}

/// A step of an attack.
pub(crate) async fn attack(
    network: &impl Network,
    mut climb: Climb,
    image: usize,
) -> Result<(Dissection, Parts), String> {
    let batch = climb.classes.len();
    let objective = climb.energy.of(climb.classes.clone());
    let evaluation = network.evaluate(&climb.x_adv, batch, &*objective).await?;
    let classes = evaluation.logits.len() / batch;
    let logits = &evaluation.logits[image * classes..][..classes];
    let step = Dissection {
        energy: climb.energy.of_logits(logits, climb.classes[image]),
        distance: None,
        factor: None,
        noise_std: 0.0,
    };
    let x = climb.x_adv.clone();
    climb.step(&evaluation.gradient);
    let next = climb.x_adv;
    let drift = difference(&next, &x);
    let noise = vec![0.0; drift.len()];
    Ok((step, [x, evaluation.gradient, drift, noise, next]))
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
