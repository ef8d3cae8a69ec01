"""Convolutional neural networks in NumPy, as the textbook has them.

Loops walk from sample to sample, row to row, column to column and filter to filter; each output
is one small expression. cnn_sg.py has the same layers, with the same results, except for these
loops: compare the two files to see what stride groups are.

Tensors are (n_m, height, width, channels). n_m samples; ih, iw input height and width with
padding; oh, ow the output's; n_c input channels; n_f filters; fh, fw filter height and width;
s stride; p padding; A output and A_prev input of a layer; W weights, b biases; dA, dW ... the
derivative of the loss with respect to A, W ... Whatever does not fit raises ValueError.
"""

import math
import os
import tempfile

import numpy as np


class Layer:
    """What layers share. One of your own derives from it and needs two methods:

    forward_propagate(input) returns the output. gradients(d) takes d, the derivative of the loss
    with respect to that output, and returns the one with respect to the input. If it learns,
    `weights` names its arrays, and gradients(d) keeps dW for W. A last layer also has loss(Y).
    """

    arguments = ()  # of the constructor
    weights = ()  # names of the arrays that learn
    W = b = dW = db = A = None  # the first input tells their shapes
    bias_columns = 0  # how many of the last columns of W hold biases
    initialization = "Glorot"
    rng = np.random.default_rng()  # draws the first weights; a Network brings its own

    def g(self, Z):
        return Z  # no activation

    def times_g_prime(self, dA):
        return dA  # the chain rule, dZ = dA g'(Z), with g' = 1

    def weight_gradients(self, d):
        """Keep dW (and db). Where nobody needs dA_prev, a layer can save itself the work."""
        self.gradients(d)

    def step(self, learning_rate, weight_decay=0.0):
        """W -= learning_rate (dW + weight_decay W); the same for b, but biases do not decay."""
        for name in self.weights:
            W, dW = getattr(self, name), getattr(self, f"d{name}")
            _check(self, dW is not None, "gradients before step", "none yet")
            if weight_decay and name == "W":
                decaying = W[..., : W.shape[-1] - self.bias_columns]
                decaying *= 1 - float(learning_rate) * float(weight_decay)
            W -= float(learning_rate) * dW

    def backpropagate(self, d, learning_rate):
        """Both in a row: gradients(d), then step(learning_rate)."""
        dA_prev = self.gradients(d)
        self.step(learning_rate)
        return dA_prev

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(str(each) for each in self.arguments)})"


class ReLU:
    """For a layer class to derive from: g(Z) = max(0, Z). g' is 1 where Z > 0, elsewhere 0."""

    initialization = "He"

    def g(self, Z):
        return np.maximum(np.zeros(Z.shape[-1], Z.dtype), Z, out=Z)  # faster than maximum(0, Z)

    def times_g_prime(self, dA):
        return dA * (self.A > 0)


