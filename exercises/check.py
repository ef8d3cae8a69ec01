"""Check the layers in cnn_mine.py, task by task: right, open or wrong, and what is wrong.

It stops at the first task that is not right. The exit status is 0 if all that was asked is right.
"""

import argparse
import contextlib
import copy
import faulthandler
import importlib.util
import inspect
import os
import re
import secrets
import subprocess
import sys
import time
import tokenize
import traceback
from pathlib import Path

import numpy as np
from asked import ASKS, SHOW, cases

HERE = Path(__file__).resolve().parent
TASKS = {
    1: "a fully connected layer and ReLU, forward",
    2: "softmax and its loss",
    3: "the three formulas of a fully connected layer",
    4: "a step of gradient descent, and backpropagation",
    5: "a convolution, forward",
    6: "pooling, forward",
    7: "pooling, backward",
    8: "the gradient of a convolution by its weights",
    9: "the gradient of a convolution by its input",
    10: "the convolution, fast",
    11: "a layer of your own",
}
NEEDS = {2: [1], 3: [1], 4: [1, 2, 3], 7: [6], 8: [5], 9: [3, 5], 10: [5, 8, 9]}
RIGHT, OPEN, WRONG = 20, 21, 22  # how the process of a task ends, unless Python itself fails
SECONDS = 10  # that the reader's code may take for a case
MINUTES = 2  # that a task may take with all that is compared, on a busy machine
GIVEN = ("Layer", "ReLU", "ConvLayer", "ConvLayer_ReLU", "PoolLayer", "PoolLayer_Max", "FlatLayer")
GIVEN += ("PoolLayer_Avg", "FCLayer", "FCLayer_ReLU", "FCLayer_Sigmoid", "FCLayer_Softmax")
FASTER = 100  # times as fast as the loops, at least, in task 10


# --- What the reader's code gives, and what is right
class Fault(Exception):
    """What is wrong although Python sees no error."""


@contextlib.contextmanager
def time_limit():  # for the reader's code only: this program's own work has none
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def outcome(task, cnn, case):
    """Return ({name: array}, exception): what the reader's code computes, and what ended it."""
    case, before, values = copy.deepcopy(case), case, {}
    try:
        with np.errstate(all="ignore"), time_limit():
            for name, value in ASKS[task - 1](cnn, case):
                if value is None:
                    raise Fault(f"{name} is None. Is it returned, or kept as self.dW, say?")
                values[name] = np.array(value)
                for argument, array in vars(before).items():
                    if isinstance(array, np.ndarray) and (array != getattr(case, argument)).any():
                        raise Fault(f"{name}: {argument} is written into. Make a new array.")
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever the reader's code raises
        values["ended by"] = np.array(type(failure).__name__)
        return values, failure
    return values, None


def answers(task, seed=0):
    """Return the right results, and (message, results) of each known mistake."""
    if (HERE / "mistakes.csv").exists():
        import mistakes

        def results(cnn):
            return [outcome(task, cnn, case)[0] for case in cases(task, seed)]

        known = ((text, results(cnn)) for text, cnn in mistakes.wrong(task))
        return results(mistakes.module()), known
    if not (HERE / "answers.npz").exists():
        raise Fault("exercises/answers.npz is missing: take the folder whole, as it was handed out")
    file, keys = np.load(HERE / "answers.npz"), {}  # in a folder that hand_out.py made
    for key in file.files:
        of_task, text, k, name = key.split("|")
        if of_task == str(task):
            keys.setdefault(text, [{} for _ in cases(task)])[int(k)][name] = key

    def stored(text):
        return [{name: file[key] for name, key in of_case.items()} for of_case in keys[text]]

    right = stored("right")

    def completed(text):  # what is not stored is right, if no exception has come before it
        return [values if "ended by" in values else {**of_right, **values}
                for values, of_right in zip(stored(text), right)]  # fmt: skip

    return right, ((text, completed(text)) for text in keys if text != "right")


# --- What is said
def same(expected, got, case):
    """Whether the numbers are the same, as far as the dtype of the case allows."""
    tolerance = 1e-4 if case.dZ.dtype == np.float32 else 1e-8
    return expected.shape == got.shape and np.allclose(
        got, expected, rtol=tolerance, atol=tolerance, equal_nan=True
    )


def compare(task, cnn, seed=0):
    """Return RIGHT, OPEN or WRONG, and the lines that say what is wrong."""
    outcomes = [outcome(task, cnn, case) for case in cases(task, seed)]
    return judge(task, cnn, outcomes, *answers(task, seed), cases(task, seed))


