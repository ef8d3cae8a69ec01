# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Train a network of cnn_sg.py or cnn_naive.py to read handwritten digits.

`python3 mnist.py cnn` downloads MNIST into this folder, trains, and prints the test error.
"""

import argparse
import atexit
import contextlib
import errno
import gzip
import hashlib
import importlib.util
import itertools
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

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
if __name__ == "__main__" and not any(name in os.environ for name in THREADS):
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read only when NumPy is imported

import numpy as np
import requests

HERE = Path(__file__).resolve().parent
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
FILES = {  # of MNIST, each with the sha256 of its content; the mirrors have them as .gz
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
BYTES = dict(zip(FILES, (47_040_016, 60_008, 7_840_016, 10_008)))  # in each file, unpacked
ANSWER, PATIENCE = 3, 10  # seconds that a mirror has for its first byte, and for each 64 kB
REMEDY = "move it away, or put the right one there"
DIVERGED = "training diverged: try a lower --learning-rate"
DEFAULTS = {  # for each model
    "flat": {"epochs": 12, "learning_rate": 0.2, "decay": 0.8},
    "cnn": {"epochs": 6, "learning_rate": 0.15, "decay": 0.6},
    "lenet": {"epochs": 8, "learning_rate": 0.15, "decay": 0.65},
}


def models(cnn, classes):
    """Each model is a list of layers of cnn, a cnn_*.py module. Add a new one to DEFAULTS, too."""
    return {
        "flat": [cnn.FlatLayer(), cnn.FCLayer_ReLU(100), cnn.FCLayer_Softmax(classes)],
        "cnn": [cnn.ConvLayer_ReLU(32, 3), cnn.PoolLayer_Max(2, 2), cnn.FlatLayer(),
                cnn.FCLayer_ReLU(100), cnn.FCLayer_Softmax(classes)],
        "lenet": [cnn.ConvLayer_ReLU(20, 5), cnn.PoolLayer_Max(2, 2),
                  cnn.ConvLayer_ReLU(50, 5), cnn.PoolLayer_Max(2, 2), cnn.FlatLayer(),
                  cnn.FCLayer_ReLU(500), cnn.FCLayer_Softmax(classes)],
    }  # fmt: skip


# --- Training
def train(net, train_set, test_set, options, progress, comm=None):
    """Train by mini-batch gradient descent until the last epoch, or Ctrl-C.

    A set is a pair: images, uint8 (n, rows, columns, channels), and labels, one-hot (n, classes).
    Returns the loss of each mini-batch, and (mini-batches so far, loss, error) of the test after
    each epoch. Raises ArithmeticError for a loss that is not finite. comm: see processes.
    """
    x, y = train_set
    rng = np.random.default_rng(options.seed)
    size = min(options.batch_size, len(x))
    count = len(x) // size
    rate, losses, tests = options.learning_rate, [], []
    for epoch in range(1, options.epochs + 1):
        # A few images may be left over: a step for them alone would be as long as any other.
        order = rng.permutation(len(x))[: count * size].reshape(count, size)
        sums = np.zeros(2)
        for k, batch in enumerate(order, 1):
            if progress.stop:
                return losses, tests
            if comm:
                loss, error = train_together(net, x, y, batch, rate, progress, comm)
            else:
                _, loss, error = net.train(scale(x[batch]), y[batch], rate, options.weight_decay)
            if not math.isfinite(loss):
                raise ArithmeticError(f"{DIVERGED} (epoch {epoch}, mini-batch {k})")
            losses.append(loss)
            sums += loss, error
            progress.after_batch(f"epoch {epoch}/{options.epochs}", k, count, size, sums / k)
        tests.append((len(losses), *evaluate(net, *test_set, progress, comm)))
        if options.save:
            net.save(options.save)  # so that a killed run can go on with --load
        progress.after_epoch(sums / count, tests[-1][1:], guessing=math.log(y.shape[1]))
        rate *= options.decay
    return losses, tests


def evaluate(net, x, y, progress, comm=None, piece=1000):
    """Return the mean loss and error over all samples, scaled a piece at a time."""
    if comm:
        x, y = x[comm.rank :: comm.size], y[comm.rank :: comm.size]
    sums = np.zeros(3)
    progress.before_test()
    for start in range(0, len(x), piece):
        part = slice(start, start + piece)
        _, loss, error = net.evaluate(scale(x[part]), y[part])
        sums += len(x[part]) * np.array([loss, error, 1])
        progress.done += progress.test_work * len(x[part]) / len(x)
    sums = comm.allreduce(sums) if comm else sums
    if not math.isfinite(sums[0]):
        raise ArithmeticError(f"{DIVERGED} (test)")
    return sums[:2] / sums[2]


def scale(images):
    """uint8 pixels to float32, 0 to 1."""
    return images.astype(np.float32) / 255


class Progress:
    """Tells how a run goes: a line for each epoch and, on a terminal, a moving one."""

    def __init__(self, options, train_size, test_size):
        self.options, self.test_work = options, 0.4 * test_size  # in images to train on
        self.work = options.epochs * (train_size + self.test_work)
        self.done, self.where, self.doing = 0, "start", "first mini-batch"
        self.asked = self.stop = False
        self.start, self.over = time.monotonic(), threading.Event()
        self.ticker = threading.Thread(target=self.tick, daemon=True)
        self.ticker.start()

    def tick(self):
        """Rewrite the moving line, even during a long mini-batch."""
        while not self.over.wait(0.2):
            known = self.done and not self.asked
            left = f", {self.clock(self.work / self.done - 1)} left" if known else ""
            say(f"{self.clock()} {self.where}{left}: {self.doing}", moving=True)

    def interrupt(self, signal_number, frame):
        self.asked = True
        self.stop = not self.options.mpi  # else the processes have to agree first
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        saving = " and saving" if self.options.save else ""
        say(f"Ctrl-C: no more training, only testing{saving}. Ctrl-C again quits at once.")

    def close(self):
        self.over.set()
        self.ticker.join()

    def clock(self, share=1):
        """The time since the start, multiplied by share: 75 seconds are 1:15."""
        seconds = round(share * (time.monotonic() - self.start))
        return f"{seconds // 60}:{seconds % 60:02}"

    def after_batch(self, where, k, count, size, means):
        self.done += size
        self.where, self.doing = where, f"mini-batch {k}/{count}, {figures(*means)}"

    def before_test(self):
        self.doing = "testing"
        share = self.test_work / self.done if self.done else 0
        if share * (time.monotonic() - self.start) > 20:  # as with the loops
            say(f"{self.clock()} {self.where}: test takes {self.clock(share)}")

    def after_epoch(self, means, test, guessing):
        say(f"{self.clock()} {self.where}: {figures(*means)}; test {figures(*test)}")
        if means[0] >= guessing:
            say(f"No better than guessing (loss {guessing:.2f}): try a lower --learning-rate")
        if sys.stdout is None and not (self.options.save or self.options.plot):
            sys.exit()  # nobody reads any further, and there is nothing to write


def figures(loss, error):
    """Return loss and error in words; the error, a fraction, in percent."""
    return f"loss {loss:.4f}, error {100 * error:.2f} %"


# --- Processes: mpi4py is needed only here
@contextlib.contextmanager
def processes():
    """Yield MPI's communicator: size is the number of processes, rank that of this one, from 0 on.

    Only process 0 prints and writes files. If one fails, all end.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):  # there is no mpi4py, or no MPI
        install = f"{sys.executable} -m pip install mpi4py {'impi-rt' if os.name == 'nt' else 'mpich'}"
        raise OSError(f"--mpi needs mpi4py and an MPI library: {install}") from None
    comm, nowhere = MPI.COMM_WORLD, os.open(os.devnull, os.O_WRONLY)
    if comm.rank > 0:
        os.dup2(nowhere, 1)
    try:
        yield comm
    except BaseException:
        time.sleep(min(comm.rank, 5))  # if all fail alike, process 0 says so and ends them
        atexit.register(comm.Abort, 1)
        atexit.register(os.dup2, nowhere, 2)  # before that: MPI would add its own line
        raise


