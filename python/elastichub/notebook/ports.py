"""Servers that run in a kernel of the gateway, such as TensorBoard, as pages of this server.

    <base>/elastichub/kernels/<kernel id>/proxy/<port>/…    of one kernel
    <base>/proxy/<port>/                                    of the newest kernel that listens there

The second leads to the first, since what listens changes, and a page's cookies and paths must not.
Whoever may use this server may use them, and nobody else; the gateway asks again whose the kernel is.
What opens this server or the Hub is taken off: the server in the kernel is a program like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote, urlsplit

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.gateway.gateway_client import GatewayClient, gateway_request
from jupyter_server.utils import url_path_join
from tornado import httputil, web
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.iostream import StreamClosedError
from tornado.tcpclient import TCPClient

FROM = "Elastichub-From"  # with "kernel": not the gateway's own answer
CONNECT_TIMEOUT = 10.0  # seconds
ASK_TIMEOUT = 5.0  # seconds for a gateway to say what listens
PART = 64 << 10  # bytes
PROBLEM = 64 << 10  # bytes of an error of the gateway's
MOST_BODY = 1 << 40  # bytes; it is never in memory
MOST_SERVERS, MOST_COOKIES = 64, 64  # that are remembered

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
# Of a request: what opens something else, and what is said anew.
_OURS = {"authorization", "cookie", "host", "referer", "forwarded", "x-real-ip", "x-scheme", FROM.lower()}
# Of an answer: what would hold for all of the Hub's pages, or let others read this one.
_TOO_WIDE = {
    "set-cookie", "location", "clear-site-data", "strict-transport-security", "public-key-pins", "alt-svc",
    "service-worker-allowed", FROM.lower(),
}  # fmt: skip
_RESERVED = re.compile(r"(?i)(jupyter|_xsrf$|username-|__host-|__secure-)")


class Cookies:
    """The names of the cookies that each server has set: no others are for it."""

    def __init__(self):
        self._names: OrderedDict[tuple, set] = OrderedDict()

    def mine(self, server, header):
        """What of a Cookie header is the server's own."""
        names = self._names.get(server, ())
        pairs = [pair.strip() for pair in header.split(";")]
        return "; ".join(pair for pair in pairs if pair.partition("=")[0] in names)

    def narrow(self, server, header, prefix):
        """A Set-Cookie header that holds below the prefix alone; None: it must not be."""
        pair, *attributes = [part.strip() for part in header.split(";")]
        name = pair.partition("=")[0].strip()
        names = self._names.setdefault(server, set())
        self._names.move_to_end(server)
        if len(self._names) > MOST_SERVERS:
            self._names.popitem(last=False)
        if not name or _RESERVED.match(name) or (len(names) >= MOST_COOKIES and name not in names):
            return None
        names.add(name)
        path, kept = "/", []
        for attribute in attributes:
            key, _, value = attribute.partition("=")
            if key.strip().lower() == "path" and value.strip().startswith("/"):
                path = value.strip()
            elif key.strip().lower() not in ("path", "domain"):
                kept.append(attribute)
        return "; ".join([pair, *kept, f"Path={prefix}{path}"])


def without_token(query):
    """A query without what opens this server."""
    return "&".join(part for part in query.split("&") if unquote(part.partition("=")[0].replace("+", " ")) != "token")


