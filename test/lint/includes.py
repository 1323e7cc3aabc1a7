#!/usr/bin/env python3
"""Checks every #include of src/ against the table of rooms in ARCHITECTURE.md.

A row of the table is `| `src/plan/` | what it holds | base, net; api only in tracker, node |`:

- the folder, which is the room's name without `src/`; `src/dataplane/*/` makes every folder in there a room of its own,
  and a folder's room is the longest name that fits;
- what it holds; a room that is not built yet starts with `planned:` and may not have files;
- what it may include: `-` (nothing), `everything`, or rooms separated by commas; a name stands for all folders under it.
  After `; `, permissions for some files only: `ROOM only in STEM, STEM`, where the stem `node` is node.h, node.cpp, and
  the room's unit tests (`*_test.*`), which may do what any file of their room may.

A file may include its own room, never another room made by the same `*`. Beyond the table, no two folders may include
each other, directly or round a corner; only a folder and one inside it, in the same room, may (`api/` and `api/codec/`).
"""
import dataclasses
import pathlib
import re
import sys

from lint import report

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
ROW = re.compile(r"^\|\s*`src/([^`]+?)/`\s*\|([^|]*)\|([^|]*)\|\s*$", re.MULTILINE)
SOURCES = {".h", ".cpp", ".c", ".cc", ".hpp"}


@dataclasses.dataclass
class Room:
    pattern: str  # `plan`, `dataplane/*`
    planned: bool
    everything: bool = False
    always: set[str] = dataclasses.field(default_factory=set)
    in_stems: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # room -> stems of files that may


def parse_table(text: str) -> tuple[list[Room], list[str]]:
    rooms: list[Room] = []
    findings: list[str] = []
    for name, holds, permissions in ROW.findall(text):
        room = Room(name, holds.strip().lower().startswith("planned"))
        parts = [part.strip() for part in permissions.replace("`", "").split(";")]
        if parts[0] == "everything":
            room.everything = True
        elif parts[0] not in ("-", "–"):
            room.always = {word.strip() for word in parts[0].split(",")}
        for part in parts[1:]:
            match = re.fullmatch(r"(\S+) only in (.+)", part)
            if match:
                room.in_stems[match[1]] = {stem.strip() for stem in match[2].split(",")}
            else:
                findings.append(f"ARCHITECTURE.md: src/{name}/: cannot read `{part}`; wanted `ROOM only in FILE, FILE`")
        rooms.append(room)
    if not rooms:
        findings.append("ARCHITECTURE.md: holds no table of rooms")
    known = {room.pattern.split("/*")[0] for room in rooms}
    for room in rooms:
        for named in sorted(room.always | set(room.in_stems)):
            if named not in known:
                findings.append(f"ARCHITECTURE.md: src/{room.pattern}/ may include `{named}`, which is not a room")
    return rooms, findings


def room_of(folder: str, rooms: list[Room]) -> tuple[str, Room] | None:
    """The room's name (with `*` filled in) and its row."""
    best: tuple[str, Room] | None = None
    for room in rooms:
        match = re.match("(" + re.escape(room.pattern).replace(r"\*", "[^/]+") + r")(/|$)", folder)
        if match and (best is None or len(match[1]) > len(best[0])):
            best = (match[1], room)
    return best


def may_include(file: pathlib.PurePath, own: tuple[str, Room], target: tuple[str, Room]) -> bool:
    own_name, room = own
    target_name, target_room = target
    if own_name == target_name:
        return True
    if room is target_room:
        return False  # siblings under the same `*`
    if room.everything:
        return True

    def covers(named: str) -> bool:
        return target_name == named or target_name.startswith(named + "/")

    if any(covers(named) for named in room.always):
        return True
    is_test = file.stem.endswith("_test")
    return any(covers(named) and (is_test or file.stem in stems) for named, stems in room.in_stems.items())


def find_circle(edges: dict[str, dict[str, str]]) -> list[str] | None:
    """The folders of one circle, the first repeated at the end."""
    done: set[str] = set()

    def walk(folder: str, path: list[str]) -> list[str] | None:
        if folder in path:
            return path[path.index(folder):] + [folder]
        if folder in done:
            return None
        for following in sorted(edges.get(folder, {})):
            circle = walk(following, path + [folder])
            if circle:
                return circle
        done.add(folder)
        return None

    for start in sorted(edges):
        circle = walk(start, [])
        if circle:
            return circle
    return None


def check(root: pathlib.Path) -> tuple[list[str], int]:
    """Findings, and how many includes were looked at."""
    src = root / "src"
    rooms, findings = parse_table((root / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    edges: dict[str, dict[str, str]] = {}  # folder -> folder -> the include that makes the edge
    looked_at = 0
    homeless: set[str] = set()
    files = sorted(path for path in src.rglob("*") if path.suffix in SOURCES and path.is_file())
    for path in files:
        file = path.relative_to(src)
        folder = file.parent.as_posix()
        own = room_of(folder, rooms)
        if own is None:
            if folder not in homeless:
                findings.append(f"src/{folder}/: the table of rooms in ARCHITECTURE.md lacks this folder")
            homeless.add(folder)
            continue
        if own[1].planned and own[0] not in homeless:
            findings.append(f"src/{own[0]}/: has files, so it is no longer planned; say so in ARCHITECTURE.md")
            homeless.add(own[0])
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in INCLUDE.finditer(text):
            quote, name = match.groups()
            where = f"src/{file}:{text.count(chr(10), 0, match.start()) + 1}"
            if quote == "<":
                if (src / name).is_file():
                    findings.append(f"{where}: <{name}> is ours: write it in quotes")
                continue
            looked_at += 1
            if ".." in pathlib.PurePath(name).parts or not (src / name).is_file():
                findings.append(f'{where}: "{name}" is not a path below src/ (others\' headers stand in <>)')
                continue
            target_folder = pathlib.PurePath(name).parent.as_posix()
            target = room_of(target_folder, rooms)
            nested = folder.startswith(target_folder + "/") or target_folder.startswith(folder + "/")
            inside = nested and target is not None and target[0] == own[0]
            if target_folder != folder and not inside and not file.stem.endswith("_test"):
                edges.setdefault(folder, {}).setdefault(target_folder, f'{where}: "{name}"')
            if target is not None and not may_include(file, own, target):
                findings.append(f'{where}: src/{own[0]}/ may not include src/{target[0]}/ ("{name}"; ARCHITECTURE.md)')
    circle = find_circle(edges)
    if circle:
        findings.append("a circle of folders: " + " -> ".join(circle))
        findings += [f"    {edges[a][b]}" for a, b in zip(circle, circle[1:])]
    return findings, looked_at


if __name__ == "__main__":
    found, count = check(pathlib.Path(sys.argv[1]))
    sys.exit(report(found, f"{count} includes follow the table of rooms"))
