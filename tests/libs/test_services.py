"""Libraries that find out where they run: which notebook, which kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from e2e.client import Client
from e2e.kernels import Kernel

from .seen import displayed, load, ok


@pytest.mark.row("Libraries", "huggingface_hub knows a notebook")
def test_huggingface(client: Client) -> None:
    run = ok(load(client, "from huggingface_hub.utils import is_notebook\nis_notebook()"))
    assert run.result == "True"


@pytest.mark.row("Libraries", "transformers knows a notebook")
def test_transformers(client: Client) -> None:
    code = "from transformers.utils.import_utils import is_in_notebook\nis_in_notebook()"
    assert ok(load(client, code)).result == "True"


@pytest.mark.row("Libraries", "mlflow finds the kernel's id, and knows a notebook")
def test_mlflow(client: Client, kernel: Kernel) -> None:
    code = "from mlflow.tracking.context import jupyter_notebook_context as context\n"
    run = load(client, code + "print(context._get_kernel_id(), context._is_in_jupyter_notebook())")
    assert ok(run).text() == f"{kernel_id(kernel)} True\n"


@pytest.mark.row("Libraries", "wandb knows Jupyter, and finds the kernel's id")
def test_wandb(client: Client, kernel: Kernel) -> None:
    code = "import wandb, wandb.jupyter\nfrom wandb.sdk.lib.ipython import _get_python_type\n"
    run = load(client, code + "print(_get_python_type(), wandb.jupyter.jupyter_servers_and_kernel_id()[1])")
    assert ok(run).text() == f"jupyter {kernel_id(kernel)}\n"


@pytest.mark.row("Libraries", "wandb finds the notebook that VS Code names")
def test_wandb_in_vs_code(client: Client) -> None:
    run = ok(
        load(
            client,
            "import wandb.jupyter as wj\n__vsc_ipynb_file__ = '/folder/book.ipynb'\n"
            "found = wj.notebook_metadata_from_jupyter_servers_and_kernel_id()\ndel __vsc_ipynb_file__\nfound['name']",
        )
    )
    assert run.result == "'book.ipynb'"


@pytest.mark.row("Libraries", "wandb logs a run, offline, and shows its summary as HTML")
def test_a_run_of_wandb(client: Client, kernel: Kernel) -> None:
    ok(load(client, "import wandb\nrun = wandb.init(project='test', mode='offline')", allow_stdin=False))
    assert ok(client.execute("run.log({'loss': 0.5})\nrun.log({'loss': 0.25})\nrun.summary['loss']")).result == "0.25"
    shown = ok(load(client, "run.finish()"))
    assert any("loss" in bundle.get("text/html", "") for bundle in displayed(shown)), shown.types
    (folder,) = (kernel.folder / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))


@pytest.mark.row("Libraries", "ipykernel.get_connection_file names the file")
def test_the_connection_file(client: Client, kernel: Kernel) -> None:
    run = ok(client.execute("import ipykernel, ipykernel.connect\nprint(ipykernel.get_connection_file())"))
    assert run.text().strip() == kernel.file
    run = client.execute("from ipykernel.kernelapp import IPKernelApp\nprint(IPKernelApp.instance().connection_file)")
    assert ok(run).text().strip() == kernel.file
    assert client.execute("IPKernelApp.initialized()").result == "True"


def kernel_id(kernel: Kernel) -> str:
    """What stands in the name of the connection file."""
    match = re.fullmatch(r"kernel-(.*)\.json", Path(kernel.file).name)
    assert match
    return match[1]
