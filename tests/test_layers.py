"""What the layers and networks of both modules promise beside their formulas."""

import copy
import io
import itertools
import os
import re
import tempfile
import tracemalloc
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import cnn_naive
import cnn_sg
import test_equivalence
from test_equivalence import assert_same, images_and_labels, network, random_layers

MODULES = [cnn_naive, cnn_sg]


class Case(unittest.TestCase):
    def assert_refused(self, message, call, *arguments):
        with self.assertRaisesRegex(ValueError, message) as raised:
            call(*arguments)
        self.assertNotIn("\n", str(raised.exception))


def one_of_each(module):
    """A new layer of each class, and an input for it."""
    rng = np.random.default_rng(1)
    for name, arguments, shape in random_layers(1, largest=3, seed=2):
        layer = getattr(module, name)(*arguments)
        layer.rng = rng
        yield layer, rng.standard_normal(shape)


def weights_of(net):
    return [getattr(layer, name) for layer in net.layers for name in layer.weights]


class WrongCalls(Case):
    """One line names the layer, what it expected and what it got. Nothing has changed."""

    def wrong_calls(self, m):
        """Yield a layer, a right input, the method called wrongly, with what, and the message."""
        images, rows = np.ones((2, 5, 6, 3)), np.ones((2, 7))
        forward, narrow = "forward_propagate", np.ones((2, 2, 6, 3))
        conv, padded = m.ConvLayer(4, 3), m.ConvLayer_ReLU(4, (3, 7), padding=1)
        yield conv, images, forward, images[0], "4 axes", "(5, 6, 3)"
        yield conv, images, forward, images[..., :1], "(3, 3, 3, 4)", "(3, 3, 1, 4)"
        yield conv, images, forward, narrow, "3 x 3 pixels", "2 x 6"
        yield padded, images, forward, narrow[:, :, :4], "3 x 7 pixels", "4 x 6"
        yield padded, images, "gradients", images, "(2, 5, 2, 4)", "(2, 5, 6, 3)"
        for pool in m.PoolLayer_Max(3, 2), m.PoolLayer_Avg(3, 2):
            yield pool, images, forward, rows, "4 axes", "(2, 7)"
            yield pool, images, forward, narrow, "3 x 3 pixels", "2 x 6"
            yield pool, images, forward, images[:, :, :2], "3 x 3 pixels", "5 x 2"
            yield pool, images, "gradients", images, "(2, 2, 2, 3)", "(2, 5, 6, 3)"
        yield m.FlatLayer(), images, "gradients", rows, "(2, 90)", "(2, 7)"
        for layer in m.FCLayer(4), m.FCLayer_ReLU(4), m.FCLayer_Sigmoid(4), m.FCLayer_Softmax(4):
            yield layer, rows, forward, images, "2 axes", "(2, 5, 6, 3)"
            yield layer, rows, forward, rows[:, :6], "(7, 4)", "(6, 4)"
            yield layer, rows, "gradients", rows, "(2, 4)", "(2, 7)"

    def test_a_wrong_call_is_one_line_and_leaves_the_layer_as_it_was(self):
        for module in MODULES:
            for layer, X, method, wrong, expected, got in self.wrong_calls(module):
                rng = np.random.default_rng(3)
                dA, X = rng.random(layer.forward_propagate(X).shape), rng.random(X.shape)
                layer.forward_propagate(X)
                twin = copy.deepcopy(layer)
                parts = str(layer), ": expected ", expected, ", got ", got
                with self.subTest(module=module.__name__, parts=parts):
                    message = ".*".join(re.escape(part) for part in parts)
                    self.assert_refused(f"^{message}", getattr(layer, method), wrong)
                    assert_same(layer.gradients(dA), twin.gradients(dA))
                    for name in layer.weights:
                        assert_same(getattr(layer, f"d{name}"), getattr(twin, f"d{name}"))
                    assert_same(layer.forward_propagate(X), twin.forward_propagate(X))

    def test_a_wrong_first_call_makes_no_weights(self):
        for module in MODULES:
            for layer, X in one_of_each(module):
                twin = copy.deepcopy(layer)
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
                (m.ConvLayer, ("4", 3), "num_filters >= 1", "'4'"),
                (m.ConvLayer_ReLU, (1, (3, 0)), "filter_width >= 1", "0"),
                (m.ConvLayer, (1, (3, 3, 3)), "filter_width >= 1", r"\(3, 3, 3\)"),
                (m.ConvLayer, (1, 3, 0), "stride >= 1", "0"),
                (m.ConvLayer, (1, 3, 1, -1), "padding >= 0", "-1"),
                (m.PoolLayer_Avg, (0,), "filter_width >= 1", "0"),
                (m.PoolLayer_Max, (2, 1.0), "stride >= 1", "1.0"),
                (m.FCLayer_ReLU, (None,), "num_neurons >= 1", "None"),
            ):
                message = f"^{layer.__name__}.*: expected an integer {expected}, got {got}$"
                self.assert_refused(message, layer, *sizes)
            layer = m.ConvLayer(np.int64(2), [np.int8(3), np.uint16(1)], np.int32(1), np.int64(0))
            self.assertEqual(str(layer), "ConvLayer(2, (3, 1), 1, 0)")
            self.assertEqual(str(m.PoolLayer_Max([2, 1], 3)), "PoolLayer_Max((2, 1), 3)")

    def test_samples_and_labels_of_a_network(self):
        X, Y = np.ones((64, 6)), np.eye(4)[np.zeros(64, int)]
        for m in MODULES:
            net, twin = (m.Network([m.FCLayer(3), m.FCLayer_Softmax(4)], 5) for _ in range(2))
            for labels in Y[:, 0], Y[:, :3], Y[:9], np.vstack([Y, Y]):
                for method, more in (net.train, [0.1]), (net.gradients, []), (net.evaluate, []):
                    message = r"^FCLayer_Softmax\(4\): expected .*labels.*64"
                    self.assert_refused(message, method, X, labels, *more)
            self.assert_refused("not empty", net.predict, X[:0])
            self.assert_refused("not empty", net.evaluate, X[:0], Y[:0])
            assert_same(net.train(X, Y, 0.1)[1:], twin.train(X, Y, 0.1)[1:])

    def test_layers_that_make_no_network(self):
        X = np.ones((2, 4))
        for m in MODULES:
            flat, fc = m.FlatLayer(), m.FCLayer(4)
            self.assert_refused(r"^Network: expected layers.*got \[\]", m.Network, [])
            self.assert_refused(r"^Network: .*twice, got \[Flat.*Flat", m.Network, [flat, fc, flat])
            for method in m.Network([fc]).evaluate, m.Network([fc]).gradients:
                self.assert_refused("expected FCLayer_Softmax or .*got FCLayer", method, X, X)
            constant = type("Constant", (m.FlatLayer,), {"loss": lambda self, Y: (0, 0, Y)})
            net = m.Network([constant()])
            self.assert_refused("expected .*weights.*got none", net.gradients, X, X)


