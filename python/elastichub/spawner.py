"""ElasticSpawner: hands every decision to elastichub and keeps the Hub truthful."""

from __future__ import annotations

import asyncio
import re
import uuid
import weakref
from datetime import datetime, timedelta
from inspect import isawaitable
from pathlib import Path
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.spawner import Spawner
from jupyterhub.utils import url_path_join
from traitlets import Bool, Dict, Enum, Integer, List, Unicode, default

from . import __version__, certificates
from .errors import (
    FormRefused,
    Problem,
    ServiceDown,
    SpawnException,
    SpawnFailed,
    SpawnRefused,
    alert,
    form_again,
)
from .service import ServerKey, Service

_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# How long a start is asked for again while the service restarts, and while it or the cluster is busy:
# each request then takes up to ten seconds.
START_RETRY_SECONDS = 3
START_BUSY_SECONDS = 25
# For this long after a start or stop, another replica may not have seen it yet.
SETTLE_SECONDS = 10
# How long a cancelled or failed start waits for its stop to be accepted.
CLEANUP_SECONDS = 5
# How long a stop is asked for again when it is refused, by a wrong token say.
STOP_REFUSED_SECONDS = 10
# How often a stop is looked at at most, and how many looks at all of them the Hub takes in a second.
STOP_LOOK_SECONDS = 0.5
STOP_LOOKS = 20
# How long the Hub may take from a form's choice to the start of the server.
HAND_OVER_SECONDS = 3
# What a link may fill in.
LINK_FIELDS = ("cpu", "memory", "image", "preset")
# How many people may have had one name.
MAX_OTHERS = 8

# $(NAME) as Kubernetes has it in a Pod's variables, and $$(NAME), which is the text $(NAME).
_REFERENCE = re.compile(r"\$?\$\(([A-Za-z_][A-Za-z0-9_]*)\)")

_ENDED = {"Stopped": 0, "Failed": 1}
_STOPPED = ("Stopping", "Stopped")

# Per event loop, so that one process may hold several Hubs, as tests do.
_services: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class _UserOptions(Dict):
    """user_options as they may lie in a Hub's database.

    JupyterHub up to 5 stores any JSON value that a client sends before anything looks at
    it, and gives it to the constructor of every spawner when it starts again. What is no
    object is not the user's wish, and must not keep the Hub from starting.
    """

    def validate(self, obj, value):
        obj._options_unreadable = not isinstance(value, dict)
        return super().validate(obj, {} if obj._options_unreadable else value)