def judge(task, cnn, outcomes, right, known, tried):
    names = list(right[0])
    for n, name in enumerate(names):
        for case, expected, (values, failure) in zip(tried, right, outcomes):
            numbers = name in values and same(expected[name], values[name], case)
            dtype = values[name].dtype if numbers and values[name].ndim else expected[name].dtype
            if numbers and dtype == expected[name].dtype:
                continue
            if isinstance(failure, NotImplementedError) and name not in values:
                return OPEN, [f"Still to be written: {failure}"]
            named = [f"This is what you get if {text}" for text, wrong in known
                     if agree(names[: n + 1], outcomes, wrong, tried, numbers)]  # fmt: skip
            if isinstance(failure, Fault) and name not in values:
                return WRONG, [*named, f"With {case.text}: {failure}"]
            named.append(f"With {case.text}, {name} is not right.")
            if name not in values:
                return WRONG, [*named, *about(failure, cnn)]
            if numbers:
                text = f"Its numbers are right, but {dtype}; expected {expected[name].dtype}, as"
                return WRONG, [*named, f"{text} the input is."]
            inputs = {each: getattr(case, each) for each in SHOW.get(name, SHOW[task]).split()}
            if "network" in name or "second call" in name:
                inputs = {}
            return WRONG, [*named, *difference(expected[name], values[name], inputs)]
    failures = [failure for _, failure in outcomes if failure]
    return (WRONG, about(failures[0], cnn)) if failures else (RIGHT, [])


def agree(names, outcomes, wrong, tried, dtypes):
    """Whether these results of the reader's code are, in every case, those of a mistake."""
    for (values, _), expected, case in zip(outcomes, wrong, tried):
        for name in names:
            if name not in values or name not in expected:
                if values.get("ended by") != expected.get("ended by"):
                    return False
                continue
            dtype_differs = dtypes and expected[name].dtype != values[name].dtype
            if dtype_differs or not same(expected[name], values[name], case):
                return False
    # An error in every case says too little.
    return any(names[-1] in values or isinstance(failure, Fault) for values, failure in outcomes)


def difference(expected, got, inputs):
    """Yield lines that say how a result differs, with all its numbers if they are few."""
    if got.shape != expected.shape:
        what = [
            f"an {'' if array.size else 'empty '}array of shape {array.shape}"
            if array.ndim else "a single number" for array in (expected, got)
        ]  # fmt: skip
        yield f"Expected {what[0]}, got {what[1]}."
        return
    differs, digits = ~np.isclose(got, expected, rtol=1e-4, atol=1e-4, equal_nan=True), 6
    if not differs.any():
        yield "It is nearly right. Is a small number added, or something rounded?"
        differs, digits = ~np.isclose(got, expected, rtol=1e-8, atol=1e-8, equal_nan=True), 12
    with np.errstate(all="ignore"):
        factor = got[differs] / expected[differs]
        constant = len(factor) > 1 and np.ptp(factor) < 1e-3
    if not np.isfinite(got).all():
        yield "There is inf or nan in it: an overflow, log(0), a division by 0, no `return`?"
    elif constant:
        times = f"{factor[0]:.4g} times what it should be" if factor[0] else "0"
        yield f"Each wrong number is {times}."
        if not factor[0]:
            yield "Is a new array, or a copy, changed in its place?"
    elif expected.ndim > 1 and not differs[0].any():
        yield "It is right for the first sample."
    first = tuple(np.argwhere(differs)[0].tolist())
    if max(array.size for array in [got, *inputs.values()]) <= 36:
        for name, array in {**inputs, "expected": expected}.items():
            yield from [f"  {name} {array.shape}:", *rows(array)]
        yield from ["  got:", *rows(got, first)]
    elif inputs:
        yield "  " + ", ".join(f"{name} is {array.shape}" for name, array in inputs.items())
    numbers = [f"{array[first] + 0:.{digits}g}" for array in (expected, got)]
    index = f" at {list(first)}" if first else ""
    yield f"  First difference{index}: expected {numbers[0]}, got {numbers[1]}."


def rows(array, marked=None):
    texts = np.array([f"{number + 0:.6g} " for number in array.flat], object).reshape(array.shape)
    if marked is not None:
        texts[marked] = f">{texts[marked][:-1]}<"
    longest = max(map(len, texts.flat))
    sides = [n for n in array.shape if n > 1 or array.ndim < 4]  # one channel: rows and columns
    for row in texts.reshape(-1, sides[-1] if sides else 1):
        yield "    " + " ".join(text.rjust(longest) for text in row).rstrip()


