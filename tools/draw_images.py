"""Draw the pictures of the documents into images/.

    python3 tools/draw_images.py strides one-group

draws these two; without names, it draws all. It needs matplotlib; drawn-digits and training also
need MNIST, and training takes about a minute. speed.png is drawn by benchmark.py --plot.
"""

import argparse
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from string import ascii_uppercase

import numpy as np

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "images"
sys.path.insert(0, str(HERE.parent))

import cnn_sg
import mnist

# Of the windows of a group, one after another: colours that colour-blind eyes tell apart (Okabe
# and Ito, 2008), and hatches for grey print.
STYLES = (("#f0e442", ""), ("#56b4e9", "//"), ("#e69f00", ".."), ("#cc79a7", "\\\\"))
DARK = "#222222"
SMALL, LARGE = 13, 15  # points; in a figure of 12 inches, shown 800 pixels wide, 12 and 14 pixels


def stride_groups_by_letter(width, size, s):
    """Cut an image of width x width pixels, numbered row by row, by a filter of size x size.

    Returns the outputs, each named by a letter, (o, o); and for each offset (t, u) a group:
    {letter: numbers of the pixels in its window}.
    """
    o = (width - size) // s + 1
    letters = np.array(list(ascii_uppercase[: o * o])).reshape(1, o, o)
    pixels = np.arange(width * width).reshape(1, width, width, 1)
    groups = {}
    for outputs, group in cnn_sg.stride_groups(pixels, size, size, s):
        offset = outputs[1].start, outputs[2].start
        groups[offset] = dict(zip(letters[outputs].flat, group.reshape(-1, size * size)))
    return letters[0], groups


# Parts of a picture. The unit is the side of a cell; x goes to the right, y down.


def new_axes(part, columns, rows):
    """Axes for columns x rows cells, in a figure or a subfigure."""
    axes = part.subplots()
    axes.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
    axes.axis("off")
    return axes


def write(axes, x, y, text, fontsize=SMALL, **options):
    options = {"color": DARK, "ha": "center", "va": "center", **options}
    axes.text(x, y, text, fontsize=fontsize, **options)


def draw_rectangle(axes, x, y, width=1, height=1, **options):
    across, down = [x, x + width, x + width, x], [y, y, y + height, y + height]
    axes.fill(across, down, joinstyle="miter", **options)


def draw_cells(axes, x, y, texts, styles):
    """A table of texts, its upper left corner at (x, y). styles: {(row, column): of STYLES}."""
    for (row, column), text in np.ndenumerate(texts):
        if (row, column) in styles:
            colour, hatch = STYLES[styles[row, column]]
            pale = f"{colour}80" if hatch else colour
            draw_rectangle(axes, x + column, y + row, fc=pale, ec=colour, hatch=hatch, lw=0)
        draw_rectangle(axes, x + column, y + row, fill=False, ec="#777777", lw=0.8)
        write(axes, x + column + 0.5, y + row + 0.5, text)


def draw_image(axes, x, y, width, windows):
    """The numbered pixels of an image, and the windows on them."""
    numbers = np.arange(width * width).reshape(width, width)
    styles = {divmod(n, width): k for k, window in enumerate(windows.values()) for n in window}
    draw_cells(axes, x, y, numbers, styles)
    dot = {"boxstyle": "circle,pad=0.15", "fc": DARK, "ec": "white"}
    for letter, window in windows.items():
        top, left = divmod(window[0], width)
        size = math.isqrt(len(window))
        draw_rectangle(axes, x + left, y + top, size, size, fill=False, ec=DARK, lw=2.5)
        write(axes, x + left + 1, y + top + 1, letter, color="white", weight="bold", bbox=dot)


def draw_output(axes, x, y, letters, windows, values=None):
    """The outputs; those that the windows make in the colours of the windows."""
    texts, styles = letters.astype("U9"), {}
    for k, letter in enumerate(windows):
        index = tuple(np.argwhere(letters == letter)[0].tolist())
        styles[index] = k
        if values is not None:
            texts[index] = values[k]
    draw_cells(axes, x, y, texts, styles)


def draw_arrow(axes, x, y):
    arrow = {"arrowstyle": "-|>,head_width=0.4,head_length=0.7", "color": DARK, "lw": 2}
    axes.annotate("", (x + 1.2, y), (x, y), arrowprops=arrow)


# The pictures


def draw_strides(figure):
    """All positions of a 2 x 2 filter, and the output."""
    letters, groups = stride_groups_by_letter(4, 2, 1)
    windows = {letter: window for group in groups.values() for letter, window in group.items()}
    title = "A 2 x 2 filter with stride 1 has nine positions on a 4 x 4 image"
    figure.suptitle(title, fontsize=LARGE, color=DARK)
    figure.set_size_inches(12, 9.6)
    axes = new_axes(figure, 19.5, 15)
    for (i, j), letter in np.ndenumerate(letters):
        x, y = 5 * j, 5.1 * i + 0.8
        write(axes, x + 2, y - 0.4, f"{letter}: output [{i}, {j}]")
        draw_image(axes, x, y, 4, {letter: windows[letter]})
    draw_arrow(axes, 14.6, 7.9)
    write(axes, 17.9, 6, "the output")
    draw_output(axes, 16.4, 6.4, letters, {})


