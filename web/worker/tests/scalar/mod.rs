//! A plan run by the definition: one number after the other, in double precision, channels first and
//! without a border. Nothing here is fast or shared with an engine.

use basin_shared::{
    energy::EnergyKind,
    engine::plan::{Active, Buffer, Convolution, Extent, Operation, Plan},
    models::Activation,
};

/// Logits, and the gradient of the image's energy with respect to it; of one image.
pub(crate) fn evaluate(
    plan: &Plan,
    image: &[f32],
    class: usize,
    energy: EnergyKind,
) -> (Vec<f64>, Vec<f64>) {
    let numbers = |extent: &Extent| extent.channels * extent.size * extent.size;
    let mut run = Run {
        plan,
        buffers: plan.buffers.iter().map(|e| vec![0.0; numbers(e)]).collect(),
        logits: Vec::new(),
        gradient: Vec::new(),
    };
    for &operation in &plan.operations {
        run.operation(operation, image, class, energy);
    }
    (run.logits, run.gradient)
}

struct Run<'a> {
    plan: &'a Plan,
    /// `[channel][row][column]` each.
    buffers: Vec<Vec<f64>>,
    logits: Vec<f64>,
    gradient: Vec<f64>,
}

impl Run<'_> {
    fn operation(&mut self, operation: Operation, image: &[f32], class: usize, kind: EnergyKind) {
        let plan = self.plan;
        let pixels = plan.image.size * plan.image.size;
        let mean_and_std = |i: usize| {
            let channel = i / pixels;
            let (mean, std) = (&plan.normalization.mean, &plan.normalization.std);
            (f64::from(mean[channel]), f64::from(std[channel]))
        };
        match operation {
            Operation::Normalize { output } => {
                let normalized = image.iter().enumerate().map(|(i, &x)| {
                    let (mean, std) = mean_and_std(i);
                    (f64::from(x) - mean) / std
                });
                self.buffers[output] = normalized.collect();
            }
            Operation::Forward {
                convolution,
                source,
                raw,
                active,
            } => {
                let convolution = &plan.convolutions[convolution];
                let mut y = forward(convolution, &self.buffers[source]);
                if let Some((raw, add)) = raw {
                    self.put(raw, &mut y, add);
                }
                if let Some(Active { value, derivative }) = active {
                    let pixels = convolution.output.size * convolution.output.size;
                    let activated = y.iter().enumerate().map(|(i, &y)| {
                        let (scale, shift) = match &convolution.affine {
                            Some(affine) => (affine.scale[i / pixels], affine.shift[i / pixels]),
                            None => (1.0, 0.0),
                        };
                        let (scale, z) =
                            (f64::from(scale), f64::from(scale) * y + f64::from(shift));
                        let (a, slope) = match convolution.linear {
                            true => (z, 1.0),
                            false => activate(plan.activation, z),
                        };
                        (a, scale * slope)
                    });
                    (self.buffers[value], self.buffers[derivative]) = activated.unzip();
                }
            }
            Operation::Head { active, output } => {
                let Extent { channels, size } = plan.buffers[output];
                let share = 1.0 / (size * size) as f64;
                let planes = self.buffers[active.value].chunks_exact(size * size);
                let mean: Vec<f64> = planes.map(|p| p.iter().sum::<f64>() * share).collect();
                let rows = || plan.head.weight.chunks_exact(channels);
                self.logits = rows()
                    .zip(&plan.head.bias)
                    .map(|(row, &bias)| {
                        let products = row.iter().zip(&mean).map(|(&w, m)| f64::from(w) * m);
                        f64::from(bias) + products.sum::<f64>()
                    })
                    .collect();
                let slopes = slopes(kind, &self.logits, class);
                let derivatives = self.buffers[active.derivative].iter().enumerate();
                self.buffers[output] = derivatives
                    .map(|(i, derivative)| {
                        let weights = rows().map(|row| f64::from(row[i / (size * size)]));
                        let slope: f64 = weights.zip(&slopes).map(|(w, s)| w * s).sum();
                        slope * share * derivative
                    })
                    .collect();
            }
            Operation::Backward {
                convolution,
                source,
                derivative,
                output,
                add,
            } => {
                let mut g = backward(&plan.convolutions[convolution], &self.buffers[source]);
                if let Some(derivative) = derivative {
                    let derivatives = &self.buffers[derivative];
                    g.iter_mut().zip(derivatives).for_each(|(g, d)| *g *= d);
                }
                self.put(output, &mut g, add);
            }
            Operation::BackwardToImage {
                convolution,
                source,
            } => {
                let g = backward(&plan.convolutions[convolution], &self.buffers[source]);
                let through = |(i, g): (usize, &f64)| g / mean_and_std(i).1;
                self.gradient = g.iter().enumerate().map(through).collect();
            }
        }
    }

    /// `numbers` to a buffer, and what was there added to both where `add`.
    fn put(&mut self, buffer: Buffer, numbers: &mut [f64], add: bool) {
        if add {
            let before = &self.buffers[buffer];
            numbers.iter_mut().zip(before).for_each(|(n, b)| *n += b);
        }
        self.buffers[buffer] = numbers.to_vec();
    }
}

