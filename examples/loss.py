"""A loss of your own: the mean square, for a network that learns numbers instead of classes.

It learns the sine from 200 numbers and their sines, and draws what it has learned.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np

from cnn_sg import FCLayer, FCLayer_ReLU, Network
from mnist import train


class FCLayer_Numbers(FCLayer):
    """Fully connected, for labels that are numbers."""

    def loss(self, Y):
        """Mean square L = sum((A - Y)^2) / 2 n_m.

        Returns (L, error, dZ): the mean absolute error, and dZ = (A - Y) / n_m, as A = Z.
        """
        difference = self.A - Y
        L = np.sum(difference**2) / (2 * len(Y))
        return L, np.mean(np.abs(difference)), difference / len(Y)


def check_loss(last, input, Y, h=1e-6):
    """Compare dZ with the derivative itself: change one output at a time, by its bias."""
    last.forward_propagate(input)
    dZ = last.loss(Y)[2]
    for k in range(Y.shape[1]):
        losses = []
        for step in h, -2 * h:  # first up, then down
            last.b[k] += step
            last.forward_propagate(input)
            losses.append(last.loss(Y)[0])
        last.b[k] += h
        derivative = (losses[0] - losses[1]) / (2 * h)
        assert np.isclose(derivative, dZ[:, k].sum(), atol=1e-8), "dZ of the loss is wrong"


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    check_loss(FCLayer_Numbers(2), rng.standard_normal((5, 3)), rng.standard_normal((5, 2)))

    x = np.linspace(-1, 1, 200)[:, None]  # 200 samples of one number
    y = np.sin(np.pi * x)
    net = Network([FCLayer_ReLU(20), FCLayer_ReLU(20), FCLayer_Numbers(1)], seed=1)
    for _ in train(net, x, y, epochs=200, batch_size=20, learning_rate=0.1, seed=1):
        pass
    A, loss, error = net.evaluate(x, y)
    for k in range(0, 200, 10):
        line = [" "] * 43
        line[round(21 + 20 * y[k, 0])] = "."
        line[round(21 + 20 * A[k, 0])] = "o"
        print(f"{x[k, 0]:5.2f} {''.join(line).rstrip()}")
    print(f"o: the network; .: the sine, where they differ. Mean absolute error {error:.4f}")
    assert error < 0.03
