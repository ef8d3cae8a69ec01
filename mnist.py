"""Train a network of cnn_sg.py or cnn_naive.py to read handwritten digits.

In this file: models, training, test, data, command line. What single options need is in extras/.
"""

import argparse
import gzip
import hashlib
import importlib
import os
import sys
import time
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
if __name__ == "__main__" and not any(name in os.environ for name in THREADS):
    os.environ.update(dict.fromkeys(THREADS, "1"))  # one: more may wait for a busy core, and lose
import numpy as np

HERE = Path(__file__).resolve().parent
FIGURES = "loss {:.4f}, error {:.2f} %"
DIVERGED = "training diverged: try a lower --learning-rate"
DEFAULTS = {"flat": {"epochs": 12, "learning_rate": 0.2, "decay": 0.8},
            "cnn": {"epochs": 6, "learning_rate": 0.15, "decay": 0.6},
            "lenet": {"epochs": 8, "learning_rate": 0.15, "decay": 0.65}}  # fmt: skip


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


def train(net, x, y, *, epochs, learning_rate, decay=1.0, batch_size=32, weight_decay=0.0,
          seed=None):  # fmt: skip
    """Mini-batch gradient descent: yields (epoch, step, steps, loss, error in %) after each step.

    x are images, uint8 (see scale) or floats; y are labels, one-hot (n, classes). An epoch has
    `steps` steps, numbered from 1. Raises ArithmeticError for a loss that is not finite.
    """
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, len(x))
    steps = len(x) // batch_size  # a smaller mini-batch at the end would take as long: left out
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(x))[: steps * batch_size]
        for step, batch in enumerate(order.reshape(steps, batch_size), 1):
            _, loss, error = net.train(scale(x[batch]), y[batch], learning_rate, weight_decay)
            if not np.isfinite(loss):
                raise ArithmeticError(f"{DIVERGED} (epoch {epoch}, mini-batch {step})")
            yield epoch, step, steps, loss, 100 * error
        learning_rate *= decay


def test(net, x, y):
    """Return the mean loss of all images, and the error in percent."""
    _, loss, error = net.evaluate(scale(x), y)
    if not np.isfinite(loss):
        raise ArithmeticError(f"{DIVERGED} (test)")
    return loss, 100 * error


def scale(images):
    """uint8 pixels to float32, 0 to 1. Floats stay as they are."""
    return np.divide(images, 255, dtype=np.float32) if images.dtype == np.uint8 else images


def run(cnn, sets, options):
    """Train on one of two sets, (images, labels), test on the other, save; return the status."""
    if options.plot:
        from extras.plot import plot_training
    classes = 1 + int(max(y.max() for _, y in sets))
    train_set, test_set = ((x, np.eye(classes, dtype=np.float32)[y]) for x, y in sets)
    net = cnn.Network(models(cnn, classes)[options.model], options.seed)
    if options.load:
        net.load(options.load)
    on = f"{options.model} ({cnn.__name__}) on"
    training = f"Training {on} {len(train_set[0]):,} images, testing on {len(test_set[0]):,}"
    print(training if options.epochs else f"Testing {on} {len(test_set[0]):,} images", flush=True)
    names = ("epochs", "learning_rate", "decay", "batch_size", "weight_decay", "seed")
    settings = {name: getattr(options, name) for name in names}
    history, tests, where, status = [], [], f"epoch 1/{options.epochs}", 0
    start, shown, base = time.monotonic(), 0, np.log(classes)  # base: the loss of a guess
    width = max(0, os.get_terminal_size().columns - 1) if sys.stdout.isatty() else 0
    erase = f"\r{' ' * width}\r" if width else ""  # on a terminal, the last line is written anew
    try:
        for epoch, step, steps, *figures in train(net, *train_set, **settings):
            history.append(figures)
            where = f"epoch {epoch}/{options.epochs}"
            if step == steps:
                tests.append((len(history), *test(net, *test_set)))  # after how many steps
                means = np.mean(history[-steps:], axis=0)
                results = f"{FIGURES.format(*means)}; test {FIGURES.format(*tests[-1][1:])}"
                print(f"{erase}{clock(start)} {where}: {results}", flush=True)
                if tests[-1][1] >= base:
                    print(f"No better than guessing (loss {base:.2f}): try a lower --learning-rate")
                if options.save:
                    try:
                        net.save(options.save)  # so that a killed run can go on with --load
                    except OSError as problem:
                        print(f"mnist.py: {problem}", file=sys.stderr)
            elif width and time.monotonic() > shown + 0.2:
                shown = time.monotonic()
                left = clock(start, options.epochs * steps / len(history) - 1)  # all / done - 1
                means = FIGURES.format(*np.mean(history[-step:], axis=0))
                line = f"{clock(start)} {where}, {left} left: mini-batch {step}/{steps}, {means}"
                print(f"{erase}{line[:width]}", end="", flush=True)
    except KeyboardInterrupt:  # Ctrl-C; once more, and the program ends
        status, saving = 130, " and saving" if options.save else ""  # 130: as shells have it
        print(f"{erase}Ctrl-C: no more training, only testing{saving}. Ctrl-C again quits at once.")
        print(f"Stopped in {where}, after {len(history)} mini-batches in all.")
    if status or not tests:
        tests.append((len(history), *test(net, *test_set)))
    drawn = " (drawn digits, not MNIST)" if options.drawn else ""
    try:
        if options.save:
            net.save(options.save)
            print(f"Weights saved in {options.save}")
        if options.plot:
            plot_training(options.plot, history, tests, net, *test_set, options.model + drawn)
            print(f"Picture saved in {options.plot}")
    finally:  # even if they cannot be written
        print(f"Test set{drawn}: {FIGURES.format(*tests[-1][1:])}")
    return status


