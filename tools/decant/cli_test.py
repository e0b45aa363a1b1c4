#!/usr/bin/env python3
"""Tests of the decant command: what it prints where, exit codes, and every way to misuse it.

    cli_test.py DECANT [unittest arguments]

DECANT_TEST_REFERENCES names the folder of tiny models that testing/make_references.sh fills,
DECANT_TEST_PYTHON a Python with numpy and gguf, DECANT_TEST_MODEL the Gemma 3 270M file. What needs
one that is missing is skipped and says so. DECANT_TEST_SANITIZED, if not empty, leaves out what
only says something about an optimised build.
"""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DECANT = None  # set by main
REAL = os.environ.get("DECANT_TEST_MODEL")
TINY_DIR = os.environ.get("DECANT_TEST_REFERENCES")
TINY = str(Path(TINY_DIR) / "f32.gguf") if TINY_DIR else ""
SANITIZED = bool(os.environ.get("DECANT_TEST_SANITIZED"))
GPL3 = Path("/usr/share/common-licenses/GPL-3")

needs_tiny = unittest.skipUnless(
    TINY and Path(TINY).exists(), "no tiny models in DECANT_TEST_REFERENCES: NOT tested"
)
needs_real = unittest.skipUnless(REAL, "DECANT_TEST_MODEL is not set: NOT tested")


def decant(*args, stdin=b"", env=None, stdout=subprocess.PIPE):
    """Runs the command; its output is decoded strictly, so half a character is an error."""
    environment = {k: v for k, v in os.environ.items() if k != "DECANT_CACHE_DIR"}
    environment.update(env or {})
    command = [DECANT, *(a if isinstance(a, bytes) else str(a) for a in args)]
    done = subprocess.run(
        command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=600
    )
    done.stdout = done.stdout.decode() if done.stdout is not None else None
    done.stderr = done.stderr.decode()
    return done


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


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def succeeds(self, *args, **kwargs):
        done = decant(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def fails(self, code, pattern, *args, **kwargs):
        """Exit code, nothing on stdout, and one message on stderr that matches."""
        done = decant(*args, **kwargs)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stderr}")
        self.assertEqual(done.stdout, "", args)
        self.assertTrue(done.stderr.startswith("decant: "), done.stderr)
        self.assertRegex(done.stderr, pattern)
        return done


class Usage(Case):
    COMMANDS = ("generate", "bench", "bench-op", "perplexity", "tokenize", "info", "devices")

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
                name = {"-n": "--n-predict", "-c": "--ctx-size", "-t": "--threads"}.get(option, option)
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
            self.fails(1, "device 'cuda': no such device; there is: cpu", *command, "--device", "cuda")


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


