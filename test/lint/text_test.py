#!/usr/bin/env python3
"""The small checks, fed with what they must accept and what they must refuse."""
import pathlib
import tempfile
import unittest

import dataplane_vocabulary
import foreign_paths

REFUSED = ["see /home/alice/notes", "cd " + "/work" + "/project", 'path = "/Users/bob/x"', "https://mirror.example.net/debian",
           "debootstrap sid root http://packages.proxy.example/debian", "index-url https://pypi.example.org/simple",
           "from deb.example.org"]
ACCEPTED = ["src/work/x", "${root}/home/x", "/proc/net/tcp", "a workaround/home/page", "https://kubernetes.io/docs",
            "registry of changes", "kube-proxy", "10.96.0.10:80", "the deb. package", "/usr/share/x"]
WHOLE = ["dataplane.cpp", "render_dispatch.cpp", "supported.h", "cleanup.cpp", "README.md"]


class ForeignPathsTest(unittest.TestCase):
    def test_refused(self):
        for line in REFUSED:
            with self.subTest(line):
                self.assertEqual(len(foreign_paths.check_text(line)), 1)

    def test_accepted(self):
        for line in ACCEPTED:
            with self.subTest(line):
                self.assertEqual(foreign_paths.check_text(line), [])


class DataplaneVocabularyTest(unittest.TestCase):
    def findings(self, names: list[str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src/dataplane/mode").mkdir(parents=True)
            for name in names:
                (root / "src/dataplane/mode" / name).touch()
            return dataplane_vocabulary.check(root)[0]

    def test_whole(self):
        self.assertEqual(self.findings(WHOLE), [])

    def test_empty_folder(self):
        self.assertEqual(self.findings([]), [])

    def test_each_word_is_needed(self):
        for missing in WHOLE:
            with self.subTest(missing):
                self.assertEqual(len(self.findings([name for name in WHOLE if name != missing])), 1)

    def test_a_unit_test_is_not_the_thing(self):
        self.assertEqual(len(self.findings([*WHOLE[:3], "cleanup_test.cpp", "README.md"])), 1)


if __name__ == "__main__":
    unittest.main()
