//! A model, a chain, and what the page may ask of them.

use basin_protocol::{
    Adversary, Dissection, EnergyKind, Mixture, Origin, Plan, Reply, Request, SelfTest,
};
use basin_shared::{
    Key, ModelFile,
    classifier::Evaluation,
    energy::Joint,
    file::container::probe_images,
    samplers::{
        ClassGaussian, Distances, HostChain, Observation, STEPS_PER_FRAME, Step, objective,
    },
};

use crate::{
    climb::Climb,
    dissect,
    engine::{Chain, Engine, Network},
    model,
};

/// Parts of a chain's key: what is drawn once for its start, and what is drawn at each step.
const START: u64 = 0;
const STEPS: u64 = 1;

/// Steps are taken together for about as long as a screen shows a picture.
const FRAME_MILLISECONDS: f64 = 16.0;

/// What lies beside a message; nothing, where its variant says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// A file.
    pub bytes: Vec<u8>,
    /// Images and logits.
    pub numbers: Vec<f32>,
}

/// The model in use and the chain that runs.
pub struct Session<E: Engine> {
    engine: E,
    loaded: Option<Loaded<E::Network>>,
    /// Another network for the same images and classes.
    rival: Option<E::Network>,
    running: Option<Running<<E::Network as Network>::Chain>>,
    /// Milliseconds since some moment.
    clock: fn() -> f64,
}

struct Loaded<N> {
    network: N,
    class_gaussian: ClassGaussian,
    distances: Option<Distances>,
    /// Channels and size of an image.
    shape: [usize; 2],
    class_names: Vec<String>,
}

struct Running<C> {
    id: u32,
    course: Course<C>,
    /// How many steps fit into a frame; one at first.
    steps: u64,
}

/// What runs.
enum Course<C> {
    Chain(C),
    Attack(Climb),
}

impl<E: Engine> Session<E> {
    /// An empty session.
    pub fn new(engine: E, clock: fn() -> f64) -> Self {
        Self {
            engine,
            loaded: None,
            rival: None,
            running: None,
            clock,
        }
    }

    /// Does what is asked; most requests have an answer.
    pub async fn answer(&mut self, request: Request, beside: Beside) -> Option<(Reply, Vec<f32>)> {
        match request {
            Request::Load => Some(self.load(&beside.bytes).await),
            Request::LoadRival => {
                let rival = self.load_rival(&beside.bytes).await;
                Some((Reply::RivalLoaded { rival }, Vec::new()))
            }
            Request::Begin { chain, plan } => {
                let refused = |message| (Reply::Refused { message }, Vec::new());
                let begun = self.begin(chain, plan, beside.numbers).await;
                begun.err().map(refused)
            }
            Request::Advance { chain, most } => self.advance(chain, most).await,
            Request::Evaluate {
                classes,
                energy,
                mixture,
            } => {
                let loaded = self.loaded.as_ref()?;
                let (network, batch) = (&loaded.network, classes.len());
                let found = match energy {
                    Some(energy) => {
                        let objective = objective(energy, classes, mixture);
                        let found = network.evaluate(&beside.numbers, batch, &*objective).await;
                        found.map(|Evaluation { logits, gradient }| [logits, gradient].concat())
                    }
                    None => network.logits(&beside.numbers, batch).await,
                };
                Some(match found {
                    Ok(numbers) => (Reply::Evaluated, numbers),
                    Err(message) => (Reply::Refused { message }, Vec::new()),
                })
            }
            Request::Logits { images, rival } => {
                Some(match self.logits(images, rival, beside.numbers).await {
                    Ok(logits) => (Reply::Logits { fault: None }, logits),
                    Err(fault) => (Reply::Logits { fault: Some(fault) }, Vec::new()),
                })
            }
            Request::Dissect { plan, image } => {
                Some(match self.dissect(plan, image, beside.numbers).await {
                    Ok((step, images)) => (Reply::Dissected { step: Ok(step) }, images),
                    Err(fault) => (Reply::Dissected { step: Err(fault) }, Vec::new()),
                })
            }
        }
    }

    async fn load(&mut self, bytes: &[u8]) -> (Reply, Vec<f32>) {
        let file = match read(bytes) {
            Ok(file) => file,
            Err(message) => return (Reply::Refused { message }, Vec::new()),
        };
        let mut tested = self.tested(&file, bytes).await;
        let differs = tested.as_ref().is_ok_and(|(_, test)| !test.passed());
        if differs && self.engine.refine().await {
            tested = self.tested(&file, bytes).await;
        }
        let (network, test) = match tested {
            Ok(tested) => tested,
            Err(message) => return (Reply::Unable { message }, Vec::new()),
        };
        let means = file.class_gaussian().mean.values.clone();
        let architecture = &file.card.architecture;
        self.loaded = Some(Loaded {
            network,
            class_gaussian: file.class_gaussian().clone(),
            distances: file.card.distances.clone(),
            shape: [architecture.image()[0], architecture.image()[1]],
            class_names: file.card.class_names.clone(),
        });
        self.running = None;
        // It may be of other images.
        self.rival = None;
        (
            Reply::Loaded {
                model: Box::new(model::describe(&file, bytes.len())),
                self_test: test,
            },
            means,
        )
    }

    /// Takes a rival; its name, or why it is none.
    async fn load_rival(&mut self, bytes: &[u8]) -> Result<String, String> {
        let loaded = self.in_use()?;
        let file = read(bytes)?;
        let card = &file.card;
        let [channels, size, _] = card.architecture.image();
        let found = ([channels, size], &card.class_names);
        if found != (loaded.shape, &loaded.class_names) {
            return Err(format!("{} knows other images or classes", card.name));
        }
        let (network, test) = self.tested(&file, bytes).await?;
        if !test.passed() {
            return Err(format!("{} fails the self-test", card.name));
        }
        self.rival = Some(network);
        Ok(file.card.name)
    }

    /// The network of a file, and how far it is from the numbers in the file.
    async fn tested(
        &self,
        file: &ModelFile,
        bytes: &[u8],
    ) -> Result<(E::Network, SelfTest), String> {
        let network = self.engine.network(file, bytes).await?;
        let test = self_test(file, &network).await?;
        Ok((network, test))
    }

    async fn begin(&mut self, id: u32, plan: Plan, numbers: Vec<f32>) -> Result<(), String> {
        let course = match plan.adversary {
            Some(adversary) => Course::Attack(self.climb(plan, adversary, numbers)?),
            None => {
                let dynamics = self.dynamics(plan, numbers)?;
                // What ran before makes room first.
                self.running = None;
                Course::Chain(self.in_use()?.network.chain(dynamics).await?)
            }
        };
        let steps = 1;
        self.running = Some(Running { id, course, steps });
        Ok(())
    }

    fn in_use(&self) -> Result<&Loaded<E::Network>, String> {
        self.loaded.as_ref().ok_or("there is no model yet".into())
    }

    /// The network in use, or its rival.
    fn network(&self, rival: bool) -> Result<&E::Network, String> {
        match rival {
            true => self.rival.as_ref().ok_or("there is no rival".into()),
            false => Ok(&self.in_use()?.network),
        }
    }

    async fn logits(
        &self,
        images: usize,
        rival: bool,
        numbers: Vec<f32>,
    ) -> Result<Vec<f32>, String> {
        let [channels, size] = self.in_use()?.shape;
        if images == 0 {
            return Err("there are no images, expected one or more".into());
        }
        let x = expect(numbers, images * channels * size * size)?;
        self.network(rival)?.logits_of_many(&x, images).await
    }

    /// The numbers of a step of one image, and its pictures as [`Reply::Dissected`] says.
    async fn dissect(
        &self,
        plan: Plan,
        image: usize,
        numbers: Vec<f32>,
    ) -> Result<(Dissection, Vec<f32>), String> {
        let count = plan.classes.len();
        if image >= count {
            return Err(format!("there is no image {image} among {count}"));
        }
        let (step, parts) = match plan.adversary {
            Some(adversary) => {
                let climb = self.climb(plan, adversary, numbers)?;
                dissect::attack(self.network(adversary.rival)?, climb, image).await?
            }
            None => {
                let chain = self.dynamics(plan, numbers)?;
                dissect::chain(&self.in_use()?.network, chain, image).await?
            }
        };
        let of_image = |x: Vec<f32>| {
            let size = x.len() / count;
            x[image * size..][..size].to_vec()
        };
        Ok((step, parts.map(of_image).concat()))
    }

