"""--plot: a picture of a training, or of what a network reads in pictures of digits."""

import math
import os
import sys
import tempfile

import numpy as np

try:
    from matplotlib.figure import Figure
except ImportError:
    raise ImportError(f"--plot needs this: {sys.executable} -m pip install matplotlib") from None


def plot_training(path, history, tests, net, x, y, title):
    """Draw the loss, the test error after each epoch, the first filters and misread digits.

    history: (loss, error in %) of each step; tests: (steps so far, loss, error in %);
    x: uint8 images of the test set; y: their labels, one-hot.
    """
    figure = Figure(figsize=(9.5 if history else 5, 4.6), layout="constrained")
    figure.suptitle(f"{title}: test error {tests[-1][2]:.2f} %")
    *left, right = figure.subfigures(1, 2 if history else 1, squeeze=False)[0]
    if history:
        axes, losses = left[0].subplots(), np.array(history)[:, 0]
        axes.plot(losses, color="0.8", linewidth=0.5)
        window = math.ceil(len(losses) / 100)
        sums = np.convolve(losses, np.ones(window))[: len(losses)]
        means = sums / np.minimum(np.arange(len(losses)) + 1, window)  # at first of fewer
        axes.plot(means, "--", color="tab:blue")
        axes.set(xlabel="mini-batch", ylabel=f"loss, and mean of {window} (dashed)", yscale="log")
        axes = axes.twinx()
        steps, _, errors = np.transpose(tests)
        axes.plot(steps, errors, "o-", color="tab:red")
        axes.set(ylabel="test error after each epoch, % (dots)", ylim=(0, 1.2 * max(errors) + 0.1))
    answers = net.predict(np.divide(x, 255, dtype=np.float32)).argmax(axis=1)
    labels = y.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    W, lower = net.layers[0].W, right
    if W is not None and W.ndim == 4:
        upper, lower = right.subfigures(2, 1, height_ratios=[1, 1.6])
        show(upper.subplots(), mosaic(W[:, :, 0].transpose(2, 0, 1)), "filters of the first layer")
    lower.suptitle(f"the first of {len(wrong)} misread digits")
    grid = lower.subplots(2, 5, subplot_kw={"visible": False})
    for k, axes in zip(wrong, grid.flat):
        show(axes, x[k, :, :, 0], f"read {answers[k]}, is {labels[k]}")
    write(figure, path)


def plot_pictures(path, results, net):
    """Draw each picture as it came and as the network saw it, its first maps, and its answers.

    results: what read_pictures in read.py returns.
    """
    figure = Figure(figsize=(10, 2.3 * len(results)), facecolor="0.95", layout="constrained")
    grid = figure.subplots(len(results), 4, squeeze=False, width_ratios=[1, 1, 2, 1.2])
    for (came, saw, maps, bars), (name, picture, image, answers) in zip(grid, results):
        show(came, picture, os.path.basename(name))
        show(saw, image, "as the network sees it")
        maps.set(visible=False)
        A = net.layers[0].forward_propagate(image[None, :, :, None].astype(np.float32) / 255)
        if A.ndim == 4:
            show(maps, mosaic(A[0].transpose(2, 0, 1)), "after the first convolution")
        bars.barh(range(len(answers)), 100 * answers)
        bars.set(xlim=(0, 100), xlabel="probability, %", yticks=range(10), ylim=(9.5, -0.5))
    write(figure, path)


def show(axes, picture, title):
    """Draw a picture, grey or in colours, with its title and nothing else."""
    axes.imshow(picture, cmap="gray")
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[], frame_on=False, visible=True)


def mosaic(images, columns=8):
    """Put images, (n, height, width), side by side in rows, with a gap of a pixel."""
    images = np.pad(images, ((0, -len(images) % columns), (0, 1), (0, 1)), constant_values=np.nan)
    rows = images.reshape(-1, columns, *images.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(-1, columns * images.shape[2])


def write(figure, path):
    """Save a figure as PNG: beside path first, so that path is whole or as it was."""
    path = os.path.realpath(path)
    with tempfile.TemporaryDirectory(".part", f"{path}.") as folder:
        part = os.path.join(folder, "picture.png")
        figure.savefig(part, format="png", dpi=140)
        os.replace(part, path)
