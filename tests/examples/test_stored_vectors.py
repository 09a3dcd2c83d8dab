"""Stored vectors come back for the words of a sentence, as the config of a task reads them."""

import numpy as np
import torch
from allennlp.common import Params
from allennlp.data import Batch, Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.fields import TextField
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import PassThroughTokenEmbedder
from allennlp.nn.util import get_text_field_mask

from examples.shared.stored_vectors import write_vectors


def test_the_vectors_of_a_file_are_those_of_its_sentences(tmp_path):
    vectors = {("a", "b", "c"): np.arange(6.0).reshape(3, 2) + 1, ("b\u2028",): np.array([[-7.5, 8]])}
    write_vectors(tmp_path / "vectors.npy", vectors, vectors.values())
    indexer = TokenIndexer.from_params(Params({"type": "stored_vectors", "path": str(tmp_path / "vectors.npy")}))
    fields = [TextField([Token(word) for word in words], {"tokens": indexer}) for words in vectors]
    batch = Batch([Instance({"text": field}) for field in fields])
    batch.index_instances(Vocabulary())
    text = batch.as_tensor_dict()["text"]
    embedded = BasicTextFieldEmbedder({"tokens": PassThroughTokenEmbedder(2)})(text)
    assert torch.equal(get_text_field_mask(text), torch.tensor([[True, True, True], [True, False, False]]))
    expected = torch.zeros(2, 3, 2)
    expected[0], expected[1, 0] = torch.arange(6.0).view(3, 2) + 1, torch.tensor([-7.5, 8])
    assert torch.equal(embedded, expected)
