#!/usr/bin/env python3
"""Runs clang-tidy on the product's files, but not on those that were clean with the same content before.

The key of a file: clang-tidy's version, .clang-tidy, the compile command, the file, and every header that the build saw
it include (ninja keeps that list; system headers count by size and time). Paths below the project count relative to it,
so that another clone on the machine finds the same stamps.
"""
import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

TIDY = "clang-tidy-14"
ROOT = pathlib.Path(__file__).resolve().parent.parent
STAMPS_KEPT_DAYS = 30


def stamp_folder() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(cache) / "ghostip-tidy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = ROOT / "build" / "tidy"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def seen_includes(build: pathlib.Path) -> dict[str, list[str]]:
    """Object file -> what it was made from."""
    ninja = subprocess.run(["ninja", "-C", str(build), "-t", "deps"], capture_output=True, text=True, check=True)
    includes: dict[str, list[str]] = {}
    current: list[str] = []
    for line in ninja.stdout.splitlines():
        if line.startswith("    "):
            current.append(line.strip())
        elif ": #deps" in line:
            current = includes.setdefault(line.split(": #deps")[0], [])
            if "(STALE)" in line:
                current.append("stale")
    return includes


@functools.cache
def content(path: pathlib.Path) -> str:
    """Stands for the content of a file."""
    try:
        if path.is_relative_to(ROOT):
            return f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        status = path.stat()
        return f"{path} {status.st_size} {int(status.st_mtime)}"
    except OSError:
        return f"{path} absent"


def key_of(entry: dict, build: pathlib.Path, includes: dict[str, list[str]], common: str) -> str | None:
    """None: the build has not seen this file, so nothing is known about its headers."""
    match = re.search(r" -o (\S+)", entry["command"])
    seen = includes.get(match[1]) if match else None
    if not seen or "stale" in seen:
        return None
    # The second compiler's view does not depend on the launcher in front of the first.
    command = " ".join(word for word in shlex.split(entry["command"]) if "ccache" not in word)
    paths = sorted({(build / name).resolve() for name in seen} | {pathlib.Path(entry["file"])})
    text = "\n".join([common, command.replace(str(ROOT), "."), *(content(path) for path in paths)])
    return hashlib.sha256(text.encode()).hexdigest()


def last_change(files: list[str]) -> dict[str, int]:
    """File -> how many files' changes are younger, by the project's history; what is not in it is youngest."""
    log = subprocess.run(["git", "-c", "safe.directory=*", "log", "--format=", "--name-only", "--", "src"], cwd=ROOT,
                         capture_output=True, text=True, check=False).stdout.split()
    order: dict[str, int] = {}
    for name in log:
        order.setdefault(name, len(order) + 1)
    return {file: order.get(os.path.relpath(file, ROOT), 0) for file in files}


def check(file: str, build: pathlib.Path) -> tuple[bool, str]:
    result = subprocess.run([TIDY, "--quiet", "-p", str(build), file], capture_output=True, text=True, check=False)
    # Standard error counts warnings of system headers; it matters only when there is nothing else to see.
    return result.returncode == 0, result.stdout.strip() or result.stderr.strip()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=int, help="begin no file after this time; what was changed last comes first")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("files", nargs="*", help="default: all of src/ but for unit tests")
    arguments = parser.parse_args()
    build = arguments.build.resolve()

    wanted = {str(pathlib.Path(name).resolve()) for name in arguments.files}
    entries = []
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(entry["file"])
        product = path.is_relative_to(ROOT / "src") and not path.stem.endswith("_test")
        if path.is_file() and (str(path) in wanted if wanted else product):
            entries.append(entry)

    version = subprocess.run([TIDY, "--version"], capture_output=True, text=True, check=True).stdout
    common = version + (ROOT / ".clang-tidy").read_text(encoding="utf-8")
    includes = seen_includes(build)
    stamps = stamp_folder()
    for stamp in stamps.iterdir():
        if stamp.stat().st_mtime < time.time() - STAMPS_KEPT_DAYS * 86400:
            stamp.unlink(missing_ok=True)

    todo: list[tuple[str, str | None]] = []
    for entry in entries:
        key = key_of(entry, build, includes, common)
        if key is not None and (stamps / key).exists():
            os.utime(stamps / key)
        else:
            todo.append((entry["file"], key))

    if arguments.seconds:
        age = last_change([file for file, _ in todo])
        todo.sort(key=lambda one: age[one[0]])
    deadline = time.monotonic() + (arguments.seconds or float("inf"))

    def check_in_time(file: str) -> tuple[bool, str] | None:
        return check(file, build) if time.monotonic() < deadline else None

    dirty = 0
    left = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = {pool.submit(check_in_time, file): (file, key) for file, key in todo}
        for run in concurrent.futures.as_completed(runs):
            file, key = runs[run]
            if (result := run.result()) is None:
                left += 1
                continue
            clean, output = result
            if clean and key is not None:
                (stamps / key).touch()
            if not clean:
                dirty += 1
                print(f"{os.path.relpath(file, ROOT)}:\n{output}\n", flush=True)
    print(f"clang-tidy: {len(entries)} files, {len(todo) - left} checked, {len(entries) - len(todo)} clean before, "
          f"{dirty} not clean" + (f"; {left} left for `make lint`, since the time was up" if left else ""))
    return 1 if dirty else 0


if __name__ == "__main__":
    sys.exit(main())
