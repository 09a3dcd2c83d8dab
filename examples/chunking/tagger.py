"""Train AllenNLP's `simple_tagger` over stored vectors of words, and measure it."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from allennlp.common import Params
from allennlp.common.util import prepare_environment
from allennlp.data import DataLoader, Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.data_loaders import SimpleDataLoader
from allennlp.data.fields import SequenceLabelField, TextField
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer
from allennlp.models import SimpleTagger
from allennlp.modules import ScalarMix
from allennlp.modules.seq2seq_encoders import LstmSeq2SeqEncoder
from allennlp.modules.seq2vec_encoders import CnnEncoder
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import Embedding, TokenCharactersEncoder, TokenEmbedder
from allennlp.training import GradientDescentTrainer
from allennlp.training.learning_rate_schedulers import PolynomialDecay
from allennlp.training.util import evaluate

from allennlp_elmo_plus.data.text.conll import TaggedSentence
from examples.shared.stored_vectors import Sentence, StoredVectorsIndexer

# The vectors (words, layers, numbers) of a sentence.
Vectors = Mapping[Sentence, np.ndarray]

_LEARNING_RATE = 0.005
_DROPOUT = 0.3


class Schedule(NamedTuple):
    """How long a tagger is trained: few sentences need small batches and many epochs."""

    batch_size: int
    epochs: int


class _VectorsEmbedder(TokenEmbedder):
    """The learned mix of the layers."""

    def __init__(self, num_layers: int, width: int) -> None:
        super().__init__()
        self._mix, self._width = ScalarMix(num_layers), width

    def get_output_dim(self) -> int:
        return self._width

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the vectors (B, T, width) of `vectors`, (B, T, layers, width)."""
        return self._mix(list(vectors.unbind(dim=2)))


class _EmbedderWithDropout(BasicTextFieldEmbedder):
    """The vectors of all embedders of a word, concatenated, with dropout."""

    def forward(self, *inputs: Any, **named_inputs: Any) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(*inputs, **named_inputs), _DROPOUT, self.training)


class _Batches(DataLoader):
    """The same batches in every epoch, in an order of its own, so that each is padded only once."""

    def __init__(self, instances: list[Instance], batch_size: int, vocab: Vocabulary, shuffle: bool = True) -> None:
        by_length = sorted(instances, key=lambda instance: len(instance["tokens"]))
        self._batches = list(SimpleDataLoader(by_length, batch_size, vocab=vocab))
        self._shuffle = shuffle

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._shuffle:
            random.shuffle(self._batches)
        return iter(self._batches)

    def set_target_device(self, device: torch.device) -> None:
        pass


def train_and_measure(
    train: Sequence[TaggedSentence],
    tested: Sequence[TaggedSentence],
    vectors: Optional[Vectors],
    schedule: Schedule,
    seed: int,
) -> float:
    """Return the F1 of the spans that a tagger, trained on the sentences `train`, finds in the sentences `tested`.

    Args:
        train: the sentences to train on.
        tested: the sentences to measure on.
        vectors: vectors of all sentences, which the tagger reads beside its own vectors of words; None for its own alone.
        schedule: batch size and epochs; the learning rate falls to 0 along a line.
        seed: of the initial weights, of dropout and of the order of the batches.
    """
    prepare_environment(Params({"random_seed": seed, "numpy_seed": seed, "pytorch_seed": seed}))
    indexers: dict[str, TokenIndexer] = {
        "words": SingleIdTokenIndexer("words"),
        "characters": TokenCharactersIndexer("characters", min_padding_length=3),
    }
    if vectors is not None:
        indexers["vectors"] = StoredVectorsIndexer(vectors)
    train_instances, tested_instances = (
        [_instance(sentence, indexers) for sentence in part] for part in (train, tested)
    )
    # A word that occurs once is unknown, so that the vector of unknown words is trained.
    vocab = Vocabulary.from_instances(train_instances, min_count={"words": 2})
    # A tag that only the other sentences have is never predicted, but must have a number to be counted as an error.
    vocab.extend_from_instances([Instance({"tags": instance["tags"]}) for instance in tested_instances])
    model = _tagger(vocab, vectors)
    loader = _Batches(train_instances, schedule.batch_size, vocab)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    GradientDescentTrainer(
        model=model,
        optimizer=optimizer,
        data_loader=loader,
        num_epochs=schedule.epochs,
        grad_norm=5.0,
        learning_rate_scheduler=PolynomialDecay(optimizer, schedule.epochs, len(loader)),
        serialization_dir=None,
        cuda_device=-1,
        enable_default_callbacks=False,
    ).train()
    metrics = evaluate(model, _Batches(tested_instances, 64, vocab, shuffle=False), cuda_device=-1)
    return metrics["f1-measure-overall"]


def _instance(sentence: TaggedSentence, indexers: dict[str, TokenIndexer]) -> Instance:
    tokens = TextField([Token(word) for word in sentence.words], indexers)
    return Instance({"tokens": tokens, "tags": SequenceLabelField(sentence.tags, tokens)})


def _tagger(vocab: Vocabulary, vectors: Optional[Vectors]) -> SimpleTagger:
    characters = CnnEncoder(embedding_dim=16, num_filters=50, ngram_filter_sizes=(3,))
    embedders: dict[str, TokenEmbedder] = {
        "words": Embedding(100, vocab=vocab, vocab_namespace="words"),
        "characters": TokenCharactersEncoder(Embedding(16, vocab=vocab, vocab_namespace="characters"), characters),
    }
    if vectors is not None:
        _, num_layers, width = next(iter(vectors.values())).shape
        embedders["vectors"] = _VectorsEmbedder(num_layers, width)
    embedder = _EmbedderWithDropout(embedders)
    encoder = LstmSeq2SeqEncoder(embedder.get_output_dim(), 100, bidirectional=True)
    return SimpleTagger(vocab, embedder, encoder, label_encoding="BIO")
