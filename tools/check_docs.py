"""Check README.md and FAQ.md: what they show has to run, what they name has to exist.

    python3 tools/check_docs.py

Prints a line for each fault, and fails; else a line for each document. Needs markdown-it-py.
- Python blocks run in an empty folder, in order, those under a heading in one namespace. Warnings
  are errors. A block that begins with, say, `# check.py` is also a file that others can import.
- Those of a README can be pasted at the prompt of any Python 3.
- Commands of python3, uv run, or a script, in code font and in blocks of sh, bash, shell, console
  or no language, are parsed, not run. (What a program prints is best shown in a block of text.)
- Links, anchors and pictures have to exist, if they are not on other sites.
- Names, options and files in code font: see check_code.
- A sentence has at most 30 words; a line at most 110 characters, unless it is one of a table.
"""

import argparse
import ast
import builtins
import codeop
import contextlib
import functools
import html.parser
import importlib.util
import io
import keyword
import os
import pkgutil
import re
import runpy
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock
from urllib.parse import unquote

import numpy as np
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # what documents may name although the repository does not have it
    ".venv/bin/pip", ".venv/bin/python3", "pip", "python3", "mpiexec", "uv",  # programs
    "cnn.npz", "cnn.png", "seven.png", ".gz", ".npz", ".png",  # files that a reader makes or gets
    "DistributedDataParallel", "lr", "--help",  # of PyTorch and argparse
}  # fmt: skip
OPTIONAL = {"torch", "jax", "matplotlib", "PIL", "mpi4py"}
ABSENT = {package for package in OPTIONAL if importlib.util.find_spec(package) is None}
SOURCES = {*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")} - {Path(__file__).resolve()}
MODULES = sys.stdlib_module_names | OPTIONAL | {"numpy", *(path.stem for path in SOURCES)}
ALIASES = {"np": "numpy", "nn": "torch.nn", "F": "torch.nn.functional", "plt": "matplotlib.pyplot"}
FILE = re.compile(r"[\w.-]+/[\w.*/-]*|\.\w+|[\w.*-]+\.(?:py|md|txt|png|npz)")
NAME = re.compile(r"--[\w-]+|(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # an option; dotted or not
SYMBOL = re.compile(r"[A-Za-z]|[A-Z]_[a-z]")  # of a formula
SENTENCE = re.compile(r"(?s).+?(?:(?<!\bet al)[.?!][)\"]*\s+(?![a-z])|\Z)")
PYTHON = r"(?:\S+ )*?(?:\S*/)?(?:python3(?: -W \w+)?|uv run) (?!-)"
COMMAND = re.compile(rf"(?:{PYTHON}|(?=\S+\.py))(\S+)(.*)")  # a script and its arguments


class Document(html.parser.HTMLParser):
    """What is in a document, most of it as (line, text), and how many things were checked.

    The parser does not tell where code font is wrapped: the paragraph then counts a line less.
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.source, self.counts = path, path.read_text(encoding="utf-8"), Counter()
        self.texts, self.codes, self.commands, self.links, self.pictures = [], [], [], [], []
        self.headings, self.anchors, self.tables = [], set(), set()
        self.blocks, self.words = [], set()  # of Python: (line, text, headings before it); names
        markdown, line, before = MarkdownIt("commonmark").enable("table"), 0, None
        for token in markdown.parse(self.source):
            line = token.map[0] + 1 if token.map else line
            if token.type == "table_open":
                self.tables.update(range(line, token.map[1] + 1))
            elif token.type == "fence" and token.info.startswith("py"):
                self.blocks.append((line, token.content, len(self.headings)))
            elif token.type == "fence" and token.info in ("", "sh", "bash", "shell", "console"):
                lines = token.content.replace("\\\n", " ").splitlines()
                self.commands.extend(enumerate(lines, line + 1))
            elif token.type in ("inline", "html_block"):
                self.line, self.text, self.in_code = line, "", False
                self.reset()
                self.feed(markdown.renderer.render([token], markdown.options, {}))
                self.close()
                if before == "heading_open":
                    self.add_heading()
                else:
                    self.texts.append((line, self.text))
            before = token.type

    def add_heading(self):
        """Keep the anchor that GitHub gives to a heading."""
        anchor = re.sub(r"[^\w -]", "", self.text.lower()).replace(" ", "-")
        times = self.headings.count(anchor)
        self.anchors.add(f"{anchor}-{times}" if times else anchor)
        self.headings.append(anchor)

    def handle_starttag(self, tag, attributes):
        line, attributes = self.line + self.getpos()[0] - 1, dict(attributes)
        self.in_code = tag == "code" and not self.text.endswith("$")  # $`a formula`$
        for address in filter(None, map(attributes.get, ("href", "src", "srcset"))):
            self.links.append((line, address.split()[0]))
        if tag == "img":
            self.pictures.append((line, attributes.get("alt") or ""))

    def handle_endtag(self, tag):
        self.in_code = False

    def handle_data(self, data):
        self.text += f"\0{data}\0" if self.in_code else data
        if self.in_code:
            is_command = " " in data and COMMAND.fullmatch(data)
            found = self.commands if is_command else self.codes
            found.append((self.line + self.getpos()[0] - 1, data))


# The checks return (line, what was expected, what was found) of each fault.


def check_links(document):
    for line, address in document.links:
        if re.match(r"\w+:|//", address):
            continue
        document.counts["links and pictures"] += 1
        name, _, anchor = unquote(address).partition("#")
        target = (document.path.parent / name).resolve() if name else document.path
        if not target.exists():
            yield line, "a file that exists", address
        elif anchor and (target.suffix != ".md" or anchor not in read(target).anchors):
            yield line, f"an anchor of {target.name}", address  # numbers of lines go stale
    for line, alternative in document.pictures:
        if not alternative.strip():
            yield line, "a picture with an alternative text", "none"


def check_prose(document):
    """Check the length of lines, and of sentences: what is in code font counts as a word.

    A paragraph, list item, cell or picture ends a sentence; a colon does not.
    """
    for line, text in enumerate(document.source.splitlines(), 1):
        if len(text) > 110 and line not in document.tables:
            yield line, "a line of at most 110 characters", len(text)
    for line, text in document.texts + document.pictures:
        text = re.sub("\0.*?\0", "Code", text)
        for sentence in SENTENCE.finditer(text):
            words = re.findall(r"\S*\w\S*", sentence[0])
            if len(words) > 30:
                place = line + text.count("\n", 0, sentence.start())
                found = f"{len(words)}: {' '.join(words[:6])} ..."
                yield place, "a sentence of at most 30 words", found


def check_prompt(document):
    """Check that a README's blocks can be pasted: there, a blank line ends a loop or a class."""
    for first, block, _ in document.blocks if document.path.name == "README.md" else []:
        statement = ""
        for line, text in enumerate([*block.splitlines(), ""], first + 1):
            try:
                whole = codeop.compile_command(statement + text)
            except SyntaxError as problem:
                yield line, "a line that the prompt takes", f"{problem.msg}: {text}"
                break
            statement = "" if whole else f"{statement}{text}\n"


def check_blocks(document):
    """Run the Python blocks, but those that need MNIST or a package and cannot have it."""
    faults, heading = [], None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        for line, block, number in document.blocks:
            if number != heading:
                heading, namespace = number, {"__name__": "__main__"}
                lacking = {name: name for name in [*ABSENT, "MNIST"]}  # and names that need it
            if comment := re.match(r"# ([\w-]+\.py)\n", block):
                Path(comment[1]).write_text(block, encoding="utf-8")
            source = "\n" * line + block  # so that errors have the document's line numbers
            words, why = set(), None
            try:
                code, words = compile(source, document.path, "exec"), words_of(source)
                exec(code, namespace)  # noqa: S102 - the documents are ours
            except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever it may be
                if isinstance(problem, (ConnectionError, ImportError, NameError)):
                    name = getattr(problem, "name", None) or "MNIST"
                    why = lacking.get(name.split(".")[0])
                if not why:
                    step = problem.__traceback__.tb_next
                    message = " ".join(f"{type(problem).__name__}: {problem}".split())
                    place = step.tb_lineno if step else problem.lineno
                    faults.append((place, "a block that runs", message))
            lacking.update(dict.fromkeys(words, why) if why else {})
            document.words |= words
            document.counts[f"Python blocks{f' skipped for want of {why}' if why else ''}"] += 1
    return faults


def check_commands(document):
    for line, text in document.commands:
        for piece in re.split(r"&&|[;|]|\d?[<>]| #", text.strip().removeprefix("$ ")):
            match = COMMAND.fullmatch(piece.strip())
            if not match or os.path.exists(match[1]):  # another program, or one of the blocks
                continue
            document.counts["commands"] += 1
            words = ["1" if word.isupper() else word for word in match[2].split()]  # N, DIR
            if not (ROOT / match[1]).is_file():
                yield line, "a script of the repository", match[1]
            elif complaint := parse(match[1], words):
                yield line, f"arguments that {match[1]} takes", complaint


def parse(script, arguments):
    """Run a script until argparse has parsed the arguments. Return its complaint, if any."""
    parse_args, complaint = argparse.ArgumentParser.parse_args, io.StringIO()

    def only_parse(parser, *_):
        parse_args(parser, arguments)
        sys.exit()

    with (
        mock.patch("argparse.ArgumentParser.parse_args", only_parse),
        mock.patch("sys.argv", [script, "--help"]),  # with that, mnist.py starts no MPI
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(complaint),
        contextlib.suppress(SystemExit, ImportError),
    ):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return complaint.getvalue().strip().split("\n")[-1]


def check_code(document):
    """Check what is in code font.

    Names of files as such; else, of what Python can parse, all names, but neither strings nor
    single letters. Of what it cannot parse, such as a formula with 2p, only options and words
    with a _: the others may be prose. Not checked are addresses of other sites.
    """
    sources = (path.read_text(encoding="utf-8") for path in SOURCES)
    words = document.words.union(ELSEWHERE, *map(words_of, sources))
    for line, code in document.codes:
        document.counts["pieces in code font"] += 1
        names = NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "''", code))
        if "://" in code or code in ELSEWHERE:
            continue
        if FILE.fullmatch(code):
            if not any((*ROOT.glob(code), *Path().glob(code))):
                yield line, "a file of the repository", code
            continue
        try:
            ast.parse(code)
        except SyntaxError:
            names = [name for name in names if "_" in name or "--" in name]
        for name in names:
            if not SYMBOL.fullmatch(name) and not exists(name, words):
                yield line, "a name in the code", name


