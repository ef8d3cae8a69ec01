"""The programs in examples/ do what they say."""

import ast
import runpy
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

import cnn_naive
import cnn_sg
from test_equivalence import assert_same, random_layers

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class CopyLayer(unittest.TestCase):
    PROGRAM = EXAMPLES / "copy_layer.py"

    def test_a_copy_stands_alone_and_computes_the_same(self):
        copy_layer = runpy.run_path(str(self.PROGRAM))["copy_layer"]
        for module in cnn_naive, cnn_sg:
            for name, arguments, shape in random_layers(1, largest=3, seed=1):
                source = copy_layer(module.__name__, name)
                copied = self.run_alone(source)
                with self.subTest(module=module.__name__, name=name):
                    layers = getattr(module, name)(*arguments), copied[name](*arguments)
                    self.check_they_compute_the_same(*layers, shape)
                    self.check_the_rule_for_copying(module, type(layers[0]), source)

    def run_alone(self, source):
        """The names that a file has of its own, in an empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "coursework.py")
            file.write_text(source, encoding="utf-8")
            return runpy.run_path(str(file))

    def check_they_compute_the_same(self, layer, twin, shape):
        layer.rng, twin.rng = np.random.default_rng(2), np.random.default_rng(2)
        X, rng = np.random.default_rng(3).random(shape), np.random.default_rng(4)
        A = layer.forward_propagate(X)
        assert_same(twin.forward_propagate(X), A)
        dA = rng.random(A.shape)
        assert_same(twin.backpropagate(dA, 0.1), layer.backpropagate(dA, 0.1))
        assert_same(twin.forward_propagate(X), layer.forward_propagate(X))

    def check_the_rule_for_copying(self, module, layer, source):
        """As the heading in the module has it: these pieces, and no others, can be needed."""
        whole = Path(module.__file__).read_text(encoding="utf-8")
        above, _, rest = whole.partition("\nclass Layer:")
        below = rest.partition("\n# What serves the layers")[2]
        self.assertTrue(below)
        bases = [base.__name__ for base in layer.__mro__]
        for piece in ast.parse(source).body:
            if not isinstance(piece, (ast.Import, ast.ImportFrom)):
                self.assertTrue(piece.name in bases or f"\ndef {piece.name}(" in above + below)

    def test_it_prints_just_what_is_needed(self):
        printed = self.run_program("cnn_sg.ConvLayer_ReLU").stdout
        pieces = [line for line in printed.splitlines() if line.startswith(("class ", "def "))]
        self.assertLessEqual(len(pieces), 10)
        self.assertRegex(printed, "^# From cnn_sg.py of cnn-numpy.*\n# MIT License.* must be kept")
        self.assertNotRegex(printed, "class (Pool|Flat|FC|Network)|import os")

    def test_a_wrong_name_is_one_line(self):
        for name in "cnn_sg", "cnn_sg.Conv", "nothing.ConvLayer", "cnn_sg.stride_groups", "":
            result = self.run_program(name)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertRegex(result.stderr, r"\A.*: expected .*\n\Z")

    def run_program(self, *arguments):
        command = [sys.executable, self.PROGRAM, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)
