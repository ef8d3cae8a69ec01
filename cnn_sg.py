"""Convolutional neural networks in NumPy, by stride groups.

cnn_naive.py has the same layers, with the same results, as loops over single numbers: compare the
two files. Here NumPy multiplies all windows of a row at once, and adds a whole group at once.
Images, and what layers make of them, are (n_m, height, width, channels). In code and formulas,
    m, c, f       are a sample of n_m, a channel of n_c, a filter of n_f
    i, j          row and column of an output, which has oh x ow
    k, l          row and column in a filter, and in a window of the input, which have fh x fw
    ih, iw        height and width of the input, with padding p; windows are s, the stride, apart
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

    Windows that overlap cannot be added to all at once: NumPy keeps only one of several additions
    to the same element. Try it with A = np.zeros(3): of two windows of 2 elements,
    windows = sliding_window_view(A, 2, writeable=True), `windows += 1` makes A 1, 1, 1, and not
    1, 2, 1. A stride group is every g-th window, g = ceil(f / s). Its windows start g * s >= f
    apart, so they do not overlap, and `group += ...` is right.
    Yields pairs: outputs, a slice, tells which windows are in the group; group is a view of them,
    with two axes, windows and f, in place of the one.
    """
    before, g = (slice(None),) * axis, math.ceil(f / s)
    windows = sliding_window_view(A, f, axis, writeable=True)  # f is its last axis
    windows = np.moveaxis(windows, -1, axis + 1)[(*before, slice(None, None, s))]
    for t in range(min(g, windows.shape[axis])):  # there may be fewer windows than g
        outputs = slice(t, None, g)  # the windows t, t + g, t + 2 g, ...
        yield outputs, windows[(*before, outputs)]


def window_matrices(A, fh, fw, s):
    """View the windows of A (n_m, ih, iw, n_c) as matrices (oh, fh * (fw * n_c + 1), ow * n_m).

    There is a matrix for each row of outputs. A column of it is a window, row by row, with a 1
    after each row. Windows side by side are copied, so there are fw copies of A. Those below each
    other are only looked at: the matrices overlap in memory.
    """
    windows = sliding_window_view(A, fw, axis=2)[:, :, ::s]  # (n_m, ih, ow, n_c, fw)
    n_m, ih, ow, n_c, _ = windows.shape
    rows = np.empty((ih, fw * n_c + 1, ow * n_m), A.dtype)
    rows[:, -1] = 1
    pixels = rows[:, :-1].reshape(ih, fw, n_c, ow, n_m)  # a view: this fills rows
    pixels[...] = windows.transpose(1, 4, 3, 2, 0)
    matrices = sliding_window_view(rows, fh, axis=0)[::s]  # (oh, fw * n_c + 1, ow * n_m, fh)
    return np.moveaxis(matrices, -1, 1).reshape(len(matrices), -1, ow * n_m)


def add_windows(dmatrices, shape, fh, fw, s):
    """The way back: each pixel gets the sum over all windows that hold it.

    dmatrices are as window_matrices makes them, without the ones: (oh, fh * fw * n_c, ow * n_m).
    Returns an array of this shape, (n_m, ih, iw, n_c).
    """
    n_m, ih, iw, n_c = shape
    drows = np.zeros((ih, fw * n_c, dmatrices.shape[2]), dmatrices.dtype)
    for outputs, group in stride_groups(drows, fh, s, axis=0):  # windows below each other
        group += dmatrices[outputs].reshape(group.shape)  # group is a view: this changes drows
    dwindows = drows.reshape(ih, fw, n_c, -1, n_m).transpose(0, 2, 3, 1, 4)
    dA = np.zeros((ih, n_c, iw, n_m), drows.dtype)
    for outputs, group in stride_groups(dA, fw, s, axis=2):  # windows side by side
        group += dwindows[:, :, outputs]
    return dA.transpose(3, 0, 2, 1)


