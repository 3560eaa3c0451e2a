//! `basin train`: a recipe in, checkpoints and metrics out.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use basin_shared::{
    Key,
    arrays::Weights,
    attacks::Pgd,
    file::card::Origin,
    models::Architecture,
    samplers::{ClassGaussian, Sampler},
    tensors::{Network, parameters},
};
use burn::{
    module::Module,
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig,
        decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{Bytes, Device, Tensor},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::report;
use crate::{
    checkpoint::{Checkpoint, Progress, write_atomically},
    class_gaussian::class_gaussian,
    cli,
    data::{self, Images},
    distances, ema, gradient_norm,
    methods::{Batch, ENERGY_DATA, ENERGY_SAMPLE, Figures, Inner, Method, Outer, PGD_DROP, State},
    metrics_log::MetricsLog,
    model::{self, Adversary},
    recipe::{OptimizerRecipe, Recipe},
    replicas::{self, Replicas},
};

/// Iterations between two lines where the output is no terminal.
const LINE_EVERY: usize = 50;
/// Fall of the accuracy under PGD between checkpoints that is taken for catastrophic overfitting
/// (Wong et al. 2020, their code).
const LARGEST_PGD_DROP: f32 = 0.2;
/// Validation images attacked at each measurement.
const ATTACKED: usize = 500;
/// Validation images off which samples learn how far away the data are.
const MEASURED: usize = 200;

/// `hardware` names the devices.
pub(crate) fn run(arguments: cli::Train, devices: &[Device], hardware: String) -> Result<()> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    replicas::check(&recipe, devices.len())?;
    let origin = match &arguments.weights {
        Some(path) => Some(weights_to_begin_with(path, &recipe)?),
        None => None,
    };
    let directory = arguments
        .run
        .unwrap_or_else(|| default_run(&arguments.recipe));
    let images = data::load(
        &recipe.data_set,
        arguments.data.data_dir.as_deref(),
        &MultiProgress::new(),
    )?;
    let count = images.train.len();
    if recipe.validation >= count {
        let held_out = recipe.validation;
        bail!("validation is {held_out}, expected fewer than the {count} training images");
    }
    let (train, validation) = images.train.hold_out(recipe.validation);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let job = Job {
        recipe,
        directory,
        train,
        validation,
        device: devices[0].clone(),
        hardware,
    };
    std::thread::scope(|scope| {
        let replicas = Replicas::start(devices, scope);
        let run = if arguments.resume {
            job.resume(arguments.change_recipe, replicas)?
        } else {
            job.begin(origin, replicas)?
        };
        job.train(run)
    })
}

/// What a run is of, and where.
struct Job {
    recipe: Recipe,
    directory: PathBuf,
    train: Images,
    validation: Images,
    /// The first, or the only one.
    device: Device,
    /// What the card will say of all of them.
    hardware: String,
}

