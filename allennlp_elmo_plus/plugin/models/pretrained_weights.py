"""Start the model `bilm` from a pretrained biLM."""

import logging

from allennlp_elmo_plus.formats.transfer import carry_over, read_pretrained
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.adagrad import set_initial_sum

logger = logging.getLogger(__name__)


def start_from(pretrained_file: str, model: LanguageModel, options: BiLMOptions, words: list[str]) -> None:
    """Copy the weights of the biLM in `pretrained_file` into `model`, and log how many rows were copied.

    If the biLM has the vocabulary `words` and Adagrad's sums of squared gradients, an optimizer of `model` continues with the sums.

    Raises:
        InputError: `read_pretrained` or `carry_over` refuses the biLM.
    """
    stored = read_pretrained(pretrained_file, options)
    report = carry_over(model, stored, words)
    sums = stored.adagrad_sums if stored.vocabulary == words else {}
    for name, squares in sums.items():
        set_initial_sum(model.get_parameter(name), squares)
    more = ", with Adagrad's sums of squared gradients" if sums else ""
    logger.info("starting from %s: %s%s", pretrained_file, report.describe(), more)
