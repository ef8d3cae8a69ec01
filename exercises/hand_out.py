"""Make a folder to hand out to a class: the skeleton, the checker and the course, no solution.

The checker there compares with numbers: what cnn_naive.py and the known mistakes compute.
"""

import argparse
import ast
import re
import shutil
import sys
from pathlib import Path

import check
import mistakes
import numpy as np
import start

FILES = ["mnist.py", "requirements.txt", "LICENSE", "exercises/check.py", "exercises/asked.py"]
IGNORED = """__pycache__/
*-ubyte
*-ubyte.gz
*.npz
!exercises/answers.npz
"""


def for_students(course):
    """Return README.md without the teachers' part and without what is not in the folder."""
    course = course.split("\n---\n\n# For teachers")[0]
    course = re.sub(r"(?s) <!-- clone -->.*?<!-- end -->", "", course)
    course = re.sub(r"\]\(\.\./cnn_sg\.py#[^)]*\)", "](stride_groups.py)", course)
    return re.sub(r"\[([^]]*)\]\(\.\./(?:cnn_|FAQ|mnist)[^)]*\)", r"\1", course)


def stride_groups():
    """Return the function of cnn_sg.py as a file of its own."""
    source = (start.ROOT / "cnn_sg.py").read_text("utf-8")
    (function,) = [n for n in ast.parse(source).body if getattr(n, "name", "") == "stride_groups"]
    imports = "import math\n\nfrom numpy.lib.stride_tricks import sliding_window_view\n\n\n"
    return imports + ast.get_source_segment(source, function) + "\n"


def differ(one, other):
    return one.dtype != other.dtype or not np.array_equal(one, other, equal_nan=True)


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
                for name, array in values.items():
                    if text == "right" or "ended by" in values or differ(array, right[k][name]):
                        numbers[f"{task}|{text}|{k}|{name}"] = array
    course = for_students((check.HERE / "README.md").read_text("utf-8"))
    images = re.findall(r"\(\.\./(images/[^)]*)\)", course)
    for name in ("exercises", "images"):
        (folder / name).mkdir(parents=True)
    for name in FILES + images:
        shutil.copy(start.ROOT / name, folder / name)
    extras = shutil.ignore_patterns("__pycache__", "*.npz")
    shutil.copytree(start.ROOT / "extras", folder / "extras", ignore=extras)
    (folder / ".gitignore").write_text(IGNORED, "utf-8")
    (folder / "cnn_mine.py").write_text(start.skeleton(mistakes.SOURCE), "utf-8")
    (folder / "exercises" / "README.md").write_text(course, "utf-8")
    (folder / "exercises" / "stride_groups.py").write_text(stride_groups(), "utf-8")
    np.savez_compressed(folder / "exercises" / "answers.npz", **numbers)
    print(f"{folder} is ready: `python3 exercises/check.py` in it says what is open.")


if __name__ == "__main__":
    main()
