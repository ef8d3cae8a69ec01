"""The data of the other examples: digits that are drawn or, with --data DIR, those of MNIST."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of mnist.py

import numpy as np

from extras.drawn import draw_digits
from mnist import load_mnist


def load_digits(about, n, n_test):
    """Return (x, y), (x_test, y_test): uint8 images (n, 28, 28, 1), labels one-hot (n, 10)."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="take MNIST from DIR (else drawn)")
    folder = parser.parse_args().data
    if folder:
        both = load_mnist(folder)
    else:
        both = draw_digits(n, seed=1), draw_digits(n_test, seed=2)
    sets = [(images, np.eye(10, dtype=np.float32)[labels]) for images, labels in both]
    print(f"{'MNIST' if folder else 'Drawn digits'}: {len(sets[0][0]):,} images to train on")
    return sets