def here(location, prefix, port, host):
    """Where a redirect of the server leads, as the browser has to see it."""
    to = urlsplit(location)
    local = {f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", host}
    if to.netloc and (to.netloc not in local or to.path.startswith(prefix + "/")):
        return location
    if not to.path.startswith("/") or to.path.startswith("//") or to.path.startswith(prefix + "/"):
        return location if not to.netloc else to._replace(scheme="", netloc="", path=prefix + "/").geturl()
    return to._replace(scheme="", netloc="", path=prefix + to.path).geturl()


class _Answer(httputil.HTTPMessageDelegate):
    """An answer on its way to the browser, part by part."""

    def __init__(self, handler, connection):
        self._handler, self._connection = handler, connection
        self.problem: bytearray | None = None  # the gateway's own answer
        self.status, self.whole, self.upgraded = 0, False, None

    def headers_received(self, start_line, headers):
        if start_line.code == 101:
            self.upgraded = (start_line, headers, self._connection.detach())
            return None
        if start_line.code < 200:
            return None
        self.status = start_line.code
        if headers.get(FROM) != "kernel":
            self.problem = bytearray()
            return None
        return self._handler.begin(start_line, headers)

    def data_received(self, chunk):
        if self.problem is not None:
            self.problem += chunk[: PROBLEM - len(self.problem)]
            return None
        self._handler.write(chunk)
        return self._handler.flush()

    def finish(self):
        self.whole = True

    def on_connection_close(self):
        pass


class _Page(JupyterHandler):
    """A page for whoever may run code in this server's kernels."""

    async def check_user(self):
        """Leads to the sign-in, or ends the request: jupyter_server by itself does neither."""
        if self.current_user is None:
            web.authenticated(lambda _: None)(self)
            return
        may = self.authorizer.is_authorized(self, self.current_user, "execute", "kernels")
        if not await ensure_async(may):
            raise web.HTTPError(403, "You may not run code in the kernels of this server.")

    def write_error(self, status_code, **kwargs):
        """What is wrong, in a sentence."""
        error = kwargs.get("exc_info", (None, None))[1]
        said = ""
        if isinstance(error, web.HTTPError) and error.log_message:
            said = error.log_message % error.args if error.args else error.log_message
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{said or self._reason}\n")


@web.stream_request_body
class PortHandler(_Page):
    """One request to a server in a kernel."""

    SUPPORTED_METHODS = (*JupyterHandler.SUPPORTED_METHODS, "PROPFIND")
    cookies_of = Cookies()

    def check_xsrf_cookie(self):
        """The server in the kernel has forms of its own, which know nothing of ours. Pages of other
        origins may send nothing. Before the user is known it is no question yet; prepare asks again."""
        if hasattr(self, "_jupyter_current_user") and not self.check_origin():
            raise web.HTTPError(403, "Pages of other origins may not use the servers of a kernel.")

    async def prepare(self, **kwargs):
        self._out = None
        await super().prepare(**kwargs)
        if not self._finished:
            await self.check_user()
        if self._finished:
            return
        path = re.fullmatch(rf".*?/elastichub/kernels/({_ID})/proxy/([0-9]{{1,5}})(/.*)?", self.request.path)
        if path is None or not self.request.path.startswith(self.base_url):
            raise web.HTTPError(404)
        self.kernel_id, self.port, rest = path.groups()
        self.prefix = url_path_join(self.base_url, f"elastichub/kernels/{self.kernel_id}/proxy/{self.port}")
        query = without_token(self.request.query)
        query = f"?{query}" if query else ""
        if rest is None:
            self.redirect(f"{self.prefix}/{query}", status=307)
            return
        self.upgrades = "upgrade" in self.request.headers.get("Connection", "").lower() and self.request.method == "GET"
        if self.upgrades and not self.check_origin():
            raise web.HTTPError(403, "Pages of other origins may not use the servers of a kernel.")
        self._in.set_max_body_size(MOST_BODY)
        await self._ask(f"/{self.kernel_id}/ports/{self.port}{rest}{query}")

    @property
    def _in(self) -> Any:
        """The browser's connection."""
        return self.request.connection

    async def _ask(self, path):
        """Begins the request to the gateway."""
        client = GatewayClient.instance()
        arguments = client.load_connection_args()
        to = urlsplit(str(client.url))
        secure = to.scheme == "https"
        tls = _tls(arguments) if secure else None
        try:
            stream = await asyncio.wait_for(
                TCPClient().connect(to.hostname or "", to.port or (443 if secure else 80), ssl_options=tls),
                CONNECT_TIMEOUT,
            )
        except (OSError, StreamClosedError, asyncio.TimeoutError) as error:
            raise web.HTTPError(503, "The gateway of the kernels cannot be reached now.") from error
        self._stream = stream
        limits = HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=MOST_BODY, chunk_size=PART)
        self._out = HTTP1Connection(stream, True, limits)
        headers = self._headers_out()
        headers["Host"] = to.netloc.rpartition("@")[2]
        for name, value in arguments.get("headers", {}).items():
            headers[name] = value
        target = url_path_join("/", to.path, str(client.kernels_endpoint)) + path
        line = httputil.RequestStartLine(self.request.method, target, "HTTP/1.1")
        self._written = self._out.write_headers(line, headers)

    def _headers_out(self):
        request = self.request.headers
        named = {name.strip().lower() for name in request.get("Connection", "").split(",")}
        xsrf = self.get_cookie("_xsrf")
        headers = httputil.HTTPHeaders()
        for name, value in request.get_all():
            low = name.lower()
            if low in _HOP | _OURS | named or low.startswith(("x-forwarded-", "x-jupyterhub-")):
                continue
            if low == "x-xsrftoken" and value == xsrf:
                continue
            headers.add(name, value)
        if cookies := self.cookies_of.mine((self.kernel_id, self.port), request.get("Cookie", "")):
            headers["Cookie"] = cookies
        if "Referer" in request:
            headers["Referer"] = urlsplit(request["Referer"])._replace(query="", fragment="").geturl()
        headers["X-Forwarded-Host"] = self.request.host
        headers["X-Forwarded-Proto"] = self.request.protocol
        headers["X-Forwarded-Prefix"] = self.prefix
        if self.upgrades:
            headers["Connection"], headers["Upgrade"] = "Upgrade", request.get("Upgrade", "")
        if "chunked" in request.get("Transfer-Encoding", "").lower():
            headers["Transfer-Encoding"] = "chunked"
        return headers

    async def data_received(self, chunk):
        if self._out is not None:
            with contextlib.suppress(StreamClosedError):  # it has answered before all was sent
                await self._out.write(chunk)

    async def _pass(self, *_):
        if self._out is None:
            return
        answer = _Answer(self, self._out)
        try:
            with contextlib.suppress(StreamClosedError):
                self._out.finish()
            await self._out.read_response(answer)
        except StreamClosedError:
            pass  # the browser has gone, or the gateway
        finally:
            if answer.upgraded is None:
                self._stream.close()
        if answer.upgraded is not None:
            await self._relay(*answer.upgraded)
        elif answer.problem is not None and answer.status >= 400:
            raise web.HTTPError(*_told(answer))
        elif not answer.whole or answer.problem is not None:
            if not self._headers_written:
                raise web.HTTPError(502, "The kernel's server has broken its answer off.")
            self._in.stream.close()  # so that the browser sees it
        elif not self._finished:
            self.finish()

    get = head = post = put = patch = delete = options = propfind = _pass

    def on_connection_close(self):
        if self._out is not None:
            self._stream.close()

    def begin(self, start_line, headers):
        """Sends the head of an answer."""
        for name in list(self._headers):
            self.clear_header(name)
        self.set_status(start_line.code, start_line.reason)
        for name, value in self._headers_back(headers):
            self.add_header(name, value)
        if "Content-Security-Policy" not in headers:
            self.set_header("Content-Security-Policy", "frame-ancestors 'self'")
        return self.flush()

    def _headers_back(self, headers):
        for name, value in headers.get_all():
            low = name.lower()
            if low == "set-cookie":
                narrow = self.cookies_of.narrow((self.kernel_id, self.port), value, self.prefix)
                if narrow is not None:
                    yield name, narrow
            elif low == "location":
                yield name, here(value, self.prefix, self.port, self.request.host)
            elif low not in _HOP | _TOO_WIDE and not low.startswith("access-control-"):
                yield name, value

    async def _relay(self, start_line, headers, there):
        """A WebSocket, or what else both have agreed on, as bytes."""
        browser = self.detach()
        lines = [f"HTTP/1.1 101 {start_line.reason}", "Connection: Upgrade", f"Upgrade: {headers.get('Upgrade', '')}"]
        lines += [f"{name}: {value}" for name, value in self._headers_back(headers)]
        jobs = [asyncio.ensure_future(_copy(browser, there)), asyncio.ensure_future(_copy(there, browser))]
        try:
            await browser.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        except StreamClosedError:
            pass
        finally:
            browser.close()
            there.close()
            await asyncio.gather(*jobs)


