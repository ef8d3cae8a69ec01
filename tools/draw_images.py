"""Draw the pictures of the documents into images/: all of them, or those named.

This needs matplotlib. training and read also need MNIST, and are drawn together: mnist.py trains,
then reads. live needs MNIST, Playwright and Chromium. benchmark.py --plot draws speed.png.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

try:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from PIL import Image, ImageDraw  # matplotlib has installed it
except ImportError:
    sys.exit("draw_images.py needs matplotlib: python3 -m pip install matplotlib")

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "images"
sys.path.insert(0, str(HERE.parent))

import cnn_sg
import mnist

# Of the windows of a group, one after another: colours that colour-blind eyes tell apart (Okabe
# and Ito, 2008), and hatches for grey print. The last is of cells in no window.
STYLES = (("#f0e442", ""), ("#56b4e9", "//"), ("#e69f00", ".."), ("#cc79a7", "\\\\"), ("white", ""))
OUTPUT = np.array(list("ABCDEFGHI")).reshape(3, 3)  # of every filter here
RIGHT, DOWN = "\N{BLACK RIGHTWARDS ARROW}", "\N{DOWNWARDS BLACK ARROW}"
TINY, SMALL, LARGE = 8, 9, 12.5  # points; shown 850 pixels wide, 9 points are 12.5 pixels


def numbered(width):
    return np.arange(width * width).reshape(width, width)


def stride_groups_by_letter(width, size, s):
    """Cut an image of width x width pixels, numbered row by row, by a filter of size x size.

    Returns for each offset (t, u) a group: {letter in OUTPUT: numbers of the pixels in its window}.
    """
    groups = {}
    for down, rows in cnn_sg.stride_groups(numbered(width), size, s, axis=0):
        for across, group in cnn_sg.stride_groups(rows, size, s, axis=2):
            windows = group.transpose(2, 0, 3, 1).reshape(-1, size * size)
            groups[down.start, across.start] = dict(zip(OUTPUT[down, across].flat, windows))
    return groups


def new_axes(columns, rows, inches=8.5):
    """Axes of a whole figure. The unit is the side of a cell; x goes to the right, y down.

    The figure is so many inches wide: the fewer, the larger are its letters on a page.
    """
    figure = Figure(figsize=(inches, inches * rows / columns))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows, 0), autoscale_on=False)
    axes.axis("off")
    return axes


def write(axes, x, y, text, fontsize=SMALL, **options):
    axes.text(x, y, text, fontsize=fontsize, ha="center", va="center", **options)


def draw_cells(axes, x, y, texts, styles):
    """A table of texts, its upper left corner at (x, y). styles: {(row, column): of STYLES}."""
    for (row, column), text in np.ndenumerate(texts):
        corner = x + column, y + row
        colour, hatch = STYLES[styles.get((row, column), -1)]
        pale = f"{colour}80" if hatch else colour
        axes.add_patch(Rectangle(corner, 1, 1, fc=pale, ec=colour, hatch=hatch, lw=0))
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#777777", lw=0.6))
        write(axes, x + column + 0.5, y + row + 0.5, text)


def draw_image(axes, x, y, pixels, windows, coloured=True):
    """An image, and windows on it: {letter: numbers of the pixels}."""
    width = len(pixels)
    styles = {divmod(n, width): k for k, window in enumerate(windows.values()) for n in window}
    draw_cells(axes, x, y, pixels, styles if coloured else {})
    dot = {"boxstyle": "circle,pad=0.12", "fc": "black", "ec": "white"}
    for letter, window in windows.items():
        row, column = divmod(window[0], width)
        size, left, top = math.isqrt(len(window)), x + column, y + row
        axes.add_patch(Rectangle((left, top), size, size, fill=False, ec="black", lw=2))
        write(axes, left + 1, top + 1, letter, TINY, color="white", weight="bold", bbox=dot)


def draw_output(axes, x, y, values):
    """The outputs; those of a group, {letter: value}, as values in the colours of the windows."""
    styles = {divmod("ABCDEFGHI".index(letter), 3): k for k, letter in enumerate(values)}
    texts = [[values.get(letter, letter) for letter in row] for row in OUTPUT]
    draw_cells(axes, x, y, texts, styles)


def save(name, axes):
    """Save the figure, then again with a palette: it looks the same in a third of the bytes."""
    path = IMAGES / f"{name}.png"
    axes.figure.savefig(path, dpi=1700 / axes.figure.get_figwidth())
    Image.open(path).convert("RGB").quantize().save(path, optimize=True)
    print(f"images/{name}.png is drawn", flush=True)


def draw_strides(data):
    """All positions of a 2 x 2 filter, and the output."""
    groups = stride_groups_by_letter(4, 2, 1)
    windows = {letter: window for group in groups.values() for letter, window in group.items()}
    axes = new_axes(25, 11.1)
    write(axes, 12.5, 0.5, "A 2 x 2 filter with stride 1: nine positions on a 4 x 4 image", LARGE)
    for k, letter in enumerate(sorted(windows)):
        x, y = 0.5 + 5 * (k % 5), 1.8 + 5.1 * (k // 5)
        write(axes, x + 2, y - 0.4, f"output [{k // 3}, {k % 3}]")
        draw_image(axes, x, y, numbered(4), {letter: windows[letter]})
    write(axes, 22.5, 7, "the output")
    draw_output(axes, 21, 7.4, {})
    save("strides", axes)


def draw_groups(name, width, size, s):
    """The windows of each group, and the outputs they make."""
    groups = stride_groups_by_letter(width, size, s)
    step = width + 1.6
    axes = new_axes(step * len(groups), width + 6.2)
    g = math.ceil(size / s)
    title = f"{size} x {size} filter, stride {s}, g = {g}: no two windows of a group share a pixel"
    write(axes, step * len(groups) / 2, 0.55, title, LARGE)
    for k, ((t, u), windows) in enumerate(groups.items()):
        middle = step * (k + 0.5)
        write(axes, middle, 1.45, f"offset t = {t}, u = {u}")
        draw_image(axes, middle - width / 2, 1.9, numbered(width), windows)
        write(axes, middle, width + 2.5, DOWN, LARGE)
        draw_output(axes, middle - 1.5, width + 3.1, dict(zip(windows, windows)))
    save(name, axes)


def draw_backward(data):
    """What `+=` on all windows at once loses, and what it makes of one group after another."""
    groups = stride_groups_by_letter(4, 2, 1)
    windows = {letter: window for group in groups.values() for letter, window in group.items()}
    axes = new_axes(25, 12.2, inches=6.4)
    write(axes, 12.5, 0.6, "Backward: each window adds 1 to its four pixels", LARGE)

    draw_image(axes, 0.5, 2.2, numbered(4), {k: windows[k] for k in "ABDE"}, coloured=False)
    pixels = np.zeros((4, 4), int)
    all_windows = sliding_window_view(pixels, (2, 2), writeable=True)
    all_windows += 1
    draw_cells(axes, 7.17, 2.2, pixels, {})
    for x, y, text in (
        (2.5, 1.7, "5 is in 4 windows"), (9.17, 1.7, "all windows += 1"),
        (18.2, 4.2, "At once, each pixel keeps only one\naddition. Pixel 5 gets 1: wrong."),
        (12.5, 7.3, "One stride group after another, group += 1: pixel 5 gets 4, right."),
    ):  # fmt: skip
        write(axes, x, y, text)

    corners = [(0.5, 2.2), (7.17, 2.2)]
    pixels = np.zeros((4, 4), int)
    for k, group in enumerate(groups.values()):
        for window in group.values():
            pixels.flat[window] += 1
        x = 0.5 + 6.67 * k
        draw_image(axes, x, 7.9, pixels, group)
        corners.append((x, 7.9))
        if k > 0:
            write(axes, x - 1.33, 9.9, RIGHT, LARGE)
    for x, y in corners:
        axes.add_patch(Rectangle((x + 1, y + 1), 1, 1, fill=False, ec="#d55e00", lw=3))  # pixel 5
    save("backward", axes)


def draw_axis(data):
    """A convolution an axis at a time: three matrices of windows, which overlap in memory."""
    rows = np.moveaxis(sliding_window_view(numbered(4), 2, axis=1), 2, 1)  # (ih, fw, ow)
    axes = new_axes(25, 11.6, inches=6.4)
    title = "Windows side by side are copied, below each other only looked at"
    write(axes, 12.5, 0.6, title, LARGE)
    for x, text in (
        (2.5, "image"), (8.3, "copied:\nrows of windows"), (13.5, "looked at:\n3 matrices"),
        (20, "multiplied: each makes\na row of outputs"),
    ):  # fmt: skip
        write(axes, x, 2, text)
    draw_image(axes, 0.5, 5.2, numbered(4), {"E": [5, 6, 9, 10]})
    write(axes, 5.3, 7.2, RIGHT, LARGE)
    for y in range(4):
        write(axes, 7, 4.2 + 2 * y, f"row {y}")
    draw_cells(axes, 8, 3.2, rows.reshape(8, 3), {(row, 1): 0 for row in range(2, 6)})
    axes.add_patch(Rectangle((9, 5.2), 1, 4, fill=False, ec="black", lw=2))
    for i, letters in enumerate(OUTPUT):
        x, y = 12.2 + 1.5 * (i % 2), 3.2 + 2 * i
        axes.add_patch(Rectangle((x, y), 1, 4, fc="0.9", ec="black", lw=2))
        write(axes, x + 0.5, y + 2, str(i))
        write(axes, 18.3, y + 2, f"matrices[{i}].T @ W  =")
        draw_cells(axes, 21.5, y + 1.5, [letters], {(0, 1): 0} if i == 1 else {})
    save("axis", axes)


def draw_photo(path, paper, ink, *strokes):
    """Save a picture as of a camera: strokes of a pen in a light that fades to the right."""
    picture = Image.new("RGB", (400, 300), paper)
    for stroke in strokes:
        ImageDraw.Draw(picture).line(stroke, ink, 10, joint="curve")
    light = np.linspace(1, 0.85, 400).reshape(1, 400, 1)
    Image.fromarray((picture * light).astype(np.uint8)).save(path)


def draw_training(data):
    """What mnist.py draws of a training, and of two pictures that the network reads after it."""
    with tempfile.TemporaryDirectory() as folder:
        weights, seven, four = (Path(folder, name) for name in ("cnn.npz", "seven.png", "four.png"))
        draw_photo(seven, "#faf4e6", "#1e3296", (160, 75, 290, 65, 200, 265), (190, 165, 280, 155))
        draw_photo(four, "#324b3e", "#ebebe1", (150, 50, 95, 185, 255, 175), (225, 90, 195, 265))
        for name, arguments in {
            "training": ("--seed", "1", "--data", data, "--save", weights),
            "read": ("--load", weights, "--read", seven, four),
        }.items():
            command = [sys.executable, HERE.parent / "mnist.py", "cnn", *arguments]
            if status := subprocess.call([*command, "--plot", IMAGES / f"{name}.png"]):
                sys.exit(status)  # mnist.py has said why


def draw_live(data):
    """The page of mnist.py lenet --live: a 3, and a pixel of the second convolution in numbers."""
    from playwright.sync_api import sync_playwright

    from extras import live
    net = cnn_sg.Network(mnist.models(cnn_sg, 10)["lenet"])
    net.load(HERE.parent / "extras" / "lenet.npz")
    about = {"model": "lenet", "module": "cnn_sg", "weights": "lenet.npz", "drawn": False}
    server = live.open_server(net, about, *mnist.load_mnist(data)[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upper = [(65 * np.cos(u), 50 * np.sin(u) - 50) for u in np.linspace(-2.6, 1.6, 30)]
    lower = [(75 * np.cos(u), 55 * np.sin(u) + 55) for u in np.linspace(-1.5, 2.6, 30)]
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"http://{server.hosts[0]}{server.root}")
        pad = page.locator("#pad").bounding_box()
        for k, (x, y) in enumerate(upper + lower):
            page.mouse.move(pad["x"] + 135 + x, pad["y"] + 137 + y)
            if k == 0:
                page.mouse.down()
        page.mouse.up()
        layers = page.locator("#layers[aria-busy=false] .layer")
        layers.first.wait_for()
        A = net.layers[2].A[0, 2:6, 2:6]  # the brightest pixel in the middle
        i, j, f = map(int, np.unravel_index(A.argmax(), A.shape) + np.array([2, 2, 0]))
        layers.nth(2).locator(".map").nth(f).click(position={"x": 4 * j + 2, "y": 4 * i + 2})
        page.mouse.move(0, 0)
        page.screenshot(path=IMAGES / "live.png")
        browser.close()
    with Image.open(IMAGES / "live.png") as picture:
        picture.quantize().save(IMAGES / "live.png")  # half as many bytes
    server.shutdown()


PICTURES = {
    "strides": draw_strides,
    "stride-groups": lambda data: draw_groups("stride-groups", 4, 2, 1),
    "backward": draw_backward,
    "axis": draw_axis,
    "training": draw_training,
    "read": draw_training,
    "live": draw_live,
}


def main():
    """Draw what the command line asks for."""
    names = ", ".join(PICTURES)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {names} (default: all)")
    parser.add_argument("--data", type=Path, default=mnist.HERE, metavar="DIR",
        help="folder of the four MNIST files (default: that of mnist.py)")  # fmt: skip
    options = parser.parse_args()
    if unknown := set(options.names) - set(PICTURES):
        parser.error(f"expected names of {names}, got {', '.join(unknown)}")
    for draw in dict.fromkeys(PICTURES[name] for name in options.names or PICTURES):
        draw(options.data)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as problem:
        sys.exit(f"draw_images.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
