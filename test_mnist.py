# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Tests of mnist.py: data, download faults, command line. They need neither network nor MNIST.

    python3 test_mnist.py
"""

import argparse
import contextlib
import gzip
import hashlib
import http.server
import importlib.util
import io
import math
import os
import re
import shlex
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

import cnn_naive
import cnn_sg
import mnist

HERE = Path(__file__).resolve().parent
REAL = [HERE, HERE.parent / "shared" / "mnist"]  # where the real files may be
REAL = [each for each in REAL if all((each / f"{name}.gz").exists() for name in mnist.FILES)]
PILLOW, MATPLOTLIB, MPI = map(importlib.util.find_spec, ("PIL", "matplotlib", "mpi4py"))
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
POSIX, LINUX = os.name == "posix", sys.platform == "linux"
# Windows tries two seconds long to connect where nobody listens.
REFUSED = "ConnectionError" if POSIX else "ConnectionError|ConnectTimeout|too slow"
os.environ.update(PYTHONIOENCODING="utf-8", PYTHON_COLORS="0")  # for programs that tests start


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
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, folder=None, zipped=True, **sizes):
        for name, content in small_files(**sizes).items():
            path = (folder or self.folder) / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content) if zipped else content)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror with a fault: /FAULT/FILE. `fine` has none."""

    release = threading.Event()

    def do_GET(self):
        fault, name = self.path.split("/")[-2:]
        content = gzip.compress(MNIST[name.removesuffix(".gz")])
        length = len(content)
        if fault.isdigit():
            return self.send_error(int(fault))
        if fault in ("loop", "nowhere"):
            self.send_response(302)
            self.send_header("Location", self.path if fault == "loop" else "http://a..b:x/[")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if fault == "silent":
            return self.release.wait(20)
        if fault == "html":
            content = b"<html>Please log in to the wifi of this hotel.</html>"
        if fault == "other":
            content = gzip.compress(small_files(n=601)[name.removesuffix(".gz")])
        if fault == "bomb":
            content = gzip.compress(bytes(100_000))
        length = {"cut": length, "long": 10**12}.get(fault, len(content))
        self.send_response(200)
        if fault == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
            content = b"-5\r\n" + content
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault in ("cut", "stall"):
            content = content[:20]
        step = 1 if fault == "drip" else len(content)
        with contextlib.suppress(OSError):
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                self.wfile.flush()
                if fault in ("drip", "stall"):
                    self.release.wait(0.05 if fault == "drip" else 20)
            while fault == "long" and not self.release.is_set():
                self.wfile.write(bytes(100_000))

    def log_message(self, *arguments):
        pass


class Downloads(Folder):
    def setUp(self):
        super().setUp()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
        server.daemon_threads = True
        Mirror.release = threading.Event()
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(Mirror.release.set)
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        sums = {name: hashlib.sha256(each).hexdigest() for name, each in MNIST.items()}
        sizes = {name: len(each) for name, each in MNIST.items()}
        values = {"FILES": sums, "BYTES": sizes, "ANSWER": 1, "PATIENCE": 0.3}
        for attribute, value in values.items():
            patch = mock.patch.object(mnist, attribute, value)
            patch.start()
            self.addCleanup(patch.stop)
        direct = mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"})
        direct.start()
        self.addCleanup(direct.stop)

    def load(self, *mirrors):
        mirrors = tuple(m if m.startswith("http") else f"{self.address}/{m}/" for m in mirrors)
        with mock.patch.object(mnist, "MIRRORS", mirrors), contextlib.redirect_stdout(io.StringIO()):
            return mnist.load_mnist(self.folder)

    def test_every_fault_leads_to_the_next_mirror_or_to_one_clear_line(self):
        faults = {
            "403": "403",
            "404": "404",
            "500": "500",
            "html": "Error -3 .*",
            "cut": "ChunkedEncodingError|ConnectionError|wrong sha256",
            "other": "wrong sha256",
            "bomb": "wrong sha256",
            "long": "too long",
            "stall": "ConnectionError|too slow",
            "drip": "too slow",
            "silent": "ReadTimeout|too slow",
            "loop": "302|TooManyRedirects",
            "nowhere": "[A-Z][A-Za-z]+(Error|URL)",
            "chunks": "ChunkedEncodingError|ConnectionError|InvalidChunkLength|ValueError|wrong sha256|Error -3.*",
            "http://127.0.0.1:1/": REFUSED,
            "http://mirror.invalid/": "ConnectionError|too slow",
        }
        self.write(n=600)
        names = self.names()
        for fault, reason in faults.items():
            with self.subTest(fault=fault):
                next(self.folder.glob("train-images*")).unlink()
                message = rf"^no mirror gave train-images-idx3-ubyte.gz \(({reason})\)$"
                with self.assertRaisesRegex(ConnectionError, message) as raised:
                    self.load(fault)
                self.assertNotIn("\n", str(raised.exception))
                self.assertEqual(len(self.names()), 3)
                (x_train, y_train), _ = self.load(fault, "fine")
                self.assertEqual((x_train.shape, y_train.shape), ((600, 6, 7, 1), (600,)))
                self.assertEqual(self.names(), names)

    def test_without_network_it_is_known_within_ten_seconds(self):
        start = time.monotonic()
        with mock.patch.object(mnist, "ANSWER", 0.2), self.assertRaises(ConnectionError):
            self.load("silent", "silent", "silent")
        self.assertLess(time.monotonic() - start, 2)
        name_server = mock.patch("requests.get", side_effect=lambda *_, **__: Mirror.release.wait(20))
        with name_server, self.assertRaisesRegex(ConnectionError, "too slow"):
            self.load("fine")
        left = set(threading.enumerate()) - {threading.main_thread()}
        self.assertTrue(all(thread.daemon for thread in left), left)  # none keeps it from ending

    def test_what_cannot_be_kept_is_as_good_as_not_there(self):
        full = mock.patch("builtins.open", side_effect=OSError(28, "No space left on device"))
        with full, self.assertRaisesRegex(ConnectionError, "cannot be written: No space left"):
            self.load("fine")
        self.assertEqual(self.names(), [])

    def test_not_a_byte_more_than_expected(self):
        name = next(iter(MNIST))
        size = len(gzip.compress(MNIST[name]))
        self.assertEqual(len(mnist.fetch(f"{self.address}/fine/{name}.gz", size)), size)
        with self.assertRaisesRegex(ConnectionError, "too long"):
            mnist.fetch(f"{self.address}/fine/{name}.gz", size - 1)

    def test_files_that_are_there_need_no_network(self):
        self.write(n=600)
        self.load("http://127.0.0.1:1/")
        next(self.folder.glob("*train-labels*")).unlink()
        with self.assertRaises(ConnectionError):
            self.load("http://127.0.0.1:1/")
        self.load("fine")

    def test_mnist_is_not_mixed_with_other_data(self):
        self.write(n=62)
        next(self.folder.glob("*train-labels*")).unlink()
        message = "train-labels-idx1-ubyte is missing, train-images-idx3-ubyte.gz is not of MNIST"
        with self.assertRaisesRegex(ValueError, message), mock.patch("mnist.fetch") as fetch:
            self.load("fine")
        self.assertFalse(fetch.called)
        self.assertEqual(len(self.names()), 3)

    @unittest.skipUnless(POSIX, "no file that somebody reads can be replaced on Windows")
    def test_two_processes_at_once(self):
        program = f"""if True:
            import mnist, test_mnist, hashlib
            files = test_mnist.MNIST
            mnist.FILES = {{name: hashlib.sha256(files[name]).hexdigest() for name in files}}
            mnist.BYTES = {{name: len(files[name]) for name in files}}
            mnist.MIRRORS = ("{self.address}/fine/",)
            mnist.load_mnist({str(self.folder)!r})
        """
        command = [sys.executable, "-c", program]
        both = [subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL) for _ in range(2)]
        self.assertEqual([process.wait(30) for process in both], [0, 0])
        self.assertEqual(self.names(), sorted(f"{name}.gz" for name in mnist.FILES))


