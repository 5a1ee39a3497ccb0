"""Hostile cases for prompting: bad servers, odd answers, templates and demonstrations.

Each generator yields `(label, callable)`. A callable checks what it computed (`AssertionError`) or
raises `ValueError`; any other error is a defect.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import random
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from reptune.cloze.templates import Template, encode, word_ids
from reptune.incontext import build_prompt, parse_answer
from reptune.models.hosted import HostedModel, HostedModelError
from tests import tiny

Case = tuple[str, Callable[[], None]]
TOKEN = "hf_SoakSecretSecret"
TIMEOUT = 0.4
MOST_SENT = 64 * 2**20  # bytes a client may take of an endless body, system buffers included
OK = json.dumps({"choices": [{"message": {"content": "positive"}}]}).encode()


# --- a bad server --------------------------------------------------------------------------------


class BadServer(socketserver.ThreadingTCPServer):
    """Reads a request, then plays what `play(connection, server)` does, and keeps what came.

    Attributes:
        url: Its address on this machine.
        play: What it does; change it between requests.
        requests: The requests' bytes.
        sent: Bytes that it got rid of.
        over: Set when it shall stop whatever it does.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.play: Callable[[socket.socket, BadServer], None] = answers(200, OK)
        self.requests: list[bytes] = []
        self.sent = 0
        self.over = threading.Event()

    def __enter__(self) -> BadServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no error here."""

    def send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(10)
        with contextlib.suppress(OSError):
            self.server.requests.append(self._read())
            self.server.play(self.request, self.server)

    def _read(self) -> bytes:
        data = b""
        while True:
            head, end, body = data.partition(b"\r\n\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                 if line.startswith(b"content-length:")), 0,
            )  # fmt: skip
            if end and len(body) >= length:
                return data
            more = self.request.recv(65536)
            if not more:
                return data
            data += more


def head(status: int | str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def answers(status: int, body: bytes, **headers: str) -> Callable:
    """A whole, well-formed answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Content-Type": "application/json", "Content-Length": str(len(body))} | named
    return lambda connection, server: server.send(connection, head(status, named) + body)


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Callable:
    """Something, and then the same again and again."""

    def play(connection: socket.socket, server: BadServer) -> None:
        server.send(connection, head)
        while not server.over.wait(pause) if pause else not server.over.is_set():
            server.send(connection, part)

    return play


def _raw(data: bytes) -> Callable:
    return lambda connection, server: server.send(connection, data)


@functools.cache
def gzip_bomb(megabytes: int) -> bytes:
    """A JSON text of that many megabytes, packed to about a thousandth."""
    return gzip.compress(b'{"choices": "' + b"a" * (megabytes * 2**20) + b'"}')


# --- the hosted client ---------------------------------------------------------------------------

HEADERS = {
    "Retry_After": ("Mon, 01 Jan 2024 00:00:00 +99999999999999", "Fri, 31 Dec 9999 23:59:59 -2359",
                    "Mon, 01 Jan 2024 00:00:00 +9999", "1e309", "-1", "9" * 5000, "soon", "0"),
    "Content_Type": ("text/html", "text/plain; charset=no-such", "application/json; charset=\xff"),
    "Content_Encoding": ("gzip", "br", "zstd", "deflate", "gzip, gzip", "\xff", "identity"),
    "Location": ("http://[::1", "/v1/chat/completions", "//example.invalid/x", "https://\xff", "",
                 "javascript:x", "http://127.0.0.1:1/v1", "http://127.0.0.1:99999999/"),
    "Content_Length": ("0", "-5", "9" * 30, "x", "1000000"),
    "X_Error_Message": (TOKEN, "\xff"),
    "Set_Cookie": ("a=b; Max-Age=99999999999999999999",),
}  # fmt: skip
BODIES = (
    b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"{}", OK,
    b"\xef\xbb\xbf" + OK, gzip.compress(OK),
    gzip.compress(OK)[:-9], b'{"choices": [{"message": {"content": "\\ud800"}}]}', b"1" * 10_000,
    b'{"choices": [{"message": {"content": ' + b"1" * 5000 + b"}}]}", TOKEN.encode() * 50,
    json.dumps({"error": {"message": f"Bearer {TOKEN}"}}).encode(), b"<html>" + TOKEN.encode(),
    b'{"choices": {"0": 1}}', b'{"choices": [{"message": 5}]}', b'{"error": [[]]}', b"NaN",
)  # fmt: skip
STATUSES = (200, 200, 200, 201, 204, 299, 301, 302, 303, 304, 307, 308, 400, 401, 404, 410, 413,
            422, 429, 451, 499, 500, 503, 599, 999)  # fmt: skip


