#!/usr/bin/env python3
"""Prints `PASSED FAILED` for a JUnit report that ctest wrote. What did not run, or skipped itself, counts as failed."""
import re
import sys
import xml.etree.ElementTree as ElementTree

# GoogleTest reports success when all that a program did was to skip.
GTEST_SKIPPED = re.compile(r"^\[  SKIPPED \] (?!\d+ tests?, listed below)(\S+)", re.MULTILINE)

# Tests that may skip themselves, and why. It is said aloud, and not counted as a failure.
ABSENT_RECORDINGS = "a real API server's recorded answers lie outside of the project and are not here"
MAY_SKIP = {"Api/Recordings.": ABSENT_RECORDINGS, "RecordedSlice.": ABSENT_RECORDINGS}


def main() -> int:
    try:
        root = ElementTree.parse(sys.argv[1]).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"no report of this ctest run: {error}", file=sys.stderr)
        return 1
    passed = failed = 0
    for case in root.iter("testcase"):
        name = case.get("name", "?")
        output = case.findtext("system-out") or ""
        inner = sorted(set(GTEST_SKIPPED.findall(output)))
        for prefix, reason in MAY_SKIP.items():
            if any(test.startswith(prefix) for test in inner):
                print(f"{name} skipped {prefix}*: {reason}", file=sys.stderr)
            inner = [test for test in inner if not test.startswith(prefix)]
        if case.get("status") != "run":
            failed += 1
            # A failed test has been shown by ctest already.
            if case.get("status") != "fail":
                print(f"{name} did not run, which counts as failed:\n{output.strip()}", file=sys.stderr)
        elif inner:
            failed += 1
            print(f"{name} skipped {', '.join(inner)}, which counts as failed", file=sys.stderr)
        else:
            passed += 1
    print(passed, failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