class ElasticSpawner(Spawner):
    """Starts notebook servers through elastichub.

    A server is found by who its user is in the Hub's database and by its own name, so
    nothing is lost with the Hub's state, nor when the user is renamed.

    JupyterHub's own Spawner has an attribute `api_token`, the token of the user's
    server: no option of ours has the name of one of its.
    """

    _options_unreadable = False
    user_options = _UserOptions()

    api_url = Unicode(
        help="Address of elastichub, such as http://elastichub.hub.svc:8080."
    ).tag(config=True)
    service_token = Unicode(
        help="Bearer token of elastichub. Prefer service_token_file."
    ).tag(config=True)
    service_token_file = Unicode(
        help="File that holds the bearer token; read for every request, so it may change."
    ).tag(config=True)
    api_token_file = Unicode(
        help="Deprecated name of service_token_file."
    ).tag(config=True)
    ca_file = Unicode(
        help="Certificates that may sign elastichub's, PEM. Default: the system's."
    ).tag(config=True)
    stop_timeout = Integer(
        90, help="Seconds to wait until a stopped server is gone."
    ).tag(config=True)

    language = Unicode(
        help="Language of the spawn form, such as ru. Default: what the browser asks for."
    ).tag(config=True)

    send_groups = Bool(
        help="Tell elastichub the user's groups in the Hub, for groups.hub of its configuration."
    ).tag(config=True)
    send_tokens = List(
        Enum(["id_token", "access_token"]),
        help="Tokens of the user's auth_state to send, for groups.oidc of its configuration.",
    ).tag(config=True)

    @default("ip")
    def _default_ip(self):
        return "0.0.0.0"

    @default("port")
    def _default_port(self):
        return 8888

    @default("env_keep")
    def _default_env_keep(self):
        return []

    @default("start_timeout")
    def _default_start_timeout(self):
        return 300

    @default("ssl_alt_names")
    def _default_ssl_alt_names(self):
        """None of c.JupyterHub.trusted_alt_names: those are the Hub's and its proxy's, and no
        user's server should be able to stand for them."""
        return []

    @default("options_form")
    def _default_options_form(self):
        return _render_form

    @default("options_from_form")
    def _default_options_from_form(self):
        return self._decode_form

    @default("apply_user_options")  # JupyterHub 5.3 and later
    def _default_apply_user_options(self):
        return _check_options

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._take_deprecated_options()
        if self._options_unreadable:
            self._forget_options()
        self._names = None
        self._size = ""
        self._start_id = ""
        self._url = ""
        self._starting = False
        self._asking: asyncio.Future | None = None  # the request of a start
        self._handed_over = asyncio.Event()
        self._handed_over.set()
        self._nothing_runs = False
        self._changed_at = float("-inf")
        self._log = StartLog()
        self._watched_by = None
        self._telling: asyncio.Future | None = None

    def _take_deprecated_options(self):
        """Configurations of former releases go on to work.

        `api_token` cannot be a trait: JupyterHub sets the attribute of that name itself.
        """
        for cls in type(self).__mro__:
            section = self.config.get(cls.__name__) or {}
            if issubclass(cls, ElasticSpawner) and isinstance(
                section.get("api_token"), str
            ):
                self.service_token = self.service_token or section["api_token"]
                _warn_once(self.log, cls.__name__, "api_token", "service_token")
                break
        if self.api_token_file:
            self.service_token_file = self.service_token_file or self.api_token_file
            _warn_once(
                self.log, type(self).__name__, "api_token_file", "service_token_file"
            )

    @property
    def _service(self):
        if not self.api_url or not (self.service_token or self.service_token_file):
            raise ValueError(
                "ElasticSpawner needs api_url and service_token or service_token_file"
            )
        services = _services.setdefault(asyncio.get_running_loop(), {})
        key = (self.api_url, self.service_token, self.service_token_file, self.ca_file)
        if key not in services:
            _, token, file, ca_file = key
            services[key] = Service(
                self.api_url,
                (lambda: Path(file).read_text().strip()) if file else (lambda: token),
                ca_file,
            )
        return services[key]

    @property
    def _hub_user(self):
        """Who the user is, whatever they are called: id and when the Hub made the user.

        An id alone would be another's in another database. The time is rounded as those
        databases do it that keep whole seconds.
        """
        row = getattr(self.user, "orm_user", None)
        return "" if row is None else _person(row)

    @property
    def _key(self):
        """The server under the names of today: what is asked for is for these."""
        return ServerKey(self.user.name, self.name, self._hub_user)

    @property
    def _running_key(self):
        """The server under the names that it was started with."""
        user, server = self._names or (self.user.name, self.name)
        return ServerKey(user, server, self._hub_user)

    def _is_somebody_else(self, owner):
        """Whether a person, id@time, is another user of this Hub today."""
        number, _, _ = owner.partition("@")
        if not number.isdigit() or owner == self._hub_user:
            return False
        row = self.user.db.query(orm.User).filter_by(id=int(number)).one_or_none()
        return row is not None and owner in (_person(row, s) for s in (-1, 0, 1))

    async def _sign_in(self):
        """What elastichub is to know of the user's sign-in, None for nothing."""
        known = {}
        if self.send_groups:
            known["groups"] = sorted(group.name for group in self.user.groups)
        if self.send_tokens:
            state = await self.user.get_auth_state() or {}
            tokens = {name: state.get(name) for name in self.send_tokens}
            known.update({n: token for n, token in tokens.items() if isinstance(token, str)})
        return known or None

    # --- what the Hub keeps

    def load_state(self, state):
        """Whatever a release or another spawner has left there: what is no text of ours is
        as if it were not there, and the server is found by who its user is."""
        super().load_state(state)
        kept = {name: text for name, text in state.items() if isinstance(text, str)}
        self._start_id = kept.get("start", "")
        self._url = kept.get("url", "")
        # A former release has kept no names: they are those of now, whatever comes.
        self._names = (
            kept.get("user", self.user.name if self.user else ""),
            kept.get("server", self.name),
        )
        self._show_size(kept.get("size", ""))

    def get_state(self):
        state = super().get_state()
        if self._start_id:
            state["start"] = self._start_id
            state["url"] = self._url
            state["user"], state["server"] = self._names or (self.user.name, self.name)
            if self._size:
                state["size"] = self._size
        return state

    def clear_state(self):
        super().clear_state()
        self._start_id = ""
        self._url = ""
        self._names = None
        self._hide_size()
        # The Hub clears it when a server has stopped, and before a start, of which
        # nothing has been asked for yet: should that fail, there is nothing to stop.
        self._nothing_runs = True
        # A start begins with this, and so may its viewers.
        self._log = StartLog()

    # --- choices

    async def _decode_form(self, form):
        fields = {
            name: [value for value in values if isinstance(value, str)]
            for name, values in form.items()
            if not name.endswith("_file")
        }
        try:
            choice = await self._service.decode(
                self._key, fields, True, await self._sign_in()
            )
        except Problem as problem:
            refused = FormRefused if problem.form else SpawnRefused
            raise refused(problem) from problem
        except ServiceDown as error:
            raise SpawnRefused(error) from error
        await self._be_the_only_submit()
        return choice

    async def _be_the_only_submit(self):
        """Returns for one of the forms submitted at once, and ends the others.

        Between a form's choice and the start of the server the Hub may look at the user's
        sign-in again. What else is submitted meanwhile it would answer with "Unhandled
        error starting server".
        """
        while not self._handed_over.is_set():
            try:
                await asyncio.wait_for(self._handed_over.wait(), HAND_OVER_SECONDS)
            except asyncio.TimeoutError:
                self._handed_over.set()
        if self.active:
            raise AlreadyStarted(self)
        self._handed_over.clear()

    async def options_from_query(self, query):
        """A link fills the form in and starts nothing: anybody may have made it, and any
        page may send the browser there. The form says what it chooses; see _render_form.

        Up to JupyterHub 5 any parameter brings us here, `_xsrf` of a revisited error page
        too.
        """
        raise NothingChosen(200)

    def _refuse(self, error):
        """A refusal is no sign of a broken Hub, so it must not count as one.

        JupyterHub 5 counts every exception of a spawn towards consecutive_failure_limit
        and exits; 6 knows SpawnException. The count is taken back before it is made.
        """
        if SpawnException is None and self.handler is not None:
            settings = self.handler.settings
            settings["failure_count"] = settings.get("failure_count", 0) - 1
        return SpawnRefused(error)

    # --- start

    async def create_certs(self):
        """JupyterHub asks for certificates, before a start, where internal_ssl is on.

        They are made in the start, which may have to be asked for again with others, and the
        service says to the server where they are: there are no paths to tell the Hub.
        """
        return {}

    async def _certificates(self, others):
        """`ssl` of a start request: they name the host by which the Hub and its proxy will find
        the server."""
        try:
            host = await self._service.host(self._key, others)
        except Problem as problem:
            if problem.kind != "no-route":
                raise
            raise Problem(
                400,
                "invalid-request",
                detail="The notebook service is of a release that does not support "
                "c.JupyterHub.internal_ssl. An administrator must bring it up to this release "
                f"({__version__}) with helm upgrade, or switch internal_ssl off.",
            ) from problem
        try:
            return await asyncio.to_thread(
                certificates.make,
                self.internal_certs_location,
                self.internal_trust_bundles[certificates.AUTHORITY],
                [certificates.of_host(host), *await self._own_alt_names()],
            )
        except Exception as error:
            self.log.exception("No certificate for %s", self._log_start)
            raise Problem(
                400,
                "invalid-request",
                detail="The Hub cannot make a certificate for the server; its log says why. An "
                "administrator must look at c.JupyterHub.internal_certs_location and "
                "c.Spawner.ssl_alt_names.",
            ) from error

    async def _own_alt_names(self):
        """Those that the Hub's configuration adds."""
        names = self.ssl_alt_names
        if callable(names):
            names = names(self)
            if isawaitable(names):
                names = await names
        local = ["DNS:localhost", "IP:127.0.0.1"] if self.ssl_alt_names_include_local else []
        return [*local, *names]

    async def start(self):
        self._handed_over.set()
        self._start_id = uuid.uuid4().hex
        self._url = ""
        self._names = (self.user.name, self.name)
        self._starting = True
        self.log.info("Starting %s", self._log_start)
        try:
            await self._request_start()
            self._url = await self._until_ready()
        except asyncio.CancelledError:
            # Too late, or the user's Stop. Either way the Hub goes on with poll and stop.
            await self._clean_up()
            raise
        except (SpawnRefused, SpawnFailed):
            # poll says so at once, and the Hub does not call stop: the user is not kept
            # waiting for the reason.
            if not self._nothing_runs:
                await self._clean_up()
                self._nothing_runs = True
            raise
        finally:
            self._starting = False
            self._changed_at = asyncio.get_running_loop().time()
            self._log.close()
        return self._url

    def _variables(self):
        """get_env() as text. In `environment` a $(NAME) of a variable that is there is its
        value; what is neither text nor a number is refused by its name."""
        env = self.get_env()
        odd = [
            {"field": name, "message": f"is a {type(value).__name__}, not text."}
            for name, value in env.items()
            if isinstance(value, bool) or not isinstance(value, (str, int, float))
        ]
        if odd:
            raise self._refuse(
                Problem(
                    400,
                    "invalid-request",
                    detail="Values of c.Spawner.environment must be text. One that is in a "
                    "Secret belongs into a GroupPolicy, as spec.env[].valueFrom.secretKeyRef.",
                    errors=odd,
                )
            )
        env = {name: str(value) for name, value in env.items()}
        self._refuse_bytes({**env, **dict(enumerate([*self.cmd, *self.get_args()]))})

        def value(reference):
            text, name = reference[0], reference[1]
            return text[1:] if text.startswith("$$") else env.get(name, text)

        configured = {
            name: _REFERENCE.sub(value, env[name]) for name in self.environment if name in env
        }
        return {**env, **configured}

    def _refuse_bytes(self, texts):
        """What Python has read of bytes that are no text could not be sent as it is."""
        odd = [
            {
                "field": name if isinstance(name, str) else "cmd and args",
                "message": "is not UTF-8.",
            }
            for name, text in texts.items()
            if any("\ud800" <= character <= "\udfff" for character in text)
        ]
        if odd:
            raise self._refuse(
                Problem(
                    400,
                    "invalid-request",
                    detail="Variables and arguments of servers must be UTF-8.",
                    errors=odd,
                )
            )

    async def _request_start(self):
        """Ask for the start. Refused, `_nothing_runs` says whether that is certain."""
        self._nothing_runs = True
        if not hasattr(self, "_run_apply_user_options"):  # before JupyterHub 5.3
            await _check_options(self, self.user_options)
        request = {
            "start": self._start_id,
            "options": self.user_options,
            "env": self._variables(),
            "cmd": list(self.cmd),
            "args": self.get_args(),
        }
        sign_in = await self._sign_in()
        if sign_in:
            request["sign_in"] = sign_in
        loop = asyncio.get_running_loop()
        began = loop.time()
        others: list[str] = []
        name = self.display_name if self._has_display_name() else ""
        while True:
            try:
                if self.internal_ssl:
                    request["ssl"] = await self._certificates(others)
                # Repeating it is safe: the start id stays the same.
                asking = self._service.start(self._key, request, others, name, self._trace())
                self._asking = asyncio.ensure_future(asking)
                state = await asyncio.shield(self._asking)
                self._nothing_runs = False
                self._show_size(_size(state.get("options")))
                return
            except (Problem, ServiceDown) as error:
                if self._may_ignore(error, others):
                    continue
                if getattr(error, "kind", "") == "too-large":
                    _name_the_largest(error, request["env"])
                if _perhaps_done(error):
                    self._nothing_runs = False
                again = isinstance(error, ServiceDown) or error.transient
                busy = getattr(error, "kind", "") in ("deadline", "cluster-busy")
                patience = START_BUSY_SECONDS if busy else START_RETRY_SECONDS
                if not again or loop.time() - began > patience:
                    raise self._refuse(error) from error
                self.log.warning("Repeating the start of %s: %s", self._log_start, error)
                await asyncio.sleep(1)

    @property
    def _log_start(self):
        """Names the server, and the id under which its start is in the service's log."""
        return f"{self._log_name} (request {self._start_id})" if self._start_id else self._log_name

    def _trace(self):
        """The trace that the request belongs to which starts the server, if a proxy before the
        Hub has begun one (W3C Trace Context)."""
        request = getattr(self.handler, "request", None)
        sent = request.headers.get("traceparent", "") if request is not None else ""
        return {"traceparent": sent} if _TRACEPARENT.fullmatch(sent) else {}

    def _has_display_name(self):
        """Named servers of JupyterHub 6 may be called something else than their name."""
        return self.name and getattr(self, "display_name", None) not in (None, "", self.name)

    def _show_size(self, size):
        """JupyterHub 6's admin page has a column for what user_options call `profile`. What
        is set here is shown, and never stored with the user's choices."""
        self._size = size
        if size:
            self.user_options = {**self.user_options, "profile": size}

    def _hide_size(self):
        if self._size and self.user_options.get("profile") == self._size:
            options = dict(self.user_options)
            del options["profile"]
            self.user_options = options
        self._size = ""

    def _may_ignore(self, error, others):
        """Whether it asks for nothing but whose a home is, and that is known: then it is
        added to others, and the start is to be repeated."""
        owner = error.owner if isinstance(error, Problem) else ""
        if not owner or owner in others or len(others) == MAX_OTHERS:
            return False
        if not self._is_somebody_else(owner):
            return False
        others.append(owner)
        return True

    async def _until_ready(self):
        """Follow the events; look at the state whenever a stream ends, whatever the reason.

        The Hub's start_timeout bounds it.
        """
        loop = asyncio.get_running_loop()
        missing_since = None
        while True:
            try:
                await self._service.events(
                    self._running_key,
                    self._start_id,
                    self._log.last_id,
                    self._log.note,
                )
            except (Problem, ServiceDown) as error:
                self.log.warning("No events of %s: %s", self._log_start, error)
            try:
                state = await self._service.state(self._running_key, self._start_id)
            except (Problem, ServiceDown) as error:
                self.log.warning("No state of %s: %s", self._log_start, error)
            else:
                if state is None or state["start"] != self._start_id:
                    missing_since = missing_since or loop.time()
                    if loop.time() - missing_since > SETTLE_SECONDS:
                        raise SpawnFailed("The server was removed while it started.")
                else:
                    missing_since = None
                    if state["ready"]:
                        return state["url"]
                    if state["phase"] in _ENDED:
                        raise SpawnFailed(
                            state.get("message") or "The server did not start."
                        )
            await asyncio.sleep(1)

    async def _answered(self):
        """Waits for the answer to a start that was cancelled while it was asked for: a stop
        that overtakes it finds nothing to stop."""
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking], timeout=CLEANUP_SECONDS)

    async def _clean_up(self):
        await self._answered()
        self._service.give_up(self._running_key, self._start_id)
        try:
            await asyncio.wait_for(
                self._service.stop(self._running_key, self._start_id), CLEANUP_SECONDS
            )
        except (Problem, ServiceDown, asyncio.TimeoutError) as error:
            self.log.error("%s was not stopped: %s", self._log_start, error)

    async def progress(self):
        """Every viewer gets the whole log of this start, from the one stream of start()."""
        async for event in self._log.follow():
            yield event

    # --- while it runs

    async def poll(self):
        """None while it runs, starts, or nothing is known: the Hub forgets what is said to
        have ended, and a service that is down says nothing of the servers."""
        if self._starting:
            return None
        if self._nothing_runs:
            return 1
        try:
            # The Hub makes a new spawner after a stop, which knows nothing of the stop.
            ended_at = self._service.ended_at(self._running_key)
            servers = await self._service.snapshot(newer_than=max(self._changed_at, ended_at))
        except Exception:
            self.log.exception("Could not poll %s", self._log_start)
            return None
        if servers is None:
            return None
        state = self._state_in(servers)
        if state is None:
            settled = asyncio.get_running_loop().time() - self._changed_at
            return 0 if settled > SETTLE_SECONDS else None
        self._url = state.get("url") or self._url
        return _ENDED.get(state["phase"])

    def start_polling(self):
        """The Hub polls every poll_interval seconds. What was stopped or deleted without it,
        with kubectl say, it is told within some seconds."""
        super().start_polling()
        if self.poll_interval > 0:
            self._watched_by = self._service
            self._watched_by.watch(self)

    def stop_polling(self):
        super().stop_polling()
        if self._watched_by is not None:
            self._watched_by.unwatch(self)
            self._watched_by = None

    def compare(self, servers):
        """Have the Hub poll at once if the server seems to have ended. Returns whether it does."""
        if self._starting or (self._telling is not None and not self._telling.done()):
            return True
        state = self._state_in(servers)
        if state is not None and state["phase"] not in _ENDED:
            return False
        self._telling = asyncio.ensure_future(self.poll_and_notify())
        return True

    def _state_in(self, servers):
        if self._start_id:
            return servers.of(self._start_id)
        return servers.find(self._running_key)

    async def get_url(self):
        """Asked when the Hub has restarted. A start that was in flight is waited for."""
        if not self._url:
            try:
                state = await self._service.state(self._running_key)
                if state is not None:
                    self._start_id = state["start"]
                    self._show_size(_size(state.get("options")))
                    self._url = state.get("url") or await asyncio.wait_for(
                        self._until_ready(), self.start_timeout
                    )
            except Exception:
                self.log.exception("No address of %s", self._log_start)
        return self._url or self.server.url

    # --- the end

    async def stop(self, now=False):
        self._service.stops += 1
        try:
            await self._stop()
        finally:
            self._service.stops -= 1

    async def _stop(self):
        await self._answered()
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.stop_timeout
        asked, start = False, self._start_id
        pause = 0.25
        while True:
            try:
                if not asked:
                    await self._service.stop(self._running_key, start)
                    asked = True
                state = await self._service.state(self._running_key, start)
                if state is None or state["stopped"]:
                    break
                # Somebody else may have started it meanwhile.
                asked, start = state["phase"] in _STOPPED, state["start"]
            except (Problem, ServiceDown) as error:
                self.log.warning("Stopping %s: %s", self._log_start, error)
                if isinstance(error, Problem) and not error.transient:
                    deadline = min(deadline, began + STOP_REFUSED_SECONDS)
            if loop.time() > deadline:
                self._stop_later(start)
                raise TimeoutError(
                    f"{self._log_name} did not stop in {deadline - began:.0f} seconds"
                )
            await asyncio.sleep(pause)
            pause = max(min(2 * pause, STOP_LOOK_SECONDS), self._service.stops / STOP_LOOKS)
        self._nothing_runs = True
        self._changed_at = loop.time()
        self._service.ended(self._running_key)

    def _stop_later(self, start):
        """The Hub gives a stop up and forgets the server, which may run on: then it is asked for
        until that start has ended, and the server is nobody to the Hub.

        JupyterHub itself takes the token after a stop that succeeds.
        """
        self.log.error("%s did not stop in time; it is asked to as long as it runs", self._log_start)
        if start:
            self._service.give_up(self._running_key, start)
        db = self.user.db
        clients = db.query(orm.OAuthClient).filter_by(identifier=self.oauth_client_id)
        for row in (orm.APIToken.find(db, self.api_token), *clients):
            if row is not None:
                db.delete(row)
        db.commit()

    async def delete_forever(self):
        """The home volume goes too. The Hub swallows what is raised here, so it is logged."""
        try:
            await self._service.remove(self._key)
        except (Problem, ServiceDown) as error:
            self.log.error("%s was not removed: %s", self._log_name, error)
            raise

    async def rename(self, old_name, new_name):
        """JupyterHub 6 gives a stopped server another name. What is raised prevents it."""
        try:
            await self._service.rename(self._key._replace(server=old_name), new_name)
        except (Problem, ServiceDown) as error:
            raise SpawnRefused(error) from error

    def _asked_now(self):
        """Whether who starts the server says something of options, in a form or in the
        body of a request, so that they are not those that the Hub has kept."""
        handler = self.handler
        if hasattr(handler, "get_server_json_body"):  # JupyterHub 6
            return handler.get_server_json_body()["user_options"] is not None
        if hasattr(handler, "get_json_body"):
            return handler.get_json_body() is not None
        return handler is not None and handler.request.method == "POST"

    def _drop_options(self, names):
        """Take what means nothing out of the options that the Hub keeps, and say so."""
        if not names:
            return
        listed = ", ".join(name or "all" for name in names)
        self.log.warning("Options kept of %s that mean nothing now: %s", self._log_name, listed)
        self._log.note(
            "", "", {"message": f"Options of an earlier start no longer count: {listed}."}
        )
        row = self.orm_spawner
        if row is not None:
            kept = row.user_options if isinstance(row.user_options, dict) else {}
            good = self.user_options.keys() - set(names)
            row.user_options = {k: v for k, v in kept.items() if k in good} or None
            self.user.db.commit()

    def _forget_options(self):
        """Take options that mean nothing out of the Hub's database: JupyterHub would use
        them for every start that says nothing of options."""
        if self.orm_spawner is not None:
            self.orm_spawner.user_options = None
            self.user.db.commit()


