"""Part 2: time, memory and arithmetic rate of each component and of training steps, at the original size."""

import json
import time
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.kernels import cuda_graph as graph_capture
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from benchmarks.workloads.corpora import NUM_STEPS
from benchmarks.workloads.training_step import TrainingJob

from .report import Report
from .workload import Workload, graph_states

# A measurement of one batch size starts only if this many seconds are left.
BATCH_SIZES_RESERVE_SECONDS = 30.0
SPLIT_PARTS = 8


def time_device(work: Workload, report: Report) -> None:
    """Measure the device's limits: the speed of a copy and of a large matrix product."""
    length, size = (1 << 16, 64) if work.is_dry_run else (1 << 30, 8192)
    source, copy = torch.randn(length, device=work.device), torch.empty(length, device=work.device)
    seconds = work.milliseconds(lambda: copy.copy_(source)) / 1e3
    report.measured("copy", 2 * source.nbytes / seconds / 1e12, "TB/s")
    left, right = (torch.randn(size, size, device=work.device).to(work.half) for _ in range(2))
    seconds = work.milliseconds(lambda: left @ right) / 1e3
    report.measured(f"product of {size} x {size}, {work.half}", 2 * size**3 / seconds / 1e12, "TFLOP/s")


def time_products(work: Workload, report: Report) -> None:
    """Measure the matrix products of an LSTM layer of two directions, each as the layer computes it."""
    lstm, rows = work.sizes.original["lstm"], work.sizes.num_lanes
    p, c, n = lstm["projection_dim"], lstm["dim"], work.sizes.num_lanes * NUM_STEPS

    def draw(*shape: int) -> Tensor:
        return (torch.randn(2, *shape, device=work.device) * 0.03).to(work.half)

    kernel, projection, hidden, cells = draw(p, 4 * c), draw(c, p), draw(rows, p), draw(rows, c)
    gates, inputs, all_gates = draw(rows, 4 * c), draw(n, p), draw(n, 4 * c)
    kernel_t, projection_t = kernel.transpose(1, 2), projection.transpose(1, 2)

    def in_parts() -> Tensor:
        # Few tiles of the result keep few of the GPU's processors busy, so that a sum over 4C values is better split, if it is not yet.
        sums = [
            torch.bmm(left.unflatten(1, (SPLIT_PARTS, -1)).transpose(0, 1), right.unflatten(0, (SPLIT_PARTS, -1)))
            for left, right in zip(gates, kernel_t, strict=True)
        ]
        return hidden.add_(torch.stack(sums).sum(1, dtype=torch.float32))

    products = {
        "a step: hidden by kernel": (lambda: gates.baddbmm_(hidden, kernel, beta=0.5), rows * p * 4 * c),
        "a step: cells by projection": (lambda: torch.bmm(cells, projection), rows * c * p),
        "a step back: by the projection": (lambda: torch.bmm(hidden, projection_t), rows * c * p),
        "a step back: by the kernel": (lambda: hidden.baddbmm_(gates, kernel_t, beta=0.5), rows * p * 4 * c),
        f"a step back: by the kernel, in {SPLIT_PARTS} parts": (in_parts, rows * p * 4 * c),
        "all steps: inputs by kernel": (lambda: torch.bmm(inputs, kernel), n * p * 4 * c),
        "all steps: gradient of inputs": (lambda: torch.bmm(all_gates, kernel_t), n * p * 4 * c),
        "all steps: gradient of kernel": (lambda: torch.bmm(inputs.transpose(1, 2), all_gates), n * p * 4 * c),
    }
    # Each product is measured as in the LSTM, which sums in float32, and with cuBLAS allowed to sum in bfloat16.
    matmul = torch.backends.cuda.matmul
    allowed = matmul.allow_bf16_reduced_precision_reduction
    try:
        for name, (function, multiply_adds) in products.items():
            for allows, summed in ((False, "float32"), (True, "any type")):
                matmul.allow_bf16_reduced_precision_reduction = allows
                milliseconds = work.milliseconds(function, calls=20)
                rate = 2 * 2 * multiply_adds / milliseconds / 1e9
                report.measured(f"{name}, {summed}", milliseconds * 1e3, f"us, {rate:,.1f} TFLOP/s")
    finally:
        matmul.allow_bf16_reduced_precision_reduction = allowed


