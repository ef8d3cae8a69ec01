# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24"]
# ///
"""Proof that cnn_naive.py and cnn_sg.py compute the same, and that it is the derivative.

    python3 test_equivalence.py
"""

import contextlib
import copy
import inspect
import itertools
import math
import os
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
import unittest
from pathlib import Path

# The matrices here are so small that threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import cnn_naive
import cnn_sg

MODULES = (cnn_naive, cnn_sg)
HERE = Path(__file__).resolve().parent


def difference(a, b):
    """The largest difference, relative to the largest entry."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    return np.abs(a - b).max() / (max(np.abs(a).max(), np.abs(b).max()) or 1)


def make(module, name, *arguments, seed=0):
    """A layer whose first weights depend on the seed alone."""
    layer = getattr(module, name)(*arguments)
    layer.rng = np.random.default_rng(seed)
    return layer


def one_hot(rng, n_m, classes, dtype=np.float64):
    return np.eye(classes, dtype=dtype)[rng.integers(0, classes, n_m)]


def mixed_layers(module, last="FCLayer_Softmax"):
    """A small network in which every kind of layer occurs; for images of 11 x 10 x 2."""
    return [
        module.ConvLayer_ReLU(3, 3, padding=1),
        module.PoolLayer_Max(2, 2),
        module.ConvLayer(4, (2, 3), stride=2, padding=1),
        module.PoolLayer_Avg((2, 1), 1),
        module.FlatLayer(),
        module.FCLayer_Sigmoid(6),
        module.FCLayer_ReLU(5),
        getattr(module, last)(4),
    ]


class NaiveEqualsStrideGroups(unittest.TestCase):
    def compare(self, name, arguments, X, dtype, tolerance):
        results = []
        for module in MODULES:
            rng = np.random.default_rng(1)
            layer = make(module, name, *arguments)
            A = layer.forward_propagate(X.astype(dtype))
            d = rng.standard_normal(A.shape).astype(dtype)
            result = {"A": A}
            if layer.W is not None:  # biases are zero at first: a forgotten one would not show
                layer.b[...] = rng.standard_normal(layer.b.shape)
                result["A with b"] = layer.forward_propagate(X.astype(dtype))
            result["dA_prev"] = layer.backpropagate(d, 0.1)
            self.assertEqual(result["dA_prev"].shape, X.shape)
            for attribute in layer.weights:
                result[f"d{attribute}"] = getattr(layer, f"d{attribute}")
                result[attribute] = getattr(layer, attribute)
            results.append(result)
        for key in results[0]:
            with self.subTest(name=name, arguments=arguments, shape=X.shape, dtype=dtype, array=key):
                naive, sg = (result[key] for result in results)
                self.assertEqual((naive.dtype, sg.dtype), (dtype, dtype))
                self.assertLessEqual(difference(naive, sg), tolerance)

    def test_full_grid(self):
        rng = np.random.default_rng(3)
        sizes = itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3, 4), (0, 1, 2))
        for fh, fw, s, p in sizes:
            X = rng.standard_normal((2, 5, 6, 2))
            for name in ("ConvLayer", "ConvLayer_ReLU"):
                self.compare(name, (2, (fh, fw), s, p), X, np.float64, 1e-10)
            if p == 0:
                for name in ("PoolLayer_Max", "PoolLayer_Avg"):
                    self.compare(name, ((fh, fw), s), X, np.float64, 1e-10)

    def test_random_configurations(self):
        rng = np.random.default_rng(4)
        for number in range(240):
            (fh, fw), s, p = rng.integers(1, 6, 2).tolist(), int(rng.integers(1, 6)), number % 3
            more = (0, 0) if number % 10 == 0 else rng.integers(0, 8, 2)  # 0, 0: a single window
            n_m, n_c, n_f = int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(1, 6))
            X = rng.standard_normal((n_m, fh + more[0], fw + more[1], n_c))
            dtype, tolerance = ((np.float64, 1e-10), (np.float32, 1e-4))[number % 4 == 3]
            self.compare("ConvLayer", (n_f, (fh, fw), s, p), X, dtype, tolerance)
            self.compare("ConvLayer_ReLU", (n_f, (fh, fw), s, p), X, dtype, tolerance)
            X = np.round(X) if number % 2 else X  # many equal pixels: ties
            self.compare("PoolLayer_Max", ((fh, fw), s), X, dtype, tolerance)
            self.compare("PoolLayer_Avg", ((fh, fw), s), X, dtype, tolerance)

    def test_large_mini_batches_and_large_filters(self):
        """Stride groups take other ways where there are more samples, and more weights."""
        rng = np.random.default_rng(37)
        for shape, arguments in [((12, 5, 6, 1), (2, (2, 3))), ((12, 7, 6, 1), (3, (3, 2), 2, 1)),
                                 ((9, 4, 5, 2), (2, 3, 3, 2)), ((7, 4, 4, 3), (2, (1, 2))),
                                 ((1, 5, 5, 16), (32, 3)), ((2, 4, 4, 64), (64, 1))]:  # fmt: skip
            X = rng.standard_normal(shape)
            for name, (dtype, tolerance) in itertools.product(
                ("ConvLayer", "ConvLayer_ReLU"), ((np.float64, 1e-10), (np.float32, 1e-4))
            ):
                self.compare(name, arguments, X, dtype, tolerance)

    def test_ten_steps_of_training(self):
        rng = np.random.default_rng(5)
        X, Y = rng.standard_normal((40, 11, 10, 2)), one_hot(rng, 40, 4)
        nets = [module.Network(mixed_layers(module), seed=6) for module in MODULES]
        for step in range(10):
            batch = slice(4 * step, 4 * step + 4)
            figures = [net.train(X[batch], Y[batch], 0.1, 0.01)[1:] for net in nets]
            np.testing.assert_allclose(*figures, rtol=1e-9)
        for naive, sg in zip(*(net.layers for net in nets)):
            for name in naive.weights:
                self.assertLessEqual(difference(getattr(naive, name), getattr(sg, name)), 1e-9)

    def test_same_seed_same_first_weights(self):
        X = np.random.default_rng(7).standard_normal((2, 11, 10, 2)).astype(np.float32)
        nets = [module.Network(mixed_layers(module), seed=8) for module in (*MODULES, cnn_sg)]
        for net in nets:
            net.predict(X)
        other = cnn_sg.Network(mixed_layers(cnn_sg), seed=9)
        other.predict(X)
        for k, layer in enumerate(nets[0].layers):
            for name in layer.weights:
                first, *more = (getattr(net.layers[k], name) for net in nets)
                for weights in more:
                    np.testing.assert_array_equal(first, weights)
            if layer.weights:
                self.assertGreater(difference(layer.W, other.layers[k].W), 0.1)

    def test_shared_classes_have_the_same_source(self):
        shared = {"Layer", "ConvLayer_ReLU", "FlatLayer", "FCLayer", "FCLayer_ReLU",
                  "FCLayer_Sigmoid", "FCLayer_Softmax", "Network"}  # fmt: skip
        for module in MODULES:
            shared |= {name for name in vars(module) if name.startswith("_") and name[1] != "_"}
        sources = [(getattr(cnn_naive, name), getattr(cnn_sg, name)) for name in shared]
        for name in ("ConvLayer", "PoolLayer"):
            layers = (getattr(module, name) for module in MODULES)
            sources.append([layer.__init__ for layer in layers])
        for naive, sg in sources:
            self.assertEqual(inspect.getsource(naive), inspect.getsource(sg))


class StrideGroups(unittest.TestCase):
    def test_groups_cover_every_window_once_and_never_overlap(self):
        sizes = itertools.product((1, 2, 3, 5), (1, 2, 4), (1, 2, 3, 6), (5, 8), (7,))
        for fh, fw, s, ih, iw in sizes:
            oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
            A = np.arange(2.0 * ih * iw * 3).reshape(2, ih, iw, 3)
            hits = np.zeros_like(A)
            groups = list(cnn_sg.stride_groups(A, fh, fw, s))
            hit_groups = list(cnn_sg.stride_groups(hits, fh, fw, s))
            copied = np.full((2, oh, ow, fh, fw, 3), np.nan)
            for (outputs, windows), (_, hit_windows) in zip(groups, hit_groups):
                self.assertTrue(np.isnan(copied[outputs]).all())
                copied[outputs] = windows
                hits[...] = 0
                hit_windows += 1
                self.assertEqual((hits.sum(), hits.max()), (windows.size, 1))
            for i, j in np.ndindex(oh, ow):
                window = A[:, s * i : s * i + fh, s * j : s * j + fw]
                np.testing.assert_array_equal(copied[:, i, j], window)
            self.assertLessEqual(len(groups), math.ceil(fh / s) * math.ceil(fw / s))
            self.assertTrue(len(groups) == 1 or s < max(fh, fw))


class KnownValues(unittest.TestCase):
    """Small cases worked out by hand, or by the formula of the textbook."""

    def test_convolution(self):
        X = np.arange(9.0).reshape(1, 3, 3, 1)
        for module in MODULES:
            layer = module.ConvLayer(1, 2)
            layer.forward_propagate(X)
            layer.W[..., 0, 0], layer.b[...] = [[1, 2], [3, 4]], 0.5
            Z = layer.forward_propagate(X)
            np.testing.assert_array_equal(Z[0, :, :, 0], [[27.5, 37.5], [57.5, 67.5]])
            layer.W *= -1
            relu = module.ConvLayer_ReLU(1, 2)
            relu.forward_propagate(X)
            relu.W, relu.b = layer.W, layer.b + 30
            A = relu.forward_propagate(X)
            np.testing.assert_array_equal(A[0, :, :, 0], [[3.5, 0], [0, 0]])
            padded = module.ConvLayer(1, 2, stride=3, padding=1)
            padded.forward_propagate(X)
            padded.W[..., 0, 0] = [[1, 2], [3, 4]]
            Z = padded.forward_propagate(X)
            np.testing.assert_array_equal(Z[0, :, :, 0], [[0, 6], [12, 8]])

    def test_pooling(self):
        X = np.array([[1, 5, 2], [3, 4, 0], [9, 8, 7]], float).reshape(1, 3, 3, 1)
        for module in MODULES:
            largest = module.PoolLayer_Max(2).forward_propagate(X)
            np.testing.assert_array_equal(largest[0, :, :, 0], [[5, 5], [9, 8]])
            mean = module.PoolLayer_Avg((1, 3), 2).forward_propagate(X)
            np.testing.assert_allclose(mean[0, :, :, 0], [[8 / 3], [8]])

    def test_the_first_of_equal_pixels_gets_the_gradient(self):
        for module in MODULES:
            for dtype in (np.float32, np.float64):
                layer = module.PoolLayer_Max((2, 3), 3)
                X = np.zeros((1, 5, 6, 2), dtype)
                X[0, 1, 5, 1] = X[0, 0, 4, 1] = 2
                layer.forward_propagate(X)
                d = np.arange(1, 9, dtype=dtype).reshape(1, 2, 2, 2)
                expected = np.zeros_like(X)
                expected[0, [0, 0, 3, 3], [0, 3, 0, 3], 0] = [1, 3, 5, 7]
                expected[0, [0, 0, 3, 3], [0, 4, 0, 3], 1] = [2, 4, 6, 8]
                np.testing.assert_array_equal(layer.backpropagate(d, 0.1), expected)

    def test_a_window_of_more_than_255_pixels(self):
        for module in MODULES:
            layer = module.PoolLayer_Max(20)
            layer.forward_propagate(np.ones((1, 20, 20, 1)))
            dA_prev = layer.backpropagate(np.ones((1, 1, 1, 1)), 0.1)
            self.assertEqual((dA_prev.sum(), dA_prev[0, 0, 0, 0]), (1, 1))

    def test_activations_and_weight_layout(self):
        X = np.random.default_rng(10).standard_normal((4, 3))
        formulas = {
            "FCLayer_ReLU": lambda Z: Z * (Z > 0),
            "FCLayer_Sigmoid": lambda Z: 1 / (1 + np.exp(-Z)),
            "FCLayer_Softmax": lambda Z: np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True),
        }
        for module, (name, formula) in itertools.product(MODULES, formulas.items()):
            layer = make(module, name, 5)
            layer.forward_propagate(X)
            self.assertEqual(layer.W.shape, (5, 4))
            self.assertTrue((layer.W[:, -1] == 0).all())
            layer.W[:, -1] = [1, 2, 3, 4, 5]
            A = layer.forward_propagate(X)
            expected = formula(X @ layer.W[:, :3].T + [1, 2, 3, 4, 5])
            self.assertLess(difference(A, expected), 1e-12, name)

    def test_cross_entropy_and_error(self):
        Y = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
        X = np.array([[0.5, 0.25, 0.125], [0.125, 0.5, 0.25], [0.25, 0.5, 0.5]])
        for module in MODULES:
            A, cce, ce = module.Network([module.FlatLayer()]).evaluate(X, Y)
            np.testing.assert_array_equal(A, X)
            self.assertAlmostEqual(cce, math.log(2 * 4 * 2) / 3)
            self.assertAlmostEqual(ce, 1 / 3)
            self.assertEqual((type(cce), type(ce)), (float, float))

    def test_evaluate_takes_all_pieces_into_account(self):
        rng = np.random.default_rng(9)
        X, Y = rng.standard_normal((150, 5)), one_hot(rng, 150, 3)
        for module in MODULES:
            net = module.Network([module.FCLayer_Softmax(3)], 1)
            A, cce, ce = net.evaluate(X, Y)
            whole = net.layers[0].forward_propagate(X)
            self.assertLess(difference(A, whole), 1e-12)
            self.assertAlmostEqual(cce, -(Y * np.log(whole)).sum() / 150)
            self.assertAlmostEqual(ce, (whole.argmax(axis=1) != Y.argmax(axis=1)).mean())

    def test_outputs_below_zero_have_a_constant_loss(self):
        X, Y = np.array([[[[-2.0, 0.5]]]]), np.array([[1, 1]])
        for module in MODULES:
            net = module.Network([module.ConvLayer(2, 1), module.FlatLayer()])
            net.predict(X)
            net.layers[0].W[0, 0] = np.eye(2)
            with np.errstate(all="raise"):
                _, cce, _ = net.train(X, Y, 0.1)
            self.assertAlmostEqual(cce, -math.log(np.finfo(float).tiny) - math.log(0.5))
            np.testing.assert_allclose(net.layers[0].db.ravel(), [0, -2])

    def test_logits_of_1000(self):
        X, Y = np.array([[1.0], [-1.0], [1.0]]), np.array([[0, 1], [0, 1], [1, 0]])
        cases = [("FCLayer_Softmax", 2000 / 3, [[1, -1], [0, 0], [0, 0]]),
                 ("FCLayer_Sigmoid", 1000 / 3, [[0, -1], [0, 0], [0, 0]])]  # fmt: skip
        for module, dtype in itertools.product(MODULES, (np.float32, np.float64)):
            for name, expected_cce, expected_dZ in cases:
                layer = getattr(module, name)(2)
                net = module.Network([layer])
                net.predict(X.astype(dtype))
                layer.W[...] = [[1000, 0], [-1000, 0]]
                with np.errstate(over="raise", invalid="raise", divide="raise"):
                    A, cce, ce = net.evaluate(X.astype(dtype), Y)
                    net.train(X.astype(dtype), Y, 0.0)
                self.assertTrue(np.isfinite(A).all())
                self.assertAlmostEqual(cce / expected_cce, 1, 5)
                self.assertAlmostEqual(ce, 1 / 3)
                dZ = np.array(expected_dZ) / 3  # (A - Y) / n_m for softmax
                np.testing.assert_allclose(layer.dW, dZ.T @ np.c_[X, np.ones(3)], atol=1e-6)

    def test_softmax_with_cross_entropy_gives_A_minus_Y(self):
        rng = np.random.default_rng(11)
        X, Y = rng.standard_normal((6, 5)), one_hot(rng, 6, 4)
        for module in MODULES:
            layer = module.FCLayer_Softmax(4)
            A, _, _ = module.Network([layer]).evaluate(X, Y)
            module.Network([layer]).train(X, Y, 0.1)
            self.assertLess(difference(layer.dW, ((A - Y) / 6).T @ np.c_[X, np.ones(6)]), 1e-12)

    def test_first_weights(self):
        X = np.random.default_rng(12).standard_normal((2, 9, 9, 40))
        conv_in, conv_out = 7 * 7 * 40, 7 * 7 * 30
        cases = {"ConvLayer": (30, 7, 2 / (conv_in + conv_out)), "ConvLayer_ReLU": (30, 7, 2 / conv_in),
                 "FCLayer_ReLU": (300, 2 / 3240), "FCLayer_Sigmoid": (300, 2 / 3540)}  # fmt: skip
        for module, (name, (*arguments, variance)) in itertools.product(MODULES, cases.items()):
            if module is cnn_naive and name.startswith("Conv"):
                continue  # the same function, and slow here
            layer = make(module, name, *arguments)
            layer.forward_propagate(X if name.startswith("Conv") else X.reshape(2, -1))
            W = layer.W if name.startswith("Conv") else layer.W[:, :-1]
            self.assertAlmostEqual(W.var() / variance, 1, 1, name)
            self.assertLess(abs(W.mean()) / math.sqrt(variance), 0.02)


class EqualsTheDerivative(unittest.TestCase):
    """Central differences: (L(x + h) - L(x - h)) / 2h for one number x after another."""

    def numerical(self, loss, array, h=1e-5):
        derivative = np.empty_like(array)
        for index in np.ndindex(array.shape):
            x = array[index]
            array[index] = x + h
            above = loss()
            array[index] = x - h
            derivative[index] = (above - loss()) / (2 * h)
            array[index] = x
        return derivative

    def check_layer(self, module, name, arguments, X):
        layer = make(module, name, *arguments)
        rng = np.random.default_rng(13)
        weighting = rng.standard_normal(layer.forward_propagate(X).shape)
        for attribute in layer.weights:
            W = getattr(layer, attribute)
            W += 0.3 * rng.standard_normal(W.shape)  # biases other than zero

        def loss():
            return (weighting * layer.forward_propagate(X)).sum()

        arrays = {"dA_prev": X, **{f"d{name}": getattr(layer, name) for name in layer.weights}}
        expected = {key: self.numerical(loss, array) for key, array in arrays.items()}
        layer.forward_propagate(X)
        before = {name: getattr(layer, name).copy() for name in layer.weights}
        got = {"dA_prev": layer.backpropagate(weighting, 0.5)}
        for attribute in layer.weights:
            got[f"d{attribute}"] = getattr(layer, f"d{attribute}")
            step = before[attribute] - getattr(layer, attribute)
            self.assertLess(difference(step, 0.5 * got[f"d{attribute}"]), 1e-12)
        for key, derivative in expected.items():
            with self.subTest(module=module.__name__, layer=repr(layer), array=key):
                self.assertLess(difference(derivative, got[key]), 1e-6)

    def test_every_layer(self):
        rng = np.random.default_rng(14)
        filters = [((2, 3), 1, 0), ((3, 2), 2, 0), ((2, 2), 3, 0), ((3, 3), 1, 2), ((3, 4), 2, 1), (2, 2, 1)]
        for module in MODULES:
            for size, s, p in filters:
                X = rng.standard_normal((2, 5, 6, 2))
                self.check_layer(module, "ConvLayer", (2, size, s, p), X)
                self.check_layer(module, "ConvLayer_ReLU", (2, size, s, p), X)
                self.check_layer(module, "PoolLayer_Max", (size, s), X)
                self.check_layer(module, "PoolLayer_Avg", (size, s), X)
            self.check_layer(module, "FlatLayer", (), rng.standard_normal((2, 3, 4, 2)))
            for name in ("FCLayer_ReLU", "FCLayer_Sigmoid", "FCLayer_Softmax"):
                self.check_layer(module, name, (4,), rng.standard_normal((3, 5)))

    def test_whole_networks(self):
        lasts = ("FCLayer_Softmax", "FCLayer_Sigmoid", "FCLayer_ReLU")
        for module, last, decay in itertools.product(MODULES, lasts, (0.0, 0.3)):
            with self.subTest(module=module.__name__, last=last, decay=decay):
                self.check_network(module, last, decay)

    def check_network(self, module, last, decay):
        rng = np.random.default_rng(15)
        X, Y = rng.standard_normal((3, 6, 5, 1)), one_hot(rng, 3, 4)
        layers = [module.ConvLayer_ReLU(2, 3, padding=1), module.PoolLayer_Max(2, 2),
                  module.FlatLayer(), module.FCLayer_Sigmoid(4), getattr(module, last)(4)]  # fmt: skip
        net = module.Network(layers, seed=16)
        net.predict(X)
        layers[0].b[...] = 0.2
        layers[3].W[:, -1] = 0.1
        layers[4].W[...] = np.abs(layers[4].W) + 0.1  # a ReLU's logarithm needs A > 0

        def loss():
            squares = sum((W**2).sum() for W in (layers[0].W, layers[3].W[:, :-1], layers[4].W[:, :-1]))
            return net.evaluate(X, Y)[1] + decay / 2 * squares

        weights = [(layer, name) for layer in layers for name in layer.weights]
        expected = [self.numerical(loss, getattr(layer, name)) for layer, name in weights]
        expected_dX = self.numerical(loss, X)
        before = [getattr(layer, name).copy() for layer, name in weights]
        net.train(X, Y, 0.5, decay)
        for (layer, name), derivative, W in zip(weights, expected, before):
            step = (W - getattr(layer, name)) / 0.5
            self.assertLess(difference(derivative, step), 1e-6, f"{layer}.{name}")
            setattr(layer, name, W)
        A = net.predict(X)  # and by hand, layer by layer, down to the image
        d = -Y / A / len(A)
        for layer in reversed(layers):
            d = layer.backpropagate(d, 0.0)
        self.assertLess(difference(expected_dX, d), 1e-6)


class Dtypes(unittest.TestCase):
    def arrays(self, net):
        for layer in net.layers:
            for name, value in (vars(layer) | vars(layer).get("kept", {})).items():
                if isinstance(value, np.ndarray):
                    yield f"{layer}.{name}", value

    def test_every_array_keeps_the_dtype_of_the_first_mini_batch(self):
        rng = np.random.default_rng(17)
        for module, dtype in itertools.product(MODULES, (np.float32, np.float64)):
            for last in ("FCLayer_Softmax", "FCLayer_Sigmoid", "FCLayer_ReLU"):
                net = module.Network(mixed_layers(module, last), seed=18)
                X, Y = rng.random((2, 11, 10, 2)).astype(dtype), one_hot(rng, 2, 4)
                rate = np.float64(0.1)  # as a user's own schedule may hand it over
                net.train(X, Y, rate, np.float64(0.01))
                other = np.float64 if dtype is np.float32 else np.float32
                net.train(X.astype(other), Y, rate)
                self.assertEqual(net.predict(X.astype(other)).dtype, dtype)
                self.assertEqual(net.evaluate(X, Y)[0].dtype, dtype)
                for name, array in self.arrays(net):
                    self.assertEqual(array.dtype, dtype, f"{module.__name__} {name}")

    def test_a_learning_rate_of_numpy_is_as_good_as_one_of_python(self):
        rng = np.random.default_rng(32)
        X, Y = rng.random((2, 11, 10, 2), np.float32), one_hot(rng, 2, 4)
        for module in MODULES:
            nets = [module.Network(mixed_layers(module), 33) for _ in range(2)]
            nets[0].train(X, Y, 0.1, 0.01)
            nets[1].train(X, Y, np.float64(0.1), np.float64(0.01))
            for layer, other in zip(nets[0].layers, nets[1].layers):
                for name in layer.weights:
                    np.testing.assert_array_equal(getattr(layer, name), getattr(other, name))

    def test_half_precision_and_foreign_byte_order(self):
        X = np.random.default_rng(34).random((2, 11, 10, 2))
        for module in MODULES:
            expected = module.Network(mixed_layers(module), 35).predict(X)
            for dtype, kept in (("f2", "f2"), (">f4", "f4"), (">f8", "f8"), ("?", "f4")):
                A = module.Network(mixed_layers(module), 35).predict(X.astype(dtype))
                self.assertEqual(A.dtype, np.dtype(kept))
                if dtype != "?":
                    self.assertLess(difference(A, expected), 0.01)

    def test_gradients_of_another_dtype(self):
        X = np.random.default_rng(19).random((2, 5, 5, 1), np.float32)
        for module in MODULES:
            for layer in (module.ConvLayer_ReLU(2, 3), module.PoolLayer_Max(2), module.PoolLayer_Avg(2),
                          module.FlatLayer()):  # fmt: skip
                d = np.ones(layer.forward_propagate(X).shape)
                self.assertEqual(layer.backpropagate(d, 0.1).dtype, np.float32)

    def test_biases_of_another_dtype(self):
        X = np.ones((2, 5, 5, 1), np.float32)
        for module in MODULES:
            layer = module.ConvLayer_ReLU(2, 3)
            layer.forward_propagate(X)
            layer.b = np.ones((1, 1, 1, 2))
            A = layer.forward_propagate(X)
            self.assertEqual((A.dtype, layer.backpropagate(A, 0.1).dtype), (np.float32, np.float32))

    def test_integer_images(self):
        rng = np.random.default_rng(20)
        X, Y = rng.integers(0, 256, (3, 11, 10, 2)), one_hot(rng, 3, 4)
        for module in MODULES:
            answers = []
            for dtype in (np.uint8, np.int64, np.float32):
                net = module.Network(mixed_layers(module), seed=21)
                net.train(X.astype(dtype), Y.astype(int), 0.01)
                answers.append(net.predict(X.astype(dtype)))
                self.assertEqual(net.layers[0].W.dtype, np.float32)
            np.testing.assert_array_equal(answers[0], answers[1])
            np.testing.assert_array_equal(answers[0], answers[2])


class ArraysOfTheCaller(unittest.TestCase):
    def test_they_are_never_changed(self):
        rng = np.random.default_rng(22)
        for module in MODULES:
            for layer in (module.ConvLayer(2, 2), module.ConvLayer_ReLU(2, 2, padding=1),
                          module.PoolLayer_Max(2, 2), module.PoolLayer_Avg(2), module.FlatLayer(),
                          module.FCLayer_ReLU(3), module.FCLayer_Sigmoid(3), module.FCLayer_Softmax(3)):  # fmt: skip
                shape = (2, 4) if layer.weights == ("W",) else (2, 4, 4, 1)
                kept = []
                for _ in range(2):
                    X = rng.standard_normal(shape)
                    A = layer.forward_propagate(X)
                    d = rng.standard_normal(A.shape)
                    kept += [(array, array.copy()) for array in (X, A, d)]
                    dA_prev = layer.backpropagate(d, 0.1)
                    kept.append((dA_prev, dA_prev.copy()))
                for array, before in kept:
                    np.testing.assert_array_equal(array, before)

    def test_what_a_layer_keeps_fits_the_next_mini_batch(self):
        rng = np.random.default_rng(38)
        shapes = [(3, 5, 4, 1), (64, 2, 2, 1), (1, 9, 9, 1), (64, 2, 2, 1), (3, 4, 5, 1), (4, 5, 3, 1)]
        for make_layer in (lambda: cnn_sg.ConvLayer_ReLU(2, 2), lambda: cnn_sg.PoolLayer_Max(2),
                           lambda: cnn_sg.PoolLayer_Avg((1, 2), 2)):  # fmt: skip
            used = make_layer()
            for dtype, shape in itertools.product((np.float32, np.float64), shapes):
                X = rng.standard_normal(shape).astype(dtype)
                if used.weights:  # as after loading
                    used.forward_propagate(X)
                    used.W, used.b = used.W.astype(dtype), used.b.astype(dtype)
                fresh = make_layer()
                fresh.forward_propagate(X)
                fresh.W, fresh.b = used.W, used.b
                for strided in (X, np.asfortranarray(X), X.transpose(1, 2, 0, 3).copy().transpose(2, 0, 1, 3)):
                    A, expected = used.forward_propagate(strided), fresh.forward_propagate(X)
                    np.testing.assert_array_equal(A, expected)
                    self.assertEqual(A.dtype, dtype)
                    d = rng.standard_normal(A.shape).astype(dtype)
                    dA_prev, expected = used.backpropagate(d, 0.0), fresh.backpropagate(d, 0.0)
                    np.testing.assert_array_equal(dA_prev, expected)
                    for name in used.weights:
                        np.testing.assert_array_equal(getattr(used, f"d{name}"), getattr(fresh, f"d{name}"))

    def test_a_tall_narrow_image_takes_no_more_memory_than_its_windows(self):
        X = np.ones((1, 20_000, 1, 1), np.float32)
        layer = cnn_sg.ConvLayer(64, (9, 1))
        d = np.ones_like(layer.forward_propagate(X))
        tracemalloc.start()
        layer.backpropagate(d, 0.1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertLess(peak, 3 * d.nbytes)

    def test_a_copy_of_a_network_goes_on_as_the_original(self):
        rng = np.random.default_rng(39)
        X, Y = rng.random((3, 11, 10, 2), np.float32), one_hot(rng, 3, 4, np.float32)
        for module in MODULES:
            net = module.Network(mixed_layers(module), 40)
            net.train(X, Y, 0.1)
            for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
                d = np.ones_like(other.layers[0].forward_propagate(X))
                expected = other.layers[0].backpropagate(d, 0.0)
                net.layers[0].forward_propagate(X)
                np.testing.assert_array_equal(net.layers[0].backpropagate(d, 0.0), expected)
                self.assertEqual(net.evaluate(X, Y)[1], other.evaluate(X, Y)[1])

    def test_read_only_images(self):
        X = np.random.default_rng(23).random((2, 6, 6, 1))
        X.flags.writeable = False
        for module in MODULES:
            for layer in (module.ConvLayer_ReLU(2, 3), module.PoolLayer_Max(2)):
                A = layer.forward_propagate(X)
                self.assertEqual(layer.backpropagate(A, 0.1).shape, X.shape)

    def test_layers_of_a_trained_network_return_whole_gradients_by_hand(self):
        rng = np.random.default_rng(24)
        X, Y = rng.random((2, 11, 10, 2)), one_hot(rng, 2, 4)
        for module in MODULES:
            net = module.Network(mixed_layers(module))
            net.train(X, Y, 0.1, weight_decay=0.5)
            first = net.layers[0]
            d = np.ones(first.output_shape)
            fresh = module.ConvLayer_ReLU(3, 3, padding=1)
            fresh.forward_propagate(X)
            fresh.W, fresh.b = first.W.copy(), first.b.copy()
            for layer in (fresh, first):
                layer.forward_propagate(X)
            np.testing.assert_array_equal(first.backpropagate(d, 0.1), fresh.backpropagate(d, 0.1))
            np.testing.assert_array_equal(first.W, fresh.W)

    def test_training_needs_no_gradient_of_the_images_and_cleans_up_when_interrupted(self):
        rng = np.random.default_rng(36)
        X, Y = rng.random((2, 6, 6, 1)), one_hot(rng, 2, 4)
        for module in MODULES:
            first = module.FCLayer_ReLU(3)
            net = module.Network([module.PoolLayer_Max(2, 2), module.FlatLayer(), first, module.FCLayer_Softmax(4)])
            asked = []

            def backpropagate(d, learning_rate, layer=first, asked=asked):
                asked.append((layer.needs_dA_prev, layer.weight_decay))
                raise KeyboardInterrupt

            first.backpropagate = backpropagate
            with self.assertRaises(KeyboardInterrupt):
                net.train(X, Y, 0.1, 0.5)
            self.assertEqual(asked, [(False, 0.5)])
            self.assertEqual((first.needs_dA_prev, first.weight_decay), (True, 0.0))


class Errors(unittest.TestCase):
    def test_one_line_with_layer_expectation_and_finding(self):
        for module in MODULES:
            self.check_errors(module)

    def check_errors(self, m):
        images, rows = np.ones((2, 5, 6, 3)), np.ones((2, 7))
        conv, pool, flat, fc = m.ConvLayer(4, 3), m.PoolLayer_Max(2, 2), m.FlatLayer(), m.FCLayer_ReLU(5)
        for layer in (conv, pool, flat):
            layer.forward_propagate(images)
        fc.forward_propagate(rows)
        net = m.Network([m.FlatLayer(), m.FCLayer_Softmax(4)])
        net.predict(images)
        labels = np.eye(4)[[0, 1]]
        cases = [
            (lambda: conv.forward_propagate(images[0]),
             r"ConvLayer\(4, \(3, 3\), 1, 0\): expected .*\(n_m, height, width, n_c\).*got shape \(5, 6, 3\)"),
            (lambda: pool.forward_propagate(rows), r"PoolLayer_Max\(\(2, 2\), 2\): expected .*got shape \(2, 7\)"),
            (lambda: flat.forward_propagate(np.ones(3)), r"FlatLayer\(\): expected .*got shape \(3,\)"),
            (lambda: fc.forward_propagate(images), r"FCLayer_ReLU\(5\): expected .*FlatLayer.*got shape \(2, 5, 6, 3\)"),
            (lambda: conv.forward_propagate(np.ones((2, 5, 6, 1))), r"ConvLayer.*expected n_c = 3.*got 1"),
            (lambda: fc.forward_propagate(np.ones((2, 8))), r"FCLayer_ReLU.*expected n_in = 7.*got 8"),
            (lambda: conv.forward_propagate(np.ones((2, 2, 6, 3))), r"ConvLayer.*expected images.*got 2 x 6"),
            (lambda: m.ConvLayer(1, (2, 5), padding=1).forward_propagate(np.ones((1, 9, 2, 1))),
             r"ConvLayer\(1, \(2, 5\), 1, 1\).*expected images.*got 11 x 4 with padding"),
            (lambda: pool.forward_propagate(np.ones((2, 6, 1, 3))), r"PoolLayer_Max.*expected images.*got 6 x 1"),
            (lambda: m.ConvLayer(0, 3), r"ConvLayer: expected an integer num_filters >= 1, got 0"),
            (lambda: m.ConvLayer(2.5, 3), r"ConvLayer: expected an integer num_filters >= 1, got 2.5"),
            (lambda: m.ConvLayer(1, 0), r"ConvLayer: expected an integer filter_width >= 1, got 0"),
            (lambda: m.ConvLayer_ReLU(1, (3, 0)), r"ConvLayer_ReLU: .*filter_width >= 1.*got \(3, 0\)"),
            (lambda: m.ConvLayer(1, (3, 3, 3)), r"ConvLayer: .*filter_width.*got \(3, 3, 3\)"),
            (lambda: m.ConvLayer(1, 3, 0), r"ConvLayer: expected an integer stride >= 1, got 0"),
            (lambda: m.ConvLayer(1, 3, padding=-1), r"ConvLayer: expected an integer padding >= 0, got -1"),
            (lambda: m.PoolLayer_Avg(0), r"PoolLayer_Avg: expected an integer filter_width >= 1, got 0"),
            (lambda: m.PoolLayer_Max(2, 0), r"PoolLayer_Max: expected an integer stride >= 1, got 0"),
            (lambda: m.FCLayer_Sigmoid(0), r"FCLayer_Sigmoid: expected an integer num_neurons >= 1, got 0"),
            (lambda: net.train(images, [0, 1], 0.1), r"Network: expected labels of shape \(2, 4\), got \(2,\)"),
            (lambda: net.train(images, np.eye(3)[[0, 1]], 0.1), r"Network: expected labels.*got \(2, 3\)"),
            (lambda: net.evaluate(images, labels[:1]), r"Network: expected labels for 2 samples, got 1"),
            (lambda: net.evaluate(images, np.eye(5)[[0, 1]]), r"Network: expected labels.*got \(2, 5\)"),
            (lambda: net.train(images[:0], labels[:0], 0.1), r"FlatLayer.*expected .*not empty, got shape \(0, 5, 6, 3\)"),
            (lambda: net.predict(images[:0]), r"FlatLayer.*expected .*not empty, got shape \(0, 5, 6, 3\)"),
            (lambda: net.evaluate(images[:0], labels[:0]), r"FlatLayer.*expected .*not empty"),
            (lambda: net.predict(3.0), r"FlatLayer.*expected .*got shape \(1,\)"),
            (lambda: net.predict(images.astype(complex)), r"FlatLayer.*expected real numbers, got complex128"),
            (lambda: m.ConvLayer(1, 3, padding=True), r"ConvLayer: expected an integer padding >= 0, got True"),
            (lambda: m.Network([]), r"Network: expected at least one layer, got \[\]"),
            (lambda: m.Network([m.FCLayer_ReLU(2)]).save("x.npz"), r"Network.save: expected weights.*got none yet"),
        ]  # fmt: skip
        for layer in (conv, pool, flat, fc, m.ConvLayer_ReLU(4, 3), m.PoolLayer_Avg(2), m.FCLayer_Softmax(2)):
            if layer.output_shape is None:
                message = rf"{type(layer).__name__}.*expected forward_propagate before.*got none yet"
            else:
                message = rf"{type(layer).__name__}.*expected d of the output's shape.*got \(2, 1\)"
            cases.append((lambda layer=layer: layer.backpropagate(np.ones((2, 1)), 0.1), message))
        for call, message in cases:
            with self.subTest(module=m.__name__, message=message):
                with self.assertRaisesRegex(ValueError, f"^{message}") as raised:
                    call()
                self.assertNotIn("\n", str(raised.exception))


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "weights.npz"
        rng = np.random.default_rng(25)
        self.X, self.Y = rng.random((4, 11, 10, 2), np.float32), one_hot(rng, 4, 4)

    def trained(self, module, seed=26):
        net = module.Network(mixed_layers(module), seed)
        net.train(self.X, self.Y, 0.1)
        return net

    def test_all_four_directions(self):
        for source, target in itertools.product(MODULES, MODULES):
            net = self.trained(source)
            net.save(self.path)
            for path in (self.path, str(self.path)):
                loaded = target.Network(mixed_layers(target))
                loaded.load(path)
                self.assertLess(difference(net.predict(self.X), loaded.predict(self.X)), 1e-5)
                for layer, other in zip(net.layers, loaded.layers):
                    for name in layer.weights:
                        np.testing.assert_array_equal(getattr(layer, name), getattr(other, name))
            self.assertEqual([each.name for each in self.path.parent.iterdir()], [self.path.name])

    def test_files_that_do_not_fit_leave_the_network_as_it_was(self):
        for module in MODULES:
            net = self.trained(module)
            net.save(self.path)
            whole = self.path.read_bytes()
            before = net.predict(self.X)
            other = module.Network([module.FlatLayer(), module.FCLayer_Softmax(4)], 1)
            other.predict(self.X)
            larger = module.Network([module.FlatLayer(), module.FCLayer_Softmax(4)], 1)
            larger.predict(np.ones((1, 9, 9, 2)))
            damaged = self.path.with_name("damaged.npz")
            for content in (b"", b"PK", b"no weights", *(whole[: len(whole) * k // 7] for k in range(1, 7))):
                damaged.write_bytes(content)
                with self.assertRaisesRegex(ValueError, "^Network.load: expected .*damaged.npz, got "):
                    net.load(damaged)
            layers = [repr(layer) for layer in net.layers]
            for arrays in ({"something": np.ones(3)}, {"layers": np.array("one")}, {"layers": layers}):
                np.savez(damaged, **arrays)
                with self.assertRaisesRegex(ValueError, "^Network.load.* expected .*, got "):
                    net.load(damaged)
            np.save(damaged.with_suffix(".npy"), np.ones(3))
            with self.assertRaisesRegex(ValueError, "^Network.load: expected .*damaged.npy, got "):
                net.load(damaged.with_suffix(".npy"))
            flipped = bytearray(whole)
            for position in range(0, len(whole), 97):
                flipped[position] ^= 64
                damaged.write_bytes(flipped)
                with contextlib.suppress(ValueError):  # or the flip is in a number
                    module.Network(mixed_layers(module)).load(damaged)
                flipped[position] ^= 64
            with self.assertRaisesRegex(ValueError, "^Network.load: expected .*FCLayer_Softmax.*got .*ConvLayer_ReLU"):
                other.load(self.path)
            larger.save(damaged)
            with self.assertRaisesRegex(ValueError, r"FCLayer_Softmax\(4\): expected W \(4, 221\), got \(4, 163\)"):
                other.load(damaged)
            with self.assertRaises(FileNotFoundError):
                net.load(self.path.with_name("none.npz"))
            np.testing.assert_array_equal(net.predict(self.X), before)

    def test_death_in_the_middle_of_saving(self):
        program = """if True:
            import os, sys, numpy, {module} as cnn
            net = cnn.Network([cnn.FCLayer_ReLU(3)])
            net.predict(numpy.ones((1, 2)))
            net.save(sys.argv[1])
            def die(file, **arrays):
                file.write(b"half of a file")
                file.flush()
                os._exit(9)
            numpy.savez = die
            net.save(sys.argv[1])
        """
        for module in MODULES:
            code = program.format(module=module.__name__)
            ended = subprocess.run([sys.executable, "-c", code, self.path], cwd=HERE, check=False)
            self.assertEqual(ended.returncode, 9)
            net = module.Network([module.FCLayer_ReLU(3)])
            net.load(self.path)
            self.assertEqual(net.predict(np.ones((1, 2))).shape, (1, 3))


class Networks(unittest.TestCase):
    def test_table(self):
        for module in MODULES:
            net = module.Network([module.ConvLayer(2, 3), module.FlatLayer(), module.FCLayer_Softmax(10)])
            lines = str(net).splitlines()
            self.assertEqual(lines[1].split()[-2:], ["?", "?"])
            self.assertEqual(lines[-1].split(), ["total", "?"])
            net.predict(np.ones((1, 14, 13, 1)))
            lines = [line.split() for line in str(net).splitlines()]
            self.assertEqual(lines[1][-6:], ["12", "x", "11", "x", "2", "20"])
            self.assertEqual(lines[2][-2:], ["264", "0"])
            self.assertEqual(lines[3][-2:], ["10", "2,650"])
            self.assertEqual(lines[4], ["total", "2,670"])

    def test_a_single_layer_can_be_copied_with_what_it_needs(self):
        X = np.ones((2, 5, 5, 1))
        layers = {"ConvLayer_ReLU": (2, 3), "PoolLayer_Max": (2, 2), "FCLayer_Sigmoid": (2,)}
        for module, (name, arguments) in itertools.product(MODULES, layers.items()):
            source = inspect.getsource(module)
            imports = source[source.index("import math") : source.index("\n\n\n")]
            bases = [each for each in getattr(module, name).__mro__ if each is not object]
            helpers = [each for each in vars(module).values() if inspect.isfunction(each)
                       and each.__module__ == module.__name__]  # fmt: skip
            parts = [inspect.getsource(each) for each in [*reversed(bases), *helpers]]
            copied = {}
            exec("\n".join([imports, *parts]), copied)  # noqa: S102 - it is our own source
            layer = copied[name](*arguments)
            A = layer.forward_propagate(X[:, 0, :, 0] if name.startswith("FC") else X)
            layer.backpropagate(A, 0.1)

    def test_a_layer_of_ones_own(self):
        for module in MODULES:

            class Double(module.Layer):
                def forward_propagate(self, input):
                    return 2 * input

                def backpropagate(self, d, learning_rate):
                    return 2 * d

            rng = np.random.default_rng(27)
            X, Y = rng.random((3, 4)), one_hot(rng, 3, 2)
            net = module.Network([Double(), module.FCLayer_ReLU(3), Double(), module.FCLayer_Softmax(2)], 1)
            first = net.train(X, Y, 0.1)[1]
            self.assertLess(net.train(X, Y, 0.1)[1], first)
            self.assertIn("Double()", str(net))

    def test_figures_are_from_before_the_step(self):
        rng = np.random.default_rng(28)
        X, Y = rng.random((3, 11, 10, 2)), one_hot(rng, 3, 4)
        for module in MODULES:
            net = module.Network(mixed_layers(module), 29)
            _, cce, ce = net.evaluate(X, Y)
            layers, *figures = net.train(X, Y, 0.1)
            self.assertIs(layers, net.layers)
            np.testing.assert_allclose(figures, [cce, ce])

    def test_predict_60000_images_in_bounded_memory(self):
        X = np.random.default_rng(30).random((60_000, 28, 28, 1), np.float32)
        net = cnn_sg.Network([cnn_sg.ConvLayer_ReLU(32, 3), cnn_sg.PoolLayer_Max(2, 2), cnn_sg.FlatLayer(),
                              cnn_sg.FCLayer_ReLU(100), cnn_sg.FCLayer_Softmax(10)], 31)  # fmt: skip
        tracemalloc.start()
        A = net.predict(X)
        peak = tracemalloc.get_traced_memory()[1] + X.nbytes
        tracemalloc.stop()
        self.assertEqual(A.shape, (60_000, 10))
        self.assertLess(peak, 500e6)
        for piece in (slice(0, 1), slice(1, 300), slice(59_990, None)):
            self.assertLess(difference(A[piece], net.predict(X[piece])), 1e-5)


if __name__ == "__main__":
    unittest.main(warnings="error")
