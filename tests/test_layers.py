"""What the layers and networks of both modules promise beside their formulas."""

import copy
import io
import os
import pickle
import re
import runpy
import subprocess
import sys
import tempfile
import tracemalloc
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import cnn_naive
import cnn_sg
from test_equivalence import (
    assert_same,
    central_differences,
    images_and_labels,
    network,
    random_layers,
)

MODULES = [cnn_naive, cnn_sg]
ROOT = Path(__file__).resolve().parent.parent
BOTH_LOSSES = "FCLayer_Softmax", "FCLayer_Sigmoid"


class Case(unittest.TestCase):
    def assert_refused(self, message, call, *arguments):
        with self.assertRaisesRegex(ValueError, message) as raised:
            call(*arguments)
        self.assertNotIn("\n", str(raised.exception))


def one_of_each(module, seed=0):
    """A new layer of each class, and the shape of an input for it."""
    for name, arguments, shape in random_layers(1, largest=3, seed=1):
        layer = getattr(module, name)(*arguments)
        layer.rng = np.random.default_rng(seed)
        yield layer, shape


def weights_of(net):
    return [getattr(layer, name) for layer in net.layers for name in layer.weights]


class WrongCalls(Case):
    """One line names the layer, what it expected and what it got; and nothing has changed."""

    def wrong_calls(self, m):
        """Yield a layer, a right input, the method that is called wrongly, with what, and why."""
        images, rows = np.ones((2, 5, 6, 3)), np.ones((2, 7))
        forward, narrow = "forward_propagate", np.ones((2, 2, 6, 3))
        yield m.ConvLayer(4, 3), images, forward, images[0], "4 axes", "(5, 6, 3)"
        yield m.ConvLayer(4, 3), images, forward, images[:0], "not empty", "(0, 5, 6, 3)"
        yield m.ConvLayer(4, 3), images, forward, images[..., :1], "(3, 3, 3, 4)", "(3, 3, 1, 4)"
        yield m.ConvLayer(4, 3), images, forward, narrow, "3 x 3 pixels", "2 x 6"
        yield m.ConvLayer(4, (3, 7), 1, 1), images, forward, narrow[:, :, :4], "3 x 7", "4 x 6"
        yield m.ConvLayer_ReLU(4, 3), images, "gradients", images, "(2, 3, 4, 4)", "(2, 5, 6, 3)"
        for pool in m.PoolLayer_Max(3, 2), m.PoolLayer_Avg(3, 2):
            yield pool, images, forward, rows, "4 axes", "(2, 7)"
            yield pool, images, forward, images[:0], "not empty", "(0, 5, 6, 3)"
            yield pool, images, forward, narrow, "3 x 3 pixels", "2 x 6"
            yield pool, images, forward, images[:, :, :2], "3 x 3 pixels", "5 x 2"
            yield pool, images, "gradients", np.ones((2, 2, 1, 3)), "(2, 2, 2, 3)", "(2, 2, 1, 3)"
        yield m.FlatLayer(), images, forward, images[:0], "not empty", "(0, 5, 6, 3)"
        yield m.FlatLayer(), images, "gradients", rows, "(2, 90)", "(2, 7)"
        for layer in m.FCLayer(4), m.FCLayer_ReLU(4), m.FCLayer_Sigmoid(4), m.FCLayer_Softmax(4):
            yield layer, rows, forward, images, "2 axes", "(2, 5, 6, 3)"
            yield layer, rows, forward, rows[:0], "not empty", "(0, 7)"
            yield layer, rows, forward, rows[:, :6], "(7, 4)", "(6, 4)"
            yield layer, rows, "gradients", rows, "(2, 4)", "(2, 7)"

    def test_a_wrong_call_is_one_line_and_leaves_the_layer_as_it_was(self):
        for module in MODULES:
            for layer, X, method, wrong, expected, got in self.wrong_calls(module):
                layer.rng = np.random.default_rng(2)
                twin = copy.deepcopy(layer)
                X = X * np.random.default_rng(3).random(X.shape)
                dA = np.random.default_rng(4).random(layer.forward_propagate(X).shape)
                message = f"^{re.escape(str(layer))}: expected .*{re.escape(expected)}"
                message += f".*, got .*{re.escape(got)}"
                with self.subTest(module=module.__name__, message=message):
                    self.assert_refused(message, getattr(layer, method), wrong)
                    twin.forward_propagate(X)
                    assert_same(layer.gradients(dA), twin.gradients(dA))
                    for name in layer.weights:
                        assert_same(getattr(layer, f"d{name}"), getattr(twin, f"d{name}"))
                    assert_same(layer.forward_propagate(X), twin.forward_propagate(X))

    def test_a_wrong_first_call_draws_no_weights(self):
        for module in MODULES:
            for layer, shape in one_of_each(module):
                twin, X = copy.deepcopy(layer), np.ones(shape)
                self.assert_refused("not empty", layer.forward_propagate, X[:0])
                self.assert_refused("forward_propagate before", layer.gradients, X)
                self.assert_refused("forward_propagate before", layer.backpropagate, X, 0.1)
                if layer.weights:
                    self.assert_refused("gradients before step", layer.step, 0.1)
                assert_same(layer.forward_propagate(X), twin.forward_propagate(X))

    def test_sizes_are_integers(self):
        for m in MODULES:
            for layer, sizes, expected, got in (
                (m.ConvLayer, (0, 3), "num_filters >= 1", "0"),
                (m.ConvLayer, (2.5, 3), "num_filters >= 1", "2.5"),
                (m.ConvLayer, ("4", 3), "num_filters >= 1", "'4'"),
                (m.ConvLayer_ReLU, (1, (3, 0)), "filter_width >= 1", "0"),
                (m.ConvLayer, (1, (3, 3, 3)), "filter_width >= 1", "(3, 3, 3)"),
                (m.ConvLayer, (1, 3, 0), "stride >= 1", "0"),
                (m.ConvLayer, (1, 3, 1, -1), "padding >= 0", "-1"),
                (m.PoolLayer_Avg, (0,), "filter_width >= 1", "0"),
                (m.PoolLayer_Max, (2, 1.0), "stride >= 1", "1.0"),
                (m.FCLayer_ReLU, (None,), "num_neurons >= 1", "None"),
            ):
                message = f"^{layer.__name__}.*: expected an integer {expected}, got "
                self.assert_refused(message + re.escape(got), layer, *sizes)
            layer = m.ConvLayer(np.int64(2), [np.int8(3), np.uint16(1)], np.int32(1), np.int64(0))
            self.assertEqual(str(layer), "ConvLayer(2, (3, 1), 1, 0)")

    def test_labels_and_layers_of_a_network(self):
        X, Y = np.ones((64, 6)), np.eye(4)[np.zeros(64, int)]
        for m in MODULES:
            net, twin = (m.Network([m.FCLayer(3), m.FCLayer_Softmax(4)], 5) for _ in range(2))
            for labels, got in ((Y[:, 0], r"\(64,\)"), (Y[:, :3], r"\(64, 3\)"), (Y[:9], r"\(9, 4\)")):
                for method, more in (net.train, [0.1]), (net.gradients, []), (net.evaluate, []):
                    message = rf"^FCLayer_Softmax\(4\): expected labels.*\(64, 4\), got {got}"
                    self.assert_refused(message, method, X, labels, *more)
            self.assert_refused("labels", net.evaluate, X, np.vstack([Y, Y]))
            self.assertEqual(net.train(X, Y, 0.1)[1:], twin.train(X, Y, 0.1)[1:])
            flat, fc = m.FlatLayer(), m.FCLayer(4)
            self.assert_refused(r"^Network: expected layers.*got \[\]", m.Network, [])
            self.assert_refused(r"^Network: .*twice, got \[Flat.*Flat", m.Network, [flat, fc, flat])
            for method in m.Network([fc]).evaluate, m.Network([fc]).gradients:
                self.assert_refused("expected FCLayer_Softmax or FCLayer_Sigm.*FCLayer", method, X, Y)
            constant = type("Constant", (m.FlatLayer,), {"loss": lambda self, Y: (0, 0, Y)})
            self.assert_refused("expected weights", m.Network([constant()]).gradients, X, X)

    def test_an_exception_on_the_way_back_leaves_all_weights(self):
        X, Y = images_and_labels(2)
        for module in MODULES:
            net = network(module)
            net.train(X, Y, 0.1)
            before = copy.deepcopy(weights_of(net))
            with mock.patch.object(net.layers[1], "input_gradient", side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, net.train, X, Y, 0.1)
            for W, W_before in zip(weights_of(net), before):
                np.testing.assert_array_equal(W, W_before)


