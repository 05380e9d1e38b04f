"""What shall stand where, so that the installed timers are what the settings say: for `install` and `apply`."""

from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from plaster_ops.domain.schedule import zone_of
from plaster_ops.errors import SettingsError, UsageError
from plaster_ops.settings import Settings, read_settings
from scheduler.install.call import Call, cadences
from scheduler.install.crontab import crontab_block, put_block, zone_settings
from scheduler.install.manifests import ManifestPlan, manifests
from scheduler.install.places import Edit, Place, TextFile, edits_of_folder
from scheduler.install.units import UnitPlan, next_steps, units
from scheduler.install.zones import machine_zone


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What has to be changed, what to tell of it on the way, and the commands that are left to do after it."""

    edits: tuple[Edit, ...] = ()
    warnings: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(
            edits=self.edits + other.edits,
            warnings=self.warnings + other.warnings,
            next_steps=self.next_steps + other.next_steps,
        )

    def diff(self) -> str:
        """All edits as one unified diff."""
        return "".join(edit.diff() for edit in self.edits)

    def make(self) -> list[str]:
        """Makes them, in order, and says so; what to do next is told last."""
        told = []
        for edit in self.edits:
            edit.place.write(edit.after)
            told.append(edit.tell())
        return told + [f"next: {line}" for line in self.next_steps if told]


def require_cadence(settings: Settings) -> None:
    """Raises `SettingsError` where no pipeline is due by the clock."""
    if not cadences(settings):
        raise SettingsError(
            "no pipeline has a cadence, so there is nothing to install",
            'give one: cadence = { cron = "0 2 * * *" }; or take earlier lines out with --remove',
        )


def crontab_changes(
    settings: Settings, call: Call, place: Place, now_s: float, *, zone: str | None = None, remove: bool = False
) -> Changes:
    """The crontab with the block of this project as it shall be, or without one. `zone`: that cron's, if not ours."""
    known: tuple[tzinfo, str] = machine_zone() if zone is None else (_named_zone(zone), zone)
    block = "" if remove else crontab_block(settings, call, *known, now_s)
    before = place.read()
    after: str | None = put_block(before or "", call.project, block)
    if not after and not before:
        after = before
    warnings = [
        f"{place.title} has the line {line!r}: Debian's cron ignores it; another would shift our lines by it"
        for line in zone_settings(before or "")
    ]
    edits = () if after == before else (Edit(place=place, before=before, after=after or None),)
    return Changes(edits=edits, warnings=tuple(warnings if block else ()))


def unit_changes(settings: Settings, plan: UnitPlan, folder: Path, now_s: float, *, remove: bool = False) -> Changes:
    """The units of this project in that folder, and no others of it."""
    wanted = {} if remove else units(settings, plan, now_s)
    edits = edits_of_folder(folder, plan.mark, wanted)
    gone = [Path(edit.place.title).name for edit in edits if edit.after is None]
    return Changes(edits=tuple(edits), next_steps=tuple(next_steps(plan, wanted, gone)))


def manifest_changes(
    settings: Settings, plan: ManifestPlan, folder: Path, now_s: float, *, remove: bool = False
) -> Changes:
    """The manifests of this project in that folder, and no others of it."""
    wanted = {} if remove else manifests(settings, plan, now_s)
    edits = edits_of_folder(folder, plan.mark, wanted)
    steps = [f"kubectl delete cronjob {Path(edit.place.title).stem}" for edit in edits if edit.after is None] + (
        [f"kubectl apply -f {folder}"] if wanted else []
    )
    return Changes(edits=tuple(edits), next_steps=tuple(steps))


def settings_changes(settings: Settings, source: str, text: str) -> tuple[Settings, Changes]:
    """The settings that the text holds, and what makes them the project's own.

    Raises `SettingsError` where they are not valid, and where the project's stand in pyproject.toml beside other
    things: those are changed by hand.
    """
    file = settings.file or settings.project / "plaster.toml"
    before = TextFile(file).read()
    if before == text:
        return settings, Changes()
    if file.name == "pyproject.toml":
        raise SettingsError(
            f"the settings of this project stand in {file}, which {source} cannot take the place of",
            "change them there, then: plaster-ops schedule apply",
        )
    wanted = read_settings(file, text)
    return wanted, Changes(
        edits=(Edit(place=TextFile(file), before=before, after=text),),
        next_steps=("a service that runs takes the settings on SIGHUP (systemctl reload)",),
    )


def _named_zone(name: str) -> tzinfo:
    try:
        return zone_of(name)
    except ValueError as error:
        raise UsageError(str(error), "give --zone an IANA name") from None
