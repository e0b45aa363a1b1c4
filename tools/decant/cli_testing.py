"""What the tests of the decant command share. The importing program's first argument is the command.

DECANT_TEST_REFERENCES names the folder of tiny models that testing/make_references.sh fills,
DECANT_TEST_PYTHON a Python with numpy and gguf, DECANT_TEST_MODEL the Gemma 3 270M file. What needs
one that is missing is skipped and says so. DECANT_TEST_SANITIZED, if not empty, leaves out what
only says something about an optimised build.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

DECANT = sys.argv.pop(1)
REAL = os.environ.get("DECANT_TEST_MODEL")
TINY_DIR = os.environ.get("DECANT_TEST_REFERENCES")
TINY = str(Path(TINY_DIR) / "f32.gguf") if TINY_DIR else ""
SANITIZED = bool(os.environ.get("DECANT_TEST_SANITIZED"))

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
