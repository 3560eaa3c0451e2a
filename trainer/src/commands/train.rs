//! `basin train`: a recipe in, checkpoints and metrics out.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use basin_shared::{Key, attacks::Pgd, models::Network, samplers::ClassGaussian, tensors, weights};
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
    class_statistics::class_statistics,
    cli,
    data::{self, Images},
    ema, gradient_norm,
    methods::{Batch, ENERGY_DATA, ENERGY_SAMPLE, Figures, Inner, Outer, PGD_DROP, State},
    model,
    recipe::{OptimizerRecipe, Recipe},
};

/// Iterations between two lines where the output is no terminal.
const LINE_EVERY: usize = 50;
/// Fall of the accuracy under PGD between checkpoints that is taken for catastrophic overfitting
/// (Wong et al. 2020, their code).
const LARGEST_PGD_DROP: f32 = 0.2;
/// Validation images attacked at each measurement.
const ATTACKED: usize = 500;

pub(crate) fn run(arguments: cli::Train, device: &Device) -> Result<()> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    let directory = arguments
        .run
        .clone()
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

    let mut run = if arguments.resume {
        let newest = Checkpoint::newest(&directory, |text| eprintln!("{text}"))?;
        let iteration = newest.progress.iteration;
        let begun = Recipe::kept(&newest.recipe)?;
        if begun != recipe {
            if !arguments.change_recipe {
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
        Run::restore(newest, &recipe, &train, device)?
    } else {
        if directory.join("recipe.toml").exists() {
            bail!(
                "{}: holds a run already; add --resume or --run",
                directory.display()
            );
        }
        write_atomically(&directory.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        let run = Run::init(&recipe, &train, device)?;
        run.save(&recipe, &directory, 0, None)?;
        run
    };
    let mut log = open_log(&directory.join("metrics.jsonl"), run.progress.iteration)?;
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

    let mut clock = Instant::now();
    while run.progress.iteration < recipe.iterations {
        let iteration = run.progress.iteration;
        let figures = run.iterate(&recipe, &train, device);
        run.progress.seconds += clock.elapsed().as_secs_f64();
        clock = Instant::now();

        if let Some(fault) = diverged(&figures, recipe.divergence.largest_energy) {
            let (rate_scale, roll_backs) = (run.progress.rate_scale, run.progress.roll_backs + 1);
            if roll_backs > recipe.divergence.roll_backs {
                bail!(
                    "iteration {iteration}: {fault}, after {} roll-backs",
                    roll_backs - 1
                );
            }
            let good = Checkpoint::newest(&directory, &print)?;
            let rate_scale = rate_scale * recipe.divergence.rate_factor;
            print(format!(
                "iteration {iteration}: {fault}; back to iteration {} with {rate_scale} of the \
                 learning rate",
                good.progress.iteration
            ));
            run = Run::restore(good, &recipe, &train, device)?;
            run.progress = Progress {
                rate_scale,
                roll_backs,
                ..run.progress
            };
            let event = json!({"iteration": run.progress.iteration, "rolled_back": fault});
            writeln!(log, "{event}")?;
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
            let measured = validate(&run.ema, &recipe, &validation, done, &directory, device)?;
            print(format!("iteration {done}: {measured}"));
            let robust = measured["robust_accuracy"].as_f64();
            metric = robust.or_else(|| measured["clean_accuracy"].as_f64());
            line["validation"] = measured;
        }
        writeln!(log, "{line}")?;
        let stop = interrupted.load(Ordering::Relaxed);
        if stop || recipe.checkpoint_due(done) {
            log.flush()?;
            let epoch = done / batches(&recipe, train.len());
            run.save(&recipe, &directory, epoch, metric)?;
        }
        if stop {
            bar.abandon();
            bail!("stopped after iteration {done}; go on with --resume");
        }
    }
    bar.finish();
    let page = report::write(&directory, None)?;
    eprintln!(
        "done: {}; basin export {}",
        page.display(),
        directory.display()
    );
    Ok(())
}

/// A run in memory.
pub(super) struct Run {
    /// On the autodiff device.
    model: Network,
    /// Off it.
    ema: Network,
    optimizer: ModuleOptimizer,
    state: State,
    /// Where the method starts chains.
    gaussian: Option<ClassGaussian>,
    progress: Progress,
}

impl Run {
    pub(super) fn init(recipe: &Recipe, train: &Images, device: &Device) -> Result<Self> {
        let [weight_key, state_key] = Key::new(recipe.seed).split();
        let untracked = recipe
            .architecture()
            .init(recipe.initialization, weight_key, device);
        let numbered = tensors::collect(&untracked);
        let gaussian = gaussian(recipe, train, device)?;
        let classes = recipe.data_set.classes();
        Ok(Self {
            model: on_autodiff(recipe, &numbered, device),
            ema: untracked,
            optimizer: optimizer(&recipe.optimizer),
            state: recipe
                .method
                .init(train, classes, gaussian.as_ref(), state_key),
            gaussian,
            progress: Progress {
                iteration: 0,
                rate_scale: 1.0,
                roll_backs: 0,
                seconds: 0.0,
            },
        })
    }

    fn restore(
        checkpoint: Checkpoint,
        recipe: &Recipe,
        train: &Images,
        device: &Device,
    ) -> Result<Self> {
        let empty = recipe
            .architecture()
            .init(recipe.initialization, Key::new(0), device);
        let optimizer = optimizer(&recipe.optimizer)
            .from_bytes(Bytes::from_bytes_vec(checkpoint.optimizer))
            .context("the checkpoint's optimiser")?;
        let gaussian = gaussian(recipe, train, device)?;
        let state = match checkpoint.state {
            // Packed without its buffer, or never had one: the method knows.
            State::Stateless => {
                let key = Key::new(recipe.seed).fold_in(checkpoint.progress.iteration as u64);
                let classes = recipe.data_set.classes();
                recipe.method.init(train, classes, gaussian.as_ref(), key)
            }
            state => state,
        };
        Ok(Self {
            model: on_autodiff(recipe, &checkpoint.model, device),
            ema: tensors::load(empty, &checkpoint.ema),
            optimizer,
            state,
            gaussian,
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
            model: tensors::collect(&self.model.valid()),
            ema: tensors::collect(&self.ema),
            optimizer: optimizer.to_vec(),
            state: self.state.clone(),
        };
        Ok(checkpoint.write(directory, epoch, metric)?)
    }

    /// One iteration: batch, loss, backward pass, step. Every draw comes from the seed, the
    /// roll-backs and the iteration, so that a resumed run makes the same ones.
    pub(super) fn iterate(
        &mut self,
        recipe: &Recipe,
        train: &Images,
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

        let rate = recipe.schedule.rate(iteration, recipe.iterations) * self.progress.rate_scale;
        let mut figures = Figures::new();
        for replay in 0..recipe.method.replays() {
            let inner = Inner {
                model: &self.model,
                train,
                gaussian: self.gaussian.as_ref(),
                batch: &batch,
                label_smoothing: recipe.label_smoothing,
                progress: iteration as f64 / recipe.iterations as f64,
                before_checkpoint: recipe.checkpoint_due(iteration + 1),
                key: method_key.fold_in(replay as u64),
            };
            let outer = recipe.method.outer(inner, &mut self.state);
            figures = self.descend(recipe, &outer, rate);
        }
        let average = self.ema.clone();
        self.ema = ema::update(average, &self.model, recipe.ema_decay, iteration);
        self.progress.iteration += 1;
        let mut figures = to_host(figures);
        figures.push(("learning_rate", rate as f32));
        figures
    }

    /// One step of the optimiser. Its figures stay on the device.
    fn descend(&mut self, recipe: &Recipe, outer: &Outer, rate: f64) -> Figures {
        let loss = outer(&self.model);
        let mut all = loss.value.backward();
        if let Some(gradient) = loss.input.and_then(|input| input.grad_remove(&mut all)) {
            recipe.method.learn(&mut self.state, gradient);
        }
        let mut gradients = GradientsParams::from_grads(all, &self.model);
        if let Some(sam) = recipe.sam {
            let sharpest = sam.ascend(&self.model, &gradients);
            let loss = outer(&sharpest);
            gradients = GradientsParams::from_grads(loss.value.backward(), &sharpest);
        }
        let largest = recipe.optimizer.clip_norm();
        let (gradients, norm) = gradient_norm::clip(gradients, &self.model, largest);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);

        let mut figures = vec![
            ("loss", loss.value.inner()),
            ("accuracy", loss.accuracy),
            ("gradient_norm", norm),
        ];
        figures.extend(loss.figures);
        figures
    }
}

/// Read back at once: nothing else waits for the device.
fn to_host(figures: Figures) -> Vec<(&'static str, f32)> {
    let (names, values): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
    let values = Tensor::cat(values, 0).into_data();
    names.into_iter().zip(values.iter()).collect()
}

/// The class Gaussians of the training images, where the method starts chains there.
fn gaussian(recipe: &Recipe, train: &Images, device: &Device) -> Result<Option<ClassGaussian>> {
    let Some(rank) = recipe.method.gaussian_rank() else {
        return Ok(None);
    };
    let classes = recipe.data_set.classes();
    class_statistics(train, classes, rank, device).map(Some)
}

/// The model with tracked weights.
fn on_autodiff(recipe: &Recipe, weights: &weights::Weights, device: &Device) -> Network {
    let device = device.clone().autodiff();
    let model = recipe
        .architecture()
        .init(recipe.initialization, Key::new(0), &device);
    tensors::load(model, weights)
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

/// Accuracies of the averaged model on held-out training images, and a sheet of samples.
fn validate(
    ema: &Network,
    recipe: &Recipe,
    validation: &Images,
    iteration: usize,
    directory: &Path,
    device: &Device,
) -> Result<serde_json::Value> {
    let ema = &ema.frozen();
    let mut measured = json!({"clean_accuracy": model::clean_accuracy(ema, validation, device)});
    if let Some(budget) = recipe.method.budget() {
        let attack = Pgd {
            steps: 10,
            step_size: budget.epsilon / 4.0,
        };
        let key = Key::new(recipe.seed);
        let robust = model::robust_accuracy(ema, validation, ATTACKED, budget, attack, key, device);
        measured["robust_accuracy"] = json!(robust);
    }
    let classes = recipe.data_set.classes();
    let y: Vec<u8> = (0..classes).flat_map(|class| [class as u8; 4]).collect();
    let y = model::labels(&y, device);
    let [channels, height, width] = recipe.data_set.shape();
    let key = Key::new(recipe.seed);
    let x = key.uniform([4 * classes, channels, height, width], device);
    let x = model::run_chains(ema, &recipe.generation, y, x, key.fold_in(0), |_| {});
    let path = directory.join(format!("samples-{iteration:08}.png"));
    model::write_grid(&path, x, 4)?;
    Ok(measured)
}

/// The metrics file, cut after the lines of earlier iterations.
fn open_log(path: &Path, iteration: usize) -> Result<File> {
    let kept: Vec<String> = match File::open(path) {
        Err(_) => Vec::new(),
        Ok(file) => BufReader::new(file)
            .lines()
            .map_while(|line| line.ok())
            .take_while(|line| {
                let line: Option<serde_json::Value> = serde_json::from_str(line).ok();
                line.and_then(|line| line["iteration"].as_u64())
                    .is_some_and(|i| i <= iteration as u64)
            })
            .collect(),
    };
    let context = || path.display().to_string();
    let text: String = kept.into_iter().map(|line| line + "\n").collect();
    write_atomically(path, text.as_bytes())?;
    OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(context)
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
