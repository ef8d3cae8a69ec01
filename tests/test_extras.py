"""Tests of extras/: --drawn, --plot, --read, --mpi. What needs a package is skipped without it."""

import contextlib
import importlib.util
import os
import re
import shutil
import sys
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import cnn_sg
import mnist
from extras import drawn, read
from tests import test_mnist

PILLOW, MATPLOTLIB, MPI = map(importlib.util.find_spec, ("PIL", "matplotlib", "mpi4py"))
SCRIPTS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
MPIEXEC = shutil.which("mpiexec", path=SCRIPTS)
FIGURES = test_mnist.FIGURES
LENET = mnist.HERE / "extras" / "lenet.npz"


class Drawn(test_mnist.Program):
    def test_a_seed_draws_the_same_digits_on_every_machine(self):
        x, y = drawn.draw_digits(500, 3)  # what the documents say of them was measured
        self.assertEqual((x.shape, x.dtype, y.dtype), ((500, 28, 28, 1), np.uint8, np.uint8))
        self.assertEqual(np.bincount(y).tolist(), [35, 52, 57, 49, 51, 63, 61, 41, 49, 42])
        rows, columns = x.mean(axis=(0, 2, 3)), x.mean(axis=(0, 1, 3))
        np.testing.assert_allclose(rows[4:24:4], [24.0, 47.6, 44.4, 50.5, 47.3], atol=0.2)
        np.testing.assert_allclose(columns[4:24:4], [9.1, 43.1, 66.5, 69.9, 32.2], atol=0.2)
        self.assertAlmostEqual(x.reshape(500, -1).mean(axis=1).std(), 11.8, delta=0.05)

    def test_they_are_used_and_marked_where_mnist_cannot_be_had(self):
        self.patch(mnist, "HERE", self.folder)
        self.patch(mnist, "MIRRORS", ("http://127.0.0.1:1/",))
        out = self.run_main("flat", "--epochs", 1, "--seed", 1)
        lines = [line for line in out.splitlines() if not line.startswith("Downloading")]
        self.assertRegex(lines[0], r"^MNIST could not be downloaded: no mirror gave .*\.$")
        self.assertEqual(lines[1:3], [f"Put into {self.folder}:", ", ".join(mnist.FILES)])
        self.assertEqual(lines[3], "Using drawn digits, not MNIST: this program draws them.")
        self.assertIn("on 12,000 images, testing on 2,000", lines[4])
        self.assertRegex(lines[-1], rf"^Test set \(drawn digits, not MNIST\): {FIGURES}$")
        self.assertLess(float(lines[-1].split()[-2]), 25)
        self.assertEqual(self.names(), [])
        message = "^no mirror gave .*; put into .*t10k-labels-idx1-ubyte$"
        with self.assertRaisesRegex(ConnectionError, message):
            self.run_main("flat", "--data", self.folder)


def rectangle(paper=255, ink=0, height=80, width=100, box=(20, 70, 30, 50)):
    """Pixels of a picture with a filled rectangle; paper and ink may be colours."""
    pixels = np.empty((height, width, *np.shape(paper)), np.uint8)
    pixels[:] = paper
    pixels[box[0] : box[1], box[2] : box[3]] = ink
    return pixels