async def _copy(source, sink):
    with contextlib.suppress(StreamClosedError):
        while True:
            await sink.write(await source.read_bytes(PART, partial=True))


def _tls(arguments):
    context = ssl.create_default_context(cafile=arguments.get("ca_certs"))
    if not arguments.get("validate_cert", True):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if arguments.get("client_cert"):
        context.load_cert_chain(arguments["client_cert"], arguments.get("client_key"))
    return context


def _told(answer):
    """Status and message of an error of the gateway's."""
    status = 503 if answer.status == 401 else answer.status  # it is this server whom the gateway does not know
    try:
        message = json.loads(bytes(answer.problem))["message"]
    except (ValueError, KeyError, TypeError):
        message = "The gateway of the kernels cannot reach it now."
    return status, "%s", message


class NewestHandler(_Page):
    """Leads to the newest kernel that listens on a port."""

    def initialize(self, manager):
        self._manager = manager

    def check_xsrf_cookie(self):
        """It changes nothing, and says only where to ask."""

    async def prepare(self, **kwargs):
        await super().prepare(**kwargs)
        if not self._finished:
            await self.check_user()

    async def get(self, port, _):
        models = await self._manager.list_kernels()  # the oldest is first
        listening = await asyncio.gather(*[_listens(model["id"], int(port)) for model in models])
        for model, listens in reversed(list(zip(models, listening, strict=True))):
            if listens:
                query = without_token(self.request.query)
                rest = self.request.path.partition(f"/proxy/{port}")[2] or "/"
                to = url_path_join(self.base_url, f"elastichub/kernels/{model['id']}/proxy/{port}") + rest
                self.redirect(f"{to}?{query}" if query else to, status=307)
                return
        raise web.HTTPError(404, "No kernel of yours listens on port %s: start the server in a cell.", port)

    head = post = put = patch = delete = options = get


async def _listens(kernel_id, port):
    client = GatewayClient.instance()
    url = url_path_join(str(client.url), str(client.kernels_endpoint), kernel_id, "ports")
    try:
        answer = await asyncio.wait_for(gateway_request(url, method="GET"), ASK_TIMEOUT)
        return port in json.loads(answer.body)["ports"]
    except Exception:  # noqa: BLE001 - it does not run, or cannot be asked
        return False


def add_handlers(app, manager):
    """Adds both; the short form not where jupyter-server-proxy has it, for servers beside this one."""
    whole = rf"/elastichub/kernels/{_ID}/proxy/[0-9]{{1,5}}(?:/.*)?"
    routes: list[Any] = [(url_path_join(app.base_url, whole), PortHandler)]
    other = app.extension_manager.extensions.get("jupyter_server_proxy")
    if other is None or not other.enabled:
        short = url_path_join(app.base_url, r"/proxy/([0-9]{1,5})(/.*)?")
        routes.append((short, NewestHandler, {"manager": manager}))
    app.web_app.add_handlers(".*$", routes)
