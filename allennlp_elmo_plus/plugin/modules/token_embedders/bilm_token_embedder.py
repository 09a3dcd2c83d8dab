"""The token embedder `bilm`."""

from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.modules.token_embedders import TokenEmbedder
from overrides import overrides

from allennlp_elmo_plus.plugin.modules.bilm_representations import BilmRepresentations
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams


@TokenEmbedder.register("bilm")
class BilmTokenEmbedder(StrictFromParams, TokenEmbedder):
    """A learned mix of a biLM's layers for each word (ELMo, Peters et al. 2018, section 3.2).

    A drop-in for AllenNLP's "elmo_token_embedder": the same arguments and, to rounding, the same vectors as a fresh one, except that
    a sentence's vectors do not depend on earlier sentences unless `stateful` is true. Tokens are indexed by "elmo_characters" or
    "bilm_characters", for a biLM of word input by "bilm_words".

    Args:
        projection_dim: the width of a projection of the vectors; by default the vectors are not projected.

    All other options are those of `BilmRepresentations`.
    """

    def __init__(
        self,
        options_file: Optional[str] = None,
        weight_file: Optional[str] = None,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        requires_grad: bool = False,
        projection_dim: Optional[int] = None,
        vocab_to_cache: Optional[list[str]] = None,
        scalar_mix_parameters: Optional[list[float]] = None,
        archive_file: Optional[str] = None,
        keep_sentence_boundaries: bool = False,
        stateful: bool = False,
        options: Optional[dict[str, Any]] = None,
        pretrained_file: Optional[str] = None,
        use_top_only: bool = False,
        use_average: bool = False,
        use_gamma: bool = True,
        token_embedding_file: Optional[str] = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self._elmo = BilmRepresentations(
            options_file=options_file,
            weight_file=weight_file,
            num_output_representations=1,
            requires_grad=requires_grad,
            do_layer_norm=do_layer_norm,
            dropout=dropout,
            vocab_to_cache=vocab_to_cache,
            keep_sentence_boundaries=keep_sentence_boundaries,
            scalar_mix_parameters=scalar_mix_parameters,
            archive_file=archive_file,
            stateful=stateful,
            options=options,
            pretrained_file=pretrained_file,
            use_top_only=use_top_only,
            use_average=use_average,
            use_gamma=use_gamma,
            token_embedding_file=token_embedding_file,
            precision=precision,
        )
        self._projection = torch.nn.Linear(self._elmo.get_output_dim(), projection_dim) if projection_dim else None

    @overrides
    def get_output_dim(self) -> int:
        """Return K, the width of the vectors after any projection."""
        return self._elmo.get_output_dim() if self._projection is None else self._projection.out_features

    # The base class takes `*inputs`; each embedder names the tensors of its indexers.
    @overrides(check_signature=False)
    def forward(
        self,
        elmo_tokens: Optional[torch.Tensor] = None,
        word_inputs: Optional[torch.Tensor] = None,
        tokens: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Return the vectors, (B, T, K), or (B, T + 2, K) with sentence boundaries; zeros, before any projection, at padding.

        Args:
            elmo_tokens: (B, T, C), see `inputs` of `BilmRepresentations.forward`.
            word_inputs: (B, T), see there.
            tokens: (B, T), in place of `elmo_tokens` where the biLM takes words: their ids in the vocabulary of pretraining,
                counted from 1, 0 where there is no word, as the indexer "bilm_words" gives them.

        Raises:
            ConfigurationError: where the tensor that the biLM takes is missing.
        """
        takes_words = self._elmo.takes_word_ids
        ids = tokens if takes_words else elmo_tokens
        if ids is None:
            name, indexer = ("tokens", "bilm_words") if takes_words else ("elmo_tokens", "bilm_characters")
            raise ConfigurationError(
                f"`{name}` must be given to this biLM, got none: use the token indexer `{indexer}`"
            )
        (vectors,) = self._elmo(ids, word_inputs)["elmo_representations"]
        return vectors if self._projection is None else self._projection(vectors)