def choose_data_together(options, comm):
    """As choose_data. Process 0 comes first and may download; the others wait for its files."""
    options.seed = comm.bcast(np.random.SeedSequence(options.seed).entropy)  # random, if None
    chosen = choose_data(options) if comm.rank == 0 else None
    options.drawn = comm.bcast(chosen and bool(chosen[-1]))
    if comm.rank > 0:
        options.save = options.plot = None
        chosen = choose_data(options)
    own = [f"{len(x)} images with checksum {zlib.crc32(y, zlib.crc32(x))}" for x, y in chosen[:2]]
    own += [f"weights with {zlib.crc32(options.load.read_bytes())}"] if options.load else []
    if own != (expected := comm.bcast(own)):
        raise ValueError(f"process {comm.rank}: expected {expected} as in process 0, got {own}")
    say(f"Processes that share each mini-batch: {comm.size}")
    return chosen


def train_together(net, x, y, batch, rate, progress, comm):
    """As net.train, each process on its share of the batch. Returns loss and error of all.

    Allreduce gives all processes the sum of what each has, so all take the same step.
    """
    share = np.array_split(batch, comm.size)[comm.rank]
    some = share if len(share) else batch[:1]  # layers take no empty mini-batch; it counts 0 times
    figures = net.gradients(scale(x[some]), y[some])
    gradients = [getattr(layer, f"d{name}") for layer in net.layers for name in layer.weights]
    own = np.concatenate([*map(np.ravel, gradients), figures, [0]], dtype=gradients[0].dtype)
    own *= len(share) / len(batch)
    own[-1] = progress.asked
    mean = np.empty_like(own)
    comm.Allreduce(own, mean)
    parts = np.split(mean, np.cumsum([gradient.size for gradient in gradients]))
    for gradient, part in zip(gradients, parts):
        gradient[...] = part.reshape(gradient.shape)
    net.step(rate, progress.options.weight_decay)
    loss, error, asked = parts[-1].tolist()
    progress.stop = asked > 0
    return loss, error


