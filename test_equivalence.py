# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24"]
# ///
"""Proof that cnn_naive.py and cnn_sg.py compute the same, and that it is the derivative.

    python3 test_equivalence.py
"""

import ast
import copy
import io
import itertools
import math
import os
import pickle
import runpy
import subprocess
import sys
import tempfile
import tracemalloc
import unittest
import zipfile
from pathlib import Path
from unittest import mock

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


def numerical(loss, array, h=1e-5):
    """Central differences: (L(x + h) - L(x - h)) / 2h for one number x after another."""
    derivative = np.empty_like(array)
    for index in np.ndindex(array.shape):
        x = array[index]
        array[index] = x + h
        above = loss()
        array[index] = x - h
        derivative[index] = (above - loss()) / (2 * h)
        array[index] = x
    return derivative


def make(module, name, *arguments, seed=0):
    """A layer whose first weights depend on the seed alone."""
    layer = getattr(module, name)(*arguments)
    layer.rng = np.random.default_rng(seed)
    return layer


def results(layer, X):
    """What a layer computes, by name, with biases other than zero."""
    rng = np.random.default_rng(1)
    first = layer.forward_propagate(X)
    if layer.weights:
        biases = layer.b if "b" in layer.weights else layer.W[:, -1]
        biases += rng.standard_normal(biases.shape)
    A = layer.forward_propagate(X)
    d = rng.standard_normal(A.shape).astype(A.dtype)
    arrays = {"first A": first, "A": A, "dA_prev": layer.backpropagate(d, 0.1)}
    return {**arrays, **{name: getattr(layer, name) for each in layer.weights for name in (each, f"d{each}")}}


def weights_of(net):
    return [getattr(layer, name) for layer in net.layers for name in layer.weights]


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


def every_layer(module):
    """A layer of each class, and the shape of a mini-batch for it."""
    images, rows = (2, 5, 6, 2), (3, 5)
    yield from ((module.ConvLayer(2, 3, 2, 1), images), (module.ConvLayer_ReLU(2, (2, 3)), images))
    yield from ((module.PoolLayer_Max((2, 3)), images), (module.PoolLayer_Avg(2, 2), images))
    yield from ((module.FlatLayer(), images), (module.FCLayer(4), rows), (module.FCLayer_ReLU(4), rows))
    yield from ((module.FCLayer_Sigmoid(4), rows), (module.FCLayer_Softmax(4), rows))


def configurations():
    """(shape of X, filter, stride, padding, filters, dtype): the full grid, random and large ones."""
    for fh, fw, s, p in itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3, 4), (0, 1, 2)):
        yield (2, 5, 6, 2), (fh, fw), s, p, 2, np.float64
    rng = np.random.default_rng(4)
    for number in range(240):
        (fh, fw), s, p = rng.integers(1, 6, 2).tolist(), int(rng.integers(1, 6)), number % 3
        more = (0, 0) if number % 10 == 0 else rng.integers(0, 8, 2).tolist()  # 0, 0: a single window
        n_m, n_c, n_f = rng.integers(1, 4), rng.integers(1, 5), rng.integers(1, 6)
        dtype = np.float32 if number % 4 == 3 else np.float64
        yield (n_m, fh + more[0], fw + more[1], n_c), (fh, fw), s, p, n_f, dtype
    # Stride groups take other ways where there are more samples, and more weights.
    large = [((12, 5, 6, 1), (2, 3), 1, 0, 2), ((12, 7, 6, 1), (3, 2), 2, 1, 3), ((9, 4, 5, 2), 3, 3, 2, 2),
             ((7, 4, 4, 3), (1, 2), 1, 0, 2), ((1, 5, 5, 16), 3, 1, 0, 32), ((2, 4, 4, 64), 1, 1, 0, 64)]  # fmt: skip
    yield from ((*each, dtype) for each in large for dtype in (np.float32, np.float64))


class Case(unittest.TestCase):
    def assert_same(self, results, expected, tolerance=0.0, dtype=None):
        self.assertEqual(results.keys(), expected.keys())
        for key, array in results.items():
            self.assertEqual(array.dtype, dtype or expected[key].dtype, key)
            self.assertLessEqual(difference(array, expected[key]), tolerance, key)


class NaiveEqualsStrideGroups(Case):
    def test_every_configuration(self):
        rng = np.random.default_rng(3)
        for number, (shape, size, s, p, n_f, dtype) in enumerate(configurations()):
            X, tolerance = rng.standard_normal(shape).astype(dtype), {np.float32: 1e-4, np.float64: 1e-10}[dtype]
            rounded = np.round(X) if number % 2 else X  # many equal pixels: ties
            for name, arguments, images in (("ConvLayer", (n_f, size, s, p), X), ("ConvLayer_ReLU", (n_f, size, s, p), X),
                                            ("PoolLayer_Max", (size, s), rounded), ("PoolLayer_Avg", (size, s), X)):  # fmt: skip
                with self.subTest(name=name, arguments=arguments, shape=shape, dtype=dtype):
                    naive, sg = (results(make(module, name, *arguments), images) for module in MODULES)
                    self.assert_same(naive, sg, tolerance, dtype)
                    self.assertEqual(naive["dA_prev"].shape, shape)

    def test_ten_steps_of_training(self):
        rng = np.random.default_rng(5)
        X, Y = rng.standard_normal((40, 11, 10, 2)), one_hot(rng, 40, 4)
        nets = [module.Network(mixed_layers(module), seed=6) for module in MODULES]
        for step in range(10):
            batch = slice(4 * step, 4 * step + 4)
            figures = [net.train(X[batch], Y[batch], 0.1, 0.01)[1:] for net in nets]
            np.testing.assert_allclose(*figures, rtol=1e-9)
        for naive, sg in zip(*map(weights_of, nets)):
            self.assertLessEqual(difference(naive, sg), 1e-9)

    def test_same_seed_same_first_weights(self):
        X = np.random.default_rng(7).standard_normal((2, 11, 10, 2)).astype(np.float32)
        nets = [module.Network(mixed_layers(module), seed=8) for module in (*MODULES, cnn_sg)]
        nets.append(cnn_sg.Network(mixed_layers(cnn_sg), seed=9))
        for net in nets:
            net.predict(X)
        for first, same, again, other in zip(*map(weights_of, nets)):
            np.testing.assert_array_equal(first, same)
            np.testing.assert_array_equal(first, again)
            self.assertTrue((first == 0).all() or difference(first, other) > 0.1)

    def test_what_both_modules_have_is_the_same_word_for_word(self):
        """All but convolution, pooling, and what serves only stride groups."""
        parts = []
        for module in MODULES:
            source = Path(module.__file__).read_text(encoding="utf-8")
            nodes = {ast.unparse(node).partition("(")[0].partition(":")[0]: node for node in ast.parse(source).body[1:]}
            parts.append({key: ast.get_source_segment(source, node) for key, node in nodes.items()})
        naive, sg = parts
        other = {f"class {name}" for name in ("ConvLayer", "PoolLayer", "PoolLayer_Max", "PoolLayer_Avg")}
        self.assertEqual({key for key in naive if naive[key] != sg.get(key)}, other)
        own = {"from numpy.lib.stride_tricks import sliding_window_view", "def stride_groups", "np.empty",
               "def _view_rows", "def _product", "def _transposed_product", "def _pixels_first"}  # fmt: skip
        self.assertEqual(sg.keys() - naive.keys(), own)
        for key in ("class ConvLayer", "class PoolLayer"):
            start, forward = ((text[key].index("__init__"), text[key].index("A_prev = ")) for text in parts)
            self.assertEqual(naive[key][: start[1]], sg[key][: forward[1]])


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
                self.assertGreater(windows.size, 0)
            for i, j in np.ndindex(oh, ow):
                window = A[:, s * i : s * i + fh, s * j : s * j + fw]
                np.testing.assert_array_equal(copied[:, i, j], window)
            self.assertEqual(len(groups), min(math.ceil(fh / s), oh) * min(math.ceil(fw / s), ow))


