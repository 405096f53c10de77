"""Ray's token: one secret for each installation, which all of its processes read from a file.

Ray runs code for everyone who reaches its ports and knows the token.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from filelock import FileLock

from serve_app.launch.progress import StartError, say

_TOKEN_BYTES = 32
_MIN_CHARACTERS = 16


def token_file(data_dir: Path) -> Path:
    """Return the absolute path of the token file, written first if it does not exist.

    The environment's RAY_AUTH_TOKEN_PATH takes precedence over `data_dir/ray_token`. A token
    too short to be one is replaced in our own file, which nothing can have used; it raises
    StartError in a file that the environment names, because other processes read it too.
    """
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or data_dir / "ray_token").absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A soft lock, the fallback, would outlive a crash.
        with FileLock(f"{path}.lock", mode=0o600, fallback_to_soft=False):
            if path.exists() and not _is_whole(path):
                if named:
                    raise StartError(
                        f"RAY_AUTH_TOKEN_PATH: {path} holds no token of at least "
                        f"{_MIN_CHARACTERS} characters: write one with "
                        f"`openssl rand -hex {_TOKEN_BYTES}`"
                    )
                say(f"    {path} held no whole token: it is replaced")
                path.unlink()
            if not path.exists():
                _write(path)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the file of Ray's token cannot be used: {path}: {error}") from None
    return path


def _is_whole(path: Path) -> bool:
    return len(path.read_text(encoding="ascii").strip()) >= _MIN_CHARACTERS


def _write(path: Path) -> None:
    """Create the file whole or not at all."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
