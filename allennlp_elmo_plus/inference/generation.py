"""Generate text with a language model, word by word: continue a prefix forward, or a suffix backward."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, UNK_WORD
from allennlp_elmo_plus.data.text.word_indexers import CharacterIndexer, VocabularyIndexer
from allennlp_elmo_plus.errors import check_at_least
from allennlp_elmo_plus.inference.top_words import top_words
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.language_model import LanguageModel


class Continuation(NamedTuple):
    """Generated words, in the direction's reading order."""

    words: list[str]  # without the sentence boundary at the end
    log_probs: list[float]  # natural logarithm of the probability of each word, and of the boundary if `has_ended`
    has_ended: bool  # whether the sentence boundary was generated

    @property
    def log_prob(self) -> float:
        """Return the log-probability of the whole continuation, given its context."""
        return sum(self.log_probs)


class DirectionalLM:
    """One direction of a language model, read word by word. The caller keeps the state.

    Args:
        model: the language model, in evaluation mode.
        vocabulary: the word of each of the V ids.
        max_characters: C; None for word input.
        backward: read sentences from `</S>` to `<S>`.

    Raises:
        ValueError: `model` is in training mode, or `backward` is True for a forward-only model.
    """

    def __init__(
        self, model: LanguageModel, vocabulary: Sequence[str], max_characters: Optional[int], backward: bool = False
    ) -> None:
        if model.training:
            raise ValueError("`model` must be in evaluation mode, got one in training")
        if backward and not model.bilm.is_bidirectional:
            raise ValueError("`backward` must be False for a forward-only model, got True")
        self.model = model
        self.vocabulary = vocabulary
        self.first_word, self.last_word = (EOS_WORD, BOS_WORD) if backward else (BOS_WORD, EOS_WORD)
        self._indexer = VocabularyIndexer(vocabulary) if max_characters is None else CharacterIndexer(max_characters)
        self._backward = backward
        # `<UNK>` is not a word, and the boundary that begins a sentence never follows.
        self.banned_words = frozenset((UNK_WORD, self.first_word))

    def read(self, words: Sequence[str], state: Optional[BiLMState] = None) -> tuple[Tensor, BiLMState]:
        """Return the input of the softmax (B, D) and the new state after reading one word in each of B rows."""
        return self._run(words, [len(words)], state)

    def read_sentence(self, words: Sequence[str]) -> tuple[Tensor, BiLMState]:
        """Return the input of the softmax (1, D) and the state after reading a boundary and then `words` in one row."""
        outputs, state = self._run([self.first_word, *words], [1] * (len(words) + 1), None)
        return outputs[-1:], state

    @torch.no_grad()
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Return the log-probability of each word to come next, (B, V), from the input of the softmax `hidden` (B, D)."""
        softmax = self.model.softmax
        logits = torch.addmm(softmax.bias, hidden, softmax.weight.t())
        return torch.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def _run(
        self, words: Sequence[str], batch_sizes: list[int], state: Optional[BiLMState]
    ) -> tuple[Tensor, BiLMState]:
        ids = torch.from_numpy(self._indexer.ids(words)).to(self.model.softmax.weight.device)
        vectors = self.model.token_encoder(ids)
        # The other direction is computed too and its output ignored; compared with the softmax its cost is small.
        output = self.model.bilm(vectors, vectors, batch_sizes, state)
        layers = output.backward if self._backward else output.forward
        return layers[-1], output.state


def beam_search(
    direction: DirectionalLM, context: Sequence[str], max_words: int, beam_size: int = 1, chunk_size: int = 1024
) -> list[Continuation]:
    """Return the most probable continuations of `context`, at most `beam_size`, the most probable first.

    After each word the `beam_size` most probable continuations are kept, ended ones included. `<UNK>` is never generated, but
    its probability is not given to other words: `log_probs` are those of scoring the text.

    Args:
        direction: the language model.
        context: the words before the continuation, in reading order.
        max_words: maximum words of a continuation that does not end the sentence.
        beam_size: the number of continuations kept; 1 is greedy search. A beam as large as the number of possible continuations
            gives the result of exhaustive search.
        chunk_size: see `top_words`.

    Raises:
        InputError: `max_words` or `beam_size` is below 1.
    """
    check_at_least(1, max_words=max_words, beam_size=beam_size)
    softmax = direction.model.softmax
    num_words = min(beam_size + len(direction.banned_words), len(softmax.weight))
    hidden, state = direction.read_sentence(context)
    beam, open_rows = [Continuation([], [], False)], [0]
    for _ in range(max_words):
        ids, log_probs = top_words(hidden, softmax.weight, softmax.bias, num_words, chunk_size)
        # Each with the row of the state from which it continues; None where it has ended.
        candidates: list[tuple[Continuation, Optional[int]]] = [(ended, None) for ended in beam if ended.has_ended]
        for row, index in enumerate(open_rows):
            prefix = beam[index]
            for number, log_prob in zip(ids[row].tolist(), log_probs[row].tolist(), strict=True):
                word = direction.vocabulary[number]
                if word in direction.banned_words:
                    continue
                ends = word == direction.last_word
                words = prefix.words if ends else [*prefix.words, word]
                candidates.append((Continuation(words, [*prefix.log_probs, log_prob], ends), None if ends else row))
        candidates.sort(key=lambda candidate: -candidate[0].log_prob)
        del candidates[beam_size:]
        beam = [continuation for continuation, _ in candidates]
        open_rows = [index for index, continuation in enumerate(beam) if not continuation.has_ended]
        if not open_rows:
            break
        rows = [row for _, row in candidates if row is not None]
        state = BiLMState(*(part[:, :, rows] for part in state))
        hidden, state = direction.read([beam[index].words[-1] for index in open_rows], state)
    return beam


def sample(
    direction: DirectionalLM, context: Sequence[str], max_words: int, temperature: float, generator: torch.Generator
) -> Continuation:
    """Return a random continuation of `context`. `<UNK>` is never drawn.

    Args:
        direction: the language model.
        context: the words before the continuation, in reading order.
        max_words: maximum words, if the sentence does not end before.
        temperature: a word is drawn with a probability proportional to p ** (1 / temperature): with 1 that of the model; lower
            values favour probable words, higher values improbable ones.
        generator: a generator on the CPU; the same state draws the same words.

    Raises:
        InputError: `max_words` is below 1.
        ValueError: `temperature` is not positive and finite.
    """
    check_at_least(1, max_words=max_words)
    if not 0 < temperature < float("inf"):
        raise ValueError(f"`temperature` must be positive and finite, got {temperature}")
    banned_ids = [direction.vocabulary.index(word) for word in direction.banned_words]
    hidden, state = direction.read_sentence(context)
    words: list[str] = []
    log_probs: list[float] = []
    while len(words) < max_words:
        next_log_probs = direction.log_probs(hidden)[0].cpu().double()
        allowed = next_log_probs.clone()
        allowed[banned_ids] = -float("inf")
        # Relative to the highest, so that no temperature makes all probabilities underflow to 0.
        probs = torch.softmax((allowed - allowed.max()) / temperature, dim=0)
        number = int(torch.multinomial(probs, 1, generator=generator))
        log_probs.append(float(next_log_probs[number]))
        if direction.vocabulary[number] == direction.last_word:
            return Continuation(words, log_probs, True)
        words.append(direction.vocabulary[number])
        hidden, state = direction.read(words[-1:], state)
    return Continuation(words, log_probs, False)
