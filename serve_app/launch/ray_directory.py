"""Ray's directory: sessions, logs and sockets of one installation, apart from every other Ray.

By default every Ray of a machine shares /tmp/ray, where the last one started owns the link
`session_latest` and the file in which Prometheus finds the metrics.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from serve_app.launch.progress import StartError

_SOCKET_PATH_BYTES = 107  # the limit for Unix sockets on Linux
_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_MetricsHead"
_KEPT_SESSIONS = 2
_PREFIX = "genserve-"
_DATA = "data_dir"  # links back, and dangles when the installation was deleted


def ray_tmpdir(data_dir: Path) -> Path:
    """Create the installation's own directory and return it, as a value for RAY_TMPDIR.

    Ray keeps its files in the folder `ray` below it, to which `data_dir/ray` links. The
    directory is not in `data_dir` because the paths of Unix sockets must be short. Only this
    user can enter it. Raises StartError if it cannot be created or belongs to somebody else.
    """
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:8]
    directory = _parent() / f"{_PREFIX}{name}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise StartError(f"{directory}: is not a directory of this user: remove it")
        directory.chmod(0o700)
        _link(data_dir / "ray", directory / "ray")
        _link(directory / _DATA, data_dir.resolve())
    except OSError as error:
        raise StartError(f"Ray's directory cannot be used: {error}") from None
    return directory


def sweep(directory: Path) -> None:
    """Delete the files of ended sessions but for the newest two, whose logs may be wanted.

    And the directories of this user's installations whose `data_dir` was deleted.
    """
    for session in _sessions(directory)[:-_KEPT_SESSIONS]:
        if not _is_alive(session):
            shutil.rmtree(session, ignore_errors=True)
    for other in directory.parent.glob(f"{_PREFIX}*"):
        back = other / _DATA
        with contextlib.suppress(OSError):
            owned = other.lstat().st_uid == os.geteuid()
            deleted = owned and back.is_symlink() and not back.exists()
            if deleted and not any(map(_is_alive, _sessions(other))):
                shutil.rmtree(other, ignore_errors=True)


def _sessions(directory: Path) -> list[Path]:
    """Return the folders of all sessions, the newest last: a name begins with its time."""
    found = (directory / "ray").glob("session_*")
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _parent() -> Path:
    """Return a directory for temporary files whose path is short enough."""
    named = os.environ.get("RAY_TMPDIR")
    for parent in (named,) if named else (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - see above
        path = Path(parent).absolute()
        longest = path / f"{_PREFIX}00000000" / _LONGEST_SOCKET
        if len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES:
            return path
    raise StartError(f"RAY_TMPDIR: {named} is too long a path for Unix sockets below it")


def _link(path: Path, target: Path) -> None:
    """Point a symbolic link at the target; leave what is not a link."""
    if path.exists() and not path.is_symlink():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)  # of a start that crashed
    unfinished.symlink_to(target)
    unfinished.replace(path)


def _is_alive(session: Path) -> bool:
    """Tell whether the session's raylet listens on its socket."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(os.fspath(session / "sockets" / "raylet"))
        return True
    return False
