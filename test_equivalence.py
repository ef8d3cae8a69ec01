# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24"]
# ///
"""Proof that cnn_naive.py and cnn_sg.py compute the same, and that it is the derivative.

    python3 test_equivalence.py              tests both
    python3 test_equivalence.py cnn_mine     tests a module of your own in the same way
"""

import argparse
import ast
import importlib
import math
import os
import sys
import unittest
from pathlib import Path

# The matrices here are so small that threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import cnn_naive
import cnn_sg

MODULES = [cnn_naive, cnn_sg]  # or those that the command line names


class SameAsTheLoops(unittest.TestCase):
    """A module gives the same outputs and gradients as the loops of cnn_naive.py."""

    def test_a_convolution(self):
        rng = np.random.default_rng(1)
        X = rng.standard_normal((2, 7, 8, 3))  # two images of 7 x 8 pixels with 3 channels
        for module in MODULES:
            naive = cnn_naive.ConvLayer_ReLU(4, 3, stride=2, padding=1)
            other = module.ConvLayer_ReLU(4, 3, stride=2, padding=1)
            naive.W = other.W = rng.standard_normal((3, 3, 3, 4))
            naive.b = other.b = rng.standard_normal((1, 1, 1, 4))
            assert_same(other.forward_propagate(X), naive.forward_propagate(X))

            dA = rng.standard_normal((2, 4, 4, 4))
            assert_same(other.gradients(dA), naive.gradients(dA))
            assert_same(other.dW, naive.dW)
            assert_same(other.db, naive.db)

    def test_every_layer_in_many_sizes(self):
        rng = np.random.default_rng(2)
        for module in MODULES:
            for name, arguments, shape in random_layers(70, largest=4, seed=3):
                naive = getattr(cnn_naive, name)(*arguments)
                other = getattr(module, name)(*arguments)
                with self.subTest(module=module.__name__, layer=naive, input=shape):
                    X = np.round(rng.standard_normal(shape), 1)  # some pixels are equal
                    dA = rng.standard_normal(naive.forward_propagate(X).shape)
                    if naive.weights:
                        naive.W = other.W = rng.standard_normal(naive.W.shape)
                        naive.b = other.b = rng.standard_normal(naive.b.shape)
                    assert_same(other.forward_propagate(X), naive.forward_propagate(X))
                    assert_same(other.gradients(dA), naive.gradients(dA))
                    if naive.weights:
                        assert_same(other.dW, naive.dW)
                        assert_same(other.db, naive.db)

    def test_ten_steps_of_training(self):
        X, Y = images_and_labels(10 * 4)
        for module in MODULES:
            naive, other = network(cnn_naive), network(module)
            for batch in zip(np.split(X, 10), np.split(Y, 10)):
                _, loss, error = naive.train(*batch, 0.1, weight_decay=0.01)
                assert_same(other.train(*batch, 0.1, weight_decay=0.01)[1:], (loss, error))
            assert_same(other.predict(X), naive.predict(X), 1e-8)


class TheDerivative(unittest.TestCase):
    """Gradients are (L(x + h) - L(x - h)) / 2h for each number x of the weights and the input."""

    def test_every_layer(self):
        rng = np.random.default_rng(4)
        for module in MODULES:
            for name, arguments, shape in random_layers(9, largest=3, seed=5):
                layer = getattr(module, name)(*arguments)
                layer.rng = rng
                with self.subTest(module=module.__name__, layer=layer, input=shape):
                    self.check_layer(layer, rng.standard_normal(shape), rng)

    def check_layer(self, layer, X, rng):
        def loss():  # dA is its derivative with respect to A
            return np.sum(dA * layer.forward_propagate(X))

        dA = rng.standard_normal(layer.forward_propagate(X).shape)
        if layer.weights:  # with b = 0, Z is 0 in the padding, where ReLU has no derivative
            layer.b[...] = rng.standard_normal(layer.b.shape)
            layer.forward_propagate(X)
        assert_same(layer.gradients(dA), central_differences(loss, X), 1e-6)
        if layer.weights:
            assert_same(layer.dW, central_differences(loss, layer.W), 1e-6)
            assert_same(layer.db, central_differences(loss, layer.b), 1e-6)

    def test_whole_networks_with_both_losses(self):
        X, one_hot = images_and_labels(3)
        several = np.array([[1.0, 0, 1, 1], [0, 0, 0, 0], [0.5, 1, 0, 0]])
        for module in MODULES:
            for last, Y in ("FCLayer_Softmax", one_hot), ("FCLayer_Sigmoid", several):
                with self.subTest(module=module.__name__, last=last):
                    self.check_network(network(module, last), X, Y)

    def check_network(self, net, X, Y):
        def loss():
            return net.evaluate(X, Y)[1]

        net.predict(X)  # makes the first weights
        learning = [layer for layer in net.layers if layer.weights]
        for layer in learning:
            layer.b[...] = 0.1
        assert_same(net.gradients(X, Y), net.evaluate(X, Y)[1:])
        for layer in learning:
            assert_same(layer.dW, central_differences(loss, layer.W), 1e-6)
            assert_same(layer.db, central_differences(loss, layer.b), 1e-6)


