"""Convolutional neural networks in NumPy, by stride groups.

cnn_naive.py has the same layers, with the same results, as loops over single numbers: compare the
two files. Here, forward, a matrix product does a whole row of windows; backward, where windows
overlap, their derivatives are added one stride group after another.
Images, and the maps that convolutions make of them, are (n_m, height, width, channels).

    m, c, f       sample of n_m, channel of n_c, filter of n_f
    i, j          row and column of an output, which has oh x ow
    k, l          row and column in a filter, and in a window of the input, which have fh x fw
    ih, iw        height and width of the input, with padding p; windows start a stride s apart
    A_prev, Z, A  input of a layer; output before and after the activation g: A = g(Z)
    W, b, dX      weights; biases; the derivative of the loss with respect to X
"""

import math
import os
import tempfile

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def stride_groups(A, f, s, axis):
    """Cut an axis of A into windows of f elements, s apart, one stride group after another.

    A stride group is every g-th window, g = ceil(f / s). Its windows start g * s >= f apart, so
    they do not overlap, and `group += ...` is right. On all windows at once it is not, as NumPy
    keeps only one of several additions to an element. Try it: A = np.zeros(3) has two windows
    of 2, and sliding_window_view(A, 2, writeable=True)[:] += 1 makes it 1, 1, 1, not 1, 2, 1.
    Yields pairs: the slice of outputs whose windows are in the group; the group, a view of A:
    (windows, f, the other axes of A).
    """
    windows = sliding_window_view(A, f, axis, writeable=True)  # with a new axis, f, behind
    windows = np.moveaxis(windows, (axis, -1), (0, 1))[::s]
    g = math.ceil(f / s)
    for t in range(min(g, len(windows))):
        outputs = slice(t, None, g)  # t, t + g, t + 2 g, ...
        yield outputs, windows[outputs]


def window_matrices(A, fh, fw, s):
    """View the windows of A (n_m, ih, iw, n_c) as matrices (oh, fh * (fw * n_c + 1), ow * n_m).

    rows[y] is a copy of image row y: a column for each window that crosses it, with the fw * n_c
    pixels there, and a 1, for b. Matrix i, for the outputs in row i, is rows[s i : s i + fh] as it
    stands in memory, not copied: each of its columns is a window.
    """
    windows = sliding_window_view(A, fw, axis=2)[:, :, ::s]  # (n_m, ih, ow, n_c, fw)
    n_m, ih, ow, n_c, _ = windows.shape
    rows = np.empty((ih, fw * n_c + 1, ow * n_m), A.dtype)
    rows[:, -1] = 1
    pixels = rows[:, :-1].reshape(ih, fw, n_c, ow, n_m)
    pixels[...] = windows.transpose(1, 4, 3, 2, 0)  # pixels is a view: this fills rows
    matrices = sliding_window_view(rows, fh, axis=0)[::s]  # (oh, fw * n_c + 1, ow * n_m, fh)
    matrices = np.moveaxis(matrices, -1, 1)  # (oh, fh, fw * n_c + 1, ow * n_m)
    return matrices.reshape(len(matrices), -1, ow * n_m)  # still a view, as rows follow each other


def add_windows(dmatrices, shape, fh, fw, s):
    """The reverse: an array of this shape, (n_m, ih, iw, n_c), each pixel the sum over its windows.

    dmatrices are (oh, fh * fw * n_c, ow * n_m), as window_matrices makes them, without the ones.
    """
    n_m, ih, iw, n_c = shape
    drows = np.zeros((ih, fw * n_c, dmatrices.shape[2]), dmatrices.dtype)
    for outputs, group in stride_groups(drows, fh, s, axis=0):  # windows below each other
        group += dmatrices[outputs].reshape(group.shape)  # group is a view: this changes drows
    dwindows = drows.reshape(ih, fw, n_c, -1, n_m).transpose(3, 1, 0, 2, 4)  # as group, below
    dA = np.zeros((ih, n_c, iw, n_m), drows.dtype)  # samples last, as in the matrices
    for outputs, group in stride_groups(dA, fw, s, axis=2):  # windows side by side
        group += dwindows[outputs]
    return dA.transpose(3, 0, 2, 1)


