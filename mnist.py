# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Train a network of cnn_sg.py or cnn_naive.py to read handwritten digits.

    python3 mnist.py cnn

downloads MNIST into this folder, trains, and prints the error on the test set.
"""

import argparse
import gzip
import hashlib
import importlib
import importlib.util
import math
import os
import queue
import shutil
import signal
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import requests

HERE = Path(__file__).resolve().parent
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
FILES = {  # of MNIST, with the sha256 of what is in them; the mirrors have them as .gz
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ANSWER, PATIENCE = 3, 10  # seconds that a mirror has for its first byte, and for each later one
DEFAULTS = {  # for each model
    "flat": {"epochs": 12, "learning_rate": 0.2, "decay": 0.8},
    "cnn": {"epochs": 6, "learning_rate": 0.15, "decay": 0.6},
    "lenet": {"epochs": 8, "learning_rate": 0.15, "decay": 0.65},
}


def models(cnn, classes):
    """Each model is a list of layers of cnn, a cnn_*.py module. Change one, and run it.

    A new one also needs a line in DEFAULTS, above.
    """
    return {
        "flat": [
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(100),
            cnn.FCLayer_Softmax(classes),
        ],
        "cnn": [
            cnn.ConvLayer_ReLU(32, 3),
            cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(100),
            cnn.FCLayer_Softmax(classes),
        ],
        "lenet": [
            cnn.ConvLayer_ReLU(20, 5),
            cnn.PoolLayer_Max(2, 2),
            cnn.ConvLayer_ReLU(50, 5),
            cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(),
            cnn.FCLayer_ReLU(500),
            cnn.FCLayer_Softmax(classes),
        ],
    }


# Training


def train(net, train_set, test_set, options, progress):
    """Train by mini-batch gradient descent until the last epoch, or Ctrl-C.

    A set is a pair: images, uint8 (n, rows, columns, channels), and labels, one-hot (n, classes).
    Returns the cross-entropy of each mini-batch; and after each epoch, the number of mini-batches
    so far, and cce and ce on the test set.
    """
    x, y = train_set
    rng = np.random.default_rng(options.seed)
    learning_rate, cces, errors = options.learning_rate, [], []
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(len(x))
        for start in range(0, len(x), options.batch_size):
            batch = order[start : start + options.batch_size]
            _, cce, ce = net.train(scale(x[batch]), y[batch], learning_rate, options.weight_decay)
            if not math.isfinite(cce):
                where = f"epoch {epoch}, mini-batch {start // options.batch_size + 1}"
                raise ArithmeticError(f"training diverged in {where}: try a lower --learning-rate")
            cces.append(cce)
            progress.after_batch(epoch, len(batch), cce, ce)
            if progress.stop:
                return cces, errors
        errors.append((len(cces), *evaluate(net, *test_set)))
        progress.after_epoch(*errors[-1][1:])
        learning_rate *= options.decay
    return cces, errors


def evaluate(net, x, y, piece=1000):
    """Return the mean (cce, ce) over all samples, scaled a piece at a time."""
    sums = np.zeros(2)
    for start in range(0, len(x), piece):
        part = slice(start, start + piece)
        _, cce, ce = net.evaluate(scale(x[part]), y[part])
        sums += len(x[part]) * cce, len(x[part]) * ce
    return sums / len(x)


def scale(images):
    """uint8 pixels to float32, 0 to 1."""
    return images.astype(np.float32) / 255


class Progress:
    """Tells how training goes: a line that is rewritten on a terminal, and one for each epoch."""

    def __init__(self, options, samples, note):
        self.options, self.samples, self.note = options, samples, note
        self.start, self.shown, self.epoch, self.stop = time.monotonic(), 0.0, 0, False

    def after_batch(self, epoch, size, cce, ce):
        """Average cce and ce over the images of this epoch so far, and show it now and then."""
        if epoch != self.epoch:
            self.epoch, self.done, self.sums = epoch, 0, np.zeros(2)
        self.done += size
        self.sums += size * cce, size * ce
        share = (epoch - 1 + self.done / self.samples) / self.options.epochs
        seconds = time.monotonic() - self.start
        if self.options.version == "naive" and self.done == size and epoch == 1:
            each = clock(seconds * self.samples / size)
            print(f"An epoch of {self.samples:,} images takes about {each} (minutes:seconds); "
                  "--samples N takes fewer.", flush=True)  # fmt: skip
        if sys.stdout.isatty() and seconds - self.shown >= 0.1:
            self.shown = seconds
            batch = math.ceil(self.done / self.options.batch_size)
            left = clock(seconds / share - seconds)
            line = f"{self.where()} {left} left, mini-batch {batch}, {self.averages()}"
            columns = shutil.get_terminal_size().columns - 1
            print("\r" + line[:columns].ljust(columns), end="", flush=True)

    def after_epoch(self, cce, ce):
        """Print the averages over the epoch, and the errors on the test set after it."""
        line = f"{self.where()} {self.averages()}, test CCE: {cce:.4f} CE: {ce:.4f}"
        columns = shutil.get_terminal_size().columns - 1
        print("\r" + line.ljust(columns) if sys.stdout.isatty() else line, flush=True)

    def where(self):
        elapsed = clock(time.monotonic() - self.start)
        return f"{elapsed} epoch {self.epoch}/{self.options.epochs}{self.note}:"

    def averages(self):
        cce, ce = self.sums / self.done
        return f"average CCE: {cce:.4f} CE: {ce:.4f}"


def clock(seconds):
    """Minutes and seconds: 75 -> 1:15."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