    /// A chain as a plan and what is beside it say.
    fn dynamics(&self, plan: Plan, numbers: Vec<f32>) -> Result<HostChain, String> {
        let loaded = self.in_use()?;
        let mut walk = model::step(&plan, loaded.distances.as_ref())?;
        loaded.check(&plan.classes)?;
        if let Some(Mixture { class, share }) = plan.mixture {
            loaded.check(&[class])?;
            if plan.energy != EnergyKind::Joint || !(0.0..=1.0).contains(&share) {
                return Err(format!(
                    "the energy is {:?} and the share mixed in {share}, expected Joint and 0 to 1",
                    plan.energy
                ));
            }
        }
        let Plan {
            seed,
            classes,
            energy,
            mixture,
            origin,
            known,
            ..
        } = plan;
        let [channels, size] = loaded.shape;
        let image = channels * size * size;
        let count = classes.len() * image;
        let given = || match (&known, origin) {
            (None, _) => expect(numbers, count),
            (Some(known), origin) => {
                let mut numbers = numbers;
                let resumed = matches!(origin, Origin::Resume { .. });
                let rest = if resumed { count } else { 0 };
                numbers = expect(numbers, image + rest)?;
                let rest = numbers.split_off(image);
                let Step::ByDistance(annealing) = &mut walk else {
                    return Err("only a chain by distance restores an image".into());
                };
                let observed = known
                    .observed(loaded.shape)
                    .map_err(|error| error.to_string())?;
                let values = observed.of(&numbers).repeat(classes.len());
                let observation = Observation::new(observed, values, classes.len());
                annealing.observation = Some(observation.map_err(|error| error.to_string())?);
                if resumed {
                    return Ok(rest);
                }
                known.plainest(&mut numbers, size);
                Ok(numbers.repeat(classes.len()))
            }
        };
        let key = Key::new(seed.into());
        let start_key = key.fold_in(START);
        let (x, step) = match origin {
            Origin::Noise => (start_key.uniforms(count), 0),
            Origin::Class { spread } => {
                (loaded.class_gaussian.sample(start_key, &classes, spread), 0)
            }
            Origin::Image { noise } => {
                let mut x = given()?;
                for (x, normal) in x.iter_mut().zip(start_key.normals(count)) {
                    *x = (*x + noise * normal).clamp(0.0, 1.0);
                }
                (x, 0)
            }
            Origin::Resume { step } => (given()?, step),
        };
        Ok(HostChain {
            key: key.fold_in(STEPS),
            walk,
            energy,
            classes,
            mixture,
            velocity: vec![0.0; x.len()],
            x,
            step,
        })
    }

    /// An attack as a plan and what is beside it say.
    fn climb(&self, plan: Plan, adversary: Adversary, numbers: Vec<f32>) -> Result<Climb, String> {
        let loaded = self.in_use()?;
        loaded.check(&plan.classes)?;
        self.network(adversary.rival)?;
        let (epsilon, step_size) = (adversary.budget.epsilon, adversary.step_size);
        if !(epsilon >= 0.0 && step_size >= 0.0 && (epsilon + step_size).is_finite()) {
            return Err(format!(
                "the radius is {epsilon} and the step {step_size}, expected 0 or more"
            ));
        }
        let [channels, size] = loaded.shape;
        let count = plan.classes.len() * channels * size * size;
        let (step, all) = match plan.origin {
            Origin::Resume { step } => (step, 2 * count),
            _ => (0, count),
        };
        let mut x = expect(numbers, all)?;
        let resumed = x.split_off(count);
        let x_adv = if resumed.is_empty() {
            x.clone()
        } else {
            resumed
        };
        Ok(Climb {
            adversary,
            energy: plan.energy,
            classes: plan.classes,
            x,
            x_adv,
            step,
        })
    }

    async fn advance(&mut self, id: u32, most: u64) -> Option<(Reply, Vec<f32>)> {
        let running = self.running.as_mut().filter(|running| running.id == id)?;
        let steps = running.steps.min(most).max(1);
        let begun = (self.clock)();
        let (frame, workers) = match &mut running.course {
            Course::Chain(chain) => chain.advance(steps as usize).await,
            Course::Attack(climb) => {
                let network = match climb.adversary.rival {
                    true => self.rival.as_ref()?,
                    false => &self.loaded.as_ref()?.network,
                };
                match climb.advance(network, steps as usize).await {
                    Ok(frame) => (frame, 1),
                    Err(message) => return Some((Reply::Refused { message }, Vec::new())),
                }
            }
        };
        let milliseconds = ((self.clock)() - begun) / steps as f64;
        // No more than twice as many: the first steps are no measure.
        let fit = (FRAME_MILLISECONDS / milliseconds) as u64;
        running.steps = fit.clamp(1, (2 * steps).min(STEPS_PER_FRAME as u64));
        let reply = Reply::Frame {
            chain: id,
            step: frame.step,
            milliseconds,
            workers,
        };
        let mut numbers = frame.x;
        numbers.extend(frame.logits);
        Some((reply, numbers))
    }
}