class NothingChosen(SpawnRefused):
    """The spawn page shows its form and no error."""

    def __init__(self, status):
        super().__init__(Problem(status))
        self.status_code = status
        self.headers = {}
        self.jupyterhub_message = self.jupyterhub_html_message = ""


class AlreadyStarted(NothingChosen):
    """Of two submits at once, the later one shows what becomes of the first."""

    def __init__(self, spawner):
        super().__init__(302)
        path = url_path_join(
            spawner.hub.base_url,
            "spawn-pending",
            spawner.user.escaped_name,
            quote(spawner.name, safe=""),
        )
        self.headers = {"Location": path}


class StartLog:
    """The events of one start, kept for viewers who come later."""

    def __init__(self):
        self.last_id = ""
        self._events = []
        self._closed = False
        self._grown = asyncio.Event()

    def note(self, event_id, kind, data):
        progress, message = data.get("progress"), data.get("message")
        if event_id == self.last_id and event_id:
            if isinstance(progress, int) and not message:
                self._move(min(progress, 99))
            return
        self.last_id = event_id
        event: dict[str, object] = {"message": str(message or "")}
        # 100 is the Hub's to say, when the server has answered.
        if isinstance(progress, int):
            event["progress"] = max(0, min(progress, 99))
        self._events.append(event)
        self._wake()

    def _move(self, progress):
        """The bar moves on, by an event without a message, of which the page shows none."""
        if self._events and progress > self._events[-1].get("progress", 0):
            self._events.append({"progress": progress})
            self._wake()

    def close(self):
        self._closed = True
        self._wake()

    def _wake(self):
        self._grown.set()
        self._grown = asyncio.Event()

    async def follow(self):
        seen = 0
        while True:
            for event in self._events[seen:]:
                seen += 1
                yield event
            if seen < len(self._events):
                continue
            if self._closed:
                return
            await self._grown.wait()