class ConvLayer(Layer):
    """Convolution Z = A_prev * W + b, strictly a cross-correlation, without activation: A = Z.

    Z[m, i, j, f] = b[f] + sum over k, l, c of A_prev[m, s i + k, s j + l, c] W[k, l, c, f]

    A_prev is the input with p zeros on each side. W is (fh, fw, n_c, n_f), b (1, 1, 1, n_f).
    filter_width is an int or a pair (height, width).
    """

    weights = ("W", "b")

    def __init__(self, num_filters, filter_width, stride=1, padding=0):
        self.n_f = _integer(self, "num_filters", num_filters)
        self.fh, self.fw = _height_and_width(self, filter_width)
        self.s = _integer(self, "stride", stride)
        self.p = _integer(self, "padding", padding, least=0)
        self.arguments = (self.n_f, (self.fh, self.fw), self.s, self.p)

    def forward_propagate(self, input):
        """(n_m, height, width, n_c) -> (n_m, oh, ow, n_f), oh = (height + 2p - fh) // s + 1."""
        A_prev = _check_images(self, input, self.p)
        n_m, ih, iw, n_c = A_prev.shape
        fh, fw, s, n_f = self.fh, self.fw, self.s, self.n_f
        oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
        shapes = {"W": (fh, fw, n_c, n_f), "b": (1, 1, 1, n_f)}
        _new_weights(self, A_prev, fh * fw * n_c, fh * fw * n_f, **shapes)
        Z = np.empty((n_m, oh, ow, n_f), A_prev.dtype)
        for m, i, j in np.ndindex(n_m, oh, ow):
            window = A_prev[m, s * i : s * i + fh, s * j : s * j + fw]
            for f in range(n_f):
                Z[m, i, j, f] = np.sum(window * self.W[..., f]) + self.b[0, 0, 0, f]
        self.A_prev, self.A = A_prev, self.g(Z)
        return self.A

    def gradients(self, d):
        """Z = sum(window W) + b: each adds dZ window to dW, dZ to db, dZ W to its dwindow."""
        dZ = self.times_g_prime(_check_gradient(self, d))
        fh, fw, s = self.fh, self.fw, self.s
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
        dA_prev = np.zeros_like(self.A_prev)
        for m, i, j in np.ndindex(dZ.shape[:3]):
            window = self.A_prev[m, s * i : s * i + fh, s * j : s * j + fw]
            dwindow = dA_prev[m, s * i : s * i + fh, s * j : s * j + fw]
            for f in range(self.n_f):
                self.dW[..., f] += dZ[m, i, j, f] * window
                self.db[..., f] += dZ[m, i, j, f]
                dwindow += dZ[m, i, j, f] * self.W[..., f]
        ih, iw = dA_prev.shape[1:3]
        return dA_prev[:, self.p : ih - self.p, self.p : iw - self.p]


class ConvLayer_ReLU(ReLU, ConvLayer):
    """Convolution, then the rectified linear unit."""


class PoolLayer(Layer):
    """Pooling reduces each window of each channel to one number; the subclasses say how."""

    def __init__(self, filter_width, stride=1):
        self.fh, self.fw = _height_and_width(self, filter_width)
        self.s = _integer(self, "stride", stride)
        self.arguments = ((self.fh, self.fw), self.s)

    def forward_propagate(self, input):
        """(n_m, ih, iw, n_c) -> (n_m, oh, ow, n_c), oh = (ih - fh) // s + 1."""
        self.A_prev = _check_images(self, input)
        n_m, ih, iw, n_c = self.A_prev.shape
        fh, fw, s = self.fh, self.fw, self.s
        oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
        self.A = np.empty((n_m, oh, ow, n_c), self.A_prev.dtype)
        for m, i, j, c in np.ndindex(n_m, oh, ow, n_c):
            window = self.A_prev[m, s * i : s * i + fh, s * j : s * j + fw, c]
            self.A[m, i, j, c] = self.pool(window)
        return self.A

    def gradients(self, d):
        """Each pixel of a window gets its share of the derivative by the window's output."""
        dA = _check_gradient(self, d)
        fh, fw, s = self.fh, self.fw, self.s
        dA_prev = np.zeros_like(self.A_prev)
        for m, i, j, c in np.ndindex(dA.shape):
            window = self.A_prev[m, s * i : s * i + fh, s * j : s * j + fw, c]
            dwindow = dA_prev[m, s * i : s * i + fh, s * j : s * j + fw, c]
            self.share(dA[m, i, j, c], self.A[m, i, j, c], window, dwindow)
        return dA_prev


class PoolLayer_Max(PoolLayer):
    """The largest pixel of each window. PoolLayer_Max(2, 2) halves height and width."""

    def pool(self, window):
        return np.max(window)

    def share(self, dA, A, window, dwindow):
        """All to the largest pixel; of several, to the first in row-major order."""
        first = np.argmax(window == A)
        dwindow[np.unravel_index(first, window.shape)] += dA


class PoolLayer_Avg(PoolLayer):
    """The mean of each window."""

    def pool(self, window):
        return np.mean(window)

    def share(self, dA, A, window, dwindow):
        """The same to every pixel."""
        dwindow += dA / (self.fh * self.fw)


class FlatLayer(Layer):
    """The numbers of each sample in one row."""

    def forward_propagate(self, input):
        """(n_m, ...) -> (n_m, n), row-major."""
        A_prev = _check_input(self, input, max(2, np.ndim(input)), "(n_m, ...)")
        self.A_prev_shape = A_prev.shape
        self.A = A_prev.reshape(len(A_prev), -1)
        return self.A

    def gradients(self, d):
        """(n_m, n) -> (n_m, ...)."""
        return _check_gradient(self, d).reshape(self.A_prev_shape)