class ByHand(unittest.TestCase):
    """Cases so small that they can be done on paper."""

    def test_convolution(self):
        X = image([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
        for module in MODULES:
            conv = module.ConvLayer(1, 2)
            conv.W, conv.b = a_filter([[1, 2], [3, 4]]), a_filter([[0.5]])
            assert_same(conv.forward_propagate(X), image([[27.5, 37.5], [57.5, 67.5]]))
            dA_prev = conv.gradients(image([[1, 0], [0, 10]]))
            assert_same(dA_prev, image([[1, 2, 0], [3, 4 + 10, 20], [0, 30, 40]]))
            assert_same(conv.dW, a_filter([[0 + 40, 1 + 50], [3 + 70, 4 + 80]]))
            assert_same(conv.db, a_filter([[11]]))

            conv = module.ConvLayer_ReLU(1, 2, stride=3, padding=1)  # its windows are the corners
            conv.W, conv.b = a_filter([[1, 2], [3, 4]]), a_filter([[-7]])
            assert_same(conv.forward_propagate(X), image([[0, 0], [12 - 7, 8 - 7]]))
            dA_prev = conv.gradients(image([[1, 1], [1, 10]]))
            assert_same(dA_prev, image([[0, 0, 0], [0, 0, 0], [2, 0, 10]]))
            assert_same(conv.dW, a_filter([[80, 6], [0, 0]]))

    def test_pooling(self):
        X = image([[1, 5, 2], [3, 4, 0], [9, 8, 7]])
        for module in MODULES:
            pool = module.PoolLayer_Max(2)
            assert_same(pool.forward_propagate(X), image([[5, 5], [9, 8]]))
            dA_prev = pool.gradients(image([[1, 2], [3, 4]]))
            assert_same(dA_prev, image([[0, 1 + 2, 0], [0, 0, 0], [3, 4, 0]]))
            pool = module.PoolLayer_Avg((1, 2), stride=2)  # a third column is left out
            assert_same(pool.forward_propagate(X), image([[3], [8.5]]))
            dA_prev = pool.gradients(image([[4], [6]]))
            assert_same(dA_prev, image([[2, 2, 0], [0, 0, 0], [3, 3, 0]]))

    def test_the_first_of_equal_pixels_gets_the_gradient(self):
        for module in MODULES:
            pool = module.PoolLayer_Max(2)
            pool.forward_propagate(image([[0, 0, 0], [0, 0, 0], [0, 0, 0]]))
            dA_prev = pool.gradients(image([[1, 2], [4, 8]]))
            assert_same(dA_prev, image([[1, 2, 0], [4, 8, 0], [0, 0, 0]]))
            pool = module.PoolLayer_Max(2, 2)
            pool.forward_propagate(image([[0, 7, 1, 3], [7, 7, 3, 3]]))  # row by row
            dA_prev = pool.gradients(image([[5, 6]]))
            assert_same(dA_prev, image([[0, 5, 0, 6], [0, 0, 0, 0]]))

    def test_flat_and_fully_connected(self):
        exp = np.exp([[10, 12, -5]])
        activations = {"FCLayer": [[10, 12, -5]], "FCLayer_ReLU": [[10, 12, 0]],
                       "FCLayer_Sigmoid": exp / (1 + exp), "FCLayer_Softmax": exp / exp.sum()}
        for module in MODULES:
            flat = module.FlatLayer()
            rows = flat.forward_propagate(np.arange(12.0).reshape(2, 1, 3, 2))
            assert_same(rows, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
            assert_same(flat.gradients(rows), np.arange(12.0).reshape(2, 1, 3, 2))
            for name, A in activations.items():
                layer = getattr(module, name)(3)
                layer.W, layer.b = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([1.0, 0, -20])
                assert_same(layer.forward_propagate([[1.0, 2]]), A)

    def test_losses(self):
        for module in MODULES:
            A = np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.25, 0.5, 0.25]])
            Y = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
            L = -math.log(0.5 * 0.375 * 0.5) / 3
            self.check_loss(module.FCLayer_Softmax(3), np.log(A), Y, L, 1 / 3, (A - Y) / 3)

            A = np.array([[0.75, 0.25, 0.5], [0.125, 0.75, 0.25]])
            Y = np.array([[1, 1, 0], [0, 1, 0]])
            L, Z = -math.log(0.75 * 0.25 * 0.5 * 0.875 * 0.75 * 0.75) / 2, np.log(A / (1 - A))
            self.check_loss(module.FCLayer_Sigmoid(3), Z, Y, L, 1 / 6, (A - Y) / 2)

    def check_loss(self, layer, Z, Y, *expected):
        layer.W, layer.b = np.eye(3), np.zeros(3)
        layer.forward_propagate(Z)
        for got, each in zip(layer.loss(Y), expected, strict=True):
            assert_same(got, each)