class KnownValues(Case):
    """Small cases worked out by hand, by the formula of the textbook, or known from elsewhere."""

    def test_convolution(self):
        X = np.arange(9.0).reshape(1, 3, 3, 1)
        for module in MODULES:
            layer = module.ConvLayer(1, 2)
            layer.W, layer.b = np.array([[1.0, 2], [3, 4]]).reshape(2, 2, 1, 1), np.full((1, 1, 1, 1), 0.5)
            Z = layer.forward_propagate(X)
            np.testing.assert_array_equal(Z[0, :, :, 0], [[27.5, 37.5], [57.5, 67.5]])
            relu = module.ConvLayer_ReLU(1, 2)
            relu.W, relu.b = -layer.W, layer.b + 29.5
            A = relu.forward_propagate(X)
            np.testing.assert_array_equal(A[0, :, :, 0], [[3, 0], [0, 0]])
            padded = module.ConvLayer(1, 2, stride=3, padding=1)
            padded.W = layer.W
            Z = padded.forward_propagate(X)
            np.testing.assert_array_equal(Z[0, :, :, 0], [[0, 6], [12, 8]])
            np.testing.assert_array_equal(padded.b, np.zeros((1, 1, 1, 1)))

    def test_the_assignment_of_andrew_ngs_course(self):
        """What its notebook prints, in two editions."""
        for module in MODULES:
            random = np.random.RandomState(1)
            A_prev = random.randn(10, 4, 4, 3)
            layer = module.ConvLayer(8, 2, stride=2, padding=2)
            layer.W, layer.b = random.randn(2, 2, 3, 8), random.randn(1, 1, 1, 8)
            Z = layer.forward_propagate(A_prev)
            self.assertAlmostEqual(Z.mean(), 0.0489952035289, 12)
            printed = "-0.61490741 -6.7439236 -2.55153897 1.75698377 3.56208902 0.53036437 5.18531798 8.75898442"
            np.testing.assert_allclose(Z[3, 2, 1], [float(each) for each in printed.split()], atol=5e-9)
            means = [each.mean() for each in (layer.gradients(Z), layer.dW, layer.db)]
            np.testing.assert_allclose(means, [1.45243777754, 1.72699145831, 7.83923256462], atol=5e-12)
            random = np.random.RandomState(1)
            A_prev = random.randn(2, 5, 7, 4)
            layer = module.ConvLayer(8, 3, stride=2, padding=1)
            layer.W, layer.b = random.randn(3, 3, 4, 8), random.randn(1, 1, 1, 8)
            Z = layer.forward_propagate(A_prev)
            self.assertAlmostEqual(Z.mean(), 0.5511276474566768, 12)
            printed = "-2.17796037 8.07171329 -0.5772704 3.36286738 4.48113645 -2.89198428 10.99288867 3.03171932"
            np.testing.assert_allclose(Z[0, 2, 1], [float(each) for each in printed.split()], atol=5e-9)

    def test_pooling(self):
        X = np.array([[1, 5, 2], [3, 4, 0], [9, 8, 7]], float).reshape(1, 3, 3, 1)
        for module in MODULES:
            largest = module.PoolLayer_Max(2).forward_propagate(X)
            np.testing.assert_array_equal(largest[0, :, :, 0], [[5, 5], [9, 8]])
            mean = module.PoolLayer_Avg((1, 3), 2).forward_propagate(X)
            np.testing.assert_allclose(mean[0, :, :, 0], [[8 / 3], [8]])

    def test_the_first_of_equal_pixels_gets_the_gradient(self):
        for module, dtype in itertools.product(MODULES, (np.float32, np.float64)):
            layer = module.PoolLayer_Max((2, 3), 3)
            X = np.zeros((1, 5, 6, 2), dtype)
            X[0, 1, 5, 1] = X[0, 0, 4, 1] = 2
            layer.forward_propagate(X)
            d = np.arange(1, 9, dtype=dtype).reshape(1, 2, 2, 2)
            expected = np.zeros_like(X)
            expected[0, [0, 0, 3, 3], [0, 3, 0, 3], 0] = [1, 3, 5, 7]
            expected[0, [0, 0, 3, 3], [0, 4, 0, 3], 1] = [2, 4, 6, 8]
            np.testing.assert_array_equal(layer.gradients(d), expected)
            layer = module.PoolLayer_Max(20)  # more positions than fit into a byte
            layer.forward_propagate(np.ones((1, 20, 20, 1)))
            dA_prev = layer.gradients(np.ones((1, 1, 1, 1)))
            self.assertEqual((dA_prev.sum(), dA_prev[0, 0, 0, 0]), (1, 1))

    def test_one_pixel_of_a_window_with_nan_gets_the_gradient(self):
        X = np.random.default_rng(41).standard_normal((2, 6, 6, 2))
        X[0, 1, 1, 0] = X[1, 2:4, 2:4, 1] = np.nan
        for stride in (1, 2):
            layers = [module.PoolLayer_Max(2, stride) for module in MODULES]
            outputs = [layer.forward_propagate(X) for layer in layers]
            np.testing.assert_array_equal(*outputs)
            gradients = [layer.gradients(np.ones(outputs[0].shape)) for layer in layers]
            np.testing.assert_array_equal(*gradients)
            self.assertEqual(gradients[0].sum(), outputs[0].size)

    def test_activations_and_weight_layout(self):
        X = np.random.default_rng(10).standard_normal((4, 3))
        formulas = {
            "FCLayer": lambda Z: Z,
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

    def outputs(self, module, name, A):
        """A network that puts out A, and its X."""
        logits = {"FCLayer_Softmax": np.log, "FCLayer_Sigmoid": lambda A: np.log(A / (1 - A))}[name](A)
        layer = getattr(module, name)(A.shape[1])
        layer.W = np.eye(A.shape[1], A.shape[1] + 1)
        return module.Network([layer]), logits

    def test_loss_and_error(self):
        A = np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.25, 0.5, 0.25]])
        Y = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
        yes = np.array([[0.75, 0.25, 0.5], [0.125, 0.75, 0.25]])
        labels = np.array([[1, 1, 0], [0, 1, 0]])  # wrong is only the second of the first row
        binary = -math.log(0.75 * 0.25 * 0.5 * 0.875 * 0.75 * 0.75) / 2
        cases = [("FCLayer_Softmax", A, Y, -math.log(0.5 * 0.375 * 0.5) / 3, 1 / 3),
                 ("FCLayer_Sigmoid", yes, labels, binary, 1 / 6),
                 ("FCLayer_Sigmoid", yes[:, :1], labels[:, :1], -math.log(0.75 * 0.875) / 2, 0),
                 ("FCLayer_Sigmoid", yes[:, :1], 1 - labels[:, :1], -math.log(0.25 * 0.125) / 2, 1)]  # fmt: skip
        for module, (name, output, Y, loss, error), kind in itertools.product(MODULES, cases, (int, float, bool)):
            net, X = self.outputs(module, name, output)
            net.piece = 2  # which leaves a smaller one
            got = net.evaluate(X, Y.astype(kind))
            np.testing.assert_allclose(got[0], output)
            np.testing.assert_allclose(got[1:], (loss, error))
            self.assertEqual([type(each) for each in got[1:]], [float, float])
            np.testing.assert_allclose(net.gradients(X, Y.astype(kind)), (loss, error))
            self.assertEqual([type(each) for each in net.gradients(X, Y.tolist())], [float, float])

    def test_logits_of_1000(self):
        X = np.array([[1.0], [-1.0], [1.0], [0.001]])
        Y = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])  # logits (1000, -1000), (-1000, 1000) ...
        near, far = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))
        half = 1 / (1 + math.exp(1))
        cases = [("FCLayer_Softmax", (2000 + near) / 4, [[1, -1], [0, 0], [0, 0], [-0.1192029, 0.1192029]]),
                 ("FCLayer_Sigmoid", (2000 + 2 * far) / 4, [[1, -1], [0, 0], [0, 0], [-half, half]])]  # fmt: skip
        for module, dtype, (name, expected, dZ) in itertools.product(MODULES, (np.float32, np.float64), cases):
            layer = getattr(module, name)(2)
            layer.W = np.array([[1000, 0], [-1000, 0]], dtype)
            net = module.Network([layer])
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                A, loss, error = net.evaluate(X.astype(dtype), Y)
                net.gradients(X.astype(dtype), Y)
                behind = module.Network([layer, module.FlatLayer()]).predict(X.astype(dtype))
            np.testing.assert_array_equal(A, behind)
            self.assertTrue((A > 0).all())
            self.assertAlmostEqual(loss / expected, 1, 5)
            self.assertAlmostEqual(error, 1 / 4)
            np.testing.assert_allclose(layer.dW, np.transpose(dZ) / 4 @ np.c_[X, np.ones(4)], atol=1e-6)

    def test_first_weights(self):
        X = np.random.default_rng(12).standard_normal((2, 9, 9, 40))
        conv_in, conv_out = 7 * 7 * 40, 7 * 7 * 30
        for name, *arguments, variance in [("ConvLayer", 30, 7, 2 / (conv_in + conv_out)), ("ConvLayer_ReLU", 30, 7, 2 / conv_in),
                                           ("FCLayer_ReLU", 300, 2 / 3240), ("FCLayer_Sigmoid", 300, 2 / 3540)]:  # fmt: skip
            layer = make(cnn_sg, name, *arguments)  # the same function in both
            layer.forward_propagate(X if name.startswith("Conv") else X.reshape(2, -1))
            W = layer.W if name.startswith("Conv") else layer.W[:, :-1]
            self.assertAlmostEqual(W.var() / variance, 1, 1, name)
            self.assertLess(abs(W.mean()) / math.sqrt(variance), 0.02)
            self.assertGreater(np.abs(W[:, -1]).min(), 0)