class AsMnist(unittest.TestCase):
    upright = np.zeros((28, 28))
    upright[4:24, 10:18] = 255  # 50 x 20 pixels become 20 x 8

    def test_any_colours_and_numbers_become_light_on_dark_in_the_middle(self):
        clear = (0, 0, 0, 0)
        for paper, ink in ((255, 0), (0, 255), (200, 100), ((0, 150, 0), (200, 40, 200)),
                           (clear, (0, 0, 0, 255)), (clear, (255, 255, 255, 255)),
                           ((255, 255, 255, 0), (0, 0, 0, 255)), ([9], [99])):  # fmt: skip
            for dtype in (np.uint8, np.float64):
                pixels = rectangle(paper, ink).astype(dtype)
                kept = pixels.copy()
                image = read.as_mnist(pixels)
                self.assertEqual((image.shape, image.dtype), ((28, 28), np.uint8))
                np.testing.assert_array_equal(image, self.upright)
                np.testing.assert_array_equal(pixels, kept)
        np.testing.assert_array_equal(read.as_mnist(rectangle().T), self.upright.T)

    def test_what_is_transparent_has_no_colour(self):
        pixels = rectangle((255, 255, 255, 0), (0, 0, 0, 255))
        pixels[5:9, 5:9] = 0, 0, 255, 0
        np.testing.assert_array_equal(read.as_mnist(pixels), self.upright)

    def test_the_centre_of_mass_is_in_the_middle(self):
        pixels = rectangle(box=(20, 70, 30, 40))
        pixels[60:70, 30:70] = 0  # an L
        ink = read.as_mnist(pixels).astype(float)
        for profile in (ink.sum(axis=0), ink.sum(axis=1)):
            self.assertAlmostEqual(np.average(np.arange(28), weights=profile), 13.5, delta=0.51)
        rows = np.flatnonzero(ink.any(axis=1))
        self.assertEqual((np.ptp(rows), np.count_nonzero(ink[rows[0]]), ink.max()), (19, 4, 255))

    def test_a_digit_with_its_mass_at_an_edge_is_not_cut(self):
        pixels = rectangle(box=(10, 70, 20, 26))
        pixels[40, 20:80] = 0  # a long thin arm
        image = read.as_mnist(pixels)
        self.assertEqual(np.flatnonzero(image.any(axis=0)).tolist(), list(range(8, 28)))
        image = read.as_mnist(pixels[:, ::-1])
        self.assertEqual(np.flatnonzero(image.any(axis=0)).tolist(), list(range(20)))

    def test_a_pixel_is_the_mean_of_those_it_covers_and_a_thin_line_stays(self):
        shares = [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]]
        np.testing.assert_allclose(read.overlaps(5, 2), shares)
        np.testing.assert_allclose(read.overlaps(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])
        image = read.as_mnist(rectangle(height=200, box=(20, 181, 50, 51)))
        self.assertEqual((np.count_nonzero(image), image.max()), (20, 255))

    def test_a_sheet_of_paper_on_a_table_is_cut_off(self):
        for table in (0, 60, 128, 200):
            scene = np.pad(rectangle(), ((35, 65), (70, 30)), constant_values=table)
            self.assertLess(np.mean(np.abs(read.as_mnist(scene) - self.upright)), 2)
        blank = np.pad(rectangle(ink=255), ((35, 65), (70, 30)))
        self.assertEqual(read.as_mnist(blank).max(), 255)

    def test_no_digit(self):
        for pixels in (rectangle(ink=255), rectangle(ink=230), np.zeros((1, 1))):
            with self.assertRaisesRegex(ValueError, "all of one colour: there is no digit"):
                read.as_mnist(pixels)
        for shape in ((0, 5), (5, 5, 2), (1, 5, 5, 3)):
            with self.assertRaisesRegex(ValueError, "expected pixels .height, width"):
                read.as_mnist(np.zeros(shape))


class Pictures(test_mnist.Program):
    @unittest.skipUnless(PILLOW, "Pillow is not installed")
    def test_good_pictures_are_read_beside_bad_ones(self):
        from PIL import Image

        self.patch(mnist, "load_mnist", None)  # it needs no data
        net = cnn_sg.Network(mnist.models(cnn_sg, 10)["lenet"]).load(LENET)
        names = ("good", "empty", "text", "cut", "grey", "huge", "none", "turned")
        paths = [self.folder / f"{name}.png" for name in names]
        good, empty, text, cut, grey, huge, _, turned = paths
        Image.fromarray(rectangle()).save(good)
        empty.touch()
        text.write_bytes(b"no picture")
        cut.write_bytes(good.read_bytes()[:-100])
        Image.fromarray(rectangle(ink=255)).save(grey)
        Image.new("1", (10_000, 5_001)).save(huge)
        exif = Image.Exif()
        exif[0x0112] = 6  # a photo, to be turned by a quarter
        Image.fromarray(np.rot90(rectangle())).save(turned, exif=exif)
        plot = ["--plot", self.folder / "p.png"] if MATPLOTLIB else []
        out = self.run_main("lenet", *plot, "--read", *paths, code=1)
        answers = net.predict(mnist.scale(read.as_mnist(rectangle()))[None, :, :, None])[0]
        other, best = (f"{k} ({100 * answers[k]:.1f} %)" for k in np.argsort(answers)[-2:])
        expected = [f"Using the weights in {LENET}"]
        expected += [f"{path}: {best}, or {other}" for path in (good, turned)]
        expected += [f"Picture saved in {plot[1]}"] if plot else []
        self.assertEqual(out.splitlines(), expected)
        for path, line in zip(paths[1:-1], self.errors.splitlines(), strict=True):
            self.assertRegex(line, f"^mnist.py: {re.escape(str(path))}: (?!None)[^/]*")

    def test_without_weights_there_is_nothing_to_read_with(self):
        self.run_main("cnn", "--read", "x.png", code=2)  # those in extras/ are for lenet
        self.patch(mnist, "HERE", self.folder)
        self.run_main("lenet", "--read", "x.png", code=2)

    def test_a_package_that_is_missing_is_one_line(self):
        cases = [("PIL", "pillow", "lenet", "--read", "x.png"),
                 ("matplotlib.figure", "matplotlib", "flat", *self.data(), "--plot", "p.png"),
                 ("mpi4py", "mpi4py .*", "flat", "--mpi")]  # fmt: skip
        for module, package, *arguments in cases:
            with mock.patch.dict("sys.modules", {module: None}):
                for name in ("plot", "mpi"):
                    sys.modules.pop(f"extras.{name}", None)
                with self.assertRaisesRegex(ImportError, f"^--.* needs .* pip install {package}$"):
                    self.run_main(*arguments)


