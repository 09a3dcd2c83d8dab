"""A biLM as a source of word vectors: sentences -> the activations of all layers."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.fingerprint.fingerprint import fingerprint
from allennlp_elmo_plus.kernels.precision import products_in
from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder
from allennlp_elmo_plus.modules.word_and_character_encoder import WordAndCharacterEncoder
from allennlp_elmo_plus.modules.word_cache import MAX_CACHED_WORDS, Words, WordVectorCache

TokenEncoder = Union[CharacterEncoder, WordEncoder, WordAndCharacterEncoder]

_CACHING_CHUNK = 1024
_SAMPLED_WORDS = 16


class Representation(NamedTuple):
    """The layers of a batch of sentences with `<S>` and `</S>`. K is 2 D, or D for a forward-only biLM."""

    layers: list[Tensor]  # L + 1 times (N, K), packed; layer 0 is the word's own vector, once per direction
    layout: SentenceLayout  # the word of each of the N rows
    state: BiLMState  # rows in the order of the sentences, at least B of them


class BiLMEncoder(nn.Module):
    """The layer activations of a biLM without its softmax (Peters et al. 2018, section 3.2).

    The encoder puts `<S>` and `</S>` around each sentence. Layer 0 is the token representation once per direction: bilm-tf, too,
    concatenates it with itself.

    Each distinct word of a batch is encoded once. While no weight of `token_encoder` requires a gradient, a `WordVectorCache` keeps
    the vectors for later batches until a weight changes. They have the weights' type, under autocast too. Several threads may use
    one encoder.

    Args:
        token_encoder: The encoder of words.
        bilm: The recurrent layers, without dropout.
        max_characters: C, the characters of a word as bilm-tf spells it; None for an encoder that reads ids of a vocabulary.
        boundary_ids: For an encoder that reads ids of a vocabulary, those of the words before and after a sentence, as
            `token_encoder` takes them: (2,) for `WordEncoder`, (2, R) for `WordAndCharacterEncoder`. They are saved with the weights.

    Attributes:
        precision: "fp32", or "bf16" for matrix products in bfloat16; to be set before the first batch. Vectors have the weights' type.
    """

    boundary_ids: Tensor

    def __init__(
        self,
        token_encoder: TokenEncoder,
        bilm: BiLM,
        max_characters: Optional[int],
        boundary_ids: Union[tuple[int, int], np.ndarray] = (0, 1),
    ) -> None:
        super().__init__()
        self.precision = "fp32"
        self.token_encoder = token_encoder
        self.bilm = bilm
        self.max_characters = max_characters
        if max_characters is None:
            self.register_buffer("boundary_ids", torch.tensor(boundary_ids, dtype=torch.int64))
        self._cache = WordVectorCache()
        self._words_to_cache: Optional[np.ndarray] = None
        self._vectors_to_cache: Optional[Tensor] = None

    @property
    def num_layers(self) -> int:
        """Return L + 1: the number of recurrent layers, and one for the word's own vector."""
        return len(self.bilm.forward_layers) + 1

    @property
    def output_size(self) -> int:
        """Return K, the width of every layer."""
        return self.bilm.output_size * (1 + self.bilm.is_bidirectional)

    def cache_words(self, words: Sequence[str], vectors: Optional[Tensor] = None) -> np.ndarray:
        """Return the character ids of `words`, (W, C), whose vectors the cache then holds from the next batch on.

        Args:
            words: W words. Where the cache is too small for all of them, it holds the first ones.
            vectors: Their known vectors, (W, D), see `formats.token_embeddings`; the cache is then made large enough for all words.
                The first batch, and the first after a change of weights, compares a sample of them with computed vectors, and
                raises an InputError where they differ.

        Raises:
            InputError: The biLM has word input, or `vectors` has another shape.
        """
        if self.max_characters is None:
            raise InputError("`words` can only be cached for character input, and this biLM takes ids of a vocabulary")
        characters = encode_words(words, self.max_characters)
        # In the order of `words`, so that a full cache holds the first ones.
        _, first_indices = np.unique(characters, axis=0, return_index=True)
        first_indices.sort()
        self._words_to_cache = characters[first_indices]
        self._vectors_to_cache = None
        self._cache.clear()
        if vectors is not None:
            expected = (len(words), self.token_encoder.output_size)
            if vectors.shape != expected:
                raise InputError(f"`vectors` of words to cache must have shape {expected}, got {tuple(vectors.shape)}")
            self._vectors_to_cache = vectors[torch.from_numpy(first_indices)]
            self._cache = WordVectorCache(max(MAX_CACHED_WORDS, len(first_indices)))
        return characters

    def forget_words(self) -> None:
        """Remove all words from the cache except those of `cache_words`.

        The next vectors are then the same bit for bit, whatever batches came before.
        """
        self._cache.clear()

    def forward(self, ids: Tensor, state: Optional[BiLMState] = None) -> Representation:
        """Return the layers of B sentences, and the state after each.

        Args:
            ids: The R ids of each word, (B, T, R), as `WordIndexer` gives them: bilm-tf's C characters are R. For word input
                bilm-tf's word ids + 1, (B, T). 0 is padding, at the end of a row.
            state: The state before each sentence. Missing rows are zeros; rows beyond B are returned unchanged. None is zeros for
                every sentence.

        Raises:
            ValueError: `ids` has another shape, an id is out of range, or padding lies inside a sentence.
        """
        lengths = self._checked_lengths(ids)
        layout = SentenceLayout.of_lengths(lengths, ids.shape[1], ids.device)
        words = ids.flatten(0, 1)[layout.word_positions]
        with products_in(self.precision, ids.device):
            return self._run(self._rows(words, layout), layout, state)

    def _rows(self, words: Tensor, layout: SentenceLayout) -> Tensor:
        """Return the vector of the word of each row of `layout`, (N, D)."""
        if not self.token_encoder.word_shape:
            return self.token_encoder(torch.cat([words - 1, self.boundary_ids.to(words)]))[layout.word_of_row]
        boundaries = self._boundary_rows().to(words)
        distinct, inverse = unique_rows(torch.cat([words, boundaries]))
        return self.word_vectors(distinct)[inverse[layout.word_of_row]]

    def _boundary_rows(self) -> Tensor:
        """Return the ids of the words before and after a sentence, (2, R)."""
        if self.max_characters is None:
            return self.boundary_ids
        return torch.from_numpy(encode_words([BOS_WORD, EOS_WORD], self.max_characters))

    def _run(self, vectors: Tensor, layout: SentenceLayout, state: Optional[BiLMState]) -> Representation:
        state = self._with_rows(state, layout.num_sentences)
        output = self.bilm(
            vectors,
            vectors[layout.reversal] if self.bilm.is_bidirectional else None,
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
        """Return the vectors, (U, D), of distinct words, (U, R) ids."""
        weights = list(self.token_encoder.parameters())
        # In training every batch changes the weights, so that a cache has no use.
        if any(weight.requires_grad for weight in weights):
            return self.token_encoder(words)

        # As bytes of these a word is a key of the cache. Ids of a vocabulary may be above 32,767.
        key_dtype = torch.int32 if self.max_characters is None else torch.int16
        return self._cache.vectors(
            words.to(key_dtype).cpu().numpy(),
            partial(self._compute, self.precision),
            fingerprint(weights),
            self._first_words,
        )

    @torch.no_grad()
    def _compute(self, precision: str, words: np.ndarray) -> Tensor:
        device = next(self.token_encoder.parameters()).device
        # Without the caller's autocast, so that cached vectors are the same before, under and after it.
        with torch.autocast(device.type, enabled=False), products_in(precision, device):
            return self.token_encoder(torch.from_numpy(words).to(device))

    def _first_words(self) -> Iterator[Words]:
        """Yield the words of `cache_words` and their vectors, in chunks.

        Raises:
            InputError: The vectors given to `cache_words` differ from those that the weights give.
        """
        words, known = self._words_to_cache, self._vectors_to_cache
        if words is None:
            return
        if known is not None:
            sample = np.linspace(0, len(words) - 1, num=min(_SAMPLED_WORDS, len(words)), dtype=np.int64)
            computed = self._compute("fp32", words[sample])
            known = known.to(computed)
            if not torch.allclose(known[torch.from_numpy(sample)], computed, rtol=1e-3, atol=1e-4):
                raise InputError("the cached vectors of words are those of another biLM: make them again from this one")
        for start in range(0, min(len(words), self._cache.max_words), _CACHING_CHUNK):
            chunk = slice(start, start + _CACHING_CHUNK)
            yield words[chunk], self._compute(self.precision, words[chunk]) if known is None else known[chunk]

    def _checked_lengths(self, ids: Tensor) -> list[int]:
        """Return the number of words of each sentence of `ids`; see `forward` for the errors.

        Raises:
            InputError: `ids` has another shape than `forward` requires.
            ValueError: `ids` is not as `forward` requires.
        """
        word_shape, high = self.token_encoder.word_shape, self.token_encoder.max_id
        if ids.shape[2:] != word_shape or ids.dim() != 2 + len(word_shape):
            expected = ", ".join(["B", "T", *map(str, word_shape)])
            rule = "" if self.max_characters is None else ", by the biLM's `max_characters_per_token`"
            raise InputError(f"`ids` must have shape ({expected}){rule}, got {tuple(ids.shape)}")
        if ids.numel() == 0:
            return [0] * ids.shape[0]
        present = (ids if ids.dim() == 3 else ids.unsqueeze(2)) > 0
        mask = present.any(dim=2)
        last = (mask * torch.arange(1, ids.shape[1] + 1, device=ids.device)).amax(dim=1)
        lengths = mask.sum(dim=1)
        is_out_of_range, is_mixed = (ids < 0).any() | (ids > high).any(), (mask != present.all(dim=2)).any()
        # One transfer from the device.
        *values, out_of_range, mixed = torch.cat([lengths, last, is_out_of_range[None], is_mixed[None]]).tolist()
        if out_of_range:
            raise ValueError(f"`ids` must lie between 0 and {high}, got from {int(ids.min())} to {int(ids.max())}")
        if mixed:
            raise ValueError("`ids` must be 0 at all characters of padding and at none of a word, got a mixture")
        num_words, last_positions = values[: len(ids)], values[len(ids) :]
        for sentence, (number, position) in enumerate(zip(num_words, last_positions, strict=True)):
            if number != position:
                raise ValueError(
                    f"`ids` must hold each sentence without a gap, got {number} words up to position {position} in "
                    f"sentence {sentence}"
                )
        return num_words