class Layer:
    """What layers share. A layer is its formulas: one for the way forward, one for each derivative.

    One of your own derives from Layer. It has forward_propagate(input), which keeps self.A and
    returns it, and input_gradient(dZ), which returns dA_prev. If it learns: `weights`, names of
    arrays, and weight_gradients(dZ), which keeps dW for W. If it can be the last: loss(Y).
    An activation is a class like ReLU. In ConvLayer_ReLU(ReLU, ConvLayer) it comes first, since of
    two classes with a g, Python takes the first one's. Never write into an argument, and keep its
    dtype: a float32 array times np.where(Z > 0, 1, 0.1) is float64, times a Python float it is not.
    """

    arguments = ()  # of the constructor: repr shows them, and load compares what repr shows
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

    def gradients(self, dA):
        """Keep dW and db, and return dA_prev."""
        self.check(self.A is not None, "forward_propagate before gradients", "none yet")
        self.check(np.shape(dA) == self.A.shape, f"dA of shape {self.A.shape}", np.shape(dA))
        dZ = self.times_g_prime(np.asarray(dA, self.A.dtype))
        self.weight_gradients(dZ)
        return self.input_gradient(dZ)

    def step(self, learning_rate, weight_decay=0.0):
        """W -= learning_rate (dW + weight_decay W); the same for b, but biases do not decay."""
        learning_rate = float(learning_rate)  # a NumPy float64 would make dW float64
        for name in self.weights:
            W, dW = getattr(self, name), getattr(self, f"d{name}")  # then b, db
            self.check(dW is not None, "gradients before step", "none yet")
            if name == "W" and weight_decay:
                W *= 1 - learning_rate * float(weight_decay)
            W -= learning_rate * dW

    def backpropagate(self, dA, learning_rate):
        """Both in a row, for a layer without a Network; return dA_prev."""
        dA_prev = self.gradients(dA)
        self.step(learning_rate)
        return dA_prev

    def first_weights(self, dtype, W_shape, b_shape):
        """Unless there are weights, draw some: as He et al. (2015) for ReLU, else as Glorot and
        Bengio (2010) have it, with variances by how many numbers each output, or input, meets."""
        fan_in, fan_out = math.prod(W_shape[:-1]), math.prod(W_shape[:-2]) * W_shape[-1]
        variance = 2 / fan_in if self.initialization == "He" else 2 / (fan_in + fan_out)
        if self.W is None:
            self.W, self.b = self.rng.normal(0, math.sqrt(variance), W_shape), np.zeros(b_shape)
        have, need = (np.shape(self.W), np.shape(self.b)), (W_shape, b_shape)
        self.check(have == need, f"an input that fits W and b {have}", f"one for {need}")
        self.W, self.b = np.asarray(self.W, dtype), np.asarray(self.b, dtype)

    def check(self, condition, expected, got):
        if not condition:
            raise ValueError(f"{self}: expected {expected}, got {got}")

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(str, self.arguments))})"


class ReLU(Layer):
    """The rectified linear unit, g(Z) = max(0, Z). g' is 1 where Z > 0, elsewhere 0."""

    initialization = "He"

    def g(self, Z):
        return np.maximum(Z, 0)

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
        fh, fw, s, p, n_f = self.fh, self.fw, self.s, self.p, self.n_f
        A_prev = _check_input(self, input, 4)
        if p > 0:
            A_prev = np.pad(A_prev, ((0, 0), (p, p), (p, p), (0, 0)))
        n_m, ih, iw, n_c = A_prev.shape
        oh, ow = (ih - fh) // s + 1, (iw - fw) // s + 1
        self.check(min(oh, ow) > 0, f"at least {fh} x {fw} pixels, with padding", f"{ih} x {iw}")
        self.first_weights(A_prev.dtype, (fh, fw, n_c, n_f), (1, 1, 1, n_f))
        self.A_prev_shape, self.matrices = A_prev.shape, window_matrices(A_prev, fh, fw, s)
        Wb = np.pad(self.W.reshape(fh, fw * n_c, n_f), ((0, 0), (0, 1), (0, 0)))
        Wb[0, -1] = self.b.reshape(n_f)  # of the fh ones of a window, the first is for b
        Z = self.matrices.transpose(0, 2, 1) @ Wb.reshape(-1, n_f)  # (oh, ow * n_m, n_f)
        self.A = self.g(Z.reshape(oh, ow, n_m, n_f).transpose(2, 0, 1, 3))
        return self.A

    def weight_gradients(self, dZ):
        """Z = matrix^T Wb for each row of outputs. So dWb is the sum of matrix dZ."""
        dZ = dZ.transpose(1, 2, 0, 3).reshape(len(self.matrices), -1, self.n_f)
        dWb = (self.matrices @ dZ).sum(axis=0).reshape(self.fh, -1, self.n_f)
        self.dW, self.db = dWb[:, :-1].reshape(self.W.shape), dWb[0, -1].reshape(self.b.shape)

    def input_gradient(self, dZ):
        """Z = matrix^T W + b. So dmatrix = W dZ^T; a pixel has the sum over its windows."""
        dZ = dZ.transpose(1, 2, 0, 3).reshape(len(self.matrices), -1, self.n_f)
        dmatrices = self.W.reshape(-1, self.n_f) @ dZ.transpose(0, 2, 1)
        dA_prev = add_windows(dmatrices, self.A_prev_shape, self.fh, self.fw, self.s)
        ih, iw, p = *self.A_prev_shape[1:3], self.p
        return dA_prev[:, p : ih - p, p : iw - p]  # not p:-p, as p may be 0


