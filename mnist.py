# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Train a network of cnn_sg.py or cnn_naive.py to read handwritten digits.

    python3 mnist.py cnn

downloads MNIST into this folder, trains, and prints the error on the test set.
"""

import argparse
import gzip
import hashlib
import importlib
import math
import os
import shutil
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import requests


def models(cnn, classes):
    """Each model is a list of layers of cnn, a cnn_*.py module. Change one, and run it.

    A new one also needs a line in DEFAULTS, below.
    """
    return {
        "flat": [
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(100),
            cnn.FCLayer_Softmax(classes),
        ],
        "cnn": [
            cnn.ConvLayer_ReLU(32, 3),
            cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(100),
            cnn.FCLayer_Softmax(classes),
        ],
        "lenet": [
            cnn.ConvLayer_ReLU(20, 5),
            cnn.PoolLayer_Max(2, 2),
            cnn.ConvLayer_ReLU(50, 5),
            cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(500),
            cnn.FCLayer_Softmax(classes),
        ],
    }


# What each model is trained with unless the command line says otherwise.
DEFAULTS = {
    "flat": {"epochs": 12, "learning_rate": 0.2, "decay": 0.8},
    "cnn": {"epochs": 6, "learning_rate": 0.15, "decay": 0.6},
    "lenet": {"epochs": 8, "learning_rate": 0.15, "decay": 0.65},
}

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load_mnist(folder):
    """Return (x_train, y_train), (x_test, y_test), and download what the folder lacks.

    Images are uint8 (n, rows, columns, 1), labels uint8 (n,). Raises ValueError for a file that
    is not what it should be, OSError for one that can neither be read nor downloaded.
    """
    x_train, y_train, x_test, y_test = (read_idx(fetch(name, folder)) for name in SHA256)
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if len(x) != len(y):
            raise ValueError(f"{folder}: expected a label for each image, got {len(x)} and {len(y)}")
    return (x_train[..., None], y_train), (x_test[..., None], y_test)


def fetch(name, folder):
    """Return the path of a file of MNIST, downloaded from the first mirror that has it."""
    path = Path(folder) / name
    if path.exists():
        return path
    if not path.parent.is_dir():
        raise OSError(f"expected a folder of MNIST files, got {folder}, which is none")
    problems = []
    for mirror in MIRRORS:
        print(f"Downloading {mirror}{name}")
        try:
            response = requests.get(mirror + name, timeout=10)
            response.raise_for_status()
        except requests.RequestException as problem:
            problems.append(type(problem).__name__)
            continue
        if hashlib.sha256(response.content).hexdigest() != SHA256[name]:
            problems.append("wrong sha256")
            continue
        part = path.with_name(f"{name}.{os.getpid()}.part")  # beside it: never half a file at path
        part.write_bytes(response.content)
        os.replace(part, path)
        return path
    missing = ", ".join(each for each in SHA256 if not (path.parent / each).exists())
    raise OSError(f"no mirror gave {name} ({', '.join(problems)}); "
                  f"put these files into {path.parent.resolve()} yourself: {missing}")  # fmt: skip


def read_idx(path):
    """Return the array in a gzipped IDX file: images (n, rows, columns) or labels (n,), uint8.

    The format: 0, 0, 8 for unsigned bytes, the number of axes; their lengths, 4 bytes each, the
    first byte the highest; then the numbers. http://yann.lecun.com/exdb/mnist/
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as damage:
        raise ValueError(f"{path}: expected a gzip file, got a damaged one ({damage})") from None
    axes = 3 if "images" in path.name else 1
    header = 4 + 4 * axes
    shape = [int.from_bytes(content[k : k + 4], "big") for k in range(4, header, 4)]
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) - header != math.prod(shape):
        raise ValueError(f"{path}: expected an IDX file of {axes} axes, got something else")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def scale(images):
    """uint8 pixels to float32, 0 to 1."""
    return images.astype(np.float32) / 255


