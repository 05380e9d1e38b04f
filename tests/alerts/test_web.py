"""Webhooks: what is posted, what counts as success, and that nothing tells the address."""

import base64
import logging
from dataclasses import replace
from typing import Any

import pytest

from plaster_ops import __version__
from plaster_ops.alerts.targets import Target
from plaster_ops.alerts.web import for_slack, post
from plaster_ops.domain.alert import AlertMessage, AlertState
from tests.alerts.receivers import TOKEN, Web, closed_port, web_receiver

HOOK = Target(kind="webhook", url_env="HOOK")


def test_a_webhook_gets_the_message_as_json(web: Web, message: AlertMessage) -> None:
    answer = HOOK.send(message, {"HOOK": web.url}, 5.0)
    assert (answer.ok, answer.detail) == (True, "answered 200")
    assert web.got == [message.to_json()]
    assert {"schema": 1, "state": "firing", "test": False}.items() <= web.got[0].items()
    ((method, path, headers),) = web.asked
    assert (method, path) == ("POST", f"/hook/{TOKEN}")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["User-Agent"] == f"plaster-ops/{__version__}"


def test_any_code_of_the_two_hundreds_is_success(web: Web) -> None:
    web.answers = [204]
    assert post(web.url, {}, 5.0).ok


@pytest.mark.parametrize(("code", "is_down"), [(400, False), (404, False), (429, True), (500, True), (503, True)])
def test_other_codes_are_told_and_some_mean_that_nobody_is_there(web: Web, code: int, is_down: bool) -> None:
    web.answers = [code]
    answer = post(web.url, {}, 5.0)
    assert (answer.ok, answer.is_down, answer.detail) == (False, is_down, f"answered {code}")


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_no_redirect_is_followed(web: Web, code: int) -> None:
    with web_receiver() as other:
        web.answers, web.headers = [code], {"Location": other.url}
        answer = post(web.url, {"a": 1}, 5.0)
        assert (answer.ok, answer.detail) == (False, f"answered {code}, a redirect, which is not followed")
        assert other.asked == []


def test_a_user_and_password_in_the_address_become_a_header(web: Web) -> None:
    assert post(web.url.replace("//", "//me:p%40ss@"), {}, 5.0).ok
    assert web.asked[0][2]["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "hooks.example/x",
        "ftp://host/x",
        "file:///etc/passwd",
        "https://?",
        "http://[x/",
        "http://host:99999/x",
        "http://a b/",
    ],
)
def test_what_is_no_web_address_is_refused_without_being_shown(address: str, message: AlertMessage) -> None:
    told = HOOK.why_not_ready({"HOOK": address})
    assert told.startswith(("HOOK is not set", "HOOK is set, but it holds"))
    assert not address or address not in told
    answer = HOOK.send(message, {"HOOK": address}, 5.0)
    assert not answer.ok
    assert not address or address not in answer.detail


def test_nothing_tells_the_address_whatever_goes_wrong(
    message: AlertMessage, caplog: pytest.LogCaptureFixture, web: Web
) -> None:
    caplog.set_level(logging.DEBUG)
    web.answers = [500, 302]
    nobody = f"http://127.0.0.1:{closed_port()}/{TOKEN}"
    addresses = [web.url, web.url, nobody, f"http://{TOKEN}.invalid./", f"gopher://h/{TOKEN}", f"http://h:{TOKEN}/"]
    told = [HOOK.send(message, {"HOOK": address}, 2.0).detail for address in addresses]
    assert told[2] == "connection refused"
    assert all(told)
    assert TOKEN not in "".join(told) + caplog.text + repr(HOOK)


def test_a_receiver_that_says_nothing_is_left_after_a_while(web: Web) -> None:
    web.hold = True
    answer = post(web.url, {}, 0.05)
    assert (answer.ok, answer.is_down, answer.detail) == (False, True, "no answer in time")


def test_slack_gets_text_and_blocks_with_its_three_characters_escaped(web: Web, message: AlertMessage) -> None:
    odd = replace(message, reason="<!channel> a & b > c", pipeline="x<y")
    assert Target(kind="slack", url_env="HOOK").send(odd, {"HOOK": web.url}, 5.0).ok
    body = web.got[0]
    assert body["text"] == "x&lt;y is regressed: &lt;!channel&gt; a &amp; b &gt; c"
    section, context = body["blocks"]
    assert section["text"] == {
        "type": "mrkdwn",
        "text": ":red_circle: *x&lt;y is regressed*\n&lt;!channel&gt; a &amp; b &gt; c",
    }
    (element,) = context["elements"]
    assert "run #12" in element["text"]
    assert element["text"].endswith("<http://mlflow:5000/#/runs/mmm|open it>")


def test_slack_is_told_where_to_look_when_there_is_no_link_and_never_too_much(message: AlertMessage) -> None:
    long: dict[str, Any] = for_slack(
        replace(message, link=None, run=None, reason="x" * 5000, state=AlertState.RESOLVED)
    )
    assert len(long["blocks"][0]["text"]["text"]) < 3000
    assert long["text"].startswith("digits is no longer regressed")
    assert long["blocks"][1]["elements"][0]["text"].endswith("`runs/00012/artifacts`")
