"""A causal model that someone else runs, behind the interface of the local one (chapter 5).

`HostedModel.generate` takes what `reptune.models.causal.CausalLM.generate` takes. A request that
fails ends in a `HostedModelError` that names the cure, after a bounded number of tries and seconds.
"""

from __future__ import annotations

import importlib
import json
import re
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import sleep
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

from huggingface_hub import errors, get_session, get_token

from reptune.checks import check_number, check_unicode, check_whole_number
from reptune.models.prompts import check_generation, cut_at

# The library moved from httpx to httpx2 in its version 2, and both may be installed: take the one
# whose errors it raises.
_httpx = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])

ROUTER = "https://router.huggingface.co"  # passes a request on to one of the Hub's providers
CHAT = "/chat/completions"
TRANSIENT = (429, 500, 502, 503, 504)  # answers that may be others a little later
REPOSTED = (307, 308)  # redirects that ask for the same request again
MOST_REDIRECTS = 5
MOST_BYTES = 4 * 2**20  # of a body, as it comes and unpacked; an answer is a few kB
MOST_SECONDS = 86_400.0  # a day
LONGEST_HEADER = 100  # characters of a Retry-After that are worth reading
LONGEST_QUOTE = 300  # characters of a server's words in a message
MOST_WORDS = 10_000  # characters from which they are taken
MOST_STOPS = 4  # end sequences that OpenAI's interface takes; the others are applied here
TOKENS = "https://huggingface.co/settings/tokens"
CURES = {
    401: f"The token is missing or not valid: make one at {TOKENS} and pass token=….",
    402: "The account has no credits left: add some, or wait for the next month's.",
    403: "The token lacks the right: let it call inference providers at "
    f"{TOKENS}, and accept the model's terms on its page if it has some.",
    404: "The model is not served at this address: choose one whose page on the Hub names an "
    "inference provider, or check model and base_url.",
    410: "This address is gone for good: take a current base_url, or leave it out and update "
    "reptune, which knows the Hub's current one.",
}
REFUSED = "Change what the server objects to: the model, the prompt or an argument."
NO_COMPLETION = "the answer is not the JSON of a chat completion"
GARBAGE = "Check that base_url speaks OpenAI's chat interface, or choose another model."
NOT_FOLLOWED = (
    "Your prompt was not sent on. If you trust that address with it, pass it as base_url."
)

T = TypeVar("T")


class HostedModelError(RuntimeError):
    """A hosted model gave no answer; the message says what happened and the cure."""


class Trouble(NamedTuple):
    """Why a request brought no answer.

    Attributes:
        what: What happened, in a few words, the same for the same event.
        cure: What to do about it, a sentence.
        words: What the server or the library said, as it came.
        transient: Whether the same request may succeed later.
        retry_after: Seconds the server asks to wait; `None` if it does not say.
    """

    what: str
    cure: str
    words: str = ""
    transient: bool = False
    retry_after: float | None = None


