"""The predictor `bilm`."""

import json
import re
from functools import cached_property
from typing import Any, Optional

import torch
from allennlp.common.util import JsonDict
from allennlp.data import Instance
from allennlp.predictors import Predictor
from overrides import overrides

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.inference.generation import Continuation, DirectionalLM, beam_search, sample
from allennlp_elmo_plus.inference.predictions import encoder_of
from allennlp_elmo_plus.inference.substitutes import Substitutes, substitutes
from allennlp_elmo_plus.inference.top_words import TopWords
from allennlp_elmo_plus.plugin.data.vocabulary import words_of
from allennlp_elmo_plus.plugin.predictors.requests import ID, GenerateRequest, ScoreRequest, read_request
from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import exp_or_inf

_BEGINS_AS_JSON = re.compile(r"""\s*\{\s*["'}]""")


@Predictor.register("bilm")
class BilmPredictor(Predictor):
    """Scores a text, names the likeliest words at each position, and continues a text.

    `elmo-plus predict` reads lines, each plain text or a JSON object, and writes one
    JSON object per line. Words are separated by white space. Logarithms are natural. Words outside the vocabulary are read by their
    characters and scored as `<UNK>`. A forward-only model gives no backward entries. A blank line is a sentence without words. An
    `id` of any kind in a JSON object is returned with the answer. A line that begins with a brace and a quotation mark must be a
    JSON object. A request that cannot be answered raises `InputError` before anything of its batch is computed.

    `{"sentence": "..."}`, or plain text, returns the log-probability of every token in each direction:

    | Key | Value |
    |---|---|
    | `words` | the line's words |
    | `forward_targets`, `forward_log_probs` | `w1 .. wn </S>`, each given all words before it |
    | `backward_targets`, `backward_log_probs` | `<S> w1 .. wn`, each given all words after it |
    | `forward_log_prob`, `backward_log_prob` | of the sentence: the sum over its targets |
    | `forward_perplexity`, `backward_perplexity` | exp(-log-probability / targets) |
    | `log_prob`, `perplexity` | the mean of both directions' log-probabilities; the geometric mean of their perplexities |
    | `forward_top`, `backward_top` | with `"top": n`, for each target the n likeliest words, each as `{"word", "log_prob"}` |

    `{"prefix": "..."}` is continued forward and `{"suffix": "..."}` backward, until the sentence ends or has `max_words` (20) more
    words. The search is greedy, with `"beam": k` a beam search, and with `"temperature": t` random, where an equal `"seed"` gives
    equal words:

    | Key | Value |
    |---|---|
    | `words` | the whole sentence |
    | `generated` | the words added |
    | `log_probs` | their log-probabilities, and that of a boundary that was reached, in the sentence's order |
    | `log_prob` | the sum of these |
    | `ended` | whether the boundary was reached |
    | `beam` | with `"beam"`, the k best continuations, likeliest first, each with these keys; the first one is that above |

    `<UNK>` is never generated.
    """

    def predict(self, sentence: str) -> JsonDict:
        """Return the scores of one sentence."""
        return self.predict_json({"sentence": sentence})

    @overrides
    def load_line(self, line: str) -> JsonDict:
        """Return the request of one line of `elmo-plus predict`.

        Raises:
            InputError: the line begins as a JSON object, and cannot be parsed or is no request that this biLM can answer.
        """
        # A sentence may begin with a brace, but hardly with a brace and a quotation mark.
        if not _BEGINS_AS_JSON.match(line):
            return {"sentence": line}
        try:
            request: JsonDict = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"a line that begins as a JSON object must be one, got {truncated_repr(line)}: {error}"
            ) from None
        self._check(read_request(request))
        return request

    @overrides
    def predict_json(self, inputs: JsonDict) -> JsonDict:
        """Return the answer to one request."""
        return self.predict_batch_json([inputs])[0]

    @overrides
    def predict_batch_json(self, inputs: list[JsonDict]) -> list[JsonDict]:
        """Return the answer to each request, in their order."""
        requests = [read_request(json_dict) for json_dict in inputs]
        for request in requests:
            self._check(request)
        to_score = [request for request in requests if isinstance(request, ScoreRequest)]
        scores = iter(self._scores(to_score))
        answers = [
            next(scores) if isinstance(request, ScoreRequest) else self._generate(request) for request in requests
        ]
        return [
            {ID: json_dict[ID], **answer} if ID in json_dict else answer
            for json_dict, answer in zip(inputs, answers, strict=True)
        ]

    @overrides
    def predict_instance(self, instance: Instance) -> JsonDict:
        """Return the scores of one sentence."""
        return self.predict_batch_instance([instance])[0]

    @overrides
    def predict_batch_instance(self, instances: list[Instance]) -> list[JsonDict]:
        """Return the scores of each sentence."""
        for instance in instances:
            self._dataset_reader.apply_token_indexers(instance)
        outputs = super().predict_batch_instance(instances)
        return [_scores_of(instance, output) for instance, output in zip(instances, outputs, strict=True)]

    def _check(self, request: Any) -> None:
        if isinstance(request, ScoreRequest):
            vocab_size = len(self._model.language_model.softmax.weight)
            if request.num_substitutes is not None and request.num_substitutes > vocab_size:
                raise InputError(
                    f"`top` must be at most {vocab_size}, the words of the vocabulary, got {request.num_substitutes}"
                )
        elif request.is_suffix and not self._model.language_model.bilm.is_bidirectional:
            raise InputError("`suffix` needs a model with a backward direction, and this one has none")

    def _scores(self, requests: list[ScoreRequest]) -> list[JsonDict]:
        if not requests:
            return []
        results = self.predict_batch_instance(
            [self._dataset_reader.text_to_instance(request.words) for request in requests]
        )
        positions = [position for position, request in enumerate(requests) if request.num_substitutes is not None]
        if positions:
            candidates = self._substitutes([requests[position] for position in positions])
            for position, (forward, backward) in zip(positions, candidates, strict=True):
                num_words = requests[position].num_substitutes
                results[position]["forward_top"] = _with_words(forward, self._vocabulary, num_words)
                if backward is not None:
                    results[position]["backward_top"] = _with_words(backward, self._vocabulary, num_words)
        return results

    def _substitutes(self, requests: list[ScoreRequest]) -> list[Substitutes]:
        model, max_characters = self._model.language_model, self._max_characters
        ids = sentence_ids(
            [request.words for request in requests],
            max_characters,
            None if max_characters else {word: number for number, word in enumerate(self._vocabulary)},
        )
        return substitutes(
            encoder_of(model, self._vocabulary, max_characters),
            model.softmax,
            ids.to(model.softmax.weight.device),
            [len(request.words) for request in requests],
            max(request.num_substitutes or 0 for request in requests),
            self._model.exact_chunk_size,
        )

    def _generate(self, request: GenerateRequest) -> JsonDict:
        direction = DirectionalLM(
            self._model.language_model, self._vocabulary, self._max_characters, backward=request.is_suffix
        )
        context = request.words[::-1] if request.is_suffix else request.words
        if request.temperature is not None:
            generator = torch.Generator()
            generator.manual_seed(int(torch.randint(2**62, ())) if request.seed is None else request.seed)
            return _answer(request, sample(direction, context, request.max_words, request.temperature, generator))
        beam = beam_search(direction, context, request.max_words, request.beam_size, self._model.exact_chunk_size)
        result = _answer(request, beam[0])
        if request.beam_size > 1:
            result["beam"] = [_answer(request, continuation) for continuation in beam]
        return result

    @cached_property
    def _vocabulary(self) -> list[str]:
        """Return the word of each id of the softmax; AllenNLP's id 0 is padding."""
        return words_of(self._model.vocab)

    @property
    def _max_characters(self) -> Optional[int]:
        char_cnn = self._model.options.char_cnn
        return None if char_cnn is None else char_cnn.max_characters


