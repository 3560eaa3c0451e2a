//! Plain networks against PyTorch's nn.Sequential (tests/reference/sequential.py), and who runs them.

use std::collections::BTreeMap;

use basin_shared::{
    Classifier, Key,
    energy::EnergyKind,
    models::{Architecture, Initialization, Layer, Normalization, SequentialConfig},
    tensors::{Frozen, Mode, Network, energy, parameters},
};
use burn::{
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    layers: Vec<Layer>,
    channels: usize,
    size: usize,
    classes: usize,
    mean: f32,
    std: f32,
    logits: Vec<f64>,
    /// Every 5th number.
    gradients: BTreeMap<String, Vec<f64>>,
}

#[path = "../../tests/reference/formula.rs"]
mod formula;

#[path = "../../tests/reference/relative_errors.rs"]
mod relative_errors;
use relative_errors::relative_errors;

const INITIALIZATION: Initialization = Initialization {
    gain: 1.4,
    residual_scale: 1.0,
};

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../tests/reference/sequential.json")).unwrap()
}

impl Case {
    fn architecture(&self) -> Architecture {
        let config = SequentialConfig {
            layers: self.layers.clone(),
            channels: self.channels,
            size: self.size,
            classes: self.classes,
            normalization: Normalization::uniform(self.channels, self.mean, self.std),
        };
        assert_eq!(config.check(), Ok(()));
        Architecture::Sequential(config)
    }

    fn network(&self, device: &Device) -> Network {
        let architecture = self.architecture();
        let model = architecture.init(INITIALIZATION, Key::new(0), device);
        parameters::load(model, &formula::weights(architecture.parameter_shapes()))
    }

    fn images(&self) -> Vec<f32> {
        let pixels = formula::wave(2 * self.channels * self.size.pow(2), 0.3);
        pixels.iter().map(|v| ((v + 1.0) / 2.0) as f32).collect()
    }
}

#[test]
fn logits_and_gradients_are_pytorchs() {
    for case in cases() {
        let name = case.architecture().title();
        let frozen = case.network(&Device::flex()).frozen();
        for (energy, kind) in [
            (EnergyKind::Joint, "joint"),
            (EnergyKind::Marginal, "marginal"),
            (EnergyKind::Conditional, "conditional"),
        ] {
            let found = frozen.evaluate(&case.images(), 2, &*energy.of(vec![1, 2]));
            let (error, _) = relative_errors(found.logits, &case.logits);
            assert!(error < 1e-5, "{name}: logits differ by {error:e}");
            let (error, _) =
                relative_errors(found.gradient.into_iter().step_by(5), &case.gradients[kind]);
            assert!(error < 1e-5, "{name}: {kind} gradient differs by {error:e}");
        }
    }
}

/// Basin's engine runs residual networks; of another it says so, and a frozen one is evaluated on tensors.
#[test]
fn no_engine_runs_it_and_frozen_it_stays_on_tensors() {
    for case in cases() {
        let (architecture, model) = (case.architecture(), case.network(&Device::flex()));
        let weights = parameters::collect(&model);
        let none = architecture.plan(&weights).unwrap_err();
        assert_eq!(architecture.check_engine(), Err(none.clone()));
        let said = none.to_string();
        assert!(
            said.starts_with("Basin's own engines run residual networks")
                && said.contains(&architecture.title()),
            "{said}"
        );
        assert!(matches!(model.frozen(), Frozen::Tensors(_)));
    }
}

#[test]
fn what_is_built_has_the_names_and_shapes_that_are_listed() {
    for case in cases() {
        let model = case
            .architecture()
            .init(INITIALIZATION, Key::new(1), &Device::flex());
        let weights = parameters::collect(&model);
        let built = weights.iter();
        let built = built.map(|(name, array)| (name.clone(), array.shape.clone()));
        let mut listed = case.architecture().parameter_shapes();
        listed.sort();
        assert_eq!(listed, built.collect::<Vec<_>>());
        // The scale of the initial weights: the deviation times the root of how many are summed.
        let last = format!("{}.weight", case.layers.len() - 1);
        for (name, array) in weights.iter().filter(|(_, array)| array.shape.len() > 1) {
            let fan_in = array.shape[1..].iter().product::<usize>() as f32;
            let count = array.values.len() as f32;
            let squares = array.values.iter().map(|w| w * w).sum::<f32>() / count;
            let expected = if *name == last { 1.0 } else { 1.4 };
            let off = (squares * fan_in).sqrt() / expected - 1.0;
            assert!(off.abs() < 4.0 / (2.0 * count).sqrt(), "{name}: {off}");
        }
    }
}

/// Steps down the gradient of the cross-entropy fit two images, whichever layers there are.
#[test]
fn every_layer_learns() {
    let device = Device::flex().autodiff();
    for case in cases() {
        let name = case.architecture().title();
        let mut model = case
            .architecture()
            .init(INITIALIZATION, Key::new(2), &device);
        let shape = [2, case.channels, case.size, case.size];
        let x = Tensor::<4>::from_data(TensorData::new(case.images(), shape), &device);
        let y = Tensor::<1, Int>::from_data([0, 2], &device);
        let begun = parameters::collect(&model);
        let mut sgd = SgdConfig::new().init();
        let mut losses = Vec::new();
        for _ in 0..30 {
            let f = model.forward(x.clone(), Mode::Train);
            let loss = energy::conditional(f, y.clone()).mean();
            losses.push(loss.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = sgd.step(0.02, model, gradients);
        }
        assert!(losses[29] < 0.5 * losses[0], "{name}: {losses:?}");
        for (which, now) in parameters::collect(&model) {
            assert!(now != begun[&which], "{name}: {which} stayed as it was");
        }
    }
}
