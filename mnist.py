# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Train a network of cnn_sg.py or cnn_naive.py to read handwritten digits.

    python3 mnist.py cnn

downloads MNIST into this folder, trains, and prints the error on the test set.
"""

import argparse
import contextlib
import gzip
import hashlib
import importlib
import importlib.util
import io
import itertools
import math
import os
import queue
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
if __name__ == "__main__" and not any(name in os.environ for name in THREADS):
    os.environ.update(dict.fromkeys(THREADS, "1"))  # NumPy's library looks when it is imported

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
BYTES = dict(zip(FILES, (47_040_016, 60_008, 7_840_016, 10_008)))  # in each of them
ANSWER, PATIENCE, LIMIT = 3, 10, 600  # seconds to the first byte, to the next 8 kB, for a file
REMEDY = "move it away, or put the right one there"
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
        "flat": [cnn.FlatLayer(), cnn.FCLayer_ReLU(100), cnn.FCLayer_Softmax(classes)],
        "cnn": [
            cnn.ConvLayer_ReLU(32, 3), cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(), cnn.FCLayer_ReLU(100), cnn.FCLayer_Softmax(classes),
        ],
        "lenet": [
            cnn.ConvLayer_ReLU(20, 5), cnn.PoolLayer_Max(2, 2),
            cnn.ConvLayer_ReLU(50, 5), cnn.PoolLayer_Max(2, 2),
            cnn.FlatLayer(), cnn.FCLayer_ReLU(500), cnn.FCLayer_Softmax(classes),
        ],
    }  # fmt: skip


# Training


def train(net, train_set, test_set, options, progress):
    """Train by mini-batch gradient descent until the last epoch, or Ctrl-C.

    A set is a pair: images, uint8 (n, rows, columns, channels), and labels, one-hot (n, classes).
    Returns the loss of each mini-batch; and after each epoch, the number of mini-batches so far,
    and loss and error on the test set. Raises ArithmeticError for a loss that is not finite.
    """
    x, y = train_set
    rng = np.random.default_rng(options.seed)
    size = min(options.batch_size, len(x))
    count = len(x) // size
    learning_rate, losses, tests = options.learning_rate, [], []
    for epoch in range(1, options.epochs + 1):
        # Some images may be left over, and wait for another epoch: a step for a few of them would
        # be as long as any other, and lead anywhere.
        order = rng.permutation(len(x))[: count * size].reshape(count, size)
        sums = np.zeros(2)
        for k, batch in enumerate(order, 1):
            _, loss, error = net.train(scale(x[batch]), y[batch], learning_rate, options.weight_decay)
            check_finite(loss, f"epoch {epoch}, mini-batch {k}")
            losses.append(loss)
            sums += loss, error
            progress.after_batch(f"epoch {epoch}/{options.epochs}", k, count, size, sums / k)
            if progress.stop:
                return losses, tests
        tests.append((len(losses), *evaluate(net, *test_set, progress)))
        progress.after_epoch(sums / count, tests[-1][1:], guessing=math.log(y.shape[1]))
        if progress.stop:
            break
        learning_rate *= options.decay
    return losses, tests


def evaluate(net, x, y, progress, piece=1000):
    """Return the mean loss and error over all samples, scaled a piece at a time."""
    sums = np.zeros(2)
    progress.before_test(len(x))
    for start in range(0, len(x), piece):
        part = slice(start, start + piece)
        _, loss, error = net.evaluate(scale(x[part]), y[part])
        sums += len(x[part]) * loss, len(x[part]) * error
        progress.done += progress.TESTING * len(x[part])
    check_finite(sums[0], "the test")
    return sums / len(x)


def check_finite(loss, where):
    if not math.isfinite(loss):
        raise ArithmeticError(f"training diverged in {where}: try a lower --learning-rate")


def scale(images):
    """uint8 pixels to float32, 0 to 1."""
    return images.astype(np.float32) / 255


class Progress:
    """Tells how a run goes: a line for each epoch and, on a terminal, one that moves."""

    TESTING = 0.4  # the time for an image, if training on it takes 1

    def __init__(self, options, train_size, test_size):
        self.options, self.epoch_work = options, train_size + self.TESTING * test_size
        self.done, self.where, self.doing, self.stop = 0, "test", "starting", False
        self.start, self.over = time.monotonic(), threading.Event()
        self.ticker = threading.Thread(target=self.tick, daemon=True)
        self.ticker.start()

    def tick(self):
        """Rewrite the line that moves, also while a mini-batch takes long."""
        while not self.over.wait(0.2):
            rest = self.options.epochs * self.epoch_work - self.done
            left = f", {self.estimate(rest)} left" if self.done else ""
            self.say(f"{left}: {self.doing}", moving=True)

    def close(self):
        self.over.set()
        self.ticker.join()

    def say(self, text, moving=False):
        say(f"{clock(time.monotonic() - self.start)} {self.where}{text}", moving)

    def estimate(self, work):
        """The time for as much work as training on so many images, once some is done."""
        return clock((time.monotonic() - self.start) * work / self.done)

    def after_batch(self, where, k, count, size, means):
        self.done += size
        self.where, self.doing = where, f"mini-batch {k}/{count}, {figures(*means)}"
        if self.options.version == "naive" and self.done == size:
            self.say(f": an epoch takes about {self.estimate(self.epoch_work)} (minutes:seconds)")

    def before_test(self, size):
        self.doing = f"testing on {size:,} images"
        if self.options.version == "naive" and self.done:
            self.say(f": {self.doing} takes about {self.estimate(self.TESTING * size)}")

    def after_epoch(self, means, test, guessing):
        self.say(f": {figures(*means)}; test {figures(*test)}")
        if means[0] >= guessing:
            say(f"No better than guessing, a loss of {guessing:.2f}: try a lower --learning-rate")
        if sys.stdout is None and not (self.options.save or self.options.plot):
            sys.exit()  # nobody reads any further, and there is nothing to write


def clock(seconds):
    """Minutes and seconds: 75 -> 1:15."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def figures(loss, error):
    return f"loss {loss:.4f}, error {100 * error:.2f} %"


