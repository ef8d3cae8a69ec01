"""Layers of a reader's own, written as the docstring of `Layer` says."""

import itertools
import unittest

import numpy as np

import cnn_naive
import cnn_sg
from test_equivalence import assert_same, central_differences, images_and_labels


def own_layers(module):
    """Yield the layers of two networks, but for the last one."""

    class Square(module.Layer):
        def forward_propagate(self, input):
            self.A_prev, self.A = input, input * input
            return self.A

        def input_gradient(self, dZ):
            return 2 * self.A_prev * dZ

    class Scale(module.Layer):
        weights = ("W",)

        def forward_propagate(self, input):
            self.W = np.ones(1, input.dtype) if self.W is None else self.W
            self.A_prev, self.A = input, self.W * input
            return self.A

        def weight_gradients(self, dZ):
            self.dW = np.sum(dZ * self.A_prev).reshape(1)

        def input_gradient(self, dZ):
            return self.W * dZ

    class Tanh(module.Layer):
        def g(self, Z):
            return np.tanh(Z)

        def times_g_prime(self, dA):
            return dA * (1 - self.A**2)

    class ConvLayer_Tanh(Tanh, module.ConvLayer):
        pass

    class FCLayer_Tanh(module.FCLayer, Tanh):  # the other order
        pass

    class LeakyReLU(module.Layer):
        def g(self, Z):
            return np.maximum(Z, 0.1 * Z)

        def times_g_prime(self, dA):
            return np.where(self.A > 0, dA, 0.1 * dA)

    class ConvLayer_LeakyReLU(LeakyReLU, module.ConvLayer):
        pass

    class FCLayer_LeakyReLU(LeakyReLU, module.FCLayer):
        pass

    yield Scale(), ConvLayer_Tanh(2, 3), module.FlatLayer(), Square(), FCLayer_Tanh(3), Scale()
    yield Square(), ConvLayer_LeakyReLU(2, 3), Scale(), module.FlatLayer(), FCLayer_LeakyReLU(3)


class OwnLayers(unittest.TestCase):
    def test_their_gradients_are_the_derivative(self):
        X, Y = images_and_labels(2)
        for module in cnn_naive, cnn_sg:
            for layers in own_layers(module):
                self.check_network(module.Network([*layers, module.FCLayer_Softmax(4)], 1), X, Y)

    def check_network(self, net, X, Y):
        net.gradients(X, Y)
        for layer in net.layers:
            for name in layer.weights:
                W, dW = getattr(layer, name), getattr(layer, f"d{name}")
                assert_same(dW, central_differences(lambda: net.evaluate(X, Y)[1], W), 1e-6)

    def test_they_keep_the_dtype(self):
        X, Y = images_and_labels(2)
        for module, dtype in itertools.product((cnn_naive, cnn_sg), ("f4", "f8")):
            for layers in own_layers(module):
                net = module.Network([*layers, module.FCLayer_Softmax(4)], seed=1)
                net.train(X.astype(dtype), Y, np.float64(0.01))
                for layer in net.layers:
                    self.assertEqual(layer.gradients(np.ones(layer.A.shape)).dtype, dtype)
                    for name in "A", *layer.weights:
                        self.assertEqual(getattr(layer, name).dtype, dtype)
