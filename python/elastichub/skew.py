"""What the parts of elastichub tell each other of their release; the rule is docs/skew.md's.

The Go part is the package skew. Who is too far apart is refused by the service and by the gateway:
here is what they are told, and how they say it.
"""

from __future__ import annotations

import json

from . import __version__

HEADER = "X-Elastichub-Version"
# Of the Hub's class with the service, and of notebook servers with their gateway.
HUB_PROTOCOL = 1
GATEWAY_PROTOCOL = 1
# What the service and the gateway call a refusal.
KIND = "too-far-apart"
REASON = "TooFarApart"


def told(protocol):
    """The value of HEADER."""
    return f"{__version__}; protocol={protocol}"


def with_told(headers):
    """The headers of requests to a gateway, an object as JSON, and what this server tells. Any other
    text is jupyter_server's to refuse."""
    try:
        return json.dumps({**json.loads(headers), HEADER: told(GATEWAY_PROTOCOL)})
    except (ValueError, TypeError):
        return headers
