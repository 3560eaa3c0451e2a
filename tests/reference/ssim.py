"""Structural similarity (Wang et al. 2004) by PyTorch's convolution, for the test in
shared/src/metrics/ssim.rs; prints the number that stands there. Run:

    python3 tests/reference/ssim.py        (PyTorch 2.x)
"""

import torch
import torch.nn.functional as F

from wide_resnet import wave

torch.set_default_dtype(torch.float64)


def image(phase):
    unit = (wave(2 * 13 * 12, phase) + 1) / 2
    return unit.float().double().reshape(1, 2, 13, 12)


x, y = image(0.3), image(1.4)
gauss = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
gauss = gauss / gauss.sum()
window = (gauss[:, None] * gauss[None]).expand(2, 1, 11, 11)


def mean(values):
    return F.conv2d(values, window, groups=2)


mx, my = mean(x), mean(y)
vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
similarity = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
print(similarity.mean().item())
