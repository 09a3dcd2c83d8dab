"""No test of a kernel passes because another backend computed."""

from collections.abc import Iterator

import pytest

from allennlp_elmo_plus.kernels import backend


@pytest.fixture(autouse=True)
def no_failed_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the backends that earlier tests of this process could not use, and fail where this test could not use one."""
    failed: set[tuple[str, str, object]] = set()
    monkeypatch.setattr(backend, "_failed", failed)
    yield
    assert not failed, "another backend computed"