impl<N> Loaded<N> {
    /// Whether there are such classes.
    fn check(&self, classes: &[usize]) -> Result<(), String> {
        let last = self.class_names.len() - 1;
        match classes.is_empty() || classes.iter().any(|&class| class > last) {
            true => Err(format!(
                "the classes asked for are {classes:?}, expected some of 0 to {last}"
            )),
            false => Ok(()),
        }
    }
}

/// Numbers of images, as many as there must be.
fn expect(numbers: Vec<f32>, count: usize) -> Result<Vec<f32>, String> {
    match numbers.len() == count {
        true => Ok(numbers),
        false => Err(format!(
            "the image has {} numbers, expected {count}",
            numbers.len()
        )),
    }
}

/// How far this engine's logits and gradient are from those that the trainer's engine computed.
async fn self_test(file: &ModelFile, network: &impl Network) -> Result<SelfTest, String> {
    let x = probe_images(&file.card.architecture);
    let classes: Vec<usize> = (0..x.shape[0]).collect();
    let (batch, objective) = (classes.len(), Joint { classes });
    let found = network.evaluate(&x.values, batch, &objective).await?;
    let probe = file.probe();
    Ok(SelfTest {
        logits: difference(&found.logits, &probe.logits.values),
        gradient: difference(&found.gradient, &probe.gradient.values),
    })
}

/// The largest difference, as a share of the largest of what was expected.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let scale = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let differences = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs() / scale);
    // A NaN must win.
    differences.fold(0.0, |largest, v| {
        if v > largest || v.is_nan() {
            v
        } else {
            largest
        }
    })
}

