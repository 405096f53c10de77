from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments import model_source
from deployments.errors import InvalidRequest
from deployments.model_source import resolve


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages of the test are found."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def write(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_hub_id_stays_and_a_local_path_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("someone/model", tmp_path) == "someone/model"
    assert resolve("./mine", tmp_path) == str(tmp_path / "mine")


def test_the_shallowest_index_of_a_package_names_the_model(packages: Path, tmp_path: Path) -> None:
    root = packages / "source_flat"
    write(root / "__init__.py", root / "model/config.json", root / "model/1_Pooling/config.json")
    assert resolve("package:source_flat", tmp_path) == str(root / "model")


def test_a_pipeline_is_named_by_its_own_index_and_not_by_a_part(
    packages: Path, tmp_path: Path
) -> None:
    root = packages / "source_outer" / "inner" / "scenes"
    write(
        root.parent.parent / "__init__.py",
        root.parent / "__init__.py",
        root / "__init__.py",
        root / "config.json",
        root / "model/model_index.json",
        root / "model/unet/config.json",
    )
    assert resolve("package:source_outer.inner.scenes", tmp_path) == str(root / "model")


@pytest.mark.parametrize(
    "name",
    ["no_such", "no_such.inner", "json.no_such", "../up", "a..b", ".a", "a/b", "", "json.tool"],
)
def test_what_is_no_installed_package_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not installed") as refused:
        resolve(f"package:{name}", tmp_path)
    assert repr(name) in refused.value.message


def test_a_package_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="neither"):
        resolve("package:json", tmp_path)


def test_a_gguf_file_is_converted_once_for_all_who_ask(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(packages / "source_gguf" / "__init__.py")
    (packages / "source_gguf" / "model.gguf").write_bytes(b"GGUF")
    digest = hashlib.sha256(b"GGUF").hexdigest()[:16]
    killed = tmp_path / "models" / f"converting-model-{digest}-killed"
    write(killed / "model.safetensors")
    together, conversions = threading.Barrier(3), []

    def convert(gguf: Path, target: Path) -> None:
        conversions.append(gguf.name)
        time.sleep(0.2)  # long enough for another one to begin
        (target / "config.json").write_text("{}")

    def ask() -> str:
        together.wait(30)
        return resolve("package:source_gguf", tmp_path)

    monkeypatch.setattr(model_source, "_convert", convert)
    with ThreadPoolExecutor(3) as pool:
        folders = {future.result() for future in [pool.submit(ask) for _ in range(3)]}
    assert conversions == ["model.gguf"]
    assert [Path(folder).name[:6] for folder in folders] == ["model-"]
    assert (Path(folders.pop()) / "config.json").is_file()
    assert not killed.exists()
