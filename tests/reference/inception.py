"""Layers of the Inception network of TensorFlow's FID as torch-fidelity has it, with weights from a formula.

Writes inception.json beside itself; trainer/src/evaluation/inception.rs compares. Run:

    pip install torch torch-fidelity
    python3 tests/reference/inception.py
"""

import json
import math
import pathlib

import numpy
import torch
from torch_fidelity import feature_extractor_inceptionv3 as module

LAYERS = ["64", "192", "768", "2048", "logits_unbiased"]


def chirp(count, phase):
    """sin(0.7 i^2 + phase) for i = 0..count."""
    i = numpy.arange(count, dtype=numpy.float64)
    return numpy.sin(0.7 * i * i + phase).astype(numpy.float32)


def fill(network, _):
    """In the place of loading a file."""
    def put(tensor, phase, centre, scale):
        values = numpy.float32(centre) + numpy.float32(scale) * chirp(tensor.numel(), phase)
        tensor.data.copy_(torch.from_numpy(values).reshape(tensor.shape))

    convolutions = {name: part for name, part in network.named_modules() if isinstance(part, module.BasicConv2d)}
    for n, name in enumerate(sorted(convolutions)):
        part = convolutions[name]
        put(part.conv.weight, n, 0, 2 / math.sqrt(part.conv.weight[0].numel()))
        put(part.bn.weight, n + 0.2, 1, 0.1)
        put(part.bn.bias, n + 0.4, 0, 0.1)
        put(part.bn.running_mean, n + 0.6, 0, 0.1)
        put(part.bn.running_var, n + 0.8, 1, 0.5)
    put(network.fc.weight, 0.1, 0, 0.05)


def main():
    module.FeatureExtractorInceptionV3.load_state_dict = fill
    module.load_state_dict_from_url = lambda *_, **__: {}
    network = module.FeatureExtractorInceptionV3("formula", LAYERS)
    i = numpy.arange(2 * 3 * 32 * 32, dtype=numpy.uint64)
    x = torch.from_numpy(((i * i * 31 + 7 * i) % 251).astype(numpy.uint8)).reshape(2, 3, 32, 32)
    with torch.no_grad():
        found = dict(zip(LAYERS, network(x)))
    kept = {name: [float(f"{v:.7g}") for v in layer.flatten()[::16].tolist()] for name, layer in found.items()}
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(kept) + "\n")
    print({name: (layer.abs().max().item(), layer.std().item()) for name, layer in found.items()})
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
