"""Gradient check: compare what a layer computes with the derivative itself.

Change one number by h, up and down, and see how the loss changes:
    derivative = (L(x + h) - L(x - h)) / 2h, nearly
For layers of cnn_sg.py, for a wrong one, and for more than one h and dtype. For a layer of your
own: `from check_gradient import check`, then check(layer, input).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np

from cnn_sg import ConvLayer_ReLU, FCLayer_Softmax, PoolLayer_Avg, PoolLayer_Max


def numerical(loss, array, h):
    derivative = np.empty_like(array)
    for index in np.ndindex(array.shape):
        x = array[index]
        array[index] = x + h
        above = loss()
        array[index] = x - h
        derivative[index] = (above - loss()) / (2 * h)
        array[index] = x
    return derivative


def errors(layer, input, h=1e-5):
    """Return the largest error of each derivative, relative to the largest number in it."""

    def forward():
        layer.rng = np.random.default_rng(1)  # so that dropout, too, is the same each time
        return layer.forward_propagate(input)

    R = np.random.default_rng(2).standard_normal(forward().shape).astype(input.dtype)
    arrays = {"dA_prev": input} | {f"d{name}": getattr(layer, name) for name in layer.weights}
    found = {}
    for name, array in arrays.items():
        expected = numerical(lambda: np.sum(R * forward()), array, h)
        forward()  # the layer must have seen the unchanged input last
        dA_prev = layer.gradients(R)  # the loss is sum(R * A), so R is its derivative by A
        got = dA_prev if name == "dA_prev" else getattr(layer, name)
        largest = max(np.abs(expected).max(), np.abs(got).max(), 1e-8)
        found[name] = np.abs(got - expected).max() / largest
    return found


def check(layer, input):
    """Print the errors of a layer in float64; raise AssertionError if one is too large."""
    found = errors(layer, input)
    print(f"{layer!s:38}", ", ".join(f"{name} {error:.0e}" for name, error in found.items()))
    assert max(found.values()) < 1e-6, f"{layer}: a derivative is wrong"


class PoolLayer_Wrong(PoolLayer_Avg):
    def share(self, dA, A, windows, dwindows):
        # Where windows overlap, this keeps the last share of a pixel, not the sum: = for +=.
        dwindows[...] = (dA / (self.fh * self.fw))[..., None, None]


if __name__ == "__main__":
    rng = np.random.default_rng(2)
    images, rows = rng.standard_normal((2, 6, 7, 3)), rng.standard_normal((4, 5))  # float64
    check(ConvLayer_ReLU(2, 3, stride=2, padding=1), images)
    check(PoolLayer_Max(2, 2), images)
    check(PoolLayer_Avg((2, 3)), images)
    check(FCLayer_Softmax(3), rows)

    wrong = errors(PoolLayer_Wrong(2, 1), images)["dA_prev"]
    print(f"{'with = instead of +=':38} dA_prev {wrong:.2f}")
    assert wrong > 0.1
    print("\nThe error depends on h and the dtype:\n    h   float64   float32")
    for h in 1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-11:
        in_64, in_32 = (errors(FCLayer_Softmax(3), rows.astype(dtype), h)["dA_prev"]
                        for dtype in (np.float64, np.float32))  # fmt: skip
        print(f"{h:.0e} {in_64:9.0e} {in_32:9.0e}")
        assert h != 1e-5 or in_64 < 1e-8 < in_32