def draw_groups(figure, width, size, s):
    """The windows of each group, and the outputs they make."""
    letters, groups = stride_groups_by_letter(width, size, s)
    o, g = len(letters), math.ceil(size / s)
    title = f"{size} x {size} filter, stride {s}, g = {g}: no two windows of a group share a pixel"
    figure.suptitle(title, fontsize=LARGE, color=DARK)
    figure.set_size_inches(12, 2.2 + 12 * width / (width + 2 + o))
    for part, ((t, u), windows) in zip(figure.subfigures(g, g).flat, groups.items()):
        axes = new_axes(part, width + 2 + o, width)
        makes = "outputs" if len(windows) > 1 else "output"
        title = f"offset t = {t}, u = {u}: {makes} {', '.join(windows)}"
        axes.set_title(title, fontsize=SMALL, color=DARK)
        draw_image(axes, 0, 0, width, windows)
        draw_arrow(axes, width + 0.4, width / 2)
        draw_output(axes, width + 2, (width - o) / 2, letters, windows)


def draw_one_group(figure):
    """The first group as rows of a matrix, times two filters, back into the output."""
    letters, groups = stride_groups_by_letter(4, 2, 1)
    windows = groups[0, 0]
    matrix = np.array([[*window, 1] for window in windows.values()])  # pixel n has the value n
    filters = np.array([[1, 1, 1, 1, 0], [0, 2, -1, 0, 1]]).T  # the last number is the bias
    Z = matrix @ filters
    styles = {index: index[0] for index in np.ndindex(matrix.shape)}
    figure.set_size_inches(12, 6.9)
    axes = new_axes(figure, 22.2, 12.3)
    draw_image(axes, 0, 3.5, 4, windows)
    draw_arrow(axes, 4.3, 5.5)
    draw_cells(axes, 6.3, 3.5, matrix, styles)
    draw_cells(axes, 12.4, 3, filters, {})
    draw_cells(axes, 15.4, 3.5, Z, styles)
    draw_arrow(axes, 17.65, 5.5)
    for k, letter in enumerate(windows):
        write(axes, 5.9, 4 + k, letter)
    for f in range(2):
        write(axes, 12.9 + f, 2.6, f"f = {f}")
        write(axes, 15.9 + f, 3.1, f"f = {f}")
        draw_output(axes, 19.1, 2 + 4 * f, letters, windows, Z[:, f])
        write(axes, 20.6, 5.4 + 4 * f, f"f = {f}")
    for x, y, text in ((11.85, 5.5, "@"), (14.9, 5.5, "="), (12, 3.5, "W"), (12, 7.5, "b")):
        write(axes, x, y, text, LARGE)
    group_shape = "(n_m, down, across,\nfh, fw, n_c)\n= (1, 2, 2, 2, 2, 1)"
    for x, heading, shape in (
        (2, "1. slice\nthe image (1, 4, 4, 1)", group_shape),
        (8.8, "2. reshape\neach window to a row, and a 1", "(windows, fh fw n_c + 1)\n= (4, 5)"),
        (14.4, "3. multiply\nby two filters, add biases", ""),
        (13.4, "", "(fh fw n_c + 1,\nn_f)\n= (5, 2)"),
        (16.4, "", "(windows, n_f)\n= (4, 2)"),
        (20.6, "4. back into\noutput[:, 0::2, 0::2]", "(n_m, oh, ow, n_f)\n= (1, 3, 3, 2)"),
    ):
        write(axes, x, 0.7, heading)
        write(axes, x, 10, shape, va="top")
    note = "cnn_sg.py makes rows of all groups first, and then multiplies them all at once."
    write(axes, 11, 12.2, note)


def draw_digits(figure, data):
    """Digits of mnist.draw_digits beside the first ones of the test set of MNIST."""
    _, real = mnist.load_mnist(data)
    figure.set_size_inches(12, 7.6)
    halves = {"drawn by mnist.py --drawn": mnist.draw_digits(400, seed=1), "MNIST": real}
    for axes, (title, (images, labels)) in zip(figure.subplots(1, 2), halves.items()):
        rows = [np.hstack(images[labels == digit][:8, :, :, 0]) for digit in range(10)]
        axes.imshow(np.vstack(rows), cmap="gray_r", interpolation="nearest")
        axes.set_title(title, fontsize=LARGE, color=DARK)
        axes.set_yticks(28 * np.arange(10) + 13.5, range(10), fontsize=LARGE, color=DARK)
        axes.set_xticks([])
        axes.tick_params(length=0)


def train(data):
    """The picture that mnist.py draws of a training."""
    command = [sys.executable, HERE.parent / "mnist.py", "cnn", "--seed", "1"]
    command += ["--plot", IMAGES / "training.png", "--data", data]
    problem = subprocess.run(command, check=False).returncode
    if problem:  # mnist.py has said which
        sys.exit(problem)


PICTURES = {  # the training's is drawn by another process
    "strides": lambda figure, data: draw_strides(figure),
    "stride-groups": lambda figure, data: draw_groups(figure, 4, 2, 1),
    "one-group": lambda figure, data: draw_one_group(figure),
    "stride-2": lambda figure, data: draw_groups(figure, 7, 3, 2),
    "drawn-digits": draw_digits,
    "training": None,
}


def main():
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME",
        help=f"of {', '.join(PICTURES)} (default: all)")  # fmt: skip
    parser.add_argument("--data", type=Path, default=mnist.HERE, metavar="DIR",
        help="folder of the four MNIST files (default: that of mnist.py)")  # fmt: skip
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in PICTURES]
    if unknown:
        parser.error(f"expected names of {', '.join(PICTURES)}, got {', '.join(unknown)}")
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("needs matplotlib: python3 -m pip install matplotlib")
    from matplotlib.figure import Figure  # here, because --help should not need it

    IMAGES.mkdir(exist_ok=True)
    for name in options.names or PICTURES:
        if name == "training":
            train(options.data)
            continue
        figure = Figure(layout="constrained", facecolor="white")
        PICTURES[name](figure, options.data)
        figure.savefig(IMAGES / f"{name}.png", dpi=110, bbox_inches="tight", pad_inches=0.15)
        print(f"images/{name}.png is drawn", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as problem:
        sys.exit(f"draw_images.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
