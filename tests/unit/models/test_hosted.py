import contextlib
import copy
import gzip
import json
import random
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import huggingface_hub
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune.models import hosted
from reptune.models.hosted import HostedModel, HostedModelError
from tests.soak_cases import prompting
from tests.soak_cases.prompting import BadServer

TOKEN = "hf_SecretSecretSecret"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Instead of the one for all tests: this machine itself may be reached, nothing else."""
    connect = socket.socket.connect

    def only_here(self, address):
        if address[0] != "127.0.0.1":
            raise OSError(f"a unit test tried to open a connection to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(autouse=True)
def plain_library(monkeypatch, tmp_path):
    """No login, proxy, offline mode or open connections from outside the test."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "is_offline_mode", lambda: False)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses that were asked for; none is made."""
    asked = []
    monkeypatch.setattr(hosted, "sleep", asked.append)
    return asked


class Answer(NamedTuple):
    status: int = 200
    body: object = b""
    headers: dict | None = None
    manner: str = "at once"  # or "late", "trickle", "drop"


def says(content, **more):
    message = {"role": "assistant", "content": content}
    return Answer(body={"choices": [{"index": 0, "message": message}]} | more)


def refuses(status, words="", **headers):
    return Answer(status, {"error": words}, headers)


class Server(ThreadingHTTPServer):
    """Gives the answers of `script`, the last one again and again, and keeps what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = [says("positive")]
        self.requests = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_):
        """A client that went away is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        script, requests = self.server.script, self.server.requests
        requests.append({"path": self.path, "headers": self.headers, "body": json.loads(body)})
        self.answer(script[min(len(requests), len(script)) - 1])

    def answer(self, answer):
        self.close_connection = True
        if answer.manner == "drop":
            return
        if answer.manner == "late":
            self.server.over.wait(5)
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        headers["Connection"] = "close"  # else a client may use a connection that is closing
        for name, value in (headers | (answer.headers or {})).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        parts = [data] if answer.manner != "trickle" else [b" "] * len(data)
        for part in parts:
            self.wfile.write(part)
            if answer.manner == "trickle" and self.server.over.wait(0.02):
                break

    def log_message(self, *_):
        """Keep the tests' output clean."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def make(server):
    def make(*script, **changes):
        server.script = list(script) or server.script
        return HostedModel("someone/model", **({"base_url": server.url, "timeout": 5} | changes))

    return make


def failure(model, **arguments):
    with pytest.raises(HostedModelError) as caught:
        model.generate("Review: fine.", **arguments)
    return str(caught.value)


# --- answers -------------------------------------------------------------------------------------


def test_what_is_sent_and_what_comes_back(make, server, pauses):
    answer = make().generate(
        "Review: fine.", max_new_tokens=3, temperature=0.5, stop=("\n", "###"), random_state=7
    )
    assert answer == "positive"
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["body"] == {
        "model": "someone/model",
        "messages": [{"role": "user", "content": "Review: fine."}],
        "max_tokens": 3,
        "temperature": 0.5,
        "stop": ["\n", "###"],
        "seed": 7,
        "stream": False,
    }
    assert pauses == []


def test_defaults_and_what_is_left_out(make, server):
    model = make()
    model.generate("x")
    model.generate("x", random_state=None, stop=(), temperature=np.float32(1))
    first, second = (request["body"] for request in server.requests)
    assert (first["temperature"], first["seed"], first["stop"]) == (0.0, 0, ["\n"])
    assert first["max_tokens"] == 16
    assert "seed" not in second and "stop" not in second and second["temperature"] == 1


@pytest.mark.parametrize(
    ("content", "stop", "expected"),
    [
        ("positive\nReview: bad", ("\n",), "positive"),
        ("a###b\nc", ("\n", "###"), "a"),
        ("a\nb", (), "a\nb"),
        ("", ("\n",), ""),
        ("grün\nrot", ["\n"], "grün"),
    ],
)
def test_text_ends_before_the_first_end_sequence(make, content, stop, expected):
    assert make(says(content)).generate("x", stop=stop) == expected


def test_end_sequences_beyond_what_servers_take_still_cut(make, server):
    assert make(says("one five two")).generate("x", stop=[*"qwyz", " five"]) == "one"
    assert server.requests[0]["body"]["stop"] == list("qwyz")


def test_only_the_first_choice_counts(make):
    two = [{"message": {"content": content}} for content in ("first", "second")]
    assert make(Answer(body={"choices": two, "usage": None})).generate("x") == "first"


# --- tokens --------------------------------------------------------------------------------------


def test_no_token(monkeypatch):
    with pytest.raises(HostedModelError) as caught:
        HostedModel("someone/model")
    for cure in ("settings/tokens", "token=", "HF_TOKEN", "hf auth login", "base_url", "local"):
        assert cure in str(caught.value)


@pytest.mark.parametrize("source", ["argument", "environment", "login"])
def test_where_the_token_comes_from(server, monkeypatch, tmp_path, source):
    monkeypatch.setattr(hosted, "ROUTER", server.url.removesuffix("/v1"))
    given = None
    if source == "argument":
        monkeypatch.setenv("HF_TOKEN", "hf_another")
        given = f"{TOKEN}\n"
    elif source == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        (tmp_path / "token").write_text(TOKEN)
    assert HostedModel("someone/model", token=given).generate("x") == "positive"
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert request["body"]["model"] == "someone/model"


def test_own_server_gets_no_token_but_one_meant_for_it(make, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    make().generate("x")
    make(token="sk-mine").generate("x")
    sent = [request["headers"]["Authorization"] for request in server.requests]
    assert sent == [None, "Bearer sk-mine"]


def test_the_token_is_never_shown(make, server):
    model = make(token=TOKEN)
    shown = [repr(model), str(model), f"{model}", repr([model]), repr(copy.deepcopy(model))]
    echo = f"who is Bearer {TOKEN}? " * 30
    for answer in (
        *(refuses(status, echo) for status in (400, 401, 403, 404, 410, 429, 500)),
        Answer(400, {"detail": echo}),
        Answer(body=echo.encode()),
        Answer(body={"echo": echo}),
        Answer(body=echo.encode() + b"\xff"),
        says([echo]),
        Answer(200, "", {"Content-Encoding": "gzip", "X": TOKEN}),
    ):
        server.script = [answer]
        with pytest.raises(HostedModelError) as caught:
            model.generate("x")
        assert caught.value.__cause__ is None and caught.value.__context__ is None
        shown += [str(caught.value), repr(caught.value)]
    assert sum("[token]" in text for text in shown) > 15, "the echo came back"
    assert not [text for text in shown if "Secret" in text]


@pytest.mark.parametrize(
    "token", ["hf_Secret Secret", "hf_Secret\nX: y", "hf_Secreté", "Secret", 7]
)
def test_bad_tokens_are_refused_unseen(token):
    with pytest.raises(ValueError, match="token") as caught:
        HostedModel("someone/model", token=token)
    assert "Secret" not in str(caught.value)


# --- tries and pauses ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(make, server, pauses, status):
    script = [refuses(status), refuses(status), says("positive")]
    assert make(*script).generate("x") == "positive"
    assert pauses == [1, 2] and len(server.requests) == 3
    assert server.requests[0]["body"] == server.requests[2]["body"]


def test_too_many_requests_without_end(make, server, pauses):
    message = failure(make(refuses(429, "slow down")))
    assert len(server.requests) == 4 and pauses == [1, 2, 4]
    assert "someone/model at 127.0.0.1" in message
    assert "HTTP 429 Too Many Requests (4 times), in spite of 7 s of pauses: slow down" in message
    assert "Try later" in message


def test_no_retries(make, server, pauses):
    message = failure(make(Answer(503), max_retries=0))
    assert len(server.requests) == 1 and pauses == []
    assert "HTTP 503 Service Unavailable\nTry later" in message


def test_different_faults_are_counted_apart(make):
    script = refuses(503), Answer(manner="drop"), refuses(503), refuses(429, "enough")
    message = failure(make(*script))
    assert "HTTP 503 Service Unavailable (2 times), the connection failed, HTTP 429" in message
    assert message.count("times") == 1


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("7", 7),
        ("0", 0),
        ("2.5", 2.5),
        ("soon", 1),
        ("-3", 1),
        ("", 1),
        ("9" * 5000, 1),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999", 1),
        ("Mon, 01 Jan 2024 00:00:00 +9999", 1),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 1),
    ],
)
def test_the_server_says_how_long_to_wait(make, pauses, header, pause):
    assert make(refuses(429, Retry_After=header), says("a")).generate("x") == "a"
    assert pauses == [pause]


@pytest.mark.parametrize(("ahead", "least", "most"), [(30, 28, 30), (-30, 0, 0)])
def test_a_date_to_wait_for(make, pauses, ahead, least, most):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert make(refuses(503, Retry_After=date), says("a")).generate("x") == "a"
    assert least <= pauses[0] <= most


def test_a_wait_that_is_too_long_is_not_begun(make, server, pauses):
    message = failure(make(refuses(429, Retry_After="3600")))
    assert len(server.requests) == 1 and pauses == []
    assert "the next try should wait 3600 s, more than max_wait=60 allows" in message


def test_pauses_stay_below_the_most_in_total(make, server, pauses):
    message = failure(make(refuses(429), max_retries=50, max_wait=10))
    assert pauses == [1, 2, 4] and len(server.requests) == 4
    assert "the next try should wait 8 s, more than max_wait=10 leaves" in message


@pytest.mark.parametrize("manner", ["late", "trickle"])
def test_slow_servers_end_in_the_time_out(make, server, manner):
    start = time.monotonic()
    message = failure(make(says("a")._replace(manner=manner), timeout=0.3, max_retries=1))
    assert 0.6 <= time.monotonic() - start < 4
    assert len(server.requests) == 2
    assert "no complete answer within 0.3 s (2 times)" in message and "Raise timeout" in message


def test_no_request_outlives_a_silent_server(make):
    failure(make(says("a")._replace(manner="late"), timeout=0.1, max_retries=0))
    for thread in threading.enumerate():
        if thread.name == "reptune-hosted":
            thread.join(1)
            assert not thread.is_alive(), "the server would answer after 5 s"


def test_slow_once_then_an_answer(make, pauses):
    late = says("late")._replace(manner="late")
    assert make(late, says("positive"), timeout=2).generate("x") == "positive"
    assert pauses == [1]


def test_dropped_connections_are_tried_again(make, server):
    assert make(Answer(manner="drop"), says("positive")).generate("x") == "positive"
    short = Answer(body=b"{}", headers={"Content-Length": "100"})
    assert "the connection failed (4 times)" in failure(make(short))
    assert len(server.requests) == 6


def test_nobody_listens(make, pauses):
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        model = make(base_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        message = failure(model)
    assert "the connection failed (4 times)" in message and "that the server runs" in message
    assert pauses == [1, 2, 4]


def test_offline_mode(make, server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "is_offline_mode", lambda: True)
    message = failure(make())
    assert "HF_HUB_OFFLINE is set" in message and not server.requests


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (400, "what the server objects to"),
        (401, "make one at https://huggingface.co/settings/tokens"),
        (402, "no credits left"),
        (403, "lacks the right"),
        (404, "not served at this address"),
        (410, "gone for good"),
        (418, "what the server objects to"),
        (422, "what the server objects to"),
        (501, "what the server objects to"),
    ],
)
def test_refusals_are_not_tried_again(make, server, pauses, status, cure):
    message = failure(make(refuses(status, "its words")))
    what, said = message.split("\n")
    assert what.startswith("someone/model at 127.0.0.1:") and f": HTTP {status} " in what
    assert what.endswith(": its words") and cure in said
    assert len(server.requests) == 1 and pauses == []


@pytest.mark.parametrize("status", [400, 404, 422, 501])
@pytest.mark.parametrize(
    "body",
    [
        {"error": "its words"},
        {"error": {"message": "its words"}},
        {"detail": [{"msg": "its words"}]},
        {"object": "error", "message": "its words"},
        ["its words"],
        "its words",
        b"its words \xff",
        b"\x1b[31mits\n\nwords",
    ],
)
def test_the_servers_words_in_any_form(make, status, body):
    message = failure(make(Answer(status, body)))
    assert f"HTTP {status}" in message and "its words" in message.replace("[31m", "")
    assert "\x1b" not in message


def test_long_words_are_cut(make):
    message = failure(make(refuses(422, "much too long " * 1000)))
    said = message.partition("HTTP 422")[2].partition(": ")[2].partition("\n")[0]
    assert len(said) == 300 and said.startswith("much too long") and said.endswith("…")


def test_web_pages_are_not_quoted(make):
    page = Answer(410, b"<html>Gone</html>", {"Content-Type": "text/html; charset=utf-8"})
    message = failure(make(page))
    assert "HTTP 410 Gone\n" in message and "<html>" not in message


def test_words_that_never_arrive_in_full(make, server):
    cut = Answer(422, b"its", {"Content-Length": "100"})
    message = failure(make(cut))
    assert "HTTP 422" in message and "what the server objects to" in message
    assert len(server.requests) == 1


# --- garbage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"", "an empty body"),
        (b"not JSON", "not JSON"),
        (b"<html>hi</html>", "<html>hi</html>"),
        (b'{"choices": [', '{"choices": ['),
        (b"\xff\xfe", r"b'\xff\xfe'"),
        (b"[" * 100_000, "[[[["),
        ({}, "{}"),
        ({"error": "no more"}, "no more"),
        ({"choices": None, "id": "x7"}, "x7"),
        ({"choices": []}, '{"choices": []}'),
        ({"choices": {}}, "choices"),
        ({"choices": "hello"}, "hello"),
        ({"choices": [1]}, '{"choices": [1]}'),
        ({"choices": [{"text": "old style"}]}, "old style"),
        ({"choices": [{"message": "bare"}]}, "bare"),
        ([], ": []"),
        (7, ": 7"),
    ],
)
def test_answers_that_are_no_completion(make, server, pauses, body, quoted):
    message = failure(make(Answer(body=body)))
    assert "not the JSON of a chat completion" in message and quoted in message
    assert "Check that base_url speaks" in message
    assert len(server.requests) == 1 and pauses == []


@pytest.mark.parametrize("content", [None, 3, ["a"], {"a": 1}])
def test_content_that_is_no_text(make, server, content):
    message = failure(make(says(content)))
    assert f"the answer holds no text: its content is {content!r}" in message
    assert "Raise max_new_tokens" in message and len(server.requests) == 1


def test_long_garbage_is_cut(make):
    assert len(failure(make(Answer(body=b"x" * 10**5)))) < 600
    assert len(failure(make(Answer(body={"x": "y" * 10**5})))) < 600


def test_a_broken_encoding(make, server):
    broken = Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert "the answer could not be read: it is no gzip" in failure(make(broken))
    assert len(server.requests) == 1


def test_a_packed_answer_is_unpacked(make, server):
    packed = Answer(body=gzip.compress(json.dumps(says("fine").body).encode()))
    assert make(packed._replace(headers={"Content-Encoding": "gzip"})).generate("x") == "fine"
    assert server.requests[0]["headers"]["Accept-Encoding"] == "gzip"
    message = failure(make(packed._replace(headers={"Content-Encoding": "br"})))
    assert "could not be read: its Content-Encoding 'br' was not asked for" in message


def test_an_answer_that_no_file_could_hold_is_made_text(make):
    body = b'{"choices": [{"message": {"content": "a\\ud800b\\ud83d\\ude00"}}]}'
    assert make(Answer(body=body)).generate("x") == "a\ufffdb\U0001f600"


def test_other_errors_are_not_hidden(make, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a defect of our own")

    monkeypatch.setattr(hosted, "_content", broken)
    with pytest.raises(ZeroDivisionError):
        make().generate("x")


# --- redirects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prompt_is_not_sent_on_to_another_server(make, server, pauses, status):
    with BadServer() as other:
        elsewhere = f"{other.url}/chat/completions"
        model = make(Answer(status, headers={"Location": elsewhere}), token=TOKEN)
        message = failure(model)
        assert not other.requests, "the prompt went to an address that nobody named"
    assert f"HTTP {status}" in message and f"a redirect not followed: {elsewhere}" in message
    assert "Your prompt was not sent on" in message and "pass it as base_url" in message
    assert len(server.requests) == 1 and pauses == [] and "Secret" not in message


@pytest.mark.parametrize(
    "location",
    ["https://127.0.0.1:1/v1", "http://[::1", "//example.invalid/", "http://a:b", "", "data:,x"],
)
def test_odd_redirects_are_not_followed(make, server, location):
    assert "a redirect not followed" in failure(make(Answer(307, headers={"Location": location})))
    assert len(server.requests) == 1


def test_another_scheme_or_user_is_another_server(make, server):
    port = server.server_address[1]
    for address in (f"https://127.0.0.1:{port}/v1", f"http://me:Secret@127.0.0.1:{port}/v1"):
        server.requests.clear()
        failure(make(Answer(307, headers={"Location": address}), says("no")))
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_on_the_same_server_is_followed(make, server, status):
    moved = Answer(status, headers={"Location": "/v2/chat/completions"})
    assert make(moved, says("positive"), token=TOKEN).generate("x") == "positive"
    first, second = server.requests
    assert second["path"] == "/v2/chat/completions" and first["body"] == second["body"]
    assert second["headers"]["Authorization"] == f"Bearer {TOKEN}"


def test_redirects_without_end(make, server, pauses):
    message = failure(make(Answer(307, headers={"Location": "/v1/chat/completions"})))
    assert "more than 5 redirects" in message and "Check base_url" in message
    assert len(server.requests) == 6 and pauses == []


# --- too much ------------------------------------------------------------------------------------


@pytest.fixture
def bad():
    with BadServer() as server:
        yield server


def _ask(bad, play, **changes):
    bad.play = play
    knobs = {"base_url": bad.url, "timeout": 5, "max_retries": 0, "token": TOKEN} | changes
    message = failure(HostedModel("someone/model", **knobs))
    for thread in threading.enumerate():
        if thread.name == "reptune-hosted":
            thread.join(60)  # it reads what is in the system's buffers
            assert not thread.is_alive(), "the request goes on"
    return message


@pytest.mark.parametrize("status", [200, 307, 500])
def test_a_body_without_end_is_not_read_to_the_end(bad, status):
    location = {"Location": "/v1/chat/completions"} if status == 307 else {}
    start = time.monotonic()
    message = _ask(bad, prompting.endless(prompting.head(status, location), b" " * 65536))
    assert time.monotonic() - start < 4, "it ended before the time-out"
    assert bad.sent < 64 * 2**20 * (6 if status == 307 else 1)
    expected = {200: "longer than 4 MiB", 307: "more than 5 redirects", 500: "HTTP 500"}
    assert expected[status] in message


@pytest.mark.parametrize("status", [200, 400])
def test_a_bomb_is_not_unpacked(bad, status):
    bomb = prompting.gzip_bomb(100)
    assert len(bomb) < 2**17
    play = prompting.answers(status, bomb, Content_Encoding="gzip")
    tracemalloc.start()
    try:
        message = _ask(bad, play, timeout=30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20, f"{peak:,} bytes for an answer of {len(bomb):,}"
    assert ("longer than 4 MiB" if status == 200 else "HTTP 400") in message


@pytest.mark.parametrize(
    "play",
    [
        prompting.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        prompting.endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z", 0.05),
        prompting.endless(prompting.head(200, {}), b" ", 0.05),
    ],
    ids=["1xx", "headers", "body"],
)
def test_a_request_given_up_ends(bad, play):
    message = _ask(bad, play, timeout=0.5)
    assert "no complete answer within 0.5 s" in message
    # On a loaded machine it may take a while until the server notices.
    deadline, sent = time.monotonic() + 20, -1
    while bad.sent != sent and time.monotonic() < deadline:
        sent = bad.sent
        time.sleep(0.5)
    assert bad.sent == sent, "the client still reads"


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32))
def test_bad_servers_and_bad_arguments(seed):
    for label, call in prompting.hosted_cases(random.Random(seed), 4):
        with contextlib.suppress(ValueError):
            prompting.labeled(label, call)


HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy", "sklearn", "matplotlib")


def test_asking_a_server_loads_no_model_library():
    code = (
        "import sys, time, reptune.models.hosted; "
        f"print(*[name for name in {HEAVY} if name in sys.modules], time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *loaded, seconds = done.stdout.split()
    assert loaded == []
    assert float(seconds) < 1, "of computing; it was 0.2 s when this was written"


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url",
    [
        "http://[::1", "http://localhost:99999999", "http://localhost:x", "http://localhost:0",
        "http://a..b/v1", "http://" + "a" * 70, "http://:8000/v1", "http://\ud800/v1",
        "http://localhost/\ud800", "http://[x]/v1", "http://a/\x00",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be(base_url):
    with pytest.raises(ValueError, match="use an address such as") as caught:
        HostedModel("someone/model", base_url=base_url)
    assert repr(base_url) in str(caught.value)


@pytest.mark.parametrize("name", ["timeout", "max_wait"])
@pytest.mark.parametrize("value", [1e300, 86401, 2**70, float("inf"), "3", True, [3]])
def test_seconds_that_no_clock_takes(name, value):
    with pytest.raises(ValueError, match=f"{name}=.*up to 86400"):
        HostedModel("someone/model", base_url="http://localhost:1", **{name: value})


def test_text_that_is_no_unicode_is_not_sent(make, server):
    with pytest.raises(ValueError, match=r"prompt is not valid Unicode.*at character 3"):
        make().generate("abc\ud800")
    with pytest.raises(ValueError, match=r"stop\[1\] is not valid Unicode"):
        make().generate("abc", stop=["a", "\udfff"])
    with pytest.raises(ValueError, match="model is not valid Unicode"):
        HostedModel("a\ud800", base_url=server.url)
    assert not server.requests


def test_numbers_of_numpy(make, server):
    model = make(timeout=np.float32(5), max_retries=np.int64(1), max_wait=np.int64(3))
    model.generate("x", max_new_tokens=np.int64(3), random_state=np.int32(7))
    body = server.requests[0]["body"]
    assert body["max_tokens"] == 3 and body["seed"] == 7
    assert "within 5 s" in hosted.HostedModel._diagnose(model, TimeoutError()).what


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "model=''"),
        ({"model": " "}, "model=' '"),
        ({"model": None}, "model=None"),
        ({"model": "http://localhost/v1"}, "pass it as base_url"),
        ({"base_url": "localhost:8000"}, "base_url='localhost:8000'"),
        ({"base_url": ""}, "base_url=''"),
        ({"base_url": "http:///v1"}, "base_url='http:///v1'"),
        ({"base_url": "http://me:Secret@localhost"}, "base_url holds a user or a password"),
        ({"timeout": 0}, "timeout=0; use a number above 0 up to 86400"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": None}, "timeout=None"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"max_retries": 1.5}, "max_retries=1.5"),
        ({"max_wait": -1}, "max_wait=-1; use a number from 0 up to 86400"),
        ({"max_wait": float("nan")}, "max_wait=nan"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"model": "someone/model", "base_url": "http://localhost:1"} | changes
    with pytest.raises(ValueError, match=message) as caught:
        HostedModel(**arguments)
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ""}, "prompt=''"),
        ({"prompt": None}, "prompt=None"),
        ({"prompt": ["x"]}, "prompt="),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens=2.5"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"stop": "\n"}, "is one text; pass a list"),
        ({"stop": [""]}, "holds an empty text"),
        ({"stop": [1]}, r"stop\[0\]=1, a int"),
        ({"stop": None}, "pass a list of texts"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_bad_requests_are_not_sent(make, server, changes, message):
    arguments = {"prompt": "x"} | changes
    with pytest.raises(ValueError, match=message):
        make().generate(arguments.pop("prompt"), **arguments)
    assert not server.requests
