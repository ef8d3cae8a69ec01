"""Measure how fast cnn_sg.py is: against PyTorch, JAX, three kinds of im2col, and cnn_naive.py.

    python3 tools/benchmark.py

PyTorch and JAX take part where they are installed. First, all sides have to show that they compute
the same from the same weights. Then they take turns, round by round, each in a process of its own.
A ratio is the median, over the rounds, of the other's time by that of cnn_sg: above 1, cnn_sg is
faster. The tables are Markdown: those of README.md are what this program prints.
"""

import argparse
import ast
import contextlib
import importlib.metadata
import importlib.util
import itertools
import math
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cnn_naive
import cnn_sg
import mnist

# NumPy with any of its linear algebra libraries, and PyTorch, take their threads from these.
THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                   "VECLIB_MAXIMUM_THREADS")  # fmt: skip
SG, NAIVE, EAGER, LAST, JAX = "cnn_sg", "cnn_naive", "PyTorch", "channels_last", "JAX"
INDICES, INDEX, SLICES = "4 index arrays", "1 index array", "slices"
NEEDS = {EAGER: "torch", LAST: "torch", JAX: "jax"}
MODELS = ("flat", "cnn", "lenet")
LAYERS = [  # input (n_m, ih, iw, n_c); number of filters, None for max-pooling; their size; stride
    ((64, 28, 28, 1), 32, 3, 1),
    ((64, 12, 12, 20), 50, 5, 1),
    ((32, 32, 32, 3), 32, 3, 1),
    ((16, 28, 28, 32), 64, 3, 1),
    ((8, 56, 56, 64), 64, 3, 1),
    ((8, 112, 112, 3), 64, 7, 2),
    ((64, 26, 26, 32), None, 2, 2),
    ((64, 26, 26, 32), None, 3, 2),
]
TURN, PAUSE = 0.06, 0.04  # seconds of a turn, and after it, until the threads of the last sleep


# Networks. Each side is a generator: next() takes a step of training, and gives the loss.


def mini_batches(batch):
    """20 mini-batches of drawn digits: images (20, batch, 28, 28, 1), labels (20, batch, 10)."""
    images, labels = mnist.draw_digits(20 * batch, seed=1)
    X = mnist.scale(images).reshape(20, batch, 28, 28, 1)
    Y = np.eye(10, dtype=np.float32)[labels].reshape(20, batch, 10)
    return X, Y


def network(side, model, batch):
    """A side's generator; all sides begin with the weights that cnn_sg makes."""
    X, Y = mini_batches(batch)
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed=1)
    net.predict(X[0])
    if side == JAX:
        return jax_network(net, X, Y)
    if side in NEEDS:
        return pytorch_network(net, X, Y, side == LAST)
    return our_network(net, X, Y)


def our_network(net, X, Y):
    for x, y in itertools.cycle(zip(X, Y)):
        yield net.train(x, y, 0.1)[1]


def pytorch_network(net, X, Y, channels_last):
    import torch

    order = torch.channels_last if channels_last else torch.contiguous_format
    X = torch.from_numpy(X.transpose(0, 1, 4, 2, 3).copy())
    X = [x.contiguous(memory_format=order) for x in X]
    labels = torch.from_numpy(Y.argmax(axis=-1))
    model, loss_of = pytorch_model(net).to(memory_format=order), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in itertools.cycle(zip(X, labels)):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        yield loss.item()


