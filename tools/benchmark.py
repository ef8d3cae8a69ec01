"""Measure cnn_sg.py: against PyTorch, JAX, im2col and cnn_naive.py, and against itself.

    python3 tools/benchmark.py

PyTorch and JAX take part where they are installed. Each contestant is a process of its own. They
take turns, round by round; a ratio is the median, over the rounds, of its time by cnn_sg's: above
1, cnn_sg is faster. Before a race, all have to show that they compute the same.
"""

import argparse
import importlib.metadata
import importlib.util
import math
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cnn_naive
import cnn_sg
import mnist

# NumPy with either BLAS, and PyTorch, take their number of threads from these.
THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                   "VECLIB_MAXIMUM_THREADS")  # fmt: skip
SG, EAGER, LAST = "cnn_sg", "PyTorch", "PyTorch, channels_last"
WINDOW, RESHAPE, IM2COL, NAIVE = "JAX, reduce_window", "JAX, reshape", "im2col", "cnn_naive"
PACKAGES = {"PyTorch": "torch", "JAX": "jax"}
AVAILABLE = {name for name in ("numpy", "torch", "jax") if importlib.util.find_spec(name)}
CONVOLUTIONS = [  # input (n, h, w, c), and number, size and stride of the filters
    ((64, 28, 28, 1), 32, 3, 1),
    ((64, 12, 12, 20), 50, 5, 1),
    ((32, 32, 32, 3), 32, 3, 1),
    ((16, 28, 28, 32), 64, 3, 1),
    ((8, 56, 56, 64), 64, 3, 1),
    ((8, 112, 112, 3), 64, 7, 2),
]
POOLINGS = [((64, 26, 26, 32), 2, 2), ((64, 26, 26, 32), 3, 2)]  # input, size, stride
TURN, PAUSE = 0.06, 0.04  # seconds of a turn, and after it, until the threads of the last sleep


# The contestants. Each function runs in a process of its own and returns a function to time.


def network_of(side, model, batch):
    """Return step(k), which trains on the k-th of 20 mini-batches and returns the loss."""
    images, labels = mnist.draw_digits(20 * batch, seed=1)
    X = mnist.scale(images).reshape(20, batch, 28, 28, 1)
    Y = np.eye(10, dtype=np.float32)[labels].reshape(20, batch, 10)
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed=1)
    net.predict(X[0])
    if side == SG:
        return lambda k: net.train(X[k % 20], Y[k % 20], 0.1)[1]
    step = (jax_step if side in (WINDOW, RESHAPE) else pytorch_step)(net, side, X, Y)
    return lambda k: step(k % 20)