impl Job {
    /// A run before its first iteration, with its first checkpoint.
    fn begin<'env>(
        &'env self,
        origin: Option<(Origin, Weights)>,
        replicas: Replicas<'env>,
    ) -> Result<Run<'env>> {
        let (recipe, directory) = (&self.recipe, &self.directory);
        if directory.join("recipe.toml").exists() {
            bail!(
                "{}: holds a run already; add --resume or --run",
                directory.display()
            );
        }
        if let Some((origin, _)) = &origin {
            eprintln!("beginning with the weights of {}", origin.file);
        }
        let mut run = Run::begin(recipe, &self.train, origin, replicas)?;
        run.progress.go_on_with(&self.hardware);
        run.save(recipe, directory, 0, None)?;
        // Last, so that a directory with a recipe has something to go on from.
        write_atomically(&directory.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        Ok(run)
    }

    /// The run of the newest checkpoint.
    fn resume<'env>(
        &'env self,
        change_recipe: bool,
        replicas: Replicas<'env>,
    ) -> Result<Run<'env>> {
        let (recipe, directory) = (&self.recipe, &self.directory);
        let newest = Checkpoint::newest(directory, |text| eprintln!("{text}"))?;
        let iteration = newest.progress.iteration;
        let begun = Recipe::kept(&newest.recipe)?;
        if begun != *recipe {
            if !change_recipe {
                bail!(
                    "{}: the run was started with another recipe, kept in its recipe.toml; resume \
                     with the same recipe and --set, go on under this one with --change-recipe, \
                     or start another run with --run",
                    directory.display()
                );
            }
            if begun.architecture() != recipe.architecture()
                || begun.data_set != recipe.data_set
                || begun.validation != recipe.validation
                || begun.method.name() != recipe.method.name()
            {
                bail!(
                    "{}: --change-recipe cannot change the network, the data set, the validation \
                     images or the method; they are kept in its recipe.toml",
                    directory.display()
                );
            }
            let kept = directory.join(format!("recipe-{iteration:08}.toml"));
            write_atomically(&kept, recipe.to_toml().as_bytes())?;
        }
        eprintln!("resuming after iteration {iteration}");
        let (before, devices) = (newest.states.len(), replicas.count());
        if before != devices && newest.states[0] != State::Stateless {
            eprintln!(
                "the state of the method was that of {before} devices and is dealt out to {devices}: \
                 the run is not the same to the bit"
            );
        }
        let mut run = Run::restore(newest, recipe, &self.train, replicas)?;
        run.progress.go_on_with(&self.hardware);
        Ok(run)
    }

    /// Iterates to the recipe's end, or to Ctrl-C.
    ///
    /// A checkpoint that cannot be written, as on a full disk, harms none of those before it, and
    /// training goes on to the next one. Where there is no next one the run ends with an error.
    fn train<'env>(&'env self, mut run: Run<'env>) -> Result<()> {
        let Self {
            recipe,
            directory,
            train,
            validation,
            device,
            hardware,
        } = self;
        let mut log = MetricsLog::open(&directory.join("metrics.jsonl"), run.progress.iteration)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        // A second Ctrl-C ends the process at once; the last checkpoint stays.
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .context("Ctrl-C cannot be caught")?;
        let bar = progress_bar(recipe.iterations, run.progress.iteration);
        let print = |text: String| {
            if bar.is_hidden() {
                eprintln!("{text}")
            } else {
                bar.println(text)
            }
        };
        let mut note = |line: &serde_json::Value| {
            let told = log.waits();
            if let Err(error) = log.append(line)
                && !told
            {
                print(format!("{error}; its lines wait until there is room"));
            }
        };

        let mut kept = run.progress.iteration;
        let mut clock = Instant::now();
        while run.progress.iteration < recipe.iterations {
            let iteration = run.progress.iteration;
            let figures = run.iterate(recipe, train, device);
            run.progress.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();

            if let Some(fault) = diverged(&figures, recipe.divergence.largest_energy) {
                let (rate_scale, roll_backs) =
                    (run.progress.rate_scale, run.progress.roll_backs + 1);
                if roll_backs > recipe.divergence.roll_backs {
                    bail!(
                        "iteration {iteration}: {fault}, after {} roll-backs",
                        roll_backs - 1
                    );
                }
                let good = Checkpoint::newest(directory, &print)?;
                let rate_scale = rate_scale * recipe.divergence.rate_factor;
                print(format!(
                    "iteration {iteration}: {fault}; back to iteration {} with {rate_scale} of the \
                     learning rate",
                    good.progress.iteration
                ));
                run = Run::restore(good, recipe, train, run.replicas)?;
                run.progress = Progress {
                    rate_scale,
                    roll_backs,
                    ..run.progress
                };
                run.progress.go_on_with(hardware);
                note(&json!({"iteration": run.progress.iteration, "rolled_back": fault}));
                continue;
            }
            let mut line = json!({"iteration": iteration + 1, "seconds": run.progress.seconds});
            for (name, value) in &figures {
                line[*name] = json!(value);
            }
            let text = describe(&figures);
            bar.set_position(iteration as u64 + 1);
            bar.set_message(text.clone());
            let done = run.progress.iteration;
            if bar.is_hidden() && (done.is_multiple_of(LINE_EVERY) || done == recipe.iterations) {
                let pace = run.progress.seconds / done as f64;
                let left = pace * (recipe.iterations - done) as f64 / 60.0;
                eprintln!(
                    "{done}/{} {text}, {pace:.2} s each, {left:.0} min left",
                    recipe.iterations
                );
            }
            let mut metric = None;
            if done.is_multiple_of(recipe.validate_every) || done == recipe.iterations {
                let measured = validate(&run.ema, recipe, validation, device);
                print(format!("iteration {done}: {measured}"));
                let robust = measured["robust_accuracy"].as_f64();
                metric = robust.or_else(|| measured["clean_accuracy"].as_f64());
                line["validation"] = measured;
                let sheet = directory.join(format!("samples-{done:08}.png"));
                if let Err(error) = draw_samples(&run.ema, recipe, validation, &sheet, device) {
                    print(format!(
                        "iteration {done}: {error:#}; training goes on without it"
                    ));
                }
            }
            note(&line);
            let stop = interrupted.load(Ordering::Relaxed);
            if stop || recipe.checkpoint_due(done) {
                let epoch = done / batches(recipe, train.len());
                match run.save(recipe, directory, epoch, metric) {
                    Ok(_) => kept = done,
                    Err(error) if stop || done == recipe.iterations => bail!(
                        "the checkpoint of iteration {done} could not be written: {error:#}; the \
                         newest is of iteration {kept}: make room, then go on from it with --resume"
                    ),
                    Err(error) => print(format!(
                        "iteration {done}: the checkpoint could not be written: {error:#}; the \
                         newest is of iteration {kept}. Training goes on and tries again at the \
                         next one; make room until then"
                    )),
                }
            }
            if stop {
                bar.abandon();
                bail!("stopped after iteration {done}; go on with --resume");
            }
        }
        bar.finish();
        let shown = directory.display();
        let page = report::write(directory, None).with_context(|| {
            format!("the run is done; draw its page with `basin report {shown}`")
        })?;
        eprintln!("done: {}; basin export {shown}", page.display());
        Ok(())
    }
}

