"""Which kernels a decoding step on the CPU should use: attention over a cache, linear layers.

Times, for one layer of the paper's model (512 wide, 16 heads): torch's fused attention for single
queries over a cache laid out by position and head by head, and two batched products; and the four
linear layers in float32, with half-precision and with int8 weights. Ratios are against the first.

    python benchmarks/decode_kernels.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from matgen.nn.attention import cached_attention, step_mask
from matgen.nn.packed_linear import Float16Linear, Int8Linear

HEADS, WIDTH, HELD, CAPACITY = 16, 32, 45, 97
SHAPES = ((512, 1536), (512, 512), (512, 3072), (1536, 512))


def milliseconds(task: Callable[[], object], repeats: int) -> float:
    """Return the least of several times, in ms."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def attentions(rows: int) -> Mapping[str, Callable[[], Tensor]]:
    """Return both ways to attend with one query per row over a cache."""
    q = torch.randn(rows, 1, HEADS, WIDTH)
    flat = [torch.randn(rows, CAPACITY, HEADS, WIDTH) for _ in range(2)]
    k, v = (x.transpose(1, 2).contiguous() for x in flat)
    mask = step_mask(torch.full((rows,), HELD - 1), 1, HELD)

    def fused() -> Tensor:
        by_position = [x[:, :HELD].transpose(1, 2) for x in flat]
        return scaled_dot_product_attention(q.transpose(1, 2), *by_position, attn_mask=mask)

    def fused_head_by_head() -> Tensor:
        by_head = [x[:, :, :HELD] for x in (k, v)]
        return scaled_dot_product_attention(q.transpose(1, 2), *by_head, attn_mask=mask)

    def products() -> Tensor:
        scores = torch.matmul(q.transpose(1, 2), k[:, :, :HELD].transpose(2, 3))
        return torch.matmul(scores.masked_fill_(~mask, -torch.inf).softmax(-1), v[:, :, :HELD])

    def ours() -> Tensor:
        return cached_attention(q, k[:, :, :HELD], v[:, :, :HELD], mask)

    return {
        "fused": fused,
        "fused_head_by_head": fused_head_by_head,
        "products": products,
        "ours": ours,
    }


def linear_layers(rows: int) -> Mapping[str, Callable[[], object]]:
    """Return the linear layers of a block in each precision."""
    layers = [nn.Linear(n_in, n_out, bias=False) for n_in, n_out in SHAPES]
    kinds: dict[str, list[nn.Module]] = {
        "float32": list(layers),
        "float16": [Float16Linear(layer) for layer in layers],
        "int8": [Int8Linear(layer) for layer in layers],
    }
    inputs = [torch.randn(rows, n_in) for n_in, _ in SHAPES]

    def through(modules: list[nn.Module]) -> Callable[[], object]:
        return lambda: [module(x) for module, x in zip(modules, inputs, strict=True)]

    return {name: through(modules) for name, modules in kinds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 128, 256])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    repeats = 20 if options.quick else 100
    ratios: dict[str, float] = {}
    told: dict[str, float] = {}
    with torch.inference_mode():
        for rows in options.rows:
            for tasks in (attentions(rows), linear_layers(rows)):
                times = {name: milliseconds(task, repeats) for name, task in tasks.items()}
                first = next(iter(times.values()))
                for name, taken in times.items():
                    told[f"{name}_{rows}_ms"] = round(taken, 3)
                    if taken != first:
                        ratios[f"{name}_{rows}"] = round(first / taken, 2)
    print(
        json.dumps(
            {
                "speedup": ratios,
                "ms": told,
                "threads": options.threads,
                "load_average": round(os.getloadavg()[0], 2),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