def pytorch_model(net, channels_last):
    """The same network in PyTorch, with the same weights."""
    import torch
    from torch import nn

    modules, shape = [], None  # of the images that the next layer gets
    for layer in net.layers:
        if isinstance(layer, cnn_sg.ConvLayer):
            size = layer.fh, layer.fw
            modules.append(nn.Conv2d(layer.W.shape[2], layer.n_f, size, layer.s, layer.p))
            weights = layer.W.transpose(3, 2, 0, 1), layer.b.ravel()
        elif isinstance(layer, cnn_sg.PoolLayer):
            modules.append(nn.MaxPool2d((layer.fh, layer.fw), layer.s))
        elif isinstance(layer, cnn_sg.FlatLayer):
            modules.append(nn.Flatten())
        else:
            W = layer.W[:, :-1]
            if shape:  # PyTorch flattens (channels, height, width)
                W = W.reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(W.shape)
            weights = W, layer.W[:, -1]
            modules.append(nn.Linear(W.shape[1], len(W)))
        if layer.weights:
            made = modules[-1]
            made.weight.data, made.bias.data = (torch.from_numpy(each.copy()) for each in weights)
        if isinstance(layer, (cnn_sg.ConvLayer_ReLU, cnn_sg.FCLayer_ReLU)):
            modules.append(nn.ReLU())
        if not isinstance(layer, cnn_sg.FlatLayer):
            shape = layer.output_shape[1:] if len(layer.output_shape) == 4 else None
    model = nn.Sequential(*modules)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def pytorch_step(net, side, X, Y):
    import torch

    order = torch.channels_last if side == LAST else torch.contiguous_format
    X = torch.from_numpy(X.transpose(0, 1, 4, 2, 3).copy())
    X = [x.contiguous(memory_format=order) for x in X]
    labels = torch.from_numpy(Y.argmax(axis=-1))
    model, loss_of = pytorch_model(net, side == LAST), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(k):
        optimizer.zero_grad()
        loss = loss_of(model(X[k]), labels[k])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def jax_step(net, side, X, Y):
    import jax
    import jax.numpy as jnp
    from jax import lax

    def pool(A, layer):
        if side == WINDOW:
            size, strides = (1, layer.fh, layer.fw, 1), (1, layer.s, layer.s, 1)
            return lax.reduce_window(A, -jnp.inf, lax.max, size, strides, "VALID")
        n, oh, ow, c = len(A), *layer.output_shape[1:3], A.shape[3]
        A = A[:, : oh * layer.fh, : ow * layer.fw]
        return A.reshape(n, oh, layer.fh, ow, layer.fw, c).max(axis=(2, 4))

    def loss_of(weights, A, Y):
        for layer, W in zip(net.layers, weights):
            if isinstance(layer, cnn_sg.ConvLayer):
                strides, orders = (layer.s, layer.s), ("NHWC", "HWIO", "NHWC")
                padding = [(layer.p, layer.p)] * 2
                A = lax.conv_general_dilated(A, W[0], strides, padding, dimension_numbers=orders) + W[1]
            elif isinstance(layer, cnn_sg.PoolLayer):
                A = pool(A, layer)
            elif isinstance(layer, cnn_sg.FlatLayer):
                A = A.reshape(len(A), -1)
            else:
                A = A @ W[0][:, :-1].T + W[0][:, -1]
            if isinstance(layer, (cnn_sg.ConvLayer_ReLU, cnn_sg.FCLayer_ReLU)):
                A = jax.nn.relu(A)
        return -(Y * jax.nn.log_softmax(A)).sum() / len(Y)

    @jax.jit
    def update(weights, x, y):
        loss, gradient = jax.value_and_grad(loss_of)(weights, x, y)
        return jax.tree.map(lambda W, dW: W - 0.1 * dW, weights, gradient), loss

    X, Y = ([jnp.asarray(each) for each in all_of_them] for all_of_them in (X, Y))
    weights = [[jnp.asarray(getattr(each, name)) for name in each.weights] for each in net.layers]

    def step(k):
        nonlocal weights
        weights, loss = update(weights, X[k], Y[k])
        return float(loss)

    return step


def layer_of(side, shape, n_f, size, stride):
    """Return step(k), which goes forward and backward; it returns the output and gradients.

    n_f filters, or max-pooling if n_f is None. X, W and d are the same for every side.
    """
    rng = np.random.default_rng(1)
    X = rng.standard_normal(shape, np.float32)
    layer = cnn_sg.ConvLayer(n_f, size, stride) if n_f else cnn_sg.PoolLayer_Max(size, stride)
    layer.rng = rng
    d = rng.standard_normal(layer.forward_propagate(X).shape, np.float32)
    if side == SG:

        def step(k):
            A = layer.forward_propagate(X)
            dA_prev = layer.backpropagate(d, 0.0)
            return [A, dA_prev, *(getattr(layer, f"d{name}") for name in layer.weights)]

        return step
    # The others have channels before rows and columns.
    channels = (0, 3, 1, 2)
    X, d = (np.ascontiguousarray(each.transpose(channels)) for each in (X, d))
    if side == IM2COL:
        W = np.ascontiguousarray(layer.W.transpose(3, 2, 0, 1))
        step = im2col_step(X, W, layer.b.ravel(), d, stride)
    else:
        step = pytorch_layer_step(X, layer, d, side == LAST)

    def in_our_order(k):
        A, dX, *dW = step(k)
        A, dX = (each.transpose(0, 2, 3, 1) for each in (A, dX))
        return [A, dX, dW[0].transpose(2, 3, 1, 0), dW[1]] if dW else [A, dX]

    return in_our_order


