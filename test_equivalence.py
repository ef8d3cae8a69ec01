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
ROUNDING = 1e-5 if sys.platform == "darwin" else 0.0  # Apple's library rounds by place in memory: NumPy's issue 29873


def difference(a, b):
    """The largest difference, relative to the largest entry."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    return np.abs(a - b).max() / (max(np.abs(a).max(), np.abs(b).max()) or 1)


def numerical(loss, arrays, h=1e-5):
    """Central differences: (L(x + h) - L(x - h)) / 2h for one number x after another, by name."""
    derivatives = {f"d{name}": np.empty_like(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        for index in np.ndindex(array.shape):
            x = array[index]
            array[index] = x + h
            above = loss()
            array[index] = x - h
            derivatives[f"d{name}"][index] = (above - loss()) / (2 * h)
            array[index] = x
    return derivatives


def learned(layers, d=""):
    """The weights of the layers by name (W0 is the first layer's W), or with d="d" the derivatives dW0 ..."""
    return {f"{d}{name}{k}": getattr(layer, d + name) for k, layer in enumerate(layers) for name in layer.weights}


def results(layer, X):
    """What a new layer computes, by name, with biases other than zero. They and d are float64, whatever X is."""
    layer.rng = rng = np.random.default_rng(1)
    layer.forward_propagate(X)
    if "b" in layer.weights:
        layer.b = rng.standard_normal(layer.b.shape)
    elif layer.weights:
        layer.W[:, -1] = rng.standard_normal(len(layer.W))
    A = layer.forward_propagate(X)
    d = rng.standard_normal(A.shape)
    return {"A": A, "dA_prev": layer.backpropagate(d, 0.1), **learned([layer]), **learned([layer], "d")}


def mixed_network(module, seed=0, last="FCLayer_Softmax"):
    """A small network in which every kind of layer occurs."""
    convolutions = [module.ConvLayer_ReLU(3, 3, padding=1), module.PoolLayer_Max(2, 2),
                    module.ConvLayer(4, (2, 3), stride=2, padding=1), module.PoolLayer_Avg((2, 1), 1)]  # fmt: skip
    fully_connected = [module.FCLayer_Sigmoid(6), module.FCLayer_ReLU(5), getattr(module, last)(4)]
    return module.Network([*convolutions, module.FlatLayer(), *fully_connected], seed)


def mini_batch(n_m, dtype=np.float64):
    """Images and labels for `mixed_network`."""
    rng = np.random.default_rng(2)
    return rng.standard_normal((n_m, 11, 10, 2)).astype(dtype), np.eye(4)[rng.integers(0, 4, n_m)]


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
    for number in range(150):
        (fh, fw), s, p = rng.integers(1, 6, 2).tolist(), int(rng.integers(1, 6)), number % 3
        more = (0, 0) if number % 10 == 0 else rng.integers(0, 7, 2).tolist()  # 0, 0: a single window
        n_m, n_c, n_f = rng.integers(1, 4), rng.integers(1, 5), rng.integers(1, 6)
        dtype = np.float32 if number % 4 == 3 else np.float64
        yield (n_m, fh + more[0], fw + more[1], n_c), (fh, fw), s, p, n_f, dtype
    # Stride groups take other ways where there are more samples, and more weights.
    large = [((12, 5, 6, 1), (2, 3), 1, 0, 2), ((12, 7, 6, 1), (3, 2), 2, 1, 3), ((9, 4, 5, 2), 3, 3, 2, 2),
             ((7, 4, 4, 3), (1, 2), 1, 0, 2), ((1, 5, 5, 16), 3, 1, 0, 32), ((2, 4, 4, 64), 1, 1, 0, 64),
             ((1, 20, 20, 1), 20, 1, 0, 1)]  # fmt: skip
    yield from ((*each, dtype) for each in large for dtype in (np.float32, np.float64))


class Case(unittest.TestCase):
    def assert_same(self, results, expected, tolerance=ROUNDING, dtype=None):
        self.assertEqual(results.keys(), expected.keys())
        for key, array in results.items():
            self.assertEqual(array.dtype, dtype or expected[key].dtype, key)
            self.assertLessEqual(difference(array, expected[key]), tolerance, key)

    def peak(self, function, *arguments):
        """What the function returns, and how many bytes it takes at a time."""
        tracemalloc.start()
        returned = function(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return returned, peak


class NaiveEqualsStrideGroups(Case):
    def test_every_configuration(self):
        rng = np.random.default_rng(3)
        for number, (shape, size, s, p, n_f, dtype) in enumerate(configurations()):
            X, tolerance = rng.standard_normal(shape).astype(dtype), 1e-4 if dtype is np.float32 else 1e-10
            X = X if number % 2 else np.round(X)  # many equal pixels: ties
            for name in ("ConvLayer", "ConvLayer_ReLU", "PoolLayer_Max", "PoolLayer_Avg"):
                arguments = (n_f, size, s, p) if name.startswith("Conv") else (size, s)
                with self.subTest(name=name, arguments=arguments, shape=shape, dtype=dtype):
                    naive, sg = (results(getattr(module, name)(*arguments), X) for module in MODULES)
                    self.assert_same(naive, sg, tolerance, dtype)
                    self.assertEqual(naive["dA_prev"].shape, shape)

    def test_ten_steps_of_training(self):
        images, labels = mini_batch(40)
        nets = [mixed_network(module) for module in MODULES]
        for X, Y in zip(np.split(images, 10), np.split(labels, 10)):
            figures = [net.train(X, Y, 0.1, 0.01)[1:] for net in nets]
            np.testing.assert_allclose(*figures, rtol=1e-9)
        self.assert_same(*(learned(net.layers) for net in nets), 1e-9)

    def test_same_seed_same_first_weights(self):
        nets = [mixed_network(module, seed) for module, seed in ((cnn_naive, 8), (cnn_sg, 8), (cnn_sg, 8), (cnn_sg, 9))]
        for net in nets:
            net.predict(mini_batch(2, np.float32)[0])
        first, same, again, other = (learned(net.layers) for net in nets)
        self.assert_same(first, same)
        self.assert_same(first, again)
        for key, W in first.items():
            self.assertTrue((W == 0).all() if "b" in key else difference(W, other[key]) > 0.1)

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

    def test_groups_cover_every_window_once_and_never_overlap(self):
        for fh, fw, s, ih, iw in itertools.product((1, 2, 3, 5), (1, 2, 4), (1, 2, 3, 6), (5, 8), (7,)):
            oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
            A = np.arange(2.0 * ih * iw * 3).reshape(2, ih, iw, 3)
            hits = np.zeros_like(A)
            groups, hit_groups = (list(cnn_sg.stride_groups(array, fh, fw, s)) for array in (A, hits))
            copied = np.full((2, oh, ow, fh, fw, 3), np.nan)
            for (outputs, windows), (_, hit_windows) in zip(groups, hit_groups):
                self.assertTrue(np.isnan(copied[outputs]).all())
                copied[outputs] = windows
                hits[...] = 0
                hit_windows += 1
                self.assertEqual((hits.sum(), hits.max()), (windows.size, 1))
            for i, j in np.ndindex(oh, ow):
                np.testing.assert_array_equal(copied[:, i, j], A[:, s * i : s * i + fh, s * j : s * j + fw])
            self.assertEqual(len(groups), min(math.ceil(fh / s), oh) * min(math.ceil(fw / s), ow))


class KnownValues(Case):
    """Small cases worked out by hand, by the formula of the textbook, or known from elsewhere."""

    def test_by_hand(self):
        X = np.arange(9.0).reshape(1, 3, 3, 1)
        pixels = np.array([[1, 5, 2], [3, 4, 0], [9, 8, 7]], float).reshape(1, 3, 3, 1)
        W = np.array([[1.0, 2], [3, 4]]).reshape(2, 2, 1, 1)
        for module in MODULES:
            conv, relu, padded = module.ConvLayer(1, 2), module.ConvLayer_ReLU(1, 2), module.ConvLayer(1, 2, 3, 1)
            conv.W, conv.b, relu.W, relu.b = W, np.full((1, 1, 1, 1), 0.5), -W, np.full((1, 1, 1, 1), 30)
            padded.W = W  # alone: the biases are 0
            largest, mean = module.PoolLayer_Max(2), module.PoolLayer_Avg((1, 3), 2)
            for layer, images, expected in ((conv, X, [[27.5, 37.5], [57.5, 67.5]]), (relu, X, [[3, 0], [0, 0]]),
                                            (padded, X, [[0, 6], [12, 8]]), (largest, pixels, [[5, 5], [9, 8]]),
                                            (mean, pixels, [[8 / 3], [8]])):  # fmt: skip
                np.testing.assert_array_equal(layer.forward_propagate(images)[0, :, :, 0], expected)
            np.testing.assert_array_equal(padded.b, np.zeros((1, 1, 1, 1)))

    def test_the_assignment_of_andrew_ngs_course(self):
        """What its notebook prints, in two editions."""
        older = "-0.61490741 -6.7439236 -2.55153897 1.75698377 3.56208902 0.53036437 5.18531798 8.75898442"
        newer = "-2.17796037 8.07171329 -0.5772704 3.36286738 4.48113645 -2.89198428 10.99288867 3.03171932"
        editions = [((10, 4, 4, 3), 2, 2, 0.0489952035289, (3, 2, 1), older),
                    ((2, 5, 7, 4), 3, 1, 0.5511276474566768, (0, 2, 1), newer)]  # fmt: skip
        for module, (shape, size, padding, mean, place, printed) in itertools.product(MODULES, editions):
            random = np.random.RandomState(1)
            A_prev = random.randn(*shape)
            layer = module.ConvLayer(8, size, stride=2, padding=padding)
            layer.W, layer.b = random.randn(size, size, shape[3], 8), random.randn(1, 1, 1, 8)
            Z = layer.forward_propagate(A_prev)
            self.assertAlmostEqual(Z.mean(), mean, 12)
            np.testing.assert_allclose(Z[place], [float(each) for each in printed.split()], atol=5e-9)
            if printed == older:
                means = [each.mean() for each in (layer.gradients(Z), layer.dW, layer.db)]
                np.testing.assert_allclose(means, [1.45243777754, 1.72699145831, 7.83923256462], atol=5e-12)

    def test_the_first_of_equal_pixels_gets_the_gradient(self):
        for module in MODULES:
            layer = module.PoolLayer_Max((2, 3), 3)
            X = np.zeros((1, 5, 6, 2))
            X[0, 1, 5, 1] = X[0, 0, 4, 1] = 2
            layer.forward_propagate(X)
            d = np.arange(1.0, 9).reshape(1, 2, 2, 2)
            expected = np.zeros_like(X)
            expected[0, [0, 0, 3, 3], [0, 3, 0, 3], 0] = [1, 3, 5, 7]
            expected[0, [0, 0, 3, 3], [0, 4, 0, 3], 1] = [2, 4, 6, 8]
            np.testing.assert_array_equal(layer.gradients(d), expected)

    def test_one_pixel_of_a_window_with_nan_gets_the_gradient(self):
        X = np.random.default_rng(41).standard_normal((2, 6, 6, 2))
        X[0, 1, 1, 0] = X[1, 2:4, 2:4, 1] = np.nan
        for stride in (1, 2):
            naive, sg = (module.PoolLayer_Max(2, stride) for module in MODULES)
            np.testing.assert_array_equal(naive.forward_propagate(X), sg.forward_propagate(X))
            d = np.ones(naive.A.shape)
            np.testing.assert_array_equal(naive.gradients(d), sg.gradients(d))
            self.assertEqual(naive.gradients(d).sum(), d.size)

    def test_activations_and_weight_layout(self):
        X = np.random.default_rng(10).standard_normal((4, 3))
        formulas = {"FCLayer": lambda Z: Z, "FCLayer_ReLU": lambda Z: Z * (Z > 0),
                    "FCLayer_Sigmoid": lambda Z: 1 / (1 + np.exp(-Z)),
                    "FCLayer_Softmax": lambda Z: np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)}  # fmt: skip
        for module, (name, formula) in itertools.product(MODULES, formulas.items()):
            layer = getattr(module, name)(5)
            layer.forward_propagate(X)
            self.assertEqual(layer.W.shape, (5, 4))
            self.assertTrue((layer.W[:, -1] == 0).all())
            layer.W[:, -1] = [1, 2, 3, 4, 5]
            A = layer.forward_propagate(X)
            expected = formula(X @ layer.W[:, :3].T + [1, 2, 3, 4, 5])
            self.assertLess(difference(A, expected), 1e-12, name)

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
            layer = getattr(module, name)(output.shape[1])
            layer.W = np.eye(output.shape[1], output.shape[1] + 1)  # X are the logits
            X = np.log(output) if name == "FCLayer_Softmax" else np.log(output / (1 - output))
            net = module.Network([layer])
            net.piece = 2  # which leaves a smaller one
            got = net.evaluate(X, Y.astype(kind))
            np.testing.assert_allclose(got[0], output)
            np.testing.assert_allclose([got[1:], net.gradients(X, Y.astype(kind))], [(loss, error)] * 2)
            self.assertEqual([type(each) for each in (*got[1:], *net.gradients(X, Y.tolist()))], [float] * 4)

    def test_logits_of_1000(self):
        X = np.array([[1.0], [-1.0], [1.0], [0.001]])
        Y = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])  # logits (1000, -1000), (-1000, 1000) ...
        near, far = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))
        cases = ("FCLayer_Softmax", (2000 + near) / 4, 0.1192029), ("FCLayer_Sigmoid", (2000 + 2 * far) / 4, 0.2689414)
        for module, dtype, (name, expected, last) in itertools.product(MODULES, (np.float32, np.float64), cases):
            layer = getattr(module, name)(2)
            layer.W = np.array([[1000, 0], [-1000, 0]], dtype)
            net, dZ = module.Network([layer]), np.array([[1, -1], [0, 0], [0, 0], [-last, last]])
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                A, loss, error = net.evaluate(X.astype(dtype), Y)
                net.gradients(X.astype(dtype), Y)
                behind = module.Network([layer, module.FlatLayer()]).predict(X.astype(dtype))
            np.testing.assert_array_equal(A, behind)
            self.assertTrue((A > 0).all())
            self.assertAlmostEqual(loss / expected, 1, 5)
            self.assertAlmostEqual(error, 1 / 4)
            np.testing.assert_allclose(layer.dW, dZ.T / 4 @ np.c_[X, np.ones(4)], atol=1e-6)

    def test_first_weights(self):
        X = np.random.default_rng(12).standard_normal((2, 9, 9, 40))
        m, rows = cnn_sg, X.reshape(2, -1)  # the same function in both
        cases = [(m.ConvLayer(30, 7), X, 2 / (49 * 40 + 49 * 30)), (m.ConvLayer_ReLU(30, 7), X, 2 / (49 * 40)),
                 (m.FCLayer_ReLU(300), rows, 2 / 3240), (m.FCLayer_Sigmoid(300), rows, 2 / 3540)]  # fmt: skip
        for layer, input, variance in cases:
            layer.rng = np.random.default_rng(11)
            layer.forward_propagate(input)
            W = layer.W[:, :-1] if input is rows else layer.W
            self.assertAlmostEqual(W.var() / variance, 1, 1, layer)
            self.assertLess(abs(W.mean()) / math.sqrt(variance), 0.02)
            self.assertGreater(np.abs(W[:, -1]).min(), 0)


