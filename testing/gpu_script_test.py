#!/usr/bin/env python3
"""Tests of bench/gpu.sh with stand-ins for what was built: which programs run, what the report says
of those that fail or are missing, and the exit status. No GPU is needed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECANT = """#!/usr/bin/env python3
import json, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
command = sys.argv[1]
if command == "devices":
    print(json.dumps([{{"device": "cpu"}}] + {gpus}))
    print("cuda: the driver finds no GPU", file=sys.stderr)
elif command in {fails}:
    sys.exit("decant: out of luck")
elif command == "synth-model":
    open(sys.argv[3], "w").close()
elif command == "bench-op":
    print(json.dumps([{{"shape": "256,4,1,512", "us": us, "roofline_us": 2.0, "gbps": 100.0}}
                      for us in (4.0, 5.0)]))
elif command == "bench":
    print(json.dumps([{{"test": "tg128", "avg_ts": 4500.25, "samples_ts": [1, 2]}}]))
elif command == "generate":
    print(json.dumps({{"tokens": [1, 2, 3]}}))
"""


class GpuScript(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.log = self.folder / "log"
        self.out = self.folder / "out"

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def gpu_sh(self, *args, tests=(), gpus=({"device": "cuda:0", "name": "Fake"},), fails=()):
        self.program("decant", DECANT.format(log=str(self.log), gpus=list(gpus), fails=list(fails)))
        for name, text in tests:
            self.program(f"test_{name}", f"#!/bin/sh\n{text}\n")
        # Without a sanitizer, wherever this runs.
        env = dict(os.environ, CUDA_HOME=str(self.folder))
        done = subprocess.run(
            [ROOT / "bench/gpu.sh", "--build", self.folder, "--out", self.out, *args],
            env=env, capture_output=True, text=True)  # fmt: skip
        report = self.out / "report.json"
        if report.exists():
            self.report = json.loads(report.read_text())
            self.steps = {step["step"]: step for step in self.report["steps"]}
            self.text = (self.out / "report.md").read_text()
        return done

    def test_everything_passes(self):
        done = self.gpu_sh(tests=[("cuda_cuda_device", "exit 0"), ("ops_x", "exit 0"),
                                  ("ops_y", "echo 'SKIPPED: kernel y has no cuda code'")])  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.steps["test_ops_x"]["status"], "passed")
        self.assertIn("y has no cuda code", self.steps["test_ops_y"]["note"])
        self.assertIn("| 256,4,1,512 | 4.00 | 2.00 | 2.000 | 2.3 | yes | 100 |", self.text)
        self.assertIn("| 256,4,1,512 | 5.00 | 2.00 | 2.500 | 2.3 | NO | 100 |", self.text)
        self.assertIn("| tg128 | 4500.2 |", self.text)
        self.assertIn("synth-model -o", self.log.read_text())
        self.assertEqual(self.steps["logits and tokens beside the CPU's"]["status"], "skipped")
        self.assertIn("bench-op flash_attn_vec --device cuda:0", self.log.read_text())

    def test_a_failure_is_reported_and_stops_nothing(self):
        done = self.gpu_sh(tests=[("ops_a", "exit 3"), ("ops_b", "exit 0")], fails=["bench-op"])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.steps["test_ops_a"]["status"], "FAILED")
        self.assertIn("status 3", self.steps["test_ops_a"]["note"])
        self.assertEqual(self.steps["test_cuda_cuda_device"]["status"], "FAILED", "it is not there")
        self.assertEqual(self.steps["test_ops_b"]["status"], "passed")
        self.assertEqual(self.steps["attention"]["note"], "decant: out of luck")
        self.assertIsNone(self.report["attention"])
        self.assertEqual(self.report["model"][0]["avg_ts"], 4500.25)

    def test_parts_and_a_given_model(self):
        model = self.folder / "given.gguf"
        model.write_text("")
        check = ("models_gemma3_real_model", f'[ "$DECANT_TEST_MODEL" = {model} ]')
        done = self.gpu_sh("--only", "model", "--model", model, "--device", "cuda:1", tests=[check])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.steps["logits and tokens beside the CPU's"]["status"], "passed")
        self.assertNotIn("attention", self.steps)
        self.assertIn(f"bench -m {model} --device cuda:1", self.log.read_text())
        self.assertNotIn("synth-model", self.log.read_text())

    def test_what_is_missing(self):
        self.assertIn("no GPU: cuda: the driver finds no GPU", self.gpu_sh(gpus=()).stderr)
        done = self.gpu_sh("--model", "/no/such.gguf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such.gguf cannot be read", done.stderr)
        self.assertIn("unknown argument --modle", self.gpu_sh("--modle").stderr)

    @unittest.skipIf(shutil.which("compute-sanitizer"), "SKIPPED: compute-sanitizer is installed")
    def test_no_sanitizer(self):
        self.assertEqual(self.gpu_sh("--only", "sanitizer").returncode, 0)
        self.assertEqual(self.steps["sanitizer"]["status"], "skipped")

    def test_sanitizer(self):
        (self.folder / "bin").mkdir()
        self.program("bin/compute-sanitizer", '#!/bin/sh\necho "$@"\ncase $* in *racecheck*) exit 9;; esac')
        if shutil.which("compute-sanitizer"):
            self.skipTest("SKIPPED: compute-sanitizer is installed")
        done = self.gpu_sh("--only", "sanitizer", tests=[("ops_argmax", "exit 0")])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.steps["memcheck ops_argmax"]["status"], "passed")
        self.assertEqual(self.steps["racecheck ops_argmax"]["status"], "FAILED")
        self.assertIn("--leak-check full", (self.out / "memcheck-ops_argmax.log").read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["-v"] + sys.argv[1:])
