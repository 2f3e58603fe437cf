"""`open_owned`: a file that belongs to whom its folder belongs to, also where root makes it.

The operator's commands may run as root, and the workers, who read and write the same files, as the user whose home
folder it is.
"""

import os
from pathlib import Path


def open_owned(path: Path, flags: int, mode: int) -> int:
    """A descriptor of `path`, which is made where it is missing; raises `OSError`."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    if os.geteuid() == 0:
        folder, file = path.parent.stat(), os.fstat(descriptor)
        if (file.st_uid, file.st_gid) != (folder.st_uid, folder.st_gid) and file.st_uid == 0:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor
