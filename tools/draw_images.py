"""Draw the pictures of the documents into images/: all of them, or those named.

This needs matplotlib; drawn-digits, training and read also need MNIST. The last two are drawn
together: mnist.py trains for a minute, then reads. live also needs MNIST, Playwright and Chromium.
speed.png is drawn by benchmark.py --plot.
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
from extras import drawn

# Of the windows of a group, one after another: colours that colour-blind eyes tell apart (Okabe
# and Ito, 2008), and hatches for grey print. The last is of cells in no window.
STYLES = (("#f0e442", ""), ("#56b4e9", "//"), ("#e69f00", ".."), ("#cc79a7", "\\\\"), ("white", ""))
OUTPUT = np.array(list("ABCDEFGHI")).reshape(3, 3)  # of every filter here
RIGHT, DOWN = "\N{BLACK RIGHTWARDS ARROW}", "\N{DOWNWARDS BLACK ARROW}"
TINY, SMALL, LARGE = 8, 9, 12.5  # points; shown 850 pixels wide, 9 points are 12.5 pixels


def stride_groups_by_letter(width, size, s):
    """Cut an image of width x width pixels, numbered row by row, by a filter of size x size.

    Returns for each offset (t, u) a group: {letter in OUTPUT: numbers of the pixels in its window}.
    """
    pixels = np.arange(width * width).reshape(1, width, width, 1)
    groups = {}
    for (_, down, across), group in cnn_sg.stride_groups(pixels, size, size, s):
        windows = group.reshape(-1, size * size)
        groups[down.start, across.start] = dict(zip(OUTPUT[down, across].flat, windows))
    return groups


def new_axes(columns, rows):
    """Axes of a whole figure. The unit is the side of a cell; x goes to the right, y down."""
    figure = Figure(figsize=(8.5, 8.5 * rows / columns))
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


def draw_image(axes, x, y, width, windows):
    """The numbered pixels of an image, and the windows on them."""
    styles = {divmod(n, width): k for k, window in enumerate(windows.values()) for n in window}
    draw_cells(axes, x, y, np.arange(width * width).reshape(width, width), styles)
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
    axes.figure.savefig(path, dpi=200)
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
        draw_image(axes, x, y, 4, {letter: windows[letter]})
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
        draw_image(axes, middle - width / 2, 1.9, width, windows)
        write(axes, middle, width + 2.5, DOWN, LARGE)
        draw_output(axes, middle - 1.5, width + 3.1, dict(zip(windows, windows)))
    save(name, axes)


def draw_one_group(data):
    """The first group as rows of a matrix, times two filters, back into the output."""
    windows = stride_groups_by_letter(4, 2, 1)[0, 0]
    matrix = np.array([[*window, 1] for window in windows.values()])  # pixel n has the value n
    filters = np.array([[1, 1, 1, 1, 0], [0, 2, -1, 0, 1]]).T  # the last number is the bias
    Z = matrix @ filters
    styles = {index: index[0] for index in np.ndindex(matrix.shape)}
    axes = new_axes(22.8, 9.7)
    draw_image(axes, 0.2, 3.5, 4, windows)
    draw_cells(axes, 6.4, 3.5, matrix, styles)
    draw_cells(axes, 12.7, 3, filters, {})
    draw_cells(axes, 15.7, 3.5, Z, styles)
    for f in range(2):
        draw_output(axes, 19.5, 2 + 3.8 * f, dict(zip(windows, Z[:, f])))
    for x, sign in ((5.1, RIGHT), (12.05, "@"), (15.2, "="), (18.6, RIGHT)):
        write(axes, x, 5.5, sign, LARGE)
    for x, y, text in (
        (2.2, 0.9, "1. slice\nfour windows\nof the image"),
        (8.9, 0.9, "2. reshape\neach to a row, with a 1\n(windows, fh fw n_c + 1)"),
        (14.7, 0.9, "3. multiply\nby two filters, add biases\n(fh fw n_c + 1, n_f)"),
        (21, 0.9, "4. back into\noutput[:, 0::2, 0::2]\n(n_m, oh, ow, n_f)"),
        (6, 4, "A"), (6, 5, "C"), (6, 6, "G"), (6, 7, "I"), (12.3, 3.5, "W"), (12.3, 7.5, "b"),
        (13.7, 2.7, "f = 0, 1"), (16.7, 3.2, "f = 0, 1"), (21, 5.3, "f = 0"), (21, 9.1, "f = 1"),
    ):  # fmt: skip
        write(axes, x, y, text)
    save("one-group", axes)


def draw_digits(data):
    """Digits of extras/drawn.py beside the first ones of the test set of MNIST."""
    axes = new_axes(21.4, 7.4)  # a cell is a digit
    _, real = mnist.load_mnist(data)
    halves = {"drawn by mnist.py --drawn": drawn.draw_digits(400, seed=1), "MNIST": real}
    for x, (title, (images, labels)) in zip((0.2, 11.2), halves.items()):
        write(axes, x + 5, 0.6, title, LARGE)
        columns = [np.vstack(images[labels == digit][:6, :, :, 0]) for digit in range(10)]
        place = {"extent": (x, x + 10, 7.2, 1.2), "interpolation": "nearest"}
        axes.imshow(np.hstack(columns), cmap="gray_r", **place)
    save("drawn-digits", axes)


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
    "one-group": draw_one_group,
    "stride-2": lambda data: draw_groups("stride-2", 7, 3, 2),
    "drawn-digits": draw_digits,
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