def pytorch_model(net):
    """The same network in PyTorch, with the same weights; net has seen images."""
    import torch
    from torch import nn

    modules, shape = [], None  # of the images that come to the next layer
    for layer in net.layers:
        if isinstance(layer, cnn_sg.PoolLayer):
            modules.append(nn.MaxPool2d((layer.fh, layer.fw), layer.s))
        elif isinstance(layer, cnn_sg.FlatLayer):
            modules.append(nn.Flatten())
            continue
        elif isinstance(layer, cnn_sg.ConvLayer):
            size = layer.fh, layer.fw
            modules.append(nn.Conv2d(layer.W.shape[2], layer.n_f, size, layer.s, layer.p))
            weights = layer.W.transpose(3, 2, 0, 1), layer.b.ravel()
        else:
            W = layer.W[:, :-1]
            if shape:  # PyTorch flattens (channels, height, width)
                W = W.reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(W.shape)
            modules.append(nn.Linear(W.shape[1], len(W)))
            weights = W, layer.W[:, -1]
        if layer.weights:
            made = modules[-1]
            made.weight.data, made.bias.data = (torch.from_numpy(each.copy()) for each in weights)
        if isinstance(layer, cnn_sg.ReLU):
            modules.append(nn.ReLU())
        shape = layer.A.shape[1:] if layer.A.ndim == 4 else None
    return nn.Sequential(*modules)


def jax_network(net, X, Y):
    import jax
    import jax.numpy as jnp

    def output(weights, A):
        for layer, W in zip(net.layers, weights):
            if isinstance(layer, cnn_sg.ConvLayer):
                orders, padding = ("NHWC", "HWIO", "NHWC"), [(layer.p, layer.p)] * 2
                A = W[1] + jax.lax.conv_general_dilated(A, W[0], (layer.s, layer.s), padding,
                                                        dimension_numbers=orders)  # fmt: skip
            elif isinstance(layer, cnn_sg.PoolLayer):  # size = stride; faster than reduce_window
                n, oh, ow, c = len(A), *layer.A.shape[1:]
                A = A.reshape(n, oh, layer.fh, ow, layer.fw, c).max(axis=(2, 4))
            elif isinstance(layer, cnn_sg.FlatLayer):
                A = A.reshape(len(A), -1)
            else:
                A = A @ W[0][:, :-1].T + W[0][:, -1]
            A = jax.nn.relu(A) if isinstance(layer, cnn_sg.ReLU) else A
        return A

    def loss_of(weights, x, y):
        return -(y * jax.nn.log_softmax(output(weights, x))).sum() / len(y)

    @jax.jit
    def update(weights, x, y):
        loss, gradient = jax.value_and_grad(loss_of)(weights, x, y)
        return jax.tree.map(lambda W, dW: W - 0.1 * dW, weights, gradient), loss

    X, Y = [jnp.asarray(x) for x in X], [jnp.asarray(y) for y in Y]
    weights = [[jnp.asarray(getattr(each, name)) for name in each.weights] for each in net.layers]
    for x, y in itertools.cycle(zip(X, Y)):
        weights, loss = update(weights, x, y)
        yield float(loss)


def small_network(side, batch):
    """The network cnn by loops, or by stride groups, always on the same mini-batch."""
    cnn = {SG: cnn_sg, NAIVE: cnn_naive}[side]
    X, Y = mini_batches(batch)
    net = cnn.Network(mnist.models(cnn, 10)["cnn"], seed=1)
    return our_network(net, X[:1], Y[:1])


# Layers. next() goes forward and backward, and gives [A, dA_prev, dW, db], or [A, dA_prev]. Each
# side gets its arrays in the memory order that suits it best, as in the middle of a network.


