"""Make a folder to hand out to a class: the skeleton, the checker and the course, no solution.

The checker there compares with numbers: what cnn_naive.py and the known mistakes compute.
"""

import argparse
import shutil
import sys
from pathlib import Path

import check
import mistakes
import numpy as np
import start

FILES = ["mnist.py", "requirements.txt", "LICENSE", "exercises/check.py", "exercises/README.md"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="it must not exist yet")
    folder = parser.parse_args().folder
    if folder.exists():
        sys.exit(f"{folder} exists, and stays as it is: give the name of a new folder")
    numbers = {}
    for task in range(1, 10):
        right, known = check.answers(task)
        for text, results in [("right", right), *known]:
            for k, values in enumerate(results):
                numbers |= {f"{task}|{text}|{k}|{name}": values[name] for name in values}
    (folder / "exercises").mkdir(parents=True)
    for name in FILES:
        shutil.copy(start.ROOT / name, folder / name)
    (folder / "cnn_mine.py").write_text(start.skeleton(mistakes.SOURCE), "utf-8")
    np.savez_compressed(folder / "exercises" / "answers.npz", **numbers)
    print(f"{folder} is ready: `python3 exercises/check.py` in it says what is open.")


if __name__ == "__main__":
    main()
