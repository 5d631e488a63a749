"""What happens around the work of a stand-in: banners, flags, the one place failures end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from benchlib.engines.flags import BadFlagError, FlagTable, Options, UnknownFlagError
from benchlib.engines.standin.log import Log, StandinError, banner_code
from benchlib.engines.standin.options import echo
from benchlib.engines.version import Version

PASSED, FAILED = 0, 1
"""Exit statuses, trtexec's."""


class CudaError(StandinError):
    """A call to CUDA failed; the log shows it without a stamp, as trtexec does."""


@dataclass(frozen=True, slots=True)
class Program:
    """One stand-in: its name in banners, the version it speaks for, its flags and its work.

    ``impossible`` maps flags that trtexec knows and this program cannot serve to the reason;
    giving one is an error. ``meanings`` maps flags that are accepted and mean something else
    here to what they mean; giving one is noted in the log. ``work`` raises
    :class:`StandinError` when it fails.
    """

    tool: str
    version: Version
    table: FlagTable
    work: Callable[[Log, Options], None]
    about: str
    impossible: Mapping[str, str]
    meanings: Mapping[str, str]

    def run(self, argv: Sequence[str], log: Log) -> int:
        """Do what ``argv`` (without the program) says and return the exit status."""
        command = shlex.join([self.tool, *argv])
        code = banner_code(self.version)
        log.banner("RUNNING", self.tool, code, command)
        try:
            if self._obey(argv, log):
                log.banner("PASSED", self.tool, code, command)
            return PASSED
        except UnknownFlagError as error:
            log.error(f"Unknown option: {error.flag} {error.value}")
            self._help(log)
        except BadFlagError as error:
            log.error(error.problem)
            self._help(log)
        except CudaError as error:
            log.bare_error(f"Cuda failure: {error}")
        except StandinError as error:
            log.error(str(error))
        log.banner("FAILED", self.tool, code, command)
        return FAILED

    def _obey(self, argv: Sequence[str], log: Log) -> bool:
        """Do the work; return whether the banner should say so (help alone passes silently)."""
        options = self.table.parse(argv)
        if options.get("--help") or options.get("-h") or not argv:
            self._help(log)
            return not argv
        for name in dict.fromkeys(options.given):
            if name in self.impossible:
                raise StandinError(
                    f"{name} is not supported by {self.tool}: {self.impossible[name]}"
                )
        log = replace(log, verbose=bool(options.get("--verbose")))
        echo(log, options, self.table.flags.keys() - self.impossible.keys() - self.meanings.keys())
        for name in dict.fromkeys(options.given):
            if name in self.meanings:
                log.info(f"{name}: {self.meanings[name]}")
        self.work(log, options)
        return True

    def _help(self, log: Log) -> None:
        log.plain(self.about)
        log.plain("")
        for name, flag in sorted(self.table.flags.items()):
            if name in self.impossible:
                continue
            value = f"=<{flag.type}>" if flag.takes_value else ""
            default = "" if flag.default in (None, False) else f"  (default {flag.default})"
            log.plain(f"  {name}{value}{default}")


def impossible(
    table: FlagTable, served: Set[str], reasons: Mapping[str, str], otherwise: str
) -> dict[str, str]:
    """All flags of ``table`` that are not served, with why: ``reasons`` or ``otherwise``."""
    return {name: reasons.get(name, otherwise) for name in table.flags if name not in served}


def arguments() -> list[str]:
    """The command line of this process, without the program."""
    return sys.argv[1:]
