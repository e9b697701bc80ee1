import logging

import elastichub.notebook

c = get_config()  # noqa: F821

elastichub.notebook.configure(c)
# The kernel of this server is local-python: a gateway may have a python3.
c.KernelSpecManager.ensure_native_kernel = False
c.MultiKernelManager.default_kernel_name = "local-python"

_record = logging.getLogRecordFactory()


def _without_environment(*args, **kwargs):
    """jupyter_server logs the whole environment, tokens too, with every kernel that it
    starts through a gateway (gateway/managers.py, GatewayKernelManager.start_kernel)."""
    record = _record(*args, **kwargs)
    if isinstance(record.msg, str) and record.msg.startswith("GatewayKernelManager started kernel"):
        record.msg = record.msg.partition(", args:")[0]
    return record


logging.setLogRecordFactory(_without_environment)

# Behind a Hub, JUPYTERHUB_SERVICE_URL takes the place of both.
c.ServerApp.ip = "*"  # of both families
c.ServerApp.port = 8888
c.ServerApp.open_browser = False

# Nothing here calls out to the internet.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.LabApp.collaborative = False

# Home may be a network volume, where SQLite's locks do not hold.
c.NotebookNotary.db_file = ":memory:"
c.FileContentsManager.delete_to_trash = False
