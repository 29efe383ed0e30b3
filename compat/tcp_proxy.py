"""A TCP proxy on a port that it keeps, whose network can be broken in three ways."""

import socket
import threading
from contextlib import suppress

from server_process import free_port


class Proxy:
    """Passes bytes on to `target` (host:port), until told otherwise.

    A connection whose bytes were swallowed once is never passed on again: part of what was said on it is gone. Like behind a
    firewall that forgot about it, nothing is answered on it, and nobody closes it.
    """

    def __init__(self, target):
        self.target = split(target)
        self.address = f"127.0.0.1:{free_port()}"
        self.is_swallowing = False
        self.listener, self.connections = None, []
        self.lock = threading.Lock()

    def __enter__(self):
        self.pass_on()
        return self

    def __exit__(self, *_):
        self.refuse()

    def pass_on(self):
        """New connections reach the target."""
        self.is_swallowing = False
        self._listen()

    def swallow(self):
        """No byte arrives any more, on old connections and on new ones, and none is closed."""
        with self.lock:
            self.is_swallowing = True
            for connection in self.connections:
                connection.is_swallowed = True
        self._listen()

    def refuse(self):
        """Nobody listens, and what was connected is closed."""
        with self.lock:
            listener, self.listener = self.listener, None
            connections, self.connections = self.connections, []
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in connections:
            connection.close()

    def _listen(self):
        if self.listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(split(self.address))
        listener.listen()
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # it was closed
            with self.lock:
                if self.listener is not listener:
                    client.close()
                    return
                connection = Connection(client, self.is_swallowing)
                self.connections.append(connection)
            connection.start(self.target)


class Connection:
    def __init__(self, client, is_swallowed):
        self.client, self.server, self.is_swallowed = client, None, is_swallowed

    def start(self, target):
        if not self.is_swallowed:
            try:
                self.server = socket.create_connection(target, timeout=10)
            except OSError:
                self.close()
                return
            self.server.settimeout(None)
            threading.Thread(target=self._pump, args=(self.server, self.client), daemon=True).start()
        threading.Thread(target=self._pump, args=(self.client, self.server), daemon=True).start()

    def _pump(self, source, sink):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.is_swallowed:
                    sink.sendall(data)
        if not self.is_swallowed:
            self.close()

    def close(self):
        for end in (self.client, self.server):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)
