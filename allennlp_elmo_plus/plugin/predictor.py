"""The predictor `bilm`."""

from typing import Any

from allennlp.common.util import JsonDict, sanitize
from allennlp.data import Instance
from allennlp.predictors import Predictor

from allennlp_elmo_plus.core.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.core.perplexity import exponential


@Predictor.register("bilm")
class BilmPredictor(Predictor):
    """
    How likely a text is: for each line, its words separated by white space, the log-probability of every token in each direction.

    Registered as a `Predictor` with name "bilm". `allennlp predict` reads plain lines of text (`predict_json` takes
    `{"sentence": "..."}`) and writes one JSON object a line, logarithms natural:

    | Key | What |
    |---|---|
    | `words` | the line's words |
    | `forward_targets`, `forward_log_probs` | `w1 .. wn </S>`, each given all before it |
    | `backward_targets`, `backward_log_probs` | `<S> w1 .. wn`, each given all after it |
    | `forward_log_prob`, `backward_log_prob` | of the sentence: the sum over its targets |
    | `forward_perplexity`, `backward_perplexity` | exp(-log-probability / targets) |
    | `log_prob`, `perplexity` | the mean of both directions' log-probabilities; the geometric mean of their perplexities |

    Words outside the vocabulary are scored as `<UNK>`. A forward-only model gives no backward entries.
    """

    def predict(self, sentence: str) -> JsonDict:
        """The object above for one sentence."""
        return self.predict_json({"sentence": sentence})

    def load_line(self, line: str) -> JsonDict:
        return {"sentence": line}

    def _json_to_instance(self, json_dict: JsonDict) -> Instance:
        return self._dataset_reader.text_to_instance(json_dict["sentence"].split())

    def predict_instance(self, instance: Instance) -> JsonDict:
        return self.predict_batch_instance([instance])[0]

    def predict_batch_instance(self, instances: list[Instance]) -> list[JsonDict]:
        for instance in instances:
            self._dataset_reader.apply_token_indexers(instance)
        outputs = self._model.forward_on_instances(instances)
        return [_score(instance, sanitize(output)) for instance, output in zip(instances, outputs)]


def _score(instance: Instance, output: dict[str, Any]) -> JsonDict:
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
        result[f"{direction}_perplexity"] = exponential(-total / len(targets))
    result["log_prob"] = sum(totals) / len(totals)
    result["perplexity"] = exponential(-result["log_prob"] / (len(words) + 1))
    return result