class EqualsTheDerivative(Case):
    def check_layer(self, layer, X):
        layer.rng = rng = np.random.default_rng(13)
        weighting = rng.standard_normal(layer.forward_propagate(X).shape)
        for W in learned([layer]).values():
            W += 0.3 * rng.standard_normal(W.shape)  # biases other than zero

        def loss():
            return (weighting * layer.forward_propagate(X)).sum()

        expected = numerical(loss, {"A_prev": X, **learned([layer])})
        layer.forward_propagate(X)
        before = copy.deepcopy(learned([layer]))
        got = {"dA_prev": layer.gradients(weighting), **learned([layer], "d")}
        with self.subTest(layer=repr(layer)):
            self.assert_same(got, expected, 1e-6)
            self.assert_same(learned([layer]), before)
            layer.weight_gradients(weighting)
            again = learned([layer], "d")
            self.assert_same({"dA_prev": layer.backpropagate(weighting, 0.5), **again}, got)
            for name, W in learned([layer]).items():
                self.assertLess(difference(before[name] - W, 0.5 * got[f"d{name}"]), 1e-12)

    def test_every_layer(self):
        rng = np.random.default_rng(14)
        filters = [((2, 3), 1, 0), ((3, 2), 2, 0), ((2, 2), 3, 0), ((3, 3), 1, 2), ((3, 4), 2, 1), (2, 2, 1)]
        for module in MODULES:
            cases = list(every_layer(module))
            for size, s, p in filters:
                layers = [module.ConvLayer(2, size, s, p), module.ConvLayer_ReLU(2, size, s, p),
                          module.PoolLayer_Max(size, s), module.PoolLayer_Avg(size, s)]  # fmt: skip
                cases += [(layer, (2, 4, 5, 2)) for layer in layers]
            for layer, shape in cases:
                self.check_layer(layer, rng.standard_normal(shape))

    def test_whole_networks(self):
        for module, last in itertools.product(MODULES, ("FCLayer_Softmax", "FCLayer_Sigmoid")):
            self.check_network(module, last)

    def check_network(self, module, last):
        X, Y = np.random.default_rng(15).standard_normal((3, 4, 5, 1)), np.eye(4)[[2, 0, 3]]
        if last == "FCLayer_Sigmoid":
            Y[0], Y[1] = [1, 0, 1, 1], 0  # several ones in a row, or none
        layers = [module.ConvLayer_ReLU(2, 3, padding=1), module.PoolLayer_Max(2, 2),
                  module.FlatLayer(), module.FCLayer_Sigmoid(4), getattr(module, last)(4)]  # fmt: skip
        net = module.Network(layers, seed=16)
        net.predict(X)
        for biases, value in ((layers[0].b, 0.2), (layers[3].W[:, -1], 0.1), (layers[4].W[:, -1], 0.3)):
            biases[...] = value
        decaying = [layers[0].W, layers[3].W[:, :-1], layers[4].W[:, :-1]]
        derivatives = numerical(lambda: net.evaluate(X, Y)[1], {"X": X, **learned(layers)})
        penalty = numerical(lambda: sum((W**2).sum() for W in decaying) / 2, learned(layers))
        before = copy.deepcopy(learned(layers))
        figures = net.gradients(X, Y)
        np.testing.assert_allclose(figures, net.evaluate(X, Y)[1:])
        self.assert_same(learned(layers), before)
        for decay in ([], [0.3]):  # none is as good as 0
            net.gradients(X, Y)
            for step in (net.step, lambda *rates: net.train(X, Y, *rates)):
                returned = step(0.5, *decay)
                for name, W in learned(layers).items():
                    expected = derivatives[f"d{name}"] + sum(decay) * penalty[f"d{name}"]
                    self.assertLess(difference(expected, (before[name] - W) / 0.5), 1e-6, (last, name))
                    W[...] = before[name]
        self.assertIs(returned[0], net.layers)
        np.testing.assert_allclose(returned[1:], figures, rtol=ROUNDING)  # from before the step
        net.predict(X)  # and by hand, layer by layer, down to the image
        d = layers[4].loss(Y)[2]
        for layer in reversed(layers):
            d = layer.gradients(d)
        self.assertLess(difference(derivatives["dX"], d), 1e-6)


