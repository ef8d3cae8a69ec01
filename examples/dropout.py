"""Dropout: few images, learned by heart or not. It works in training only, so it has a switch.

Trains two networks on 500 digits, without and with dropout, and compares them on others.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from check_gradient import check
from digits import load_digits

from cnn_sg import FCLayer_ReLU, FCLayer_Softmax, FlatLayer, Layer, Network
from mnist import scale, train


class Dropout(Layer):
    """In training, each number is 0 with probability p (Srivastava et al., 2014).

    The others are divided by 1 - p, so that the mean is what it is in a test.
    """

    training = True  # SwitchingNetwork changes it

    def __init__(self, p):
        self.p = p
        self.arguments = (p,)

    def forward_propagate(self, input):
        self.factor = np.ones_like(input)
        if self.training:
            kept = self.rng.random(input.shape) >= self.p
            self.factor = kept.astype(input.dtype) / (1 - self.p)
        self.A = input * self.factor
        return self.A

    def input_gradient(self, dZ):
        return dZ * self.factor


class SwitchingNetwork(Network):
    """Its layers are in training while gradients runs, and at no other time."""

    def __init__(self, layers, seed=None):
        super().__init__(layers, seed)
        self.switch(False)

    def switch(self, training):
        for layer in self.layers:
            layer.training = training

    def gradients(self, X, Y):
        self.switch(True)
        loss, error = super().gradients(X, Y)
        self.switch(False)
        return loss, error


if __name__ == "__main__":
    check(Dropout(0.4), np.random.default_rng(1).standard_normal((5, 20)))

    (x, y), (x_test, y_test) = load_digits(__doc__, 500, 2_000)
    x, y, test_errors = x[:500], y[:500], []
    for p in 0, 0.5:
        layers = [FlatLayer(), Dropout(0.4 * p), FCLayer_ReLU(200), Dropout(p), FCLayer_Softmax(10)]
        net = SwitchingNetwork(layers, seed=1)
        for _ in train(net, x, y, epochs=30, learning_rate=0.1, seed=1):
            pass
        A, loss, error = net.evaluate(scale(x), y)
        A, test_loss, test_error = net.evaluate(scale(x_test), y_test)
        test_errors.append(test_error)
        print(f"{'with' if p else 'without'} dropout: error {100 * error:.1f} %, loss {loss:.3f}; "
              f"on new digits {100 * test_error:.1f} %, {test_loss:.3f}")
        assert np.array_equal(net.predict(x_test[:9]), net.predict(x_test[:9]))  # nothing random
    assert test_errors[1] < test_errors[0]
