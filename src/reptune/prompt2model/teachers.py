"""Who writes examples: a causal model on this machine, or one that someone else runs (chapter 7).

`HostedTeacher` asks side by side, no faster than it may, and stops at a limit of requests or of
money; what had come by then is in the `TeacherStopped` that it raises.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch

from reptune import runtime
from reptune.checks import check_number, check_texts, check_whole_number
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.decoding import (
    BATCH_SIZE,
    Continuation,
    check_draws,
    check_temperatures,
    generate_many,
)
from reptune.models.hosted import HostedModel, HostedModelError, Reply, Trouble
from reptune.models.prompts import check_generation

TEACHER = "Qwen2.5-Coder-0.5B-Instruct"
BYTES_A_TOKEN = 3  # fewer than English texts have, so that an estimate is seldom too low


class Teacher(Protocol):
    """What writes texts after prompts.

    Attributes:
        name: What to call it in a row's origin and in a cache's key.
    """

    name: str

    @property
    def limit(self) -> int:
        """Tokens that a prompt and what is written after it may have together."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has, or an estimate that is seldom too low."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        temperature: float | Sequence[float] = 0.0,
        stop: Sequence[str] = ("\n",),
        random_state: int | None = 0,
        draws: Sequence[int] | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[str]:
        """Go on with each prompt; a prompt that occurs twice is drawn for twice.

        Args:
            prompts: Shape `(n,)`.
            max_new_tokens: Tokens to write at most, for each prompt.
            temperature: One for all prompts, or one for each.
            stop: A text ends before the first of these.
            random_state: Seed of the draws.
            draws: The number of each prompt's draw; `None` counts them from 0. A teacher that
                stops half-way is asked for the rest with the numbers that they had.
            progress: Called with the number of texts that have just been written.

        Returns:
            A text for each prompt, in their order; one that is a
            `reptune.models.decoding.Continuation` says whether `max_new_tokens` cut it.

        Raises:
            TeacherStopped: If some have no answer; it holds the others.
        """
        ...


class TeacherStopped(RuntimeError):  # noqa: N818
    """Some prompts have no answer; the message says why, and how to go on.

    Attributes:
        answers: In the order of the prompts, `None` where there is no answer.
        is_over: Whether there is no use in asking on: a limit is reached, or request after request
            failed.
    """

    def __init__(self, message: str, answers: list[str | None], is_over: bool) -> None:
        super().__init__(message)
        self.answers = answers
        self.is_over = is_over


# --- on this machine -----------------------------------------------------------------------------


class LocalTeacher:
    """A causal model on this machine, which is loaded when it is first needed.

    Args:
        model: An asset's name, a local folder or a Hub id, or a model that is loaded already, which
            is used as it is.
        device: Where it runs: `None` for the accelerator, or a name such as `"cpu"`.
        half_precision: Hold its weights in bfloat16, where the device computes in it: half the
            memory, and faster. Scores of continuations then move by about 0.1.
        top_p: See `reptune.models.decoding.generate_many`.
        batch_size: Texts side by side, at most.

    Raises:
        ValueError: If an argument is bad; for a model that cannot be had, when it is loaded.

    Making one loads nothing yet; `lm`, `limit`, `count_tokens` and `generate` do.

    >>> teacher = LocalTeacher("SmolLM2-135M-Instruct", top_p=0.95)
    >>> teacher.name, teacher.batch_size
    ('SmolLM2-135M-Instruct', 48)

    Source: chapter 7.
    """

    def __init__(
        self,
        model: str | Path | CausalLM = TEACHER,
        device: str | None = None,
        *,
        half_precision: bool = True,
        top_p: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        check_number("top_p", top_p, above=0, most=1)
        check_whole_number("batch_size", batch_size)
        runtime.check_device(device)
        self.model = model
        self.device = device
        self.half_precision = half_precision
        self.top_p = top_p
        self.batch_size = batch_size
        if isinstance(model, CausalLM):
            self.name = Path(model.model.config.name_or_path).name or type(model.model).__name__
        else:
            self.name = str(model)

    @functools.cached_property
    def lm(self) -> CausalLM:
        """The loaded model, whose `continuation_scores` others may use."""
        if isinstance(self.model, CausalLM):
            return self.model
        lm = load_causal_lm(self.model, self.device)
        is_default = lm.model.device.type == runtime.device().type
        if self.half_precision and is_default and runtime.precision()["bf16"]:
            lm.model.to(torch.bfloat16)
        return lm

    @property
    def key(self) -> dict[str, Any]:
        """What decides a text beside the prompt, for a journal of texts."""
        given = ("name", "half_precision", "top_p", "batch_size")
        return {name: getattr(self, name) for name in given}

    @property
    def limit(self) -> int:
        """Tokens that a prompt and what is written after it may have together."""
        return self.lm.limit

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self.lm.encode(text))

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        temperature: float | Sequence[float] = 0.0,
        stop: Sequence[str] = ("\n",),
        random_state: int | None = 0,
        draws: Sequence[int] | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[str]:
        """Go on with each prompt; see `Teacher.generate`.

        Raises:
            ValueError: If an argument is bad, or a prompt leaves no room for `max_new_tokens`.
        """
        return generate_many(
            self.lm,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=self.top_p,
            stop=stop,
            random_state=random_state,
            draws=draws,
            batch_size=self.batch_size,
            progress=progress,
        )


