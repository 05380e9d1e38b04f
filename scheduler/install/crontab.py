"""The block of a project in a crontab. What stands outside of it is another's."""

import re
import shlex
from datetime import tzinfo

from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings
from scheduler.install.call import LOGS, Call, cadence_text, cadences, log_file
from scheduler.install.cron_times import cron_times

LONGEST = 990
"""Characters of a command that Debian's cron still reads whole (its limit is 1,000)."""


def crontab_block(settings: Settings, call: Call, zone: tzinfo, zone_name: str, now_s: float) -> str:
    """The lines of every pipeline that is due by the clock, between their marks; empty where none is.

    `zone` is the one by which that cron goes. Raises `UsageError` for a cadence or a name that cron cannot say.
    """
    lines = []
    for name, cadence in cadences(settings).items():
        times = cron_times(name, cadence, zone, zone_name, now_s)
        why = f"; {times.why}" if times.why else ""
        lines.append(f"# {name}: {cadence_text(cadence)}{why}")
        lines += [f"{fields} {_command(call, name)}" for fields in times.lines]
    if not lines:
        return ""
    begin, end = _marks(call.project)
    told = "# Made by plaster-ops: what stands between these marks is replaced the next time."
    return "\n".join([begin, told, *lines, end]) + "\n"


def put_block(text: str, project: str, block: str) -> str:
    """The crontab with that block in place of the project's, at its end where it had none; empty: without one.

    Every other line is as it was. Raises `UsageError` where a mark is without its other one.
    """
    begin, end = _marks(project)
    kept: list[str] = []
    place: int | None = None
    inside = False
    for line in text.splitlines(keepends=True):
        stripped = line.rstrip("\r\n")
        if stripped == (begin if inside else end):
            raise _unpaired(begin, end)
        if stripped == begin:
            place, inside = len(kept) if place is None else place, True
        elif stripped == end:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise _unpaired(begin, end)
    if place is None:
        if block and kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        place = len(kept)
    return "".join([*kept[:place], block, *kept[place:]])


def zone_settings(text: str) -> list[str]:
    """Lines of a crontab that set a zone: Debian's cron takes no notice of them, cronie shifts what comes after."""
    return [line for line in text.splitlines() if re.match(r"\s*(CRON_)?TZ\s*=", line)]


def _unpaired(begin: str, end: str) -> UsageError:
    return UsageError(f"in the crontab one of the marks {begin!r} and {end!r} is missing", "mend it with crontab -e")


def _marks(project: str) -> tuple[str, str]:
    return f"# plaster-ops BEGIN {project}", f"# plaster-ops END {project}"


def _command(call: Call, name: str) -> str:
    """What cron gives to /bin/sh. Its `%` is a line end, so it is escaped."""
    visit = shlex.join(call.once(name, quiet=True))
    log = shlex.quote(log_file(name))
    text = f"cd {shlex.quote(call.project)} && mkdir -p {LOGS} && exec {visit} >> {log} 2>&1".replace("%", "\\%")
    if len(text.encode()) > LONGEST:
        raise UsageError(
            f"the crontab line of {name!r} would be {len(text.encode())} characters long, cron reads 1,000",
            "give the project a shorter path, or take --systemd",
        )
    return text