class Arrays(Case):
    def test_every_array_keeps_the_dtype_of_the_first_mini_batch(self):
        X, Y = images_and_labels(2)
        for m, dtype in itertools.product(MODULES, ("f4", "f8")):
            own = m.Network([*own_layers(m), m.FCLayer_Softmax(4)], seed=1)
            for net in network(m), network(m, "FCLayer_Sigmoid"), own:
                net.train(X.astype(dtype), Y, np.float64(0.1), np.float64(0.01))
                self.assertEqual(net.predict(X.astype("f4")).dtype, dtype)
                self.assertEqual(net.predict(X.astype("f8")).dtype, dtype)
                for layer in net.layers:
                    dA = np.ones(layer.A.shape)
                    self.assertEqual(layer.backpropagate(dA, np.float64(0.1)).dtype, dtype)
                    for name, value in vars(layer).items():
                        self.assertEqual(getattr(value, "dtype", dtype), dtype, (layer, name))

    def test_pixels_and_labels_may_be_numbers_of_any_kind(self):
        X, Y = images_and_labels(3)
        X = (100 * X).round() % 256
        for module in MODULES:
            expected = network(module).train(X, Y, 0.1)[1:]
            for pixels in X.astype(np.uint8), X.astype(int).tolist(), X.astype(np.float32):
                for labels in Y.astype(int), Y.astype(bool), Y.tolist(), Y:
                    net = network(module)
                    assert_same(net.train(pixels, labels, 0.1)[1:], expected, 1e-3)
                self.assertEqual({W.dtype for W in weights_of(net)}, {np.dtype(np.float32)})

    def test_what_the_caller_hands_over_or_gets_is_never_written_into(self):
        for layer, X in itertools.chain(*map(one_of_each, MODULES)):
            kept = []
            for X_now in X, X[::-1]:
                A = layer.forward_propagate(X_now)
                dA = np.cos(A)
                dA_prev = layer.backpropagate(dA, 0.1)
                kept += [(array, array.copy()) for array in (X_now, A, dA, dA_prev)]
            for array, before in kept:
                array.flags.writeable = False
                layer.forward_propagate(X)
                layer.backpropagate(dA, 0.1)
                np.testing.assert_array_equal(array, before)

    def test_predict_and_evaluate_take_any_number_of_images_in_bounded_memory(self):
        m, Y = cnn_sg, np.eye(10)[np.arange(1500) % 10]
        X = np.random.default_rng(7).random((1500, 28, 28, 1), np.float32)
        net = m.Network([m.ConvLayer_ReLU(4, 3), m.FlatLayer(), m.FCLayer_Softmax(10)], 8)
        for call in lambda: net.predict(X), lambda: net.evaluate(X, Y)[0]:
            tracemalloc.start()
            A = call()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertLess(peak, X.nbytes)  # of all at once, the first layer's A has 3.4 times X
            assert_same(A[1490:], net.predict(X[1490:]), 1e-5)
        loss, error = net.evaluate(X[:100], Y[:100])[1:]  # in two pieces that are not equal
        assert_same((loss, error), net.gradients(X[:100], Y[:100]), 1e-5)
        self.assertEqual((type(loss), type(error)), (float, float))

    def test_window_matrices_share_their_rows(self):
        matrices = cnn_sg.window_matrices(np.ones((2, 6, 5, 2)), 3, 2, 1)
        self.assertTrue(np.shares_memory(matrices[0], matrices[1]))

    def test_the_windows_of_a_stride_group_do_not_overlap(self):
        for f, s in itertools.product((1, 2, 3, 5), (1, 2, 3, 6)):
            A = np.zeros((2, 8))
            groups = list(cnn_sg.stride_groups(A, f, s, axis=1))
            self.assertEqual(len(groups), min(-(-f // s), (8 - f) // s + 1))
            for _, group in groups:
                A[...] = 0
                group += 1
                self.assertEqual((A.max(), A.sum()), (1, group.size))


class Weights(Case):
    def test_the_same_seed_gives_both_modules_the_same_first_weights(self):
        nets = [network(module) for module in (*MODULES, cnn_sg)]
        nets[2] = cnn_sg.Network(nets[2].layers, seed=9)
        for net in nets:
            net.predict(images_and_labels(2)[0].astype(np.float32))
        for W, same, other in zip(*map(weights_of, nets)):
            np.testing.assert_array_equal(W, same)
            self.assertTrue(np.all(W == 0) or np.all(W != other))

    def test_first_weights_are_those_of_he_for_relu_and_else_of_glorot(self):
        X = np.ones((1, 5, 5, 40))
        for m in MODULES:
            for layer, input, variance in (
                (m.ConvLayer_ReLU(50, (3, 5)), X, 2 / (3 * 5 * 40)),
                (m.ConvLayer(50, (3, 5)), X, 2 / (3 * 5 * 40 + 3 * 5 * 50)),
                (m.FCLayer_ReLU(50), X.reshape(1, -1), 2 / 1000),
                (m.FCLayer_Sigmoid(50), X.reshape(1, -1), 2 / (1000 + 50)),
            ):
                layer.rng = np.random.default_rng(11)
                layer.forward_propagate(input)
                assert_same(layer.W.var(), variance, 0.03)
                self.assertLess(abs(layer.W.mean()), 0.03 * np.sqrt(variance))
                self.assertFalse(layer.b.any())

    def test_weights_may_be_set_before_or_after_the_first_forward_pass(self):
        rng = np.random.default_rng(12)
        X, W, b = rng.random((3, 4)), rng.random((4, 2)), rng.random(2)
        for module in MODULES:
            before, after, only_b = module.FCLayer(2), module.FCLayer(2), module.FCLayer(2)
            after.forward_propagate(X)
            for layer in before, after:
                for W_now, b_now in (W, b), (np.arange(8).reshape(4, 2), np.arange(2)):
                    layer.W, layer.b = W_now, b_now
                    assert_same(layer.forward_propagate(X), X @ W_now + b_now, 1e-6)
                layer.W = np.ones((5, 2))
                self.assert_refused(r"\(5, 2\).*got .*\(4, 2\)", layer.forward_propagate, X)
            only_b.b = b
            assert_same(only_b.forward_propagate(X), X @ only_b.W + b)

    def test_a_step_goes_down_the_gradient_and_weight_decay_leaves_biases_alone(self):
        X, Y = images_and_labels(3)
        for module, decay in itertools.product(MODULES, ([], [0.2])):
            net, twin = network(module), network(module)
            for each in net, twin:
                each.train(X, Y, 0.5)  # from now on, biases are not 0
            loss, error = net.gradients(X, Y)
            before = copy.deepcopy(net.layers)
            net.step(0.5, *decay)
            layers, *from_before_the_step = twin.train(X, Y, 0.5, *decay)
            self.assertIs(layers, twin.layers)
            assert_same(from_before_the_step, (loss, error))
            for layer, old, trained in zip(net.layers, before, twin.layers):
                if layer.weights:
                    assert_same(layer.W, old.W - 0.5 * (old.dW + sum(decay) * old.W))
                    assert_same(layer.b, old.b - 0.5 * old.db)
                    assert_same(trained.W, layer.W)

    def test_gradients_and_an_exception_on_the_way_back_leave_all_weights(self):
        X, Y = images_and_labels(2)
        for module in MODULES:
            net = network(module)
            net.train(X, Y, 0.1)
            before = copy.deepcopy(weights_of(net))
            net.gradients(X, Y)
            with mock.patch.object(net.layers[1], "input_gradient", side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, net.train, X, Y, 0.1)
            for W, old in zip(weights_of(net), before, strict=True):
                np.testing.assert_array_equal(W, old)


class Files(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "weights.npz")
        self.X, self.Y = images_and_labels(2)

    def trained(self, module, steps=1):
        net = network(module)
        for _ in range(steps):
            net.train(self.X, self.Y, 0.1)
        return net

    def assert_the_only_file_has_the_weights_of(self, net):
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])
        for module in MODULES:
            loaded = network(module).load(self.path)
            for W, saved in zip(weights_of(loaded), weights_of(net), strict=True):
                np.testing.assert_array_equal(W, saved)
            assert_same(loaded.predict(self.X), net.predict(self.X))

    def test_both_modules_read_what_either_saved(self):
        for module, path in itertools.product(MODULES, (self.path, str(self.path))):
            net = self.trained(module)
            net.save(path)
            self.assert_the_only_file_has_the_weights_of(net)

    def test_a_crash_half_way_leaves_the_old_file_whole(self):
        def half(path, *arrays):
            Path(path).write_bytes(b"half a file")
            raise KeyboardInterrupt

        old, new = self.trained(cnn_sg), self.trained(cnn_sg, steps=2)
        old.save(self.path)
        with mock.patch("numpy.savez", half):
            self.assertRaises(KeyboardInterrupt, new.save, self.path)
        self.assert_refused("expected weights.*got none", network(cnn_sg).save, self.path)
        self.assert_the_only_file_has_the_weights_of(old)

    @unittest.skipIf(os.name == "nt", "links need special rights there")
    def test_a_link_stays_a_link(self):
        net = self.trained(cnn_sg)
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, "link.npz")
            link.symlink_to(self.path)
            net.save(link)
            self.assertTrue(link.is_symlink())
        self.assert_the_only_file_has_the_weights_of(net)

    def test_what_save_did_not_write_is_one_line_and_changes_nothing(self):
        net, fresh = self.trained(cnn_sg), network(cnn_sg)
        net.save(self.path)
        before = net.predict(self.X)
        message = f"^{re.escape(str(self.path))}: expected "
        for content in self.other_files(self.path.read_bytes(), repr(net.layers)):
            self.path.write_bytes(content)
            self.assert_refused(message, net.load, self.path)
            self.assert_refused(message, fresh.load, self.path)
        assert_same(net.predict(self.X), before)
        self.assertIsNone(fresh.layers[0].W)

    def other_files(self, whole, layers):
        """Yield the bytes of files that save did not write, or that were cut."""
        yield from (whole[:length] for length in range(0, len(whole), 97))
        yield b"some text"
        W, packed = np.ones((3, 4)), np.array([{"W": 1}])  # a pickle in the file
        for arrays in [W, W[0]], [layers], [layers, W], [layers, *12 * [packed]], ["[]", *12 * [W]]:
            file = io.BytesIO()
            np.savez(file, *arrays)
            yield file.getvalue()


