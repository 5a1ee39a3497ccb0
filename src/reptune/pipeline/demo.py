"""A page on this machine over any saved model: try it, and save what it got wrong.

The page is Gradio's, an extra: `pip install "reptune[demo]"`. It answers this machine alone, loads
nothing from elsewhere, and shows whatever is typed into it as text.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from reptune.estimator import load
from reptune.pipeline.examples import kind_of
from reptune.pipeline.pages import as_markdown
from reptune.pipeline.report import shown, summary_line

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MOST_CHARACTERS = 10_000  # of a text, counted as a browser does
MOST_BYTES = 200_000  # of a request
MOST_WAITING = 16  # requests; the next one is refused
TOP_LABELS = 10
# What Gradio would serve beside the page: descriptions of the API, uploads, files, other servers.
_CLOSED = ("/info", "/upload", "/file", "/proxy", "/mcp", "/openapi", "/docs", "/redoc", "/monitor")
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_PRIVATE = {"api_visibility": "private", "show_progress": "minimal"}  # of what a button does
_MISSING = 'the demo needs Gradio ({error}); pip install "reptune[demo]"'


def serve(
    folder: str | Path,
    port: int = 7860,
    corrections: str | Path | None = None,
    open_browser: bool = False,
) -> None:
    """Show the page until Ctrl-C; its address goes to the log.

    Args:
        folder: A saved model.
        port: Where to listen on 127.0.0.1; 0 takes a free one.
        corrections: As in `build`.
        open_browser: Open the page in a browser.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no model, Gradio is missing, or `corrections` is no place for them.
        OSError: If the port is in use.
    """
    listening = _listen(port)
    with contextlib.closing(listening):
        app = _guarded(build(folder, corrections))
        import uvicorn

        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        listening.listen()
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        logger.info("the page is at %s (Ctrl-C ends it)", address)
        if open_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def build(folder: str | Path, corrections: str | Path | None = None) -> gr.Blocks:
    """Return a Gradio page over a saved model, not started; `serve` starts it safely.

    Args:
        folder: A saved model of any kind.
        corrections: A `.jsonl` file that corrections are added to, in the form that `reptune train`
            reads; `None` takes `FOLDER-corrections.jsonl`, beside the model's folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no model, Gradio is missing, or `corrections` is no place for them.
    """
    # Read by Gradio when it is imported; the page calls nobody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError as error:
        raise ValueError(_MISSING.format(error=error)) from None
    file = _corrections_file(Path(folder), corrections)
    page = _Page(load(folder), file)
    with gr.Blocks(title="reptune", analytics_enabled=False) as blocks:
        gr.Markdown(f"# {as_markdown(shown(Path(folder).resolve().name))}")
        if page.card:
            gr.Markdown(as_markdown(summary_line(page.card)))
        page.lay_out(gr)
    return blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)


def append_correction(file: str | Path, row: dict[str, Any]) -> None:
    """Add a line to a file of JSON lines: whole or not at all, also of several processes.

    Raises:
        OSError: If the disk is full or the file cannot be written; it is then as it was before.
    """
    file = Path(file)
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    with (
        filelock.FileLock(Path(tempfile.gettempdir()) / f"reptune-{name}.lock"),
        file.open("a+b", buffering=0) as opened,
    ):
        size = opened.seek(0, os.SEEK_END)
        if size:
            opened.seek(size - 1)
            line = line if opened.read(1) == b"\n" else b"\n" + line
        try:
            if opened.write(line) != len(line):
                raise OSError(f"{file}: the disk is full; free some space")
            os.fsync(opened.fileno())
        except OSError:
            opened.truncate(size)
            raise


class _Page:
    """What the page asks of one model: entities, labels, a text, an answer or a number."""

    def __init__(self, model: Any, file: Path) -> None:
        self.model, self.file = model, file
        self.card = model.card_ or {}
        self.kind = kind_of(model)
        self.pair, self.tags = self.kind in ("pair", "span"), self.kind == "tags"
        self.writes = self.kind in ("text", "span")
        self.labels = model.classes_.tolist() if hasattr(model, "predict_proba") else []
        self.several = getattr(model, "thresholds_", None) is not None
        self.types = sorted({tag[2:] for tag in self.labels if tag != "O"}) if self.tags else []
        threshold = (self.card.get("abstention") or {}).get("threshold")
        self.threshold = None if self.several or self.tags else threshold

    def lay_out(self, gr: Any) -> None:
        """Put the components on the page that is being built."""
        box = {"lines": 4, "max_lines": 12, "max_length": MOST_CHARACTERS + 1}
        first, second = ("Question", "Passage") if self.kind == "span" else ("Text", "Second text")
        text = gr.Textbox(label=first, elem_id="text", autofocus=True, **box)
        text2 = gr.Textbox(label=second, elem_id="text2", visible=self.pair, **box)
        read = gr.Button("Predict", variant="primary", elem_id="predict")
        note = gr.Textbox(label="Note", elem_id="note", interactive=False, lines=1, max_lines=4)
        if self.tags:
            result = gr.HighlightedText(label="Entities", elem_id="result", show_legend=True)
        elif self.writes:
            result = gr.Textbox(label="Result", elem_id="result", interactive=False, lines=2)
        else:
            result = gr.Label(label="Result", elem_id="result", num_top_classes=TOP_LABELS)
        answered = gr.State(None)
        if not self.labels and not self.writes:  # a number has no label to correct
            read.click(self.read, [text, text2], [result, note, answered], **_PRIVATE)
            return
        right = self._right(gr)
        save = gr.Button("Save as a correction", elem_id="save")
        outputs = [result, note, answered, right]
        read.click(self.read, [text, text2], outputs, **_PRIVATE)
        text.submit(self.read, [text, text2], outputs, **_PRIVATE)
        save.click(self.save, [text, text2, right, answered], note, **_PRIVATE)

    def _right(self, gr: Any) -> Any:
        """Return where the right answer is chosen."""
        if self.tags:
            info = f'[[start, end, "type"], …] in characters; types: {", ".join(self.types)}'
            return gr.Textbox(
                label="Right entities", info=info, elem_id="right", lines=2, max_lines=8,
                max_length=MOST_CHARACTERS,
            )  # fmt: skip
        if self.writes:
            return gr.Textbox(
                label="Right answer", elem_id="right", lines=2, max_lines=8,
                max_length=MOST_CHARACTERS,
            )  # fmt: skip
        choices = [(shown(label), index) for index, label in enumerate(self.labels)]
        return gr.Dropdown(
            choices, value=[] if self.several else None, multiselect=self.several,
            label="Right labels" if self.several else "Right label", elem_id="right",
        )  # fmt: skip

    def read(self, text: str, text2: str) -> list[Any]:
        """Return what the page shows of a text: the result, a note, the text, the right answer."""
        empty = [] if self.several else None
        try:
            given = self._checked(text, text2)
            result, note, right = self._predicted(given)
        except ValueError as error:
            result, note, right, given = None, _in_one_line(error), empty, None
        found = [result, note, given, right]
        return found if self.labels or self.writes else found[:3]

    def save(self, text: str, text2: str, right: Any, answered: Any) -> str:
        """Add a correction to the file and return a note that says so, or why not."""
        try:
            given = self._checked(text, text2)
            row = {"text": text}
            if self.pair:
                row["text2"] = text2
            append_correction(self.file, row | self._corrected(given, right, answered))
        except (ValueError, OSError) as error:
            return _in_one_line(error)
        return f"Saved in {self.file}"

    def _checked(self, text: str, text2: str) -> Any:
        """Return the model's input, or raise a `ValueError` that says what to change."""
        for value in (text, text2) if self.pair else (text,):
            if not isinstance(value, str) or not value.strip():
                raise ValueError("Type a text first.")
            if len(value.encode("utf-16-le", "surrogatepass")) // 2 > MOST_CHARACTERS:
                raise ValueError(
                    f"The text is longer than {MOST_CHARACTERS:,} characters; shorten it, or use "
                    "reptune predict."
                )
        return (text, text2) if self.pair else text

    def _predicted(self, given: Any) -> tuple[Any, str, Any]:
        """Return the result, a note, and the prediction in the form of a correction."""
        if self.tags:
            return self._entities(given)
        if self.writes:
            written = self.model.predict([given])[0]
            return written, "" if written else "No answer was found.", written
        if not self.labels:
            return f"{float(self.model.predict([given])[0]):.4g}", "", None
        shares = self.model.predict_proba([given])[0]
        names = _different([shown(label) for label in self.labels])
        result = dict(zip(names, map(float, shares), strict=True))
        if self.several:
            chosen = [i for i, far in enumerate(shares >= self.model.thresholds_) if far]
            return result, f"Labels: {', '.join(names[i] for i in chosen) or 'none'}", chosen
        best = int(shares.argmax())
        note = f"Label: {names[best]}"
        if self.threshold is not None and shares[best] < self.threshold:
            note = (
                f"Not sure: ask a person. {names[best]} has {shares[best]:.1%}, and at the costs "
                f"given to train this model answers from {self.threshold:.1%} on."
            )
        return result, note, best

    def _entities(self, text: str) -> tuple[Any, str, str]:
        parts: list[tuple[str, str | None]] = []
        before, found = 0, self.model.entities(text)
        for entity in found:
            parts += [(text[before : entity.start], None), (entity.text, entity.type)]
            before = entity.end
        parts = [part for part in [*parts, (text[before:], None)] if part[0]]
        spans = [[entity.start, entity.end, entity.type] for entity in found]
        note = f"{len(found)} {'entity' if len(found) == 1 else 'entities'}"
        return parts, note, json.dumps(spans, ensure_ascii=False)

    def _corrected(self, given: Any, right: Any, answered: Any) -> dict[str, Any]:
        if self.tags:
            if given != answered:
                raise ValueError(
                    "The text changed since it was read; press Predict, then correct it."
                )
            return {"spans": self._spans(given, right)}
        if self.writes:
            if not isinstance(right, str) or not right.strip():
                raise ValueError("Type the right answer first.")
            if self.kind == "span" and right not in given[1]:
                raise ValueError("The answer must stand in the passage, letter for letter.")
            return {"label": right}
        if self.several:
            return {"label": [self.labels[index] for index in sorted(right or [])]}
        if right is None:
            raise ValueError("Choose the right label first.")
        return {"label": self.labels[right]}

    def _spans(self, text: str, right: str) -> list[dict[str, Any]]:
        """Return the spans that were typed, or raise where they do not fit the text."""
        from reptune.data.tagged import split_words, tags_from_spans

        try:
            spans = json.loads(right or "[]")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Right entities: not JSON ({error}).") from None
        if not isinstance(spans, list):
            raise ValueError('Right entities: write a list such as [[0, 3, "PER"]].')
        tags_from_spans(text, split_words(text), spans)
        for span in spans:
            if span[2] not in self.types:
                raise ValueError(f"There is no type {span[2]!r}; use {', '.join(self.types)}.")
        return [{"start": start, "end": end, "label": kind} for start, end, kind in spans]


