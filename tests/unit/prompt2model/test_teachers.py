import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch

from reptune import runtime
from reptune.models import hosted
from reptune.models.causal import load_causal_lm
from reptune.models.decoding import generate_many
from reptune.prompt2model import teachers
from reptune.prompt2model.teachers import HostedTeacher, LocalTeacher, TeacherStopped

PROMPTS = [f"prompt {number}" for number in range(12)]
ECHOES = [f"answer to {prompt}" for prompt in PROMPTS]
AT_ONCE = 10**9  # requests a minute


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
    """No login, proxy, offline mode, pause or open connection from outside the test."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hosted, "sleep", lambda seconds: None)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


class Server(ThreadingHTTPServer):
    """Answers each request with what `script` returns for it: a status and a body.

    Attributes:
        asked: What came, in order: the request and the time.
        most: Requests that were under way at the same time, at most.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = lambda body: (200, echo(body))
        self.asked = []
        self.under_way = self.most = 0
        self.seconds = 0.0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_):
        """A client that went away is no error here."""

    def prompts(self):
        return [body["messages"][0]["content"] for body, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length)) | {"length": length}
        server = self.server
        with server.lock:
            server.asked.append((body, time.monotonic()))
            server.under_way += 1
            server.most = max(server.most, server.under_way)
            status, answer = server.script(body)
        server.over.wait(server.seconds)
        with server.lock:
            server.under_way -= 1
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Keep the tests' output clean."""


def echo(body, **usage):
    text = f"answer to {body['messages'][0]['content']}"
    found = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return found | ({"usage": usage} if usage else {})


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
    def make(**changes):
        given = {"timeout": 10, "requests_per_minute": AT_ONCE} | changes
        return HostedTeacher("someone/model", server.url, **given)

    return make


def stopped(teacher, prompts=PROMPTS, **arguments):
    with pytest.raises(TeacherStopped) as caught:
        teacher.generate(prompts, **arguments)
    return caught.value


# --- side by side --------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
def test_order_is_kept_and_no_more_are_under_way(make, server, concurrency):
    server.seconds = 0.1
    done = []
    assert make(concurrency=concurrency).generate(PROMPTS, progress=done.append) == ECHOES
    assert server.most == concurrency
    assert sum(done) == len(PROMPTS)


def test_what_is_sent(make, server):
    make().generate(["a", "b"], max_new_tokens=7, temperature=[0.5, 1.5], stop=["\n", "###"])
    first, second = sorted((body for body, _ in server.asked), key=lambda body: body["temperature"])
    assert [body["messages"][0]["content"] for body in (first, second)] == ["a", "b"]
    assert (first["temperature"], second["temperature"]) == (0.5, 1.5)
    assert first["max_tokens"] == 7 and first["stop"] == ["\n", "###"]


def test_equal_prompts_get_seeds_of_their_own(make, server):
    def seeds(random_state):
        server.asked.clear()
        make().generate(["a"] * 5, temperature=1.0, random_state=random_state)
        return {body.get("seed") for body, _ in server.asked}

    first = seeds(3)
    assert len(first) == 5 and all(0 <= seed < 2**31 for seed in first)
    assert seeds(3) == first
    assert not seeds(4) & first
    assert seeds(None) == {None}


def test_the_rest_of_a_call_is_asked_for_with_the_same_seeds(make, server):
    def seeds(prompts, **which):
        server.asked.clear()
        make().generate(prompts, temperature=1.0, random_state=3, **which)
        return {body["messages"][0]["content"]: body["seed"] for body, _ in server.asked}

    whole = seeds(PROMPTS)
    assert seeds(PROMPTS[5:], draws=range(5, 12)).items() <= whole.items()
    assert not seeds(PROMPTS[5:]).items() & whole.items()
    with pytest.raises(ValueError, match="1 draws for 12 prompts"):
        make().generate(PROMPTS, draws=[0])


