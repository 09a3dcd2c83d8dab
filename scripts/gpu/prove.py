"""Part 1: every component has the same results on the device as in float64 or on a CPU."""

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.kernels.cuda_graph import SIGHTINGS
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError
from allennlp_elmo_plus.kernels.lstm.reference import lstm as lstm_reference
from allennlp_elmo_plus.kernels.lstm.stacked_lstm import check_kernels
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.random_states import random_states, restore_random_states
from benchmarks.workloads.training_step import TrainingJob

from .report import Report
from .workload import Workload, graph_states, relative_error, worst_error

# Relative errors. bfloat16 has 8 bits of precision.
FLOAT32_LIMIT, BFLOAT16_LIMIT = 1e-4, 4e-2
# At a clip or at the zero of a relu, rounding decides whether a gradient is 0.
FLOAT32_EDGES_LIMIT, BFLOAT16_EDGES_LIMIT = 1e-2, 1e-1
CPU = torch.device("cpu")


@contextmanager
def uninitialized_memory_is_nan() -> Iterator[None]:
    """Fill new memory with NaN, so that a value that was never computed is noticed."""
    filled = torch.utils.deterministic.fill_uninitialized_memory
    mode = torch.get_deterministic_debug_mode()
    # Memory is filled only in deterministic mode. `use_deterministic_algorithms` would import PyTorch's compiler, which takes seconds.
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def prove_lstm(work: Workload, report: Report) -> None:
    """Compare an LSTM layer of two directions, at the original size, with the reference implementation in float64."""
    lstm, num_rows = work.sizes.original["lstm"], work.sizes.num_lanes
    report.required("kernels of Triton", not work.is_gpu or _has_kernels(work.device))
    full = [num_rows] * 20
    ragged = sorted((random.Random(0).randint(1, num_rows) for _ in range(20)), reverse=True)
    for name, batch_sizes in (("windows of lanes", full), ("sentences", ragged)):
        for dtype, limit in ((torch.float32, FLOAT32_LIMIT), (torch.bfloat16, BFLOAT16_LIMIT)):
            layers = _random_layers(lstm["projection_dim"], lstm["dim"], clip=50.0, device=work.device)
            report.limited(f"{name}, {dtype}", _lstm_error(layers, batch_sizes, num_rows, dtype), limit)
    layers = _random_layers(lstm["projection_dim"], lstm["dim"], clip=0.5, device=work.device)
    report.limited(
        "clips at work, torch.float32", _lstm_error(layers, full, num_rows, torch.float32), FLOAT32_EDGES_LIMIT
    )


def _has_kernels(device: torch.device) -> bool:
    try:
        check_kernels(device, torch.float32)
    except KernelUnavailableError:
        return False
    return True


def _random_layers(projection: int, cell: int, clip: float, device: torch.device) -> list[LstmLayer]:
    generator = torch.Generator().manual_seed(1)
    layers = [LstmLayer(projection, cell, projection, clip, clip) for _ in range(2)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=len(parameter) ** -0.5, generator=generator)
        layer.to(device)
    return layers


def _lstm_error(layers: list[LstmLayer], batch_sizes: list[int], num_rows: int, dtype: torch.dtype) -> float:
    """Return the largest error of results and gradients, after enough runs that the CUDA graph is captured."""
    first, device = layers[0], layers[0].kernel.device
    generator = torch.Generator().manual_seed(2)
    shapes = ((sum(batch_sizes), first.input_size), (num_rows, first.output_size), (num_rows, first.cell_size))
    samples = [[torch.randn(shape, generator=generator).to(device) for shape in shapes] for _ in layers]
    upstream = [[torch.randn(shape, generator=generator).to(device) for shape in shapes] for _ in layers]

    def ours() -> list[Tensor]:
        inputs, hidden, cell = ([tensor.clone().requires_grad_() for tensor in tensors] for tensors in zip(*samples))
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs = LstmLayer.run_directions(layers, inputs, batch_sizes, hidden, cell)
        leaves = [
            leaf for d, layer in enumerate(layers) for leaf in (inputs[d], hidden[d], cell[d], *layer.parameters())
        ]
        return _with_gradients([tuple(output) for output in outputs], leaves, upstream)

    def expected() -> list[Tensor]:
        outputs, leaves = [], []
        for layer, tensors in zip(layers, samples):
            inputs = [tensor.double().requires_grad_() for tensor in tensors]
            weights = [tensor.detach().double().requires_grad_() for tensor in layer.parameters()]
            kernel, bias, projection = weights
            gate_bias = bias + (layer.bias_of_gates() - layer.bias).detach().double()
            clips = layer.cell_clip, layer.proj_clip
            outputs.append(lstm_reference(batch_sizes, *clips, *inputs, kernel, gate_bias, projection))
            leaves += [*inputs, *weights]
        return _with_gradients(outputs, leaves, upstream)

    with uninitialized_memory_is_nan():
        for _ in range(SIGHTINGS):
            ours()
        return worst_error(ours(), expected())