# Data


def load_mnist(folder):
    """Return (x_train, y_train), (x_test, y_test), and download what the folder lacks.

    Images are uint8 (n, rows, columns, 1), labels uint8 (n,). Raises ValueError for a file that
    is not what it should be, ConnectionError for one that is neither there nor on the mirrors,
    other OSErrors for what cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder of MNIST files, got none")
    arrays, strangers = dict.fromkeys(FILES), []
    for name in FILES:
        for path in [path for path in (folder / name, folder / f"{name}.gz") if path.exists()][:1]:
            arrays[name], is_mnist = read_idx(path, name)
            strangers += [] if is_mnist else [path]
    if strangers and folder.resolve() == HERE:
        raise ValueError(f"{strangers[0]}: not of MNIST; {REMEDY}; other data go with --data DIR")
    for name in [name for name in FILES if arrays[name] is None]:
        if strangers:  # MNIST would be mixed with something else
            raise ValueError(f"{folder}: {name} is missing, and {strangers[0].name} is not of MNIST")
        arrays[name], _ = read_idx(download(name, folder), name)
    x_train, y_train, x_test, y_test = arrays.values()
    for x, y, part in ((x_train, y_train, "train"), (x_test, y_test, "t10k")):
        if len(x) != len(y):
            raise ValueError(f"{folder}: {part} has {len(x)} images but {len(y)} labels")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(f"{folder}: images of {x_train.shape[1:]} and of {x_test.shape[1:]} pixels")
    return (x_train[..., None], y_train), (x_test[..., None], y_test)


def read_idx(path, name):
    """Return the numbers in an IDX file, uint8 (n, rows, columns) or (n,), and if they are MNIST's.

    The format: 0, 0, 8 for unsigned bytes, the number of axes; their lengths, 4 bytes each, the
    first byte the highest; then the numbers. http://yann.lecun.com/exdb/mnist/
    """
    axes = 3 if "images" in name else 1
    unpack = gzip.open if path.suffix == ".gz" else open
    try:
        with unpack(path, "rb") as file:
            header = file.read(4 + 4 * axes)
            shape = [int.from_bytes(header[k : k + 4], "big") for k in range(4, 4 + 4 * axes, 4)]
            numbers = file.read(min(math.prod(shape), 1 << 31) + 1)  # 2 GB are no images
    except (EOFError, gzip.BadGzipFile, zlib.error) as damage:
        raise ValueError(f"{path}: not a whole gzip file ({damage}); {REMEDY}") from None
    if header[:4] != bytes([0, 0, 8, axes]) or len(numbers) != math.prod(shape) or 0 in shape:
        has = len(numbers) if len(numbers) <= math.prod(shape) else "more"
        facts = f"{header[:4].hex() or 'nothing'}, then {' x '.join(map(str, shape))} announced, {has} there"
        raise ValueError(f"{path}: not a whole IDX file of {axes} axes ({facts}); {REMEDY}")
    is_mnist = hashlib.sha256(header + numbers).hexdigest() == FILES[name]
    return np.frombuffer(numbers, np.uint8).reshape(shape), is_mnist


def download(name, folder):
    """Get a file of MNIST from the first mirror that has it; return its path in the folder."""
    path, problems = folder / f"{name}.gz", []
    for mirror in MIRRORS:
        say(f"Downloading {path.name} from {mirror.split('/')[2]}")
        try:
            content = fetch(f"{mirror}{path.name}", BYTES[name])
            unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(BYTES[name] + 1)
            if hashlib.sha256(unpacked).hexdigest() == FILES[name]:
                write_whole(path, lambda file: file.write(content))  # noqa: B023 - at once
                return path
            problems.append("wrong sha256")
        except (EOFError, gzip.BadGzipFile, zlib.error):
            problems.append("not a whole gzip file")
        except OSError as problem:
            problems.append(str(problem))
    raise ConnectionError(f"no mirror gave {path.name} ({', '.join(problems)})")


def fetch(url, size):
    """Return what is at url, up to size bytes. Raises ConnectionError, which says why in a word."""
    answers = queue.Queue(maxsize=8)

    def ask():
        try:
            response = requests.get(url, stream=True, timeout=(ANSWER, PATIENCE))
            response.raise_for_status()
            for piece in itertools.chain([b""], response.iter_content(8192), [None]):
                answers.put(piece)  # nothing yet, but it answers; its content; that was all
        except Exception as problem:  # noqa: BLE001 - four libraries are at work
            answers.put(problem)

    threading.Thread(target=ask, daemon=True).start()  # no timeout stops a slow name server
    content, patience, end = bytearray(), ANSWER, time.monotonic() + LIMIT
    while len(content) <= size and time.monotonic() < end:
        try:
            piece = answers.get(timeout=patience)
        except queue.Empty:
            break
        if piece is None:
            return bytes(content)
        if isinstance(piece, Exception):
            status = getattr(getattr(piece, "response", None), "status_code", None)
            raise ConnectionError(status or type(piece).__name__)
        content += piece
        patience = PATIENCE
        say(f"{len(content) / 1e6:.1f} MB", moving=True)
    raise ConnectionError("too slow" if len(content) <= size else "too long")


# Drawn digits


STROKES = (  # ways to write a digit, which stands first: points of a 10 x 10 grid, 37: x = 3, y = 7
    "0 50 21 14 28 59 87 83 71 50", "0 60 31 14 17 39 68 85 82 60 40", "0 70 30 13 27 59 88 84 61 31",
    "1 50 59", "1 32 50,50 59", "1 60 48",
    "2 12 30 60 82 74 46 19,19 89", "2 12 30 60 82 74 47 19 08 16 37 69 98", "2 22 40 62 64 37 09,09 49 99",
    "3 11 30 70 82 64 44,44 75 87 69 39 17", "3 10 80,80 44,44 76 87 69 39 17", "3 20 50 71 54 35 65 77 48 18",
    "4 20 15,15 85,71 69", "4 60 06,06 96,60 69", "4 20 14 36 65 80,80 69",
    "5 80 20,20 14,14 54 77 68 49 18", "5 90 41,41 33 54 66 58 29 08", "5 40 34,34 65 67 49 18,40 90",
    "6 70 31 15 28 59 77 65 36 17", "6 50 24 17 39 68 76 54 26", "6 40 17 29 69 77 55 26",
    "7 10 80,80 39", "7 11 40 80,80 54 49", "7 10 80,80 39,25 75",
    "8 72 50 21 33 55 77 59 28 16 44 63 72", "8 81 40 22 44 76 68 38 27 54 81", "8 71 30 12 34 66 58 38 36 63 71",
    "9 73 50 21 13 35 64 72,72 69", "9 73 50 21 13 35 64 72 75 58 29", "9 73 60 31 23 44 72,73 79",
)  # fmt: skip


def draw_digits(n, seed):
    """Draw n digits like handwriting: uint8 images (n, 28, 28, 1) and labels (n,)."""
    rng = np.random.default_rng(seed)
    ways = rng.integers(0, len(STROKES), n)
    images = np.empty((n, 28, 28, 1), np.uint8)
    for way, strokes in enumerate(STROKES):
        images[ways == way, :, :, 0] = draw_strokes(strokes[2:], np.sum(ways == way), rng)
    return images, np.array([int(strokes[0]) for strokes in STROKES], np.uint8)[ways]


def draw_strokes(strokes, n, rng):
    """Draw one way to write a digit n times, each time a little differently: (n, 28, 28)."""
    grid = np.stack(np.divmod(np.arange(100), 10), axis=1)
    wobbly_grid = grid + rng.normal(0, 0.6, (n, 100, 2))
    curve = []
    for stroke in strokes.split(","):
        for start, end in itertools.pairwise(map(int, stroke.split())):
            steps = math.ceil(4 * math.dist(grid[start], grid[end]))  # of half a pixel
            u = np.linspace(0, 1, steps)[:, None]
            curve.append((1 - u) * wobbly_grid[:, None, start] + u * wobbly_grid[:, None, end])
    curve = np.concatenate(curve, axis=1)  # (n, points, 2)
    width, slant, turn = rng.uniform(0.6, 1.3, n), rng.normal(-0.2, 0.3, n), rng.normal(0, 0.18, n)
    curve = curve @ np.array([[width, turn], [slant, np.ones(n)]]).transpose(2, 0, 1)
    pen = rng.uniform(0.4, 0.9, (n, 1, 1))  # a measure of its width, in pixels
    curve *= (20 - 2 * pen) / np.ptp(curve, axis=1).max(axis=1).reshape(n, 1, 1)  # as in MNIST:
    curve -= curve.mean(axis=1, keepdims=True)  # in 20 x 20, and its centre in the middle of 28 x 28
    distance = (np.arange(28) - 13.5 - curve[..., None]) / pen[..., None]  # (n, points, 2, 28)
    across, down = np.exp(-(distance**2) / 2).transpose(2, 0, 1, 3)
    images = 1 - np.exp(-down.transpose(0, 2, 1) @ across)  # a spot of ink at each point
    return 255 * images


# Pictures of digits: Pillow is needed only here


def read_pictures(net, options):
    """Print what the network reads in each file. Returns the exit status: 1 if one is bad."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # it would warn; the limit here is below
    rows = []
    for path in options.read:
        try:
            with Image.open(path) as picture:
                if math.prod(picture.size) > 50_000_000:
                    raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
                picture = ImageOps.exif_transpose(picture).convert("RGBA")
            picture.thumbnail((800, 800))
            image = as_mnist(picture)
        except Exception as problem:  # noqa: BLE001 - Pillow raises many kinds
            print(f"mnist.py: {path}: {problem}", file=sys.stderr)
            continue
        answers = net.predict(scale(image[None, :, :, None]))[0]
        best, other = (f"{k} ({100 * answers[k]:.1f} %)" for k in np.argsort(-answers)[:2])
        say(f"{path}: {best}, or {other}")
        rows.append((Path(path).name, picture, image, answers))
    if options.plot and rows:
        plot_pictures(options.plot, rows[:20], net)
        say(f"Picture saved in {options.plot}")
    return int(len(rows) < len(options.read))


