import math

import pytest
import torch
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.predictors import Predictor

import allennlp_elmo_plus.plugin  # noqa: F401
from tests.plugin.small_text import SENTENCES, small_model_config


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    reader = DatasetReader.from_params(Params({"type": "bilm"}))
    instances = [reader.text_to_instance(sentence) for sentence in SENTENCES]
    vocabulary = Vocabulary.from_params(Params({"type": "bilm"}), instances=instances)
    torch.manual_seed(0)
    model = Model.from_params(Params(small_model_config()), vocab=vocabulary).eval()
    return Predictor.by_name("bilm")(model, reader)


def test_scores_of_a_line(predictor: Predictor) -> None:
    line = " ".join(SENTENCES[0]) + " unheard-of\n"
    result = predictor.predict_json(predictor.load_line(line))
    words = SENTENCES[0] + ["unheard-of"]
    assert result["words"] == words
    assert result["forward_targets"] == [*words, "</S>"] and result["backward_targets"] == ["<S>", *words]
    for direction in ("forward", "backward"):
        log_probs = result[f"{direction}_log_probs"]
        assert len(log_probs) == len(words) + 1 and all(log_prob < 0 for log_prob in log_probs)
        assert result[f"{direction}_log_prob"] == pytest.approx(sum(log_probs))
        assert result[f"{direction}_perplexity"] == pytest.approx(math.exp(-sum(log_probs) / len(log_probs)))
    assert result["perplexity"] == pytest.approx(
        math.sqrt(result["forward_perplexity"] * result["backward_perplexity"]), rel=1e-6
    )


def test_company_and_order_change_nothing(predictor: Predictor) -> None:
    lines = [" ".join(sentence) for sentence in (SENTENCES[1], SENTENCES[2], [], SENTENCES[9])]
    alone = [predictor.predict_json({"sentence": line}) for line in lines]
    together = predictor.predict_batch_json([{"sentence": line} for line in lines])
    for ours, expected in zip(together, alone):
        assert ours["words"] == expected["words"]
        assert ours["forward_log_probs"] == pytest.approx(expected["forward_log_probs"], abs=1e-5)
        assert ours["backward_log_probs"] == pytest.approx(expected["backward_log_probs"], abs=1e-5)


def test_backward_log_probs_stand_in_the_order_of_the_sentence(predictor: Predictor) -> None:
    """Changing the first word changes every forward figure after it, and of the backward ones only its own and that of `<S>`."""
    first, second = (predictor.predict_json({"sentence": f"{word} mill turns ."}) for word in ("the", "rain"))
    changed = [
        a != pytest.approx(b, abs=1e-6) for a, b in zip(first["backward_log_probs"], second["backward_log_probs"])
    ]
    assert changed == [True, True, False, False, False]
    changed = [a != pytest.approx(b, abs=1e-6) for a, b in zip(first["forward_log_probs"], second["forward_log_probs"])]
    assert changed == [True] * 5