class Reply(NamedTuple):
    """What a server answered.

    Attributes:
        status: The HTTP status.
        headers: Its headers; names in any case.
        body: The unpacked body, as far as it was read.
        whole: Whether that is all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


class HostedModel:
    r"""A causal model behind an OpenAI-compatible interface: the Hub's providers', or your own.

    What you send leaves your machine, and a provider's model may change without notice, so the
    same seed need not give the same text twice. A prompt goes to the address that you name and to
    no other: a redirect to another server is refused, with a message that names it. No more of an
    answer than 4 MiB is read, and no longer than `timeout`.

    Args:
        model: A repository on the Hub that an inference provider serves, or the name by which your
            own server knows its model.
        token: A Hugging Face token; `None` takes `HF_TOKEN`, then the stored login. It appears in
            no message. With `base_url` only a token passed here is sent.
        base_url: Address of an OpenAI-compatible server, such as `http://localhost:8000/v1`.
        timeout: Seconds until a request that has not been answered in full is given up; at most
            a day.
        max_retries: Further tries after a time-out, a dropped connection, or an answer that says
            too many requests (429) or a fault of the server (500, 502, 503, 504).
        max_wait: Seconds of pauses between the tries, together, at most, and at most a day. One
            call of `generate` thus takes at most `(max_retries + 1) * timeout + max_wait` seconds.

    Raises:
        ValueError: If an argument cannot be used.
        HostedModelError: If neither a token nor `base_url` is there.

    Making one sends nothing; `generate` asks the server.

    >>> from reptune.models.hosted import HostedModel
    >>> model = HostedModel("qwen", base_url="http://localhost:8000/v1", max_retries=1)
    >>> model.timeout, model.max_retries, model.max_wait
    (30.0, 1, 60.0)

    Source: chapter 5.
    """

    def __init__(
        self,
        model: str,
        *,
        token: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        max_wait: float = 60.0,
    ) -> None:
        _check_name(model)
        _check_url(base_url)
        check_number("timeout", timeout, above=0, most=MOST_SECONDS)
        check_number("max_wait", max_wait, least=0, most=MOST_SECONDS)
        check_whole_number("max_retries", max_retries, least=0)
        self.model = model
        self.base_url = base_url
        self.timeout = timeout
        self.max_retries = max_retries
        self.max_wait = max_wait
        self._token = _token(token, base_url)

    def __repr__(self) -> str:
        shown = ("base_url", "timeout", "max_retries", "max_wait")  # never the token
        knobs = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return self._hidden(f"{type(self).__name__}({self.model!r}, {knobs})")

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 16,
        temperature: float = 0.0,
        stop: Sequence[str] = ("\n",),
        random_state: int | None = 0,
    ) -> str:
        r"""Ask the model to answer a prompt, sent as one message of a user.

        Args:
            prompt: What the model reads, behind the chat template that its server adds.
            max_new_tokens: Tokens to write at most; what a model thinks first counts.
            temperature: 0 asks for the likeliest token each time; above 0 tokens are drawn.
            stop: End sequences, such as `"\n"`: the text ends before the first one that occurs.
            random_state: Seed for the server, which may ignore it; `None` sends none.

        Returns:
            The answer, without the end sequence.

        Raises:
            ValueError: If an argument is bad.
            HostedModelError: If no answer came, or none that can be read.

        Source: chapter 5.
        """
        check_generation(prompt, max_new_tokens, temperature, stop, random_state)
        if "" in stop:
            raise ValueError(f"stop={stop!r} holds an empty text, which servers refuse; drop it.")
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": int(max_new_tokens),
            "temperature": float(temperature),
            "stop": list(stop[:MOST_STOPS]) or None,
            "seed": None if random_state is None else int(random_state),
            "stream": False,
        }
        given = {name: value for name, value in request.items() if value is not None}
        return cut_at(self._ask(json.dumps(given).encode()), stop)

    # --- tries and pauses ---

    def _ask(self, request: bytes) -> str:
        """Try until an answer comes or the tries or the pauses are used up."""
        troubles: list[Trouble] = []
        waited = 0.0
        while True:
            answer = self._try(request)
            if isinstance(answer, str):
                return answer
            troubles.append(answer)
            pause = self._pause(troubles)
            if pause is None or waited + pause > self.max_wait:
                # Not raised from the library's error: that one may quote what must not be shown.
                raise HostedModelError(self._report(troubles, waited, pause))
            sleep(pause)
            waited += pause

    def _try(self, request: bytes) -> str | Trouble:
        """Return the answer to a request, or why there is none."""
        get_session()  # reads certificates when it is made, which is not the server's time
        try:
            return _within(float(self.timeout), lambda line: self._send(request, line))
        except Exception as error:
            return self._diagnose(error)

    def _send(self, request: bytes, line: _Line) -> str | Trouble:
        """Post a request; go where the server sends it on to only if that is the same server."""
        address = _chat_address(self.base_url or ROUTER)
        for _ in range(MOST_REDIRECTS + 1):
            reply = self._post(address, request, line)
            if not 300 <= reply.status < 400:
                return _answer_of(reply)
            target = _location(address, reply)
            if reply.status not in REPOSTED or not _same_server(address, target):
                what = f"HTTP {reply.status}{_phrase(reply.status)}, a redirect not followed"
                return Trouble(what, NOT_FOLLOWED, target)
            address = target
        return Trouble(f"more than {MOST_REDIRECTS} redirects", "Check base_url.", address)

    def _post(self, address: str, request: bytes, line: _Line) -> Reply:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            # A connection of its own, which `line` may cut.
            "Connection": "close",
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        with get_session().stream(
            "POST",
            address,
            content=request,
            headers=headers,
            timeout=float(self.timeout),
            follow_redirects=False,
            extensions={"trace": line.note},
        ) as response:
            return _read(response)

    def _pause(self, troubles: list[Trouble]) -> float | None:
        """Return the seconds until the next try; `None` if there shall be none."""
        last = troubles[-1]
        if not last.transient or len(troubles) > self.max_retries:
            return None
        return 2.0 ** (len(troubles) - 1) if last.retry_after is None else last.retry_after

    # --- what to say ---

    def _diagnose(self, error: Exception) -> Trouble:
        """Say what an error of the library means; raise other errors again."""
        if isinstance(error, errors.OfflineModeIsEnabled):
            return Trouble(
                "HF_HUB_OFFLINE is set, so nothing was sent", "Unset it, or use a local model."
            )
        # Some versions of the library read the address of a redirect that they shall not follow.
        if isinstance(error, _httpx.InvalidURL) or "location header" in str(error):
            return Trouble("a redirect not followed", NOT_FOLLOWED, "its address is none")
        if isinstance(error, TimeoutError | _httpx.TimeoutException):
            what = f"no complete answer within {float(self.timeout):g} s"
            return Trouble(what, "Raise timeout, or try later.", transient=True)
        if isinstance(error, _httpx.NetworkError | _httpx.RemoteProtocolError | _httpx.ProxyError):
            cure = "Check the address and the network, and that the server runs."
            return Trouble("the connection failed", cure, str(error), transient=True)
        if isinstance(error, errors.HTTPError | _UnreadableError):
            return Trouble("the answer could not be read", GARBAGE, str(error))
        raise error

    def _report(self, troubles: list[Trouble], waited: float, pause: float | None) -> str:
        """Put all that went wrong into one message."""
        where = urlsplit(self.base_url).netloc if self.base_url else "the Hugging Face router"
        counts = Counter(trouble.what for trouble in troubles)
        what = ", ".join(f"{name} ({n} times)" if n > 1 else name for name, n in counts.items())
        message = f"{self.model} at {where}: {what}"
        if waited:
            message += f", in spite of {waited:g} s of pauses"
        if pause is not None:
            most = float(self.max_wait)
            message += f"; the next try should wait {pause:g} s, more than max_wait={most:g}"
            message += " leaves" if waited else " allows"
        last = troubles[-1]
        words = self._quote(last.words)
        return self._hidden(f"{message}{f': {words}' if words else ''}\n{last.cure}")

    def _quote(self, words: str) -> str:
        """Shorten somebody else's words, and hide the token, which a server may repeat."""
        words = self._hidden(words)[:MOST_WORDS]
        words = "".join(letter if letter.isprintable() else " " for letter in words)
        words = " ".join(words.split())
        return words if len(words) <= LONGEST_QUOTE else words[: LONGEST_QUOTE - 1] + "…"

    def _hidden(self, words: str) -> str:
        return words.replace(self._token, "[token]") if self._token else words