def as_mnist(picture):
    """Return a picture of a digit, an Image of PIL, as MNIST would have it: uint8 (28, 28).

    As for MNIST, the digit is cut out, fitted into 20 x 20 pixels and put into 28 x 28 with the
    centre of its mass in the middle, light on dark. Raises ValueError where there is none.
    """
    from PIL import Image

    pixels = np.asarray(picture.convert("RGBA").convert("RGBa"), np.float32)  # a: times opacity
    pixels, ink = cut_out(pixels)
    margin = 1 + max(ink.shape) // 50
    inside = slice(margin, -margin), slice(margin, -margin)
    if ink[inside].size and np.mean(edge(ink[inside]) > 0) > 0.9:
        with contextlib.suppress(ValueError):  # a sheet of paper, with a digit unless it is empty
            _, ink = cut_out(pixels[inside])
    size = [math.ceil(20 * length / max(ink.shape)) for length in ink.T.shape]
    digit = Image.fromarray((255 * ink).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    digit = np.asarray(digit) / max(digit.getdata())
    image = np.pad(digit, [(0, 28 - length) for length in digit.shape])
    for axis in (0, 1):
        centre = np.average(np.arange(28), weights=image.sum(axis=1 - axis))
        image = np.roll(image, min(round(13.5 - centre), 28 - digit.shape[axis]), axis)
    return (255 * image).astype(np.uint8)


def cut_out(pixels):
    """Cut off what has the colour of the edge; return the rest, and how it differs, 0 to 1."""
    ink = np.abs(pixels - np.median(edge(pixels), axis=0)).max(axis=2)
    if ink.max() < 40:
        raise ValueError("all of one colour, there is no digit")
    ink = np.clip((ink / ink.max() - 0.2) / 0.8, 0, 1)  # paper has its shades
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return pixels[box], ink[box]


def edge(pixels):
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


# Plots: matplotlib is needed only here


def plot_training(path, losses, tests, net, test_set, title):
    """Draw the loss, the test error after each epoch, the first filters and misread digits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5 if losses else 5, 6.4), layout="constrained")
    figure.suptitle(f"{title}: test error {100 * tests[-1][2]:.2f} %")
    *left, right = figure.subfigures(1, 2 if losses else 1, squeeze=False)[0]
    if losses:
        axes = left[0].subplots()
        axes.plot(losses, color="0.8", linewidth=0.5)
        window = math.ceil(len(losses) / 100)
        sums = np.convolve(losses, np.ones(window))[: len(losses)]
        means = sums / np.minimum(np.arange(len(losses)) + 1, window)  # at first of fewer
        axes.plot(means, "--", color="tab:blue")
        axes.set(xlabel="mini-batch", yscale="log")
        axes.set_ylabel(f"loss of each mini-batch, and mean of {window}", color="tab:blue")
        axes = axes.twinx()
        batches, _, errors = np.transpose(tests)
        axes.plot(batches, 100 * errors, "o-", color="tab:red")
        axes.set_ylabel("test error after each epoch, %", color="tab:red")
        axes.set_ylim(0, 120 * max(errors) + 0.1)
    x, y = test_set
    answers = np.concatenate([net.predict(scale(x[k : k + 1000])) for k in range(0, len(x), 1000)])
    answers, labels = answers.argmax(axis=1), y.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    upper, lower = right.subfigures(2, 1, height_ratios=[1, 1.6])
    if (W := net.layers[0].W) is not None and W.ndim == 4:
        show(upper.subplots(), mosaic(W[:, :, 0].transpose(2, 0, 1)), "filters of the first layer")
    lower.suptitle(f"the first of {len(wrong)} misread digits")
    grid = lower.subplots(3, 5)
    for axes in grid.flat:
        axes.axis("off")
    for k, axes in zip(wrong, grid.flat):
        show(axes, x[k, :, :, 0], f"read {answers[k]}, is {labels[k]}")
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=140))


def plot_pictures(path, rows, net):
    """Draw how each picture came, how the network saw it, its first maps, and its answers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 2, 1.2])
    for (came, saw, maps, bars), (name, picture, image, answers) in zip(grid, rows):
        show(came, picture, name)
        show(saw, image, "as the network sees it")
        maps.axis("off")
        A = net.layers[0].forward_propagate(scale(image[None, :, :, None]))
        if A.ndim == 4:
            show(maps, mosaic(A[0].transpose(2, 0, 1)), "after the first convolution")
        bars.barh(range(len(answers)), 100 * answers)
        bars.set(xlim=(0, 100), xlabel="probability, %", yticks=range(len(answers)))
        bars.invert_yaxis()
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=140))


