"""Tests of exercises/: the skeleton, the checker and what it says, hand_out.py, the course."""

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
EXERCISES = ROOT / "exercises"
sys.path[:0] = [str(ROOT), str(EXERCISES)]

import check
import mistakes
import start

NAIVE = mistakes.SOURCE
COURSE = (EXERCISES / "README.md").read_text("utf-8")
FC, CONV = "FCLayer.forward_propagate", "ConvLayer.forward_propagate"
RELU, DX = "ReLU.times_g_prime", "ConvLayer.input_gradient"
EINSUM = """
def windows(layer):
    size = layer.fh, layer.fw
    A = np.lib.stride_tricks.sliding_window_view(layer.A_prev, size, axis=(1, 2))
    return A[:, :: layer.s, :: layer.s]

class ConvLayer(ConvLayer):
    def forward_propagate(self, input):
        p, W_shape = self.p, (self.fh, self.fw, input.shape[3], self.n_f)
        self.A_prev = np.pad(_floats(self, input, 4), ((0, 0), (p, p), (p, p), (0, 0)))
        self.make_weights(self.A_prev.dtype, W_shape, (1, 1, 1, self.n_f))
        self.A = self.g(np.einsum("mijckl,klcf->mijf", windows(self), self.W) + self.b)
        return self.A

    def weight_gradients(self, dZ):
        self.dW = np.einsum("mijckl,mijf->klcf", windows(self), dZ)
        self.db = np.einsum("mijf->f", dZ).reshape(self.b.shape)

class ConvLayer_ReLU(ReLU, ConvLayer):
    pass
"""
OWN = """
class Tanh(Layer):
    def g(self, Z):
        return np.tanh(Z)

    def times_g_prime(self, dA):
        return dA * (1 - self.A**2)

class Scale(Layer):
    weights = ("W",)

    def __init__(self, power):
        self.power = power

    def forward_propagate(self, input):
        self.A_prev = _floats(self, input, 2)
        if self.W is None:
            self.W = np.full(input.shape[1], 0.5, input.dtype)
        self.A = self.A_prev * self.W**self.power
        return self.A

    def weight_gradients(self, dZ):
        self.dW = (dZ * self.A_prev * self.power * self.W ** (self.power - 1)).sum(axis=0)

    def input_gradient(self, dZ):
        return dZ * self.W**self.power
"""


def with_changes(*changes):
    """The source of cnn_naive.py; each change is a method, a text in it, and what replaces it."""
    source, methods = NAIVE, dict(mistakes.METHODS)
    for name, old, new in changes:
        methods[name] = methods[name].replace(old, new)
    for name, code in mistakes.METHODS.items():
        source = source.replace(code, methods[name])
    return source


def module(source):
    cnn = mistakes.module(source)
    cnn.__file__ = "cnn_naive.py"  # what it is compiled as
    return cnn