class Arrays(Case):
    def test_every_array_keeps_the_dtype_of_the_first_mini_batch(self):
        for module, dtype, last in itertools.product(MODULES, ("f4", "f8"), ("FCLayer_Softmax", "FCLayer_Sigmoid")):
            net, twin = (mixed_network(module, last=last) for _ in range(2))
            X, Y = mini_batch(2, dtype)
            rate = np.float64(0.1)  # as a user's own schedule may hand it over
            net.train(X, Y, rate, np.float64(0.01))
            twin.train(X, Y, 0.1, 0.01)
            self.assert_same(learned(net.layers), learned(twin.layers))
            other = "f8" if dtype == "f4" else "f4"
            net.train(X.astype(other), Y, rate)
            self.assertEqual((net.predict(X.astype(other)).dtype, net.evaluate(X, Y)[0].dtype), (dtype, dtype))
            for layer in net.layers:
                for name, array in vars(layer).items():
                    if isinstance(array, np.ndarray):
                        self.assertEqual(array.dtype, dtype, f"{module.__name__} {layer}.{name}")

    def test_other_kinds_of_numbers(self):
        X, Y = np.random.default_rng(20).integers(0, 256, (3, 11, 10, 2)), mini_batch(3)[1]
        kinds = [("f2", "f2"), (">f4", "f4"), (">f8", "f8"), ("u1", "f4"), ("i8", "f4"), ("list", "f4")]
        for module, (dtype, kept) in itertools.product(MODULES, kinds):
            expected = mixed_network(module).predict(X.astype(float))
            net = mixed_network(module)
            A = net.predict(X.tolist() if dtype == "list" else X.astype(dtype))
            self.assertEqual((A.dtype, net.layers[0].W.dtype), (kept, kept))
            self.assertLess(difference(A, expected), 0.01 if kept == "f2" else 1e-5)
            self.assertLess(net.train((X > 99).tolist(), Y.tolist(), 0.01)[1], 100)

    def test_weights_from_elsewhere(self):
        X, W, computed = np.random.default_rng(43).random((2, 5, 5, 1)), np.arange(8).reshape(2, 2, 1, 2), []
        for module, weights in itertools.product(MODULES, (W.astype(float), W, W.tolist(), W.astype(np.float32))):
            layer = module.ConvLayer(2, 2)
            layer.W = copy.deepcopy(weights)
            self.assertEqual(layer.forward_propagate(X).dtype, layer.W.dtype)
            np.testing.assert_array_equal(layer.b, np.zeros((1, 1, 1, 2)))
            computed.append(results(layer, X.astype(np.float32)))
        for each, dtype in zip(computed, 2 * ["f8", "f4", "f4", "f4"]):
            self.assert_same(each, computed[0], 1e-5, dtype)

    def test_arrays_of_the_caller_are_never_changed(self):
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
            for layer in (cnn_sg.ConvLayer_ReLU(2, 2), cnn_sg.PoolLayer_Max(2), cnn_sg.PoolLayer_Avg((1, 2), 2)):
                self.assert_same(results(copy.copy(layer), in_memory), results(layer, X), 1e-12)

    def test_a_tall_narrow_image_takes_no_more_memory_than_its_windows(self):
        layer = cnn_sg.ConvLayer(64, (9, 1))
        d = np.ones_like(layer.forward_propagate(np.ones((1, 20_000, 1, 1), np.float32)))
        self.assertLess(self.peak(layer.gradients, d)[1], 3 * d.nbytes)

    def test_predict_takes_any_number_of_images_in_bounded_memory(self):
        X = np.random.default_rng(30).random((5000, 28, 28, 1), np.float32)
        net = cnn_sg.Network([cnn_sg.ConvLayer_ReLU(4, 3), cnn_sg.FlatLayer(), cnn_sg.FCLayer(10)])
        A, peak = self.peak(net.predict, X)
        self.assertLess(peak, X.nbytes / 2)  # the output of the first layer alone is 54 MB
        for piece in (slice(0, 1), slice(1, 100), slice(4990, None)):
            self.assertLess(difference(A[piece], net.predict(X[piece])), 1e-5)

    def test_a_copy_of_a_network_goes_on_as_the_original(self):
        X, Y = mini_batch(3, np.float32)
        for module in MODULES:
            net = mixed_network(module)
            net.train(X, Y, 0.1)
            others = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
            figures = [each.train(X, Y, 0.1)[1:] for _ in range(2) for each in (net, *others)]
            np.testing.assert_allclose(figures, 3 * figures[:1] + 3 * figures[3:4], rtol=ROUNDING)