class EqualsTheDerivative(unittest.TestCase):
    def check_layer(self, layer, X):
        rng = np.random.default_rng(13)
        weighting = rng.standard_normal(layer.forward_propagate(X).shape)
        for attribute in layer.weights:
            W = getattr(layer, attribute)
            W += 0.3 * rng.standard_normal(W.shape)  # biases other than zero

        def loss():
            return (weighting * layer.forward_propagate(X)).sum()

        arrays = {"dA_prev": X, **{f"d{name}": getattr(layer, name) for name in layer.weights}}
        expected = {key: numerical(loss, array) for key, array in arrays.items()}
        layer.forward_propagate(X)
        before = [getattr(layer, name).copy() for name in layer.weights]
        got = {"dA_prev": layer.gradients(weighting)}
        for name, W in zip(layer.weights, before):
            got[f"d{name}"] = getattr(layer, f"d{name}")
            np.testing.assert_array_equal(getattr(layer, name), W)
        for key, derivative in expected.items():
            with self.subTest(layer=repr(layer), array=key):
                self.assertLess(difference(derivative, got[key]), 1e-6)
        layer.weight_gradients(weighting)
        for name in layer.weights:
            np.testing.assert_array_equal(getattr(layer, f"d{name}"), got[f"d{name}"])
        np.testing.assert_array_equal(layer.backpropagate(weighting, 0.5), got["dA_prev"])
        for name, W in zip(layer.weights, before):
            self.assertLess(difference(W - getattr(layer, name), 0.5 * got[f"d{name}"]), 1e-12)

    def test_every_layer(self):
        rng = np.random.default_rng(14)
        filters = [((2, 3), 1, 0), ((3, 2), 2, 0), ((2, 2), 3, 0), ((3, 3), 1, 2), ((3, 4), 2, 1), (2, 2, 1)]
        for module in MODULES:
            for size, s, p in filters:
                X = rng.standard_normal((2, 5, 6, 2))
                self.check_layer(make(module, "ConvLayer", 2, size, s, p), X)
                self.check_layer(make(module, "ConvLayer_ReLU", 2, size, s, p), X)
                self.check_layer(make(module, "PoolLayer_Max", size, s), X)
                self.check_layer(make(module, "PoolLayer_Avg", size, s), X)
            for layer, shape in every_layer(module):
                layer.rng = rng
                self.check_layer(layer, rng.standard_normal(shape))

    def test_whole_networks(self):
        for module, last, decay in itertools.product(MODULES, ("FCLayer_Softmax", "FCLayer_Sigmoid"), (0.0, 0.3)):
            with self.subTest(module=module.__name__, last=last, decay=decay):
                self.check_network(module, last, decay)

    def check_network(self, module, last, decay):
        rng = np.random.default_rng(15)
        X, Y = rng.standard_normal((3, 6, 5, 1)), one_hot(rng, 3, 4)
        if last == "FCLayer_Sigmoid":
            Y[0], Y[1] = [1, 0, 1, 1], 0  # several ones in a row, or none
        layers = [module.ConvLayer_ReLU(2, 3, padding=1), module.PoolLayer_Max(2, 2),
                  module.FlatLayer(), module.FCLayer_Sigmoid(4), getattr(module, last)(4)]  # fmt: skip
        net = module.Network(layers, seed=16)
        net.predict(X)
        layers[0].b[...] = 0.2
        layers[3].W[:, -1] = 0.1
        layers[4].W[:, -1] = 0.3

        def loss():
            squares = sum((W**2).sum() for W in (layers[0].W, layers[3].W[:, :-1], layers[4].W[:, :-1]))
            return net.evaluate(X, Y)[1] + decay / 2 * squares

        expected = [numerical(loss, W) for W in weights_of(net)]
        expected_dX = numerical(loss, X)
        before = [W.copy() for W in weights_of(net)]
        figures = net.gradients(X, Y)
        np.testing.assert_allclose(figures, net.evaluate(X, Y)[1:])
        for W, unchanged in zip(weights_of(net), before):
            np.testing.assert_array_equal(W, unchanged)
        net.gradients(X, Y)
        decays = [decay] if decay else []  # without one is with 0
        for step in (lambda: net.step(0.5, *decays), lambda: net.train(X, Y, 0.5, *decays)):
            returned = step()
            for W, derivative, old in zip(weights_of(net), expected, before):
                self.assertLess(difference(derivative, (old - W) / 0.5), 1e-6)
                W[...] = old
        self.assertIs(returned[0], net.layers)
        self.assertEqual(returned[1:], figures)  # from before the step
        net.predict(X)  # and by hand, layer by layer, down to the image
        d = layers[4].loss(Y)[2]
        for layer in reversed(layers):
            d = layer.gradients(d)
        self.assertLess(difference(expected_dX, d), 1e-6)


