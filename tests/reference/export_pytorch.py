"""What `basin export MODEL --pytorch WEIGHTS` writes, in PyTorch's hands: JEM's Wide-ResNet loads it by the names of JEM's
code, a plain network by those of nn.Sequential, and its logits and gradients of the model file's two probe images are compared with those in the file.

    pip install torch safetensors numpy
    basin export MODEL --pytorch weights.safetensors
    python3 tests/reference/export_pytorch.py MODEL weights.safetensors

It prints the largest differences, and fails where they are not those of half precision's rounding and summation.
"""

import json
import sys

import numpy
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from sequential import plain

ACTIVATIONS = {"silu": F.silu, "relu": F.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2)}


def philox(key, count):
    """Philox4x32-10 (Salmon et al. 2011) of the counters 0, 1, ...; count words."""
    blocks = numpy.arange((count + 3) // 4, dtype=numpy.uint64)
    low = numpy.uint64(0xFFFFFFFF)
    shift = numpy.uint64(32)
    counter = [blocks & low, blocks >> shift, blocks * 0, blocks * 0]
    key = [numpy.uint64(key & 0xFFFFFFFF), numpy.uint64(key >> 32)]
    for _ in range(10):
        left, right = numpy.uint64(0xD2511F53) * counter[0], numpy.uint64(0xCD9E8D57) * counter[2]
        counter = [
            (right >> shift) ^ counter[1] ^ key[0], right & low,
            (left >> shift) ^ counter[3] ^ key[1], left & low,
        ]
        key = [(key[0] + numpy.uint64(0x9E3779B9)) & low, (key[1] + numpy.uint64(0xBB67AE85)) & low]
    return numpy.stack(counter, 1).reshape(-1)[:count]


class Block(nn.Module):
    """The stride on the second convolution, a 1x1 shortcut of the raw input, biases everywhere."""

    def __init__(self, inputs, outputs, stride, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride))
        self.activation = activation

    def forward(self, x):
        y = self.conv2(self.activation(self.conv1(self.activation(x))))
        return y + self.shortcut(x)


class Features(nn.Module):
    def __init__(self, depth, width, channels, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        inputs = 16
        for group, outputs in enumerate([16 * width, 32 * width, 64 * width]):
            blocks = []
            for n in range((depth - 4) // 6):
                blocks.append(Block(inputs, outputs, 2 if group and n == 0 else 1, activation))
                inputs = outputs
            setattr(self, f"layer{group + 1}", nn.Sequential(*blocks))
        self.activation = activation

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.activation(x).mean((2, 3))


class Jem(nn.Module):
    def __init__(self, card):
        super().__init__()
        numbers = card["architecture"]
        activation = ACTIVATIONS[numbers["activation"]]
        self.f = Features(numbers["depth"], numbers["width"], numbers["channels"], activation)
        self.class_output = nn.Linear(64 * numbers["width"], numbers["classes"])

    def forward(self, x):
        return self.class_output(self.f(x))


def main():
    model, weights = sys.argv[1:]
    with safe_open(model, "pt") as file:
        card = json.loads(file.metadata()["basin"])
        logits, gradient = file.get_tensor("probe.logits"), file.get_tensor("probe.gradient")
    state = load_file(weights)
    mean, std = state.pop("mean"), state.pop("std")
    of = card["architecture"]
    if of["type"] == "sequential":
        network = plain(of["layers"], of["channels"], of["size"]).eval()
    else:
        network = Jem(card).eval()
    network.load_state_dict(state, strict=True)
    words = philox(0x70726F6265, gradient.numel())
    x = torch.from_numpy(((words >> numpy.uint64(8)).astype(numpy.float32) / 16777216).reshape(gradient.shape))
    x.requires_grad_()
    found = network((x - mean) / std)
    (slope,) = torch.autograd.grad(-found.gather(1, torch.arange(len(x))[:, None]).sum(), x)
    pairs = {"logits": (found.detach(), logits), "gradient": (slope, gradient)}
    for name, (here, there) in pairs.items():
        worst = ((here - there).abs().max() / there.abs().max()).item()
        print(f"{name}: differ by {worst:.2e} of the largest at most")
        assert worst < 1e-3, name


if __name__ == "__main__":
    main()