class FCLayer(Layer):
    """Fully connected layer, Z = [A_prev, 1] W^T, without activation: A = Z.

    W is (num_neurons, n_in + 1). Its last column, multiplied by the 1, holds the biases.
    """

    weights = ("W",)
    bias_columns = 1

    def __init__(self, num_neurons):
        self.num_neurons = _integer(self, "num_neurons", num_neurons)
        self.arguments = (self.num_neurons,)

    def forward_propagate(self, input):
        """(n_m, n_in) -> (n_m, num_neurons)."""
        A_prev = _check_input(self, input, 2, "(n_m, n_in), as FlatLayer makes it")
        n_in = A_prev.shape[1]
        _new_weights(self, A_prev, n_in, self.num_neurons, W=(self.num_neurons, n_in + 1))
        Z_T = self.W[:, :-1] @ A_prev.T  # faster than A_prev @ W^T
        self.A_prev, self.A = A_prev, self.g(Z_T.T + self.W[:, -1])
        return self.A

    def weight_gradients(self, d):
        """dW = dZ^T [A_prev, 1]. Returns dZ."""
        dZ = self.times_g_prime(_check_gradient(self, d))
        self.dW = np.empty_like(self.W)
        np.matmul(dZ.T, self.A_prev, out=self.dW[:, :-1])
        self.dW[:, -1] = dZ.sum(axis=0)
        return dZ

    def gradients(self, d):
        """(n_m, num_neurons) -> (n_m, n_in): dA_prev = dZ W, without the column of biases."""
        return self.weight_gradients(d) @ self.W[:, :-1]


class FCLayer_ReLU(ReLU, FCLayer):
    """Fully connected, then the rectified linear unit."""


class FCLayer_Sigmoid(FCLayer):
    """Fully connected, g(Z) = 1 / (1 + exp(-Z)), log g = -log(1 + exp(-Z)), g' = g (1 - g)."""

    def g(self, Z):
        self.log_A, self.log_1_A = -np.logaddexp(0, -Z), -np.logaddexp(0, Z)  # of A and 1 - A
        limits = np.finfo(Z.dtype)  # the loss divides by A and by 1 - A: they must not be 0
        return np.clip(np.exp(self.log_A), limits.tiny, 1 - limits.epsneg)

    def times_g_prime(self, dA):
        return dA * self.A * (1 - self.A)

    def loss(self, Y):
        """Binary cross-entropy L = -sum(Y log A + (1 - Y) log(1 - A)) / n_m, error, dL / dA."""
        L = -np.sum(Y * self.log_A + (1 - Y) * self.log_1_A) / len(Y)
        dA = (self.A - Y) / (self.A * (1 - self.A)) / len(Y)
        return L, np.mean((self.A > 0.5) != (Y > 0.5)), dA


class FCLayer_Softmax(FCLayer):
    """Fully connected, g(Z) = exp(Z) / sum(exp(Z)). One of the classes is right."""

    def g(self, Z):
        Z = Z - Z.max(axis=1, keepdims=True)  # g stays the same, and no exp(Z) overflows
        self.log_A = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
        return np.maximum(np.exp(self.log_A), np.finfo(Z.dtype).tiny)  # the loss divides by A

    def times_g_prime(self, dA):
        """dZ_j = sum of dA_k dg_k / dZ_j over k = A_j (dA_j - sum of dA_k A_k over k)."""
        return self.A * (dA - (dA * self.A).sum(axis=1, keepdims=True))

    def loss(self, Y):
        """Categorical cross-entropy L = -sum(Y log A) / n_m, error, dL / dA."""
        L = -np.sum(Y * self.log_A) / len(Y)
        dA = -Y / self.A / len(Y)
        return L, np.mean(self.A.argmax(axis=1) != Y.argmax(axis=1)), dA


