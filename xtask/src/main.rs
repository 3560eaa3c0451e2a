//! `cargo xtask`: builds, serves, tests and measures Basin.

mod bench;
mod checks;
mod command;
mod measurement;
mod page;
mod release;
mod serve;
mod system;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, serves, tests and measures Basin.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the page and serve it on 127.0.0.1.
    Demo {
        /// Port to listen on; 8080, or a free one if that is taken, unless given.
        #[arg(long)]
        port: Option<u16>,
    },
    /// Build the page into dist/.
    Build {
        /// Also copy it to this folder, for a host of static files, with what it compresses to beside each file.
        #[arg(long, value_name = "FOLDER")]
        release_dir: Option<PathBuf>,
    },
    /// Check all that a change must pass, or the parts named.
    Test {
        /// Parts to run, in this order.
        #[arg(value_enum)]
        parts: Vec<checks::Part>,
    },
    /// Measure speed, size and memory; JSON on standard output. See docs/performance.md.
    Bench {
        /// The folder of the peers to compare with: tfjs/, with its packages installed, and torch/bench.py.
        #[arg(long)]
        peers: Option<PathBuf>,
        /// A Python that has PyTorch.
        #[arg(long, default_value = "python3")]
        python: PathBuf,
        /// How often ours and the peers take turns.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
        rounds: u8,
        /// Leave the WebGPU engine out; on a software adapter it takes minutes.
        #[arg(long)]
        no_gpu: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo { port } => {
            page::build()?;
            serve::serve(&page::dist(), port)
        }
        Task::Build { release_dir } => {
            page::build()?;
            release_dir.map_or(Ok(()), |folder| release::release(&folder))
        }
        Task::Test { parts } => checks::test(&parts),
        Task::Bench {
            peers,
            python,
            rounds,
            no_gpu,
        } => bench::bench(&bench::Options {
            // Commands run elsewhere.
            peers: peers.map(std::path::absolute).transpose()?,
            python,
            rounds: rounds.into(),
            gpu: !no_gpu,
        }),
    }
}
