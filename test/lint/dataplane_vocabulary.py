#!/usr/bin/env python3
"""Every folder under src/dataplane/ has the same words in it, so that who knows one can walk in all:
dataplane, render, supported, cleanup (each one file or several that start so), and a README.md."""
import pathlib
import sys

from lint import report

WORDS = ("dataplane", "render", "supported", "cleanup")


def check(root: pathlib.Path) -> tuple[list[str], int]:
    """Findings, and how many dataplanes there are. An empty folder is none: git does not keep it."""
    findings = []
    dataplanes = 0
    parent = root / "src" / "dataplane"
    for folder in sorted(path for path in parent.glob("*") if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        if not files:
            continue
        dataplanes += 1
        where = f"src/dataplane/{folder.name}/"
        stems = {path.stem for path in files if path.suffix in (".h", ".cpp") and not path.stem.endswith("_test")}
        for word in WORDS:
            if not any(stem == word or stem.startswith(word + "_") for stem in stems):
                findings.append(f"{where}: has no {word}.cpp (nor {word}_*.cpp)")
        if not (folder / "README.md").is_file():
            findings.append(f"{where}: has no README.md (the packet's path, drawn)")
    return findings, dataplanes


if __name__ == "__main__":
    found, count = check(pathlib.Path(sys.argv[1]))
    sys.exit(report(found, f"{count} dataplane(s) share their vocabulary"))