@unittest.skipUnless(MATPLOTLIB, "matplotlib is not installed")
class Plots(test_mnist.Program):
    def figure(self, function, *arguments):
        """The figure that a function of extras/plot.py draws, and the titles in it."""
        from extras import plot

        save = mock.patch.object(plot.Figure, "savefig", autospec=True)
        with save as saved, contextlib.suppress(OSError):  # as there is nothing to move
            getattr(plot, function)(self.folder / "picture.png", *arguments)
        figure = saved.call_args[0][0]
        titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
        return figure, list(filter(None, titles))

    def test_what_is_drawn_of_a_training(self):
        layers = [cnn_sg.ConvLayer_ReLU(9, 3), cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(3)]
        net = cnn_sg.Network(layers, 1)
        x = np.random.default_rng(1).integers(0, 255, (50, 6, 7, 1)).astype(np.uint8)
        answers = net.predict(mnist.scale(x)).argmax(axis=1)
        labels = answers.copy()
        labels[[7, 33]] = (answers[[7, 33]] + 1) % 3
        history = [(float(loss), 0.5) for loss in range(1, 251)]
        tests, test_set = [(125, 0.3, 10), (250, 0.2, 4)], (x, np.eye(3)[labels])
        figure, titles = self.figure("plot_training", history, tests, net, *test_set, "name")
        misread = [f"read {answers[k]}, is {labels[k]}" for k in (7, 33)]
        self.assertEqual(titles, ["filters of the first layer", *misread])
        self.assertEqual(figure.get_suptitle(), "name: test error 4.00 %")
        left, right = figure.axes[:2]
        raw, mean = left.lines
        np.testing.assert_array_equal(raw.get_ydata(), range(1, 251))
        np.testing.assert_allclose(mean.get_ydata(), [1, 1.5, *range(2, 250)])  # of up to three
        np.testing.assert_allclose(right.lines[0].get_xydata(), [[125, 10], [250, 4]])
        filters, first, _ = (axes.images[0].get_array() for axes in figure.axes if axes.images)
        np.testing.assert_array_equal(filters[:3, :3], net.layers[0].W[:, :, 0, 0])
        np.testing.assert_array_equal(first, x[7, :, :, 0])
        flat = cnn_sg.Network([cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(3)], 1)
        without, titles = self.figure("plot_training", [], tests[1:], flat, *test_set, "name")
        self.assertNotIn("filters of the first layer", titles)
        self.assertEqual([axes for axes in without.axes if axes.lines], [])

    def test_what_is_drawn_of_pictures(self):
        net = cnn_sg.Network(mnist.models(cnn_sg, 10)["cnn"], seed=1)
        image = read.as_mnist(rectangle())
        x = mnist.scale(image)[None, :, :, None]
        answers = net.predict(x)[0]
        results = [("folder/one.png", rectangle(), image, answers)] * 2
        figure, titles = self.figure("plot_pictures", results, net)
        expected = ["one.png", "as the network sees it", "after the first convolution"]
        self.assertEqual(titles, 2 * expected)
        came, saw, maps, bars = figure.axes[:4]
        np.testing.assert_array_equal(saw.images[0].get_array(), image)
        np.testing.assert_array_equal(came.images[0].get_array(), rectangle())
        A = net.layers[0].forward_propagate(x)[0, :, :, 1]
        np.testing.assert_allclose(maps.images[0].get_array()[:26, 27:53], A, atol=1e-6)
        np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * answers)
        self.assertEqual((bars.get_xlim(), bars.get_ylim()), ((0, 100), (9.5, -0.5)))
        flat = cnn_sg.Network([cnn_sg.FlatLayer(), cnn_sg.FCLayer_Softmax(10)], 1)
        single, _ = self.figure("plot_pictures", results[:1], flat)
        self.assertEqual([axes.get_visible() for axes in single.axes], [True, True, False, True])

    def test_a_picture_is_written_whole_or_stays_as_it_was(self):
        picture = self.folder / "picture.png"
        run = ("cnn", *self.data(), "--epochs", 1, "--plot", picture)
        self.assertIn(f"Picture saved in {picture}\n", self.run_main(*run))
        content = picture.read_bytes()
        self.assertEqual(content[:8], b"\x89PNG\r\n\x1a\n")
        full = mock.patch("os.replace", side_effect=OSError(28, "No space left on device"))
        with full, self.assertRaisesRegex(OSError, "No space left"):
            self.run_main(*run)
        self.assertEqual((picture.read_bytes(), self.names()), (content, ["data", "picture.png"]))


