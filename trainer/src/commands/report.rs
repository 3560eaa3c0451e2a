//! `basin report`: the page of a run.

use anyhow::Result;

use crate::{cli, figures::report};

pub(crate) fn run(arguments: cli::Report) -> Result<()> {
    let page = report::write(&arguments.run, arguments.output)?;
    tell!("{}", page.display());
    Ok(())
}
