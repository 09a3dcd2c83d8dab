"""Train the word vectors of gensim once, and measure the processor time that it takes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.data.text.text_files import iter_sentences

_NUM_NGRAM_VECTORS = 500_000


class _Sentences:
    """The sentences of a text; gensim reads them once per epoch."""

    def __init__(self, text: Path) -> None:
        self._text = text

    def __iter__(self) -> Iterator[list[str]]:
        return iter_sentences(self._text)


def train_gensim(kind: str, text: Path, options: dict[str, Any], finished: Path, save: Callable[[Any], None]) -> float:
    """Train "fasttext" or "word2vec" vectors and `save` them, unless the file `finished` exists; return the time in it, in minutes."""
    if not finished.exists():
        # The program starts without gensim, for those who compare other vectors only.
        from gensim.models import FastText, Word2Vec

        start = time.process_time()
        options = {**options, "sentences": _Sentences(text)}
        model = FastText(**options, bucket=_NUM_NGRAM_VECTORS) if kind == "fasttext" else Word2Vec(**options)
        minutes = (time.process_time() - start) / 60
        finished.parent.mkdir(parents=True, exist_ok=True)
        save(model.wv)
        finished.write_text(f"{minutes}\n", encoding="utf-8")
    return float(finished.read_text("utf-8"))
