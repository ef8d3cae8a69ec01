"""The training of mnist.py in PyTorch, with the same layers, weights and defaults.

    python3 tools/in_pytorch.py cnn

tools/benchmark.py compares the two. Here, PyTorch uses all cores, as it does by default, and the
memory format that is better for these networks, channels_last.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of mnist.py

import cnn_sg
import mnist

ORDERS = {True: torch.channels_last, False: torch.contiguous_format}


def images(A, channels_last):
    """(n_m, height, width, n_c) in NumPy -> (n_m, n_c, height, width) in PyTorch."""
    A = torch.from_numpy(A.transpose(0, 3, 1, 2).copy())
    return A.contiguous(memory_format=ORDERS[channels_last])


def pytorch_model(net, channels_last):
    """The same network in PyTorch, with the same weights, once net has seen images."""
    modules, shape = [], ()  # of the images that come to the next layer
    for layer in net.layers:
        if isinstance(layer, cnn_sg.FlatLayer):
            modules.append(nn.Flatten())
            continue
        if isinstance(layer, cnn_sg.PoolLayer):
            module = nn.MaxPool2d((layer.fh, layer.fw), layer.s)
        elif isinstance(layer, cnn_sg.ConvLayer):
            W, b = layer.W.transpose(3, 2, 0, 1), layer.b.ravel()
            module = nn.Conv2d(W.shape[1], layer.n_f, W.shape[2:], layer.s, layer.p)
        else:
            W, b = layer.W.T, layer.b
            if len(shape) == 3:  # PyTorch flattens (channels, height, width)
                W = W.reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(W.shape)
            module = nn.Linear(*layer.W.shape)
        if layer.weights:
            module.weight.data, module.bias.data = torch.tensor(W), torch.tensor(b)
        modules += [module, nn.ReLU()] if isinstance(layer, cnn_sg.ReLU) else [module]
        shape = layer.A.shape[1:]
    return nn.Sequential(*modules).to(memory_format=ORDERS[channels_last])


def pytorch_step(model, optimizer, x, y):
    """A step of training; returns the loss. y are numbers of classes."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def network(net, X, Y, channels_last):
    """Train on the mini-batches again and again; each next() is a step, and gives [loss]."""
    module = pytorch_model(net, channels_last)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    X, labels = [images(x, channels_last) for x in X], torch.from_numpy(Y.argmax(axis=-1))
    for x, y in itertools.cycle(zip(X, labels)):
        yield [pytorch_step(module, optimizer, x, y)]


def layer(ours, X, d, channels_last):
    """Each next() goes forward and backward through the same layer; see tools/benchmark.py."""
    module = pytorch_model(cnn_sg.Network([ours]), channels_last)
    X, d = images(X, channels_last).requires_grad_(), images(d, channels_last)
    while True:
        X.grad = None
        module.zero_grad()
        A = module(X)
        A.backward(d)
        results = [each.detach().numpy().transpose(0, 2, 3, 1) for each in (A, X.grad)]
        if ours.weights:
            dW, db = (each.grad.numpy() for each in module.parameters())
            results += [dW.transpose(2, 3, 1, 0), db.reshape(1, 1, 1, -1)]
        yield results


def train(model, seed, folder):
    """What mnist.py does by default; prints the test loss and error after each epoch."""
    torch.manual_seed(seed)
    mnist.keep_freed_memory()
    defaults = mnist.DEFAULTS[model]
    (x, y), (xt, yt) = mnist.load_mnist(folder)
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed)
    net.predict(mnist.scale(x[:1]))
    module = pytorch_model(net, channels_last=True)
    x, xt = (images(mnist.scale(each), channels_last=True) for each in (x, xt))
    y, yt = (torch.from_numpy(each.astype(np.int64)) for each in (y, yt))
    optimizer = torch.optim.SGD(module.parameters(), defaults["learning_rate"])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, defaults["decay"])
    for epoch in range(1, defaults["epochs"] + 1):
        for batch in torch.randperm(len(x)).split(32):
            pytorch_step(module, optimizer, x[batch], y[batch])
        schedule.step()
        with torch.no_grad():
            A = torch.cat([module(piece) for piece in xt.split(1000)])
        loss, error = nn.functional.cross_entropy(A, yt), (A.argmax(1) != yt).float().mean()
        print(f"epoch {epoch}: test loss {loss:.4f}, error {100 * error:.2f} %", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=mnist.DEFAULTS)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--data", type=Path, default=mnist.HERE, metavar="DIR", help="with MNIST")
    options = parser.parse_args()
    train(options.model, options.seed, options.data)
