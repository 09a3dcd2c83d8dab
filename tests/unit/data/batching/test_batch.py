import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from allennlp_elmo_plus.data.batching.batch import copy_together
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from tests.helpers.small_models import batch_of


@pytest.mark.slow
def test_the_language_model_imports_no_corpus():
    # A new interpreter, because the other tests have imported the corpus.
    command = (
        "import sys, allennlp_elmo_plus.modules.language_model; "
        "print(*[name for name in sys.modules if name.startswith('allennlp_elmo_plus.data')])"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    imported = set(result.stdout.split())
    assert "allennlp_elmo_plus.data.batching.batch" in imported
    assert not [name for name in imported if name.startswith("allennlp_elmo_plus.data.corpus") or "text_files" in name]


def test_a_batch_travels_in_one_piece() -> None:
    batch = batch_of([["a", "bc"], ["d"]])
    sample = LogUniformSampler(10, 3).sample(np.random.default_rng(0))
    batch = batch._replace(characters=batch.characters[:, :3], forward_negatives=sample)
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.forward_negatives.ids.is_meta and moved.forward_negatives.num_tries == sample.num_tries
    for name in ("buckets", "batch_sizes", "carries_state", "backward_negatives", "loss_weight"):
        assert getattr(moved, name) == getattr(batch, name)
    tensors = [*(value for value in batch if isinstance(value, torch.Tensor)), *sample[:2], torch.zeros(0, 2)]
    copies = copy_together(tensors, torch.device("cpu"))
    assert len({copy.untyped_storage().data_ptr() for copy in copies}) == 1
    for copy, tensor in zip(copies, tensors, strict=True):
        assert copy.dtype == tensor.dtype and torch.equal(copy, tensor)
    assert [copy.shape for copy in tree_leaves(moved) if isinstance(copy, torch.Tensor)] == [
        tensor.shape for tensor in tree_leaves(batch) if isinstance(tensor, torch.Tensor)
    ]
