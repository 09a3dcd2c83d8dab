"""What a biLM computes for a sentence: surprisal, substitutes, neighbours, and the similarity of words."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.formats.parameters import StoredModel
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.neighbor_index import NeighborIndex
from allennlp_elmo_plus.inference.neighbors import Neighbors, TokenInContext
from allennlp_elmo_plus.inference.pooling import unit_vectors
from allennlp_elmo_plus.inference.predictions import encoder_of
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from allennlp_elmo_plus.inference.substitutes import substitutes
from allennlp_elmo_plus.inference.top_words import ProbableWord, TopWords, probable_words

NUM_SUBSTITUTES = 10
NUM_NEIGHBORS = 5


class Surprisal(NamedTuple):
    """The surprisal of each target of a sentence of n words in bits: -log2 of its probability."""

    forward: list[float]  # of w1 .. wn </S>, each given all words before it
    backward: Optional[list[float]]  # of <S> w1 .. wn, each given all words after it; None for a forward-only model


class WordSubstitutes(NamedTuple):
    """The most probable words at the position of a word, for each direction."""

    forward: list[ProbableWord]
    backward: Optional[list[ProbableWord]]  # None for a forward-only model


class Explorer:
    """A biLM, and a text to find neighbours in.

    Args:
        stored: the biLM.
        text: the sentences of the text; None finds no neighbours.
        device: the device to compute on.

    Attributes:
        has_softmax: whether the biLM has a softmax, without which it predicts no words.
        num_text_words: the number of words of the text that were read.
        example: a short sentence of the text, or None.
    """

    def __init__(self, stored: StoredModel, text: Optional[Iterable[Sequence[str]]], device: torch.device) -> None:
        self.has_softmax = not stored.missing_softmax
        pretrained = stored.build_language_model()
        model, options, self._vocabulary = pretrained
        self._model = model.to(device)
        self._scorer = WordScorer(pretrained)
        self._max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
        self._word_ids = {word: number for number, word in enumerate(self._vocabulary)}
        self._encoder = encoder_of(self._model, self._vocabulary, self._max_characters).eval()
        self._embedder = ElmoEmbedder(self._encoder, self._vocabulary)
        self._index = None if text is None else NeighborIndex(self._embedder, text)
        self.num_text_words = 0 if self._index is None else self._index.num_words
        self.example = None if self._index is None else self._index.sentence_of(5, 12)

    def is_known(self, word: str) -> bool:
        """Return whether the softmax has `word`; if not, the word is scored as `<UNK>`."""
        return self._scorer.is_known(word)

    def surprisal(self, words: Sequence[str]) -> Surprisal:
        """Return the surprisal of each of `words` and of the boundaries of their sentence."""
        (log_probs,) = self._scorer.log_probs([words])
        forward, backward = (None if part is None else (part / -math.log(2)).tolist() for part in log_probs)
        assert forward is not None
        return Surprisal(forward, backward)

    def substitutes(self, words: Sequence[str], position: int) -> WordSubstitutes:
        """Return the most probable words in place of the one at `position` of the sentence `words`."""
        ids = sentence_ids([words], self._max_characters, self._word_ids).to(self._model.softmax.weight.device)
        num_words = min(NUM_SUBSTITUTES, len(self._vocabulary))
        ((forward, backward),) = substitutes(self._encoder, self._model.softmax, ids, [len(words)], num_words)
        return WordSubstitutes(
            self._probable_words(forward, position),
            # Position 0 of the backward direction is `<S>`.
            None if backward is None else self._probable_words(backward, position + 1),
        )

    def neighbors(self, words: Sequence[str], position: int) -> Optional[Neighbors]:
        """Return the nearest neighbours of the word at `position` of the sentence `words`; None without a text."""
        if self._index is None:
            return None
        return self._index.neighbors(TokenInContext(tuple(words), position), NUM_NEIGHBORS)

    def similarities(self, words: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """Return the cosine of each of `words` (n) and each of `others` (m) at each layer, (L + 1, n, m)."""
        left, right = (self._embedder.embed_sentence(sentence) for sentence in (words, others))
        left, right = map(unit_vectors, (left, right))
        return left @ right.swapaxes(1, 2)

    def _probable_words(self, top: TopWords, position: int) -> list[ProbableWord]:
        return probable_words(top.ids[position], top.log_probs[position], self._vocabulary)
