//! Programs that come with the operating system. On Debian and its kin root has them installed;
//! anyone else is told what to install.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{output, program, run, step};

/// A program or a path, and the Debian package that brings it.
type Packaged = (&'static str, &'static str);

/// What drives tests in a browser.
pub(crate) const BROWSER: &[Packaged] = &[
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];

/// Firefox, WebKitGTK's small browser with its driver, and a screen for the latter.
pub(crate) const OTHER_BROWSERS: &[Packaged] = &[
    ("firefox-esr", "firefox-esr"),
    ("WebKitWebDriver", "webkit2gtk-driver"),
    ("xvfb-run", "xvfb"),
    ("xauth", "xauth"),
];

/// What runs the end-to-end tests.
pub(crate) const NODE: &[Packaged] = &[("node", "nodejs"), ("npm", "npm")];

/// A driver for the tests on a GPU; this one computes on the processor.
pub(crate) const VULKAN: &[Packaged] = &[("/usr/share/vulkan/icd.d", "mesa-vulkan-drivers")];

/// Makes sure that all of these programs are there.
pub(crate) fn ensure(programs: &[Packaged]) -> Result<()> {
    let missing: Vec<Packaged> = programs
        .iter()
        .filter(|(name, _)| !is_installed(name))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !is_installed("apt-get") {
        bail!("found no {names} on the PATH; install what your system calls {packages:?}");
    }
    if output(&mut program("id", &["-u"]))?.trim() != "0" {
        bail!(
            "found no {names}; run: sudo apt-get install {}",
            packages.join(" ")
        );
    }
    step(&format!("system packages: {}", packages.join(", ")), || {
        run(&mut program("apt-get", &["update", "-qq"]))?;
        let options = ["install", "-y", "-qq", "--no-install-recommends"];
        let mut install = program("apt-get", &options);
        run(install
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

/// Where a program is on the PATH.
pub(crate) fn locate(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("found no {program} on the PATH"))
}

fn is_installed(name: &str) -> bool {
    find(name).is_some() || name.starts_with('/') && Path::new(name).exists()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
