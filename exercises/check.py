"""Check the layers in cnn_mine.py, task by task: right, open or wrong, and what is wrong.

It stops at the first task that is not right. The exit status is 0 if all that was asked is right.
"""

import argparse
import copy
import faulthandler
import importlib.util
import inspect
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np

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
NEEDS = {2: [1], 3: [1], 4: [1, 2, 3], 7: [6], 8: [5], 9: [5], 10: [5, 8, 9]}
SHOW = {1: "A_prev W b", 2: "Z Y", 3: "A_prev dZ", 4: "W b dW db", 5: "A_prev W b", 6: "A_prev"}
SHOW |= {7: "A_prev dZ", 8: "A_prev dZ", 9: "W dZ", "g(Z) of ReLU": "Z"}  # the inputs of a task
SHOW |= {"dZ = times_g_prime(dA)": "A_prev W b dA", "dA_prev = input_gradient(dZ)": "W dZ"}
RIGHT, OPEN, WRONG = 20, 21, 22  # how the process of a task ends, unless Python itself fails
SECONDS = 10  # that a task may take
GIVEN = ("Layer", "ReLU", "ConvLayer", "ConvLayer_ReLU", "PoolLayer", "PoolLayer_Max", "FlatLayer")
GIVEN += ("PoolLayer_Avg", "FCLayer", "FCLayer_ReLU", "FCLayer_Sigmoid", "FCLayer_Softmax")
FASTER = 100  # times as fast as the loops, at least, in task 10


# --- What a task is tried with: three small cases, to check by hand, then random ones
def cases(task, seed=0):
    rng = np.random.RandomState(seed)  # the same numbers with every version of NumPy

    def integers(low, high, n):
        return np.floor(rng.uniform(low, high, n)).astype(int).tolist()

    def numbers(*shape):
        whole = np.floor(rng.uniform(-3, 3, shape))
        return whole + (whole >= 0) if k < 3 else rng.normal(size=shape)  # no 0: it hides too much

    found = []
    for k in range(7):
        if task <= 4:
            small = [(2, 2, 3), (3, 3, 3), (1, 3, 2)]
            n_m, n_in, n = small[k] if k < 3 else integers(2, 6, 3)
            case = SimpleNamespace(text=f"{n_m} samples, {n_in} inputs, {n} neurons", n=n)
            case.A_prev, case.W, case.b = numbers(n_m, n_in), numbers(n_in, n), numbers(n)
            case.dA, case.dZ, case.Z = numbers(n_m, n), numbers(n_m, n), numbers(n_m, n)
            case.dW, case.db, case.square = numbers(n_in, n), numbers(n), rng.normal(size=(n, n))
            case.Y, case.eye, case.zeros = np.eye(n)[integers(0, n, n_m)], np.eye(n), np.zeros(n)
            if k == 1:
                case.A_prev[0], case.b[0], case.dA[0] = 0, 0, 1  # so that a Z is exactly 0
            if k == 3:
                case.Z = 1000 * case.Z + 9000 * np.arange(n_m)[:, None]  # does exp(Z) overflow?
        else:
            n_m, n_c, n_f = (1, 1, 1) if k < 3 else integers(1, 4, 3) if k > 3 else (2, 2, 3)
            small = [(3, 3, 2, 2, 1, 0), (5, 5, 3, 3, 2, 0), (2, 3, 2, 2, 1, 1), (5, 7, 3, 2, 2, 1)]
            ih, iw, fh, fw, s, p = small[k] if k < 4 else [*integers(3, 8, 2), *integers(1, 4, 4)]
            if task in (6, 7):  # pooling
                n_f, p = n_c, 0
            oh, ow = (ih + 2 * p - fh) // s + 1, (iw + 2 * p - fw) // s + 1
            case = SimpleNamespace(text=f"windows of {fh} x {fw}, stride {s}, padding {p}")
            case.pool, case.conv = ((fh, fw), s), (n_f, (fh, fw), s, p)
            case.A_prev, case.W = numbers(n_m, ih, iw, n_c), numbers(fh, fw, n_c, n_f)
            case.b, case.dZ = numbers(1, 1, 1, n_f), numbers(n_m, oh, ow, n_f)
        if k == 6:
            for name, array in vars(case).items():
                if isinstance(array, np.ndarray):
                    setattr(case, name, array.astype(np.float32))
        found.append(case)
    return found


