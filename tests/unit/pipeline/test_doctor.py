"""What `reptune doctor` finds, on machines of several kinds."""

import collections
import importlib.metadata
import json
import subprocess
import sys
import types

import pytest
from packaging.requirements import Requirement

from reptune import assets, network
from reptune.pipeline import doctor
from reptune.pipeline.doctor import examine


def found(name: str, **options):
    return next(each for each in examine(offline=True, **options) if each.name == name)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def versions(monkeypatch, **changed):
    """Pretend that packages have other versions; `None` for one that is not installed."""
    real = importlib.metadata.version

    def version(name):
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_this_machine_is_described():
    findings = {each.name: each for each in examine(offline=True)}
    assert findings["Python"].ok is True and sys.executable in findings["Python"].value
    assert findings["PyTorch"].ok is True and "threads" in findings["PyTorch"].value
    assert findings["libraries"].ok is True
    assert {"CPU", "GPU", "memory", "cache", "disk", "package index"} <= set(findings)
    assert not [each for each in findings.values() if each.ok is False]


def test_a_library_below_its_floor_is_named_with_the_cure(monkeypatch):
    versions(monkeypatch, transformers="5.0.0", tqdm=None)
    assert found("libraries").ok is False
    assert found("transformers").cure.startswith('pip install "transformers')
    assert found("transformers").value.startswith("5.0.0; ") and not found("transformers").ok
    assert found("tqdm").value.startswith("not installed")


def test_extras_that_are_missing_have_a_command_and_are_not_needed(monkeypatch):
    lines = ['gradio>=6; extra == "demo"', 'no-such-package>=1; extra == "odd"',
             'ruff; extra == "dev"']  # fmt: skip
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    versions(monkeypatch, gradio="6.1")
    assert found("extra demo") == ("extra demo", "installed", True, "")
    assert found("extra odd") == (
        "extra odd", "without no-such-package", None, 'pip install "reptune[odd]"',
    )  # fmt: skip
    assert "extra dev" not in [each.name for each in examine(offline=True)]


def test_every_extra_of_the_project_is_listed():
    lines = importlib.metadata.requires("reptune")
    marked = {str(Requirement(line).marker) for line in lines if "extra ==" in line}
    extras = {marker.split('"')[1] for marker in marked} - {"dev"}
    assert extras == {
        each.name.removeprefix("extra ")
        for each in examine(offline=True)
        if each.name.startswith("extra ")
    }


WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
from reptune.cli.main import app
app(["doctor", "--offline", "--json"])
"""


def test_a_missing_torch_is_a_finding():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    torch = next(each for each in answer["findings"] if each["name"] == "PyTorch")
    assert torch["ok"] is False and torch["cure"] == "pip install torch"
    assert answer["usable"] is False


def test_a_damaged_torch_is_a_finding(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    torch, finding = doctor._torch()
    assert torch is None and finding.ok is False and "libgomp" in finding.value


@pytest.mark.parametrize(
    ("lines", "features"),
    [("processor : 0\nflags : fpu avx2 avx512f avx512_vnni amx_int8\n\nprocessor : 1\nflags : x",
      "AVX2, AVX512, VNNI, AMX"),
     ("Features : fp asimd bf16 i8mm\n", "BF16, NEON, I8MM"),
     ("flags : fpu sse\n", "no wide instructions")],
)  # fmt: skip
def test_linux_names_the_processors_features(tmp_path, monkeypatch, lines, features):
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "cpuinfo")
    doctor.CPUINFO.write_text(lines)
    assert doctor._cpu(None).value.endswith(f": {features}")


def test_elsewhere_the_system_or_torch_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    asked = "hw.optional.neon: 1\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_I8MM: 0\n"
    monkeypatch.setattr(doctor, "_output", lambda command: asked)
    assert doctor._cpu(None).value.endswith(": BF16, NEON")
    monkeypatch.setattr(doctor, "_output", lambda command: "machdep.cpu.features: FPU AVX2.0\n")
    assert doctor._cpu(None).value.endswith(": AVX2")
    monkeypatch.setattr(doctor.sys, "platform", "win32")
    capabilities = {"architecture": "x86_64", "avx2": True, "avx512_f": False}
    cpu = types.SimpleNamespace(get_capabilities=lambda: capabilities)
    assert doctor._cpu(types.SimpleNamespace(cpu=cpu)).value.endswith(": AVX2")
    assert doctor._cpu(None).value.endswith(": unknown")


def test_an_empty_cache_can_be_filled_where_the_index_answers(cache, monkeypatch):
    finding = found("cache")
    assert str(cache) in finding.value and "nothing yet" in finding.value
    assert finding.ok is None and finding.cure == "reptune assets fetch"
    assert not cache.exists()
    for answers, ok in ((True, True), (False, False)):
        monkeypatch.setattr(network, "index_answers", lambda answers=answers: answers)
        index = next(each for each in examine() if each.name == "package index")
        assert index.ok is ok


def test_with_everything_in_the_cache_no_index_is_needed(cache, monkeypatch):
    for name in assets.names("default"):
        assets.asset_folder(assets.info(name)).mkdir(parents=True)
    monkeypatch.setattr(network, "index_answers", lambda: False)
    findings = {each.name: each for each in examine()}
    assert findings["package index"].ok is None and findings["package index"].cure
    assert findings["cache"].ok is True
    assert all(name in findings["cache"].value for name in assets.names("default"))


def test_offline_asks_nobody(monkeypatch):
    monkeypatch.setattr(network, "index_answers", lambda: pytest.fail("asked"))
    assert found("package index").value == "not asked"


def test_a_cache_that_cannot_be_written_to(cache, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    finding = found("cache")
    assert finding.ok is False and "REPTUNE_CACHE" in finding.cure


def test_too_little_disk_for_what_is_missing(cache, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    finding = found("disk")
    assert (
        finding.ok is False and "are needed" in finding.value and "free some space" in finding.cure
    )
