"""The log-probability of each word of a sentence, in each direction of a biLM. Its negative is the surprisal of the word."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentences import batches_by_length, chunks_of_sentences
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.data.text.word_indexers import CharacterIndexer, VocabularyIndexer
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.inference.chunks import pack_sentences, run_in_chunks
from allennlp_elmo_plus.inference.predictions import encoder_of
from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer

_BATCH_TOKENS = 8192
# Sentences are sorted by length within this many batches.
_BATCHES_AHEAD = 4


class WordLogProbs(NamedTuple):
    """Natural logarithms of the probability of each target of a sentence of n words, in the order of the sentence."""

    forward: Tensor  # (n + 1,), of w1 .. wn </S>, each given all words before it
    backward: Optional[
        Tensor
    ]  # (n + 1,), of <S> w1 .. wn, each given all words after it; None for a forward-only model


class WordScorer:
    """Compute the log-probabilities of words with a biLM, under the exact softmax over its whole vocabulary.

    Each sentence is read between `<S>` and `</S>`, from a state of zeros. A word that the vocabulary lacks is read by its characters,
    as every word is, and scored as `<UNK>`: its probability is that of all such words together.

    Each distinct word is encoded once for all batches. Where sentences of a batch begin with the same words (for the backward
    direction: end), the softmax is computed once for these words.

    Args:
        pretrained: the biLM. It is put into evaluation mode, and its weights are frozen.
    """

    def __init__(self, pretrained: PretrainedModel) -> None:
        model, options, vocabulary = pretrained
        model.eval().requires_grad_(False)
        max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
        self._encoder = encoder_of(model, vocabulary, max_characters)
        self._indexer = VocabularyIndexer(vocabulary) if max_characters is None else CharacterIndexer(max_characters)
        self._softmax = model.softmax
        self._word_ids = {word: number for number, word in enumerate(vocabulary)}

    @classmethod
    def from_source(cls, source: ModelSource, device: torch.device) -> "WordScorer":
        """Return a scorer with the biLM at `source`, on `device`.

        Raises:
            InputError: a file is missing or cannot be used, or the biLM has no softmax; the message names the file.
        """
        stored = read_model(source)
        if stored.missing_softmax:
            raise InputError(
                f"{source.path}: must be a biLM with its softmax, which gives words their probabilities, got one without"
            )
        pretrained = stored.build_language_model()
        pretrained.model.to(device)
        return cls(pretrained)

    @property
    def is_bidirectional(self) -> bool:
        """Return whether the biLM has a backward direction."""
        return self._encoder.bilm.is_bidirectional

    def is_known(self, word: str) -> bool:
        """Return whether the vocabulary has `word`; if not, the word is scored as `<UNK>`."""
        return word in self._word_ids

    def log_probs(self, sentences: Iterable[Sequence[str]]) -> Iterator[WordLogProbs]:
        """Yield the log-probabilities of the words of each of `sentences`, lists of words without `<S>` and `</S>`, in their order.

        `sentences` may be a stream of any length: a few thousand sentences are read ahead.
        """
        for window in chunks_of_sentences(sentences, _BATCHES_AHEAD * _BATCH_TOKENS):
            results: dict[int, WordLogProbs] = {}
            for positions in batches_by_length([len(sentence) for sentence in window], _BATCH_TOKENS):
                results.update(
                    zip(positions, self._of_batch([window[position] for position in positions]), strict=True)
                )
            yield from (results[position] for position in range(len(window)))

    @torch.no_grad()
    def _of_batch(self, sentences: Sequence[Sequence[str]]) -> list[WordLogProbs]:
        bilm = self._encoder.bilm
        packed = pack_sentences(self._encoder, self._indexer, sentences)
        layout = packed.layout
        words = [word for sentence in (*sentences, self._indexer.boundaries) for word in sentence]
        targets = torch.tensor(look_up_words(words, self._word_ids), device=packed.vectors.device)[layout.word_of_row]
        dtype = widest_dtype([packed.vectors])
        forward = _Direction(packed.forward_rows, targets, layout.batch_sizes, dtype)
        backward = (
            None
            if packed.backward_rows is None
            else _Direction(packed.backward_rows, targets[layout.reversal], layout.batch_sizes, dtype)
        )
        for chunk in run_in_chunks(bilm, packed, _BATCH_TOKENS):
            forward.add(chunk.rows, chunk.output.forward[-1], self._softmax)
            if backward is not None and chunk.output.backward is not None:
                backward.add(chunk.rows, chunk.output.backward[-1], self._softmax)

        def by_sentence(log_probs: Tensor) -> Tensor:
            return layout.unpack(log_probs[:, None], keep_boundaries=True)[:, :, 0]

        lengths = [len(sentence) for sentence in sentences]
        forwards = [row[1 : length + 2] for row, length in zip(by_sentence(forward.log_probs()), lengths, strict=True)]
        if backward is None:
            return [WordLogProbs(log_probs, None) for log_probs in forwards]
        rows = by_sentence(backward.log_probs()[layout.reversal])
        return list(map(WordLogProbs, forwards, (row[: length + 1] for row, length in zip(rows, lengths, strict=True))))


class _Direction:
    """The log-probability of each of N packed rows, `<S>`, words and `</S>`, given the rows before it in its sentence.

    Rows that begin their sentences with the same words, up to the row itself, have the same log-probability. It is computed for the
    first of them.

    Args:
        words: (N,), which word each row reads, in the reading order of the direction.
        targets: (N,), the row of the softmax of each word, in the same order.
        batch_sizes: the number of running sentences at each step.
        dtype: the type of the log-probabilities.
    """

    def __init__(self, words: Tensor, targets: Tensor, batch_sizes: Sequence[int], dtype: torch.dtype) -> None:
        num_sentences = batch_sizes[0]
        sizes = torch.tensor(batch_sizes)
        # The word before a row is in the same sentence, a step earlier.
        before = torch.arange(num_sentences, len(words)) - sizes[:-1].repeat_interleave(sizes[1:])
        self._first_rows = torch.tensor(_first_rows(words.tolist(), before.tolist()), device=words.device)
        rows = torch.arange(num_sentences, len(words), device=words.device)
        self._rows = rows[self._first_rows[rows] == rows]  # to be computed
        self._before = before.to(words.device)[self._rows - num_sentences]
        self._targets = targets[self._rows]
        self._log_probs = torch.zeros(len(words), dtype=dtype, device=words.device)

    def add(self, chunk: slice, hidden: Tensor, softmax: SoftmaxLayer) -> None:
        """Compute the log-probabilities of the words that are predicted from `hidden`, the top layer at the rows `chunk`."""
        bounds = torch.tensor([chunk.start, chunk.stop], device=hidden.device)
        part = slice(*torch.searchsorted(self._before, bounds).tolist())
        inputs = hidden[self._before[part] - chunk.start]
        self._log_probs[self._rows[part]] = -exact_nll(inputs, self._targets[part], softmax.weight, softmax.bias)

    def log_probs(self) -> Tensor:
        """Return the log-probabilities, (N,); those of the first word of each sentence are 0."""
        return self._log_probs[self._first_rows]


def _first_rows(words: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return the first packed row that begins its sentence with the same words as each row.

    Args:
        words: the word of each row.
        before: the row of the word before it in the sentence, for each row that is not the first of its sentence.
    """
    first_rows: list[int] = []
    row_of_beginning: dict[tuple[int, int], int] = {}
    num_sentences = len(words) - len(before)
    for row, word in enumerate(words):
        beginning = first_rows[before[row - num_sentences]] if row >= num_sentences else -1
        first_rows.append(row_of_beginning.setdefault((beginning, word), row))
    return first_rows
