#!/usr/bin/env python3
"""Prints "N passed, N failed, N skipped" for a folder with ctest.xml and gtest's own XML files.

A gtest program counts with its cases, any other test as one. A program that died before it wrote
its file, or that failed outside its cases, is one failure more. Exits with 0 only if something
passed and nothing failed.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def cases_of(path):
    # A failing test may have quoted text that is not UTF-8.
    return xml.fromstring(path.read_bytes().decode(errors="replace").encode()).iter("testcase")


def count_gtest(path):
    passed = failed = skipped = 0
    for case in cases_of(path):
        if case.find("failure") is not None:
            failed += 1
        elif case.get("status") == "notrun" or case.get("result") == "skipped":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count(folder):
    total = [0, 0, 0]
    for test in cases_of(folder / "ctest.xml"):
        status = test.get("status")
        cases = folder / f"test_{test.get('name')}.xml"
        if cases.exists():
            passed, failed, skipped = count_gtest(cases)
            if status == "fail" and failed == 0:
                failed = 1
        else:
            passed, failed = int(status == "run"), int(status == "fail")
            skipped = 1 - passed - failed
        for i, n in enumerate((passed, failed, skipped)):
            total[i] += n
    return total


def main():
    passed, failed, skipped = count(Path(sys.argv[1]))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
