"""What a biLM says about the candidates of an item."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.data.batching.sentences import batches_by_length, sentence_ids
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.predictions import predictions
from allennlp_elmo_plus.inference.word_log_probs import word_log_probs
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from examples.word_choice.data import Item

_BATCH_TOKENS = 2048


class Evidence(NamedTuple):
    """What a biLM says about the n candidates of an item. A candidate outside of its vocabulary counts as the least probable word of it."""

    forward: np.ndarray  # (n,), log-probability given all words before the target
    backward: np.ndarray  # (n,), log-probability given all words after the target
    forward_cosine: (
        np.ndarray
    )  # (n,), cosine of the softmax's vector of the candidate and the vector of the words before
    backward_cosine: np.ndarray  # (n,), the same of the words after
    sentence: (
        np.ndarray
    )  # (n,), log-probabilities of all words of the sentence with the candidate, both directions added
    layers: np.ndarray  # (L + 1, n), cosine of target and candidate, each in the sentence; layer 0 knows no context


class CandidateModel:
    """A biLM that reads items.

    Args:
        path: the model.tar.gz of the biLM.
    """

    def __init__(self, path: str) -> None:
        model, options, vocabulary = load_language_model(path)
        assert options.char_cnn is not None, "the biLM must read characters"
        self._model = model.eval().requires_grad_(False)
        self._max_characters = options.char_cnn.max_characters
        self._word_ids = {word: number for number, word in enumerate(vocabulary)}
        self._embedder = ElmoEmbedder(BiLMEncoder(model.token_encoder, model.bilm, self._max_characters))

    def is_known(self, word: str) -> bool:
        """Return whether `word` is in the vocabulary of the softmax."""
        return word in self._word_ids

    def evidence(self, items: Sequence[Item]) -> list[Evidence]:
        """Return the evidence about the candidates of each of `items`."""
        at_target = self._at_target(items)
        sentences = [item.with_candidate(word) for item in items for word in (item.word, *item.candidates)]
        vectors = iter(self._embedder.embed_sentences(sentences))
        result = []
        for item, (hidden, log_probs) in zip(items, at_target, strict=True):
            of_target, *of_candidates = (next(vectors)[:, item.position] for _ in range(1 + len(item.candidates)))
            forward, backward = (self._of_candidates(item, values) for values in log_probs)
            cosines = [_cosines(vector, self._model.softmax.weight) for vector in hidden]
            forward_cosine, backward_cosine = (self._of_candidates(item, values) for values in cosines)
            layers = np.stack([_cosines_of_layers(of_target, vector) for vector in of_candidates], axis=1)
            sentence = self._sentences(item) + forward + backward
            result.append(Evidence(forward, backward, forward_cosine, backward_cosine, sentence, layers))
        return result

    def _at_target(self, items: Sequence[Item]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Return, for each item, the vectors from which the directions predict the target, and their log-probabilities (V,)."""
        result: list[tuple[list[Tensor], list[Tensor]]] = [([], [])] * len(items)
        softmax = self._model.softmax
        for numbers in batches_by_length([len(item.sentence) for item in items], _BATCH_TOKENS):
            batch = [items[number] for number in numbers]
            lengths = [len(item.sentence) for item in batch]
            ids = sentence_ids([item.sentence for item in batch], self._max_characters)
            states = predictions(self._model, ids, lengths, self._max_characters)
            assert states.backward is not None, "the biLM must have two directions"
            forward, backward = states.forward.split(states.num_targets), states.backward.split(states.num_targets)
            for number, item, before, after in zip(numbers, batch, forward, backward, strict=True):
                # Position 0 of the backward direction is `<S>`.
                hidden = [before[item.position], after[item.position + 1]]
                log_probs = [torch.log_softmax(softmax.weight @ vector + softmax.bias, 0) for vector in hidden]
                result[number] = (hidden, log_probs)
        return iter(result)

    def _sentences(self, item: Item) -> np.ndarray:
        """Return, for each candidate, the sum of the log-probabilities of all other words of the sentence."""
        sentences = [item.with_candidate(word) for word in item.candidates]
        sums = []
        for forward, backward in word_log_probs(self._model, sentences, self._word_ids, self._max_characters):
            assert backward is not None
            # The candidate itself does not read itself.
            others = forward.sum() - forward[item.position] + backward.sum() - backward[item.position + 1]
            sums.append(float(others))
        return np.array(sums)

    def _of_candidates(self, item: Item, values: Tensor) -> np.ndarray:
        ids = [self._word_ids.get(word) for word in item.candidates]
        lowest = values.min()
        return np.array([float(lowest if number is None else values[number]) for number in ids])


def _cosines(vector: Tensor, matrix: Tensor) -> Tensor:
    return F.cosine_similarity(matrix, vector[None], dim=1)


def _cosines_of_layers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of `first` and the same row of `second`, both (L + 1, K)."""
    return (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