def train(net, train_set, test_set, options):
    """Train by mini-batch gradient descent, print a line after each epoch, return (cce, ce).

    A set is a pair: images, uint8 (n, rows, columns, 1), and labels, one-hot (n, classes).
    """
    x, y = train_set
    rng = np.random.default_rng(options.seed)
    progress = Progress(options.epochs, len(x))
    learning_rate = options.learning_rate
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(len(x))
        sums = np.zeros(2)  # of cce and ce, over the images of this epoch
        for start in range(0, len(x), options.batch_size):
            batch = order[start : start + options.batch_size]
            _, *losses = net.train(scale(x[batch]), y[batch], learning_rate, options.weight_decay)
            if not np.isfinite(losses[0]):
                raise ArithmeticError(f"diverged in epoch {epoch}, mini-batch "
                                      f"{start // options.batch_size + 1}: lower --learning-rate")  # fmt: skip
            sums += len(batch) * np.array(losses)
            progress.show(epoch, start // options.batch_size + 1, start + len(batch), *sums)
        learning_rate *= options.decay
        cce, ce = evaluate(net, *test_set)
        progress.end_epoch(epoch, cce, ce)
    return cce, ce


def evaluate(net, x, y, piece=1000):
    """Return the mean (cce, ce) over all samples, a piece at a time."""
    sums = np.zeros(2)
    for start in range(0, len(x), piece):
        part = slice(start, start + piece)
        _, cce, ce = net.evaluate(scale(x[part]), y[part])
        sums += len(x[part]) * cce, len(x[part]) * ce
    return sums / len(x)


class Progress:
    """Tells how training goes: a line that is rewritten on a terminal, and one for each epoch."""

    def __init__(self, epochs, samples):
        self.epochs, self.samples = epochs, samples
        self.start, self.shown = time.monotonic(), 0.0

    def show(self, epoch, batch, done, cce_sum, ce_sum):
        """After a mini-batch: `done` images of the epoch have been seen."""
        self.averages = f"CCE: {cce_sum / done:.4f} CE: {ce_sum / done:.4f}"
        now = time.monotonic()
        if sys.stdout.isatty() and now - self.shown >= 0.1:
            self.shown = now
            share = (epoch - 1 + done / self.samples) / self.epochs
            left = clock((now - self.start) * (1 / share - 1))
            line = self.line(epoch, f"{left} left, mini-batch {batch}, average {self.averages}")
            width = shutil.get_terminal_size().columns - 1
            print("\r" + line[:width].ljust(width), end="", flush=True)

    def end_epoch(self, epoch, cce, ce):
        """The averages over the epoch, and the errors on the test set after it."""
        line = self.line(epoch, f"average {self.averages}, test CCE: {cce:.4f} CE: {ce:.4f}")
        if sys.stdout.isatty():
            line = "\r" + line.ljust(shutil.get_terminal_size().columns - 1)
        print(line, flush=True)

    def line(self, epoch, text):
        return f"{clock(time.monotonic() - self.start)} epoch {epoch}/{self.epochs}: {text}"


def clock(seconds):
    """Minutes and seconds: 75 -> 1:15."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def at_least(least, kind):
    """Return a converter for argparse: text to a finite number of this kind, not below least."""

    def convert(text):
        try:
            if least <= kind(text) < math.inf:
                return kind(text)
        except ValueError:
            pass
        name = {int: "an integer", float: "a number"}[kind]
        raise argparse.ArgumentTypeError(f"expected {name} >= {least}, got {text!r}")

    return convert


def parse_arguments():
    """Return the command line's options, the model's defaults filled in."""

    def per_model(name):
        return "default: " + ", ".join(f"{DEFAULTS[model][name]} for {model}" for model in DEFAULTS)

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", choices=DEFAULTS, help="the network: one hidden layer, one convolution, or two")
    add("version", nargs="?", choices=["sg", "naive"], default="sg",
        help="the layers: cnn_sg.py, by stride groups (default), or cnn_naive.py, by loops")
    add("--data", type=Path, default=Path(__file__).parent, metavar="DIR",
        help="folder of the four MNIST files (default: the folder of this script)")
    add("--epochs", type=at_least(1, int), metavar="N",
        help=f"how often to go through the training set ({per_model('epochs')})")
    add("--batch-size", type=at_least(1, int), default=32, metavar="N",
        help="images in a mini-batch (default: %(default)s)")
    add("--learning-rate", type=at_least(0, float), metavar="X",
        help=f"step length of gradient descent ({per_model('learning_rate')})")
    add("--decay", type=at_least(0, float), metavar="X",
        help=f"the learning rate is multiplied by it after each epoch ({per_model('decay')})")
    add("--weight-decay", type=at_least(0, float), default=0.0, metavar="X",
        help="adds X / 2 times the sum of squared weights to the loss (default: %(default)s)")
    add("--samples", type=at_least(1, int), metavar="N",
        help="train on the first N images, test on at most N (default: all)")
    add("--seed", type=at_least(0, int), metavar="N",
        help="fixes first weights and order of the images (default: other ones in each run)")
    options = parser.parse_args()
    for name, value in DEFAULTS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main():
    """Load the data, train the network, print the error on the test set."""
    options = parse_arguments()
    cnn = importlib.import_module(f"cnn_{options.version}")
    sets = load_mnist(options.data)
    classes = 1 + int(max(y.max() for _, y in sets))
    one_hot = np.eye(classes, dtype=np.float32)
    train_set, test_set = ((x[: options.samples], one_hot[y[: options.samples]]) for x, y in sets)
    net = cnn.Network(models(cnn, classes)[options.model], options.seed)
    print(f"Training {options.model} ({cnn.__name__}) on {len(train_set[0]):,} images, "
          f"testing on {len(test_set[0]):,}")  # fmt: skip
    cce, ce = train(net, train_set, test_set, options)
    print(f"Test set: CCE: {cce:.4f} CE: {ce:.4f}")


if __name__ == "__main__":
    try:
        main()
    except (ArithmeticError, OSError, ValueError) as problem:
        sys.exit(f"mnist.py: {problem}")
    except KeyboardInterrupt:
        print("\nmnist.py: interrupted", file=sys.stderr)
        sys.exit(130)
