"""Text from a language model: a prefix continued forward, or a suffix backward, a word at a time."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    EOS_WORD,
    UNK_WORD,
    encode_words,
)
from allennlp_elmo_plus.inference.top_words import top_words
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.modules.token_encoder import WordEncoder


class Continuation(NamedTuple):
    """Words in the direction's reading order, and how likely each was given all before it."""

    words: list[str]  # without the sentence boundary at the end
    log_probs: list[float]  # of each word, and of the boundary where `has_ended`; natural logarithms
    has_ended: bool

    @property
    def log_prob(self) -> float:
        """Of the whole continuation, given what it continues."""
        return sum(self.log_probs)


class DirectionalLM:
    """A language model read in one direction, word by word, its state handed on by the caller.

    model: in evaluation mode, else a ValueError; vocabulary: the word of each of its V ids; max_characters: C, None for word
    input; backward: whether sentences are read from `</S>` to `<S>`, for which a forward-only model gives a ValueError.
    """

    def __init__(
        self, model: LanguageModel, vocabulary: Sequence[str], max_characters: Optional[int], backward: bool = False
    ) -> None:
        if model.training:
            raise ValueError("`model` must be in evaluation mode, got one in training")
        if backward and not model.is_bidirectional:
            raise ValueError("`backward` must be False for a forward-only model, got True")
        self.model = model
        self.vocabulary = vocabulary
        self.first_word, self.last_word = (EOS_WORD, BOS_WORD) if backward else (BOS_WORD, EOS_WORD)
        self._ids: dict[str, int] = {}
        if isinstance(model.token_encoder, WordEncoder):
            self._ids.update((word, number) for number, word in enumerate(vocabulary))
        self._max_characters = max_characters
        self._backward = backward
        # `<UNK>` is no word, and no sentence goes on with the boundary it began with.
        self.banned_words = frozenset((UNK_WORD, self.first_word))

    def read(self, words: Sequence[str], state: Optional[BiLMState] = None) -> tuple[Tensor, BiLMState]:
        """One word for each of B rows -> what the softmax reads (B, D), and the state after it."""
        return self._run(words, [len(words)], state)

    def read_sentence(self, words: Sequence[str]) -> tuple[Tensor, BiLMState]:
        """One row, which reads the sentence's boundary and then `words` -> what the softmax reads after the last (1, D)."""
        outputs, state = self._run([self.first_word, *words], [1] * (len(words) + 1), None)
        return outputs[-1:], state

    @torch.no_grad()
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Of every word to come next: (B, D) -> (B, V)."""
        softmax = self.model.softmax
        logits = torch.addmm(softmax.bias, hidden, softmax.weight.t())
        return torch.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def _run(
        self, words: Sequence[str], batch_sizes: list[int], state: Optional[BiLMState]
    ) -> tuple[Tensor, BiLMState]:
        encoder, device = self.model.token_encoder, self.model.softmax.weight.device
        if isinstance(encoder, WordEncoder):
            ids = [self._ids.get(word, self._ids[UNK_WORD]) for word in words]
            vectors = encoder(torch.tensor(ids, device=device))
        else:
            assert self._max_characters is not None
            vectors = encoder(torch.from_numpy(encode_words(words, self._max_characters)).to(device))
        # The other direction, if any, reads along unheard: next to the softmax it costs nothing.
        output = self.model.bilm(vectors, vectors, batch_sizes, state)
        layers = output.backward if self._backward else output.forward
        return layers[-1], output.state


def beam_search(
    direction: DirectionalLM, context: Sequence[str], max_words: int, beam_size: int = 1, chunk_size: int = 1024
) -> list[Continuation]:
    """The likeliest continuations of a sentence that begins, in reading order, with `context`: at most `beam_size`, the likeliest
    first, each until the sentence ends or has `max_words` more words. `beam_size` 1 is the greedy one.

    After each word the `beam_size` likeliest of all continuations are kept, those that have ended among them; with no fewer than
    there are at all, the result is that of trying all. `<UNK>` is never written, yet its share of the probability is not given
    to other words: `log_probs` are those that the text gets when it is scored.

    Raises `ValueError` for a `max_words` or a `beam_size` below 1.
    """
    for name, value in (("max_words", max_words), ("beam_size", beam_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    softmax = direction.model.softmax
    num_words = min(beam_size + len(direction.banned_words), len(softmax.weight))
    hidden, state = direction.read_sentence(context)
    beam, open_rows = [Continuation([], [], False)], [0]
    for _ in range(max_words):
        ids, log_probs = top_words(hidden, softmax.weight, softmax.bias, num_words, chunk_size)
        # Each with the row it goes on from; none where it has ended.
        candidates: list[tuple[Continuation, Optional[int]]] = [(each, None) for each in beam if each.has_ended]
        for row, place in enumerate(open_rows):
            begun = beam[place]
            for number, log_prob in zip(ids[row].tolist(), log_probs[row].tolist(), strict=True):
                word = direction.vocabulary[number]
                if word in direction.banned_words:
                    continue
                ends = word == direction.last_word
                words = begun.words if ends else [*begun.words, word]
                candidates.append((Continuation(words, [*begun.log_probs, log_prob], ends), None if ends else row))
        candidates.sort(key=lambda candidate: -candidate[0].log_prob)
        del candidates[beam_size:]
        beam = [continuation for continuation, _ in candidates]
        open_rows = [place for place, continuation in enumerate(beam) if not continuation.has_ended]
        if not open_rows:
            break
        rows = [row for _, row in candidates if row is not None]
        state = BiLMState(*(part[:, :, rows] for part in state))
        hidden, state = direction.read([beam[place].words[-1] for place in open_rows], state)
    return beam


def sample(
    direction: DirectionalLM, context: Sequence[str], max_words: int, temperature: float, generator: torch.Generator
) -> Continuation:
    """A continuation drawn at random until the sentence ends or has `max_words` more words, each word with a probability proportional
    to p ** (1 / temperature): 1 is the model's own, below 1 likely words gain, above 1 unlikely ones. `<UNK>` is never drawn.

    generator: on the CPU; the same one draws the same words. Raises `ValueError` for a `max_words` below 1 or a `temperature` that
    is not positive and finite.
    """
    if max_words < 1:
        raise ValueError(f"`max_words` must be at least 1, got {max_words}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"`temperature` must be positive and finite, got {temperature}")
    never = [direction.vocabulary.index(word) for word in direction.banned_words]
    hidden, state = direction.read_sentence(context)
    words: list[str] = []
    log_probs: list[float] = []
    while len(words) < max_words:
        next_log_probs = direction.log_probs(hidden)[0].cpu().double()
        allowed = next_log_probs.clone()
        allowed[never] = -float("inf")
        # From the highest down, so that a low temperature leaves one word rather than none.
        probs = torch.softmax((allowed - allowed.max()) / temperature, dim=0)
        number = int(torch.multinomial(probs, 1, generator=generator))
        log_probs.append(float(next_log_probs[number]))
        if direction.vocabulary[number] == direction.last_word:
            return Continuation(words, log_probs, True)
        words.append(direction.vocabulary[number])
        hidden, state = direction.read(words[-1:], state)
    return Continuation(words, log_probs, False)