class Files(Folder):
    def test_shapes_and_dtypes(self):
        for zipped in (True, False):
            self.write(zipped=zipped)
            (x_train, y_train), (x_test, y_test) = mnist.load_mnist(str(self.folder))
            for array, shape in ((x_train, (60, 6, 7, 1)), (y_train, (60,)),
                                 (x_test, (30, 6, 7, 1)), (y_test, (30,))):  # fmt: skip
                self.assertEqual((array.shape, array.dtype), (shape, np.uint8))
            np.testing.assert_array_equal(y_train[:3], [0, 1, 2])
            self.assertGreaterEqual(x_train[2, 3].min(), 150)
            for path in self.folder.iterdir():
                path.unlink()

    def test_wrong_files_are_named_and_left_alone(self):
        images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
        self.write()
        whole = gzip.decompress((self.folder / images).read_bytes())
        cases = [
            (images, b"not gzip at all", "not a whole gzip file"),
            (images, gzip.compress(whole)[:-30], "not a whole gzip file"),
            (images, b"\x1f\x8b\x08\x00" + bytes(30), "not a whole gzip file"),
            (images, b"", "not a whole IDX file of 3 axes .nothing"),
            (images, gzip.compress(b"\0\0\x08\x01" + whole[4:]), "not a whole IDX file of 3 axes .00000801"),
            (images, gzip.compress(b"\0\0\x08\x03ab"), "not a whole IDX file"),
            (images, gzip.compress(whole[:-1]), ".60, 6, 7. announced, 2519 bytes there"),
            (images, gzip.compress(whole + b"1"), ".60, 6, 7. announced, 2521 bytes there"),
            (labels, gzip.compress(whole), "not a whole IDX file of 1 axes"),
            (labels, gzip.compress(idx(np.zeros(59, np.uint8))), ".60, 59, 30, 30. images and labels, .* do not match"),
            (labels, gzip.compress(idx(np.zeros(0, np.uint8))), "not a whole IDX file"),
        ]
        for name, content, message in cases:
            with self.subTest(message=message):
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
        unreadable = mock.patch("gzip.open", side_effect=PermissionError(13, "Permission denied"))
        with unreadable, self.assertRaisesRegex(OSError, r"Permission denied"):
            mnist.load_mnist(self.folder)
        (self.folder / images).unlink()
        (self.folder / images).mkdir()
        with self.assertRaisesRegex(OSError, "train-images-idx3-ubyte.gz"):
            mnist.load_mnist(self.folder)
        with self.assertRaisesRegex(OSError, "expected a folder"):
            mnist.load_mnist(self.folder / "none")

    def test_images_of_two_sizes(self):
        self.write()
        images = idx(np.zeros((30, 5, 7), np.uint8))
        (self.folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        with self.assertRaisesRegex(ValueError, r"images and labels, of .*6, 7.*5, 7.* pixels, do not match"):
            mnist.load_mnist(self.folder)

    def test_only_mnist_itself_in_the_default_folder(self):
        for zipped in (True, False):
            self.write(zipped=zipped)
            here = mock.patch.object(mnist, "HERE", self.folder.resolve())
            with here, self.assertRaisesRegex(ValueError, "train-images.*: not of MNIST; .* --data DIR"):
                mnist.load_mnist(self.folder)

    def test_a_bomb_is_not_unpacked(self):
        self.write()
        header = struct.pack(">I3I", 0x803, 60_000, 60_000, 60_000)
        bomb = gzip.compress(header + bytes(1_000_000))
        (self.folder / "t10k-images-idx3-ubyte.gz").write_bytes(bomb)
        asked = []
        read = gzip.GzipFile.read
        watch = mock.patch("gzip.GzipFile.read", lambda file, n: asked.append(n) or read(file, n))
        with watch, self.assertRaisesRegex(ValueError, ".60000, 60000, 60000. announced, 1000000"):
            mnist.load_mnist(self.folder)
        self.assertLess(max(asked), 3e9)

    @unittest.skipUnless(REAL, "the real files are not at hand")
    def test_the_real_mnist(self):
        (x_train, y_train), (x_test, y_test) = mnist.load_mnist(REAL[0])
        self.assertEqual((x_train.shape, x_test.shape), ((60_000, 28, 28, 1), (10_000, 28, 28, 1)))
        self.assertEqual(y_train[:10].tolist(), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
        self.assertEqual(y_test[:5].tolist(), [7, 2, 1, 0, 4])
        for name, digest in mnist.FILES.items():
            content = gzip.decompress((REAL[0] / f"{name}.gz").read_bytes())
            self.assertEqual(hashlib.sha256(content).hexdigest(), digest)
            self.assertEqual(len(content), mnist.BYTES[name])

    def test_the_time_outs(self):
        self.assertLess(mnist.ANSWER * len(mnist.MIRRORS), 10)  # seconds, without a network
        self.assertLessEqual(mnist.PATIENCE, 30)
        self.assertLess(max(mnist.BYTES.values()) / 4 / 65536 * mnist.PATIENCE, 3600)  # for a file

    def test_written_whole_or_not_at_all(self):
        path = self.folder / "picture.png"
        mnist.write_whole(path, lambda file: file.write(b"first"))

        def fail(file):
            file.write(b"half")
            raise OSError(28, "No space left on device")

        with self.assertRaisesRegex(OSError, "picture.png cannot be written: No space left"):
            mnist.write_whole(path, fail)
        self.assertEqual((self.names(), path.read_bytes()), (["picture.png"], b"first"))
        (self.folder / "picture.png.00000000.part").write_bytes(b"mine")
        taken = mock.patch("os.urandom", bytes)
        with taken, self.assertRaisesRegex(OSError, "picture.png cannot be written: .*exist"):
            mnist.write_whole(path, lambda file: file.write(b"second"))
        self.assertEqual(path.read_bytes(), b"first")
        link = self.folder / "link"
        if POSIX:
            link.symlink_to(path)
            mnist.write_whole(link, lambda file: file.write(b"third"))
            self.assertEqual((link.is_symlink(), path.read_bytes()), (True, b"third"))


class Recorder:
    """A network that learns nothing, and keeps what it was called with."""

    def __init__(self, loss=1.0, error=0.5, test=(0.5, 0.25), during=lambda what: None):
        self.steps, self.tests = [], []
        self.loss, self.error, self.test, self.during = loss, error, test, during

    def train(self, X, Y, learning_rate, weight_decay):
        self.steps.append((X, Y, learning_rate, weight_decay))
        self.during("train")
        loss = self.loss[len(self.steps) - 1] if isinstance(self.loss, list) else self.loss
        return [], loss, self.error

    def evaluate(self, X, Y):
        self.tests.append(X)
        self.during("evaluate")
        return None, *(len(X) if each is None else each for each in self.test)

    def load(self, path):
        pass


class Terminal(io.StringIO):
    flushed = 0

    def isatty(self):
        return True

    def flush(self):
        self.flushed += 1


class Training(unittest.TestCase):
    def train(self, net, n=10, batch_size=4, epochs=3, stop=None, out=None, **more):
        x = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1) * 3
        y = np.eye(n, n + 1, dtype=np.float32)
        options = {"seed": 1, "batch_size": batch_size, "epochs": epochs, "learning_rate": 0.5,
                   "decay": 0.5, "weight_decay": 0.125, "version": "sg", "save": None,
                   "plot": None, "mpi": False, **more}  # fmt: skip
        options = argparse.Namespace(**options)
        self.out = out or io.StringIO()
        with contextlib.redirect_stdout(self.out):
            progress = mnist.Progress(options, n, n)
            with contextlib.closing(progress):
                if stop:
                    net.during = lambda what: setattr(progress, "stop", stop == what)
                result = mnist.train(net, (x, y), (x, y), options, progress)
        ticker = progress.ticker  # writes nothing after the last line, keeps nobody from leaving
        self.assertEqual((ticker.is_alive(), ticker.daemon), (False, True))
        return result

    def test_what_the_network_gets(self):
        net = Recorder()
        losses, tests = self.train(net, epochs=20)
        self.assertEqual((len(net.steps), len(losses)), (40, 40))
        self.assertEqual(tests[0], (2, 0.5, 0.25))
        self.assertEqual([batches for batches, _, _ in tests], list(range(2, 41, 2)))
        epochs = []
        for k, (X, Y, learning_rate, weight_decay) in enumerate(net.steps):
            self.assertEqual((X.shape, X.dtype), ((4, 1, 1, 1), np.float32))
            images = Y.argmax(axis=1)
            np.testing.assert_array_equal(X.ravel(), np.float32(3 * images) / 255)
            self.assertEqual((learning_rate, weight_decay), (0.5 * 0.5 ** (k // 2), 0.125))
            epochs += [[]] if k % 2 == 0 else []
            epochs[-1] += images.tolist()
        for images in epochs:
            self.assertEqual(len(set(images)), 8)  # each once, two left out
        self.assertEqual(set().union(*map(frozenset, epochs)), set(range(10)))
        self.assertEqual(len({frozenset(images) for images in epochs[:6]}), 6)  # others each time
        self.assertNotEqual(epochs[0], sorted(epochs[0]))
        again, other = Recorder(), Recorder()
        self.train(again, epochs=1)
        self.train(other, epochs=1, seed=2)
        np.testing.assert_array_equal(again.steps[0][0], net.steps[0][0])
        self.assertTrue((other.steps[0][0] != net.steps[0][0]).any())

    def test_a_set_smaller_than_a_mini_batch(self):
        net = Recorder()
        self.train(net, batch_size=32, epochs=2)
        self.assertEqual([len(X) for X, *_ in net.steps], [10, 10])
        net = Recorder()
        self.train(net, batch_size=10, epochs=1)
        self.assertEqual([len(X) for X, *_ in net.steps], [10])

    def test_means_are_weighted_by_size(self):
        net = Recorder(test=(None, 0.5))
        progress = argparse.Namespace(before_test=lambda: None, done=0, test_work=100)
        x, y = np.zeros((2500, 1, 1, 1), np.uint8), np.zeros((2500, 2))
        loss, error = mnist.evaluate(net, x, y, progress)
        self.assertEqual([len(X) for X in net.tests], [1000, 1000, 500])
        self.assertAlmostEqual(loss, (1000 * 1000 + 1000 * 1000 + 500 * 500) / 2500)
        self.assertAlmostEqual(error, 0.5)
        self.assertAlmostEqual(progress.done, 100)

    def test_the_lines_of_an_epoch(self):
        self.train(Recorder(loss=[0.1, 0.2] * 3, error=0.25, test=(0.0586, 0.0203)))
        self.assertEqual(
            self.out.getvalue().splitlines(),
            [f"0:00 epoch {k}/3: loss 0.1500, error 25.00 %; test loss 0.0586, error 2.03 %" for k in (1, 2, 3)],
        )

    def test_no_better_than_guessing(self):
        line = "No better than guessing (loss 2.40): try a lower --learning-rate"
        for loss, said in ((math.log(11), 3), (math.log(11) + 1, 3), (math.log(11) - 1e-6, 0), (0.1, 0)):
            self.train(Recorder(loss=loss))
            self.assertEqual(self.out.getvalue().splitlines().count(line), said)

    def test_divergence(self):
        for loss in (math.nan, math.inf):
            with self.assertRaisesRegex(ArithmeticError, r"diverged: .*--learning-rate .epoch 2, mini-batch 1\)"):
                self.train(Recorder(loss=[1, 1, loss]))
            with self.assertRaisesRegex(ArithmeticError, r"diverged: .*--learning-rate .test\)"):
                self.train(Recorder(test=(loss, 1)))

    def test_stop(self):
        net = Recorder()
        losses, tests = self.train(net, stop="train")
        self.assertEqual((len(losses), len(tests), len(net.steps), len(net.tests)), (1, 0, 1, 0))
        net = Recorder()
        losses, tests = self.train(net, stop="evaluate")
        self.assertEqual((len(losses), len(tests), len(net.steps), len(net.tests)), (2, 1, 2, 1))

    def test_weights_are_saved_after_each_epoch(self):
        net = Recorder()
        net.save = mock.Mock(side_effect=lambda path: self.assertEqual(len(net.steps) % 2, 0))
        self.train(net, save="w.npz")
        self.assertEqual(net.save.call_args_list, [mock.call("w.npz")] * 3)
        net = Recorder(loss=[1, 1, 1, math.nan])
        net.save = mock.Mock()
        with self.assertRaises(ArithmeticError):
            self.train(net, save="w.npz")
        self.assertEqual((len(net.steps), net.save.call_count), (4, 1))

    def test_clock(self):
        for seconds, text in ((0, "0:00"), (9.4, "0:09"), (59.6, "1:00"), (75, "1:15"), (4000, "66:40")):
            with mock.patch("time.monotonic", lambda seconds=seconds: 100 + seconds):
                progress = self.progress()
                progress.start = 100
                self.assertEqual(progress.clock(), text)

    def progress(self, **options):
        options = argparse.Namespace(**{"epochs": 2, "version": "sg", "save": None, "plot": None, "mpi": False, **options})
        with mock.patch("threading.Thread"), mock.patch("time.monotonic", lambda: 100.0):
            return mnist.Progress(options, 60, 100)

    def test_time_left(self):
        progress = self.progress()
        out = Terminal()
        progress.over = mock.Mock(wait=mock.Mock(side_effect=[False, True] * 3))
        with contextlib.redirect_stdout(out), mock.patch("time.monotonic", lambda: 130.0):
            progress.tick()
            progress.after_batch("epoch 1/2", 1, 3, 20, (1.5, 0.25))
            progress.tick()  # 20 of 2 * (60 + 0.4 * 100) in 30 seconds, 180 are left
            progress.done += 80
            progress.before_test()
            progress.tick()
        first, second, third = out.getvalue().split("\r")[1:]
        self.assertRegex(first, "^0:30 start: first mini-batch *$")
        self.assertRegex(second, r"^0:30 epoch 1/2, 4:30 left: mini-batch 1/3, loss 1.5000, error 25.00 % *$")
        self.assertRegex(third, "^0:30 epoch 1/2, 0:30 left: testing *$")

    def test_a_long_test_is_announced(self):
        out = io.StringIO()
        progress = self.progress(version="naive")
        with contextlib.redirect_stdout(out), mock.patch("time.monotonic", lambda: 130.0):
            progress.before_test()
            progress.after_batch("epoch 1/2", 1, 3, 20, (1, 1))
            progress.before_test()
            progress.after_batch("epoch 1/2", 2, 3, 38, (1, 1))
            progress.before_test()
            progress.after_batch("epoch 1/2", 3, 3, 2, (1, 1))
            progress.before_test()  # 20 seconds are short
        self.assertEqual(out.getvalue(), "0:30 epoch 1/2: test takes 1:00\n0:30 epoch 1/2: test takes 0:21\n")

    def test_a_line_moves_while_a_mini_batch_takes_long(self):
        out = Terminal()
        self.train(Recorder(during=lambda what: time.sleep(0.3)), epochs=1, out=out)
        shown = out.getvalue()
        self.assertGreater(shown.count("\r0:0"), 3)
        self.assertRegex(shown, r"epoch 1/1, \d:\d\d left: mini-batch 1/2, loss 1.0000, error 50.00 %")
        self.assertIn("left: testing", shown)

    def test_the_width_of_the_terminal(self):
        out = Terminal()
        size = mock.patch("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
        with contextlib.redirect_stdout(out), size:
            mnist.say("x" * 30, moving=True)
            mnist.say("done")
        self.assertEqual(out.getvalue(), "\r" + "x" * 19 + "\rdone" + " " * 15 + "\n")
        self.assertEqual(out.flushed, 2)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            mnist.say("moving", moving=True)
            mnist.say("done")
        self.assertEqual(out.getvalue(), "done\n")

    def test_the_models_of_the_readme(self):
        layers = {
            "flat": [cnn_sg.FlatLayer(), cnn_sg.FCLayer_ReLU(100), cnn_sg.FCLayer_Softmax(10)],
            "cnn": [
                cnn_sg.ConvLayer_ReLU(32, 3), cnn_sg.PoolLayer_Max(2, 2), cnn_sg.FlatLayer(),
                cnn_sg.FCLayer_ReLU(100), cnn_sg.FCLayer_Softmax(10),
            ],
            "lenet": [
                cnn_sg.ConvLayer_ReLU(20, 5), cnn_sg.PoolLayer_Max(2, 2),
                cnn_sg.ConvLayer_ReLU(50, 5), cnn_sg.PoolLayer_Max(2, 2), cnn_sg.FlatLayer(),
                cnn_sg.FCLayer_ReLU(500), cnn_sg.FCLayer_Softmax(10),
            ],
        }  # fmt: skip
        for module in (cnn_sg, cnn_naive):
            self.assertEqual(str(mnist.models(module, 10)), str(layers))
        settings = {"flat": [12, 0.2, 0.8], "cnn": [6, 0.15, 0.6], "lenet": [8, 0.15, 0.65]}
        names = ["epochs", "learning_rate", "decay"]  # whoever changes them measures anew
        self.assertEqual(mnist.DEFAULTS, {each: dict(zip(names, settings[each])) for each in layers})


class Program(Folder):
    """Real processes, as a user starts them."""

    def start(self, *arguments, **more):
        command = [sys.executable, "-W", "error", "mnist.py", *map(str, arguments)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        process = subprocess.Popen(command, **{"cwd": HERE, "env": environment, **streams, **more})
        killer = threading.Timer(60, process.kill)  # whatever waits for it
        killer.daemon = True
        killer.start()
        self.addCleanup(killer.cancel)
        return process

    def run_program(self, *arguments, code=0, **more):
        with self.start(*arguments, **more) as process:
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, f"{out}{errors}")
        self.assertNotIn("Traceback", errors)
        self.assertNotIn("\r", out or "")
        return out if code == 0 else errors

    def run_main(self, *arguments, code=0, out=None):
        """The same in this process: faster. Returns what it printed."""
        out, errors = out or io.StringIO(), io.StringIO()
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch("sys.argv", ["mnist.py", *map(str, arguments)]))
            stack.enter_context(mock.patch.object(sys.modules["__main__"], "__spec__", None))  # for argparse
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(errors))
            stack.enter_context(np.errstate())
            try:
                result = mnist.main()
            except SystemExit as end:
                result = end.code
        self.assertEqual(result, code, errors.getvalue())
        return errors.getvalue() if code == 2 else out.getvalue()

    def data(self, **sizes):
        folder = self.folder / "data"
        folder.mkdir(exist_ok=True)
        self.write(folder, **sizes)
        return "--data", folder


FIGURES = r"loss \d\.\d{4}, error \d+\.\d\d %"


class CommandLine(Program):
    def test_a_run_and_its_last_line(self):
        out = self.run_program("flat", *self.data(), "--epochs", 20, "--batch-size", 8)
        lines = out.splitlines()
        self.assertEqual(len(lines), 22)
        self.assertEqual(lines[0], "Training flat (cnn_sg) on 60 images, testing on 30")
        self.assertRegex(lines[-2], rf"^\d:\d\d epoch 20/20: {FIGURES}; test {FIGURES}$")
        self.assertRegex(lines[-1], r"^Test set: loss 0.\d{4}, error [0-9]\.\d\d %$")
        self.assertEqual(lines[-1].removeprefix("Test set: "), lines[-2].split("test ")[1])
        self.assertLess(max(map(len, lines)), 80)

    def test_other_sizes_and_numbers_of_classes(self):
        data = self.data(n=40, rows=26, columns=20, classes=12)
        for model in ("cnn", "lenet"):
            out = self.run_main(model, *data, "--epochs", 1, "--seed", 1)
            self.assertRegex(out, rf"Test set: {FIGURES}\n$")

    def test_a_class_that_only_one_of_the_sets_has(self):
        for part, n in (("train", 60), ("t10k", 30)):
            data = self.data()
            labels = gzip.compress(idx(np.full(n, 5, np.uint8)))
            (data[1] / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
            self.run_main("flat", *data, "--epochs", 1)

    def test_images_too_small_for_a_model(self):
        errors = self.run_program("lenet", *self.data(), code=1)
        self.assertRegex(errors, r"^mnist.py: ConvLayer_ReLU\(50, .*expected images .*got .*\n$")

    def test_the_same_seed_gives_the_same_figures(self):
        arguments = ("flat", *self.data(), "--epochs", 2, "--split", 0.8)
        cut = re.compile(r"^\d+:\d\d ", re.MULTILINE)
        first, same, other = (cut.sub("", self.run_main(*arguments, "--seed", k)) for k in (5, 5, 6))
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)
        self.assertIn("on 72 images, testing on 18", first)

    def test_split_and_samples(self):
        _, folder = self.data()
        options = argparse.Namespace(drawn=False, data=folder, split=0.8, samples=None, seed=1)
        (x, y), (x_test, y_test), note = mnist.choose_data(options)
        self.assertEqual((len(x), len(y), len(x_test), len(y_test), note), (72, 72, 18, 18, ""))
        for images, labels in ((x, y), (x_test, y_test)):  # the bright row is the label
            rows = images[..., 0].astype(int).sum(axis=2)
            np.testing.assert_array_equal(rows.argmax(axis=1) - 1, labels)
        everything = np.concatenate([x, x_test]).reshape(90, -1)
        self.assertEqual(len(np.unique(everything, axis=0)), 90)
        plain = mnist.load_mnist(folder)[0][0]
        self.assertTrue((x[:50] != plain[:50]).any())
        options.split, options.samples = None, 40
        (x, y), (x_test, y_test), _ = mnist.choose_data(options)
        self.assertEqual((len(x), len(y), len(x_test), len(y_test)), (40, 40, 30, 30))
        np.testing.assert_array_equal(x, plain[:40])
        for split in (0, 0.000001, 0.9999, 1, 2):
            options.split = split
            with self.assertRaisesRegex(ValueError, "--split .*: one part has none of the 90 images"):
                mnist.choose_data(options)

    def test_save_and_load_between_the_versions(self):
        weights = self.folder / "weights.npz"
        data = self.data(n=16)
        saved = self.run_main("cnn", *data, "--epochs", 2, "--save", weights)
        *_, words, last = saved.splitlines()
        self.assertEqual(words, f"Weights saved in {weights}")
        for version in ("sg", "naive"):
            loaded = self.run_main("cnn", version, *data, "--epochs", 0, "--load", weights)
            self.assertEqual(loaded.splitlines(), [f"Testing cnn (cnn_{version}) on 8 images", last])
        with self.assertRaisesRegex(ValueError, "^Network.load: expected .*FlatLayer.*got .*ConvLayer.*$"):
            self.run_main("flat", *data, "--load", weights)
        before = weights.read_bytes()
        errors = self.run_program("cnn", *data, "--learning-rate", 1e30, "--save", weights, code=1)
        self.assertRegex(errors, r"^mnist.py: training diverged: .*--learning-rate .*\n$")
        self.assertEqual(weights.read_bytes(), before)
        self.assertEqual(self.names(), ["data", "weights.npz"])
        (self.folder / "none.npz").write_bytes(b"no weights")
        with self.assertRaisesRegex(ValueError, "none.npz"):
            self.run_main("flat", *data, "--load", self.folder / "none.npz")

    def test_wrong_options(self):
        file = self.folder / "file"
        file.touch()
        cases = [
            ([], "model"),
            (["cnm"], "invalid choice: 'cnm'"),
            (["cnn", "nave"], "invalid choice: 'nave'"),
            (["cnn", "--epochs", "1.5"], "--epochs: expected an integer >= 0, got '1.5'"),
            (["cnn", "--epochs", "0"], "--epochs 0 need --load"),
            (["cnn", "--batch-size", "0"], "--batch-size: expected an integer >= 1, got '0'"),
            (["cnn", "--samples", "-1"], "--samples: expected an integer >= 1, got '-1'"),
            (["cnn", "--learning-rate", "fast"], "--learning-rate: expected a number >= 0, got 'fast'"),
            (["cnn", "--decay", "nan"], "--decay: expected a number >= 0, got 'nan'"),
            (["cnn", "--decay", "inf"], "--decay: expected a number >= 0, got 'inf'"),
            (["cnn", "--weight-decay", "-1"], "--weight-decay: expected a number >= 0, got '-1'"),
            (["cnn", "--split", "x"], "--split: expected a number >= 0, got 'x'"),
            (["cnn", "--seed", "x"], "--seed: expected an integer >= 0, got 'x'"),
            (["cnn", "--drawn", "--data", "."], "not allowed with argument"),
            (["cnn", "--load", str(self.folder / "no.npz")], "--load: there is no file .*no.npz"),
            (["cnn", "--read", "x.png"], "--read and .* need --load"),
            (["cnn", "--save", str(self.folder)], "--save: .* cannot be written: it is not a file"),
            (["cnn", "--save", os.devnull], "--save: .* cannot be written"),
            (["cnn", "--save", str(self.folder / "none" / "w.npz")], "--save: .* cannot be written"),
            (["cnn", "--plot", str(file / "p.png")], "--plot: .* cannot be written"),
        ]
        if LINUX:  # a folder in which not even root can write
            cases.append((["cnn", "--save", "/proc/w.npz"], "--save: /proc/w.npz cannot be written"))
        for arguments, message in cases:
            with self.subTest(arguments=arguments):
                errors = self.run_main(*arguments, code=2)
                self.assertRegex(errors.splitlines()[-1], f"^mnist.py: error: .*{message}")
        self.assertEqual(self.names(), ["file"])
        errors = self.run_program("cnn", "--data", self.folder / "none", code=1)
        self.assertRegex(errors, "^mnist.py: .*none: expected a folder of MNIST files, got none\n$")

    def test_the_options_that_are_not_given(self):
        for model, defaults in mnist.DEFAULTS.items():
            with mock.patch("sys.argv", ["mnist.py", model, "--decay", "0.3"]):
                options = vars(mnist.parse_arguments())
            self.assertEqual({**defaults, "decay": 0.3}.items(), {**options}.items() & {**defaults, "decay": 0.3}.items())
            self.assertEqual((options["batch_size"], options["weight_decay"], options["seed"]), (32, 0, None))
            self.assertEqual((options["version"], options["drawn"]), ("sg", False))
        told = "".join(self.run_main("--help").split())  # wherever its lines end
        self.assertIn("Defaults:flat--epochs12--learning-rate0.2--decay0.8;cnn--epochs6", told)

    @unittest.skipIf(not POSIX or os.geteuid() == 0, "neither Windows nor root minds the permissions of a folder")
    def test_a_read_only_folder(self):
        self.folder.chmod(0o500)
        self.addCleanup(self.folder.chmod, 0o700)
        self.run_program("cnn", "--save", self.folder / "w.npz", code=2)

    def test_what_ends_a_run_early_has_at_most_one_line(self):
        shutil.copy(HERE / "mnist.py", self.folder)
        cases = (("MemoryError", 1, "mnist.py: not enough memory\n"), ("KeyboardInterrupt", 130, ""))
        for trouble, code, line in cases:
            (self.folder / "cnn_sg.py").write_text(f"raise {trouble}", encoding="utf-8")
            errors = self.run_program("flat", *self.data(), cwd=self.folder, code=code)
            self.assertEqual(errors, line)

    def test_threads(self):
        shutil.copy(HERE / "mnist.py", self.folder)
        names = [name for name in os.environ if name not in mnist.THREADS]
        environment = {name: os.environ[name] for name in names}
        for own in ({}, {"OPENBLAS_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7"}):
            expected = own or dict.fromkeys(mnist.THREADS, "1")
            shown = "import os; print({k: os.environ[k] for k in sorted(os.environ) if 'THREADS' in k})"
            (self.folder / "numpy.py").write_text(f"{shown}; raise SystemExit", encoding="utf-8")
            out = self.run_program("flat", cwd=self.folder, env={**environment, **own})
            self.assertEqual(out, f"{ {name: expected[name] for name in sorted(expected)} }\n")
        command = [sys.executable, "-c", "import os, mnist; print(*os.environ)"]
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, encoding="utf-8", check=True)
        self.assertFalse(set(mnist.THREADS) & set(done.stdout.split()))

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
        self.assertIn("Ctrl-C: no more training, only testing and saving. Ctrl-C again quits at once.\n", out)
        self.assertRegex(out, r"\nStopped in epoch \d+/1000000, after \d+ mini-batches in all.\n")
        self.assertRegex(out.splitlines()[-1], rf"^Test set: {FIGURES}$")
        self.assertTrue(weights.exists())

    def interrupted(self, what, epochs, code, size=60):
        """The output, and the network, of a run with Ctrl-C in a step or a test of the 1st epoch."""

        def interrupt(now):
            if now == what and not progress:
                progress.append(now)
                signal.raise_signal(signal.SIGINT)
                self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_DFL)

        progress, net = [], Recorder(during=interrupt)
        with mock.patch.object(cnn_sg, "Network", lambda layers, seed: net):
            out = self.run_main("flat", *self.data(), "--epochs", epochs, "--load", HERE, "--batch-size", size, code=code)
        self.assertIn("Ctrl-C: no more training, only testing. Ctrl-C again quits at once.\n", out)
        self.assertRegex(out, rf"Test set: {FIGURES}\n$")
        return out, len(net.steps), len(net.tests)

    def test_ctrl_c_where_nothing_is_lost(self):
        out, *calls = self.interrupted("evaluate", epochs=1, code=0)
        self.assertEqual(calls, [1, 1])
        self.assertNotIn("Stopped", out)
        out, *calls = self.interrupted("evaluate", epochs=2, code=130)
        self.assertEqual(calls, [1, 1])
        self.assertIn("Stopped in epoch 1/2, after 1 mini-batches", out)
        out, *calls = self.interrupted("train", epochs=1, code=130, size=20)
        self.assertEqual(calls, [1, 1])
        self.assertIn("Stopped in epoch 1/1, after 1 mini-batches", out)
        out, *calls = self.interrupted("evaluate", epochs=0, code=0)
        self.assertEqual(calls, [0, 1])
        self.assertNotIn("Training", out)

    @unittest.skipUnless(POSIX, "on Windows, Ctrl-C would reach the tests, too")
    def test_a_second_ctrl_c_quits_at_once(self):
        data = self.data(n=2000, rows=28, columns=28)
        with self.start("cnn", "naive", *data, "--batch-size", 2000) as process:
            self.assertIn("Training cnn", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            self.assertIn("Ctrl-C", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        self.assertEqual((process.returncode, errors), (-signal.SIGINT, ""))

    def test_a_closed_pipe_is_silent(self):
        with self.start("flat", *self.data(), "--epochs", 1_000_000) as process:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.wait(30)
        self.assertEqual((process.returncode, errors), (0, ""))

    def test_a_closed_pipe_does_not_keep_from_saving(self):
        weights = self.folder / "weights.npz"
        arguments = ("flat", *self.data(), "--epochs", 50, "--save", weights)
        with self.start(*arguments) as process:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.wait(30)
        self.assertEqual((process.returncode, errors, weights.exists()), (0, "", True))

    def test_a_closed_pipe_is_no_missing_network(self):
        class Pipe(io.StringIO):
            def write(self, text):
                raise problem

            def fileno(self):
                return spare

        answer = mock.patch.object(mnist, "fetch", side_effect=lambda url, size: gzip.compress(MNIST[Path(url).stem]))
        sums = {name: hashlib.sha256(each).hexdigest() for name, each in MNIST.items()}
        for problem in (BrokenPipeError(32, "Broken pipe"), OSError(22, "as Windows calls it")):
            reads, spare = os.pipe()
            os.close(reads)
            with answer, mock.patch.object(mnist, "FILES", sums), contextlib.redirect_stdout(Pipe()):
                mnist.load_mnist(self.folder)
            os.write(spare, b"what it still holds, at the end")  # no broken pipe any more
            os.close(spare)
            self.assertEqual(len(self.names()), 4)
            for path in self.folder.iterdir():
                path.unlink()

    @unittest.skipUnless(POSIX, "the shell of Windows cannot close it")
    def test_standard_output_is_closed_or_full(self):
        command = f"{shlex.quote(sys.executable)} mnist.py flat >&-"
        done = subprocess.run(command, shell=True, cwd=HERE, capture_output=True, encoding="utf-8", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "^mnist.py: standard output is closed: .*\n$")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                errors = self.run_program("flat", *self.data(), "--epochs", 1, stdout=full, code=1)
            self.assertEqual(errors, "mnist.py: standard output: No space left on device\n")

    @unittest.skipUnless(POSIX, "Windows has no pseudo-terminals")
    def test_on_a_terminal(self):
        import pty

        ours, theirs = pty.openpty()
        with self.start("flat", *self.data(), "--epochs", 2, "--seed", 1, "--batch-size", 4, stdout=theirs) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # that is how it ends
                while piece := os.read(ours, 1000):
                    shown += piece
            errors = process.stderr.read()
        os.close(ours)
        self.assertEqual((process.returncode, errors), (0, ""))
        lines = [line.split("\r")[-1].rstrip() for line in shown.decode().replace("\r\n", "\n").split("\n")[:-1]]
        self.assertEqual(len(lines), 4)
        self.assertRegex(lines[2], rf"^0:\d\d epoch 2/2: {FIGURES}; test {FIGURES}$")
        self.assertRegex(lines[3], rf"^Test set: {FIGURES}$")


@unittest.skipUnless(MATPLOTLIB, "matplotlib is not installed")
class Plots(Program):
    def figure(self, draw, *arguments):
        """The figure that a function draws."""
        import matplotlib.figure

        with mock.patch.object(matplotlib.figure.Figure, "savefig", autospec=True) as save:
            draw(self.folder / "picture.png", *arguments)
        figure = save.call_args[0][0]
        return figure, [axes.get_title() for axes in figure.axes if axes.get_title() and axes.get_visible()]

    def test_what_is_drawn_of_a_training(self):
        net = cnn_sg.Network([cnn_sg.ConvLayer_ReLU(9, 3), cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(3)], 1)
        x = np.random.default_rng(1).integers(0, 255, (50, 6, 7, 1)).astype(np.uint8)
        answers = net.predict(mnist.scale(x)).argmax(axis=1)
        labels = answers.copy()
        labels[[7, 33]] = (answers[[7, 33]] + 1) % 3
        test_set = x, np.eye(3)[labels]
        losses = list(map(float, range(1, 251)))
        tests = [(125, 0.3, 0.1), (250, 0.2, 0.04)]
        figure, titles = self.figure(mnist.plot_training, losses, tests, net, *test_set, "name")
        misread = [f"read {answers[k]}, is {labels[k]}" for k in (7, 33)]
        self.assertEqual(titles, ["filters of the first layer", *misread])
        self.assertEqual(figure.get_suptitle(), "name: test error 4.00 %")
        self.assertEqual(sum(axes.get_visible() for axes in figure.axes), 5)
        for axes in [axes for axes in figure.axes if axes.images]:
            ticks = [*axes.get_xticks(), *axes.get_yticks()]
            self.assertEqual((ticks, axes.get_frame_on()), ([], False))
        raw, mean = figure.axes[0].lines
        np.testing.assert_array_equal(raw.get_ydata(), losses)
        np.testing.assert_allclose(mean.get_ydata(), [1, 1.5, *range(2, 250)])  # of up to three
        test = figure.axes[1].lines[0]
        np.testing.assert_allclose((test.get_xdata(), test.get_ydata()), ([125, 250], [10, 4]))
        named = [figure.axes[0].get_xlabel(), *(axes.get_ylabel() for axes in figure.axes[:2])]
        expected = ["mini-batch", "loss, and mean of 3 (dashed)", "test error after each epoch, % (dots)"]
        self.assertEqual(named, expected)
        self.assertEqual((figure.axes[0].get_yscale(), figure.axes[1].get_ylim()), ("log", (0, 12.1)))
        shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        np.testing.assert_array_equal(shown[1], x[7, :, :, 0])
        np.testing.assert_array_equal(shown[0][:3, :3], net.layers[0].W[:, :, 0, 0])
        flat = cnn_sg.Network([cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(3)], 1)
        without, titles = self.figure(mnist.plot_training, [], tests[1:], flat, *test_set, "name")
        self.assertNotIn("filters of the first layer", titles)
        self.assertLess(without.get_figwidth(), figure.get_figwidth())
        self.assertEqual([axes for axes in without.axes if axes.lines], [])

    def test_mosaic(self):
        images = np.arange(1, 61, dtype=float).reshape(10, 2, 3)
        joined = mnist.mosaic(images)
        self.assertEqual(joined.shape, (2 * 3, 8 * 4))
        np.testing.assert_array_equal(joined[:2, 4:7], images[1])
        np.testing.assert_array_equal(joined[3:5, 4:7], images[9])
        self.assertTrue(np.isnan(joined[2]).all() and np.isnan(joined[:, 3]).all())

    def test_plot(self):
        picture = self.folder / "picture.png"
        for model in ("cnn", "flat"):
            out = self.run_main(model, *self.data(), "--epochs", 1, "--plot", picture)
            self.assertIn(f"Picture saved in {picture}\n", out)
            content = picture.read_bytes()
            self.assertEqual(content[:8], b"\x89PNG\r\n\x1a\n")
            self.assertGreater(len(content), 20_000)
        self.assertEqual(self.names(), ["data", "picture.png"])


class Thread:
    """Stands for MPI's communicator, where processes are threads of this one."""

    def __init__(self, rank, size, barrier, sent):
        self.rank, self.size, self.barrier, self.sent = rank, size, barrier, sent

    def allreduce(self, own):
        self.sent[self.rank] = own
        self.barrier.wait()
        total = sum(self.sent)
        self.barrier.wait()
        return total

    def Allreduce(self, own, total):
        total[:] = self.allreduce(own)


class Shares(unittest.TestCase):
    """What processes do together, without MPI."""

    def together(self, size, work):
        """Return [work(comm) of each of so many processes]."""
        barrier, sent, results = threading.Barrier(size, timeout=30), [None] * size, [None] * size

        def run(rank):
            try:
                results[rank] = work(Thread(rank, size, barrier, sent))
            except BaseException:
                barrier.abort()
                raise

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def setUp(self):
        rng = np.random.default_rng(1)
        self.x = rng.integers(0, 256, (60, 7, 6, 1)).astype(np.uint8)
        self.y = np.eye(3)[rng.integers(0, 3, 60)]
        scale = mock.patch.object(mnist, "scale", lambda images: images / 255)  # float64
        scale.start()
        self.addCleanup(scale.stop)

    def network(self, cnn):
        layers = [cnn.ConvLayer_ReLU(4, 3), cnn.PoolLayer_Max(2, 2), cnn.FlatLayer(), cnn.FCLayer_Softmax(3)]
        return cnn.Network(layers, seed=1)

    def progress(self):
        options = argparse.Namespace(weight_decay=0.01)
        return argparse.Namespace(asked=False, stop=False, done=0, test_work=1, before_test=lambda: None, options=options)

    def test_twenty_steps_are_those_of_one_process(self):
        for cnn, size, count in ((cnn_sg, 2, 8), (cnn_sg, 3, 8), (cnn_sg, 5, 3), (cnn_sg, 5, 1), (cnn_naive, 3, 2)):
            batches = np.random.default_rng(2).integers(0, 60, (20, count))
            expected = self.network(cnn)
            figures = [expected.train(self.x[b] / 255, self.y[b], 0.1, 0.01)[1:] for b in batches]

            def work(comm, cnn=cnn, batches=batches):
                net, progress = self.network(cnn), self.progress()
                got = [mnist.train_together(net, self.x, self.y, b, 0.1, progress, comm) for b in batches]
                return net, got, progress.stop

            for net, got, stop in self.together(size, work):
                np.testing.assert_allclose(got, figures, rtol=1e-12)
                self.assertFalse(stop)
                for layer, other in zip(net.layers, expected.layers):
                    for name in layer.weights:
                        W, right = getattr(layer, name), getattr(other, name)
                        self.assertEqual(W.dtype, np.float64)
                        self.assertLess(np.linalg.norm(W - right), 1e-12 * np.linalg.norm(right))

    def test_the_test_set_is_shared_out(self):
        net = self.network(cnn_sg)
        for size, n in ((2, 60), (7, 60), (3, 2)):
            _, *expected = net.evaluate(self.x[:n] / 255, self.y[:n])
            seen = []

            def work(comm, n=n, seen=seen):
                own = self.network(cnn_sg)
                evaluate = own.evaluate
                own.evaluate = lambda X, Y: seen.append(len(X)) or evaluate(X, Y)
                return mnist.evaluate(own, self.x[:n], self.y[:n], self.progress(), comm, piece=4)

            for figures in self.together(size, work):
                np.testing.assert_allclose(figures, expected, rtol=1e-12)
            self.assertEqual(sum(seen), n)

    def test_one_is_asked_to_stop_and_all_do(self):
        for count in (6, 2):  # process 2 may have no share

            def work(comm, count=count):
                progress = self.progress()
                progress.asked = comm.rank == 2
                mnist.train_together(self.network(cnn_sg), self.x, self.y, np.arange(count), 0.1, progress, comm)
                return progress.stop

            self.assertEqual(self.together(3, work), [True] * 3)


@unittest.skipUnless(MPI and MPIEXEC and POSIX, "mpi4py, or mpiexec, is not installed")
class Processes(Program):
    def start_together(self, *arguments):
        """Start groups of processes, (number, arguments): those of a group have the same."""
        command = [MPIEXEC]
        for k, (number, own) in enumerate(arguments):
            program = [sys.executable, "-W", "error", "mnist.py", *map(str, own), "--mpi"]
            command += [":"] * (k > 0) + ["-n", str(number), *program]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
        environment |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        return subprocess.Popen(command, cwd=HERE, env=environment, **streams)

    def run_together(self, *arguments):
        with self.start_together(*arguments) as process:
            out, errors = process.communicate(timeout=120)
        return process.returncode, out, errors

    def drawn(self, n):
        files = {}
        for part, seed in (("train", 1), ("t10k", 2)):
            x, y = mnist.draw_digits(n, seed)
            files |= {f"{part}-images-idx3-ubyte": idx(x[..., 0]), f"{part}-labels-idx1-ubyte": idx(y)}
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        return "--data", self.folder

    def test_the_same_weights_as_one_process(self):
        # Few steps: sooner or later rounding decides which pixel max-pooling takes.
        data, file = self.drawn(1000), self.folder / "w.npz"
        cases = (("flat", "sg", 1000), ("cnn", "sg", 96), ("lenet", "sg", 96), ("flat", "naive", 96))
        for model, version, n in cases:
            arguments = (model, version, *data, "--samples", n, "--epochs", 3, "--seed", 1, "--save", file)
            expected = self.run_main(*arguments).splitlines()[-1]
            error = float(expected.split()[-2])
            saved = dict(np.load(file))
            for size in (1, 2, 3, 5):
                with self.subTest(model=model, version=version, size=size):
                    file.unlink()
                    code, out, errors = self.run_together((size, arguments))
                    self.assertEqual((code, errors), (0, ""))
                    self.assertIn(f"Processes that share each mini-batch: {size}\n", out)
                    self.assertEqual(out.count("Test set: "), 1)
                    self.assertAlmostEqual(float(out.split()[-2]), error, delta=0.2)
                    W = dict(np.load(file))
                    for name in set(saved) - {"layers"}:
                        difference = np.linalg.norm(W[name] - saved[name])
                        self.assertLess(difference, 1e-3 * np.linalg.norm(saved[name]))

    def test_without_a_seed(self):
        code, out, errors = self.run_together((2, ("flat", *self.data(), "--epochs", 1, "--split", 0.5)))
        self.assertEqual((code, errors), (0, ""))  # other halves would have other checksums
        self.assertEqual(out.count("Test set: "), 1)

    def test_other_data_in_a_process(self):
        other = self.folder / "other"
        other.mkdir()
        self.write(other, n=61)
        start = time.monotonic()
        groups = (1, ("flat", *self.data())), (1, ("flat", "--data", other))
        code, _, errors = self.run_together(*groups)
        self.assertNotEqual(code, 0)
        self.assertRegex(errors, "^mnist.py: process 1: expected .*60 images .* as in process 0, got .*61 images .*\n$")
        self.assertLess(time.monotonic() - start, 20)

    def test_one_line_for_what_goes_wrong_in_all(self):
        for arguments, line in (
            (("flat", *self.data(), "--learning-rate", 1e30), "training diverged: .*"),
            (("flat", "--data", self.folder / "none"), ".*none: expected a folder of MNIST files, got none"),
        ):
            code, _, errors = self.run_together((3, arguments))
            self.assertNotEqual(code, 0)
            self.assertRegex(errors, f"^mnist.py: {line}\n$")

    def test_one_fails_before_it_meets_the_others(self):
        good = ("flat", *self.data())
        code, _, errors = self.run_together((1, good), (1, (*good, "--load", self.folder / "none.npz")))
        self.assertNotEqual(code, 0)
        self.assertRegex(errors, "--load: there is no file .*none.npz\n$")

    def test_ctrl_c_stops_all(self):
        file = self.folder / "w.npz"
        arguments = ("flat", *self.data(n=600), "--epochs", 1_000_000, "--save", file)
        with self.start_together((2, arguments)) as process:
            for _ in range(4):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        self.assertNotEqual(process.returncode, 0)
        self.assertNotIn("Traceback", errors)
        self.assertRegex(out, r"\nStopped in epoch \d+/1000000, after \d+ mini-batches in all.\n")
        self.assertRegex(out.splitlines()[-1], rf"^Test set: {FIGURES}$")
        np.load(file).close()


class Missing(Program):
    def test_mpi_that_is_missing(self):
        library = "mpich" if POSIX else "impi-rt"
        message = f"--mpi needs mpi4py and an MPI library: .* -m pip install mpi4py {library}$"

        class Alone:  # mpi4py without an MPI library
            @property
            def MPI(self):
                raise RuntimeError("cannot load MPI library")

        for module in ({"mpi4py": None}, {"mpi4py.MPI": None}, {"mpi4py": Alone()}):
            missing = mock.patch.dict("sys.modules", module)
            with missing, self.assertRaisesRegex(OSError, message), mnist.processes():
                self.fail("it went on")
            with missing:
                self.run_main("flat", *self.data(), "--epochs", 1)

    def test_packages_that_are_missing(self):
        found = importlib.util.find_spec
        file = self.folder / "w.npz"
        file.touch()
        cases = (("matplotlib", "matplotlib", ["--plot", self.folder / "p.png"]),
                 ("PIL", "pillow", ["--load", file, "--read", "x.png"]))  # fmt: skip
        for module, name, arguments in cases:
            with mock.patch("importlib.util.find_spec", lambda each, module=module: None if each == module else found(each)):
                errors = self.run_main("cnn", *arguments, code=2)
            self.assertRegex(errors, f"{arguments[-2]} needs {name}: .*pip install {name}\n$")


@unittest.skipUnless(PILLOW, "Pillow is not installed")
class Pictures(Program):
    def picture(self, mode="L", paper=255, ink=0, size=(100, 80), box=(30, 20, 49, 69)):
        from PIL import Image, ImageDraw

        picture = Image.new(mode, size, paper)
        ImageDraw.Draw(picture).rectangle(box, fill=ink)
        return picture

    def test_cut_out_fitted_and_centred(self):
        upright = np.zeros((28, 28))
        upright[4:24, 10:18] = 255  # 20 x 50 pixels to 8 x 20
        for colours in (("L", 255, 0), ("L", 0, 255), ("L", 200, 100), ("RGB", (0, 150, 0), (200, 40, 200)),
                        ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), ("RGBA", (0, 0, 0, 0), (255, 255, 255, 255)),
                        ("P", 3, 4), ("1", 1, 0), ("I;16", 60_000, 100)):  # fmt: skip
            with self.subTest(colours=colours):
                if colours[0] == "P":
                    picture = self.picture().convert("P")
                elif colours[0] == "I;16":
                    from PIL import Image

                    picture = Image.fromarray(np.asarray(self.picture()).astype(np.uint16) * 257)
                else:
                    picture = self.picture(*colours)
                image = mnist.as_mnist(picture)
                self.assertEqual((image.shape, image.dtype), ((28, 28), np.uint8))
                np.testing.assert_array_equal(image, upright)
        wide = mnist.as_mnist(self.picture().transpose(2))  # ROTATE_90
        np.testing.assert_array_equal(wide, upright.T)

    def test_the_centre_of_mass_is_in_the_middle(self):
        from PIL import ImageDraw

        picture = self.picture(box=(30, 20, 39, 69))
        ImageDraw.Draw(picture).rectangle((30, 60, 69, 69), fill=0)  # an L
        ink = mnist.as_mnist(picture).astype(float)
        for profile in (ink.sum(axis=0), ink.sum(axis=1)):
            self.assertAlmostEqual(np.average(np.arange(28), weights=profile), 13.5, delta=0.51)
        rows = np.flatnonzero(ink.any(axis=1))
        self.assertEqual((np.ptp(rows), np.count_nonzero(ink[rows[0]]), ink.max()), (19, 4, 255))

    def test_a_thin_line(self):
        image = mnist.as_mnist(self.picture(size=(100, 200), box=(50, 20, 50, 180)))
        self.assertEqual((np.count_nonzero(image), image.max()), (20, 255))

    def test_a_sheet_of_paper_on_a_table(self):
        plain = mnist.as_mnist(self.picture())
        for table in (0, 60, 128, 200):
            scene = self.picture(size=(200, 180), paper=table, ink=table)
            scene.paste(self.picture(), (70, 35))
            difference = np.abs(mnist.as_mnist(scene).astype(int) - plain)
            self.assertLess(np.mean(difference), 2)

    def test_no_digit(self):
        for picture in (self.picture(ink=255), self.picture(ink=230), self.picture(size=(1, 1), box=(0, 0, 0, 0))):
            with self.assertRaisesRegex(ValueError, "all of one colour: there is no digit"):
                mnist.as_mnist(picture)

    def weights(self):
        x, _ = mnist.draw_digits(1, 1)
        net = cnn_sg.Network(mnist.models(cnn_sg, 10)["cnn"], seed=1)
        net.predict(mnist.scale(x))
        net.save(self.folder / "w.npz")
        return net, self.folder / "w.npz"

    def test_bad_pictures_do_not_keep_others_from_being_read(self):
        net, weights = self.weights()
        good = [self.folder / name for name in ("first.png", "last.jpg")]
        for path in good:
            self.picture(size=(300, 200)).save(path)
        bad = {name: self.folder / name for name in ("empty.png", "text.png", "cut.png", "grey.png", "huge.png", "none.png")}
        bad["empty.png"].touch()
        bad["text.png"].write_bytes(b"no picture")
        bad["cut.png"].write_bytes(good[0].read_bytes()[:-100])
        self.picture(ink=255).save(bad["grey.png"])
        self.picture("1", 0, 0, size=(10_000, 5_001)).save(bad["huge.png"])
        plot = ["--plot", self.folder / "p.png"] if MATPLOTLIB else []
        if MATPLOTLIB:  # lists the fonts when first used; if that takes long, it says so on stderr
            importlib.import_module("matplotlib.font_manager")
        arguments = ("cnn", "--load", weights, *plot, "--read", good[0], *bad.values(), good[1])
        with self.start(*arguments) as process:
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        lines = out.splitlines()
        for path, line in zip(good, lines):
            answer = net.predict(mnist.scale(mnist.as_mnist(self.picture(size=(300, 200))))[None, :, :, None])[0]
            second, first = np.argsort(answer)[-2:]
            expected = f"{path}: {first} ({100 * answer[first]:.1f} %), or {second} ({100 * answer[second]:.1f} %)"
            self.assertEqual(line, expected) if path.suffix == ".png" else self.assertRegex(line, r"\d \(.* %\), or \d")
        self.assertEqual(lines[2:], [f"Picture saved in {self.folder / 'p.png'}"] if plot else [])
        self.assertEqual((self.folder / "p.png").exists(), bool(plot))
        for path, line in zip(bad.values(), errors.splitlines(), strict=True):
            self.assertRegex(line, f"^mnist.py: {re.escape(str(path))}: .")

    def test_good_pictures_end_with_0_and_need_no_data(self):
        _, weights = self.weights()
        self.picture().save(self.folder / "one.png")
        with mock.patch.object(mnist, "load_mnist") as load, mock.patch.object(mnist, "draw_digits") as draw:
            self.run_main("cnn", "--load", weights, "--read", self.folder / "one.png")
        self.assertFalse(load.called or draw.called)

    @unittest.skipUnless(sys.getfilesystemencoding() == "utf-8", "needs names of all letters")
    def test_a_name_that_cannot_be_printed(self):
        _, weights = self.weights()
        self.picture().save(self.folder / "d\u00fcnn.png")
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        out = self.run_program("cnn", "--load", weights, "--read", self.folder / "d\u00fcnn.png", env=environment)
        self.assertRegex(out, r"d\\xfcnn.png: \d \(.* %\), or \d \(.* %\)\n$")

    @unittest.skipUnless(MATPLOTLIB, "matplotlib is not installed")
    def test_what_is_drawn_of_pictures(self):
        net, _ = self.weights()
        image = mnist.as_mnist(self.picture())
        answers = net.predict(mnist.scale(image)[None, :, :, None])[0]
        rows = [("one.png", self.picture(), image, answers)] * 2
        figure, titles = Plots.figure(self, mnist.plot_pictures, rows, net)
        self.assertEqual(titles, 2 * ["one.png", "as the network sees it", "after the first convolution"])
        shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        np.testing.assert_array_equal(shown[1], image)
        A = net.layers[0].forward_propagate(mnist.scale(image)[None, :, :, None])
        np.testing.assert_allclose(shown[2][:26, 27:53], A[0, :, :, 1], rtol=0, atol=0 if LINUX else 1e-6)  # see test_equivalence
        widths = [bar.get_width() for bar in figure.axes[3].patches]
        np.testing.assert_allclose(widths, 100 * answers)
        self.assertEqual(figure.axes[3].get_ylim(), (9.5, -0.5))
        self.assertEqual(figure.axes[3].get_xlim(), (0, 100))
        self.assertEqual(figure.axes[3].get_xlabel(), "probability, %")
        flat = cnn_sg.Network([cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(10)], 1)
        single, _ = Plots.figure(self, mnist.plot_pictures, rows[:1], flat)
        self.assertEqual([axes.get_visible() for axes in single.axes], [True, True, False, True])

    @unittest.skipUnless(REAL, "the real files are not at hand")
    def test_digits_of_mnist_come_back_as_they_were(self):
        from PIL import Image

        _, (x, _) = mnist.load_mnist(REAL[0])
        differences = []
        for digit in x[:100, :, :, 0]:
            sheet = np.full((250, 280), 160, np.uint8)
            sheet[20:216, 70:266] = 255 - np.kron(digit, np.ones((7, 7), np.uint8))
            file = io.BytesIO()
            Image.fromarray(sheet).save(file, "JPEG")
            plain = mnist.as_mnist(Image.fromarray(digit)).astype(int)
            differences.append(np.abs(mnist.as_mnist(Image.open(file)) - plain).mean())
        self.assertLess(np.mean(differences), 12)


class DrawnDigits(Program):
    def test_the_same_seed_draws_the_same(self):
        x, y = mnist.draw_digits(200, 3)
        self.assertEqual((x.shape, x.dtype, y.shape, y.dtype), ((200, 28, 28, 1), np.uint8, (200,), np.uint8))
        self.assertEqual(set(y), set(range(10)))
        for array, again in zip((x, y), mnist.draw_digits(200, 3)):
            np.testing.assert_array_equal(array, again)
        self.assertTrue((mnist.draw_digits(200, 4)[0] != x).any())

    def test_they_are_like_those_of_mnist(self):
        x, _ = mnist.draw_digits(300, 5)
        self.assertTrue((x.min(axis=(1, 2)) == 0).all())
        ink = x[..., 0].astype(float)
        for axis in (1, 2):
            profile = ink.sum(axis=3 - axis)
            centres = (profile * np.arange(28)).sum(axis=1) / profile.sum(axis=1)
            self.assertLess(np.abs(centres - 13.5).max(), 2)
            self.assertLess(np.abs(centres - 13.5).mean(), 0.5)
        self.assertTrue((ink.max(axis=(1, 2)) > 150).all())
        spans = [np.ptp(np.flatnonzero(ink.max(axis=axis)[k] > 100)) + 1 for k in range(300) for axis in (1, 2)]
        longest = np.reshape(spans, (300, 2)).max(axis=1)
        self.assertTrue((longest >= 16).all() and (longest <= 22).all())
        self.assertTrue(15 < np.mean(ink) < 45)  # that of MNIST is 33

    def test_strokes_go_where_they_should(self):
        rng = np.random.default_rng(6)
        quarters = slice(14), slice(14, 28)
        corners = mnist.draw_strokes(["0009", "0999"], 300, rng)  # an L
        corner = corners.mean(axis=0)
        ink = [corner[rows, columns].sum() / corner.sum() for rows in quarters for columns in quarters]
        self.assertTrue(ink[1] < 0.1 and min(ink[0], ink[2], ink[3]) > 0.2, ink)
        upright, across = (mnist.draw_strokes([line], 300, rng) for line in ("5059", "0595"))
        # A net that learns from this handwriting reads MNIST. Another one has to be tried anew.
        for lines, lean, spread in ((upright, 2, 3.6), (across.transpose(0, 2, 1), 0, 2.6)):
            rows = lines[:, [8, 19]] + 1e-9
            upper, lower = (rows @ np.arange(28) / rows.sum(axis=2)).T
            self.assertAlmostEqual(np.mean(upper - lower), lean, delta=0.6)
            self.assertAlmostEqual(np.std(upper - lower), spread, delta=0.6)
        high, wide = ((corners > 100).any(axis=axis).sum(axis=1) for axis in (2, 1))
        self.assertAlmostEqual(np.mean(wide / high), 0.95, delta=0.15)
        ink = upright.mean(axis=(1, 2))  # of thin pens and thick ones
        self.assertTrue(13 < ink.mean() < 17 and 3.5 < ink.std() < 6)

    def test_offline_by_default(self):
        for name in ("mnist.py", "cnn_sg.py"):
            shutil.copy(HERE / name, self.folder)
        proxies = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy")}
        proxies |= {"no_proxy": "", "NO_PROXY": "", "OPENBLAS_NUM_THREADS": "1"}
        environment = {**os.environ, **proxies}
        out = self.run_program("flat", "--epochs", 1, "--seed", 1, cwd=self.folder, env=environment)
        self.assertLess(max(map(len, out.splitlines()[:3])), 80)
        lines = [line for line in out.splitlines() if not line.startswith("Downloading")]
        self.assertRegex(lines[0], r"^MNIST could not be downloaded: no mirror gave .*\.$")
        self.assertRegex(lines[1], "^Put into .*:$")
        self.assertEqual(lines[2], ", ".join(mnist.FILES))
        self.assertIn("drawn digits, not MNIST", lines[3])
        self.assertIn("on 12,000 images, testing on 2,000", lines[4])
        self.assertRegex(lines[-1], rf"^Test set \(drawn digits, not MNIST\): {FIGURES}$")
        self.assertLess(float(lines[-1].split()[-2]), 25)
        errors = self.run_program("flat", "--data", ".", cwd=self.folder, env=environment, code=1)
        self.assertRegex(errors, "^mnist.py: no mirror gave .*; put into .*t10k-labels-idx1-ubyte\n$")

    def test_what_cannot_be_written_does_not_keep_them_from_being_used(self):
        options = argparse.Namespace(drawn=False, data=None, split=None, samples=20, seed=1)
        answers = mock.patch.object(mnist, "fetch", lambda url, size: gzip.compress(MNIST[Path(url).stem]))
        sums = {name: hashlib.sha256(each).hexdigest() for name, each in MNIST.items()}
        drawn = np.ones((30, 28, 28, 1), np.uint8), np.ones(30, np.uint8)
        read_only = OSError(30, "Read-only file system")
        out = io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(answers)
            stack.enter_context(mock.patch.object(mnist, "draw_digits", return_value=drawn))
            stack.enter_context(mock.patch.object(mnist, "FILES", sums))
            stack.enter_context(mock.patch.object(mnist, "HERE", self.folder))
            stack.enter_context(mock.patch("builtins.open", side_effect=read_only))
            stack.enter_context(mock.patch("os.remove", side_effect=read_only))
            stack.enter_context(contextlib.redirect_stdout(out))
            (x, _), _, note = mnist.choose_data(options)
        self.assertEqual((x.shape, note), ((20, 28, 28, 1), " (drawn digits, not MNIST)"))
        self.assertIn("Read-only file system", out.getvalue())


def load_tests(loader, tests, pattern):
    """The slow ones come last: with -f, most mistakes show within seconds."""
    slow = ("CommandLine", "Downloads", "DrawnDigits")
    return unittest.TestSuite(sorted(tests, key=lambda each: any(name in str(each) for name in slow)))


if __name__ == "__main__":
    unittest.main(warnings="error")
