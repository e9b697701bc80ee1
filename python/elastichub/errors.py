"""What the service answers when it does not do as asked, and how the Hub's users read it."""

from __future__ import annotations

import json
from contextvars import ContextVar
from enum import Enum
from html import escape

from tornado import web

try:  # JupyterHub 6: a refusal that does not count as a failed spawn
    from jupyterhub.spawner import SpawnException
except ImportError:
    SpawnException = None

_PREFIX = "urn:elastichub:problem:"


class Problem(Exception):
    """An RFC 9457 problem.

    `kind` is the last part of its type, "" when the answer was no problem document
    (a proxy in between, say).
    """

    def __init__(
        self,
        status,
        kind="",
        title="",
        detail="",
        instance="",
        form="",
        owner="",
        errors=(),
    ):
        super().__init__(f"{status} {kind or 'unexpected answer'} ({instance})")
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.instance = instance
        self.form = form
        # With owner-unclear: whom a home was made for.
        self.owner = owner
        self.errors = list(errors)

    @classmethod
    def parse(cls, status, body):
        try:
            document = json.loads(body)
            kind = document["type"]
        except (ValueError, TypeError, KeyError):
            return cls(status)
        if not isinstance(kind, str) or not kind.startswith(_PREFIX):
            return cls(status)
        texts = {
            key: str(document.get(key) or "")
            for key in ("title", "detail", "instance", "form", "owner")
        }
        return cls(
            status,
            kind.removeprefix(_PREFIX),
            **texts,
            errors=[
                {key: str(e.get(key) or "") for key in ("field", "code", "message")}
                for e in document.get("errors") or ()
                if isinstance(e, dict)
            ],
        )

    @property
    def transient(self):
        """The same request may succeed in a moment."""
        return self.status >= 500 and self.kind in (
            "",
            "not-synced",
            "other-host",
            "removing",
            "draining",
            "too-many-bodies",
            "deadline",
            "cluster-busy",
            "internal",
        )

    def words(self):
        """(sentence, [(field, message), …]) for a person."""
        faults = [(e["field"] or "options", e["message"]) for e in self.errors]
        if self.status == 401:
            return (
                "The notebook service does not accept the Hub's token. An administrator must "
                "correct c.ElasticSpawner.service_token or service_token_file.",
                [],
            )
        if self.detail:
            return self.detail, faults
        if not self.kind:
            return (
                f"Something else than the notebook service answers at its address, with status {self.status}. "
                "An administrator must correct c.ElasticSpawner.api_url.",
                [],
            )
        return "The notebook service refused the request.", faults


class Down(Enum):
    """Why the service cannot be reached, and what of the Hub's configuration it depends on."""

    ADDRESS = "nothing answers at the address in c.ElasticSpawner.api_url"
    NAME = "the host in c.ElasticSpawner.api_url is not known"
    CERTIFICATE = "its certificate is not trusted; c.ElasticSpawner.ca_file says whose is"
    TOKEN = "the file in c.ElasticSpawner.service_token_file cannot be read"
    SILENT = "it does not answer in time"
    BROKEN = "the connection broke"


class ServiceDown(Exception):
    """The service cannot be reached. Nothing may be concluded about servers."""

    def __init__(self, why, text):
        super().__init__(f"{why.value}: {text}")
        self.why = why

    @property
    def perhaps_delivered(self):
        """The service may have got the request, and may be carrying it out."""
        return self.why in (Down.SILENT, Down.BROKEN)

    def words(self):
        return (
            f"The notebook service cannot be reached: {self.why.value}. "
            "Running servers are not affected. Please try again in a minute.",
            [],
        )


def as_text(error):
    sentence, faults = error.words()
    return " ".join([sentence, *(f"{field}: {message}" for field, message in faults)])


def as_html(error):
    sentence, faults = error.words()
    items = "".join(
        f"<li><strong>{escape(field)}</strong>: {escape(message)}</li>"
        for field, message in faults
    )
    return f"<p>{escape(sentence)}</p>" + (f"<ul>{items}</ul>" if items else "")


def alert(error):
    """What stands in the spawn page where the form would be."""
    return f'<div class="alert alert-danger" role="alert">{as_html(error)}</div>'


# Problem kind → (HTTP status for the Hub's client, metric label in JupyterHub 6), as
# testdata/contract/problems.json has it; every other is (503, "service").
# The Hub's own 404 means that the Hub has no such user, hence 403 for unknown-user.
_REFUSALS = {
    "invalid-options": (422, "options"),
    "too-large": (413, "options"),
    "invalid-request": (400, "request"),
    "malformed": (400, "request"),
    "unknown-user": (403, "policy"),
    "no-policy": (403, "policy"),
    "sign-in-again": (403, "policy"),
    "invalid-policy": (500, "policy"),
    "too-many-servers": (409, "quota"),
    "name-taken": (409, "request"),
    "owner-unclear": (409, "request"),
    "running": (409, "request"),
    "directory-unavailable": (503, "directory"),
}


class SpawnRefused(SpawnException or web.HTTPError):  # type: ignore[misc] # by the Hub's version
    """Raised before anything is started; the user reads why."""

    def __init__(self, error):
        status, reason = _REFUSALS.get(getattr(error, "kind", ""), (503, "service"))
        text = as_text(error)
        if SpawnException:
            super().__init__(text, reason=reason, status_code=status)
        else:
            super().__init__(status, text)
        self.jupyterhub_message = text
        self.jupyterhub_html_message = as_html(error)
        if status == 503:
            self.headers = {"Retry-After": "5"}


# The form that stands in the spawn page next, for the request that is being answered.
_form_again = ContextVar("elastichub_form_again", default="")


def form_again():
    return _form_again.get()


class FormRefused(SpawnRefused):
    """A submitted form, which comes back as it was entered and says itself what is wrong.

    The Hub reads the message of what options_from_form raised, and then asks for a form: of
    the default server's spawner, without the request, in the task that serves it. So the
    form is left in that task's context when the message is read, and cannot reach another
    request. The message is empty: everything is said at the fields.
    """

    def __init__(self, problem):
        super().__init__(problem)
        self._form = problem.form
        self.jupyterhub_html_message = ""

    @property
    def jupyterhub_message(self):
        _form_again.set(self._form)
        return ""

    @jupyterhub_message.setter
    def jupyterhub_message(self, text):
        pass


class SpawnFailed(web.HTTPError):
    """The server was being started and did not come up."""

    def __init__(self, message):
        super().__init__(500, message)
        self.jupyterhub_message = message
        self.jupyterhub_html_message = f"<p>{escape(message)}</p>"
