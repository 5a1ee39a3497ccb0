"""Is there a network? Asked in seconds, before libraries find out in minutes.

pip and the Hub's library repeat what fails, with pauses between: where there is no network, they
take from 8 seconds to minutes to say so. Nothing here fetches anything.
"""

from __future__ import annotations

import ast
import contextlib
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable

__all__ = ["PROBE_SECONDS", "hub_problem", "index_answers"]

# A server that has not answered by then is taken for one that cannot be reached.
PROBE_SECONDS = 3.0
_DEFAULT_INDEX = "https://pypi.org/simple"  # pip's, where nothing is configured
_BELIEVED_SECONDS = 60.0  # for that long, a Hub that answered is not asked again
_hub_answered_at = 0.0


def index_answers() -> bool:
    """Return True unless every server that pip is configured to ask is seen to be out of reach."""
    servers = {_server(url) for url in _index_urls()} - {None}
    return not servers or _any_answers(servers)


def _index_urls() -> list[str]:
    """Return the remote indexes and pages of links that pip would read, or their proxy."""
    urls: dict[str, list[str]] = {}
    for key, value in _pip_settings():
        urls.setdefault(key, []).extend(value.split())
    if urls.get("proxy"):
        return urls["proxy"]
    chosen = urls.get("index-url") or [_DEFAULT_INDEX]
    chosen += urls.get("extra-index-url", []) + urls.get("find-links", [])
    return [url for url in chosen if url.startswith(("http://", "https://"))]


def _pip_settings() -> list[tuple[str, str]]:
    """Return pip's configuration as (key, value), least binding first."""
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = re.findall(r"^\S*\.([\w-]+)=(['\"].*)$", done.stdout, re.MULTILINE)
    settings = []
    for key, value in lines:
        with contextlib.suppress(ValueError, SyntaxError):
            settings.append((key, str(ast.literal_eval(value))))
    return settings


def _server(url: str) -> tuple[str, int] | None:
    """Return the host and port to connect to for a URL: its own, or the proxy's."""
    with contextlib.suppress(ValueError):  # of a port that is no number
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
            parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    return None


def _any_answers(servers: Iterable[tuple[str, int]]) -> bool:
    """Return True once one of the servers takes a connection, False after `PROBE_SECONDS`."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def connect(server: tuple[str, int]) -> None:
        try:
            socket.create_connection(server, timeout=PROBE_SECONDS).close()
        except (OSError, ValueError):  # ValueError: of a host that is no name
            answers.put(False)
        else:
            answers.put(True)

    servers = list(servers)
    for server in servers:  # threads, since looking a name up takes no timeout
        threading.Thread(target=connect, args=(server,), daemon=True).start()
    deadline = time.monotonic() + PROBE_SECONDS
    with contextlib.suppress(queue.Empty):
        return any(answers.get(timeout=max(0, deadline - time.monotonic())) for _ in servers)
    return False


def hub_problem() -> str | None:
    """Say why the Hub cannot be reached, or return None if it answers.

    The Hub library tries each request six times, which takes half a minute per file where there
    is no network. This asks once, with its own client and so with its proxy and certificates.
    """
    global _hub_answered_at
    if _hub_answered_at and time.monotonic() - _hub_answered_at < _BELIEVED_SECONDS:
        return None
    from huggingface_hub import constants, get_session

    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            status = get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS).status_code
        except Exception as error:  # of the library's HTTP client, which differs by version
            found.put(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        else:
            found.put(f"status {status}" if status >= 500 else None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        problem = found.get(timeout=PROBE_SECONDS + 1)
    except queue.Empty:
        problem = f"no answer within {PROBE_SECONDS:.0f} seconds"
    if problem is None:
        _hub_answered_at = time.monotonic()
    return problem and f"{constants.ENDPOINT} cannot be reached ({problem})"
