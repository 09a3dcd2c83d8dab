"""The data loader `bilm_sentences`."""

from collections.abc import Iterable
from typing import Optional, Union

import numpy as np
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders import DataLoader
from allennlp.data.dataset_readers import DatasetReader

from allennlp_elmo_plus.data.batching.lane_reader import Window
from allennlp_elmo_plus.data.batching.sentence_plan import SentencePlan, SentenceReader
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import NUM_LANES, BilmDataLoader, share_of_text
from allennlp_elmo_plus.training.distributed.world import world


@DataLoader.register("bilm_sentences")
class BilmSentenceLoader(BilmDataLoader):
    """Whole sentences, for language-model training and perplexity where each sentence is to be read for itself: batches of
    sentences of about one length, none cut, each from a state of zeros, and every word a target once an epoch in each
    direction. See `allennlp_elmo_plus.data.batching.sentence_plan` for the order, `data.batching.window_batcher` for what a
    batch holds.

    Encoded text, epochs and resuming are as with the data loader "bilm", whose place it takes in a config; negative samples are
    drawn in the same way.

    In distributed training the batches of an epoch are dealt out: process r of W has batches r, r + W and so on. All take the same
    number of steps; where batches do not go round, the last one of some processes is empty. Held-out text is not dealt out. A run
    is taken up by as many processes as there were.

    Registered as a `DataLoader` with name "bilm_sentences". The reader must be "bilm".

    # Parameters

    batch_tokens : `int`
        The most positions of a batch, padding included: rows times steps. A sentence of n words is n + 1 positions; a longer one
        than this is a batch of its own. Nothing is computed for padding.
    shuffle : `bool`, optional (default = `True`)
        Whether each epoch reads the sentences in an order of its own. They are sorted by length either way.
    seed : `int`, optional (default = `13370`)
        Gives the order of every epoch, and the negative samples of every batch.
    n_negative_samples_batch : `int`, optional
        Words to draw for the sampled softmax, for each direction. Left out, batches bring no negative samples.
    cache_directory : `str`, optional
        Where encoded text is kept, see "bilm".
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
            # There are no lanes; a batch is this long.
            batch_size=1,
            num_steps=batch_tokens,
            shuffle=shuffle,
            seed=seed,
            n_negative_samples_batch=n_negative_samples_batch,
            # They follow from the number of a batch, which no other process has.
            shared_negatives=True,
            cache_directory=cache_directory,
            serialization_dir=serialization_dir,
        )
        self.batch_tokens = batch_tokens

    def identity(self) -> dict[str, Union[str, int, bool]]:
        identity = super().identity()
        del identity[NUM_LANES], identity["`num_steps`"]
        return {**identity, "`batch_tokens`": self.batch_tokens, "number of processes": world().num_processes}

    def num_batches(self, epoch: int) -> int:
        return -(-super().num_batches(epoch) // share_of_text().num_processes)

    def _make_plan(self, sentence_offsets: np.ndarray, epoch: int) -> SentencePlan:  # type: ignore[override]
        return SentencePlan(sentence_offsets, self.batch_tokens, self.shuffle, self.seed, epoch)

    def _windows(self, epoch: int, start: int) -> Iterable[Window]:
        plan: SentencePlan = self._plan_of(epoch)  # type: ignore[assignment]
        return SentenceReader(self._encoded().tokens, plan, start, *share_of_text())
