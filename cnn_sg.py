"""Convolutional neural networks in NumPy, by stride groups.

The same layers as in cnn_naive.py, with the same results. There, loops walk from window to
window. Here, `stride_groups` cuts the images into a few groups of windows that do not overlap,
so that a whole group is copied, or added back, at once; the rest is one matrix product.

Tensors are (n_m, height, width, channels). n_m samples; ih, iw input height and width with
padding; oh, ow the output's; n_c input channels; n_f filters; fh, fw filter height and width;
s stride; p padding; A output and A_prev input of a layer; W weights, b biases; dA the derivative
of the loss with respect to A; cce categorical cross-entropy; ce classification error.
"""

import math
import os
import zipfile
import zlib
from itertools import dropwhile

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def stride_groups(A, fh, fw, s):
    """Cut A (n_m, ih, iw, n_c) into windows of fh x fw pixels, one stride group after another.

    A group is every g-th window, g = ceil(f / s), along both axes (f is fh for rows, fw for
    columns). Its windows start g * s >= f pixels apart: they share no pixel, so that adding to
    them all at once adds to no pixel twice. A 3 x 3 filter with stride 1 has 9 groups.

    Yields pairs. outputs: the index of the group in an array (n_m, oh, ow, ...); group: its
    windows, a view of A of shape (n_m, windows down, windows across, fh, fw, n_c).
    """
    windows = sliding_window_view(A, (fh, fw), axis=(1, 2), writeable=True)[:, ::s, ::s]
    windows = windows.transpose(0, 1, 2, 4, 5, 3)  # (n_m, oh, ow, fh, fw, n_c)
    oh, ow = windows.shape[1:3]
    gh, gw = math.ceil(fh / s), math.ceil(fw / s)
    for t in range(min(gh, oh)):
        for u in range(min(gw, ow)):
            outputs = np.s_[:, t::gh, u::gw]
            yield outputs, windows[outputs]


def pixels_first(layer, name, A):
    """Return A (n_m, h, w, n_c), or a copy in scratch, that lies in memory as (h, w, n_m, n_c).

    There, neighbouring pixels are n_m n_c numbers each: NumPy is several times as fast on such
    long runs as on the n_c numbers of a pixel of a single sample.
    """
    in_memory = A.transpose(1, 2, 0, 3)
    if not in_memory.flags.c_contiguous:
        in_memory = scratch(layer, name, in_memory.shape)
        in_memory[...] = A.transpose(1, 2, 0, 3)
    return in_memory.transpose(2, 0, 1, 3)


def scratch(layer, name, shape, order="C"):
    """Return an array for the layer's own use: the one of last time, with what is left in it.

    To get new memory for large arrays in every step takes longer than to compute what is in them.
    """
    kept = vars(layer).setdefault("kept", {})
    array = kept.get(name, np.empty(0))
    same = (array.shape, array.dtype) == (shape, layer.dtype) and array.flags[f"{order}_CONTIGUOUS"]
    kept[name] = array if same else np.empty(shape, layer.dtype, order)
    return kept[name]


class Layer:
    """What layers share. One of your own derives from it and needs two methods:

    forward_propagate(input) returns the output; backpropagate(d, learning_rate) takes d, the
    derivative of the loss with respect to that output, improves the weights, returns dA_prev.
    All raise ValueError, in one line, when they are handed what does not fit the layer.
    """

    arguments = ()  # of the constructor
    weights = ()  # names of the arrays that learn; the first input tells their shapes
    W = b = output_shape = None
    is_ReLU = False  # what the size of the first weights depends on
    rng = np.random.default_rng()  # draws the first weights; a Network brings its own
    weight_decay, needs_dA_prev = 0.0, True  # Network.train sets them for one step

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(str(each) for each in self.arguments)})"


