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
FIGURES = r"loss \d+\.\d{4}, error \d+\.\d\d %"


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


def program(*arguments):
    """The command that starts mnist.py with these arguments."""
    return [sys.executable, "-W", "error", "mnist.py", *map(str, arguments)]


class Program(Folder):
    """mnist.py as a user starts it: start and run_program in a process, run_main in this one."""

    def start(self, *arguments, command=None, cwd=HERE, **more):
        settings = {"OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "PYTHON_COLORS": "0",
                    "OMPI_MCA_rmaps_base_oversubscribe": "1",
                    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}  # fmt: skip
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        more = {"env": {**os.environ, **settings}, **streams, **more}
        return subprocess.Popen(command or program(*arguments), cwd=cwd, **more)

    def run_program(self, *arguments, code=0, **more):
        """Return what it printed, or, if it is to fail, its one line of error."""
        with self.start(*arguments, **more) as process:
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, f"{out}{errors}")
        self.assertNotIn("Traceback", errors)
        return out if code == 0 else errors

    def press_ctrl_c(self, process):
        """Press it after the third line, check what is printed then, and return the errors."""
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        self.assertRegex(out, r"\nStopped in epoch \d+/1000000, after \d+ mini-batches in all.\n")
        self.assertRegex(out.splitlines()[-1], rf"^Test set: {FIGURES}$")
        return errors

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

    def __init__(self, losses=(1.0,), test=(0.5, 0.25), **trouble):
        self.steps, self.tests, self.saved = [], [], []
        self.losses, self.result, self.trouble = losses, test, trouble

    def raise_trouble(self, method):
        if self.trouble.get(method):
            raise self.trouble[method].pop()

    def train(self, X, Y, learning_rate, weight_decay):
        self.steps.append((X, Y, learning_rate, weight_decay))
        self.raise_trouble("train")
        return [], self.losses[(len(self.steps) - 1) % len(self.losses)], 0.5

    def evaluate(self, X, Y):
        self.tests.append((X, Y))
        self.raise_trouble("evaluate")
        return None, *self.result

    def save(self, path):
        self.raise_trouble("save")
        self.saved.append(len(self.steps))


