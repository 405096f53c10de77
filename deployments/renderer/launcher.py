"""Program that isolates itself and then becomes Chromium; Playwright runs it as the browser.

It runs alone (`python -I launcher.py`), so it imports the standard library only. In this order it
makes a network namespace whose only interface is loopback, listens there for the proxy and hands
the listening sockets to the replica over a Unix socket, drops the privileges of root, and executes
Chromium with an environment of its own. No other address can be reached from the namespace, by
TCP or by UDP, whatever the browser is made to do.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_FLAGS_FORMAT, _IFREQ_FORMAT = "16xH14x", "16sH14x"
_PROFILE = "--user-data-dir="
_USER = "nobody"
_USER_NEEDS = "the kernel or the container does not allow user namespaces"
OWN_NETWORK = "own-network"
"""The value of the argument `network` that makes a namespace; any other leaves it out."""


def main(arguments: list[str]) -> None:
    """Isolate this process and execute Chromium; report a failure to the replica and exit."""
    control, home, network, listeners, memory_bytes, chromium, *options = arguments
    with socket.socket(socket.AF_UNIX) as replica:
        replica.connect(control)
        try:
            if network == OWN_NETWORK:
                _isolate_network()
            sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(listeners))]
            port = sockets[0].getsockname()[1]
            if os.getuid() == 0:
                _become_user(home)
            _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # with Playwright's driver
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            # Of each process: a script that allocates more gets an error.
            resource.setrlimit(resource.RLIMIT_DATA, (int(memory_bytes), int(memory_bytes)))
            os.chdir("/")
        except OSError as error:
            replica.send(f"error {error.strerror or error}".encode())
            sys.exit(1)
        descriptors = [each.fileno() for each in sockets]
        socket.send_fds(replica, [str(os.getpid()).encode()], descriptors)
        for each in sockets:
            each.close()
    # Requests outside of a page, such as the browser's own, find a proxy that refuses them.
    proxy = [f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>"]
    # In the home instead of a folder of Playwright's own, which may stay behind after a crash.
    options = [each for each in options if not each.startswith(_PROFILE)]
    options.append(f"{_PROFILE}{home}/profile")
    environment = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    os.execve(chromium, [chromium, *proxy, *options], environment)  # noqa: S606 - no shell


def _isolate_network() -> None:
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _call("unshare", _CLONE_NEWNET, needs="root needs CAP_SYS_ADMIN")
    else:
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET, needs=_USER_NEEDS)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack(_IFREQ_FORMAT, b"lo", 0)
        (flags,) = struct.unpack(_FLAGS_FORMAT, fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_IFREQ_FORMAT, b"lo", flags | _IFF_UP))


def _become_user(home: str) -> None:
    """Give up root for good: Chromium runs as `nobody`, who owns its home."""
    user = pwd.getpwnam(_USER)
    os.chown(home, user.pw_uid, user.pw_gid)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def _call(function: str, *arguments: int, needs: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}{needs and f' ({needs})'}")


if __name__ == "__main__":
    main(sys.argv[1:])
