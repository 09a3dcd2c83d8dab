"""The predictor `bilm`: scores, substitutes and generated text."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.predict import _PredictManager
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.predictors import Predictor

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from allennlp_elmo_plus.plugin.data.vocabulary import words_of
from tests.helpers.small_text import SENTENCES, small_model_config


def predictor_of(**changes: Any) -> Predictor:
    reader = DatasetReader.from_params(Params({"type": "bilm"}))
    instances = [reader.text_to_instance(sentence) for sentence in SENTENCES]
    vocabulary = Vocabulary.from_params(Params({"type": "bilm"}), instances=instances)
    torch.manual_seed(0)
    model = Model.from_params(Params({**small_model_config(), **changes}), vocab=vocabulary).eval()
    with torch.no_grad():
        # All words are about equally probable in an untrained model.
        model.language_model.softmax.bias.normal_(std=2)
    return Predictor.by_name("bilm")(model, reader)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return predictor_of()


def test_the_scores_of_a_sentence_are_consistent(predictor: Predictor) -> None:
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


def test_other_sentences_of_the_batch_change_no_score(predictor: Predictor) -> None:
    lines = [" ".join(sentence) for sentence in (SENTENCES[1], SENTENCES[2], [], SENTENCES[9])]
    alone = [predictor.predict_json({"sentence": line}) for line in lines]
    together = predictor.predict_batch_json([{"sentence": line} for line in lines])
    for ours, expected in zip(together, alone):
        assert ours["words"] == expected["words"]
        assert ours["forward_log_probs"] == pytest.approx(expected["forward_log_probs"], abs=1e-5)
        assert ours["backward_log_probs"] == pytest.approx(expected["backward_log_probs"], abs=1e-5)


def test_backward_log_probs_are_in_the_order_of_the_sentence(predictor: Predictor) -> None:
    """
    When the first word changes, all forward log-probabilities change, but only two backward ones: those of the first word and of
    `<S>`.
    """
    first, second = (predictor.predict_json({"sentence": f"{word} mill turns ."}) for word in ("the", "rain"))
    for direction, expected in (("backward", [True, True, False, False, False]), ("forward", [True] * 5)):
        log_probs = zip(first[f"{direction}_log_probs"], second[f"{direction}_log_probs"])
        assert [a != pytest.approx(b, abs=1e-6) for a, b in log_probs] == expected


def test_the_substitutes_at_each_position_include_the_score_of_its_target(predictor: Predictor) -> None:
    """`top` is the size of the vocabulary, so that every word is among the substitutes."""
    size = len(predictor._model.language_model.softmax.weight)
    lines = [f"{' '.join(SENTENCES[0])} unheard-of", "", "rain"]
    results = predictor.predict_batch_json(
        [{"sentence": line, "top": size if index else 3} for index, line in enumerate(lines)]
    )
    alone = predictor.predict_json({"sentence": lines[0], "top": size})
    for result in [alone, *results[1:]]:
        for direction in ("forward", "backward"):
            targets, top = result[f"{direction}_targets"], result[f"{direction}_top"]
            assert len(top) == len(targets) == len(result["words"]) + 1
            for target, log_prob, substitutes in zip(targets, result[f"{direction}_log_probs"], top, strict=True):
                by_word = {substitute["word"]: substitute["log_prob"] for substitute in substitutes}
                assert len(by_word) == size and sum(map(math.exp, by_word.values())) == pytest.approx(1, abs=1e-4)
                assert by_word.get(target, by_word["<UNK>"]) == pytest.approx(log_prob, abs=1e-4)
                assert list(by_word.values()) == sorted(by_word.values(), reverse=True)
    for top_3, substitutes in zip(results[0]["forward_top"], alone["forward_top"], strict=True):
        assert [substitute["word"] for substitute in top_3] == [substitute["word"] for substitute in substitutes[:3]]
    assert "forward_top" not in predictor.predict_json({"sentence": "rain"})


@pytest.mark.parametrize("how", [{}, {"beam": 4}, {"temperature": 0.9, "seed": 5}], ids=["greedy", "beam", "sampled"])
@pytest.mark.parametrize("side", ["prefix", "suffix"])
def test_the_log_probs_of_generated_text_are_its_scores(predictor: Predictor, how: dict[str, Any], side: str) -> None:
    context = "the unheard-of mill"
    result = predictor.predict_json({side: context, "max_words": 6, **how})
    for text in [result, *result.get("beam", [])]:
        words, generated = text["words"], text["generated"]
        assert words == ([*context.split(), *generated] if side == "prefix" else [*generated, *context.split()])
        score = predictor.predict_json({"sentence": " ".join(words)})
        if side == "prefix":
            expected = score["forward_log_probs"][3:][: len(generated) + text["ended"]]
        else:
            expected = score["backward_log_probs"][0 if text["ended"] else 1 :][: len(generated) + text["ended"]]
        assert text["log_probs"] == pytest.approx(expected, abs=1e-4)
        assert text["log_prob"] == pytest.approx(sum(expected), abs=1e-4)
        assert len(generated) == 6 or text["ended"]
    if "beam" in how:
        assert len(result["beam"]) == 4 and result["beam"][0]["words"] == result["words"]
        assert result["log_prob"] >= predictor.predict_json({side: context, "max_words": 6})["log_prob"] - 1e-6
    assert result == predictor.predict_json({side: context, "max_words": 6, **how})


def test_a_line_is_a_sentence_or_a_json_request(predictor: Predictor) -> None:
    assert predictor.load_line("the mill\n") == {"sentence": "the mill\n"}
    assert predictor.load_line("{ the mill }") == {"sentence": "{ the mill }"}
    request = {"prefix": "the mill", "max_words": 2}
    assert predictor.load_line(json.dumps(request)) == request
    mixed = predictor.predict_batch_json([{"sentence": "rain"}, request, {"sentence": "the mill"}])
    assert mixed[0]["words"] == ["rain"] and mixed[2]["words"] == ["the", "mill"]
    assert mixed[1] == predictor.predict_json(request)


@pytest.mark.parametrize(
    "line",
    [
        '{"sentence": "the mill"\n',
        '{"sentence": the mill}',
        "{'sentence': 'the mill'}",
        ' {"a": ' + "[" * 10**5,
        '{"x"} y',
    ],
)
def test_a_line_that_begins_as_json_must_be_json(predictor: Predictor, line: str) -> None:
    with pytest.raises(InputError, match="^a line that begins as a JSON object must be one, got .*: ") as error:
        predictor.load_line(line)
    assert len(str(error.value).splitlines()) == 1


def test_a_request_is_checked_with_its_line(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="^`topp` does not go with `sentence`, which takes `top`$"):
        predictor.load_line('{"sentence": "the mill", "topp": 3}')
    with pytest.raises(InputError, match="^`top` must be at most "):
        predictor.load_line('{"sentence": "the mill", "top": 1000000}')


def test_the_id_of_a_request_is_in_its_answer(predictor: Predictor) -> None:
    requests: list[dict[str, Any]] = [{"sentence": "the mill"}, {"prefix": "the", "max_words": 2}]
    ids: list[Any] = ["a", 0, None, {"b": [1]}]
    answers = predictor.predict_batch_json([{**request, "id": number} for number in ids for request in requests])
    alone = [predictor.predict_json(request) for request in requests]
    assert [answer.pop("id") for answer in answers] == [number for number in ids for _ in requests]
    assert [answer["words"] for answer in answers] == [answer["words"] for answer in alone] * 4
    assert all("id" not in answer for answer in alone)


def test_each_line_of_a_file_has_an_answer_also_if_it_is_blank(predictor: Predictor, tmp_path: Path) -> None:
    path, answers = tmp_path / "lines.txt", tmp_path / "answers.jsonl"
    path.write_text('the mill\n\n  \n{"sentence": "rain", "id": 3}\n')
    _PredictManager(predictor, str(path), str(answers), 3, False, False).run()
    words = [json.loads(line)["words"] for line in answers.read_text().splitlines()]
    assert words == [["the", "mill"], [], [], ["rain"]]


def test_an_error_in_a_file_names_the_line_number(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('\n{"sentence": "rain"}\n{"sentence": rain}\n')
    with pytest.raises(InputError, match="^line 3: a line that begins as a JSON object must be one, got "):
        _PredictManager(predictor, str(path), None, 8, False, False).run()


@pytest.mark.parametrize(
    "request_, message",
    [
        ({}, "exactly one of `sentence`, `prefix` and `suffix` must be given, got none"),
        ({"prefix": "a", "suffix": "b"}, "must be given, got `prefix` and `suffix`"),
        ({"sentence": ["a"]}, r"`sentence` must be a string, got \['a'\]"),
        ({"sentence": "a", "beam": 2}, "`beam` does not go with `sentence`, which takes `top`"),
        ({"prefix": "a", "top": 2}, "`top` does not go with `prefix`, which takes `max_words`, `beam`"),
        ({"sentence": "a", "top": 0}, "`top` must be a whole number, at least 1, got 0"),
        ({"sentence": "a", "top": 99}, "`top` must be at most [0-9]+, the words of the vocabulary, got 99"),
        ({"prefix": "a", "max_words": True}, "`max_words` must be a whole number, from 1 to 10,000, got True"),
        ({"prefix": "a", "beam": 2.0}, "`beam` must be a whole number, from 1 to 1,000, got 2.0"),
        ({"prefix": "a", "beam": 2, "temperature": 1}, "`temperature` and `beam` exclude each other, got both"),
        ({"prefix": "a", "temperature": -1}, "`temperature` must be a positive number, got -1"),
        ({"prefix": "a", "temperature": "hot"}, "`temperature` must be a positive number, got 'hot'"),
        ({"prefix": "a", "seed": 3}, "`seed` goes with `temperature`, which is missing"),
        ({"prefix": "a", "temperature": 1, "seed": -1}, "`seed` must be a whole number, from 0 to .*, got -1"),
    ],
)
def test_wrong_requests_are_refused(predictor: Predictor, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predictor.predict_batch_json([{"sentence": "rain"}, request_])


def test_a_forward_model_continues_a_prefix_and_refuses_a_suffix() -> None:
    forward_only = predictor_of(bidirectional=False)
    assert len(forward_only.predict_json({"prefix": "the", "max_words": 3})["words"]) > 1
    assert "backward_top" not in forward_only.predict_json({"sentence": "the", "top": 2})
    with pytest.raises(InputError, match="^`suffix` needs a model with a backward direction, and this one has none$"):
        forward_only.predict_json({"suffix": "the"})


def test_the_log_probabilities_are_those_of_the_word_scorer(predictor: Predictor) -> None:
    model = predictor._model
    scorer = WordScorer(PretrainedModel(model.language_model, model.options, words_of(model.vocab)))
    sentences = [SENTENCES[0], [], ["unheard-of", *SENTENCES[3]]]
    for sentence, (forward, backward) in zip(sentences, scorer.log_probs(sentences), strict=True):
        result = predictor.predict_json({"sentence": " ".join(sentence)})
        assert result["forward_log_probs"] == pytest.approx(forward.tolist(), abs=1e-5)
        assert result["backward_log_probs"] == pytest.approx(backward.tolist(), abs=1e-5)