# --- Data
def load_mnist(folder):
    """Return (x_train, y_train), (x_test, y_test), and download what the folder lacks.

    Images are uint8 (n, rows, columns, 1), labels uint8 (n,). Raises ValueError for a wrong file,
    ConnectionError for a missing one that cannot be downloaded, OSError for other trouble.
    """
    if not (folder := Path(folder)).is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder of MNIST files, got none")
    arrays, strangers = dict.fromkeys(FILES), []
    for name in FILES:
        for path in [path for path in (folder / name, folder / f"{name}.gz") if path.exists()][:1]:
            arrays[name], is_mnist = read_idx(path, name)
            strangers += [] if is_mnist else [path]
    if strangers and folder.resolve() == HERE:
        raise ValueError(f"{strangers[0]}: not of MNIST; {REMEDY}; for other data, use --data DIR")
    for name in [name for name in FILES if arrays[name] is None]:
        if strangers:  # MNIST would be mixed with something else
            raise ValueError(f"{folder}: {name} is missing, {strangers[0].name} is not of MNIST")
        arrays[name], _ = read_idx(download(name, folder), name)
    x_train, y_train, x_test, y_test = arrays.values()
    counts, sizes = [len(array) for array in arrays.values()], [x_train.shape[1:], x_test.shape[1:]]
    if counts[::2] != counts[1::2] or sizes[0] != sizes[1]:
        raise ValueError(f"{folder}: {counts} images and labels, of {sizes} pixels, do not match")
    return (x_train[..., None], y_train), (x_test[..., None], y_test)