async def _render_form(spawner):
    if form_again():
        return form_again()
    languages = spawner.language
    if not languages and spawner.handler is not None:
        languages = spawner.handler.request.headers.get("Accept-Language", "")[:1024]
    try:
        return await spawner._service.form(
            spawner._key, languages, await spawner._sign_in(), _link(spawner.handler)
        )
    except (Problem, ServiceDown) as error:
        spawner.log.warning("No form for %s: %s", spawner._log_name, error)
        return alert(error)


def _link(handler):
    """What the link chooses by which the form was come by. It is no wish of the user's
    before the form is submitted."""
    request = getattr(handler, "request", None)
    if request is None or request.method != "GET":
        return {}
    arguments = request.query_arguments
    return {
        name: [value.decode(errors="replace") for value in arguments[name]]
        for name in LINK_FIELDS
        if name in arguments
    }


async def _check_options(spawner, user_options):
    """For callers of the Hub's REST API, who see no form, before anything is prepared.

    What the Hub has kept is no wish of now: another spawner's options, or what a policy
    no longer allows, give way to the defaults, and the start says so.
    """
    try:
        options, sign_in = user_options or {}, await spawner._sign_in()
        if not spawner._asked_now():
            spawner.user_options, dropped = await spawner._service.check_stored(
                spawner._key, options, sign_in
            )
            spawner._drop_options(dropped)
            return
        if spawner._options_unreadable:
            raise Problem(
                422, "invalid-options", detail="The options must be one JSON object."
            )
        spawner.user_options = await spawner._service.check(spawner._key, options, sign_in)
    except (Problem, ServiceDown) as error:
        if isinstance(error, Problem) and error.kind == "invalid-options":
            spawner._forget_options()
        raise spawner._refuse(error) from error


