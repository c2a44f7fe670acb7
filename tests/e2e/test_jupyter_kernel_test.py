"""The Jupyter project's own test of kernels, with every field set that it has."""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Iterator
from typing import Any, ClassVar

import jupyter_kernel_test
import pytest


@pytest.fixture(scope="module", autouse=True)
def own_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A history without cells of other tests, for the searches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield


class TestPython(jupyter_kernel_test.KernelTests):
    """What a full Python kernel can do."""

    kernel_name = "ipymini"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar[list[dict[str, Any]]] = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "import zipf", "matches": {"zipfile"}},
        {"text": "'a'.startsw", "matches": {"startswith"}},
        {"text": "no_such_name_anywhere", "matches": set()},
    ]
    complete_code_samples: ClassVar[list[str]] = [
        "1",
        "print('hello, world')",
        "def f(x):\n  return x*2\n\n\n",
        "await g()",
        "%matplotlib inline",
    ]
    incomplete_code_samples: ClassVar[list[str]] = [
        "print('''hello",
        "def f(x):\n  x*2",
        "for i in range(3):",
        "%%timeit",
    ]
    invalid_code_samples: ClassVar[list[str]] = ["import = 7q", "a = 1 +* 2", "1 1"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('on purpose')"
    code_execute_result: ClassVar[list[dict[str, str]]] = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "'a' 'b'", "result": "'ab'"},
    ]
    code_display_data: ClassVar[list[dict[str, str]]] = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))",
            "mime": "text/html",
        },
        {
            "code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))",
            "mime": "text/latex",
        },
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    def execute_helper(self, *args: Any, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """It gives each message 0.1 s, which is not enough on a busy machine."""
        channel, wait = self.kc.iopub_channel, jupyter_kernel_test.TIMEOUT
        get = jupyter_kernel_test.ensure_sync(channel.get_msg)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel, "get_msg", lambda timeout: get(timeout=max(timeout, wait)))
            return super().execute_helper(*args, **options)


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):
    """JEP 65."""

    kernel_name = "ipymini"
    support_iopub_welcome = True


def test_every_field_is_set() -> None:
    """A field that the package has and we leave as it is would make it skip a test."""
    for ours in (TestPython, TestWelcome):
        base = ours.__mro__[1]
        ignored = set(dir(unittest.TestCase)) | {"kc", "km"}
        fields = {n for n, v in vars(base).items() if not n.startswith("_") and not inspect.isroutine(v)} - ignored
        fields = {n for n in fields if not isinstance(vars(base)[n], classmethod)}
        unset = {n for n in fields if n not in vars(ours) or not getattr(ours, n)}
        assert not unset, unset


@pytest.mark.slow
def test_none_is_skipped() -> None:
    """Not even in part: a skip in a subtest does not show in the result of its test."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in (TestPython, TestWelcome))
    result = suite.run(unittest.TestResult())
    assert result.testsRun >= 13
    assert result.skipped == []
    assert result.failures + result.errors == []