def layer(side, shape, n_f, size, s):
    """A side's generator, for random images, weights and gradients: the same for all sides."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal(shape, np.float32)
    n_m, oh, ow = shape[0], (shape[1] - size) // s + 1, (shape[2] - size) // s + 1
    d = rng.standard_normal((n_m, oh, ow, n_f or shape[3]), np.float32)
    W = rng.standard_normal((size, size, shape[3], n_f or 1), np.float32)
    b = rng.standard_normal((1, 1, 1, n_f or 1), np.float32)
    if side == SG:
        return our_layer(cnn_sg, X, d, n_f, size, s, W, b)
    if side in NEEDS:
        return pytorch_layer(side == LAST, X, d, n_f, size, s, W, b)
    return {INDICES: index_arrays, INDEX: one_index_array, SLICES: slices}[side](X, d, s, W, b)


def our_layer(cnn, X, d, n_f, size, s, W=None, b=None):
    X, d = (np.moveaxis(np.moveaxis(each, 0, 2).copy(), 2, 0) for each in (X, d))
    ours = cnn.ConvLayer(n_f, size, s) if n_f else cnn.PoolLayer_Max(size, s)
    if n_f:
        ours.W, ours.b = W, b
    while True:
        A = ours.forward_propagate(X)
        dA_prev = ours.gradients(d)
        yield [A, dA_prev, ours.dW, ours.db] if n_f else [A, dA_prev]


def pytorch_layer(channels_last, X, d, n_f, size, s, W, b):
    import torch
    from torch import nn

    order = torch.channels_last if channels_last else torch.contiguous_format
    X, d = (torch.from_numpy(each.transpose(0, 3, 1, 2).copy()) for each in (X, d))
    X, d = (each.contiguous(memory_format=order) for each in (X, d))
    X.requires_grad_()
    module = nn.Conv2d(X.shape[1], n_f, size, s) if n_f else nn.MaxPool2d(size, s)
    if n_f:
        module.weight.data = torch.from_numpy(W.transpose(3, 2, 0, 1).copy())
        module.bias.data = torch.from_numpy(b.ravel())
        module.to(memory_format=order)
    while True:
        X.grad = None
        module.zero_grad()
        A = module(X)
        A.backward(d)
        results = [each.detach().numpy().transpose(0, 2, 3, 1) for each in (A, X.grad)]
        if n_f:
            dW = module.weight.grad.numpy().transpose(2, 3, 1, 0)
            results += [dW, module.bias.grad.numpy().reshape(b.shape)]
        yield results


def index_arrays(X, d, s, W, b):
    """im2col as in CS231n and most tutorials: arrays of indices, and np.add.at.

    In memory, images are (n_m, n_c, ih, iw); the index of a number has four parts.
    """
    fh, fw, c, n_f = W.shape
    oh, ow = d.shape[1:3]
    k = np.repeat(np.arange(c), fh * fw).reshape(-1, 1)
    i = np.tile(np.repeat(np.arange(fh), fw), c).reshape(-1, 1) + s * np.repeat(np.arange(oh), ow)
    j = np.tile(np.arange(fw), fh * c).reshape(-1, 1) + s * np.tile(np.arange(ow), oh)
    X, d = (each.transpose(0, 3, 1, 2).copy() for each in (X, d))
    W, b = W.transpose(3, 2, 0, 1).reshape(n_f, -1), b.reshape(n_f, 1)
    while True:
        columns = X[:, k, i, j].transpose(1, 2, 0).reshape(c * fh * fw, -1)
        A = (W @ columns + b).reshape(n_f, oh, ow, -1)
        dZ = d.transpose(1, 2, 3, 0).reshape(n_f, -1)
        dW, db = (dZ @ columns.T).reshape(n_f, c, fh, fw), d.sum(axis=(0, 2, 3))
        dcolumns = (W.T @ dZ).reshape(c * fh * fw, -1, len(X))
        dX = np.zeros_like(X)
        np.add.at(dX, (slice(None), k, i, j), dcolumns.transpose(2, 0, 1))
        yield [A.transpose(3, 1, 2, 0), dX.transpose(0, 2, 3, 1), dW.transpose(2, 3, 1, 0),
               db.reshape(1, 1, 1, n_f)]  # fmt: skip


def one_index_array(X, d, s, W, b):
    """im2col with one index for each number of each window, and the faster way to add by it."""
    fh, fw, c, n_f = W.shape
    numbers = np.arange(X.size).reshape(X.shape)
    index = sliding_window_view(numbers, (fh, fw), axis=(1, 2))[:, ::s, ::s]
    index = index.transpose(0, 1, 2, 4, 5, 3).reshape(-1, fh * fw * c)  # a row for each window

    def add_at(drows):
        dX = np.zeros(X.size, X.dtype)
        np.add.at(dX, index.ravel(), drows.ravel())
        return dX

    def bincount(drows):
        return np.bincount(index.ravel(), drows.ravel(), X.size).astype(X.dtype)

    def seconds(add):
        start = time.perf_counter()
        add(rows)
        return time.perf_counter() - start

    rows, dZ, filters = X.ravel()[index], d.reshape(-1, n_f), W.reshape(-1, n_f)
    add = min((add_at, bincount), key=seconds)
    while True:
        rows = X.ravel()[index]
        A = rows @ filters
        A += b.ravel()
        dW, db = rows.T @ dZ, dZ.sum(axis=0)
        dX = add(dZ @ filters.T)
        yield [A.reshape(d.shape), dX.reshape(X.shape), dW.reshape(W.shape), db.reshape(b.shape)]


def slices(X, d, s, W, b):
    """im2col with one slice for each element of the filter: that pixel of all windows at once.

    In memory, images are (n_c, ih, iw, n_m): the longest runs to copy. As in cnn_sg, a row of ones
    saves the biases' own sums, and small products are made row by row of the output.
    """
    fh, fw, c, n_f = W.shape
    n_m, oh, ow, _ = d.shape
    X, d = (each.transpose(3, 1, 2, 0).copy() for each in (X, d))
    Wb = np.vstack([W.reshape(-1, n_f), b.reshape(1, n_f)]).T.copy()
    pieces = oh if W.size < 4096 else 1
    dZ = d.reshape(n_f, pieces, -1).transpose(1, 0, 2)
    places = [(k, l, np.s_[:, k : k + s * (oh - 1) + 1 : s, l : l + s * (ow - 1) + 1 : s])
              for k, l in np.ndindex(fh, fw)]  # fmt: skip
    while True:
        columns = np.empty((fh * fw * c + 1, oh * ow * n_m), X.dtype)
        columns[-1] = 1
        windows = columns[:-1].reshape(fh, fw, c, oh, ow, n_m)
        for k, l, place in places:
            windows[k, l] = X[place]
        parts = columns.reshape(len(columns), pieces, -1).transpose(1, 0, 2)
        A = np.empty_like(d)
        np.matmul(Wb, parts, out=A.reshape(n_f, pieces, -1).transpose(1, 0, 2))
        dWb = (dZ @ parts.transpose(0, 2, 1)).sum(axis=0)
        dwindows = (Wb[:, :-1].T @ d.reshape(n_f, -1)).reshape(windows.shape)
        dX = np.zeros_like(X)
        for k, l, place in places:
            dX[place] += dwindows[k, l]
        yield [A.transpose(3, 1, 2, 0), dX.transpose(3, 1, 2, 0), dWb[:, :-1].T.reshape(W.shape),
               dWb[:, -1].reshape(b.shape)]  # fmt: skip


# Races


def set_threads(threads):
    """For all processes that are started from now on; None: as they are by default."""
    for name in THREAD_SETTINGS:
        os.environ.pop(name, None)
        if threads:
            os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):  # JAX takes all cores that it is not kept from
        os.sched_setaffinity(0, CORES[:threads])


def process():
    """An executor with one new process; Ctrl-C is for its parent."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN))


