"""Between a Hub and the service: what passes is noted, and what is wrong can be chosen."""

import contextlib
import socket
import threading


class Wire:
    """A TCP relay to the service. While `to` is None nobody listens; "silent" accepts and
    says nothing; "other" is somebody else's web server."""

    def __init__(self, host, port):
        self._target = (host, port)
        self.to = self._target
        self.sent = b""
        self._listener = None
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self, to="service"):
        self.close()
        self.to = to
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._serve, args=(self._listener, to), daemon=True).start()

    def close(self):
        """Nobody listens; what is open is cut."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _serve(self, listener, to):
        open_sockets = []
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                break
            open_sockets.append(client)
            if to == "service":
                server = socket.create_connection(self._target)
                open_sockets.append(server)
                self._pump(client, server, note=True)
                self._pump(server, client)
            elif to == "other":
                threading.Thread(target=_another_site, args=(client,), daemon=True).start()
        for one in open_sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _pump(self, source, sink, note=False):
        def pump():
            try:
                while chunk := source.recv(65536):
                    if note:
                        self.sent += chunk
                    sink.sendall(chunk)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        threading.Thread(target=pump, daemon=True).start()

    def credentials(self):
        """Every Authorization header that was sent."""
        lines = self.sent.split(b"\r\n")
        return {
            line.split(b":", 1)[1].strip().decode()
            for line in lines
            if line.lower().startswith(b"authorization:")
        }


def _another_site(client):
    client.recv(65536)
    page = b"<html>Welcome to nginx!</html>"
    client.sendall(
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(page), page)
    )
    client.close()
