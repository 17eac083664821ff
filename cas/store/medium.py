"""What a store stands on: file systems of a network, which LMDB's memory map and locks do not work across."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
DISKS: Final = "/sys/dev/block"
"""Of Linux: an entry for each disk, by its number. A file system's own number may look like one, as that of Lustre."""
ALLOWED: Final = "cas-network"
"""A file of this name in a store's directory says that its owner answers for the file system."""
_NETWORK: Final = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"),
    *("pvfs2", "smb2", "smb3", "smbfs", "virtiofs"),
}
_NETWORK_FUSE: Final = {
    *("afpfs", "beegfs", "ceph", "cephfs", "curlftpfs", "davfs", "gcsfuse", "glusterfs", "goofys", "juicefs", "rclone"),
    *("s3fs", "seaweedfs", "smbnetfs", "sshfs", "mount-s3"),
}
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


def network_file_system(path: Path) -> str | None:
    """Returns the type of the file system that a path is on, if it is one of a network: ``nfs4``, ``fuse.sshfs``.

    None for others, for unknown ones, where it cannot be told, and where the directory holds a file ``cas-network``.
    """
    if _is_on_disk(path) or (path / ALLOWED).exists():
        return None
    kind = _type_at(os.fsencode(os.path.realpath(path)))
    main, _, sub = kind.partition(".")
    return kind if main in _NETWORK or (main.startswith("fuse") and sub in _NETWORK_FUSE) else None


def _is_on_disk(path: Path) -> bool:
    """Whether the system knows the device of a path as a disk, which spares the table; a network's is none of them."""
    try:
        device = os.stat(path).st_dev
    except OSError:
        return False
    return os.path.exists(os.path.join(DISKS, f"{os.major(device)}:{os.minor(device)}"))


def _type_at(path: bytes) -> str:
    """The type of what is mounted last at the deepest directory on the way to a path; empty where there is no table."""
    try:
        table = MOUNTS.read_bytes()
    except OSError:
        return ""
    deepest, kind = b"", ""
    for line in table.splitlines():
        fields = line.split(b" ", 5)
        if len(fields) < 6:
            continue
        point = fields[4]
        if b"\\" in point:
            point = _OCTAL.sub(lambda found: bytes([int(found[1], 8) & 255]), point)
        if len(point) < len(deepest) or not (path == point or path.startswith(point.rstrip(b"/") + b"/")):
            continue
        after = line.partition(b" - ")[2].split()
        if after:
            deepest, kind = point, after[0].decode(errors="replace")
    return kind