def race(make, arguments, threads, rounds, first_steps=1):
    """Return {side: seconds for a step, an array with a number for each round}.

    make(side, *arguments[side]) returns the side's generator, in a process of its own. What its
    first steps give has to be the same for all sides.
    """
    set_threads(threads)
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(process()) for side in arguments}
        expected, steps, times = None, {}, {side: [] for side in arguments}
        for side, its_arguments in arguments.items():
            call = processes[side].submit(prepare, first_steps, make, side, *its_arguments)
            results, seconds = call.result()
            expected = expected or results
            compare(side, make.__name__, its_arguments, results, expected)
            steps[side] = math.ceil(TURN / seconds)
        for _ in range(rounds):
            for side in random.sample(list(arguments), len(arguments)):
                times[side].append(processes[side].submit(take_turn, steps[side]).result())
                time.sleep(PAUSE)
    return {side: np.array(each) for side, each in times.items()}


def prepare(first_steps, make, *arguments):
    """Make the generator; return what its first steps give, and seconds for one more."""
    global generator
    generator = make(*arguments)
    results = [next(generator) for _ in range(first_steps)]
    return results, seconds_for(1)


def seconds_for(steps):
    start = time.perf_counter()
    for _ in range(steps):
        next(generator)
    return (time.perf_counter() - start) / steps