def _with_gradients(
    results: list[tuple[Tensor, ...]], leaves: list[Tensor], upstream: list[list[Tensor]]
) -> list[Tensor]:
    flat = [tensor for direction in results for tensor in direction]
    grads = [grad.to(tensor.dtype) for grad, tensor in zip((g for d in upstream for g in d), flat, strict=True)]
    return [*flat, *torch.autograd.grad(flat, leaves, grads)]


def prove_encoder(work: Workload, report: Report) -> None:
    """Compare the character encoder, with all gradients, with float64 on a CPU."""
    torch.manual_seed(0)
    options = BiLMOptions.from_dict(work.sizes.small, inference=False)
    reference = build_language_model(options, 600).token_encoder.double()
    words = ["".join(random.Random(seed).choices("abcdefgh", k=1 + seed % 12)) for seed in range(300)]
    characters = torch.from_numpy(encode_words(words, 50))
    upstream = torch.randn(len(words), reference.output_size, generator=torch.Generator().manual_seed(3))
    expected = _encoded(reference, characters, upstream.double())
    for bfloat16, limit in ((False, FLOAT32_LIMIT), (True, BFLOAT16_EDGES_LIMIT)):
        encoder = copy.deepcopy(reference).to(work.device, torch.float32)
        with torch.autocast(work.device.type, torch.bfloat16, enabled=bfloat16):
            ours = _encoded(encoder, characters.to(work.device), upstream.to(work.device))
        report.limited("bfloat16 products" if bfloat16 else "float32", worst_error(ours, expected), limit)


def _encoded(encoder: nn.Module, characters: Tensor, upstream: Tensor) -> list[Tensor]:
    encoder.zero_grad()
    vectors = encoder(characters)
    with torch.autocast(upstream.device.type, enabled=False):
        vectors.backward(upstream.to(vectors.dtype))
    return [vectors, *(parameter.grad for parameter in encoder.parameters() if parameter.grad is not None)]