class Layer:
    """What layers share. A layer is its formulas: one for the way forward, one for each derivative.

    One of your own derives from Layer. It has forward_propagate(input), which keeps self.A and
    returns it, and input_gradient(dZ), which returns dA_prev. If it learns: `weights`, the names
    of its arrays, which forward_propagate makes, and weight_gradients(dZ), which keeps dW for W.
    (Only an array of the name W decays.) If it can be the last layer: loss(Y).
    An activation derives from Layer, too. It has g(Z), which returns A, and times_g_prime(dA),
    which returns dZ = dA g'(Z) from self.A alone. See ReLU, and ConvLayer_ReLU.
    Write into no argument: layers keep their input, not a copy. And keep its dtype:
    np.where(A > 0, dA, 0.1 * dA) does, but dA * np.where(A > 0, 1, 0.1) is float64.
    """

    arguments = ()  # those of the constructor, as repr shows them and Network.load compares them
    weights = ()
    W = b = dW = db = A = None  # the first input tells their shapes
    initialization = "Glorot"
    rng = np.random.default_rng()  # draws the first weights; a Network brings its own

    def g(self, Z):
        return Z  # no activation

    def times_g_prime(self, dA):
        return dA  # the chain rule, dZ = dA g'(Z), with g' = 1

    def weight_gradients(self, dZ):
        pass  # nothing learns

    def check(self, condition, expected, got):
        if not condition:
            raise ValueError(f"{self}: expected {expected}, got {got}")

    def gradients(self, dA):
        """Keep dW and db, and return dA_prev."""
        self.check(self.A is not None, "forward_propagate before gradients", "none yet")
        self.check(np.shape(dA) == self.A.shape, f"dA of shape {self.A.shape}", np.shape(dA))
        dZ = self.times_g_prime(np.asarray(dA, self.A.dtype))
        self.weight_gradients(dZ)
        return self.input_gradient(dZ)

    def step(self, learning_rate, weight_decay=0.0):
        """W -= learning_rate (dW + weight_decay W); the same for b, but biases do not decay."""
        for name in self.weights:
            W, dW = getattr(self, name), getattr(self, f"d{name}")  # or b, db
            self.check(dW is not None, "gradients before step", "none yet")
            if name == "W" and weight_decay:
                dW = dW + weight_decay * W
            setattr(self, name, np.asarray(W - learning_rate * dW, W.dtype))  # W may be shared

    def backpropagate(self, dA, learning_rate):
        """gradients, then step, for a layer that is in no Network. Returns dA_prev."""
        dA_prev = self.gradients(dA)
        self.step(learning_rate)
        return dA_prev

    def make_weights(self, dtype, W_shape, b_shape):
        """Draw W as He et al. (2015) for ReLU, else Glorot and Bengio (2010); or check W and b."""
        W, b = self.W, np.zeros(b_shape) if self.b is None else self.b
        if W is None:
            fan_in = math.prod(W_shape[:-1])  # fh fw n_c, or n_in
            fan_out = math.prod(W_shape[:-2]) * W_shape[-1]  # fh fw n_f, or num_neurons
            variance = 2 / fan_in if self.initialization == "He" else 2 / (fan_in + fan_out)
            W = self.rng.normal(0, math.sqrt(variance), W_shape)
        have = np.shape(W), np.shape(b)
        if have != (W_shape, b_shape):
            raise ValueError(f"{self}: expected an input for W, b {have}, got one for {W_shape}")
        self.W, self.b = np.asarray(W, dtype), np.asarray(b, dtype)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(str, self.arguments))})"


class ReLU(Layer):
    """The rectified linear unit, g(Z) = max(0, Z). g' is 1 where Z > 0, as A is, elsewhere 0."""

    initialization = "He"

    def g(self, Z):
        return np.maximum(Z, 0)

    def times_g_prime(self, dA):
        return dA * (self.A > 0)


