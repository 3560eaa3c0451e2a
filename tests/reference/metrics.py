"""Figures of merit by the libraries that people compare with: torch-fidelity, scikit-learn, scikit-image, scipy.

Writes metrics.json beside itself; shared/tests/metrics_against_libraries.rs and trainer/src/evaluation/frechet.rs
compare. Features, logits and images come from a formula that both sides evaluate. Run:

    pip install torch torch-fidelity scikit-learn scikit-image scipy
    python3 tests/reference/metrics.py
"""

import json
import pathlib

import numpy
import scipy
import torch
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import prc_features_to_metric

IMAGES, SIZE, CLASSES = 60, 8, 5


def chirp(count, phase):
    """sin(0.7 i^2 + phase) for i = 0..count, in single precision."""
    i = numpy.arange(count, dtype=numpy.float64)
    return numpy.sin(0.7 * i * i + phase).astype(numpy.float32).astype(numpy.float64)


def features(phase, shift):
    values = chirp(IMAGES * SIZE, phase).astype(numpy.float32) + numpy.float32(shift)
    return values.astype(numpy.float64).reshape(IMAGES, SIZE)


def calibration(confidence, right, bins):
    """Guo et al.'s ECE by masks, in single precision as torch compares."""
    edges = torch.arange(bins + 1) / bins
    error, counts = 0.0, []
    for lower, upper in zip(edges[:-1], edges[1:]):
        inside = confidence.gt(lower) & confidence.le(upper)
        counts.append(int(inside.sum()))
        if counts[-1]:
            gap = right[inside].double().mean() - confidence[inside].double().mean()
            error += abs(gap.item()) * counts[-1] / len(confidence)
    return error, counts


def frechet(a, b):
    covariance_a, covariance_b = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + numpy.trace(covariance_a + covariance_b - 2 * root))


def main():
    a, b = features(0.3, 0.0), features(1.1, 1.0)
    kid = dict(kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)
    logits = 3 * chirp(IMAGES * CLASSES, 2.2)
    logits = torch.tensor(logits.astype(numpy.float32)).reshape(IMAGES, CLASSES)
    score = isc_features_to_metric(logits, splits=4, shuffle=False)
    manifolds = prc_features_to_metric(
        torch.tensor(a), torch.tensor(b), prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False)
    # Ties: both lists hold multiples of a quarter.
    inside, outside = numpy.round(4 * chirp(40, 0.9)) / 4 + 0.25, numpy.round(4 * chirp(30, 1.9)) / 4
    truth = numpy.concatenate([numpy.ones(40), numpy.zeros(30)])
    confidence = torch.tensor(((1 + chirp(200, 0.4)) / 2).astype(numpy.float32))
    # Some lie on the edges of bins.
    confidence[::10] = torch.arange(1, 21) / 20
    right = torch.tensor(chirp(200, 2.4) > 0)
    error, counts = calibration(confidence, right, 20)
    x, y = ((1 + chirp(3 * 14 * 13, phase)) / 2 for phase in (0.6, 1.6))
    similarity = structural_similarity(
        x.reshape(3, 14, 13), y.reshape(3, 14, 13), channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False)
    found = {
        "frechet": frechet(a, b),
        "kernel_distance": float(kernel_mmd(a, b, **kid)),
        "inception_score": [score["inception_score_mean"], score["inception_score_std"]],
        "precision": manifolds["precision"], "recall": manifolds["recall"],
        "auroc": float(roc_auc_score(truth, numpy.concatenate([inside, outside]))),
        "ece": error, "bins": counts,
        "ssim": float(similarity),
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found) + "\n")
    print(found)


if __name__ == "__main__":
    main()