class Errors(Case):
    def test_one_line_with_layer_expectation_and_finding(self):
        for module in MODULES:
            self.check_errors(module)

    def check_errors(self, m):
        images, rows = np.ones((2, 5, 6, 3)), np.ones((2, 7))
        conv, pool, flat, fc = m.ConvLayer(4, 3), m.PoolLayer_Max(2, 2), m.FlatLayer(), m.FCLayer_ReLU(5)
        for layer, X in ((conv, images), (pool, images), (flat, images), (fc, rows)):
            layer.forward_propagate(X)
        net = m.Network([m.FlatLayer(), m.FCLayer_Softmax(4)])
        foreign = m.ConvLayer(4, 3)
        foreign.b = np.zeros(4)
        inputs = [
            (conv, images[0], r"\(4, \(3, 3\), 1, 0\): .*\(n_m, height, width, n_c\).*got shape \(5, 6, 3\)"),
            (pool, rows, r"\(\(2, 2\), 2\): expected .*got shape \(2, 7\)"),
            (flat, np.ones(3), r"\(\): expected .*got shape \(3,\)"),
            (fc, images, r"\(5\): expected .*FlatLayer.*got shape \(2, 5, 6, 3\)"),
            (conv, np.ones((2, 5, 6, 1)), r".*expected .*fits W \(3, 3, 3, 4\), got shape \(2, 5, 6, 1\)"),
            (fc, np.ones((2, 8)), r".*expected .*fits W \(5, 8\), got shape \(2, 8\)"),
            (foreign, images, r".*expected .*fits b \(4,\), got shape \(2, 5, 6, 3\)"),
            (conv, np.ones((2, 2, 6, 3)), r".*expected images.*got 2 x 6"),
            (m.ConvLayer(1, (2, 5), padding=1), np.ones((1, 9, 2, 1)), r".*expected images.*got 11 x 4 with padding"),
            (pool, np.ones((2, 6, 1, 3)), r".*expected images.*got 6 x 1"),
            (flat, images.astype(complex), r"\(\): expected real numbers, got complex128"),
            (flat, [["a"]], r"\(\): expected real numbers, got <U1"),
        ]
        sizes = [
            (m.ConvLayer, (0, 3), "num_filters >= 1, got 0"), (m.ConvLayer, (2.5, 3), "num_filters >= 1, got 2.5"),
            (m.ConvLayer, ("4", 3), "num_filters >= 1, got '4'"), (m.ConvLayer, (1, 0), "filter_width >= 1, got 0"),
            (m.ConvLayer_ReLU, (1, (3, 0)), "filter_width >= 1, got 0"), (m.ConvLayer, (1, 3, 0), "stride >= 1, got 0"),
            (m.ConvLayer, (1, (3, 3, 3)), r"filter_width >= 1, got \(3, 3, 3\)"),
            (m.PoolLayer_Max, (((3, 3), 3),), r"filter_width >= 1, got \(3, 3\)"),
            (m.PoolLayer_Max, (np.ones(2, int),), r"filter_width >= 1, got array\(\[1, 1\]\)"),
            (m.ConvLayer, (1, 3, 1, -1), "padding >= 0, got -1"), (m.ConvLayer, (1, 3, 1, True), ".*0, got True"),
            (m.PoolLayer_Avg, (0,), "filter_width >= 1, got 0"), (m.PoolLayer_Max, (2, 0), "stride >= 1, got 0"),
            (m.FCLayer_ReLU, (0,), "num_neurons >= 1, got 0"), (m.FCLayer, (np.True_,), ".*got .*True"),
        ]  # fmt: skip
        others = [
            (net.train, (images, [0, 1], 0.1), r"Network: expected labels of shape \(2, 4\), got \(2,\)"),
            (net.gradients, (images, np.eye(3)[[0, 1]]), r"Network: expected labels.*got \(2, 3\)"),
            (net.evaluate, (images, np.eye(4)[:1]), r"Network: expected labels for 2 samples, got 1"),
            (net.evaluate, (images, np.eye(5)[[0, 1]]), r"Network: expected labels.*got \(2, 5\)"),
            (net.predict, (images[:0],), r"FlatLayer.*not empty, got shape \(0, 5, 6, 3\)"),
            (net.evaluate, (images[:0], np.eye(4)[:0]), r"FlatLayer.*not empty, got shape \(0, 5, 6, 3\)"),
            (net.predict, (3.0,), r"FlatLayer.*expected .*got shape \(1,\)"),
            (net.evaluate, (3.0, 1), r"FlatLayer.*expected .*got shape \(1,\)"),
            (m.Network, ([],), r"Network: expected a list of different layers, got \[\]"),
            (m.Network, ([flat, fc, flat],), r"Network: expected .*different layers, got \[FlatLayer.*FlatLayer"),
            (m.Network, ([flat, m.FCLayer_ReLU],), r"Network: expected .*layers, got \[FlatLayer.*<class"),
            (m.Network, ([flat, [fc]],), r"Network: expected .*layers, got \[FlatLayer\(\), \[FCLayer_ReLU"),
            (m.Network([fc, m.FCLayer(2)]).save, ("x.npz",), r"Network.save: expected weights.*got none"),
            (net.step, (0.1,), r"FCLayer_Softmax\(4\): expected gradients before step, got none yet"),
        ]
        for last in (m.FCLayer_ReLU(4), m.ConvLayer(4, 3), m.PoolLayer_Avg(2), m.FlatLayer()):
            other, X = m.Network([last]), rows if isinstance(last, m.FCLayer) else images
            message = rf"Network: expected FCLayer_Softmax.*FCLayer_Sigmoid.*last.*got {type(last).__name__}"
            others += [(method, (X, other.predict(X)), message) for method in (other.evaluate, other.gradients)]
        for layer in (conv, pool, flat, fc, m.ConvLayer_ReLU(4, 3), m.PoolLayer_Avg(2), m.FCLayer_Softmax(2)):
            got = r"d of shape \(2, .*\), got \(2, 1\)" if layer.A is not None else "forward_propagate before.*none yet"
            message, wrong = rf"{type(layer).__name__}.*expected {got}", np.ones((2, 1))
            others += [(layer.gradients, (wrong,), message), (layer.backpropagate, (wrong, 0.1), message)]
        cases = [(layer.forward_propagate, (X,), type(layer).__name__ + message) for layer, X, message in inputs]
        cases += [(layer, sizes, f"{layer.__name__}: expected an integer {message}") for layer, sizes, message in sizes]
        for function, arguments, message in cases + others:
            with self.subTest(module=m.__name__, message=message):
                with self.assertRaisesRegex(ValueError, f"^{message}") as raised:
                    function(*arguments)
                self.assertNotIn("\n", str(raised.exception))

    def test_a_forward_pass_that_was_refused_changes_nothing(self):
        for module in MODULES:
            wrong_b = module.ConvLayer(4, 3)
            wrong_b.b = np.zeros(4)
            refused = [(wrong_b, (2, 5, 6, 3)), (module.ConvLayer(4, 3), (2, 2, 9, 1)), (module.FlatLayer(), (2,)),
                       (module.PoolLayer_Max(3), (2, 9, 2, 1)), (module.FCLayer_ReLU(3), (2, 2, 9, 1))]  # fmt: skip
            for layer, shape in every_layer(module):
                layer.forward_propagate(np.ones(shape, np.float32))
                wrong = [(0,), (*shape[:-1], 0)] + [(*shape[:-1], 9)] * bool(layer.weights)
                refused += [(layer, shape) for shape in wrong]
            for layer, shape in refused:
                before = {name: id(value) for name, value in vars(layer).items()}
                with self.assertRaises(ValueError):
                    layer.forward_propagate(np.ones(shape))
                self.assertEqual({name: id(value) for name, value in vars(layer).items()}, before)

    def test_an_exception_on_the_way_back_leaves_all_weights(self):
        X, Y = mini_batch(2)
        for module in MODULES:
            net = mixed_network(module)
            net.train(X, Y, 0.1)
            before = copy.deepcopy(learned(net.layers))
            interrupted = mock.patch.object(net.layers[1], "gradients", side_effect=KeyboardInterrupt)
            with interrupted, self.assertRaises(KeyboardInterrupt):
                net.train(X, Y, 0.1)
            self.assert_same(learned(net.layers), before)

    def test_integers_of_numpy_are_integers(self):
        for module in MODULES:
            layer = module.ConvLayer(np.int64(2), (np.int8(2), np.uint16(1)), np.int32(1), np.int64(0))
            self.assertEqual(repr(layer), "ConvLayer(2, (2, 1), 1, 0)")
            self.assertEqual(repr(module.PoolLayer_Max([2, 1], np.int64(3))), "PoolLayer_Max((2, 1), 3)")
            self.assertEqual({type(each) for each in layer.arguments[1]}, {int})