class ConvLayer(Layer):
    """Convolution Z = A_prev * W + b, strictly a cross-correlation, without activation: A = Z.

    Z[m, i, j, f] = b[f] + sum over k, l, c of A_prev[m, s i + k, s j + l, c] W[k, l, c, f]

    A_prev is the input with p zeros on each side. W is (fh, fw, n_c, n_f), b (1, 1, 1, n_f).
    filter_width is an int or a pair (height, width). Subclasses say what g and g' are, A = g(Z).
    """

    weights = ("W", "b")

    def __init__(self, num_filters, filter_width, stride=1, padding=0):
        _check_sizes(self, num_filters=num_filters, filter_width=filter_width, stride=stride)
        _check_sizes(self, least=0, padding=padding)
        self.fh, self.fw = np.broadcast_to(filter_width, 2).tolist()
        self.n_f, self.s, self.p = num_filters, stride, padding
        self.arguments = (self.n_f, (self.fh, self.fw), self.s, self.p)

    def forward_propagate(self, input):
        """(n_m, height, width, n_c) -> (n_m, oh, ow, n_f), oh = (height + 2p - fh) // s + 1."""
        A_prev = _check_images(self, input, self.p)
        n_m, ih, iw, n_c = A_prev.shape
        fh, fw, s, n_f = self.fh, self.fw, self.s, self.n_f
        oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
        if self.W is None:
            W = _first_weights(self, (fh, fw, n_c, n_f), fh * fw * n_c, fh * fw * n_f)
            self.W, self.b = W, np.zeros((1, 1, 1, n_f), W.dtype)
        self.A_prev_shape, self.output_shape = A_prev.shape, (n_m, oh, ow, n_f)
        # Copying is the faster, the longer the runs of numbers that stay neighbours in memory: n_m
        # numbers if neighbours are the samples (order F), fw n_c if they are the pixels (order C).
        self.order = "F" if n_m > fw * n_c else "C"
        # Each row of the matrix is a window and a 1, each column of [W, b] a filter and its bias.
        self.matrix = scratch(self, "matrix", (oh * ow * n_m, fh * fw * n_c + 1), self.order)
        self.matrix[:, -1] = 1
        windows = self.as_windows(self.matrix[:, :-1])
        for outputs, group in stride_groups(np.asarray(A_prev, order=self.order), fh, fw, s):
            windows[outputs] = group
        Wb = np.vstack([self.W.reshape(-1, n_f), self.b.reshape(1, n_f)], dtype=self.dtype)
        Z = self.in_pieces(self.matrix) @ Wb
        self.A = self.g(Z.reshape(oh, ow, n_m, n_f).transpose(2, 0, 1, 3))
        return self.A

    def backpropagate(self, d, learning_rate):
        """Z = matrix [W, b]: hence [dW, db] = matrix^T dZ, and for its windows dwindows = dZ W^T."""
        dA = _check_gradient(self, d)
        n_m, oh, ow, n_f = dA.shape
        dZ = scratch(self, "dZ", (oh, ow, n_m, n_f))
        np.multiply(dA, self.g_prime(), out=dZ.transpose(2, 0, 1, 3))
        dZ, W = dZ.reshape(-1, n_f), self.W.reshape(-1, n_f)
        dW = (self.in_pieces(self.matrix).transpose(0, 2, 1) @ self.in_pieces(dZ)).sum(axis=0)
        self.dW, self.db = dW[:-1].reshape(self.W.shape), dW[-1].reshape(self.b.shape)
        dA_prev = None
        if self.needs_dA_prev:
            dA_prev = np.zeros(self.A_prev_shape, self.dtype, self.order)
            dmatrix = scratch(self, "dmatrix", (len(dZ), len(W)), self.order)
            dwindows = self.as_windows(np.matmul(dZ, W.T, out=dmatrix))
            for outputs, group in stride_groups(dA_prev, self.fh, self.fw, self.s):
                group += dwindows[outputs]
            ih, iw = self.A_prev_shape[1:3]
            dA_prev = dA_prev[:, self.p : ih - self.p, self.p : iw - self.p]
        self.W -= float(learning_rate) * (self.dW + self.weight_decay * self.W)
        self.b -= float(learning_rate) * self.db
        return dA_prev

    def as_windows(self, matrix):
        """The same numbers, a window in each row, as (n_m, oh, ow, fh, fw, n_c)."""
        n_m, oh, ow, _ = self.output_shape
        return matrix.reshape(oh, ow, n_m, *self.W.shape[:3]).transpose(2, 0, 1, 3, 4, 5)

    def in_pieces(self, matrix):
        """The rows of the matrix in several matrices, one for each row of the output.

        Where W is small, their products are faster than a single one: they stay in a core's cache.
        """
        n_m, oh, ow, n_f = self.output_shape
        pieces = oh if self.W.size < 4096 and n_f <= ow * n_m else 1
        return matrix.reshape(pieces, -1, matrix.shape[1])

    def g(self, Z):
        return Z

    def g_prime(self):
        return 1