def prove_softmax(work: Workload, report: Report) -> None:
    """Compare the sampled and the exact softmax, with all gradients, with float64 on a CPU."""
    num_tokens, vocab_size, dim = (60, 500, 16) if work.is_dry_run else (2_000, 60_000, 256)
    generator = torch.Generator().manual_seed(4)
    shapes = ((num_tokens, dim), (vocab_size, dim), (vocab_size,))
    samples = [torch.randn(shape, generator=generator) for shape in shapes]
    samples[1] *= dim**-0.5
    targets = (torch.rand(num_tokens, generator=generator) * np.log(vocab_size)).exp().long().clamp_(max=vocab_size - 1)
    negatives = LogUniformSampler(vocab_size, vocab_size // 8).sample(np.random.default_rng(0))
    losses: dict[str, Callable[..., Tensor]] = {
        "sampled": lambda device, *tensors: sampled_softmax_nll(
            *tensors, tree_map_only(Tensor, lambda tensor: tensor.to(device), negatives)
        ),
        "exact": lambda device, *tensors: exact_nll(*tensors).sum(),
    }

    def computed(loss: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, half: bool) -> list[Tensor]:
        hidden, weight, bias = leaves = [tensor.to(device, dtype, copy=True).requires_grad_() for tensor in samples]
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            nll = loss(device, hidden.bfloat16() if half else hidden, targets.to(device), weight, bias)
        return [nll, *torch.autograd.grad(nll, leaves)]

    for name, loss in losses.items():
        expected = computed(loss, CPU, torch.float64, False)
        for half, limit in ((False, FLOAT32_LIMIT), (True, BFLOAT16_LIMIT)):
            ours = computed(loss, work.device, torch.float32, half)
            for part, *pair in zip(("loss", "gradient of hidden", "of weight", "of bias"), ours, expected):
                report.limited(f"{name}, {'bfloat16' if half else 'float32'}, {part}", relative_error(*pair), limit)


def prove_optimizer(work: Workload, report: Report) -> None:
    """Compare Adagrad, with dense and sparse gradients and an active clip, with float64 on a CPU."""

    def trained(device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(5)
        dense, rows = (
            torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
            for shape in ((70, 30), (300, 40))
        )
        optimizer, start = Adagrad([dense, rows], max_norm=1.0), [dense.detach().clone(), rows.detach().clone()]
        for _ in range(3):
            dense.grad = torch.randn(dense.shape, generator=generator).to(device, dtype)
            indices, values = torch.randint(300, (1, 90), generator=generator), torch.randn(90, 40, generator=generator)
            rows.grad = torch.sparse_coo_tensor(indices, values.to(dtype), rows.shape).to(device)
            optimizer.step()
        return [dense - start[0], rows - start[1], torch.tensor(optimizer.last_grad_norm)]

    error = worst_error(trained(work.device, torch.float32), trained(CPU, torch.float64))
    report.limited("changes in float32", error, FLOAT32_LIMIT)


def prove_training(work: Workload, report: Report) -> None:
    """Compare losses and weights of training steps in float32 with those of float64 on a CPU."""
    batches = work.small_batches(8)
    ours = work.job(work.sizes.small, 600, batches, bfloat16=False)
    torch.manual_seed(0)
    reference = TrainingJob(work.sizes.small, 600, batches)
    reference.model.double()
    start = [parameter.detach().clone() for parameter in reference.model.parameters()]
    losses = [torch.stack([job.step() for _ in batches]) for job in (ours, reference)]
    report.limited("losses of 8 steps", relative_error(*losses), FLOAT32_LIMIT)
    changes = [
        [parameter.detach().cpu().double() - before for parameter, before in zip(job.model.parameters(), start)]
        for job in (ours, reference)
    ]
    report.limited("changes of the weights", worst_error(*changes), 1e-3)
    report.required("windows are replayed", not work.is_gpu or set(graph_states(ours)) == {"captured"})
    grads = [parameter.grad for parameter in ours.model.bilm.parameters() if parameter.grad is not None]
    copies = [grad.clone() for grad in grads]
    ours.step()
    report.required("gradients that a caller keeps are not overwritten", all(map(torch.equal, grads, copies)))


def prove_resume(work: Workload, report: Report) -> None:
    """Compare the losses of a run that is saved and resumed with an uninterrupted run; on a CPU, bit by bit."""
    options, batches = {**work.sizes.small, "dropout": 0.1}, work.small_batches(8)
    run = work.job(options, 600, batches, bfloat16=False)
    for _ in range(4):
        run.step()
    path = work.scratch / "checkpoint.th"
    state = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict(), "random": random_states()}
    assert run.state is not None
    torch.save({**state, "recurrent": list(run.state)}, path)
    expected = torch.stack([run.step() for _ in range(4)])
    saved = torch.load(path, map_location="cpu", weights_only=True)
    resumed = work.job(options, 600, batches[4:], bfloat16=False, seed=9)
    resumed.model.load_state_dict(saved["model"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    resumed.state = type(run.state)(*(tensor.to(work.device) for tensor in saved["recurrent"]))
    restore_random_states(saved["random"])
    error = relative_error(torch.stack([resumed.step() for _ in range(4)]), expected)
    # The order in which a GPU sums sparse gradients is not fixed.
    report.limited("losses of 4 steps, with dropout", error, FLOAT32_LIMIT if work.is_gpu else 0.0)


def prove_embedder(work: Workload, report: Report) -> None:
    """Compare `ElmoEmbedder` with itself on a CPU, and measure whether its memory grows."""
    torch.manual_seed(0)
    encoder = build_encoder(BiLMOptions.from_dict(work.sizes.small, inference=True))
    on_cpu, on_device = ElmoEmbedder(copy.deepcopy(encoder)), ElmoEmbedder(encoder.to(work.device))
    generator = random.Random(0)

    def text(max_length: int) -> list[list[str]]:
        return [[f"w{generator.randint(0, 3000)}" for _ in range(generator.randint(0, max_length))] for _ in range(30)]

    sentences = text(60)
    pairs = zip(on_device.embed_batch(sentences), on_cpu.embed_batch(sentences), strict=True)
    difference = max(float(np.abs(ours - theirs).max(initial=0)) for ours, theirs in pairs)
    report.limited("largest difference", difference, FLOAT32_LIMIT)
    if work.is_gpu:
        for count in (30, 60, 90):
            for _ in range(30):
                on_device.embed_batch(text(90))
            report.measured(f"memory after {count} batches", torch.cuda.memory_allocated(work.device) / 2**20, "MiB")


SECTIONS = {
    "lstm": prove_lstm,
    "encoder": prove_encoder,
    "softmax": prove_softmax,
    "optimizer": prove_optimizer,
    "training": prove_training,
    "resume": prove_resume,
    "embedder": prove_embedder,
}
