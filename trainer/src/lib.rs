//! `basin`: trains, attacks, evaluates and exports image classifiers that are also energy-based
//! models.
//!
//! A library only so that the fuzz targets reach its readers; the program is [`main`].

// A reader that goes away, as `head` does, is no reason to stop: what is told to nobody is not told.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod tell;

mod atomic_file;
mod chains;
mod cli;
mod commands;
mod data;
mod device;
mod evaluation;
mod figures;
#[cfg(fuzzing)]
pub mod fuzzing;
mod methods;
mod model;
#[cfg(all(test, feature = "wgpu"))]
mod on_gpu;
mod pytorch;
mod recipe;
mod recipes;
mod search;
mod training;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// The system's allocator gives the large buffers of activations back to the kernel again and again;
/// faulting them in anew costs more than computing them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the allocator keep what it has: by itself it would give buffers back after some milliseconds,
/// a tenth of the time of an iteration.
fn keep_memory() {
    /// `mi_option_purge_delay`, which the bindings do not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: an option may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// The program.
pub fn main() -> ExitCode {
    keep_memory();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("basin: {}", whole(&error));
            match error.is::<Interrupted>() {
                true => ExitCode::from(Interrupted::CODE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// A run was stopped by Ctrl-C, and can go on.
#[derive(Debug, thiserror::Error)]
#[error("stopped after iteration {iteration}; go on with --resume")]
struct Interrupted {
    iteration: usize,
}

impl Interrupted {
    /// What shells take for an end by Ctrl-C; 1 is for what went wrong, 2 for how the program was called.
    const CODE: u8 = 130;
}

/// An error with its causes, but for those whose words the error ends with already.
fn whole(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // What computes nothing needs no device.
    match cli.command {
        Command::Recipes(arguments) => return commands::recipes::run(arguments),
        Command::Completions(arguments) => {
            commands::shell::completions(&arguments);
            return Ok(());
        }
        Command::Man(arguments) => return commands::shell::man(&arguments),
        _ => {}
    }
    let choices = match &cli.command {
        Command::Train(arguments) if !arguments.devices.is_empty() => arguments.devices.clone(),
        _ => vec![cli.device],
    };
    let (mut devices, mut names) = (Vec::new(), Vec::new());
    for choice in choices {
        let (device, name) = choice.resolve()?;
        tell!("device: {name}");
        devices.push(device);
        names.push(name);
    }
    let device = &devices[0];
    match cli.command {
        Command::Train(arguments) => commands::train::run(arguments, &devices, names.join(" and ")),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, device),
        Command::Attack(arguments) => commands::attack::run(arguments, device),
        Command::TuneSampler(arguments) => commands::tune_sampler::run(arguments, device),
        Command::Generate(arguments) => commands::generate::run(arguments, device),
        Command::Denoise(arguments) => commands::denoise::run(arguments, device),
        Command::Restore(arguments) => commands::restore::run(arguments, device),
        Command::Export(arguments) => commands::export::run(arguments, device),
        Command::Average(arguments) => commands::average::run(arguments, device),
        Command::Import(arguments) => commands::import::run(arguments, device),
        Command::Checkpoint(arguments) => commands::checkpoint::run(arguments),
        Command::Report(arguments) => commands::report::run(arguments),
        Command::Publish(arguments) => commands::publish::run(arguments, device),
        Command::Benchmark(arguments) => {
            commands::benchmark::run(arguments, cli.device, &names[0], device)
        }
        Command::Recipes(_) | Command::Completions(_) | Command::Man(_) => {
            unreachable!("these have returned")
        }
    }
}