/// The model file that these bytes are, if the engines run its network.
fn read(bytes: &[u8]) -> Result<ModelFile, String> {
    let file = ModelFile::read(bytes).map_err(|error| error.to_string())?;
    let network = file.card.architecture.check_engine();
    network.map_err(|none| none.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::Cpu;
    use basin_protocol::{Budget, ByDistance, GradientScaling, Known, Sampler, Sgld};
    use basin_shared::{
        arrays::{Array, Storage},
        models::{Architecture, Layer, Normalization, SequentialConfig},
    };
    use futures_executor::block_on;

    const UNTRAINED: &[u8] = include_bytes!("../../../tests/e2e/fixtures/untrained.safetensors");

    fn ask(
        session: &mut Session<Cpu>,
        request: Request,
        numbers: &[f32],
    ) -> Option<(Reply, Vec<f32>)> {
        let beside = Beside {
            numbers: numbers.to_vec(),
            ..Beside::default()
        };
        block_on(session.answer(request, beside))
    }

    fn loaded() -> Session<Cpu> {
        let mut session = Session::new(Cpu, || 0.0);
        let beside = Beside {
            bytes: UNTRAINED.to_vec(),
            ..Beside::default()
        };
        let (reply, means) = block_on(session.answer(Request::Load, beside)).unwrap();
        let Reply::Loaded { model, self_test } = reply else {
            panic!("{reply:?}")
        };
        assert!(self_test.passed(), "{self_test:?}");
        assert_eq!(
            (model.class_names.len(), model.size, means.len()),
            (3, 8, 3 * 64)
        );
        session
    }

    /// A file of a network that no engine runs is refused with a sentence, as model and as rival.
    #[test]
    fn a_plain_network_is_refused() {
        let untrained = ModelFile::read(UNTRAINED).unwrap();
        let config = SequentialConfig {
            layers: vec![Layer::Flatten, Layer::Linear { outputs: 3 }],
            channels: 1,
            size: 8,
            classes: 3,
            normalization: Normalization::uniform(1, 0.0, 1.0),
        };
        let mut card = untrained.card.clone();
        card.architecture = Architecture::Sequential(config);
        let shapes = card.architecture.parameter_shapes().into_iter();
        let weights = shapes.map(|(name, shape)| {
            let values = vec![0.5; shape.iter().product()];
            (name, Array { shape, values })
        });
        let (start, probe) = (untrained.class_gaussian(), untrained.probe());
        let file = ModelFile::new(card, weights.collect(), start.clone(), probe.clone()).unwrap();
        let bytes = file.write(Storage::Single).unwrap();
        let expected = "Basin's own engines run residual networks (Wide-ResNet, PreActResNet-18, ResNet-18), and this \
                        is a plain network of 0 convolutions and 1 linear layer; `basin` evaluates and attacks it on \
                        tensors";
        let mut session = loaded();
        let beside = Beside {
            bytes: bytes.clone(),
            ..Beside::default()
        };
        let (reply, _) = block_on(session.answer(Request::Load, beside)).unwrap();
        let Reply::Refused { message } = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(message, expected);
        assert_eq!(block_on(session.load_rival(&bytes)), Err(expected.into()));
        // The model in use stays.
        assert!(session.in_use().is_ok());
    }

    fn plan(origin: Origin) -> Plan {
        let sampler = Sampler::Sgld(Sgld {
            step_size: 0.5,
            noise_std: 0.01,
            friction: 0.0,
            gradient: GradientScaling::Raw,
            clamp: true,
        });
        Plan {
            seed: 1,
            classes: vec![0, 2],
            energy: EnergyKind::Joint,
            mixture: None,
            sampler,
            steps: 20,
            origin,
            known: None,
            adversary: None,
        }
    }

    fn plan_by_distance(origin: Origin) -> Plan {
        let sampler = Sampler::ByDistance(ByDistance {
            h: 0.3,
            beta: 0.8,
            last_steps: 2,
            last_h: 0.5,
        });
        Plan {
            sampler,
            ..plan(origin)
        }
    }

    /// The frame of each of the first `count` requests to advance.
    fn frames(session: &mut Session<Cpu>, chain: u32, count: usize) -> Vec<(u64, Vec<f32>)> {
        let frame = |_| match ask(session, Request::Advance { chain, most: 1 }, &[]) {
            Some((Reply::Frame { step, .. }, numbers)) => (step, numbers),
            other => panic!("{other:?}"),
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn a_seed_gives_the_same_chain_again_and_it_resumes_where_it_stood() {
        for plan in [plan, plan_by_distance] {
            let mut session = loaded();
            let begin = |session: &mut Session<Cpu>, chain, origin, numbers: &[f32]| {
                let plan = plan(origin);
                assert_eq!(ask(session, Request::Begin { chain, plan }, numbers), None);
            };
            begin(&mut session, 1, Origin::Noise, &[]);
            let first = frames(&mut session, 1, 5);
            assert_eq!(
                first.iter().map(|frame| frame.0).collect::<Vec<_>>(),
                [0, 1, 2, 3, 4]
            );
            assert_eq!(first[0].1.len(), 2 * 64 + 2 * 3);
            assert_ne!(first[0].1, first[4].1);
            begin(&mut session, 2, Origin::Noise, &[]);
            assert_eq!(frames(&mut session, 2, 5), first);
            let resumed = Origin::Resume { step: 3 };
            begin(&mut session, 3, resumed, &first[3].1[..128]);
            assert_eq!(frames(&mut session, 3, 2), first[3..]);
        }
    }

    #[test]
    fn fast_steps_are_taken_together_and_the_chain_is_the_same() {
        // By this clock no step takes any time.
        let mut session = loaded();
        let begin = |session: &mut Session<Cpu>, chain| {
            let plan = plan(Origin::Noise);
            assert_eq!(ask(session, Request::Begin { chain, plan }, &[]), None);
        };
        begin(&mut session, 1);
        let singly = frames(&mut session, 1, 40);
        begin(&mut session, 2);
        let mut taken = Vec::new();
        for most in [100, 100, 100, 3, 100, 100] {
            let answer = ask(&mut session, Request::Advance { chain: 2, most }, &[]);
            let Some((Reply::Frame { step, .. }, numbers)) = answer else {
                panic!("{answer:?}")
            };
            let (x, logits) = numbers.split_at(2 * 64);
            let last = taken.iter().sum::<usize>() + logits.len() / 6;
            let expected = &singly[last - logits.len() / 6..last];
            assert_eq!(step as usize, last - 1);
            assert_eq!(x, &expected.last().unwrap().1[..2 * 64]);
            let expected = expected.iter().flat_map(|(_, numbers)| &numbers[2 * 64..]);
            assert!(logits.iter().eq(expected));
            taken.push(logits.len() / 6);
        }
        assert_eq!(taken, [1, 2, 4, 3, 6, 12]);
    }

    #[test]
    fn of_two_classes_mixed_both_energies_fall() {
        for plan in [plan, plan_by_distance] {
            let mixture = Mixture {
                class: 1,
                share: 0.5,
            };
            let plan = Plan {
                mixture: Some(mixture),
                classes: vec![0],
                ..plan(Origin::Class { spread: 1.0 })
            };
            let mut session = loaded();
            let begin = Request::Begin {
                chain: 1,
                plan: plan.clone(),
            };
            ask(&mut session, begin, &[]);
            let frames = frames(&mut session, 1, 21);
            let energy = |frame: &(u64, Vec<f32>)| plan.energy_of(&frame.1[64..], 0);
            assert!(energy(&frames[20]) < energy(&frames[0]) - 0.02);
            // With nothing mixed in it is the chain of the first class, with all of it that of the second.
            let end = |session: &mut Session<Cpu>, mixture, class| {
                let plan = Plan {
                    mixture,
                    classes: vec![class],
                    origin: Origin::Noise,
                    ..plan.clone()
                };
                ask(session, Request::Begin { chain: 2, plan }, &[]);
                self::frames(session, 2, 9)
            };
            for (share, class) in [(0.0, 0), (1.0, 1)] {
                let mixture = Mixture { class: 1, share };
                let mixed = end(&mut session, Some(mixture), 0);
                assert_eq!(mixed, end(&mut session, None, class));
            }
        }
        let mixture = Some(Mixture {
            class: 3,
            share: 0.5,
        });
        let wrong = Plan {
            mixture,
            ..plan(Origin::Noise)
        };
        let request = Request::Begin {
            chain: 3,
            plan: wrong,
        };
        let refused = ask(&mut loaded(), request, &[]);
        assert!(
            matches!(refused, Some((Reply::Refused { message }, _)) if message.contains("asked for are [3]"))
        );
    }

    #[test]
    fn the_energy_descended_falls() {
        let mut session = loaded();
        ask(
            &mut session,
            Request::Begin {
                chain: 1,
                plan: plan(Origin::Class { spread: 1.0 }),
            },
            &[],
        );
        let frames = frames(&mut session, 1, 21);
        let energy = |frame: &(u64, Vec<f32>)| -frame.1[128];
        assert!(
            energy(&frames[20]) < energy(&frames[0]) - 0.1,
            "{}",
            energy(&frames[20])
        );
    }

    /// The fixture's images are grey, 8 × 8.
    #[test]
    fn a_hole_is_filled_in_several_ways_and_its_surroundings_stay() {
        let hole: Vec<bool> = (0..64)
            .map(|pixel| pixel / 8 < 4 && pixel % 8 < 4)
            .collect();
        let image: Vec<f32> = (0..64).map(|pixel| 0.3 + 0.005 * pixel as f32).collect();
        let restoring = |origin, hole: &[bool]| Plan {
            energy: EnergyKind::Marginal,
            known: Some(Known::Around { hole: hole.into() }),
            ..plan_by_distance(origin)
        };
        let mut session = loaded();
        let noisy = Origin::Image { noise: 0.3 };
        let begin = |session: &mut Session<Cpu>, chain, plan, numbers: &[f32]| {
            ask(session, Request::Begin { chain, plan }, numbers)
        };
        assert_eq!(
            begin(&mut session, 1, restoring(noisy, &hole), &image),
            None
        );
        let found = frames(&mut session, 1, 21);
        let last = &found[20].1[..128];
        let [first, second] = [&last[..64], &last[64..]];
        for (pixel, inside) in hole.iter().enumerate() {
            for x in [first, second] {
                assert!(*inside || (x[pixel] - image[pixel]).abs() < 0.02, "{pixel}");
            }
        }
        assert_ne!(first, second);
        // It goes on where it stood.
        let resumed = restoring(Origin::Resume { step: 20 }, &hole);
        let both = [&image[..], last].concat();
        assert_eq!(begin(&mut session, 2, resumed.clone(), &both), None);
        assert_eq!(frames(&mut session, 2, 1)[0], found[20]);
        for (plan, numbers, expected) in [
            (
                resumed,
                &image[..],
                "the image has 64 numbers, expected 192",
            ),
            (restoring(noisy, &[false; 64]), &image, "the mask is empty"),
            (
                restoring(noisy, &hole[1..]),
                &image,
                "the mask has 63 pixels",
            ),
            (
                Plan {
                    known: Some(Known::Grey { colourless: None }),
                    ..restoring(noisy, &hole)
                },
                &image,
                "have no colour to find",
            ),
            (
                Plan {
                    known: Some(Known::BlockMeans { factor: 2 }),
                    ..plan(noisy)
                },
                &image,
                "only a chain by distance",
            ),
        ] {
            let Some((Reply::Refused { message }, _)) = begin(&mut session, 3, plan, numbers)
            else {
                panic!("{expected}")
            };
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_attack_climbs_within_its_radius_and_goes_on_where_it_stood() {
        let image: Vec<f32> = (0..64).map(|pixel| 0.3 + 0.005 * pixel as f32).collect();
        let adversary = Adversary {
            budget: Budget::linf(0.1),
            step_size: 0.025,
            rival: false,
        };
        let attack = |origin, adversary| Plan {
            classes: vec![0],
            energy: EnergyKind::Conditional,
            adversary: Some(adversary),
            ..plan(origin)
        };
        let mut session = loaded();
        let begin = |session: &mut Session<Cpu>, chain, plan, numbers: &[f32]| {
            ask(session, Request::Begin { chain, plan }, numbers)
        };
        let still = Origin::Image { noise: 0.0 };
        assert_eq!(
            begin(&mut session, 1, attack(still, adversary), &image),
            None
        );
        let found = frames(&mut session, 1, 11);
        assert_eq!(found[0].1[..64], image);
        let energy = |frame: &(u64, Vec<f32>)| EnergyKind::Conditional.of_logits(&frame.1[64..], 0);
        assert!(energy(&found[10]) > energy(&found[0]) + 1e-3);
        for (x, clean) in found[10].1[..64].iter().zip(&image) {
            assert!((x - clean).abs() <= 0.1 + 1e-6);
        }
        let resumed = Origin::Resume { step: 4 };
        let both = [&image[..], &found[4].1[..64]].concat();
        assert_eq!(
            begin(&mut session, 2, attack(resumed, adversary), &both),
            None
        );
        assert_eq!(frames(&mut session, 2, 7), found[4..]);

        // The rival is another network of the same images and classes: here, the same once more.
        let rival = Adversary {
            rival: true,
            ..adversary
        };
        let refused = begin(&mut session, 3, attack(still, rival), &image);
        assert!(
            matches!(refused, Some((Reply::Refused { message }, _)) if message == "there is no rival")
        );
        let mut load = |bytes: &[u8]| {
            let beside = Beside {
                bytes: bytes.to_vec(),
                ..Beside::default()
            };
            match block_on(session.answer(Request::LoadRival, beside)) {
                Some((Reply::RivalLoaded { rival }, _)) => rival,
                other => panic!("{other:?}"),
            }
        };
        assert!(load(&UNTRAINED[..9000]).is_err());
        assert_eq!(load(UNTRAINED), Ok("untrained".into()));
        assert_eq!(begin(&mut session, 4, attack(still, rival), &image), None);
        assert_eq!(frames(&mut session, 4, 11), found);
        let nan = Adversary {
            step_size: f32::NAN,
            ..adversary
        };
        assert!(begin(&mut session, 5, attack(still, nan), &image).is_some());
    }

    #[test]
    fn logits_are_those_of_the_frames_and_leave_the_chain_alone() {
        let mut session = loaded();
        let begin = Request::Begin {
            chain: 1,
            plan: plan(Origin::Noise),
        };
        ask(&mut session, begin, &[]);
        let first = frames(&mut session, 1, 3);
        let (x, expected) = first[2].1.split_at(2 * 64);
        let mut logits = |images, rival, x: &[f32]| {
            let request = Request::Logits { images, rival };
            match ask(&mut session, request, x) {
                Some((Reply::Logits { fault }, found)) => (fault, found),
                other => panic!("{other:?}"),
            }
        };
        let (fault, found) = logits(2, false, x);
        assert_eq!(fault, None);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5);
        }
        assert_eq!(found.len(), expected.len());
        for (images, rival, expected) in [
            (3, false, "the image has 128 numbers, expected 192"),
            (0, false, "there are no images, expected one or more"),
            (2, true, "there is no rival"),
        ] {
            assert_eq!(logits(images, rival, x), (Some(expected.into()), vec![]));
        }
        assert_eq!(frames(&mut session, 1, 1)[0].0, 3);
    }

    #[test]
    fn a_step_is_taken_apart_into_what_the_chain_adds() {
        for plan in [plan, plan_by_distance] {
            let mut session = loaded();
            let begin = Request::Begin {
                chain: 1,
                plan: plan(Origin::Noise),
            };
            ask(&mut session, begin, &[]);
            let frames = frames(&mut session, 1, 5);
            let resumed = plan(Origin::Resume { step: 3 });
            let request = Request::Dissect {
                plan: resumed.clone(),
                image: 1,
            };
            let answer = ask(&mut session, request, &frames[3].1[..128]);
            let Some((Reply::Dissected { step: Ok(step) }, parts)) = answer else {
                panic!("{answer:?}")
            };
            let [x, gradient, drift, noise, next] =
                [0, 1, 2, 3, 4].map(|part| &parts[64 * part..][..64]);
            assert_eq!(x, &frames[3].1[64..128]);
            assert_eq!(next, &frames[4].1[64..128]);
            let energy = EnergyKind::Joint.of_logits(&frames[3].1[128 + 3..], 2);
            assert!((step.energy - energy).abs() < 1e-5);
            let factor = step.factor.unwrap();
            assert!(factor > 0.0 && step.noise_std > 0.0);
            for i in 0..64 {
                assert!((x[i] + drift[i] + noise[i] - next[i]).abs() < 1e-6);
                // Where nothing was clamped, the formula's own numbers.
                if next[i] > 0.0 && next[i] < 1.0 && x[i] + drift[i] > 0.0 && x[i] + drift[i] < 1.0
                {
                    assert!((drift[i] + factor * gradient[i]).abs() < 1e-5);
                }
            }
            assert_eq!(
                step.distance.is_some(),
                matches!(resumed.sampler, Sampler::ByDistance(_))
            );
            let request = Request::Dissect {
                plan: resumed,
                image: 2,
            };
            let answer = ask(&mut session, request, &frames[3].1[..128]);
            assert!(
                matches!(answer, Some((Reply::Dissected { step: Err(why) }, _)) if why == "there is no image 2 among 2")
            );
        }
    }

    #[test]
    fn a_step_of_an_attack_is_taken_apart_too() {
        let image: Vec<f32> = (0..64).map(|pixel| 0.3 + 0.005 * pixel as f32).collect();
        let adversary = Adversary {
            budget: Budget::linf(0.1),
            step_size: 0.025,
            rival: false,
        };
        let plan = Plan {
            classes: vec![0],
            energy: EnergyKind::Conditional,
            adversary: Some(adversary),
            ..plan(Origin::Resume { step: 0 })
        };
        let mut session = loaded();
        let both = [&image[..], &image].concat();
        let answer = ask(&mut session, Request::Dissect { plan, image: 0 }, &both);
        let Some((Reply::Dissected { step: Ok(step) }, parts)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((step.factor, step.noise_std), (None, 0.0));
        for i in 0..64 {
            let (gradient, drift) = (parts[64 + i], parts[128 + i]);
            assert!((drift - 0.025 * gradient.signum()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_model_stays() {
        let mut session = loaded();
        let refused = |answer| match answer {
            Some((Reply::Refused { message }, _)) => message,
            other => panic!("{other:?}"),
        };
        let beside = Beside {
            bytes: UNTRAINED[..9000].to_vec(),
            ..Beside::default()
        };
        assert!(refused(block_on(session.answer(Request::Load, beside))).contains("9000"));
        let classes = Plan {
            classes: vec![3],
            ..plan(Origin::Noise)
        };
        let message = refused(ask(
            &mut session,
            Request::Begin {
                chain: 1,
                plan: classes,
            },
            &[],
        ));
        assert_eq!(
            message,
            "the classes asked for are [3], expected some of 0 to 2"
        );
        let conditional = Plan {
            energy: EnergyKind::Conditional,
            ..plan_by_distance(Origin::Noise)
        };
        let message = refused(ask(
            &mut session,
            Request::Begin {
                chain: 1,
                plan: conditional,
            },
            &[],
        ));
        assert!(message.contains("energy is conditional"), "{message}");
        let image = plan(Origin::Image { noise: 0.1 });
        let message = refused(ask(
            &mut session,
            Request::Begin {
                chain: 1,
                plan: image,
            },
            &[0.0; 5],
        ));
        assert_eq!(message, "the image has 5 numbers, expected 128");
        ask(
            &mut session,
            Request::Begin {
                chain: 2,
                plan: plan(Origin::Noise),
            },
            &[],
        );
        frames(&mut session, 2, 1);
        assert_eq!(
            ask(&mut session, Request::Advance { chain: 1, most: 1 }, &[]),
            None
        );
    }
}
