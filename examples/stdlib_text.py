"""
Extract English prose from Python source: docstrings -> paragraphs of prose -> sentences -> tokens.

About half of the text in docstrings is prose. The rest (doctests, code, tables, lists of options and arguments, signatures, markup) is
removed: first by its layout, then sentences with too few ordinary words. A language model would learn no English from it.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from inspect import cleandoc

MIN_WORDS = 3
MAX_TOKENS = 80
MIN_SHARE_OF_WORDS = 0.75

# Identifiers, calls without arguments, paths and numbers are one token (os.path, run(), don't, read-only, 3.14). So is every other
# punctuation mark.
_TOKEN = re.compile(r"e\.g\.|i\.e\.|\w(?:\w|['’./:@+-](?=\w))*(?:\(\))?|\.\.\.|--+|[^\w\s]")
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_CODE_QUOTES = re.compile(r"(``?)([^`]+)(?:\1|'{1,2})_{0,2}")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?!\w)")
# A bullet starts a list item anywhere. A label, such as the name of an argument, starts one where a new indentation begins.
_BULLET = re.compile(r"(?:[-+*•o]|\(?(?:\d+|[a-z])[.)])\s+")
_LABEL = re.compile(r"(?::[^:]+:|\w+(?:\s\([^)]*\))?\s?:|\w+\s--)\s+")
# A line that is not prose: a directive, prompt, table, comment, option or rule; `name = value`, columns, a signature.
_NOT_PROSE = re.compile(
    r"(?:>>>|\.\.\s|@\w|\||\+[-=]|#|\$\s|--?\w|\[\w+\]\s)|[^\w\s]{2,}(?:\s+[^\w\s]{2,})*$"
    r"|\S+(?:\s*,\s*\S+)*\s*(?:--?|=>?|:)\s|\w+(?:\([^)]*\))?\s*(?:->|=)|\S.*\S(?:\s{3,}|\t)\S|[\w.]+\(.*\)\s*(?:->.*)?$"
)
_CODE = re.compile(
    r"[=<>]=|[-=]>|[{}\\|~^$]|\w=\S|\)\.\w|%[a-z(]|://|\w\(\w*,|__\w+__\(\w|[\[\]]|::|<\w*>|\s=\s|\s\*\s|\.\.\.\s*,"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|resp|Mr|Mrs|Dr|Fig|Eq|Ref|Vol|approx)\.|\b[A-Z]\.)$")


def docstrings(source: bytes, every_string: bool = False) -> Iterator[str]:
    """
    Yield the docstrings of a module, its classes and its functions, or with `every_string` all strings in it. A module that cannot be
    parsed has none. No code is imported or run.
    """
    try:
        with warnings.catch_warnings():
            # Users need no warning about an invalid escape in the source of another project.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    if every_string:
        nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
        yield from (node.value for node in nodes if isinstance(node.value, str))
        return
    for statement in _statements(tree):
        if isinstance(statement, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(statement, clean=False)
            if text:
                yield text


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """Yield `block` and all statements in it, in the order of the text. `ast.walk` would also visit every expression."""
    yield block
    for part in ("body", "handlers", "orelse", "finalbody"):
        for statement in getattr(block, part, ()):
            yield from _statements(statement)


def paragraphs(docstring: str) -> Iterator[str]:
    """Yield the paragraphs and list items of prose, each as one line without markup. Literal blocks, tables and code are omitted."""
    literal = False
    for block in re.split(r"\n\s*\n", cleandoc(docstring)):
        if literal and block.startswith(" "):
            continue
        literal = block.endswith("::")
        for lines in _units(block):
            if not any(_NOT_PROSE.match(line) for line in lines):
                yield _without_markup(" ".join(lines))


def _units(block: str) -> Iterator[list[str]]:
    """Yield groups of lines that belong together by their indentation: a paragraph, or a list item with its indented lines."""
    unit: list[str] = []
    indent, in_item = -1, False
    for line in block.split("\n"):
        text = line.strip()
        line_indent = len(line) - len(line.lstrip())
        hangs = in_item and line_indent > indent
        continues = hangs or (line_indent == indent and not in_item)
        opening = _BULLET.match(text) or (None if continues else _LABEL.match(text))
        if continues and not opening:
            unit.append(text)
            continue
        if unit:
            yield unit
        unit, indent, in_item = [text[opening.end() :] if opening else text], line_indent, opening is not None
    yield unit


def _without_markup(text: str) -> str:
    text = _ROLE.sub(r"\1", text)
    text = _CODE_QUOTES.sub(r"\2", text)
    text = _EMPHASIS.sub(r"\2", text)
    return re.sub(r"\s+", " ", text).strip()


def sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of a paragraph. Text without a final punctuation mark, such as a heading, is omitted."""
    start = 0
    for end in [*_SENTENCE_END.finditer(paragraph), None]:
        stop = len(paragraph) if end is None else end.start()
        sentence = paragraph[start:stop]
        if end is not None:
            closing = end.group().rstrip()
            sentence += closing
            if _ABBREVIATION.search(sentence):
                continue
            start = end.end()
        if re.search(r"[.!?][\"')\]]*$", sentence):
            yield sentence


def tokenize(sentence: str) -> list[str]:
    """Return the tokens: words, identifiers (`os.path`, `run()`), numbers, and single punctuation marks."""
    return _TOKEN.findall(sentence)


def is_prose(sentence: str, tokens: list[str]) -> bool:
    """Return whether a sentence is English prose: its length, its first character, its share of words, closed brackets and quotes."""
    if not sentence[0].isupper() and sentence[0] not in "\"'(":
        return False
    if len(tokens) > MAX_TOKENS or _CODE.search(sentence) or not sentence.isascii():
        return False
    words = [token for token in tokens if _WORD.fullmatch(token)]
    if len(words) < MIN_WORDS or len(words) < MIN_SHARE_OF_WORDS * sum(
        token[0].isalnum() or token[0] == "_" for token in tokens
    ):
        return False
    if not any(word.islower() for word in words[1:]):
        return False
    return sentence.count("(") == sentence.count(")") and sentence.count('"') % 2 == 0


def prose_sentences(source: bytes, every_string: bool = False) -> Iterator[str]:
    """Yield the sentences of prose in one Python file (see `docstrings`), with single spaces between the tokens."""
    for docstring in docstrings(source, every_string):
        for paragraph in paragraphs(docstring):
            for sentence in sentences(paragraph):
                tokens = tokenize(sentence)
                if is_prose(sentence, tokens):
                    yield " ".join(tokens)