# --- elsewhere -----------------------------------------------------------------------------------


class HostedTeacher:
    """A causal model that someone else runs, asked side by side and within limits.

    What a request costs is what the server says that it read and wrote. Before one is sent, the
    most that it could cost is set aside, a token for each of its bytes and all of
    `max_new_tokens`, so that `max_cost` is never passed; one whose answer does not say, or never
    comes, counts as that much. A prompt whose request fails is not asked again, and keeps no other
    from being asked. Requests, tokens and costs are counted as long as the teacher lives.

    Args:
        model: See `reptune.models.hosted.HostedModel`, also for the next two and the last two.
        base_url: Address of an OpenAI-compatible server.
        token: A Hugging Face token, or that server's.
        concurrency: Requests that are under way at the same time, at most.
        requests_per_minute: They begin this often at most, evenly spaced; further tries count.
        max_requests: After so many, further tries included, no more are sent; `None` for no limit.
        max_cost: No request is sent that could bring the costs above it, in the prices' currency;
            `None` for no limit.
        price_in: Of a million tokens that the model reads.
        price_out: Of a million tokens that it writes.
        max_failures: After so many prompts in a row without an answer, no more are asked.
        limit: Tokens that the model takes, which no server says.
        timeout: Seconds until a request is given up.
        max_retries: Further tries after an error that may pass.

    Raises:
        ValueError: If an argument is bad, or `max_cost` has no price to go by.
        reptune.models.hosted.HostedModelError: If neither a token nor `base_url` is there.

    Making one sends nothing.

    >>> teacher = HostedTeacher("qwen", "http://localhost:8000/v1", max_cost=2, price_out=0.6)
    >>> teacher.requests, teacher.cost
    (0, 0.0)

    Source: chapter 7.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        token: str | None = None,
        *,
        concurrency: int = 4,
        requests_per_minute: float = 80,
        max_requests: int | None = None,
        max_cost: float | None = None,
        price_in: float = 0.0,
        price_out: float = 0.0,
        max_failures: int = 5,
        limit: int = 8192,
        timeout: float = 30.0,
        max_retries: int = 2,
    ) -> None:
        self.concurrency = check_whole_number("concurrency", concurrency)
        self.max_failures = check_whole_number("max_failures", max_failures)
        self._limit = check_whole_number("limit", limit)
        self._budget = _Budget(requests_per_minute, max_requests, max_cost, (price_in, price_out))
        self._model = _Metered(
            model, token=token, base_url=base_url, timeout=timeout, max_retries=max_retries
        )
        self._model.budget = self._budget
        self.name = self.model = model
        self.key = {"name": model, "base_url": base_url}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r})"

    @property
    def limit(self) -> int:
        """Tokens that a prompt and what is written after it may have together, as given."""
        return self._limit

    @property
    def requests(self) -> int:
        """Requests sent so far, further tries included."""
        return self._budget.requests

    @property
    def tokens_read(self) -> int:
        """Tokens that were paid for as read."""
        return self._budget.used[0]

    @property
    def tokens_written(self) -> int:
        """Tokens that were paid for as written."""
        return self._budget.used[1]

    @property
    def cost(self) -> float:
        """What that costs."""
        return self._budget.cost(self._budget.used)

    def count_tokens(self, text: str) -> int:
        """Return an estimate of a text's tokens, a third of its bytes."""
        return -(-len(text.encode()) // BYTES_A_TOKEN)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        temperature: float | Sequence[float] = 0.0,
        stop: Sequence[str] = ("\n",),
        random_state: int | None = 0,
        draws: Sequence[int] | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[str]:
        """Ask for each prompt; see `Teacher.generate`.

        Each prompt is sent with a seed of its own, which follows from `random_state` and the number
        of its draw.

        Raises:
            ValueError: If an argument is bad; nothing has been sent then.
            TeacherStopped: If a limit is reached, or a request failed; it holds the answers that
                came, those of requests that were under way included.
        """
        prompts = check_texts(prompts, "prompts")
        heats = check_temperatures(temperature, len(prompts))
        for prompt, heat in zip(prompts, heats, strict=True):
            check_generation(prompt, max_new_tokens, heat, stop, random_state)
        numbers = check_draws(draws, len(prompts))
        turn = _Turn(len(prompts), self.max_failures)

        def ask(index: int) -> None:
            turn.ask(
                index,
                lambda: self._model.generate(
                    prompts[index],
                    max_new_tokens=max_new_tokens,
                    temperature=heats[index],
                    stop=stop,
                    random_state=_seed(random_state, numbers[index]),
                ),
            )

        with ThreadPoolExecutor(self.concurrency, "reptune-teacher") as pool:
            try:
                for done in as_completed([pool.submit(ask, row) for row in range(len(prompts))]):
                    done.result()
                    if progress is not None:
                        progress(1)
            except BaseException:  # also an interrupt: what waits is not sent
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return turn.result()


def _seed(random_state: int | None, draw: int) -> int | None:
    """Return a seed for a prompt; below 2^31, which all servers take."""
    if random_state is None:
        return None
    return int(np.random.SeedSequence([random_state, draw]).generate_state(1)[0] >> 1)


class _Turn:
    """The answers of one call, and why there are no more of them."""

    def __init__(self, count: int, max_failures: int) -> None:
        self._answers: list[str | None] = [None] * count
        self._most = max_failures
        self._lock = threading.Lock()
        self._failed = 0
        self._in_a_row = 0
        self._last = ""  # failure, in words
        self._over = ""  # which limit is reached

    def ask(self, index: int, request: Callable[[], str]) -> None:
        """Keep a request's answer, or note that it failed; send none once it is over."""
        if self._over or self._in_a_row >= self._most:
            return
        try:
            answer = request()
            if not isinstance(answer, Continuation):  # an end sequence was found in it
                answer = Continuation(answer, is_cut=False)
            self._answers[index] = answer
            self._in_a_row = 0
        except _OverError as over:
            self._over = str(over)
        except HostedModelError as error:
            with self._lock:
                self._failed += 1
                self._in_a_row += 1
                self._last = str(error)

    def result(self) -> list[str]:
        """Return the answers, or raise a `TeacherStopped` that holds those that came."""
        answers = [answer for answer in self._answers if answer is not None]
        if len(answers) == len(self._answers):
            return answers
        why = [f"{len(answers)} of {len(self._answers)} prompts have an answer"]
        if self._over:
            why.append(self._over)
        if self._failed:
            why.append(f"{self._failed} requests failed, the last one: {self._last}")
        stopped = self._in_a_row >= self._most
        if stopped:
            why.append(f"no more were asked after {self._most} failures in a row (max_failures)")
        raise TeacherStopped("; ".join(why), self._answers, stopped or bool(self._over))


class _OverError(Exception):
    """A limit is reached; the message names it."""


class _Budget:
    """What may still be sent; threads share it.

    Args:
        requests_per_minute: See `HostedTeacher`, as for the next two.
        max_requests: Requests.
        max_cost: Costs.
        prices: Of a million tokens read and written.

    Attributes:
        requests: Sent so far.
        used: Tokens read and written.
    """

    def __init__(
        self,
        requests_per_minute: float,
        max_requests: int | None,
        max_cost: float | None,
        prices: tuple[float, float],
    ) -> None:
        self._seconds = 60 / check_number("requests_per_minute", requests_per_minute, above=0)
        if max_requests is not None:
            check_whole_number("max_requests", max_requests)
        for name, price in zip(("price_in", "price_out"), prices, strict=True):
            check_number(name, price, least=0)
        if max_cost is not None:
            check_number("max_cost", max_cost, above=0)
            if not any(prices):
                raise ValueError(f"max_cost={max_cost} needs price_in and price_out to go by.")
        self._max_requests, self._max_cost, self._prices = max_requests, max_cost, prices
        self.requests = 0
        self.used = (0, 0)
        self._aside = (0, 0)  # tokens that requests under way may still cost
        self._under_way = 0
        self._next = -float("inf")
        self._changed = threading.Condition()

    def cost(self, tokens: tuple[int, int]) -> float:
        """Return the price of so many tokens read and written."""
        return sum(n * price for n, price in zip(tokens, self._prices, strict=True)) / 1e6

    def enter(self, most: tuple[int, int]) -> None:
        """Set aside what a request may cost, and wait until it may begin.

        Raises:
            _OverError: If a limit is reached.
        """
        with self._changed:
            while not self._has_room(most):
                self._changed.wait()  # a request under way may cost less than was set aside
            self.requests += 1
            self._under_way += 1
            self._aside = _sum(self._aside, most)
            begin = max(monotonic(), self._next)
            self._next = begin + self._seconds
        pause = begin - monotonic()
        if pause > 0:
            sleep(pause)

    def leave(self, most: tuple[int, int], used: tuple[int, int]) -> None:
        """Put what a request did cost in the place of what was set aside."""
        with self._changed:
            self._under_way -= 1
            self._aside = _sum(self._aside, most, -1)
            self.used = _sum(self.used, used)
            self._changed.notify_all()

    def _has_room(self, most: tuple[int, int]) -> bool:
        """Return whether a request fits now; raise if it never will."""
        if self._max_requests is not None and self.requests >= self._max_requests:
            raise _OverError(f"max_requests={self._max_requests} is reached; raise it to go on")
        if self._max_cost is None:
            return True
        if self.cost(_sum(_sum(self.used, self._aside), most)) <= self._max_cost:
            return True
        if self._under_way:
            return False
        raise _OverError(
            f"max_cost={self._max_cost} is reached: {self.cost(self.used):g} is spent, and a "
            f"request may cost {self.cost(most):g}; raise it to go on"
        )


def _sum(one: tuple[int, int], other: tuple[int, int], sign: int = 1) -> tuple[int, int]:
    return one[0] + sign * other[0], one[1] + sign * other[1]


class _Request(bytes):
    """A request's body, and what its answer says: tokens read and written, and why it ends."""

    used: tuple[int, int] | None = None
    is_cut: bool | None = None


class _Metered(HostedModel):
    """A hosted model each of whose tries goes through a budget."""

    budget: _Budget

    def _try(self, request: bytes) -> str | Trouble:
        # No token is shorter than a byte; what a chat template adds is shorter than the JSON.
        most = len(request), int(json.loads(request)["max_tokens"])
        self.budget.enter(most)
        metered = _Request(request)
        try:
            answer = super()._try(metered)
        finally:
            self.budget.leave(most, most if metered.used is None else metered.used)
        return Continuation(answer, metered.is_cut) if isinstance(answer, str) else answer

    def _post(self, address: str, request: bytes, line: Any) -> Reply:
        reply = super()._post(address, request, line)
        if isinstance(request, _Request):
            request.used, request.is_cut = _usage(reply), _is_cut(reply)
        return reply


def _usage(reply: Reply) -> tuple[int, int] | None:
    """Return the tokens that an answer says were read and written; `None` if it does not say."""
    if reply.status >= 300:
        return 0, 0  # an error is not paid for
    try:
        usage = json.loads(reply.body)["usage"]
        used = usage["prompt_tokens"], usage["completion_tokens"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return used if all(type(number) is int and number >= 0 for number in used) else None


def _is_cut(reply: Reply) -> bool | None:
    """Return whether an answer ended at the limit of its tokens; `None` if it does not say."""
    try:
        reason = json.loads(reply.body)["choices"][0]["finish_reason"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return reason == "length" if isinstance(reason, str) else None
