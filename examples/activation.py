"""An activation of your own: leaky ReLU and tanh, in convolutions and in fully connected layers.

Checks their derivatives, then trains the same network with each of them and with ReLU.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from check_gradient import check
from digits import load_digits

import cnn_sg
from cnn_sg import ConvLayer, FCLayer, Layer
from mnist import scale, train


class LeakyReLU(Layer):
    """g(Z) = Z where Z > 0, elsewhere Z / 10: a neuron that is off still learns."""

    initialization = "He"  # of the first weights, as for ReLU; "Glorot" if you leave it out

    def g(self, Z):
        return np.where(Z > 0, Z, Z / 10)

    def times_g_prime(self, dA):
        return np.where(self.A > 0, dA, dA / 10)


class Tanh(Layer):
    """g(Z) = tanh(Z), from -1 to 1."""

    def g(self, Z):
        return np.tanh(Z)

    def times_g_prime(self, dA):
        return dA * (1 - self.A**2)


class ConvLayer_LeakyReLU(LeakyReLU, ConvLayer):
    """Convolution, then the leaky rectified linear unit."""


class FCLayer_LeakyReLU(LeakyReLU, FCLayer):
    """Fully connected, then the leaky rectified linear unit."""


class ConvLayer_Tanh(Tanh, ConvLayer):
    """Convolution, then tanh."""


class FCLayer_Tanh(Tanh, FCLayer):
    """Fully connected, then tanh."""


if __name__ == "__main__":
    (x, y), (x_test, y_test) = load_digits(__doc__, 3_000, 1_000)
    rng = np.random.default_rng(1)
    images, rows = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((2, 7))
    for conv, fc in (ConvLayer_LeakyReLU, FCLayer_LeakyReLU), (ConvLayer_Tanh, FCLayer_Tanh):
        check(conv(2, 3), images)
        check(fc(4), rows)

    for conv, fc in (
        (cnn_sg.ConvLayer_ReLU, cnn_sg.FCLayer_ReLU),
        (ConvLayer_LeakyReLU, FCLayer_LeakyReLU),
        (ConvLayer_Tanh, FCLayer_Tanh),
    ):
        net = cnn_sg.Network([conv(8, 3), cnn_sg.PoolLayer_Max(2, 2), cnn_sg.FlatLayer(), fc(50),
                              cnn_sg.FCLayer_Softmax(10)], seed=1)  # fmt: skip
        for _ in train(net, x, y, epochs=3, learning_rate=0.1, seed=1):
            pass
        A, loss, error = net.evaluate(scale(x_test), y_test)
        assert A.dtype == np.float32 and error < 0.2
        print(f"{conv.__name__:20} test loss {loss:.3f}, error {100 * error:.1f} %")
