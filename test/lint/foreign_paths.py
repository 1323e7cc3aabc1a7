#!/usr/bin/env python3
"""No file of the project may name a place that exists on one machine only: a home or a working folder, or the mirror
of packages that this machine happens to use. What is built from such a file works for its author alone."""
import pathlib
import re
import sys

from lint import project_files, report

PATTERNS = [
    ("a folder of one machine",
     re.compile(r"(?<![\w.})/-])/(?:work|home|root|Users|builds?)/[\w.{$]")),
    ("a host that serves packages",
     re.compile(r"(?i)\b[a-z]+://[^\s/\"'<>]*\b(?:mirrors?|prox(?:y|ies)|artifactory|nexus|registry|pypi|npm|crates|deb|"
                r"apt|snapshot|rubygems|packages)\b[^\s/\"'<>]*")),
    ("a host that serves packages",
     re.compile(r"(?i)\b(?:mirrors?|artifactory|nexus|deb|ftp\d*|snapshot|pypi)\.(?:[a-z0-9-]+\.)+[a-z]{2,}\b")),
]


def check_text(text: str) -> list[tuple[int, str, str]]:
    """Line, what it is, and the words, for each finding."""
    findings = []
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in PATTERNS:
            match = pattern.search(line)
            if match:
                findings.append((number, what, match[0]))
                break
    return findings


def check(root: pathlib.Path) -> tuple[list[str], int]:
    """Findings, and how many text files were read."""
    findings = []
    texts = 0
    for name in project_files(root):
        data = (root / name).read_bytes()
        # This check's own test has to write down what it refuses.
        if b"\0" in data or name == pathlib.Path("test/lint/text_test.py"):
            continue
        texts += 1
        for number, what, words in check_text(data.decode(errors="replace")):
            findings.append(f"{name}:{number}: {what}: {words}")
    return findings, texts


if __name__ == "__main__":
    found, count = check(pathlib.Path(sys.argv[1]))
    sys.exit(report(found, f"{count} text files name no place of one machine"))
