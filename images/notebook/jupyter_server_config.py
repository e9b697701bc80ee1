c = get_config()  # noqa: F821

# Behind a Hub, JUPYTERHUB_SERVICE_URL takes the place of both.
c.ServerApp.ip = "0.0.0.0"
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