# Data


def load_mnist(folder):
    """Return (x_train, y_train), (x_test, y_test), and download what the folder lacks.

    Images are uint8 (n, rows, columns, 1), labels uint8 (n,). Raises ValueError for a file that
    is not what it should be, ConnectionError for one that is neither there nor on the mirrors,
    other OSErrors for what cannot be read or written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder of MNIST files, got none")
    arrays = {}
    for name in FILES:
        paths = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
        path = paths[0] if paths else download(name, folder)
        arrays[name] = read_idx(path, name, only_mnist=folder.resolve() == HERE)
    x_train, y_train, x_test, y_test = arrays.values()
    for x, y, part in ((x_train, y_train, "train"), (x_test, y_test, "t10k")):
        if len(x) != len(y):
            raise ValueError(f"{folder}: {part} has {len(x)} images but {len(y)} labels")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(f"{folder}: images of {x_train.shape[1:]} and of {x_test.shape[1:]} pixels")
    return (x_train[..., None], y_train), (x_test[..., None], y_test)


def read_idx(path, name, only_mnist):
    """Return the numbers in an IDX file, gzipped or not: uint8 (n, rows, columns) or (n,).

    The format: 0, 0, 8 for unsigned bytes, the number of axes; their lengths, 4 bytes each, the
    first byte the highest; then the numbers. http://yann.lecun.com/exdb/mnist/
    """
    remedy = "move it away, or put the right one there"
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as damage:
        raise ValueError(f"{path}: not a whole gzip file ({damage}); {remedy}") from None
    except OSError as problem:
        raise OSError(f"{path}: cannot be read ({problem.strerror}); {remedy}") from None
    axes = 3 if "images" in name else 1
    header = 4 + 4 * axes
    if content[:4] != bytes([0, 0, 8, axes]):
        magic = f"expected 0000080{axes} as its first four bytes, got {content[:4].hex() or 'none'}"
        raise ValueError(f"{path}: not an IDX file of {axes} axes ({magic}); {remedy}")
    shape = [int.from_bytes(content[k : k + 4], "big") for k in range(4, header, 4)]
    if len(content) != header + math.prod(shape) or 0 in shape:
        sizes = f"announces {' x '.join(map(str, shape))} numbers, has {len(content) - header}"
        raise ValueError(f"{path}: not a whole IDX file ({sizes}); {remedy}")
    if only_mnist and hashlib.sha256(content).hexdigest() != FILES[name]:
        raise ValueError(f"{path}: not a file of MNIST; {remedy}; other data go with --data DIR")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def download(name, folder):
    """Get a file of MNIST from the first mirror that has it; return its path in the folder."""
    strangers = [each for each in folder.glob("*-ubyte*") if each.name.removesuffix(".gz") in FILES]
    for path in strangers:  # or MNIST would be mixed with something else
        read_idx(path, path.name.removesuffix(".gz"), only_mnist=True)
    path, problems = folder / f"{name}.gz", []
    part = folder / f"{name}.{os.getpid()}.part"  # beside it: never half a file at path
    try:
        for mirror in MIRRORS:
            try:
                print(f"Downloading {mirror}{name}.gz", flush=True)
                content = fetch(f"{mirror}{name}.gz")
                if hashlib.sha256(gzip.decompress(content)).hexdigest() == FILES[name]:
                    part.write_bytes(content)
                    os.replace(part, path)
                    return path
                problems.append("wrong sha256")
            except requests.RequestException as problem:
                refused = isinstance(problem, requests.HTTPError)
                reason = problem.response.status_code if refused else type(problem).__name__
                problems.append(str(reason))
            except (EOFError, gzip.BadGzipFile, zlib.error):
                problems.append("not a whole gzip file")
    finally:
        part.unlink(missing_ok=True)
    raise ConnectionError(f"no mirror gave {name}.gz ({', '.join(problems)})")


def fetch(url):
    """Return what is at url. Raises requests.RequestException, also for one that is too slow."""
    answers = queue.Queue()

    def ask():
        try:
            answers.put(requests.get(url, stream=True, timeout=(ANSWER, PATIENCE)))
        except requests.RequestException as problem:
            answers.put(problem)

    threading.Thread(target=ask, daemon=True).start()  # no timeout stops a slow name server
    try:
        response = answers.get(timeout=ANSWER)
    except queue.Empty:
        raise requests.Timeout("no answer") from None
    if isinstance(response, Exception):
        raise response
    response.raise_for_status()
    content, shown = bytearray(), 0.0
    for chunk in response.iter_content(1 << 16):
        content += chunk
        if sys.stdout.isatty() and time.monotonic() - shown >= 0.1:
            shown = time.monotonic()
            print(f"\r{len(content) / 1e6:5.1f} MB", end="", flush=True)
        if len(content) > 20_000_000:  # twice the largest file: it is something else
            break
    print("\r" if sys.stdout.isatty() else "", end="")
    return bytes(content)


# Drawn digits


STROKES = (  # ways to write 0, 1, 2 ...: strokes through points of a 10 x 10 grid, 37: x = 3, y = 7
    ("50 21 14 28 59 87 83 71 50", "60 31 14 17 39 68 85 82 60 40", "70 30 13 27 59 88 84 61 31"),
    ("50 59", "32 50,50 59", "32 50,50 59,29 89", "60 48"),
    ("12 30 60 82 74 46 19,19 89", "12 30 60 82 74 47 19 08 16 37 69 98", "13 20 60 83 75 37 09,09 98",
     "12 40 71 73 46 28 17 36 58 88", "22 40 62 64 37 09,09 49 99", "21 61 73 55 18 28 89",
     "32 51 63 55 28,28 47 98", "13 40 63 56 29 17 47 98"),
    ("11 30 70 82 64 44,44 75 87 69 39 17", "10 80,80 44,44 76 87 69 39 17",
     "12 40 71 63 34,34 65 77 59 18", "22 50 72 64 33,33 74 86 58 08", "20 50 71 54 35 65 77 48 18"),
    ("20 15,15 85,71 69", "60 06,06 96,60 69", "20 14 36 65 80,80 69", "11 15 46 85,81 84 69"),
    ("80 20,20 14,14 54 77 68 49 18", "20 14,14 54 77 68 49 18,20 90", "90 40 24,24 64 76 58 28",
     "90 41,41 33 54 66 58 29 08", "71 31 23 44 66 58 19", "40 34,34 65 67 49 18,40 90",
     "90 30,30 24,24 55 67 38 07", "40 25,25 46 58 39 07,40 91"),
    ("70 31 15 28 59 77 65 36 17", "50 24 17 39 68 76 54 26", "80 42 16 18 49 78 76 46 17",
     "40 17 29 69 77 55 26"),
    ("10 80,80 39", "11 40 80,80 54 49", "10 80,80 39,25 75", "13 10 80,80 55 49"),
    ("72 50 21 33 55 77 59 28 16 44 63 72", "50 22 34 54 73 71 50,54 26 28 59 87 76 54",
     "81 40 22 44 76 68 38 27 54 81", "71 30 12 34 66 58 38 36 63 71", "82 61 31 33 65 68 39 27 45 82"),
    ("73 50 21 13 35 64 72,72 69", "73 50 21 13 35 64 72 75 58 29", "72 40 12 24 54 72,72 65 49",
     "73 60 31 23 44 72,73 79"),
)  # fmt: skip


def draw_digits(n, seed):
    """Draw n digits like handwriting: uint8 images (n, 28, 28, 1) and labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.uint8)
    ways = rng.random(n)
    images = np.empty((n, 28, 28, 1), np.uint8)
    for digit, variants in enumerate(STROKES):
        for k, variant in enumerate(variants):
            chosen = (labels == digit) & (np.floor(ways * len(variants)) == k)
            images[chosen, :, :, 0] = draw_strokes(variant, chosen.sum(), rng)
    return images, labels


