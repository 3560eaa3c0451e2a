//! `basin`: trains, attacks, evaluates and exports image classifiers that are also energy-based
//! models.

mod checkpoint;
mod class_statistics;
mod cli;
mod commands;
mod data;
mod device;
mod ema;
mod gradient_norm;
mod learning_rate;
mod methods;
mod metrics;
mod model;
mod picture;
mod recipe;
mod replay_buffer;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// The system's allocator gives the large buffers of activations back to the kernel again and again;
/// faulting them in anew costs more than computing them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("basin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let (device, name) = cli.device.resolve()?;
    eprintln!("device: {name}");
    match cli.command {
        Command::Train(arguments) => commands::train::run(arguments, &device),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, &device),
        Command::Generate(arguments) => commands::generate::run(arguments, &device),
        Command::Denoise(arguments) => commands::denoise::run(arguments, &device),
        Command::Export(arguments) => commands::export::run(arguments, &device),
    }
}
