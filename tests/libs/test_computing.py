"""Libraries that keep, measure or distribute what a cell computes; most look at the name of the cell's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.client import Client
from e2e.conftest import StartKernel

from .seen import load, ok, only


@pytest.mark.row("Libraries", "joblib runs a function of a cell in processes")
def test_joblib(client: Client) -> None:
    code = "from joblib import Parallel, delayed\ndef square(x): return x * x\nParallel(n_jobs=2)(delayed(square)(i) for i in range(4))"
    assert ok(load(client, code)).result == "[0, 1, 4, 9]"
    ok(client.execute("from joblib.externals.loky import get_reusable_executor as e\ne().shutdown(wait=True)"))


@pytest.mark.row("Libraries", "joblib's cache outlives the kernel")
def test_joblib_memory(start_kernel: StartKernel, tmp_path: Path) -> None:
    code = f"import joblib\n@joblib.Memory({str(tmp_path)!r}, verbose=0).cache\ndef slow(x): return x + 1"
    first = start_kernel()
    client = first.connect()
    ok(load(client, code))
    assert ok(client.execute("slow(1), slow.check_call_in_cache(1)")).result == "(2, True)"
    first.stop()
    client = start_kernel().connect()
    client.execute("1")  # the number of the cell is another one
    ok(load(client, code))
    assert ok(client.execute("slow.check_call_in_cache(1)")).result == "True"


@pytest.mark.row("Libraries", "numba compiles once for two kernels")
def test_numba(start_kernel: StartKernel, tmp_path: Path) -> None:
    code = "import numba\n@numba.njit(cache=True)\ndef double(x):\n    return 2 * x\ndouble(4)"
    hits = []
    for _ in range(2):
        kernel = start_kernel(env={"IPYTHONDIR": str(tmp_path / "shared")})
        client = kernel.connect()
        assert ok(load(client, code)).result == "8"
        hits.append(client.evaluate("sum(double.stats.cache_hits.values())"))
        kernel.stop()
    assert hits == ["0", "1"]


@pytest.mark.row("Libraries", "datasets gives a function of a cell one fingerprint")
def test_datasets(start_kernel: StartKernel) -> None:
    code = "from datasets.fingerprint import Hasher\ndef prepare(row):\n    return {'b': row['a'] + 1}\nHasher.hash(prepare)"
    clients = [start_kernel().connect(), start_kernel().connect()]
    clients[1].execute("1")
    first, second = (ok(load(client, code)).result for client in clients)
    assert first == second
    mapped = ok(load(clients[0], "import datasets\ndatasets.Dataset.from_dict({'a': [1, 2]}).map(prepare)['b'][:]"))
    assert mapped.result == "[2, 3]"


@pytest.mark.row("Libraries", "line_profiler shows the lines of a function of a cell")
def test_line_profiler(client: Client) -> None:
    ok(load(client, "%load_ext line_profiler\ndef work():\n    total = 1 + 1\n    return total"))
    run = ok(client.execute("%lprun -f work work()"))
    shown = str(run.reply["payload"]) + run.text()
    assert "total = 1 + 1" in shown
    assert "Hits" in shown


@pytest.mark.row("Libraries", "dask.distributed computes, and knows a notebook")
def test_distributed(client: Client) -> None:
    code = (
        "from distributed import Client, LocalCluster\nfrom distributed.utils import is_kernel\n"
        "cluster = LocalCluster(n_workers=1, processes=False, dashboard_address=None)\ndask = Client(cluster)\n"
        "future = dask.submit(lambda x: x + 1, 41)\nfuture.result(), is_kernel()"
    )
    assert ok(load(client, code)).result == "(42, True)"
    assert "text/html" in only(client.execute("dask"))
    run = ok(client.execute("from distributed import progress\nprogress(future)"))
    assert "application/vnd.jupyter.widget-view+json" in str(run.contents("display_data", "execute_result"))
    run = ok(client.execute("import dask as d\nd.compute(d.delayed(sum)([1, 2]), scheduler=dask)"))
    assert run.result == "(3,)"
    ok(client.execute("dask.close(); cluster.close()"))


@pytest.mark.row("Libraries", "dask.distributed computes in processes of its own")
def test_distributed_processes(client: Client) -> None:
    code = (
        "from distributed import Client, LocalCluster\nimport os\ndef where(): return os.getpid()\n"
        "with LocalCluster(n_workers=1, processes=True, dashboard_address=None) as cluster, Client(cluster) as dask:\n"
        "    elsewhere = dask.submit(where).result()\nelsewhere != os.getpid()"
    )
    assert ok(load(client, code)).result == "True"


@pytest.mark.row("Libraries", "ipyparallel's client is there")
def test_ipyparallel(client: Client) -> None:
    run = ok(load(client, "import ipyparallel\nipyparallel.Client, ipyparallel.Cluster(n=1)"))
    assert "Cluster" in run.result
    ok(client.execute("%load_ext ipyparallel"))
