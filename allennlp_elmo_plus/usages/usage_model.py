"""What a biLM computes for occurrences of words: their vectors in context, and the words that fit in their places."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentences import batches_by_length, sentence_ids
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.parameters import StoredModel
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.neighbors import BATCH_TOKENS, TokenInContext
from allennlp_elmo_plus.inference.predictions import encoder_of, predictions
from allennlp_elmo_plus.inference.top_words import ProbableWord, probable_words

NUM_SUBSTITUTES = 10
# Logits in memory together.
_MAX_LOGITS = 20_000_000


class UsageModel:
    """A biLM that reads occurrences of words.

    Args:
        stored: the biLM.
        layer: the layer of the vectors, from 0 to L; -1 is the top layer.
        device: the device to compute on.

    Attributes:
        has_softmax: whether the biLM has a softmax, without which it predicts no substitutes.

    Raises:
        InputError: the biLM has no such layer.
    """

    def __init__(self, stored: StoredModel, layer: int, device: torch.device) -> None:
        self.has_softmax = not stored.missing_softmax
        model, options, self._vocabulary = stored.build_language_model()
        self._model = model.to(device).eval().requires_grad_(False)
        self._max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
        self._word_ids = {word: number for number, word in enumerate(self._vocabulary)}
        self._encoder = encoder = encoder_of(self._model, self._vocabulary, self._max_characters)
        self._embedder = ElmoEmbedder(encoder, self._vocabulary)
        if not -1 <= layer < encoder.num_layers:
            raise InputError(
                f"`layer` must be from 0 to {encoder.num_layers - 1}, the layers of this biLM, got {layer}"
            )
        self._layer = layer % encoder.num_layers

    def vectors(self, tokens: Sequence[TokenInContext]) -> np.ndarray:
        """Return the vectors of n `tokens` in their sentences, (n, K)."""
        sentences = self._embedder.embed_sentences([token.sentence for token in tokens], self._layer)
        return np.stack([vectors[token.position] for token, vectors in zip(tokens, sentences, strict=True)])

    def substitutes(self, tokens: Sequence[TokenInContext]) -> list[list[ProbableWord]]:
        """Return the `NUM_SUBSTITUTES` most probable words in the place of each of `tokens`; without a softmax, no words.

        The probability of a word w between the words l before it and r after it is in proportion to P(w | l) P(w | r) / P(w): Bayes'
        rule where l and r are independent given w. P(w) is that of Zipf's law by the place of w in the vocabulary, which is sorted by
        frequency: 1 / place. A forward-only biLM has P(w | l) alone. The word itself and `<S>`, `</S>` and `<UNK>` are left out.
        """
        result: list[list[ProbableWord]] = [[] for _ in tokens]
        if not self.has_softmax:
            return result
        for indices in batches_by_length([len(token.sentence) for token in tokens], BATCH_TOKENS):
            batch = [tokens[index] for index in indices]
            for index, token, (ids, log_probs) in zip(indices, batch, self._top_words(batch), strict=True):
                words = probable_words(ids, log_probs, self._vocabulary)
                result[index] = [substitute for substitute in words if substitute.word != token.word][:NUM_SUBSTITUTES]
        return result

    @torch.no_grad()
    def _top_words(self, tokens: Sequence[TokenInContext]) -> list[tuple[Tensor, Tensor]]:
        sentences = [token.sentence for token in tokens]
        ids = sentence_ids(sentences, self._max_characters, self._word_ids).to(self._model.softmax.weight.device)
        states = predictions(self._encoder, ids, list(map(len, sentences)))
        starts = np.cumsum([0, *states.num_targets[:-1]])
        rows = torch.from_numpy(starts + [token.position for token in tokens]).to(ids.device)
        # Position 0 of the backward direction is `<S>`.
        directions = [states.forward[rows]] + ([] if states.backward is None else [states.backward[rows + 1]])
        log_places = torch.arange(1, len(self._vocabulary) + 1, device=ids.device).log()
        special = [self._word_ids[word] for word in SPECIAL_WORDS if word in self._word_ids]
        num_words = min(NUM_SUBSTITUTES + 1, len(self._vocabulary) - len(special))
        top: list[tuple[Tensor, Tensor]] = []
        for parts in zip(*(hidden.split(max(1, _MAX_LOGITS // len(self._vocabulary))) for hidden in directions)):
            # The softmax of a sum of logits is the normalized product of the probabilities.
            logits = sum(hidden @ self._model.softmax.weight.t() + self._model.softmax.bias for hidden in parts)
            if len(parts) == 2:
                logits += log_places
            logits[:, special] = -math.inf
            log_probs, words = torch.log_softmax(logits, 1).topk(num_words, dim=1)
            top += zip(words, log_probs, strict=True)
        return top
