"""Check README.md and FAQ.md: what they show has to run, what they name has to exist.

    python3 tools/check_docs.py

Needs markdown-it-py. Prints a line for each fault, and fails; else a line for each document.
- Python blocks run in order, in one namespace, in an empty folder; warnings are errors.
- Commands of python3, uv run, or a script, in code font and in blocks of sh, bash, shell, console
  or no language, are parsed, not run. (What a program prints is best shown in a block of text.)
- Links, anchors and pictures have to exist, if they are not on other sites.
- Names, options and files in code font: see Document.check_code.
- Prose: a sentence has at most 30 words, a line at most 110 characters. See Document.check_prose.
"""

import argparse
import ast
import builtins
import contextlib
import functools
import html.parser
import importlib.util
import io
import itertools
import keyword
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import traceback
import urllib.parse
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

try:
    from markdown_it import MarkdownIt
except ImportError:
    sys.exit("check_docs.py needs markdown-it-py: python3 -m pip install markdown-it-py")

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # what documents may name although the repository does not have it
    ".venv/bin/pip", ".venv/bin/python3", "pip", "python3", "mpiexec", "uv",  # programs
    "cnn.npz", "cnn.png", "seven.png", "weights.npz", ".gz", ".npz", ".png",  # files that a reader makes or gets
    "DistributedDataParallel", "lr",  # of PyTorch
}  # fmt: skip
OPTIONAL = {"torch", "jax", "matplotlib"}
ABSENT = {package for package in OPTIONAL if importlib.util.find_spec(package) is None}
MODULES = sys.stdlib_module_names | OPTIONAL | {"numpy", *(each.stem for each in ROOT.glob("*.py"))}
ALIASES = {"np": "numpy", "nn": "torch.nn", "F": "torch.nn.functional", "plt": "matplotlib.pyplot"}
FOLDERS = "|".join(re.escape(each.name) for each in ROOT.iterdir() if each.is_dir())
FILE = re.compile(rf"(?:{FOLDERS})/[\w.*/-]*|\.\w[\w/]*|[\w.*/-]+\.(?:py|md|txt|png|npz)")
NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # dotted or not
SYMBOL = re.compile(r"[A-Za-z]|[A-Z]_[a-z]")  # of a formula
SENTENCE_END = re.compile(r"(?<!\bet al)[.?!][)\"]*\s+(?![a-z])")
LINE = re.compile(r"(?:\\\n|.)+")  # of a shell, with those that continue it
PYTHON = r"(?:\w+=\S* )*(?:(?:\S*/)?python3(?: -W \w+)?|uv run)"
COMMAND = re.compile(rf"{PYTHON} (?P<python>[^-].*)|(?P<script>\S+\.py(?: .*)?)")


# What there is


def words_of(source):
    """The names in Python code, and the words of its strings.

    Not those of comments and docstrings: what is only named there no longer exists.
    """
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    words = set()
    for node in set(nodes) - docstrings:
        for _, field in ast.iter_fields(node):
            for text in field if isinstance(field, list) else [field]:
                words.update(re.findall(r"\w+", text) if isinstance(text, str) else ())
    return words


@functools.cache
def words_of_code():
    paths = {*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")} - {Path(__file__).resolve()}
    return set().union(*(words_of(path.read_text(encoding="utf-8")) for path in paths))


def exists(name, words):
    """Whether a name, dotted or not, is one of a file, a module, the words, Python or NumPy.

    What is in a package that is not installed is not known, and taken to be there.
    """
    root, _, attributes = name.partition(".")
    root = ALIASES.get(root, root)
    package = root.partition(".")[0]
    if package in ABSENT or (package in MODULES and not attributes) or os.path.exists(ROOT / name):
        return True
    if package in MODULES:
        try:
            return pkgutil.resolve_name(f"{root}.{attributes}") is not None
        except (AttributeError, ImportError):
            if package not in sys.stdlib_module_names:  # these are also names of variables: array
                return False
    known = words.union(keyword.kwlist, dir(builtins), dir(np), dir(np.ndarray))
    return known.issuperset(name.split("."))


@functools.cache
def run_help(script, *arguments):
    """Run a script with --help after the arguments, so that it only parses them."""
    command = [sys.executable, str(ROOT / script), *arguments, "--help"]
    environment = {**os.environ, "COLUMNS": "1000", "PYTHON_COLORS": "0"}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )


def words_of_help(script):
    return set(re.findall(r"[\w-]+", run_help(script).stdout))


# Markdown


@functools.cache
def parse(path):
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def parts(path):
    """Yield (line number, token) of each block of a document and of each piece of its text.

    The parser does not tell where code font is wrapped: the paragraph then counts a line less.
    """
    for token in parse(path):
        line = token.map[0] + 1 if token.map else 0
        for part in [token] if token.children is None else token.children:
            yield line, part
            line += part.content.count("\n") or part.type in ("softbreak", "hardbreak")