@pytest.mark.parametrize(
    ("reason", "is_cut"), [("length", True), ("stop", False), (None, None), (7, None)]
)
def test_an_answer_says_whether_it_was_cut(make, server, reason, is_cut):
    def script(body):
        answer = echo(body)
        if reason is not None:
            answer["choices"][0]["finish_reason"] = reason
        return 200, answer

    server.script = script
    (text,) = make().generate(["a"])
    assert (text, text.is_cut) == ("answer to a", is_cut)
    (text,) = make().generate(["a"], stop=(" to",))  # a server may go on after it
    assert (text, text.is_cut) == ("answer", False)


def test_requests_begin_evenly_spaced(make, server, monkeypatch):
    pauses = []
    monkeypatch.setattr(teachers, "monotonic", lambda: 100.0)
    monkeypatch.setattr(teachers, "sleep", pauses.append)
    make(requests_per_minute=80).generate(PROMPTS[:5])
    assert sorted(pauses) == pytest.approx([0.75, 1.5, 2.25, 3.0])


def test_further_tries_are_spaced_as_well(make, server, monkeypatch):
    pauses = []
    monkeypatch.setattr(teachers, "monotonic", lambda: 100.0)
    monkeypatch.setattr(teachers, "sleep", pauses.append)
    answers = iter([(503, {})] * 3 + [(200, None)] * 9)
    server.script = lambda body: ((found := next(answers))[0], found[1] or echo(body))
    assert make(requests_per_minute=600).generate(PROMPTS[:4]) == ECHOES[:4]
    assert sorted(pauses) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4])
def test_request_limit(make, server, concurrency):
    teacher = make(max_requests=5, concurrency=concurrency)
    caught = stopped(teacher)
    assert "max_requests=5" in str(caught) and "5 of 12" in str(caught)
    assert caught.is_over
    assert len(server.asked) == 5 == teacher.requests
    assert sum(answer is not None for answer in caught.answers) == 5
    assert all(answer in (None, full) for answer, full in zip(caught.answers, ECHOES, strict=True))
    assert stopped(teacher).answers == [None] * 12
    assert len(server.asked) == 5


@pytest.mark.parametrize("concurrency", [1, 4])
def test_cost_limit_is_used_up_and_never_passed(make, server, concurrency):
    server.seconds = 0.02
    server.script = lambda body: (200, echo(body, prompt_tokens=100, completion_tokens=10))
    # A request costs 100 + 10 * 10 = 200 millionths, and may cost its bytes and 64 * 10.
    teacher = make(max_cost=0.0025, price_in=1, price_out=10, concurrency=concurrency)
    prompts = PROMPTS[:9] * 3
    caught = stopped(teacher, prompts)
    most = max(body["length"] for body, _ in server.asked) + 640
    count = 1 + (2500 - most) // 200
    assert len(server.asked) == count and 0 < count < 27
    assert teacher.cost == pytest.approx(count * 200 / 1e6) and teacher.cost <= 0.0025
    assert (teacher.tokens_read, teacher.tokens_written) == (100 * count, 10 * count)
    assert "max_cost=0.0025 is reached" in str(caught) and caught.is_over
    assert sum(answer is not None for answer in caught.answers) == count


def test_cost_limit_to_the_last_token(make, server):
    server.script = lambda body: (
        200,
        echo(body, prompt_tokens=body["length"], completion_tokens=body["max_tokens"]),
    )
    make().generate(["a"], max_new_tokens=5)
    each = server.asked[0][0]["length"] + 5
    exact = {"price_in": 1e6, "price_out": 1e6, "concurrency": 3}
    same = {"max_new_tokens": 5, "random_state": None}
    make().generate(["a"], **same)
    each = server.asked[1][0]["length"] + 5
    assert make(max_cost=4 * each, **exact).generate(["a"] * 4, **same) == ["answer to a"] * 4
    caught = stopped(make(max_cost=4 * each - 1, **exact), ["a"] * 4, **same)
    assert sum(answer is not None for answer in caught.answers) == 3


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": 1}, {"prompt_tokens": -1, "completion_tokens": True}]
)
def test_an_answer_that_names_no_tokens_counts_as_the_most(make, server, usage):
    server.script = lambda body: (200, echo(body, **usage))
    teacher = make(price_in=1, price_out=1)
    teacher.generate(["a"], max_new_tokens=7)
    assert (teacher.tokens_read, teacher.tokens_written) == (server.asked[0][0]["length"], 7)