def im2col_step(X, W, b, d, s):
    """Convolution as most tutorials have it: an index for each number of each window."""
    n_f, c, fh, fw = W.shape
    oh, ow = d.shape[2:]
    k = np.repeat(np.arange(c), fh * fw).reshape(-1, 1)
    i = np.tile(np.repeat(np.arange(fh), fw), c).reshape(-1, 1) + s * np.repeat(np.arange(oh), ow)
    j = np.tile(np.arange(fw), fh * c).reshape(-1, 1) + s * np.tile(np.arange(ow), oh)

    def step(_):
        columns = X[:, k, i, j].transpose(1, 2, 0).reshape(c * fh * fw, -1)
        A = (W.reshape(n_f, -1) @ columns + b.reshape(-1, 1)).reshape(n_f, oh, ow, -1)
        dZ = d.transpose(1, 2, 3, 0).reshape(n_f, -1)
        dW, db = (dZ @ columns.T).reshape(W.shape), d.sum(axis=(0, 2, 3))
        dcolumns = (W.reshape(n_f, -1).T @ dZ).reshape(c * fh * fw, -1, len(X))
        dX = np.zeros_like(X)
        np.add.at(dX, (slice(None), k, i, j), dcolumns.transpose(2, 0, 1))
        return A.transpose(3, 0, 1, 2), dX, dW, db

    return step


def pytorch_layer_step(X, layer, d, channels_last):
    import torch

    order = torch.channels_last if channels_last else torch.contiguous_format
    X, d = (torch.from_numpy(each).contiguous(memory_format=order) for each in (X, d))
    X.requires_grad_()
    module = pytorch_model(cnn_sg.Network([layer]), channels_last)

    def step(_):
        X.grad = None
        module.zero_grad()
        A = module(X)
        A.backward(d)
        gradients = [each.grad.numpy() for each in module.parameters()]
        return A.detach().numpy(), X.grad.numpy(), *gradients

    return step


def sample_of(side, batch):
    """Return step(k), which trains the cnn network on a mini-batch."""
    module = {SG: cnn_sg, NAIVE: cnn_naive}[side]
    images, labels = mnist.draw_digits(batch, seed=1)
    X, Y = mnist.scale(images), np.eye(10, dtype=np.float32)[labels]
    net = module.Network(mnist.models(module, 10)["cnn"], seed=1)
    return lambda k: net.train(X, Y, 0.1)[1]


# In the process of a contestant


def prepare(make, arguments, first_steps):
    """Make the step; return what the first ones return, in short, and seconds for one more."""
    global step
    step = make(*arguments)
    results = [in_short(step(k)) for k in range(first_steps)]
    return results, timed(1)


def timed(steps):
    """Seconds for each step."""
    start = time.perf_counter()
    for k in range(steps):
        step(k)
    return (time.perf_counter() - start) / steps


def take_turn(steps):
    timed(1 + steps // 5)  # after a pause, the first steps are slower
    return timed(steps)


def in_short(result):
    """A loss as it is; of each array, how large it is, and how much of a wave is in it."""
    if isinstance(result, float):
        return result
    shown = []
    for each in result:
        size = math.sqrt(np.square(each, dtype=np.float64).mean())
        wave = np.cos(np.arange(each.size)).reshape(each.shape)
        shown += [math.log(size), float((each * wave).sum() / size / math.sqrt(each.size))]
    return shown


def grown(batch, size, n_f):
    """Milliseconds and peak megabytes of arrays of a step of the cnn network."""
    rng = np.random.default_rng(1)
    X = rng.random((batch, size, size, 1), np.float32)
    Y = np.eye(10, dtype=np.float32)[rng.integers(0, 10, batch)]
    layers = mnist.models(cnn_sg, 10)["cnn"]
    layers[0] = cnn_sg.ConvLayer_ReLU(n_f, 3)
    net = cnn_sg.Network(layers, seed=1)
    tracemalloc.start()
    for _ in range(2):
        net.train(X, Y, 0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    times = []
    while len(times) < 3 or (sum(times) < 0.4 and len(times) < 100):
        start = time.perf_counter()
        net.train(X, Y, 0.01)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)), peak / 1e6