class Training(Folder):
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

    def test_each_epoch_shuffles_the_images_and_leaves_out_the_remainder(self):
        net = Recorder()
        self.train(net, epochs=20)
        images = [Y.argmax(axis=1).tolist() for _, Y, *_ in net.steps]
        epochs = [first + second for first, second in zip(images[::2], images[1::2])]
        self.assertEqual({len(set(epoch)) for epoch in epochs}, {8})
        self.assertEqual(len({frozenset(epoch) for epoch in epochs[:6]}), 6)
        for X, Y, *_ in net.steps:  # an image stays with its label
            np.testing.assert_array_equal(X.ravel(), np.float32(3 * Y.argmax(axis=1)) / 255)

    def test_the_learning_rate_decays_after_each_epoch(self):
        net = Recorder()
        self.train(net, decay=0.5, weight_decay=0.125)
        rates = [rate for _, _, rate, _ in net.steps]
        self.assertEqual(rates, [0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
        self.assertEqual({weight_decay for *_, weight_decay in net.steps}, {0.125})

    def test_mini_batches_of_32_or_all_images_if_there_are_fewer_and_no_decay(self):
        for number, batch_size in ((70, 32), (10, 10)):
            net, x, y = Recorder(), np.zeros((number, 1)), np.eye(number)
            list(mnist.train(net, x, y, epochs=2, learning_rate=0.5))
            self.assertEqual({(len(X), *rest) for X, _, *rest in net.steps}, {(batch_size, 0.5, 0)})

    def test_uint8_is_scaled_and_floats_are_taken_as_they_are(self):
        for dtype, factor in ((np.uint8, 1 / 255), (np.float32, 1), (np.float64, 1)):
            net = Recorder()
            self.train(net, self.x.astype(dtype), epochs=1)
            X, Y, *_ = net.steps[0]
            self.assertEqual(X.dtype, np.float32 if dtype == np.uint8 else dtype)
            np.testing.assert_allclose(X.ravel(), 3 * Y.argmax(axis=1) * factor, rtol=1e-6)

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

    def test_a_program_of_ten_lines(self):
        (x, y), (x_test, y_test) = mnist.load_mnist(self.data()[1])
        one_hot = np.eye(3, dtype=np.float32)
        net = cnn_sg.Network([cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(3)], seed=1)
        errors = []
        settings = {"epochs": 20, "learning_rate": 0.2, "seed": 1}
        for _, step, steps, *_ in mnist.train(net, x, one_hot[y], **settings):
            if step == steps:
                _, error = mnist.test(net, x_test, one_hot[y_test])
                errors.append(error)
        self.assertEqual((len(errors), errors[-1]), (20, 0))

    def test_the_models_of_the_readme(self):
        conv, pool = cnn_sg.ConvLayer_ReLU, cnn_sg.PoolLayer_Max(2, 2)
        softmax = "FCLayer_Softmax(10)"
        layers = {"flat": f"[FlatLayer(), FCLayer_ReLU(100), {softmax}]",
                  "cnn": f"[{conv(32, 3)}, {pool}, FlatLayer(), FCLayer_ReLU(100), {softmax}]",
                  "lenet": f"[{conv(20, 5)}, {pool}, {conv(50, 5)}, {pool}, "
                  f"FlatLayer(), FCLayer_ReLU(500), {softmax}]"}  # fmt: skip
        models = mnist.models(cnn_sg, 10)
        self.assertEqual({name: str(models[name]) for name in models}, layers)


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
        net, out = Recorder(save=[OSError(28, "No space left on device")] * 3), io.StringIO()
        with self.assertRaisesRegex(OSError, "No space left"):  # at the end, which makes it fail
            self.run_recorder(net, "--epochs", 2, "--save", self.folder / "w.npz", out=out)
        self.assertEqual(len(net.steps), 4)
        self.assertRegex(out.getvalue(), rf"\nTest set: {FIGURES}\n$")

    def test_ctrl_c_ends_the_training_and_leads_to_the_test(self):
        save = ("--save", self.folder / "w.npz")
        for method, more, saving, steps, did in (
            ("train", (), "", 0, (1, 1, [])),
            ("evaluate", (), "", 2, (2, 2, [])),
            ("train", save, " and saving", 0, (1, 1, [1])),
        ):
            net = Recorder(**{method: [KeyboardInterrupt]})
            out = self.run_recorder(net, "--epochs", 5, *more, code=130)
            lines = (f"Ctrl-C: no more training, only testing{saving}. Ctrl-C again quits at once."
                     f"\nStopped in epoch 1/5, after {steps} mini-batches in all.")  # fmt: skip
            self.assertIn(f"\n{lines}\n", out)
            self.assertRegex(out, rf"\nTest set: {FIGURES}\n$")
            self.assertEqual((len(net.steps), len(net.tests), net.saved), did)

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
    def test_shapes_and_dtypes_packed_or_not(self):
        for zipped in (False, True):
            self.write(zipped=zipped)
            (x_train, y_train), (x_test, y_test) = mnist.load_mnist(str(self.folder))
            arrays = x_train, y_train, x_test, y_test
            shapes = [array.shape for array in arrays]
            self.assertEqual(shapes, [(60, 6, 7, 1), (60,), (30, 6, 7, 1), (30,)])
            self.assertEqual({array.dtype.name for array in arrays}, {"uint8"})

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
                    mnist.load_mnist(self.folder)
                self.assertIn(str(self.folder), str(raised.exception))
                self.assertNotIn("\n", str(raised.exception))
                self.assertEqual(path.read_bytes(), content)
                path.write_bytes(kept)
        mnist.load_mnist(self.folder)
        with self.assertRaisesRegex(OSError, "none: expected a folder of MNIST files, got none"):
            mnist.load_mnist(self.folder / "none")

    def test_mnist_is_not_mixed_with_other_data(self):
        self.write()
        self.patch(mnist, "HERE", self.folder.resolve())  # where only MNIST itself may be
        with self.assertRaisesRegex(ValueError, "train-images.*: not of MNIST; .* --data DIR"):
            mnist.load_mnist(self.folder)
        self.patch(mnist, "HERE", HERE)
        next(self.folder.glob("train-images*")).unlink()
        with self.assertRaisesRegex(ValueError, "train-labels.*: not of MNIST; move"):
            mnist.load_mnist(self.folder)
        self.assertEqual(len(self.names()), 3)

    @unittest.skipUnless(REAL, "the real files are not at hand")
    def test_mnist_is_known_by_its_checksums(self):
        for name in mnist.FILES:
            path = REAL[0] / f"{name}.gz"
            self.assertTrue(mnist.read_idx(path, name)[1])
            self.assertLess(path.stat().st_size, 10_000_000)  # more is not downloaded


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
        self.patch(os, "environ", {**os.environ, "no_proxy": "127.0.0.1"})

    def load(self, *mirrors):
        """What load_mnist returns, and prints, with these mirrors."""
        mirrors = [f"{self.address}/{each}/" for each in mirrors]
        out = io.StringIO()
        with mock.patch.object(mnist, "MIRRORS", mirrors), contextlib.redirect_stdout(out):
            return mnist.load_mnist(self.folder), out.getvalue()

    def test_each_fault_is_a_word_and_leads_to_the_next_mirror(self):
        get, clock = requests.get, time.monotonic

        def get_in_a_hurry(url, timeout, **more):
            self.assertEqual(timeout, (3, 10))
            return get(url, timeout=0.3, **more)

        self.patch(requests, "get", get_in_a_hurry)
        self.patch(mnist.time, "monotonic", lambda: clock() * 10 / 0.3)  # 10 s are over in 0.3 s
        faults = {
            "403": "HTTPError", "html": "BadGzipFile", "other": "wrong sha256",
            "cut": "ChunkedEncodingError|ConnectionError|wrong sha256",
            "long": "too slow, or too long", "drip": "too slow, or too long",
            "silent": "ReadTimeout",
        }  # fmt: skip
        self.write(n=600)
        names = self.names()
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
                self.load()  # without a mirror, as all files are there

    def test_what_cannot_be_written_is_as_good_as_not_there(self):
        full = mock.patch.object(Path, "replace", side_effect=OSError(28, "No space left"))
        with full, self.assertRaisesRegex(ConnectionError, "OSError, OSError"):
            self.load("fine", "fine")
        self.assertEqual(self.names(), [])


class CommandLine(Program):
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
        before = weights.read_bytes()
        more = ("--learning-rate", 1e30, "--save", weights)
        errors = self.run_program("cnn", *data, *more, code=1)
        self.assertRegex(errors, r"^mnist.py: training diverged: .*--learning-rate .*\n$")
        self.assertEqual((weights.read_bytes(), self.names()), (before, ["data", "weights.npz"]))

    def test_an_option_that_is_wrong_is_named_with_status_2(self):
        missing = self.folder / "no.npz"
        cases = [
            ("cnm", "invalid choice: 'cnm'"),
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
            (f"cnn --plot {missing / 'p.png'}", "cannot be written"),
        ]  # fmt: skip
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
        for defaults in ("flat--epochs12--learning-rate0.2--decay0.8;",
                         "cnn--epochs6--learning-rate0.15--decay0.6;",
                         "lenet--epochs8--learning-rate0.15--decay0.65"):  # fmt: skip
            self.assertIn(defaults, told)  # whoever changes them measures anew

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

    @unittest.skipUnless(os.name == "posix", "on Windows, Ctrl-C would reach the tests, too")
    def test_ctrl_c(self):
        weights = self.folder / "weights.npz"
        arguments = ("flat", *self.data(), "--epochs", 1_000_000, "--save", weights)
        with self.start(*arguments) as process:
            self.assertEqual(self.press_ctrl_c(process), "")
        self.assertEqual((process.returncode, weights.exists()), (130, True))

    def test_alone_with_the_layers_it_trains_and_says_what_an_option_lacks(self):
        for name in ("mnist.py", "cnn_sg.py"):
            shutil.copy(HERE / name, self.folder)
        weights, alone = self.folder / "w.npz", {"cwd": self.folder}
        run = ("flat", *self.data(), "--epochs", 1)
        out = self.run_program(*run, "--save", weights, **alone)
        self.assertRegex(out, rf"\nTest set: {FIGURES}\n$")
        for option in ("--drawn", "--plot p.png", "--mpi", f"--load {weights} --read x.png"):
            more = ("flat",) if option == "--drawn" else run
            errors = self.run_program(*more, *option.split(), **alone, code=1)
            self.assertRegex(errors, "^mnist.py: .*extras.*: copy the folder extras/ of .*\n$")
