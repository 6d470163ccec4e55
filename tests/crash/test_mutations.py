"""Each rule that the guarantee stands on is taken away in turn: a test must go red.

A file of `mutations` is a patch with a head of a few lines: `Removes:` says which rule it takes
away, each `Red:` names a test of which one at least must fail without it. The patch is applied to a
copy of the sources, and the tests run there: where none fails by what it asserts, either the rule
is not needed or a test is missing.

One patch by hand: `git apply tests/crash/mutations/NAME.patch`, the test, `git apply -R`.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVERLESS = ("tests/unit/", "tests/property/")
SOME = 6
TIMEOUT_SECONDS = 900  # a machine may have much else to do
# A patch that breaks the code's grammar, and not its rules, proves nothing.
NOT_A_FINDING = {
    "AttributeError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "SyntaxError",
    "TypeError",
    "UnboundLocalError",
}


@dataclass(frozen=True)
class Mutation:
    """A patch that removes a rule, and the tests that show it."""

    patch: Path
    rule: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.patch.stem

    @property
    def needs_servers(self) -> bool:
        return not all(test.startswith(SERVERLESS) for test in self.tests)


def read_mutation(patch: Path) -> Mutation:
    head = patch.read_text().partition("\ndiff --git ")[0]
    (rule,) = re.findall(r"^Removes: (.+)$", head, re.MULTILINE)
    return Mutation(patch, rule, tuple(re.findall(r"^Red: (\S+)$", head, re.MULTILINE)))


MUTATIONS = [
    read_mutation(patch) for patch in sorted((Path(__file__).parent / "mutations").glob("*.patch"))
]
QUICK = [mutation for mutation in MUTATIONS if not mutation.needs_servers]


class Copy:
    """A copy of the sources in which anything may be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def apply(self, mutation: Mutation, *options: str) -> str:
        """Apply a patch and return what git has to say against it."""
        command = ["git", "apply", "-C1", *options, str(mutation.patch)]
        # Above the copy there may be a repository whose business this is not.
        own = os.environ | {"GIT_CEILING_DIRECTORIES": str(self.folder.parent)}
        done = subprocess.run(
            command, cwd=self.folder, env=own, capture_output=True, text=True, check=False
        )
        return done.stderr

    def unknown_names(self, mutation: Mutation) -> str:
        """Return what a patch, applied, uses and nobody defines."""
        text = mutation.patch.read_text()
        touched = re.findall(r"^\+\+\+ b/(\S+[.]py)$", text, re.MULTILINE)
        if not touched:  # SQL
            return ""
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--no-cache"]
        done = subprocess.run(
            [*command, "--select", "F821,F823", "--", *touched],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def test(self, *tests: str) -> "subprocess.CompletedProcess[str]":
        """Run tests of the copy, with its own sources under them, up to the first that fails."""
        own = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
        # The processes that tests start would find the installed sources otherwise.
        own |= {"PYTHONPATH": str(self.folder), "COLUMNS": "300", "EXPLORER_HISTORIES": "1000"}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *tests],
            cwd=self.folder,
            env=own,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    @cache  # noqa: B019 - as many as there are rings
    def require_green(self, tests: frozenset[str]) -> None:
        """Make sure that tests pass here: else what fails elsewhere tells nothing."""
        done = self.test(*sorted(tests))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The sources as they are, those not yet committed too."""
    folder = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    (folder / ".burnstream").symlink_to(REPOSITORY / ".burnstream")  # the servers' files
    return Copy(folder)


def require_red(sources: Copy, mutation: Mutation, tmp_path: Path) -> None:
    """Take the rule away and find that a test notices."""
    mutated = Copy(tmp_path / mutation.name)
    shutil.copytree(sources.folder, mutated.folder, symlinks=True)
    assert not mutated.apply(mutation)
    done = mutated.test(*mutation.tests)
    told = f"{mutation.name}: {mutation.rule}\n{done.stdout}{done.stderr}"
    assert done.returncode == 1, f"no test went red without it\n{told}"
    failures = re.findall(r"^FAILED (\S+)(?: - (\w+))?", done.stdout, re.MULTILINE)
    assert failures, f"nothing failed by what it asserts\n{told}"
    assert not NOT_A_FINDING & {kind for _, kind in failures}, f"the patch is broken\n{told}"
    print(mutation.name, "is noticed by", failures[0][0])


def test_every_mutation_can_be_applied(sources: Copy) -> None:
    """Patches follow the code that they change, its names too, or they show nothing any more."""
    broken = {}
    for one in MUTATIONS:
        if said := sources.apply(one) or sources.unknown_names(one):
            broken[one.name] = said
        sources.apply(one, "--reverse")

    assert broken == {}


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_some_rules_taken_away_are_noticed(sources: Copy, seed: int, tmp_path: Path) -> None:
    """A few of those that need no servers, others each time."""
    chosen = random.Random(seed).sample(QUICK, SOME)
    sources.require_green(frozenset(test for mutation in chosen for test in mutation.tests))
    for mutation in chosen:
        require_red(sources, mutation, tmp_path)


@pytest.mark.whole
@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_rule_taken_away_is_noticed(sources: Copy, mutation: Mutation, tmp_path: Path) -> None:
    """Without it a test fails by what it asserts."""
    alike = [one for one in MUTATIONS if one.needs_servers == mutation.needs_servers]
    sources.require_green(frozenset(test for one in alike for test in one.tests))
    require_red(sources, mutation, tmp_path)
