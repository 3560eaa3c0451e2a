//! Logits, energies and input gradients against PyTorch's (tests/reference/wide_resnet.py).

use std::collections::BTreeMap;

use basin_shared::{
    Key,
    energy::EnergyKind,
    models::{Activation, Architecture, Initialization, Normalization, WideResNetConfig},
    tensors::{gradient::logits_and_gradient, parameters},
};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    depth: usize,
    width: usize,
    channels: usize,
    size: usize,
    activation: Activation,
    logits: Vec<f64>,
    energies: BTreeMap<String, Vec<f64>>,
    /// Every 7th number.
    gradients: BTreeMap<String, Vec<f64>>,
}

#[path = "../../tests/reference/formula.rs"]
mod formula;

#[path = "../../tests/reference/relative_errors.rs"]
mod relative_errors;
use relative_errors::relative_errors;

#[test]
fn logits_energies_and_gradients_are_pytorchs() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../tests/reference/wide_resnet.json")).unwrap();
    let device = Device::flex();
    for case in cases {
        let config = WideResNetConfig {
            activation: case.activation,
            normalization: Normalization::uniform(case.channels, 0.5, 0.25),
            ..WideResNetConfig::new([case.depth, case.width], [case.channels, case.size], 10)
        };
        let name = format!("{}-{} {:?}", case.depth, case.width, case.activation);
        let initialization = Initialization {
            gain: 0.0,
            residual_scale: 0.0,
        };
        let model =
            Architecture::WideResnet(config.clone()).init(initialization, Key::new(0), &device);
        let model = parameters::load(model, &formula::weights(config.parameter_shapes()));
        let shape = [2, case.channels, case.size, case.size];
        let pixels = formula::wave(shape.iter().product(), 0.3);
        let pixels: Vec<f32> = pixels
            .into_iter()
            .map(|v| ((v + 1.0) / 2.0) as f32)
            .collect();
        let x = Tensor::<4>::from_data(TensorData::new(pixels, shape), &device);

        let logits = model.logits(x.clone()).into_data();
        let (error, _) = relative_errors(logits.iter::<f32>(), &case.logits);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
        for (energy, kind) in [
            (EnergyKind::Joint, "joint"),
            (EnergyKind::Marginal, "marginal"),
            (EnergyKind::Conditional, "conditional"),
        ] {
            let energy = energy.of(vec![3, 8]);
            let (f, gradient) = logits_and_gradient(|x| model.logits(x), x.clone(), &*energy);
            let values = energy.values(&f, 2);
            let (error, _) = relative_errors(values, &case.energies[kind]);
            assert!(error < 1e-4, "{name}: {kind} energy differs by {error:e}");
            let (error, mean) = relative_errors(
                gradient.into_data().iter::<f32>().step_by(7),
                &case.gradients[kind],
            );
            // Where rounding carries a number across zero, the slope of LeakyReLU jumps; so little is
            // rarely in reach.
            let jumps = case.activation == Activation::LeakyRelu;
            let tolerance = if jumps { 1e-2 } else { 1e-4 };
            assert!(
                error < tolerance && mean < tolerance / 10.0,
                "{name}: {kind} gradient differs by {error:e}, in the mean by {mean:e}"
            );
        }
    }
}
