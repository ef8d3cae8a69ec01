"""Train on a folder of your own pictures, in colour: a folder in it for each class.

    python3 examples/own_images.py --folder DIR     DIR/cat/1.jpg, DIR/cat/2.jpg, DIR/dog/1.jpg ...

Without --folder it draws circles, squares and triangles in a temporary folder. Needs Pillow.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of cnn_sg.py

import numpy as np
from PIL import Image, ImageDraw

import cnn_sg
from mnist import scale, train


def read_picture(file):
    """Return uint8 (32, 32, 3): red, green and blue."""
    return np.asarray(Image.open(file).convert("RGB").resize((32, 32)))


def read_folder(folder):
    """Return images uint8 (n, 32, 32, 3), labels (n,), names of the classes."""
    files = sorted(Path(folder).glob("*/*"))
    names = sorted({file.parent.name for file in files})
    labels = np.array([names.index(file.parent.name) for file in files])
    return np.stack([read_picture(file) for file in files]), labels, names


def draw_shapes(folder, n):
    """Draw n pictures of each shape, light on dark, of any colour, size and place."""
    rng = np.random.default_rng(1)
    for name, sides in ("triangle", 3), ("square", 4), ("circle", 40):
        Path(folder, name).mkdir()
        for k in range(n):
            dark, light = rng.integers(0, 100, 3).tolist(), rng.integers(120, 256, 3).tolist()
            x, y, radius = rng.integers([20, 18, 10], [44, 30, 18]).tolist()
            picture = Image.new("RGB", (64, 48), tuple(dark))
            draw = ImageDraw.Draw(picture)
            draw.regular_polygon((x, y, radius), sides, rng.uniform(0, 20), fill=tuple(light))
            picture.save(Path(folder, name, f"{k}.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", metavar="DIR", help="your pictures, a folder for each class")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as drawn:
        if not folder:
            draw_shapes(drawn, 200)
        x, labels, names = read_folder(folder or drawn)

    y = np.eye(len(names), dtype=np.float32)[labels]  # one-hot
    shuffled = np.random.default_rng(1).permutation(len(x))  # they were sorted by class
    test, rest = np.split(shuffled, [len(x) // 5])
    print(f"{len(x)} pictures of {', '.join(names)}, {len(test)} of them to test on")
    net = cnn_sg.Network([
        cnn_sg.ConvLayer_ReLU(16, 3), cnn_sg.PoolLayer_Max(2, 2),
        cnn_sg.ConvLayer_ReLU(16, 3), cnn_sg.PoolLayer_Max(2, 2),
        cnn_sg.FlatLayer(), cnn_sg.FCLayer_ReLU(50), cnn_sg.FCLayer_Softmax(len(names)),
    ], seed=1)  # fmt: skip
    settings = {"epochs": 20, "learning_rate": 0.05, "batch_size": 16, "seed": 1}
    for epoch, step, steps, loss, error in train(net, x[rest], y[rest], **settings):
        if step == steps and epoch % 5 == 0:
            _, test_loss, test_error = net.evaluate(scale(x[test]), y[test])
            print(f"epoch {epoch}: test loss {test_loss:.2f}, error {100 * test_error:.1f} %")
    for k, row in zip(test[:3], net.predict(scale(x[test[:3]]))):
        print(f"a {names[labels[k]]}, read as {names[row.argmax()]} ({100 * row.max():.1f} %)")
    assert folder or test_error < 0.15


if __name__ == "__main__":
    main()