def test_errors_are_not_paid_for(make, server):
    server.script = lambda body: (400, {"error": "no"})
    teacher = make()
    stopped(teacher, ["a"])
    assert (teacher.requests, teacher.tokens_read, teacher.tokens_written) == (1, 0, 0)


# --- failures ------------------------------------------------------------------------------------


def test_an_error_that_passes_repeats_its_own_prompt_only(make, server):
    failing = {"prompt 4": 2, "prompt 7": 1}

    def script(body):
        prompt = body["messages"][0]["content"]
        failing[prompt] = failing.get(prompt, 0) - 1
        return (503, {}) if failing[prompt] >= 0 else (200, echo(body))

    server.script = script
    teacher = make()
    assert teacher.generate(PROMPTS) == ECHOES
    counts = Counter(server.prompts())
    assert counts.pop("prompt 4") == 3 and counts.pop("prompt 7") == 2
    assert set(counts.values()) == {1} and teacher.requests == 15


def test_an_error_that_stays_loses_nothing_and_repeats_nothing(make, server):
    server.script = lambda body: (
        (400, {"error": "not this one"})
        if body["messages"][0]["content"] == "prompt 4"
        else (200, echo(body))
    )
    caught = stopped(make())
    assert caught.answers == [*ECHOES[:4], None, *ECHOES[5:]]
    assert not caught.is_over
    assert "11 of 12" in str(caught) and "not this one" in str(caught)
    assert sorted(server.prompts()) == sorted(PROMPTS)


def test_failures_in_a_row_end_it(make, server):
    server.script = lambda body: (401, {"error": "who are you"})
    caught = stopped(make(max_failures=3, concurrency=1, token="secret-of-mine"))
    assert len(server.asked) == 3 and caught.is_over
    assert "who are you" in str(caught) and "max_failures" in str(caught)
    assert caught.answers == [None] * 12


def test_failures_between_answers_do_not(make, server):
    odd = {f"prompt {number}" for number in range(1, 12, 2)}
    server.script = lambda body: (
        (400, {}) if body["messages"][0]["content"] in odd else (200, echo(body))
    )
    caught = stopped(make(max_failures=2, concurrency=1))
    assert caught.answers == [None if number % 2 else text for number, text in enumerate(ECHOES)]


def test_a_server_that_hangs_is_given_up(make, server):
    server.seconds = 60
    begun = time.monotonic()
    teacher = make(timeout=0.3, max_retries=1, max_failures=2, concurrency=2)
    caught = stopped(teacher)
    assert time.monotonic() - begun < 8
    assert caught.is_over and "within 0.3 s" in str(caught)
    assert teacher.requests <= 6
    assert teacher.tokens_written == 64 * teacher.requests  # it may have written them


def test_an_interrupt_sends_no_more(make, server):
    server.seconds = 0.05

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(concurrency=2).generate(PROMPTS, progress=interrupt)
    time.sleep(0.2)
    assert len(server.asked) < len(PROMPTS)


