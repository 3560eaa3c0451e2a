#!/usr/bin/env python3
"""Writes made-up files in the format of SVHN's cropped digits, beside this script.

    python3 tests/data/made-up/make_svhn.py      (needs SciPy; 1.17 wrote the files here)

The value at (row, column, channel) of digit n is (2 row + column + 40 channel + 10 n) mod 256.
"""

import pathlib

import numpy
import scipy.io

LABELS = {"train": [1, 9, 2, 3, 10, 5, 6, 7, 8, 4, 10, 1], "test": [10, 4, 1], "extra": [3, 10]}


def main():
    folder = pathlib.Path(__file__).parent / "svhn"
    folder.mkdir(exist_ok=True)
    for name, labels in LABELS.items():
        row, column, channel, n = numpy.indices((32, 32, 3, len(labels)))
        pixels = (2 * row + column + 40 * channel + 10 * n) % 256
        arrays = {
            "X": numpy.asfortranarray(pixels.astype(numpy.uint8)),
            "y": numpy.array(labels, dtype=numpy.uint8)[:, None],
        }
        scipy.io.savemat(folder / f"{name}_32x32.mat", arrays, do_compression=True)


if __name__ == "__main__":
    main()
