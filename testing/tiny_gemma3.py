#!/usr/bin/env python3
"""Writes tiny Gemma 3 models with random weights, and what the reference makes of them.

    tiny_gemma3.py --out-dir DIR [--only NAME ...]

For each configuration in CONFIGS it writes NAME.gguf, NAME.tokens.i32 (little-endian int32 ids) and
NAME.logits.f64 (little-endian float64 [n, vocab], every position, by gemma3_reference.py). Together
they contain every tensor type the library reads, in every place where a matrix can stand. All is
seeded: the same program and package versions give the same bytes.

The models are as small as their purpose allows: 7 layers, so that layer 5 is a global one between
sliding ones; a window of 48 keys, so that 230 tokens wrap around a ring of 55 slots four times; 256
columns, because K-quant blocks have that many. Metadata and vocabulary follow the real files.
"""

import argparse
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

from gemma3_reference import Gemma3

NUM_LAYERS, HIDDEN, FF, NUM_HEADS = 7, 256, 512, 4
SLIDING_WINDOW, CONTEXT, NUM_TOKENS = 48, 512, 230
BOS = 2


@dataclass(frozen=True)
class TinyConfig:
    name: str
    num_kv_heads: int
    head_dim: int
    embedding_type: T
    matrix_types: tuple  # taken in turn by the matrices; a length prime to 7 reaches each place
    head_type: T | None = None  # None: the head is the embedding
    metadata: dict = field(default_factory=dict)  # further float or string keys, without "gemma3."


LEGACY_QUANTS = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0)
K_QUANTS = (T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K)

CONFIGS = (
    TinyConfig("f32", 2, 64, T.F32, (T.F32,)),
    TinyConfig("f16_untied", 1, 128, T.F16, (T.F16,), head_type=T.Q5_1),
    TinyConfig("legacy_quants", 1, 64, T.Q5_0, LEGACY_QUANTS),
    TinyConfig("k_quants", 2, 128, T.Q6_K, K_QUANTS),
    # The mixture of a real Q4_K_M file, and its head_dim.
    TinyConfig("q4_k_m", 1, 256, T.Q8_0, (T.Q5_0, T.Q4_K, T.Q8_0, T.Q6_K)),
    TinyConfig(
        "rope_scaled",
        2,
        64,
        T.Q4_K,
        (T.Q4_1, T.F16, T.Q2_K, T.F32),
        metadata={
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "rope.freq_base_swa": 20_000.0,
        },
    ),
    TinyConfig(
        "softcap",
        1,
        128,
        T.Q3_K,
        (T.Q3_K, T.Q5_1, T.Q5_K),
        metadata={"final_logit_softcapping": 4.0},
    ),
)


