"""AutoAttack by pyautoattack, through PyTorch, on a model file of Basin: what `basin attack` is to agree with.

    pip install torch safetensors pyautoattack==0.2.0
    basin attack MODEL --images 200 --data-dir DATA --json ours.json --save ours.safetensors
    python3 tests/reference/auto_attack.py MODEL DATA --images 200 --check ours.safetensors

DATA holds data_batch_*.bin and test_batch.bin of CIFAR-10. It prints pyautoattack's figures, and what PyTorch makes of
the images that Basin saved.
"""

import argparse
import json
import logging
import pathlib
import time

import numpy
import torch
import torch.nn.functional as F
from pyautoattack.autoattack import AutoAttack
from safetensors import safe_open
from safetensors.torch import load_file


class WideResNet(torch.nn.Module):
    """JEM's, with SiLU: the stride on the second convolution, 1x1 shortcuts of the raw input, no BatchNorm."""

    def __init__(self, weights, normalization, blocks):
        super().__init__()
        self.weights = torch.nn.ParameterDict({
            name.replace(".", "/"): torch.nn.Parameter(weight.float(), requires_grad=False)
            for name, weight in weights.items()
        })
        to_plane = lambda key: torch.tensor(normalization[key]).view(1, -1, 1, 1)
        self.mean, self.std, self.blocks = to_plane("mean"), to_plane("std"), blocks

    def weight(self, name):
        return self.weights[name.replace(".", "/")]

    def conv(self, name, x, stride=1):
        weight = self.weight(name + ".weight")
        return F.conv2d(x, weight, self.weight(name + ".bias"), stride, weight.shape[-1] // 2)

    def forward(self, x):
        x = self.conv("conv1", (x - self.mean) / self.std)
        for group in (1, 2, 3):
            for block in range(self.blocks):
                name = f"layer{group}.{block}"
                stride = 2 if group > 1 and block == 0 else 1
                shortcut = x
                if (name + ".shortcut.weight").replace(".", "/") in self.weights:
                    shortcut = self.conv(name + ".shortcut", x, stride)
                y = self.conv(name + ".conv1", F.silu(x))
                x = self.conv(name + ".conv2", F.silu(y), stride) + shortcut
        x = F.silu(x).mean((2, 3))
        return F.linear(x, self.weight("class_output.weight"), self.weight("class_output.bias"))


def read_model(path):
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["basin"])
        names = [name for name in file.keys() if name.split(".")[0] in ("conv1", "layer1", "layer2", "layer3", "class_output")]
        weights = {name: file.get_tensor(name) for name in names}
        probe = [file.get_tensor("probe.logits")] if "probe.logits" in file.keys() else []
    architecture = card["architecture"]
    assert architecture["type"] == "wide_resnet" and architecture["activation"] == "silu", architecture
    return WideResNet(weights, architecture["normalization"], (architecture["depth"] - 4) // 6).eval()


def test_images(folder, count):
    rows = numpy.fromfile(next(pathlib.Path(folder).rglob("test_batch.bin")), numpy.uint8).reshape(-1, 3073)[:count]
    x = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()).float() / 255
    return x, torch.from_numpy(rows[:, 0].copy()).long()


def check(model, x, y, path, epsilon):
    """Accuracy on images saved by Basin, and how far they are from the test images."""
    saved = load_file(path)
    x_adv = saved["x_adv"]
    named = torch.cat([model(part).argmax(1) for part in x_adv.split(100)])
    apart = (x_adv - x).abs().amax().item()
    inside = bool((x_adv >= 0).all() and (x_adv <= 1).all())
    told = (saved["fooled_by"] == -2).float().mean().item()
    print(f"saved images: accuracy {(named == y).float().mean():.4f} here, {told:.4f} there;"
          f" {apart / epsilon:.6f} of epsilon at most, inside [0, 1]: {inside}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epsilon", type=float, default=8 / 255)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attacks", help="such as apgd-ce,apgd-t; all of `standard` if not given")
    parser.add_argument("--check", help="what `basin attack --save` wrote")
    parser.add_argument("--only-check", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model = read_model(arguments.model)
    x, y = test_images(arguments.data, arguments.images)
    with torch.no_grad():
        clean = (torch.cat([model(part).argmax(1) for part in x.split(100)]) == y).float().mean()
        print(f"clean accuracy {clean:.4f} on {len(y)} images")
        if arguments.check:
            check(model, x, y, arguments.check, arguments.epsilon)
    if arguments.only_check:
        return
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")
    version = "standard" if arguments.attacks is None else "custom"
    names = None if arguments.attacks is None else arguments.attacks.split(",")
    attack = AutoAttack(model, norm="Linf", eps=arguments.epsilon, seed=arguments.seed, version=version, attacks=names)
    if names:
        attack.apgd.n_restarts = attack.fab.n_restarts = 1
    begun = time.time()
    attack.run_standard_evaluation(x, y, batch_size=100)
    print(f"{time.time() - begun:.1f} s on {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