def _odd_answer(rng: random.Random) -> tuple[str, Callable]:
    status, body = rng.choice(STATUSES), rng.choice(BODIES)
    chosen = rng.sample(sorted(HEADERS), rng.randint(0, 2))
    headers = {name: rng.choice(HEADERS[name]) for name in chosen}
    return f"{status} {body[:20]!r} {headers}", answers(status, body, **headers)


def _endless_answer(rng: random.Random) -> tuple[str, Callable]:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    plain = head(200, {"Content-Type": "application/json"})
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    chunked = {"Transfer-Encoding": "chunked"}
    name, play = rng.choice([
        ("endless body", endless(plain, b" " * 65536)),
        ("endless chunks", endless(head(200, chunked), chunk)),
        ("endless error", endless(head(500, {}), b"a" * 65536)),
        ("endless redirect", endless(head(307, {"Location": "/v1"}), b"a" * 65536)),
        ("endless gzip", endless(head(200, packed) + gzip_bomb(1), gzip.compress(b" " * 2**20))),
        ("bomb", answers(200, gzip_bomb(64), Content_Encoding="gzip")),
        ("bomb in an error", answers(400, gzip_bomb(64), Content_Encoding="gzip")),
        ("endless headers", endless(b"HTTP/1.1 200 OK\r\n", b"X-Y: " + b"z" * 1000 + b"\r\n")),
        ("endless status line", endless(b"HTTP/1.1 200 ", b"K" * 1000)),
        ("endless 1xx", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
        ("trickle", endless(plain, b" ", 0.02)),
        ("trickled headers", endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z", 0.02)),
        ("silence", endless(b"", b"", 0.05)),
        ("silent body", endless(head(200, {"Content-Length": "100"}), b"", 0.05)),
    ])  # fmt: skip
    return name, play


def _garbage(rng: random.Random) -> tuple[str, Callable]:
    whole = head(200, {"Content-Length": str(len(OK))}) + OK
    kind = rng.randrange(4)
    if kind == 0:
        data = rng.randbytes(rng.randint(0, 300))
    elif kind == 1:
        data = whole[: rng.randrange(len(whole))]
    elif kind == 2:
        flipped = bytearray(whole)
        for _ in range(rng.randint(1, 5)):
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
        data = bytes(flipped)
    else:
        size = rng.choice([b"-1", b"zz", b"FFFFFFFFFFFFFFFF", b"0", b"5;x=y"])
        data = head(200, {"Transfer-Encoding": "chunked"}) + size + b"\r\n" + OK + b"\r\n"
    return f"bytes {data[:40]!r}", _raw(data)


def _ask(server: BadServer, play: Callable, max_retries: int) -> None:
    """Ask once; hold the client to its promises on time, size, token and address."""
    server.play, server.sent = play, 0
    asked = len(server.requests)
    model = HostedModel(
        "soak", base_url=server.url, token=TOKEN, timeout=TIMEOUT, max_retries=max_retries,
        max_wait=0.1,
    )  # fmt: skip
    start = time.monotonic()
    try:
        answer = model.generate("PROMPT")
        answer.encode()
    except HostedModelError as error:
        assert "Secret" not in f"{error}{error!r}", "the token is shown"
        assert len(str(error)) < 2000, "the message is a book"
        assert error.__cause__ is None and error.__context__ is None
    took = time.monotonic() - start
    assert took < (max_retries + 1) * TIMEOUT + 3, f"it took {took:.1f} s"
    assert len(server.requests) - asked <= 6 * (max_retries + 1), "too many requests"
    _no_thread_left()
    assert server.sent < MOST_SENT, f"the client took {server.sent:,} bytes"


def _no_thread_left() -> None:
    for thread in threading.enumerate():
        if thread.name == "reptune-hosted":
            thread.join(60)  # it reads what is in the system's buffers
            assert not thread.is_alive(), "a request outlives its time-out"


ODD_URLS = (
    "http://[::1", "http://a:99999999", "http://a:x", "http://a:0", "http://a..b",
    "http://" + "a" * 70, "http://:80", "http://a b", "http://\ud800", "http://a/\ud800", "http://a\n",
    "ftp://a", "", "x", 5, None, b"http://a", "http://?", "http://#", "http://u:p@a", "http://[x]", "http://a/\x00",
    "http://\u2100.com", "http://xn--", "http://-", "https://1.2.3.4.5:1/v1?q=1#f", "HTTP://a",
)  # fmt: skip
ODD_NUMBERS = (
    1e300, 10**400, -1, 0, float("nan"), float("inf"), None, "3", True, [], 1e-320, 86401, 5, 2**63,
)  # fmt: skip
ODD_TEXTS = ("", " ", "\ud800", None, 5, b"x", ["x"], "x\x00y", "a" * 10_000, "é\u2028", "\udfff.")


def _bad_arguments(rng: random.Random) -> Case:
    """Arguments that a constructor or `generate` takes or refuses; nobody is reached."""
    made: dict[str, Any] = {"model": "soak", "base_url": "http://127.0.0.1:1/v1"}
    made |= {"timeout": 0.2, "max_retries": 0, "max_wait": 0, "token": TOKEN}
    asked: dict[str, Any] = {"prompt": "x"}
    where = rng.randrange(3)
    if where == 0:
        made["base_url"] = rng.choice(ODD_URLS)
    elif where == 1:
        name = rng.choice(["timeout", "max_retries", "max_wait", "model", "token"])
        made[name] = rng.choice(ODD_TEXTS if name in ("model", "token") else ODD_NUMBERS)
        if name == "max_retries" and made[name] in (5, 86401, 2**63, 10**400):
            made["max_retries"] = 2
    else:
        name = rng.choice(["prompt", "max_new_tokens", "temperature", "random_state", "stop"])
        values = ODD_TEXTS if name in ("prompt", "stop") else ODD_NUMBERS
        asked[name] = rng.choice(values) if name != "stop" else [rng.choice(values)]

    def call() -> None:
        try:
            model = HostedModel(**made)
            if model.base_url == "http://127.0.0.1:1/v1":
                model.generate(**asked)
        except HostedModelError as error:
            assert "Secret" not in str(error)
        except ValueError as error:
            assert "Secret" not in str(error)
            raise

    return f"arguments {made} {asked}"[:200], call


def labeled(label: str, call: Callable[[], None]) -> None:
    """Run a case; a defect's message says which case it was."""
    try:
        call()
    except ValueError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} for {label}: {error}") from error


def hosted_cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Bad servers on this machine, and bad arguments.

    Args:
        rng: Where the cases come from.
        count: How many.
    """
    with BadServer() as server:
        for _ in range(count):
            if rng.random() < 0.3:
                yield _bad_arguments(rng)
                continue
            make = rng.choices([_odd_answer, _endless_answer, _garbage], [5, 2, 3])[0]
            label, play = make(rng)
            retries = rng.choice([0, 0, 1])
            yield label, lambda play=play, retries=retries: _ask(server, play, retries)


# --- answers -------------------------------------------------------------------------------------

ALPHABET = "ab AB.,!?-*_#'\"\n\t1ßéİ\u0301\u200b\ud800中"


def _word(rng: random.Random, alphabet: str = ALPHABET) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 6)))


def _parse(answer: Any, words: Any) -> None:
    start = time.perf_counter()
    found = parse_answer(answer, words)
    assert time.perf_counter() - start < 2, "not linear"
    listed = list(words)
    assert found is None or found in listed, f"{found!r} is none of the words"
    assert parse_answer(answer, listed[::-1]) == found, "the order of the words counts"
    for word in listed:
        assert parse_answer(word, listed) == word, "a word does not mean itself"
        assert parse_answer(f" {word}\n", listed) == word, "white space counts"


def answer_cases(rng: random.Random, count: int) -> Iterator[Case]:
    """What models write, and label words, long and odd ones."""
    for _ in range(count):
        words: Any = [_word(rng) for _ in range(rng.randint(0, 4))]
        answer: Any = " ".join(rng.choice([*words, _word(rng)]) for _ in range(rng.randint(0, 8)))
        kind = rng.randrange(6)
        if kind == 0:
            answer, words = rng.choice(ODD_TEXTS), ["positive", "negative"]
        elif kind == 1:
            words = rng.choice([None, 5, "positive", [None], [5, "a"], {"a": 1}, b"ab", [["a"]]])
        elif kind == 2:
            middle = rng.choice(["!", " ", "a ", "-", "\n", "a-", "\u0301", "a"])
            answer, words = f"a{middle * 50_000}b", ["positive", "negative", "a b", middle * 3]
        label = f"{answer!r:.80} {words!r:.80}"
        yield label, lambda answer=answer, words=words: _parse(answer, words)


# --- templates -----------------------------------------------------------------------------------

PARTS = ("{text}", "{mask}", "{text2}", "{", "}", "{{", "}}", " was ", "good", ".", "\n", "{x}",
         "{0}", "{text!r}", "{mask:>5}", "{text.a}", "\ud800", "é", "[MASK]",
         "  ", "\x00")  # fmt: skip
ODD = (None, 5, 1.5, True, b"x", "", "x", "\ud800", "a\x00", ["x"], ("x", "y"), {"x": 1}, object(),
       Template, float("nan"), -1, 10**30, [None], [("a", "b", "c")], "good " * 300)  # fmt: skip
TEXTS = ("", " ", "the film is good", "[MASK] [SEP]", "good " * 200, "{text}", "é\x00", "<|end|> a")
LITERAL = ("", " ", " was ", "good", ".", "\n", "{{", "}}", "é", "[MASK]", "  ", "{{text}}")
LIMITS = (5, 8, 12, 32, 128)


def _pattern(rng: random.Random, pair: bool, causal: bool) -> str:
    """A pattern that a model of this kind can fill."""
    slots = ["{text}", *["{text2}"] * pair]
    rng.shuffle(slots)
    if not causal:
        slots.insert(rng.randint(0, len(slots)), "{mask}")
    filled = "".join(rng.choice(LITERAL) + slot for slot in slots)
    return f"{filled} is {{mask}}" if causal else filled + rng.choice(LITERAL)


def _spoiled(rng: random.Random, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with one argument exchanged for something odd, in every second case."""
    if rng.random() < 0.5:
        return arguments
    name = rng.choice(sorted(arguments))
    odd = "".join(rng.choices(PARTS, k=4)) if name == "template" else rng.choice(ODD)
    return arguments | {name: odd}


def _render(template: Any, text: Any, text2: Any, word: Any, mask_token: Any) -> None:
    made = Template.of(template)
    assert str(made) == made.pattern and Template.of(made) is made
    shown = made.render(text, text2, word, mask_token)
    assert text in shown and (text2 or "") in shown and (word or mask_token or "") in shown
    shown.encode()


def _encode(tokenizer: Any, template: Any, text: Any, **rest: Any) -> None:
    found = encode(Template.of(template), tokenizer, text, **rest)
    assert len(found.input_ids) <= rest["limit"], "longer than the limit"
    if rest["causal"]:
        assert found.mask == len(found.input_ids) - 1
    else:
        gaps = [place for place, piece in enumerate(found.input_ids)
                if piece == tokenizer.mask_token_id]  # fmt: skip
        assert gaps == [found.mask], "not one gap"


def _name(tokenizer: Any, words: Any, classes: Any, causal: bool, template: Any) -> None:
    made = Template.of(template)
    found = word_ids(words, classes, tokenizer, causal=causal, template=made)
    assert len(found) == len(classes) == len(set(found.tolist()))


def _build(text: Any, examples: Any, **rest: Any) -> None:
    shown = build_prompt(text, examples, **rest)
    assert text in shown and rest["description"] in shown
    shown.encode()


def _rendering(rng: random.Random) -> Case:
    pair = rng.random() < 0.3
    word, mask_token = rng.choice([("good", None), (None, "[MASK]")])
    row = _spoiled(rng, {
        "template": _pattern(rng, pair, rng.random() < 0.5), "text": rng.choice(TEXTS),
        "text2": rng.choice(TEXTS) if pair else None, "word": word, "mask_token": mask_token,
    })  # fmt: skip
    return f"render {row}", lambda: _render(**row)


def _encoding(rng: random.Random, tokenizers: dict[bool, Any]) -> Case:
    pair, causal = rng.random() < 0.3, rng.random() < 0.5
    example = (rng.choice(TEXTS), "good" if pair else None, "good")
    if rng.random() < 0.2:
        example = (*example[:2], rng.choice(ODD))
    row = _spoiled(rng, {
        "template": _pattern(rng, pair, causal), "text": rng.choice(TEXTS),
        "text2": rng.choice(TEXTS) if pair else None, "limit": rng.choice(LIMITS),
        "demonstrations": [example] * rng.randint(0, 4),
    })  # fmt: skip
    return f"encode {row}", lambda: _encode(tokenizers[causal], causal=causal, **row)


def _naming(rng: random.Random, tokenizers: dict[bool, Any]) -> Case:
    causal = rng.random() < 0.5
    classes: list[Any] = rng.choice([["a", "b"], [0, 1], [True, False], ["b", "c", "a"]])
    known = ["good", "bad", "film", "nice"] * 3 + ["", " ", "zzzz", "good bad", "\ud800", None, 5]
    row = _spoiled(rng, {
        "template": _pattern(rng, False, causal), "classes": classes,
        "words": {label: rng.choice(known) for label in classes},
    })  # fmt: skip
    return f"words {row}", lambda: _name(tokenizers[causal], causal=causal, **row)


def _prompting(rng: random.Random) -> Case:
    example = (rng.choice(TEXTS), rng.choice(TEXTS))
    row = _spoiled(rng, {
        "template": rng.choice(["Review: {text}\nSentiment:", "{text}", "{{{text}} {mask}."]),
        "text": rng.choice(TEXTS), "examples": [example] * rng.randint(0, 3),
        "description": rng.choice(TEXTS), "separator": rng.choice(["\n\n", "", "###"]),
    })  # fmt: skip
    return f"prompt {row}", lambda: _build(**row)


def template_cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Patterns, texts, demonstrations, words and few-shot prompts of every kind and type."""
    tokenizers = {False: tiny.tokenizer(), True: tiny.causal_tokenizer()}
    for _ in range(count):
        label, call = rng.choice([
            lambda: _rendering(rng), lambda: _encoding(rng, tokenizers),
            lambda: _naming(rng, tokenizers), lambda: _prompting(rng),
        ])()  # fmt: skip
        yield label[:200], call