def take_turn(steps):
    seconds_for(1 + steps // 5)  # after a pause, the first steps are slower
    return seconds_for(steps)


def compare(side, name, arguments, results, expected):
    """End the program if two sides do not compute the same."""
    for result, right in zip(results, expected):
        for a, b in zip(np.atleast_1d(result) if np.isscalar(result) else result,
                        np.atleast_1d(right) if np.isscalar(right) else right):  # fmt: skip
            difference = np.abs(a - b).max() / np.abs(b).max()
            if np.shape(a) != np.shape(b) or not difference < 1e-4:
                sys.exit(f"{side} does not compute the same {name}{arguments}: {difference:.0e}")


# Sections: each prints a table


def installed(*sides):
    return [side for side in sides if side not in NEEDS or NEEDS[side] in AVAILABLE]


def row(*cells):
    """Print a line of a table in Markdown."""
    cells = [f"{cells[0]:38}", *(f"{each:>14}" for each in cells[1:])]
    print(f"| {' | '.join(cells)} |", flush=True)


def heading(title, *cells):
    print(f"\n{title}\n")
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))


def ratios(times):
    return {side: float(np.median(each / times[SG])) for side, each in times.items() if side != SG}


def table(title, sides, races):
    """Print a line for each race, which is (label, times); return the ratios of each."""
    heading(title, "", f"{SG}, ms", *sides[1:])
    found = {}
    for label, times in races:
        found[label] = ratios(times)
        cells = [f"{found[label][side]:.2f}" if side in times else "-" for side in sides[1:]]
        row(label, f"{1e3 * np.median(times[SG]):.2f}", *cells)
    return found


def count(number, unit):
    return f"{number} {unit}{'s' * (number != 1)}"


def networks(options):
    """A training step of each network, on 32 and on 64 images."""
    sides = installed(SG, EAGER, LAST, JAX)

    def races():
        for threads, model, batch in itertools.product(options.threads, MODELS, options.batches):
            those = [side for side in sides if side != LAST or model != "flat"]  # it has no images
            arguments = dict.fromkeys(those, (model, batch))
            times = race(network, arguments, threads, options.rounds, first_steps=20)
            yield f"`{model}`, {batch} images, {count(threads, 'thread')}", times

    return table("A training step: milliseconds, and the others' time by that", sides, races())


def layers(options):
    """Layers, forward and backward, also against im2col."""
    sides = installed(SG, EAGER, LAST, INDICES, INDEX, SLICES)

    def races():
        for threads, problem in itertools.product(options.threads, LAYERS):
            those = [side for side in sides if problem[1] or side in (SG, EAGER, LAST)]
            times = race(layer, dict.fromkeys(those, problem), threads, options.rounds)
            yield f"{name_of(*problem)}, {count(threads, 'thread')}", times

    title = "A layer, forward and backward: milliseconds, and the others' time by that"
    table(title, sides, races())


def name_of(shape, n_f, size, s):
    """A layer in words: 32 3x3 / 2 are 32 filters of 3 x 3 pixels with stride 2."""
    kind = f"{n_f or 'max'} {size}x{size}{f' / {s}' * (s > 1)}"
    return f"{' x '.join(map(str, shape))}: {kind}"


