"""Tests of mnist.py: training, runs, data, downloads, command line. No network, no MNIST needed."""

import contextlib
import gzip
import hashlib
import http.server
import io
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import requests

import cnn_sg
import mnist

HERE = Path(mnist.__file__).resolve().parent
REAL = [HERE, HERE.parent / "shared" / "mnist"]  # where the real files may be
REAL = [each for each in REAL if all((each / f"{name}.gz").exists() for name in mnist.FILES)]
POSIX = os.name == "posix"
FIGURES = r"loss \d+\.\d{4}, error \d+\.\d\d %"
TEN_LINES = """
import numpy as np
import cnn_sg
from mnist import load_mnist, models, test, train

(x, y), (x_test, y_test) = load_mnist(FOLDER)
one_hot = np.eye(10, dtype=np.float32)
net = cnn_sg.Network(models(cnn_sg, 10)["flat"], seed=1)
for epoch, step, steps, loss, error in train(net, x, one_hot[y], epochs=2, learning_rate=0.2):
    if step == steps:
        print(epoch, loss, test(net, x_test, one_hot[y_test]))
"""


def idx(array):
    """An array as an IDX file."""
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def small_files(n=60, rows=6, columns=7, classes=3):
    """Four IDX files by their names: images with one bright row, which is their label."""
    files = {}
    rng = np.random.default_rng(n)
    for part, count in (("train", n), ("t10k", n // 2)):
        labels = rng.integers(0, classes, count).astype(np.uint8)
        labels[:classes] = np.arange(classes)
        images = rng.integers(0, 60, (count, rows, columns)).astype(np.uint8)
        images[np.arange(count), labels + 1] += 150
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return {name: files[name] for name in mnist.FILES}


MNIST = small_files(n=600)  # what the mirrors of these tests have


class Folder(unittest.TestCase):
    """Each test has an empty folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def patch(self, target, attribute, value):
        patch = mock.patch.object(target, attribute, value)
        patch.start()
        self.addCleanup(patch.stop)

    def write(self, folder=None, zipped=True, **sizes):
        for name, content in small_files(**sizes).items():
            path = (folder or self.folder) / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content) if zipped else content)

    def data(self, **sizes):
        """Options for a run with small files."""
        folder = self.folder / "data"
        folder.mkdir(exist_ok=True)
        self.write(folder, **sizes)
        return "--data", folder

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


class Program(Folder):
    """mnist.py as a user starts it: start and run_program in a process, run_main in this one."""

    def start(self, *arguments, **more):
        command = [sys.executable, "-W", "error", "mnist.py", *map(str, arguments)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8",
                       "PYTHON_COLORS": "0"}  # fmt: skip
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        return subprocess.Popen(command, **{"cwd": HERE, "env": environment, **streams, **more})

    def run_program(self, *arguments, code=0, **more):
        """Return what it printed, or, if it is to fail, its one line of error."""
        with self.start(*arguments, **more) as process:
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, f"{out}{errors}")
        self.assertNotIn("Traceback", errors)
        return out if code == 0 else errors

    def run_main(self, *arguments, code=0, out=None):
        """Return what it printed, or, for wrong options, its error; keep that in any case."""
        out, errors = out or io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch("sys.argv", ["mnist.py", *map(str, arguments)]))
            stack.enter_context(mock.patch.object(sys.modules["__main__"], "__spec__", None))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(errors))
            stack.enter_context(np.errstate())
            try:
                result = mnist.main()
            except SystemExit as end:
                result = end.code
        self.assertEqual(result, code, out.getvalue() + errors.getvalue())
        self.errors = errors.getvalue()
        return self.errors if code == 2 else out.getvalue()


class Recorder:
    """A network that learns nothing, and keeps what it was called with."""

    def __init__(self, losses=(1.0,), test=(0.5, 0.25), during=lambda what: None):
        self.steps, self.tests, self.saved = [], [], []
        self.losses, self.result, self.during = losses, test, during

    def train(self, X, Y, learning_rate, weight_decay):
        self.steps.append((X, Y, learning_rate, weight_decay))
        self.during("train")
        return [], self.losses[(len(self.steps) - 1) % len(self.losses)], 0.5

    def evaluate(self, X, Y):
        self.tests.append((X, Y))
        self.during("test")
        return None, *self.result

    def save(self, path):
        self.during("save")
        self.saved.append(len(self.steps))


class Training(unittest.TestCase):
    x = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * 3
    y = np.eye(10, 11, dtype=np.float32)

    def train(self, net, x=x, epochs=3, batch_size=4, seed=1, **more):
        settings = {"learning_rate": 0.5, "batch_size": batch_size, "seed": seed, **more}
        return list(mnist.train(net, x, self.y, epochs=epochs, **settings))

    def test_it_yields_after_each_step_what_happened_in_it(self):
        numbers = [(epoch, step, 2) for epoch in (1, 2, 3) for step in (1, 2)]
        figures = [(0.1, 50), (0.2, 50)] * 3
        steps = self.train(Recorder(losses=[0.1, 0.2]))
        self.assertEqual(steps, [number + figure for number, figure in zip(numbers, figures)])
        net = Recorder()
        next(mnist.train(net, self.x, self.y, epochs=1, learning_rate=1, batch_size=4))
        self.assertEqual(len(net.steps), 1)

    def test_each_epoch_shuffles_the_images_and_leaves_out_the_remainder(self):
        net = Recorder()
        self.train(net, epochs=20)
        images = [Y.argmax(axis=1).tolist() for _, Y, *_ in net.steps]
        epochs = [first + second for first, second in zip(images[::2], images[1::2])]
        self.assertEqual({len(set(epoch)) for epoch in epochs}, {8})
        self.assertEqual(len({frozenset(epoch) for epoch in epochs[:6]}), 6)
        same, other = Recorder(), Recorder()
        self.train(same)
        self.train(other, seed=2)
        first, same, other = (each.steps[0][0].tolist() for each in (net, same, other))
        self.assertEqual((first == same, first == other), (True, False))
        for X, Y, *_ in net.steps:  # an image stays with its label
            np.testing.assert_array_equal(X.ravel(), np.float32(3 * Y.argmax(axis=1)) / 255)

    def test_the_learning_rate_decays_after_each_epoch(self):
        net = Recorder()
        self.train(net, decay=0.5, weight_decay=0.125)
        rates = [rate for _, _, rate, _ in net.steps]
        self.assertEqual(rates, [0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
        self.assertEqual({weight_decay for *_, weight_decay in net.steps}, {0.125})
        net = Recorder()
        list(mnist.train(net, np.zeros((64, 1)), np.eye(64), epochs=2, learning_rate=0.5))
        self.assertEqual([(len(X), *rest) for X, _, *rest in net.steps], [(32, 0.5, 0)] * 4)

    def test_uint8_is_scaled_and_floats_are_taken_as_they_are(self):
        for dtype, factor in ((np.uint8, 1 / 255), (np.float32, 1), (np.float64, 1)):
            net = Recorder()
            self.train(net, self.x.astype(dtype), epochs=1)
            X, Y, *_ = net.steps[0]
            self.assertEqual(X.dtype, np.float32 if dtype == np.uint8 else dtype)
            np.testing.assert_allclose(X.ravel(), 3 * Y.argmax(axis=1) * factor, rtol=1e-6)

    def test_a_set_smaller_than_a_mini_batch_is_one(self):
        net = Recorder()
        self.train(net, batch_size=32, epochs=2)
        self.assertEqual([len(X) for X, *_ in net.steps], [10, 10])

    def test_a_loss_that_is_not_finite_ends_it(self):
        where = r"diverged: .*--learning-rate .epoch 2, mini-batch 1\)"
        for loss in (math.nan, math.inf):
            with self.assertRaisesRegex(ArithmeticError, where):
                self.train(Recorder(losses=[1, 1, loss]))
            with self.assertRaisesRegex(ArithmeticError, r"diverged: .*--learning-rate .test\)"):
                mnist.test(Recorder(test=(loss, 1)), self.x, self.y)

    def test_the_test_returns_loss_and_error_of_all_images(self):
        net = Recorder()
        self.assertEqual(mnist.test(net, self.x, self.y), (0.5, 25))
        np.testing.assert_array_equal(net.tests[0][0], self.x.astype(np.float32) / 255)

    def test_a_program_of_ten_lines_can_import_it(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in small_files(classes=10, rows=12).items():
                (Path(folder) / name).write_bytes(content)
            program = TEN_LINES.replace("FOLDER", repr(folder))
            out = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=HERE,
                                 capture_output=True, encoding="utf-8", check=False)  # fmt: skip
        self.assertEqual((len(TEN_LINES.split("\n")), out.stderr), (12, ""))
        self.assertEqual([line[:2] for line in out.stdout.splitlines()], ["1 ", "2 "])


    def test_the_models_of_the_readme(self):
        conv, pool = cnn_sg.ConvLayer_ReLU, cnn_sg.PoolLayer_Max(2, 2)
        softmax = "FCLayer_Softmax(10)"
        layers = {"flat": f"[FlatLayer(), FCLayer_ReLU(100), {softmax}]",
                  "cnn": f"[{conv(32, 3)}, {pool}, FlatLayer(), FCLayer_ReLU(100), {softmax}]",
                  "lenet": f"[{conv(20, 5)}, {pool}, {conv(50, 5)}, {pool}, "
                  f"FlatLayer(), FCLayer_ReLU(500), {softmax}]"}  # fmt: skip
        models = mnist.models(cnn_sg, 10)
        self.assertEqual({name: str(models[name]) for name in models}, layers)
        settings = {"flat": [12, 0.2, 0.8], "cnn": [6, 0.15, 0.6], "lenet": [8, 0.15, 0.65]}
        defaults = {name: [*mnist.DEFAULTS[name].values()] for name in mnist.DEFAULTS}
        self.assertEqual(defaults, settings)  # whoever changes them measures anew


class Runs(Program):
    def run_recorder(self, net, *arguments, **more):
        """A run in which this network takes the place of the one of cnn_sg: two steps an epoch."""
        self.patch(cnn_sg, "Network", lambda layers, seed: net)
        return self.run_main("flat", *self.data(n=60), "--batch-size", 30, *arguments, **more)

    def test_what_it_prints_and_how_it_trains(self):
        net = Recorder(losses=[0.1, 0.2], test=(0.0586, 0.0203))
        more = ("--learning-rate", 0.5, "--decay", 0.25, "--weight-decay", 2, "--seed", 3)
        out = self.run_recorder(net, "--epochs", 2, *more)
        figures = "loss 0.1500, error 50.00 %; test loss 0.0586, error 2.03 %"
        epochs = [f"0:00 epoch {k}/2: {figures}" for k in (1, 2)]
        first = "Training flat (cnn_sg) on 60 images, testing on 30"
        self.assertEqual(out.splitlines(), [first, *epochs, "Test set: loss 0.0586, error 2.03 %"])
        settings = [(len(X), *rest) for X, _, *rest in net.steps]
        self.assertEqual(settings, [(30, 0.5, 2)] * 2 + [(30, 0.125, 2)] * 2)

    def test_no_better_than_guessing(self):
        line = "No better than guessing (loss 1.10): try a lower --learning-rate\n"
        for loss, said in ((math.log(3), 2), (9, 2), (math.log(3) - 1e-6, 0), (0.1, 0)):
            out = self.run_recorder(Recorder(test=(loss, 0.5)), "--epochs", 2)
            self.assertEqual(out.count(line), said)

    def test_weights_are_saved_after_each_epoch_and_at_the_end(self):
        net, weights = Recorder(), self.folder / "w.npz"
        out = self.run_recorder(net, "--epochs", 3, "--save", weights)
        self.assertEqual(net.saved, [2, 4, 6, 6])
        self.assertEqual(out.splitlines()[-2], f"Weights saved in {weights}")
        net = Recorder(losses=[1, 1, 1, math.nan])
        with self.assertRaises(ArithmeticError):
            self.run_recorder(net, "--epochs", 3, "--save", weights)
        self.assertEqual((len(net.steps), net.saved), (4, [2]))

    def test_a_failed_save_is_a_line_and_training_goes_on_to_the_test(self):
        def fail(what):
            if what == "save":
                raise OSError(28, "No space left on device")

        net, out = Recorder(during=fail), io.StringIO()
        with self.assertRaisesRegex(OSError, "No space left"):  # at the end, which makes it fail
            self.run_recorder(net, "--epochs", 2, "--save", self.folder / "w.npz", out=out)
        self.assertEqual(len(net.steps), 4)
        self.assertRegex(out.getvalue(), rf"\nTest set: {FIGURES}\n$")

    def interrupted(self, what, *arguments, saving=""):
        """The output of a run with Ctrl-C in its first step or test, and how much it did."""
        def interrupt(now):
            if now == what and not pressed:
                pressed.append(now)
                raise KeyboardInterrupt

        pressed, net = [], Recorder(during=interrupt)
        out = self.run_recorder(net, "--epochs", 5, *arguments, code=130)
        again = "Ctrl-C again quits at once.\n"
        self.assertIn(f"\nCtrl-C: no more training, only testing{saving}. {again}", out)
        self.assertRegex(out, rf"\nTest set: {FIGURES}\n$")
        return out, len(net.steps), len(net.tests), net.saved

    def test_ctrl_c_ends_the_training_and_leads_to_the_test(self):
        out, *did = self.interrupted("train")
        self.assertEqual(did, [1, 1, []])
        self.assertIn("\nStopped in epoch 1/5, after 0 mini-batches in all.\n", out)
        out, *did = self.interrupted("test")
        self.assertEqual(did, [2, 2, []])
        self.assertIn("\nStopped in epoch 1/5, after 2 mini-batches in all.\n", out)
        weights = ("--save", self.folder / "w.npz")
        _, *did = self.interrupted("train", *weights, saving=" and saving")
        self.assertEqual(did, [1, 1, [1]])

    def test_on_a_terminal_a_line_moves_and_tells_the_time_left(self):
        out = io.StringIO()
        out.isatty = lambda: True
        ticks = iter(range(100, 1000, 10))  # each look at the clock is 10 seconds later
        self.patch(mnist.time, "monotonic", lambda: next(ticks))
        self.patch(mnist.os, "get_terminal_size", lambda *_: os.terminal_size((50, 24)))
        self.run_recorder(Recorder(losses=[0.125]), "--epochs", 2, out=out)
        _, blank, moving, again, over, *_ = out.getvalue().split("\r")
        self.assertEqual((blank, again), (" " * 49, " " * 49))
        self.assertEqual(moving, "0:40 epoch 1/2, 1:30 left: mini-batch 1/2, loss 0")
        self.assertRegex(over, "^0:50 epoch 1/2: loss 0.1250, error 50.00 %; test loss")


class Files(Folder):
    def load(self):
        return mnist.load_mnist(self.folder)

    def test_shapes_and_dtypes_packed_or_not(self):
        for zipped in (True, False):
            self.write(zipped=zipped)
            (x_train, y_train), (x_test, y_test) = mnist.load_mnist(str(self.folder))
            arrays = x_train, y_train, x_test, y_test
            shapes = [array.shape for array in arrays]
            self.assertEqual(shapes, [(60, 6, 7, 1), (60,), (30, 6, 7, 1), (30,)])
            self.assertEqual({array.dtype.name for array in arrays}, {"uint8"})
            self.assertEqual(y_train[:3].tolist(), [0, 1, 2])
            self.assertGreaterEqual(x_train[2, 3].min(), 150)
            for path in self.folder.iterdir():
                path.unlink()

    def test_a_wrong_file_is_named_in_one_line_and_left_alone(self):
        self.write()
        images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
        packed = (self.folder / images).read_bytes()
        whole = gzip.decompress(packed)
        short, zeros = idx(np.zeros(59, np.uint8)), idx(np.zeros((30, 5, 7), np.uint8))
        wrong = [(images, b"not gzip at all"), (images, packed[:-30]), (images, b""),
                 (images, b"\x1f\x8b\x08\x00" + bytes(30)), (images, gzip.compress(whole[:-1])),
                 (images, gzip.compress(whole + b"1")), (images, gzip.compress(whole[:7])),
                 (images, gzip.compress(short)), (labels, packed)]  # fmt: skip
        cases = [(name, content, f"{name}: not a whole IDX file") for name, content in wrong]
        cases += [(labels, gzip.compress(short), r"\(60, 6, 7\) \(59,\)"),
                  ("t10k-images-idx3-ubyte.gz", gzip.compress(zeros), "no match"),
                  ("t10k-labels-idx1-ubyte.gz", gzip.compress(short), "no match")]  # fmt: skip
        for name, content, message in cases:
            with self.subTest(name=name, content=content[:20]):
                path = self.folder / name
                kept = path.read_bytes()
                path.write_bytes(content)
                with self.assertRaisesRegex(ValueError, message) as raised:
                    self.load()
                self.assertIn(str(self.folder), str(raised.exception))
                self.assertNotIn("\n", str(raised.exception))
                self.assertEqual(path.read_bytes(), content)
                path.write_bytes(kept)
        self.load()
        with self.assertRaisesRegex(OSError, "none: expected a folder of MNIST files, got none"):
            mnist.load_mnist(self.folder / "none")

    def test_only_mnist_itself_in_the_folder_of_mnist_py(self):
        self.patch(mnist, "HERE", self.folder.resolve())
        self.write()
        with self.assertRaisesRegex(ValueError, "train-images.*: not of MNIST; .* --data DIR"):
            self.load()

    @unittest.skipUnless(REAL, "the real files are not at hand")
    def test_the_real_mnist(self):
        (x_train, y_train), (x_test, y_test) = mnist.load_mnist(REAL[0])
        self.assertEqual((x_train.shape, x_test.shape), ((60_000, 28, 28, 1), (10_000, 28, 28, 1)))
        self.assertEqual(y_train[:10].tolist(), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
        self.assertEqual(y_test[:5].tolist(), [7, 2, 1, 0, 4])
        for name in mnist.FILES:
            self.assertTrue(mnist.read_idx(REAL[0] / f"{name}.gz", name)[1])
            self.assertLess((REAL[0] / f"{name}.gz").stat().st_size, 10_000_000)


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror with a fault: /FAULT/FILE. `fine` has none."""

    def do_GET(self):
        fault, name = self.path.split("/")[-2:]
        content = gzip.compress(MNIST[name.removesuffix(".gz")])
        if fault.isdigit():
            return self.send_error(int(fault))
        if fault == "silent":
            return self.server.over.wait(20)
        other = {"html": b"<html>Please log in to the wifi of this hotel.</html>",
                 "other": gzip.compress(small_files(n=601)[name.removesuffix(".gz")])}  # fmt: skip
        content = other.get(fault, content)
        lengths = {"cut": len(content) + 20, "long": 10**12, "drip": 10**6}
        self.send_response(200)
        self.send_header("Content-Length", str(lengths.get(fault, len(content))))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)
            while fault in ("long", "drip") and not self.server.over.is_set():
                self.wfile.write(bytes(100_000 if fault == "long" else 600))
                self.server.over.wait(0 if fault == "long" else 0.1)

    def log_message(self, *arguments):
        pass


class Downloads(Folder):
    def setUp(self):
        super().setUp()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
        server.daemon_threads, server.over = True, threading.Event()
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(server.over.set)
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in MNIST.items()}
        self.patch(mnist, "FILES", sums)
        self.addCleanup(mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"}).stop)
        mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"}).start()

    def hurry(self, seconds):
        """A time-out or a deadline comes after so many seconds, as if after ten."""
        get, clock = requests.get, time.monotonic

        def get_in_a_hurry(url, timeout, **more):
            self.assertEqual(timeout, (3, 10))
            return get(url, timeout=(seconds, seconds), **more)

        self.patch(requests, "get", get_in_a_hurry)
        self.patch(mnist.time, "monotonic", lambda: clock() * 10 / seconds)

    def load(self, *mirrors):
        """What load_mnist returns, and prints, with these mirrors."""
        mirrors = [each if "/" in each else f"{self.address}/{each}/" for each in mirrors]
        out = io.StringIO()
        with mock.patch.object(mnist, "MIRRORS", mirrors), contextlib.redirect_stdout(out):
            return mnist.load_mnist(self.folder), out.getvalue()

    def test_each_fault_is_a_word_and_leads_to_the_next_mirror(self):
        faults = {
            "403": "HTTPError", "html": "BadGzipFile", "other": "wrong sha256",
            "cut": "ChunkedEncodingError|ConnectionError|wrong sha256",
            "long": "too slow, or too long", "drip": "too slow, or too long",
            "silent": "ReadTimeout", "http://127.0.0.1:1/": "ConnectionError|ConnectTimeout",
        }  # fmt: skip
        self.write(n=600)
        names = self.names()
        self.hurry(0.3)
        for fault, reason in faults.items():
            with self.subTest(fault=fault):
                next(self.folder.glob("train-images*")).unlink()
                message = rf"^no mirror gave train-images-idx3-ubyte.gz \(({reason})\)$"
                with self.assertRaisesRegex(ConnectionError, message):
                    self.load(fault)
                self.assertEqual(len(self.names()), 3)
                ((x_train, _), _), out = self.load(fault, "fine")
                self.assertEqual((x_train.shape, self.names()), ((600, 6, 7, 1), names))
                self.assertIn("Downloading train-images-idx3-ubyte.gz from 127.0.0.1:", out)

    def test_files_that_are_there_are_not_downloaded(self):
        self.write(n=600)
        self.load()
        next(self.folder.glob("*train-labels*")).unlink()
        with self.assertRaises(ConnectionError):
            self.load()
        self.load("fine")

    def test_mnist_is_not_mixed_with_other_data(self):
        self.write(n=62)
        self.load()
        next(self.folder.glob("*train-images*")).unlink()
        with self.assertRaisesRegex(ValueError, "train-labels-idx1-ubyte.gz: not of MNIST; move"):
            self.load("fine")
        self.assertEqual(len(self.names()), 3)

    def test_what_cannot_be_written_is_as_good_as_not_there(self):
        full = mock.patch.object(Path, "replace", side_effect=OSError(28, "No space left"))
        with full, self.assertRaisesRegex(ConnectionError, "OSError, OSError"):
            self.load("fine", "fine")
        self.assertEqual(self.names(), [])

class CommandLine(Program):
    def test_a_run_and_its_last_line(self):
        out = self.run_program("flat", *self.data(), "--epochs", 20, "--batch-size", 8)
        *_, epoch, last = out.splitlines()
        self.assertRegex(last, r"^Test set: loss 0.\d{4}, error [0-9]\.\d\d %$")  # it learns
        self.assertEqual(last.removeprefix("Test set: "), epoch.split("test ")[1])

    def test_other_sizes_and_numbers_of_classes(self):
        data = self.data(n=40, rows=26, columns=20, classes=12)
        for model in ("cnn", "lenet"):
            out = self.run_main(model, *data, "--epochs", 1, "--seed", 1)
            self.assertRegex(out, rf"Test set: {FIGURES}\n$")
        (data[1] / "t10k-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx(np.full(20, 20, np.uint8))))  # a class that is not in training
        self.run_main("flat", *data, "--epochs", 1)

    def test_the_same_seed_gives_the_same_figures(self):
        arguments = ("flat", *self.data(), "--epochs", 2, "--split", 0.8)
        cut = re.compile(r"^\d+:\d\d ", re.MULTILINE)
        outputs = [self.run_main(*arguments, "--seed", seed) for seed in (5, 5, 6)]
        first, same, other = (cut.sub("", out) for out in outputs)
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)
        self.assertIn("on 72 images, testing on 18", first)

    def choose(self, *arguments):
        with mock.patch("sys.argv", ["mnist.py", "flat", *map(str, arguments)]):
            return mnist.choose_data(mnist.parse_arguments())

    def test_split_shuffles_all_and_samples_are_the_first(self):
        data = self.data()
        sets = self.choose(*data, "--split", 0.8, "--seed", 1)
        self.assertEqual([(len(x), len(y)) for x, y in sets], [(72, 72), (18, 18)])
        for x, y in sets:  # the bright row is the label
            np.testing.assert_array_equal(x[..., 0].sum(axis=2).argmax(axis=1) - 1, y)
        everything = np.concatenate([x for x, _ in sets]).reshape(90, -1)
        self.assertEqual(len(np.unique(everything, axis=0)), 90)
        self.assertTrue((sets[0][0][:50] != mnist.load_mnist(data[1])[0][0][:50]).any())
        for split in (0, 0.000001, 0.9999, 1, 2):
            with self.assertRaisesRegex(ValueError, "--split .*: one part has none of the 90 im"):
                self.choose(*data, "--split", split)
        sets = self.choose(*data, "--samples", 40)
        self.assertEqual([(len(x), len(y)) for x, y in sets], [(40, 40), (30, 30)])
        np.testing.assert_array_equal(sets[0][0], mnist.load_mnist(data[1])[0][0][:40])

    def test_save_and_load_between_the_versions(self):
        weights = self.folder / "weights.npz"
        data = self.data(n=16)
        *_, last = self.run_main("cnn", *data, "--epochs", 2, "--save", weights).splitlines()
        for version in ("sg", "naive"):
            loaded = self.run_main("cnn", version, *data, "--epochs", 0, "--load", weights)
            testing = f"Testing cnn (cnn_{version}) on 8 images"
            self.assertEqual(loaded.splitlines(), [testing, last])
        with self.assertRaisesRegex(ValueError, "weights.npz"):
            self.run_main("flat", *data, "--load", weights)
        before = weights.read_bytes()
        more = ("--learning-rate", 1e30, "--save", weights)
        errors = self.run_program("cnn", *data, *more, code=1)
        self.assertRegex(errors, r"^mnist.py: training diverged: .*--learning-rate .*\n$")
        self.assertEqual((weights.read_bytes(), self.names()), (before, ["data", "weights.npz"]))

    def test_an_option_that_is_wrong_is_named_with_status_2(self):
        missing = self.folder / "no.npz"
        cases = [
            ("", "model"), ("cnm", "invalid choice: 'cnm'"),
            ("cnn --epochs 1.5", "--epochs: invalid int value: '1.5'"),
            ("cnn --epochs -1", "--epochs: expected a number >= 0, got -1"),
            ("cnn --epochs 0", "--epochs 0 need --load"),
            ("cnn --read x.png", "--read and .* need --load"),
            ("cnn --batch-size 0", "--batch-size: expected a number >= 1, got 0"),
            ("cnn --samples 0", "--samples: expected a number >= 1, got 0"),
            ("cnn --decay nan", "--decay: expected a number >= 0, got nan"),
            ("cnn --decay inf", "--decay: expected a number >= 0, got inf"),
            ("cnn --drawn --data .", "not allowed with argument"),
            (f"cnn --load {missing}", "--load: there is no file .*no.npz"),
            (f"cnn --save {self.folder}", "cannot be written"),
            (f"cnn --save {missing / 'w.npz'}", "cannot be written"),
        ]  # fmt: skip
        cases += [(f"cnn --plot {os.devnull}", "cannot be written")] * POSIX
        for arguments, message in cases:
            with self.subTest(arguments=arguments):
                errors = self.run_main(*arguments.split(), code=2)
                self.assertRegex(errors.splitlines()[-1], f"^mnist.py: error: .*{message}")
        self.assertEqual(self.names(), [])

    def test_options_that_are_not_given(self):
        with mock.patch("sys.argv", ["mnist.py", "cnn", "--decay", "0.3"]):
            options = vars(mnist.parse_arguments())
        expected = {**mnist.DEFAULTS["cnn"], "decay": 0.3, "batch_size": 32, "weight_decay": 0,
                    "seed": None, "version": "sg", "drawn": False, "mpi": False}  # fmt: skip
        self.assertEqual({name: options[name] for name in expected}, expected)
        told = "".join(self.run_main("--help").split())  # wherever its lines end
        self.assertIn("Defaults:flat--epochs12--learning-rate0.2--decay0.8;cnn--epochs6", told)

    def test_what_is_wrong_is_one_line_with_status_1(self):
        errors = self.run_program("lenet", *self.data(), code=1)
        self.assertRegex(errors, r"^mnist.py: ConvLayer_ReLU\(50, .*expected .*got .*\n$")

    def test_a_module_of_the_reader(self):
        for name in ("mnist.py", "cnn_sg.py"):
            shutil.copy(HERE / name, self.folder)
        arguments, at = ("flat", "mine", *self.data(), "--epochs", 1), {"cwd": self.folder}
        mine = self.folder / "cnn_mine.py"
        line = "^mnist.py: cnn_mine.py cannot be used: .*\n$"
        self.assertRegex(self.run_program(*arguments, **at, code=1), line)  # there is none
        mine.write_text("from cnn_sg import *")
        self.assertIn("Training flat (cnn_mine) on 60 images", self.run_program(*arguments, **at))
        for trouble in ("def (", "raise MemoryError", "x = 1"):
            mine.write_text(trouble)
            self.assertRegex(self.run_program(*arguments, **at, code=1), line)
        mine.write_text("raise KeyboardInterrupt")
        self.assertEqual(self.run_program(*arguments, **at, code=130), "")

    def test_one_thread_unless_the_user_says_otherwise(self):
        shutil.copy(HERE / "mnist.py", self.folder)
        environment = {name: os.environ[name] for name in os.environ if "THREADS" not in name}
        shown = "import os; print({k: os.environ[k] for k in sorted(os.environ) if 'THREADS' in k})"
        (self.folder / "numpy.py").write_text(f"{shown}; raise SystemExit")
        for own in ({}, {"OPENBLAS_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7"}):
            expected = own or dict.fromkeys(sorted(mnist.THREADS), "1")
            out = self.run_program("flat", cwd=self.folder, env={**environment, **own})
            self.assertEqual(out, f"{expected}\n")
        command = [sys.executable, "-c", "import os, mnist; print(*os.environ)"]
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, check=True)
        self.assertNotIn(b"THREADS", done.stdout)

    @unittest.skipUnless(POSIX, "on Windows, Ctrl-C would reach the tests, too")
    def test_ctrl_c(self):
        weights = self.folder / "weights.npz"
        arguments = ("flat", *self.data(), "--epochs", 1_000_000, "--save", weights)
        with self.start(*arguments) as process:
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        self.assertEqual((process.returncode, errors), (130, ""))
        self.assertRegex(out, r"\nStopped in epoch \d+/1000000, after \d+ mini-batches in all.\n")
        self.assertRegex(out.splitlines()[-1], rf"^Test set: {FIGURES}$")
        self.assertTrue(weights.exists())

    def test_alone_with_the_layers_it_trains_and_says_what_an_option_lacks(self):
        for name in ("mnist.py", "cnn_sg.py"):
            shutil.copy(HERE / name, self.folder)
        weights, alone = self.folder / "w.npz", {"cwd": self.folder}
        run = ("flat", *self.data(), "--epochs", 1)
        self.run_program(*run, "--save", weights, **alone)
        for option in ("--drawn", "--plot p.png", "--mpi", f"--load {weights} --read x.png"):
            more = ("flat",) if option == "--drawn" else run
            errors = self.run_program(*more, *option.split(), **alone, code=1)
            self.assertRegex(errors, "^mnist.py: .*extras.*: copy the folder extras/ of .*\n$")


if __name__ == "__main__":
    unittest.main(warnings="error")