class Network:
    """Layers one after another, trained by mini-batch gradient descent on the loss of the last.

    X is what the first layer takes. Y are the labels, in the output's shape: one-hot rows for
    FCLayer_Softmax, zeros and ones for FCLayer_Sigmoid. The same seed gives the same weights.
    """

    piece = 64  # samples that `predict` and `evaluate` hold in memory at a time

    def __init__(self, layers, seed=None):
        self.layers, rng = list(layers), np.random.default_rng(seed)
        right = [hasattr(each, "gradients") and not isinstance(each, type) for each in self.layers]
        different = len({id(layer) for layer in self.layers}) == len(right) > 0
        _check("Network", all(right) and different, "a list of different layers", self.layers)
        for layer in self.layers:
            layer.rng = rng

    def predict(self, X):
        """Return the output for X, which may be any number of samples."""
        X = np.atleast_1d(X)
        starts = range(0, max(1, len(X)), self.piece)  # the first layer refuses 0 samples
        return np.concatenate([self._forward(X[k : k + self.piece]) for k in starts])

    def evaluate(self, X, Y):
        """Return (A, loss, error): the output, the mean loss, the fraction of wrong answers."""
        X, Y = np.atleast_1d(X), np.atleast_1d(Y)
        _check("Network", len(X) == len(Y), f"labels for {len(X)} samples", len(Y))
        outputs, figures = [], []
        for k in range(0, max(1, len(X)), self.piece):
            outputs.append(self._forward(X[k : k + self.piece]))
            figures.append(self._loss(outputs[-1], Y[k : k + self.piece])[:2])
        loss, error = np.average(figures, axis=0, weights=[len(A) for A in outputs])
        return np.concatenate(outputs), float(loss), float(error)

    def gradients(self, X, Y):
        """Let every layer keep the derivatives of the mean loss; return (loss, error)."""
        loss, error, d = self._loss(self._forward(X), Y)
        # Layers before the first one that learns need no gradient, and that one no dA_prev.
        first = [bool(layer.weights) for layer in self.layers].index(True)
        for layer in reversed(self.layers[first + 1 :]):
            d = layer.gradients(d)
        self.layers[first].weight_gradients(d)
        return loss, error

    def step(self, learning_rate, weight_decay=0.0):
        """Take a step in every layer, down loss + weight_decay / 2 sum(W^2), biases left out."""
        for layer in self.layers:
            layer.step(learning_rate, weight_decay)

    def train(self, X, Y, learning_rate, weight_decay=0.0):
        """Both for one mini-batch; return (layers, loss, error) from before the step."""
        loss, error = self.gradients(X, Y)
        self.step(learning_rate, weight_decay)
        return self.layers, loss, error

    def save(self, path):
        """Write the weights to path as .npz: beside it first, so that path is always whole."""
        weights = {name: getattr(*place, None) for name, place in self._weights().items()}
        _check("Network.save", all(W is not None for W in weights.values()), "weights", "none")
        path = os.path.realpath(path)  # a link stays a link; what is there must be a file
        _check("Network.save", os.path.isfile(path) or not os.path.exists(path), "a file", path)
        with tempfile.TemporaryDirectory(".part", f"{path}.") as folder:
            part = os.path.join(folder, "weights.npz")
            np.savez(part, layers=[repr(layer) for layer in self.layers], **weights)
            os.replace(part, path)

    def load(self, path):
        """Take the weights that a network of the same layers saved; return this network."""
        weights = self._weights()
        saved = _read(path, self.layers, weights)
        for name, (layer, attribute) in weights.items():
            own, shape = getattr(layer, attribute, None), saved[name].shape
            fits = own is None or own.shape == shape
            _check(f"Network.load: {layer}", fits, f"{attribute} {np.shape(own)}", shape)
        for name, place in weights.items():
            setattr(*place, saved[name])
        return self

    def __str__(self):
        """A table of the layers; "?" stands for what only the first input will tell."""
        lines = [f"{'layer':36}{'output':>16}{'parameters':>12}"]
        for layer in self.layers:
            output = "?" if layer.A is None else " x ".join(map(str, layer.A.shape[1:]))
            lines.append(f"{layer!r:36}{output:>16}{_count([layer]):>12}")
        return "\n".join([*lines, f"{'total':52}{_count(self.layers):>12}"])

    def _forward(self, A):
        for layer in self.layers:
            A = layer.forward_propagate(A)
        return A

    def _loss(self, A, Y):
        """Return the last layer's loss and error, and dA, where A is its output."""
        last, Y, ends = self.layers[-1], np.asarray(Y), "FCLayer_Softmax or FCLayer_Sigmoid"
        _check("Network", hasattr(last, "loss"), f"{ends} as the last layer", last)
        _check("Network", Y.shape == A.shape, f"labels of shape {A.shape}", Y.shape)
        loss, error, dA = last.loss(Y.astype(A.dtype))
        return float(loss), float(error), dA

    def _weights(self):
        """Return {name in a file: (layer, attribute)} of all weights, made or not."""
        numbered = enumerate(self.layers)
        return {f"{k}.{name}": (layer, name) for k, layer in numbered for name in layer.weights}


