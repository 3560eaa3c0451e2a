"""Logits and input gradients of plain networks, PyTorch's nn.Sequential, in double precision: the one of Wong et al.
(2020) for MNIST, and one of odd sizes with every kind of layer.

Writes sequential.json beside itself; shared/tests/sequential.rs compares. Layers are told as a recipe tells them.
Weights and images come from a formula that both sides evaluate, so that neither has to be stored. Run:

    python3 tests/reference/sequential.py        (PyTorch 2.x)
"""

import json
import math
import pathlib

import torch
from torch import nn


def convolution(channels, kernel, stride, padding):
    numbers = {"channels": channels, "kernel": kernel, "stride": stride, "padding": padding}
    return {"convolution": numbers}


def pool(kind, kernel, stride):
    return {kind: {"kernel": kernel, "stride": stride}}


def linear(outputs):
    return {"linear": {"outputs": outputs}}


CASES = [
    {
        "channels": 1, "size": 28, "classes": 10, "mean": 0.0, "std": 1.0,
        "layers": [
            convolution(16, 4, 2, 1), "relu", convolution(32, 4, 2, 1), "relu", "flatten",
            linear(100), "relu", linear(10),
        ],
    },
    {
        "channels": 3, "size": 23, "classes": 7, "mean": 0.5, "std": 0.25,
        "layers": [
            convolution(5, 5, 2, 3), {"leaky_relu": {"slope": 0.01}}, pool("max_pool", 2, 1),
            convolution(6, 3, 1, 1), "silu", convolution(7, 3, 2, 0), "silu",
            pool("average_pool", 2, 2), convolution(4, 1, 1, 0), "flatten", linear(11), "silu",
            linear(7),
        ],
    },
    {
        "channels": 2, "size": 9, "classes": 3, "mean": 0.0, "std": 1.0,
        "layers": ["flatten", linear(13), "silu", linear(3)],
    },
]


def wave(count, phase):
    """sin(1.7 i + phase) for i = 0..count, which fills [-1, 1] without repeating."""
    return torch.sin(1.7 * torch.arange(count) + phase)


def plain(layers, channels, size):
    """The network of these layers, with PyTorch's own initial weights."""
    modules, x = [], torch.zeros(1, channels, size, size)
    for layer in layers:
        kind, numbers = (layer, {}) if isinstance(layer, str) else next(iter(layer.items()))
        if kind == "convolution":
            module = nn.Conv2d(
                x.shape[1], numbers["channels"], numbers["kernel"], numbers["stride"],
                numbers["padding"],
            )
        elif kind == "linear":
            module = nn.Linear(x.shape[1], numbers["outputs"])
        else:
            module = {
                "relu": lambda: nn.ReLU(),
                "leaky_relu": lambda slope: nn.LeakyReLU(slope),
                "silu": lambda: nn.SiLU(),
                "flatten": lambda: nn.Flatten(),
                "max_pool": lambda kernel, stride: nn.MaxPool2d(kernel, stride),
                "average_pool": lambda kernel, stride: nn.AvgPool2d(kernel, stride),
            }[kind](**numbers)
        modules.append(module)
        x = module(x)
    return nn.Sequential(*modules)


def network(layers, channels, size):
    model = plain(layers, channels, size)
    state = model.state_dict()
    # The phase is the place in the sorted list of names; weights have about He et al.'s scale.
    for phase, name in enumerate(sorted(state)):
        shape = state[name].shape
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 100.0
        state[name] = (wave(math.prod(shape), phase) * (2.0 / fan_in**0.5)).reshape(shape)
    model.load_state_dict(state)
    return model


def main():
    torch.set_default_dtype(torch.float64)
    cases = []
    for case in CASES:
        channels, size = case["channels"], case["size"]
        model = network(case["layers"], channels, size)
        x = (wave(2 * channels * size * size, 0.3).reshape(2, channels, size, size) + 1) / 2
        x.requires_grad_()
        logits = model((x - case["mean"]) / case["std"])
        joint = -logits.gather(1, torch.tensor([[1], [2]]))[:, 0]
        marginal = -logits.logsumexp(1)
        gradients = {}
        for name, energy in [("joint", joint), ("marginal", marginal), ("conditional", joint - marginal)]:
            (gradient,) = torch.autograd.grad(energy.sum(), x, retain_graph=True)
            gradients[name] = gradient.flatten()[::5].tolist()
        cases.append({**case, "logits": logits.flatten().tolist(), "gradients": gradients})
    path = pathlib.Path(__file__).with_suffix(".json")
    rounded = json.loads(json.dumps(cases), parse_float=lambda text: float(f"{float(text):.9g}"))
    path.write_text(json.dumps(rounded) + "\n")
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