class ConvLayer(Layer):
    """Convolution Z = A_prev * W + b, strictly a cross-correlation, without activation: A = Z.

    Z[m, i, j, f] = b[0, 0, 0, f] + sum over k, l, c of A_prev[m, s i + k, s j + l, c] W[k, l, c, f]

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
        fh, fw, s, p, n_f = self.fh, self.fw, self.s, self.p, self.n_f
        A_prev = _floats(self, input, ndim=4)
        if p > 0:  # np.pad would copy, even without padding
            A_prev = np.pad(A_prev, ((0, 0), (p, p), (p, p), (0, 0)))
        n_m, ih, iw, n_c = A_prev.shape
        self.check(ih >= fh and iw >= fw, f"{fh} x {fw} pixels or more", f"{ih} x {iw}")
        self.make_weights(A_prev.dtype, (fh, fw, n_c, n_f), (1, 1, 1, n_f))
        self.A_prev_shape, self.matrices = A_prev.shape, window_matrices(A_prev, fh, fw, s)
        Wb = np.pad(self.W.reshape(fh, fw * n_c, n_f), ((0, 0), (0, 1), (0, 0)))
        Wb[0, -1] = self.b.reshape(n_f)  # of the fh ones of a window, the first meets b, others 0
        Z = self.matrices.transpose(0, 2, 1) @ Wb.reshape(-1, n_f)  # (oh, ow * n_m, n_f)
        self.A = self.g(Z.reshape(len(Z), -1, n_m, n_f).transpose(2, 0, 1, 3))
        return self.A

    def weight_gradients(self, dZ):
        """Z = matrix^T Wb for each row of outputs, so dWb is the sum of matrix dZ."""
        dZ = dZ.transpose(1, 2, 0, 3).reshape(len(self.matrices), -1, self.n_f)  # as Z was
        dWb = (self.matrices @ dZ).sum(axis=0).reshape(self.fh, -1, self.n_f)
        self.dW, self.db = dWb[:, :-1].reshape(self.W.shape), dWb[0, -1].reshape(self.b.shape)

    def input_gradient(self, dZ):
        """Z = matrix^T Wb, so dmatrix = W dZ^T. A pixel gets the sum over its windows."""
        dZ = dZ.transpose(1, 2, 0, 3).reshape(len(self.matrices), -1, self.n_f)
        dmatrices = self.W.reshape(-1, self.n_f) @ dZ.transpose(0, 2, 1)
        dA_prev = add_windows(dmatrices, self.A_prev_shape, self.fh, self.fw, self.s)
        p = self.p
        return dA_prev[:, p : dA_prev.shape[1] - p, p : dA_prev.shape[2] - p]  # p may be 0


class ConvLayer_ReLU(ReLU, ConvLayer):
    """Convolution, then ReLU: Python looks for g in ReLU, then ConvLayer, then Layer."""


class PoolLayer(Layer):
    """One number for each window of each channel: `pool` says which, `share` is the way back."""

    def __init__(self, filter_width, stride=1):
        self.fh, self.fw = _height_and_width(self, filter_width)
        self.s = _integer(self, "stride", stride)
        self.arguments = ((self.fh, self.fw), self.s)

    def forward_propagate(self, input):
        """(n_m, ih, iw, n_c) -> (n_m, oh, ow, n_c), oh = (ih - fh) // s + 1."""
        fh, fw, s = self.fh, self.fw, self.s
        A_prev = _floats(self, input, ndim=4)
        ih, iw = A_prev.shape[1:3]
        self.check(ih >= fh and iw >= fw, f"{fh} x {fw} pixels or more", f"{ih} x {iw}")
        self.A_prev, windows = A_prev, sliding_window_view(A_prev, (fh, fw), axis=(1, 2))
        self.windows = windows[:, ::s, ::s]  # (n_m, oh, ow, n_c, fh, fw)
        self.A = self.pool(self.windows)
        return self.A

    def input_gradient(self, dZ):
        """Each pixel of a window gets its share of the derivative by the window's output."""
        # The same numbers, but in memory as (oh, ow, n_m, n_c), as a convolution's A: faster.
        dZ = np.ascontiguousarray(dZ.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
        dA_prev = np.zeros_like(self.A_prev)
        for rows, bands in stride_groups(dA_prev, self.fh, self.s, axis=1):
            for columns, group in stride_groups(bands, self.fw, self.s, axis=3):
                dwindows = group.transpose(4, 2, 0, 5, 3, 1)  # from (ow, fw, oh, fh, n_m, n_c)
                part = (slice(None), rows, columns)
                self.share(dZ[part], self.A[part], self.windows[part], dwindows)
        return dA_prev


class PoolLayer_Max(PoolLayer):
    """The largest pixel of each window. PoolLayer_Max(2, 2) halves height and width."""

    def pool(self, windows):
        return windows.max(axis=(4, 5))

    def share(self, dZ, A, windows, dwindows):
        """All to the largest pixel; of several, to the first, row by row."""
        free = np.ones_like(A, bool)  # windows that have not given their derivative yet
        for k, l in np.ndindex(self.fh, self.fw):
            largest = (windows[..., k, l] == A) & free
            free &= ~largest
            if self.s >= max(self.fh, self.fw):  # no pixel is in two windows: = is faster than +=
                np.multiply(dZ, largest, out=dwindows[..., k, l])
            else:
                dwindows[..., k, l] += dZ * largest


class PoolLayer_Avg(PoolLayer):
    """The mean of each window."""

    def pool(self, windows):
        return windows.mean(axis=(4, 5))

    def share(self, dZ, A, windows, dwindows):
        """The same to every pixel."""
        dwindows += (dZ / (self.fh * self.fw))[..., None, None]


class FlatLayer(Layer):
    """The numbers of each sample in one row."""

    def forward_propagate(self, input):
        """(n_m, ...) -> (n_m, n), row-major."""
        A_prev = _floats(self, input, ndim=None)
        self.A_prev_shape, self.A = A_prev.shape, A_prev.reshape(len(A_prev), -1)
        return self.A

    def input_gradient(self, dZ):
        """(n_m, n) -> (n_m, ...): each derivative goes where its number came from."""
        return dZ.reshape(self.A_prev_shape)


class FCLayer(Layer):
    """Fully connected, Z = A_prev W + b, A = Z. W is (n_in, num_neurons), b (num_neurons,)."""

    weights = ("W", "b")

    def __init__(self, num_neurons):
        self.num_neurons = _integer(self, "num_neurons", num_neurons)
        self.arguments = (self.num_neurons,)

    def forward_propagate(self, input):
        """(n_m, n_in) -> (n_m, num_neurons)."""
        A_prev, n = _floats(self, input, ndim=2), self.num_neurons
        self.make_weights(A_prev.dtype, (A_prev.shape[1], n), (n,))
        self.A_prev, self.Z = A_prev, A_prev @ self.W + self.b
        self.A = self.g(self.Z)
        return self.A

    def weight_gradients(self, dZ):
        """Z = A_prev W + b, so dW = A_prev^T dZ, and db is the sum of dZ over the samples."""
        self.dW, self.db = self.A_prev.T @ dZ, dZ.sum(axis=0)

    def input_gradient(self, dZ):
        """(n_m, num_neurons) -> (n_m, n_in). Z = A_prev W + b, so dA_prev = dZ W^T."""
        return dZ @ self.W.T


class FCLayer_ReLU(ReLU, FCLayer):
    """Fully connected, then ReLU."""


class FCLayer_Sigmoid(FCLayer):
    """Fully connected, g(Z) = 1 / (1 + exp(-Z)): the probability of yes, for each question."""

    def g(self, Z):
        return np.exp(-np.logaddexp(0, -Z))  # logaddexp(0, x) = log(1 + exp(x)), no overflow

    def times_g_prime(self, dA):
        return dA * self.A * (1 - self.A)  # g' = g (1 - g)

    def loss(self, Y):
        """Return (L, error, dZ): the binary cross-entropy -sum(Y log A + (1 - Y) log(1 - A)) / n_m,
        the fraction of wrong answers, and dA g', of which (A - Y) / n_m is left."""
        log_A, log_1_A = -np.logaddexp(0, -self.Z), -np.logaddexp(0, self.Z)  # 1 - g(Z) = g(-Z)
        L = -np.sum(Y * log_A + (1 - Y) * log_1_A) / len(Y)
        return L, np.mean((self.A > 0.5) != (Y > 0.5)), (self.A - Y) / len(Y)


class FCLayer_Softmax(FCLayer):
    """Fully connected, g(Z) = exp(Z) / sum(exp(Z)): the probability of each class."""

    def log_g(self, Z):
        Z = Z - Z.max(axis=1, keepdims=True)  # g stays the same, and no exp(Z) overflows
        return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))

    def g(self, Z):
        return np.exp(self.log_g(Z))

    def times_g_prime(self, dA):
        """dZ_j = A_j (dA_j - sum over k of dA_k A_k), as A_k' by Z_j is A_k ((j == k) - A_j)."""
        return self.A * (dA - (dA * self.A).sum(axis=1, keepdims=True))

    def loss(self, Y):
        """Return (L, error, dZ): the categorical cross-entropy -sum(Y log A) / n_m, the fraction of
        wrong answers, and what is left of dZ if the Y of a sample add up to 1, (A - Y) / n_m."""
        L = -np.sum(Y * self.log_g(self.Z)) / len(Y)
        return L, np.mean(self.A.argmax(axis=1) != Y.argmax(axis=1)), (self.A - Y) / len(Y)