# --- arguments -----------------------------------------------------------------------------------


def _check_name(model: str) -> None:
    if not isinstance(model, str) or not model.strip():
        raise ValueError(
            f"model={model!r}; name a model, such as 'meta-llama/Llama-3.1-8B-Instruct'."
        )
    check_unicode(model, "model")
    if model.startswith(("http://", "https://")):
        raise ValueError(f"model={model!r} is an address; pass it as base_url, and a model's name.")


def _check_url(base_url: str | None) -> None:
    """Raise a `ValueError` unless an address is `None` or one that a request can go to."""
    if base_url is None:
        return
    such = "use an address such as 'http://localhost:8000/v1'."
    if not isinstance(base_url, str) or not re.match(r"https?://[^/?#]", base_url):
        raise ValueError(f"base_url={base_url!r}; {such}")
    if "@" in base_url.split("/")[2]:
        raise ValueError("base_url holds a user or a password, which messages show; pass token=….")
    try:
        parts = urlsplit(base_url)
        known = parts.hostname and parts.port != 0  # a port that is no number raises
        if ":" not in (parts.hostname or ""):  # what has one is an IPv6 address
            (parts.hostname or "").encode("idna")
        _httpx.URL(_chat_address(base_url))
    except (ValueError, _httpx.InvalidURL) as error:
        raise ValueError(f"base_url={base_url!r} is no address ({error}); {such}") from None
    if not known:
        raise ValueError(f"base_url={base_url!r} names no server; {such}")


def _token(token: str | None, base_url: str | None) -> str | None:
    """Return the token to send: the one given or, for the Hub only, the one this machine knows.

    Raises:
        ValueError: If it cannot be a token.
        HostedModelError: If the Hub wants one and there is none.
    """
    if token is not None and not isinstance(token, str):
        raise ValueError(f"token is of type {type(token).__name__}; pass a text.")
    token = (token or "").strip() or (None if base_url else get_token())
    if token is None and not base_url:
        raise HostedModelError(
            f"hosted models want a Hugging Face token, and there is none: make one at {TOKENS} "
            "that may call inference providers, and pass token=…, set HF_TOKEN, or run "
            "`hf auth login`. Your own server (base_url=…) needs none, nor does a local model "
            "(reptune.models.causal.load_causal_lm)."
        )
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        # No header can hold it, and the error that says so would show it.
        raise ValueError("token holds spaces or letters that no token has; copy it again.")
    if token is not None and not base_url and not token.startswith("hf_"):
        raise ValueError(
            "token does not begin with hf_, so it is none of Hugging Face's; make one at "
            f"{TOKENS}, or pass your provider's base_url as well."
        )
    return token


# --- requests ------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    """A body that cannot be unpacked."""


