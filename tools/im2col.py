"""A convolution, forward and backward, as im2col: four ways to write it without stride groups.

im2col writes each window of the images as a row or column of a matrix. The ways differ in how the
numbers get there, and how their gradients are added back. tools/benchmark.py races them against
stride groups, each in the memory order that suits it best.

Each is a generator: next() goes forward and backward, and gives [A, dA_prev, dW, db]. X are the
images (n_m, ih, iw, n_c), d is the derivative of the loss with respect to the output A
(n_m, oh, ow, n_f), s the stride, W (fh, fw, n_c, n_f) and b (1, 1, 1, n_f) are the weights.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import cnn_sg


def index_arrays(X, d, s, W, b):
    """As in CS231n and most tutorials: four indices for each number of each window."""
    (oh, ow), (fh, fw, c, n_f) = d.shape[1:3], W.shape
    k = np.repeat(np.arange(c), fh * fw).reshape(-1, 1)
    i = np.tile(np.repeat(np.arange(fh), fw), c).reshape(-1, 1) + s * np.repeat(np.arange(oh), ow)
    j = np.tile(np.arange(fw), fh * c).reshape(-1, 1) + s * np.tile(np.arange(ow), oh)
    X, d = X.transpose(0, 3, 1, 2).copy(), d.transpose(0, 3, 1, 2).copy()
    filters = W.transpose(3, 2, 0, 1).reshape(n_f, -1)
    while True:
        columns = X[:, k, i, j].transpose(1, 2, 0).reshape(c * fh * fw, -1)
        A = (filters @ columns + b.reshape(-1, 1)).reshape(n_f, oh, ow, -1)
        dZ = d.transpose(1, 2, 3, 0).reshape(n_f, -1)
        dW, db = (dZ @ columns.T).reshape(n_f, c, fh, fw), d.sum(axis=(0, 2, 3))
        dcolumns = (filters.T @ dZ).reshape(c * fh * fw, -1, len(X))
        dX = np.zeros_like(X)
        np.add.at(dX, (slice(None), k, i, j), dcolumns.transpose(2, 0, 1))
        A, dX, dW = A.transpose(3, 1, 2, 0), dX.transpose(0, 2, 3, 1), dW.transpose(2, 3, 1, 0)
        yield [A, dX, dW, db.reshape(b.shape)]


def one_index_array(X, d, s, W, b):
    """One index for each number of each window: np.add.at is fast with it since NumPy 1.25."""
    (fh, fw, c, n_f), X, d = W.shape, np.ascontiguousarray(X), np.ascontiguousarray(d)
    numbers = np.arange(X.size).reshape(X.shape)
    index = sliding_window_view(numbers, (fh, fw), axis=(1, 2))[:, ::s, ::s]
    index = index.transpose(0, 1, 2, 4, 5, 3).reshape(-1, fh * fw * c)
    dZ, filters = d.reshape(-1, n_f), W.reshape(-1, n_f)
    while True:
        rows = X.ravel()[index]
        A = rows @ filters
        A += b.ravel()
        dW, db = rows.T @ dZ, dZ.sum(axis=0)
        dX = np.zeros(X.size, X.dtype)
        np.add.at(dX, index.ravel(), (dZ @ filters.T).ravel())
        yield [A.reshape(d.shape), dX.reshape(X.shape), dW.reshape(W.shape), db.reshape(b.shape)]


def slices(X, d, s, W, b):
    """One slice for each element of the filter: that pixel of all windows at once.

    In memory, images are (n_c, ih, iw, n_m): the longest runs to copy. As in cnn_sg.py, a row of
    ones adds the biases, and small products are made row by row of the output.
    """
    (n_m, oh, ow, n_f), (fh, fw, c, _) = d.shape, W.shape
    X, d = X.transpose(3, 1, 2, 0).copy(), d.transpose(3, 1, 2, 0).copy()
    pieces = oh if W.size < 4096 else 1
    Wb = np.hstack([W.reshape(-1, n_f).T, b.reshape(n_f, 1)])
    dZ = d.reshape(n_f, pieces, -1).transpose(1, 0, 2)
    h, w = s * (oh - 1) + 1, s * (ow - 1) + 1
    places = {(k, l): np.s_[:, k : k + h : s, l : l + w : s] for k, l in np.ndindex(fh, fw)}
    while True:
        columns = np.empty((fh * fw * c + 1, oh * ow * n_m), X.dtype)
        columns[-1] = 1
        windows = columns[:-1].reshape(fh, fw, c, oh, ow, n_m)
        for (k, l), place in places.items():
            windows[k, l] = X[place]
        parts = columns.reshape(len(columns), pieces, -1).transpose(1, 0, 2)
        A = np.empty_like(d)
        np.matmul(Wb, parts, out=A.reshape(n_f, pieces, -1).transpose(1, 0, 2))
        dWb = (dZ @ parts.transpose(0, 2, 1)).sum(axis=0).T
        dwindows = (Wb[:, :-1].T @ d.reshape(n_f, -1)).reshape(windows.shape)
        dX = np.zeros_like(X)
        for (k, l), place in places.items():
            dX[place] += dwindows[k, l]
        A, dX = A.transpose(3, 1, 2, 0), dX.transpose(3, 1, 2, 0)
        yield [A, dX, dWb[:-1].reshape(W.shape), dWb[-1].reshape(b.shape)]


def slices_by_axis(X, d, s, W, b):
    """An axis at a time, as in cnn_sg.py; only adding back goes by slices instead of groups."""
    (n_m, oh, ow, n_f), (fh, fw, c, _), (ih, iw) = d.shape, W.shape, X.shape[1:3]
    h, w = s * (oh - 1) + 1, s * (ow - 1) + 1
    layer = cnn_sg.ConvLayer(n_f, (fh, fw), s)
    layer.W, layer.b = W, b
    while True:
        A = layer.forward_propagate(X)
        layer.weight_gradients(d)
        dZ_T = d.transpose(1, 2, 0, 3).reshape(oh, -1, n_f).transpose(0, 2, 1)
        dwindows = (W.reshape(-1, n_f) @ dZ_T).reshape(oh, fh, fw * c, -1)
        drows = np.zeros((ih, fw * c, ow * n_m), X.dtype)
        for k in range(fh):
            drows[k : k + h : s] += dwindows[:, k]
        drows = drows.reshape(ih, fw, c, ow, n_m)
        dX = np.zeros((ih, c, iw, n_m), X.dtype)
        for l in range(fw):
            dX[:, :, l : l + w : s] += drows[:, l]
        yield [A, dX.transpose(3, 0, 2, 1), layer.dW, layer.db]