def test_no_message_shows_the_token(make, server):
    server.script = lambda body: (400, {"error": "token secret-of-mine is bad"})
    teacher = make(token="secret-of-mine")
    assert "secret-of-mine" not in str(stopped(teacher)) + repr(teacher)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"requests_per_minute": 0}, "requests_per_minute=0"),
        ({"max_requests": 0}, "max_requests=0"),
        ({"max_cost": 0, "price_in": 1}, "max_cost=0"),
        ({"max_cost": 1}, "max_cost=1 needs price_in"),
        ({"price_out": -1}, "price_out=-1"),
        ({"max_failures": 0}, "max_failures=0"),
        ({"limit": 0}, "limit=0"),
        ({"timeout": 0}, "timeout=0"),
        ({"max_retries": -1}, "max_retries=-1"),
    ],
)
def test_bad_settings(make, changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


@pytest.mark.parametrize(
    ("prompts", "changes", "words"),
    [
        ([], {}, "prompts"),
        ("a", {}, "prompts"),
        (["a", ""], {}, "prompt"),
        (["a", "b"], {"temperature": [1.0]}, "1 temperatures for 2 prompts"),
        (["a"], {"max_new_tokens": 0}, "max_new_tokens=0"),
        (["a"], {"random_state": -1}, "random_state=-1"),
        (["a"], {"stop": "x"}, "is one text"),
        (["a", "b"], {"stop": [""]}, "empty text"),
    ],
)
def test_bad_arguments_send_nothing(make, server, prompts, changes, words):
    with pytest.raises(ValueError, match=words):
        make().generate(prompts, **changes)
    assert server.asked == []


def test_an_estimate_of_tokens(make):
    teacher = make(limit=1000)
    assert teacher.limit == 1000 and teacher.name == "someone/model"
    assert [teacher.count_tokens(text) for text in ("", "a", "abcd", "日本")] == [0, 1, 2, 2]


# --- on this machine -----------------------------------------------------------------------------


def test_a_local_teacher_loads_once_and_only_when_needed(tiny_causal_lm, monkeypatch):
    loads = []

    def load(*arguments):
        loads.append(arguments)
        return load_causal_lm(*arguments)

    monkeypatch.setattr(teachers, "load_causal_lm", load)
    monkeypatch.setattr(runtime, "precision", lambda: {"bf16": False, "fp16": False})
    teacher = LocalTeacher(str(tiny_causal_lm), device="cpu")
    assert loads == [] and teacher.name == str(tiny_causal_lm)
    prompts = ["the film", "a very good plot"]
    warm = {"max_new_tokens": 8, "temperature": [0.0, 1.0], "stop": (), "random_state": 3}
    found = teacher.generate(prompts, **warm)
    assert found == generate_many(teacher.lm, prompts, **warm)
    assert teacher.limit == 128
    assert teacher.count_tokens("the film") == len(teacher.lm.encode("the film"))
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("wanted", "computes", "dtype"),
    [
        (True, True, torch.bfloat16),
        (True, False, torch.float32),
        (False, True, torch.float32),
    ],
)
def test_weights_are_halved_where_the_device_computes_so(
    tiny_causal_lm, monkeypatch, wanted, computes, dtype
):
    monkeypatch.setattr(runtime, "precision", lambda: {"bf16": computes, "fp16": False})
    monkeypatch.setattr(runtime, "device", lambda: torch.device("cpu"))
    teacher = LocalTeacher(tiny_causal_lm, device="cpu", half_precision=wanted)
    assert teacher.lm.model.dtype == dtype
    assert len(teacher.generate(["the film", "a"], max_new_tokens=3, stop=())) == 2
    asked = ["the film is good", "a very bad movie"], [" good", " bad plot"]
    scores = load_causal_lm(tiny_causal_lm, "cpu").continuation_scores(*asked)
    assert teacher.lm.continuation_scores(*asked) == pytest.approx(scores, abs=0.1)


def test_a_loaded_model_is_taken_as_it_is(tiny_causal_lm):
    lm = load_causal_lm(tiny_causal_lm)
    teacher = LocalTeacher(lm)
    assert teacher.lm is lm and teacher.name == tiny_causal_lm.name
    assert teacher.lm.model.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_p": 0}, "top_p=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"device": "toaster"}, "device='toaster'"),
    ],
)
def test_bad_local_settings(changes, words):
    with pytest.raises(ValueError, match=words):
        LocalTeacher("nothing", **changes)


def test_a_prompt_too_long_is_named(tiny_causal_lm):
    with pytest.raises(ValueError, match=r"prompts\[1\] has"):
        LocalTeacher(tiny_causal_lm, half_precision=False).generate(["a", "good " * 120])
