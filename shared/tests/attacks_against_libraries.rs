//! Attacks against the numbers of torchattacks, foolbox and pyautoattack (tests/reference/attacks.py), on a network of
//! one hidden layer that is computed in double precision on both sides. Attacks themselves are in single precision
//! here, and the sign of a gradient that is about zero may differ, so what is compared is the share of pixels that
//! differ, and the losses.

use std::collections::BTreeMap;

use basin_shared::{
    Classifier,
    attacks::{
        Apgd, Attack, Budget, CarliniWagner, DeepFool, Draws, Fab, Mim, Norm, Pgd, Pursuit, Search,
        Square, Subject, named,
    },
    classifier::Evaluation,
    energy::{Conditional, Dlr, Expected, Objective, TargetedDlr, ranked, softmax},
};
use serde::Deserialize;

const SHAPE: [usize; 3] = [3, 10, 10];
const PIXELS: usize = 300;
const IMAGES: usize = 4;
const HIDDEN: usize = 12;
const CLASSES: usize = 6;
const EVERY: usize = 11;

#[derive(Deserialize)]
struct Reference {
    logits: Vec<f64>,
    classes: Vec<usize>,
    apgd: BTreeMap<String, Vec<Ascent>>,
    fab: BTreeMap<String, Vec<Nearest>>,
    fab_t: BTreeMap<String, Vec<Nearest>>,
    square: BTreeMap<String, Vec<BySquares>>,
    deep_fool: Vec<Nearest>,
    carlini_wagner: Vec<Nearest>,
    torchattacks: Ends,
}

/// Some pixels of the images that attacks of one size of step end with.
#[derive(Deserialize)]
struct Ends {
    tpgd: Vec<Vec<f64>>,
    mim: Vec<Vec<f64>>,
}

/// The loss of every iterate, and some pixels of each fifteenth.
#[derive(Deserialize)]
struct Ascent {
    losses: Vec<f64>,
    iterates: Vec<Vec<f64>>,
}

/// How far the nearest image of another class is, and some pixels of it and of places on the way.
#[derive(Deserialize)]
struct Nearest {
    distance: f64,
    found: Vec<f64>,
    places: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct BySquares {
    draws: Vec<usize>,
    queries: usize,
    margin: f64,
    found: Vec<f64>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/reference/attacks.json")).unwrap()
}

fn chirp(count: usize, phase: f64) -> Vec<f64> {
    let at = |i| (0.7 * i as f64 * i as f64 + phase).sin();
    (0..count).map(at).collect()
}

struct Tiny {
    hidden: Vec<f64>,
    output: Vec<f64>,
    bias: Vec<f64>,
}

impl Tiny {
    fn new() -> Self {
        let scaled = |count, phase, scale: f64| -> Vec<f64> {
            chirp(count, phase).into_iter().map(|v| v * scale).collect()
        };
        Self {
            hidden: scaled(HIDDEN * PIXELS, 0.5, 0.25),
            output: scaled(CLASSES * HIDDEN, 1.5, 2.0),
            bias: scaled(CLASSES, 2.5, 0.5),
        }
    }

    fn units(&self, image: &[f32]) -> Vec<f64> {
        let rows = self.hidden.chunks_exact(PIXELS);
        let dot = |row: &[f64]| {
            row.iter()
                .zip(image)
                .map(|(w, x)| w * f64::from(*x))
                .sum::<f64>()
        };
        rows.map(|row| dot(row).tanh()).collect()
    }

    fn logits_of(&self, units: &[f64]) -> Vec<f32> {
        let rows = self.output.chunks_exact(HIDDEN).zip(&self.bias);
        let dot = |row: &[f64]| row.iter().zip(units).map(|(w, u)| w * u).sum::<f64>();
        rows.map(|(row, bias)| (dot(row) + bias) as f32).collect()
    }
}

impl Classifier for Tiny {
    fn logits(&self, x: &[f32], _: usize) -> Vec<f32> {
        let images = x.chunks_exact(PIXELS);
        images
            .flat_map(|image| self.logits_of(&self.units(image)))
            .collect()
    }