def matmul_peak(size=2048):
    """GFLOP/s of the product of two square matrices."""
    A = np.ones((size, size), np.float32)
    out = np.empty_like(A)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        np.matmul(A, A, out=out)
        times.append(time.perf_counter() - start)
    return 2e-9 * size**3 / float(np.median(times))


# The parent process


class Contestants:
    """A process for each side, all with the same number of threads."""

    def __init__(self, threads):
        self.threads, self.processes = threads, {}

    def __call__(self, side, function, *arguments):
        if side not in self.processes:
            os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(self.threads)))
            context = multiprocessing.get_context("spawn")
            self.processes[side] = ProcessPoolExecutor(1, context, let_parent_end_it)
        return self.processes[side].submit(function, *arguments).result()

    def race(self, sides, make, arguments, rounds, first_steps=1, tolerance=1e-4):
        """Return seconds a step: an array, round by round, for each side."""
        shown, steps = {}, {}
        for side in sides:
            shown[side], seconds = self(side, prepare, make, arguments[side], first_steps)
            steps[side] = min(1000, math.ceil(TURN / seconds))
            difference = np.abs(np.subtract(shown[side], shown[sides[0]])).max()
            if not difference <= tolerance:
                sys.exit(f"{side} and {sides[0]} do not compute the same: {make.__name__}"
                         f"{arguments[side]} differ by {difference:.1e}")  # fmt: skip
        times = {side: [] for side in sides}
        for _ in range(rounds):
            for side in random.sample(sides, len(sides)):
                times[side].append(self(side, take_turn, steps[side]))
                time.sleep(PAUSE)
        return {side: np.array(each) for side, each in times.items()}

    def stop(self):
        for process in self.processes.values():
            process.shutdown(cancel_futures=True)


