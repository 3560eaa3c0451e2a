//! The engine on WebGPU.

#[cfg(target_arch = "wasm32")]
fn main() {
    use basin_protocol::Reply;
    use basin_shared::engine::gpu::{Gpu, Storage};
    use basin_worker::edge;
    edge::report_panics();
    wasm_bindgen_futures::spawn_local(async {
        let compiled = |compiled, total| edge::send(&Reply::Kernels { compiled, total }, &[]);
        match Gpu::new(Storage::Half, compiled).await {
            Ok(gpu) => {
                gpu.on_lost(|reason| edge::crashed(&reason));
                edge::serve(gpu);
            }
            Err(error) => edge::crashed(&error.to_string()),
        }
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    eprintln!("this program runs in a browser's worker; see `cargo xtask demo`");
}