def show(axes, picture, title):
    axes.imshow(picture, cmap="gray")
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def mosaic(images, columns=8):
    """Put images, (n, height, width), side by side in rows, with a gap of a pixel."""
    images = np.pad(images, ((0, -len(images) % columns), (0, 1), (0, 1)), constant_values=np.nan)
    _, height, width = images.shape
    rows = images.reshape(-1, columns, height, width).transpose(0, 2, 1, 3)
    return rows.reshape(-1, columns * width)


# Screen and files


def say(line, moving=False):
    """Print a line; one that moves only on a terminal, where the next is printed over it.

    Once nobody reads any more, as after `| head -1`, it prints nothing.
    """
    try:
        if sys.stdout and sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width] if moving else line:{width}}"
        elif moving:
            return
        print(line, end="" if moving else "\n", flush=True)
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what it still holds
        sys.stdout = None  # print knows this, and does nothing
        if not isinstance(problem, BrokenPipeError):
            raise OSError(f"standard output: {problem.strerror}") from None


def write_whole(path, write):
    """Call write(file) with a new file beside path, then move it there. It is whole, or not there."""
    path = os.path.realpath(path)
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(part, "xb") as file:  # x: it must not exist
            write(file)
        os.replace(part, path)
    except OSError as problem:
        raise OSError(f"{path} cannot be written: {problem.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


# Command line


def at_least(least, kind):
    """Return a converter for argparse: text to a finite number of this kind, not below least."""

    def convert(text):
        with contextlib.suppress(ValueError):
            if least <= kind(text) < math.inf:
                return kind(text)
        name = {int: "an integer", float: "a number"}[kind]
        raise argparse.ArgumentTypeError(f"expected {name} >= {least}, got {text!r}")

    return convert


def writable(text):
    """A converter for argparse: text to the path of a file that can be written."""
    path = Path(text)
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is not a file")
        tempfile.TemporaryFile(dir=path.resolve().parent).close()  # as it will be written
    except OSError as problem:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {problem.strerror}") from None
    return path


def parse_arguments():
    """Return the command line's options, the model's defaults filled in."""
    defaults = {
        name: "default: " + ", ".join(f"{DEFAULTS[model][name]} for {model}" for model in DEFAULTS)
        for name in ("epochs", "learning_rate", "decay")
    }
    natural, count, number = at_least(0, int), at_least(1, int), at_least(0, float)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", choices=DEFAULTS, help="the network: one hidden layer, one convolution, or two")
    add("version", nargs="?", choices=["sg", "naive"], default="sg",
        help="the layers: cnn_sg.py, by stride groups (default), or cnn_naive.py, by loops")
    add("--data", type=Path, metavar="DIR", help="folder of the four files of MNIST, or of others "
        "with their names and format (default: the folder of this script)")
    add("--drawn", action="store_true",
        help="train on digits that this program draws (default: only if MNIST cannot be had)")
    add("--split", type=number, metavar="X", help="shuffle all images, train on this fraction of "
        "them, 0.95 for example, and test on the others (default: as the data are split)")
    add("--samples", type=count, metavar="N", help="train on the first N images, test on at most N")
    add("--epochs", type=natural, metavar="N", help="how often to go through the training set; 0, "
        f"with --load, only tests ({defaults['epochs']})")
    add("--batch-size", type=count, default=32, metavar="N",
        help="images in a mini-batch (default: %(default)s)")
    add("--learning-rate", type=number, metavar="X",
        help=f"step length of gradient descent ({defaults['learning_rate']})")
    add("--decay", type=number, metavar="X",
        help=f"the learning rate is multiplied by it after each epoch ({defaults['decay']})")
    add("--weight-decay", type=number, default=0.0, metavar="X",
        help="adds X / 2 times the sum of squared weights to the loss (default: %(default)s)")
    add("--seed", type=natural, metavar="N", help="fixes first weights and order of the images")
    add("--load", type=Path, metavar="FILE.npz", help="start from weights that --save wrote")
    add("--save", type=writable, metavar="FILE.npz", help="write the weights after training")
    add("--read", nargs="+", metavar="FILE",
        help="read the digit in each of these pictures with the weights of --load; needs Pillow")
    add("--plot", type=writable, metavar="FILE.png",
        help="draw a picture of the training, or of what --read does; needs matplotlib")
    options = parser.parse_args()
    if options.drawn and options.data:
        parser.error("--drawn not allowed with argument --data")
    if options.read and (options.save or not options.load):
        parser.error("--read needs --load FILE.npz, and has nothing to --save")
    if options.epochs == 0 and not options.load:
        parser.error("--epochs 0 needs --load FILE.npz: there is nothing to test without training")
    if options.load and not options.load.exists():
        parser.error(f"--load: there is no file {options.load}")
    for used, package, module in (options.read, "Pillow", "PIL"), (options.plot, *2 * ["matplotlib"]):
        if used and importlib.util.find_spec(module) is None:
            parser.error(f"this needs {package}: {sys.executable} -m pip install {package}")
    for name, value in DEFAULTS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def choose_data(options):
    """Return training set, test set, and a note for the results: empty for real data."""
    sets, note = None, ""
    if not options.drawn:
        try:
            sets = load_mnist(options.data or HERE)
        except ConnectionError as problem:
            names = ", ".join(f"{name}.gz" for name in FILES)
            if options.data:
                raise ConnectionError(f"{problem}; put into {options.data}: {names}") from None
            say(f"MNIST could not be had: {problem}.\nPut into {HERE}:\n{names}")
    if sets is None:
        say("Training on drawn digits, not MNIST: this program draws them.")
        sets, note = (draw_digits(12_000, 1), draw_digits(2_000, 2)), " (drawn digits, not MNIST)"
    if options.split is not None:
        x, y = (np.concatenate(parts) for parts in zip(*sets))
        order = np.random.default_rng(options.seed).permutation(len(x))
        first, rest = np.split(order, [round(options.split * len(x))])
        if not len(first) or not len(rest):
            raise ValueError(f"--split {options.split:g}: nothing is left of {len(x)} images for one part")
        sets = (x[first], y[first]), (x[rest], y[rest])
    return *((x[: options.samples], y[: options.samples]) for x, y in sets), note


def make_network(options, classes):
    """Return the network of these options, with the weights of --load if there are any."""
    cnn = importlib.import_module(f"cnn_{options.version}")
    net = cnn.Network(models(cnn, classes)[options.model], options.seed)
    if options.load:
        net.load(options.load)
    return net


def main():
    """Load the data, train the network, print the error on the test set."""
    if sys.stdout is None:
        raise OSError(f"standard output is closed: send it to a file, or to {os.devnull}")
    options = parse_arguments()
    np.seterr(over="ignore", invalid="ignore")  # if training diverges, one line says so
    if options.read:
        return read_pictures(make_network(options, 10), options)
    *sets, note = choose_data(options)
    classes = 1 + int(max(y.max() for _, y in sets))
    train_set, test_set = ((x, np.eye(classes, dtype=np.float32)[y]) for x, y in sets)
    net = make_network(options, classes)
    sizes = len(train_set[0]), len(test_set[0])
    training = f"Training {options.model} (cnn_{options.version}) on {sizes[0]:,} images, testing"
    say(f"{training if options.epochs else 'Testing'} on {sizes[1]:,}")
    progress = Progress(options, *sizes)

    def stop(signal_number, frame):
        progress.stop = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        rest = "testing and saving" if options.save else "testing"
        say(f"Ctrl-C: no more training, only {rest}. Ctrl-C again quits at once.")

    signal.signal(signal.SIGINT, stop)
    with contextlib.closing(progress):
        losses, tests = train(net, train_set, test_set, options, progress)
        finished = len(tests) == options.epochs
        if not finished:
            say(f"Stopped in {progress.where}, after {len(losses)} mini-batches in all.")
        if not tests or tests[-1][0] < len(losses):
            tests.append((len(losses), *evaluate(net, *test_set, progress)))
    if options.save:
        net.save(options.save)
        say(f"Weights saved in {options.save}")
    if options.plot:
        plot_training(options.plot, losses, tests, net, test_set, options.model + note)
        say(f"Picture saved in {options.plot}")
    say(f"Test set{note}: {figures(*tests[-1][1:])}")
    return 0 if finished else 130


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ArithmeticError, MemoryError, OSError, ValueError) as problem:
        sys.exit(f"mnist.py: {problem or 'not enough memory'}")
    except KeyboardInterrupt:
        sys.exit(130)
