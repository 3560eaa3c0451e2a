"""Logits, input gradients and running statistics of the networks with BatchNorm, computed by PyTorch
in double precision: the Wide-ResNet of TRADES and RobustBench, DeepMind's, PreActResNet-18 and ResNet-18.

Writes batch_norm.json beside itself; shared/tests/batch_norm.rs compares. Weights and images come from
a formula that both sides evaluate, so that neither has to be stored. Parameters have the names of
the published checkpoints. Run:

    python3 tests/reference/batch_norm.py        (PyTorch 2.x)
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

torch.set_default_dtype(torch.float64)
ACTIVATIONS = {"relu": F.relu, "silu": F.silu}


def conv(inputs, outputs, size, stride=1, padding=None):
    padding = size // 2 if padding is None else padding
    return nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)


class StandardBlock(nn.Module):
    """The stride on conv1; a change of width has a 1x1 convolution of the activated input."""

    def __init__(self, inputs, outputs, stride, activation):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.convShortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.activation = activation

    def forward(self, x):
        active = self.activation(self.bn1(x))
        shortcut = self.convShortcut(active) if self.convShortcut else x
        return shortcut + self.conv2(self.activation(self.bn2(self.conv1(active))))


class Layers(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


def wide_groups(block, depth, width, activation):
    inputs, groups = 16, []
    for group, outputs in enumerate([16 * width, 32 * width, 64 * width]):
        blocks = []
        for n in range((depth - 4) // 6):
            stride = 2 if group > 0 and n == 0 else 1
            blocks.append(block(inputs, outputs, stride, activation))
            inputs = outputs
        groups.append(blocks)
    return groups


class StandardWideResNet(nn.Module):
    def __init__(self, depth, width, channels, activation):
        super().__init__()
        self.conv1 = conv(channels, 16, 3)
        groups = wide_groups(StandardBlock, depth, width, activation)
        self.block1, self.block2, self.block3 = [Layers(blocks) for blocks in groups]
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, 10)
        self.activation = activation

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.activation(self.bn1(x)).mean((2, 3)))


class DmBlock(nn.Module):
    """As StandardBlock, but where the stride is 2, one zero behind each row and column and none
    before, as TensorFlow pads."""

    def __init__(self, inputs, outputs, stride, activation):
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inputs, momentum=0.01)
        self.conv_0 = conv(inputs, outputs, 3, stride, 0)
        self.batchnorm_1 = nn.BatchNorm2d(outputs, momentum=0.01)
        self.conv_1 = conv(outputs, outputs, 3)
        self.shortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        self.activation = activation

    def forward(self, x):
        active = self.activation(self.batchnorm_0(x))
        shortcut = self.shortcut(active) if self.shortcut else x
        y = self.conv_0(F.pad(active, self.padding))
        return shortcut + self.conv_1(self.activation(self.batchnorm_1(y)))


class Blocks(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x):
        return self.block(x)


class DmWideResNet(nn.Module):
    def __init__(self, depth, width, channels, activation):
        super().__init__()
        self.init_conv = conv(channels, 16, 3)
        groups = wide_groups(DmBlock, depth, width, activation)
        self.layer = nn.Sequential(*[Blocks(blocks) for blocks in groups])
        self.batchnorm = nn.BatchNorm2d(64 * width, momentum=0.01)
        self.logits = nn.Linear(64 * width, 10)
        self.activation = activation

    def forward(self, x):
        x = self.layer(self.init_conv(x))
        return self.logits(self.activation(self.batchnorm(x)).mean((2, 3)))


class PreActBlock(nn.Module):
    """The stride on conv1, the shortcut's 1x1 convolution of the raw input."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride)) if changes else nn.Identity()

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(y))) + self.shortcut(x)


class PreActResNet18(nn.Module):
    def __init__(self, width, channels, final_batch_norm):
        super().__init__()
        self.conv1 = conv(channels, width, 3)
        inputs = width
        for group in range(4):
            outputs, blocks = width << group, []
            for n in range(2):
                blocks.append(PreActBlock(inputs, outputs, 2 if group > 0 and n == 0 else 1))
                inputs = outputs
            setattr(self, f"layer{group + 1}", nn.Sequential(*blocks))
        self.bn = nn.BatchNorm2d(inputs) if final_batch_norm else None
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        if self.bn:
            x = F.relu(self.bn(x))
        return self.linear(x.mean((2, 3)))