class ConvLayer_ReLU(ConvLayer):
    """Convolution and rectified linear unit, g(Z) = max(0, Z). g' is 1 where Z > 0, elsewhere 0."""

    is_ReLU = True

    def g(self, Z):
        zeros = np.zeros_like(Z[:, :1, :1])  # to compare with a single zero takes twice as long
        return np.maximum(zeros, Z, out=Z)

    def g_prime(self):
        return self.A > 0


class PoolLayer(Layer):
    """Pooling reduces each window of each channel to one number; the subclasses say how."""

    def __init__(self, filter_width, stride=1):
        _check_sizes(self, filter_width=filter_width, stride=stride)
        self.fh, self.fw = np.broadcast_to(filter_width, 2).tolist()
        self.s, self.arguments = stride, ((self.fh, self.fw), stride)

    def forward_propagate(self, input):
        """(n_m, ih, iw, n_c) -> (n_m, oh, ow, n_c), oh = (ih - fh) // s + 1."""
        self.A_prev = pixels_first(self, "A_prev_copy", _check_images(self, input))
        n_m, ih, iw, n_c = self.A_prev.shape
        fh, fw, s = self.fh, self.fw, self.s
        oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
        self.output_shape = (n_m, oh, ow, n_c)
        self.A = np.empty((oh, ow, n_m, n_c), self.dtype).transpose(2, 0, 1, 3)
        for outputs, windows in stride_groups(self.A_prev, fh, fw, s):
            self.A[outputs] = self.pool(windows)
        return self.A

    def backpropagate(self, d, learning_rate):
        """Each pixel of a window gets its share of the derivative by the window's output."""
        dA = pixels_first(self, "dA_copy", _check_gradient(self, d))
        dA_prev = np.zeros_like(self.A_prev)
        groups = stride_groups(self.A_prev, self.fh, self.fw, self.s)
        dgroups = stride_groups(dA_prev, self.fh, self.fw, self.s)
        for (outputs, windows), (_, dwindows) in zip(groups, dgroups):
            A_group = self.A[outputs][:, :, :, None, None]  # one A and one dA for a whole window
            dA_group = dA[outputs][:, :, :, None, None]
            shares = self.shares(windows, A_group)
            if self.s >= max(self.fh, self.fw):  # it is the only group: there is nothing to add to
                np.multiply(shares, dA_group, out=dwindows)
            else:
                dwindows += shares * dA_group
        return dA_prev


class PoolLayer_Max(PoolLayer):
    """The largest pixel of each window. PoolLayer_Max(2, 2) halves height and width."""

    def pool(self, windows):
        return windows.max(axis=3).max(axis=3)  # twice as fast as both axes at once

    def shares(self, windows, A):
        """All to the largest pixel; of several, to the first in row-major order."""
        n = self.fh * self.fw
        countdown = np.arange(n, 0, -1, dtype=np.min_scalar_type(n)).reshape(self.fh, self.fw, 1)
        largest = windows == A
        rank = largest * countdown  # 0 where not largest, and the earlier the higher
        highest = rank.max(axis=3, keepdims=True).max(axis=4, keepdims=True)
        return np.equal(rank, highest, out=largest)


class PoolLayer_Avg(PoolLayer):
    """The mean of each window."""

    def pool(self, windows):
        return windows.mean(axis=3).mean(axis=3)

    def shares(self, windows, A):
        """The same to every pixel."""
        return 1 / (self.fh * self.fw)