def _different(names: list[str]) -> list[str]:
    """Return names that were cut, so that no two are equal."""
    return [f"{name} ({i})" if name in names[:i] else name for i, name in enumerate(names)]


def _in_one_line(error: Exception) -> str:
    return shown(" ".join(str(error).split()), 500)


# --- files and sockets ---------------------------------------------------------------------------


def _corrections_file(folder: Path, chosen: str | Path | None) -> Path:
    folder = folder.resolve()
    file = folder.with_name(f"{folder.name}-corrections.jsonl") if chosen is None else Path(chosen)
    if file.suffix != ".jsonl":
        raise ValueError(f"corrections={str(file)!r}; name a file that ends in .jsonl.")
    if file.resolve().is_relative_to(folder):
        raise ValueError(f"{file} lies in the model's folder, which is sealed; choose another.")
    if not file.resolve().parent.is_dir() or file.is_dir():
        raise ValueError(f"{file} cannot be a file there; make its folder, or choose another.")
    return file


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise OSError(
            f"port {port} of {HOST} cannot be used ({error}); choose another with --port"
        ) from None
    return listening


def _guarded(blocks: gr.Blocks) -> Any:
    """Return an ASGI application: the page alone, for this machine alone."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    closed = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    theme = gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    app = gr.mount_gradio_app(
        FastAPI(**closed), blocks, path="/", server_name=HOST, footer_links=[], theme=theme,
        run_history=False, app_kwargs=closed, ssr_mode=False, mcp_server=False, pwa=False,
        enable_monitoring=False, show_error=False, max_file_size=0,
    )  # fmt: skip
    # Another site's name that was made to point here is no name of ours.
    return TrustedHostMiddleware(_Guard(app), allowed_hosts=[HOST, "localhost"])


class _Guard:
    """Close what is no part of the page, bound requests, and forbid the page to load elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        path, headers = scope["path"].removeprefix("/gradio_api"), dict(scope["headers"])
        length, origin = headers.get(b"content-length", b"0"), headers.get(b"origin")
        if path.startswith(_CLOSED):
            await PlainTextResponse("not here", 404)(scope, receive, send)
        elif origin and origin != b"http://" + headers.get(b"host", b""):  # another site's page
            await PlainTextResponse("not from there", 403)(scope, receive, send)
        elif scope["method"] == "POST" and not 0 < int(length) <= MOST_BYTES:
            await PlainTextResponse("too long", 413)(scope, receive, send)
        else:
            await self.app(scope, receive, _with_policy(send))


def _with_policy(send: Any) -> Any:
    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message["headers"],
                (b"content-security-policy", _POLICY.encode()),
                (b"referrer-policy", b"no-referrer"),
            ]
        await send(message)

    return sent
