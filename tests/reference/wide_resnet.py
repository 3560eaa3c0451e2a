"""Logits and input gradients of JEM's Wide-ResNet, computed by PyTorch in double precision.

Writes wide_resnet.json beside itself; shared/tests/wide_resnet.rs compares. Weights and images come
from a formula that both sides evaluate, so that neither has to be stored. Run:

    python3 tests/reference/wide_resnet.py        (PyTorch 2.x)
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(count, phase):
    """sin(1.7 i + phase) for i = 0..count, which fills [-1, 1] without repeating."""
    return torch.sin(1.7 * torch.arange(count) + phase)


class WideResNet:
    """3x3 stem, pre-activation blocks with the stride on the second convolution, 1x1 shortcut of
    the raw input, biases, global mean, linear head."""

    def __init__(self, depth, width, channels, classes, activation, mean, std):
        self.blocks = (depth - 4) // 6
        self.width = width
        self.activation = activation
        self.mean, self.std = mean, std
        self.weights = {}

        def conv(name, cin, cout, size):
            self.weights[name + ".weight"] = (cout, cin, size, size)
            self.weights[name + ".bias"] = (cout,)

        conv("conv1", channels, 16, 3)
        cin = 16
        for group, cout in enumerate([16 * width, 32 * width, 64 * width]):
            for block in range(self.blocks):
                name = f"layer{group + 1}.{block}"
                conv(name + ".conv1", cin, cout, 3)
                conv(name + ".conv2", cout, cout, 3)
                if block == 0 and (group > 0 or cin != cout):
                    conv(name + ".shortcut", cin, cout, 1)
                cin = cout
        self.weights["class_output.weight"] = (classes, cin)
        self.weights["class_output.bias"] = (classes,)
        # The phase is the place in the sorted list of names; weights have about He et al.'s scale.
        for phase, name in enumerate(sorted(self.weights)):
            shape = self.weights[name]
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else 100.0
            values = wave(math.prod(shape), phase) * (2.0 / fan_in**0.5)
            self.weights[name] = values.reshape(shape)

    def conv(self, name, x, stride=1):
        weight = self.weights[name + ".weight"]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.weights[name + ".bias"], stride, padding)

    def __call__(self, x):
        x = self.conv("conv1", (x - self.mean) / self.std)
        for group in (1, 2, 3):
            for block in range(self.blocks):
                name = f"layer{group}.{block}"
                stride = 2 if group > 1 and block == 0 else 1
                shortcut = x
                if name + ".shortcut.weight" in self.weights:
                    shortcut = self.conv(name + ".shortcut", x, stride)
                y = self.conv(name + ".conv1", self.activation(x))
                x = self.conv(name + ".conv2", self.activation(y), stride) + shortcut
        x = self.activation(x).mean((2, 3))
        return x @ self.weights["class_output.weight"].T + self.weights["class_output.bias"]


def gradient(energy, model, x):
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(energy(model(x)).sum(), x)
    return g


def main():
    cases = []
    for depth, width, channels, size, activation in [
        (10, 1, 1, 28, "silu"),
        (16, 2, 3, 32, "leaky_relu"),
        (10, 1, 3, 9, "silu"),
    ]:
        f = {"silu": F.silu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2)}[activation]
        model = WideResNet(depth, width, channels, 10, f, 0.5, 0.25)
        x = (wave(2 * channels * size * size, 0.3).reshape(2, channels, size, size) + 1) / 2
        y = torch.tensor([3, 8])
        joint = lambda logits: -logits.gather(1, y[:, None])[:, 0]
        marginal = lambda logits: -logits.logsumexp(1)
        gradients = {
            "joint": gradient(joint, model, x),
            "marginal": gradient(marginal, model, x),
            "conditional": gradient(lambda f: joint(f) - marginal(f), model, x),
        }
        logits = model(x)
        cases.append({
            "depth": depth, "width": width, "channels": channels, "size": size,
            "activation": activation,
            "logits": logits.flatten().tolist(),
            "energies": {
                "joint": joint(logits).tolist(),
                "marginal": marginal(logits).tolist(),
                "conditional": F.cross_entropy(logits, y, reduction="none").tolist(),
            },
            # Every 7th number: enough to find any misplaced one, at a seventh of the size.
            "gradients": {name: g.flatten()[::7].tolist() for name, g in gradients.items()},
        })
    path = pathlib.Path(__file__).with_suffix(".json")
    rounded = json.loads(json.dumps(cases), parse_float=lambda text: float(f"{float(text):.9g}"))
    path.write_text(json.dumps(rounded) + "\n")
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
