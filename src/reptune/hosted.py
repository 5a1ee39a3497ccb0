"""A causal model that someone else runs, behind the interface of the local one (chapter 5).

`HostedModel.generate` takes what `reptune.causal.CausalLM.generate` takes. A request that fails
ends in a `HostedModelError` that names the cure, after a bounded number of tries and seconds.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from numbers import Real
from time import sleep
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import InferenceClient, errors, get_token

from reptune.causal import check_generation, cut_at
from reptune.checks import check_whole_number

# The library moved from httpx to httpx2 in its version 2, and both may be installed: take the one
# whose errors it raises.
_httpx = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])

TRANSIENT = (429, 500, 502, 503, 504)  # answers that may be others a little later
LONGEST_QUOTE = 300  # characters of a server's words in a message
MOST_STOPS = 4  # end sequences that OpenAI's interface takes; the others are applied here
NO_TOKEN = "no-token-needed"  # without one the library sends the stored login, to any server
TOKENS = "https://huggingface.co/settings/tokens"
CURES = {
    401: f"The token is missing or not valid: make one at {TOKENS} and pass token=….",
    402: "The account has no credits left: add some, or wait for the next month's.",
    403: "The token lacks the right: let it call inference providers at "
    f"{TOKENS}, and accept the model's terms on its page if it has some.",
    404: "The model is not served at this address: choose one whose page on the Hub names an "
    "inference provider, or check model and base_url.",
    410: "This address is gone for good: take a current base_url, or leave it out and update "
    "huggingface_hub, which knows the Hub's current one.",
}
REFUSED = "Change what the server objects to: the model, the prompt or an argument."
NO_COMPLETION = "the answer is not the JSON of a chat completion"
GARBAGE = "Check that base_url speaks OpenAI's chat interface, or choose another model."

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


class HostedModel:
    r"""A causal model behind an OpenAI-compatible interface: the Hub's providers', or your own.

    What you send leaves your machine, and a provider's model may change without notice, so the
    same seed need not give the same text twice.

    Args:
        model: A repository on the Hub that an inference provider serves, or the name by which your
            own server knows its model.
        token: A Hugging Face token; `None` takes `HF_TOKEN`, then the stored login. It appears in
            no message. With `base_url` only a token passed here is sent.
        base_url: Address of an OpenAI-compatible server, such as `http://localhost:8000/v1`.
        timeout: Seconds until a request that has not been answered in full is given up.
        max_retries: Further tries after a time-out, a dropped connection, or an answer that says
            too many requests (429) or a fault of the server (500, 502, 503, 504).
        max_wait: Seconds of pauses between the tries, together, at most. One call of `generate`
            thus takes at most `(max_retries + 1) * timeout + max_wait` seconds.

    Raises:
        ValueError: If an argument cannot be used.
        HostedModelError: If neither a token nor `base_url` is there.

    Example:
        >>> from reptune.hosted import HostedModel
        >>> model = HostedModel("qwen", base_url="http://localhost:8000/v1")
        >>> answer = model.generate("Review: A joy.\nSentiment:")  # doctest: +SKIP

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
        _check_seconds("timeout", timeout, above_zero=True)
        _check_seconds("max_wait", max_wait)
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
        return f"{type(self).__name__}({self.model!r}, {knobs})"

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
            max_new_tokens: Pieces to write at most; what a model thinks first counts.
            temperature: 0 asks for the likeliest piece each time; above 0 pieces are drawn.
            stop: End sequences, such as `"\n"`: the text ends before the first one that occurs.
            random_state: Seed for the server, which may ignore it; `None` sends none.

        Returns:
            The answer, without the end sequence.

        Raises:
            ValueError: If an argument is bad.
            HostedModelError: If no answer came, or none that can be read.

        Source: chapter 5.
        """
        _check_seconds("temperature", temperature)
        check_generation(prompt, max_new_tokens, temperature)
        _check_stop(stop)
        if random_state is not None:
            check_whole_number("random_state", random_state, least=0)
        request = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": int(max_new_tokens),
            "temperature": float(temperature),
            "stop": list(stop[:MOST_STOPS]) or None,
            "seed": None if random_state is None else int(random_state),
        }
        return cut_at(self._ask(request), stop)

    # --- tries and pauses ---

    def _ask(self, request: dict[str, Any]) -> str:
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

    def _try(self, request: dict[str, Any]) -> str | Trouble:
        """The answer to a request, or why there is none."""
        try:
            return _within(self.timeout, lambda: self._send(request))
        except Exception as error:
            return self._diagnose(error)

    def _send(self, request: dict[str, Any]) -> str | Trouble:
        where = {"base_url": self.base_url} if self.base_url else {"model": self.model}
        with InferenceClient(
            token=self._token or NO_TOKEN, timeout=self.timeout, **where
        ) as client:
            output = client.chat_completion(model=self.model, **request)
        return _content(output)

    def _pause(self, troubles: list[Trouble]) -> float | None:
        """Seconds until the next try; `None` if there shall be none."""
        last = troubles[-1]
        if not last.transient or len(troubles) > self.max_retries:
            return None
        return 2.0 ** (len(troubles) - 1) if last.retry_after is None else last.retry_after

    # --- what to say ---

    def _diagnose(self, error: Exception) -> Trouble:
        """What an error of the library means; other errors are raised again."""
        if isinstance(error, errors.OfflineModeIsEnabled):
            return Trouble(
                "HF_HUB_OFFLINE is set, so nothing was sent", "Unset it, or use a local model."
            )
        if isinstance(error, TimeoutError | _httpx.TimeoutException):
            what = f"no complete answer within {self.timeout:g} s"
            return Trouble(what, "Raise timeout, or try later.", transient=True)
        response = _response_of(error)
        if response is not None:
            return _refusal(response, error)
        if isinstance(error, _httpx.NetworkError | _httpx.RemoteProtocolError | _httpx.ProxyError):
            cure = "Check the address and the network, and that the server runs."
            return Trouble("the connection failed", cure, str(error), transient=True)
        if isinstance(error, errors.HTTPError):
            return Trouble("the answer could not be read", GARBAGE, _named(error))
        if isinstance(
            error, ValueError | TypeError | AttributeError | LookupError | RecursionError
        ):
            return _garbage(error)
        raise error

    def _report(self, troubles: list[Trouble], waited: float, pause: float | None) -> str:
        """All that went wrong, in one message."""
        where = urlsplit(self.base_url).netloc if self.base_url else "the Hugging Face router"
        counts = Counter(trouble.what for trouble in troubles)
        what = ", ".join(f"{name} ({n} times)" if n > 1 else name for name, n in counts.items())
        message = f"{self.model} at {where}: {what}"
        if waited:
            message += f", in spite of {waited:g} s of pauses"
        if pause is not None:
            message += (
                f"; the next try should wait {pause:g} s, more than max_wait={self.max_wait:g}"
            )
            message += " leaves" if waited else " allows"
        last = troubles[-1]
        words = self._quote(last.words)
        return f"{message}{f': {words}' if words else ''}\n{last.cure}"

    def _quote(self, words: str) -> str:
        """Somebody else's words, short and without the token, which a server may repeat."""
        if self._token:
            words = words.replace(self._token, "[token]")
        words = "".join(letter if letter.isprintable() else " " for letter in words)
        words = " ".join(words.split())
        return words if len(words) <= LONGEST_QUOTE else words[: LONGEST_QUOTE - 1] + "…"