/// The weights of a model file of the recipe's network.
fn weights_to_begin_with(path: &Path, recipe: &Recipe) -> Result<(Origin, Weights)> {
    let file = model::read(path)?;
    let (found, expected) = (&file.card.architecture, recipe.architecture());
    if *found != expected {
        let shown = |architecture: &Architecture| {
            let numbers = serde_json::to_string(architecture).expect("plain data");
            format!("{} {numbers}", architecture.title())
        };
        bail!(
            "{}: the file's network is {}, the recipe's is {}; name a file of the latter, or change \
             the recipe's [architecture] and data_set to the former",
            path.display(),
            shown(found),
            shown(&expected)
        );
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    let origin = Origin {
        file: name.to_string_lossy().into_owned(),
        weights_sha256: file.card.weights_sha256.clone(),
    };
    Ok((origin, file.weights().clone()))
}

/// A run in memory.
pub(super) struct Run<'env> {
    /// On the autodiff device.
    model: Network,
    /// Off it.
    ema: Network,
    optimizer: ModuleOptimizer,
    /// What the model and its average began with, if not with random weights.
    begun_with: Option<Origin>,
    /// As each replica follows it.
    method: Method,
    /// Of each replica.
    states: Vec<State>,
    /// Where the method starts chains.
    gaussian: Option<Arc<ClassGaussian>>,
    replicas: Replicas<'env>,
    progress: Progress,
}

/// What the loss of a replica's share of the batch is, and how it changes with the weights.
struct Found {
    /// Of the share's part in the mean over the batch.
    gradients: GradientsParams,
    figures: Figures,
}

