"""
The alternative to this package: the same training job, built of AllenNLP's own parts.

It uses `_ElmoBiLm` with gradients, and `SampledSoftmaxLoss` with the dense gradient that AllenNLP's trainer can clip. Every choice favours
AllenNLP: the benchmark of a step uses the characters that our loader prepared, the positions that `_ElmoBiLm` adds for sentence
boundaries are removed before the LSTM, and there is no dropout.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from allennlp.common import JsonDict
from allennlp.data import DatasetReader, Instance, Vocabulary
from allennlp.data.fields import TensorField, TextField
from allennlp.data.token_indexers import ELMoTokenCharactersIndexer
from allennlp.data.tokenizers import Token
from allennlp.models import Model
from allennlp.modules.elmo import _ElmoBiLm
from allennlp.modules.sampled_softmax_loss import SampledSoftmaxLoss
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

LEARNING_RATE = 0.2
MAX_NORM = 10.0


class AllenNlpParts(nn.Module):
    """A trainable biLM of the sizes in `options` (bilm-tf's options.json) with a sampled softmax over `vocab_size` words."""

    def __init__(self, options: JsonDict, vocab_size: int) -> None:
        super().__init__()
        parsed = BiLMOptions.from_dict(options, inference=False)
        with tempfile.TemporaryDirectory() as directory:
            files = export_model(build_encoder(parsed), parsed, SPECIAL_WORDS, Path(directory))
            self.bilm = _ElmoBiLm(str(files.options), str(files.weights), requires_grad=True)
        self.softmax = SampledSoftmaxLoss(vocab_size, parsed.lstm.projection_dim, parsed.n_negative_samples_batch)

    def forward(self, characters: Tensor, forward_targets: Tensor, backward_targets: Tensor) -> Tensor:
        """Return the loss of a window of characters (B, T, 50) and targets (B, T); the LSTM state is carried between calls."""
        embedded = self.bilm._token_embedder(characters)["token_embedding"][:, 1:-1]
        mask = characters.new_ones(characters.shape[:2], dtype=torch.bool)
        top = self.bilm._elmo_lstm(embedded.contiguous(), mask)[-1]
        forward, backward = (direction.reshape(-1, direction.shape[2]) for direction in top.chunk(2, dim=2))
        total = self.softmax(forward, forward_targets.flatten()) + self.softmax(backward, backward_targets.flatten())
        return total * 0.5 / forward_targets.numel()


class AllenNlpJob:
    """`AllenNlpParts` of `options` and its optimizer; each step computes loss, gradients, global-norm clip and Adagrad."""

    def __init__(self, options: JsonDict, vocab_size: int) -> None:
        self.parts = AllenNlpParts(options, vocab_size)
        self._optimizer = torch.optim.Adagrad(self.parts.parameters(), lr=LEARNING_RATE, initial_accumulator_value=1.0)
        self._unroll_steps = options.get("unroll_steps", 20)

    def step(self, characters: Tensor, forward_targets: Tensor, backward_targets: Tensor) -> None:
        """Train on a window; the arguments are those of `AllenNlpParts`."""
        self._optimizer.zero_grad()
        (self.parts(characters, forward_targets, backward_targets) * self._unroll_steps).backward()
        nn.utils.clip_grad_norm_(self.parts.parameters(), MAX_NORM)
        self._optimizer.step()


def allennlp_step(options: JsonDict, vocab_size: int) -> Callable[[LanguageModelBatch], None]:
    """Return a function that makes a training step of an `AllenNlpJob` on one of our batches."""
    job = AllenNlpJob(options, vocab_size)

    def step(batch: LanguageModelBatch) -> None:
        characters = batch.characters[batch.forward_inputs].long()
        job.step(characters, batch.forward_targets, batch.backward_targets)

    return step


@DatasetReader.register("allennlp_parts")
class LaneReader(DatasetReader):
    """Read running text in `num_lanes` lanes, as instances of `num_steps` words, one per lane in turn; full windows only."""

    def __init__(self, num_lanes: int, num_steps: int, vocab_size: int) -> None:
        super().__init__()
        self.num_lanes, self.num_steps, self.vocab_size = num_lanes, num_steps, vocab_size
        self._indexers = {"characters": ELMoTokenCharactersIndexer()}

    def _read(self, file_path: str) -> Iterable[Instance]:
        words = [w for line in Path(file_path).read_text("utf-8").splitlines() for w in ["<S>", *line.split(), "</S>"]]
        common = Counter(words).most_common(self.vocab_size - 1)
        ids = {word: index for index, (word, _) in enumerate(common)}
        lane_length = (len(words) - 1) // self.num_lanes
        for start in range(1, lane_length - self.num_steps, self.num_steps):
            for lane in range(self.num_lanes):
                first = lane * lane_length + start
                yield self._instance(words, ids, slice(first, first + self.num_steps))

    def _instance(self, words: list[str], ids: dict[str, int], window: slice) -> Instance:
        unknown = self.vocab_size - 1

        def targets(shift: int) -> TensorField:
            shifted = words[window.start + shift : window.stop + shift]
            return TensorField(torch.tensor([ids.get(word, unknown) for word in shifted]))

        source = TextField([Token(word) for word in words[window]])
        return Instance({"source": source, "forward_targets": targets(1), "backward_targets": targets(-1)})

    def apply_token_indexers(self, instance: Instance) -> None:
        instance["source"]._token_indexers = self._indexers  # type: ignore[attr-defined]


@Model.register("allennlp_parts")
class AllenNlpPartsModel(Model):
    """`AllenNlpParts` under AllenNLP's trainer."""

    def __init__(self, vocab: Vocabulary, options: dict[str, Any], vocab_size: int) -> None:
        super().__init__(vocab)
        self.parts = AllenNlpParts(options, vocab_size)
        self.unroll_steps = options.get("unroll_steps", 20)

    def forward(  # type: ignore[override]
        self, source: dict[str, dict[str, Tensor]], forward_targets: Tensor, backward_targets: Tensor
    ) -> dict[str, Tensor]:
        characters = source["characters"]["elmo_tokens"]
        return {"loss": self.parts(characters, forward_targets, backward_targets) * self.unroll_steps}