class Numbers(Case):
    def test_every_array_keeps_the_dtype_of_the_first_mini_batch(self):
        for module in MODULES:
            for dtype, last in [*zip(("f4", "f4", "f8"), (*BOTH_LOSSES, BOTH_LOSSES[0]))]:
                net, (X, Y) = network(module, last), images_and_labels(2)
                net.train(X.astype(dtype), Y, np.float64(0.1), np.float64(0.01))
                self.assertEqual(net.predict(X.astype("f4")).dtype, dtype)
                self.assertEqual(net.predict(X.astype("f8")).dtype, dtype)
                for layer in net.layers:
                    dA = np.ones(layer.A.shape)
                    self.assertEqual(layer.backpropagate(dA, np.float64(0.1)).dtype, dtype)
                    for name, array in vars(layer).items():
                        self.assertEqual(getattr(array, "dtype", dtype), dtype, (layer, name))

    def test_pixels_and_labels_may_be_numbers_of_any_kind(self):
        X, Y = images_and_labels(3)
        X = (100 * X).round() % 256
        for module in MODULES:
            expected = network(module).train(X, Y, 0.1)[1:]
            for pixels in X.astype(np.uint8), X.astype(int), X.tolist(), X.astype(np.float32):
                for labels in Y.astype(int), Y.astype(bool), Y.tolist(), Y:
                    net = network(module)
                    assert_same(net.train(pixels, labels, 0.1)[1:], expected, 1e-3)
            self.assertEqual({W.dtype for W in weights_of(net)}, {np.dtype(np.float32)})

    def test_what_the_caller_hands_over_or_gets_is_never_written_into(self):
        rng = np.random.default_rng(6)
        for module in MODULES:
            for layer, shape in one_of_each(module):
                kept = []
                for _ in range(2):
                    X = rng.standard_normal(shape)
                    A = layer.forward_propagate(X)
                    dA = rng.standard_normal(A.shape)
                    X.flags.writeable = dA.flags.writeable = False
                    kept += [(array, array.copy()) for array in (X, A, dA)]
                    dA_prev = layer.backpropagate(dA, 0.1)
                    kept.append((dA_prev, dA_prev.copy()))
                for array, before in kept:
                    np.testing.assert_array_equal(array, before)

    def test_predict_and_evaluate_take_any_number_of_images_in_bounded_memory(self):
        X = np.random.default_rng(7).random((1500, 28, 28, 1), np.float32)
        Y = np.eye(10)[np.arange(1500) % 10]
        m = cnn_sg
        net = m.Network([m.ConvLayer_ReLU(4, 3), m.FlatLayer(), m.FCLayer_Softmax(10)], 8)
        for call in (lambda: net.predict(X), lambda: net.evaluate(X, Y)[0]):
            tracemalloc.start()
            A = call()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertLess(peak, X.nbytes)  # the convolution's output alone would be 3.4 times X
            assert_same(A[1490:], net.predict(X[1490:]), 1e-5)
        loss, error = net.evaluate(X[:100], Y[:100])[1:]  # 64, and the rest
        assert_same((loss, error), net.gradients(X[:100], Y[:100]), 1e-5)
        assert_same(loss, -np.log((A * Y).sum(axis=1)[:100]).mean(), 1e-5)


