"""The demo's Hub. What differs between installations comes from the environment."""

import asyncio
import os

from ldap3.core.exceptions import LDAPExceptionError
from ldapauthenticator import LDAPAuthenticator
from tornado import web


class DirectoryAuthenticator(LDAPAuthenticator):
    """LDAPAuthenticator in a thread, since it blocks the whole Hub while the
    directory is slow, and with words for people when there is no answer."""

    async def authenticate(self, handler, data):
        # A coroutine that awaits nothing and leaves the handler alone.
        bind = super().authenticate(handler, data)
        try:
            return await asyncio.wait_for(asyncio.to_thread(asyncio.run, bind), 10)
        except (LDAPExceptionError, TimeoutError) as error:
            self.log.error("The directory does not answer: %s", error)
            raise web.HTTPError(
                503, "The directory does not answer, so nobody can sign in now. Try again in a minute."
            ) from error


c = get_config()  # noqa: F821

# The proxy is a Pod of its own, so that open notebooks survive a restart of the Hub.
c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex(os.environ["COOKIE_SECRET"])

c.JupyterHub.authenticator_class = DirectoryAuthenticator
c.LDAPAuthenticator.server_address = "directory"
c.LDAPAuthenticator.server_port = 389
# Plain LDAP never leaves the demo's namespace. Anywhere else: on_connect or before_bind.
c.LDAPAuthenticator.tls_strategy = "insecure"
c.LDAPAuthenticator.bind_dn_template = f"uid={{username}},ou=people,{os.environ['BASE_DN']}"
# Everyone in the directory may sign in; what they may have is elastichub's to say.
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"admin"}

c.JupyterHub.spawner_class = "elastichub"
c.ElasticSpawner.api_url = os.environ["ELASTICHUB_URL"]
c.ElasticSpawner.service_token_file = "/etc/elastichub/token"
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 60
# A refused start is no fault of the Hub: it must not end the Hub.
c.Spawner.consecutive_failure_limit = 0
c.JupyterHub.allow_named_servers = True
# With the default server, the three of the largest policies.
c.JupyterHub.named_server_limit_per_user = 2

c.JupyterHub.services = [
    {"name": "demo", "api_token": os.environ["DEMO_API_TOKEN"]},
    # The console, below /services/elastichub/ and in the menu "Services".
    {
        "name": "elastichub",
        "url": os.environ["ELASTICHUB_URL"],
        "api_token": os.environ["CONSOLE_API_TOKEN"],
        "oauth_no_confirm": True,
    },
]
c.JupyterHub.load_roles = [
    # Everybody may use the console.
    {"name": "user", "scopes": ["self", "access:services!service=elastichub"]},
    # elastichub stops idle servers through the Hub, and has it start those that kubectl starts.
    {"name": "elastichub", "scopes": ["read:users", "servers"], "services": ["elastichub"]},
    {
        "name": "demo",
        "description": "Scripts and tests outside the cluster",
        "scopes": [
            "access:servers",
            "admin:groups",
            "admin:servers",
            "admin:users",
            "list:services",
            "proxy",
            "read:hub",
            "read:metrics",
            "tokens",
        ],
        "services": ["demo"],
    }
]
