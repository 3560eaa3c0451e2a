//! The engine on the processor.

#[cfg(target_arch = "wasm32")]
fn main() {
    basin_worker::edge::report_panics();
    basin_worker::edge::serve(basin_worker::engine::cpu::Cpu);
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    eprintln!("this program runs in a browser's worker; see `cargo xtask demo`");
}
