# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What is still mounted from a build that was killed.

Isar mounts the work directory and isar-apt into a root filesystem while it installs packages there. When all of
bitbake is killed, nobody unmounts them; and Isar's next do_rootfs_install removes the root filesystem with
`rm --one-file-system`, which goes into them, as they are on the same file system.
"""

import os
import re

MOUNTS = "/proc/self/mounts"


def below(directory, mounts=MOUNTS):
    """Mount points in a directory, itself included; the last mounted comes first."""
    with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
        points = [_unescaped(line.split(" ")[1]) for line in file]
    directory = os.path.realpath(directory)
    return [point for point in reversed(points) if point == directory or point.startswith(directory + "/")]


def _unescaped(point):
    """The kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), point)
