"""The targets of a pipeline: `alerts` of its settings, and the environment that holds their addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plaster_ops.alerts.answer import Answer, WrongAddress, why
from plaster_ops.alerts.mail import check_mail, send_mail
from plaster_ops.alerts.web import check_web, for_slack, post
from plaster_ops.domain.alert import AlertMessage
from plaster_ops.settings_schedule import Alert


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One entry of `alerts`. `name` is how the queue calls it; the address is not in it."""

    kind: str
    url_env: str

    @property
    def name(self) -> str:
        """`webhook:PLASTER_WEBHOOK`."""
        return f"{self.kind}:{self.url_env}"

    def why_not_ready(self, environment: Mapping[str, str]) -> str:
        """Why nothing can be sent from here; empty where it can, as far as the address tells."""
        address = environment.get(self.url_env, "")
        if not address.strip():
            return f"{self.url_env} is not set"
        try:
            (check_mail if self.kind == "smtp" else check_web)(address)
        except WrongAddress as error:
            return f"{self.url_env} is set, but {error}"
        return ""

    def send(self, message: AlertMessage, environment: Mapping[str, str], timeout_s: float) -> Answer:
        """Sends one message; every failure is an answer, and none of them tells the address."""
        address = environment.get(self.url_env, "")
        try:
            if self.kind == "smtp":
                return send_mail(address, message, timeout_s)
            body = for_slack(message) if self.kind == "slack" else message.to_json()
            return post(address, body, timeout_s)
        except Exception as error:  # a thread's last words would be the address
            return Answer(ok=False, detail=f"unexpected {why(error)}", is_down=True)


def targets_of(alerts: Sequence[Alert]) -> list[Target]:
    """The targets that the settings name, each once."""
    return list({(each.kind, each.url_env): Target(kind=each.kind, url_env=each.url_env) for each in alerts}.values())
