//! Chains of the trainer: where they start, and where they get to.

use basin_shared::{
    Classifier, Key, ModelFile,
    energy::EnergyKind,
    samplers::{ClassGaussian, Distances, HostChain, SamplerSettings, Sgld, Start, Step},
    tensors::{OnTensors, from_host, to_host},
};
use burn::tensor::{Device, Tensor};

/// Starts of chains for the classes `y`, images of so many channels, rows and columns; on the host.
///
/// # Panics
/// If class Gaussians are asked for and not given.
pub(crate) fn starts(
    start: Start,
    gaussian: Option<&ClassGaussian>,
    shape: [usize; 3],
    y: &[u8],
    key: Key,
) -> Vec<f32> {
    match start.spread() {
        Some(spread) => {
            let gaussian = gaussian.expect("whoever starts chains there has the class Gaussians");
            let classes: Vec<usize> = y.iter().map(|&class| class.into()).collect();
            gaussian.sample(key, &classes, spread)
        }
        None => key.uniforms(y.len() * shape.iter().product::<usize>()),
    }
}

/// The same as a tensor, `[classes, channels, height, width]`.
pub(crate) fn start(
    start: Start,
    gaussian: Option<&ClassGaussian>,
    shape: [usize; 3],
    y: &[u8],
    key: Key,
    device: &Device,
) -> Tensor<4> {
    let [channels, height, width] = shape;
    let images = starts(start, gaussian, shape, y, key);
    from_host(images, [y.len(), channels, height, width], device)
}

/// What the model of a file draws of the classes `y` by these settings, `[classes, channels, height, width]`; `observe` is
/// told the energies before each step.
pub(crate) fn draw(
    file: &ModelFile,
    network: &impl Classifier,
    settings: &SamplerSettings,
    y: &[u8],
    key: Key,
    device: &Device,
    observe: impl FnMut(Vec<f32>),
) -> Tensor<4> {
    let [start_key, chain_key] = key.split();
    let gaussian = Some(file.class_gaussian());
    let shape = file.card.architecture.image();
    let x = start(settings.start, gaussian, shape, y, start_key, device);
    let distances = file.card.distances.as_ref();
    run_chains(network, settings, distances, y, x, chain_key, observe)
}

/// What is to be told of where chains have got to: that they ran away, or left the pixels' range by more than a few
/// steps of 255, as chains do whose sampler does not clamp.
pub(crate) fn told(x: &[f32], images: usize) -> Option<String> {
    const SLACK: f32 = 0.02;
    let size = x.len() / images.max(1);
    let of_images = x.chunks(size.max(1));
    let lost = of_images.filter(|image| image.iter().any(|v| !v.is_finite()));
    let lost = lost.count();
    if lost > 0 {
        return Some(format!(
            "{lost} of {images} chains ran away: their images hold numbers that are not finite; smaller steps \
             (--step-size, --h) may keep them"
        ));
    }
    let low = x.iter().copied().fold(f32::INFINITY, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (low < -SLACK || high > 1.0 + SLACK).then(|| {
        format!(
            "the images reach from {low} to {high}, pixels from 0 to 1: the picture shows what lies outside as \
             black or white, as the sampler does not clamp"
        )
    })
}

/// The step of chains by these settings, which a card recommends or might.
///
/// # Panics
/// If it goes by distance and there is no table: a file that recommends it has one.
pub(crate) fn walk(settings: &SamplerSettings, distances: Option<&Distances>) -> Step {
    let walk = settings.walk(distances);
    walk.expect("who goes by distance has a table")
}

/// Chains on their way: the settings' energy, the classes `y`, the images `x`.
pub(crate) fn chains(
    walk: Step,
    energy: EnergyKind,
    y: &[u8],
    x: &Tensor<4>,
    key: Key,
) -> HostChain {
    let x = to_host(x.clone());
    HostChain {
        walk,
        noise: key.into(),
        energy,
        classes: y.iter().map(|&class| class.into()).collect(),
        mixture: None,
        velocity: vec![0.0; x.len()],
        x,
        step: 0,
    }
}

/// The images that chains of Langevin dynamics reach in so many steps from `start`, where nobody looks on: on the
/// network's device, or as [`advance`] goes.
pub(crate) fn reach(
    model: &impl OnTensors,
    sgld: Sgld,
    energy: EnergyKind,
    y: &[u8],
    start: Tensor<4>,
    key: Key,
    steps: usize,
) -> Tensor<4> {
    let classes = y.iter().map(|&class| class.into()).collect();
    let objective = energy.of(classes);
    let there = model.sampled(&sgld, &*objective, start.clone(), key, steps);
    there.unwrap_or_else(|| {
        let ([_, shape @ ..], device) = (start.dims(), start.device());
        let mut chains = chains(Step::Sgld(sgld), energy, y, &start, key);
        advance(model, &mut chains, shape, steps, &device, |_| {})
    })
}

/// Has chains take their next steps, on the device for the network and here for the rest; `observe` is told
/// the energies before each. Returns where they are, `[batch, channels, height, width]`.
pub(crate) fn advance(
    model: &impl Classifier,
    dynamics: &mut HostChain,
    [channels, height, width]: [usize; 3],
    steps: usize,
    device: &Device,
    mut observe: impl FnMut(Vec<f32>),
) -> Tensor<4> {
    let batch = dynamics.classes.len();
    let objective = dynamics.objective();
    let mut frame = dynamics.frame();
    for _ in 0..steps {
        let evaluation = model.evaluate(&dynamics.x, batch, &*objective);
        observe(dynamics.energies(&evaluation.logits));
        dynamics.step(evaluation, &mut frame);
        frame.logits.clear();
    }
    let shape = [batch, channels, height, width];
    from_host(dynamics.x.clone(), shape, device)
}

/// Runs chains as the settings say; `observe` is told the energies before each step.
pub(crate) fn run_chains(
    model: &impl Classifier,
    settings: &SamplerSettings,
    distances: Option<&Distances>,
    y: &[u8],
    x: Tensor<4>,
    key: Key,
    observe: impl FnMut(Vec<f32>),
) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let walk = walk(settings, distances);
    let mut dynamics = chains(walk, settings.energy, y, &x, key);
    let shape = [channels, height, width];
    advance(
        model,
        &mut dynamics,
        shape,
        settings.steps,
        &x.device(),
        observe,
    )
}
