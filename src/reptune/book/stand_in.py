"""A server on this machine that stands in for somebody else's: a local model's chat interface."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import huggingface_hub

if TYPE_CHECKING:
    from reptune.models.causal import CausalLM

HOST = "127.0.0.1"
NO_PROXY = ("no_proxy", "NO_PROXY")  # some libraries read the one, some the other


class StandIn(HTTPServer):
    """What answers requests for chat completions with a local model, one after the other.

    Attributes:
        url: The address for `HostedModel(…, base_url=…)`.
        asked: The JSON of every request so far, as it came.
    """

    def __init__(self, lm: CausalLM) -> None:
        super().__init__((HOST, 0), _Handler)  # a port that is free
        self.lm = lm
        self.asked: list[dict[str, Any]] = []
        self.url = f"http://{HOST}:{self.server_address[1]}/v1"


@contextmanager
def stand_in(lm: CausalLM) -> Iterator[StandIn]:
    """Serve a local model behind OpenAI's chat interface, for as long as the block lasts.

    What `reptune.models.hosted.HostedModel` gets from it is what `lm.generate(lm.chat(prompt))`
    gives. Only this machine can reach it, no token is asked for, and its port closes at the end of
    the block. Within the block, the environment asks libraries to reach this machine without a
    proxy.

    Args:
        lm: The model; its tokenizer needs a chat template.

    Yields:
        The server, with its `url` and what it was `asked`.

    Source: chapter 5.
    """
    with StandIn(lm) as server, _without_proxy():
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: StandIn

    def do_POST(self) -> None:
        """Read a request, let the model answer, and send that, or what is wrong, as JSON."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        try:
            status, answer = 200, _completion(self.server.lm, request)
        except (ValueError, LookupError, TypeError) as error:
            status, answer = 400, {"error": {"message": str(error)}}
        body = json.dumps(answer).encode()
        with suppress(ConnectionError):  # whoever asked may have gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the chapter's output clean."""


def _completion(lm: CausalLM, request: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of an answer to a request's one message."""
    [message] = request["messages"]
    text = lm.generate(
        lm.chat(message["content"]),
        max_new_tokens=request["max_tokens"],
        temperature=request["temperature"],
        stop=request.get("stop", ()),
        random_state=request.get("seed"),
    )
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {"object": "chat.completion", "model": request["model"], "choices": [choice]}


@contextmanager
def _without_proxy() -> Iterator[None]:
    """Let this machine be reached directly; the library's connections are made anew for that."""
    before = {name: os.environ.get(name) for name in NO_PROXY}
    for name, value in before.items():
        os.environ[name] = f"{value},{HOST}" if value else HOST
    huggingface_hub.close_session()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        huggingface_hub.close_session()
