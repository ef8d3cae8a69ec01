"""--read: what a network reads in pictures of digits. Pillow opens the files; the rest is NumPy."""

import math
import sys

import numpy as np


def read_pictures(net, paths, plot=None):
    """Print what the network reads in each file. Return the exit status: 1 if a file is bad."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        install = f"{sys.executable} -m pip install pillow"
        raise ImportError(f"--read needs Pillow: {install}") from None
    Image.MAX_IMAGE_PIXELS = None  # it would warn; our limit is lower
    results = []
    for path in paths:
        try:
            with Image.open(path) as file:
                if math.prod(file.size) > 50_000_000:
                    raise ValueError(f"{file.width} x {file.height} pixels are too many")
                picture = ImageOps.exif_transpose(file).convert("RGBA")
            picture.thumbnail((800, 800))
            image = as_mnist(picture)
        except Exception as problem:  # noqa: BLE001 - Pillow raises many kinds
            reason = getattr(problem, "strerror", None) or problem
            print(f"mnist.py: {path}: {reason}", file=sys.stderr)
            continue
        answers = net.predict(image[None, :, :, None].astype(np.float32) / 255)[0]
        best, other = (f"{k} ({100 * answers[k]:.1f} %)" for k in np.argsort(-answers)[:2])
        print(f"{path}: {best}, or {other}", flush=True)
        results.append((path, picture, image, answers))
    if plot and results:
        from extras.plot import plot_pictures
        plot_pictures(plot, results[:20], net)
        print(f"Picture saved in {plot}")
    return int(len(results) < len(paths))


def as_mnist(pixels):
    """Return a picture of one digit as MNIST would have it, light on dark: uint8 (28, 28).

    pixels: (height, width), or with a last axis of 3 (RGB) or 4 (RGBA); uint8, or floats 0 to 255.
    The digit is fitted into 20 x 20 pixels, its centre of mass comes into the middle, as in
    http://yann.lecun.com/exdb/mnist/. Raises ValueError if there is no digit.
    """
    pixels = np.atleast_3d(np.asarray(pixels, np.float32))
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        raise ValueError(f"expected pixels (height, width[, 3 or 4]), got {pixels.shape}")
    if pixels.shape[2] == 4:  # where it is transparent, its colour does not matter
        pixels = pixels.copy()
        pixels[:, :, :3] *= pixels[:, :, 3:] / 255
    pixels, ink = cut_out(pixels)
    if min(ink.shape) > 8 and np.mean(edge(ink[4:-4, 4:-4]) > 0) > 0.9:  # a sheet of paper
        try:
            _, ink = cut_out(pixels[4:-4, 4:-4])
        except ValueError:
            pass  # nothing is on it: it is the digit itself
    height, width = (math.ceil(20 * length / max(ink.shape)) for length in ink.shape)
    image = overlaps(ink.shape[0], height) @ ink @ overlaps(ink.shape[1], width).T
    image = np.pad(image / image.max(), [(0, 28 - height), (0, 28 - width)])
    for axis, length in enumerate((height, width)):
        centre = np.average(np.arange(28), weights=image.sum(axis=1 - axis))
        image = np.roll(image, min(max(round(13.5 - centre), 0), 28 - length), axis)
    return np.round(255 * image).astype(np.uint8)


def cut_out(pixels):
    """Cut off what has the colour of the edge; return the rest, and how it differs, 0 to 1."""
    ink = np.abs(pixels - np.median(edge(pixels), axis=0)).max(axis=2)
    if ink.max() < 40:
        raise ValueError("all of one colour: there is no digit")
    ink = np.clip((ink / ink.max() - 0.2) / 0.8, 0, 1)  # paper has its shades
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return pixels[box], ink[box]


def edge(pixels):
    """Return the outermost pixels of (height, width, ...), one after the other."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def overlaps(old, new):
    """Return the share of each old pixel in each new one, along an axis: (new, old)."""
    ends = np.linspace(0, old, new + 1)[:, None]
    starts = np.arange(old)
    overlap = np.minimum(ends[1:], starts + 1) - np.maximum(ends[:-1], starts)
    return np.maximum(overlap, 0) * new / old
