"""Momentum and Adam: the step of a network is a method, and these two replace it.

Trains the network `flat` by plain gradient descent, with momentum and with Adam.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from digits import load_digits

import cnn_sg
from mnist import models, scale, train


class Plain(cnn_sg.Network):
    """Every step goes down the gradient, or down what direction makes of it."""

    def __init__(self, layers, seed=None):
        super().__init__(layers, seed)
        self.memory, self.steps = {}, 0

    def direction(self, dW, key):
        return dW

    def step(self, learning_rate, weight_decay=0.0):
        self.steps += 1
        for layer in self.layers:
            for name in layer.weights:
                dW = getattr(layer, f"d{name}")
                setattr(layer, f"d{name}", self.direction(dW, (layer, name)))
        super().step(learning_rate, weight_decay)


class Momentum(Plain):
    """velocity = 0.9 velocity + dW; the step is down the velocity."""

    def direction(self, dW, key):
        self.memory[key] = 0.9 * self.memory.get(key, 0) + dW
        return self.memory[key]


class Adam(Plain):
    """Kingma and Ba (2015): running means of dW and of its square; the step is mean / root."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def direction(self, dW, key):
        mean, square = self.memory.get(key, (0, 0))
        mean = self.beta1 * mean + (1 - self.beta1) * dW
        square = self.beta2 * square + (1 - self.beta2) * dW**2
        self.memory[key] = mean, square
        mean = mean / (1 - self.beta1**self.steps)  # both began at 0, so they are too small
        square = square / (1 - self.beta2**self.steps)
        return mean / (np.sqrt(square) + self.epsilon)


def main():
    (x, y), (x_test, y_test) = load_digits(__doc__, 6_000, 2_000)
    print(f"{'test error, %':16}" + "".join(f"epoch {epoch:<4}" for epoch in (1, 2, 3)))
    for kind, learning_rate in (Plain, 0.2), (Momentum, 0.02), (Adam, 0.002):
        net = kind(models(cnn_sg, 10)["flat"], seed=1)
        test_errors = []
        settings = {"epochs": 3, "learning_rate": learning_rate, "seed": 1}
        for epoch, step, steps, loss, error in train(net, x, y, **settings):
            if step == steps:
                test_errors.append(100 * net.evaluate(scale(x_test), y_test)[2])
        print(f"{kind.__name__:16}" + "".join(f"{error:<10.2f}" for error in test_errors))
        assert test_errors[-1] < test_errors[0] < 30


if __name__ == "__main__":
    main()
