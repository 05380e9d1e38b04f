"""Units of systemd: a timer and a service a pipeline, or one service that keeps the schedule."""

import pwd
from collections.abc import Iterable
from dataclasses import dataclass

from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings
from scheduler.install.calendar_times import calendar_times
from scheduler.install.call import Call, cadence_text, cadences, slug_of, slugs_of

MARGIN_S = 30
"""How much longer systemd and Kubernetes wait after SIGTERM than we need to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPlan:
    """Which units are wanted. `user`: who runs them, for the machine's systemd; None: for the user's own."""

    call: Call
    slug: str
    user: str | None = None
    service: bool = False

    @property
    def mark(self) -> str:
        """The first line of all our files of this project."""
        return f"# plaster-ops project {self.call.project}"

    @property
    def stem(self) -> str:
        """How the names of the units begin."""
        return f"plaster-ops-{slug_of(self.slug)}"


def units(settings: Settings, plan: UnitPlan, now_s: float) -> dict[str, str]:
    """Names and texts of the units. Raises `UsageError` for a cadence or a path that they cannot say."""
    if plan.service:
        return {f"{plan.stem}.service": _service(settings, plan)}
    found: dict[str, str] = {}
    due = cadences(settings)
    for name, slug in slugs_of(due, 180).items():
        about = f"{name}, {cadence_text(due[name])}"
        found[f"{plan.stem}-{slug}.timer"] = _joined(
            plan.mark,
            "[Unit]",
            f"Description={_value(f'plaster-ops: {about}')}",
            "",
            "[Timer]",
            "# Every slot is at one of these instants; schedule once looks into the ledger which is due, waits out its",
            "# jitter, and catches up what the machine slept through.",
            *(f"OnCalendar={line}" for line in calendar_times(name, due[name], now_s)),
            "Persistent=true",
            "AccuracySec=1s",
            "RandomizedDelaySec=0",
            "",
            "[Install]",
            "WantedBy=timers.target",
        )
        found[f"{plan.stem}-{slug}.service"] = _visit(settings, plan, name, about)
    return found


def next_steps(plan: UnitPlan, names: Iterable[str], gone: Iterable[str]) -> list[str]:
    """The commands that make systemd take notice of those files, in order."""
    systemctl = "systemctl" if plan.user is not None else "systemctl --user"
    active = [name for name in names if name.endswith(".timer") or plan.service]
    left = [name for name in gone if name.endswith(".timer") or name == f"{plan.stem}.service"]
    lines = [f"{systemctl} disable --now {' '.join(left)}"] if left else []
    lines.append(f"{systemctl} daemon-reload")
    if active:
        lines.append(f"{systemctl} enable --now {' '.join(active)}")
    if plan.user is None:
        lines.append("loginctl enable-linger    # else they end when you log out")
    return lines


def user_name(uid: int) -> str:
    """Who that is, for `User=`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _visit(settings: Settings, plan: UnitPlan, name: str, about: str) -> str:
    return _joined(
        plan.mark,
        "[Unit]",
        f"Description={_value(f'plaster-ops: retrain what is due of {about}')}",
        "",
        "[Service]",
        "Type=oneshot",
        *_environment(plan),
        f"ExecStart={_words(plan.call.once(name, quiet=False))}",
        "# 3: a gate held the new engine; 75: another run was going on; 143: stopped, to go on at the next visit.",
        "# They stand in the ledger and are no failure of this unit. All other codes are.",
        "SuccessExitStatus=3 75 143",
        *_stopping(settings.scheduler.stop_s),
    )


def _service(settings: Settings, plan: UnitPlan) -> str:
    scheduler = settings.scheduler
    words = [*plan.call.program, "schedule", "start", "--project", plan.call.project]
    return _joined(
        plan.mark,
        "[Unit]",
        f"Description={_value(f'plaster-ops: the schedule of {plan.call.project}')}",
        "",
        "[Service]",
        "Type=exec",
        *_environment(plan),
        f"ExecStart={_words(words)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=30s",
        "# 2: the settings are wrong; 75: another scheduler keeps this project. Another start changes neither.",
        "RestartPreventExitStatus=2 75",
        *_stopping(scheduler.grace_s + scheduler.stop_s),
        "",
        "[Install]",
        f"WantedBy={'default' if plan.user is None else 'multi-user'}.target",
    )


def _environment(plan: UnitPlan) -> list[str]:
    where = "%h/.config/plaster-ops" if plan.user is None else "/etc/plaster-ops"
    user = [f"User={plan.user}"] if plan.user not in (None, "root") else []
    return [
        *user,
        f"WorkingDirectory={_value(plan.call.project)}",
        "# Secrets that settings name (alerts, MLflow's login) as NAME=value; none stands in a unit.",
        f"EnvironmentFile=-{where}/{slug_of(plan.slug)}.env",
    ]


def _stopping(needed_s: float) -> list[str]:
    return [
        "# SIGTERM goes to plaster-ops alone, which stops its retrains; SIGKILL to all that is left.",
        "KillMode=mixed",
        f"TimeoutStopSec={round(needed_s) + MARGIN_S}s",
    ]


def _joined(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _value(text: str) -> str:
    return text.replace("%", "%%")


def _words(words: Iterable[str]) -> str:
    """A command line of a unit: `%` doubled, in quotes what systemd would split."""
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    if '"' in word or "$" in word:
        raise UsageError(f"{word!r} cannot be written into a unit", "rename it without quotes and dollar signs")
    escaped = _value(word)
    return f'"{escaped}"' if any(character in " ;'" for character in word) else escaped