class Network:
    """Layers one after another, trained by mini-batch gradient descent on the loss of the last.

    X is what the first layer takes. Y are the labels, in the output's shape: one-hot rows for
    FCLayer_Softmax, zeros and ones for FCLayer_Sigmoid. The same seed gives the same weights.
    """

    def __init__(self, layers, seed=None):
        self.layers, rng = list(layers), np.random.default_rng(seed)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"Network: expected layers, none of them twice, got {self.layers}")
        for layer in self.layers:
            layer.rng = rng

    def predict(self, X):
        """Return the output for X: any number of samples, 64 at a time."""
        starts = range(0, len(X) or 1, 64)  # or 1: the first layer is to refuse 0 samples
        return np.concatenate([self._forward(X[start : start + 64]) for start in starts])

    def evaluate(self, X, Y):
        """Return (A, loss, error): the output, the mean loss, the fraction of wrong answers."""
        self.layers[-1].check(len(X) == len(Y), f"labels for {len(X)} samples", len(Y))
        outputs, loss, error = [], 0.0, 0.0
        for start in range(0, len(X) or 1, 64):
            outputs.append(self._forward(X[start : start + 64]))
            loss_64, error_64, _ = self._loss(Y[start : start + 64])
            loss += loss_64 * len(outputs[-1]) / len(X)
            error += error_64 * len(outputs[-1]) / len(X)
        return np.concatenate(outputs), loss, error

    def gradients(self, X, Y):
        """Let every layer keep the derivatives of the mean loss; return (loss, error)."""
        self._forward(X)
        loss, error, dZ = self._loss(Y)
        learning = [n for n, layer in enumerate(self.layers) if layer.weights]
        self.layers[-1].check(learning, "a layer with weights in the network", "none")
        for n in range(len(self.layers) - 1, learning[0], -1):  # from the last layer to the first
            self.layers[n].weight_gradients(dZ)
            dA = self.layers[n].input_gradient(dZ)
            dZ = self.layers[n - 1].times_g_prime(dA)
        self.layers[learning[0]].weight_gradients(dZ)  # nobody needs its input_gradient
        return loss, error

    def step(self, learning_rate, weight_decay=0.0):
        """Take a step in every layer, down loss + weight_decay / 2 sum(W^2)."""
        for layer in self.layers:
            layer.step(learning_rate, weight_decay)

    def train(self, X, Y, learning_rate, weight_decay=0.0):
        """gradients, then step. Returns (layers, loss, error), both from before the step."""
        loss, error = self.gradients(X, Y)
        self.step(learning_rate, weight_decay)
        return self.layers, loss, error

    def _forward(self, A):
        for layer in self.layers:
            A = layer.forward_propagate(A)
        return A

    def _loss(self, Y):
        last, Y = self.layers[-1], np.asarray(Y)
        last.check(hasattr(last, "loss"), "FCLayer_Softmax or FCLayer_Sigmoid at the end", last)
        last.check(Y.shape == last.A.shape, f"labels of shape {last.A.shape}", Y.shape)
        loss, error, dZ = last.loss(Y.astype(last.A.dtype))
        return float(loss), float(error), dZ

    def save(self, path):
        """Write the weights to path as .npz: whole, or not at all."""
        arrays = [getattr(layer, name) for layer in self.layers for name in layer.weights]
        if any(array is None for array in arrays):
            raise ValueError("Network.save: expected weights, got none: train or predict first")
        path = os.path.realpath(path)  # a link stays a link
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"Network.save: expected a file, got {path}")
        with tempfile.TemporaryDirectory(suffix=".part", dir=os.path.dirname(path)) as folder:
            np.savez(f"{folder}/weights.npz", repr(self.layers), *arrays)
            os.replace(f"{folder}/weights.npz", path)

    def load(self, path):
        """Take the weights that a network of the same layers saved; return this network."""
        with open(path, "rb") as file:
            try:
                saved, *arrays = np.load(file).values()
                saved = saved.item()  # the repr of the layers
            except Exception:  # noqa: BLE001 - anything can be wrong with a file from elsewhere
                raise ValueError(f"{path}: expected a whole file of Network.save") from None
        places = [(layer, name) for layer in self.layers for name in layer.weights]
        floats = all(array.dtype.kind == "f" for array in arrays) and len(arrays) == len(places)
        if saved != repr(self.layers) or not floats:
            raise ValueError(f"{path}: expected weights of {self.layers}, got those of {saved!r}")
        for (layer, name), array in zip(places, arrays):
            setattr(layer, name, array)
        return self

    def __str__(self):
        lines, counts = [f"{'layer':36}{'output':>16}{'parameters':>12}"], []
        for layer in self.layers:  # "?": the first input will tell
            output = "?" if layer.A is None else " x ".join(map(str, layer.A.shape[1:]))
            arrays = [getattr(layer, name) for name in layer.weights]
            counts.append("?" if any(W is None for W in arrays) else sum(W.size for W in arrays))
            lines.append(f"{layer!s:36}{output:>16}{counts[-1]:>12}")
        total = "?" if "?" in counts else sum(counts)
        return "\n".join([*lines, f"{'total':52}{total:>12}"])


# What serves the layers without being the idea. To copy a layer, take this file down to the end
# of `Layer`, the class with those it derives from, and all below this heading.


def _integer(layer, name, size, least=1):
    valid = isinstance(size, (int, np.integer)) and size >= least
    layer.check(valid, f"an integer {name} >= {least}", repr(size))
    return int(size)


def _height_and_width(layer, size):
    pair = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)
    return [_integer(layer, "filter_width", each) for each in pair]


def _floats(layer, input, ndim):
    """Return a mini-batch of ndim axes (None: 2 or more) as floats, in the dtype of the first."""
    input = np.asarray(input)
    valid = input.size > 0 and (input.ndim == ndim if ndim else input.ndim >= 2)
    axes = f"{ndim} axes" if ndim else "2 axes or more"
    layer.check(valid, f"a mini-batch of {axes}, not empty", f"shape {input.shape}")
    dtype = input.dtype if layer.A is None else layer.A.dtype
    return input.astype(dtype if dtype.kind == "f" else np.float32, copy=False)
