//! `basin completions` and `basin man`: what a shell and a manual want to know of the command line.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli;

/// The words that a shell completes, as a script of the shell's.
pub(crate) fn completions(arguments: &cli::Completions) {
    let mut command = cli::Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "basin", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
}

/// A page of the manual for each command.
pub(crate) fn man(arguments: &cli::Man) -> Result<()> {
    let directory = &arguments.output;
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    clap_mangen::generate_to(cli::Cli::command(), directory)
        .with_context(|| directory.display().to_string())?;
    let count = std::fs::read_dir(directory)?.count();
    say!("{}: {count} files", directory.display());
    Ok(())
}