class AndrewNgsAssignment(unittest.TestCase):
    """What the notebook of the course prints, in two editions."""

    def test_both_editions(self):
        for module in MODULES:
            older = self.convolution(module, (10, 4, 4, 3), 2, padding=2)
            printed = [-0.61490741, -6.7439236, -2.55153897, 1.75698377,
                       3.56208902, 0.53036437, 5.18531798, 8.75898442]
            np.testing.assert_allclose(older.A[3, 2, 1], printed, rtol=0, atol=5e-9)
            dA_prev = older.gradients(older.A)  # it takes Z for dZ
            means = [array.mean() for array in (older.A, dA_prev, older.dW, older.db)]
            printed = [0.0489952035289, 1.45243777754, 1.72699145831, 7.83923256462]
            np.testing.assert_allclose(means, printed, rtol=0, atol=5e-12)
            newer = self.convolution(module, (2, 5, 7, 4), 3, padding=1)
            printed = [-2.17796037, 8.07171329, -0.5772704, 3.36286738,
                       4.48113645, -2.89198428, 10.99288867, 3.03171932]
            np.testing.assert_allclose(newer.A[0, 2, 1], printed, rtol=0, atol=5e-9)
            self.assertAlmostEqual(newer.A.mean(), 0.5511276474566768, 12)

    def convolution(self, module, shape, filter_width, padding):
        rng = np.random.RandomState(1)
        A_prev = rng.randn(*shape)
        conv = module.ConvLayer(8, filter_width, stride=2, padding=padding)
        conv.W, conv.b = rng.randn(filter_width, filter_width, shape[3], 8), rng.randn(1, 1, 1, 8)
        conv.forward_propagate(A_prev)
        return conv


class WholeNetworks(unittest.TestCase):
    def test_training_tells_rows_from_columns(self):
        X = np.zeros((10, 5, 5, 1))
        for k in range(5):
            X[k, k] = X[5 + k, :, k] = 1  # five pictures of a row, five of a column
        is_row = np.repeat([[1, 0], [0, 1]], 5, axis=0)
        for module in MODULES:
            conv, pool = module.ConvLayer_ReLU(4, 3, padding=1), module.PoolLayer_Max(5)
            net = module.Network([conv, pool, module.FlatLayer(), module.FCLayer_Softmax(2)], 1)
            for _ in range(40):
                net.train(X, is_row, learning_rate=0.5)
            _, loss, error = net.evaluate(X, is_row)
            self.assertEqual(error, 0)
            self.assertLess(loss, 0.1)

    def test_logits_of_1000(self):
        X, Y = [[1.0], [-1], [1], [0]], [[0, 1], [0, 1], [1, 0], [1, 0]]
        losses = {"FCLayer_Softmax": (2000 + math.log(2)) / 4,  # the first answer is all wrong,
                  "FCLayer_Sigmoid": (2000 + 2 * math.log(2)) / 4}  # the last one undecided
        for module in MODULES:
            for name, expected in losses.items():
                layer = getattr(module, name)(2)
                layer.W, layer.b = np.array([[1000.0, -1000]]), np.zeros(2)
                net = module.Network([layer])
                with np.errstate(over="raise", invalid="raise", divide="raise"):
                    assert_same(net.evaluate(X, Y)[0], [[1, 0], [0, 1], [1, 0], [0.5, 0.5]])
                    assert_same(net.gradients(X, Y)[0], expected)
                assert_same(layer.dW, [[1 / 4, -1 / 4]])


