"""README, and the one for operators, name nothing that is not there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "README.md", ROOT / "share" / "jupyterhub" / "README.md"]
README = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
#: What the top level of the repository has; a path that README names begins with one of these.
TOP = {path.name for path in ROOT.iterdir()}
PACKAGES = ("ipymini_supervisor", "ipymini_worker")


def links() -> set[Path]:
    """The targets of all links that stay in the repository, without what follows a "#"."""
    found = set()
    for file in FILES:
        for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            if path and "://" not in path:
                found.add((file.parent / path).resolve())
    return found


def paths() -> set[str]:
    """All that looks like a path in the repository, in code as in text."""
    tops = "|".join(re.escape(name) for name in sorted({*TOP, "scripts", "share", "tests", ".ci", *PACKAGES}))
    found = re.findall(rf"(?<![\w./~-])((?:{tops})/[\w./-]*)", README)
    return {path.rstrip(".") for path in found}


def modules() -> set[str]:
    """All dotted names that begin with one of our packages."""
    return set(re.findall(rf"\b(?:{'|'.join(PACKAGES)})(?:\.[a-z_]+)*\b(?![/])", README))


def bare_files() -> set[str]:
    """All names of Python files without a folder: what stands beside the file that was named before."""
    return set(re.findall(r"(?<![\w./-])(\w+\.py)\b", README))


def named_tests() -> set[str]:
    """All names of test functions."""
    return set(re.findall(r"\btest_\w+\b(?!\.py)", README))


def test_tests_exist() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^\s*def (test_\w+)", text, re.MULTILINE))
    assert named_tests() - there == set()


def test_links_lead_somewhere() -> None:
    assert [target for target in sorted(links()) if not target.exists()] == []


def test_paths_exist() -> None:
    assert [path for path in sorted(paths()) if not (ROOT / path).exists()] == []


def test_bare_files_are_modules_of_ours() -> None:
    there = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert bare_files() - there == set()


def test_modules_exist() -> None:
    # The last part may be something in a module.
    assert [name for name in sorted(modules()) if not (find_spec(name) or find_spec(name.rpartition(".")[0]))] == []


def test_names_are_found_at_all() -> None:
    assert {ROOT / "LICENSE", FILES[1]} <= links()
    assert "test_any_bytes" in named_tests()
    assert len(named_tests()) > 20
    assert {"scripts/run", "scripts/test", "scripts/check", ".ci/run", "share/tour/tour.ipynb"} <= paths()