class Weights(Case):
    def test_the_same_seed_gives_both_modules_the_same_first_weights(self):
        X, _ = images_and_labels(2)
        nets = [network(cnn_naive), network(cnn_sg), network(cnn_sg)]
        nets[2] = cnn_sg.Network(nets[2].layers, seed=9)
        for net in nets:
            net.predict(X.astype(np.float32))
        for W, same, other in zip(*map(weights_of, nets)):
            np.testing.assert_array_equal(W, same)
            self.assertTrue(np.all(W == 0) if W.ndim != 2 and W.size < 6 else np.any(W != other))

    def test_first_weights_are_he_for_relu_and_glorot_for_others(self):
        X = np.random.default_rng(10).standard_normal((2, 9, 9, 40))
        rows = X.reshape(2, -1)
        for m in MODULES:
            for layer, input, variance in (
                (m.FCLayer_ReLU(300), rows, 2 / 3240),
                (m.FCLayer_Sigmoid(300), rows, 2 / (3240 + 300)),
            ):
                layer.rng = np.random.default_rng(11)
                layer.forward_propagate(input)
                self.assertAlmostEqual(layer.W.var() / variance, 1, 1)
                self.assertAlmostEqual(layer.W.mean(), 0, 3)

    def test_weights_from_elsewhere_may_be_set_before_or_after_the_first_forward_pass(self):
        rng = np.random.default_rng(12)
        X, W, b = rng.random((3, 5)), rng.random((5, 2)), rng.random(2)
        for module in MODULES:
            before, after, lists = module.FCLayer(2), module.FCLayer(2), module.FCLayer(2)
            after.forward_propagate(X)
            for layer in before, after:
                layer.W, layer.b = W.copy(), b.copy()
                assert_same(layer.forward_propagate(X), X @ W + b)
                layer.backpropagate(np.ones((3, 2)), 0.1)
                assert_same(layer.W, W - 0.1 * X.sum(axis=0)[:, np.newaxis])
            lists.W, lists.b = [[1, 2], [3, 4]], [5, 6]
            self.assertEqual(lists.forward_propagate([[1, 1]]).tolist(), [[9, 12]])
            lists.W = np.ones((4, 2))
            self.assert_refused(r"FCLayer\(2\).*\(4, 2\).*got .*\(2, 2\)", lists.forward_propagate, [[1, 1]])

    def test_a_step_goes_down_the_gradient_and_weight_decay_leaves_biases_alone(self):
        X, Y = images_and_labels(3)
        for module in MODULES:
            net, (rate, decay) = network(module), (0.5, 0.2)
            figures = net.gradients(X, Y)
            learning = [layer for layer in net.layers if layer.weights]
            before = copy.deepcopy(learning)
            for layer, now in zip(before, learning):
                np.testing.assert_array_equal(now.W, layer.W)  # gradients change no weight
            net.step(rate, decay)
            for layer, now in zip(before, learning):
                assert_same(now.W, layer.W - rate * (layer.dW + decay * layer.W))
                assert_same(now.b, layer.b - rate * layer.db)
            net.step(rate)
            for layer, now in zip(before, learning):
                assert_same(now.b, layer.b - 2 * rate * layer.db)
            other = network(module)
            layers, *from_before_the_step = other.train(X, Y, rate, decay)
            self.assertIs(layers, other.layers)
            assert_same(from_before_the_step, figures)