class OurTwoFiles(unittest.TestCase):
    def test_all_but_convolution_and_pooling_is_the_same_word_for_word(self):
        naive, sg = definitions(cnn_naive), definitions(cnn_sg)
        windows = {"ConvLayer", "PoolLayer", "PoolLayer_Max", "PoolLayer_Avg"}
        for name in naive.keys() - windows:
            self.assertEqual(naive[name], sg.get(name))

    def test_both_have_the_same_names(self):
        for name in definitions(cnn_naive):  # of a class, dir gives the methods
            self.assertEqual(dir(getattr(cnn_naive, name)), dir(getattr(cnn_sg, name)))


def assert_same(got, expected, tolerance=1e-10):
    """Equal but for rounding: differences are compared with the largest number."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def central_differences(loss, array, h=1e-5):
    """The derivative of loss() with respect to each number of an array that it depends on."""
    derivative = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        x = array[index]
        array[index] = x + h
        above = loss()
        array[index] = x - h
        derivative[index] = (above - loss()) / (2 * h)
        array[index] = x
    return derivative


def random_layers(number, largest, seed):
    """Yield class, arguments, and shape of an input, for this number of layers of each class."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n_m, n_c, n_f, s, fh, fw = rng.integers(1, largest + 1, 6).tolist()
        p, more_rows, more_columns = rng.integers(0, 4, 3).tolist()
        images = (n_m, fh + more_rows, fw + more_columns, n_c)
        for name in "ConvLayer", "ConvLayer_ReLU":
            yield name, (n_f, (fh, fw), s, p), images
        for name in "PoolLayer_Max", "PoolLayer_Avg":
            yield name, ((fh, fw), s), images
        yield "FlatLayer", (), images
        for name in "FCLayer", "FCLayer_ReLU", "FCLayer_Sigmoid", "FCLayer_Softmax":
            yield name, (n_f,), (n_m, fh)


def network(module, last="FCLayer_Softmax"):
    """A small network with a layer of every class, for images_and_labels."""
    return module.Network([
        module.ConvLayer_ReLU(2, 3, padding=1), module.PoolLayer_Max(2, 2),
        module.ConvLayer(3, (2, 3), stride=2, padding=1), module.PoolLayer_Avg((2, 1)),
        module.FlatLayer(), module.FCLayer(3), module.FCLayer_Sigmoid(4), module.FCLayer_ReLU(5),
        getattr(module, last)(4),
    ], seed=6)  # fmt: skip


def images_and_labels(number):
    rng = np.random.default_rng(7)
    return rng.standard_normal((number, 5, 6, 1)), np.eye(4)[rng.integers(0, 4, number)]


def image(pixels):
    return np.array(pixels, float)[np.newaxis, :, :, np.newaxis]


def a_filter(numbers):
    return np.array(numbers, float)[:, :, np.newaxis, np.newaxis]


def definitions(module):
    """The source of each function and class of a module, by name."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(source).body if hasattr(node, "name")]
    return {node.name: ast.get_source_segment(source, node) for node in nodes}


def module_to_test(name):
    """Import the module, or end the program with one line that says why it cannot be tested."""
    try:
        module = importlib.import_module(name.removesuffix(".py"))
        network(module)  # has it all the layers?
        return module
    except Exception as problem:  # noqa: BLE001 - anything can be wrong with somebody's module
        sys.exit(f"{name}: expected a module like cnn_naive.py, beside it, got {problem!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", nargs="*", help="name of a module beside this file")
    options, others = parser.parse_known_args()  # the others are for unittest: -v, -f
    MODULES = [module_to_test(name) for name in options.module] or MODULES
    unittest.main(argv=[sys.argv[0], *others], warnings="error")
