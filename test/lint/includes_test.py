#!/usr/bin/env python3
"""The include check, fed with trees that it must accept and trees that it must refuse."""
import pathlib
import tempfile
import unittest

import includes

TABLE = """
| folder | holds | may include |
|---|---|---|
| `src/base/` | results | - |
| `src/net/` | values | base |
| `src/api/` | objects | base, net |
| `src/plan/` | the plan | base, net; api only in tracker |
| `src/kernel/` | netlink | base |
| `src/dataplane/` | the interface | plan |
| `src/dataplane/*/` | a mode | plan, kernel, dataplane |
| `src/relay/` | planned: bytes | base |
| `src/cli/` | main | everything |
"""

# name, files below src/ ("path": what it includes), the one finding that must come (None: it must be clean)
CASES = [
    ("nothing at all", {}, None),
    ("own folder", {"plan/a.cpp": ["plan/a.h"], "plan/a.h": []}, None),
    ("allowed by name", {"net/a.cpp": ["base/r.h"], "base/r.h": []}, None),
    ("forbidden by omission", {"net/a.cpp": ["api/o.h"], "api/o.h": []}, "src/net/ may not include src/api/"),
    ("forbidden in a test too", {"net/a_test.cpp": ["api/o.h"], "api/o.h": []}, "src/net/ may not include src/api/"),
    ("an excepted file", {"plan/tracker.cpp": ["api/o.h"], "api/o.h": []}, None),
    ("not an excepted file", {"plan/planner.cpp": ["api/o.h"], "api/o.h": []}, "src/plan/ may not include src/api/"),
    ("a test where others are excepted", {"plan/planner_test.cpp": ["api/o.h"], "api/o.h": []}, None),
    ("a mode includes the interface", {"dataplane/nft/x.cpp": ["dataplane/d.h"], "dataplane/d.h": []}, None),
    ("a mode includes its sibling", {"dataplane/nft/x.cpp": ["dataplane/ipvs/y.h"], "dataplane/ipvs/y.h": []},
     "src/dataplane/nft/ may not include src/dataplane/ipvs/"),
    ("the interface includes a mode", {"dataplane/d.cpp": ["dataplane/ipvs/y.h"], "dataplane/ipvs/y.h": []},
     "src/dataplane/ may not include src/dataplane/ipvs/"),
    ("a folder within a room", {"kernel/nft/x.cpp": ["kernel/n.h", "base/r.h"], "kernel/n.h": [], "base/r.h": []}, None),
    ("everything", {"cli/main.cpp": ["dataplane/ipvs/y.h", "api/o.h"], "dataplane/ipvs/y.h": [], "api/o.h": []}, None),
    ("a circle within a room", {"kernel/a/x.h": ["kernel/b/y.h"], "kernel/b/y.h": ["kernel/a/x.h"]},
     "a circle of folders: kernel/a -> kernel/b -> kernel/a"),
    ("a folder and one inside it", {"kernel/x.h": ["kernel/b/y.h"], "kernel/b/y.h": ["kernel/z.h"], "kernel/z.h": []},
     None),
    ("a circle round a corner", {"kernel/a/x.h": ["kernel/b/y.h"], "kernel/b/y.h": ["kernel/c/z.h"],
                                 "kernel/c/z.h": [], "kernel/c/w.cpp": ["kernel/a/x.h"]},
     "a circle of folders: kernel/a -> kernel/b -> kernel/c -> kernel/a"),
    ("a folder that the table lacks", {"surprise/x.h": []}, "src/surprise/: the table of rooms"),
    ("a planned room with files", {"relay/x.h": []}, "src/relay/: has files"),
    ("a file that does not exist", {"net/a.cpp": ["net/no.h"]}, 'src/net/a.cpp:1: "net/no.h" is not a path below src/'),
    ("a way out", {"net/a.cpp": ["../src/net/b.h"], "net/b.h": []}, "is not a path below src/"),
    ("beside instead of from the root", {"net/a.cpp": ["b.h"], "net/b.h": []}, "is not a path below src/"),
]


class IncludesTest(unittest.TestCase):
    def findings(self, files: dict[str, list[str]], table: str = TABLE, raw: dict[str, str] | None = None) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src").mkdir()
            (root / "ARCHITECTURE.md").write_text(table, encoding="utf-8")
            texts = {name: "".join(f'#include "{one}"\n' for one in names) for name, names in files.items()}
            for name, text in (texts | (raw or {})).items():
                path = root / "src" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return includes.check(root)[0]

    def test_cases(self):
        for name, files, wanted in CASES:
            with self.subTest(name):
                findings = self.findings(files)
                if wanted is None:
                    self.assertEqual(findings, [])
                else:
                    self.assertTrue(findings, "accepted what it must refuse")
                    self.assertIn(wanted, findings[0])

    def test_angle_brackets_do_not_hide_an_include(self):
        findings = self.findings({"api/o.h": []}, raw={"net/a.cpp": "  #  include <api/o.h>\n"})
        self.assertEqual(len(findings), 1)
        self.assertIn("is ours", findings[0])

    def test_line_numbers(self):
        findings = self.findings({"api/o.h": []}, raw={"net/a.cpp": "// one\n\n#include \"api/o.h\"\n"})
        self.assertIn("src/net/a.cpp:3:", findings[0])

    def test_table_without_rows(self):
        self.assertIn("holds no table of rooms", self.findings({}, table="# nothing\n")[0])

    def test_table_names_a_room_that_does_not_exist(self):
        self.assertIn("`nett`, which is not a room", self.findings({}, table="| `src/api/` | x | nett |\n")[0])

    def test_table_with_a_rule_that_cannot_be_read(self):
        self.assertIn("cannot read", self.findings({}, table="| `src/api/` | x | -; maybe net |\n")[0])


if __name__ == "__main__":
    unittest.main()
