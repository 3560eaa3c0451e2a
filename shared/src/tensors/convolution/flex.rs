//! The kernels of [`super::cpu`] on tensors of Burn's Flex backend.

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, InBf16};
use super::recorded::{Kernels, Shapes};
use crate::engine::{
    cpu::{filter::Filter, tiles_weight_gradient, weight_gradient::weight_gradient},
    simd::Isa,
};

/// Whether a tensor is a single-precision tensor of the Flex backend, with or without gradients.
pub(crate) fn runs_on_flex<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    let flex = match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)]
        _ => false,
    };
    flex && tensor.dtype() == DType::F32
}

impl Kernels for Flex {
    fn forward(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Option<FlexTensor>,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FlexTensor {
        let (x, weight, bias) = (dense(x), dense(weight), bias.map(dense));
        let y = cpu::forward(
            Isa::best(),
            in_bf16,
            &filter(shapes, numbers(&weight)),
            shapes.size(),
            numbers(&x),
            bias.as_ref().map(numbers),
        );
        tensor(y, shapes.output())
    }

    fn data_gradient(
        dy: FlexTensor,
        weight: FlexTensor,
        x: Option<FlexTensor>,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FlexTensor {
        let (dy, weight, x) = (dense(dy), dense(weight), x.map(dense));
        let dx = cpu::data_gradient(
            Isa::best(),
            in_bf16,
            &filter(shapes, numbers(&weight)),
            shapes.size(),
            numbers(&dy),
            x.as_ref().map(numbers),
        );
        tensor(dx, shapes.x)
    }

    fn weight_gradient(
        dy: FlexTensor,
        x: FlexTensor,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FlexTensor {
        let (dy, x) = (dense(dy), dense(x));
        let (filter, size) = (filter(shapes, &[]), shapes.size());
        let (x, dy) = (numbers(&x), numbers(&dy));
        let dw = match in_bf16 {
            Some(InBf16 { amx, activation }) => {
                tiles_weight_gradient::weight_gradient(amx, &filter, size, activation, x, dy)
            }
            None => weight_gradient(Isa::best(), &filter, size, x, dy),
        };
        tensor(dw, shapes.weight)
    }

    fn bias_gradient(dy: FlexTensor, shapes: Shapes) -> FlexTensor {
        let dy = dense(dy);
        let [_, channels, rows, columns] = shapes.output();
        let db = cpu::bias_gradient(numbers(&dy), channels, rows * columns);
        tensor(db, [channels])
    }
}

fn filter(shapes: Shapes, weight: &[f32]) -> Filter<'_> {
    let [channels_out, channels_in, kernel, _] = shapes.weight;
    Filter {
        channels_in,
        channels_out,
        kernel,
        stride: shapes.stride,
        padding: shapes.padding,
        weight,
    }
}

/// The same tensor with its numbers in row-major order without gaps.
pub(crate) fn dense(tensor: FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The numbers of a tensor that [`dense`] returned.
pub(crate) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .expect("a dense tensor of single precision")
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}
