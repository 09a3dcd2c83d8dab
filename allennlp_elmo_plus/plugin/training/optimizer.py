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
    """Adagrad with TensorFlow's conventions over dense and row-sparse gradients, with the clip by the global norm built in; see
    `training.adagrad`. Use it in place of AllenNLP's `adagrad` and the trainer's `grad_norm`, which needs the gradient of a sampled
    softmax as a dense tensor and is slower, see `plugin.training.dense_gradients`. In distributed training it averages that
    gradient over
    the processes, see `training.distributed.sparse_gradients`.

    Registered as an `Optimizer` with name "bilm". Defaults are bilm-tf's.

    # Parameters

    lr : `float`, optional (default = `0.2`)
    initial_accumulator_value : `float`, optional (default = `1.0`)
    max_norm : `float`, optional (default = `10.0`)
        The global norm that gradients are scaled down to; `null` for no clip.
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
        by_rows = [parameter for _, parameter in model_parameters if is_excluded_from_ddp(parameter)]
        row_exchange = SparseGradientAllReduce(by_rows) if by_rows and world().num_processes > 1 else None
        super().__init__(groups, lr, initial_accumulator_value, max_norm, row_exchange)
