#!/usr/bin/env python3
"""Tests of the decant command: what it prints where, exit codes, and every way to misuse it.

cli_test.py DECANT [unittest arguments]
"""

import json
import os
import pty
import struct
import subprocess
import sys
import unittest
from pathlib import Path

from cli_testing import DECANT, TINY, Case, decant, needs_tiny


# A GGUF file without numpy: strings as metadata, tensors of 256 zero bytes.
def gguf_bytes(metadata, tensors=()):
    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        out += text(key) + struct.pack("<I", 8) + text(value)
    for i, (name, tensor_type, elements) in enumerate(tensors):
        out += text(name) + struct.pack("<IQIQ", 1, elements, tensor_type, i * 256)
    out += bytes(-len(out) % 32)
    return out + bytes(256 * len(tensors))


class Usage(Case):
    COMMANDS = (
        "generate",
        "bench",
        "bench-op",
        "perplexity",
        "tokenize",
        "info",
        "devices",
        "synth-model",
    )

    def test_help(self):
        text = self.succeeds("--help").stdout
        for command in self.COMMANDS:
            self.assertIn(command, text)
            help_text = self.succeeds(command, "--help").stdout
            self.assertIn("Example", help_text)
            self.assertIn(f"decant {command}", help_text)
            for line in help_text.splitlines():
                self.assertLessEqual(len(line), 110, line)

    def test_version(self):
        self.assertRegex(self.succeeds("--version").stdout, r"^decant \d+\.\d+\.\d+\n$")

    def test_no_or_unknown_command(self):
        self.fails(2, "expected a command, got none; there are: generate, bench,")
        self.fails(2, "expected a command, got 'frobnicate'", "frobnicate")

    def test_unknown_option(self):
        for command in self.COMMANDS:
            self.fails(2, "--frobnicate", command, "--frobnicate")

    def test_values_out_of_range(self):
        prompt = ("generate", "-p", "x")
        for option, values in {
            "-n": ("x", "-2", "1.5", "1e99", ""),
            "-c": ("-1", "x"),
            "-t": ("0", "-1", "5000", "two"),
            "--temp": ("-1", "nan", "inf", "hot"),
            "--top-k": ("-1", "3000000000"),
            "--top-p": ("1.5", "-0.1", "nan"),
            "--min-p": ("2", "-1"),
            "--repeat-penalty": ("0", "-1", "nan"),
            "--repeat-last-n": ("-1",),
            "--seed": ("-1", "x", "1.5"),
        }.items():
            for value in values:
                name = {"-n": "--n-predict", "-c": "--ctx-size", "-t": "--threads"}.get(
                    option, option
                )
                self.fails(2, f"generate: .*{name}", *prompt, option, value)

    def test_missing_required(self):
        self.fails(2, "--prompt is required", "generate")
        self.fails(2, "--file is required", "perplexity")
        self.fails(2, "expected one text", "tokenize")
        self.fails(2, "expected one text", "tokenize", "-p", "a", "-f", "b")
        self.fails(2, "op is required", "bench-op")

    def test_lists(self):
        for value in ("", "1,", "1,x", "-1", "99999999999"):
            self.fails(2, "bench: -p: expected numbers", "bench", "-p", value)
        self.fails(2, "bench: -t: expected numbers", "bench", "-t", "0")
        self.fails(2, "nothing to measure", "bench", "-p", "0", "-n", "0")
        self.fails(2, "expected D,HQ,HKV,KV", "bench-op", "flash_attn_vec", "--shape", "1,2,3")
        self.fails(2, "no such op 'softmax'", "bench-op", "softmax")
        self.fails(2, "--output: expected one of md, csv, json", "bench", "-o", "xml")

    def test_devices(self):
        for command in (("generate", "-p", "x"), ("bench",), ("bench-op", "flash_attn_vec")):
            for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU", ""):
                self.fails(
                    1,
                    f"device '{name}': no such device; there are: cpu, cuda, cuda:N, metal",
                    *command,
                    "--device",
                    name,
                )
            # There is no thousandth GPU, or no GPU at all.
            self.fails(1, "cuda: (no|the|there|cuInit)", *command, "--device", "cuda:999")
            if sys.platform == "linux":
                self.fails(1, "metal: this build", *command, "--device", "metal")


