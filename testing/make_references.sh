#!/usr/bin/env bash
# Makes what the model's tests compare with, into the folder given: the tiny models of tiny_gemma3.py,
# and, if DECANT_TEST_MODEL names the real one, the reference logits after a short prompt. Exit code
# 77, the test runner's "skipped", if DECANT_TEST_PYTHON has no numpy and gguf.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
python=${DECANT_TEST_PYTHON:-python3}
if ! "$python" -c 'import numpy, gguf' 2>/dev/null; then
  echo "SKIPPED: $python has no numpy and gguf (testing/requirements.txt); no reference models" >&2
  exit 77
fi
mkdir -p "$out"

# Made again only when the programs change.
stamp=$(cat "$here"/tiny_gemma3.py "$here"/gemma3_reference.py "$here"/requirements.txt "$0" | cksum)
if [ "$(cat "$out/tiny.stamp" 2>/dev/null)" != "$stamp" ]; then
  "$python" "$here/tiny_gemma3.py" --out-dir "$out"
  echo "$stamp" >"$out/tiny.stamp"
fi

model=${DECANT_TEST_MODEL:-}
if [ -z "$model" ]; then
  echo "SKIPPED: DECANT_TEST_MODEL is not set; no reference logits of the real model" >&2
elif [ "$(cat "$out/real.stamp" 2>/dev/null)" != "$stamp $model" ]; then
  # <bos>The capital of France is
  "$python" -c 'import sys, struct; sys.stdout.buffer.write(struct.pack("<6i", 2, 818, 5279, 529, 7001, 563))' \
    >"$out/real.tokens.i32"
  "$python" "$here/gemma3_reference.py" --model "$model" --tokens "$out/real.tokens.i32" \
    --out "$out/real.logits.f64" --last
  echo "$stamp $model" >"$out/real.stamp"
fi