class Folder(unittest.TestCase):
    """A copy of what the programs need; check is the command line, with a file of the reader's."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        shutil.copytree(EXERCISES, self.folder / "exercises", ignore=lambda *_: ["__pycache__"])
        for name in ("cnn_naive.py", "mnist.py", "requirements.txt", "LICENSE"):
            shutil.copy(ROOT / name, self.folder / name)

    def run_program(self, name, *arguments):
        command = [sys.executable, self.folder / "exercises" / name, *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def check(self, source, *arguments):
        """Return the exit status, [(task, "right", "open" or "wrong")], and all that is said."""
        (self.folder / "cnn_mine.py").write_text(source, "utf-8", "surrogateescape")
        done = self.run_program("check.py", *arguments)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        said = re.findall(r"(?m)^task (\d+), .*: (right|open|wrong)$", done.stdout)
        return done.returncode, [(int(task), word) for task, word in said], done.stdout


class SkeletonTest(Folder):
    def test_each_task_is_open_and_no_line_of_a_solution_is_left(self):
        skeleton = start.skeleton(NAIVE)
        before, after = start.methods(NAIVE), start.methods(skeleton)
        self.assertEqual({task for task, _ in start.METHODS.values()}, set(range(1, 10)))
        for name, (task, hint) in start.METHODS.items():
            with self.subTest(name):
                code = ast.get_source_segment(skeleton, after[name])
                last = f'        # {hint}\n        raise NotImplementedError("task {task}: {name}")'
                self.assertTrue(code.endswith(last))
                docstring = ast.get_docstring(after[name])
                self.assertEqual(docstring, ast.get_docstring(before[name]))
                kept = [ast.unparse(each) for each in after[name].body[bool(docstring) : -1]]
                self.assertNotRegex("\n".join(kept), r"np\.|@|[+-]=|\.sum|\.T\b|oh|range")
                skeleton = skeleton.replace(code, mistakes.METHODS[name])
                after = start.methods(skeleton)
        self.assertEqual(ast.dump(ast.parse(skeleton)), ast.dump(ast.parse(NAIVE)))  # the rest

    def test_start_writes_it_and_never_overwrites(self):
        done = self.run_program("start.py")
        mine = self.folder / "cnn_mine.py"
        self.assertEqual((done.returncode, mine.read_text("utf-8")), (0, start.skeleton(NAIVE)))
        mine.write_text("my work")
        done = self.run_program("start.py")
        self.assertEqual((done.returncode, mine.read_text()), (1, "my work"))
        self.assertIn("stays as it is", done.stderr)
        self.assertIn("/cnn_mine.py\n", (ROOT / ".gitignore").read_text("utf-8"))


class RightTest(Folder):
    def test_loops_einsum_and_stride_groups_are_right(self):
        for task, source in itertools.product(range(1, 10), (NAIVE, NAIVE + EINSUM)):
            with self.subTest(task=task, einsum=source != NAIVE):
                self.assertEqual(check.compare(task, module(source), seed=1), (check.RIGHT, []))
        groups = (ROOT / "cnn_sg.py").read_text("utf-8") + OWN
        status, said, text = self.check(groups)
        self.assertEqual((status, said), (0, [(task, "right") for task in range(1, 12)]))
        times = re.search(r"about ([\d,]+) times as fast", text)[1]
        self.assertGreaterEqual(int(times.replace(",", "")), check.FASTER)

    def test_other_right_ways_are_right(self):
        log_g = "FCLayer_Softmax.log_g", mistakes.METHODS["FCLayer_Softmax.log_g"].split("\n", 1)[1]
        step = "Layer.step", "setattr(self, name, np.asarray(W - learning_rate * dW, W.dtype))"
        exp = "np.log(np.exp(Z - c).sum(axis=1, keepdims=True))"
        for tasks, change in (
            ((2, 4), (*log_g, "        return Z - np.logaddexp.reduce(Z, axis=-1)[:, None]")),
            ((2, 4), (*log_g, f"        c = Z.max(axis=1, keepdims=True); return Z - (c + {exp})")),
            ((4,), (*step, "W -= learning_rate * dW")),
            ((3, 9), (RELU, "dA * (self.A > 0)", "np.where(self.A > 0, dA, 0)")),
        ):  # fmt: skip
            for task in tasks:
                with self.subTest(task=task, change=change):
                    found = check.compare(task, module(with_changes(change)))
                    self.assertEqual(found, (check.RIGHT, []))

    def test_a_skeleton_is_open_and_the_checker_stops_at_the_first_task_unless_told(self):
        status, said, text = self.check(start.skeleton(NAIVE))
        self.assertEqual((status, said), (1, [(1, "open")]))
        self.assertIn("Still to be written: task 1: ReLU.g", text)
        status, said, _ = self.check(start.skeleton(NAIVE), "--all")
        self.assertEqual((status, said), (1, [(task, "open") for task in range(1, 12)]))

    def test_only_what_is_asked_counts(self):
        wrong = with_changes((RELU, "self.A > 0", "self.A < 0"))
        self.assertEqual(self.check(wrong, 2, 3, 1)[:2], (1, [(2, "right"), (3, "wrong")]))
        self.assertEqual(self.check(wrong, 2, 1)[:2], (0, [(2, "right"), (1, "right")]))
        self.assertEqual(self.check(wrong, 3, 1, "--all")[:2], (1, [(3, "wrong"), (1, "right")]))

    def test_a_task_that_needs_another_says_so(self):
        wrong = with_changes((FC, " + self.b", ""))
        self.assertIn("Task 1, which it needs, is not right", self.check(wrong, 3)[2])
        wrong = with_changes(("ConvLayer.weight_gradients", "+=", "="))
        self.assertIn("First comes task 8", self.check(wrong, 10)[2])
        self.assertIn("as slow as loops", self.check(NAIVE, 10)[2])


class MistakeTest(unittest.TestCase):
    def test_each_task_has_mistakes_that_change_a_line_and_say_where_to_look(self):
        tasks = [start.METHODS[name][0] for name, _, _ in mistakes.rows()]
        self.assertGreater(min(tasks.count(task) for task in range(1, 10)), 5)
        self.assertGreaterEqual(len(tasks), 150)  # as the course says
        for name, message, changes in mistakes.rows():
            with self.subTest(name, message=message):
                self.assertTrue(all(old in mistakes.METHODS[name] for old, _ in changes))
                self.assertRegex(message, r"^.{10,}\. .*[.?]$")

    def test_the_first_inputs_are_small_whole_numbers_and_the_last_are_float32(self):
        for task, seed in itertools.product(range(1, 10), (0, 1)):
            for k, case in enumerate(check.cases(task, seed)):
                shown = [getattr(case, name) for name in check.SHOW[task].split()]
                whole = all((array == np.round(array)).all() for array in shown)
                self.assertEqual(whole, k < 3)
                self.assertLessEqual(k < 3, max(array.size for array in shown) <= 36)
                dtype = np.float32 if k == 6 else np.float64
                self.assertTrue(all(array.dtype == dtype for array in shown))

    def test_each_is_refused_and_named_alone_with_other_inputs_than_the_checkers(self):
        for task in range(1, 10):
            tried, (right, known) = check.cases(task, seed=5), check.answers(task, seed=5)
            known = list(known)
            self.assertEqual(len(dict(known)), len(known))
            for message, cnn in mistakes.wrong(task):
                with self.subTest(task=task, message=message):
                    cnn.__file__ = "cnn_naive.py"
                    outcomes = [check.outcome(task, cnn, case) for case in tried]
                    status, lines = check.judge(task, cnn, outcomes, right, known, tried)
                    self.assertEqual(status, check.WRONG)
                    named = [line for line in lines if line.startswith("This is what")]
                    self.assertEqual(named, [f"This is what you get if {message}"])

    def test_it_is_named_although_the_dtype_is_wrong_as_well(self):
        stride = (CONV, "s * i : s * i", "i : i"), (CONV, "s * j : s * j", "j : j")
        cnn = module(with_changes(*stride, (CONV, "n_f), A_prev.dtype", "n_f)")))
        self.assertIn("if the stride is left out. ", check.compare(5, cnn)[1][0])

    def test_an_error_of_python_is_not_taken_for_a_mistake(self):
        for task, change in (
            (1, (FC, "self.A = self.g", "self.A = g")),
            (5, (CONV, "np.sum(window", "np.sum(windows")),
            (9, (DX, "dA_prev = ", "dA = ")),
        ):
            status, lines = check.compare(task, module(with_changes(change)))
            self.assertEqual(status, check.WRONG)
            said = "\n".join(lines)
            self.assertRegex(said, r"^With .* is not right\.\ncnn_naive.*\n.*\nNameError")

    def test_what_only_a_network_or_a_second_call_shows_is_refused(self):
        loss = "FCLayer_Softmax.loss"
        for task, *changes in (
            (4, ("Layer.step", mistakes.METHODS["Layer.step"].split("\n", 2)[2],
                 "        self.W -= learning_rate * (self.dW + weight_decay * self.W)"
                 + "; self.b -= learning_rate * self.db")),
            (2, (loss, "(self.A - Y) / len(Y)", "np.subtract(self.A, Y, out=self.A) / len(Y)")),
            (3, (RELU, "return", "self.A[self.A > 0] = 1; return")),
            (3, (FC, "self.A_prev, self.Z = A_prev,",
                 "self.A_prev, self.Z = getattr(self, 'A_prev', A_prev),")),
            (9, (RELU, "self.A", "self.Z")),
        ):  # fmt: skip
            with self.subTest(task=task, changes=changes):
                status, _ = check.compare(task, module(with_changes(*changes)))
                self.assertEqual(status, check.WRONG)

    def test_two_at_once_are_refused(self):
        for task in range(1, 10):
            rows = [row for row in mistakes.rows() if start.METHODS[row[0]][0] == task]
            tried, (right, _) = check.cases(task), check.answers(task)
            for first, second in zip(rows, rows[1:] + rows[:1]):
                changes = [(row[0], *change) for row in (first, second) for change in row[2]]
                cnn = module(with_changes(*changes))
                outcomes = [check.outcome(task, cnn, case) for case in tried]
                with self.subTest(task=task, first=first[1], second=second[1]):
                    status, _ = check.judge(task, cnn, outcomes, right, [], tried)
                    self.assertEqual(status, check.WRONG)


class MessageTest(Folder):
    def test_a_small_case_is_printed_whole_with_the_first_difference_marked(self):
        status, _, text = self.check(with_changes(("ReLU.g", "(Z, 0)", "(Z, -1)")), 1)
        self.assertEqual(status, 1)
        self.assertNotIn("This is what you get", text)
        shape, *arrays, where = re.search(
            r"expected (.*):\n([^:]*)\n +got:\n([^:]*)\n +First difference at (.*):", text
        ).groups()
        rows = [[re.sub("[<>]", " ", row).split() for row in part.split("\n")] for part in arrays]
        expected, got = np.array(rows, float)
        first = tuple(np.argwhere(expected != got)[0].tolist())
        self.assertEqual((str(expected.shape), str(list(first))), (shape, where))
        self.assertTrue((expected == np.maximum(got, 0)).all())
        self.assertEqual(re.findall(r">(.*)<", arrays[1]), [f"{got[first]:.6g}"])
        self.assertRegex(text, r"not right\.\n    Z \(3, 4\):\n")  # the input, and nothing else

    def test_what_strikes_the_eye_is_said_of_unknown_mistakes(self):
        for expected, task, change in (
            ("is 3 times what it should be", 9, (DX, "+= dZ", "+= 3 * dZ")),
            ("inf or nan", 9, (DX, "+= dZ[m, i, j, f]", "+= (dZ[m, i, j, f] if i else np.inf)")),
            ("inf or nan", 2, ("FCLayer_Softmax.g", "np.exp(", "np.nan * np.exp(")),
            ("is None. Is it", 1, (FC, "return self.A", "pass")),
            ("got an array of shape (1, 3, 3, 1, 1)", 9,
             (DX, "dA_prev[:, p :", "dA_prev[..., None][:, p :")),
            ("right for the first sample", 5, (CONV, "f]) +", "f]) * (m < 1) +")),
            ("expected float32, as the", 9, (DX, "_like(self.A_prev)", "(self.A_prev.shape)")),
            ("dA is written into", 3, (RELU, "return", "dA *= 2; return 0.5 *")),
            ("got an array of shape (2, 1)", 2,
             ("FCLayer_Softmax.loss", "np.sum(Y * self.log_g(self.Z))", "np.zeros((2, 1))")),
            ("got an empty array of shape (1, 0, 0, 1)", 9,
             (DX, "1] - p, p : dA_prev.shape[2] - p", "1] - p - 9, p : dA_prev.shape[2] - p - 9")),
            ("Each wrong number is 0.", 9, (DX, "+= dZ", "+= 0 * dZ")),
            ("no `return`", 6, ("PoolLayer_Max.pool", "return", "_ =")),
            ("values to unpack", 2,
             ("FCLayer_Softmax.loss", ", (self.A - Y) / len(Y)", "")),
            ("It is nearly right", 9, (DX, "+= dZ", "+= 1.000001 * dZ")),
            ("Is something not kept", 8, (CONV, "self.A_prev, self.A =", "_, self.A =")),
        ):
            with self.subTest(expected):
                status, lines = check.compare(task, module(with_changes(change)))
                self.assertEqual(status, check.WRONG)
                self.assertIn(expected, "\n".join(lines))

    def test_whatever_the_file_does_the_answer_is_short_and_shows_its_line(self):
        program = self.folder / "exercises" / "check.py"
        program.write_text(program.read_text("utf-8").replace("SECONDS = 10", "SECONDS = 3"))
        for expected, source in (
            (r"cnn_mine.py, line \d+, in g\n.*Not done after 3 seconds",
             with_changes(("ReLU.g", "return", "while True: pass\n        return"))),
            (r"line \d+, in g:\n +return np.maximum\(Y, 0\)\n +NameError: name 'Y'",
             with_changes(("ReLU.g", "Z, 0", "Y, 0"))),
            (r'cnn_mine.py", line 1\n +class Layer\(:\n +\^\n +SyntaxError', "class Layer(:"),
            (r"cnn_mine.py, line 2, in <module>:\n +1 / 0\n +ZeroDivisionError", "\n1 / 0"),
            (r"SystemExit: 0", "raise SystemExit(0)"),
            (r"Python itself stops", "import os\nos._exit(0)"),
            (r"Python itself stops", f"import os\nos._exit({check.RIGHT})"),
            (r"NameError", f"import atexit, os\natexit.register(os._exit, {check.RIGHT})\n"
             + with_changes(("ReLU.g", "Z, 0", "Y, 0"))),
            (r"UnicodeDecodeError|SyntaxError", "# caf\udce9"),
            (r"no attribute 'FCLayer_ReLU'", "import numpy"),
        ):  # fmt: skip
            with self.subTest(expected):
                status, said, text = self.check(source, 1)
                self.assertEqual((status, said), (1, [(1, "wrong")]))
                self.assertRegex(text, expected)
                self.assertLess(text.count("\n"), 7)
        (self.folder / "cnn_mine.py").unlink()
        for expected, *arguments in (
            ("cnn_mine.py is missing: `python3 exercises/start.py` writes",),
            ("nothing.py is missing", "--module", "nothing.py"),
            ("the tasks are 1 to 11", 12),
        ):
            done = self.run_program("check.py", *arguments)
            self.assertIn(expected, done.stderr)
            self.assertGreater(done.returncode, 0)
            self.assertLess(done.stderr.count("\n"), 3)

    def test_a_task_ends_even_if_the_file_has_put_off_the_limit(self):
        program = self.folder / "exercises" / "check.py"
        program.write_text(program.read_text("utf-8").replace("MINUTES = 2", "MINUTES = 0.05"))
        source = "import faulthandler\nfaulthandler.cancel_dump_traceback_later()\nwhile True: pass"
        status, said, text = self.check(source, 1)
        self.assertEqual((status, said), (1, [(1, "wrong")]))
        self.assertIn("Not done after 3 seconds: an endless loop?", text)

    def test_the_derivatives_of_ones_own_layers_are_compared_with_differences(self):
        for status, expected, old, new in (
            (check.RIGHT, "of Tanh, Scale are right", "", ""),
            (check.WRONG, "Tanh: dA_prev is not how", "self.A**2", "self.A"),
            (check.WRONG, "Scale: dW is not how", "* self.power * self.W", "* self.W"),
            (check.WRONG, "Scale: expected dW of shape (6,)", ".sum(axis=0)", ""),
            (check.WRONG, "the same input gives another", "np.tanh(Z)", "Z + np.random.rand()"),
            (check.WRONG, "it writes into its input", "self.A = ", "input *= 2; self.A = "),
            (check.WRONG, "NameError", "np.tanh", "tanh"),
            (check.WRONG, "dA_prev is float64 in a float32", "dA * (1", "dA * np.ones(1) * (1"),
            (check.WRONG, "Scale: dW is not how", "self.dW = ",
             "self.dW = (0 if self.dW is None else self.dW) + "),
            (check.WRONG, "with shapes (3,6) (5,)", "np.full(input.shape[1]", "np.full(5"),
            (check.OPEN, "Still to be written", OWN, ""),
        ):
            with self.subTest(expected):
                found, lines = check.own_layers(module(NAIVE + OWN.replace(old, new)))
                self.assertEqual(found, status)
                self.assertIn(expected, "\n".join(lines))


class HandOutTest(Folder):
    def setUp(self):
        super().setUp()
        shutil.copy(ROOT / "cnn_sg.py", self.folder / "cnn_sg.py")
        for name in ("extras", "images"):
            shutil.copytree(ROOT / name, self.folder / name)

    def test_the_folder_has_no_solution_and_its_checker_says_the_same(self):
        done = self.run_program("hand_out.py", self.folder / "course")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        here, course = self.folder, self.folder / "course"
        names = "asked.py check.py cnn_mine.py mnist.py stride_groups.py"
        outside = [path for path in course.rglob("*.py") if path.parent.name != "extras"]
        self.assertEqual(" ".join(sorted(path.name for path in outside)), names)
        self.assertTrue((course / "extras" / "drawn.py").exists())
        self.assertEqual(list(course.rglob("*.npz")), [course / "exercises" / "answers.npz"])
        self.assertIn("!exercises/answers.npz", (course / ".gitignore").read_text())
        text = (course / "exercises" / "README.md").read_text("utf-8")
        self.assertNotRegex(text, r"cnn_naive|start\.py|FAQ|[Tt]eachers|<!--")
        links = re.findall(r"\]\(([^)#]*)\)", text)
        self.assertEqual(len(links), 3)
        for link in links:
            self.assertTrue((course / "exercises" / link).exists(), link)
        self.assertEqual((course / "cnn_mine.py").read_text("utf-8"), start.skeleton(NAIVE))
        (course / "exercises" / "answers.npz").rename(course / "kept")
        self.folder = course
        self.assertIn("\n  exercises/answers.npz is missing", self.check(NAIVE, 1)[2])
        self.folder = here
        (course / "kept").rename(course / "exercises" / "answers.npz")
        for task, change in (
            (2, ("FCLayer_Softmax.log_g", " - Z.max(axis=1, keepdims=True)", "")),
            (4, ("Network.gradients", "self.layers[learning[0]].weight_gradients(dZ)", "pass")),
            (9, (DX, "p : dA_prev.shape[1] - p, p : dA_prev.shape[2] - p", "p:-p, p:-p")),
        ):
            self.folder = course
            there = self.check(with_changes(change), task)
            self.folder = here
            self.assertIn("This is what you get if", there[2])
            self.assertEqual(there, self.check(with_changes(change), task))
        self.folder = course
        self.assertEqual(self.check(NAIVE, 1, 7)[:2], (0, [(1, "right"), (7, "right")]))
        self.folder = here
        again = self.run_program("hand_out.py", course)
        self.assertEqual(again.returncode, 1)
        self.assertIn("stays as it is", again.stderr)


class CourseTest(unittest.TestCase):
    def test_links_to_lines_end_in_lessons_where_the_solution_begins(self):
        for text, whole in zip(COURSE.split("# For teachers"), (False, True)):
            links = re.findall(r"\[`([\w.]+)`\]\(\.\./(cnn_\w+\.py)#L(\d+)-L(\d+)\)", text)
            self.assertGreater(len(links), 5)
            for name, file, *lines in links:
                found = ast.parse((ROOT / file).read_text("utf-8"))
                for part in name.split("."):
                    (found,) = [node for node in found.body if getattr(node, "name", "") == part]
                end = found if whole else found.body[0]
                with self.subTest(name):
                    self.assertEqual(lines, [str(found.lineno), str(end.end_lineno)])

    def test_each_lesson_has_its_five_steps_and_the_checker_says_what_is_shown(self):
        lessons = re.split(r"(?m)^## (?=\d)", COURSE.split("# For teachers")[0])[1:]
        self.assertEqual([int(lesson.split()[0]) for lesson in lessons], list(check.TASKS))
        for task, lesson in enumerate(lessons, 1):
            for step in ("Read", "Predict.", "Write", "Check", "Look."):
                self.assertIn(f"**{step}", lesson)
            self.assertRegex(lesson, rf"`python3 exercises/check\.py( \d+)* {task}`")
        stride = (CONV, "s * i : s * i", "i : i"), (CONV, "s * j : s * j", "j : j")
        _, lines = check.compare(5, module(with_changes(*stride)))
        shown = re.search(r"(?s)```text\n.*?\n(.*?)\n```", COURSE)[1]
        self.assertEqual([f"  {line}" for line in lines], shown.split("\n"))

    def test_the_means_that_the_faq_gives_for_the_assignment_with_a_mistake(self):
        newer = {"right": 0.5511, "the stride is left out.": 0.5329, "the bias is left out": 0.3327}
        newer |= {"the stride is left out vertically": 0.8314, "the bias is inside": 8.1978}
        newer |= {"the stride is left out horizontally": 0.3, "the window is always": 0.0719}
        older = {"right": 0.049, "rows and columns are swapped": 0.049}  # it does not see them
        known = {"right": mistakes.module(), **dict(mistakes.wrong(5))}
        for shape, W_shape, p, expected in (
            ((2, 5, 7, 4), (3, 3, 4, 8), 1, newer),
            ((10, 4, 4, 3), (2, 2, 3, 8), 2, older),
        ):
            rng = np.random.RandomState(1)
            A_prev, W, b = rng.randn(*shape), rng.randn(*W_shape), rng.randn(1, 1, 1, 8)
            for name, mean in expected.items():
                (cnn,) = [cnn for message, cnn in known.items() if message.startswith(name)]
                conv = cnn.ConvLayer(8, W_shape[:2], stride=2, padding=p)
                conv.W, conv.b = W, b
                self.assertAlmostEqual(conv.forward_propagate(A_prev).mean(), mean, 4, name)
