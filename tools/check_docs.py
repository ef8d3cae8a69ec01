"""Check the documents and the examples: what they show has to run, what they name has to exist.

Prints a line for each fault, and fails; at last a line for each document. Needs markdown-it-py.
- Python blocks run in an empty folder, in order, those under a heading in one namespace. Each of
  examples/ runs by itself in one. Warnings are errors. What lacks a package is skipped. (But the
  lines of a block "python FILE" have to stand in FILE.)
- Commands, in code font and in blocks of sh or no language, name a script that takes them.
- Links, anchors, pictures and files in code font exist; pictures have alternative texts.
- A line has at most 110 characters, if not of a table. Two epochs in it are a wrapped output.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock
from urllib.parse import unquote

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "FAQ.md", "exercises/README.md", "tools/README.md")
OPTIONAL = {"torch", "jax", "matplotlib", "PIL", "mpi4py"}
LONG = {"lowest_error.py": ["--epochs", "1"], "record.py": ["1.npz", "--epochs", "1"]}  # on MNIST
ELSEWHERE = {".venv/bin/", ".venv/bin/pip", ".venv/bin/python3", ".gz", ".npz", ".png", ".py",
             "cnn.npz", "cnn.png", "seven.png", "answers.npz", "cnn_mine.py"}  # fmt: skip
FILE = re.compile(r"[\w.-]+/[\w.*/-]*|\.\w+|[\w.*-]+\.(?:py|md|txt|png|npz|cff|html)")
EPOCH = re.compile(r"\bepoch \d+[/:]")
PYTHON = r"(?:\S+ )*?(?:\S*/)?(?:python3?(?: -u| -W \w+)*|uv run) (?!-)"
COMMAND = re.compile(rf"(?:{PYTHON}|(?=\S+\.py ))(\S+)((?: \S+)*)")  # script, its arguments


class Document:
    """What is in a document, as pairs of a line and a text, and what is wrong at first sight."""

    def __init__(self, path):
        self.path, self.source, line = path, path.read_text("utf-8"), 0
        self.links, self.codes, self.commands, self.blocks = [], [], [], []
        self.anchors, self.faults, before = [], [], None
        for token in MarkdownIt("commonmark").enable("table").parse(self.source):
            line = token.map[0] + 1 if token.map else line
            if token.type == "fence" and token.info == "python":
                self.blocks.append((line, token.content, len(self.anchors)))
            elif token.type == "fence" and token.info.startswith("python "):  # of the file named
                known = (ROOT / token.info[7:]).read_text("utf-8")
                strange = [text for text in token.content.splitlines() if text.strip() not in known]
                self.faults += [(line, f"lines of {token.info[7:]}", text) for text in strange]
            elif token.type == "fence" and token.info in ("", "sh"):
                lines = token.content.replace("\\\n", " ").splitlines()
                self.commands += enumerate(lines, line + 1)
            elif token.type in ("inline", "html_block"):
                self.read_text(line, token.children or [token])
                if before == "heading_open":
                    shown = "".join(each.content for each in token.children)
                    anchor = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
                    self.anchors.append(anchor)  # as GitHub makes it
                if len(EPOCH.findall(token.content)) > 1:
                    self.faults.append((line, "an output in a block", "a paragraph of epochs"))
            before = token.type
        for line, text in enumerate(self.source.splitlines(), 1):
            if len(text) > 110 and not text.startswith("|"):
                self.faults.append((line, "a line of at most 110 characters", len(text)))
            if len(EPOCH.findall(text)) > 1:
                self.faults.append((line, "a line for each epoch", text))

    def read_text(self, line, tokens):
        for token in tokens:
            if token.type == "link_open":
                self.links.append((line, token.attrs["href"]))
            elif token.type == "image":
                self.links.append((line, token.attrs["src"]))
                if not token.content:
                    self.faults.append((line, "a picture with an alternative text", "none"))
            elif token.type == "code_inline":
                kind = self.commands if COMMAND.fullmatch(token.content) else self.codes
                kind.append((line, token.content))
            elif token.type.startswith("html"):
                found = re.findall(r'(?:href|src)="([^"]*)"', token.content)
                self.links += [(line, address) for address in found]

    def check_links(self):
        for line, address in self.links:
            if re.match(r"\w+:|//", address):
                continue
            name, _, anchor = unquote(address).partition("#")
            file = (self.path.parent / name).resolve() if name else self.path
            if not file.exists():
                yield line, "a file that exists", address
            elif anchor and file.suffix == ".md" and anchor not in Document(file).anchors:
                yield line, f"an anchor of {file.name}", address

    def check_files(self):
        for line, code in self.codes:
            is_file = FILE.fullmatch(code) and code not in ELSEWHERE
            if is_file and not any((*ROOT.glob(code), *self.path.parent.glob(code))):
                yield line, "a file of the repository", code

    def check_commands(self):
        for line, text in self.commands:
            for piece in re.split(r"&&|[;|]|\d?[<>]| #", text.strip().removeprefix("$ ")):
                if match := COMMAND.fullmatch(piece.strip()):
                    script, arguments = ROOT / match[1], match[2].split()
                    if not script.is_file():
                        yield line, "a script of the repository", match[1]
                    elif complaint := complaint_of(script, arguments):
                        yield line, f"arguments that {match[1]} takes", complaint

    def check_blocks(self):
        rooms, skipped = {}, {}  # of each heading: the names of its blocks; the package it lacks
        for line, block, heading in self.blocks:
            namespace = rooms.setdefault(heading, {"__name__": "__main__"})
            if heading in skipped:
                continue
            source = "\n" * line + block  # so that errors have the document's line numbers
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("error")
                    exec(compile(source, self.path, "exec"), namespace)  # noqa: S102 - it is ours
            except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever it may be
                if why := lacking(f"{type(problem).__name__}: {problem}"):
                    skipped[heading] = print(f"{self.path.name}:{line}: skipped, there is no {why}")
                else:
                    step = problem.__traceback__.tb_next  # none where it cannot be compiled
                    place = step.tb_lineno if step else problem.lineno
                    yield place, "a block that runs", repr(problem)[:200]


def lacking(message):
    """The package, or the data, that is not here, if that is what an exception says."""
    if module := re.search(r"No module named '(\w+)'", message):
        return module[1] if module[1] in OPTIONAL else None
    return "MNIST" if "ConnectionError: " in message or "no mirror gave" in message else None


def complaint_of(script, arguments):
    """Run a script until it has parsed the arguments. Return argparse's complaint, if any."""
    if "argparse" not in script.read_text("utf-8"):
        return None
    parse_args, complaint = argparse.ArgumentParser.parse_args, io.StringIO()
    def only_parse(parser, *_):
        parse_args(parser, ["1" if re.match("[A-Z$]", word) else word for word in arguments])
        sys.exit()
    with (
        mock.patch("argparse.ArgumentParser.parse_args", only_parse),
        mock.patch("sys.argv", [str(script)]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(complaint),
        contextlib.suppress(SystemExit, ImportError),
    ):
        runpy.run_path(str(script), run_name="__main__")
    return complaint.getvalue().strip().split("\n")[-1]


def check_example(path, data):
    """Run it as a reader would; yield what is wrong, if anything."""
    command = [sys.executable, "-W", "error", path]
    command += [*LONG[path.name], "--data", data] if path.name in LONG else []
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if why := run.returncode and lacking(run.stderr):
        print(f"{path.name}: skipped, there is no {why}")
    elif run.returncode or run.stderr or not run.stdout and "__main__" in path.read_text("utf-8"):
        last = run.stderr.splitlines()[-1:] or [f"{len(run.stdout)} characters of output"]
        yield 1, "an example that runs and prints", f"status {run.returncode}, {last[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: all documents and examples")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of MNIST for both")
    options = parser.parse_args()
    data, here, faults = options.data.resolve(), os.getcwd(), []
    sys.path[:1] = ["", str(ROOT)]  # "": first the folder of the blocks
    import mnist
    mnist.HERE, mnist.load_mnist.__defaults__ = data, (data,)  # the blocks take one of them
    everything = [*map(ROOT.joinpath, DOCUMENTS), *sorted(ROOT.glob("examples/*.py"))]
    for path in [each.resolve() for each in options.files or everything]:
        found = [*check_example(path, data)] if path.suffix == ".py" else []
        if path.suffix == ".md":
            document = Document(path)
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                found = [*document.check_blocks(), *document.faults]
                os.chdir(here)
            found += [*document.check_links(), *document.check_files(), *document.check_commands()]
        print(f"{path.relative_to(ROOT)}: {len(found)} faults", flush=True)
        faults += [f"{path.name}:{line}: expected {a}, found {b}" for line, a, b in sorted(found)]
    print(*faults, sep="\n")
    return len(faults) > 0


if __name__ == "__main__":
    sys.exit(main())
