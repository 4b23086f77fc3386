"""The fake over HTTP, as AWS' own clients speak to it (JSON 1.1)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from secrets_fake.store import Refusal, Secrets


class FakeSecretsManager:
    """`with FakeSecretsManager() as fake`: answers at `fake.url`."""

    def __init__(self, port: int = 0, secrets: Secrets | None = None) -> None:
        self.secrets = secrets or Secrets()
        self.is_away = False
        """It then refuses to work, like a service in trouble."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever()

    def put(self, name: str, value: object) -> str:
        """Make the secret or give it a new current value; its ARN. An object becomes JSON."""
        text = value if isinstance(value, str) else json.dumps(value)
        if name not in self.secrets.secrets:
            self.secrets.call("CreateSecret", {"Name": name})
        return str(self.secrets.call("PutSecretValue", {"SecretId": name, "SecretString": text})["ARN"])

    def answer(self, action: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.is_away:
            return 500, {"__type": "InternalServiceError", "message": "An error occurred on the server side."}
        try:
            return 200, self.secrets.call(action, json.loads(body))
        except Refusal as refusal:
            return 400, {"__type": refusal.code, "message": str(refusal)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                action = self.headers.get("X-Amz-Target", "").removeprefix("secretsmanager.")
                status, answer = fake.answer(action, body)
                told = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