class Files(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "weights.npz"
        self.X, self.Y = mini_batch(4, np.float32)

    def trained(self, module):
        net = mixed_network(module)
        net.train(self.X, self.Y, 0.1)
        return net

    def test_all_four_directions(self):
        for source, target, kind in itertools.product(MODULES, MODULES, (Path, str)):
            net, loaded = self.trained(source), mixed_network(target, 1)
            net.save(kind(self.path))
            self.assertIs(loaded.load(kind(self.path)), loaded)
            self.assertLess(difference(net.predict(self.X), loaded.predict(self.X)), 1e-5)
            self.assert_same(learned(loaded.layers), learned(net.layers))
            self.assertEqual(os.listdir(self.path.parent), [self.path.name])

    def refused(self, net, path, message):
        with self.assertRaisesRegex(ValueError, f"^Network.load: expected {message}") as raised:
            net.load(path)
        self.assertIn(str(path), str(raised.exception))
        self.assertNotRegex(str(raised.exception), "\n|pickle")

    def broken_files(self, whole):
        """Yield the bytes of files that are none of `save`, or are no more."""
        yield from (b"", b"PK", b"no weights", pickle.dumps("something"))
        yield from (whole[:k] for k in range(0, len(whole), 41))
        encrypted = bytearray(whole)
        encrypted[whole.index(b"PK\1\2") + 8] |= 1
        yield encrypted
        header = b"{'descr': '%s', 'fortran_order': False, 'shape': (%d,)}"
        for text in (b"{'descr': '<f4', 'shape': (9999999,", b"(((", b"9" * 100,
                     header % (b"<f4", 2**60), header % (b"|O", 1), header % (b"|u1", 99)):  # fmt: skip
            array, file = b"\x93NUMPY\x01\x00v\x00%-117s\n" % text + bytes(99), io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("layers.npy", array)
            yield from (array, file.getvalue())
        saved = dict(np.load(io.BytesIO(whole)))
        changes = [{"layers": np.ones(3)}, {"layers": np.array("one")}, {"0.W": saved["0.W"].astype(int)},
                   {"0.b": saved["0.b"] * [1, np.nan, 1]}]  # fmt: skip
        arrays = [{**saved, **change} for change in changes]
        arrays += [{name: saved[name] for name in saved if name != missing} for missing in ("layers", "7.W")]
        for save, named in [*zip(itertools.repeat(np.savez), arrays), (np.savez_compressed, saved)]:
            file = io.BytesIO()
            save(file, **named)
            yield file.getvalue()
        damaged = bytearray(file.getvalue())
        damaged[len(damaged) // 2] ^= 1
        yield damaged

    def test_what_is_not_a_file_of_save_is_refused_in_one_line(self):
        damaged, net, fresh = self.path.with_name("damaged.npz"), self.trained(cnn_naive), mixed_network(cnn_sg)
        net.save(self.path)
        whole, before = self.path.read_bytes(), net.predict(self.X)
        for content in self.broken_files(whole):
            damaged.write_bytes(content)
            for each in (net, fresh):
                self.refused(each, damaged, "a whole file of Network.save")
        for position in range(0, len(whole), 97):
            flipped = bytearray(whole)
            flipped[position] ^= 64
            damaged.write_bytes(flipped)
            try:  # some flips are in what nobody reads
                self.assert_same(learned(mixed_network(cnn_sg).load(damaged).layers), learned(net.layers))
            except ValueError as problem:
                self.assertRegex(str(problem), "^Network.load: expected .*damaged.npz$")
        with self.assertRaises(FileNotFoundError):
            net.load(self.path.with_name("none.npz"))
        self.assertLessEqual(difference(net.predict(self.X), before), ROUNDING)
        self.assertIsNone(fresh.layers[0].W)

    def test_what_is_not_a_weight_is_not_read_and_what_is_packed_never_unpacked(self):
        net = self.trained(cnn_sg)
        net.save(self.path)
        with zipfile.ZipFile(self.path, "a") as archive:
            archive.writestr("9.W.npy", b"no array")
        net.load(self.path)
        with zipfile.ZipFile(self.path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("8.W.npy", "w") as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (5_000_000,)}
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(20_000_000))
        self.assertLess(self.peak(self.refused, net, self.path, "a whole file of Network.save")[1], 2e6)

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
            self.assertLessEqual(difference(other.predict(self.X), before), ROUNDING)

    def test_saving_where_it_cannot_be(self):
        for module, problem in itertools.product(MODULES, (OSError(28, "No space left"), KeyboardInterrupt())):
            net = self.trained(module)
            net.save(self.path)
            before = self.path.read_bytes()

            def half(file, problem=problem, **arrays):
                self.assertIn(self.path.parent.resolve(), Path(file).resolve().parents)  # on the same disk
                Path(file).write_bytes(b"half of a file")
                raise problem

            with mock.patch("numpy.savez", half), self.assertRaises(type(problem)):
                net.save(self.path)
            self.assertEqual((self.path.read_bytes(), os.listdir(self.path.parent)), (before, [self.path.name]))
            with self.assertRaisesRegex(ValueError, "^Network.save: expected a file, got "):
                net.save(self.path.parent)

    @unittest.skipIf(os.name == "nt", "links need special rights there, and devices are no files")
    def test_a_link_stays_a_link_and_a_device_a_device(self):
        net, link = self.trained(cnn_sg), self.path.with_name("link.npz")
        link.symlink_to(self.path)
        for _ in range(2):
            net.save(link)
            self.assertTrue(link.is_symlink() and self.path.is_file() and not self.path.is_symlink())
            net.load(self.path)
        with self.assertRaisesRegex(ValueError, f"^Network.save: expected a file, got {os.devnull}"):
            net.save(os.devnull)

    @unittest.skipIf(os.name == "nt", "no file that somebody reads can be replaced there")
    def test_two_processes_that_save_at_once(self):
        program = """if True:
            import sys, numpy, cnn_sg
            net = cnn_sg.Network([cnn_sg.FCLayer(300)])
            net.predict(numpy.ones((1, 400)))
            for k in range(40):
                net.save(sys.argv[1])
                print(k, flush=True)
        """
        command, here = [sys.executable, "-c", program, str(self.path)], Path(__file__).resolve().parent
        both = [subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE) for _ in range(2)]
        net = cnn_sg.Network([cnn_sg.FCLayer(300)])
        for process in 40 * both:
            self.assertTrue(process.stdout.readline())
            net.load(self.path)
        for process in both:
            process.communicate()
        self.assertEqual([process.returncode for process in both], [0, 0])
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])


