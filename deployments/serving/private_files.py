"""Keep what a replica writes, and its node's Ray session, readable by this user only."""

from __future__ import annotations

import os
from pathlib import Path

from ray._private import worker

from deployments.private_files import UMASK, make_private


def keep_files_private(data_dir: str | None = None) -> None:
    """Set the umask of this replica, and close `data_dir` and Ray's session to other users.

    Ray makes the folders of a session world-writable, whatever the umask of `ray start`. Call it
    first in the constructor of a deployment: what the replica starts inherits the umask.
    """
    os.umask(UMASK)
    if data_dir is not None:
        make_private(Path(data_dir))
    node = worker._global_node  # Ray has no public name for it  # noqa: SLF001
    if node is not None:
        make_private(Path(node.get_session_dir_path()))
