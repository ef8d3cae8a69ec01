"""--drawn: digits drawn like handwriting, to train on where MNIST cannot be had."""

import itertools
import math

import numpy as np

STROKES = (  # ways to write a digit: the digit, then its strokes; 37 is x = 3, y = 7 of 10 x 10
    "0 502114285987837150", "0 60311417396885826040", "0 703013275988846131", "1 5059", "1 325059",
    "1 325059 2989", "1 6048", "2 1230608274461989", "2 123060827447190816376998",
    "2 1320608375370998", "2 2240626437094999", "2 1340635629174798", "3 1130708264447587693917",
    "3 1080447687693917", "3 225072643374865808", "3 205071543565774818", "4 201585 7169",
    "4 600696 6069", "4 201436658069", "4 11154685 818469", "5 8020145477684918",
    "5 90402464765828", "5 9041335466582908", "5 403465674918 4090", "5 90302455673807",
    "6 703115285977653617", "6 5024173968765426", "6 804216184978764617", "6 40172969775526",
    "7 108039", "7 1140805449", "7 108039 2575", "7 1310805549", "8 725021335577592816446372",
    "8 50223454737150 54262859877654", "8 81402244766838275481", "8 82613133656839274582",
    "9 7350211335647269", "9 73502113356472755829", "9 7240122454726549", "9 736031234472 7379",
)  # fmt: skip


def draw_digits(n, seed):
    """Draw n digits like handwriting: uint8 images (n, 28, 28, 1) and labels (n,)."""
    rng = np.random.default_rng(seed)
    ways = rng.integers(0, len(STROKES), n)
    images = np.empty((n, 28, 28, 1), np.uint8)
    for way, (_, *strokes) in enumerate(map(str.split, STROKES)):
        images[ways == way, :, :, 0] = draw_strokes(strokes, np.sum(ways == way), rng)
    return images, np.array([int(way[0]) for way in STROKES], np.uint8)[ways]


def draw_strokes(strokes, n, rng):
    """Draw one way to write a digit n times, each time a little differently: (n, 28, 28)."""
    grid = np.stack(np.divmod(np.arange(100), 10), axis=1)
    wobbly_grid = grid + rng.normal(0, 0.8, (n, 100, 2))
    curve = []
    for stroke in strokes:
        knots = [int(stroke[k : k + 2]) for k in range(0, len(stroke), 2)]
        for start, end in itertools.pairwise(knots):
            u = np.arange(0, 1, 0.25 / math.dist(grid[start], grid[end]))[:, None]
            curve.append((1 - u) * wobbly_grid[:, None, start] + u * wobbly_grid[:, None, end])
    curve = np.concatenate(curve, axis=1)  # (n, points, 2)
    width, slant, turn = rng.uniform(0.6, 1.3, n), rng.normal(-0.2, 0.3, n), rng.normal(0, 0.18, n)
    curve = curve @ np.array([[width, turn], [slant, np.ones(n)]]).transpose(2, 0, 1)
    pen = rng.uniform(0.4, 0.9, (n, 1, 1))  # a measure of its width, in pixels
    curve *= (20 - 2 * pen) / np.ptp(curve, axis=1).max(axis=1).reshape(n, 1, 1)  # as in MNIST,
    curve -= curve.mean(axis=1, keepdims=True)  # 20 pixels high or wide, and in the middle
    distances = (np.arange(28) - 13.5 - curve[..., None]) / pen[..., None]  # (n, points, 2, 28)
    across, down = np.exp(-(distances**2) / 2).transpose(2, 0, 1, 3)
    return 255 - 255 * np.exp(-down.transpose(0, 2, 1) @ across)  # a spot of ink at each point