class Output(Case):
    def test_devices(self):
        (device,) = json.loads(self.succeeds("devices", "-o", "json").stdout)
        self.assertEqual(device["device"], "cpu")
        self.assertGreaterEqual(device["n_threads"], 1)
        self.assertIn(device["capability"], self.succeeds("devices").stdout)

    def test_bench_op(self):
        common = ("bench-op", "flash_attn_vec", "-t", "1", "--seconds", "0.01", "--shape", "64,2,1,33")
        (row,) = json.loads(self.succeeds(*common, "-o", "json").stdout)
        self.assertEqual(
            list(row),
            "op device shape kv_dtype n_threads us gbps gflops roofline_us roofline_pct".split(),
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
            [DECANT, "tokenize", "-m", TINY, "-f", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 141)

    def on_terminal(self, env):
        """stderr of a failing call, as a terminal gets it."""
        primary, secondary = pty.openpty()
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


@needs_tiny
class Tiny(Case):
    """With a random model: what it says is noise, but the same noise each time."""

    CLOSING = (
        r"prompt: \d+ tokens, [\d.]+ tokens/s; generation: (\d+) tokens, [\d.]+ tokens/s"
        r"(; first token after \d+ ms)?(; seed (\d+))?\n$"
    )

    def generate(self, *args, **kwargs):
        return self.succeeds("generate", "-m", TINY, *args, **kwargs)

    def generate_json(self, *args, **kwargs):
        return json.loads(self.generate(*args, "--json", **kwargs).stdout)

    def test_text_on_stdout_speeds_on_stderr(self):
        done = self.generate("-p", "Hello world", "-n", "9", "--temp", "0")
        self.assertTrue(done.stdout.startswith("Hello world"))
        self.assertTrue(done.stdout.endswith("\n"))
        closing = re.match(self.CLOSING, done.stderr)
        self.assertTrue(closing, done.stderr)
        self.assertNotIn("seed", done.stderr)
        quiet = self.generate("-p", "Hello world", "-n", "9", "--temp", "0", "--no-echo")
        self.assertEqual("Hello world" + quiet.stdout, done.stdout)

    def test_json(self):
        out = self.generate_json("-p", "Hello world", "-n", "9", "--seed", "5", "-t", "1")
        self.assertEqual(out["model"], TINY)
        self.assertEqual(out["seed"], 5)
        self.assertEqual(out["n_threads"], 1)
        self.assertEqual(out["n_gen"], len(out["tokens"]))
        self.assertIn(out["stop"], ("length", "end"))
        ids = json.loads(self.succeeds("tokenize", "-m", TINY, "--ids", "-p", "Hello world").stdout)
        self.assertEqual(out["n_prompt"], len(ids))
        for name in ("load_ms", "prompt_ms", "first_token_ms", "gen_ms"):
            self.assertGreater(out["timings"][name], 0)
        text = self.generate("-p", "Hello world", "-n", "9", "--seed", "5", "--no-echo").stdout
        self.assertEqual(text, out["text"] + "\n")

    HOT = ("-p", "a", "-n", "24", "--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0")

    def test_same_seed_same_text(self):
        texts = {
            seed: {self.generate(*self.HOT, "--seed", seed, "-t", t).stdout for t in "12"}
            for seed in ("1", "2")
        }
        self.assertEqual(len(texts["1"]), 1)
        self.assertEqual(len(texts["2"]), 1)
        self.assertNotEqual(texts["1"], texts["2"])

    def test_random_seed_can_be_repeated(self):
        done = self.generate(*self.HOT)
        seed = re.match(self.CLOSING, done.stderr)[4]
        self.assertEqual(self.generate(*self.HOT, "--seed", seed).stdout, done.stdout)
        self.assertNotEqual(self.generate(*self.HOT).stdout, done.stdout)

    def test_no_tokens(self):
        done = self.generate("-p", "Hello", "-n", "0")
        self.assertEqual(done.stdout, "Hello\n")
        self.assertEqual(self.generate_json("-p", "Hello", "-n", "0")["tokens"], [])

    def test_context_full(self):
        # Greedy, so that the same tokens come; a prompt of n leaves room for 16 - n and one more,
        # which needs no place in the cache.
        done = decant("generate", "-m", TINY, "-p", "Hello", "-c", "16", "-n", "-1", "--temp", "0")
        out = self.generate_json("-p", "Hello", "-c", "16", "-n", "-1", "--temp", "0")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(out["stop"], "context")
        self.assertEqual(out["n_prompt"] + out["n_gen"], 17)
        self.assertIn("context full: stopped after 16 tokens", done.stderr)

    def test_prompt_fills_context(self):
        ids = json.loads(self.succeeds("tokenize", "-m", TINY, "--ids", "-p", "a b c").stdout)
        exact = self.generate_json("-p", "a b c", "-c", len(ids), "-n", "5", "--temp", "0")
        self.assertEqual((exact["stop"], exact["n_gen"]), ("context", 1))
        self.fails(
            1,
            f"prompt: {len(ids)} tokens do not fit the context of {len(ids) - 1}; .*model's 512",
            *("generate", "-m", TINY, "-p", "a b c", "-c", len(ids) - 1),
        )

    def test_context_beyond_the_model(self):
        self.fails(1, "512 tokens, got 513", "generate", "-m", TINY, "-p", "a", "-c", "513")
        self.assertEqual(self.generate_json("-p", "a", "-n", "1")["n_ctx"], 512)
        self.assertEqual(self.generate_json("-p", "a", "-n", "1", "-c", "0")["n_ctx"], 512)

    def test_empty_prompt(self):
        self.assertEqual(self.generate_json("-p", "", "-n", "3")["n_prompt"], 1)

    def test_invalid_utf8(self):
        self.fails(1, "prompt: invalid UTF-8 at byte 2", "generate", "-m", TINY, "-p", b"ab\xff")
        self.fails(1, "invalid UTF-8 at byte 2", "tokenize", "-m", TINY, "-p", b"ab\xff")
        bad = self.file("bad.txt", b"ab\xc3")
        self.fails(1, "invalid UTF-8 at byte 2", "perplexity", "-m", TINY, "-f", bad)

    def test_stdin(self):
        args = ("-n", "8", "--temp", "0")
        piped = self.generate("-p", "-", *args, stdin=b"Hello world\n").stdout
        self.assertEqual(piped, self.generate("-p", "Hello world", *args).stdout)
        ids = self.succeeds("tokenize", "-m", TINY, "--ids", "-f", "-", stdin=b"a\n").stdout
        self.assertEqual(ids, self.succeeds("tokenize", "-m", TINY, "--ids", "-p", "a\n").stdout)

    def test_chat(self):
        prompt = "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n"
        chat = self.generate_json("-p", "Hello", "--chat", "-n", "4", "--temp", "0")
        raw = self.generate_json("-p", prompt, "-n", "4", "--temp", "0")
        self.assertEqual(chat["tokens"], raw["tokens"])
        self.assertEqual(chat["n_prompt"], raw["n_prompt"])
        self.assertFalse(self.generate("-p", "Hello", "--chat", "-n", "1").stdout.startswith("Hello"))
        self.fails(1, "--chat needs", "generate", "-m", TINY, "-p", "", "--chat")

    def test_interrupt(self):
        for attempt in range(20):
            process = subprocess.Popen(
                [DECANT, "generate", "-m", TINY, "-p", "Hello", "-n", "-1", "--temp", "0", "-t", "1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            if process.returncode != 0:  # it was faster than the signal
                break
        self.assertEqual(process.returncode, 130, err)
        self.assertRegex(err.decode(), self.CLOSING)

    def test_tokenize(self):
        lines = self.succeeds("tokenize", "-m", TINY, "-p", "Hello\n").stdout.splitlines()
        ids = json.loads(self.succeeds("tokenize", "-m", TINY, "--ids", "-p", "Hello\n").stdout)
        self.assertEqual([int(line.split()[0]) for line in lines], ids)
        self.assertEqual(json.loads(lines[0].split(maxsplit=1)[1]), "<bos>")
        self.assertEqual(json.loads(lines[-1].split(maxsplit=1)[1]), "\n")
        bare = self.succeeds("tokenize", "-m", TINY, "--ids", "--no-bos", "-p", "Hello\n").stdout
        self.assertEqual(json.loads(bare), ids[1:])
        self.assertEqual(self.succeeds("tokenize", "-m", TINY, "--ids", "--no-bos", "-p", "").stdout, "[]\n")
        marker = ("tokenize", "-m", TINY, "--ids", "--no-bos", "-p", "<start_of_turn>")
        self.assertEqual(len(json.loads(self.succeeds(*marker).stdout)), 1)
        self.assertGreater(len(json.loads(self.succeeds(*marker, "--no-special").stdout)), 1)

    def test_bench(self):
        common = ("bench", "-m", TINY, "-p", "8,20", "-n", "4", "-d", "0,16", "-r", "2", "-t", "1,2")
        rows = json.loads(self.succeeds(*common, "-o", "json").stdout)
        self.assertEqual(len(rows), 12)
        for row in rows:
            self.assertEqual(len(row["samples_ts"]), 2)
            mean = sum(row["samples_ts"]) / 2
            self.assertAlmostEqual(row["avg_ts"] / mean, 1)
            deviation = abs(row["samples_ts"][0] - row["samples_ts"][1]) / 2**0.5
            self.assertAlmostEqual(row["stddev_ts"], deviation, delta=1e-6 * mean)
        tests = [(r["n_prompt"], r["n_gen"], r["n_depth"], r["n_threads"]) for r in rows[:6]]
        self.assertEqual(
            tests, [(8, 0, 0, 1), (20, 0, 0, 1), (0, 4, 0, 1), (8, 0, 16, 1), (20, 0, 16, 1), (0, 4, 16, 1)]
        )
        table = self.succeeds(*common[:-2], "-t", "1").stdout
        header = [cell.strip() for cell in table.splitlines()[0].strip("|").split("|")]
        self.assertEqual(header, ["model", "size", "params", "backend", "threads", "test", "t/s"])
        names = [line.split("|")[6].strip() for line in table.splitlines()[2:]]
        self.assertEqual(names, ["pp8", "pp20", "tg4", "pp8 @ d16", "pp20 @ d16", "tg4 @ d16"])
        self.assertEqual(len({len(line) for line in table.splitlines()}), 1)
        lines = self.succeeds(*common[:-2], "-t", "1", "-o", "csv").stdout.splitlines()
        self.assertIn("n_prompt,n_gen,n_depth", lines[0])
        self.assertEqual(len(lines), 7)
        self.fails(1, "context of 1016 tokens, the model's is 512", "bench", "-m", TINY, "-d", "1000",
                   "-p", "16", "-n", "1")

    def test_perplexity_errors(self):
        short = self.file("short.txt", b"Hello world")
        self.fails(1, r"short.txt: \d+ tokens are less than one chunk of 64", "perplexity", "-m", TINY,
                   "-f", short, "-c", "64")
        self.fails(1, "cannot read: No such file", "perplexity", "-m", TINY, "-f", "/nowhere")

    def test_perplexity(self):
        python = os.environ.get("DECANT_TEST_PYTHON", sys.executable)
        if subprocess.run([python, "-c", "import numpy, gguf"], capture_output=True).returncode:
            self.skipTest("DECANT_TEST_PYTHON has no numpy and gguf: NOT tested")
        text = self.file("text.txt", b"Hello world, attention is the kernel of the cache. " * 9)
        args = ("perplexity", "-m", TINY, "-f", text, "-c", "65")
        out = json.loads(self.succeeds(*args, "--json").stdout)
        ids = self.succeeds("tokenize", "-m", TINY, "--ids", "-f", text).stdout
        reference = f"""
import numpy as np
from gemma3_reference import Gemma3
model = Gemma3({TINY!r})
ids, nll = np.array({ids.strip()}), []
for chunk in range(len(ids) // 65):
    part = ids[chunk * 65 : chunk * 65 + 65].copy()
    part[0] = 2
    logits = model.logits(model.hidden_states(part))
    logits -= logits.max(axis=1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nll += [-logp[i, part[i + 1]] for i in range(32, 64)]
print(len(nll), np.exp(np.mean(nll)))
"""
        testing = Path(__file__).resolve().parents[2] / "testing"
        got = subprocess.run(
            [python, "-c", reference], env={**os.environ, "PYTHONPATH": str(testing)},
            capture_output=True, check=True, text=True,
        ).stdout.split()
        self.assertEqual(out["n_scored"], int(got[0]))
        self.assertAlmostEqual(out["perplexity"] / float(got[1]), 1, delta=1e-3)
        lines = self.succeeds(*args).stdout.splitlines()
        self.assertEqual(len(lines), out["n_chunks"] + 1)
        self.assertRegex(lines[0], r"^\[1\] \d")


@needs_real
class Real(Case):
    def test_greedy_text(self):
        prompt = "The capital of France is"
        done = self.succeeds("generate", "-m", REAL, "-p", prompt, "-n", "20", "--temp", "0")
        # The next token, a full stop, is nearly a tie.
        self.assertTrue(
            done.stdout.startswith(
                prompt + " the capital of the country of France. It is the largest city in France"
            ),
            done.stdout,
        )

    def test_two_spaces_are_one_token(self):
        done = self.succeeds("tokenize", "-m", REAL, "--ids", "-p", "Hello  world")
        self.assertEqual(done.stdout, "[2, 9259, 138, 12392]\n")

    def test_info(self):
        facts = json.loads(self.succeeds("info", "-m", REAL, "--json").stdout)
        self.assertEqual(facts["type"], "gemma3 270M Q4_K - Medium")
        self.assertEqual(facts["tensor_bytes"], 246587904)
        self.assertEqual(facts["parameters"], 268098176)

    def test_second_interrupt_kills(self):
        for attempt in range(5):
            process = subprocess.Popen(
                [DECANT, "generate", "-m", REAL, "-p", "attention " * 3000],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
            if process.returncode == -signal.SIGINT:
                return
        self.fail(f"the second Ctrl-C had no effect: exit code {process.returncode}")

    @unittest.skipIf(SANITIZED, "sanitizers need memory of their own: NOT tested")
    def test_memory(self):
        process = subprocess.Popen(
            [DECANT, "generate", "-m", REAL, "-p", "word " * 600, "-n", "8", "-c", "4096"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self.assertLessEqual(peak, os.stat(REAL).st_size + 200e6)

    @unittest.skipIf(SANITIZED, "takes too long with sanitizers: NOT tested")
    @unittest.skipUnless(GPL3.exists(), f"no {GPL3} on this system: NOT tested")
    def test_perplexity(self):
        out = json.loads(self.succeeds("perplexity", "-m", REAL, "-f", GPL3, "--json").stdout)
        # llama.cpp's figures; it rounds activations to 8 bits.
        for got, want in zip(out["cumulative"], (17.58, 16.43, 14.51), strict=True):
            self.assertAlmostEqual(got / want, 1, delta=0.01)


def main():
    global DECANT
    DECANT = sys.argv.pop(1)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
