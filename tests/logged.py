"""What a row's log says was run."""

from __future__ import annotations

import re
import shlex

from benchlib.trtexec.exit_check import BANNER

_NEXT_FLAG = re.compile(r" (?='?--?[A-Za-z])")


def started(text: str) -> list[list[str]]:
    """The arguments of each program that began, in order, as its first banner repeats them.

    trtexec joins them by spaces and quotes nothing, so a blank parts two arguments only where a
    flag follows. The stand-ins quote an argument as a shell would, from its start on.
    """
    banners = filter(None, (BANNER.match(line.rstrip()) for line in text.splitlines()))
    return [
        ["".join(shlex.split(one)) if one.startswith("'") else one for one in arguments]
        for arguments in (
            _NEXT_FLAG.split(one["command"])[1:] for one in banners if one["state"] == "RUNNING"
        )
    ]