def draw_strokes(variant, n, rng):
    """Draw one way to write a digit n times, each time a little differently: (n, 28, 28)."""
    grid = np.stack(np.divmod(np.arange(100), 10), axis=1)
    wobbly_grid = grid + rng.normal(0, 0.6, (n, 100, 2))
    width, slant, turn = rng.uniform(0.6, 1.3, n), rng.normal(-0.2, 0.3, n), rng.normal(0, 0.18, n)
    distortion = np.array([[width, turn], [slant, np.ones(n)]]).transpose(2, 0, 1)
    curve = curve_weights(variant) @ wobbly_grid @ distortion  # (n, points of the curve, 2)
    pen = rng.uniform(0.4, 0.9, (n, 1, 1))  # a measure of its width, in pixels
    height = np.ptp(curve, axis=1).max(axis=1).reshape(n, 1, 1)
    curve *= (20 - 2 * pen) / height  # MNIST fits digits into 20 x 20 pixels,
    curve -= curve.mean(axis=1, keepdims=True)  # and centres them in 28 x 28
    pixels = np.arange(28) - 13.5
    for _ in range(2):  # only what is drawn shows where the centre of its mass is
        across = np.exp(-(((pixels - curve[:, :, 0, None]) / pen) ** 2) / 2)
        down = np.exp(-(((pixels - curve[:, :, 1, None]) / pen) ** 2) / 2)
        ink = down.transpose(0, 2, 1) @ across  # the sum of a spot of ink at each point
        images = 1 - np.exp(-ink)
        centre = np.stack([images.sum(axis=1) @ pixels, images.sum(axis=2) @ pixels], axis=1)
        curve -= (centre / images.sum(axis=(1, 2)).reshape(n, 1))[:, None, :]
    return 255 * images


