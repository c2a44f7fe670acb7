"""What libraries print: colours and progress bars."""

from __future__ import annotations

import pytest
from e2e.client import Client

from .seen import displayed, load, models, ok, only, updates

RED = "\x1b[31m"


@pytest.mark.row("Libraries", "rich displays HTML")
def test_rich(client: Client) -> None:
    run = ok(client.execute("from rich.console import Console\nconsole = Console()\nconsole.print('[bold]loud[/]')"))
    assert "loud" in only(run)["text/html"]
    assert client.evaluate("console.is_jupyter") == "True"
    run = ok(client.execute("from rich import print as show\nshow({'a': [1]})"))
    assert "text/html" in only(run)
    run = ok(client.execute("from rich.table import Table\ntable = Table('column')\ntable.add_row('cell')\ntable"))
    assert "column" in only(run)["text/html"]


@pytest.mark.row("Libraries", "rich draws progress in a widget")
def test_rich_progress(client: Client) -> None:
    run = ok(client.execute("from rich.progress import track\nfor _ in track(range(3), 'counting'): pass"))
    assert "OutputModel" in models(run)
    assert "counting" in str(displayed(run))
    assert [state["msg_id"] for state in updates(run)][-2:] == [run.request["header"]["msg_id"], ""]


@pytest.mark.row("Libraries", "click keeps colours")
def test_click(client: Client) -> None:
    code = "import click\nclick.secho('out', fg='red')\nclick.secho('err', fg='red', err=True)"
    run = ok(client.execute(code))
    assert run.text() == f"{RED}out\x1b[0m\n"
    assert run.text("stderr") == f"{RED}err\x1b[0m\n"


@pytest.mark.row("Libraries", "loguru writes in colours")
def test_loguru(client: Client) -> None:
    run = ok(client.execute("from loguru import logger\nlogger.warning('careful')"))
    assert "careful" in run.text("stderr")
    assert "\x1b[" in run.text("stderr")
    code = (
        "import sys\nlogger.remove()\n_ = logger.add(sys.stdout, format='<red>{message}</red>')\nlogger.info('again')"
    )
    assert ok(client.execute(code)).text() == f"{RED}again\x1b[0m\n"


@pytest.mark.row("Libraries", "tqdm.auto chooses the widget")
def test_tqdm_auto(client: Client) -> None:
    run = ok(client.execute("from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='auto'): pass"))
    assert models(run)["FloatProgressModel"]["max"] == 3.0
    assert "application/vnd.jupyter.widget-view+json" in only(run)
    assert run.text("stderr") == ""


@pytest.mark.row("Libraries", "tqdm.notebook draws and ends")
def test_tqdm_notebook(client: Client) -> None:
    run = ok(client.execute("from tqdm.notebook import tqdm, trange\nfor _ in trange(4): pass"))
    assert {"FloatProgressModel", "HBoxModel"} <= set(models(run))
    assert {"value": 4.0} in updates(run)
    run = client.execute("for _ in tqdm(range(5)): 1 / 0")
    assert run.error == "ZeroDivisionError"
    assert {"bar_style": "danger"} in updates(run)


@pytest.mark.row("Libraries", "tqdm writes on stderr where it is asked to")
def test_tqdm_text(client: Client) -> None:
    run = ok(client.execute("from tqdm import tqdm as plain\nfor _ in plain(range(3)): plain.write('said')"))
    assert "100%" in run.text("stderr")
    assert run.text().count("said\n") == 3


@pytest.mark.row("Libraries", "fastprogress displays HTML")
def test_fastprogress(client: Client) -> None:
    run = ok(client.execute("from fastprogress import progress_bar\nfor _ in progress_bar(range(3)): pass"))
    assert any("<progress" in bundle.get("text/html", "") for bundle in displayed(run)), run.types
    assert "update_display_data" in run.types


@pytest.mark.row("Libraries", "dask draws a bar of text")
def test_dask_progress(client: Client) -> None:
    code = "import dask\nfrom dask.diagnostics import ProgressBar\nwith ProgressBar(): total = dask.delayed(sum)([1, 2]).compute()"
    assert "100% Completed" in ok(load(client, code)).text()
    assert client.evaluate("total") == "3"
