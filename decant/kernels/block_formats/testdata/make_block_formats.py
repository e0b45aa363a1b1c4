#!/usr/bin/env python3
"""Writes block_formats.txt: blocks of every weight format and the f32 values that the gguf package
decodes them to. Needs numpy and gguf.

Each line: the format, the bytes of a block, and its values as little-endian f32, both in hex. Plain
formats come as "blocks" of 16 values.
"""
import pathlib

import gguf
import numpy as np

# Format, bytes of a block, byte offsets of the f16 scales in it.
FORMATS = [
    ("f16", 32, []),
    ("bf16", 32, []),
    ("q4_0", 18, [0]),
    ("q4_1", 20, [0, 2]),
    ("q5_0", 22, [0]),
    ("q5_1", 24, [0, 2]),
    ("q8_0", 34, [0]),
    ("q2_k", 84, [80, 82]),
    ("q3_k", 110, [108]),
    ("q4_k", 144, [0, 2]),
    ("q5_k", 176, [0, 2]),
    ("q6_k", 210, [208]),
]
# f16 bits: the smallest and largest denormal, the smallest normal, 1, the largest, both zeros, and
# negatives. The second scale of a block takes the values in another order.
EXTREME = [0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0x0000, 0x8000, 0xFBFF, 0x8001]


def main():
    rng = np.random.default_rng(20261124)
    lines = []
    for name, size, scales in FORMATS:
        small = size < 64
        for extreme in EXTREME + [None] * (6 if small else 2):
            block = rng.integers(0, 256, size, dtype=np.uint8)
            if name == "f16":  # finite values only: a NaN's payload is nobody's promise
                halves = block.view(np.uint16)
                halves[(halves & 0x7C00) == 0x7C00] &= 0xBFFF
                if extreme is not None:
                    halves[:9] = EXTREME
            elif name == "bf16":
                halves = block.view(np.uint16)
                halves[(halves & 0x7F80) == 0x7F80] &= 0xBFFF
            for at, offset in enumerate(scales):
                if extreme is None:
                    bits = np.float16(rng.normal() * 0.01).view(np.uint16)
                else:
                    bits = np.uint16(EXTREME[(EXTREME.index(extreme) + 4 * at) % len(EXTREME)])
                block[offset : offset + 2] = np.frombuffer(bits.tobytes(), np.uint8)
            kind = gguf.GGMLQuantizationType[name.upper()]
            values = gguf.dequantize(block, kind).astype("<f4")
            assert np.isfinite(values).all(), name
            lines.append(f"{name} {block.tobytes().hex()} {values.tobytes().hex()}\n")
            if not small and extreme in EXTREME[5:8]:
                lines.pop()  # the large formats need fewer: they are 2 KB of text each
    pathlib.Path(__file__).with_name("block_formats.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
