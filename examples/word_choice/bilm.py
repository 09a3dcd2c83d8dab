"""What a biLM says about the candidates of an item."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.data.batching.sentences import batches_by_length, sentence_ids
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.predictions import encoder_of, predictions
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
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
        self._encoder = encoder_of(model, vocabulary, self._max_characters)
        self._embedder = ElmoEmbedder(self._encoder)

    def is_known(self, word: str) -> bool:
        """Return whether `word` is in the vocabulary of the softmax."""
        return word in self._word_ids

    def evidence(self, items: Sequence[Item]) -> list[Evidence]:
        """Return the evidence about the candidates of each of `items`."""
        sentences = [item.with_candidate(word) for item in items for word in (item.word, *item.candidates)]
        others = self._predicted_from_candidates(items)
        vectors = iter(self._embedder.embed_sentences(sentences))
        result = []
        for item, (forward, backward, *cosines) in zip(items, self._at_targets(items), strict=True):
            of_target, *of_candidates = (next(vectors)[:, item.position] for _ in range(1 + len(item.candidates)))
            layers = np.stack([_cosines_of_layers(of_target, vector) for vector in of_candidates], axis=1)
            sentence = forward + backward + [next(others) for _ in item.candidates]
            result.append(Evidence(forward, backward, *cosines, sentence, layers))
        return result

    def _at_targets(self, items: Sequence[Item]) -> list[list[np.ndarray]]:
        """Return the first four arrays of the evidence about each item."""
        result: list[list[np.ndarray]] = [[]] * len(items)
        weight, bias = self._model.softmax.weight, self._model.softmax.bias
        directions_of_words = F.normalize(weight, dim=1)
        for numbers in batches_by_length([len(item.sentence) for item in items], _BATCH_TOKENS):
            batch = [items[number] for number in numbers]
            forward, backward = self._predictions([item.sentence for item in batch])
            for number, item, before, after in zip(numbers, batch, forward, backward, strict=True):
                # Position 0 of the backward direction is `<S>`.
                contexts = torch.stack([before[item.position], after[item.position + 1]])
                log_probs = torch.log_softmax(contexts @ weight.t() + bias, 1)
                cosines = F.normalize(contexts, dim=1) @ directions_of_words.t()
                result[number] = [self._of_candidates(item, values) for values in (*log_probs, *cosines)]
        return result

    def _predicted_from_candidates(self, items: Sequence[Item]) -> Iterator[float]:
        """Return, for each candidate of each item, the sum of the log-probabilities of the words that are predicted from it.

        These are the words after it in the forward direction, and the words before it in the backward direction. The other words of
        the sentence are as probable as with any other candidate.
        """
        sentences = [(item.with_candidate(word), item.position) for item in items for word in item.candidates]
        sums = [0.0] * len(sentences)
        for numbers in batches_by_length([len(words) for words, _ in sentences], _BATCH_TOKENS):
            batch = [sentences[number] for number in numbers]
            for number, log_probs in zip(numbers, self._log_probs_of_others(batch), strict=True):
                sums[number] = float(log_probs.sum())
        return iter(sums)

    def _log_probs_of_others(self, sentences: Sequence[tuple[tuple[str, ...], int]]) -> Sequence[Tensor]:
        forward, backward = self._predictions([words for words, _ in sentences])
        rows, targets = [], []
        for (words, position), before, after in zip(sentences, forward, backward, strict=True):
            rows += [before[position + 1 :], after[: position + 1]]
            targets.append([*words[position + 1 :], EOS_WORD, BOS_WORD, *words[:position]])
        ids = torch.tensor(look_up_words([word for words in targets for word in words], self._word_ids))
        softmax = self._model.softmax
        return (-exact_nll(torch.cat(rows), ids, softmax.weight, softmax.bias)).split(list(map(len, targets)))

    def _predictions(self, sentences: Sequence[Sequence[str]]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return, for each sentence of n words, the vectors that predict w1 .. wn </S>, and those that predict <S> w1 .. wn."""
        ids = sentence_ids(sentences, self._max_characters)
        states = predictions(self._encoder, ids, list(map(len, sentences)))
        assert states.backward is not None, "the biLM must have two directions"
        return states.forward.split(states.num_targets), states.backward.split(states.num_targets)

    def _of_candidates(self, item: Item, values: Tensor) -> np.ndarray:
        ids = [self._word_ids.get(word) for word in item.candidates]
        lowest = values.min()
        return np.array([float(lowest if number is None else values[number]) for number in ids])


def _cosines_of_layers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of `first` and the same row of `second`, both (L + 1, K)."""
    return (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
