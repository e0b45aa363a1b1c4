#!/usr/bin/env python3
"""Tests of bench/compare_llama_cpp with stand-ins for both programs: what is run, in which order, and
what the table says."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Logs its arguments; answers a benchmark with so many tokens per second.
PROGRAM = """#!/usr/bin/env python3
import json, sys
with open({log!r}, "a") as log:
    log.write({name!r} + " " + " ".join(sys.argv[1:]) + "\\n")
if {fails}:
    sys.exit("out of luck")
depth = float(sys.argv[sys.argv.index("-d") + 1]) if "-d" in sys.argv else 0
row = {{"avg_ts": {speed} - depth / 100}}
if "--limit" in sys.argv and sys.argv[sys.argv.index("-p") + 1] == "0":
    row["limit_ts"] = 250
print(json.dumps([row]))
"""


class Compare(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.log = self.folder / "log"
        self.peer = self.folder / "peer"
        self.peer.mkdir()
        self.program("decant", self.folder / "decant", 200)
        self.program("llama-bench", self.peer / "llama-bench", 100)
        self.program("llama-completion", self.peer / "llama-completion", 0)

    def program(self, name, path, speed, fails=False):
        path.write_text(PROGRAM.format(log=str(self.log), name=name, speed=speed, fails=fails))
        path.chmod(0o755)

    def compare(self, *arguments):
        return subprocess.run(
            [sys.executable, ROOT / "bench/compare_llama_cpp", "--decant", self.folder / "decant",
             "--peer", self.peer, "-m", "model.gguf", "-o", self.folder / "out", *arguments],
            capture_output=True, text=True, env=dict(os.environ, MPLCONFIGDIR=str(self.folder)),
        )

    def test_sides_take_turns_and_the_table_has_the_ratio(self):
        done = self.compare("--only", "model", "--rounds", "2", "--prompts", "512",
                            "--depths", "0,4096")
        self.assertEqual(done.returncode, 0, done.stderr)
        benches = [line for line in self.log.read_text().splitlines() if "-o json" in line]
        self.assertEqual(len(benches), 2 * 3 * 2)
        for ours, theirs in zip(benches[::2], benches[1::2]):
            self.assertTrue(ours.startswith("decant bench "), ours)
            self.assertTrue(theirs.startswith("llama-bench "), theirs)
            # Same model, threads and test.
            self.assertEqual(ours.removeprefix("decant bench ").replace("--limit ", ""),
                             theirs.removeprefix("llama-bench ").replace("-fa 1 ", ""))
        table = (self.folder / "out/compare.md").read_text()
        self.assertIn("| pp512, tokens/s | 200.0 | 100.0 | 2.00 |  |", table)
        self.assertIn("| tg128 @ d4096, tokens/s | 159.0 | 59.0 | 2.69 | 0.64 |", table)
        self.assertIn("| start to first token, s |", table)
        self.assertIn(table.strip(), done.stdout)
        data = json.loads((self.folder / "out/compare.json").read_text())
        self.assertEqual(data["model"]["tg128"], {"decant": [200, 200], "llama.cpp": [100, 100],
                                                  "of limit": [0.8, 0.8]})
        self.assertEqual(len(data["first_token"]["decant"]), 2)

    def test_a_program_that_fails_is_named_with_its_message(self):
        self.program("llama-bench", self.peer / "llama-bench", 0, fails=True)
        done = self.compare("--only", "model", "--rounds", "1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("llama-bench", done.stderr)
        self.assertIn("out of luck", done.stderr)
        self.assertFalse((self.folder / "out/compare.md").exists())

    def test_a_folder_without_the_peer_is_an_error(self):
        (self.peer / "llama-bench").unlink()
        done = self.compare()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("expected a folder with llama-bench", done.stderr)


if __name__ == "__main__":
    unittest.main()
