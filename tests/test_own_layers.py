"""Layers of a reader's own, written as the docstring of `Layer` has it, in at most ten lines."""

import unittest

import numpy as np

import cnn_naive
import cnn_sg
from test_equivalence import assert_same, central_differences, images_and_labels


class OwnLayers(unittest.TestCase):
    def test_they_learn_and_keep_the_dtype(self):
        for module in cnn_naive, cnn_sg:

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

            class LeakyReLU(module.Layer):
                def g(self, Z):
                    return np.maximum(Z, 0.1 * Z)

                def times_g_prime(self, dA):
                    return np.where(self.A > 0, dA, 0.1 * dA)

            for activation in Tanh, LeakyReLU:

                class OwnConvLayer(activation, module.ConvLayer):
                    pass

                class OwnFCLayer(activation, module.FCLayer):
                    pass

                layers = Scale, OwnConvLayer, module.FlatLayer, OwnFCLayer, Scale
                sizes = (), (2, 3), (), (3,), ()
                for dtype in np.float32, np.float64:
                    own = [layer(*size) for layer, size in zip(layers, sizes)]
                    net = module.Network([*own, module.FCLayer_Softmax(4)], seed=13)
                    self.check_own_layers(net, dtype)

    def check_own_layers(self, net, dtype):
        X, Y = images_and_labels(2)
        X = X.astype(dtype)
        net.gradients(X, Y)
        for layer in net.layers:
            self.assertEqual(layer.input_gradient(layer.times_g_prime(layer.A)).dtype, dtype)
            for name in layer.weights:
                W, dW = getattr(layer, name), getattr(layer, f"d{name}")
                self.assertEqual((layer.A.dtype, W.dtype, dW.dtype), (dtype, dtype, dtype))
                if dtype == np.float64:
                    expected = central_differences(lambda: net.evaluate(X, Y)[1], W)
                    assert_same(dW, expected, 1e-6)