def curve_weights(variant):
    """Return (points of the curve, 100): how much of each grid point is in each of them.

    Points are half a pixel apart, on the spline of Catmull and Rom (1974).
    """
    rows = []
    for stroke in variant.split(","):
        knots = [int(knot) for knot in stroke.split()]
        knots = [knots[0], *knots, knots[-1]]
        for four in zip(knots, knots[1:], knots[2:], knots[3:]):
            length = math.dist(divmod(four[1], 10), divmod(four[2], 10))
            for u in np.arange(0, 1, 0.25 / length):
                weights = -u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2
                row = np.zeros(100)
                for knot, weight in zip(four, weights):
                    row[knot] += weight / 2
                rows.append(row)
    return np.array(rows)


def plot(path, cces, errors, net, test_set, title):
    """Draw the loss, the test error after each epoch, the first filters and misread digits."""
    from matplotlib.figure import Figure  # here, because only this function needs it

    figure = Figure(figsize=(9.5, 6.4), layout="constrained")
    figure.suptitle(f"{title}: test error {100 * errors[-1][2]:.2f} %")
    left, right = figure.subfigures(1, 2)
    if cces:
        axes = left.subplots()
        axes.plot(cces, color="0.8", linewidth=0.5)
        width = math.ceil(len(cces) / 100)
        means = np.convolve(cces, np.ones(width) / width, "valid")
        axes.plot(np.arange(len(means)) + width, means, "--", color="tab:blue")
        axes.set(xlabel="mini-batch", yscale="log")
        axes.set_ylabel(f"CCE of each mini-batch, and mean of {width}", color="tab:blue")
        error_axes = axes.twinx()
        percent = [100 * ce for _, _, ce in errors]
        error_axes.plot([batches for batches, _, _ in errors], percent, "o-", color="tab:red")
        error_axes.set_ylabel("test error after each epoch, %", color="tab:red")
        error_axes.set_ylim(0, 1.2 * max(percent) + 0.1)
    x, y = test_set
    answers = np.concatenate([net.predict(scale(x[k : k + 1000])) for k in range(0, len(x), 1000)])
    answers, labels = answers.argmax(axis=1), y.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)[:15]
    digits = [(x[k, :, :, 0], f"read {answers[k]}, is {labels[k]}") for k in wrong]
    W = net.layers[0].W
    filters = [] if W is None or W.ndim != 4 else [(W[:, :, 0, f], "") for f in range(W.shape[3])]
    sections = [("filters of the first layer", filters, 8),
                (f"the first of {(answers != labels).sum()} misread digits", digits, 5)]  # fmt: skip
    sections = [section for section in sections if section[1]]
    heights = [1, 1.6][-len(sections) :]
    parts = right.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    for part, (heading, pictures, columns) in zip(parts, sections):
        part.suptitle(heading)
        grid = part.subplots(math.ceil(len(pictures) / columns), columns, squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[], visible=False)
        for axes, (picture, caption) in zip(grid.flat, pictures):
            axes.set_visible(True)
            axes.imshow(picture, cmap="gray")
            axes.set_title(caption, fontsize=9)
    part = f"{path}.part"
    figure.savefig(part, format="png", dpi=140)
    os.replace(part, path)