class _Line:
    """The connections of a request, which another thread may cut."""

    def __init__(self) -> None:
        self._streams: list[Any] = []
        self._is_cut = False

    def note(self, event: str, info: dict[str, Any]) -> None:
        """Keep the connections that the library opens; it calls this at each step of a request."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._streams.append(info["return_value"])
            if self._is_cut:
                self.cut()

    def cut(self) -> None:
        """End whatever reads or writes there; harmless after the end."""
        self._is_cut = True
        for stream in list(self._streams):
            with suppress(OSError):
                # Not closed: the other thread would go on with whatever gets its number next.
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _within(seconds: float, call: Callable[[_Line], T]) -> T:
    """Return what `call` returns, or raise a `TimeoutError`.

    The library's time-out starts anew with every byte, so a server that trickles could hold a
    caller forever. The connection of a call given up is cut, so that its thread ends, too, as soon
    as it has read what had come.
    """
    future: Future[T] = Future()
    line = _Line()

    def run() -> None:
        try:
            future.set_result(call(line))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="reptune-hosted").start()
    try:
        return future.result(seconds)
    finally:
        line.cut()


def _chat_address(base_url: str) -> str:
    """Return the address of a server's chat completions."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith(CHAT):
        path += CHAT if path.endswith("/v1") else f"/v1{CHAT}"
    return parts._replace(path=path).geturl()


def _location(address: str, reply: Reply) -> str:
    """Return where a redirect leads, as far as that can be told."""
    location = reply.headers.get("location", "")
    try:
        return urljoin(address, location) if location else ""
    except ValueError:
        return location


def _same_server(address: str, target: str) -> bool:
    try:
        _check_url(target)
        return _origin(address) == _origin(target)
    except ValueError:
        return False


def _origin(address: str) -> tuple[str, str | None, int]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _read(response: Any) -> Reply:
    """Read a response, at most `MOST_BYTES` of its body."""
    status, raw, body, whole = response.status_code, bytearray(), b"", True
    try:
        for chunk in response.iter_raw():
            raw += chunk
            if len(raw) > MOST_BYTES:
                whole = False
                break
        body = _unpacked(bytes(raw[:MOST_BYTES]), response.headers.get("content-encoding", ""))
    except (errors.HTTPError, _UnreadableError):
        if status < 400:  # what an error says is welcome, but it is an error without it
            raise
    return Reply(status, response.headers, body[:MOST_BYTES], whole and len(body) <= MOST_BYTES)


def _unpacked(raw: bytes, encoding: str) -> bytes:
    """Unpack a body that the server packed, up to a little beyond `MOST_BYTES`."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip"):
        raise _UnreadableError(f"its Content-Encoding {encoding!r} was not asked for")
    try:
        return zlib.decompressobj(wbits=31).decompress(raw, MOST_BYTES + 1)
    except zlib.error as error:
        raise _UnreadableError(f"it is no gzip: {error}") from None


# --- answers -------------------------------------------------------------------------------------


def _answer_of(reply: Reply) -> str | Trouble:
    """Return the text of a chat completion, or why there is none."""
    if reply.status >= 400:
        return _refusal(reply)
    if not reply.whole:
        cure = f"Lower max_new_tokens. {GARBAGE}"
        return Trouble(f"the answer is longer than {MOST_BYTES / 2**20:g} MiB", cure)
    return _content(reply.body)


def _refusal(reply: Reply) -> Trouble:
    """Say what an answer with an HTTP error status means."""
    transient = reply.status in TRANSIENT
    return Trouble(
        f"HTTP {reply.status}{_phrase(reply.status)}",
        "Try later, or less often." if transient else CURES.get(reply.status, REFUSED),
        _words_of(reply),
        transient,
        _retry_after(reply.headers.get("retry-after")),
    )


def _content(body: bytes) -> str | Trouble:
    """Return the text of a chat completion, or what came instead."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Trouble(NO_COMPLETION, GARBAGE, repr(body))
    try:
        content = json.loads(text)["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Trouble(NO_COMPLETION, GARBAGE, text or "an empty body")
    if isinstance(content, str):
        # JSON can spell half of a surrogate pair, which could be neither printed nor saved.
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    cure = "Raise max_new_tokens, which a model that thinks first may have used up."
    return Trouble("the answer holds no text", cure, f"its content is {content!r}")


def _words_of(reply: Reply) -> str:
    """Return what an error page says, unless it is HTML."""
    if "html" in reply.headers.get("content-type", "").lower():
        return ""
    text = reply.body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(content, dict):
            content = content.get(name, content)
    return content if isinstance(content, str) else text


def _phrase(status: int) -> str:
    return f" {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else ""


def _retry_after(header: str | None) -> float | None:
    """Return the seconds a `Retry-After` header asks to wait, a number or a date, or `None`."""
    header = (header or "").strip()[:LONGEST_HEADER]
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", header):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        # Zones and years beyond what dates hold overflow, and the standard parser trips over some
        # headers; a server's nonsense says nothing about how long to wait.
        return None