def words_of(source):
    """The names in Python code, and the words and options in its strings.

    Not those of comments and docstrings: what is only named there no longer exists.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    return set(re.findall(r"--[\w-]+|\w+", ast.unparse(tree)))


def exists(name, words):
    """Whether a name, dotted or not, is one of a file, a module, the words, Python or NumPy.

    What is in a package that is not installed is not known, and taken to be there.
    """
    first, *rest = name.split(".")
    package, *rest = [*ALIASES.get(first, first).split("."), *rest]
    if package in MODULES:
        try:
            return pkgutil.resolve_name(".".join([package, *rest])) is not None
        except (AttributeError, ImportError):
            return package in ABSENT or (ROOT / name).exists()
    known = words.union(keyword.kwlist, dir(builtins), dir(np), dir(np.ndarray))
    return (ROOT / name).exists() or known.issuperset(name.split("."))


read = functools.cache(Document)
CHECKS = check_blocks, check_links, check_prose, check_prompt, check_commands, check_code


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="*", type=Path, metavar="DOCUMENT",
                        help="default: README.md, and FAQ.md if there is one")  # fmt: skip
    parser.add_argument("--data", type=Path, default=ROOT, metavar="DIR",
                        help="the folder of MNIST, HERE of mnist.py for the blocks")  # fmt: skip
    options = parser.parse_args()
    sys.path[:1] = ["", str(ROOT), str(ROOT / "tools")]  # "": first the folder of the blocks
    importlib.import_module("mnist").HERE = options.data.resolve()
    status = 0
    for path in options.documents or [ROOT / "README.md", *ROOT.glob("FAQ.md")]:
        if not path.is_file():
            sys.exit(f"{path}: expected a document, found none")
        name, document, here = os.path.relpath(path), read(path.resolve()), os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            faults = sorted(fault for check in CHECKS for fault in check(document))
            os.chdir(here)
        for line, expected, found in faults:
            print(f"{name}:{line}: expected {expected}, found {found}")
            status = 1
        if not faults:
            print(f"{name}: {', '.join(f'{kind}: {n}' for kind, n in document.counts.items())}")
    return status


if __name__ == "__main__":
    sys.exit(main())
