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
use basin_shared::{arrays::Weights, file::card::Origin, key::Key, models::widen};
use burn::tensor::Device;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    Interrupted,
    atomic_file::write_atomically,
    cli,
    data::{self, Images},
    figures::report,
    methods::{ENERGY_DATA, ENERGY_SAMPLE, PGD_DROP, State},
    model,
    recipe::Recipe,
    training::{
        checkpoint::Checkpoint,
        metrics_log::{MetricsLog, ROLLED_BACK},
        replicas::{self, Replicas},
        run::{Run, batches},
        validation::{draw_samples, validate},
    },
};

/// Iterations between two lines where the output is no terminal.
const LINE_EVERY: usize = 50;

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
    check_classes(&train, &images.class_names, &recipe)?;
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
            tell!("beginning with the weights of {}", origin.file);
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
        let newest = Checkpoint::newest(directory, |text| tell!("{text}"))?;
        newest.check_resumable()?;
        let iteration = newest.progress.iteration;
        let begun = Recipe::kept(&newest.recipe)?;
        if begun != *recipe {
            if !change_recipe {
                bail!(
                    "{}: the run was started with another recipe, kept in its recipe.toml: {}; resume \
                     with the same recipe and --set, go on under this one with --change-recipe, \
                     or start another run with --run",
                    directory.display(),
                    begun.differences(recipe).join(", ")
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
        tell!("resuming after iteration {iteration}");
        if recipe.method.replays_chains() && newest.states[0] == State::Stateless {
            tell!(
                "the replay buffer was left out of the packed run: chains begin anew, and the run is not the same to the \
                 bit"
            );
        }
        let (before, devices) = (newest.states.len(), replicas.count());
        if before != devices && newest.states[0] != State::Stateless {
            tell!(
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
                std::process::exit(Interrupted::CODE.into());
            }
        })
        .context("Ctrl-C cannot be caught")?;
        let bar = progress_bar(recipe.iterations, run.progress.iteration);
        let print = |text: String| {
            if bar.is_hidden() {
                tell!("{text}")
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

            if let Some(fault) = diverged(&figures, recipe) {
                let roll_backs = run.progress.roll_backs + 1;
                let rate_scale = run.progress.rate_scale * recipe.divergence.rate_factor;
                if roll_backs > recipe.divergence.roll_backs {
                    bail!(
                        "iteration {iteration}: {fault}, after {} roll-backs",
                        roll_backs - 1
                    );
                }
                let limit = run.progress.good_before(kept);
                let rolled_back = (roll_backs, rate_scale);
                let good = Checkpoint::roll_back(directory, limit, rolled_back, &print)?;
                kept = good.progress.iteration;
                print(format!(
                    "iteration {iteration}: {fault}; back to iteration {} with {rate_scale} of the \
                     learning rate",
                    good.progress.iteration
                ));
                run = Run::restore(good, recipe, train, run.replicas)?;
                run.progress.go_on_with(hardware);
                note(&json!({"iteration": run.progress.iteration, ROLLED_BACK: fault}));
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
            let early = [1, 2, 5, 10, 20].contains(&done);
            let due = early || done.is_multiple_of(LINE_EVERY) || done == recipe.iterations;
            if bar.is_hidden() && due {
                let pace = run.progress.seconds / done as f64;
                let left = pace * (recipe.iterations - done) as f64 / 60.0;
                tell!(
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
                return Err(Interrupted { iteration: done }.into());
            }
        }
        bar.finish();
        let shown = directory.display();
        let page = report::write(directory, None).with_context(|| {
            format!("the run is done; draw its page with `basin report {shown}`")
        })?;
        tell!("done: {}; basin export {shown}", page.display());
        Ok(())
    }
}

/// Every class has an image left to learn from.
fn check_classes(train: &Images, names: &[String], recipe: &Recipe) -> Result<()> {
    let mut counts = vec![0; names.len()];
    for &label in train.labels() {
        counts[usize::from(label)] += 1;
    }
    match counts.iter().position(|&count| count == 0) {
        Some(class) => bail!(
            "class `{}` has no training image once validation, {} images, is held out; expected one at least: give \
             it more pictures, or lower validation",
            names[class],
            recipe.validation
        ),
        None => Ok(()),
    }
}

/// The weights of a model file of the recipe's network, or of a narrower one that is widened to it.
fn weights_to_begin_with(path: &Path, recipe: &Recipe) -> Result<(Origin, Weights)> {
    let file = model::read(path)?;
    let (found, expected) = (&file.card.architecture, recipe.architecture());
    let weights = if *found == expected {
        file.weights().clone()
    } else if found.is_narrower_than(&expected) {
        tell!("widening {} to {}", found.title(), expected.title());
        let key = Key::new(recipe.seed).stream("widen");
        widen(file.weights(), &expected, key)
    } else {
        bail!(
            "{}: the file's network is {}, the recipe's is {}; name a file of the latter or of a narrower \
             one of its kind, or change the recipe's [architecture] and data_set to the former",
            path.display(),
            model::described(found),
            model::described(&expected)
        );
    };
    let name = path.file_name().unwrap_or(path.as_os_str());
    let origin = Origin {
        file: name.to_string_lossy().into_owned(),
        weights_sha256: file.card.weights_sha256.clone(),
    };
    Ok((origin, weights))
}

/// Why the figures say that the run has diverged, if they do.
fn diverged(figures: &[(&'static str, f32)], recipe: &Recipe) -> Option<String> {
    let largest_energy = recipe.divergence.largest_energy;
    figures.iter().find_map(|&(name, value)| {
        let energy = name == ENERGY_DATA || name == ENERGY_SAMPLE;
        if !value.is_finite() {
            Some(format!("diverged: {name} is {value}"))
        } else if energy && value.abs() > largest_energy {
            Some(format!(
                "diverged: {name} is {value:.1}, beyond ±{largest_energy}"
            ))
        } else if name == PGD_DROP && value > recipe.method.largest_pgd_drop() {
            Some(format!(
                "catastrophic overfitting: the accuracy under PGD fell by {value:.2} since the last \
                 checkpoint"
            ))
        } else {
            None
        }
    })
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
