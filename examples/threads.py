"""Threads: each has a network of its own, since a layer keeps its last input and output.

Four threads predict at the same time, first with a network each, then all with the same one. What
happens then is a matter of luck.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np

import cnn_sg
from mnist import models


def make_network():
    return cnn_sg.Network(models(cnn_sg, 10)["cnn"], seed=1)


def largest_difference(answers, expected):
    return np.abs(np.concatenate(list(answers)) - expected).max()


def main():
    images = np.random.default_rng(1).random((800, 28, 28, 1), dtype=np.float32)
    pieces = np.split(images, 4)
    shared = make_network()
    expected = shared.predict(images)  # also makes the weights
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/weights.npz"
        shared.save(file)
        networks = [make_network().load(file) for piece in pieces]  # one for each thread

    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda net, piece: net.predict(piece), networks, pieces)
        difference = largest_difference(answers, expected)
    print(f"A network for each thread: answers differ by at most {difference:.0e}.")
    assert difference < 1e-5

    sys.setswitchinterval(1e-5)  # threads take turns more often, so that this goes wrong more often
    wrong = failed = 0
    with ThreadPoolExecutor() as threads:
        for _ in range(20):
            try:
                wrong += largest_difference(threads.map(shared.predict, pieces), expected) > 1e-5
            except ValueError:  # layers have an input of another thread, of another shape
                failed += 1
    print(f"One network for all threads: of 20 runs, {wrong} have wrong answers, {failed} fail.")


if __name__ == "__main__":
    main()