def about(failure, cnn):
    """Return lines that show the last line of the reader's own at which an exception passed."""
    if isinstance(failure, Fault):
        return [str(failure)]
    lines = "".join(traceback.format_exception_only(failure)).splitlines()
    for frame in traceback.extract_tb(failure.__traceback__):
        given = frame.name in ("check", "make_weights", "_floats")
        if frame.filename == cnn.__file__ and not given:
            where = f"{Path(cnn.__file__).name}, line {frame.lineno}, in {frame.name}:"
            lines[:-1] = [where, f"    {frame.line}"]
    if "NoneType" in lines[-1] or "no attribute" in lines[-1]:
        lines.append("Is something not kept (as self.A_prev), or not made (by make_weights)?")
    return lines


# --- Tasks 10 and 11
def speed(cnn):
    for task in NEEDS[10]:
        if compare(task, cnn)[0] != RIGHT:
            return OPEN, [f"First comes task {task}: only what is right is timed."]
    for n_m, side in ((1, 12), (32, 28)):  # loops are not tried with the second
        X, W = np.ones((n_m, side, side, 1), np.float32), np.ones((3, 3, 1, 32), np.float32)
        products, passes = [], []
        for _ in range(5):
            start = time.perf_counter()
            for i, j in np.ndindex(10, 20):
                W[0, 0, 0, j] = np.sum(X[0, i : i + 3, i : i + 3] * W[..., j])
            products.append((time.perf_counter() - start) / 200)
            with time_limit():
                conv, start = cnn.ConvLayer(32, 3), time.perf_counter()
                dZ = conv.forward_propagate(X)
                conv.weight_gradients(dZ)
                conv.input_gradient(dZ)
                passes.append(time.perf_counter() - start)
        times = 3 * dZ.size * min(products) / min(passes)  # three for each number of the output
        if times < 10:
            break
    if times < 3:
        return OPEN, ["It is as slow as loops over single numbers."]
    text = f"It is about {times:,.0f} times as fast as loops over single numbers, forth and back"
    return (RIGHT, [f"{text}."]) if times >= FASTER else (WRONG, [f"{text}; not yet {FASTER}."])


def own_layers(cnn):
    own = [each for each in vars(cnn).values() if inspect.isclass(each)
           and issubclass(each, cnn.Layer) and each.__name__ not in GIVEN]  # fmt: skip
    if not own:
        return OPEN, ["Still to be written: a class of your own that derives from Layer."]
    for each in own:
        if not hasattr(each, "forward_propagate"):  # an activation
            each = type(each.__name__, (each, cnn.FCLayer), {})
        parameters = inspect.signature(each).parameters.values()
        sizes = [2 for parameter in parameters if parameter.default is parameter.empty]
        try:
            with time_limit():
                fault = wrong_derivative(each, sizes)
        except Exception as failure:  # noqa: BLE001 - whatever the reader's code raises
            return WRONG, [f"{each.__name__}:", *about(failure, cnn)]
        if fault:
            return WRONG, [f"{each.__name__}: {fault}"]
    return RIGHT, [f"The derivatives of {', '.join(each.__name__ for each in own)} are right."]


