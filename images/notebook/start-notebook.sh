#!/bin/sh
# Starts JupyterLab: as a JupyterHub's single-user server if a Hub started
# this container, else on its own. The name is that of Jupyter's docker-stacks.
set -eu
if [ -n "${JUPYTERHUB_API_TOKEN:-}" ]; then
  exec jupyterhub-singleuser "$@"
fi
exec jupyter lab "$@"
