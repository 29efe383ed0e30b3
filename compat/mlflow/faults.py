"""A proxy before an MLflow server that answers with 500s when it is told to."""

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Faults:
    def __init__(self, server):
        self.failing, self.n_failed = False, 0
        outer, upstream = self, server.uri.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if outer.failing:
                    outer.n_failed += 1
                    return self.answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "told to"}', "application/json")
                connection = http.client.HTTPConnection(upstream, timeout=30)
                try:
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                    connection.request(self.command, self.path, body, headers)
                    response = connection.getresponse()
                    self.answer(response.status, response.read(), response.headers.get("Content-Type", ""))
                except OSError:
                    self.answer(502, b"", "text/plain")
                finally:
                    connection.close()

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = pass_on

            def answer(self, status, body, content_type):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.listener.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.listener.server_address[1]}"

    def __enter__(self):
        Thread(target=self.listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown()
        self.listener.server_close()