class FlatLayer(Layer):
    """The numbers of each sample in one row."""

    def forward_propagate(self, input):
        """(n_m, ...) -> (n_m, n), row-major."""
        A_prev = _check_input(self, input, max(2, np.ndim(input)), "(n_m, ...)")
        self.A_prev_shape, self.output_shape = A_prev.shape, (len(A_prev), A_prev[0].size)
        return A_prev.reshape(self.output_shape)

    def backpropagate(self, d, learning_rate):
        """(n_m, n) -> (n_m, ...)."""
        return _check_gradient(self, d).reshape(self.A_prev_shape)


class FCLayer(Layer):
    """Fully connected layer, A = g(Z) with Z = W [A_prev, 1]; the subclasses say what g is.

    W is (num_neurons, n_in + 1). Its last column, multiplied by the 1, holds the biases.
    """

    weights = ("W",)

    def __init__(self, num_neurons):
        _check_sizes(self, num_neurons=num_neurons)
        self.num_neurons, self.arguments = num_neurons, (num_neurons,)

    def forward_propagate(self, input):
        """(n_m, n_in) -> (n_m, num_neurons)."""
        A_prev = _check_input(self, input, 2, "(n_m, n_in), as FlatLayer makes it")
        n_m, n_in = A_prev.shape
        if self.W is None:
            self.W = _first_weights(self, (self.num_neurons, n_in + 1), n_in, self.num_neurons)
            self.W[:, -1] = 0
        _check(self, n_in == self.W.shape[1] - 1, f"n_in = {self.W.shape[1] - 1} as before", n_in)
        self.A_prev, self.output_shape = A_prev, (n_m, self.num_neurons)
        # (W A^T)^T is A W^T, and faster: W, the larger of the two, stays as it is in memory.
        self.A = self.g((self.W[:, :-1] @ A_prev.T).T + self.W[:, -1])
        return self.A

    def backpropagate(self, d, learning_rate):
        """(n_m, num_neurons) -> (n_m, n_in): dW = dZ^T [A_prev, 1], dA_prev = dZ W."""
        dZ = self.times_g_prime(_check_gradient(self, d))
        self.dW = np.empty_like(self.W)
        np.matmul(dZ.T, self.A_prev, out=self.dW[:, :-1])
        self.dW[:, -1] = dZ.sum(axis=0)
        dA_prev = dZ @ self.W[:, :-1] if self.needs_dA_prev else None
        if self.weight_decay:
            self.W[:, :-1] *= 1 - float(learning_rate) * self.weight_decay
        self.W -= float(learning_rate) * self.dW
        return dA_prev


class FCLayer_ReLU(FCLayer):
    """Fully connected, g(Z) = max(0, Z). g' is 1 where Z > 0, elsewhere 0."""

    is_ReLU = True

    def g(self, Z):
        return np.maximum(0, Z)

    def times_g_prime(self, dA):
        return dA * (self.A > 0)


class FCLayer_Sigmoid(FCLayer):
    """Fully connected, g(Z) = 1 / (1 + exp(-Z)). g' = g (1 - g)."""

    def g(self, Z):
        self.log_A = -np.logaddexp(0, -Z)  # log A = -log(1 + exp(-Z)), without overflow
        return np.maximum(np.exp(self.log_A), _tiny(Z))

    def times_g_prime(self, dA):
        return dA * self.A * (1 - self.A)


class FCLayer_Softmax(FCLayer):
    """Fully connected, g(Z) = exp(Z) / sum(exp(Z)). dg_k / dZ_j = g_k ([j = k] - g_j)."""

    def g(self, Z):
        Z = Z - Z.max(axis=1, keepdims=True)  # g stays the same, and no exp(Z) overflows
        self.log_A = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
        return np.maximum(np.exp(self.log_A), _tiny(Z))

    def times_g_prime(self, dA):
        return self.A * (dA - (dA * self.A).sum(axis=1, keepdims=True))