class Files(Case):
    """What -m may name."""

    def each(self, code, pattern, path):
        for args in (
            ("generate", "-p", "x"),
            ("bench", "-p", "1", "-n", "1"),
            ("perplexity", "-f", "/dev/null"),
            ("tokenize", "-p", "x"),
            ("info",),
        ):
            self.fails(code, pattern, *args, "-m", path)

    def test_missing(self):
        self.each(1, "nowhere.gguf: cannot open: No such file", self.folder / "nowhere.gguf")

    def test_empty_name(self):
        self.each(2, "--model: expected a file name", "")

    def test_directory(self):
        self.each(1, "Is a directory", self.folder)

    def test_no_gguf(self):
        self.each(1, "empty.gguf", self.file("empty.gguf", b""))
        self.each(1, "text.gguf", self.file("text.gguf", b"This is a text, not a model.\n" * 9))

    @needs_tiny
    def test_truncated(self):
        data = Path(TINY).read_bytes()
        for size in (3, 20, 5000, len(data) // 2, len(data) - 1):
            self.each(1, "truncated.gguf", self.file("truncated.gguf", data[:size]))

    def test_default_model_missing(self):
        for env, where in (
            ({"DECANT_CACHE_DIR": f"{self.folder}/own"}, "own/gemma3"),
            ({"XDG_CACHE_HOME": f"{self.folder}/xdg"}, "xdg/decant/gemma3"),
            ({"XDG_CACHE_HOME": "", "HOME": f"{self.folder}/home"}, "home/.cache/decant/gemma3"),
        ):
            done = self.fails(1, where, "generate", "-p", "x", env=env)
            for hint in ("gemma3-270m-q4_k_m.gguf", "scripts/fetch-model", "-m FILE"):
                self.assertIn(hint, done.stderr)
        self.fails(1, "HOME is not set", "info", env={"XDG_CACHE_HOME": "", "HOME": ""})

    def test_default_model_found(self):
        self.file("gemma3-270m-q4_k_m.gguf", gguf_bytes({"general.architecture": "llama"}))
        self.succeeds("info", env={"DECANT_CACHE_DIR": str(self.folder)})

    def test_other_architecture(self):
        path = self.file("llama.gguf", gguf_bytes({"general.architecture": "llama"}))
        for args in (("generate", "-p", "x"), ("bench",)):
            self.fails(1, "general.architecture: expected gemma3, got llama", *args, "-m", path)

    def test_info_of_any_model(self):
        metadata = {"general.architecture": "mamba", "general.name": "a\x1b[31mb", "odd": "\n"}
        tensors = (("a", 0, 64), ("b", 20, 32), ("c", 999, 64))
        path = self.file("mamba.gguf", gguf_bytes(metadata, tensors))
        text = self.succeeds("info", "-m", path, "--metadata", "--tensors").stdout
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"architecture +mamba")
        self.assertRegex(text, r"\| IQ4_NL .*not supported")
        facts = json.loads(self.succeeds("info", "-m", path, "--json", "--metadata").stdout)
        self.assertEqual(facts["architecture"], "mamba")
        self.assertEqual(facts["parameters"], 160)
        self.assertEqual(facts["metadata"]["general.name"], "a\x1b[31mb")
        types = {t["type"]: t for t in facts["tensor_types"]}
        self.assertEqual(types["F32"]["bytes"], 256)
        self.assertTrue(types["F32"]["supported"])
        self.assertFalse(types["IQ4_NL"]["supported"])


SMALL = {"--layers": 7, "--hidden": 256, "--ff": 512, "--heads": 2, "--head-dim": 64,
         "--window": 16, "-c": 64, "--vocab": 2000}  # fmt: skip


def small(**others):
    """Arguments of a small synth-model; head_dim=128 stands for --head-dim 128."""
    options = SMALL | {f"--{name.replace('_', '-')}": value for name, value in others.items()}
    return [str(part) for option in options.items() for part in option]


