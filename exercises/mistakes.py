"""The mistakes that check.py knows: rows of mistakes.csv, each a small change of cnn_naive.py."""

import ast
import csv
from pathlib import Path
from types import ModuleType

import start

SOURCE = (start.ROOT / "cnn_naive.py").read_text("utf-8")
METHODS = {
    name: ast.get_source_segment(SOURCE, method) for name, method in start.methods(SOURCE).items()
}


def rows():
    """Return (method, message, [(code, what stands in its place), ...]) of each mistake."""
    found = []
    with open(Path(__file__).with_name("mistakes.csv"), newline="", encoding="utf-8") as file:
        for where, message, *texts in list(csv.reader(file))[1:]:
            changes = [(old, new) for old, new in zip(texts[::2], texts[1::2]) if old]
            for name, code in METHODS.items():
                if where == name or (where == "every window" and changes[0][0] in code):
                    found.append((name, message, changes))
    return found


def wrong(task):
    """Yield (message, module) for each mistake of a task."""
    for name, message, changes in rows():
        if start.METHODS[name][0] == task:
            code = METHODS[name]
            for old, new in changes:
                code = code.replace(old, new)
            yield message, module(SOURCE.replace(METHODS[name], code))


def module(source=SOURCE):
    cnn = ModuleType("cnn_naive")
    exec(compile(source, "cnn_naive.py", "exec"), cnn.__dict__)  # noqa: S102 - our own
    return cnn
