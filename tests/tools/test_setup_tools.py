"""The set-up, the study runner and the build's own checks, without the network."""

import re
import subprocess
import sys
from pathlib import Path

import bootstrap
import build_book
import lock
import pytest
import study

from reptune import assets

ROOT = Path(__file__).resolve().parents[2]


# -------------------------------------------------------------------------- bootstrap


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record commands in place of running them; `-m venv` leaves an interpreter behind."""
    seen: list[list[str]] = []

    def pretend(*command: str | Path) -> None:
        words = [str(word) for word in command]
        seen.append(words)
        if words[1:3] == ["-m", "venv"]:
            python = bootstrap.venv_python(Path(words[3]))
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(bootstrap, "call", pretend)
    return seen


def installs(commands: list[list[str]]) -> list[str]:
    found = [words for words in commands if "install" in words]
    assert all("--use-pep517" in words for words in found), "seqeval comes as source only"
    return [" ".join(words[6:]) for words in found]


def test_torch_comes_first_and_exactly(commands: list[list[str]], tmp_path: Path) -> None:
    assert bootstrap.main(["--venv", str(tmp_path / "venv")]) == 0
    first, second, third = installs(commands)
    assert first == f"torch=={lock.locked_version('torch')}"
    assert second == f"-r {ROOT / 'requirements.lock'}"
    assert third == "-e . --no-deps"
    assert [words[1:] for words in commands if "fetch" in words] == [
        ["-m", "reptune.cli", "assets", "fetch", "--group", group]
        for group in ("default", "smollm2")
    ]
    assert commands[-1][-1] == "smollm2", "the packages come first"


def test_what_set_up_fetches_is_as_large_as_it_says(
    commands: list[list[str]], capsys: pytest.CaptureFixture
) -> None:
    bootstrap.fetch_assets(Path("python"))
    fetched = [name for words in commands for name in assets.names(words[-1])]
    megabytes = sum(assets.info(name).size for name in fetched) / 1e6
    said = capsys.readouterr().out
    assert f"about {round(megabytes, -1):.0f} MB in all" in said
    unpacked = assets.info("SmolLM2-135M-Instruct").unpacked / 1e6
    assert f"takes {unpacked:.0f} MB on disk" in said


def test_second_time_installs_nothing(commands: list[list[str]], tmp_path: Path) -> None:
    arguments = ["--venv", str(tmp_path / "venv"), "--no-assets"]
    bootstrap.main(arguments)
    commands.clear()
    assert bootstrap.main(arguments) == 0
    assert commands == []


def test_interrupted_set_up_starts_over(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "venv"
    arguments = ["--venv", str(folder), "--no-assets"]

    def interrupted(*_: object) -> None:
        (folder / "half-unpacked").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.main(arguments)
    commands.clear()
    assert bootstrap.main(arguments) == 0
    assert commands[0][1:3] == ["-m", "venv"]
    assert not (folder / "half-unpacked").exists()


def test_constraints_replace_the_lock(commands: list[list[str]], tmp_path: Path) -> None:
    constraints = ROOT / "constraints" / "colab.txt"
    bootstrap.main(
        ["--venv", str(tmp_path / "venv"), "--constraints", str(constraints), "--torch", "2.11.0"]
    )
    first, second = installs(commands)
    assert first == "torch==2.11.0"
    assert second == f"-c {constraints} torch==2.11.0 -e .[dev]"


def test_failed_command_says_which(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(bootstrap.SetupError, match="failed with status 3") as caught:
        bootstrap.call(sys.executable, "-c", "raise SystemExit(3)")
    assert "run the same again" in str(caught.value)


def test_old_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    assert bootstrap.main([]) == 1
    assert "this is Python 3.9, and the book needs 3.11" in capsys.readouterr().err


def test_colab_constraints_leave_torch_alone() -> None:
    text = (ROOT / "constraints" / "colab.txt").read_text("utf-8")
    assert not re.search(r"^torch\b", text, re.MULTILINE)


# ------------------------------------------------------------------------------- lock


def test_lock_drops_builds_installers_and_cuda() -> None:
    frozen = (
        "torch==2.13.0+cpu\nZ==1\na==2\npip==26.0\nnvidia-cublas-cu12==12.8\ntriton==3.5\n"
        "reptune @ file:///somewhere\n"
    )
    assert lock.pins(frozen) == ["a==2", "torch==2.13.0", "Z==1"]


def test_lock_file_is_whole() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines)
    assert lock.pins("\n".join(lines)) == lines


# ------------------------------------------------------------------------------ study


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    text = '"""Label curve.\n\nMore.\n"""\nimport sys\nsys.exit(len(sys.argv))\n'
    (tmp_path / "label_curve.py").write_text(text, "utf-8")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "common.py").write_text("", "utf-8")
    return tmp_path


def test_study_is_run_with_its_options(studies: Path) -> None:
    assert study.main(["label_curve", "--fast", "1"], studies) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no study was named"),
        (["label_curv"], "did you mean 'label_curve'?"),
        (["common"], "no study 'common'"),
    ],
)
def test_unknown_study_lists_the_known(
    studies: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert study.main(arguments, studies) == 2
    error = capsys.readouterr().err
    assert said in error and "label_curve  Label curve." in error


# ---------------------------------------------------------------------------- the book


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://a.example/x.js"></script>',
        '<script src="//a.example/x.js"></script>',
        '<link rel="stylesheet" href="https://a.example/x.css">',
        '<link rel="preconnect" href="https://a.example">',
        '<img alt="x" src="https://a.example/x.png">',
        '<p style="background: url(https://a.example/x.png)">',
        "<style>@import 'https://a.example/x.css';</style>",
    ],
)
def test_remote_loads_are_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.html").write_text(text, "utf-8")
    assert len(list(build_book.remote_loads(tmp_path))) == 1


def test_plain_links_are_no_loads(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<a href="https://a.example/">x</a><script src="x.js"></script>'
        '<link rel="next" href="https://a.example/">',
        "utf-8",
    )
    assert list(build_book.remote_loads(tmp_path)) == []


def test_build_is_done_once_and_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []

    def render(root: Path, output: Path) -> None:
        builds.append(root)
        (output / "html").mkdir(parents=True, exist_ok=True)
        (output / "html" / "index.html").write_text("<p>x</p>", "utf-8")

    (tmp_path / "_toc.yml").write_text("a", "utf-8")
    monkeypatch.setattr(build_book, "render", render)
    build_book.build(tmp_path)
    build_book.build(tmp_path)
    assert len(builds) == 1
    (tmp_path / "_toc.yml").write_text("b", "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(build_book, "check", lambda html: (_ for _ in ()).throw(RuntimeError("x")))
        with pytest.raises(RuntimeError):
            build_book.build(tmp_path)
    build_book.build(tmp_path)
    assert len(builds) == 3


# ------------------------------------------------------------------------------ make


def test_makefile_only_calls_python() -> None:
    lines = (ROOT / "Makefile").read_text("utf-8").splitlines()
    recipes = [line.strip() for line in lines if line.startswith("\t")]
    assert recipes and all(re.match(r"@\$\((PYTHON|VENV|COLAB)\)", line) for line in recipes)


def test_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE).group(1).split()
    shown = subprocess.run(
        [sys.executable, ROOT / "tools" / "help.py", ROOT / "Makefile"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [line.split()[1] for line in shown.splitlines()] == phony