def text_of(paragraph):
    """The text of a paragraph as for check_sentences: a piece in code font is a single word."""
    pieces = []
    for part in paragraph.children:
        if part.type == "code_inline":
            pieces.append("Code")
        elif part.type == "image":
            pieces.append(f". {part.content}. ")
        else:
            pieces.append("\n" if part.type in ("softbreak", "hardbreak") else part.content)
    return "".join(pieces)


class Tags(html.parser.HTMLParser):
    """The tags in HTML that a document contains; found: (line, name, attributes) of each."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((self.getpos()[0], tag, dict(attributes)))


@functools.cache
def anchors(path):
    """The anchors that GitHub gives to the headings."""
    found, times = set(), Counter()
    for heading, token in itertools.pairwise(parse(path)):
        if heading.type == "heading_open":
            shown = "".join(each.content for each in token.children if each.type != "image")
            anchor = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
            found.add(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
            times[anchor] += 1
    return found


class Document:
    """A document, the faults in it, and how many things of each kind were checked."""

    def __init__(self, path):
        self.path, self.name = path.resolve(), os.path.relpath(path)
        self.faults, self.counts = [], Counter()
        self.words = words_of_code() | ELSEWHERE  # and later those of the Python blocks

    def fault(self, line, expected, found):
        self.faults.append((line, f"{self.name}:{line}: expected {expected}, found {found}"))

    def check(self):
        blocks, codes, before = [], [], ""
        for line, token in parts(self.path):
            content, language = token.content, (token.info.lower().split() or [""])[0]
            if token.type == "fence" and language in ("python", "py", "python3"):
                blocks.append((line, content))
            elif token.type == "fence" and language in ("", "sh", "bash", "shell", "console"):
                for match in LINE.finditer(content):
                    number = line + 1 + content.count("\n", 0, match.start())
                    self.check_command(number, match[0].replace("\\\n", " "))
            elif token.type == "code_inline" and not before.endswith("$"):  # $`a formula`$
                codes.append((line, content))
            elif token.type == "link_open":
                self.check_link(line, token.attrs["href"])
            elif token.type == "image":
                self.check_picture(line, token.attrs["src"], content)
            elif token.type.startswith("html"):
                self.check_html(line, content)
            before = content
        self.check_prose()
        self.run(blocks)
        for line, code in codes:  # now that the names in the blocks are known
            self.check_code(line, code)

    def check_prose(self):
        """Check the length of sentences and of lines.

        Paragraphs, list items, cells of tables and texts of pictures end a sentence; a colon or a
        semicolon does not. Code font is one word. Headings, and lines of tables, may be long.
        """
        tokens = parse(self.path)
        in_tables = set()
        line = 1
        for before, token in zip([None, *tokens], tokens):
            line = token.map[0] + 1 if token.map else line
            if token.type == "table_open":
                in_tables.update(range(line, token.map[1] + 1))
            if token.type == "inline" and before.type != "heading_open":
                self.check_sentences(line, text_of(token))
        for number, text in enumerate(self.path.read_text(encoding="utf-8").split("\n"), 1):
            if len(text) > 110 and number not in in_tables:
                self.fault(number, "a line of at most 110 characters", len(text))

    def check_sentences(self, line, text):
        starts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
        for start, end in itertools.pairwise(starts):
            words = re.findall(r"\S*\w\S*", text[start:end])
            self.counts["sentences"] += 1
            if len(words) > 30:
                place = line + text.count("\n", 0, start)
                found = f"{len(words)}: {' '.join(words[:6])} ..."
                self.fault(place, "a sentence of at most 30 words", found)

    def run(self, blocks):
        """Run the Python blocks, but those that need a package which is not installed."""
        namespace, skipped, here = {"__name__": "__main__"}, set(), os.getcwd()
        printed = contextlib.redirect_stdout(io.StringIO())
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), printed:
            warnings.simplefilter("error")
            os.chdir(folder)
            for line, block in blocks:
                source = "\n" * line + block  # so that errors have the document's line numbers
                words, skip = set(), False
                try:
                    code, words = compile(source, self.path, "exec"), words_of(source)
                    skip = bool(words & ABSENT)
                    if not skip:
                        exec(code, namespace)  # noqa: S102 - the documents are ours
                except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever it may be
                    skip = isinstance(problem, NameError) and problem.name in skipped
                    if not skip:
                        self.fault_in_block(problem)
                self.words |= words
                skipped |= words if skip else set()
                why = f" skipped for want of {', '.join(sorted(skipped & ABSENT))}" if skip else ""
                self.counts[f"Python blocks{why}"] += 1
            os.chdir(here)

    def fault_in_block(self, problem):
        frames = traceback.extract_tb(problem.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path)]
        message = " ".join(f"{type(problem).__name__}: {problem}".split())
        self.fault(lines[-1] if lines else problem.lineno, "a block that runs", message)

    def check_command(self, line, text):
        """Check that the scripts in a line for the shell exist, and take these arguments."""
        for piece in re.split(r"&&|[;|]|\d?[<>]| #", text.strip().removeprefix("$ ")):
            match = COMMAND.fullmatch(piece.strip())
            if not match:  # another program, or python3 -m, which is taken as it is
                continue
            self.counts["commands"] += 1
            script, *arguments = (match["python"] or match["script"]).split()
            if not (ROOT / script).is_file():
                self.fault(line, "a script of the repository", script)
                continue
            # --help ends a script before it complains of unknown options, or of what argparse does
            # not check. So its text has to name the options, and all that is before them.
            k = [*(word[0] for word in arguments), "-"].index("-")
            options = {word.split("=")[0] for word in arguments[k:] if word[0] == "-"}
            unknown = options.union(arguments[:k]) - words_of_help(script)
            for word in sorted(unknown):
                self.fault(line, f"an option or argument of {script}", word)
            # A word in capitals stands for what a reader puts there: the script may refuse it.
            capitals = any(word.isupper() for word in arguments)
            parsed = run_help(script, *([] if capitals else arguments))
            if parsed.returncode and not unknown:
                message = [f"exit code {parsed.returncode}", *parsed.stderr.split("\n")[:-1]][-1]
                self.fault(line, f"arguments that {script} takes", message)

    def check_link(self, line, address):
        url = urllib.parse.urlsplit(address)
        if url.scheme or url.netloc:
            return
        self.counts["links and pictures"] += 1
        target = self.path.parent / urllib.parse.unquote(url.path) if url.path else self.path
        anchor = urllib.parse.unquote(url.fragment)
        if not target.exists():
            self.fault(line, "a file that exists", address)
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target.resolve())):
            self.fault(line, f"an anchor of {target.name}", address)  # numbers of lines go stale

    def check_picture(self, line, source, alternative):
        self.check_link(line, source)
        if not (alternative or "").strip():
            self.fault(line, "a picture with an alternative text", source)

    def check_html(self, line, text):
        for number, tag, attributes in Tags(text).found:
            place = line + number - 1
            if tag == "img":
                self.check_picture(place, attributes.get("src") or "", attributes.get("alt"))
            else:  # links, and the sources of <picture>
                for address in filter(None, map(attributes.get, ("href", "srcset"))):
                    self.check_link(place, address.split()[0])

    def check_code(self, line, code):
        """Check what is in code font.

        Commands, options and names of files as such; else, of what Python can parse, all names,
        but neither strings nor single letters. Of what it cannot parse, such as a formula with 2p,
        only words with a _: the others may be prose. Not checked are addresses of other sites.
        """
        self.counts["pieces in code font"] += 1
        if "://" in code or code in ELSEWHERE or os.path.exists(ROOT / code):
            return
        if COMMAND.fullmatch(code) and " " in code:
            self.check_command(line, code)
        elif code.startswith("--"):
            scripts = ["mnist.py", *(f"tools/{each.name}" for each in ROOT.glob("tools/*.py"))]
            known = set().union(*map(words_of_help, scripts))
            for option in set(re.findall(r"--[\w-]+", code)) - known:
                self.fault(line, "an option of a script", option)
        elif FILE.fullmatch(code):
            if not any(ROOT.glob(code)):
                self.fault(line, "a file of the repository", code)
        else:
            names = NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "''", code))
            try:
                ast.parse(code)
            except SyntaxError:
                names = [name for name in names if "_" in name]
            for name in names:
                if not SYMBOL.fullmatch(name) and not exists(name, self.words):
                    self.fault(line, "a name in the code", name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="*", type=Path, metavar="DOCUMENT",
                        help="default: README.md, and FAQ.md if there is one")  # fmt: skip
    paths = parser.parse_args().documents or [ROOT / "README.md", *ROOT.glob("FAQ.md")]
    sys.path.insert(0, str(ROOT))
    right = True
    for path in paths:
        document = Document(path)
        if path.is_file():
            document.check()
        else:
            document.fault(1, "a document", "none")
        counted = ", ".join(f"{kind}: {count}" for kind, count in document.counts.items())
        faults = [fault for _, fault in sorted(document.faults)]
        print("\n".join(faults or [f"{document.name}: {counted}"]))
        right = right and not document.faults
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
