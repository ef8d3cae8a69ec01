"""Check README.md and FAQ.md: what they show has to run, what they name has to exist.

Prints a line for each fault, and fails; at last a line for each document. Needs markdown-it-py.
- Python blocks run in an empty folder, in order, those under a heading in one namespace. Warnings
  are errors. A block that begins with, say, `# check.py` is also a file that others can import.
- Those of a README can be pasted at the prompt of any Python 3.
- Commands of python3, uv run, or a script, in code font and in blocks of sh, bash, shell, console
  or no language, are parsed, not run. (What a program prints is best shown in a block of text.)
- Links, anchors, pictures, and what is named in code font exist, if not on other sites.
- A sentence has at most 30 words; a line at most 110 characters, unless it is one of a table.
"""

import argparse
import ast
import codeop
import contextlib
import html.parser
import io
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

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # what documents may name although the repository does not have it
    ".venv/bin/", ".venv/bin/pip", ".venv/bin/python3", "pip", "python3", "mpiexec", "uv",  # programs
    "cnn.npz", "cnn.png", "seven.png", "my_layer.py", ".gz", ".npz", ".png",  # files of a reader
    "DistributedDataParallel", "lr", "--help", "--with", "--with-requirements",  # of PyTorch, argparse, uv
}  # fmt: skip
OPTIONAL = {name: name for name in ("torch", "jax", "matplotlib", "PIL", "mpi4py", "MNIST")}
ALIASES = {"np": "numpy", "nn": "torch.nn", "F": "torch.nn.functional", "plt": "matplotlib.pyplot"}
FILE = re.compile(r"[\w.-]+/[\w.*/-]*|\.\w+|[\w.*-]+\.(?:py|md|txt|png|npz)")
NAME = re.compile(r"--[\w-]+|(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # an option; dotted or not
SENTENCE = re.compile(r"(?s).+?(?:(?<!\bet al)[.?!][)\"]*\s+(?![a-z])|\Z)")
PYTHON = r"(?:\S+ )*?(?:\S*/)?(?:python3?(?: -u| -W \w+)*|uv run) (?!-)"
COMMAND = re.compile(rf"(?:{PYTHON}|(?=\S+\.py ))(\S+)((?: [^\s-]\S*)*)(.*)")  # script, words, rest


class Document(html.parser.HTMLParser):
    """What is in a document, most of it as (line, text), and what is wrong with it."""

    def __init__(self, path):
        super().__init__()
        self.path, self.source, self.counts = path, path.read_text("utf-8"), Counter()
        self.texts, self.codes, self.commands, self.links = [], [], [], []
        self.anchors, self.blocks, self.words = [], [], set()  # of the Python blocks
        markdown, line, before = MarkdownIt("commonmark").enable("table"), 0, None
        for token in markdown.parse(self.source):
            line = token.map[0] + 1 if token.map else line  # one less where code font is wrapped
            language = token.info.strip().lower()
            if token.type == "fence" and language.startswith("py"):
                self.blocks.append((line, token.content, len(self.anchors)))
            elif token.type == "fence" and language in ("", "sh", "bash", "shell", "console"):
                lines = token.content.replace("\\\n", " ").splitlines()
                self.commands.extend(enumerate(lines, line + 1))
            elif token.type in ("inline", "html_block"):
                self.above, self.shown, self.text, self.in_code = line - 1, "", "", False
                self.reset()
                self.feed(markdown.renderer.render([token], markdown.options, {}))
                self.close()
                if before == "heading_open":
                    anchor = re.sub(r"[^\w -]", "", self.shown.lower()).replace(" ", "-")
                    self.anchors.append(anchor)  # as GitHub makes it
                self.texts.append((line, self.text))
            before = token.type

    def handle_starttag(self, tag, attributes):
        line, attributes = self.above + self.getpos()[0], dict(attributes)
        self.in_code = tag == "code" and not self.text.endswith("$")  # $`a formula`$
        for address in filter(None, map(attributes.get, ("href", "src", "srcset"))):
            self.links.append((line, address.split()[0]))
        if tag == "img":
            self.texts.append((line, attributes.get("alt") or None))

    def handle_data(self, data):
        if self.in_code:
            kind = self.commands if COMMAND.fullmatch(data) else self.codes
            kind.append((self.above + self.getpos()[0], data))
        self.shown += data
        self.text += "Code" if self.in_code else data  # a word of a sentence
        self.in_code = False

    def check_links(self):
        for line, address in self.links:
            if re.match(r"\w+:|//", address):
                continue
            self.counts["links and pictures"] += 1
            name, _, anchor = unquote(address).partition("#")
            file = (self.path.parent / name).resolve() if name else self.path
            if not file.exists():
                yield line, "a file that exists", address
            elif anchor and anchor not in (self if file == self.path else Document(file)).anchors:
                yield line, f"an anchor of {file.name}", address

    def check_prose(self):
        """A paragraph, list item, cell or picture ends a sentence, a colon does not."""
        for line, text in enumerate(self.source.splitlines(), 1):
            if len(text) > 110 and not text.startswith("|"):
                yield line, "a line of at most 110 characters", len(text)
        for line, text in self.texts:
            if text is None:
                yield line, "a picture with an alternative text", "none"
            for sentence in SENTENCE.finditer(text or ""):
                words = re.findall(r"\S*\w\S*", sentence[0])
                if len(words) > 30:
                    place = line + text.count("\n", 0, sentence.start())
                    found = f"{len(words)}: {' '.join(words[:6])} ..."
                    yield place, "a sentence of at most 30 words", found

    def check_prompt(self):
        """At the prompt, a blank line ends a loop or a class, and nothing else does."""
        for above, block, _ in self.blocks if self.path.name == "README.md" else []:
            statement = ""
            for line, text in enumerate([*block.splitlines(), ""], above + 1):
                try:
                    whole = codeop.compile_command(statement + text)
                except SyntaxError as problem:
                    yield line, "a line that the prompt takes", f"{problem.msg}: {text}"
                    break
                statement = "" if whole else f"{statement}{text}\n"

    def check_blocks(self):
        """Run the Python blocks, but those that need MNIST or a package and cannot have it."""
        for _, block, _ in self.blocks:
            if comment := re.match(r"# ([\w-]+\.py)\n", block):
                Path(comment[1]).write_text(block, encoding="utf-8")
        rooms = {}  # of each heading: names and values; names that are lacking, and what they need
        for line, block, heading in self.blocks:
            if heading not in rooms:  # a reader will run them alone
                for file in Path().glob("*.py"):
                    sys.modules.pop(file.stem, None)
            namespace, lacking = rooms.setdefault(heading, ({"__name__": "__main__"}, dict(OPTIONAL)))
            why = None
            try:
                source = "\n" * line + block  # so that errors have the document's line numbers
                code, words = compile(source, self.path, "exec"), words_of(source)
                self.words |= words
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("error")
                    exec(code, namespace)  # noqa: S102 - the documents are ours
            except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever it may be
                if isinstance(problem, (ConnectionError, ModuleNotFoundError, NameError)):
                    why = lacking.get(getattr(problem, "name", "MNIST"))
                if why:
                    lacking.update(dict.fromkeys(words, why))
                else:
                    step = problem.__traceback__.tb_next  # none where it cannot be compiled
                    place = step.tb_lineno if step else problem.lineno
                    yield place, "a block that runs", repr(problem)
            self.counts[f"Python blocks skipped for want of {why}" if why else "Python blocks"] += 1

    def check_commands(self):
        for line, text in self.commands:
            for piece in re.split(r"&&|[;|]|\d?[<>]| #", text.strip().removeprefix("$ ")):
                match = COMMAND.fullmatch(piece.strip())
                if match and not Path(match[1]).exists():  # it is not one of the blocks
                    self.counts["commands"] += 1
                    if not (ROOT / match[1]).is_file():
                        yield line, "a script of the repository", match[1]
                    elif complaint := parse(match[1], match[2].split(), match[3].split()):
                        yield line, f"arguments that {match[1]} takes", complaint

    def check_code(self):
        """Check files in code font; of what Python can parse, all names but single letters.

        Of the rest, such as a formula with 2p, only options and words with a _: it may be prose.
        """
        paths = {*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")} - {Path(__file__).resolve()}
        words = self.words.union(ELSEWHERE, *(words_of(path.read_text("utf-8")) for path in paths))
        for line, code in self.codes:
            self.counts["pieces in code font"] += 1
            if "://" in code or code in ELSEWHERE or (ROOT / code).exists():
                continue
            if FILE.fullmatch(code):
                if not any((*ROOT.glob(code), *Path().glob(code))):
                    yield line, "a file of the repository", code
                continue
            names = NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "''", code))
            try:
                ast.parse(code)
            except SyntaxError:
                names = [name for name in names if "_" in name or "--" in name]
            for name in names:
                if len(name) > 1 and not exists(name, words):
                    yield line, "a name in the code", name


