#!/usr/bin/env python3
"""Tests of bench/ops_roofline with stand-ins for the programs: what the table makes of their numbers."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# 10 GB/s and 100 GFLOP/s for each thread.
DECANT = """#!/usr/bin/env python3
import json, sys
threads = int(sys.argv[sys.argv.index("-t") + 1])
print(json.dumps([{"reads_gbps": 10 * threads, "fma_gflops": 100 * threads}]))
"""
BENCH = """#!/usr/bin/env python3
import json, sys
rows = [
    {"name": "copy/small", "real_time": 500, "time_unit": "ns", "bytes_per_second": 5e9},
    {"name": "copy/large/threads:2/real_time", "real_time": 2, "time_unit": "ms", "flop/s": 5e10},
    {"name": "copy/large_mean", "run_type": "aggregate", "real_time": 2, "time_unit": "ms"},
]
if "--benchmark_list_tests" in sys.argv:
    print("\\n".join(row["name"] for row in rows[:2]))
else:
    print(json.dumps({"benchmarks": rows}))
"""


class OpsRoofline(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name, text in (("decant", DECANT), ("bench_ops_copy", BENCH)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def measure(self, *arguments):
        return subprocess.run(
            [sys.executable, ROOT / "bench/ops_roofline", "--build", self.folder, *arguments],
            capture_output=True, text=True, env=os.environ,
        )

    def test_rates_are_compared_with_as_many_threads(self):
        done = self.measure()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("## copy, ", done.stdout)
        self.assertIn("1 thread: reads 10.0 GB/s, FMA 100 GFLOP/s; 2 threads: reads 20.0", done.stdout)
        self.assertIn("| small | 0.50 | 5.0 | 50 |  |  |", done.stdout)
        self.assertIn("| large/threads:2 | 2,000.00 |  |  | 50.0 | 25 |", done.stdout)
        self.assertNotIn("mean", done.stdout)

    def test_what_is_not_there_is_named(self):
        done = self.measure("paste")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no benchmark of paste; there are: copy", done.stderr)
        (self.folder / "bench_ops_copy").unlink()
        self.assertIn("no benchmarks in", self.measure().stderr)


if __name__ == "__main__":
    unittest.main()
