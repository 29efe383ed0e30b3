"""As much of a Redis client as the bench needs, without a package."""

import socket


class Redis:
    def __init__(self, address, database):
        host, port = address.rsplit(":", 1)
        self.connection = socket.create_connection((host, int(port)))
        self.answers = self.connection.makefile("rb")
        self.call("SELECT", str(database))

    def call(self, *arguments):
        """An integer, bytes, None or a list of them."""
        parts = [argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments]
        self.connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self.answer()

    def answer(self):
        line = self.answers.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(f"redis: {rest.decode()}")
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.answers.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return rest