class Dtypes(Case):
    def test_every_array_keeps_the_dtype_of_the_first_mini_batch(self):
        rng = np.random.default_rng(17)
        lasts = ("FCLayer_Softmax", "FCLayer_Sigmoid")
        for module, dtype, last in itertools.product(MODULES, (np.float32, np.float64), lasts):
            net, twin = (module.Network(mixed_layers(module, last), seed=18) for _ in range(2))
            X, Y = rng.random((2, 11, 10, 2)).astype(dtype), one_hot(rng, 2, 4)
            rate = np.float64(0.1)  # as a user's own schedule may hand it over
            net.train(X, Y, rate, np.float64(0.01))
            twin.train(X, Y, 0.1, 0.01)
            for W, same in zip(weights_of(net), weights_of(twin)):
                np.testing.assert_array_equal(W, same)
            other = np.float64 if dtype is np.float32 else np.float32
            net.train(X.astype(other), Y, rate)
            self.assertEqual(net.predict(X.astype(other)).dtype, dtype)
            self.assertEqual(net.evaluate(X, Y)[0].dtype, dtype)
            for layer in net.layers:
                for name, array in vars(layer).items():
                    if isinstance(array, np.ndarray):
                        self.assertEqual(array.dtype, dtype, f"{module.__name__} {layer}.{name}")

    def test_other_kinds_of_numbers(self):
        rng = np.random.default_rng(20)
        X, Y = rng.integers(0, 256, (3, 11, 10, 2)), one_hot(rng, 3, 4)
        for module in MODULES:
            expected = module.Network(mixed_layers(module), 21).predict(X.astype(float))
            for dtype, kept in (("f2", "f2"), (">f4", "f4"), (">f8", "f8"), ("u1", "f4"), ("i8", "f4"), ("O", "f4")):
                net = module.Network(mixed_layers(module), 21)
                A = net.predict(X.tolist() if dtype == "O" else X.astype(dtype))
                self.assertEqual((A.dtype, net.layers[0].W.dtype), (kept, kept))
                self.assertLess(difference(A, expected), 0.01 if kept == "f2" else 1e-5)
                self.assertLess(net.train((X > 99).tolist(), Y.tolist(), 0.01)[1], 100)

    def test_gradients_and_biases_of_another_dtype(self):
        for layer, shape in itertools.chain(*map(every_layer, MODULES)):
            X = np.random.default_rng(19).random(shape, np.float32)
            layer.forward_propagate(X)
            if "b" in layer.weights:
                layer.b = np.ones((1, 1, 1, 2))
            A = layer.forward_propagate(X)
            self.assertEqual((A.dtype, layer.gradients(A.astype(float)).dtype), (np.float32, np.float32))

    def test_weights_from_elsewhere(self):
        X, W, computed = np.random.default_rng(43).random((2, 5, 5, 1)), np.arange(8).reshape(2, 2, 1, 2), []
        kinds = (lambda: W.astype(float), lambda: W, lambda: W.tolist(), lambda: W.astype(np.float32))
        for module, kind in itertools.product(MODULES, kinds):
            layer = module.ConvLayer(2, 2)
            layer.W = kind()
            self.assertEqual(layer.forward_propagate(X).dtype, layer.W.dtype)
            np.testing.assert_array_equal(layer.b, np.zeros((1, 1, 1, 2)))
            computed.append(results(layer, X.astype(np.float32)))
        self.assertEqual([each["A"].dtype for each in computed[:4]], [float, "f4", "f4", "f4"])
        for each in computed:
            for key, array in each.items():
                self.assertLess(difference(array, computed[0][key]), 1e-5)