def read_idx(path, name):
    """Return what an IDX file holds, uint8 (n, rows, columns) or (n,), and whether it is MNIST's.

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
        facts = f"{header[:4].hex() or 'nothing'}, {shape} announced, {len(numbers)} bytes there"
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
            unpacked = zlib.decompressobj(31).decompress(content, BYTES[name] + 1)  # 31: gzip
            if hashlib.sha256(unpacked).hexdigest() == FILES[name]:
                write_whole(path, lambda file: file.write(content))  # noqa: B023 - at once
                return path
            problems.append("wrong sha256")
        except (OSError, zlib.error) as problem:
            problems.append(str(problem))
    raise ConnectionError(f"no mirror gave {path.name} ({', '.join(problems)})")


def fetch(url, size):
    """Return what is at url, up to size bytes. Raises ConnectionError, which says why in a word."""
    pieces = queue.Queue(maxsize=8)
    def ask():
        try:
            response = requests.get(url, stream=True, timeout=(ANSWER, PATIENCE))
            response.raise_for_status()
            for piece in itertools.chain([b""], response.iter_content(1 << 16), [None]):
                pieces.put(piece)  # nothing yet, but it answers; its content; that was all
        except Exception as problem:  # noqa: BLE001 - four libraries are at work
            status = getattr(getattr(problem, "response", None), "status_code", None)
            pieces.put(ConnectionError(status or type(problem).__name__))
    threading.Thread(target=ask, daemon=True).start()  # no timeout stops a slow name server
    content, patience = bytearray(), ANSWER
    with contextlib.suppress(queue.Empty):
        while len(content) <= size:
            piece = pieces.get(timeout=patience)
            if piece is None:
                return bytes(content)
            if isinstance(piece, ConnectionError):
                raise piece
            content += piece
            patience = PATIENCE
            say(f"{len(content) / 1e6:.1f} MB", moving=True)
    raise ConnectionError("too slow" if len(content) <= size else "too long")


# --- Drawn digits
STROKES = (  # ways to write a digit: the digit, then its strokes; 37 is x = 3, y = 7 of 10 x 10
    "0 502114285987837150", "0 60311417396885826040", "0 703013275988846131", "1 5059", "1 325059",
    "1 325059 2989", "1 6048", "2 1230608274461989", "2 123060827447190816376998",
    "2 1320608375370998", "2 2240626437094999", "2 1340635629174798", "3 1130708264447587693917",
    "3 1080447687693917", "3 225072643374865808", "3 205071543565774818", "4 201585 7169",
    "4 600696 6069", "4 201436658069", "4 11154685 818469", "5 8020145477684918",
    "5 90402464765828", "5 9041335466582908", "5 403465674918 4090", "5 90302455673807",
    "6 703115285977653617", "6 5024173968765426", "6 804216184978764617", "6 40172969775526",
    "7 108039", "7 1140805449", "7 108039 2575", "7 1310805549", "8 725021335577592816446372",
    "8 50223454737150 54262859877654", "8 81402244766838275481", "8 82613133656839274582",
    "9 7350211335647269", "9 73502113356472755829", "9 7240122454726549", "9 736031234472 7379",
)  # fmt: skip


def draw_digits(n, seed):
    """Draw n digits like handwriting: uint8 images (n, 28, 28, 1) and labels (n,)."""
    rng = np.random.default_rng(seed)
    ways = rng.integers(0, len(STROKES), n)
    images = np.empty((n, 28, 28, 1), np.uint8)
    for way, (_, *strokes) in enumerate(map(str.split, STROKES)):
        images[ways == way, :, :, 0] = draw_strokes(strokes, np.sum(ways == way), rng)
    return images, np.array([int(way[0]) for way in STROKES], np.uint8)[ways]


def draw_strokes(strokes, n, rng):
    """Draw one way to write a digit n times, each time a little differently: (n, 28, 28)."""
    grid = np.stack(np.divmod(np.arange(100), 10), axis=1)
    wobbly_grid = grid + rng.normal(0, 0.8, (n, 100, 2))
    curve = []
    for stroke in strokes:
        knots = [int(stroke[k : k + 2]) for k in range(0, len(stroke), 2)]
        for start, end in itertools.pairwise(knots):
            u = np.arange(0, 1, 0.25 / math.dist(grid[start], grid[end]))[:, None]
            curve.append((1 - u) * wobbly_grid[:, None, start] + u * wobbly_grid[:, None, end])
    curve = np.concatenate(curve, axis=1)  # (n, points, 2)
    width, slant, turn = rng.uniform(0.6, 1.3, n), rng.normal(-0.2, 0.3, n), rng.normal(0, 0.18, n)
    curve = curve @ np.array([[width, turn], [slant, np.ones(n)]]).transpose(2, 0, 1)
    pen = rng.uniform(0.4, 0.9, (n, 1, 1))  # a measure of its width, in pixels
    curve *= (20 - 2 * pen) / np.ptp(curve, axis=1).max(axis=1).reshape(n, 1, 1)  # as in MNIST,
    curve -= curve.mean(axis=1, keepdims=True)  # 20 pixels high or wide, and in the middle
    distances = (np.arange(28) - 13.5 - curve[..., None]) / pen[..., None]  # (n, points, 2, 28)
    across, down = np.exp(-(distances**2) / 2).transpose(2, 0, 1, 3)
    return 255 - 255 * np.exp(-down.transpose(0, 2, 1) @ across)  # a spot of ink at each point


# --- Pictures of digits: Pillow is needed only here
def read_pictures(net, options):
    """Print what the network reads in each file. Returns the exit status: 1 if a file is bad."""
    from PIL import Image, ImageOps
    Image.MAX_IMAGE_PIXELS = None  # it would warn; the limit is below
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
            reason = getattr(problem, "strerror", None) or problem
            print(f"mnist.py: {path}: {reason}", file=sys.stderr)
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

    It is cut out, fitted into 20 x 20 pixels, and put light on dark into 28 x 28 with the centre of
    its mass in the middle. Raises ValueError if there is none.
    """
    from PIL import Image
    pixels = np.asarray(picture.convert("RGBA").convert("RGBa"), np.float32)  # a: times opacity
    pixels, ink = cut_out(pixels)
    inside = slice(4, -4), slice(4, -4)
    if ink[inside].size and np.mean(edge(ink[inside]) > 0) > 0.9:
        with contextlib.suppress(ValueError):  # a sheet of paper, with a digit unless it is empty
            _, ink = cut_out(pixels[inside])
    size = [math.ceil(20 * length / max(ink.shape)) for length in ink.T.shape]
    digit = Image.fromarray((255 * ink).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    digit = np.asarray(digit) / np.max(digit)
    image = np.pad(digit, [(0, 28 - length) for length in digit.shape])
    for axis, length in enumerate(digit.shape):
        centre = np.average(np.arange(28), weights=image.sum(axis=1 - axis))
        image = np.roll(image, min(max(round(13.5 - centre), 0), 28 - length), axis)
    return (255 * image).astype(np.uint8)


def cut_out(pixels):
    """Cut off what has the colour of the edge; return the rest, and how it differs, 0 to 1."""
    ink = np.abs(pixels - np.median(edge(pixels), axis=0)).max(axis=2)
    if ink.max() < 40:
        raise ValueError("all of one colour: there is no digit")
    ink = np.clip((ink / ink.max() - 0.2) / 0.8, 0, 1)  # paper has its shades
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return pixels[box], ink[box]


def edge(pixels):
    """Return the outermost pixels of (height, width, ...), one after the other."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


# --- Plots: matplotlib is needed only here
def plot_training(path, losses, tests, net, x, y, title):
    """Draw the loss, the test error after each epoch, the first filters and misread digits."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9.5 if losses else 5, 4.6), layout="constrained")
    figure.suptitle(f"{title}: test error {100 * tests[-1][2]:.2f} %")
    *left, right = figure.subfigures(1, 2 if losses else 1, squeeze=False)[0]
    if losses:
        axes = left[0].subplots()
        axes.plot(losses, color="0.8", linewidth=0.5)
        window = math.ceil(len(losses) / 100)
        sums = np.convolve(losses, np.ones(window))[: len(losses)]
        means = sums / np.minimum(np.arange(len(losses)) + 1, window)  # at first of fewer
        axes.plot(means, "--", color="tab:blue")
        axes.set(xlabel="mini-batch", ylabel=f"loss, and mean of {window} (dashed)", yscale="log")
        axes = axes.twinx()
        batches, _, errors = np.transpose(tests)
        axes.plot(batches, 100 * errors, "o-", color="tab:red")
        axes.set(ylabel="test error after each epoch, % (dots)", ylim=(0, 120 * max(errors) + 0.1))
    answers, labels = net.predict(scale(x)).argmax(axis=1), y.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    W, lower = net.layers[0].W, right
    if W is not None and W.ndim == 4:
        upper, lower = right.subfigures(2, 1, height_ratios=[1, 1.6])
        show(upper.subplots(), mosaic(W[:, :, 0].transpose(2, 0, 1)), "filters of the first layer")
    lower.suptitle(f"the first of {len(wrong)} misread digits")
    grid = lower.subplots(2, 5, subplot_kw={"visible": False})
    for k, axes in zip(wrong, grid.flat):
        show(axes, x[k, :, :, 0], f"read {answers[k]}, is {labels[k]}")
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=140))


