"""Print a layer that stands alone: the class, and just what it needs of its module.

    python3 examples/copy_layer.py cnn_sg.ConvLayer_ReLU > my_layer.py

A piece is a statement at the top level of the module: an import, a function, a class. A class is
printed together with each piece that defines a name in its source, and so on from there.
"""

import argparse
import ast
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent  # where the modules are
ORIGIN = """# From {} of cnn-numpy. Copyright (c) 2026 The cnn-numpy authors.
# MIT License: this notice, and the project's file LICENSE, must be kept with all copies."""


def defined_names(statement):
    """The names that a statement at the top level gives to the module."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return []


def used_names(statement):
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def needed_pieces(source, name):
    """The pieces that the class of this name needs, itself among them, in the module's order."""
    statements = ast.parse(source).body
    piece_of = {each: statement for statement in statements for each in defined_names(statement)}
    needed, names = [], [name]
    while names:
        piece = piece_of.get(names.pop())  # none for the names of Python, and local ones
        if piece and piece not in needed:
            needed.append(piece)
            names += used_names(piece)
    return sorted(needed, key=lambda piece: piece.lineno)


def copy_layer(module, name):
    """Return the source of a file with the class of this name, which needs no file beside it."""
    path = FOLDER / f"{module}.py"
    if not path.is_file():
        raise ValueError(f"{module}: expected a module beside mnist.py, found no file {path.name}")
    source = path.read_text(encoding="utf-8")
    body = ast.parse(source, path.name).body
    classes = [statement.name for statement in body if isinstance(statement, ast.ClassDef)]
    if name not in classes:
        raise ValueError(f"{module}: expected one of its classes {', '.join(classes)}, got {name}")
    imports, others = [], []
    for piece in needed_pieces(source, name):
        is_import = isinstance(piece, (ast.Import, ast.ImportFrom))
        (imports if is_import else others).append(ast.get_source_segment(source, piece))
    top = "\n".join([ORIGIN.format(path.name), "", *imports])
    return "\n\n\n".join([top, *others])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("layer", metavar="MODULE.CLASS", nargs="?", default="cnn_sg.ConvLayer_ReLU",
                        help="a class of a module beside mnist.py (default: %(default)s)")
    module, _, name = parser.parse_args().layer.partition(".")
    try:
        print(copy_layer(module, name))
    except (ValueError, SyntaxError) as problem:
        sys.exit(problem)
