"""
English prose out of Python source: documentation strings -> paragraphs of prose -> sentences -> tokens.

Docstrings are half prose. What is not (doctests, code, tables, option and argument lists, signatures, markup) goes, by layout first
and by the share of ordinary words last: a sentence that cannot be read aloud teaches a language model nothing.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from inspect import cleandoc

MIN_WORDS = 3
MAX_TOKENS = 80
MIN_SHARE_OF_WORDS = 0.75

# Identifiers, calls without arguments, paths and numbers stay whole (os.path, run(), don't, read-only, 3.14); any other mark is a
# token of its own.
_TOKEN = re.compile(r"e\.g\.|i\.e\.|\w(?:\w|['’./:@+-](?=\w))*(?:\(\))?|\.\.\.|--+|[^\w\s]")
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_CODE_QUOTES = re.compile(r"(``?)([^`]+)(?:\1|'{1,2})_{0,2}")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?!\w)")
# What opens a list item anywhere, and what opens one where a new indentation begins: a field, or the name of an argument.
_BULLET = re.compile(r"(?:[-+*•o]|\(?(?:\d+|[a-z])[.)])\s+")
_LABEL = re.compile(r"(?::[^:]+:|\w+(?:\s\([^)]*\))?\s?:|\w+\s--)\s+")
# A line that is no prose: a directive, a prompt, a table, a comment, an option, a rule; `name = value`, columns, a signature.
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
    The documentation strings of a module, its classes and its functions, or `every_string` of it; none if it does not parse.

    Nothing is imported or run.
    """
    try:
        with warnings.catch_warnings():
            # An invalid escape in somebody's source is not our user's business.
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
    """A block and the statements below it, in the order of the text; `ast.walk` would visit every expression too."""
    yield block
    for part in ("body", "handlers", "orelse", "finalbody"):
        for statement in getattr(block, part, ()):
            yield from _statements(statement)


def paragraphs(docstring: str) -> Iterator[str]:
    """The paragraphs and list items of prose, each a line of text without markup. Literal blocks, tables and code are left out."""
    literal = False
    for block in re.split(r"\n\s*\n", cleandoc(docstring)):
        if literal and block.startswith(" "):
            continue
        literal = block.endswith("::")
        for lines in _units(block):
            if not any(_NOT_PROSE.match(line) for line in lines):
                yield _without_markup(" ".join(lines))


def _units(block: str) -> Iterator[list[str]]:
    """The runs of lines of a block that belong together by their indentation, a list item with the lines that hang below it."""
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
    """The sentences of a paragraph that end as sentences do; what trails without a mark (a heading, a stub) is left out."""
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
    """Words, identifiers (`os.path`, `run()`) and numbers whole, every other mark a token of its own."""
    return _TOKEN.findall(sentence)


def is_prose(sentence: str, tokens: list[str]) -> bool:
    """Whether a sentence reads as English: long enough, begun like a sentence, mostly words, brackets and quotes closed."""
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
    """The prose of one Python file (see `docstrings`), a sentence at a time, its tokens split by single spaces."""
    for docstring in docstrings(source, every_string):
        for paragraph in paragraphs(docstring):
            for sentence in sentences(paragraph):
                tokens = tokenize(sentence)
                if is_prose(sentence, tokens):
                    yield " ".join(tokens)