impl<'env> Run<'env> {
    /// A run on one device, with random weights.
    pub(super) fn init(recipe: &Recipe, train: &Images, device: &Device) -> Result<Self> {
        Self::begin(recipe, train, None, Replicas::single(device))
    }

    fn begin(
        recipe: &Recipe,
        train: &Images,
        origin: Option<(Origin, Weights)>,
        replicas: Replicas<'env>,
    ) -> Result<Self> {
        let [weight_key, state_key] = Key::new(recipe.seed).split();
        let device = replicas.first();
        let untracked = recipe
            .architecture()
            .init(recipe.initialization, weight_key, device);
        let (begun_with, weights) = match origin {
            Some((origin, weights)) => (Some(origin), weights),
            None => (None, parameters::collect(&untracked)),
        };
        let gaussian = gaussian(recipe, train, device)?;
        let method = of_replica(recipe, &replicas);
        let states = vec![State::Stateless; replicas.count()];
        Ok(Self {
            model: on_autodiff(recipe, &weights, device),
            ema: parameters::load(untracked, &weights),
            optimizer: optimizer(&recipe.optimizer),
            begun_with,
            states: with_beginnings(
                states,
                &method,
                recipe,
                train,
                gaussian.as_deref(),
                state_key,
            ),
            method,
            gaussian,
            replicas,
            progress: Progress {
                iteration: 0,
                rate_scale: 1.0,
                roll_backs: 0,
                seconds: 0.0,
                hardware: Vec::new(),
            },
        })
    }

    fn restore(
        checkpoint: Checkpoint,
        recipe: &Recipe,
        train: &Images,
        replicas: Replicas<'env>,
    ) -> Result<Self> {
        let device = replicas.first();
        let empty = recipe
            .architecture()
            .init(recipe.initialization, Key::new(0), device);
        let optimizer = optimizer(&recipe.optimizer)
            .from_bytes(Bytes::from_bytes_vec(checkpoint.optimizer))
            .context("the checkpoint's optimiser")?;
        let gaussian = gaussian(recipe, train, device)?;
        let method = of_replica(recipe, &replicas);
        let states = replicas::deal(checkpoint.states, replicas.count());
        let key = Key::new(recipe.seed).fold_in(checkpoint.progress.iteration as u64);
        Ok(Self {
            model: on_autodiff(recipe, &checkpoint.model, device),
            ema: parameters::load(empty, &checkpoint.ema),
            optimizer,
            begun_with: checkpoint.begun_with,
            states: with_beginnings(states, &method, recipe, train, gaussian.as_deref(), key),
            method,
            gaussian,
            replicas,
            progress: checkpoint.progress,
        })
    }

    fn save(
        &self,
        recipe: &Recipe,
        directory: &Path,
        epoch: usize,
        metric: Option<f64>,
    ) -> Result<PathBuf> {
        let optimizer = self
            .optimizer
            .into_bytes()
            .context("the optimiser's state")?;
        let checkpoint = Checkpoint {
            progress: self.progress.clone(),
            recipe: recipe.to_toml(),
            begun_with: self.begun_with.clone(),
            model: parameters::collect(&self.model.valid()),
            ema: parameters::collect(&self.ema),
            optimizer: optimizer.to_vec(),
            states: self.states.clone(),
        };
        Ok(checkpoint.write(directory, epoch, metric)?)
    }

