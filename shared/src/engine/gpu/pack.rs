//! Weights in the order in which the kernels read them.

use super::layout::Layout;
use crate::engine::{
    cpu::winograd::{POSITIONS, transform_kernel},
    plan::{Affine, Convolution, Plan},
};

/// Whether tiles are transformed for a convolution; the others gather their taps.
pub(super) fn is_tiled(convolution: &Convolution) -> bool {
    convolution.kernel == 3 && convolution.stride == 1
}

/// Matrices of a convolution's weights from images of one layout to images of the other.
pub(super) fn matrices(convolution: &Convolution, ends: [Layout; 2]) -> usize {
    let [from, to] = ends.map(|end| end.quads);
    if is_tiled(convolution) {
        POSITIONS * to.next_multiple_of(4) * from
    } else {
        to * from * convolution.kernel * convolution.kernel
    }
}

/// A convolution's weights, and behind them its biases, and the scales and shifts of what follows.
pub(super) fn forward(convolution: &Convolution) -> Vec<f32> {
    let taps = convolution.kernel * convolution.kernel;
    let [inputs, outputs] = [convolution.input.channels, convolution.output.channels];
    let weight = |i: usize, o: usize, tap: usize| convolution.weight[(o * inputs + i) * taps + tap];
    let mut packed = if is_tiled(convolution) {
        tiled([inputs, outputs], weight)
    } else {
        gathered([inputs, outputs], taps, weight)
    };
    let none = || Affine {
        scale: vec![1.0; outputs],
        shift: vec![0.0; outputs],
    };
    let Affine { scale, shift } = convolution.affine.clone().unwrap_or_else(none);
    for of_channels in [&convolution.bias, &scale, &shift] {
        packed.extend(of_channels);
        packed.resize(packed.len().next_multiple_of(16), 0.0);
    }
    packed
}

/// The weights of the gradient of a convolution's input: input and output change places, and with
/// tiles the kernel is turned by 180 degrees. `std` divides each channel of the result.
pub(super) fn backward(convolution: &Convolution, std: Option<&[f32]>) -> Vec<f32> {
    let taps = convolution.kernel * convolution.kernel;
    let [inputs, outputs] = [convolution.output.channels, convolution.input.channels];
    let weight = |i: usize, o: usize, tap: usize| {
        convolution.weight[(i * outputs + o) * taps + tap] / std.map_or(1.0, |std| std[o])
    };
    if is_tiled(convolution) {
        tiled([inputs, outputs], |i, o, tap| weight(i, o, taps - 1 - tap))
    } else {
        gathered([inputs, outputs], taps, weight)
    }
}

/// The head's weights, `[class][channel]`, and behind them the biases, each in a vector of its own.
pub(super) fn head(plan: &Plan) -> Vec<f32> {
    let channels = plan.head.weight.len() / plan.classes();
    let mut packed = Vec::new();
    for row in plan.head.weight.chunks(channels) {
        packed.extend(row);
        packed.resize(packed.len().next_multiple_of(4), 0.0);
    }
    let bias = plan.head.bias.iter();
    packed.extend(bias.flat_map(|&bias| [bias, 0.0, 0.0, 0.0]));
    packed
}

/// Four vectors of four output channels, one for each of four input channels; channels that there
/// are not are zero.
fn block(
    [inputs, outputs]: [usize; 2],
    [input, output]: [usize; 2],
    tap: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
) -> [f32; 16] {
    std::array::from_fn(|n| {
        let (i, o) = (input + n / 4, output + n % 4);
        if i < inputs && o < outputs {
            weight(i, o, tap)
        } else {
            0.0
        }
    })
}

/// For each quad of output channels, quad of input channels and tap, a block.
fn gathered(
    [inputs, outputs]: [usize; 2],
    taps: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = Vec::new();
    for output in (0..outputs).step_by(4) {
        for input in (0..inputs).step_by(4) {
            for tap in 0..taps {
                packed.extend(block([inputs, outputs], [input, output], tap, &weight));
            }
        }
    }
    packed
}

/// For each position of a transformed tile, sixteen output channels and quad of input channels: a
/// block for each quad of the output channels.
fn tiled([inputs, outputs]: [usize; 2], weight: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let transformed: Vec<[f32; POSITIONS]> = (0..inputs * outputs)
        .map(|pair| transform_kernel(|a, b| weight(pair / outputs, pair % outputs, 3 * a + b)))
        .collect();
    let at = |i: usize, o: usize, position: usize| transformed[i * outputs + o][position];
    let mut packed = Vec::new();
    for position in 0..POSITIONS {
        for group in (0..outputs).step_by(16) {
            for input in (0..inputs).step_by(4) {
                for output in (group..group + 16).step_by(4) {
                    packed.extend(block([inputs, outputs], [input, output], position, at));
                }
            }
        }
    }
    packed
}

/// Source and output of a convolution; backward they change places.
pub(super) fn ends(convolution: &Convolution) -> [[Layout; 2]; 2] {
    let [input, output] = [convolution.input, convolution.output].map(Layout::of);
    [[input, output], [output, input]]
}