class Files(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "weights.npz"
        self.X, self.Y = images_and_labels(2)

    def trained(self, module):
        net = network(module)
        net.train(self.X, self.Y, 0.1)
        return net

    def assert_only_the_weights_of(self, net):
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])
        for module in MODULES:
            loaded = network(module).load(self.path)
            for W, saved in zip(weights_of(loaded), weights_of(net), strict=True):
                np.testing.assert_array_equal(W, saved)
            assert_same(loaded.predict(self.X), net.predict(self.X))

    def test_both_modules_read_what_either_saved(self):
        for module in MODULES:
            for path in self.path, str(self.path):
                net = self.trained(module)
                net.save(path)
                self.assert_only_the_weights_of(net)

    def test_a_crash_half_way_leaves_the_old_file_whole(self):
        def half(path, *arrays):
            Path(path).write_bytes(b"half a file")
            raise KeyboardInterrupt

        for module in MODULES:
            old, new = self.trained(module), self.trained(module)
            old.save(self.path)
            new.train(self.X, self.Y, 0.1)
            with mock.patch("numpy.savez", half):
                self.assertRaises(KeyboardInterrupt, new.save, self.path)
            self.assert_only_the_weights_of(old)
            with mock.patch("os.replace", side_effect=OSError(28, "No space left")):
                self.assertRaises(OSError, new.save, self.path)
            self.assert_only_the_weights_of(old)
            self.assert_refused("expected weights to save", network(module).save, self.path)
            self.assert_only_the_weights_of(old)

    def test_of_two_that_save_at_once_one_file_is_left_and_whole(self):
        first, second, replace = self.trained(cnn_sg), self.trained(cnn_naive), os.replace
        second.train(self.X, self.Y, 0.1)

        def second_comes_between(*paths):
            with mock.patch("os.replace", replace):
                second.save(self.path)
            replace(*paths)

        with mock.patch("os.replace", second_comes_between):
            first.save(self.path)
        self.assert_only_the_weights_of(first)

    @unittest.skipIf(os.name == "nt", "links need special rights there")
    def test_a_link_stays_a_link(self):
        for module in MODULES:
            with tempfile.TemporaryDirectory() as folder:
                link, net = Path(folder, "link.npz"), self.trained(module)
                link.symlink_to(self.path)
                net.save(link)
                self.assertTrue(link.is_symlink())
                self.assert_only_the_weights_of(net)

    def test_what_save_did_not_write_is_one_line_and_changes_nothing(self):
        for module in MODULES:
            net, fresh = self.trained(module), network(module)
            before = net.predict(self.X)
            net.save(self.path)
            for content in self.files_of_others(self.path.read_bytes(), repr(net.layers)):
                self.path.write_bytes(content)
                for each in net, fresh:
                    message = f"^{re.escape(str(self.path))}: expected "
                    self.assert_refused(message, each.load, self.path)
            assert_same(net.predict(self.X), before)
            self.assertIsNone(fresh.layers[0].W)
            self.assertEqual(os.listdir(self.path.parent), [self.path.name])  # no pickle has run

    def files_of_others(self, whole, layers):
        """Yield the bytes of files that save did not write, or that were cut."""
        yield from (whole[:length] for length in range(0, len(whole), 97))
        yield from (b"some text", pickle.dumps(Intruder(self.path)))
        numbers, pickles = np.ones((3, 4)), [np.array([Intruder(self.path)])] * 12
        yield written_by(np.save, numbers)
        for arrays in [numbers], [numbers, numbers[0]], [layers], [layers, numbers], [layers, *pickles]:
            yield written_by(np.savez, *arrays)
        yield written_by(np.savez, "[FCLayer(3), FCLayer_Softmax(4)]", *4 * [numbers])

    def test_changed_bytes_are_noticed_or_do_not_matter(self):
        net = self.trained(cnn_sg)
        net.save(self.path)
        whole = self.path.read_bytes()
        for position in range(0, len(whole), 61):
            changed = bytearray(whole)
            changed[position] ^= 64
            self.path.write_bytes(changed)
            try:
                self.assert_only_the_weights_of(net)
            except ValueError as problem:
                self.assertRegex(str(problem), f"^{re.escape(str(self.path))}: expected .*$")