def clock(start, share=1):
    """The time since start, multiplied by share: 75 seconds are 1:15."""
    return "{}:{:02}".format(*divmod(round(share * (time.monotonic() - start)), 60))


# --- Data
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/",
           "https://raw.githubusercontent.com/fgnt/mnist/master/")  # fmt: skip
FILES = {  # of MNIST, each with the sha256 of its content; the mirrors have them as .gz
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}


def load_mnist(folder):
    """Return (x_train, y_train), (x_test, y_test), and download what the folder lacks: uint8 images
    (n, rows, columns, 1) and labels (n,). Raises ValueError for wrong files, or OSError."""
    folder, arrays, foreign = Path(folder), {}, []
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder of MNIST files, got none")
    for name in FILES:
        for path in filter(Path.exists, (folder / f"{name}.gz", folder / name)):
            arrays[name], is_mnist = read_idx(path, name)
            foreign += [] if is_mnist else [path]
    if foreign and (folder.resolve() == HERE or len(arrays) < len(FILES)):
        raise ValueError(f"{foreign[0]}: not of MNIST; move it away; all four may be in --data DIR")
    for name in [name for name in FILES if name not in arrays]:
        arrays[name], _ = read_idx(download(name, folder), name)
    x, y, x_test, y_test = (arrays[name] for name in FILES)
    if len(x) != len(y) or len(x_test) != len(y_test) or x.shape[1:] != x_test.shape[1:]:
        raise ValueError(f"{folder}: no match: {x.shape} {y.shape} {x_test.shape} {y_test.shape}")
    return (x[..., None], y), (x_test[..., None], y_test)