def let_parent_end_it():
    """Ctrl-C reaches all processes of a terminal: one line from one of them is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# What is printed


def installed(*sides):
    return [side for side in sides if PACKAGES.get(side.split(",")[0], "numpy") in AVAILABLE]


def table(title, sides, width=30):
    """Print a heading; return tell(label, times), which prints a line and returns its ratios."""
    widths = [max(len(side), 15) + 2 for side in sides]
    print(f"\n{title}")
    print(" " * width + "".join(side.rjust(each) for side, each in zip(sides, widths)), flush=True)

    def tell(label, times):
        cells, ratios = [], {}
        for side, each in zip(sides, widths):
            cell = "-"
            if side in times:
                ratios[side] = float(np.median(times[side] / times[SG]))
                cell = f"{1e3 * np.median(times[side]):.2f}"
                cell += f" ({ratios[side]:.2f})" if side != SG else "       "
            cells.append(cell.rjust(each))
        print(label.ljust(width) + "".join(cells), flush=True)
        del ratios[SG]
        return ratios

    return tell


def networks(contestants, options):
    sides = installed(SG, EAGER, LAST, WINDOW, RESHAPE)
    tell = table("Networks: milliseconds a training step, and ratio", sides)
    found = {}
    for model in ("flat", "cnn", "lenet"):
        for batch in options.batches:
            # flat has no images: no channels to be last, nothing to pool
            those = [side for side in sides if model != "flat" or side not in (LAST, WINDOW)]
            arguments = {side: (side, model, batch) for side in those}
            times = contestants.race(those, network_of, arguments, options.rounds, 20)
            label = f"{model}, batch {batch}"
            found[label] = tell(label, times)
    return found


def layers(contestants, options):
    sides = installed(SG, EAGER, LAST, IM2COL)
    tell = table("Layers: milliseconds forward and backward, and ratio", sides)
    found = {}
    for shape, n_f, size, stride in [*CONVOLUTIONS, *((x, None, f, s) for x, f, s in POOLINGS)]:
        those = [side for side in sides if n_f or side != IM2COL]
        arguments = {side: (side, shape, n_f, size, stride) for side in those}
        rounds = max(3, options.rounds // 2)
        times = contestants.race(those, layer_of, arguments, rounds)
        kind = f"{n_f} {size}x{size}" if n_f else f"max {size}x{size}"
        label = f"{', '.join(map(str, shape))}: {kind}" + (f" / {stride}" if stride > 1 else "")
        found[label] = tell(label, times)
    return found


def naive(contestants, options):
    tell = table("Naive (in mini-batches of 2) against stride groups: milliseconds a training sample, "
                 "and ratio", [SG, NAIVE])  # fmt: skip
    sides, found = [SG, NAIVE], {}
    rounds = 2 if options.quick else 5
    contestants.race(sides, sample_of, {side: (side, 2) for side in sides}, 0, 2)  # the same losses?
    for batch in options.batches:
        samples = {SG: batch, NAIVE: 2}
        arguments = {side: (side, samples[side]) for side in sides}
        times = contestants.race(sides, sample_of, arguments, rounds, tolerance=math.inf)
        times = {side: each / samples[side] for side, each in times.items()}
        label = f"cnn sample, batch {batch}"
        found[label] = tell(label, times)
    return found


def growth(contestants, options):
    print("\nGrowth of a cnn step, from batch 16, images of 28 x 28 and 32 filters:")
    print("work, time and memory by those of the first line of each block")
    print(f"{'':30}{'ms':>10}{'peak MB':>10}{'work':>10}{'time':>10}{'memory':>10}")
    sizes = {"batch": (16, 32, 64, 128, 256, 512), "image": (28, 56, 112, 224), "filters": (8, 32, 128)}
    for name, values in sizes.items():
        first = None
        for value in values[:: 2 if options.quick else 1]:
            setting = {"batch": 16, "image": 28, "filters": 32, name: value}
            ms, megabytes = contestants(SG, grown, *setting.values())
            row = np.array([work("cnn", *setting.values()), ms, megabytes])
            first = row if first is None else first
            more = "".join(f"{each:9.1f}x" for each in row / first)
            print(f"{name + ' ' + str(value):30}{ms:10.2f}{megabytes:10.1f}{more}", flush=True)


def work(model, batch, size=28, n_f=32):
    """GFLOP of a training step: a product forward, and two backward, but one in the first layer."""
    layers = mnist.models(cnn_sg, 10)[model]
    if model == "cnn":
        layers[0] = cnn_sg.ConvLayer_ReLU(n_f, 3)
    cnn_sg.Network(layers, seed=1).predict(np.zeros((1, size, size, 1), np.float32))
    total, products = 0, 2
    for layer in layers:
        if layer.weights:
            n = layer.W.size if layer.W.ndim == 2 else layer.W.size * math.prod(layer.output_shape[1:3])
            total, products = total + products * 2 * batch * n, 3
    return total / 1e9


def limit(contestants, options):
    peak = contestants(SG, matmul_peak)
    print(f"\nThe machine's limit: a product of 2048 x 2048 matrices runs at {peak:.0f} GFLOP/s")
    print(f"{'':30}{'GFLOP':>10}{'ms':>10}{'GFLOP/s':>10}{'of limit':>10}")
    for model in ("flat", "cnn", "lenet"):
        for batch in options.batches:
            arguments = {SG: (SG, model, batch)}
            seconds = np.median(contestants.race([SG], network_of, arguments, 5)[SG])
            gflop = work(model, batch)
            speed = gflop / seconds
            print(f"{f'{model}, batch {batch}':30}{gflop:10.4f}{1e3 * seconds:10.2f}{speed:10.1f}"
                  f"{speed / peak:10.0%}", flush=True)  # fmt: skip


def training(contestants, options):
    """Whole processes of `mnist.py cnn` and of the same in PyTorch, in turns."""
    mnist.load_mnist(options.data)  # so that no download is timed
    print("\npython3 mnist.py cnn and the same in PyTorch, from start (and import) to last line")
    environment = {**os.environ, **dict.fromkeys(THREAD_SETTINGS, str(contestants.threads))}
    commands = {SG: [str(HERE.parent / "mnist.py"), "cnn"], LAST: [__file__, "training-in-pytorch"]}
    commands = {side: commands[side] for side in installed(*commands)}
    times = {side: [] for side in commands}
    for turn in range(options.trainings):
        for side in list(commands)[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            command = [sys.executable, *commands[side], "--seed", str(turn + 1)]
            command += ["--data", str(options.data)]
            ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            times[side].append(time.perf_counter() - start)
            print(f"  {side}: {times[side][-1]:.1f} s. {ended.stdout.splitlines()[-1]}", flush=True)
    if LAST in times:
        ratios = np.divide(times[LAST], times[SG])
        print(f"median ratio {np.median(ratios):.2f}, of {', '.join(f'{each:.2f}' for each in ratios)}")


def train_in_pytorch(options):
    """What mnist.py does, with its defaults for cnn, in PyTorch."""
    import torch

    torch.manual_seed(options.seed)
    defaults = mnist.DEFAULTS["cnn"]
    (x, y), (xt, yt) = mnist.load_mnist(options.data)
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)["cnn"], options.seed)
    net.predict(mnist.scale(x[:1]))
    model = pytorch_model(net, channels_last=True)

    def tensors(images, labels):
        images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
        return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels.astype(np.int64))

    (x, y), (xt, yt) = tensors(x, y), tensors(xt, yt)
    loss_of = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), defaults["learning_rate"])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, defaults["decay"])
    for epoch in range(defaults["epochs"]):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = loss_of(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            loss.item()  # mnist.py too looks at each loss
        schedule.step()
        with torch.no_grad():
            outputs = torch.cat([model(piece) for piece in xt.split(1000)])
        cce, ce = loss_of(outputs, yt).item(), (outputs.argmax(1) != yt).float().mean().item()
        print(f"epoch {epoch + 1}: CCE: {cce:.4f} CE: {ce:.4f}")


def draw(found, path):
    """Bars of all ratios on a logarithmic scale; a panel for each number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {EAGER: ("#d55e00", ""), LAST: ("#e69f00", "///"), WINDOW: ("#0072b2", ""),
              RESHAPE: ("#56b4e9", "..."), IM2COL: ("#444444", ""), NAIVE: ("#aaaaaa", "xx")}  # fmt: skip
    panels = {name: {(label, side): ratio for section in sections.values()
                     for label, ratios in section.items() for side, ratio in ratios.items()}
              for name, sections in found.items()}  # fmt: skip
    places, y = {}, 0.0  # of the bars, from the top
    for bar in max(panels.values(), key=len):
        y += 1 if places and bar[0] == next(reversed(places))[0] else 1.7
        places[bar] = y
    labels = dict.fromkeys(label for label, _ in places)
    middles = [np.mean([place for bar, place in places.items() if bar[0] == each]) for each in labels]
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 1.6 + 0.24 * y), sharey=True,
                                squeeze=False, layout="constrained")  # fmt: skip
    for axis, (name, ratios) in zip(axes[0], panels.items()):
        for (label, side), ratio in ratios.items():
            colour, hatch = styles[side]
            place = places[label, side]
            axis.barh(place, ratio - 1, 0.9, left=1, color=colour, hatch=hatch, ec="white", lw=0)
            text = f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"
            right = ratio >= 1
            axis.annotate(text, (ratio, place), (4 if right else -4, 0), textcoords="offset points",
                          ha="left" if right else "right", va="center", fontsize=9)  # fmt: skip
        axis.axvline(1, color="black", linewidth=1)
        axis.set(xscale="log", title=name, ylim=(y + 1.2, 0.5))
        axis.set_xlim(axis.get_xlim()[0] / 2.5, axis.get_xlim()[1] * 4)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks(middles, labels, fontsize=11)
    figure.supxlabel("time of the other / time of cnn_sg: right of the line, cnn_sg is faster", fontsize=11)
    sides = [side for side in styles if any(side == bar[1] for bar in places)]
    handles = [plt.Rectangle((0, 0), 1, 1, fc=styles[each][0], hatch=styles[each][1], ec="white", lw=0)
               for each in sides]  # fmt: skip
    figure.legend(handles, sides, loc="outside upper center", ncols=3, fontsize=11)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    print(f"\nPicture: {path}")


