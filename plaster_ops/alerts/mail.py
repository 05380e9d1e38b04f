"""Mail: `smtp[s]://user:password@host:port/?from=ADDRESS&to=ADDRESS`, one message to every `to`.

`smtps` is TLS from the first byte (port 465). `smtp` turns TLS on where the server offers it (port 587); where it does
not, no password is sent.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from plaster_ops import __version__
from plaster_ops.alerts.answer import Answer, WrongAddress, why
from plaster_ops.domain.alert import AlertMessage

if TYPE_CHECKING:
    from email.message import EmailMessage


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class MailAddress:
    """What the address says; never shown."""

    host: str
    port: int
    tls: bool
    user: str
    password: str
    sender: str
    to: tuple[str, ...]


def check_mail(address: str) -> MailAddress:
    """The address taken apart. Raises `WrongAddress`."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port
    except ValueError:
        raise WrongAddress("it holds no address that can be read") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise WrongAddress("it holds no address that begins with smtp:// or smtps:// and names a host")
    asked = [part.partition("=") for part in parts.query.split("&")]
    values = {key: [unquote(value) for name, _, value in asked if name == key] for key in ("from", "to")}
    to = tuple(one.strip() for value in values["to"] for one in value.split(",") if one.strip())
    if len(values["from"]) != 1 or not to or not all(_is_mail(one) for one in (*values["from"], *to)):
        raise WrongAddress("it must end in ?from=ADDRESS&to=ADDRESS, each with an @")
    return MailAddress(
        host=parts.hostname,
        port=port or (465 if parts.scheme == "smtps" else 587),
        tls=parts.scheme == "smtps",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=values["from"][0],
        to=to,
    )


def _is_mail(text: str) -> bool:
    return "@" in text.strip("@") and not any(character.isspace() for character in text)


def send_mail(address: str, message: AlertMessage, timeout_s: float) -> Answer:
    """Hands the message to the server. `timeout_s` is of each wait for it, not of all of them together."""
    import smtplib
    import ssl

    try:
        where = check_mail(address)
        context = ssl.create_default_context()
        server = (
            smtplib.SMTP_SSL(where.host, where.port, timeout=timeout_s, context=context)
            if where.tls
            else smtplib.SMTP(where.host, where.port, timeout=timeout_s)
        )
        with server:
            server.ehlo_or_helo_if_needed()
            secured = where.tls
            if not secured and server.has_extn("starttls"):
                server.starttls(context=context)
                secured = True
            if where.user and not secured:
                return Answer(ok=False, detail="it offers no TLS, so no password is sent", is_down=True)
            if where.user:
                server.login(where.user, where.password)
            refused = server.send_message(_mail(message, where), from_addr=where.sender, to_addrs=list(where.to))
    except WrongAddress as error:
        return Answer(ok=False, detail=str(error), is_down=True)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        return Answer(ok=False, detail=f"refused every recipient ({_codes(codes)})")
    except smtplib.SMTPResponseException as error:
        return Answer(ok=False, detail=f"answered {error.smtp_code} ({type(error).__name__})", is_down=True)
    except (OSError, ValueError) as error:
        return Answer(ok=False, detail=why(error), is_down=True)
    if refused:
        codes = {code for code, _ in refused.values()}
        return Answer(ok=True, detail=f"taken, but refused for {len(refused)} of {len(where.to)} ({_codes(codes)})")
    return Answer(ok=True, detail=f"taken for {len(where.to)}")


def _codes(codes: set[int]) -> str:
    return ", ".join(str(code) for code in sorted(codes))


def _mail(message: AlertMessage, where: MailAddress) -> "EmailMessage":
    from email.message import EmailMessage
    from email.utils import formatdate

    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[{message.project}] {message.headline}".split())
    mail["From"], mail["To"] = where.sender, ", ".join(where.to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{message.id}@plaster-ops.invalid>"
    mail["User-Agent"] = f"plaster-ops/{__version__}"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [message.reason, "", f"since     {message.since}", f"changed   {message.at}"]
    if message.run:
        lines.append(f"run       #{message.run['index']} ({message.run['id']})")
    lines += [f"{name}      {text}" for name, text in (("link", message.link), ("look", message.look)) if text]
    mail.set_content("\n".join(lines) + "\n")
    return mail