def read_idx(path, name):
    """Return the uint8 array in an IDX file, and whether it is the one of MNIST.

    The format: 0, 0, 8 for unsigned bytes, the number of axes; their lengths, 4 bytes each, the
    first byte the highest; then the numbers. http://yann.lecun.com/exdb/mnist/
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        shape = np.frombuffer(content, ">u4", 3 if "images" in name else 1, offset=4)
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except Exception as damage:  # noqa: BLE001 - gzip alone raises four kinds
        raise ValueError(f"{path}: not a whole IDX file ({damage}); move it away") from None
    return array, hashlib.sha256(content).hexdigest() == FILES[name]


def download(name, folder):
    """Get a file of MNIST from the first mirror that has it; return its path in the folder."""
    import requests  # only here, as it takes longer than all else to import
    path, problems = folder / f"{name}.gz", []
    part = folder / f"{path.name}.{os.getpid()}.part"
    part.touch()  # so that a folder that cannot be written says so
    for mirror in MIRRORS:
        print(f"Downloading {path.name} from {mirror.split('/')[2]}", flush=True)
        content, deadline = bytearray(), time.monotonic() + 10
        try:
            response = requests.get(mirror + path.name, stream=True, timeout=(3, 10))
            response.raise_for_status()
            for piece in response.iter_content(1024):
                content += piece
                deadline += 10 * len(piece) / 65_536  # 64 kB more, 10 seconds more
                if len(content) > 10_000_000 or time.monotonic() > deadline:
                    raise ConnectionError("too slow, or too long")
            if hashlib.sha256(gzip.decompress(content)).hexdigest() != FILES[name]:
                raise ConnectionError("wrong sha256")
            part.write_bytes(content)
            return part.replace(path)  # it is there whole, or not at all
        except Exception as problem:  # noqa: BLE001 - six libraries are at work
            problems.append(problem if type(problem) is ConnectionError else type(problem).__name__)
        finally:
            part.unlink(missing_ok=True)
    raise ConnectionError(f"no mirror gave {path.name} ({', '.join(map(str, problems))})")


def choose_data(options):
    """Return training set and test set. Sets options.drawn if MNIST cannot be had."""
    try:
        sets = None if options.drawn else load_mnist(options.data or HERE)
    except ConnectionError as error:
        if options.data:
            raise ConnectionError(f"{error}; put into {options.data}: {', '.join(FILES)}") from None
        print(f"MNIST could not be downloaded: {error}.\nPut into {HERE}:\n{', '.join(FILES)}")
        options.drawn = True
    if options.drawn:
        from extras.drawn import draw_digits
        print("Using drawn digits, not MNIST: this program draws them.")
        sets = draw_digits(12_000, seed=1), draw_digits(2_000, seed=2)
    if options.split is not None:
        x, y = (np.concatenate(parts) for parts in zip(*sets))
        order = np.random.default_rng(options.seed).permutation(len(x))
        sets = [(x[part], y[part]) for part in np.split(order, [round(options.split * len(x))])]
        if not all(len(y) for _, y in sets):
            raise ValueError(f"--split {options.split:g}: one part has none of the {len(x)} images")
    return [(x[: options.samples], y[: options.samples]) for x, y in sets]


# --- Command line
def parse_arguments():
    """Return the command line's options, the model's defaults filled in."""
    each = "{} --epochs {epochs} --learning-rate {learning_rate} --decay {decay}"
    epilog = f"Defaults: {'; '.join(each.format(name, **DEFAULTS[name]) for name in DEFAULTS)}"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=epilog)
    add = parser.add_argument
    add("model", choices=DEFAULTS, help="the network: one hidden layer, one convolution, or two")
    add("version", nargs="?", default="sg", help="layers of cnn_VERSION.py: sg, naive or yours")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="DIR", help="folder of MNIST, or files like it")
    data.add_argument("--drawn", action="store_true", help="train on digits drawn by this program")
    add("--split", type=float, metavar="X", help="train on this fraction of all, test on the rest")
    add("--samples", type=int, metavar="N", help="train on the first N images, test on at most N")
    add("--epochs", type=int, metavar="N", help="rounds of training; 0 with --load only tests")
    add("--batch-size", type=int, default=32, metavar="N", help="images in a mini-batch (32)")
    add("--learning-rate", type=float, metavar="X", help="step length of gradient descent")
    add("--decay", type=float, metavar="X", help="multiply the learning rate by X after an epoch")
    add("--weight-decay", type=float, default=0.0, metavar="X", help="add X times W to dW")
    add("--seed", type=int, metavar="N", help="fixes the first weights and the order of images")
    add("--load", type=Path, metavar="FILE.npz", help="start from weights that --save wrote")
    add("--save", type=Path, metavar="FILE.npz", help="write the weights after each epoch")
    add("--read", nargs="+", metavar="FILE", help="read a digit in each picture; needs Pillow")
    add("--live", action="store_true", help="draw a digit in the browser, see every layer at work")
    add("--mpi", action="store_true", help="share the work between processes that mpiexec started")
    add("--plot", type=Path, metavar="FILE.png", help="draw the training, or what --read does")
    options = parser.parse_args()
    for path in filter(None, (options.save, options.plot)):
        if (path.exists() and not path.is_file()) or not path.resolve().parent.is_dir():
            parser.error(f"{path} cannot be written: it is no file, or its folder is not there")
    for name, value in vars(options).items():
        least = 1 if name in ("samples", "batch_size") else 0
        if isinstance(value, (int, float)) and not least <= value < np.inf:
            parser.error(f"--{name.replace('_', '-')}: expected a number >= {least}, got {value}")
    reading, trained = options.read or options.live, HERE / "extras" / "lenet.npz"
    if reading and options.model == "lenet" and not options.load and trained.exists():
        options.load = trained
        print(f"Using the weights in {trained}")
    if (reading or options.epochs == 0) and not options.load:
        parser.error("--live, --read and --epochs 0 need --load FILE.npz: there is no training")
    if options.load and not options.load.exists():
        parser.error(f"--load: there is no file {options.load}")
    given = {name: value for name, value in vars(options).items() if value is not None}
    vars(options).update(DEFAULTS[options.model] | given)  # what is given wins
    return options


def keep_freed_memory():
    """For speed only: once so much was freed, Linux keeps what a step frees for the next one."""
    np.empty(30_000_000, np.uint8)


def main():
    """Do what the command line says; return the exit status."""
    options = parse_arguments()
    np.seterr(over="ignore", invalid="ignore", divide="ignore")  # a line says if training diverges
    keep_freed_memory()
    try:
        cnn = importlib.import_module(f"cnn_{options.version}")
        layers = models(cnn, 10)[options.model]  # to see whether it can be used
    except Exception as problem:  # noqa: BLE001 - it may be the reader's own
        raise ImportError(f"cnn_{options.version}.py cannot be used: {problem}") from None
    if options.read:
        from extras.read import read_pictures
        return read_pictures(cnn.Network(layers).load(options.load), options.read, options.plot)
    if options.live:
        from extras.live import serve
        found = {path.name.removesuffix(".gz") for path in (options.data or HERE).glob("*-ubyte*")}
        options.drawn |= not found.issuperset(FILES)  # nothing is downloaded for this
        examples = choose_data(options)[1]
        return serve(cnn.Network(layers).load(options.load), cnn.__name__, examples, options)
    if options.mpi:
        from extras.mpi import together
        return together(run, cnn, choose_data, options)
    return run(cnn, choose_data(options), options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as problem:
        sys.exit(f"mnist.py: {problem}: copy the folder extras/ of the project beside mnist.py")
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"mnist.py: {error or 'not enough memory'}")
