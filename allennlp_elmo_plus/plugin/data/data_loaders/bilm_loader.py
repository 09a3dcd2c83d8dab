"""The data loader `bilm`."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import pairwise, repeat
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders import DataLoader
from allennlp.data.dataset_readers import DatasetReader
from allennlp.data.instance import Instance
from allennlp.data.vocabulary import Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import sampler_of
from allennlp_elmo_plus.data.batching.prefetch import Prefetcher
from allennlp_elmo_plus.data.batching.window import Window
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
from allennlp_elmo_plus.plugin.data.dataset_readers.corpus_instance import CorpusInstance
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import BilmCharactersIndexer
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.process_state import rank_on_machine
from allennlp_elmo_plus.storage.run_lock import RunLock, hold
from allennlp_elmo_plus.training.distributed.world import World, world

_CACHE_IN_SERIALIZATION_DIR = "encoded_text"
_BATCHES_AHEAD = 4
# A key of `BilmDataLoader.identity`.
NUM_LANES = "number of lanes (`batch_size` times processes)"


@DataLoader.register("bilm")
class BilmDataLoader(StrictFromParams, DataLoader):
    """Reads running text in lanes, for language-model training and perplexity.

    Each batch is the next `num_steps` positions of `batch_size` lanes, and every word of the text is a target once per epoch in
    each direction. See `data.batching`: `lane_plan` and `lane_reader` for the order, `batch` for the content of a batch.

    Each iteration is the next epoch. `epoch` is the number of the coming one, from 0; `start_window` is the first window of the
    coming epoch only, usually 0. Setting both gives the rest of an interrupted epoch.

    In distributed training each process reads `batch_size` lanes of its own: process r of W reads the lanes r, r + W and so on of a
    single process with W times as many. Held-out text, which AllenNLP reads under `torch.no_grad()`, is not distributed: each
    process reads the whole of it in `batch_size` lanes, as a single process does.

    The text is kept encoded on disk; after `prepare`, or the first batch, the encoded text may be deleted. The reader must be "bilm"
    too; its `encoding_errors`, its `max_instances` and the `max_characters_per_token` of its indexer apply to this loader.

    Args:
        reader: passed by AllenNLP.
        data_path: passed by AllenNLP.
        serialization_dir: passed by AllenNLP.
        batch_size: B, the number of lanes of a process.
        num_steps: T, the positions of a window; `unroll_steps` in bilm-tf.
        shuffle: whether each epoch reads the sentences in an order of its own.
        seed: determines the order of every epoch, and the negative samples of every batch.
        n_negative_samples_batch: words to draw for the sampled softmax, per direction; by default, or if all would be drawn, none.
        shared_negatives: whether all processes get the same negative samples, and so exchange fewer gradients of the softmax.
        cache_directory: of encoded text, from run to run; by default in the serialization directory, or a temporary one.

    Raises:
        InputError: where another process trains into the serialization directory, see `storage.run_lock`.
    """

    def __init__(
        self,
        reader: DatasetReader,
        data_path: str,
        batch_size: int,
        num_steps: int = 20,
        shuffle: bool = True,
        seed: int = 13370,
        n_negative_samples_batch: Optional[int] = None,
        shared_negatives: bool = False,
        cache_directory: Optional[str] = None,
        serialization_dir: Optional[str] = None,
    ) -> None:
        if not isinstance(reader, BilmReader):
            raise ConfigurationError(
                f'the data loader "bilm" needs the dataset reader "bilm", got a {type(reader).__name__}'
            )
        for name, value, least in (("batch_size", batch_size, 1), ("num_steps", num_steps, 1), ("seed", seed, 0)):
            if value < least:
                raise ConfigurationError(f"`{name}` must be at least {least}, got {value}")
        if n_negative_samples_batch is not None and n_negative_samples_batch < 1:
            raise ConfigurationError(f"`n_negative_samples_batch` must be at least 1, got {n_negative_samples_batch}")
        self.reader = reader
        self.data_path = data_path
        self.batch_size = batch_size
        self.num_steps = num_steps
        self.shuffle = shuffle
        self.seed = seed
        self.n_negative_samples_batch = n_negative_samples_batch
        self.shared_negatives = shared_negatives
        if cache_directory is None and serialization_dir is not None:
            cache_directory = os.path.join(serialization_dir, _CACHE_IN_SERIALIZATION_DIR)
        self.cache_directory = None if cache_directory is None else Path(cache_directory)
        # AllenNLP constructs the loader first, so a second run is refused before it overwrites the vocabulary of this run.
        # In distributed training the first process of each machine holds the directory for all of them.
        self._lock: Optional[RunLock] = None
        if serialization_dir is not None and Path(serialization_dir).is_dir() and not rank_on_machine(world().rank):
            self._lock = hold(serialization_dir)
        self.epoch = 0
        self.start_window = 0
        self._epochs_to_skip, self._batches_to_skip = 0, 0
        self._on_arrival: Optional[Callable[[], None]] = None
        self._stop_reason: Optional[BaseException] = None
        self._vocabulary: Optional[Vocabulary] = None
        self._vocabulary_ids: Optional[np.ndarray] = None
        self._device: Optional[torch.device] = None
        self._plan: Optional[tuple[tuple[int, int], LanePlan]] = None

    @overrides
    def __len__(self) -> int:
        """Return the number of batches of the coming epoch; shuffled epochs may differ by a few."""
        return max(0, self.num_batches(self.epoch) - self.start_window)

    @property
    def num_sentences(self) -> int:
        """Return the number of sentences of an epoch."""
        return len(self._sentence_offsets()) - 1

    @property
    def num_positions(self) -> int:
        """Return the number of targets of an epoch in each direction: the words of the text, and one end per sentence."""
        offsets = self._sentence_offsets()
        return int(offsets[-1] - offsets[0]) + self.num_sentences

    @overrides
    def __iter__(self) -> Iterator[dict[str, LanguageModelBatch]]:
        # A generator, so that `epoch` increases at the first batch: the trainer reads the length after it made the iterator.
        epoch, start_window = self.epoch, self.start_window
        self.epoch, self.start_window = epoch + 1, 0
        if self._epochs_to_skip:
            self._epochs_to_skip -= 1
            yield from repeat({}, self.num_batches(epoch))
            return
        if self._batches_to_skip:
            start_window, self._batches_to_skip = self._batches_to_skip, 0
            yield from repeat({}, start_window)
        if self._on_arrival is not None:
            on_arrival, self._on_arrival = self._on_arrival, None
            on_arrival()
        batcher = self._batcher(epoch)
        for batch in Prefetcher(map(batcher, self._windows(epoch, start_window)), _BATCHES_AHEAD):
            yield {"batch": batch if self._device is None else batch.to(self._device)}
            if self._stop_reason is not None:
                reason, self._stop_reason = self._stop_reason, None
                raise reason

    @overrides
    def iter_instances(self) -> Iterator[Instance]:
        """Yield the whole text as one `CorpusInstance`, from which a vocabulary is counted.

        Where the reader stops early or has indexers that count something else, yield the sentences one by one. The text is read
        only once, as it may be a pipe.
        """
        if self.cache_directory is None and self.reader.serialization_dir is not None:
            # Before a distributed training AllenNLP counts with a loader that it constructs without the serialization directory,
            # where the training looks for encoded text; the reader has it.
            self.cache_directory = Path(self.reader.serialization_dir) / _CACHE_IN_SERIALIZATION_DIR
        if self.reader.max_instances is not None or not self.reader.counts_words_only():
            return self._sentence_instances()
        return iter([CorpusInstance(self._corpus)])

    def _sentence_instances(self) -> Iterator[Instance]:
        corpus, words = self._corpus, self._corpus.type_words()
        for start, end in pairwise(self._sentence_offsets().tolist()):
            instance = self.reader.text_to_instance([words[number] for number in corpus.tokens[start:end].tolist()])
            self.reader.apply_token_indexers(instance)
            yield instance

    def num_batches(self, epoch: int) -> int:
        """Return the number of batches of the whole of `epoch`, which is the same in each process."""
        return self._plan_of(epoch).num_windows

    def stop(self, reason: BaseException) -> None:
        """Have the iterator raise `reason` after the current batch, in place of the next batch or the end of the epoch."""
        self._stop_reason = reason

    def fast_forward(self, num_epochs: int, num_batches: int, on_arrival: Optional[Callable[[], None]] = None) -> None:
        """Have the iterator skip text, for a resumed run: AllenNLP counts the batches up to its position and ignores them.

        Args:
            num_epochs: this many epochs yield an empty dict in place of each batch, which takes no time.
            num_batches: this many batches of the epoch after them do so too.
            on_arrival: called once after all of these, before the first batch is made.
        """
        self._epochs_to_skip, self._batches_to_skip = num_epochs, num_batches
        self._on_arrival = on_arrival

    def identity(self) -> dict[str, Union[str, int, bool]]:
        """Return everything that determines the batches of an epoch, by its name in errors."""
        return {
            "text (`train_data_path`)": self.text_digest,
            NUM_LANES: self.batch_size * world().num_processes,
            "`num_steps`": self.num_steps,
            "`shuffle`": self.shuffle,
            "`seed`": self.seed,
            "`n_negative_samples_batch`": self.n_negative_samples_batch or 0,
            "`max_instances`": self.reader.max_instances or 0,
        }

    @cached_property
    def text_digest(self) -> str:
        """Return a hash of the text, which is read from disk the first time."""
        return self._corpus.digest()

    @overrides
    def index_with(self, vocab: Vocabulary) -> None:
        """Use the ids of `vocab` for targets."""
        self._vocabulary, self._vocabulary_ids = vocab, None

    def prepare(self) -> None:
        """Read everything that is not memory-mapped, so that the encoded text may be deleted afterwards."""
        self._ids_of_types()

    @overrides
    def set_target_device(self, device: torch.device) -> None:
        """Move each batch to `device`."""
        self._device = device

    def _batcher(self, epoch: int) -> WindowBatcher:
        ids = self._ids_of_types()
        sampler = None
        if self.n_negative_samples_batch is not None:
            sampler = sampler_of(len(self._words()) - 1, self.n_negative_samples_batch)
        stream = 0 if self.shared_negatives else share_of_text().rank
        return WindowBatcher(self._corpus, ids, sampler, self.seed, epoch, negatives_stream=stream)

    def _ids_of_types(self) -> np.ndarray:
        if self._vocabulary_ids is None:
            self._vocabulary_ids = self._corpus.vocabulary_ids(self._words()) - 1
        return self._vocabulary_ids

    def _words(self) -> dict[str, int]:
        """Return AllenNLP's id of each word, which counts the padding token.

        Raises:
            ConfigurationError: before `index_with` was called.
        """
        if self._vocabulary is None:
            raise ConfigurationError(
                'the data loader "bilm" needs `index_with` to be called before it is iterated over'
            )
        return self._vocabulary.get_token_to_index_vocabulary(TOKENS_NAMESPACE)

    @cached_property
    def _corpus(self) -> EncodedCorpus:
        """Return the encoded text, encoded at the first use."""
        return open_or_encode(self.data_path, self.cache_directory, self.reader.encoding_errors, self._max_characters())

    def _plan_of(self, epoch: int) -> LanePlan:
        num_lanes = self._num_lanes()
        if self._plan is None or self._plan[0] != (epoch, num_lanes):
            self._plan = (epoch, num_lanes), self._make_plan(self._sentence_offsets(), epoch)
        return self._plan[1]

    def _sentence_offsets(self) -> np.ndarray:
        offsets = self._corpus.offsets
        return offsets if self.reader.max_instances is None else offsets[: self.reader.max_instances + 1]

    def _make_plan(self, sentence_offsets: np.ndarray, epoch: int) -> LanePlan:
        return LanePlan(sentence_offsets, self._num_lanes(), self.num_steps, self.shuffle, self.seed, epoch)

    def _num_lanes(self) -> int:
        return self.batch_size * share_of_text().num_processes

    def _windows(self, epoch: int, start: int) -> Iterable[Window]:
        plan, (rank, num_processes) = self._plan_of(epoch), share_of_text()
        return LaneReader(self._corpus.tokens, plan, range(rank, plan.num_lanes, num_processes), start)

    def _max_characters(self) -> int:
        indexers = (self.reader.token_indexers or {}).values()
        widths = {
            indexer.max_characters_per_token for indexer in indexers if isinstance(indexer, BilmCharactersIndexer)
        }
        if len(widths) > 1:
            raise ConfigurationError(
                f"`max_characters_per_token` must be the same in all indexers, got {sorted(widths)}"
            )
        return widths.pop() if widths else DEFAULT_MAX_CHARACTERS


def share_of_text() -> World:
    """Return this process and the number of processes that share the text; one for held-out text, read without gradients."""
    return world() if torch.is_grad_enabled() else World(0, 1)
