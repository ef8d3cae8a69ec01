"""Measure how fast cnn_sg.py is: against PyTorch, JAX, four kinds of im2col, and cnn_naive.py.

    python3 tools/benchmark.py

PyTorch and JAX take part if they are installed. First, all sides have to compute the same from the
same weights. Then they take turns, round by round, each in a process of its own. A ratio is the
median over the rounds of the other's time by that of cnn_sg: above 1, cnn_sg is faster. The tables
are Markdown, for tools/README.md.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import math
import multiprocessing
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
import timeit
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import im2col

import cnn_naive
import cnn_sg
import mnist
from extras.drawn import draw_digits

SG, NAIVE, EAGER, LAST, JAX = "cnn_sg", "cnn_naive", "PyTorch", "channels_last", "JAX"
ONE, ALL = "on one core", "on all cores"
IM2COL = {"4 index arrays": im2col.index_arrays, "1 index array": im2col.one_index_array,
          "slices": im2col.slices, "slices by axis": im2col.slices_by_axis}  # fmt: skip
PACKAGES = {EAGER: "torch", LAST: "torch", JAX: "jax"}
PRESENT = set(filter(importlib.util.find_spec, ("torch", "jax", "matplotlib", "mpi4py")))
CORES = list(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count()))
TURN, PAUSE = 0.06, 0.04  # seconds of a turn, and after it, until the threads of the last sleep
MODELS = ("flat", "cnn", "lenet")
LAYERS = (  # input (n_m, ih, iw, n_c); number of filters, None for max-pooling; their size; stride
    ((64, 28, 28, 1), 32, 3, 1),
    ((64, 12, 12, 20), 50, 5, 1),
    ((32, 32, 32, 3), 32, 3, 1),
    ((16, 28, 28, 32), 64, 3, 1),
    ((8, 56, 56, 64), 64, 3, 1),
    ((8, 112, 112, 3), 64, 7, 2),
    ((64, 26, 26, 32), None, 2, 2),
    ((64, 26, 26, 32), None, 3, 2),
)


# Networks. A side is a generator: next() takes a step of training, and gives the loss in a list.


def digits(batch):
    """20 mini-batches of drawn digits: (20, batch, 28, 28, 1) and (20, batch, 10)."""
    images, labels = draw_digits(20 * batch, seed=1)
    X = mnist.scale(images).reshape(20, batch, 28, 28, 1)
    return X, np.eye(10, dtype=np.float32)[labels].reshape(20, batch, 10)


def network(side, model, batch):
    """Trains on the mini-batches again and again; all sides begin with the weights of cnn_sg."""
    X, Y = digits(batch)
    cnn = cnn_naive if side == NAIVE else cnn_sg
    net = cnn.Network(mnist.models(cnn, 10)[model], seed=1)
    if side in (SG, NAIVE):
        return our_network(net, X, Y)
    net.predict(X[0])
    if side == JAX:
        return jax_network(net, X, Y)
    import in_pytorch  # here, because not everybody has it
    return in_pytorch.network(net, X, Y, side == LAST)


def our_network(net, X, Y):
    for x, y in itertools.cycle(zip(X, Y)):
        yield [net.train(x, y, 0.1)[1]]


def jax_network(net, X, Y):
    import jax
    import jax.numpy as jnp

    def loss_of(weights, A, Y):
        for layer, W in zip(net.layers, weights):
            if isinstance(layer, cnn_sg.ConvLayer):
                orders, s = ("NHWC", "HWIO", "NHWC"), (layer.s, layer.s)
                Z = jax.lax.conv_general_dilated(A, W[0], s, "VALID", dimension_numbers=orders)
                A = Z + W[1]
            elif isinstance(layer, cnn_sg.PoolLayer):  # size = stride; faster than reduce_window
                n_m, oh, ow, n_c = layer.A.shape
                A = A.reshape(n_m, oh, layer.fh, ow, layer.fw, n_c).max(axis=(2, 4))
            elif isinstance(layer, cnn_sg.FlatLayer):
                A = A.reshape(len(A), -1)
            else:
                A = A @ W[0] + W[1]
            if isinstance(layer, cnn_sg.ReLU):
                A = jax.nn.relu(A)
        return -(Y * jax.nn.log_softmax(A)).sum() / len(Y)

    @jax.jit
    def update(weights, x, y):
        loss, gradient = jax.value_and_grad(loss_of)(weights, x, y)
        return jax.tree.map(lambda W, dW: W - 0.1 * dW, weights, gradient), loss

    X, Y = [jnp.asarray(x) for x in X], [jnp.asarray(y) for y in Y]
    weights = [[jnp.asarray(getattr(each, name)) for name in each.weights] for each in net.layers]
    for x, y in itertools.cycle(zip(X, Y)):
        weights, loss = update(weights, x, y)
        yield [float(loss)]


# Layers: next() goes forward and backward, and gives [A, dA_prev, dW, db]; pooling the first two.


def layer(side, shape, n_f, size, s):
    """Random images for a layer of cnn_sg, and random derivatives by its output, for any side."""
    rng = np.random.default_rng(1)

    def images(n_m, h, w, channels):  # in the memory order that cnn_sg's layers hand on
        return np.moveaxis(rng.standard_normal((h, w, n_m, channels), np.float32), 2, 0)

    X = images(*shape)
    ours = cnn_sg.ConvLayer(n_f, size, s) if n_f else cnn_sg.PoolLayer_Max(size, s)
    ours.rng = rng
    dA = images(*ours.forward_propagate(X).shape)
    if side == SG:
        return our_layer(ours, X, dA)
    if side in IM2COL:
        return IM2COL[side](X, dA, s, ours.W, ours.b)
    import in_pytorch
    return in_pytorch.layer(ours, X, dA, side == LAST)


def our_layer(ours, X, dA):
    while True:
        A, dA_prev = ours.forward_propagate(X), ours.gradients(dA)
        yield [A, dA_prev, ours.dW, ours.db] if ours.weights else [A, dA_prev]


# Races


def set_threads(threads):
    """For all processes that are started from now on; None: as they are by default."""
    for name in mnist.THREADS:
        os.environ.pop(name, None)
        if threads:
            os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):  # JAX takes all cores that it is not kept from
        os.sched_setaffinity(0, CORES[:threads])


def new_process():
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin)


def begin():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    mnist.keep_freed_memory()


def race(make, arguments, threads, rounds, first_steps=1):
    """Return {side: seconds for a step, an array with a number for each round}.

    make(side, *arguments[side]) returns the side's generator, in a process of its own. What its
    first steps give has to be the same for all sides.
    """
    set_threads(threads)
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(new_process()) for side in arguments}
        steps, times, expected = {}, {side: [] for side in arguments}, None
        for side, each in arguments.items():
            first = processes[side].submit(prepare, make, side, each, first_steps).result()
            results, steps[side] = first
            expected = expected or results
            for a, b in zip(results, expected, strict=True):
                difference = np.abs(a - b).max() / np.abs(b).max()
                if not (np.shape(a) == np.shape(b) and difference < 1e-4):
                    sys.exit(f"{make.__name__}{each}: {side} differs by {difference:.0e}")
        for _ in range(rounds):
            for side in random.sample(list(arguments), len(arguments)):
                times[side].append(processes[side].submit(take_turn, steps[side]).result())
                time.sleep(PAUSE)
    return {side: np.array(each) for side, each in times.items()}


def prepare(make, side, arguments, first_steps):
    """Return all results of the first steps, and the number of steps for a turn."""
    global steps
    steps = make(side, *arguments)
    results = [each for _ in range(first_steps) for each in next(steps)]
    return results, math.ceil(TURN / take_turn(1))


def take_turn(number):
    """Seconds for a step, after a few others: after a pause, those are slower."""
    for _ in range(1 + number // 5):
        next(steps)
    return timeit.timeit(lambda: next(steps), number=number) / number


# Sections: each prints a table


def row(*cells):
    print(f"| {cells[0]:30} | {' | '.join(f'{each:>14}' for each in cells[1:])} |", flush=True)


def heading(title, *cells):
    print(f"\n{title}\n")
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))


def present(*sides):
    return [side for side in sides if side not in PACKAGES or PACKAGES[side] in PRESENT]


def row_of_race(label, threads, sides, times):
    """Print milliseconds of cnn_sg, and ratios of the others; return those ratios."""
    ratios = {side: float(np.median(times[side] / times[SG])) for side in times}
    cells = [f"{ratios[side]:.2f}" if side in ratios else "-" for side in sides[1:]]
    row(label, threads, f"{1e3 * np.median(times[SG]):.2f}", *cells)
    return ratios


def networks(options):
    """steps of training"""
    sides, ratios = present(SG, EAGER, LAST, JAX), {}
    heading("Steps of training: ms, and ratios", "", "threads", f"{SG}, ms", *sides[1:])
    for model, batch, threads in itertools.product(MODELS, options.batches, options.threads):
        those = [side for side in sides if side != LAST or model != "flat"]  # it has no channels
        times = race(network, dict.fromkeys(those, (model, batch)), threads, options.rounds, 20)
        label = f"`{model}`, {batch} images"
        ratios[model, batch, threads] = row_of_race(label, threads, sides, times)
    return ratios


def layers(options):
    """layers, also against im2col"""
    sides = present(SG, EAGER, LAST, *IM2COL)
    heading("Layers, forward and backward: ms, and ratios", "", "threads", f"{SG}, ms", *sides[1:])
    for (shape, n_f, size, s), threads in itertools.product(LAYERS, options.threads):
        those = [side for side in sides if n_f or side not in IM2COL]
        times = race(layer, dict.fromkeys(those, (shape, n_f, size, s)), threads, options.rounds)
        label = f"{' x '.join(map(str, shape))}: {n_f or 'max'} {size}x{size}"
        row_of_race(label + f" / {s}" * (s > 1), threads, sides, times)


def naive(options):
    """cnn_naive.py, one image at a time, against cnn_sg.py"""
    race(network, dict.fromkeys((SG, NAIVE), ("cnn", 2)), 1, 0, 2)  # compares two losses
    times = race(network, {SG: ("cnn", 32), NAIVE: ("cnn", 1)}, 1, 3, 0)
    ours, loops = 1e3 * times[SG] / 32, 1e3 * times[NAIVE]
    ratio = np.median(loops / ours)
    heading("Loops: ms an image of a training step, one thread", "", SG, NAIVE, "ratio")
    row("`cnn`", f"{np.median(ours):.3f}", f"{np.median(loops):.0f}", f"{ratio:,.0f}")


def shares(options):
    """where the time of a step of cnn_sg.py goes: see tools/README.md"""
    set_threads(1)
    with new_process() as other:
        A = np.ones((2048, 2048), np.float32)
        peak = 2 * len(A) ** 3 / other.submit(least, np.matmul, A, A).result()
        print(f"\nOne thread multiplies 2048 x 2048 matrices at {peak / 1e9:.0f} GFLOP/s.")
        columns = ("", "ms", "products", "of peak", "memory", "Python")
        heading("Where the time goes: one thread", *columns)
        for model, batch in itertools.product(MODELS, options.batches):
            seconds, products, flop, python = other.submit(measure_shares, model, batch).result()
            memory = seconds - products - python
            shown = [f"{part / seconds:.0%}" for part in (products, memory, python)]
            shown.insert(1, f"{flop / products / peak:.0%}")
            row(f"`{model}`, {batch} images", f"{1e3 * seconds:.2f}", *shown)


def least(function, *arguments):
    """The fewest seconds of many calls: what it takes when nothing else disturbs."""
    return min(timeit.repeat(lambda: function(*arguments), repeat=30, number=1))


def measure_shares(model, batch):
    """Return seconds of a step and of its products alone, their operations, seconds of Python."""
    X, Y = digits(batch)
    net, small = (cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed=1) for _ in range(2))
    for each in small.layers:
        each.n_f = each.num_neurons = 1  # next to no numbers: what remains is Python
    seconds = least(net.train, X[0], Y[0], 0.1)
    python = least(small.train, X[0, :1], Y[0, :1, :1], 0.1)
    products = []
    for each in net.layers:
        if each.weights:
            W, dZ = (array.reshape(-1, array.shape[-1]) for array in (each.W, each.A))
            matrix = np.ones((len(dZ), len(W)), W.dtype)
            products += [(dZ, W.T), (matrix, W), (matrix.T, dZ)]
    del products[0]  # the first layer that learns needs no dA_prev
    flop = sum(2 * A.size * B.shape[1] for A, B in products)
    return seconds, sum(least(np.matmul, A, B) for A, B in products), flop, python


def runs(options):
    """whole runs of mnist.py on one core and on all, and the same in PyTorch on all"""
    set_threads(None)
    mnist.load_mnist(options.data)  # so that no download is timed
    mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or "mpiexec"
    ours, theirs = ([sys.executable, HERE / name] for name in ("../mnist.py", "in_pytorch.py"))
    commands = {ONE: ours, ALL: [mpiexec, "-n", str(len(CORES)), *ours], EAGER: theirs}
    ratios, rows = {ONE: {}, ALL: {}}, []
    for model in MODELS:
        times = {side: [] for side in commands}
        for seed in range(1, options.runs + 1):
            for side in random.sample(list(commands), len(commands)):
                command = [*commands[side], model, "--seed", str(seed), "--data", options.data]
                command += ["--mpi"] if side == ALL else []
                start = time.perf_counter()
                printed = subprocess.check_output(command, text=True, stdin=subprocess.DEVNULL)
                times[side].append(time.perf_counter() - start)
                last = printed.splitlines()[-1]
                print(f"{model}, {side}: {times[side][-1]:.1f} s. {last}", flush=True)
        rows.append([f"`{model}`", *(f"{np.median(each):.1f}" for each in times.values())])
        for side, found in ratios.items():
            each = np.divide(times[EAGER], times[side])
            found[model] = float(np.median(each))
            rows[-1].append(f"{found[model]:.2f} ({each.min():.2f} - {each.max():.2f})")
    names = [f"ratio, {side}" for side in ratios]
    heading("Whole runs: seconds, and ratios (from - to)", "", *commands, *names)
    for cells in rows:
        row(*cells)
    return ratios


def draw(steps, whole, path):
    """Bars for each network: a step, with each number of threads, and whole runs."""
    from matplotlib.figure import Figure
    bars = {}  # {kind: {model: ratio}}
    for (model, batch, threads), ratios in steps.items():
        if batch == 32:  # against the better of PyTorch's memory formats
            ratio = min(ratios[side] for side in (EAGER, LAST) if side in ratios)
            kind = f"a step of 32 images, {threads} thread{'s' * (threads > 1)} each"
            bars.setdefault(kind, {})[model] = ratio
    for side, ratios in whole.items():
        bars[f"a whole run {side}, PyTorch on all cores"] = ratios
    axes = Figure(figsize=(9, 3.9), layout="constrained").subplots()
    width = 0.84 / len(bars)
    for k, (kind, ratios) in enumerate(bars.items()):
        places = np.arange(len(MODELS)) + (k - (len(bars) - 1) / 2) * width
        drawn = axes.bar(places, ratios.values(), 0.92 * width, label=kind)
        over = {"fc": "white", "lw": 0, "pad": 0}  # the line at 1
        axes.bar_label(drawn, fmt="%.2f", fontsize=13, padding=2, bbox=over)
    axes.axhline(1, color="0.4", linestyle="--", zorder=0)
    axes.set_xticks(range(len(MODELS)), MODELS, fontsize=15)
    axes.set_ylabel("PyTorch's time / ours", fontsize=13)
    axes.set_title("Above 1, NumPy is faster than PyTorch", fontsize=15)
    axes.margins(y=0.1)
    axes.figure.legend(fontsize=12, frameon=False, loc="outside lower center", ncols=2)
    axes.figure.savefig(path, dpi=150, format="png")
    print(f"\nPicture: {path}")


SECTIONS = {each.__name__: each for each in (networks, layers, naive, shares, runs)}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    names = "; ".join(f"{name}: {each.__doc__}" for name, each in SECTIONS.items())
    add("sections", nargs="*", metavar="SECTION",
        help=f"{names} (default: all but runs, which take long)")
    add("--quick", action="store_true", help="less than a minute, without PyTorch and JAX")
    add("--threads", type=int, action="append", metavar="N",
        help="threads of each side in networks and layers; may be repeated (default: 1, all cores)")
    add("--rounds", type=int, metavar="N", help="of each race (default: 15; quick: 3)")
    add("--runs", type=int, default=5, metavar="N", help="of each model (default: 5)")
    add("--data", type=Path, default=HERE.parent, metavar="DIR", help="with the files of MNIST")
    add("--plot", type=Path, metavar="FILE.png", help="draw networks (and runs) against PyTorch")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"expected sections of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    options.sections = options.sections or list(SECTIONS)[:-1]
    options.rounds = (3 if options.quick else 15) if options.rounds is None else options.rounds
    options.batches = (32,) if options.quick else (32, 64)
    options.threads = options.threads or ([1] if options.quick else sorted({1, len(CORES)}))
    if min(options.rounds, options.runs, *options.threads) < 1:
        parser.error("expected --threads, --rounds and --runs of at least 1")
    if options.quick:
        PRESENT.clear()
    if "runs" in options.sections and not {"torch", "mpi4py"} <= PRESENT:
        parser.error("runs needs torch and mpi4py, see tools/README.md")
    if options.plot and not ("networks" in options.sections and {"torch", "matplotlib"} <= PRESENT):
        parser.error("--plot needs the section networks, torch and matplotlib")
    if options.plot and not options.plot.parent.is_dir():
        parser.error(f"--plot: there is no folder {options.plot.parent}")
    return options


def main():
    options = parse_arguments()
    packages = ["numpy", *sorted(PRESENT & {"torch", "jax"})]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    print(f"{platform.system()} {platform.machine()}, cores: {len(CORES)}, Python "
          f"{platform.python_version()}, {', '.join(versions)}")  # fmt: skip
    print("Ratio: the other's time by that of cnn_sg. Above 1, cnn_sg is faster.")
    try:
        found = {name: SECTIONS[name](options) for name in options.sections}
        if options.plot:
            draw(found["networks"], found.get("runs", {}), options.plot)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        sys.exit(f"benchmark.py: {problem}")


if __name__ == "__main__":
    main()