def parse(script, words, options):
    """Run a script until argparse has parsed words and options. Return its complaint, if any."""
    parse_args, complaint = argparse.ArgumentParser.parse_args, io.StringIO()
    def only_parse(parser, *_):
        parse_args(parser, [*words, *("1" if word.isupper() else word for word in options)])
        if unknown := set(words).difference(re.findall(r"[\w-]+", parser.format_help())):
            parser.error(f"unknown: {', '.join(unknown)}")
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


def words_of(source):
    """The words in Python code, but not in comments and docstrings: these name also what was."""
    return set(re.findall(r"--[\w-]+|\w+", re.sub(r'"""[\s\S]*?"""|#.*', "", source)))


def exists(name, words):
    """Whether a name, dotted or not, is one of a file, of a module, or of the words."""
    first, *rest = name.split(".")
    if name in words or (ROOT / name).exists():
        return True
    try:
        return pkgutil.resolve_name(".".join([ALIASES.get(first, first), *rest])) is not None
    except ModuleNotFoundError as problem:
        return problem.name in OPTIONAL or words.issuperset(name.split("."))
    except (AttributeError, ValueError):  # a variable may be named as a module is: array
        return first in sys.stdlib_module_names and words.issuperset(name.split("."))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="*", type=Path, help="default: README.md and FAQ.md")
    parser.add_argument("--data", type=Path, default=ROOT, help="HERE of mnist.py for the blocks")
    options = parser.parse_args()
    sys.path[:1] = ["", str(ROOT), str(ROOT / "tools")]  # "": first the folder of the blocks
    import mnist
    mnist.HERE = options.data.resolve()
    status = 0
    for path in options.documents or (ROOT / "README.md", ROOT / "FAQ.md"):
        if not path.is_file():
            sys.exit(f"{path}: expected a document, found none")
        document, here = Document(path.resolve()), os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            faults = [*document.check_blocks(), *document.check_links(), *document.check_prose(),
                      *document.check_prompt(), *document.check_commands(), *document.check_code()]
            os.chdir(here)
        for line, expected, found in sorted(faults):
            print(f"{path.name}:{line}: expected {expected}, found {found}")
            status = 1
        print(f"{path.name}: {', '.join(f'{kind}: {n}' for kind, n in document.counts.items())}")
    return status


if __name__ == "__main__":
    sys.exit(main())