def _size(options):
    """What was chosen, in a few words; "" if that is not known."""
    options = options if isinstance(options, dict) else {}
    cpu, others = options.get("cpu"), (options.get("memory"), options.get("image"))
    return ", ".join([*([f"{cpu} CPU"] if cpu else []), *(str(text) for text in others if text)])


def _person(row, off=0):
    """id@time of a row of the Hub's users (jupyterhub.orm.User).

    off is in seconds: databases that keep whole seconds round in different ways.
    """
    created = row.created or datetime(1970, 1, 1)
    whole = (created + timedelta(seconds=off + 0.5)).replace(microsecond=0)
    return f"{row.id}@{whole.isoformat()}Z"


def _perhaps_done(error):
    """Whether a request that failed so may have been carried out all the same."""
    if isinstance(error, ServiceDown):
        return error.perhaps_delivered
    return error.status >= 500


def _name_the_largest(problem, env):
    """The service has not read a request that is too large, so it cannot say what is."""
    name = max(env, key=lambda n: len(n) + len(env[n]))
    size = len(env[name].encode())
    problem.errors = [
        {"field": name, "message": f"has {size} bytes, more than any other variable."}
    ]


_warned: set[tuple[str, str]] = set()


def _warn_once(log, owner, former, name):
    """A spawner is made for every server."""
    if (owner, former) not in _warned:
        _warned.add((owner, former))
        log.warning("c.%s.%s is deprecated: it is called %s now", owner, former, name)