class Networks(Case):
    def test_table(self):
        for module in MODULES:
            unmade = type("Gain", (module.Layer,), {"weights": ("gain",), "gradients": None})
            self.assertIn("?", str(module.Network([unmade()])))
            net = module.Network([module.ConvLayer(2, 3), module.FlatLayer(), module.FCLayer_Softmax(10)])
            names = ("layer", "ConvLayer(2, (3, 3), 1, 0)", "FlatLayer()", "FCLayer_Softmax(10)", "total")
            before = zip(names, ("output", "?", "?", "?", ""), ("parameters", "?", "0", "?", "?"))
            self.assertEqual(str(net), "\n".join(f"{a:36}{b:>16}{c:>12}" for a, b, c in before))
            net.predict(np.ones((1, 14, 13, 1)))
            after = zip(names, ("output", "12 x 11 x 2", "264", "10", ""), ("parameters", "20", "0", "2,650", "2,670"))
            self.assertEqual(str(net), "\n".join(f"{a:36}{b:>16}{c:>12}" for a, b, c in after))

    def test_a_layer_can_be_copied_by_the_rule(self):
        """Imports, Layer, the class with its bases, stride_groups, and all under the heading."""
        for module in MODULES:
            source = Path(module.__file__).read_text(encoding="utf-8")
            nodes = ast.parse(source).body
            parts = {getattr(node, "name", None): ast.get_source_segment(source, node) for node in nodes}
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
                X = np.random.default_rng(44).random(shape, np.float32)
                self.assert_same(results(twin, X), results(layer, X), dtype=np.float32)

    def test_layers_of_ones_own(self):
        X, Y = np.random.default_rng(27).random((3, 6, 6, 1)), np.eye(2)[[0, 1, 1]]
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

            end = [module.FlatLayer(), ScaledFlat(), module.FCLayer_Softmax(2)]
            self.check_learning(module.Network([Scaled(), *end], 1), X, Y)
            self.check_learning(module.Network([ScaledPool(2), *end], 1), X, Y)
            self.check_learning(module.Network(end, 1), X, Y)
            net = module.Network([ScaledPool(2), Squares(1, 3)], 1)
            self.check_learning(net, X, X[:, :4, :4])
            self.assertEqual(net.evaluate(X, X[:, :4, :4])[2], 1.0)

    def check_learning(self, net, X, Y):
        net.predict(X)
        expected = numerical(lambda: net.evaluate(X, Y)[1], learned(net.layers))
        loss = net.train(X, Y, 0.01)[1]
        self.assert_same(learned(net.layers, "d"), expected, 1e-6)
        self.assertLess(net.train(X, Y, 0.01)[1], loss)
        self.assertIn("Scaled", str(net))

    def test_a_yes_or_no_is_learned(self):
        X = np.random.default_rng(46).standard_normal((200, 3))
        Y = (X[:, :1] + X[:, 1:2] > 0).astype(int)
        for module in MODULES:
            net = module.Network([module.FCLayer_ReLU(5), module.FCLayer_Sigmoid(1)], 1)
            for _ in range(100):
                net.train(X, Y, 0.5)
            A, loss, error = net.evaluate(X, Y)
            self.assertLess(loss, 0.1)
            self.assertLess(error, 0.05)
            self.assertEqual(error, np.mean((A > 0.5) != Y))


if __name__ == "__main__":
    unittest.main(warnings="error")
