"""The parts of AllenNLP models that this example adds: a reader, an embedder of stored vectors, and poolings.

AllenNLP reads the constructors, so this file has no postponed annotations.
"""

import json
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import torch
from allennlp.data import DatasetReader, Instance, Token, TokenIndexer
from allennlp.data.fields import LabelField, TextField
from allennlp.modules import ScalarMix, Seq2SeqEncoder, Seq2VecEncoder, TokenEmbedder
from allennlp.nn.util import masked_max, masked_softmax

# Beside a 0, the softmax of this number is exactly 1.
_ALL_WEIGHT = 1e10


@DatasetReader.register("petitions")
class PetitionsReader(DatasetReader):
    """Reads files of `vectors.write_vectors`. A token has its word, and as `text_id` the position of its vectors.

    Args:
        token_indexers: {"tokens": {"type": "single_id", "namespace": None, "feature_name": "text_id"}} for the stored vectors.
        max_words: further words of a petition are left out.
    """

    def __init__(self, token_indexers: dict[str, TokenIndexer], max_words: Optional[int] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._token_indexers = token_indexers
        self._max_words = max_words

    def _read(self, file_path: str) -> Iterable[Instance]:
        with open(file_path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                words = record["words"][: self._max_words]
                tokens = [Token(word, text_id=record["first"] + number) for number, word in enumerate(words)]
                yield Instance({"tokens": TextField(tokens), "label": LabelField(record["label"])})

    def apply_token_indexers(self, instance: Instance) -> None:
        """Set the indexers of the words of `instance`."""
        instance["tokens"].token_indexers = self._token_indexers


@TokenEmbedder.register("stored_vectors")
class StoredVectors(TokenEmbedder):
    """Mixes of the layers of stored vectors, as the token embedder `bilm` gives them.

    Args:
        vectors_file: of `vectors.write_vectors`.
        mix: "gamma": weights of the layers and gamma are learned; "weights": gamma is 1; "average": nothing is learned, the mix is the
            mean of the layers; "layer_0", "layer_1", ...: nothing is learned, the mix is this layer.
        num_mixes: the number of mixes, concatenated in the vector of a word.
        dropout: on the mixed vectors.
    """

    def __init__(
        self,
        vectors_file: str,
        mix: str = "gamma",
        num_mixes: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self._vectors = np.load(vectors_file, mmap_mode="r")
        self._mixes = torch.nn.ModuleList(_make_mix(self._vectors.shape[1], mix) for _ in range(num_mixes))
        self._dropout = torch.nn.Dropout(dropout)

    def get_output_dim(self) -> int:
        """Return the width of the vectors."""
        return len(self._mixes) * self._vectors.shape[2]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the vectors (B, T, mixes * K) at the positions `tokens`, (B, T)."""
        layers = torch.from_numpy(self._vectors[tokens.numpy()]).float().unbind(dim=2)
        mixed = torch.cat([mix(layers) for mix in self._mixes], dim=-1)
        return self._dropout(mixed)


def _make_mix(num_layers: int, name: str) -> ScalarMix:
    if name in ("gamma", "weights"):
        mix = ScalarMix(num_layers)
        mix.gamma.requires_grad_(name == "gamma")
        return mix
    weights = [0.0] * num_layers
    if name != "average":
        weights[int(name.removeprefix("layer_"))] = _ALL_WEIGHT
    mix = ScalarMix(num_layers, initial_scalar_parameters=weights, trainable=False)
    mix.gamma.requires_grad_(False)
    return mix


class _Pooling(Seq2VecEncoder):
    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self._embedding_dim = embedding_dim

    def get_input_dim(self) -> int:
        return self._embedding_dim

    def get_output_dim(self) -> int:
        return self._embedding_dim


@Seq2VecEncoder.register("word_maximum")
class Maximum(_Pooling):
    """The maximum over the words, in each component of the vectors."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (B, K) of `tokens`, (B, T, K), at the words in `mask`, (B, T)."""
        return masked_max(tokens, mask.unsqueeze(-1), dim=1)


@Seq2VecEncoder.register("attention")
class Attention(_Pooling):
    """The mean over the words with learned weights, the softmax of w tanh(W x + b) for the vector x of a word (Yang et al. 2016).

    Args:
        embedding_dim: K, the width of the vectors.
        hidden_dim: rows of W.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int = 64) -> None:
        super().__init__(embedding_dim)
        self._score = torch.nn.Sequential(
            torch.nn.Linear(embedding_dim, hidden_dim), torch.nn.Tanh(), torch.nn.Linear(hidden_dim, 1, bias=False)
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (B, K) of `tokens`, (B, T, K), at the words in `mask`, (B, T)."""
        weights = masked_softmax(self._score(tokens).squeeze(-1), mask)
        return torch.einsum("bt,btk->bk", weights, tokens)


@Seq2SeqEncoder.register("with_output_vectors")
class WithOutputVectors(Seq2SeqEncoder):
    """An encoder over the first mix of `StoredVectors`, whose second mix is concatenated to its output (Peters et al. 2018, section 3.3).

    Args:
        encoder: reads the first half of the vectors.
    """

    def __init__(self, encoder: Seq2SeqEncoder) -> None:
        super().__init__()
        self._encoder = encoder

    def get_input_dim(self) -> int:
        """Return the width of both mixes."""
        return 2 * self._encoder.get_input_dim()

    def get_output_dim(self) -> int:
        """Return the width of the encoder's output and of a mix."""
        return self._encoder.get_input_dim() + self._encoder.get_output_dim()

    def is_bidirectional(self) -> bool:
        """Return whether the encoder is bidirectional."""
        return self._encoder.is_bidirectional()

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (B, T, output) of `inputs`, (B, T, input), at the words in `mask`, (B, T)."""
        at_input, at_output = inputs.chunk(2, dim=-1)
        return torch.cat([self._encoder(at_input, mask), at_output], dim=-1)