    fn evaluate(&self, x: &[f32], _: usize, objective: &dyn Objective) -> Evaluation {
        let (mut logits, mut gradient) = (Vec::new(), Vec::new());
        for (place, image) in x.chunks_exact(PIXELS).enumerate() {
            let units = self.units(image);
            let f = self.logits_of(&units);
            let mut slope = [0.0; CLASSES];
            objective.slope(place, &f, &mut slope);
            let mut of_image = vec![0.0; PIXELS];
            for (unit, value) in units.iter().enumerate() {
                let back = |(class, slope): (usize, &f32)| {
                    f64::from(*slope) * self.output[class * HIDDEN + unit]
                };
                let back: f64 = slope.iter().enumerate().map(back).sum();
                let back = back * (1.0 - value * value);
                let weights = &self.hidden[unit * PIXELS..][..PIXELS];
                for (g, w) in of_image.iter_mut().zip(weights) {
                    *g += back * w;
                }
            }
            gradient.extend(of_image.into_iter().map(|g| g as f32));
            logits.extend(f);
        }
        Evaluation { logits, gradient }
    }
}

fn images() -> Vec<f32> {
    let values = chirp(IMAGES * PIXELS, 3.5).into_iter();
    values.map(|v| (0.5 + 0.5 * v) as f32).collect()
}

fn subjects() -> Vec<Subject> {
    let (x, network) = (images(), Tiny::new());
    let subject = |x: &[f32]| {
        let logits = network.logits(x, 1);
        Subject {
            x: x.to_vec(),
            shape: SHAPE,
            class: named(&logits),
            logits,
        }
    };
    x.chunks_exact(PIXELS).map(subject).collect()
}

fn budget(norm: &str) -> Budget {
    match norm {
        "Linf" => Budget::linf(0.009),
        "L2" => Budget {
            norm: Norm::L2,
            epsilon: 0.12,
        },
        other => panic!("norm {other}"),
    }
}

/// Every image that a pursuit asks about, with the logits there, and what it ends with.
fn follow<P: Pursuit>(pursuit: &mut P) -> Vec<(Vec<f32>, Vec<f32>)> {
    let (network, mut asked) = (Tiny::new(), Vec::new());
    while let Some(x) = pursuit.asks().map(<[f32]>::to_vec) {
        let (logits, gradient) = match pursuit.objective() {
            None => (network.logits(&x, 1), Vec::new()),
            Some(objective) => {
                let found = network.evaluate(&x, 1, objective);
                (found.logits, found.gradient)
            }
        };
        pursuit.take(&logits, &gradient);
        asked.push((x, logits));
    }
    asked
}

/// The share of kept pixels that are off by more than `far`.
fn share_off(found: &[f32], expected: &[f64], far: f64) -> f64 {
    let pairs: Vec<_> = found.iter().step_by(EVERY).zip(expected).collect();
    assert_eq!(pairs.len(), expected.len());
    let off = pairs
        .iter()
        .filter(|(a, b)| (f64::from(**a) - **b).abs() > far);
    off.count() as f64 / pairs.len() as f64
}

#[test]
fn the_network_is_the_references() {
    let reference = reference();
    let logits = Tiny::new().logits(&images(), IMAGES);
    for (found, expected) in logits.iter().zip(&reference.logits) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{found}, {expected}"
        );
    }
    let classes: Vec<usize> = subjects().iter().map(|subject| subject.class).collect();
    assert_eq!(classes, reference.classes);
}

/// The start that the reference has too.
fn start(budget: Budget) -> Vec<Vec<f32>> {
    let draws = chirp(IMAGES * PIXELS, 4.5);
    let pairs = draws.chunks_exact(PIXELS).zip(subjects());
    let start = |(draw, subject): (&[f64], Subject)| {
        let draw: Vec<f32> = draw.iter().map(|&d| d as f32).collect();
        let size = budget.norm.of(&draw);
        let moved = draw
            .iter()
            .zip(&subject.x)
            .map(|(d, x)| x + budget.epsilon * d / size);
        moved.map(|x| x.clamp(0.0, 1.0)).collect()
    };
    pairs.map(start).collect()
}

