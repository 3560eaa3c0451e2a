//! `cargo xtask`: builds, serves, tests and measures Basin.

mod bench;
mod checks;
mod command;
mod gpu_kit;
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
        /// The address that folder will have, which other sites need for the picture that they show of a link.
        #[arg(long, value_name = "URL", requires = "release_dir")]
        address: Option<String>,
    },
    /// Check all that a change must pass, or the parts named.
    Test {
        /// Parts to run, in this order.
        #[arg(value_enum)]
        parts: Vec<checks::Part>,
    },
    /// Make a folder to carry to a borrowed GPU: the trainer with CUDA, recipes, a data set, one script. See
    /// docs/MACHINES.md.
    GpuKit {
        /// The folder of the kit; an older kit in it is replaced.
        #[arg(long, short, default_value = "target/gpu-kit")]
        output: PathBuf,
        /// The folder of the data set, as `basin --data-dir` takes it.
        #[arg(long, required_unless_present = "dry_run")]
        data: Option<PathBuf>,
        /// The peer's bench.py, to be timed beside ours where PyTorch is.
        #[arg(long)]
        peer: Option<PathBuf>,
        /// Leave out LLVM, which CubeCL downloads while it is built and does not call here.
        #[arg(long)]
        without_llvm: bool,
        /// Make a kit without CUDA of the tests' data, and run it on the processor.
        #[arg(long)]
        dry_run: bool,
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
        Task::Build {
            release_dir,
            address,
        } => {
            page::build()?;
            release_dir.map_or(Ok(()), |folder| {
                release::release(&folder, address.as_deref())
            })
        }
        Task::Test { parts } => checks::test(&parts),
        Task::GpuKit { dry_run: true, .. } => gpu_kit::dry_run(),
        Task::GpuKit {
            output,
            data,
            peer,
            without_llvm,
            ..
        } => gpu_kit::make(&gpu_kit::Options {
            output: std::path::absolute(output)?,
            data: std::path::absolute(data.unwrap_or_default())?,
            peer: peer.map(std::path::absolute).transpose()?,
            cpu: false,
            without_llvm,
        }),
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
