"""Batch normalization: a deep network learns in fewer steps.

Trains a network of four convolutions with and without it, for two epochs.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from check_gradient import check
from digits import load_digits
from dropout import SwitchingNetwork

import cnn_sg
from cnn_sg import Layer, ReLU
from mnist import scale, train


class BatchNorm(Layer):
    """A = g(gamma (A_prev - mean) / sqrt(variance + 1e-5) + beta), for each of n_c channels.

    In training, mean and variance are of the mini-batch, else of past ones (Ioffe, Szegedy, 2015).
    """

    weights = ("gamma", "beta", "mean", "variance")  # so that save and load take them all
    gamma = beta = mean = variance = None
    training = True  # SwitchingNetwork changes it

    def forward_propagate(self, input):
        axes = tuple(range(input.ndim - 1))  # all except the channels
        if self.gamma is None:
            self.gamma, self.variance = np.ones((2, input.shape[-1]), input.dtype)
            self.beta, self.mean = np.zeros((2, input.shape[-1]), input.dtype)
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = input.mean(axes), input.var(axes)
            self.mean = 0.9 * self.mean + 0.1 * mean
            self.variance = 0.9 * self.variance + 0.1 * variance  # PyTorch: times n / (n - 1)
        self.deviation = np.sqrt(variance + 1e-5)
        self.normal = (input - mean) / self.deviation
        self.A = self.g(self.gamma * self.normal + self.beta)
        return self.A

    def weight_gradients(self, dZ):
        axes = tuple(range(dZ.ndim - 1))
        self.dgamma = (dZ * self.normal).sum(axes)
        self.dbeta = dZ.sum(axes)
        self.dmean = self.dvariance = np.zeros_like(self.mean)  # step leaves these two alone

    def input_gradient(self, dZ):
        axes, dnormal = tuple(range(dZ.ndim - 1)), dZ * self.gamma
        if self.training:  # each pixel moves the mean and the variance of the mini-batch
            dnormal -= dnormal.mean(axes) + self.normal * (dnormal * self.normal).mean(axes)
        return dnormal / self.deviation


class BatchNorm_ReLU(ReLU, BatchNorm):
    """Batch normalization, then the rectified linear unit. Before it goes a plain ConvLayer."""


if __name__ == "__main__":
    check(BatchNorm_ReLU(), np.random.default_rng(1).standard_normal((4, 3, 3, 2)))
    (x, y), (x_test, y_test) = load_digits(__doc__, 3_000, 1_000)
    test_losses = []
    for normalized in False, True:
        layers = []
        for n_f in 8, 8, 16, 16:
            with_it = [cnn_sg.ConvLayer(n_f, 3, padding=1), BatchNorm_ReLU()]
            layers += with_it if normalized else [cnn_sg.ConvLayer_ReLU(n_f, 3, padding=1)]
            layers += [cnn_sg.PoolLayer_Max(2, 2)]
        net = SwitchingNetwork([*layers, cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(10)], seed=1)
        list(train(net, x, y, epochs=2, learning_rate=0.1, seed=1))  # a generator of steps
        A, loss, error = net.evaluate(scale(x_test), y_test)
        print(f"batch normalization {normalized}: test loss {loss:.3f}, error {100 * error:.1f} %")
        test_losses.append(loss)
    assert test_losses[1] < test_losses[0]
