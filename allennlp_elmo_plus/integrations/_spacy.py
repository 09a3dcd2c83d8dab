"""The spaCy component `elmo_plus`: the vectors of tokens, spans and documents are those of a biLM.

spaCy finds the component by this package's entry point in the group `spacy_factories`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Union

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span, Token
from spacy.util import minibatch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import ARCHIVE_NAME, find_pair, local_path
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE, ElmoEmbedder
from allennlp_elmo_plus.inference.pooling import cosine, mean_of_words
from allennlp_elmo_plus.modules.layer_mix import ALL, AVERAGE

# In the directory of the component, which `nlp.to_disk` chooses.
_MODEL = "model"


@Language.factory(
    "elmo_plus",
    assigns=["doc.tensor", "doc.vector", "token.vector"],
    default_config={"layers": AVERAGE, "device": "cpu", "batch_size": DEFAULT_BATCH_SIZE},
)
def create_elmo_plus(
    nlp: Language, name: str, model: str, layers: Union[int, str], device: str, batch_size: int
) -> "ElmoPlus":
    """Return the component that `nlp.add_pipe("elmo_plus", config={"model": ...})` adds; see `ElmoPlus`."""
    return ElmoPlus(model, layers, device, batch_size)


class ElmoPlus:
    """A spaCy component that sets `doc.tensor` to the vectors of a biLM, one row per token.

    `token.vector`, `span.vector` and `doc.vector` are then these rows and their means, also where the pipeline has word vectors of
    its own. `similarity` is the cosine of two of them; without this component, spaCy gives equal words a similarity of 1 in every
    context.

    If the document has sentence boundaries, each sentence is read by itself; otherwise the document is read as one sentence. Tokens
    of white space are left out, and their vectors are zeros.

    The biLM is read when the first document comes. `nlp.to_disk` copies its files, so the saved pipeline needs no other file.

    Args:
        model: the biLM, a path or a URL, as `ElmoEmbedder.from_pretrained` takes it.
        layers: the vectors of a word, as `ElmoEmbedder` takes them. With "all" the layers of a word are concatenated.
        device: the device to compute on, such as "cuda".
        batch_size: maximum tokens of a batch of the biLM.
    """

    def __init__(self, model: str, layers: Union[int, str], device: str, batch_size: int) -> None:
        self.model = model
        self.layers = layers
        self.device = device
        self.batch_size = batch_size

    @cached_property
    def embedder(self) -> ElmoEmbedder:
        """Return the embedder of `model`, which is read at the first call. An InputError is raised where it cannot be used."""
        return ElmoEmbedder.from_pretrained(self.model, device=self.device, batch_size=self.batch_size)

    def __call__(self, doc: Doc) -> Doc:
        """Return `doc`, with its vectors set."""
        self._set_vectors([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], batch_size: int = 128) -> Iterator[Doc]:
        """Yield the documents of `stream` with their vectors; `batch_size` documents are read ahead."""
        for docs in minibatch(stream, batch_size):
            self._set_vectors(docs)
            yield from docs

    def _set_vectors(self, docs: Sequence[Doc]) -> None:
        width = self.embedder.output_size * (self.embedder.num_layers if self.layers == ALL else 1)
        tensors = [np.zeros((len(doc), width), dtype=np.float32) for doc in docs]
        sentences = [(tensor, words) for doc, tensor in zip(docs, tensors, strict=True) for words in _sentences(doc)]
        texts = [[token.text for token in words] for _, words in sentences]
        arrays = self.embedder.embed_sentences(texts, self.layers)
        for (tensor, words), array in zip(sentences, arrays, strict=True):
            tensor[[token.i for token in words]] = np.concatenate(array, axis=1) if self.layers == ALL else array
        for doc, vectors in zip(docs, tensors, strict=True):
            doc.tensor = vectors  # type: ignore[assignment]  # spaCy's stub names no array's type.
            for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
                hooks.update(_HOOKS)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Copy the files of the biLM into the directory `path`."""
        source, target = local_path(self.model), Path(path) / _MODEL
        if os.path.realpath(source) == os.path.realpath(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        # The former model may be the source: it goes when the copy is complete.
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            copy = Path(temporary) / _MODEL
            if source.is_file():
                shutil.copyfile(source, copy)
            else:
                copy.mkdir()
                for file in _model_files(source):
                    shutil.copyfile(file, copy / file.name)
            if target.exists():
                os.replace(target, Path(temporary) / "former")
            os.replace(copy, target)

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> "ElmoPlus":
        """Return the component, which then uses the biLM that `to_disk` copied into `path`."""
        self.model = str(Path(path) / _MODEL)
        self.__dict__.pop("embedder", None)
        return self


def _sentences(doc: Doc) -> list[list[Token]]:
    """Return the tokens of each sentence of `doc`, or of `doc` itself where no boundaries are set, without white space."""
    spans: Iterable[Union[Doc, Span]] = doc.sents if doc.has_annotation("SENT_START") else [doc]
    return [[token for token in span if not token.is_space] for span in spans]


def _model_files(directory: Path) -> list[Path]:
    """Return the files of the biLM in `directory`. In the directory of a training, checkpoints are not part of it."""
    archive = directory / ARCHIVE_NAME
    if archive.is_file() and find_pair(directory) is None:
        return [archive]
    return [path for path in directory.iterdir() if path.is_file()]


def _vector(item: Any) -> np.ndarray:
    """Return the row of a token, or the mean of the rows of a span or a document."""
    tensor = item.tensor
    return tensor if tensor.ndim == 1 else mean_of_words(tensor).astype(tensor.dtype)


def _similarity(item: Any, other: Any) -> float:
    first, second = item.vector, other.vector
    if first.shape != second.shape:
        raise InputError(
            "`similarity` needs two vectors of one width, as `elmo_plus` sets them, "
            f"got {first.size} and {second.size} numbers"
        )
    return cosine(first, second)


def _has_vector(item: Any) -> bool:
    return bool(item.vector.any())


_HOOKS: dict[str, Callable[..., Any]] = {"vector": _vector, "has_vector": _has_vector, "similarity": _similarity}