class Output(Case):
    def test_devices(self):
        done = self.succeeds("devices", "-o", "json")
        cpu, *gpus = json.loads(done.stdout)
        self.assertEqual(cpu["device"], "cpu")
        self.assertGreaterEqual(cpu["n_threads"], 1)
        cuda = [gpu for gpu in gpus if gpu["device"] != "metal"]
        self.assertEqual([gpu["device"] for gpu in cuda], [f"cuda:{i}" for i in range(len(cuda))])
        if not cuda:
            self.assertRegex(done.stderr, "(?m)^cuda: ")
        if len(cuda) == len(gpus):
            self.assertRegex(done.stderr, "(?m)^metal: ")
        self.assertIn(cpu["capability"], self.succeeds("devices").stdout)

    def test_synth_model(self):
        def model(**others):
            path = self.file("random.gguf", b"")
            self.succeeds("synth-model", "-o", path, *small(**others))
            with open(path, "rb") as file:
                return path, file.read()

        path, first = model()
        self.assertEqual(model(seed=1)[1], first, "the same options, other bytes")
        self.assertNotEqual(model(seed=2)[1], first, "the seed changes nothing")
        generate = ("generate", "-p", "the cat\n", "-n", "8", "--json", "--seed", "1", "-m")
        for weights in ("q4_k_m", "f32", "bf16", "q4_1", "q2_k", "q3_k", "q5_k"):
            # A row of attn_output has heads * head_dim weights, a block of k-quants 256.
            head_dim = 128 if weights.endswith("_k") else 64
            path, _ = model(weights=weights, head_dim=head_dim)
            facts = json.loads(self.succeeds("info", "-m", path, "--json").stdout)
            self.assertEqual(facts["architecture"], "gemma3")
            made = json.loads(self.succeeds(*generate, path).stdout)
            self.assertGreaterEqual(made["n_gen"], 1)

        def refused(code, text, path=path, **others):
            self.fails(code, text, "synth-model", "-o", path, *small(**others))

        refused(1, "--heads: expected a multiple of 2, got 3", heads=3, kv_heads=2)
        refused(1, "--weights: expected q4_k_m, f32", weights="q9")
        refused(1, "rows of 96 weights are no multiple of q4_k's blocks of 256", weights="q4_k",
                hidden=96)  # fmt: skip
        refused(1, "/no/such cannot be written", "/no/such")
        refused(2, "--vocab", vocab=3)

    def test_bench_op(self):
        common = (
            "bench-op",
            "flash_attn_vec",
            "-t",
            "1",
            "--seconds",
            "0.01",
            "--shape",
            "64,2,1,33",
        )
        (row,) = json.loads(self.succeeds(*common, "-o", "json").stdout)
        self.assertEqual(
            list(row),
            "op device shape kv_dtype n_threads us gbps gflops roofline_us roofline_pct reads_gbps "
            "fma_gflops".split(),
        )
        self.assertEqual(row["shape"], "64,2,1,33")
        self.assertEqual(row["n_threads"], 1)
        seconds = row["us"] * 1e-6
        self.assertAlmostEqual(row["gbps"] * seconds * 1e9 / (2 * 33 * 64 * 2 + 2 * 2 * 64 * 4), 1)
        self.assertAlmostEqual(row["gflops"] * seconds * 1e9 / (4 * 64 * 2 * 33), 1)
        self.assertAlmostEqual(row["roofline_pct"] / 100 * row["us"] / row["roofline_us"], 1)
        table = self.succeeds(*common, "--shape", "128,4,4,5").stdout
        self.assertIn("64,2,1,33", table)
        self.assertIn("128,4,4,5", table)

    def test_bench_op_refuses(self):
        common = ("bench-op", "flash_attn_vec", "--seconds", "0.01")
        self.fails(1, "head_dim must be 64, 128 or 256, got 8", *common, "--shape", "8,1,1,8")
        self.fails(1, "num_heads", *common, "--shape", "64,3,2,8")
        self.fails(1, "--kv-dtype: must be f16, got bf16", *common, "--kv-dtype", "bf16")
        self.fails(1, "cannot allocate", *common, "--shape", "256,1,100,4294967295")

    @unittest.skipUnless(Path("/dev/full").exists(), "no /dev/full on this system: NOT tested")
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = decant("devices", stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "^decant: stdout: cannot write: No space left")

    @needs_tiny
    def test_reader_goes_away(self):
        text = self.file("long.txt", b"attention cache kernel " * 20000)
        process = subprocess.Popen(
            [DECANT, "tokenize", "-m", TINY, "-f", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 141)

    def on_terminal(self, env):
        """stderr of a failing call, as a terminal gets it."""
        try:
            primary, secondary = pty.openpty()
        except OSError as error:
            self.skipTest(f"SKIPPED: this machine has no pseudo-terminals: {error}")
        try:
            environment = {**os.environ, "TERM": "xterm", **env}
            command = [DECANT, "info", "-m", "/nowhere.gguf"]
            subprocess.run(command, stderr=secondary, stdout=subprocess.DEVNULL, env=environment)
            return os.read(primary, 4096).decode()
        finally:
            os.close(primary)
            os.close(secondary)

    def test_no_color(self):
        self.assertIn("\x1b[", self.on_terminal({"NO_COLOR": ""}))
        self.assertNotIn("\x1b[", self.on_terminal({"NO_COLOR": "1"}))
        self.assertNotIn("\x1b[", self.on_terminal({"NO_COLOR": "", "TERM": "dumb"}))
        self.assertNotIn("\x1b[", decant("info", "-m", "/nowhere.gguf").stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