    /// One iteration: batch, loss, backward pass, step. Every draw comes from the seed, the
    /// roll-backs and the iteration, so that a resumed run makes the same ones. The batch is made on
    /// `device`.
    pub(super) fn iterate(
        &mut self,
        recipe: &Recipe,
        train: &'env Images,
        device: &Device,
    ) -> Vec<(&'static str, f32)> {
        let iteration = self.progress.iteration;
        let run_key = Key::new(recipe.seed).fold_in(2 + self.progress.roll_backs as u64);
        let [method_key, augment_key] = run_key.fold_in(iteration as u64).split();
        let indices = batch_indices(recipe, train.len(), iteration);
        let (pixels, x, y) =
            train.augmented_batch(&indices, &recipe.augmentation, augment_key, device);
        let batch = Batch {
            x,
            y,
            pixels,
            labels: indices.iter().map(|&index| train.labels()[index]).collect(),
        };
        let shares = batch.shares(self.replicas.count());

        let rate = recipe.schedule.rate(iteration, recipe.iterations) * self.progress.rate_scale;
        let mut figures = Figures::new();
        for replay in 0..self.method.replays() {
            let key = method_key.fold_in(replay as u64);
            let solved = self.solve(recipe, train, &shares, key);
            figures = self.descend(recipe, solved, rate);
        }
        let average = self.ema.clone();
        let decay = match self.begun_with {
            // What the average began with is no less than what it sees next.
            Some(_) => recipe.ema_decay,
            None => ema::growing_decay(recipe.ema_decay, iteration),
        };
        self.ema = ema::update(average, &self.model, decay);
        self.progress.iteration += 1;
        let mut figures = to_host(figures);
        figures.push(("learning_rate", rate as f32));
        figures
    }

    /// Solves the inner problem of each share of the batch on its device, and finds the gradient of
    /// the outer one.
    fn solve(
        &mut self,
        recipe: &Recipe,
        train: &'env Images,
        shares: &[Batch],
        key: Key,
    ) -> Vec<(Outer, Found)> {
        let iteration = self.progress.iteration;
        let progress = iteration as f64 / recipe.iterations as f64;
        let label_smoothing = recipe.label_smoothing;
        let before_checkpoint = recipe.checkpoint_due(iteration + 1);
        let (method, gaussian) = (self.method.clone(), self.gaussian.clone());
        let part = 1.0 / self.replicas.count() as f32;
        let models = self.replicas.models(&self.model).into_iter();
        let states = std::mem::take(&mut self.states);
        let items = models.zip(shares.iter().cloned()).zip(states).enumerate();
        let items = items.map(|(i, item)| (replicas::key(key, i), item));
        let solved = self.replicas.each(items.collect(), move |device, item| {
            let (key, ((model, batch), mut state)) = item;
            let inner = Inner {
                model: &model,
                train,
                gaussian: gaussian.as_deref(),
                batch: &batch.on(device),
                label_smoothing,
                progress,
                before_checkpoint,
                key,
            };
            let outer = method.outer(inner, &mut state);
            let (found, gradient) = backward(&outer, &model, part);
            if let Some(gradient) = gradient {
                method.receive_input_gradient(&mut state, gradient);
            }
            (state, (outer, found))
        });
        let (states, solved) = solved.into_iter().unzip();
        self.states = states;
        solved
    }

    /// One step of the optimiser, down the mean over the shares. Its figures stay on the device.
    fn descend(&mut self, recipe: &Recipe, solved: Vec<(Outer, Found)>, rate: f64) -> Figures {
        let (outers, found): (Vec<_>, Vec<_>) = solved.into_iter().unzip();
        let (mut all, mut shares) = (Vec::new(), Vec::new());
        for Found { gradients, figures } in found {
            all.push(gradients);
            shares.push(figures);
        }
        let mut gradients = self.replicas.sum(all, &self.model);
        if let Some(sam) = recipe.sam {
            let sharpest = sam.ascend(&self.model, &gradients);
            let part = 1.0 / self.replicas.count() as f32;
            let models = self.replicas.models(&sharpest).into_iter();
            let items = models.zip(outers).collect();
            let all = self.replicas.each(items, move |_, (model, outer)| {
                backward(&outer, &model, part).0.gradients
            });
            gradients = self.replicas.sum(all, &sharpest);
        }
        let largest = recipe.optimizer.clip_norm();
        let (gradients, norm) = gradient_norm::clip(gradients, &self.model, largest);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);

