"""A layer of your own that learns: a factor for each channel.

The pictures have three channels: a digit in one, noise in the others. The layer finds out which.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from check_gradient import check
from digits import load_digits

from cnn_sg import ConvLayer_ReLU, FCLayer_Softmax, FlatLayer, Layer, Network
from mnist import scale, train


class Scale(Layer):
    """A = A_prev W. For an input of shape (..., n_c); W is (n_c,)."""

    weights = ("W",)

    def forward_propagate(self, input):
        if self.W is None:
            self.W = np.ones(input.shape[-1], input.dtype)
        self.A_prev, self.A = input, input * self.W
        return self.A

    def weight_gradients(self, dZ):
        """W meets every pixel of its channel, so dW is a sum over all axes but the last."""
        self.dW = np.sum(dZ * self.A_prev, axis=tuple(range(dZ.ndim - 1)))

    def input_gradient(self, dZ):
        return dZ * self.W


def with_noise(images, seed):
    """Return float images (n, rows, columns, 3): the second and third channel are noise."""
    noise = np.random.default_rng(seed).random((*images.shape[:3], 2), dtype=np.float32) - 0.5
    return np.concatenate([scale(images), noise], axis=3)


if __name__ == "__main__":
    check(Scale(), np.random.default_rng(1).standard_normal((2, 5, 6, 3)))

    (x, y), (x_test, y_test) = load_digits(__doc__, 2_000, 1_000)
    x, y = with_noise(x[:2_000], 1), y[:2_000]
    x_test, y_test = with_noise(x_test[:1_000], 2), y_test[:1_000]
    factors = Scale()
    rest = [ConvLayer_ReLU(8, 5, stride=2), FlatLayer(), FCLayer_Softmax(10)]
    net = Network([factors, *rest], seed=1)
    for epoch, step, steps, loss, error in train(net, x, y, epochs=4, learning_rate=0.1, seed=1):
        if step == steps:
            W = ", ".join(f"{factor:.2f}" for factor in factors.W)
            error = net.evaluate(x_test, y_test)[2]
            print(f"epoch {epoch}: test error {100 * error:.1f} %, factors {W}")
    print(net)
    assert factors.W[0] > 1.5 * np.abs(factors.W[1:]).max()