def naive(options):
    """cnn_naive.py against cnn_sg.py: the network cnn, one image at a time and 32."""
    race(small_network, {SG: (2,), NAIVE: (2,)}, 1, 0, first_steps=2)  # the same losses
    times = race(small_network, {SG: (32,), NAIVE: (1,)}, 1, 3, first_steps=0)
    ours, loops = 1e3 * np.median(times[SG]) / 32, 1e3 * np.median(times[NAIVE])
    ratio = np.median(times[NAIVE] / (times[SG] / 32))
    heading("A training step of `cnn`, one thread: milliseconds an image", "", SG, NAIVE, "ratio")
    row("`cnn`", f"{ours:.3f}", f"{loops:.0f}", f"{ratio:,.0f}")


def shares(options):
    """Where the time of cnn_sg.py goes, with one thread."""
    set_threads(1)
    with process() as other:
        peak = other.submit(peak_flops).result()
        print(f"\nOne thread multiplies matrices of 2048 x 2048 at {peak / 1e9:.0f} GFLOP/s, here "
              "called peak.\nPython: a step of one image with one filter and one neuron a layer. "
              "Memory: the rest.")  # fmt: skip
        heading("Where the time goes", "", "ms", "products", "at of peak", "memory", "Python")
        problems = [(model, batch) for model in MODELS for batch in options.batches]
        for problem in [*problems, *LAYERS]:
            seconds, products, flop, python = other.submit(measure_shares, problem).result()
            label = name_of(*problem) if len(problem) == 4 else f"`{problem[0]}`, {problem[1]} images"
            speed = f"{flop / products / peak:.0%}" if products else "-"
            rest = seconds - products - python
            row(label, f"{1e3 * seconds:.2f}", f"{products / seconds:.0%}", speed,
                f"{rest / seconds:.0%}", f"{python / seconds:.0%}")  # fmt: skip


def peak_flops(size=2048):
    A, times = np.ones((size, size), np.float32), []
    for _ in range(5):
        start = time.perf_counter()
        A @ A
        times.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(times))


def measure_shares(problem):
    """Return seconds of a step, those in matrix products, their operations, those of Python."""
    cnn = with_timed_products()
    make = layer_for_shares if len(problem) == 4 else network_for_shares
    small, whole = make(cnn, True, *problem), make(cnn, False, *problem)
    python = min(average(small, cnn)[0] for _ in range(5))
    return *average(whole, cnn), python


def average(steps, cnn):
    """Seconds, seconds of products and operations of products: means of steps in half a second."""
    next(steps)
    next(steps)
    cnn.spent[:] = 0
    start, number = time.perf_counter(), 0
    while number < 3 or time.perf_counter() - start < 0.5:
        next(steps)
        number += 1
    return np.array([time.perf_counter() - start, *cnn.spent]) / number


def network_for_shares(cnn, small, model, batch):
    X, Y = mini_batches(batch)
    net = cnn.Network(mnist.models(cnn, 10)[model], seed=1)
    if small:
        X, Y = X[:, :1], Y[:, :1, :1]
        for each in net.layers:
            each.n_f = each.num_neurons = 1
    return our_network(net, X, Y)


