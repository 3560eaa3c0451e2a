#!/usr/bin/env python3
"""Makes the small class-balanced subsets that the tests read, in the official file formats.

    python3 tests/data/make_subset.py SOURCE [TARGET]

SOURCE holds the complete official files, as mnist/*.gz, fashion-mnist/*.gz,
cifar-10/cifar-10-batches-bin/*.bin and cifar-100/cifar-100-binary/test.bin; TARGET is this
script's folder unless given. The first images of each class are kept, in the official order;
CIFAR-100's are all of its test set, the first of each class as train.bin, the next as test.bin.
Running it again gives the same bytes.
"""

import gzip
import io
import pathlib
import struct
import sys

# Images per class in each file.
MNIST = {"train": 10, "t10k": 5}
FASHION_MNIST = {"train": 50, "t10k": 20}
CIFAR_10 = {**{f"data_batch_{i}.bin": 2 for i in range(1, 6)}, "test_batch.bin": 5}
CIFAR_100 = {"train.bin": 1, "test.bin": 1}

CIFAR_RECORD = 1 + 3 * 32 * 32
CIFAR_100_RECORD = 2 + 3 * 32 * 32


def first_of_each_class(labels, per_class, skip=frozenset(), classes=10):
    """The indices of the first `per_class` images of each class, ascending."""
    room = [per_class] * classes
    chosen = []
    for index, label in enumerate(labels):
        if room[label] > 0 and index not in skip:
            room[label] -= 1
            chosen.append(index)
    if any(room):
        raise SystemExit(f"classes lack images: {room} still wanted")
    return chosen


def write_gzip(path, data):
    # No name and no time in the header, so that the bytes depend on the data alone.
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(data)
    path.write_bytes(packed.getvalue())


def idx(source, target, counts):
    target.mkdir(parents=True, exist_ok=True)
    for split, per_class in counts.items():
        images_name, labels_name = f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"
        images = gzip.decompress((source / images_name).read_bytes())
        labels = gzip.decompress((source / labels_name).read_bytes())
        magic, count, rows, columns = struct.unpack(">4I", images[:16])
        assert (magic, rows, columns) == (0x803, 28, 28) and len(images) == 16 + count * 784
        assert struct.unpack(">2I", labels[:8]) == (0x801, count) and len(labels) == 8 + count
        chosen = first_of_each_class(labels[8:], per_class)
        pixels = b"".join(images[16 + i * 784 : 16 + (i + 1) * 784] for i in chosen)
        write_gzip(target / images_name, struct.pack(">4I", 0x803, len(chosen), 28, 28) + pixels)
        chosen_labels = bytes(labels[8 + i] for i in chosen)
        write_gzip(target / labels_name, struct.pack(">2I", 0x801, len(chosen)) + chosen_labels)


def cifar_10(source, target):
    target.mkdir(parents=True, exist_ok=True)
    # A copy of the data set may list records that are not exact; they are passed over.
    listed = source.parent / "jpeg-filled-records.txt"
    inexact = [line.split() for line in listed.read_text().splitlines()] if listed.exists() else []
    for name, per_class in CIFAR_10.items():
        data = (source / name).read_bytes()
        assert len(data) % CIFAR_RECORD == 0
        skip = {int(words[1]) for words in inexact if words[0] == name}
        chosen = first_of_each_class(data[::CIFAR_RECORD], per_class, skip)
        records = (data[i * CIFAR_RECORD : (i + 1) * CIFAR_RECORD] for i in chosen)
        (target / name).write_bytes(b"".join(records))


def cifar_100(source, target):
    target.mkdir(parents=True, exist_ok=True)
    data = (source / "test.bin").read_bytes()
    assert len(data) % CIFAR_100_RECORD == 0
    taken = set()
    for name, per_class in CIFAR_100.items():
        fine_labels = data[1::CIFAR_100_RECORD]
        chosen = first_of_each_class(fine_labels, per_class, taken, classes=100)
        taken.update(chosen)
        records = (data[i * CIFAR_100_RECORD : (i + 1) * CIFAR_100_RECORD] for i in chosen)
        (target / name).write_bytes(b"".join(records))


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    source = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).parent
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else here
    idx(source / "mnist", target / "mnist", MNIST)
    idx(source / "fashion-mnist", target / "fashion-mnist", FASHION_MNIST)
    batches = pathlib.Path("cifar-10") / "cifar-10-batches-bin"
    cifar_10(source / batches, target / batches)
    binary = pathlib.Path("cifar-100") / "cifar-100-binary"
    cifar_100(source / binary, target / binary)


if __name__ == "__main__":
    main()
