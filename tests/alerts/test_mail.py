"""Mail: how an address is read, when a password is sent, and what the message looks like."""

import base64
import email
import shutil
import ssl
import subprocess
from dataclasses import replace
from email import policy
from pathlib import Path

import pytest

from plaster_ops.alerts.answer import WrongAddress
from plaster_ops.alerts.mail import check_mail
from plaster_ops.alerts.targets import Target
from plaster_ops.domain.alert import AlertMessage
from tests.alerts.receivers import TOKEN, Mail, closed_port, mail_receiver

MAIL = Target(kind="smtp", url_env="MAIL")
ENDS = "?from=ops%40here.example&to=a%2Bb@here.example,c@here.example"


def sent(address: str, message: AlertMessage) -> tuple[bool, str]:
    answer = MAIL.send(message, {"MAIL": address}, 5.0)
    assert TOKEN not in answer.detail
    return answer.ok, answer.detail


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl, which makes the server's certificate, is not installed")
    of_what = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=127.0.0.1")
    how = ("-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes")
    where = ("-keyout", str(file), "-out", str(file.with_suffix(".crt")))
    subprocess.run([program, "req", "-x509", *of_what, *how, *where], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_address_is_read_with_its_escapes_and_a_plus_stays_a_plus() -> None:
    found = check_mail("smtps://me%40here:p%2Fw@mail.example/?from=a+b@x.example&to=c@x.example&to=d@x.example")
    assert (found.host, found.port, found.tls, found.user, found.password) == (
        "mail.example",
        465,
        True,
        "me@here",
        "p/w",
    )
    assert (found.sender, found.to) == ("a+b@x.example", ("c@x.example", "d@x.example"))
    assert check_mail("smtp://mail.example/?from=a@x&to=b@x").port == 587
    assert "p/w" not in repr(found)


@pytest.mark.parametrize(
    "address",
    ["mail.example", "http://mail.example/" + ENDS, "smtp://?to=a@x", "smtp://h/?from=a@x", "smtp://h/?to=a@x",
     "smtp://h/?from=a@x&to=nobody", "smtp://h/?from=a@x&to=b@x%0d%0aBcc:c@x", "smtp://h:port/" + ENDS],
)  # fmt: skip
def test_what_is_no_mail_address_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(WrongAddress) as caught:
        check_mail(address)
    assert address not in str(caught.value)


def test_a_mail_reaches_everybody_and_reads_well(message: AlertMessage) -> None:
    with mail_receiver(Mail()) as server:
        told = sent(f"smtp://127.0.0.1:{server.port}/{ENDS}", replace(message, pipeline="dig\nits"))
    assert told == (True, "taken for 2")
    mail = email.message_from_string(server.mails[0], policy=policy.default)
    assert mail["Subject"] == "[shop] dig its is regressed"
    assert (mail["From"], mail["To"]) == ("ops@here.example", "a+b@here.example, c@here.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert text.startswith("#12 was held: accuracy gate failed")
    assert "http://mlflow:5000/#/runs/mmm" in text
    assert [line.partition(":")[2] for line in server.said if line.upper().startswith("RCPT")] == [
        "<a+b@here.example>",
        "<c@here.example>",
    ]


def test_no_password_is_sent_where_the_server_offers_no_tls(message: AlertMessage) -> None:
    with mail_receiver(Mail()) as server:
        told = sent(f"smtp://me:{TOKEN}@127.0.0.1:{server.port}/{ENDS}", message)
    assert told == (False, "it offers no TLS, so no password is sent")
    assert not [line for line in server.said if line.upper().startswith(("AUTH", "MAIL"))]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_password_is_sent_once_the_line_is_safe(
    scheme: str, message: AlertMessage, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mail_receiver(Mail(tls=tls, at_once=scheme == "smtps")) as server:
        told = sent(f"{scheme}://me:{TOKEN}@127.0.0.1:{server.port}/{ENDS}", message)
    assert told == (True, "taken for 2")
    (login,) = [line for line in server.said if line.startswith("AUTH")]
    assert base64.b64decode(login.split()[2]) == f"\0me\0{TOKEN}".encode()


def test_a_server_that_nobody_vouches_for_gets_nothing(message: AlertMessage, tls: ssl.SSLContext) -> None:
    with mail_receiver(Mail(tls=tls, at_once=True)) as server:
        ok, detail = sent(f"smtps://me:{TOKEN}@127.0.0.1:{server.port}/{ENDS}", message)
    assert (ok, detail.startswith("SSLCertVerificationError")) == (False, True)
    assert server.said == []


def test_what_a_server_says_of_us_is_not_repeated(message: AlertMessage) -> None:
    with mail_receiver(Mail(refuse={"MAIL": f"550 go away {TOKEN}"})) as server:
        assert sent(f"smtp://127.0.0.1:{server.port}/{ENDS}", message) == (False, "answered 550 (SMTPSenderRefused)")
    with mail_receiver(Mail(refuse={"RCPT": f"551 not here {TOKEN}"})) as server:
        assert sent(f"smtp://127.0.0.1:{server.port}/{ENDS}", message) == (False, "refused every recipient (551)")
    assert sent(f"smtp://127.0.0.1:{closed_port()}/{ENDS}", message) == (False, "connection refused")