# Command line


def at_least(least, kind):
    """Return a converter for argparse: text to a finite number of this kind, not below least."""

    def convert(text):
        try:
            if least <= kind(text) < math.inf:
                return kind(text)
        except ValueError:
            pass
        name = {int: "an integer", float: "a number"}[kind]
        raise argparse.ArgumentTypeError(f"expected {name} >= {least}, got {text!r}")

    return convert


def fraction(text):
    """A converter for argparse: text to a number between 0 and 1."""
    try:
        if 0 < float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")


def writable(text):
    """A converter for argparse: text to the path of a file that can be written."""
    path = Path(text)
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        part = Path(f"{path}.part")
        part.touch()
        part.unlink()
    except OSError as problem:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {problem.strerror}") from None
    return path


def parse_arguments():
    """Return the command line's options, the model's defaults filled in."""

    def per_model(name):
        return "default: " + ", ".join(f"{DEFAULTS[model][name]} for {model}" for model in DEFAULTS)

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", choices=DEFAULTS, help="the network: one hidden layer, one convolution, or two")
    add("version", nargs="?", choices=["sg", "naive"], default="sg",
        help="the layers: cnn_sg.py, by stride groups (default), or cnn_naive.py, by loops")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="DIR",
        help="folder of the four MNIST files, or of others with their names and format "
        "(default: the folder of this script)")
    data.add_argument("--drawn", action="store_true",
        help="train on digits that this program draws, not on MNIST (default: only if MNIST "
        "cannot be had)")
    add("--split", type=fraction, metavar="X",
        help="shuffle all images and train on this fraction of them, 0.95 for example, test on "
        "the others (default: the training and test set of the data)")
    add("--samples", type=at_least(1, int), metavar="N",
        help="train on the first N images, test on at most N (default: all)")
    add("--epochs", type=at_least(0, int), metavar="N",
        help=f"how often to go through the training set; 0, with --load, only tests "
        f"({per_model('epochs')})")
    add("--batch-size", type=at_least(1, int), default=32, metavar="N",
        help="images in a mini-batch (default: %(default)s)")
    add("--learning-rate", type=at_least(0, float), metavar="X",
        help=f"step length of gradient descent ({per_model('learning_rate')})")
    add("--decay", type=at_least(0, float), metavar="X",
        help=f"the learning rate is multiplied by it after each epoch ({per_model('decay')})")
    add("--weight-decay", type=at_least(0, float), default=0.0, metavar="X",
        help="adds X / 2 times the sum of squared weights to the loss (default: %(default)s)")
    add("--seed", type=at_least(0, int), metavar="N",
        help="fixes first weights and order of the images (default: other ones in each run)")
    add("--load", type=Path, metavar="FILE.npz",
        help="start from weights that --save wrote (default: from random ones)")
    add("--save", type=writable, metavar="FILE.npz",
        help="write the weights after training (default: they are not kept)")
    add("--plot", type=writable, metavar="FILE.png",
        help="draw a picture of the training, the filters and the misread digits; needs "
        "matplotlib (default: none)")
    options = parser.parse_args()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error(f"--plot needs matplotlib: {sys.executable} -m pip install matplotlib")
    if options.epochs == 0 and not options.load:
        parser.error("--epochs 0 needs --load FILE.npz: there is nothing to test without training")
    for name, value in DEFAULTS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def choose_data(options):
    """Return the training and the test set, and a note for all figures: empty for real data."""
    if not options.drawn:
        try:
            return *load_mnist(options.data or HERE), ""
        except ConnectionError as problem:
            names = ", ".join(f"{name}.gz" for name in FILES)
            if options.data:
                raise ConnectionError(f"{problem}; put into {options.data}: {names}") from None
            print(f"MNIST could not be had: {problem}. Put into {HERE}: {names}")
    print("Training on drawn digits, not MNIST: this program draws them.")
    return draw_digits(12_000, 1), draw_digits(2_000, 2), " (drawn digits, not MNIST)"