def wrong_derivative(layer_class, sizes):
    """Say which derivative of L = sum(A dA) is not what L does when one number changes."""
    X, dA = np.random.RandomState(0).normal(size=(2, 4, 5, 2)), np.random.RandomState(1)
    try:
        layer_class(*sizes).forward_propagate(X)
    except ValueError as failure:  # it wants rows?
        X = X.reshape(8, 10)[:3, :6].copy()
        try:
            layer_class(*sizes).forward_propagate(X)
        except ValueError as failure_with_rows:
            wants_four_axes = "mini-batch of" in str(failure_with_rows)
            raise failure if wants_four_axes else failure_with_rows from None
    single = layer_class(*sizes)
    arrays = {"its output": single.forward_propagate(X.astype(np.float32))}
    arrays["dA_prev"] = single.gradients(np.ones_like(arrays["its output"]))
    arrays |= {f"d{W}": getattr(single, f"d{W}") for W in single.weights}
    for name, array in arrays.items():
        if np.asarray(array).dtype != np.float32:
            return f"{name} is {np.asarray(array).dtype} in a float32 network."
    layer = layer_class(*sizes)
    before, A = X.copy(), np.array(layer.forward_propagate(X))
    dA = dA.normal(size=A.shape)
    for _ in range(2):  # nothing of the first time may be left
        pairs = {"dA_prev": (X, layer.gradients(dA))}
        pairs |= {f"d{W}": (getattr(layer, W), getattr(layer, f"d{W}")) for W in layer.weights}
    if not np.array_equal(X, before) or not np.array_equal(layer.forward_propagate(X), A):
        return "it writes into its input, or the same input gives another output."
    for name, (array, derivative) in pairs.items():
        if np.shape(derivative) != array.shape:
            return f"expected {name} of shape {array.shape}, got {np.shape(derivative)}."
        for index in np.ndindex(array.shape):
            number, L = array[index], []
            for changed in (number + 1e-6, number - 1e-6):
                array[index] = changed
                L.append(np.sum(layer.forward_propagate(X) * dA))
            array[index] = number
            expected = (L[0] - L[1]) / 2e-6
            if not np.isclose(derivative[index], expected, rtol=1e-4, atol=1e-5):
                where = f"{name} is not how the output changes: at {list(index)}"
                return f"{where}, expected {expected:.6g}, got {derivative[index]:.6g}."


# --- A task runs in a process of its own, so that an endless loop or a crash ends no more than it
def check_here(task, path):
    token = sys.stdin.readline()  # only who comes to the end of this function tells it
    sys.stdout.reconfigure(errors="replace")  # the reader's lines may be in any language
    sys.path.append(str(path.parent))  # what the file imports may lie beside it
    spec = importlib.util.spec_from_file_location(path.stem, path)
    cnn = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        with time_limit():
            with tokenize.open(path) as file:
                file.read()  # is it UTF-8, or does it say what else it is?
            spec.loader.exec_module(cnn)
        check = {10: speed, 11: own_layers}.get(task)
        status, lines = check(cnn) if check else compare(task, cnn)
        for need in NEEDS.get(task, ()) if status == WRONG else ():
            if compare(need, cnn)[0] != RIGHT:
                lines.append(f"Task {need}, which it needs, is not right either: begin there.")
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - while the file is imported
        status, lines = WRONG, about(failure, cnn)
    say(task, status, lines)
    print(token, file=sys.stderr, flush=True)
    os._exit(status)  # whatever the file has registered for the end


def say(task, status, lines):
    word = {RIGHT: "right", OPEN: "open"}.get(status, "wrong")
    print(f"task {task}, {TASKS[task]}: {word}", *lines, sep="\n  ", flush=True)


def check_apart(task, path):
    command = [sys.executable, "-B", __file__, "--here", "--module", str(path), str(task)]
    token, limit = secrets.token_hex(), round(MINUTES * 60)
    pipes = {"input": token + "\n", "stderr": subprocess.PIPE, "timeout": limit}
    try:
        process = subprocess.run(command, check=False, text=True, errors="replace", **pipes)
    except subprocess.TimeoutExpired:
        say(task, WRONG, [f"Not done after {limit} seconds: an endless loop?"])
        return WRONG
    if process.returncode in (RIGHT, OPEN, WRONG) and token in process.stderr:
        print(process.stderr.replace(f"{token}\n\n", ""), end="", file=sys.stderr)
        return process.returncode
    frames = re.findall(r'File "(.*)", line (\d+) in (\S+)', process.stderr)
    mine = [f"{path.name}, line {n}, in {name}" for file, n, name in frames if file == str(path)]
    slow = "Timeout" in process.stderr
    what = f"Not done after {SECONDS} seconds: an endless loop?" if slow else "Python itself stops."
    say(task, WRONG, [*mine[:1], what])
    return WRONG


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, metavar="TASK", help="1 to 11")
    parser.add_argument("--all", action="store_true", help="go on after a task that is not right")
    parser.add_argument("--module", type=Path, default=HERE.parent / "cnn_mine.py", metavar="FILE")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not set(options.tasks) <= set(TASKS):
        sys.exit(f"the tasks are 1 to {len(TASKS)}")
    path = options.module.resolve()
    if not path.is_file():
        sys.exit(f"{path} is missing: `python3 exercises/start.py` writes cnn_mine.py")
    if options.here:
        check_here(options.tasks[0], path)
    right = True
    for task in options.tasks or TASKS:
        right &= check_apart(task, path) == RIGHT
        if not right and not options.all:
            break
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