        let mut figures = mean(shares);
        // After the loss and the accuracy.
        figures.insert(2, ("gradient_norm", norm));
        figures
    }
}

/// The loss and its gradients, of the weights and of the images where the method asks for those.
/// `part` is the share's part of the batch.
fn backward(outer: &Outer, model: &Network, part: f32) -> (Found, Option<Tensor<4>>) {
    let loss = outer(model);
    let mut all = (loss.value.clone() * part).backward();
    let of_images = loss.input.and_then(|input| input.grad_remove(&mut all));
    let mut figures = vec![("loss", loss.value.inner()), ("accuracy", loss.accuracy)];
    figures.extend(loss.figures);
    let gradients = GradientsParams::from_grads(all, model);
    (Found { gradients, figures }, of_images)
}

/// The mean of each figure over the shares of a batch, which all have the same ones.
fn mean(shares: Vec<Figures>) -> Figures {
    let part = 1.0 / shares.len() as f32;
    let mut shares = shares.into_iter();
    let mut mean = shares.next().expect("there is a device");
    for figures in shares {
        for ((_, sum), (_, value)) in mean.iter_mut().zip(figures) {
            *sum = sum.clone() + value.to_device(&sum.device());
        }
    }
    mean.into_iter()
        .map(|(name, sum)| (name, sum * part))
        .collect()
}

/// The method as each replica follows it.
///
/// # Panics
/// If [`replicas::check`] would have refused it.
fn of_replica(recipe: &Recipe, replicas: &Replicas) -> Method {
    let method = recipe.method.of_replica(replicas.count());
    method.expect("the devices were checked against the recipe")
}

/// The states, begun where a method with a state has none: at first, or where a run was packed without
/// its buffer.
fn with_beginnings(
    states: Vec<State>,
    method: &Method,
    recipe: &Recipe,
    train: &Images,
    gaussian: Option<&ClassGaussian>,
    key: Key,
) -> Vec<State> {
    let classes = recipe.data_set.classes();
    let begin = |(i, state)| match state {
        State::Stateless => method.init(train, classes, gaussian, replicas::key(key, i)),
        state => state,
    };
    states.into_iter().enumerate().map(begin).collect()
}

/// Read back at once: nothing else waits for the device.
fn to_host(figures: Figures) -> Vec<(&'static str, f32)> {
    let (names, values): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
    let values = Tensor::cat(values, 0).into_data();
    names.into_iter().zip(values.iter()).collect()
}

/// The class Gaussians of the training images, where the method starts chains there.
fn gaussian(
    recipe: &Recipe,
    train: &Images,
    device: &Device,
) -> Result<Option<Arc<ClassGaussian>>> {
    let Some(rank) = recipe.method.gaussian_rank() else {
        return Ok(None);
    };
    let classes = recipe.data_set.classes();
    let gaussian = class_gaussian(train, classes, rank, device)?;
    Ok(Some(Arc::new(gaussian)))
}

/// The model with tracked weights.
fn on_autodiff(recipe: &Recipe, weights: &Weights, device: &Device) -> Network {
    let device = device.clone().autodiff();
    let model = recipe
        .architecture()
        .init(recipe.initialization, Key::new(0), &device);
    parameters::load(model, weights).computing_in(recipe.precision)
}

