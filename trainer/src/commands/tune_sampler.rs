//! `basin tune-sampler`: looks for settings with which a model draws and cleans well.
//!
//! Where the card has a table of distances, it is measured anew and samplers go by distance; others are
//! Langevin dynamics. Test images have no part in it: what is real comes from the validation images.

use anyhow::Result;
use basin_shared::{
    Key,
    energy::EnergyKind,
    file::card::ModelCard,
    metrics,
    samplers::{ByDistance, GradientScaling, Sampler, SamplerSettings, Sgld, Start, Step},
    tensors::Frozen,
};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;

use crate::{
    atomic_file::try_out,
    chains, cli,
    data::{self, Images},
    evaluation::{
        accuracy::{self, BATCH},
        blur::{best_width, blur},
        denoiser::Denoiser,
        denoising::{NOISE_STDS, mean_of_pairs},
        distances,
        judge::Judge,
    },
    figures::json::{Figures, JsonReport},
    model,
    search::{self, Hunt},
};

/// Standard deviation of the noise that is taken away.
const NOISE_STD: f32 = NOISE_STDS[2];
/// Chains by distance that clean images: h and steps, and β.
const PACES: [(f32, usize); 6] = [
    (0.1, 30),
    (0.2, 15),
    (0.2, 24),
    (0.3, 8),
    (0.3, 14),
    (0.4, 10),
];
const BETAS: [f32; 2] = [0.9, 1.0];
/// Their last steps without noise, and validation images that are cleaned.
const LAST_STEPS: usize = 2;
const CLEANED: usize = 300;
/// Langevin dynamics that clean images: step sizes, and the most steps.
const STEP_SIZES: [f32; 4] = [0.2, 0.4, 0.8, 1.6];
const LONGEST_CHAIN: usize = 100;

pub(crate) fn run(arguments: cli::TuneSampler, device: &Device) -> Result<()> {
    try_out(&arguments.model)?;
    let report = JsonReport::to(arguments.json.clone())?;
    let mut file = model::read(&arguments.model)?;
    let judge = Judge::read(&arguments.judge, &file)?;
    let (_, validation) = model::data_and_validation(&file, &arguments.data)?;
    let network = file.model(device).frozen();
    let [search_key, denoise_key, table_key] = Key::new(arguments.seed).split();
    if file.card.distances.is_some() || arguments.by_distance {
        let measured = distances::measure(&network, &validation, table_key, device);
        file.card.distances = Some(measured);
    }
    let hunt = Hunt {
        file: &file,
        network: &network,
        distances: file.card.distances.as_ref(),
        validation: &validation,
        real: judge.real(&validation, validation.len(), validation.len()),
        judge: &judge,
        energy: search::energy_of(&network, &validation, device),
        last_round: arguments.images as usize,
        device,
    };
    let trials = arguments.trials as usize;
    let card = &file.card;
    let [best, quick] = match (&card.distances, &card.generation.sampler) {
        (None, Sampler::Sgld(own)) => search::langevin::best(&hunt, *own, trials, search_key),
        _ => {
            let by_distance = |of: &SamplerSettings| matches!(of.sampler, Sampler::ByDistance(_));
            let own = [Some(card.generation), card.quick];
            let own = own.map(|own| own.filter(by_distance));
            search::by_distance::best(&hunt, own, trials, search_key)
        }
    };
    let denoising = match card.distances.is_some() {
        true => sharp_by_distance(&hunt, card, denoise_key),
        false => by_langevin(&network, &card.denoising, &validation, denoise_key, device),
    };
    let (settings, psnr) = denoising;
    file.card.generation = best.settings;
    file.card.quick = Some(quick.settings);
    file.card.denoising = settings;
    model::write(&arguments.model, &file)?;
    let card = &file.card;
    let found = json!({
        "generation": card.generation, "quick": card.quick, "denoising": card.denoising,
    });
    for (name, settings) in [
        ("generation", &card.generation),
        ("quick", card.quick.as_ref().expect("just found")),
        ("denoising", &card.denoising),
    ] {
        let settings = serde_json::to_string(settings).expect("plain data");
        report.tell(&format!("{name}: {settings}"));
    }
    let figures = Figures::from([
        ("generation_score".into(), best.score),
        ("quick_score".into(), quick.score),
        ("denoising_psnr".into(), psnr),
    ]);
    report.write_figures(&file, arguments.seed, found, &figures)
}

