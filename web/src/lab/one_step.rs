//! Having the engine take a step apart.

use std::sync::Arc;

use basin_protocol::{Dissection, Request};
use leptos::prelude::*;

use super::{Lab, chain::Chain};

impl Lab {
    /// Takes the step apart that leads on from the frame shown of a chain, for one of its images.
    pub fn dissect(self, chain: RwSignal<Chain>, image: usize) {
        let from = chain.with_untracked(|chain| {
            let (plan, x) = chain.resumption_at(chain.shown()?);
            let image = image.min(plan.classes.len().saturating_sub(1));
            Some((Request::Dissect { plan, image }, x))
        });
        let Some((request, x)) = from else {
            return;
        };
        self.bench.update_value(|bench| {
            if let Some(engine) = bench.engine.as_ref().filter(|_| bench.ready) {
                engine.ask(&request, &x);
                bench.waited = Some(0);
            }
        });
    }

    /// What the engine makes of it.
    pub(super) fn dissected(self, step: Result<Dissection, String>, parts: Vec<f32>) {
        match step {
            Ok(step) => self.dissection.set(Some((step, Arc::from(parts)))),
            Err(why) => self.tell(true, format!("The step cannot be taken apart: {why}.")),
        }
    }
}