pub(crate) fn optimizer(recipe: &OptimizerRecipe) -> ModuleOptimizer {
    match *recipe {
        OptimizerRecipe::Sgd {
            momentum,
            nesterov,
            weight_decay,
            ..
        } => SgdConfig::new()
            .with_momentum(Some(
                MomentumConfig::new()
                    .with_momentum(momentum)
                    .with_dampening(0.0)
                    .with_nesterov(nesterov),
            ))
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
            .init(),
        OptimizerRecipe::Adam {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => AdamConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
            .init(),
        OptimizerRecipe::AdamW {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(weight_decay)
            .init(),
    }
}

/// Whole batches of an epoch.
fn batches(recipe: &Recipe, images: usize) -> usize {
    (images / recipe.batch_size).max(1)
}

/// The images of an iteration: each epoch is a permutation, cut into whole batches.
fn batch_indices(recipe: &Recipe, images: usize, iteration: usize) -> Vec<usize> {
    let batches = batches(recipe, images);
    let (epoch, batch) = (iteration / batches, iteration % batches);
    let order = Key::new(recipe.seed)
        .fold_in(1)
        .fold_in(epoch as u64)
        .permutation(images);
    order
        .into_iter()
        .skip(batch * recipe.batch_size)
        .take(recipe.batch_size)
        .collect()
}

/// Why the figures say that the run has diverged, if they do.
fn diverged(figures: &[(&'static str, f32)], largest_energy: f32) -> Option<String> {
    figures.iter().find_map(|&(name, value)| {
        let energy = name == ENERGY_DATA || name == ENERGY_SAMPLE;
        if !value.is_finite() {
            Some(format!("diverged: {name} is {value}"))
        } else if energy && value.abs() > largest_energy {
            Some(format!(
                "diverged: {name} is {value:.1}, beyond ±{largest_energy}"
            ))
        } else if name == PGD_DROP && value > LARGEST_PGD_DROP {
            Some(format!(
                "catastrophic overfitting: the accuracy under PGD fell by {value:.2} since the last \
                 checkpoint"
            ))
        } else {
            None
        }
    })
}

/// Accuracies of the averaged model on held-out training images.
fn validate(
    ema: &Network,
    recipe: &Recipe,
    validation: &Images,
    device: &Device,
) -> serde_json::Value {
    let ema = &ema.frozen();
    let mut measured = json!({"clean_accuracy": model::clean_accuracy(ema, validation, device)});
    if let Some(budget) = recipe.method.budget() {
        let adversary = Adversary {
            budget,
            pgd: Pgd {
                steps: 10,
                step_size: budget.epsilon / 4.0,
            },
            key: Key::new(recipe.seed),
        };
        let attacked: Vec<usize> = (0..ATTACKED.min(validation.len())).collect();
        let robust = model::survivors(ema, ema, validation, &attacked, adversary, device);
        measured["robust_accuracy"] = json!(robust.len() as f64 / attacked.len() as f64);
    }
    measured
}

/// Writes a sheet of samples of the averaged model.
fn draw_samples(
    ema: &Network,
    recipe: &Recipe,
    validation: &Images,
    path: &Path,
    device: &Device,
) -> Result<()> {
    let classes = recipe.data_set.classes();
    let y: Vec<u8> = (0..classes).flat_map(|class| [class as u8; 4]).collect();
    let [channels, height, width] = recipe.data_set.shape();
    let key = Key::new(recipe.seed);
    let x = key.uniform([4 * classes, channels, height, width], device);
    let settings = &recipe.generation;
    let network = ema.frozen();
    let distances = matches!(settings.sampler, Sampler::ByDistance(_)).then(|| {
        let some = model::head(validation, MEASURED);
        distances::measure(&network, &some, key.fold_in(1), device)
    });
    let distances = distances.as_ref();
    let x = model::run_chains(&network, settings, distances, &y, x, key.fold_in(0), |_| {});
    model::write_grid(path, x, 4)
}

fn describe(figures: &[(&'static str, f32)]) -> String {
    let text = figures.iter().filter(|(name, _)| *name != "learning_rate");
    text.map(|(name, value)| format!("{} {value:.3}", name.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn default_run(recipe: &Path) -> PathBuf {
    Path::new("runs").join(recipe.file_stem().unwrap_or("run".as_ref()))
}

fn progress_bar(iterations: usize, done: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {per_sec} eta {eta}  {msg}");
    let bar = ProgressBar::new(iterations as u64).with_style(style.expect("a valid template"));
    bar.set_position(done as u64);
    bar.reset_eta();
    bar
}