@unittest.skipUnless(MPI and MPIEXEC and os.name == "posix", "mpi4py or mpiexec is not installed")
class Processes(test_mnist.Program):
    def start_together(self, *groups):
        """Start groups of processes, (number, arguments): those of a group have the same."""
        command = [MPIEXEC]
        for number, arguments in groups:
            command += ["-n", str(number), *test_mnist.program(*arguments, "--mpi"), ":"]
        return self.start(command=command[:-1])

    def assert_refused(self, line, *groups):
        with self.start_together(*groups) as process:
            _, errors = process.communicate(timeout=120)
        self.assertNotEqual(process.returncode, 0)
        self.assertRegex(errors, f"^mnist.py: {line}\n$")

    def test_the_same_weights_as_one_process(self):
        # Few steps: sooner or later rounding decides which pixel max-pooling takes.
        data, file = self.data(n=96, rows=16, columns=16), self.folder / "w.npz"
        cases = (("flat", "sg", 1, 32), ("flat", "naive", 5, 3), ("lenet", "sg", 2, 32),
                 ("cnn", "sg", 3, 32))  # fmt: skip
        for model, version, size, batch_size in cases:  # 5 processes, and 3 images to share
            arguments = (model, version, *data, "--epochs", 1, "--seed", 1, "--save", file,
                         "--batch-size", batch_size)  # fmt: skip
            expected = self.run_main(*arguments).splitlines()[-1]
            saved = dict(np.load(file))
            file.unlink()
            with self.start_together((size, arguments)) as process:
                out, errors = process.communicate(timeout=120)
            self.assertEqual((process.returncode, errors), (0, ""))
            self.assertIn(f"Processes that share each mini-batch: {size}\n", out)
            self.assertEqual(out.splitlines().count(expected), 1, out)
            W = dict(np.load(file))
            for name in [name for name in saved if saved[name].dtype.kind == "f"]:
                difference = np.linalg.norm(W[name] - saved[name])
                self.assertLess(difference, 1e-5 * np.linalg.norm(saved[name]))

    def test_other_data_or_weights_in_a_process_are_one_line(self):
        run, files = ("flat", *self.data()), [self.folder / name for name in ("1.npz", "2.npz")]
        for seed, file in enumerate(files):
            self.run_main(*run, "--epochs", 1, "--seed", seed, "--save", file)
        self.write(n=61)
        line = "process 1: expected .*{} .*as in process 0, got .*{} .*"
        other_data = (1, run), (1, ("flat", "--data", self.folder))
        self.assert_refused(line.format("60 images", "61 images"), *other_data)
        other_weights = [(1, (*run, "--load", file)) for file in files]
        self.assert_refused(line.format("weights with", "weights with"), *other_weights)

    def test_if_one_or_all_fail_there_is_one_line(self):
        data = self.data()
        self.write()
        next(self.folder.glob("*train-labels*")).write_bytes(b"")
        one = (1, ("flat", *data)), (1, ("flat", "--data", self.folder))
        self.assert_refused(".*train-labels.*", *one)
        diverging = (3, ("flat", *data, "--learning-rate", 1e30))
        self.assert_refused("training diverged: .*", diverging)

    def test_ctrl_c_stops_all(self):
        file = self.folder / "w.npz"
        arguments = ("flat", *self.data(n=600), "--epochs", 1_000_000, "--save", file)
        with self.start_together((2, arguments)) as process:
            self.assertNotIn("Traceback", self.press_ctrl_c(process))
        self.assertNotEqual(process.returncode, 0)
        np.load(file).close()