class ArraysOfTheCaller(Case):
    def test_they_are_never_changed(self):
        rng = np.random.default_rng(22)
        for layer, shape in itertools.chain(*map(every_layer, MODULES)):
            kept = []
            for _ in range(2):
                X = rng.standard_normal(shape)
                A = layer.forward_propagate(X)
                d = rng.standard_normal(A.shape)
                X.flags.writeable = d.flags.writeable = False
                kept += [(array, array.copy()) for array in (X, A, d)]
                dA_prev = layer.backpropagate(d, 0.1)
                kept.append((dA_prev, dA_prev.copy()))
            for array, before in kept:
                np.testing.assert_array_equal(array, before)

    def test_memory_order_does_not_matter(self):
        for shape, order in itertools.product(((64, 2, 3, 2), (3, 5, 4, 1)), itertools.permutations(range(4))):
            X = np.random.default_rng(38).standard_normal(shape)
            in_memory = np.ascontiguousarray(X.transpose(order)).transpose(np.argsort(order))
            for name, *arguments in (("ConvLayer_ReLU", 2, 2), ("PoolLayer_Max", 2), ("PoolLayer_Avg", (1, 2), 2)):
                same, expected = (results(make(cnn_sg, name, *arguments), each) for each in (in_memory, X))
                self.assert_same(same, expected, 1e-12)

    def test_a_tall_narrow_image_takes_no_more_memory_than_its_windows(self):
        X = np.ones((1, 20_000, 1, 1), np.float32)
        layer = cnn_sg.ConvLayer(64, (9, 1))
        d = np.ones_like(layer.forward_propagate(X))
        tracemalloc.start()
        layer.gradients(d)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertLess(peak, 3 * d.nbytes)

    def test_a_copy_of_a_network_goes_on_as_the_original(self):
        rng = np.random.default_rng(39)
        X, Y = rng.random((3, 11, 10, 2), np.float32), one_hot(rng, 3, 4, np.float32)
        for module in MODULES:
            net = module.Network(mixed_layers(module), 40)
            net.train(X, Y, 0.1)
            others = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
            figures = [each.train(X, Y, 0.1)[1:] for _ in range(2) for each in (net, *others)]
            self.assertEqual(figures[:3], 3 * figures[:1])
            self.assertEqual(figures[3:], 3 * figures[3:4])


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
        foreign = m.ConvLayer(4, 3)
        foreign.b = np.zeros(4)
        cases = [
            (lambda: conv.forward_propagate(images[0]),
             r"ConvLayer\(4, \(3, 3\), 1, 0\): expected .*\(n_m, height, width, n_c\).*got shape \(5, 6, 3\)"),
            (lambda: pool.forward_propagate(rows), r"PoolLayer_Max\(\(2, 2\), 2\): expected .*got shape \(2, 7\)"),
            (lambda: flat.forward_propagate(np.ones(3)), r"FlatLayer\(\): expected .*got shape \(3,\)"),
            (lambda: fc.forward_propagate(images), r"FCLayer_ReLU\(5\): expected .*FlatLayer.*got shape \(2, 5, 6, 3\)"),
            (lambda: conv.forward_propagate(np.ones((2, 5, 6, 1))),
             r"ConvLayer.*expected .*fits W \(3, 3, 3, 4\), got shape \(2, 5, 6, 1\)"),
            (lambda: fc.forward_propagate(np.ones((2, 8))), r"FCLayer_ReLU.*expected .*fits W \(5, 8\), got shape \(2, 8\)"),
            (lambda: foreign.forward_propagate(images), r"ConvLayer.*expected .*fits b \(4,\), got shape \(2, 5, 6, 3\)"),
            (lambda: conv.forward_propagate(np.ones((2, 2, 6, 3))), r"ConvLayer.*expected images.*got 2 x 6"),
            (lambda: m.ConvLayer(1, (2, 5), padding=1).forward_propagate(np.ones((1, 9, 2, 1))),
             r"ConvLayer\(1, \(2, 5\), 1, 1\).*expected images.*got 11 x 4 with padding"),
            (lambda: pool.forward_propagate(np.ones((2, 6, 1, 3))), r"PoolLayer_Max.*expected images.*got 6 x 1"),
            (lambda: m.ConvLayer(0, 3), r"ConvLayer: expected an integer num_filters >= 1, got 0"),
            (lambda: m.ConvLayer(2.5, 3), r"ConvLayer: expected an integer num_filters >= 1, got 2.5"),
            (lambda: m.ConvLayer("4", 3), r"ConvLayer: expected an integer num_filters >= 1, got '4'"),
            (lambda: m.ConvLayer(1, 0), r"ConvLayer: expected an integer filter_width >= 1, got 0"),
            (lambda: m.ConvLayer_ReLU(1, (3, 0)), r"ConvLayer_ReLU: expected .*filter_width >= 1, got 0"),
            (lambda: m.ConvLayer(1, (3, 3, 3)), r"ConvLayer: .*filter_width.*got \(3, 3, 3\)"),
            (lambda: m.PoolLayer_Max(((3, 3), 3)), r"PoolLayer_Max: .*filter_width.*got \(3, 3\)"),
            (lambda: m.PoolLayer_Max(np.ones(2, int)), r"PoolLayer_Max: .*filter_width.*got array\(\[1, 1\]\)"),
            (lambda: m.ConvLayer(1, 3, 0), r"ConvLayer: expected an integer stride >= 1, got 0"),
            (lambda: m.ConvLayer(1, 3, padding=-1), r"ConvLayer: expected an integer padding >= 0, got -1"),
            (lambda: m.ConvLayer(1, 3, padding=True), r"ConvLayer: expected an integer padding >= 0, got True"),
            (lambda: m.PoolLayer_Avg(0), r"PoolLayer_Avg: expected an integer filter_width >= 1, got 0"),
            (lambda: m.PoolLayer_Max(2, 0), r"PoolLayer_Max: expected an integer stride >= 1, got 0"),
            (lambda: m.FCLayer_Sigmoid(0), r"FCLayer_Sigmoid: expected an integer num_neurons >= 1, got 0"),
            (lambda: m.FCLayer_Sigmoid(np.True_), r"FCLayer_Sigmoid: expected an integer num_neurons >= 1, got .*True"),
            (lambda: net.train(images, [0, 1], 0.1), r"Network: expected labels of shape \(2, 4\), got \(2,\)"),
            (lambda: net.gradients(images, np.eye(3)[[0, 1]]), r"Network: expected labels.*got \(2, 3\)"),
            (lambda: net.evaluate(images, labels[:1]), r"Network: expected labels for 2 samples, got 1"),
            (lambda: net.evaluate(images, np.eye(5)[[0, 1]]), r"Network: expected labels.*got \(2, 5\)"),
            (lambda: net.train(images[:0], labels[:0], 0.1), r"FlatLayer.*expected .*not empty, got shape \(0, 5, 6, 3\)"),
            (lambda: net.predict(images[:0]), r"FlatLayer.*expected .*not empty, got shape \(0, 5, 6, 3\)"),
            (lambda: net.evaluate(images[:0], labels[:0]), r"FlatLayer.*expected .*not empty"),
            (lambda: net.predict(3.0), r"FlatLayer.*expected .*got shape \(1,\)"),
            (lambda: net.evaluate(3.0, 1), r"FlatLayer.*expected .*got shape \(1,\)"),
            (lambda: net.predict(images.astype(complex)), r"FlatLayer.*expected real numbers, got complex128"),
            (lambda: net.predict([[["a"]]]), r"FlatLayer.*expected real numbers, got <U1"),
            (lambda: m.Network([]), r"Network: expected a list of different layers, got \[\]"),
            (lambda: m.Network([flat, fc, flat]), r"Network: expected .*different layers, got \[FlatLayer.*FlatLayer"),
            (lambda: m.Network([flat, m.FCLayer_ReLU]), r"Network: expected .*layers, got \[FlatLayer.*<class"),
            (lambda: m.Network([flat, [fc]]), r"Network: expected .*layers, got \[FlatLayer\(\), \[FCLayer_ReLU"),
            (lambda: m.Network([m.FCLayer_ReLU(2)]).save("x.npz"), r"Network.save: expected weights.*got none"),
            (lambda: net.step(0.1), r"FCLayer_Softmax\(4\): expected gradients before step, got none yet"),
        ]  # fmt: skip
        for last in (m.FCLayer_ReLU(4), m.ConvLayer(4, 3), m.PoolLayer_Avg(2), m.FlatLayer()):
            other, X = m.Network([last]), rows if isinstance(last, m.FCLayer) else images
            A, message = other.predict(X), rf"Network: expected FCLayer_Softmax.*FCLayer_Sigmoid.*last.*got {type(last).__name__}"
            cases += [(lambda other=other, X=X, A=A: other.evaluate(X, A), message),
                      (lambda other=other, X=X, A=A: other.gradients(X, A), message)]  # fmt: skip
        for layer in (conv, pool, flat, fc, m.ConvLayer_ReLU(4, 3), m.PoolLayer_Avg(2), m.FCLayer_Softmax(2)):
            message = rf"{type(layer).__name__}.*expected forward_propagate before.*got none yet"
            if layer.A is not None:
                message = rf"{type(layer).__name__}.*expected d of shape \(2, .*\), got \(2, 1\)"
            cases += [(lambda layer=layer: layer.backpropagate(np.ones((2, 1)), 0.1), message),
                      (lambda layer=layer: layer.gradients(np.ones((2, 1))), message)]  # fmt: skip
        for call, message in cases:
            with self.subTest(module=m.__name__, message=message):
                with self.assertRaisesRegex(ValueError, f"^{message}") as raised:
                    call()
                self.assertNotIn("\n", str(raised.exception))

    def test_a_forward_pass_that_was_refused_changes_nothing(self):
        for module in MODULES:
            wrong_b = module.ConvLayer(4, 3)
            wrong_b.b = np.zeros(4)
            refused = [(wrong_b, (2, 5, 6, 3)), (module.ConvLayer(4, 3), (2, 2, 9, 1)), (module.PoolLayer_Max(3), (2, 9, 2, 1)),
                       (module.FCLayer_ReLU(3), (2, 2, 9, 1)), (module.FlatLayer(), (2,))]  # fmt: skip
            for layer, shape in every_layer(module):
                layer.forward_propagate(np.ones(shape, np.float32))
                refused += [(layer, (0,)), (layer, (*shape[:-1], 0))] + [(layer, (*shape[:-1], 9))] * bool(layer.weights)
            for layer, shape in refused:
                before = {name: id(value) for name, value in vars(layer).items()}
                with self.assertRaises(ValueError):
                    layer.forward_propagate(np.ones(shape))
                self.assertEqual({name: id(value) for name, value in vars(layer).items()}, before)

    def test_an_exception_on_the_way_back_leaves_all_weights(self):
        rng = np.random.default_rng(36)
        X, Y = rng.random((2, 11, 10, 2)), one_hot(rng, 2, 4)
        for module in MODULES:
            net = module.Network(mixed_layers(module))
            net.train(X, Y, 0.1)
            before = [W.copy() for W in weights_of(net)]
            with mock.patch.object(net.layers[1], "gradients", side_effect=KeyboardInterrupt):
                with self.assertRaises(KeyboardInterrupt):
                    net.train(X, Y, 0.1)
            for W, old in zip(weights_of(net), before):
                np.testing.assert_array_equal(W, old)

    def test_integers_of_numpy_are_integers(self):
        for module in MODULES:
            layer = module.ConvLayer(np.int64(2), (np.int8(2), np.uint16(1)), np.int32(1), np.int64(0))
            self.assertEqual(repr(layer), "ConvLayer(2, (2, 1), 1, 0)")
            self.assertEqual(repr(module.PoolLayer_Max([2, 1], np.int64(3))), "PoolLayer_Max((2, 1), 3)")
            self.assertEqual({type(each) for each in layer.arguments[1]}, {int})


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

    def names(self):
        return [each.name for each in self.path.parent.iterdir()]

    def test_all_four_directions(self):
        for source, target in itertools.product(MODULES, MODULES):
            net = self.trained(source)
            net.save(self.path)
            for path in (self.path, str(self.path)):
                loaded = target.Network(mixed_layers(target))
                self.assertIs(loaded.load(path), loaded)
                self.assertLess(difference(net.predict(self.X), loaded.predict(self.X)), 1e-5)
                for W, other in zip(weights_of(net), weights_of(loaded)):
                    np.testing.assert_array_equal(W, other)
            self.assertEqual(self.names(), [self.path.name])

    def refused(self, net, path, message):
        with self.assertRaisesRegex(ValueError, f"^Network.load: expected {message}") as raised:
            net.load(path)
        self.assertIn(str(path), str(raised.exception))
        self.assertNotRegex(str(raised.exception), "\n|pickle")

    def test_what_is_not_a_file_of_save_is_refused_in_one_line(self):
        damaged, none = self.path.with_name("damaged.npz"), "a whole file of Network.save"
        net = self.trained(cnn_naive)
        net.save(self.path)
        whole = self.path.read_bytes()
        with np.load(self.path) as file:
            saved = dict(file)
        before = net.predict(self.X)
        fresh = cnn_sg.Network(mixed_layers(cnn_sg))
        cuts = [whole[:k] for k in range(0, len(whole), 41)]
        header = b"\x93NUMPY\x01\x00v\x00%-117s\n" + bytes(99)
        pickled = pickle.dumps("something")
        for content in (b"", b"PK", b"no weights", pickled, *cuts, header % b"{'descr': '<f4', 'shape': (9999999,"):
            damaged.write_bytes(content)
            self.refused(fresh, damaged, none)
        for text in (b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,)}" % 2**60, b"(((", b"9" * 100,
                     b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"):  # fmt: skip
            with zipfile.ZipFile(damaged, "w") as archive:
                archive.writestr("layers.npy", io.BytesIO(header % text).getvalue())
            self.refused(fresh, damaged, none)
        changed = [{"layers": np.ones(3)}, {"layers": np.array("one")}, {"0.W": saved["0.W"].astype(int)},
                   {"0.b": saved["0.b"] + np.nan}]  # fmt: skip
        for change in changed:
            np.savez(damaged, **{**saved, **change})
            self.refused(fresh, damaged, none)
        for missing in ("layers", "7.W"):
            np.savez(damaged, **{name: saved[name] for name in saved if name != missing})
            self.refused(fresh, damaged, none)
        np.savez_compressed(damaged, **saved)
        self.refused(fresh, damaged, none)
        encrypted = bytearray(whole)
        encrypted[whole.index(b"PK\1\2") + 8] |= 1
        damaged.write_bytes(encrypted)
        self.refused(fresh, damaged, none)
        for position in range(0, len(whole), 97):
            flipped = bytearray(whole)
            flipped[position] ^= 64
            damaged.write_bytes(flipped)
            try:  # some flips are in what nobody reads
                other = cnn_sg.Network(mixed_layers(cnn_sg)).load(damaged)
                np.testing.assert_array_equal(other.layers[0].W, saved["0.W"])
            except ValueError as problem:
                self.assertRegex(str(problem), "^Network.load: expected .*damaged.npz$")
        np.save(damaged.with_suffix(".npy"), np.ones(3))
        self.refused(net, damaged.with_suffix(".npy"), none)
        with self.assertRaises(FileNotFoundError):
            net.load(self.path.with_name("none.npz"))
        np.testing.assert_array_equal(net.predict(self.X), before)
        self.assertIsNone(fresh.layers[0].W)

    def test_what_is_packed_is_never_unpacked(self):
        net = self.trained(cnn_sg)
        net.save(self.path)
        with zipfile.ZipFile(self.path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("8.W.npy", "w") as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (25_000_000,)}
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(100_000_000))
        tracemalloc.start()
        self.refused(net, self.path, "a whole file of Network.save")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertLess(peak, 10e6)

    def test_weights_of_another_network(self):
        for module in MODULES:
            self.trained(module).save(self.path)
            other, larger = (module.Network([module.FlatLayer(), module.FCLayer_Softmax(4)], 1) for _ in range(2))
            before = other.predict(self.X)
            self.refused(other, self.path, ".*FCLayer_Softmax.*got .*ConvLayer_ReLU")
            larger.predict(np.ones((1, 9, 9, 2)))
            larger.save(self.path)
            with self.assertRaisesRegex(ValueError, r"FCLayer_Softmax\(4\): expected W \(4, 221\), got \(4, 163\)"):
                other.load(self.path)
            np.testing.assert_array_equal(other.predict(self.X), before)

    def test_saving_where_it_cannot_be(self):
        for module, problem in itertools.product(MODULES, (OSError(28, "No space left on device"), KeyboardInterrupt())):
            net = self.trained(module)
            net.save(self.path)
            before = self.path.read_bytes()

            def half(file, **arrays):
                Path(file).write_bytes(b"half of a file")
                self.assertEqual(self.path.read_bytes(), before)
                raise problem

            with mock.patch("numpy.savez", half), self.assertRaises(type(problem)):
                net.save(self.path)
            self.assertEqual((self.path.read_bytes(), self.names()), (before, [self.path.name]))
            for path in (os.devnull, self.path.parent):
                with self.assertRaisesRegex(ValueError, "^Network.save: expected a file, got "):
                    net.save(path)
            half_made = module.Network([module.FCLayer(2), module.FCLayer_Softmax(2)])
            half_made.layers[0].forward_propagate(np.ones((1, 2)))
            with self.assertRaisesRegex(ValueError, "^Network.save: expected weights"):
                half_made.save(self.path)

    @unittest.skipIf(os.name == "nt", "links need special rights there")
    def test_a_link_stays_a_link(self):
        link = self.path.with_name("link.npz")
        link.symlink_to(self.path)
        for _ in range(2):
            self.trained(cnn_sg).save(link)
            self.assertTrue(link.is_symlink() and self.path.is_file() and not self.path.is_symlink())
            self.trained(cnn_sg).load(self.path)

    def test_two_processes_that_save_at_once(self):
        program = """if True:
            import sys, numpy, cnn_sg
            net = cnn_sg.Network([cnn_sg.FCLayer(300)])
            net.predict(numpy.ones((1, 400)))
            for k in range(40):
                net.save(sys.argv[1])
                print(k, flush=True)
        """
        command = [sys.executable, "-c", program, str(self.path)]
        both = [subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE) for _ in range(2)]
        net = cnn_sg.Network([cnn_sg.FCLayer(300)])
        for _ in range(40):
            for process in both:
                self.assertTrue(process.stdout.readline())
            net.load(self.path)
        for process in both:
            process.communicate()
        self.assertEqual(([process.returncode for process in both], self.names()), ([0, 0], [self.path.name]))


class Networks(Case):
    def test_table(self):
        for module in MODULES:
            net = module.Network([module.ConvLayer(2, 3), module.FlatLayer(), module.FCLayer_Softmax(10)])
            rows = [("layer", "output", "parameters"), ("ConvLayer(2, (3, 3), 1, 0)", "?", "?"),
                    ("FlatLayer()", "?", "0"), ("FCLayer_Softmax(10)", "?", "?"), ("total", "", "?")]  # fmt: skip
            self.assertEqual(str(net), "\n".join(f"{a:36}{b:>16}{c:>12}" for a, b, c in rows))
            net.predict(np.ones((1, 14, 13, 1)))
            rows[1:] = [("ConvLayer(2, (3, 3), 1, 0)", "12 x 11 x 2", "20"), ("FlatLayer()", "264", "0"),
                        ("FCLayer_Softmax(10)", "10", "2,650"), ("total", "", "2,670")]  # fmt: skip
            self.assertEqual(str(net), "\n".join(f"{a:36}{b:>16}{c:>12}" for a, b, c in rows))

    def test_a_layer_can_be_copied_by_the_rule(self):
        """Imports, Layer, the class with its bases, stride_groups, and all under the heading."""
        for module in MODULES:
            source = Path(module.__file__).read_text(encoding="utf-8")
            parts = {getattr(node, "name", None): ast.get_source_segment(source, node) for node in ast.parse(source).body}
            imports = source[source.index("\nimport") : source.index("\n\n\n")]
            end = source[source.index("\n# What serves the layers") :]
            for layer, shape in every_layer(module):
                bases = [each.__name__ for each in reversed(type(layer).__mro__[:-1])]
                names = ["stride_groups"] * (module is cnn_sg) + bases
                program = "\n\n".join([imports, *(parts[name] for name in names), end])
                with tempfile.TemporaryDirectory() as folder:
                    Path(folder, "coursework.py").write_text(program, encoding="utf-8")
                    copied = runpy.run_path(os.path.join(folder, "coursework.py"))
                twin = copied[type(layer).__name__](*layer.arguments)
                layer.rng, twin.rng = np.random.default_rng(45), np.random.default_rng(45)
                X = np.random.default_rng(44).standard_normal(shape)
                self.assert_same(results(twin, X), results(layer, X))

    def test_layers_of_ones_own(self):
        for module in MODULES:

            class Scaled(module.Layer):  # it learns, wherever it stands
                weights = ("W",)

                def forward_propagate(self, input):
                    self.W, self.input = np.ones(1) if self.W is None else self.W, input
                    self.A = self.W * input
                    return self.A

                def gradients(self, d):
                    self.dW = np.array([(d * self.input).sum()])
                    return self.W * d

            class ScaledPool(Scaled, module.PoolLayer):
                pass

            class ScaledFlat(Scaled, module.FlatLayer):
                pass

            class Squares(module.ConvLayer):  # a last layer with four axes and a loss of its own
                def loss(self, Y):
                    return np.sum((self.A - Y) ** 2) / len(Y), np.mean(self.A != Y), 2 * (self.A - Y) / len(Y)

            rng = np.random.default_rng(27)
            X, Y, flat = rng.random((3, 6, 6, 1)), one_hot(rng, 3, 2), module.FlatLayer
            for labels, *layers in [(Y, Scaled(), flat(), Scaled(), module.FCLayer_Softmax(2)),
                                    (Y, ScaledPool(2), flat(), module.FCLayer_Softmax(2)),
                                    (Y, flat(), ScaledFlat(), module.FCLayer_Sigmoid(2)),
                                    (X[:, :4, :4], ScaledPool(2), Squares(1, 3))]:  # fmt: skip
                net = module.Network(layers, 1)
                net.predict(X)
                expected = [numerical(lambda: net.evaluate(X, labels)[1], W) for W in weights_of(net)]  # noqa: B023
                _, loss, _ = net.train(X, labels, 0.01)
                for derivative, name in zip(expected, ("W", "b")):
                    first = next(layer for layer in layers if layer.weights)
                    self.assertLess(difference(derivative, getattr(first, f"d{name}")), 1e-6)
                    break
                self.assertLess(net.train(X, labels, 0.01)[1], loss)
                self.assertIn("Scaled", str(net))
            self.assertEqual(net.evaluate(X, labels)[2], 1.0)

    def test_a_yes_or_no_is_learned(self):
        rng = np.random.default_rng(46)
        X = rng.standard_normal((200, 3))
        Y = (X[:, :1] + X[:, 1:2] > 0).astype(int)
        for module in MODULES:
            net = module.Network([module.FCLayer_ReLU(5), module.FCLayer_Sigmoid(1)], 1)
            for _ in range(100):
                net.train(X, Y, 0.5)
            A, loss, error = net.evaluate(X, Y)
            self.assertLess((loss, error), (0.1, 0.05))
            self.assertEqual(error, np.mean((A > 0.5) != Y))

    def test_predict_60000_images_in_bounded_memory(self):
        X = np.random.default_rng(30).random((60_000, 28, 28, 1), np.float32)
        net = cnn_sg.Network([cnn_sg.ConvLayer_ReLU(8, 3), cnn_sg.PoolLayer_Max(2, 2), cnn_sg.FlatLayer(), cnn_sg.FCLayer(10)])
        tracemalloc.start()
        A = net.predict(X)
        peak = tracemalloc.get_traced_memory()[1] + X.nbytes
        tracemalloc.stop()
        self.assertLess(peak, 500e6)
        for piece in (slice(0, 1), slice(1, 300), slice(59_990, None)):
            self.assertLess(difference(A[piece], net.predict(X[piece])), 1e-5)


if __name__ == "__main__":
    unittest.main(warnings="error")
