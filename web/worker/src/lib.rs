//! Basin's engines for the browser. [`bench::Bench`] holds a model and a chain and knows nothing
//! of a browser; [`edge`] joins it to the page's messages; one program a backend, in `bin/`.

pub mod bench;
#[cfg(target_arch = "wasm32")]
pub mod edge;
pub mod engine;
mod model;
#[cfg(all(feature = "cpu", target_arch = "wasm32"))]
pub mod pool;