class ConvLayer_ReLU(ReLU, ConvLayer):
    """Convolution, then the rectified linear unit."""


class PoolLayer(Layer):
    """Pooling makes one number of each window of each channel; the subclasses say how."""

    def __init__(self, filter_width, stride=1):
        self.fh, self.fw = _height_and_width(self, filter_width)
        self.s = _integer(self, "stride", stride)
        self.arguments = ((self.fh, self.fw), self.s)

    def forward_propagate(self, input):
        """(n_m, ih, iw, n_c) -> (n_m, oh, ow, n_c), oh = (ih - fh) // s + 1."""
        fh, fw, s, A_prev = self.fh, self.fw, self.s, _check_input(self, input, 4)
        ih, iw = A_prev.shape[1:3]
        self.check(ih >= fh and iw >= fw, f"at least {fh} x {fw} pixels", f"{ih} x {iw}")
        self.A_prev = _samples_inside(A_prev)
        windows = sliding_window_view(self.A_prev, (fh, fw), axis=(1, 2))
        self.windows = windows[:, ::s, ::s]  # (n_m, oh, ow, n_c, fh, fw)
        self.A = self.pool(self.windows)
        return self.A

    def input_gradient(self, dA):
        """Each pixel of a window gets its share of the derivative by the window's output."""
        dA, dA_prev = _samples_inside(dA), np.zeros_like(self.A_prev)
        for rows, down in stride_groups(dA_prev, self.fh, self.s, axis=1):
            for columns, group in stride_groups(down, self.fw, self.s, axis=3):
                dwindows = group.transpose(0, 1, 3, 5, 2, 4)  # in the order of self.windows
                self.share((slice(None), rows, columns), dA, dwindows)
        return dA_prev


class PoolLayer_Max(PoolLayer):
    """The largest pixel of each window. PoolLayer_Max(2, 2) halves height and width."""

    def pool(self, windows):
        return windows.max(axis=(4, 5))

    def share(self, group, dA, dwindows):
        """All to the largest pixel; of several, to the first, row by row."""
        dA, A, windows = dA[group], self.A[group], self.windows[group]
        free = np.ones_like(A, bool)  # windows whose gradient is still to be given
        for k, l in np.ndindex(self.fh, self.fw):
            largest = windows[..., k, l] == A
            largest &= free
            free &= ~largest
            if self.s >= max(self.fh, self.fw):  # there is one group: = is faster than +=
                np.multiply(dA, largest, out=dwindows[..., k, l])
            else:
                dwindows[..., k, l] += dA * largest


class PoolLayer_Avg(PoolLayer):
    """The mean of each window."""

    def pool(self, windows):
        return windows.mean(axis=(4, 5))

    def share(self, group, dA, dwindows):
        """The same to every pixel."""
        dwindows += (dA[group] / (self.fh * self.fw))[..., None, None]


