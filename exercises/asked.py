"""What check.py asks the reader's code for: the inputs of each task, and the results by name."""

from types import SimpleNamespace

import numpy as np

SHOW = {1: "A_prev W b", 2: "Z Y", 3: "A_prev dZ", 4: "W b dW db", 5: "A_prev W b", 6: "A_prev"}
SHOW |= {7: "A_prev dZ", 8: "A_prev dZ", 9: "W dZ", "g(Z) of ReLU": "Z"}  # the inputs of a task
SHOW |= {"dZ = times_g_prime(dA)": "Z dA", "dA_prev = input_gradient(dZ)": "W dZ"}


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
            small = [(3, 2, 4), (3, 3, 3), (1, 3, 2)]
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
            if task == 3:
                case.Z = case.A_prev @ case.W + case.b
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


def calls(case):
    """What a layer gets first, and then other numbers: nothing of the first call may be left."""
    yield "", case.A_prev, case.dZ
    yield " in a second call", -case.A_prev, 2 * case.dZ


def softmax(cnn, case):
    layer = layer_of(cnn, "FCLayer_Softmax", case.eye, case.zeros, case.n)  # so that Z is the input
    yield "A", layer.forward_propagate(case.Z)
    yield "self.Z, which log_g only reads,", layer.Z
    loss, error, dZ = layer.loss(case.Y)
    yield "the loss", loss
    yield "the error", error
    yield "dZ", dZ
    yield "self.A, which loss only reads,", layer.A


def three_formulas(cnn, case):
    layer = layer_of(cnn, "FCLayer_ReLU", case.W, case.b, case.n)
    layer.forward_propagate(case.A_prev)
    yield "dZ = times_g_prime(dA)", layer.times_g_prime(case.dA)
    yield "self.A, which times_g_prime only reads,", layer.A
    for call, A_prev, dZ in calls(case):
        layer.forward_propagate(A_prev)
        layer.weight_gradients(dZ)
        yield f"dW{call}", layer.dW
        yield f"db{call}", layer.db
        yield f"dA_prev = input_gradient(dZ){call}", layer.input_gradient(dZ)


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
    net.step(0.5)
    yield "W of a network after a step, also of FlatLayer,", layers[0].W


def convolution(cnn, case):
    for name in ("ConvLayer", "ConvLayer_ReLU"):
        layer = layer_of(cnn, name, case.W, case.b, *case.conv)
        yield f"the output of {name}", layer.forward_propagate(case.A_prev)
        yield f"self.A of {name}", layer.A
        yield f"self.A_prev, with its padding, of {name}", padded(layer, case.A_prev)
    yield "the output in a second call", layer.forward_propagate(-case.A_prev)
    yield "self.A_prev in a second call", padded(layer, -case.A_prev)
    layer = cnn.ConvLayer(*case.conv)
    layer.forward_propagate(case.A_prev)
    yield "the shape of the W that the layer makes", np.shape(layer.W)


def padded(layer, A_prev):
    """Return layer.A_prev; what is right if it keeps something else, as cnn_sg.py does."""
    right = np.pad(A_prev, ((0, 0), (layer.p, layer.p), (layer.p, layer.p), (0, 0)))
    kept = getattr(layer, "A_prev", right)
    return kept if np.ndim(kept) == 4 else right


def pooling(cnn, case):
    for name in ("PoolLayer_Max", "PoolLayer_Avg"):
        layer = getattr(cnn, name)(*case.pool)
        yield f"the output of {name}", layer.forward_propagate(case.A_prev)
        yield f"self.A of {name}", layer.A


def pooling_backward(cnn, case):
    for name in ("PoolLayer_Max", "PoolLayer_Avg"):
        layer = getattr(cnn, name)(*case.pool)
        for call, A_prev, dZ in calls(case):
            layer.forward_propagate(A_prev)
            yield f"dA_prev of {name}{call}", layer.input_gradient(dZ)


def weights_gradient(cnn, case):
    layer = layer_of(cnn, "ConvLayer", case.W, case.b, *case.conv)
    for call, A_prev, dZ in calls(case):
        layer.forward_propagate(A_prev)
        layer.weight_gradients(dZ)
        yield f"db{call}", layer.db
        yield f"dW{call}", layer.dW


def input_gradient(cnn, case):
    layer = layer_of(cnn, "ConvLayer_ReLU", case.W, case.b, *case.conv)
    for call, A_prev, dZ in calls(case):
        layer.forward_propagate(A_prev)
        yield f"dA_prev{call}", layer.input_gradient(dZ)
    yield "self.A_prev, which input_gradient only reads,", padded(layer, A_prev)
    yield "dZ of ConvLayer_ReLU, which keeps A but not Z,", layer.times_g_prime(case.dZ)


ASKS = [fully_connected, softmax, three_formulas, step_and_backpropagation, convolution, pooling]
ASKS += [pooling_backward, weights_gradient, input_gradient]