class BasicBlock(nn.Module):
    """BatchNorm behind every convolution, ReLU after the sum."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        self.conv1 = conv(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for group in range(4):
            outputs, blocks = width << group, []
            for n in range(2):
                blocks.append(BasicBlock(inputs, outputs, 2 if group > 0 and n == 0 else 1))
                inputs = outputs
            setattr(self, f"layer{group + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


def wave(count, phase):
    """sin(1.7 i + phase) for i = 0..count, which fills [-1, 1] without repeating."""
    return torch.sin(1.7 * torch.arange(count) + phase)


def fill(model):
    """Weights of about He et al.'s scale, BatchNorms far from their first values. The phase is the
    place in the sorted list of names."""
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    for phase, name in enumerate(sorted(state)):
        value = state[name]
        if value.dim() > 1:
            base, scale = 0.0, 1.5 / math.prod(value.shape[1:]) ** 0.5
        else:
            base, scale = {
                "weight": (1.0, 0.3),
                "bias": (0.0, 0.2),
                "running_mean": (0.0, 0.3),
                "running_var": (1.0, 0.5),
            }[name.split(".")[-1]]
        value.copy_((base + scale * wave(value.numel(), phase)).reshape(value.shape))


def every(step, tensor):
    """Enough to find any misplaced number, at a part of the size."""
    return tensor.detach().flatten()[::step].tolist()


def main():
    cases = []
    for architecture in [
        {"type": "standard_wide_resnet", "depth": 10, "width": 1, "channels": 1, "size": 28, "activation": "relu"},
        {"type": "standard_wide_resnet", "depth": 16, "width": 2, "channels": 3, "size": 9, "activation": "silu"},
        {"type": "dm_wide_resnet", "depth": 10, "width": 1, "channels": 3, "size": 32, "activation": "silu"},
        {"type": "dm_wide_resnet", "depth": 16, "width": 2, "channels": 1, "size": 12, "activation": "relu"},
        {"type": "pre_act_resnet_18", "width": 64, "channels": 3, "size": 32, "final_batch_norm": False},
        {"type": "pre_act_resnet_18", "width": 16, "channels": 1, "size": 28, "final_batch_norm": True},
        {"type": "resnet_18", "width": 64, "channels": 3, "size": 32},
        {"type": "resnet_18", "width": 16, "channels": 1, "size": 28},
    ]:
        channels, size, width = (architecture[name] for name in ("channels", "size", "width"))
        if architecture["type"] == "pre_act_resnet_18":
            model = PreActResNet18(width, channels, architecture["final_batch_norm"])
        elif architecture["type"] == "resnet_18":
            model = ResNet18(width, channels)
        else:
            kind = {"standard_wide_resnet": StandardWideResNet, "dm_wide_resnet": DmWideResNet}
            activation = ACTIVATIONS[architecture["activation"]]
            model = kind[architecture["type"]](architecture["depth"], width, channels, activation)
        architecture |= {
            "classes": 10,
            "normalization": {"mean": [0.5] * channels, "std": [0.25] * channels},
        }
        fill(model)
        x = (wave(4 * channels * size * size, 0.3).reshape(4, channels, size, size) + 1) / 2
        normalized = lambda x: (x - 0.5) / 0.25
        y = torch.tensor([3, 8, 0, 5])

        model.eval()
        tracked = x.clone().requires_grad_()
        logits = model(normalized(tracked))
        joint = -logits.gather(1, y[:, None])[:, 0]
        marginal = -logits.logsumexp(1)
        gradients = {}
        for name, energy in [("joint", joint), ("marginal", marginal), ("conditional", joint - marginal)]:
            (gradient,) = torch.autograd.grad(energy.sum(), tracked, retain_graph=True)
            gradients[name] = every(23, gradient)

        model.train()
        training_logits = model(normalized(x))
        F.cross_entropy(training_logits, y).backward()
        statistics = {
            name: value.norm().item()
            for name, value in model.state_dict().items() if "running" in name
        }
        cases.append({
            "architecture": architecture,
            "logits": every(1, logits),
            "gradients": gradients,
            # Of a forward pass with the batch's statistics, and what is behind it.
            "training_logits": every(1, training_logits),
            "running_statistics_norms": statistics,
            "weight_gradient_norms": {
                name: value.grad.norm().item() for name, value in model.named_parameters()
            },
        })
    path = pathlib.Path(__file__).with_suffix(".json")
    rounded = json.loads(json.dumps(cases), parse_float=lambda text: float(f"{float(text):.9g}"))
    path.write_text(json.dumps(rounded) + "\n")
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
