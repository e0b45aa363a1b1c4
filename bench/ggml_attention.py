#!/usr/bin/env python3
"""Times ggml's CPU flash attention of one query token, through the public C interface of the shared
libraries that llama.cpp installs. K and V rotate through more memory than the caches hold, as in
`decant bench-op`; a call is one graph of one node on a thread pool that stays, as llama.cpp uses it.

    ggml_attention.py LIBRARY_FOLDER --shape 256,4,1,4096 [--shape ...] [-t 2] [--seconds 1]

Prints a JSON list of {"shape", "us"}; us is the median.
"""

import argparse
import ctypes
import json
import random
import statistics
import struct
import time
from ctypes import POINTER, byref, c_bool, c_char, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

F32, F16 = 0, 1  # enum ggml_type


class InitParams(ctypes.Structure):  # struct ggml_init_params
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


def load(folder):
    """The libraries, with the types of the functions that are called."""
    base, cpu = (
        ctypes.CDLL(str(next(Path(folder).glob(f"lib{name}.so*"))), ctypes.RTLD_GLOBAL)
        for name in ("ggml-base", "ggml-cpu")
    )
    base.ggml_init.argtypes, base.ggml_init.restype = [InitParams], c_void_p
    base.ggml_free.argtypes = [c_void_p]
    base.ggml_new_tensor_3d.argtypes = [c_void_p, c_int, c_int64, c_int64, c_int64]
    base.ggml_new_tensor_3d.restype = c_void_p
    base.ggml_get_data.argtypes, base.ggml_get_data.restype = [c_void_p], c_void_p
    base.ggml_nbytes.argtypes, base.ggml_nbytes.restype = [c_void_p], c_size_t
    base.ggml_flash_attn_ext.argtypes = [c_void_p] * 5 + [c_float] * 3
    base.ggml_flash_attn_ext.restype = c_void_p
    base.ggml_new_graph.argtypes, base.ggml_new_graph.restype = [c_void_p], c_void_p
    base.ggml_build_forward_expand.argtypes = [c_void_p, c_void_p]
    base.ggml_threadpool_params_init.argtypes = [c_void_p, c_int]
    base.ggml_backend_graph_compute.argtypes = [c_void_p, c_void_p]
    base.ggml_backend_graph_compute.restype = c_int
    base.ggml_backend_free.argtypes = [c_void_p]
    cpu.ggml_backend_cpu_init.restype = c_void_p
    cpu.ggml_backend_cpu_set_n_threads.argtypes = [c_void_p, c_int]
    cpu.ggml_backend_cpu_set_threadpool.argtypes = [c_void_p, c_void_p]
    cpu.ggml_threadpool_new.argtypes, cpu.ggml_threadpool_new.restype = [c_void_p], c_void_p
    cpu.ggml_threadpool_free.argtypes = [c_void_p]
    return base, cpu


def fill(base, tensor, pattern):
    """Repeats `pattern`, whose page count shares no factor with a cache's."""
    data, size = base.ggml_get_data(tensor), base.ggml_nbytes(tensor)
    for at in range(0, size, len(pattern)):
        ctypes.memmove(data + at, pattern, min(len(pattern), size - at))


def measure(base, backend, shape, seconds, rotate_bytes):
    dim, heads, kv_heads, keys = shape
    kv_bytes = 2 * kv_heads * keys * dim * 2
    copies = max(1, -(-rotate_bytes // kv_bytes))
    context = base.ggml_init(
        InitParams(copies * (kv_bytes + heads * dim * 4 + (1 << 16)) + (64 << 20), None, False)
    )
    rng = random.Random(1)
    halves = struct.pack("<65539e", *(rng.gauss(0, 1) for _ in range(65539)))
    floats = struct.pack(f"<{dim * heads}f", *(rng.gauss(0, 1) for _ in range(dim * heads)))
    q = base.ggml_new_tensor_3d(context, F32, dim, 1, heads)
    fill(base, q, floats)
    graphs = []
    for _ in range(copies):
        k = base.ggml_new_tensor_3d(context, F16, dim, keys, kv_heads)
        v = base.ggml_new_tensor_3d(context, F16, dim, keys, kv_heads)
        fill(base, k, halves)
        fill(base, v, halves)
        out = base.ggml_flash_attn_ext(context, q, k, v, None, dim**-0.5, 0.0, 0.0)
        graph = base.ggml_new_graph(context)
        base.ggml_build_forward_expand(graph, out)
        graphs.append(graph)

    times, at, end = [], 0, time.perf_counter() + seconds
    while len(times) < 2 * copies + 20 or time.perf_counter() < end:
        begin = time.perf_counter_ns()
        status = base.ggml_backend_graph_compute(backend, graphs[at])
        times.append(time.perf_counter_ns() - begin)
        if status != 0:
            raise RuntimeError(f"ggml_backend_graph_compute answered {status}")
        at = (at + 1) % copies
    base.ggml_free(context)
    return statistics.median(times[copies:]) / 1000  # the first round touches the memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", help="where libggml-base.so and libggml-cpu.so are")
    parser.add_argument("--shape", action="append", required=True, metavar="D,HQ,HKV,KV")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rotate-mb", type=int, default=256)
    options = parser.parse_args()

    base, cpu = load(options.folder)
    params = (c_char * 4096)()  # struct ggml_threadpool_params is smaller, and filled by its library
    base.ggml_threadpool_params_init(byref(params), options.threads)
    pool = cpu.ggml_threadpool_new(byref(params))
    backend = cpu.ggml_backend_cpu_init()
    cpu.ggml_backend_cpu_set_n_threads(backend, options.threads)
    cpu.ggml_backend_cpu_set_threadpool(backend, pool)
    rows = []
    for text in options.shape:
        shape = [int(part) for part in text.split(",")]
        us = measure(base, backend, shape, options.seconds, options.rotate_mb << 20)
        rows.append({"shape": text, "us": us})
    base.ggml_backend_free(backend)
    cpu.ggml_threadpool_free(pool)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