def main():
    """Load the data, train the network, print the error on the test set."""
    options = parse_arguments()
    np.seterr(over="ignore", invalid="ignore")  # `train` says it in one line if it diverges
    *sets, note = choose_data(options)
    if options.split:
        x, y = (np.concatenate(parts) for parts in zip(*sets))
        order = np.random.default_rng(options.seed).permutation(len(x))
        first, rest = np.split(order, [round(options.split * len(x))])
        sets = (x[first], y[first]), (x[rest], y[rest])
    classes = 1 + int(max(y.max() for _, y in sets))
    one_hot = np.eye(classes, dtype=np.float32)
    train_set, test_set = ((x[: options.samples], one_hot[y[: options.samples]]) for x, y in sets)
    cnn = importlib.import_module(f"cnn_{options.version}")
    net = cnn.Network(models(cnn, classes)[options.model], options.seed)
    if options.load:
        net.load(options.load)
    progress = Progress(options, len(train_set[0]), note)

    def stop(signal_number, frame):
        progress.stop = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the program at once

    signal.signal(signal.SIGINT, stop)
    print(f"Training {options.model} ({cnn.__name__}) on {len(train_set[0]):,} images, "
          f"testing on {len(test_set[0]):,}{note}", flush=True)
    cces, errors = train(net, train_set, test_set, options, progress)
    if progress.stop:
        print(f"\nStopped in epoch {progress.epoch}, after {len(cces)} mini-batches in all{note}.")
    if progress.stop or not errors:
        errors.append((len(cces), *evaluate(net, *test_set)))
    if options.save:
        net.save(options.save)
        print(f"Weights saved in {options.save}")
    if options.plot:
        plot(options.plot, cces, errors, net, test_set, f"{options.model}{note}")
        print(f"Picture saved in {options.plot}")
    _, cce, ce = errors[-1]
    print(f"Test set{note}: CCE: {cce:.4f} CE: {ce:.4f}")
    return 130 if progress.stop else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # somebody reads no further, as `head -1` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ArithmeticError, OSError, ValueError) as problem:
        sys.exit(f"mnist.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
