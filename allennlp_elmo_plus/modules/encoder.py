"""A biLM as a source of word vectors: sentences of words -> the activations of each of its layers."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    EOS_WORD,
    PADDING_ID,
    encode_words,
)
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.fingerprint.fingerprint import fingerprint
from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder
from allennlp_elmo_plus.modules.word_cache import (
    MAX_CACHED_WORDS,
    Compute,
    Words,
    WordVectorCache,
)

_CACHING_CHUNK = 1024
_SAMPLED_WORDS = 16


class Representation(NamedTuple):
    """The layers of a batch of sentences, each with its `<S>` and `</S>`. K = 2 D, or D for one direction."""

    layers: list[Tensor]  # L + 1 times (N, K), packed; layer 0 is the word's own vector, once for each direction
    layout: SentenceLayout  # which word each of the N rows is
    state: BiLMState  # rows in the order of the sentences, at least B of them


class BiLMEncoder(nn.Module):
    """Layer activations of a biLM without its softmax (Peters et al. 2018, section 3.2), for sentences that get their
    `<S>` and `</S>` here. Layer 0 is the token representation once for each direction, as bilm-tf concatenates it with
    itself.

    Each distinct word of a batch is encoded once. While no weight of `token_encoder` asks for a gradient, the vectors
    of the words met are kept for later batches, up to `WordVectorCache`'s bound, until the value of a weight changes. They
    have the weights' type, under autocast too. Several threads may use one encoder at once.

    token_encoder: a CharacterEncoder, or a WordEncoder; bilm: without dropout; max_characters: C, or None for word
    input; boundary_ids: the lines of `<S>` and `</S>` in the vocabulary of word input, which are kept with the weights.
    """

    boundary_ids: Tensor

    def __init__(
        self,
        token_encoder: Union[CharacterEncoder, WordEncoder],
        bilm: BiLM,
        max_characters: Optional[int],
        boundary_ids: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        self.token_encoder = token_encoder
        self.bilm = bilm
        self.max_characters = max_characters
        if max_characters is None:
            self.register_buffer("boundary_ids", torch.tensor(boundary_ids))
        self._cache = WordVectorCache()
        self._words_to_cache: Optional[np.ndarray] = None
        self._vectors_to_cache: Optional[Tensor] = None

    @property
    def num_layers(self) -> int:
        """L + 1: the LSTM layers and the word's own vector."""
        return len(self.bilm.forward_layers) + 1

    @property
    def output_size(self) -> int:
        """K, the width of every layer."""
        return self.bilm.output_size * (2 if len(self.bilm.backward_layers) else 1)

    def cache_words(self, words: Sequence[str], vectors: Optional[Tensor] = None) -> np.ndarray:
        """Has the vectors of `words` in the cache from the first batch on, before those of words met. Returns their
        character ids: (len(words), C). For character input only, else an InputError.

        vectors: (len(words), D), where they are known already (`formats/token_embeddings.py`); the cache is made large
        enough for all of them. The first batch, and the first after a change of weights, compares some with what the
        weights give, and raises InputError where they differ.
        """
        if self.max_characters is None:
            raise InputError("`words` can only be cached for character input, and this biLM takes word ids")
        characters = encode_words(words, self.max_characters)
        # In the order given, as the first ones stay where there are more than the cache holds.
        _, first = np.unique(characters, axis=0, return_index=True)
        first.sort()
        self._words_to_cache = characters[first]
        self._vectors_to_cache = None
        self._cache.clear()
        if vectors is not None:
            expected = (len(words), self.token_encoder.output_size)
            if vectors.shape != expected:
                raise InputError(f"`vectors` of words to cache must have shape {expected}, got {tuple(vectors.shape)}")
            self._vectors_to_cache = vectors[torch.from_numpy(first)]
            self._cache = WordVectorCache(max(MAX_CACHED_WORDS, len(first)))
        return characters

    def forget_words(self) -> None:
        """Empties the cache of all but what `cache_words` put there: what comes next is then the same bit for bit, whatever came
        before.
        """
        self._cache.clear()

    def forward(self, ids: Tensor, state: Optional[BiLMState] = None) -> Representation:
        """ids: character ids (B, T, C), 0 where there is no word; for word input bilm-tf's word ids + 1 (B, T), likewise.
        Sentences lie at the start of their rows. state: where to begin, one row a sentence; rows it lacks begin with
        zeros, rows it has beyond B come back as they were. None begins every sentence with zeros.

        Raises ValueError for ids of another width, out of range, or with a gap inside a sentence.
        """
        lengths = self._checked_lengths(ids)
        layout = SentenceLayout.of_lengths(lengths, ids.shape[1], ids.device)
        words = ids.flatten(0, 1)[layout.word_positions]
        if self.max_characters is None:
            vectors = self.token_encoder(torch.cat([words - 1, self.boundary_ids.to(words)]))[layout.word_of_row]
        else:
            boundaries = torch.from_numpy(encode_words([BOS_WORD, EOS_WORD], self.max_characters)).to(words)
            distinct, inverse = unique_rows(torch.cat([words, boundaries]))
            vectors = self.word_vectors(distinct)[inverse[layout.word_of_row]]
        return self._run(vectors, layout, state)

    def _run(self, vectors: Tensor, layout: SentenceLayout, state: Optional[BiLMState]) -> Representation:
        bidirectional = len(self.bilm.backward_layers) > 0
        state = self._with_rows(state, layout.num_sentences)
        output = self.bilm(
            vectors,
            vectors[layout.reversal] if bidirectional else None,
            layout.batch_sizes,
            BiLMState(state.hidden[:, :, layout.order], state.cell[:, :, layout.order]),
        )
        layers = [vectors, *output.forward]
        if output.backward is not None:
            backward = [vectors, *(layer[layout.reversal] for layer in output.backward)]
            layers = [torch.cat(pair, dim=1) for pair in zip(layers, backward, strict=True)]
        new_state = BiLMState(
            state.hidden.index_copy(2, layout.order, output.state.hidden),
            state.cell.index_copy(2, layout.order, output.state.cell),
        )
        return Representation(layers, layout, new_state)

    def _with_rows(self, state: Optional[BiLMState], num_rows: int) -> BiLMState:
        zeros = self.bilm.zero_state(num_rows)
        if state is None:
            return zeros
        old_rows = state.hidden.shape[2]
        return BiLMState(
            torch.cat([state.hidden.to(zeros.hidden), zeros.hidden[:, :, old_rows:]], dim=2),
            torch.cat([state.cell.to(zeros.cell), zeros.cell[:, :, old_rows:]], dim=2),
        )

    def word_vectors(self, words: Tensor) -> Tensor:
        """The vectors of distinct words, by their character ids: (U, C) -> (U, D)."""
        weights = list(self.token_encoder.parameters())
        # In training every batch changes the weights.
        if any(weight.requires_grad for weight in weights):
            return self.token_encoder(words)

        def compute(missing: np.ndarray) -> Tensor:
            # Not rounded under autocast, so that vectors are the same before, under and after it.
            with torch.no_grad(), torch.autocast(words.device.type, enabled=False):
                return self.token_encoder(torch.from_numpy(missing).to(words.device))

        return self._cache.vectors(
            words.to(torch.int16).cpu().numpy(), compute, fingerprint(weights), partial(self._first_words, compute)
        )

    def _first_words(self, compute: Compute) -> Iterator[Words]:
        """What `cache_words` put into the cache, in chunks. Raises InputError where given vectors are not those of the weights."""
        words, known = self._words_to_cache, self._vectors_to_cache
        if words is None:
            return
        if known is not None:
            sample = np.linspace(0, len(words) - 1, num=min(_SAMPLED_WORDS, len(words)), dtype=np.int64)
            computed = compute(words[sample])
            known = known.to(computed)
            if not torch.allclose(known[torch.from_numpy(sample)], computed, rtol=1e-3, atol=1e-4):
                raise InputError("the cached vectors of words are those of another biLM: make them again from this one")
        for first in range(0, min(len(words), self._cache.max_words), _CACHING_CHUNK):
            chunk = slice(first, first + _CACHING_CHUNK)
            yield words[chunk], compute(words[chunk]) if known is None else known[chunk]

    def _checked_lengths(self, ids: Tensor) -> list[int]:
        expected = "(B, T)" if self.max_characters is None else f"(B, T, {self.max_characters})"
        if ids.dim() != (2 if self.max_characters is None else 3) or ids.shape[2:] not in ((), (self.max_characters,)):
            raise ValueError(f"`ids` must have shape {expected}, got {tuple(ids.shape)}")
        if ids.numel() == 0:
            return [0] * ids.shape[0]
        encoder = self.token_encoder
        high = len(encoder.embedding) if isinstance(encoder, WordEncoder) else PADDING_ID
        present = (ids if ids.dim() == 3 else ids.unsqueeze(2)) > 0
        mask = present.any(dim=2)
        last = (mask * torch.arange(1, ids.shape[1] + 1, device=ids.device)).amax(dim=1)
        lengths = mask.sum(dim=1)
        faults = torch.stack([(ids < 0).any() | (ids > high).any(), (mask != present.all(dim=2)).any()])
        found = torch.cat([lengths, last, faults.long()]).tolist()
        if found[-2]:
            raise ValueError(f"`ids` must lie between 0 and {high}, got from {int(ids.min())} to {int(ids.max())}")
        if found[-1]:
            raise ValueError(
                "`ids` must be 0 at all characters of a place without a word and at none of a word, got a mixture"
            )
        num_rows = ids.shape[0]
        for row in range(num_rows):
            if found[row] != found[num_rows + row]:
                raise ValueError(
                    f"`ids` must hold each sentence without a gap, got {found[row]} words up to place "
                    f"{found[num_rows + row]} in sentence {row}"
                )
        return found[:num_rows]