/// The chain by distance whose images are most like real ones to the judge, among those that come as near
/// to the clean ones as the best blur does; of all that do not, the nearest. With it, its PSNR in dB.
fn sharp_by_distance(hunt: &Hunt, card: &ModelCard, key: Key) -> (SamplerSettings, f64) {
    let [noise_key, chain_key] = key.split();
    let indices: Vec<usize> = (0..CLEANED.min(hunt.validation.len())).collect();
    let clean = hunt.validation.batch(&indices, hunt.device).0;
    let noisy = data::add_noise(clean.clone(), NOISE_STD, noise_key);
    let host = |x: &Tensor<4>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    let (pixels, shape) = (host(&noisy), hunt.validation.shape());
    let width = best_width(&pixels, &host(&clean), shape);
    let blurred = TensorData::new(blur(&pixels, shape, width), clean.dims());
    let blurred = Tensor::from_data(blurred, hunt.device);
    let enough = mean_of_pairs(&blurred, &clean, metrics::psnr);
    let denoiser = Denoiser {
        network: hunt.network,
        card,
    };
    let all = PACES.iter().flat_map(|&(h, steps)| {
        BETAS.map(|beta| SamplerSettings {
            energy: EnergyKind::Marginal,
            steps,
            start: Start::Uniform,
            sampler: Sampler::ByDistance(ByDistance {
                h,
                beta,
                last_steps: LAST_STEPS,
                last_h: h,
            }),
        })
    });
    let measured = all.map(|settings| {
        let x = denoiser.run(&settings, &noisy, chain_key, |_| {});
        let psnr = mean_of_pairs(&x, &clean, metrics::psnr);
        let frechet = hunt.judge.frechet(&hunt.judge.look(&host(&x)), &hunt.real);
        tell!("cleaning by {settings:?}: {psnr:.2} dB, Fréchet {frechet:.3}; a blur has {enough:.2} dB");
        (psnr, frechet, settings)
    });
    let best = measured.min_by(|a, b| {
        let short = |psnr: f64| (enough - psnr).max(0.0);
        short(a.0).total_cmp(&short(b.0)).then(a.1.total_cmp(&b.1))
    });
    let (psnr, _, settings) = best.expect("there are some");
    (settings, psnr)
}

/// The step size and the number of steps that gain most PSNR on the first validation images, and that PSNR in
/// dB.
fn by_langevin(
    network: &Frozen,
    card: &SamplerSettings,
    validation: &Images,
    key: Key,
    device: &Device,
) -> (SamplerSettings, f64) {
    let [noise_key, chain_key] = key.split();
    let indices: Vec<usize> = (0..BATCH.min(validation.len())).collect();
    let clean = validation.batch(&indices, device).0;
    let noisy = data::add_noise(clean.clone(), NOISE_STD, noise_key);
    let y = accuracy::predictions(network, noisy.clone());
    let [_, channels, height, width] = noisy.dims();
    let mut best = (mean_of_pairs(&noisy, &clean, metrics::psnr), *card);
    for step_size in STEP_SIZES {
        let sampler = Sgld {
            step_size,
            noise_std: 0.0,
            friction: 0.0,
            gradient: GradientScaling::Normalize,
            clamp: true,
        };
        let walk = Step::Sgld(sampler);
        let mut chains = chains::chains(walk, card.energy, &y, &noisy, chain_key);
        for steps in 1..=LONGEST_CHAIN {
            let shape = [channels, height, width];
            let x = chains::advance(network, &mut chains, shape, 1, device, |_| {});
            let psnr = mean_of_pairs(&x, &clean, metrics::psnr);
            if psnr > best.0 {
                let settings = SamplerSettings {
                    steps,
                    sampler: Sampler::Sgld(sampler),
                    ..*card
                };
                best = (psnr, settings);
            }
        }
    }
    tell!(
        "denoising: {:.2} dB on {} validation images",
        best.0,
        indices.len()
    );
    let (psnr, settings) = best;
    (settings, psnr)
}