class Network:
    """Layers one after another, trained by mini-batch gradient descent on the cross-entropy.

    X is whatever the first layer takes. Y are the labels, one-hot, in the output's shape.
    The same seed gives the same first weights. What does not fit raises ValueError.
    """

    piece = 64  # samples that `predict` and `evaluate` hold in memory at a time

    def __init__(self, layers, seed=None):
        self.layers, rng = list(layers), np.random.default_rng(seed)
        _check("Network", self.layers, "at least one layer", layers)
        for layer in self.layers:
            layer.rng = rng

    def predict(self, X):
        """Return the output for X, which may be any number of samples."""
        X = np.atleast_1d(X)
        starts = range(0, max(1, len(X)), self.piece)  # at least one: a layer refuses no samples
        return np.concatenate([self._forward(X[k : k + self.piece]) for k in starts])

    def evaluate(self, X, Y):
        """Return (A, cce, ce): the output, mean cross-entropy, fraction of wrong answers."""
        X, Y = np.atleast_1d(X), np.atleast_1d(Y)
        _check("Network", len(X) == len(Y), f"labels for {len(X)} samples", len(Y))
        pieces = []
        for k in range(0, max(1, len(X)), self.piece):
            A = self._forward(X[k : k + self.piece])
            pieces.append((A, *self._measure(A, Y[k : k + self.piece])))
        A, cces, wrong = (np.concatenate(parts) for parts in zip(*pieces))
        return A, float(cces.mean()), float(wrong.mean())

    def train(self, X, Y, learning_rate, weight_decay=0.0):
        """Take a step down the loss of one mini-batch; return (layers, cce, ce) from before it.

        loss = -sum(Y log A) / n_m + weight_decay / 2 sum(W^2), without the biases.
        """
        A = self._forward(X)
        cces, wrong = self._measure(A, Y)
        # dA = -Y / (A n_m). Where A < tiny, the loss is constant, and its derivative 0.
        d = -np.asarray(Y, A.dtype) / np.maximum(A, _tiny(A)) * (A >= _tiny(A)) / len(A)
        # Layers before the first one with weights need no gradient.
        layers = list(dropwhile(lambda each: isinstance(each, (FlatLayer, PoolLayer)), self.layers))
        for layer in reversed(layers):
            layer.weight_decay, layer.needs_dA_prev = float(weight_decay), layer is not layers[0]
            try:
                d = layer.backpropagate(d, learning_rate)
            finally:
                layer.weight_decay, layer.needs_dA_prev = 0.0, True
        return self.layers, float(cces.mean()), float(wrong.mean())

    def save(self, path):
        """Write the weights to path as .npz: beside it first, so that path is always whole."""
        weights = {name: getattr(layer, attribute) for name, layer, attribute in self._weights()}
        made = all(value is not None for value in weights.values())
        _check("Network.save", made, "weights, from train, predict or load", "none yet")
        with open(f"{path}.part", "wb") as file:
            np.savez(file, layers=[repr(layer) for layer in self.layers], **weights)
        os.replace(f"{path}.part", path)

    def load(self, path):
        """Take the weights that a network of the same layers saved; return this network."""
        with open(path, "rb") as file:
            try:
                saved = dict(np.load(file))
                layers = f"[{', '.join(saved['layers'])}]"
            except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, RuntimeError,
                    TypeError, ValueError) as damage:  # fmt: skip
                _check("Network.load", False, f"a file of Network.save in {path}", damage)
        _check("Network.load", layers == str(self.layers), self.layers, f"{layers} in {path}")
        for name, layer, attribute in self._weights():
            got = np.shape(saved.get(name))
            own = np.shape(getattr(layer, attribute)) or got or "some"  # it may not be made yet
            _check(f"Network.load: {layer}", got == own, f"{attribute} {own}", got)
        for name, layer, attribute in self._weights():
            setattr(layer, attribute, saved[name])
        return self

    def __str__(self):
        """A table of the layers; "?" stands for what only the first input will tell."""
        lines = [f"{'layer':36}{'output':>16}{'parameters':>12}"]
        for layer in self.layers:
            shape = layer.output_shape or (None, "?")
            output = " x ".join(str(length) for length in shape[1:])
            lines.append(f"{layer!r:36}{output:>16}{_count([layer]):>12}")
        return "\n".join([*lines, f"{'total':52}{_count(self.layers):>12}"])

    def _forward(self, A):
        for layer in self.layers:
            A = layer.forward_propagate(A)
        return A

    def _measure(self, A, Y):
        """Return for each sample its cross-entropy, and whether its answer is wrong."""
        _check("Network", np.shape(Y) == A.shape, f"labels of shape {A.shape}", np.shape(Y))
        # Softmax and sigmoid know the logarithm even of an A that their dtype cannot hold.
        log_A = getattr(self.layers[-1], "log_A", None)
        log_A = np.log(np.maximum(A, _tiny(A))) if log_A is None else log_A
        cces = -(np.asarray(Y, A.dtype) * log_A).reshape(len(A), -1).sum(axis=1)
        return cces, A.argmax(axis=-1) != np.argmax(Y, axis=-1)

    def _weights(self):
        """Yield (name in a file, layer, attribute) of all weights, made or not."""
        for number, layer in enumerate(self.layers):
            for attribute in layer.weights:
                yield f"{number}.{attribute}", layer, attribute


