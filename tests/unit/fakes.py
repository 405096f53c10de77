"""Another name for `serve_app.testing`, for what still imports it from here."""

from serve_app.testing import MODEL, FakeModel, Fakes
from serve_app.testing import fake_settings as settings

__all__ = ["MODEL", "FakeModel", "Fakes", "settings"]