def layer_for_shares(cnn, small, shape, n_f, size, s):
    shape, n_f = ((1, *shape[1:3], 1), n_f and 1) if small else (shape, n_f)
    rng = np.random.default_rng(1)
    oh, ow = ((length - size) // s + 1 for length in shape[1:3])
    X = rng.standard_normal(shape, np.float32)
    d = rng.standard_normal((shape[0], oh, ow, n_f or shape[3]), np.float32)
    return our_layer(cnn, X, d, n_f, size, s)


def with_timed_products():
    """A copy of cnn_sg that adds up in `spent` the seconds and operations of matrix products."""

    class ToCall(ast.NodeTransformer):
        def visit_BinOp(self, node):
            self.generic_visit(node)
            if isinstance(node.op, ast.MatMult):
                return ast.Call(ast.Name("product", ast.Load()), [node.left, node.right], [])
            return node

        def visit_Attribute(self, node):
            self.generic_visit(node)
            return ast.Name("product", ast.Load()) if node.attr == "matmul" else node

    def product(A, B, **keywords):
        start = time.perf_counter()
        result = np.matmul(A, B, **keywords)
        cnn.spent += time.perf_counter() - start, 2 * A.size * B.shape[-1]
        return result

    cnn = types.ModuleType("cnn_sg_timed")
    cnn.spent, cnn.product = np.zeros(2), product
    path = Path(cnn_sg.__file__)
    tree = ast.fix_missing_locations(ToCall().visit(ast.parse(path.read_text(encoding="utf-8"))))
    exec(compile(tree, path, "exec"), cnn.__dict__)  # noqa: S102 - our own module
    return cnn


def runs(options):
    """Whole runs of mnist.py, and of the same training in PyTorch, each as it is by default."""
    if not installed(LAST):
        return print("\nWhole runs need PyTorch: pip install torch")
    set_threads(None)
    mnist.load_mnist(options.data)  # so that no download is timed
    found, rows = {}, []
    for model in MODELS:
        times = {SG: [], LAST: []}
        for seed in range(1, options.runs + 1):
            ours = [str(HERE.parent / "mnist.py"), model, "--seed", str(seed)]
            call = f"import benchmark as b; b.train_in_pytorch({model!r}, {seed}, {str(options.data)!r})"
            commands = {SG: [*ours, "--data", str(options.data)], LAST: ["-c", call]}
            for side in random.sample(list(commands), 2):
                start = time.perf_counter()
                ended = subprocess.run([sys.executable, *commands[side]], cwd=HERE, check=True,
                                       stdout=subprocess.PIPE, text=True)  # fmt: skip
                times[side].append(time.perf_counter() - start)
                last = ended.stdout.splitlines()[-1]
                print(f"{model}, {side}: {times[side][-1]:.1f} s. {last}", flush=True)
        all_ratios = np.divide(times[LAST], times[SG])
        found[model] = float(np.median(all_ratios))
        rows.append([f"`{model}`", *(f"{np.median(each):.1f}" for each in times.values()),
                     f"{found[model]:.2f}", f"{all_ratios.min():.2f} - {all_ratios.max():.2f}"])  # fmt: skip
    heading(f"A whole run, from the start to the last line: seconds, medians of {options.runs}",
            "", "mnist.py", EAGER, "ratio", "range")  # fmt: skip
    for each in rows:
        row(*each)
    return found


def train_in_pytorch(model, seed, folder):
    """What mnist.py does by default, in PyTorch with channels_last, on all cores."""
    import torch

    torch.manual_seed(seed)
    defaults = mnist.DEFAULTS[model]
    train_set, test_set = mnist.load_mnist(folder)
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed)
    net.predict(mnist.scale(train_set[0][:1]))
    module = pytorch_model(net).to(memory_format=torch.channels_last)

    def tensors(images, labels):
        images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
        labels = torch.from_numpy(labels.astype(np.int64))
        return images.contiguous(memory_format=torch.channels_last), labels

    (x, y), (xt, yt) = tensors(*train_set), tensors(*test_set)
    loss_of = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), defaults["learning_rate"])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, defaults["decay"])
    for _ in range(defaults["epochs"]):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = loss_of(module(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            loss.item()  # mnist.py looks at each loss, too
        schedule.step()
        with torch.no_grad():  # mnist.py tests after each epoch, too
            outputs = torch.cat([module(piece) for piece in xt.split(1000)])
    error = (outputs.argmax(1) != yt).float().mean().item()
    print(f"Test set: loss {loss_of(outputs, yt).item():.4f}, error {error:.2%}")


# The picture


def draw(steps, whole, path):
    """Bars of PyTorch's time by ours: for each network, a step with each number of threads, a run."""
    from matplotlib.figure import Figure

    bars = {}  # {kind: {model: ratio}}
    for label, found in steps.items():
        model, images, threads = label.replace("`", "").split(", ")
        if images == "32 images":  # of PyTorch's formats, the faster
            ratio = min(found[side] for side in found if side != JAX)
            bars.setdefault(f"a training step, {threads} for both", {})[model] = ratio
    if whole:
        bars["a whole run of mnist.py (1 thread), PyTorch with all cores"] = whole
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(bars)
    for k, (kind, found) in enumerate(bars.items()):
        places = [MODELS.index(model) + (k - (len(bars) - 1) / 2) * width for model in found]
        drawn = axes.bar(places, found.values(), 0.92 * width, label=kind, color=COLOURS[k % 4])
        axes.bar_label(drawn, [f"{ratio:.1f}" for ratio in found.values()], fontsize=13, padding=2)
    axes.axhline(1, color="black", linewidth=1.2)
    axes.annotate("as fast as PyTorch", (1, 1), (0, 3), ("axes fraction", "data"), "offset points",
                  ha="right", fontsize=11)  # fmt: skip
    axes.set_xticks(range(len(MODELS)), MODELS, fontsize=15)
    axes.set_ylabel("PyTorch's time / ours", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=12, frameon=False, loc="upper right")
    axes.margins(y=0.12)
    figure.suptitle("How many times as fast as PyTorch? Above the line, NumPy is faster", fontsize=14)
    figure.savefig(path, dpi=100, format="png")
    print(f"\nPicture: {path}")


# Command line


SECTIONS = {each.__name__: each for each in (networks, layers, naive, shares, runs)}
AVAILABLE = {name for name in NEEDS.values() if importlib.util.find_spec(name)}
CORES = list(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count()))
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#999999")  # Okabe and Ito: also for the colour-blind


def describe_machine():
    """What a reader has to know to compare."""
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        blas = f" ({blas['name']} {blas['version']})"
    except (TypeError, KeyError):  # before NumPy 1.26
        blas = ""
    others = [f"{name} {importlib.metadata.version(name)}" for name in sorted(AVAILABLE)]
    left_out = [f"no {name}" for name in sorted(set(NEEDS.values()) - AVAILABLE)]
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}{blas}"]
    machine = f"{platform.system()} {platform.machine()}, {count(len(CORES), 'core')}"
    print(", ".join([machine, *versions, *others, *left_out]))
    print("Ratios are medians of the other's time by that of cnn_sg: above 1, cnn_sg is faster.")


