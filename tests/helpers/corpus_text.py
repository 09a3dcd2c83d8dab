"""A small text to encode, the sentences of an encoded corpus, and permission to damage it."""

from pathlib import Path

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus


def write(path: Path, text: str = "the hen sat\n\nthe egg\n") -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def sentences_of(corpus: EncodedCorpus) -> list[list[str]]:
    words = corpus.type_words()
    return [
        [words[number] for number in corpus.tokens[begin:end]]
        for begin, end in zip(corpus.offsets, corpus.offsets[1:], strict=False)
    ]


def writable(corpus: EncodedCorpus) -> Path:
    """Return the directory of `corpus`, whose read-only files may be changed after this."""
    for path in corpus.directory.iterdir():
        path.chmod(0o644)
    return corpus.directory
