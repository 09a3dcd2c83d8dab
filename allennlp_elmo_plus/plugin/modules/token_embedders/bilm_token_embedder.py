"""The token embedder `bilm`."""

from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.modules.token_embedders import TokenEmbedder

from allennlp_elmo_plus.plugin.modules.bilm_representations import BilmRepresentations
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams


@TokenEmbedder.register("bilm")
class BilmTokenEmbedder(StrictFromParams, TokenEmbedder):
    """A learned mix of a biLM's layers for each word (ELMo, Peters et al. 2018, section 3.2).

    Registered as a `TokenEmbedder` with name "bilm". A drop-in for AllenNLP's "elmo_token_embedder": the same arguments
    and, to rounding, the same vectors as a fresh one, except that a sentence's vectors do not depend on the sentences
    before it unless `stateful` asks for that. With tokens indexed by "elmo_characters" or "bilm_characters"; for a biLM
    of word input by "bilm_words". For several mixes of one biLM in a model of your own, see `BilmRepresentations`, of which
    this is one with a projection; it says how layers are mixed.

    The biLM comes from exactly one of: `options_file` with `weight_file`; `archive_file`; `options`. With `options` the
    archive of a model that uses this embedder can be loaded where the files of pretraining are gone: AllenNLP drops
    `pretrained_file` when it loads an archive, and takes the weights from the archive itself.

    # Parameters

    options_file : `str`, optional
        An options.json. A path or a URL, like the other files.
    weight_file : `str`, optional
        The weights.hdf5 that goes with it.
    do_layer_norm : `bool`, optional (default = `False`)
        Whether `ScalarMix` normalises each layer, with one mean and variance for the batch.
    dropout : `float`, optional (default = `0.5`)
        Of the mixed vectors, before the projection.
    requires_grad : `bool`, optional (default = `False`)
        Whether to train every weight of the biLM. Frozen, the vectors of up to 65,536 words met are kept (see
        `WordVectorCache`).
    projection_dim : `int`, optional
        The width to project the vectors to.
    vocab_to_cache : `List[str]`, optional
        Words whose vectors to keep from the first batch on. A word not among them is encoded from its characters, where
        AllenNLP may fail. `word_inputs`, if given, are places in this list.
    scalar_mix_parameters : `List[float]`, optional
        Fixed weights of the layers, before the softmax; gamma is 1 then.
    archive_file : `str`, optional
        A model.tar.gz that pretraining the model "bilm" left.
    keep_sentence_boundaries : `bool`, optional (default = `False`)
        Whether to keep the vectors of `<S>` and `</S>`, so that a sentence has two more than words.
    stateful : `bool`, optional (default = `False`)
        Whether each row starts with the LSTM state in which the batch before left it, as bilm-tf and AllenNLP's
        `ElmoLstm` have it: the same sentence then gets other vectors each time.
    options : `Dict[str, Any]`, optional
        The content of an options.json; in jsonnet, `import "options.json"`.
    pretrained_file : `str`, optional
        With `options`: the weights, a weights.hdf5 or a model.tar.gz. Left out, they start at random and are to come
        from the archive of the model.
    use_top_only : `bool`, optional (default = `False`)
        The top layer in place of a mix, as in bilm-tf: nothing is learned but gamma.
    use_average : `bool`, optional (default = `False`)
        The plain average of the layers in place of a mix with learned weights: nothing is learned but gamma.
    use_gamma : `bool`, optional (default = `True`)
        Whether to learn gamma, which the mix is multiplied by; else it is 1.
    token_embedding_file : `str`, optional
        Vectors of words that `allennlp elmo-cache` wrote from this biLM. While the biLM is frozen, words in it are not encoded
        from their characters. Not with `vocab_to_cache`.
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
        )
        self._projection = torch.nn.Linear(self._elmo.get_output_dim(), projection_dim) if projection_dim else None

    def get_output_dim(self) -> int:
        return self._elmo.get_output_dim() if self._projection is None else self._projection.out_features

    def forward(
        self,
        elmo_tokens: Optional[torch.Tensor] = None,
        word_inputs: Optional[torch.Tensor] = None,
        tokens: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """# Parameters

        elmo_tokens : `torch.Tensor`, optional
            Shape `(B, T, C)`: character ids, 0 where there is no word. Any dimensions before are taken as more rows.
        word_inputs : `torch.Tensor`, optional
            Shape `(B, T)`: the place of each word in `vocab_to_cache`, to be used instead of its characters; those of a
            word with 0, or a place beyond the list, are used, and without `vocab_to_cache` those of every word.
        tokens : `torch.Tensor`, optional
            Shape `(B, T)`: instead of `elmo_tokens` where the biLM takes words, their ids in the vocabulary of
            pretraining, counted from 1, 0 where there is no word; as the indexer "bilm_words" gives them.

        # Returns

        `torch.Tensor`
            Shape `(B, T, K)`, or `(B, T + 2, K)` with sentence boundaries; zeros where there is no word, before any
            projection.
        """
        name, ids = ("tokens", tokens) if self._elmo.takes_word_ids else ("elmo_tokens", elmo_tokens)
        if ids is None:
            raise ConfigurationError(f"`{name}` must be given to this biLM, got none")
        (vectors,) = self._elmo(ids, word_inputs)["elmo_representations"]
        return vectors if self._projection is None else self._projection(vectors)
