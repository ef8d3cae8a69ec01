# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.24", "requests>=2.28"]
# ///
"""Tests of mnist.py: data, download faults, command line. They need neither network nor MNIST.

    python3 test_mnist.py
"""

import contextlib
import gzip
import hashlib
import http.server
import importlib.util
import io
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

import mnist

HERE = Path(__file__).resolve().parent
REAL = HERE.parent / "shared" / "mnist"


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
        content = gzip.compress(small_files()[name.removesuffix(".gz")])
        if fault.isdigit():
            return self.send_error(int(fault))
        if fault == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if fault == "silent":
            return self.release.wait(20)
        length = len(content)
        if fault == "html":
            content = b"<html>Please log in to the wifi of this hotel.</html>"
            length = len(content)
        if fault == "other":
            content = gzip.compress(small_files(n=61)[name.removesuffix(".gz")])
            length = len(content)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault in ("cut", "stall"):
            content = content[:20]
        self.wfile.write(content)
        self.wfile.flush()
        if fault == "stall":
            self.release.wait(20)

    def log_message(self, *arguments):
        pass


class Downloads(Folder):
    def setUp(self):
        super().setUp()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
        server.daemon_threads = True
        Mirror.release = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(Mirror.release.set)
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        sums = {name: hashlib.sha256(each).hexdigest() for name, each in small_files().items()}
        for attribute, value in (("FILES", sums), ("ANSWER", 1), ("PATIENCE", 0.3)):
            patch = mock.patch.object(mnist, attribute, value)
            patch.start()
            self.addCleanup(patch.stop)

    def load(self, *mirrors):
        mirrors = tuple(m if m.startswith("http") else f"{self.address}/{m}/" for m in mirrors)
        with mock.patch.object(mnist, "MIRRORS", mirrors), contextlib.redirect_stdout(io.StringIO()):
            return mnist.load_mnist(self.folder)

    def test_every_fault_leads_to_the_next_mirror_or_to_one_clear_line(self):
        faults = {
            "403": "403",
            "404": "404",
            "500": "500",
            "html": "not a whole gzip file",
            "cut": "[A-Z]",
            "other": "wrong sha256",
            "stall": "ConnectionError",
            "silent": "ReadTimeout|Timeout",
            "loop": "TooManyRedirects",
            "http://127.0.0.1:1/": "ConnectionError",
            "http://mirror.invalid/": "ConnectionError|Timeout",
        }
        for fault, reason in faults.items():
            with self.subTest(fault=fault):
                message = rf"^no mirror gave train-images-idx3-ubyte.gz \(({reason})"
                with self.assertRaisesRegex(ConnectionError, message) as raised:
                    self.load(fault)
                self.assertNotIn("\n", str(raised.exception))
                self.assertEqual(self.names(), [])
                (x_train, y_train), _ = self.load(fault, "fine")
                self.assertEqual((x_train.shape, y_train.shape), ((60, 6, 7, 1), (60,)))
                self.assertEqual(self.names(), sorted(f"{name}.gz" for name in mnist.FILES))
                for path in self.folder.iterdir():
                    path.unlink()

    def test_without_network_it_is_known_within_ten_seconds(self):
        self.assertLess(3 * len(mnist.MIRRORS), 10)
        start = time.monotonic()
        with mock.patch.object(mnist, "ANSWER", 0.2), self.assertRaises(ConnectionError):
            self.load("silent", "silent", "silent")
        self.assertLess(time.monotonic() - start, 2)

    def test_files_that_are_there_need_no_network(self):
        self.write()
        self.load("http://127.0.0.1:1/")
        next(self.folder.glob("*train-labels*")).unlink()
        with self.assertRaises(ConnectionError):
            self.load("http://127.0.0.1:1/")
        self.load("fine")

    def test_mnist_is_not_mixed_with_other_data(self):
        self.write(n=62)
        next(self.folder.glob("*train-labels*")).unlink()
        with self.assertRaisesRegex(ValueError, "not a file of MNIST"):
            self.load("fine")
        self.assertEqual(len(self.names()), 3)

    def test_two_processes_at_once(self):
        program = f"""if True:
            import mnist, test_mnist, hashlib
            files = test_mnist.small_files()
            mnist.FILES = {{name: hashlib.sha256(files[name]).hexdigest() for name in files}}
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
            (images, b"", "not an IDX file of 3 axes .*got none"),
            (images, gzip.compress(b"\0\0\x08\x01" + whole[4:]), "not an IDX file of 3 axes .*got 00000801"),
            (images, gzip.compress(b"\0\0\x08\x03ab"), "not a whole IDX file"),
            (images, gzip.compress(whole[:-1]), "announces 60 x 6 x 7 numbers, has 2519"),
            (images, gzip.compress(whole + b"1"), "announces 60 x 6 x 7 numbers, has 2521"),
            (labels, gzip.compress(whole), "not an IDX file of 1 axes"),
            (labels, gzip.compress(idx(np.zeros(59, np.uint8))), "train has 60 images but 59 labels"),
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
        with unreadable, self.assertRaisesRegex(OSError, r"gz: cannot be read \(Permission denied\)"):
            mnist.load_mnist(self.folder)
        (self.folder / images).unlink()
        (self.folder / images).mkdir()
        with self.assertRaisesRegex(OSError, "train-images-idx3-ubyte.gz: cannot be read"):
            mnist.load_mnist(self.folder)
        with self.assertRaisesRegex(OSError, "expected a folder"):
            mnist.load_mnist(self.folder / "none")

    def test_images_of_two_sizes(self):
        self.write()
        images = idx(np.zeros((30, 5, 7), np.uint8))
        (self.folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        with self.assertRaisesRegex(ValueError, r"images of \(6, 7\) and of \(5, 7\) pixels"):
            mnist.load_mnist(self.folder)

    def test_only_mnist_itself_in_the_default_folder(self):
        for zipped in (True, False):
            self.write(zipped=zipped)
            here = mock.patch.object(mnist, "HERE", self.folder.resolve())
            with here, self.assertRaisesRegex(ValueError, "not a file of MNIST; .* --data DIR"):
                mnist.load_mnist(self.folder)

    @unittest.skipUnless(REAL.is_dir(), "the real files are not at hand")
    def test_the_real_mnist(self):
        (x_train, y_train), (x_test, y_test) = mnist.load_mnist(REAL)
        self.assertEqual((x_train.shape, x_test.shape), ((60_000, 28, 28, 1), (10_000, 28, 28, 1)))
        self.assertEqual(y_train[:10].tolist(), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
        self.assertEqual(y_test[:5].tolist(), [7, 2, 1, 0, 4])
        for name, digest in mnist.FILES.items():
            content = gzip.decompress((REAL / f"{name}.gz").read_bytes())
            self.assertEqual(hashlib.sha256(content).hexdigest(), digest)


class Program(Folder):
    """Real processes, as a user starts them."""

    def start(self, *arguments, **more):
        command = [sys.executable, "-W", "error", "mnist.py", *map(str, arguments)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **{"cwd": HERE, "env": environment, **streams, **more})

    def run_program(self, *arguments, code=0, **more):
        with self.start(*arguments, **more) as process:
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, out + errors)
        self.assertNotIn("Traceback", errors)
        self.assertNotIn("\r", out)
        return out if code == 0 else errors

    def data(self, **sizes):
        folder = self.folder / "data"
        folder.mkdir(exist_ok=True)
        self.write(folder, **sizes)
        return "--data", folder


class CommandLine(Program):
    def test_a_run_and_its_last_line(self):
        out = self.run_program("flat", *self.data(), "--epochs", 20, "--batch-size", 8)
        lines = out.splitlines()
        self.assertEqual(len(lines), 22)
        epoch = r"\d+:\d\d epoch 20/20: average CCE: \d\.\d{4} CE: \d\.\d{4}, test CCE: \d\.\d{4} CE: \d\.\d{4}"
        self.assertRegex(lines[-2], f"^{epoch}$")
        self.assertRegex(lines[-1], r"^Test set: CCE: \d\.\d{4} CE: 0\.0[0-9]{3}$")

    def test_other_sizes_and_numbers_of_classes(self):
        data = self.data(n=40, rows=26, columns=20, classes=12)
        for model in ("cnn", "lenet"):
            out = self.run_program(model, *data, "--epochs", 1, "--seed", 1)
            self.assertRegex(out, r"Test set: CCE: \d\.\d{4} CE: \d\.\d{4}\n$")

    def test_images_too_small_for_a_model(self):
        errors = self.run_program("lenet", *self.data(), code=1)
        self.assertRegex(errors, r"^mnist.py: ConvLayer_ReLU\(50, .*expected images .*got .*\n$")

    def test_the_same_seed_gives_the_same_figures(self):
        arguments = ("flat", *self.data(), "--epochs", 2, "--split", 0.8)
        cut = re.compile(r"^\d+:\d\d ", re.MULTILINE)
        first, same, other = (cut.sub("", self.run_program(*arguments, "--seed", k)) for k in (5, 5, 6))
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)
        self.assertIn("on 72 images, testing on 18", first)

    def test_naive_says_how_long_it_will_take(self):
        out = self.run_program("flat", "naive", *self.data(), "--epochs", 1, "--samples", 20)
        self.assertIn("An epoch of 20 images takes about 0:0", out)
        self.assertIn("testing on 20", out)

    def test_save_and_load_between_the_versions(self):
        weights = self.folder / "weights.npz"
        data = self.data(n=16)
        saved = self.run_program("cnn", *data, "--epochs", 2, "--save", weights)
        last = saved.splitlines()[-1]
        for version in ("sg", "naive"):
            loaded = self.run_program("cnn", version, *data, "--epochs", 0, "--load", weights)
            self.assertEqual(loaded.splitlines()[-1], last)
        errors = self.run_program("flat", *data, "--load", weights, code=1)
        self.assertRegex(errors, "^mnist.py: Network.load: expected .*FlatLayer.*got .*ConvLayer.*\n$")
        errors = self.run_program("flat", *data, "--load", self.folder / "none.npz", code=1)
        self.assertRegex(errors, "^mnist.py: .*none.npz.*\n$")
        before = weights.read_bytes()
        errors = self.run_program("cnn", *data, "--learning-rate", 1e30, "--save", weights, code=1)
        self.assertRegex(errors, r"^mnist.py: training diverged in epoch \d+, mini-batch \d+: .*--learning-rate\n$")
        self.assertEqual(weights.read_bytes(), before)

    def test_wrong_options(self):
        file = self.folder / "file"
        file.touch()
        cases = [
            ([], "model"),
            (["cnm"], "invalid choice: 'cnm'"),
            (["cnn", "nave"], "invalid choice: 'nave'"),
            (["cnn", "--epochs", "1.5"], "--epochs: expected an integer >= 0, got '1.5'"),
            (["cnn", "--epochs", "0"], "--epochs 0 needs --load"),
            (["cnn", "--batch-size", "0"], "--batch-size: expected an integer >= 1, got '0'"),
            (["cnn", "--samples", "-1"], "--samples: expected an integer >= 1, got '-1'"),
            (["cnn", "--learning-rate", "fast"], "--learning-rate: expected a number >= 0, got 'fast'"),
            (["cnn", "--decay", "nan"], "--decay: expected a number >= 0, got 'nan'"),
            (["cnn", "--weight-decay", "-1"], "--weight-decay: expected a number >= 0, got '-1'"),
            (["cnn", "--split", "1"], "--split: expected a number between 0 and 1, got '1'"),
            (["cnn", "--seed", "x"], "--seed: expected an integer >= 0, got 'x'"),
            (["cnn", "--drawn", "--data", "."], "not allowed with argument"),
            (["cnn", "--save", str(self.folder)], "--save: .* cannot be written"),
            (["cnn", "--save", str(self.folder / "none" / "w.npz")], "--save: .* cannot be written"),
            (["cnn", "--plot", str(file / "p.png")], "--plot: .* cannot be written"),
        ]
        if sys.platform == "linux":  # a folder in which not even root can write
            cases.append((["cnn", "--save", "/proc/w.npz"], "--save: /proc/w.npz cannot be written"))
        for arguments, message in cases:
            with self.subTest(arguments=arguments):
                errors = self.run_program(*arguments, code=2)
                self.assertRegex(errors.splitlines()[-1], f"^mnist.py: error: .*{message}")
        self.assertEqual(self.names(), ["file"])
        errors = self.run_program("cnn", "--data", self.folder / "none", code=1)
        self.assertRegex(errors, "^mnist.py: .*none: expected a folder of MNIST files, got none\n$")

    @unittest.skipIf(os.name == "nt" or os.geteuid() == 0, "needs permissions that hold")
    def test_a_read_only_folder(self):
        self.folder.chmod(0o500)
        self.addCleanup(self.folder.chmod, 0o700)
        self.run_program("cnn", "--save", self.folder / "w.npz", code=2)

    @unittest.skipIf(os.name == "nt", "signals of POSIX")
    def test_ctrl_c(self):
        weights = self.folder / "weights.npz"
        arguments = ("flat", *self.data(), "--epochs", 1_000_000, "--save", weights)
        with self.start(*arguments) as process:
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        self.assertEqual((process.returncode, errors), (130, ""))
        self.assertRegex(out, r"\nStopped in epoch \d+, after \d+ mini-batches in all.\n")
        self.assertRegex(out.splitlines()[-1], r"^Test set: CCE: \d\.\d{4} CE: \d\.\d{4}$")
        self.assertTrue(weights.exists())

    @unittest.skipIf(os.name == "nt", "signals of POSIX")
    def test_a_second_ctrl_c_quits_at_once(self):
        data = self.data(n=2000, rows=28, columns=28)
        with self.start("cnn", "naive", *data, "--batch-size", 2000) as process:
            self.assertIn("Training cnn", process.stdout.readline())
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        self.assertEqual((process.returncode, errors), (-signal.SIGINT, ""))

    def test_a_closed_pipe_is_silent(self):
        with self.start("flat", *self.data(), "--epochs", 1_000_000) as process:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.wait(30)
        self.assertEqual(errors, "")

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not installed")
    def test_plot(self):
        picture = self.folder / "picture.png"
        for model, epochs in (("cnn", 2), ("flat", 1)):
            self.run_program(model, *self.data(), "--epochs", epochs, "--plot", picture)
            content = picture.read_bytes()
            self.assertEqual(content[:8], b"\x89PNG\r\n\x1a\n")
            self.assertGreater(len(content), 20_000)
        self.assertEqual(self.names(), ["data", "picture.png"])

    def test_plot_without_matplotlib(self):
        found = importlib.util.find_spec
        without = mock.patch("importlib.util.find_spec", lambda name: None if name == "matplotlib" else found(name))
        arguments = mock.patch("sys.argv", ["mnist.py", "cnn", "--plot", str(self.folder / "p.png")])
        errors = io.StringIO()
        with without, arguments, contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as end:
            mnist.parse_arguments()
        self.assertEqual(end.exception.code, 2)
        self.assertRegex(errors.getvalue(), "--plot needs matplotlib: .*pip install matplotlib\n$")


class DrawnDigits(Program):
    def test_the_same_seed_draws_the_same(self):
        x, y = mnist.draw_digits(200, 3)
        self.assertEqual((x.shape, x.dtype, y.shape, y.dtype), ((200, 28, 28, 1), np.uint8, (200,), np.uint8))
        self.assertEqual(set(y), set(range(10)))
        for array, again in zip((x, y), mnist.draw_digits(200, 3)):
            np.testing.assert_array_equal(array, again)
        self.assertTrue((mnist.draw_digits(200, 4)[0] != x).any())

    def test_they_are_centred_as_in_mnist(self):
        x, _ = mnist.draw_digits(200, 5)
        ink = x[..., 0].astype(float)
        for axis in (1, 2):
            profile = ink.sum(axis=3 - axis)
            centres = (profile * np.arange(28)).sum(axis=1) / profile.sum(axis=1)
            self.assertLess(np.abs(centres - 13.5).max(), 1)
        self.assertTrue((ink.max(axis=(1, 2)) > 200).all())

    def test_offline_by_default(self):
        for name in ("mnist.py", "cnn_sg.py"):
            shutil.copy(HERE / name, self.folder)
        proxies = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy")}
        proxies |= {"no_proxy": "", "NO_PROXY": "", "OPENBLAS_NUM_THREADS": "1"}
        environment = {**os.environ, **proxies}
        out = self.run_program("flat", "--epochs", 3, "--seed", 1, cwd=self.folder, env=environment)
        lines = [line for line in out.splitlines() if not line.startswith("Downloading")]
        self.assertRegex(lines[0], r"^MNIST could not be had: no mirror gave .*\. Put into .*: train-images")
        self.assertIn("drawn digits, not MNIST", lines[1])
        for line in lines[2:]:
            self.assertIn("(drawn digits, not MNIST)", line)
        self.assertRegex(lines[-1], r"^Test set \(drawn digits, not MNIST\): CCE: 0\.\d{4} CE: 0\.\d{4}$")
        errors = self.run_program("flat", "--data", ".", cwd=self.folder, env=environment, code=1)
        self.assertRegex(errors, "^mnist.py: no mirror gave .*; put into .*t10k-labels-idx1-ubyte.gz\n$")

    def test_a_network_learns_them(self):
        out = self.run_program("cnn", "--drawn", "--seed", 1)
        self.assertLessEqual(float(out.split()[-1]), 0.03)


if __name__ == "__main__":
    unittest.main(warnings="error")
