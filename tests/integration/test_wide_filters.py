"""Character filters wider than bilm-tf's in training, evaluation and embedding, compared with the reference convolution."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.data.data_loaders import SimpleDataLoader
from torch import Tensor

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.kernels.char_conv.reference import conv_max_pool as reference_convolution
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.bilm_data import make_data, make_loader, make_model
from tests.helpers.exported_bilm import OPTIONS, exported, ids_of
from tests.helpers.small_text import SENTENCES, small_model_config

TEXT = [*SENTENCES, ["x" * 47, "y" * 60, "Donaudampfschifffahrtsgesellschaft", "."]]
LOADERS: dict[str, dict[str, Any]] = {
    "bilm": {"batch_size": 3, "num_steps": 5},
    "bilm_sentences": {"batch_tokens": 30},
}


def reference_forward(
    cnn: CharacterCNN, characters: Tensor, buckets: Optional[Sequence[tuple[int, int]]] = None
) -> Tensor:
    return reference_convolution(characters, cnn.embedding, list(cnn.weights), list(cnn.biases)).relu()


@pytest.mark.parametrize("width", [8, 50])
def test_losses_gradients_predictions_and_vectors_are_those_of_the_reference_convolution(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute() -> list[Tensor]:
        return [*results_of_language_model(width, tmp_path), *results_of_embedders(width, tmp_path)]

    ours = compute()
    monkeypatch.setattr(CharacterCNN, "forward", reference_forward)
    expected = compute()
    assert len(ours) > 20
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def results_of_language_model(width: int, directory: Path) -> Iterator[Tensor]:
    """Yield the losses and gradients of training and of evaluation with each loader, and predictions."""
    data = make_data(directory, TEXT)
    char_cnn = small_model_config()["char_cnn"] | {"filters": [[1, 4], [width, 8]]}
    model = make_model(data.vocabulary, char_cnn=char_cnn, dropout=0.0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    for kind, options in LOADERS.items():
        for num_negatives in (10, None):
            loader = make_loader(data, type=kind, n_negative_samples_batch=num_negatives, **options)
            model.train(num_negatives is not None)
            for batch in loader:
                model.zero_grad()
                loss = model(**batch)["loss"]
                loss.backward()
                yield loss.detach()
                cnn = model.language_model.token_encoder.cnn
                yield from [parameter.grad.clone() for parameter in cnn.parameters()]
        model.reset_states()
    for batch in SimpleDataLoader(list(data.reader.read(str(data.path))), batch_size=4, vocab=data.vocabulary):
        yield model(**batch)["forward_log_probs"].detach()


def results_of_embedders(width: int, directory: Path) -> Iterator[Tensor]:
    options = BiLMOptions.from_dict(OPTIONS | {"char_cnn": OPTIONS["char_cnn"] | {"filters": [[1, 6], [width, 10]]}})
    files = exported(directory / "exported", options)
    embedder = ElmoEmbedder(load_encoder(options, files["weight_file"]))
    yield from map(torch.from_numpy, embedder.embed_sentences(TEXT))
    yield BilmTokenEmbedder(**files).eval()(ids_of(TEXT)).detach()
