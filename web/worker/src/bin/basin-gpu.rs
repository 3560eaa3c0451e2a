//! The engine on WebGPU.

#[cfg(target_arch = "wasm32")]
fn main() {
    use basin_worker::{edge, engine::Engine};
    edge::report_panics();
    wasm_bindgen_futures::spawn_local(async {
        match burn::tensor::Device::wgpu_options().init_async().await {
            Ok(device) => edge::serve(Engine::Burn(device)),
            Err(error) => edge::crashed(&format!("WebGPU gave no device: {error}")),
        }
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    eprintln!("this program runs in a browser's worker; see `cargo xtask demo`");
}