class FlatLayer(Layer):
    """The numbers of each sample in one row."""

    def forward_propagate(self, input):
        """(n_m, ...) -> (n_m, n), row-major."""
        self.A_prev = _check_input(self, input, np.ndim(input))
        self.A = self.A_prev.reshape(len(self.A_prev), -1)
        return self.A

    def input_gradient(self, dA):
        """(n_m, n) -> (n_m, ...), back to where each number came from."""
        return dA.reshape(self.A_prev.shape)


class FCLayer(Layer):
    """Fully connected, Z = A_prev W + b, A = Z. W is (n_in, num_neurons), b (num_neurons,)."""

    weights = ("W", "b")

    def __init__(self, num_neurons):
        self.num_neurons = _integer(self, "num_neurons", num_neurons)
        self.arguments = (self.num_neurons,)

    def forward_propagate(self, input):
        """(n_m, n_in) -> (n_m, num_neurons)."""
        A_prev, n = _check_input(self, input, 2), self.num_neurons
        self.first_weights(A_prev.dtype, (A_prev.shape[1], n), (n,))
        self.A_prev, self.Z = A_prev, A_prev @ self.W + self.b
        self.A = self.g(self.Z)
        return self.A

    def weight_gradients(self, dZ):
        """Z = A_prev W + b, hence dW = A_prev^T dZ, and db is the sum of dZ."""
        self.dW, self.db = self.A_prev.T @ dZ, dZ.sum(axis=0)

    def input_gradient(self, dZ):
        """(n_m, num_neurons) -> (n_m, n_in): dA_prev = dZ W^T."""
        return dZ @ self.W.T


class FCLayer_ReLU(ReLU, FCLayer):
    """Fully connected, then the rectified linear unit."""


class FCLayer_Sigmoid(FCLayer):
    """Fully connected, g(Z) = 1 / (1 + exp(-Z)): yes-no questions. Loss: binary cross-entropy."""

    def g(self, Z):
        return np.exp(-np.logaddexp(0, -Z))  # logaddexp(0, x) = log(1 + exp(x)), no overflow

    def times_g_prime(self, dA):
        return dA * self.A * (1 - self.A)  # g' = g (1 - g)

    def loss(self, Y):
        """Return (L, error, dZ), L = -sum(Y log A + (1 - Y) log(1 - A)) / n_m. In dZ = dA g',
        all but (A - Y) / n_m cancels out."""
        L = np.sum(Y * np.logaddexp(0, -self.Z) + (1 - Y) * np.logaddexp(0, self.Z)) / len(Y)
        return L, np.mean((self.A > 0.5) != (Y > 0.5)), (self.A - Y) / len(Y)