# --- What the reader's code is asked for: names and values
def layer_of(cnn, name, W, b, *arguments):
    layer = getattr(cnn, name)(*arguments)
    layer.W, layer.b = W.copy(), b.copy()
    return layer


def fully_connected(cnn, case):
    yield "g(Z) of ReLU", cnn.FCLayer_ReLU(case.n).g(case.Z)
    for name in ("FCLayer", "FCLayer_ReLU"):
        layer = layer_of(cnn, name, case.W, case.b, case.n)
        yield f"the output of {name}", layer.forward_propagate(case.A_prev)
        yield f"self.Z of {name}", layer.Z
        yield f"self.A of {name}", layer.A


def softmax(cnn, case):
    layer = layer_of(cnn, "FCLayer_Softmax", case.eye, case.zeros, case.n)  # so that Z is the input
    yield "A", layer.forward_propagate(case.Z)
    yield from zip(("the loss", "the error", "dZ"), layer.loss(case.Y))


def three_formulas(cnn, case):
    layer = layer_of(cnn, "FCLayer_ReLU", case.W, case.b, case.n)
    layer.forward_propagate(case.A_prev)
    yield "dZ = times_g_prime(dA)", layer.times_g_prime(case.dA)
    layer.weight_gradients(case.dZ)
    yield "dW", layer.dW
    yield "db", layer.db
    yield "dA_prev = input_gradient(dZ)", layer.input_gradient(case.dZ)


def step_and_backpropagation(cnn, case):
    for arguments in ([0.5], [0.5, 0.25]):
        layer = layer_of(cnn, "FCLayer", case.W, case.b, case.n)
        layer.dW, layer.db = case.dW, case.db
        layer.step(*arguments)
        yield f"W after step({', '.join(map(str, arguments))})", layer.W
        yield f"b after step({', '.join(map(str, arguments))})", layer.b
    weights = {"FCLayer_ReLU": case.W, "FCLayer_Sigmoid": case.square, "FCLayer_Softmax": case.eye}
    layers = [layer_of(cnn, name, W, case.b, case.n) for name, W in weights.items()]
    net = cnn.Network([cnn.FlatLayer(), *layers])
    yield "what Network.gradients returns, (loss, error),", net.gradients(case.A_prev, case.Y)
    for name, layer in reversed(list(zip(weights, layers))):
        yield f"dW of {name} in a network", layer.dW
        yield f"db of {name} in a network", layer.db
    yield "W of a network after gradients, which takes no step,", layers[0].W


def convolution(cnn, case):
    for name in ("ConvLayer", "ConvLayer_ReLU"):
        layer = layer_of(cnn, name, case.W, case.b, *case.conv)
        yield f"the output of {name}", layer.forward_propagate(case.A_prev)
        yield f"self.A of {name}", layer.A
    layer = cnn.ConvLayer(*case.conv)
    layer.forward_propagate(case.A_prev)
    yield "the shape of the W that the layer makes", np.shape(layer.W)


def pooling(cnn, case):
    for name in ("PoolLayer_Max", "PoolLayer_Avg"):
        layer = getattr(cnn, name)(*case.pool)
        yield f"the output of {name}", layer.forward_propagate(case.A_prev)
        yield f"self.A of {name}", layer.A


def pooling_backward(cnn, case):
    for name in ("PoolLayer_Max", "PoolLayer_Avg"):
        layer = getattr(cnn, name)(*case.pool)
        layer.forward_propagate(case.A_prev)
        yield f"dA_prev of {name}", layer.input_gradient(case.dZ)


def weights_gradient(cnn, case):
    layer = layer_of(cnn, "ConvLayer", case.W, case.b, *case.conv)
    layer.forward_propagate(case.A_prev)
    layer.weight_gradients(case.dZ)
    yield "db", layer.db
    yield "dW", layer.dW


