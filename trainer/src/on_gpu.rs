//! What must hold on a GPU, tested through wgpu: any will do, also one in software.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use basin_shared::tensors::{Transfers, convolution::conv2d};
use burn::tensor::{Device, Tensor, TensorData};

use crate::{
    commands::benchmark::{kernels_of, largest_difference, made_up_images},
    device::DeviceChoice,
    recipe::Recipe,
    training::run::Run,
};

/// The GPU, for one test at a time: launched kernels are counted for the whole process.
fn gpu() -> (Device, MutexGuard<'static, ()>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    (DeviceChoice::Wgpu.resolve().unwrap().0, guard)
}

/// A recipe that comes with the program, with other numbers.
fn recipe(name: &str, overrides: &[&str]) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.toml"));
    let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::read(&path, &overrides).unwrap()
}

/// A network and a batch for which software is fast enough.
const SMALL: [&str; 3] = [
    "architecture.depth=10",
    "architecture.width=1",
    "batch_size=8",
];

#[test]
fn convolutions_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    let numbers = |shape: &[usize], seed: u64| {
        let numbers = basin_shared::Key::new(seed).normals(shape.iter().product());
        TensorData::new(numbers, shape.to_vec())
    };
    // Images, channels in and out, rows and columns: less than a tile, a whole one, and a little more in each way.
    for [images, channels_in, channels_out, rows, columns] in [
        [1, 1, 1, 1, 1],
        [2, 3, 16, 8, 8],
        [5, 16, 17, 7, 9],
        [3, 70, 64, 6, 6],
        [4, 64, 130, 4, 2],
        [33, 5, 6, 12, 10],
    ] {
        for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0)] {
            let even = rows % 2 == 0 && columns % 2 == 0;
            if padding != kernel / 2 && !even {
                continue;
            }
            let out = [rows, columns].map(|size: usize| size.div_ceil(stride));
            let of = |device: &Device| {
                let device = device.clone().autodiff();
                let x = numbers(&[images, channels_in, rows, columns], 1);
                let x = Tensor::<4>::from_data(x, &device).require_grad();
                let weight = numbers(&[channels_out, channels_in, kernel, kernel], 2);
                let weight = Tensor::<4>::from_data(weight, &device).require_grad();
                let bias = Tensor::<1>::from_data(numbers(&[channels_out], 3), &device);
                let bias = bias.require_grad();
                let slopes = numbers(&[images, channels_out, out[0], out[1]], 4);
                let slopes = Tensor::<4>::from_data(slopes, &device);
                let added = Some(bias.clone());
                let y = conv2d(x.clone(), weight.clone(), added, stride, padding);
                let plain = conv2d(x.clone(), weight.clone(), None, stride, padding);
                let grads = (y.clone() * slopes).sum().backward();
                [
                    y.inner().into_data(),
                    plain.inner().into_data(),
                    x.grad(&grads).unwrap().into_data(),
                    weight.grad(&grads).unwrap().into_data(),
                    bias.grad(&grads).unwrap().into_data(),
                ]
            };
            let names = ["y", "y without a bias", "∂x", "∂weight", "∂bias"];
            let (found, expected) = (of(&gpu), of(&Device::flex()));
            for ((name, found), expected) in names.iter().zip(found).zip(expected) {
                let largest = expected.iter::<f32>().fold(0.0, |m: f32, v| m.max(v.abs()));
                let off = found.iter::<f32>().zip(expected.iter::<f32>());
                let off = off.fold(0.0, |m: f32, (a, b)| m.max((a - b).abs()));
                assert!(
                    off <= 1e-5 * largest.max(1.0),
                    "{name} is {off} off where numbers reach {largest}: {images} images, {channels_in} to \
                     {channels_out} channels, {rows}x{columns}, kernel {kernel}, stride {stride}, padding {padding}"
                );
            }
        }
    }
}

/// What is compiled decides how soon a run starts.
///
/// Basin's own kernels are the same whatever the batch. Burn's of the logits and of the rows of parameters are as many, but
/// their vectors are as long as their sizes allow.
#[test]
fn an_iteration_needs_as_many_kernels_whatever_the_batch() {
    /// What was found, and some room for another driver's sizes. Half of it would be better: what is left is Burn's, for
    /// logits and for rows of parameters.
    const MOST: usize = 90;
    let (gpu, _guard) = gpu();
    let launched = [2, 4].map(|batch| {
        let batch = format!("batch_size={batch}");
        let sizes = ["architecture.depth=16", "architecture.width=4", &batch];
        let recipe = recipe("standard-cifar10", &sizes);
        let images = made_up_images(&recipe);
        let mut run = Run::init(&recipe, &images, &gpu).unwrap();
        let (_, kernels) = kernels_of(|| run.iterate(&recipe, &images, &gpu));
        kernels.unwrap()
    });
    for kernels in launched {
        assert!(
            kernels <= MOST,
            "{kernels} kernels, expected at most {MOST}"
        );
    }
    let [few, more] = launched;
    assert!(
        few.abs_diff(more) <= 2,
        "{few} kernels for two images, {more} for four"
    );
}

/// Each upload delays the host, each read-back has it wait for the device. The least are the batch's images and classes,
/// and the figures of the log line. An evaluation for an attack or a chain takes two uploads, images and slopes of
/// logits, and two read-backs, logits and gradient.
#[test]
fn transfers_of_an_iteration_are_counted() {
    let (gpu, _guard) = gpu();
    for (name, more, uploads, read_backs) in [
        ("standard-fashion-mnist", &[][..], 2, 1),
        ("prejeat-fashion-mnist", &[], 5, 4),
        ("dsm-fashion-mnist", &["method.weights.marginal=0.0"], 9, 7),
    ] {
        let recipe = recipe(name, &[&SMALL[..], more].concat());
        let images = made_up_images(&recipe);
        let mut run = Run::init(&recipe, &images, &gpu).unwrap();
        run.iterate(&recipe, &images, &gpu);
        let (_, found) = Transfers::of(|| run.iterate(&recipe, &images, &gpu));
        let expected = Transfers {
            uploads,
            read_backs,
        };
        assert_eq!(found, expected, "{name}");
    }
}

/// Methods of each kind: an attack, score terms, chains that go on, BatchNorm.
#[test]
fn iterations_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    for (name, more) in [
        ("standard-fashion-mnist", &[][..]),
        ("prejeat-fashion-mnist", &[]),
        ("dsm-fashion-mnist", &[]),
        (
            "jeat-fashion-mnist",
            &["method.steps=2", "method.buffer.capacity=32"],
        ),
        ("at-fashion-mnist", &["method.attack.steps=2"]),
    ] {
        let recipe = recipe(name, &[&SMALL[..], more].concat());
        let images = made_up_images(&recipe);
        let losses = |device: &Device| {
            let mut run = Run::init(&recipe, &images, device).unwrap();
            let loss = |_| run.iterate(&recipe, &images, device)[0].1;
            (0..3).map(loss).collect::<Vec<_>>()
        };
        let (found, expected) = (losses(&gpu), losses(&Device::flex()));
        let off = largest_difference(&found, &expected);
        // Signs of an attack's steps are those of numbers that may be all but zero.
        assert!(
            off <= 2e-3,
            "{name}: {found:?} on the GPU, {expected:?} on the processor"
        );
    }
}