class FCLayer_Softmax(FCLayer):
    """Fully connected, g(Z) = exp(Z) / sum(exp(Z)): classes. Loss: categorical cross-entropy."""

    def log_g(self, Z):
        Z = Z - Z.max(axis=1, keepdims=True)  # g stays the same, and no exp(Z) overflows
        return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))

    def g(self, Z):
        return np.exp(self.log_g(Z))

    def times_g_prime(self, dA):
        """dZ_j = A_j (dA_j - sum over k of dA_k A_k), as dA_k / dZ_j = A_k ((j == k) - A_j)."""
        return self.A * (dA - (dA * self.A).sum(axis=1, keepdims=True))

    def loss(self, Y):
        """Return (L, error, dZ), L = -sum(Y log A) / n_m. Of dA = -Y / A / n_m, times_g_prime would
        make (A - Y) / n_m, as the Y of a sample add up to 1."""
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
        """Return the output for X, any number of samples, 64 in memory at a time."""
        starts = range(0, len(X) or 1, 64)  # the first layer refuses 0 samples
        return np.concatenate([self._forward(X[k : k + 64]) for k in starts])

    def evaluate(self, X, Y):
        """Return (A, loss, error): the output, the mean loss, the fraction of wrong answers."""
        outputs, sums = [], np.zeros(2)
        for k in range(0, len(X) or 1, 64):
            outputs.append(self._forward(X[k : k + 64]))
            loss, error, _ = self._loss(Y[k : k + 64])
            sums += len(outputs[-1]) * np.array([loss, error])
        return np.concatenate(outputs), *(sums / len(X)).tolist()

    def gradients(self, X, Y):
        """Let every layer keep the derivatives of the mean loss; return (loss, error)."""
        self._forward(X)
        loss, error, dZ = self._loss(Y)
        learning = [k for k, layer in enumerate(self.layers) if layer.weights]
        self.layers[-1].check(learning, "weights in a layer of the network", "none")
        for k in range(len(self.layers) - 1, learning[0], -1):
            self.layers[k].weight_gradients(dZ)
            dA = self.layers[k].input_gradient(dZ)
            dZ = self.layers[k - 1].times_g_prime(dA)
        self.layers[learning[0]].weight_gradients(dZ)  # nobody needs its input_gradient
        return loss, error

    def step(self, learning_rate, weight_decay=0.0):
        """Take a step in every layer, down loss + weight_decay / 2 sum(W^2)."""
        for layer in self.layers:
            layer.step(learning_rate, weight_decay)

    def train(self, X, Y, learning_rate, weight_decay=0.0):
        """Both for one mini-batch; return (layers, loss, error) from before the step."""
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
        arrays = [getattr(layer, name) for layer, name in self._places()]
        self.layers[0].check(all(W is not None for W in arrays), "weights to save", "none yet")
        path = os.path.realpath(path)  # a link stays a link
        with tempfile.TemporaryDirectory(suffix=".part", prefix=f"{path}.") as folder:
            np.savez(f"{folder}/weights.npz", repr(self.layers), *arrays)
            os.replace(f"{folder}/weights.npz", path)

    def load(self, path):
        """Take the weights that a network of the same layers saved; return this network."""
        with open(path, "rb") as file:
            try:
                found, *arrays = np.load(file).values()  # it refuses pickles: they could run code
            except Exception:  # noqa: BLE001 - anything can be wrong with a file from elsewhere
                raise ValueError(f"{path}: expected a whole file of Network.save") from None
        if str(found) != repr(self.layers) or len(arrays) != len(self._places()):
            raise ValueError(f"{path}: expected weights of {self.layers}, got those of {found}")
        for (layer, name), W in zip(self._places(), arrays):
            setattr(layer, name, W)
        return self

    def _places(self):
        return [(layer, name) for layer in self.layers for name in layer.weights]

    def __str__(self):
        lines, total = [f"{'layer':36}{'output':>16}{'parameters':>12}"], 0
        for layer in self.layers:
            output, count = "?", "?"  # the first input will tell
            if layer.A is not None:
                output = " x ".join(map(str, layer.A.shape[1:]))
                count = sum(getattr(layer, name).size for name in layer.weights)
                total += count
            lines.append(f"{layer!r:36}{output:>16}{count:>12}")
        return "\n".join([*lines, f"{'total':52}{total:>12}"])


# What serves the layers without being the idea. To copy a layer, take the imports, `Layer`, the
# class with those it derives from, what stands above `Layer`, and all below this heading.


def _integer(layer, name, size, least=1):
    valid = isinstance(size, (int, np.integer)) and size >= least
    layer.check(valid, f"an integer {name} >= {least}", repr(size))
    return int(size)


def _height_and_width(layer, size):
    pair = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)
    return [_integer(layer, "filter_width", each) for each in pair]


def _check_input(layer, input, ndim):
    """Return a mini-batch of ndim axes as floats, in the dtype that the weights have or get."""
    input = np.asarray(input)
    valid = input.ndim == ndim and input.size > 0
    layer.check(valid, f"a mini-batch of {ndim} axes, not empty", f"shape {input.shape}")
    dtype = input.dtype if layer.W is None else np.asarray(layer.W).dtype
    return input.astype(dtype if dtype.kind == "f" else np.float32, copy=False)


def _samples_inside(A):
    """The same A (n_m, h, w, n_c), stored as (h, w, n_m, n_c): NumPy is fast on such long runs."""
    return np.ascontiguousarray(A.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
