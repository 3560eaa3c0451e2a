//! What must survive kills, full disks, closed pipes and divergence: runs, and files that were there before.

#[path = "program/mod.rs"]
mod program;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use basin_shared::Key;

use program::{
    basin, checkpoint_of, checkpoints, data, newest_checkpoint, root, succeed, tensors, train,
};

/// Settings with which JEAT diverges a dozen times and more within its first iterations.
const DIVERGING: [&str; 4] = [
    "schedule.peak=3",
    "divergence.largest_energy=5",
    "divergence.rate_factor=0.7",
    "divergence.roll_backs=100",
];

/// Begins a run, or goes on with it where it has got to a checkpoint, and kills it after a pause; how it ended where it
/// had by itself. `arguments` are those to begin it with, or to go on.
fn killed_after(
    pause: Duration,
    run: &Path,
    arguments: impl Fn(bool) -> Vec<String>,
) -> Option<ExitStatus> {
    let resume = run.join("recipe.toml").exists() && !checkpoints(run).is_empty();
    if !resume {
        let _ = std::fs::remove_dir_all(run);
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_basin"))
        .args(["--device", "cpu"])
        .args(arguments(resume))
        .current_dir(run.parent().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(pause);
    let ended = child.try_wait().unwrap();
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    ended
}

/// A run that rolls back, killed at random moments until it ends, has the weights of one that nobody killed.
/// Returns the number of kills.
fn killed_at_random(seed: u64) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let data = data();
    let recipe = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let seeded = format!("seed={seed}");
    let arguments = |run: &str, resume: bool| {
        let mut more = vec!["--run", run, "--set", "iterations=40", "--set", &seeded];
        more.extend(["--set", "checkpoint_every=1"]);
        more.extend(DIVERGING.iter().flat_map(|setting| ["--set", setting]));
        more.extend(resume.then_some("--resume"));
        let arguments = train(&recipe, &data, &more).into_iter();
        arguments.map(String::from).collect::<Vec<_>>()
    };
    let strings = |arguments: &[String]| -> String {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = basin(directory.path(), &arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = strings(&arguments("through", false));
    let roll_backs = text.matches("back to iteration").count();
    assert!(roll_backs >= 3, "{text}");

    let run = directory.path().join("killed");
    let (mut kills, mut attempts) = (0, 0);
    loop {
        // Longer and longer, as a busy machine may need long to get anywhere.
        let longest = 400.0 + 10.0 * attempts as f32;
        let share = Key::new(seed).fold_in(attempts).uniforms(1)[0];
        attempts += 1;
        assert!(attempts < 1000, "killed {kills} times, and not at the end");
        let pause = Duration::from_secs_f32(share * longest / 1000.0);
        if let Some(status) = killed_after(pause, &run, |resume| arguments("killed", resume)) {
            assert!(status.success(), "{status} after {kills} kills");
            break;
        }
        kills += 1;
    }
    let [through, killed] =
        ["through", "killed"].map(|name| newest_checkpoint(&directory.path().join(name)));
    assert!(
        tensors(&through) == tensors(&killed),
        "seed {seed}, {kills} kills"
    );
    assert!(run.join("report.html").is_file());
    kills
}

#[test]
fn a_run_with_roll_backs_survives_being_killed() {
    killed_at_random(1);
}

/// As many as docs/RELIABILITY.md counts: `cargo test --release --test reliability -- --ignored`.
#[test]
#[ignore = "minutes"]
fn a_run_with_roll_backs_survives_two_hundred_kills() {
    let (mut kills, mut seed) = (0, 0);
    while kills < 200 {
        seed += 1;
        kills += killed_at_random(seed);
    }
    println!("{kills} kills of {seed} runs");
}

/// Wherever a run is killed, it goes on to the same bits.
#[test]
fn a_run_survives_being_killed_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let data = data();
    let recipe = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let arguments = |run: &'static str, resume: bool| {
        let mut more = vec!["--run", run, "--set", "iterations=12"];
        more.extend(["--set", "checkpoint_every=1"]);
        more.extend(resume.then_some("--resume"));
        let arguments = train(&recipe, &data, &more).into_iter();
        arguments.map(String::from).collect::<Vec<_>>()
    };
    let strings = |arguments: &[String]| -> String {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        succeed(directory.path(), &arguments)
    };
    strings(&arguments("through", false));

    let run = directory.path().join("killed");
    let (mut kills, mut attempts) = (0, 0);
    // Longer and longer, as a busy machine may need long to get anywhere.
    while kills < 5 || !run.is_dir() || checkpoints(&run).len() < 2 {
        assert!(
            attempts < 60,
            "killed {kills} times, and no two checkpoints"
        );
        let pause = [150, 40, 230, 90, 310, 170, 60][attempts % 7] + 20 * attempts as u64;
        attempts += 1;
        let pause = Duration::from_millis(pause);
        if killed_after(pause, &run, |resume| arguments("killed", resume)).is_some() {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "the run ended before it could be killed");
    // And a newest checkpoint that the disk has spoilt.
    let newest = checkpoints(&run).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();

    strings(&arguments("killed", true));
    let [through, killed] =
        ["through", "killed"].map(|name| newest_checkpoint(&directory.path().join(name)));
    assert!(tensors(&through) == tensors(&killed));
    assert!(run.join("report.html").is_file());
}

/// The program in `directory` where no file may grow beyond so many blocks of 512 bytes, which is what a full disk
/// does to it: whether it succeeds, and what it tells.
#[cfg(unix)]
fn without_room(directory: &Path, blocks: &str, arguments: &[&str]) -> (bool, String) {
    let shell = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &shell, "sh", env!("CARGO_BIN_EXE_basin")])
        .args(["--device", "cpu"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Whatever a command writes: without room for it, the file that was there before stays, nothing half-written is
/// left, and the error names the file.
#[cfg(unix)]
#[test]
fn a_full_disk_spoils_no_file_that_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/dsm-fashion-mnist.toml");
    succeed(
        directory,
        &train(&recipe, &data, &["--run", "run", "--set", "iterations=2"]),
    );
    let data = ["--data-dir", &data];
    let with_data = |arguments: &[&'static str]| [arguments, &data].concat();
    let few = ["--steps", "2", "--count", "2"];
    succeed(directory, &with_data(&["export", "run", "--rank", "4"]));
    let model = "model.safetensors";
    let pictures = |command: &'static str, more: &[&'static str]| {
        [&[command, model, "-o", "old.png"], &few[..], more].concat()
    };
    let evaluate = |more: &[&'static str]| {
        let little = ["evaluate", model, "--attacked", "0", "--generated", "0"];
        with_data(&[&little[..], more].concat())
    };
    let commands = [
        ("old.png", pictures("generate", &[])),
        ("old.png", with_data(&pictures("denoise", &[]))),
        (
            "old.png",
            with_data(&pictures("restore", &["--enlarge", "4"])),
        ),
        (
            model,
            with_data(&["export", "run", "--rank", "4", "-o", model]),
        ),
        (model, vec!["average", model, model, "-o", model]),
        ("old.json", evaluate(&["--json", "old.json"])),
        (model, evaluate(&["--card"])),
        (
            model,
            with_data(&[
                "tune-sampler",
                model,
                "--judge",
                model,
                "--trials",
                "1",
                "--images",
                "2",
            ]),
        ),
        ("parts", vec!["checkpoint", "pack", "run", "-o", "parts"]),
        ("old.html", vec!["report", "run", "-o", "old.html"]),
        ("man", vec!["man", "-o", "man"]),
    ];
    for old in ["old.png", "old.json", "old.html"] {
        std::fs::write(directory.join(old), "old").unwrap();
    }
    let before = files(directory);
    for (file, arguments) in commands {
        let (done, text) = without_room(directory, "0", &arguments);
        assert!(!done, "{arguments:?} succeeds: {text}");
        let told = text.lines().last().unwrap();
        assert!(
            told.starts_with("basin: ") && told.contains(file) && told.contains("too large"),
            "{arguments:?}: {text}"
        );
        // A folder's new files are named in its own order; empty ones are no harm.
        let mut after = files(directory);
        after.retain(|path, bytes| before.contains_key(path) || !bytes.is_empty());
        assert!(after == before, "{arguments:?} left other files");
    }
    // A state that cannot be kept takes no figure with it.
    let (done, text) = without_room(directory, "0", &evaluate(&["--state", "state.json"]));
    assert!(
        done && text.contains("warning: --state: state.json: cannot be written"),
        "{text}"
    );
    assert!(!directory.join("state.json").exists());
    let (done, text) = without_room(
        directory,
        "0",
        &train(&recipe, data[1], &["--run", "other"]),
    );
    assert!(!done && text.contains("other"), "{text}");
}

/// What a full disk does to the files of a run, a limit of their size does as well.
#[cfg(unix)]
#[test]
fn a_checkpoint_without_room_harms_no_other_and_the_run_goes_on_later() {
    let data = data();
    let directory = tempfile::tempdir().unwrap();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let arguments = |name, more: &[&'static str]| -> Vec<String> {
        let all = ["--run", name, "--set", "iterations=4"];
        let all = train(&recipe, &data, &[&all[..], more].concat());
        all.into_iter().map(String::from).collect()
    };
    let run = |limit: &str, arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        without_room(directory.path(), limit, &arguments)
    };
    let (done, text) = run("unlimited", arguments("through", &[]));
    assert!(done, "{text}");
    // The first checkpoint is smaller, as the optimiser has no state yet.
    let (done, text) = run(
        "unlimited",
        arguments("full", &["--set", "checkpoint_every=4"]),
    );
    assert!(done, "{text}");
    let first = checkpoint_of(&directory.path().join("full"), 0);
    let blocks = first.len().div_ceil(512) + 8;
    let full = directory.path().join("full");
    std::fs::remove_dir_all(&full).unwrap();

    let (done, text) = run(&blocks.to_string(), arguments("full", &[]));
    assert!(!done, "{text}");
    for words in [
        "iteration 2: the checkpoint could not be written",
        "goes on and tries again",
        "the checkpoint of iteration 4 could not be written",
        "go on from it with --resume",
    ] {
        assert!(text.contains(words), "`{text}` should say `{words}`");
    }
    assert_eq!(tensors(&newest_checkpoint(&full)), tensors(&first));
    let left = std::fs::read_dir(&full).unwrap();
    let left = left.map(|entry| entry.unwrap().path().display().to_string());
    let partial: Vec<String> = left.filter(|path| path.ends_with(".part")).collect();
    assert!(partial.is_empty(), "{partial:?}");

    let (done, text) = run("unlimited", arguments("full", &["--resume"]));
    assert!(done, "{text}");
    let through = newest_checkpoint(&directory.path().join("through"));
    assert!(tensors(&newest_checkpoint(&full)) == tensors(&through));
}

/// As in `basin train … 2>&1 | head -1`: the reader is gone before the first line.
#[test]
fn nobody_reading_is_no_reason_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let more = ["--run", "run", "--set", "iterations=4"];
    let unread = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_basin"))
            .args(["--device", "cpu"])
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().unwrap()
    };
    assert!(unread(&train(&recipe, &data, &more)).success());
    let kept = checkpoints(&directory.join("run"));
    let newest = kept.last().unwrap().display().to_string();
    assert!(newest.contains("checkpoint-00000004"), "{newest}");
    // What fails says so by its status.
    assert_eq!(unread(&["export", "absent"]).code(), Some(1));
}

#[test]
fn divergence_rolls_back_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let data = data();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    // A rate that explodes at once, whatever the clipping.
    let more = [
        "--run",
        "run",
        "--set",
        "iterations=6",
        "--set",
        "schedule.peak=1000",
        "--set",
        "divergence.rate_factor=1e-6",
    ];
    let output = basin(directory.path(), &train(&recipe, &data, &more));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("diverged") && text.contains("back to iteration"),
        "{text}"
    );
}