# --- arguments -----------------------------------------------------------------------------------


def _check_name(model: str) -> None:
    if not isinstance(model, str) or not model.strip():
        raise ValueError(
            f"model={model!r}; name a model, such as 'meta-llama/Llama-3.1-8B-Instruct'."
        )
    if model.startswith(("http://", "https://")):
        raise ValueError(f"model={model!r} is an address; pass it as base_url, and a model's name.")


def _check_url(base_url: str | None) -> None:
    if base_url is None:
        return
    if not isinstance(base_url, str) or not re.match(r"https?://[^/?#]", base_url):
        raise ValueError(
            f"base_url={base_url!r}; use an address such as 'http://localhost:8000/v1'."
        )
    if "@" in urlsplit(base_url).netloc:
        raise ValueError("base_url holds a user or a password, which messages show; pass token=….")


def _check_seconds(name: str, value: float, above_zero: bool = False) -> None:
    """Raise a `ValueError` unless `value` is a finite number from 0 on, or above it."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(
            f"{name}={value!r}; use a number {'above 0' if above_zero else 'from 0 on'}."
        )


def _check_stop(stop: Sequence[str]) -> None:
    if isinstance(stop, str):
        raise ValueError(f"stop={stop!r} is one text; pass a list of them, such as [{stop!r}].")
    if not isinstance(stop, list | tuple) or not all(isinstance(s, str) and s for s in stop):
        raise ValueError(f"stop={stop!r}; pass a list of texts, none of them empty.")


def _token(token: str | None, base_url: str | None) -> str | None:
    """The token to send: the one given or, for the Hub only, the one this machine knows.

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
            "(reptune.causal.load_causal_lm)."
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


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns, or `TimeoutError`.

    The library's time-out starts anew with every byte, so a server that trickles could hold a
    caller forever. A call given up goes on in its thread, which ends no later than the server's
    answer does and does not keep Python from exiting.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="reptune-hosted").start()
    return future.result(seconds)


def _response_of(error: BaseException | None) -> Any:
    """The answer that an error, or one it came from, is about.

    The library fails over error pages that are no JSON object while it reads them.
    """
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response
        error = error.__cause__ or error.__context__
    return None


def _refusal(response: Any, error: Exception) -> Trouble:
    """What an answer with an HTTP error status means."""
    status = response.status_code
    transient = status in TRANSIENT
    return Trouble(
        f"HTTP {status}{_phrase(status)}",
        "Try later, or less often." if transient else CURES.get(status, REFUSED),
        getattr(error, "server_message", None) or _text_of(response),
        transient,
        _retry_after(response.headers.get("retry-after")),
    )


def _content(output: dict[str, Any]) -> str | Trouble:
    """The text of a chat completion, or what came in its place."""
    came = {key: value for key, value in output.items() if value is not None}
    try:
        content = output.choices[0].message.content
    except (AttributeError, LookupError, TypeError):
        return Trouble(NO_COMPLETION, GARBAGE, repr(came))
    if isinstance(content, str):
        return content
    cure = "Raise max_new_tokens, which a model that thinks first may have used up."
    return Trouble("the answer holds no text", cure, f"its content is {content!r}")


def _garbage(error: Exception) -> Trouble:
    """What an error over an answer of the wrong form means, with what came where that is known."""
    words = _named(error)
    if isinstance(error, json.JSONDecodeError):
        words = error.doc or "an empty body"
    elif isinstance(error, UnicodeDecodeError):
        words = repr(error.object)
    return Trouble(NO_COMPLETION, GARBAGE, words)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _phrase(status: int) -> str:
    return f" {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else ""


def _text_of(response: Any) -> str:
    """The body of an error page that is not HTML, as far as it was read."""
    if "html" in response.headers.get("content-type", "").lower():
        return ""
    try:
        return response.text
    except RuntimeError:  # what the library raises for a body that was not read
        return ""


def _retry_after(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks to wait, by a number or a date; else `None`."""
    header = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", header):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