/// Every loss until the image is fooled, where we end and the library goes on; 30 iterations with five checkpoints of
/// those that are not.
#[test]
fn apgd_takes_the_librarys_steps() {
    for (name, expected) in reference().apgd {
        let (norm, loss) = name.split_once(' ').unwrap();
        let budget = budget(norm);
        let mut withstood = 0;
        for ((subject, start), expected) in subjects().iter().zip(start(budget)).zip(expected) {
            let [objective, measure] = [(); 2].map(|()| objective_of(loss, subject));
            let settings = Apgd {
                steps: 30,
                ..Apgd::default()
            };
            let mut pursuit = settings.pursue(budget, objective, &subject.x, subject.class, start);
            let asked = follow(&mut pursuit);
            if !pursuit.found().fooled {
                assert_eq!(asked.len(), expected.losses.len(), "{name}");
                withstood += 1;
            }
            for (step, ((_, logits), loss)) in asked.iter().zip(&expected.losses).enumerate() {
                let found = f64::from(measure.value(0, logits));
                assert!(
                    (found - loss).abs() < 2e-3 * (1.0 + loss.abs()),
                    "{name}, step {step}: {found}, expected {loss}"
                );
            }
            for ((x, _), iterate) in asked.iter().step_by(15).zip(&expected.iterates) {
                let off = share_off(x, iterate, 1e-4);
                assert!(off <= 0.05, "{name}: {off} of the pixels");
            }
        }
        assert!(withstood > 1, "{name}: {withstood}");
    }
}

fn objective_of(loss: &str, subject: &Subject) -> Box<dyn Objective> {
    let (classes, targets) = (vec![subject.class], vec![ranked(&subject.logits)[1]]);
    match loss {
        "ce" => Box::new(Conditional { classes }),
        "dlr" => Box::new(Dlr { classes }),
        _ => Box::new(TargetedDlr { classes, targets }),
    }
}

/// Twenty iterations of the first restart, untargeted and against the second likeliest class.
#[test]
fn fab_goes_the_librarys_way() {
    let reference = reference();
    for (targeted, of_norms) in [(false, reference.fab), (true, reference.fab_t)] {
        for (norm, expected) in of_norms {
            for (subject, expected) in subjects().iter().zip(expected) {
                let order = ranked(&subject.logits);
                let others = match targeted {
                    true => order[1..2].to_vec(),
                    false => (0..CLASSES)
                        .filter(|&class| class != subject.class)
                        .collect(),
                };
                let boundaries = others.len();
                let settings = Fab {
                    steps: 20,
                    ..Fab::default()
                };
                let start = subject.x.clone();
                let mut pursuit = settings.pursue(budget(&norm), subject, others, start, false);
                // Of a place, its boundaries are asked about one after the other; a place of another class is left
                // at once, and looked at where the search has gone back to.
                let (mut places, mut back, mut left) = (Vec::new(), false, 0);
                for (x, logits) in follow(&mut pursuit) {
                    if left > 0 {
                        left -= 1;
                        continue;
                    }
                    let other = named(&logits) != subject.class;
                    if back || !other {
                        places.push(x);
                        left = boundaries - 1;
                    }
                    back = other && !back;
                }
                for (place, expected) in places.iter().step_by(4).zip(&expected.places) {
                    let off = share_off(place, expected, 1e-4);
                    assert!(
                        off <= 0.05,
                        "{norm}, targeted {targeted}: {off} of the pixels"
                    );
                }
                let found = pursuit.found();
                let off = share_off(&found.x_adv, &expected.found, 1e-4);
                assert!(
                    off <= 0.05,
                    "{norm}, targeted {targeted}: {off} of the pixels"
                );
                let distance = f64::from(budget(&norm).norm.between(&subject.x, &found.x_adv));
                assert!(
                    (distance / expected.distance - 1.0).abs() < 1e-3,
                    "{norm}, targeted {targeted}: {distance}, expected {}",
                    expected.distance
                );
            }
        }
    }
}

