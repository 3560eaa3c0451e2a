"""Joint and marginal Fisher scores (JEAT eq. 23 and 24) by PyTorch's second derivatives, in double precision, of the first
test images of CIFAR-10: what `basin evaluate MODEL --suite paper --images N` is to agree with, within both errors.

    basin export MODEL --pytorch weights.safetensors
    python3 tests/reference/fisher_scores.py MODEL weights.safetensors DATA N PROBES
"""

import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from auto_attack import test_images
from export_pytorch import Jem


def main():
    model, weights, data, count, probes = sys.argv[1:]
    with safe_open(model, "pt") as file:
        card = json.loads(file.metadata()["basin"])
    state = load_file(weights)
    mean, std = state.pop("mean").double(), state.pop("std").double()
    network = Jem(card).eval()
    network.load_state_dict(state)
    network.double()
    x, y = test_images(data, int(count))
    x = x.double()
    torch.manual_seed(0)
    energies = {
        "joint": lambda f: -f.gather(1, y[:, None])[:, 0],
        "marginal": lambda f: -f.logsumexp(1),
    }
    for name, energy in energies.items():
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(energy(network((at - mean) / std)).sum(), at, create_graph=True)
        halves = slope.detach().square().flatten(1).sum(1) / 2
        traces = torch.zeros(len(x), dtype=torch.float64)
        for _ in range(int(probes)):
            v = torch.randint(0, 2, x.shape).double() * 2 - 1
            (curved,) = torch.autograd.grad((slope * v).sum(), at, retain_graph=True)
            traces += (curved * v).flatten(1).sum(1) / int(probes)
        scores = halves - traces
        error = scores.std() / len(x) ** 0.5
        print(f"{name}: score {scores.mean():.2f}, error {error:.2f}, trace {traces.mean():.2f}")


if __name__ == "__main__":
    main()