/// Calls `pair(output, input, weight)` with every number of an output, each number of the input that
/// it is made of, and the weight between them.
fn each_product(convolution: &Convolution, mut pair: impl FnMut(usize, usize, f64)) {
    let Convolution {
        input,
        output,
        kernel,
        stride,
        padding,
        ..
    } = *convolution;
    let weights = convolution.weight.iter().enumerate();
    for (place, &weight) in weights {
        let (tap, channels) = (place % (kernel * kernel), place / (kernel * kernel));
        let (i, o) = (channels % input.channels, channels / input.channels);
        for row in 0..output.size {
            for column in 0..output.size {
                let from_row = (row * stride + tap / kernel).checked_sub(padding);
                let from_column = (column * stride + tap % kernel).checked_sub(padding);
                let inside = |at: Option<usize>| at.filter(|&at| at < input.size);
                if let (Some(y), Some(x)) = (inside(from_row), inside(from_column)) {
                    pair(
                        (o * output.size + row) * output.size + column,
                        (i * input.size + y) * input.size + x,
                        weight.into(),
                    );
                }
            }
        }
    }
}

fn forward(convolution: &Convolution, source: &[f64]) -> Vec<f64> {
    let plane = convolution.output.size * convolution.output.size;
    let biases = convolution.bias.iter();
    let mut y: Vec<f64> = biases.flat_map(|&b| vec![f64::from(b); plane]).collect();
    each_product(convolution, |out, from, w| y[out] += w * source[from]);
    y
}

fn backward(convolution: &Convolution, source: &[f64]) -> Vec<f64> {
    let Extent { channels, size } = convolution.input;
    let mut g = vec![0.0; channels * size * size];
    each_product(convolution, |out, from, w| g[from] += w * source[out]);
    g
}

/// a(y) and a′(y)
fn activate(activation: Activation, y: f64) -> (f64, f64) {
    match activation {
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + (-y).exp());
            (y * sigmoid, sigmoid * (1.0 + y * (1.0 - sigmoid)))
        }
        Activation::Relu => (y.max(0.0), f64::from(u8::from(y > 0.0))),
        Activation::LeakyRelu => {
            let slope = if y > 0.0 { 1.0 } else { f64::from(0.2f32) };
            (slope * y, slope)
        }
    }
}

/// The derivative of the energy with respect to each logit.
fn slopes(kind: EnergyKind, logits: &[f64], class: usize) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let slope = |(i, logit): (usize, &f64)| {
        let (hit, softmax) = (f64::from(u8::from(i == class)), logit.exp() / sum);
        match kind {
            EnergyKind::Joint => -hit,
            EnergyKind::Marginal => -softmax,
            EnergyKind::Conditional => softmax - hit,
        }
    };
    logits.iter().enumerate().map(slope).collect()
}
