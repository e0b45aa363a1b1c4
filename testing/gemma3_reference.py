#!/usr/bin/env python3
"""Gemma 3 (text) in double precision: what the library must compute, as plainly as it can be said.

This file is the oracle of the model's tests and the place to read first. It reads a GGUF file,
multiplies whole matrices, keeps no cache between calls and knows no kernels. Only the block formats
come from elsewhere (the `gguf` package dequantizes them), so it shares no code with what it checks.

Notation: n tokens at positions 0..n-1; a matrix of shape [out, in] is applied as y = x @ W.T; a
layer is

    x += post_attention_norm(attention(attn_norm(x)))
    x += post_ffw_norm(ffn(ffn_norm(x)))

As a program it writes logits for a file of token ids:

    gemma3_reference.py --model model.gguf --tokens tokens.i32 --out logits.f64 [--last]

tokens.i32 holds little-endian int32 ids (begin with BOS, as the model expects); logits.f64 receives
little-endian float64 of shape [n, vocab], or [1, vocab] with --last.
"""

import argparse
import sys
from dataclasses import dataclass

import gguf
import numpy as np

# Every sixth layer attends to the whole context, the others to a window. The GGUF does not say so.
GLOBAL_EVERY = 6
# RoPE base of the sliding layers where the GGUF does not name one.
DEFAULT_SLIDING_ROPE_BASE = 10_000.0
# The number of layers is the only mark of the 27B model, whose score scale is special.
NUM_LAYERS_27B = 62


@dataclass(frozen=True)
class Config:
    """The model's shape, from the GGUF's `gemma3.*` metadata."""

    num_layers: int
    hidden: int
    ff: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context: int
    sliding_window: int  # keys a sliding layer attends to, the newest included; 0 = no such layer
    rms_eps: float
    global_rope_base: float
    sliding_rope_base: float
    global_rope_factor: float  # positions are divided by it, in global layers only
    score_scale: float
    logit_softcap: float  # 0 = none

    def is_global(self, layer):
        return self.sliding_window == 0 or (layer + 1) % GLOBAL_EVERY == 0

    @staticmethod
    def from_gguf(reader):
        def get(key, default=None):
            field = reader.fields.get(key)
            value = default if field is None else field.contents()
            if value is None:
                raise ValueError(f"GGUF metadata lacks {key}")
            return value

        architecture = get("general.architecture")
        if architecture != "gemma3":
            raise ValueError(f"general.architecture must be gemma3, got {architecture}")
        num_layers = get("gemma3.block_count")
        hidden = get("gemma3.embedding_length")
        num_heads = get("gemma3.attention.head_count")
        head_dim = get("gemma3.attention.key_length")  # not hidden / num_heads in this family
        if get("gemma3.attention.value_length") != head_dim:
            raise ValueError("key_length and value_length must be equal")
        if get("gemma3.attention.sliding_window_pattern", GLOBAL_EVERY) != GLOBAL_EVERY:
            raise ValueError(f"only the pattern of one global layer in {GLOBAL_EVERY} is known")
        scaling = get("gemma3.rope.scaling.type", "linear")
        if scaling not in ("linear", "none"):
            raise ValueError(f"rope scaling must be linear or none, got {scaling}")
        factor = get("gemma3.rope.scaling.factor", 0.0) if scaling == "linear" else 0.0
        return Config(
            num_layers=num_layers,
            hidden=hidden,
            ff=get("gemma3.feed_forward_length"),
            num_heads=num_heads,
            num_kv_heads=get("gemma3.attention.head_count_kv", num_heads),
            head_dim=head_dim,
            context=get("gemma3.context_length"),
            sliding_window=get("gemma3.attention.sliding_window", 0),
            rms_eps=get("gemma3.attention.layer_norm_rms_epsilon"),
            global_rope_base=get("gemma3.rope.freq_base", 10_000.0),
            sliding_rope_base=get("gemma3.rope.freq_base_swa", DEFAULT_SLIDING_ROPE_BASE),
            global_rope_factor=factor if factor != 0.0 else 1.0,
            score_scale=(hidden / num_heads if num_layers == NUM_LAYERS_27B else head_dim) ** -0.5,
            logit_softcap=get("gemma3.final_logit_softcapping", 0.0),
        )