def time_kernels(work: Workload, report: Report) -> None:
    """Measure the element-wise kernels of a step, and the memory that they read and write per second."""
    if not work.is_gpu:
        report.noted("not measured", "Triton's kernels need a GPU")
        return
    from allennlp_elmo_plus.kernels.lstm._triton_kernels import clip_values, gates_backward, gates_forward

    lstm, rows = work.sizes.original["lstm"], work.sizes.num_lanes
    p, c = lstm["projection_dim"], lstm["dim"]
    gates, grad_gates = (torch.randn(2, rows, 4 * c, device=work.device).to(work.half) for _ in range(2))
    outputs, hidden = (torch.randn(2, rows, size, device=work.device).to(work.half) for size in (c, p))
    cell, next_cell, grad_cell = (torch.randn(2, rows, c, device=work.device) for _ in range(3))
    bias, clipped = torch.zeros(2, 4 * c, device=work.device), torch.empty_like(hidden, dtype=torch.bool)
    calls = {
        "forward": (lambda: gates_forward(gates, bias, cell, next_cell, outputs, 3.0, True), 26 * cell.numel()),
        "backward": (
            lambda: gates_backward(gates, cell, next_cell, outputs, grad_cell, grad_gates, 3.0),
            34 * cell.numel(),
        ),
        "clip": (lambda: clip_values(hidden, clipped, 3.0), 5 * hidden.numel()),
    }
    for name, (function, num_bytes) in calls.items():
        milliseconds = work.milliseconds(function, calls=20)
        report.measured(name, milliseconds * 1e3, f"us, {num_bytes / milliseconds / 1e9:.2f} TB/s")


def time_stacks(work: Workload, report: Report) -> None:
    """Measure two layers in two directions, with the backward pass: ours, and cuDNN's LSTM with projection, which has no clips."""
    lstm, rows = work.sizes.original["lstm"], work.sizes.num_lanes
    p, c = lstm["projection_dim"], lstm["dim"]
    job = work.job(work.sizes.original, 500, [], bfloat16=False)
    inputs = torch.randn(NUM_STEPS * rows, p, device=work.device)

    def ours() -> None:
        copies = [inputs.clone().requires_grad_() for _ in range(2)]
        with torch.autocast(work.device.type, torch.bfloat16, enabled=work.is_gpu):
            output = job.model.bilm(*copies, [rows] * NUM_STEPS)
        assert output.backward is not None
        (output.forward[-1].float().sum() + output.backward[-1].float().sum()).backward()

    report.measured("ours, forward and backward", work.milliseconds(ours), f"ms, graphs {graph_states(job)}")
    if not work.is_gpu:
        return
    stacks = [nn.LSTM(p, c, 2, proj_size=p).to(work.device, work.half) for _ in range(2)]

    def cudnn() -> None:
        windows = inputs.view(NUM_STEPS, rows, p).to(work.half).requires_grad_()
        sum(stack(windows)[0].float().sum() for stack in stacks).backward()  # type: ignore[union-attr]

    report.measured("cuDNN, forward and backward", work.milliseconds(cudnn), "ms")


def time_parts(work: Workload, report: Report) -> None:
    """Measure the other parts of a step, and evaluation with the exact softmax."""
    options, vocab_size, lanes = work.sizes.original, work.sizes.vocab_size, work.sizes.num_lanes
    (batch,) = work.batches(options, vocab_size, lanes, 1)
    job = work.job(options, vocab_size, [batch], bfloat16=work.is_gpu)
    model, moved_batch = job.model, batch.to(work.device)
    report.measured("distinct words", len(batch.characters), f"of {lanes * NUM_STEPS}")

    def encoder() -> None:
        with torch.autocast(work.device.type, torch.bfloat16, enabled=work.is_gpu):
            vectors = model.token_encoder(moved_batch.characters, moved_batch.buckets)
        vectors.float().sum().backward()

    report.measured("words from characters, forward and backward", work.milliseconds(encoder), "ms")
    hidden = torch.randn(lanes * NUM_STEPS, model.bilm.output_size, device=work.device).to(work.half).requires_grad_()
    targets = moved_batch.forward_targets.t().reshape(-1)
    softmax = model.softmax

    def sampled() -> Tensor:
        return sampled_softmax_nll(hidden, targets, softmax.weight, softmax.bias, moved_batch.forward_negatives)

    report.measured("sampled softmax of one direction with gradients", work.milliseconds(sampled), "ms")
    job.step()
    report.measured("optimizer", work.milliseconds(job.optimizer.step), "ms")
    model.eval()
    with torch.no_grad():
        report.measured("exact evaluation", work.milliseconds(lambda: model.exact_loss(moved_batch), 2), "ms")