def plot_pictures(path, rows, net):
    """Draw each picture as it came and as the network saw it, its first maps, and its answers."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 2.3 * len(rows)), facecolor="0.95", layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 2, 1.2])
    for (came, saw, maps, bars), (name, picture, image, answers) in zip(grid, rows):
        show(came, picture, name)
        show(saw, image, "as the network sees it")
        maps.set(visible=False)
        A = net.layers[0].forward_propagate(scale(image[None, :, :, None]))
        if A.ndim == 4:
            show(maps, mosaic(A[0].transpose(2, 0, 1)), "after the first convolution")
        bars.barh(range(len(answers)), 100 * answers)
        bars.set(xlim=(0, 100), xlabel="probability, %", yticks=range(10), ylim=(9.5, -0.5))
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=140))


def show(axes, picture, title):
    """Draw a picture, grey or in colours, with its title and nothing else."""
    axes.imshow(picture, cmap="gray")
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[], frame_on=False, visible=True)


def mosaic(images, columns=8):
    """Put images, (n, height, width), side by side in rows, with a gap of a pixel."""
    images = np.pad(images, ((0, -len(images) % columns), (0, 1), (0, 1)), constant_values=np.nan)
    rows = images.reshape(-1, columns, *images.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(-1, columns * images.shape[2])


# --- Screen and files
def say(line, moving=False):
    """Print a line: a moving one only on a terminal, none once nobody reads (`| head -1`)."""
    try:
        if sys.stdout and sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width] if moving else line:{width}}"  # over what has moved
        elif moving:
            return
        print(line, end="" if moving else "\n", flush=True)
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what it still holds
        sys.stdout = None  # print knows this, and does nothing
        if problem.errno not in (errno.EPIPE, errno.EINVAL):  # the second on Windows
            raise OSError(f"standard output: {problem.strerror}") from None


def write_whole(path, write):
    """Call write(file) with a new file beside path, then move it there: whole, or not at all."""
    path = os.path.realpath(path)
    part = f"{path}.{os.urandom(4).hex()}.part"
    try:
        with open(part, "xb") as file:  # x: it must not exist
            write(file)
        os.replace(part, path)
    except OSError as problem:
        raise OSError(f"{path} cannot be written: {problem.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


# --- Command line
def at_least(least, kind):
    """Return a converter for argparse: text to a finite number of this kind, not below least."""
    def convert(text):
        with contextlib.suppress(ValueError):
            if least <= kind(text) < math.inf:
                return kind(text)
        name = "an integer" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"expected {name} >= {least}, got {text!r}")
    return convert


def writable(text):
    """A converter for argparse: text to the path of a file that can be written."""
    path = Path(text)
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is not a file")
        part = path.resolve().with_name(f"{os.urandom(4).hex()}.part")
        part.touch(exist_ok=False)  # tempfile may wait for ever, on Windows
        part.unlink()
    except OSError as problem:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {problem.strerror}") from None
    return path


def parse_arguments():
    """Return the command line's options, the model's defaults filled in."""
    natural, count, number = at_least(0, int), at_least(1, int), at_least(0, float)
    each = "{} --epochs {epochs} --learning-rate {learning_rate} --decay {decay}"
    epilog = f"Defaults: {'; '.join(each.format(name, **DEFAULTS[name]) for name in DEFAULTS)}"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=epilog)
    add = parser.add_argument
    add("model", choices=DEFAULTS, help="the network: one hidden layer, one convolution, or two")
    add("version", nargs="?", choices=["sg", "naive"], default="sg", help="stride groups, or loops")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="DIR", help="folder of MNIST, or of files like it")
    data.add_argument("--drawn", action="store_true", help="train on digits drawn by this program")
    add("--split", type=number, metavar="X", help="train on this fraction of all, test on the rest")
    add("--samples", type=count, metavar="N", help="train on the first N images, test on at most N")
    add("--epochs", type=natural, metavar="N", help="rounds of training; 0 with --load only tests")
    add("--batch-size", type=count, default=32, metavar="N", help="images in a mini-batch (32)")
    add("--learning-rate", type=number, metavar="X", help="step length of gradient descent")
    add("--decay", type=number, metavar="X", help="multiply the learning rate by X after an epoch")
    add("--weight-decay", type=number, default=0.0, metavar="X", help="add X times W to dW")
    add("--seed", type=natural, metavar="N", help="fixes the first weights and the order of images")
    add("--load", type=Path, metavar="FILE.npz", help="start from weights that --save wrote")
    add("--save", type=writable, metavar="FILE.npz", help="write the weights after each epoch")
    add("--read", nargs="+", metavar="FILE", help="read a digit in each picture; needs Pillow")
    add("--mpi", action="store_true", help="share each mini-batch between the processes that "
        "mpiexec -n N python3 mnist.py started; needs mpi4py")
    add("--plot", type=writable, metavar="FILE.png", help="draw the training, or what --read does")
    options = parser.parse_args()
    if (options.read or options.epochs == 0) and not options.load:
        parser.error("--read and --epochs 0 need --load FILE.npz: there is no training")
    if options.load and not options.load.exists():
        parser.error(f"--load: there is no file {options.load}")
    for used, module, name in (("read", "PIL", "pillow"), ("plot", "matplotlib", "matplotlib")):
        if getattr(options, used) and importlib.util.find_spec(module) is None:
            parser.error(f"--{used} needs {name}: {sys.executable} -m pip install {name}")
    given = {name: value for name, value in vars(options).items() if value is not None}
    vars(options).update(DEFAULTS[options.model] | given)
    return options


def choose_data(options):
    """Return training set, test set, and a note for the results: empty for real data."""
    names, note = ", ".join(FILES), " (drawn digits, not MNIST)"
    try:
        if not options.drawn:
            sets, note = load_mnist(options.data or HERE), ""
    except ConnectionError as problem:
        if options.data:
            raise ConnectionError(f"{problem}; put into {options.data}: {names}") from None
        say(f"MNIST could not be downloaded: {problem}.\nPut into {HERE}:\n{names}")
    if note:
        say("Using drawn digits, not MNIST: this program draws them.")
        sets = draw_digits(12_000, 1), draw_digits(2_000, 2)
    if options.split is not None:
        x, y = (np.concatenate(parts) for parts in zip(*sets))
        order = np.random.default_rng(options.seed).permutation(len(x))
        first, rest = np.split(order, [round(options.split * len(x))])
        if not len(first) or not len(rest):
            raise ValueError(f"--split {options.split:g}: one part has none of the {len(x)} images")
        sets = (x[first], y[first]), (x[rest], y[rest])
    return *((x[: options.samples], y[: options.samples]) for x, y in sets), note


def main(comm=None):
    """Load the data, train the network, print the error on the test set."""
    if sys.stdout is None:
        raise OSError(f"standard output is closed: send it to a file, or to {os.devnull}")
    options = parse_arguments()
    apple = "ignore" if sys.platform == "darwin" else "warn"  # its library warns without cause
    np.seterr(over="ignore", invalid="ignore", divide=apple)  # if training diverges, a line says so
    classes = 10
    if not options.read:
        *sets, note = choose_data_together(options, comm) if comm else choose_data(options)
        classes = 1 + int(max(y.max() for _, y in sets))
    cnn = importlib.import_module(f"cnn_{options.version}")
    net = cnn.Network(models(cnn, classes)[options.model], options.seed)
    if options.load:
        net.load(options.load)
    if options.read:
        return read_pictures(net, options)
    train_set, test_set = ((x, np.eye(classes, dtype=np.float32)[y]) for x, y in sets)
    sizes = len(train_set[0]), len(test_set[0])
    who = f"{options.model} ({cnn.__name__}) on"
    training = f"Training {who} {sizes[0]:,} images, testing on {sizes[1]:,}"
    with contextlib.closing(Progress(options, *sizes)) as progress:
        signal.signal(signal.SIGINT, progress.interrupt)
        say(training if options.epochs else f"Testing {who} {sizes[1]:,} images")
        losses, tests = train(net, train_set, test_set, options, progress, comm)
        finished = len(tests) == options.epochs
        if not finished:
            say(f"Stopped in {progress.where}, after {len(losses)} mini-batches in all.")
        if not tests or tests[-1][0] < len(losses):
            tests.append((len(losses), *evaluate(net, *test_set, progress, comm)))
    if options.save:
        net.save(options.save)
        say(f"Weights saved in {options.save}")
    if options.plot:
        plot_training(options.plot, losses, tests, net, *test_set, options.model + note)
        say(f"Picture saved in {options.plot}")
    say(f"Test set{note}: {figures(*tests[-1][1:])}")
    return 0 if finished else 130


if __name__ == "__main__":
    together = any(word.startswith("--m") for word in sys.argv) and "--help" not in sys.argv
    try:
        if hasattr(sys.stdout, "reconfigure"):  # it can be None, or a notebook's
            sys.stdout.reconfigure(errors="backslashreplace")  # for odd names of files
        with processes() if together else contextlib.nullcontext() as comm:
            status = main(comm)
        sys.exit(status)
    except (ArithmeticError, MemoryError, OSError, ValueError) as problem:
        sys.exit(f"mnist.py: {str(problem) or 'not enough memory'}")
    except KeyboardInterrupt:
        sys.exit(130)