def rms_norm(x, weight, eps):
    """Over the last axis. The GGUF's weights already contain the +1 of Gemma's own checkpoints."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rope(x, positions, base):
    """Rotates x [n, heads, head_dim]; dimension i pairs with i + head_dim/2 (half-split, NeoX)."""
    half = x.shape[-1] // 2
    frequency = base ** (-np.arange(half) / half)
    angle = positions[:, None, None] * frequency
    lo, hi = x[..., :half], x[..., half:]
    return np.concatenate(
        [lo * np.cos(angle) - hi * np.sin(angle), lo * np.sin(angle) + hi * np.cos(angle)], axis=-1
    )


def round_to_f16(x):
    return x.astype(np.float16).astype(np.float64)


class Gemma3:
    """A model in a GGUF file. Tensors are dequantized when they are used and dropped again.

    With f16_cache (the default), K after norm and RoPE, and V, are rounded to float16, because the
    library keeps them so in its KV cache; all else is double.
    """

    def __init__(self, path, f16_cache=True):
        reader = gguf.GGUFReader(path)
        self.config = Config.from_gguf(reader)
        self.f16_cache = f16_cache
        self._tensors = {t.name: t for t in reader.tensors}
        # GGUF names the row length first.
        self.vocab_size = int(self._tensors["token_embd.weight"].shape[1])

    def weight(self, name, rows=slice(None)):
        """Tensor `name` (a layer's is "blk.<layer>.<name>") in float64, or only some rows of it."""
        tensor = self._tensors[name + ".weight"]
        return gguf.quants.dequantize(tensor.data[rows], tensor.tensor_type).astype(np.float64)

    def hidden_states(self, tokens):
        """The residual stream after the last layer and the final norm, [n, hidden]."""
        tokens = np.asarray(tokens)
        if tokens.size == 0 or tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"need at least one token id, each in [0, {self.vocab_size})")
        c = self.config
        x = self.weight("token_embd", rows=tokens) * np.sqrt(c.hidden)
        for layer in range(c.num_layers):
            y = self._attention(layer, self._norm(layer, "attn_norm", x))
            x = x + self._norm(layer, "post_attention_norm", y)
            y = self._ffn(layer, self._norm(layer, "ffn_norm", x))
            x = x + self._norm(layer, "post_ffw_norm", y)
        return rms_norm(x, self.weight("output_norm"), c.rms_eps)

    def logits(self, hidden_states):
        """[n, vocab] from rows of hidden_states(). The head may be the embedding matrix again."""
        head = "output" if "output.weight" in self._tensors else "token_embd"
        logits = np.empty((len(hidden_states), self.vocab_size))
        for begin in range(0, self.vocab_size, 16384):  # by slices: the head dwarfs other tensors
            rows = slice(begin, begin + 16384)
            logits[:, rows] = hidden_states @ self.weight(head, rows).T
        cap = self.config.logit_softcap
        return cap * np.tanh(logits / cap) if cap != 0.0 else logits

    def _norm(self, layer, name, x):
        return rms_norm(x, self.weight(f"blk.{layer}.{name}"), self.config.rms_eps)

    def _attention(self, layer, x):
        c, n = self.config, len(x)
        is_global = c.is_global(layer)
        base = c.global_rope_base if is_global else c.sliding_rope_base
        # May be fractions; nothing but RoPE sees them.
        rope_positions = np.arange(n) / (c.global_rope_factor if is_global else 1.0)

        def project(name, heads):
            return (x @ self.weight(f"blk.{layer}.{name}").T).reshape(n, heads, c.head_dim)

        q = self._norm(layer, "attn_q_norm", project("attn_q", c.num_heads))
        k = self._norm(layer, "attn_k_norm", project("attn_k", c.num_kv_heads))
        v = project("attn_v", c.num_kv_heads)
        q, k = rope(q, rope_positions, base), rope(k, rope_positions, base)
        if self.f16_cache:
            k, v = round_to_f16(k), round_to_f16(v)

        # How much older the key (column) is than the query (row); 0 is the query's own token.
        age = np.arange(n)[:, None] - np.arange(n)
        attended = age >= 0
        if not is_global:
            attended &= age < c.sliding_window
        out = np.empty((n, c.num_heads, c.head_dim))
        for head in range(c.num_heads):
            kv_head = head // (c.num_heads // c.num_kv_heads)
            scores = c.score_scale * (q[:, head] @ k[:, kv_head].T)
            out[:, head] = softmax(np.where(attended, scores, -np.inf)) @ v[:, kv_head]
        return out.reshape(n, -1) @ self.weight(f"blk.{layer}.attn_output").T

    def _ffn(self, layer, x):
        gate = gelu_tanh(x @ self.weight(f"blk.{layer}.ffn_gate").T)
        up = x @ self.weight(f"blk.{layer}.ffn_up").T
        return (gate * up) @ self.weight(f"blk.{layer}.ffn_down").T


def main():
    parser = argparse.ArgumentParser(description="Logits of a Gemma 3 GGUF in double precision.")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--tokens", required=True, help="token ids, raw little-endian int32")
    parser.add_argument("--out", required=True, help="logits, raw little-endian float64 [n, vocab]")
    parser.add_argument("--last", action="store_true", help="write the last position only")
    parser.add_argument("--exact-cache", action="store_true", help="keep K and V in double")
    args = parser.parse_args()

    model = Gemma3(args.model, f16_cache=not args.exact_cache)
    hidden_states = model.hidden_states(np.fromfile(args.tokens, dtype="<i4"))
    if args.last:
        hidden_states = hidden_states[-1:]
    with open(args.out, "wb") as out:
        for begin in range(0, len(hidden_states), 256):  # bounds the memory that the logits take
            model.logits(hidden_states[begin : begin + 256]).astype("<f8").tofile(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