/// Forty changes by the library's own draws.
#[test]
fn square_tries_what_the_library_tries() {
    for (norm, expected) in reference().square {
        for (subject, expected) in subjects().iter().zip(expected) {
            let settings = Square {
                queries: 40,
                ..Square::default()
            };
            let draws = Draws::recorded(expected.draws);
            let mut pursuit =
                settings.pursue(budget(&norm), &subject.x, SHAPE, subject.class, draws);
            assert_eq!(follow(&mut pursuit).len(), expected.queries, "{norm}");
            let margin = f64::from(pursuit.margin());
            assert!(
                (margin - expected.margin).abs() < 1e-4,
                "{norm}: {margin}, expected {}",
                expected.margin
            );
            let off = share_off(&pursuit.found().x_adv, &expected.found, 1e-5);
            assert!(off == 0.0, "{norm}: {off} of the pixels");
        }
    }
}

/// Places on the way and the end, compared with the library's; the way is `kept` of what was asked about.
fn compare<P: Pursuit>(name: &str, mut pursuit: P, x: &[f32], expected: &Nearest, every: usize) {
    let asked = follow(&mut pursuit);
    let kept: Vec<_> = asked.iter().step_by(every).collect();
    assert_eq!(kept.len(), expected.places.len(), "{name}");
    for (step, ((place, _), expected)) in kept.into_iter().zip(&expected.places).enumerate() {
        let off = share_off(place, expected, 2e-4);
        assert!(off <= 0.05, "{name}, place {step}: {off} of the pixels");
    }
    let found = pursuit.found().x_adv;
    let off = share_off(&found, &expected.found, 2e-4);
    assert!(off <= 0.05, "{name}: {off} of the pixels");
    let distance = f64::from(Norm::L2.between(x, &found));
    assert!(
        (distance / expected.distance - 1.0).abs() < 1e-3,
        "{name}: {distance}, expected {}",
        expected.distance
    );
}

#[test]
fn deep_fool_goes_the_librarys_way() {
    for (subject, expected) in subjects().iter().zip(reference().deep_fool) {
        let pursuit = DeepFool::default().pursue(budget("L2"), subject);
        compare("DeepFool", pursuit, &subject.x, &expected, CLASSES - 1);
    }
}

/// Four constants with thirty iterations each.
#[test]
fn carlini_and_wagners_attack_goes_the_librarys_way() {
    let settings = CarliniWagner {
        searches: 4,
        steps: 30,
        step_size: 0.02,
        first: 0.05,
        confidence: 0.0,
        abort_early: false,
    };
    for (subject, expected) in subjects().iter().zip(reference().carlini_wagner) {
        let pursuit = settings.pursue(budget("L2"), subject);
        compare("Carlini and Wagner", pursuit, &subject.x, &expected, 15);
    }
}

#[test]
fn attacks_of_one_size_of_step_end_where_the_librarys_do() {
    let (x, reference) = (images(), reference());
    let network = Tiny::new();
    let logits = network.logits(&x, IMAGES);
    let mut probabilities = vec![0.0; logits.len()];
    let rows = probabilities.chunks_exact_mut(CLASSES);
    for (p, f) in rows.zip(logits.chunks_exact(CLASSES)) {
        softmax(f, p);
    }
    let pgd = Pgd {
        steps: 6,
        step_size: 0.005,
    };
    let noise = chirp(IMAGES * PIXELS, 5.5);
    let noisy = x
        .iter()
        .zip(noise)
        .map(|(x, n)| (x + 0.001 * n as f32).clamp(0.0, 1.0))
        .collect();
    let divergence = Expected { probabilities };
    let cross_entropy = Conditional {
        classes: reference.classes,
    };
    let mim = Search::Mim(Mim { pgd, decay: 0.9 });
    let budget = Budget::linf(0.02);
    for (name, objective, search, start, expected) in [
        (
            "TPGD",
            &divergence as &dyn Objective,
            Search::Pgd(pgd),
            noisy,
            &reference.torchattacks.tpgd,
        ),
        (
            "MIM",
            &cross_entropy,
            mim,
            x.clone(),
            &reference.torchattacks.mim,
        ),
    ] {
        let attack = Attack {
            search,
            ..Attack::pgd(budget, objective, pgd)
        };
        let found = attack.begin_at(&x, IMAGES, start).run(&network);
        for (found, expected) in found.chunks_exact(PIXELS).zip(expected) {
            let off = share_off(found, expected, 1e-4);
            assert!(off <= 0.05, "{name}: {off} of the pixels");
        }
    }
}