def time_steps(work: Workload, report: Report) -> None:
    """Measure training steps: tokens per second, peak memory, and the lines at which the host waits for the device."""
    options, vocab_size = {**work.sizes.original, "dropout": 0.1}, work.sizes.vocab_size
    batches = [batch.to(work.device) for batch in work.batches(options, vocab_size, work.sizes.num_lanes, 8)]
    cases = [
        ("bfloat16, graphs", True, True),
        ("bfloat16, step by step", True, False),
        ("float32, graphs", False, True),
    ]
    for name, bfloat16, graphs in cases if work.is_gpu else [("float32", False, False)]:
        sightings = graph_capture.SIGHTINGS if graphs else 1 << 30
        with mock.patch.object(graph_capture, "SIGHTINGS", sightings):
            if work.is_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(work.device)
            job = work.job(options, vocab_size, batches, bfloat16)
            for _ in range(6):
                job.step()
            work.synchronize()
            start = time.perf_counter()
            for _ in range(work.sizes.repeats):
                job.step()
            work.synchronize()
            seconds = (time.perf_counter() - start) / work.sizes.repeats
            tokens = batches[0].forward_inputs.numel()
            report.measured(name, 1e3 * seconds, f"ms, {tokens / seconds:,.0f} tokens/s, {graph_states(job)}")
            if work.is_gpu:
                report.measured(f"{name}, peak", torch.cuda.max_memory_allocated(work.device) / 2**30, "GiB")
                if bfloat16 and graphs:
                    _waits_of_the_host(job, report)
                    _kernels(job, work, report)
            del job


def time_batch_sizes(work: Workload, report: Report) -> None:
    """Measure training steps in bfloat16 with fewer and with more lanes, each batch copied to the device when its step begins."""
    options, vocab_size = {**work.sizes.original, "dropout": 0.1}, work.sizes.vocab_size
    for num_lanes in (work.sizes.num_lanes // 3, work.sizes.num_lanes, 2 * work.sizes.num_lanes):
        if report.seconds_left() < BATCH_SIZES_RESERVE_SECONDS:
            report.required(f"{num_lanes} lanes", False, "no time was left")
            return
        job = work.job(options, vocab_size, work.batches(options, vocab_size, num_lanes, 4), bfloat16=True)
        seconds = work.milliseconds(job.step) / 1e3
        tokens_per_second = num_lanes * NUM_STEPS / seconds
        report.measured(
            f"{num_lanes} lanes", 1e3 * seconds, f"ms, {tokens_per_second:,.0f} tokens/s, {graph_states(job)}"
        )
        del job
        if work.is_gpu:
            torch.cuda.empty_cache()


def _waits_of_the_host(job: TrainingJob, report: Report) -> None:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            job.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    lines = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught)
    report.noted("waits of the host in a step", json.dumps(lines))


def _kernels(job: TrainingJob, work: Workload, report: Report) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        job.step()
        work.synchronize()
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    milliseconds = sum(event.time_range.elapsed_us() for event in kernels) / 1e3
    report.measured("kernels of a step", len(kernels), f"taking {milliseconds:.1f} ms")
    report.noted("profile", profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=30))


SECTIONS = {
    "device": time_device,
    "products": time_products,
    "kernels": time_kernels,
    "stacks": time_stacks,
    "parts": time_parts,
    "steps": time_steps,
    "batch sizes": time_batch_sizes,
}