# Checks: what does not fit is said in one line, with what was expected and what came.


def _check(who, right, expected, got):
    if not right:
        raise ValueError(f"{who}: expected {expected}, got {got}")


def _check_sizes(layer, least=1, **sizes):
    for name, size in sizes.items():
        shapes = [(), (2,)] if name == "filter_width" else [()]
        right = all(type(n) is int and n >= least for n in np.ravel(size).tolist())
        right = right and np.shape(size) in shapes
        _check(type(layer).__name__, right, f"an integer {name} >= {least}", size)


def _check_input(layer, input, ndim, shape):
    """Return the input in the dtype of the weights, or the one which they will have."""
    input = np.asarray(input)
    right = input.ndim == ndim and input.size
    _check(layer, right, f"a mini-batch {shape}, not empty", f"shape {input.shape}")
    _check(layer, input.dtype.kind in "fiub", "real numbers", input.dtype)
    dtype = input.dtype.newbyteorder("=") if input.dtype.kind == "f" else np.dtype(np.float32)
    layer.dtype = dtype if layer.W is None else layer.W.dtype
    return input.astype(layer.dtype, copy=False)


def _check_images(layer, input, p=0):
    """Return the images in a frame of p zeros."""
    input = _check_input(layer, input, 4, "(n_m, height, width, n_c)")
    A_prev = np.pad(input, ((0, 0), (p, p), (p, p), (0, 0))) if p else input
    ih, iw, n_c = A_prev.shape[1:]
    larger = ih >= layer.fh and iw >= layer.fw
    _check(layer, larger, "images no smaller than the filter", f"{ih} x {iw} with padding")
    before = n_c if layer.W is None else layer.W.shape[2]
    _check(layer, n_c == before, f"n_c = {before} as before", n_c)
    return A_prev


def _check_gradient(layer, d):
    """Return d in the dtype of the layer's output."""
    _check(layer, layer.output_shape, "forward_propagate before backpropagate", "none yet")
    right = np.shape(d) == layer.output_shape
    _check(layer, right, f"d of the output's shape {layer.output_shape}", np.shape(d))
    return np.asarray(d, layer.dtype)


def _first_weights(layer, shape, fan_in, fan_out):
    """Normally distributed: He et al. (2015) for ReLU, else Glorot and Bengio (2010)."""
    variance = 2 / fan_in if layer.is_ReLU else 2 / (fan_in + fan_out)
    return layer.rng.normal(0, math.sqrt(variance), shape).astype(layer.dtype)


def _count(layers):
    """How many weights the layers have: "?" until they are made."""
    weights = [getattr(layer, name) for layer in layers for name in layer.weights]
    known = all(each is not None for each in weights)
    return f"{sum(each.size for each in weights):,}" if known else "?"


def _tiny(A):
    """The smallest normal number of A's dtype: the least that a logarithm is taken of."""
    return np.finfo(A.dtype).tiny
