"""The optimizer `bilm`."""

from typing import Any, Optional

import torch
from allennlp.training.optimizers import Optimizer, ParameterGroupsType, make_parameter_groups

from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce, is_excluded_from_ddp
from allennlp_elmo_plus.training.distributed.world import world


@Optimizer.register("bilm")
class BilmOptimizer(StrictFromParams, Optimizer, Adagrad):
    """The optimizer of `training.adagrad`, with bilm-tf's defaults.

    AllenNLP's "adagrad" with the trainer's `grad_norm` needs a dense gradient of the sampled softmax and is slower, see
    `plugin.training.dense_gradients`. In distributed training this optimizer averages the sparse gradient over the processes,
    see `training.distributed.sparse_gradients`.

    Args:
        model_parameters: passed by AllenNLP.
        parameter_groups: as in AllenNLP; all other options are those of `Adagrad`.
    """

    def __init__(
        self,
        model_parameters: list[tuple[str, torch.nn.Parameter]],
        parameter_groups: Optional[ParameterGroupsType] = None,
        lr: float = 0.2,
        initial_accumulator_value: float = 1.0,
        max_norm: Optional[float] = 10.0,
    ) -> None:
        groups: Any = make_parameter_groups(model_parameters, parameter_groups)
        sparse_parameters = [parameter for _, parameter in model_parameters if is_excluded_from_ddp(parameter)]
        all_reduce = (
            SparseGradientAllReduce(sparse_parameters) if sparse_parameters and world().num_processes > 1 else None
        )
        super().__init__(groups, lr, initial_accumulator_value, max_norm, all_reduce)
