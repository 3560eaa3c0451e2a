//! Steps by distance: all chains of a grid start from noise and take as many steps as leave a hundredth of
//! it or less.

use basin_shared::{
    Key,
    energy::EnergyKind,
    samplers::{ByDistance, Sampler, SamplerSettings, Start},
};

use super::{Found, Hunt, KEPT};

/// h and the steps of those in a hurry, 20 at most …
const QUICK_PACES: [(f32, usize); 4] = [(0.3, 20), (0.4, 20), (0.4, 15), (0.5, 12)];
/// … and of the others, 120 at most.
const BEST_PACES: [(f32, usize); 4] = [(0.1, 110), (0.15, 70), (0.2, 56), (0.3, 36)];
/// β
const BETAS: [f32; 5] = [0.6, 0.7, 0.8, 0.9, 1.0];
/// Steps without noise at the end, and how far each goes.
const LAST_STEPS: [usize; 2] = [2, 6];
const LAST_H: f32 = 0.3;

/// Settings to draw a class, and the same in few steps; `own` are the card's, where it has any.
pub(crate) fn best(
    hunt: &Hunt,
    own: [Option<SamplerSettings>; 2],
    trials: usize,
    key: Key,
) -> [Found; 2] {
    let [best_key, quick_key] = key.split();
    let [own_best, own_quick] = own;
    [
        among(
            hunt,
            candidates(own_best, &BEST_PACES, trials, best_key),
            best_key,
        ),
        among(
            hunt,
            candidates(own_quick, &QUICK_PACES, trials, quick_key),
            quick_key,
        ),
    ]
}

/// The card's own and others, drawn without repetition.
fn candidates(
    own: Option<SamplerSettings>,
    paces: &[(f32, usize)],
    trials: usize,
    key: Key,
) -> Vec<SamplerSettings> {
    let all = paces.iter().flat_map(|&(h, steps)| {
        BETAS.into_iter().flat_map(move |beta| {
            LAST_STEPS.map(|last_steps| SamplerSettings {
                energy: EnergyKind::Joint,
                steps,
                start: Start::Uniform,
                sampler: Sampler::ByDistance(ByDistance {
                    h,
                    beta,
                    last_steps,
                    last_h: LAST_H,
                }),
            })
        })
    });
    let grid: Vec<_> = all
        .filter(|of_grid| own.as_ref() != Some(of_grid))
        .collect();
    let order = key.fold_in(0).permutation(grid.len());
    let others = order.into_iter().map(|place| grid[place]);
    own.into_iter().chain(others).take(trials).collect()
}

/// The best of some settings, round after round.
fn among(hunt: &Hunt, mut candidates: Vec<SamplerSettings>, key: Key) -> Found {
    let mut found = Vec::new();
    for (round, count) in hunt.rounds(candidates.len()).into_iter().enumerate() {
        let generator = hunt.generator(count);
        let key = key.fold_in(1 + round as u64);
        let draw = |settings: SamplerSettings| {
            let drawn = generator.draw(&settings, key);
            let score = hunt.score(&drawn);
            (drawn, Found { settings, score })
        };
        let mut drawn: Vec<_> = candidates.into_iter().map(draw).collect();
        drawn.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
        tell!("round {}: {count} images of each class", round + 1);
        for (drawn, Found { settings, score }) in &drawn {
            let judged = drawn.judged.expect("there is a judge");
            tell!(
                "  {}: {score:.3}; judge {:.3}, Fréchet {:.3}, diversity {:.2}",
                describe(settings),
                judged.agreement,
                judged.frechet,
                judged.feature_diversity,
            );
        }
        let left = drawn.len().div_ceil(KEPT);
        found = drawn
            .into_iter()
            .take(left)
            .map(|(_, found)| found)
            .collect();
        candidates = found.iter().map(|found| found.settings).collect();
    }
    found.swap_remove(0)
}

fn describe(settings: &SamplerSettings) -> String {
    match &settings.sampler {
        Sampler::ByDistance(sampler) => format!(
            "h {}, β {}, {} steps, {} without noise",
            sampler.h, sampler.beta, settings.steps, sampler.last_steps
        ),
        Sampler::Sgld(_) => "Langevin dynamics".to_owned(),
    }
}
