"""How low the error of `lenet` on MNIST goes with NumPy alone: about 0.5 %, as shipped 0.7 %.

Each time an image is used, it is shifted by up to 2 pixels, so none can be learned by heart. The
learning rate falls along a cosine. Several networks err on different digits: their mean errs less.

    python3 examples/lowest_error.py --epochs 1         a first look, in half a minute
    python3 examples/lowest_error.py                    one network, about 7 minutes on one core
    python3 examples/lowest_error.py --seed 1 2 3 4 5   five, and their mean

Needs MNIST. --data tells where it is; what is not there is downloaded.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import cnn_sg
from mnist import HERE, load_mnist, models, scale

SHIFT, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 2, 32, 0.1, 0.0005


def train(x, y, seed, epochs):
    """Return a network, trained on images x, uint8 (n, 28, 28, 1), with labels y, one-hot."""
    net = cnn_sg.Network(models(cnn_sg, 10)["lenet"], seed)
    rng = np.random.default_rng(seed)
    wide = np.pad(x[..., 0], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))  # black on all sides
    cuts = sliding_window_view(wide, x.shape[1:3], axis=(1, 2))  # (n, 5, 5, 28, 28): all shifts
    steps, start = len(x) // BATCH_SIZE, time.monotonic()
    for epoch in range(epochs):
        order = rng.permutation(len(x))[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE)
        sums = np.zeros(2)
        for step, batch in enumerate(order):
            down, across = rng.integers(0, 2 * SHIFT + 1, (2, BATCH_SIZE))
            X = scale(cuts[batch, down, across][..., None])
            progress = (epoch + step / steps) / epochs  # 0 to 1
            learning_rate = LEARNING_RATE * (1 + math.cos(math.pi * progress)) / 2
            _, loss, error = net.train(X, y[batch], learning_rate, WEIGHT_DECAY)
            sums += loss, error
        print(f"{time.monotonic() - start:.0f} s, seed {seed}, epoch {epoch + 1}/{epochs}: "
              f"loss {sums[0] / steps:.4f}, error {100 * sums[1] / steps:.2f} %", flush=True)
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=HERE, metavar="DIR", help="folder of MNIST")
    add("--seed", type=int, nargs="+", default=[1], metavar="N", help="one network for each")
    add("--epochs", type=int, default=20, metavar="N", help="rounds of training (20)")
    add("--save", type=Path, metavar="FILE.npz", help="write the weights of the first network")
    options = parser.parse_args()
    if options.save and not os.access(options.save.parent, os.W_OK):
        parser.error(f"--save: {options.save.parent} is no folder to write to")
    (x, labels), (x_test, labels_test) = load_mnist(options.data)
    total = 0
    for seed in options.seed:
        net = train(x, np.eye(10, dtype=np.float32)[labels], seed, options.epochs)
        if options.save and seed == options.seed[0]:
            net.save(options.save)
        A = net.predict(scale(x_test))
        total = total + A  # its largest is the largest of the mean
        alone, together = (100 * np.mean(P.argmax(axis=1) != labels_test) for P in (A, total))
        print(f"seed {seed}: test error {alone:.2f} %, all so far together {together:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as problem:
        sys.exit(f"lowest_error.py: {problem}")
