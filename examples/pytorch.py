"""To PyTorch and back: the same weights, the same answers, the same training. Needs torch.

PyTorch's images are (n, channels, height, width), and its weights begin with the outputs.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
import torch
from adam import Adam, Momentum, Plain
from torch import nn

import cnn_sg
from mnist import models


def in_pytorch():
    """The network `cnn` of mnist.py. The loss contains the softmax, so none stands at the end."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * 13 * 13, 100), nn.ReLU(),
        nn.Linear(100, 10),
    )  # fmt: skip


def pairs(net, module):
    """Yield our layers with weights, PyTorch's, and the shape of W as filters of whole inputs."""
    theirs = iter([each for each in module if hasattr(each, "weight")])
    for before, layer in zip([None, *net.layers], net.layers):
        if isinstance(layer, cnn_sg.ConvLayer):
            yield layer, next(theirs), layer.W.shape
        elif isinstance(layer, cnn_sg.FCLayer):
            image = (1, 1, len(layer.W))
            if isinstance(before, cnn_sg.FlatLayer) and len(before.A_prev_shape) == 4:
                image = before.A_prev_shape[1:]  # channels last, nn.Flatten: first
            yield layer, next(theirs), (*image, layer.num_neurons)


def to_pytorch(net, module):
    for layer, theirs, shape in pairs(net, module):
        W = layer.W.reshape(shape).transpose(3, 2, 0, 1).reshape(theirs.weight.shape)
        theirs.weight.data, theirs.bias.data = torch.tensor(W), torch.tensor(layer.b.ravel())


def from_pytorch(module, net):
    for layer, theirs, (height, width, n_c, n_f) in pairs(net, module):
        W = theirs.weight.detach().numpy().reshape(n_f, n_c, height, width)
        layer.W = W.transpose(2, 3, 1, 0).reshape(layer.W.shape)
        layer.b = theirs.bias.detach().numpy().reshape(layer.b.shape)


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    X, labels = rng.random((8, 28, 28, 1)), rng.integers(0, 10, 8)  # float64
    Y, images = np.eye(10)[labels], torch.tensor(X.transpose(0, 3, 1, 2))
    for kind, optimizer, options in (
        (Plain, torch.optim.SGD, {"lr": 0.1}),
        (Momentum, torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
        (Adam, torch.optim.Adam, {"lr": 0.001}),
    ):
        ours, theirs = kind(models(cnn_sg, 10)["cnn"], seed=1), in_pytorch()
        ours.predict(X)  # makes the weights
        to_pytorch(ours, theirs)
        descent = optimizer(theirs.parameters(), **options)
        for _ in range(20):
            ours.train(X, Y, options["lr"])
            descent.zero_grad()
            nn.CrossEntropyLoss()(theirs(images), torch.tensor(labels)).backward()
            descent.step()
        answers = theirs(images).softmax(dim=1).detach().numpy()
        trained = np.abs(ours.predict(X) - answers).max()
        from_pytorch(theirs, ours)
        copied = np.abs(ours.predict(X) - answers).max()
        print(f"{kind.__name__:8} answers differ by {trained:.0e}, after copying by {copied:.0e}")
        assert max(trained, copied) < 1e-8
