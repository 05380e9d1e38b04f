"""Webhooks: one POST of JSON to the address in the environment, as it is or in the form that Slack takes.

No redirect is followed: a POST that is redirected becomes a GET, or goes to a host that nobody chose.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from plaster_ops import __version__
from plaster_ops.alerts.answer import Answer, WrongAddress, why
from plaster_ops.domain.alert import AlertMessage, AlertState

_NOT_NOW = (408, 425, 429)
_SLACK_MOST = 2900
"""Characters of a section; Slack refuses more than 3,000."""


def check_web(address: str) -> SplitResult:
    """The parts of an address. Raises `WrongAddress`."""
    try:
        parts = urlsplit(address.strip())
        there = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise WrongAddress("it holds no address that can be read") from None
    if not there:
        raise WrongAddress("it holds no address that begins with http:// or https:// and names a host")
    if re.search(r"[\x00-\x20\x7f]", parts.geturl()):
        raise WrongAddress("it holds an address with blanks or line ends in it")
    return parts


def post(address: str, body: Mapping[str, Any], timeout_s: float) -> Answer:
    """Posts the body; any 2xx is success. `timeout_s` is of each wait for the network, not of all of them together."""
    import http.client
    import urllib.error
    import urllib.request

    class _Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        request = _request(check_web(address), body)
        with urllib.request.build_opener(_Stay).open(request, timeout=timeout_s) as answer:
            return Answer(ok=True, detail=f"answered {answer.status}")
    except WrongAddress as error:
        return Answer(ok=False, detail=str(error), is_down=True)
    except urllib.error.HTTPError as error:
        error.close()
        moved = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
        is_down = error.code >= 500 or error.code in _NOT_NOW
        return Answer(ok=False, detail=f"answered {error.code}{moved}", is_down=is_down)
    except urllib.error.URLError as error:
        cause = error.reason if isinstance(error.reason, BaseException) else error
        return Answer(ok=False, detail=why(cause), is_down=True)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(ok=False, detail=why(error), is_down=True)


def _request(parts: SplitResult, body: Mapping[str, Any]) -> Any:
    """A user and password in the address become a header, as curl makes them."""
    import urllib.request

    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"plaster-ops/{__version__}"}
    who, at, host = parts.netloc.rpartition("@")
    if at:
        user, _, password = who.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    url = parts._replace(netloc=host, fragment="").geturl()
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    return urllib.request.Request(url, data=data, headers=headers, method="POST")


def for_slack(message: AlertMessage) -> dict[str, Any]:
    """Text for notifications, and blocks for the channel; what Slack would read as markup is escaped."""
    mark = ":large_green_circle:" if message.state == AlertState.RESOLVED else ":red_circle:"
    headline, reason = _escaped(message.headline), _escaped(message.reason)
    if message.link is not None:
        where = f"<{_escaped(message.link)}|open it>"
    else:
        where = f"`{_escaped(message.look)}`" if message.look else ""
    run = f"run #{message.run['index']}" if message.run else ""
    context = " · ".join(part for part in (_escaped(message.project), run, f"since {message.since}", where) if part)
    sections = (f"{mark} *{headline}*\n{reason}", context)
    return {
        "text": f"{headline}: {reason}"[:_SLACK_MOST],
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": sections[0][:_SLACK_MOST]}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": sections[1][:_SLACK_MOST]}]},
        ],
    }


def _escaped(text: str) -> str:
    """The three characters that Slack asks to have escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