def main():
    number = mnist.at_least(1, int)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = "; ".join(f"{name}: {each.__doc__}" for name, each in SECTIONS.items())
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"{names} Default: all but runs, which take long")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a minute, without PyTorch and JAX")
    parser.add_argument("--threads", type=number, action="append", metavar="N",
                        help="number of threads of all sides in networks and layers; may be given "
                        "again (default: 1, then all cores)")  # fmt: skip
    parser.add_argument("--rounds", type=number, metavar="N", help="of a race (default: 15)")
    parser.add_argument("--runs", type=number, default=5, metavar="N", help="of each network "
                        "by each side (default: %(default)s)")  # fmt: skip
    parser.add_argument("--data", type=Path, default=HERE.parent, metavar="DIR",
                        help="where runs find the files of MNIST (default: beside mnist.py)")  # fmt: skip
    parser.add_argument("--plot", type=mnist.writable, metavar="FILE", help="draw PyTorch's times "
                        "by ours in networks and runs; needs matplotlib")  # fmt: skip
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"expected sections of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    options.rounds = options.rounds or (3 if options.quick else 15)
    options.batches = (32,) if options.quick else (32, 64)
    options.threads = options.threads or ([1] if options.quick else sorted({1, len(CORES)}))
    if options.quick:
        AVAILABLE.clear()
    describe_machine()
    try:
        sections = options.sections or list(SECTIONS)[:-1]
        found = {name: SECTIONS[name](options) for name in sections}
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except (OSError, ValueError) as problem:
        sys.exit(f"{problem}")
    if options.plot and "networks" in found and EAGER in installed(EAGER):
        draw(found["networks"], found.get("runs"), options.plot)
    elif options.plot:
        print("Nothing to draw: that needs PyTorch, and networks among the sections.")


if __name__ == "__main__":
    main()
