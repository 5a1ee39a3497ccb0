"""Fakes for the tests of `reptune.assets`: wheels, a package index and a Hub on 127.0.0.1."""

import hashlib
import html
import os
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL_FILES = {
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b'{"pooling": "mean"}',
    # Incompressible, so that a wheel of it takes a while where the server is told to dribble.
    "model.safetensors": b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(8192)),
}
DATA_FILES = {"train.txt": b"EU B-ORG\n", "test.txt": b"Bonn B-LOC\n"}
TREE_FILES = {"sport/001.txt": b"a match\n", "tech/001.txt": b"a chip\n"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files)).encode()


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo("x")
            member.filename = name  # as given: the constructor would tidy some names
            archive.writestr(member, data)
    return path


def write_wheel(folder: Path, project: str, members: Mapping[str, bytes]) -> Path:
    """Writes `project`-1.0 as a pure wheel with the given members."""
    stem = project.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode()
    wheel = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    extra = {f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel, f"{info}/RECORD": b""}
    return write_zip(folder / f"{stem}-1.0-py3-none-any.whl", {**members, **extra})


def asset_table(name: str, wheels: list[Path], **fields: str) -> str:
    """One asset's table of assets.toml; `fields` are TOML source, by key."""
    defaults = {
        "kind": '"model"',
        "group": '"default"',
        "recipe": '"files"',
        "license": '"Apache-2.0"',
        "source": '"these tests"',
        "unpacked": "300000",
        "inside": f'"{wheels[0].name.split("-")[0]}/data"',
    }
    fields = {**defaults, **fields}
    inside, files = fields.pop("inside"), fields.pop("files", None)
    lines = [f"[{name}]", *(f"{key} = {value}" for key, value in fields.items())]
    for number, wheel in enumerate(wheels):
        project = wheel.name.split("-")[0].replace("_", "-")
        lines += [
            f"[[{name}.wheels]]",
            f'requirement = "{project}==1.0"',
            f'sha256 = "{sha256(wheel.read_bytes())}"',
            f"size = {wheel.stat().st_size}",
            f"inside = {inside.replace('@', str(number + 1))}",
        ]
    return "\n".join([*lines, *([f"[{name}.files]", files] if files else []), ""])


def file_pins(files: Mapping[str, bytes]) -> str:
    return "\n".join(f'"{name}" = "{sha256(data)}"' for name, data in files.items())


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.write_body(body)

    def write_body(self, body: bytes) -> None:
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that was killed is no error of the server's.

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class IndexServer(_Server):
    """A PEP 503 index of the wheels in a folder.

    Attributes:
        up: False: every answer is 503.
        delay: Seconds between the pieces of a wheel, which make a download slow.
        started: Set once the first piece of a wheel is out.
        downloads: How often each wheel was asked for.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _IndexHandler)
        self.folder = folder
        self.up = True
        self.delay = 0.0
        self.started = threading.Event()
        self.downloads: Counter[str] = Counter()


class _IndexHandler(_Quiet):
    server: IndexServer

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if not self.server.up:
            self.answer(b"down for maintenance", 503)
        elif parts[0] == "simple" and len(parts) == 2:
            self.list_wheels(parts[1])
        elif parts[0] == "files" and (self.server.folder / parts[1]).is_file():
            self.server.downloads[parts[1]] += 1
            self.answer((self.server.folder / parts[1]).read_bytes())
        else:
            self.answer(b"not here", 404)

    def list_wheels(self, project: str) -> None:
        stem = project.replace("-", "_")
        found = [path.name for path in self.server.folder.glob(f"{stem}-*.whl")]
        links = (f'<a href="/files/{name}">{html.escape(name)}</a>' for name in found)
        self.answer("".join(links).encode(), 200, Content_Type="text/html")

    def write_body(self, body: bytes) -> None:
        if not self.server.delay or not self.path.startswith("/files/"):
            return super().write_body(body)
        for start in range(0, len(body), 8192):
            self.wfile.write(body[start : start + 8192])
            self.wfile.flush()
            self.server.started.set()
            time.sleep(self.server.delay)
        return None


class HubServer(_Server):
    """As much of the Hub as `hf_hub_download` asks for.

    Attributes:
        files: Relative path to content, the same for every repository.
        drop: Paths whose content breaks off half-way.
        requests: The paths that were asked for.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = dict(files)
        self.drop: set[str] = set()
        self.requests: list[str] = []


class _HubHandler(_Quiet):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        _, _, rest = self.path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if name not in self.server.files:
            self.answer(b"", 404, X_Error_Code="EntryNotFound", X_Error_Message="no such file")
            return
        data = self.server.files[name]
        headers = {"X_Repo_Commit": revision, "ETag": f'"{sha256(data)[:40]}"'}
        self.answer(data, 200, **headers)

    def write_body(self, body: bytes) -> None:
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name in self.server.drop:
            super().write_body(body[: len(body) // 2])
            self.close_connection = True
        else:
            super().write_body(body)


def pip_environment(index_url: str) -> dict[str, str | None]:
    """Variables that make pip see this index and nothing of the machine's own configuration."""
    gone = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CERT", "PIP_PROXY")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return {
        **dict.fromkeys((*gone, *proxies), None),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{index_url}/simple/",
        "PIP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
    }
