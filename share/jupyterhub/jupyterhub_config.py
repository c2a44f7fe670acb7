"""JupyterHub for the users of one machine, whose notebooks run on this kernel.

    python -m pip install jupyterhub jupyterhub-idle-culler jupyterlab ipymini-supervisor
    npm install --global configurable-http-proxy
    jupyterhub --config jupyterhub_config.py

Users log in with the password that they have on the machine. For more than a first look let a web server with TLS stand
before it. https://jupyterhub.readthedocs.io/en/stable/reference/config-reference.html
"""

import sys

c = get_config()  # noqa: F821

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.Authenticator.allow_existing_users = True

# -- what a user's server does

c.Spawner.args = [
    "--MultiKernelManager.default_kernel_name=ipymini",
    # A kernel that nobody looks at and that runs no cell goes after a night. Its status is true whatever a cell does:
    # one that crashed, or hangs in native code, does not stand for one that is busy.
    "--MappingKernelManager.cull_idle_timeout=43200",
    "--MappingKernelManager.cull_interval=300",
]
c.Spawner.environment = {
    # Seconds that a kernel has to end its cells and all that they have started, when its server ends.
    "IPYMINI_SHUTDOWN_GRACE": "5",
}
# Seconds that a server has after SIGINT, and after SIGTERM: more than its kernels need, or they end with SIGKILL.
c.LocalProcessSpawner.interrupt_timeout = 10
c.LocalProcessSpawner.term_timeout = 10

# -- servers that nobody uses end after a day

c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=86400"],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