def input_gradient(cnn, case):
    layer = layer_of(cnn, "ConvLayer", case.W, case.b, *case.conv)
    layer.forward_propagate(case.A_prev)
    yield "dA_prev", layer.input_gradient(case.dZ)


ASKS = [fully_connected, softmax, three_formulas, step_and_backpropagation, convolution, pooling]
ASKS += [pooling_backward, weights_gradient, input_gradient]


def outcome(task, cnn, case):
    """Return ({name: array}, exception): what the reader's code computes, and what ended it."""
    case, before, values = copy.deepcopy(case), case, {}
    try:
        with np.errstate(all="ignore"):
            for name, value in ASKS[task - 1](cnn, case):
                values[name] = np.array([] if value is None else value)
                for argument, array in vars(before).items():
                    if isinstance(array, np.ndarray) and (array != getattr(case, argument)).any():
                        raise ValueError(f"{name}: your code writes into its argument {argument}")
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever the reader's code raises
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
    found = {}
    with np.load(HERE / "answers.npz") as file:  # in a folder that hand_out.py made
        for key in file:
            of_task, text, k, name = key.split("|")
            if of_task == str(task):
                found.setdefault(text, [{} for _ in cases(task)])[int(k)][name] = file[key]
    return found.pop("right"), found.items()


# --- What is said
def same(expected, got):
    if expected.shape != got.shape:
        return False
    tolerance = 1e-4 if expected.dtype == np.float32 else 1e-8
    near = np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    return near and (expected.ndim == 0 or expected.dtype == got.dtype)


def compare(task, cnn, seed=0):
    """Return RIGHT, OPEN or WRONG, and the lines that say what is wrong."""
    outcomes = [outcome(task, cnn, case) for case in cases(task, seed)]
    return judge(task, cnn, outcomes, *answers(task, seed), cases(task, seed))


def judge(task, cnn, outcomes, right, known, tried):
    names = list(right[0])
    for n, name in enumerate(names):
        for case, expected, (values, failure) in zip(tried, right, outcomes):
            if name in values and same(expected[name], values[name]):
                continue
            if isinstance(failure, NotImplementedError) and name not in values:
                return OPEN, [f"Still to be written: {failure}"]
            named = [f"This is what you get if {text}" for text, wrong in known
                     if agree(names[: n + 1], outcomes, wrong)]  # fmt: skip
            named.append(f"With {case.text}, {name} is not right.")
            if name not in values:
                return WRONG, [*named, *about(failure or ValueError("it is missing"), cnn)]
            inputs = {each: getattr(case, each) for each in SHOW.get(name, SHOW[task]).split()}
            lines = difference(expected[name], values[name], {} if "network" in name else inputs)
            return WRONG, [*named, *lines]
    failures = [failure for _, failure in outcomes if failure]
    return (WRONG, about(failures[0], cnn)) if failures else (RIGHT, [])


def agree(names, outcomes, wrong):
    """Whether these results of the reader's code are, in every case, those of a mistake."""
    return all(
        (name in values) == (name in expected)
        and (name not in values or same(expected[name], values[name]))
        for (values, _), expected in zip(outcomes, wrong) for name in names
    )  # fmt: skip


