"""An environment built for other hardware is found when it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from serve_app.launch.installation import Kind, fault, main
from tests.support.paths import ROOT

ENGINE = ("vllm", "vllm.engine.arg_utils", "vllm.v1.engine.async_llm")


def built(monkeypatch: pytest.MonkeyPatch, cuda: str | None, *, gpu: bool = False) -> None:
    """Stand in for PyTorch and vLLM, of which an environment can hold one build only."""
    torch = SimpleNamespace(
        __version__="2.13.0" if cuda else "2.13.0+cpu",
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(is_available=lambda: gpu),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    for name in ENGINE:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


@pytest.mark.parametrize(("kind", "cuda"), [("cpu", None), ("gpu", "13.0")])
def test_the_build_that_fits_is_sound(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, cuda: str | None
) -> None:
    built(monkeypatch, cuda)
    assert fault(kind) is None
    assert main([kind]) == 0


@pytest.mark.parametrize(
    ("kind", "cuda", "said"),
    [
        ("gpu", None, "PyTorch 2.13.0+cpu is a build for CPUs"),
        ("cpu", "13.0", "PyTorch 2.13.0 is a build for CUDA 13.0"),
    ],
)
def test_the_other_build_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: Kind,
    cuda: str | None,
    said: str,
) -> None:
    built(monkeypatch, cuda)
    assert main([kind]) == 1
    message = capsys.readouterr().err
    assert said in message
    assert "UV_FIND_LINKS" in message
    assert f"make clean install EXTRA={kind}" in message


@pytest.mark.parametrize(
    ("kind", "gpu", "missing", "sound"),
    [
        ("cpu", False, "vllm", False),
        ("cpu", False, "vllm.v1.engine.async_llm", False),
        ("gpu", True, "vllm.v1.engine.async_llm", False),
        # Where an image is built there is no driver, which the GPU build's engine may need.
        ("gpu", False, "vllm.v1.engine.async_llm", True),
        ("gpu", False, "vllm", False),
        ("gpu", False, "torch", False),
    ],
)
def test_a_library_that_does_not_import_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, missing: str, *, gpu: bool, sound: bool
) -> None:
    built(monkeypatch, "13.0" if kind == "gpu" else None, gpu=gpu)
    monkeypatch.setitem(sys.modules, missing, None)  # importing it raises ImportError
    found = fault(kind)
    assert (found is None) is sound
    assert sound or "cannot be imported" in str(found)


@pytest.mark.parametrize(
    ("extra", "links", "torch"), [("gpu", "{other}", ""), ("cpu", "{cpu},{other}", "")]
)
def test_a_folder_with_the_cpu_build_is_kept_out_of_a_gpu_environment(
    tmp_path: Path, extra: str, links: str, torch: str
) -> None:
    cpu, other = tmp_path / "cpu", tmp_path / "other"
    for folder, wheel in ((cpu, "torch-2.13.0+cpu-cp311"), (other, "some-1-py3")):
        folder.mkdir()
        (folder / f"{wheel}-none-any.whl").touch()
    show = 'show: ; @$(uv_environment); echo "links=$$UV_FIND_LINKS torch=$$torch"'
    done = subprocess.run(
        ["make", "-s", f"EXTRA={extra}", f"UV_FIND_LINKS={cpu} {other}", "--eval", show, "show"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = links.format(cpu=cpu, other=other)
    assert done.stdout.splitlines()[-1] == f"links={wanted} torch={torch}"
    assert (f"leaving out {cpu}" in done.stdout) is (extra == "gpu")
