//! `basin`, the command line.

fn main() -> std::process::ExitCode {
    basin_trainer::main()
}
