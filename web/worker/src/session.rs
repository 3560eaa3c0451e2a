//! A model, a chain, and what the page may ask of them.

use basin_protocol::{
    Adversary, Dissection, EnergyKind, Mixture, Morph, Origin, Plan, Reply, Request, SelfTest,
};
use basin_shared::{
    Key, ModelFile,
    classifier::Evaluation,
    energy::Joint,
    file::container::probe_images,
    samplers::{
        ClassGaussian, Distances, HostChain, Noise, Observation, STEPS_PER_FRAME, Step, objective,
    },
};

use crate::{
    climb::Climb,
    dissect,
    engine::{Chain, Engine, Network},
    model,
};

/// Parts of a chain's noise: what is drawn once for its start, and what is drawn at each step.
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
            morph,
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
        let noise = match morph {
            Some(Morph { seed, share }) if (0.0..=1.0).contains(&share) => {
                Noise::between(key, Key::new(seed.into()), share)
            }
            Some(Morph { share, .. }) => {
                return Err(format!(
                    "the share of the other seed is {share}, expected 0 to 1"
                ));
            }
            None => key.into(),
        };
        let of_start = noise.fold_in(START);
        let (x, step) = match origin {
            Origin::Noise => (of_start.uniforms(count), 0),
            Origin::Class { spread } => {
                (loaded.class_gaussian.sample(of_start, &classes, spread), 0)
            }
            Origin::Image { noise } => {
                let mut x = given()?;
                for (x, normal) in x.iter_mut().zip(of_start.normals(count)) {
                    *x = (*x + noise * normal).clamp(0.0, 1.0);
                }
                (x, 0)
            }
            Origin::Resume { step } => (given()?, step),
        };
        Ok(HostChain {
            noise: noise.fold_in(STEPS),
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
        let (frame, gradient, workers) = match &mut running.course {
            Course::Chain(chain) => {
                let (frame, workers) = chain.advance(steps as usize).await;
                (frame, Vec::new(), workers)
            }
            Course::Attack(climb) => {
                let network = match climb.adversary.rival {
                    true => self.rival.as_ref()?,
                    false => &self.loaded.as_ref()?.network,
                };
                match climb.advance(network, steps as usize).await {
                    Ok((frame, gradient)) => (frame, gradient, 1),
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
        numbers.extend(gradient);
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
mod tests;