class Networks(Case):
    def test_print(self):
        for m in MODULES:
            net = m.Network([m.ConvLayer(2, 3), m.FlatLayer(), m.FCLayer_Softmax(10)])
            self.assertRegex(str(net), r"\nConvLayer\(2, \(3, 3\), 1, 0\) +\? +\?\n")
            net.predict(np.ones((1, 14, 13, 1)))
            names = "layer", "ConvLayer(2, (3, 3), 1, 0)", "FlatLayer()", "FCLayer_Softmax(10)"
            rows = zip(names, ("output", "12 x 11 x 2", 264, 10), ("parameters", 20, 0, 2650))
            expected = [f"{a:36}{b:>16}{c:>12}" for a, b, c in [*rows, ("total", "", 2670)]]
            self.assertEqual(str(net), "\n".join(expected))


def own_layers(module):
    """The layers of a reader's own, written as the docstring of `Layer` says."""

    class Affine(module.Layer):
        weights = ("W", "b")

        def forward_propagate(self, input):
            if self.W is None:
                self.W, self.b = np.ones(1, input.dtype), np.zeros(1, input.dtype)
            self.A_prev, self.A = input, self.W * input + self.b
            return self.A

        def weight_gradients(self, dZ):
            self.dW, self.db = np.sum(dZ * self.A_prev).reshape(1), np.sum(dZ).reshape(1)

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

    return ConvLayer_Tanh(2, 3), Affine(), module.FlatLayer(), FCLayer_Tanh(3), Affine()


class OwnLayers(unittest.TestCase):
    def test_their_gradients_are_the_derivative(self):
        X, Y = images_and_labels(2)
        check_network = test_equivalence.TheDerivative().check_network
        for m in MODULES:
            check_network(m.Network([*own_layers(m), m.FCLayer_Softmax(4)], seed=1), X, Y)