class Intruder:
    """Once unpickled, it makes a folder beside the file."""

    def __init__(self, path):
        self.folder = f"{path}.intruder"

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def written_by(save, *arrays):
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


class Networks(Case):
    def test_print(self):
        for m in MODULES:
            net = m.Network([m.ConvLayer(2, 3), m.FlatLayer(), m.FCLayer_Softmax(10)])
            self.assertRegex(str(net), r"ConvLayer\(2, \(3, 3\), 1, 0\) +\? +\?\n")
            net.predict(np.ones((1, 14, 13, 1)))
            names = "layer", "ConvLayer(2, (3, 3), 1, 0)", "FlatLayer()", "FCLayer_Softmax(10)", "total"
            outputs, counts = ("output", "12 x 11 x 2", "264", "10", ""), ("parameters", 20, 0, 2650, 2670)
            lines = [f"{name:36}{output:>16}{count:>12}" for name, output, count in zip(names, outputs, counts)]
            self.assertEqual(str(net), "\n".join(lines))

    def test_layers_of_ones_own(self):
        for module in MODULES:

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

                for dtype in np.float32, np.float64:
                    layers = [Scale(), OwnConvLayer(2, 3), module.FlatLayer(), OwnFCLayer(3), Scale()]
                    net = module.Network([*layers, module.FCLayer_Softmax(4)], seed=13)
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
