"""Reports each request that gunicorn or uvicorn reads, as JSON on a line of standard output. The first line is the port."""

import json
import socket
import sys

import uvicorn
from gunicorn.app.base import BaseApplication


def report(method: str, url: str, body: bytes) -> None:
    line = json.dumps({"method": method, "url": url, "body": body.decode("latin-1")})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def wsgi(environ, start_response):
    report(environ["REQUEST_METHOD"], environ["RAW_URI"], environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    report(scope["method"], scope["raw_path"].decode("latin-1"), body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Gunicorn(BaseApplication):
    def load_config(self):
        # Unlike the default worker, threads keep connections open, so a second request can follow on one.
        for key, value in {"bind": f"fd://{listener.fileno()}", "threads": 4, "loglevel": "critical"}.items():
            self.cfg.set(key, value)

    def load(self):
        return wsgi


listener = socket.create_server(("127.0.0.1", 0))
listener.set_inheritable(True)
print(listener.getsockname()[1], flush=True)
server, parser = sys.argv[1:]
if server == "gunicorn":
    Gunicorn().run()
else:
    uvicorn.run(asgi, fd=listener.fileno(), http=parser, lifespan="off", log_level="critical")