def _with_words(top: TopWords, vocabulary: list[str], num_words: Optional[int]) -> list[list[JsonDict]]:
    return [
        [
            {"word": vocabulary[number], "log_prob": log_prob}
            for number, log_prob in zip(ids[:num_words], log_probs[:num_words], strict=True)
        ]
        for ids, log_probs in zip(top.ids.tolist(), top.log_probs.tolist(), strict=True)
    ]


def _answer(request: GenerateRequest, continuation: Continuation) -> JsonDict:
    words, log_probs = continuation.words, continuation.log_probs
    if request.is_suffix:
        words, log_probs = words[::-1], log_probs[::-1]
    return {
        "words": [*words, *request.words] if request.is_suffix else [*request.words, *words],
        "generated": words,
        "log_probs": log_probs,
        "log_prob": continuation.log_prob,
        "ended": continuation.has_ended,
    }


def _scores_of(instance: Instance, output: dict[str, Any]) -> JsonDict:
    words = [token.text for token in instance["source"]][1:-1]  # type: ignore[attr-defined]
    result: JsonDict = {"words": words}
    totals = []
    for direction, targets in (("forward", [*words, EOS_WORD]), ("backward", [BOS_WORD, *words])):
        if f"{direction}_log_probs" not in output:
            continue
        log_probs = output[f"{direction}_log_probs"]
        total = sum(log_probs)
        totals.append(total)
        result[f"{direction}_targets"] = targets
        result[f"{direction}_log_probs"] = log_probs
        result[f"{direction}_log_prob"] = total
        result[f"{direction}_perplexity"] = exp_or_inf(-total / len(targets))
    result["log_prob"] = sum(totals) / len(totals)
    result["perplexity"] = exp_or_inf(-result["log_prob"] / (len(words) + 1))
    return result
