"""The data loader `bilm_sentences`."""

from collections.abc import Iterable
from typing import Optional, Union

import numpy as np
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders import DataLoader
from allennlp.data.dataset_readers import DatasetReader
from overrides import overrides

from allennlp_elmo_plus.data.batching.sentence_plan import SentencePlan, SentenceReader
from allennlp_elmo_plus.data.batching.window import Window
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import NUM_LANES, BilmDataLoader, share_of_text
from allennlp_elmo_plus.training.distributed.world import world


@DataLoader.register("bilm_sentences")
class BilmSentenceLoader(BilmDataLoader):
    """Reads whole sentences, for language-model training and perplexity on each sentence by itself.

    A batch holds sentences of similar length. Each sentence starts from a zero state, none is cut, and every word is a target once
    per epoch in each direction. See `data.batching.sentence_plan` for the order, `data.batching.batch` for the content of
    a batch. Encoded text, epochs, resumption and negative samples are those of the data loader "bilm", which it replaces in a
    config.

    In distributed training process r of W gets the batches r, r + W and so on of an epoch. All do the same number of steps, and the
    last batch of some may be empty. Held-out text is not distributed. A run is resumed with the same number of processes.

    Args:
        batch_tokens: the maximum number of positions of a batch, padding included: rows times steps. A sentence of n words has n +
            1 positions; a longer one is a batch by itself. Nothing is computed for padding.
        shuffle: whether each epoch reads the batches in an order of its own; sentences are sorted by length either way.

    All other options are those of "bilm".
    """

    def __init__(
        self,
        reader: DatasetReader,
        data_path: str,
        batch_tokens: int,
        shuffle: bool = True,
        seed: int = 13370,
        n_negative_samples_batch: Optional[int] = None,
        cache_directory: Optional[str] = None,
        serialization_dir: Optional[str] = None,
    ) -> None:
        if batch_tokens < 1:
            raise ConfigurationError(f"`batch_tokens` must be at least 1, got {batch_tokens}")
        super().__init__(
            reader=reader,
            data_path=data_path,
            # There are no lanes.
            batch_size=1,
            num_steps=batch_tokens,
            shuffle=shuffle,
            seed=seed,
            n_negative_samples_batch=n_negative_samples_batch,
            # They follow from the number of the batch, which only one process reads.
            shared_negatives=True,
            cache_directory=cache_directory,
            serialization_dir=serialization_dir,
        )
        self.batch_tokens = batch_tokens

    @overrides
    def identity(self) -> dict[str, Union[str, int, bool]]:
        identity = super().identity()
        del identity[NUM_LANES], identity["`num_steps`"]
        return {**identity, "`batch_tokens`": self.batch_tokens, "number of processes": world().num_processes}

    @overrides
    def num_batches(self, epoch: int) -> int:
        return -(-super().num_batches(epoch) // share_of_text().num_processes)

    # A plan of sentences has the methods of a plan of lanes, but is no subclass.
    @overrides(check_signature=False)
    def _make_plan(self, sentence_offsets: np.ndarray, epoch: int) -> SentencePlan:  # type: ignore[override]
        return SentencePlan(sentence_offsets, self.batch_tokens, self.shuffle, self.seed, epoch)

    @overrides
    def _windows(self, epoch: int, start: int) -> Iterable[Window]:
        plan: SentencePlan = self._plan_of(epoch)  # type: ignore[assignment]
        return SentenceReader(self._corpus.tokens, plan, start, *share_of_text())
