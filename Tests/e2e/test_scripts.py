"""The TCP scenarios of Tests/Scripts against the Linux kernel: whatever it answers must be what the core answers in ScriptTests.swift,
but for the differences that a script states with their reasons (docs/tcp-scripts.md)."""

import glob
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

import scripts
from support import ROOT

FOLDER = os.path.join(ROOT, "Tests", "Scripts")
PATHS = sorted(glob.glob(os.path.join(FOLDER, "*.pkt")))
ATONCE = 8


class ScriptsOnLinux(unittest.TestCase):
    """All run side by side, since most of their time is waiting; one that fails runs again alone when its test is repeated."""

    answers = {}
    cannot = None

    @classmethod
    def setUpClass(cls):
        if cls.answers or cls.cannot:
            return

        def answer(path):
            try:
                return path, scripts.run_apart(path)
            except scripts.CannotRun as error:
                cls.cannot = str(error)
                return path, str(error)

        with ThreadPoolExecutor(ATONCE) as pool:
            cls.answers = dict(pool.map(answer, [path for path in PATHS if not scripts.Script(path).only]))

    def compare(self, path):
        if self.cannot:
            self.skipTest(f"the kernel cannot be asked here: {self.cannot}")
        wrong = self.answers.pop(path) if path in self.answers else scripts.run_apart(path)
        if wrong:
            self.fail(wrong)

    def test_there_are_scripts(self):
        """there are scripts, and every one that skips the kernel says why"""
        self.assertGreaterEqual(len(PATHS), 35)
        for path in PATHS:
            only = scripts.Script(path).only
            self.assertTrue(only is None or only[0] == "portolan" and only[1], path)

    def test_a_wrong_answer_is_noticed(self):
        """a script that expects what the kernel does not answer fails with its line"""
        import tempfile

        if self.cannot:
            self.skipTest(f"the kernel cannot be asked here: {self.cannot}")
        with open(os.path.join(FOLDER, "data-from-guest.pkt")) as file:
            text = file.read()
        self.assertIn("ack 11\n", text)
        with tempfile.NamedTemporaryFile("w", suffix=".pkt") as file:
            file.write(text.replace("ack 11\n", "ack 10\n"))
            file.flush()
            self.assertIn("the ACK, expected 10 differs", scripts.run_apart(file.name))


def _add(path):
    script = scripts.Script(path)
    if script.only:
        return

    def test(self):
        self.compare(path)

    test.__doc__ = script.title
    setattr(ScriptsOnLinux, "test_" + script.name.removesuffix(".pkt").replace("-", "_"), test)


for _path in PATHS:
    _add(_path)
