//! Basin's engines for the browser. [`session::Session`] holds a model and a chain and knows nothing
//! of a browser; [`edge`] joins it to the page's messages; one program a backend, in `bin/`.

mod climb;
mod dissect;
#[cfg(target_arch = "wasm32")]
pub mod edge;
pub mod engine;
mod model;
#[cfg(target_arch = "wasm32")]
pub mod pool;
#[cfg(target_arch = "wasm32")]
mod scope;
pub mod session;
