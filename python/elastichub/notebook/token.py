"""The token by which this server comes to its gateway, as it is now.

It is a variable of the process, and in a file beside it that follows the Secret: when the key that signs
tokens is changed, the file has another token within a minute or two, and the former counts until then.
"""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_server.gateway import managers
from jupyter_server.gateway.gateway_client import GatewayTokenRenewerBase
from tornado import web

from .. import skew
from .link import NOT_KNOWN, said

VARIABLE = "ELASTICHUB_GATEWAY_TOKEN_FILE"  # names the file
LONGEST = 8192  # bytes of a token that a gateway takes


class FileToken(GatewayTokenRenewerBase):
    """jupyter_server asks this for the token of each request and each socket."""

    def get_token(self, auth_header_key, auth_scheme, auth_token, **kwargs):
        return read(os.environ.get(VARIABLE, ""), auth_token)


def read(file, otherwise):
    """The token in a file; where there is none, the one before."""
    try:
        token = Path(file).read_text().strip() if file else ""
    except (OSError, ValueError):
        return otherwise
    return token if 0 < len(token) <= LONGEST else otherwise


class NotKnown(web.HTTPError):
    """The gateway takes this server's token no more, or is of a release that does not work with this
    one's. It is no fault of who is signed in here, whom 401 would send to the page for that."""

    def __init__(self, words=NOT_KNOWN[1]):
        self.words = words
        super().__init__(503, words)

    def __str__(self):
        return self.words


def explain():
    """Has pages told what to do, where jupyter_server shows them the template of its message."""
    ask = managers.gateway_request
    if ask.__module__ == __name__:
        return

    async def gateway_request(endpoint, **kwargs):
        try:
            return await ask(endpoint, **kwargs)
        except web.HTTPError as error:
            if error.status_code == 401:
                raise NotKnown from error.__cause__
            apart = said(error.__cause__, 409, skew.REASON)
            if apart:
                raise NotKnown(apart) from error.__cause__
            raise

    managers.gateway_request = gateway_request
