"""Check README.md and FAQ.md: what they show has to run, what they name has to exist.

Prints a line for each fault, and fails; at last a line for each document. Needs markdown-it-py.
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
    ".venv/bin/pip", ".venv/bin/python3", "pip", "python3", "mpiexec", "uv",  # programs
    "cnn.npz", "cnn.png", "seven.png", ".gz", ".npz", ".png",  # files that a reader makes or gets
    "DistributedDataParallel", "lr", "--help",  # of PyTorch and argparse
}  # fmt: skip
OPTIONAL = {"torch", "jax", "matplotlib", "PIL", "mpi4py"}
SOURCES = {*ROOT.glob("*.py"), *ROOT.glob("tools/*.py")} - {Path(__file__).resolve()}
ALIASES = {"np": "numpy", "nn": "torch.nn", "F": "torch.nn.functional", "plt": "matplotlib.pyplot"}
FILE = re.compile(r"[\w.-]+/[\w.*/-]*|\.\w+|[\w.*-]+\.(?:py|md|txt|png|npz)")
NAME = re.compile(r"--[\w-]+|(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # an option; dotted or not
SENTENCE = re.compile(r"(?s).+?(?:(?<!\bet al)[.?!][)\"]*\s+(?![a-z])|\Z)")
PYTHON = r"(?:\S+ )*?(?:\S*/)?(?:python3(?: -W \w+)?|uv run) (?!-)"
COMMAND = re.compile(rf"(?:{PYTHON}|(?=\S+\.py ))(\S+)((?: [^\s-]\S*)*)(.*)")  # script, words, rest


class Document(html.parser.HTMLParser):
    """What is in a document, most of it as (line, text), and how many things were checked.

    The parser does not tell where code font is wrapped: the paragraph then counts a line less.
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.source, self.counts = path, path.read_text(encoding="utf-8"), Counter()
        self.texts, self.codes, self.commands, self.links = [], [], [], []
        self.anchors, self.blocks, self.words = [], [], set()  # of the Python blocks
        markdown, line, before = MarkdownIt("commonmark").enable("table"), 0, None
        for token in markdown.parse(self.source):
            line = token.map[0] + 1 if token.map else line
            if token.type == "fence" and token.info.startswith("py"):
                self.blocks.append((line, token.content, len(self.anchors)))
            elif token.type == "fence" and token.info in ("", "sh", "bash", "shell", "console"):
                lines = token.content.replace("\\\n", " ").splitlines()
                self.commands.extend(enumerate(lines, line + 1))
            elif token.type in ("inline", "html_block"):
                self.above, self.text, self.in_code = line - 1, "", False
                self.reset()
                self.feed(markdown.renderer.render([token], markdown.options, {}))
                self.close()
                if before == "heading_open":  # GitHub's anchor
                    self.anchors.append(re.sub(r"[^\w -]", "", self.text).lower().replace(" ", "-"))
                else:
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
        self.text += f"\0{data}\0" if self.in_code else data
        self.in_code = False

    def faults(self):
        """Return (line, what was expected, what was found) for each fault."""
        checks = self.check_blocks, self.check_links, self.check_prose, self.check_prompt
        later = self.check_commands, self.check_code
        return [fault for check in checks + later for fault in check()]

    def check_links(self):
        for line, address in self.links:
            if re.match(r"\w+:|//", address):
                continue
            self.counts["links and pictures"] += 1
            name, _, anchor = unquote(address).partition("#")
            target = (self.path.parent / name).resolve() if name else self.path
            if not target.exists():
                yield line, "a file that exists", address
            elif anchor:
                page = self if target == self.path else Document(target)
                if anchor not in page.anchors:
                    yield line, f"an anchor of {target.name}", address

    def check_prose(self):
        """A paragraph, list item, cell or picture ends a sentence, a colon does not."""
        for line, text in enumerate(self.source.splitlines(), 1):
            if len(text) > 110 and not text.startswith("|"):
                yield line, "a line of at most 110 characters", len(text)
        for line, text in self.texts:
            if text is None:
                yield line, "a picture with an alternative text", "none"
            text = re.sub("\0.*?\0", "Code", text or "")
            for sentence in SENTENCE.finditer(text):
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
        heading = None
        for line, block, number in self.blocks:
            if number != heading:
                heading, namespace = number, {"__name__": "__main__"}
                lacking = {name: name for name in [*OPTIONAL, "MNIST"]}  # and names that need it
            if comment := re.match(r"# ([\w-]+\.py)\n", block):
                Path(comment[1]).write_text(block, encoding="utf-8")
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
                    step = problem.__traceback__.tb_next
                    message = " ".join(f"{type(problem).__name__}: {problem}".split())
                    yield step.tb_lineno if step else problem.lineno, "a block that runs", message
            self.counts[f"Python blocks skipped for want of {why}" if why else "Python blocks"] += 1

    def check_commands(self):
        for line, text in self.commands:
            for piece in re.split(r"&&|[;|]|\d?[<>]| #", text.strip().removeprefix("$ ")):
                match = COMMAND.fullmatch(piece.strip())
                if not match or Path(match[1]).exists():  # another program, or one of the blocks
                    continue
                self.counts["commands"] += 1
                if not (ROOT / match[1]).is_file():
                    yield line, "a script of the repository", match[1]
                elif complaint := parse(match[1], match[2].split(), match[3].split()):
                    yield line, f"arguments that {match[1]} takes", complaint

    def check_code(self):
        """Check what is in code font.

        Names of files as such; else, of what Python can parse, all names, but neither strings nor
        single letters. Of what it cannot parse, such as a formula with 2p, only options and words
        with a _: the others may be prose. Not checked are addresses of other sites.
        """
        sources = (path.read_text(encoding="utf-8") for path in SOURCES)
        words = self.words.union(ELSEWHERE, *map(words_of, sources))
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
    """The names in Python code, and the words and options in its strings.

    Not those of comments and docstrings: what is only named there no longer exists.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    return set(re.findall(r"--[\w-]+|\w+", ast.unparse(tree)))


def exists(name, words):
    """Whether a name, dotted or not, is one of a file, of a module that is there, or of the words."""
    first, *rest = name.split(".")
    if name in words or (ROOT / name).exists():
        return True
    try:
        return pkgutil.resolve_name(".".join([ALIASES.get(first, first), *rest])) is not None
    except ModuleNotFoundError as problem:
        return problem.name in OPTIONAL or words.issuperset(name.split("."))
    except (AttributeError, ValueError):  # ValueError: for an option
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("documents", nargs="*", type=Path, help="default: README.md, and FAQ.md if there is one")
    add("--data", type=Path, default=ROOT, help="folder of MNIST, HERE of mnist.py for the blocks")
    options = parser.parse_args()
    sys.path[:1] = ["", str(ROOT), str(ROOT / "tools")]  # "": first the folder of the blocks
    import mnist

    mnist.HERE = options.data.resolve()
    status = 0
    for path in options.documents or [ROOT / "README.md", *ROOT.glob("FAQ.md")]:
        if not path.is_file():
            sys.exit(f"{path}: expected a document, found none")
        document, here = Document(path.resolve()), os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for line, expected, found in sorted(document.faults()):
                print(f"{path.name}:{line}: expected {expected}, found {found}")
                status = 1
            os.chdir(here)
        print(f"{path.name}: {', '.join(f'{kind}: {n}' for kind, n in document.counts.items())}")
    return status


if __name__ == "__main__":
    sys.exit(main())