def vocabulary():
    """Pieces, scores and types in the real file's order: control, user-defined, bytes, normal."""
    pieces = []  # (text, score, type)

    def add(kind, score, *texts):
        pieces.extend((text, score, kind) for text in texts)

    kind = gguf.TokenType
    add(kind.CONTROL, -1000.0, "<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    add(kind.USER_DEFINED, -1000.0, "[multimodal]")
    add(kind.CONTROL, -1000.0, "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>")
    add(kind.USER_DEFINED, -1000.0, *("\n" * i for i in range(1, 5)))
    add(kind.USER_DEFINED, -1000.0, *(" " * i for i in range(2, 6)), "<h1>", "</h1>")
    add(kind.BYTE, 0.0, *(f"<0x{byte:02X}>" for byte in range(256)))

    words = (
        "\u2581the \u2581of \u2581and \u2581to \u2581a \u2581in \u2581is \u2581that \u2581decode "
        "\u2581attention \u2581cache \u2581kernel \u2581Hello \u2581world \u2581France Hello ing "
        "tion ment 10 20 == :: // caf\u00e9 \u4e2d\u6587"
    ).split()
    # BPE needs each piece to be the merge of two others: all beginnings of a word, shortest first.
    prefixes = [word[:n] for word in words for n in range(2, len(word) + 1)]
    letters = [chr(c) for c in range(0x21, 0x7F)]
    letters += "\u2581\u00e9\u00fc\u0416\u4e2d\u6587\U0001f642"
    for rank, text in enumerate(dict.fromkeys(prefixes + letters)):
        add(kind.NORMAL, -float(rank), text)
    return pieces


# Byte offsets of the float16 scales in a K-quant block of 256 weights, and the ratio of the offset
# scale dmin to d at which weights with uniformly random bits have zero mean.
K_QUANT_LAYOUT = {
    T.Q2_K: {"d": 80, "dmin": 82, "ratio": 1.5},
    T.Q3_K: {"d": 108},
    T.Q4_K: {"d": 0, "dmin": 2, "ratio": 7.5},
    T.Q5_K: {"d": 0, "dmin": 2, "ratio": 15.5},
    T.Q6_K: {"d": 208},
}


def random_k_quant(rng, shape, std, tensor_type):
    """Blocks of random bits, scales varying from block to block, as [rows, bytes of a row]."""
    block_weights, block_bytes = gguf.GGML_QUANT_SIZES[tensor_type]
    layout = K_QUANT_LAYOUT[tensor_type]
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // block_weights, block_bytes), np.uint8)

    def set_scale(name, values):
        at = layout[name]
        blocks[:, at : at + 2] = values.astype("<f2")[:, None].view(np.uint8)

    def set_scales(d):
        set_scale("d", d)
        if "dmin" in layout:
            set_scale("dmin", d * layout["ratio"])

    set_scales(np.ones(len(blocks)))
    d = std / gguf.quants.dequantize(blocks, tensor_type).std() * rng.uniform(0.5, 1.4, len(blocks))
    if "dmin" not in layout:
        d *= rng.choice((-1.0, 1.0), len(blocks))  # quantizers do write negative scales here
    set_scales(d)
    return blocks.reshape(shape[0], -1)


def random_matrix(rng, shape, std, tensor_type):
    if tensor_type in K_QUANT_LAYOUT:
        return random_k_quant(rng, shape, std, tensor_type)
    return gguf.quants.quantize(rng.normal(0.0, std, shape).astype(np.float32), tensor_type)


def write_model(path, config):
    writer = gguf.GGUFWriter(path, "gemma3")
    pieces = vocabulary()
    write_metadata(writer, config, pieces)

    rng = np.random.default_rng(zlib.crc32(config.name.encode()))

    def add_matrix(name, rows, columns, std, tensor_type):
        data = random_matrix(rng, (rows, columns), std, tensor_type)
        writer.add_tensor(name + ".weight", data, raw_dtype=tensor_type)

    def add_norm(name, size, mean):
        data = mean * rng.uniform(0.5, 1.5, size)
        writer.add_tensor(name + ".weight", data.astype(np.float32))

    # The final norm gives numbers around 1, so this makes logits with a deviation of about 2.4.
    head_std = 0.15
    add_matrix("token_embd", len(pieces), HIDDEN, head_std, config.embedding_type)
    if config.head_type is not None:
        add_matrix("output", len(pieces), HIDDEN, head_std, config.head_type)
    add_norm("output_norm", HIDDEN, 1.0)

    q_size, kv_size = NUM_HEADS * config.head_dim, config.num_kv_heads * config.head_dim
    matrices = (
        ("attn_q", q_size, HIDDEN),
        ("attn_k", kv_size, HIDDEN),
        ("attn_v", kv_size, HIDDEN),
        ("attn_output", HIDDEN, q_size),
        ("ffn_gate", FF, HIDDEN),
        ("ffn_up", FF, HIDDEN),
        ("ffn_down", HIDDEN, FF),
    )
    for layer in range(NUM_LAYERS):
        for place, (name, rows, columns) in enumerate(matrices):
            turn = layer * len(matrices) + place
            tensor_type = config.matrix_types[turn % len(config.matrix_types)]
            add_matrix(f"blk.{layer}.{name}", rows, columns, columns**-0.5, tensor_type)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            add_norm(f"blk.{layer}.{name}", HIDDEN, 1.0)
        for name in ("attn_q_norm", "attn_k_norm"):
            add_norm(f"blk.{layer}.{name}", config.head_dim, 1.5)  # scores that prefer some keys

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_metadata(writer, config, pieces):
    writer.add_string("general.type", "model")
    writer.add_string("general.name", f"Tiny Gemma 3 {config.name}")
    for key, value in (
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN),
        ("block_count", NUM_LAYERS),
        ("feed_forward_length", FF),
        ("attention.head_count", NUM_HEADS),
        ("attention.head_count_kv", config.num_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("attention.sliding_window", SLIDING_WINDOW),
    ):
        writer.add_uint32("gemma3." + key, value)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32("gemma3.rope.freq_base", 1_000_000.0)
    for key, value in config.metadata.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add("gemma3." + key, value)

    texts, scores, types = zip(*pieces)
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_string("tokenizer.ggml.pre", "default")
    writer.add_array("tokenizer.ggml.tokens", texts)
    writer.add_array("tokenizer.ggml.scores", scores)
    writer.add_array("tokenizer.ggml.token_type", [int(t) for t in types])
    special = {"bos": "<bos>", "eos": "<eos>", "unknown": "<unk>", "padding": "<pad>"}
    for key, piece in special.items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", texts.index(piece))
    for key in ("bos_token", "sep_token", "eos_token", "space_prefix"):
        writer.add_bool("tokenizer.ggml.add_" + key, key == "bos_token")
    writer.add_uint32("general.quantization_version", 2)


def main():
    parser = argparse.ArgumentParser(description="Tiny random Gemma 3 models for the tests.")
    parser.add_argument("--out-dir", required=True, type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[c.name for c in CONFIGS])
    args = parser.parse_args()

    args.out_dir.mkdir(parents=True, exist_ok=True)
    for config in CONFIGS:
        if args.only and config.name not in args.only:
            continue
        path = args.out_dir / f"{config.name}.gguf"
        write_model(path, config)
        model = Gemma3(path)
        rng = np.random.default_rng(zlib.crc32(config.name.encode()) + 1)
        tokens = rng.integers(0, model.vocab_size, NUM_TOKENS, dtype="<i4")
        tokens[0] = BOS
        tokens.tofile(args.out_dir / f"{config.name}.tokens.i32")
        logits = model.logits(model.hidden_states(tokens))
        logits.astype("<f8").tofile(args.out_dir / f"{config.name}.logits.f64")
        print(f"{config.name}: {path.stat().st_size / 1e6:.1f} MB, logits std {logits.std():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
