//! Running other programs: what runs, how long it took, and what to say when it fails.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Does `work`, saying `what` before it and the time it took after it.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "failed" };
    eprintln!("<== {what}: {outcome} in {}", duration(start.elapsed()));
    result
}

/// Seconds, with minutes from one minute on.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// `cargo` of the toolchain that runs this, at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    program("cargo", arguments)
}

/// A program at the root.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    // Cargo tells its children which package it runs; a build by another Cargo must not see that.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_"))
        {
            command.env_remove(name);
        }
    }
    command
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH");
    command
}

/// Runs `command` with its output passed on, all of it to standard error: standard output is for what
/// a task finds. Fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("  $ {line}");
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// As [`run`]; where it fails, the error is the last `count` lines that it printed.
pub(crate) fn run_keeping(count: usize, command: &mut Command) -> Result<()> {
    let line = line(command);
    let (printed, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn();
    // Ours are closed with it: `printed` ends with the program.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.with_context(|| format!("cannot run `{line}`"))?;
    let mut last = VecDeque::new();
    for line in BufReader::new(printed).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        eprintln!("{line}");
        last.push_back(line);
        if last.len() > count {
            last.pop_front();
        }
    }
    if !child.wait()?.success() {
        bail!("{}", Vec::from(last).join("\n"));
    }
    Ok(())
}

/// Runs `command`, which must succeed, and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// The last word of what `program --version` prints; none if there is no such program.
pub(crate) fn version(program: &mut Command) -> Option<String> {
    let output = program
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().next()?.split_whitespace().nth(1)?;
    output.status.success().then(|| version.to_string())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (754, "12 min 34 s"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn what_a_failing_program_printed_last_is_kept() {
        let program = |script| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run_keeping(2, &mut command)
        };
        let error = program("echo one; echo two >&2; echo three; exit 1").unwrap_err();
        assert_eq!(error.to_string(), "two\nthree");
        program("echo one").unwrap();
    }

    #[test]
    fn a_failing_program_is_named_with_its_arguments() {
        let error = run(&mut cargo(&["no-such-subcommand"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("cargo no-such-subcommand"), "{error}");
        let error = run(&mut program("no-such-program", &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