SECTIONS = {each.__name__: each for each in (networks, layers, naive, growth, limit, training)}


def describe_machine():
    """What a reader has to know to compare: versions, cores, libraries that are missing."""
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (TypeError, KeyError):  # before NumPy 1.26
        blas = {}
    versions.append(f"BLAS {blas.get('name', 'unknown')} {blas.get('version', '')}".strip())
    for name, package in PACKAGES.items():
        if package in AVAILABLE:
            versions.append(f"{name} {importlib.metadata.version(package)}")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; {', '.join(versions)}")
    for name, package in PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            print(f"Without {name}, which is not installed (pip install {package}).")
        elif package not in AVAILABLE:
            print(f"Without {name}: left out.")
    print("Milliseconds are medians. A ratio (in brackets) is the median, over the rounds, of a time by")
    print("that of cnn_sg in the same round: above 1, cnn_sg is faster.")


def main():
    can_hold = hasattr(os, "sched_setaffinity")
    all_cores = sorted(os.sched_getaffinity(0)) if can_hold else range(os.cpu_count())
    count = mnist.at_least(1, int)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}; default: all but training, which takes long")
    parser.add_argument("--quick", action="store_true", help="a minute, without PyTorch and JAX")
    parser.add_argument("--threads", type=count, action="append", metavar="N",
                        help="number of threads of all sides; may be given again; default: all cores, then 1")
    parser.add_argument("--rounds", type=count, metavar="N", help="of each race; default: 15, quick: 3")
    parser.add_argument("--trainings", type=count, metavar="N", default=3,
                        help="rounds of the section training; default: 3")
    parser.add_argument("--data", metavar="DIR", type=Path, default=HERE.parent,
                        help="where the files of MNIST are, for training")
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--plot", metavar="FILE", type=mnist.writable, help="draw the ratios (needs matplotlib)")
    options = parser.parse_args()
    if options.sections == ["training-in-pytorch"]:
        return train_in_pytorch(options)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"expected sections of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    options.rounds = options.rounds or (3 if options.quick else 15)
    options.batches = (32,) if options.quick else (32, 64)
    if options.quick:
        AVAILABLE.intersection_update({"numpy"})
    if not can_hold and options.threads != [len(all_cores)]:
        AVAILABLE.discard("jax")  # it takes all cores that it is not kept from
    describe_machine()
    found = {}
    try:
        for threads in options.threads or sorted({len(all_cores), 1}, reverse=True):
            if can_hold:
                os.sched_setaffinity(0, all_cores[:threads])
            measure(threads, options, found)
    except KeyboardInterrupt:
        print("\ninterrupted")
    except (OSError, ValueError) as problem:
        sys.exit(f"{problem}")
    if options.plot and found:
        draw(found, options.plot)
    elif options.plot:
        print("Nothing to draw: there was nobody to compare with.")


def measure(threads, options, found):
    """Run all sections with so many threads, and add their ratios to what was found."""
    name = f"{threads} thread{'s' * (threads > 1)}"
    print(f"\n=== {name} ===", flush=True)
    contestants = Contestants(threads)
    try:
        for section in options.sections or list(SECTIONS)[:-1]:
            result = SECTIONS[section](contestants, options)
            if any((result or {}).values()):  # there is somebody to compare with
                found.setdefault(name, {})[section] = result
    finally:
        contestants.stop()


if __name__ == "__main__":
    main()