def difference(expected, got, inputs):
    """Yield lines that say how a result differs, with all its numbers if they are few."""
    if got.shape != expected.shape:
        shape = f"{got.shape}." if got.shape != (0,) else "none. Is it returned, or kept (self.dW)?"
        yield f"Expected an array of shape {expected.shape}, got {shape}"
        return
    differs = ~np.isclose(got, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    if not differs.any():
        yield f"Its numbers are right, but {got.dtype}; expected {expected.dtype}, as the input is."
        return
    with np.errstate(all="ignore"):
        factor = got[differs] / expected[differs]
        constant = len(factor) > 1 and np.ptp(factor) < 1e-3
    if not np.isfinite(got).all():
        yield "There is inf or nan in it: an overflow, log(0), a division by 0?"
    elif constant:
        yield f"Each wrong number is {factor[0] + 0:.4g} times what it should be."
    elif expected.ndim > 1 and not differs[0].any():
        yield "It is right for the first sample."
    first = tuple(np.argwhere(differs)[0].tolist())
    if max(array.size for array in [got, *inputs.values()]) <= 36:
        for name, array in {**inputs, "expected": expected}.items():
            yield from [f"  {name} {array.shape}:", *rows(array)]
        yield from ["  got:", *rows(got, first)]
    else:
        yield "  " + ", ".join(f"{name} is {array.shape}" for name, array in inputs.items())
    index = f" at {list(first)}" if first else ""
    yield f"  First difference{index}: expected {expected[first]:.6g}, got {got[first]:.6g}."


def rows(array, marked=None):
    texts = np.array([f"{number + 0:.6g} " for number in array.flat], object).reshape(array.shape)
    if marked is not None:
        texts[marked] = f">{texts[marked][:-1]}<"
    longest = max(map(len, texts.flat))
    sides = [n for n in array.shape if n > 1 or array.ndim < 4]  # one channel: rows and columns
    for row in texts.reshape(-1, sides[-1] if sides else 1):
        yield "    " + " ".join(text.rjust(longest) for text in row).rstrip()


def about(failure, cnn):
    """Return lines that show the last line of the reader's file at which an exception passed."""
    lines = "".join(traceback.format_exception_only(failure)).splitlines()
    for frame in traceback.extract_tb(failure.__traceback__):
        if frame.filename == cnn.__file__:
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
            try:
                fault = wrong_derivative(each(*sizes), (2, 4, 5, 2))
            except ValueError:  # it wants rows
                fault = wrong_derivative(each(*sizes), (3, 6))
        except Exception as failure:  # noqa: BLE001 - whatever the reader's code raises
            return WRONG, [f"{each.__name__}:", *about(failure, cnn)]
        if fault:
            return WRONG, [f"{each.__name__}: {fault}"]
    return RIGHT, [f"The derivatives of {', '.join(each.__name__ for each in own)} are right."]


def wrong_derivative(layer, shape):
    """Say which derivative of L = sum(A dA) is not what L does when one number changes."""
    X, dA = np.random.RandomState(0).normal(size=shape), np.random.RandomState(1)
    before, A = X.copy(), np.array(layer.forward_propagate(X))
    dA = dA.normal(size=A.shape)
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
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    sys.stdout.reconfigure(errors="replace")  # the reader's lines may be in any language
    sys.path.append(str(path.parent))  # what the file imports may lie beside it
    spec = importlib.util.spec_from_file_location(path.stem, path)
    cnn = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(cnn)
        check = {10: speed, 11: own_layers}.get(task)
        status, lines = check(cnn) if check else compare(task, cnn)
        for need in NEEDS.get(task, ()) if status == WRONG else ():
            if compare(need, cnn)[0] != RIGHT:
                lines.append(f"Task {need}, which it needs, is not right either: begin there.")
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - while the file is imported
        status, lines = WRONG, about(failure, cnn)
    say(task, status, lines)
    return status


def say(task, status, lines):
    word = {RIGHT: "right", OPEN: "open"}.get(status, "wrong")
    print(f"task {task}, {TASKS[task]}: {word}", *lines, sep="\n  ", flush=True)


def check_apart(task, path):
    command = [sys.executable, "-B", __file__, "--here", "--module", str(path), str(task)]
    pipes = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.run(command, check=False, text=True, errors="replace", **pipes)
    if process.returncode in (RIGHT, OPEN, WRONG):
        print(process.stderr, end="", file=sys.stderr)
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
        parser.error(f"the tasks are 1 to {len(TASKS)}")
    path = options.module.resolve()
    if not path.is_file():
        sys.exit(f"{path} is missing: `python3 exercises/start.py` writes cnn_mine.py")
    if options.here:
        sys.exit(check_here(options.tasks[0], path))
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
