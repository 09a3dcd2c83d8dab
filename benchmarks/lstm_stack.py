"""
The biLM's LSTM stacks alone: two layers, two directions, windows of 20 steps, state carried from window to window.

The alternatives are AllenNLP's `ElmoLstm`, which computes the same, and PyTorch's `nn.LSTM(proj_size)`, which has no clips and no skip
connections and is compared with this package's stack without clips. The limit is the matrix products of the job, with all steps at
once: for each token, layer and direction (input + projection) * 4 * cell + cell * projection multiply-adds, and twice as many in
the backward pass. There is no dropout. Gradients of inputs and weights are computed.
"""

import warnings
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

from .measurement.comparison import compare
from .measurement.report import Case, Report
from .measurement.rounds import Contender
from .measurement.settings import Settings
from .workloads.model_sizes import bilm_options
from .workloads.products import Products, lstm_shapes

NUM_STEPS = 20
LIMIT = "limit: the products alone"

# Maps a window's inputs (B, T, P) to the outputs of each direction's top layer.
Stack = Callable[[Tensor], list[Tensor]]


def run(settings: Settings) -> Report:
    sizes = settings.size([(128, 64), (1024, 256), (4096, 512)], [(16, 8)])
    rows = settings.size([32, 128], [4])
    cases = [
        _case(cell, projection, num_rows, backward, settings)
        for cell, projection in sizes
        for num_rows in rows
        for backward in (False, True)
    ]
    reason = settings.why_without_allennlp()
    return Report(
        "lstm_stack", "LSTM stacks of a biLM, windows of 20 steps", cases, notes=[] if reason is None else [reason]
    )


def _case(cell: int, projection: int, num_rows: int, backward: bool, settings: Settings) -> Case:
    torch.manual_seed(0)
    options = bilm_options(cell, projection, [[1, projection]], n_highway=0, n_negatives=1)
    num_tokens = num_rows * NUM_STEPS
    products = Products(lstm_shapes(BiLMOptions.from_dict(options), num_tokens), backward)
    inputs = torch.randn(num_rows, NUM_STEPS, projection)
    gradient = torch.randn(num_tokens, projection)

    def contender(name: str, module: nn.Module, stack: Stack) -> Contender:
        job = _training(module, stack, inputs, gradient) if backward else _reading(stack, inputs)
        return Contender(name, job, num_tokens, flops=products.flops, limit=LIMIT)

    unclipped = {**options, "lstm": {**options["lstm"], "cell_clip": None, "proj_clip": None}}
    contenders = [
        contender("ours", *_ours(options)),
        None if settings.why_without_allennlp() else contender("AllenNLP ElmoLstm", *_elmo_lstm(cell, projection)),
        contender("ours, no clips", *_ours(unclipped)),
        contender("torch nn.LSTM, no clips", *_torch_lstm(cell, projection)),
        Contender(LIMIT, products, num_tokens, flops=products.flops),
    ]
    direction = "forward + backward" if backward else "forward"
    return compare(f"cell {cell}, projection {projection}, batch {num_rows}, {direction}", contenders, settings)


def _reading(stack: Stack, inputs: Tensor) -> Callable[[], None]:
    @torch.no_grad()
    def job() -> None:
        stack(inputs)

    return job


def _training(module: nn.Module, stack: Stack, inputs: Tensor, gradient: Tensor) -> Callable[[], None]:
    inputs = inputs.clone().requires_grad_()

    def job() -> None:
        module.zero_grad()
        inputs.grad = None
        outputs = stack(inputs)
        torch.autograd.backward(outputs, [gradient.view_as(output) for output in outputs])

    return job


def _ours(options: dict[str, Any]) -> tuple[nn.Module, Stack]:
    bilm = build_encoder(BiLMOptions.from_dict(options)).bilm
    state: Optional[BiLMState] = None

    def stack(inputs: Tensor) -> list[Tensor]:
        nonlocal state
        packed = inputs.transpose(0, 1).reshape(-1, inputs.shape[2])
        output = bilm(packed, packed, [inputs.shape[0]] * inputs.shape[1], state)
        state = output.state.detach()
        assert output.backward is not None
        return [output.forward[-1], output.backward[-1]]

    return bilm, stack


def _elmo_lstm(cell: int, projection: int) -> tuple[nn.Module, Stack]:
    from allennlp.modules.elmo_lstm import ElmoLstm

    elmo_lstm = ElmoLstm(
        projection,
        projection,
        cell,
        2,
        requires_grad=True,
        memory_cell_clip_value=3.0,
        state_projection_clip_value=3.0,
    )

    def stack(inputs: Tensor) -> list[Tensor]:
        top = elmo_lstm(inputs, inputs.new_ones(inputs.shape[:2], dtype=torch.bool))[-1]
        return list(top.chunk(2, dim=2))

    return elmo_lstm, stack


def _torch_lstm(cell: int, projection: int) -> tuple[nn.Module, Stack]:
    # The warning says that oneDNN has no projections, so another implementation is used.
    warnings.filterwarnings("ignore", message="LSTM with projections")
    # Two LSTMs, because one bidirectional LSTM feeds both directions to each layer above the first.
    directions = [nn.LSTM(projection, cell, num_layers=2, proj_size=projection) for _ in range(2)]
    states: list[Any] = [None, None]

    def stack(inputs: Tensor) -> list[Tensor]:
        steps, outputs = inputs.transpose(0, 1), []
        for number, lstm in enumerate(directions):
            output, state = lstm(steps, states[number])
            states[number] = tuple(part.detach() for part in state)
            outputs.append(output)
        return outputs

    return nn.ModuleList(directions), stack