# What serves the layers without being the idea: checks, first weights, files, memory.


def _check(who, right, expected, got):
    if not right:
        raise ValueError(f"{who}: expected {expected}, got {got}")


def _integer(layer, name, size, least=1):
    right = isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= least
    _check(type(layer).__name__, right, f"an integer {name} >= {least}", repr(size))
    return int(size)


def _height_and_width(layer, size):
    pair = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)
    return [_integer(layer, "filter_width", each) for each in pair]


def _check_input(layer, input, ndim, shape):
    """Return the input in the dtype of the weights, or the one which they will have."""
    input = np.asarray(input)
    right = input.ndim == ndim and input.size
    _check(layer, right, f"a mini-batch {shape}, not empty", f"shape {input.shape}")
    _check(layer, input.dtype.kind in "fiub", "real numbers", input.dtype)
    dtype = input.dtype if layer.W is None else np.asarray(layer.W).dtype
    return input.astype(dtype.type if dtype.kind == "f" else np.float32, copy=False)


def _check_images(layer, input, p=0):
    input = _check_input(layer, input, 4, "(n_m, height, width, n_c)")
    A_prev = np.pad(input, ((0, 0), (p, p), (p, p), (0, 0))) if p else input
    ih, iw = A_prev.shape[1:3]
    fits = ih >= layer.fh and iw >= layer.fw
    _check(layer, fits, "images no smaller than the filter", f"{ih} x {iw} with padding")
    return A_prev


def _check_gradient(layer, d):
    _check(layer, layer.A is not None, "forward_propagate before gradients", "none yet")
    _check(layer, np.shape(d) == layer.A.shape, f"d of shape {layer.A.shape}", np.shape(d))
    return np.asarray(d, layer.A.dtype)


def _new_weights(layer, A_prev, fan_in, fan_out, **shapes):
    """Normally distributed: He et al. (2015) for ReLU, else Glorot and Bengio (2010). Biases 0."""
    for name, shape in shapes.items():
        own = np.shape(getattr(layer, name)) or shape  # () if it is still to be made
        _check(layer, own == shape, f"an input that fits {name} {own}", f"shape {A_prev.shape}")
    if layer.W is None:
        variance = 2 / fan_in if layer.initialization == "He" else 2 / (fan_in + fan_out)
        layer.W = layer.rng.normal(0, math.sqrt(variance), shapes["W"])
        layer.W[..., layer.W.shape[-1] - layer.bias_columns :] = 0
    for name, shape in shapes.items():
        own = getattr(layer, name)
        setattr(layer, name, np.asarray(np.zeros(shape) if own is None else own, A_prev.dtype))


def _read(path, layers, names):
    """Return {name: array} of a file of Network.save, and unpack nothing else of it."""
    with open(path, "rb") as file:
        try:
            saved = np.load(file)
            compressed = any(member.compress_type for member in saved.zip.infolist())
            found = "" if compressed else f"[{', '.join(saved['layers'])}]"  # it may be a bomb
            arrays = {name: saved[name] for name in names if found == str(layers)}
            right = [np.isfinite(W).all() and W.dtype.kind == "f" for W in arrays.values()]
        except Exception:  # noqa: BLE001 - whatever may be wrong with a file that is none
            found, right = "", []
    _check("Network.load", found and all(right), "a whole file of Network.save", path)
    _check("Network.load", found == str(layers), layers, f"{found} in {path}")
    return arrays


def _count(layers):
    weights = [getattr(layer, name, None) for layer in layers for name in layer.weights]
    made = all(W is not None for W in weights)
    return f"{sum(W.size for W in weights):,}" if made else "?"
