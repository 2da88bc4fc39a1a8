"""Sends a result's body to Heat by the deployment's own transport, once, and says what came of it.

Not here: what the body holds (`result.py`), when to try again and when to give up (`outbox.py`).

Transports and their inputs are those of heat/engine/resources/signal_responder.py and
heat/engine/resources/openstack/heat/software_deployment.py. CFN and HEAT signals are handled later by Heat:
2xx means received. Heat drops a body without a JSON content type or Content-Length silently.
`requests` and `keystoneauth1` are imported at the first signal that needs them.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import logging
import os
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

from .secrets import Blanker
from .settings import Settings
from .values import Deployment

if TYPE_CHECKING:
    import requests
    from keystoneauth1.exceptions import HttpError
    from keystoneauth1.identity.v3 import Password

CFN_SIGNAL = "CFN_SIGNAL"
TEMP_URL_SIGNAL = "TEMP_URL_SIGNAL"
HEAT_SIGNAL = "HEAT_SIGNAL"
ZAQAR_SIGNAL = "ZAQAR_SIGNAL"
NO_SIGNAL = "NO_SIGNAL"

ZAQAR_TTL_SECONDS = 3600
"""As long as Heat's own messages live."""

_HEAT_BODY_LIMIT = 1048576
_ZAQAR_POST_LIMIT = 262144
_MARGIN = 2048
"""Bytes kept free below each limit: proxies and Zaqar count a little more than the body."""

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_REDIRECTS = frozenset({301, 302, 307, 308})
_MOST_REDIRECTS = 5
_DETAIL_BYTES = 65536
_DETAIL_CHARACTERS = 600
_RETRIED = frozenset({401, 403, 407, 408, 429})
_URL_QUERY = re.compile(r"\?[^\s'\"<>)]*")
_TOKENS_KEPT = 64


def names_resource(transport: str) -> bool:
    """Whether a signal names the resource, so that a late one completes the resource's newer deployment."""
    return transport in (CFN_SIGNAL, HEAT_SIGNAL)


def body_limit(transport: str) -> int:
    """The most bytes that a body may have: below Heat's `max_json_body_size` or Zaqar's `max_messages_post_size`.

    Swift takes more, but Heat reads the object into one row of its database, so the same bound holds there.
    """
    if transport == ZAQAR_SIGNAL:
        return _ZAQAR_POST_LIMIT - _MARGIN - len(_zaqar_body(b""))
    return _HEAT_BODY_LIMIT - _MARGIN


def url_expiry(deployment: Deployment, cfn_url_lifetime: float) -> float | None:
    """When the deployment's pre-signed URL ends, in seconds since the epoch; None where it has none or does not say.

    A CFN URL holds when it was signed (`Timestamp`) and Keystone refuses it `[credential] auth_ttl` later, here
    `cfn_url_lifetime` seconds; a temp URL holds its end (`temp_url_expires`, seconds or ISO 8601).
    """
    url = deployment.inputs.get("deploy_signal_id")
    if not isinstance(url, str) or deployment.transport not in (CFN_SIGNAL, TEMP_URL_SIGNAL):
        return None
    try:
        query = parse_qs(urlsplit(url).query)
    except ValueError:
        return None
    if deployment.transport == CFN_SIGNAL:
        signed = _time(query.get("Timestamp", [""])[0])
        return None if signed is None else signed + cfn_url_lifetime
    return _time(query.get("temp_url_expires", [""])[0])


_Call = tuple[str, dict[str, str], bytes]
"""A URL, the request's headers, and its body."""


class AnswerKind(Enum):
    """What came of one attempt. All but RETRY are final."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"
    EXPIRED = "expired"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Answer:
    """What came of one attempt, and for a person why. `retry_after` is the server's own wish, in seconds."""

    kind: AnswerKind
    detail: str = ""
    status: int | None = None
    """The HTTP status, where there was an answer."""
    retry_after: float | None = None

    @property
    def final(self) -> bool:
        """Whether nothing is to be sent any more."""
        return self.kind is not AnswerKind.RETRY


@dataclass(frozen=True)
class _Attempt:
    """One attempt: what is sent, and how its deployment's secrets are kept out of what is said about it."""

    deployment: Deployment
    body: bytes
    blank: Blanker

    def knowing(self, secret: str) -> _Attempt:
        """The same attempt with one more secret."""
        return replace(self, blank=self.blank + Blanker([secret]))

    def shown(self, text: str) -> str:
        """A text of others for a person: blanked, without queries of URLs, and only then cut to one short line."""
        text = " ".join(_URL_QUERY.sub("", self.blank.text(text)).split())
        return text if len(text) <= _DETAIL_CHARACTERS else text[:_DETAIL_CHARACTERS] + "…"


def system_cas(environment: Mapping[str, str] = os.environ) -> str | bool:
    """What `requests` is given to verify with where no setting says it: the CAs that the system trusts, file or folder.

    By itself it would know certifi's only, and no CA that an operator has added to the system's store. True where
    the environment names a file, which `requests` then takes by itself, or where the system has no store.
    """
    if environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE"):
        return True
    store = ssl.get_default_verify_paths()
    return store.cafile or store.capath or True


class _InputError(Exception):
    """An input that the transport needs is not there or cannot be used."""


class Sender:
    """Sends bodies; safe to use from several threads.

    `session` gives a new requests session for each attempt, `now` the time in seconds since the epoch.
    Proxies come from the environment, as with every requests session.
    """

    def __init__(
        self,
        settings: Settings,
        session: Callable[[], requests.Session] | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._verify = str(settings.signal_ca) if settings.signal_ca else system_cas()
        self._settings_ca = settings.signal_ca
        self._timeout = settings.signal_timeout or None
        self._lifetime = settings.cfn_url_lifetime
        self._session = session or _new_session
        self._now = now
        self._client_id = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._auths: dict[str, Password] = {}
        _quieten_libraries()

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        """Make one attempt to deliver `body`, a JSON object as `result.signal_body` gives it.

        Raises nothing for what a server, the network or the metadata does: that is the answer. No secret is in it.
        """
        transport = deployment.transport
        if transport == NO_SIGNAL:
            return Answer(AnswerKind.NOTHING, "NO_SIGNAL: Heat waits for nothing")
        attempt = _Attempt(deployment, body, Blanker.of(deployment))
        try:
            if transport in (CFN_SIGNAL, TEMP_URL_SIGNAL):
                answer = self._send_signed(attempt)
            elif transport in (HEAT_SIGNAL, ZAQAR_SIGNAL):
                answer = self._send_with_token(attempt)
            else:
                answer = Answer(AnswerKind.REFUSED, f"deploy_signal_transport {transport!r} is not known")
        except _InputError as error:
            answer = Answer(AnswerKind.REFUSED, f"{transport}: {error}")
        if answer.final:
            self.forget(deployment.id)
        detail = _URL_QUERY.sub("", attempt.blank.text(answer.detail))
        return Answer(answer.kind, detail, answer.status, answer.retry_after)

    def forget(self, deployment_id: str) -> None:
        """Drop the token that is kept for a deployment's next attempt."""
        with self._lock:
            self._auths.pop(deployment_id, None)

    # --- pre-signed URLs: CFN_SIGNAL, TEMP_URL_SIGNAL

    def _send_signed(self, attempt: _Attempt) -> Answer:
        import requests

        deployment = attempt.deployment
        url = _needed(deployment, "deploy_signal_id")
        usual = "PUT" if deployment.transport == TEMP_URL_SIGNAL else "POST"
        verb = str(deployment.inputs.get("deploy_signal_verb") or usual).upper()
        if verb not in ("POST", "PUT"):
            return Answer(AnswerKind.REFUSED, f"deploy_signal_verb {verb!r} is neither POST nor PUT")
        place = shown_url(url)
        try:
            with self._session() as session:
                response = self._follow(session, verb, url, attempt.body)
                with response:
                    return self._judge(attempt, response, place, verb)
        except requests.exceptions.SSLError as error:
            return self._tls(attempt, place, error)
        except requests.exceptions.Timeout:
            return self._timed_out(place)
        except ValueError as error:  # InvalidURL, MissingSchema, InvalidHeader…, and urllib3's LocationParseError
            return _no_url("deploy_signal_id", error)
        except requests.exceptions.RequestException as error:
            return Answer(AnswerKind.RETRY, f"{place}: {attempt.shown(_cause(error))}")
        except OSError as error:  # requests' own answer to a CA file that is not there
            return self._tls(attempt, place, error)

    def _follow(self, session: requests.Session, verb: str, url: str, body: bytes) -> requests.Response:
        """Send, and follow redirects with verb and body kept: requests would make a GET of a redirected POST."""
        for left in range(_MOST_REDIRECTS, -1, -1):
            # verify goes with the request: as an attribute of the session, REQUESTS_CA_BUNDLE would override it.
            response = session.request(
                verb,
                url,
                data=body,
                headers=_HEADERS,
                timeout=self._timeout,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            )
            target = urljoin(url, response.headers.get("Location", ""))
            downgrade = url.startswith("https:") and not target.startswith("https:")
            if response.status_code not in _REDIRECTS or target == url or downgrade or not left:
                break
            response.close()
            url = target
        return response

    # --- with a token of Keystone: HEAT_SIGNAL, ZAQAR_SIGNAL

    def _send_with_token(self, attempt: _Attempt) -> Answer:
        import keystoneauth1.session
        from keystoneauth1 import exceptions
        from urllib3.exceptions import LocationParseError

        deployment = attempt.deployment
        auth = self._auth(deployment)
        heat = deployment.transport == HEAT_SIGNAL
        service = "orchestration" if heat else "messaging"
        place = shown_url(_auth_url(deployment))
        try:
            with self._session() as plain:
                session = keystoneauth1.session.Session(session=plain, verify=self._verify, timeout=self._timeout)
                try:
                    endpoint = _endpoint(auth.get_access(session), deployment, service)
                except (LocationParseError, UnicodeError) as error:
                    return _no_url("deploy_auth_url", error)
                except (KeyError, TypeError, ValueError, AttributeError):
                    return Answer(AnswerKind.RETRY, f"{place}: answered with something that is no token of Keystone")
                url, headers, body = (_heat_call if heat else self._zaqar_call)(endpoint, deployment, attempt.body)
                place = shown_url(url)
                response = session.request(
                    url, "POST", auth=auth, authenticated=True, raise_exc=False, log=False, data=body, headers=headers
                )
                return self._judge(attempt, response, place, "POST")
        except exceptions.SSLError as error:
            return self._tls(attempt, place, error)
        except exceptions.ConnectTimeout:
            return self._timed_out(place)
        except exceptions.HttpError as error:
            return self._judge_keystone(attempt, error, place)
        except exceptions.UnknownConnectionError as error:
            if isinstance(error.original, ValueError):  # requests' InvalidURL, MissingSchema, InvalidHeader…
                return _no_url("deploy_auth_url", error.original)
            return Answer(AnswerKind.RETRY, f"{place}: {attempt.shown(_cause(error))}")
        except exceptions.ClientException as error:
            return Answer(AnswerKind.RETRY, f"{place}: {attempt.shown(_cause(error))}")
        except OSError as error:
            return self._tls(attempt, place, error)

    def _zaqar_call(self, endpoint: str, deployment: Deployment, body: bytes) -> _Call:
        """POST {messaging}/v2/queues/{queue}/messages: Zaqar has removed v1.1 (zaqar/transport/wsgi/v2_0)."""
        queue = quote(_needed(deployment, "deploy_queue_id"), safe="")
        base = re.sub(r"/v(1|1\.1|2)$", "", endpoint)
        project = _needed(deployment, "deploy_project_id")
        headers = {**_HEADERS, "Client-ID": self._client_id, "X-Project-Id": project}
        return f"{base}/v2/queues/{queue}/messages", headers, _zaqar_body(body)

    def _auth(self, deployment: Deployment) -> Password:
        """Give the deployment's plugin of keystoneauth1, which keeps its token as long as that is valid."""
        with self._lock:
            auth = self._auths.get(deployment.id)
            if auth is None:
                auth = _password_auth(deployment)
                while len(self._auths) >= _TOKENS_KEPT:
                    del self._auths[next(iter(self._auths))]
                self._auths[deployment.id] = auth
            return auth

    # --- what an answer means

    def _judge(self, attempt: _Attempt, response: requests.Response, place: str, verb: str) -> Answer:
        status = response.status_code
        if 200 <= status < 300:
            return Answer(AnswerKind.ACCEPTED, f"{verb} {place}: {status}", status)
        token = response.request.headers.get("X-Auth-Token")  # some servers give back what they were sent
        said = (attempt.knowing(str(token)) if token else attempt).shown(_text_of(response))
        detail = f"{verb} {place}: {status} {response.reason or ''}".rstrip() + (f": {said}" if said else "")
        if status in (401, 403):
            return self._judge_forbidden(attempt.deployment, response, detail)
        if status in _RETRIED or status >= 500:
            return Answer(AnswerKind.RETRY, detail, status, self._retry_after(response.headers))
        if status == 404 and attempt.deployment.transport == HEAT_SIGNAL:
            return Answer(AnswerKind.REFUSED, f"{detail}; the stack or the deployment is gone", status)
        if status in _REDIRECTS:
            return Answer(AnswerKind.REFUSED, f"{detail}; it redirects to where no signal is sent", status)
        return Answer(AnswerKind.REFUSED, detail, status)

    def _judge_forbidden(self, deployment: Deployment, response: requests.Response, detail: str) -> Answer:
        """Tell an expired URL from a suspended stack, whose user Heat disables until RESUME."""
        status = response.status_code
        expiry = url_expiry(deployment, self._lifetime)
        now = _time(response.headers.get("Date", "")) or self._now()
        if expiry is not None and now > expiry:
            ended = datetime.datetime.fromtimestamp(expiry, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            why = f"{detail}; the pre-signed URL ended at {ended}"
            if deployment.transport == CFN_SIGNAL:
                why += (
                    f", {self._lifetime:.0f} s after it was signed (Keystone's [credential] auth_ttl, in minutes); a "
                    "deployment that takes longer needs a longer auth_ttl, or signal_transport HEAT_SIGNAL"
                )
            return Answer(AnswerKind.EXPIRED, why, status)
        retry_after = self._retry_after(response.headers)
        detail += "; so it is while a stack is suspended"
        if deployment.transport == CFN_SIGNAL:
            detail += (
                ", and for good where the URL has expired sooner than [signals] cfn_url_lifetime says: after "
                f"Keystone's [credential] auth_ttl (minutes), here taken for {self._lifetime:.0f} s"
            )
        return Answer(AnswerKind.RETRY, detail, status, retry_after)

    def _judge_keystone(self, attempt: _Attempt, error: HttpError, place: str) -> Answer:
        """Judge the refusal of a token."""
        status = int(error.http_status or 0)
        detail = f"{place}: no token: {status} {attempt.shown(str(error))}"
        if status in (401, 403):
            detail += "; so it is while a stack is suspended, and when it is gone"
        if status in _RETRIED or not 400 <= status < 500:
            headers = getattr(error.response, "headers", None) or {}
            return Answer(AnswerKind.RETRY, detail, status or None, self._retry_after(headers))
        return Answer(AnswerKind.REFUSED, detail, status)

    def _tls(self, attempt: _Attempt, place: str, error: Exception) -> Answer:
        reason = _innermost(error)
        if isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it was cut off
            return Answer(AnswerKind.RETRY, f"{place}: {attempt.shown(_cause(error))}")
        using = f"which is {self._settings_ca}" if self._settings_ca else "which is not set"
        return Answer(
            AnswerKind.RETRY,
            f"{place}: its certificate cannot be verified: {attempt.shown(_cause(error))}; "
            f"set [signals] ca, {using}, to the file of the CA that signed it",
        )

    def _timed_out(self, place: str) -> Answer:
        return Answer(AnswerKind.RETRY, f"{place}: no answer within {self._timeout} s ([signals] timeout)")

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Read Retry-After: seconds or an HTTP date."""
        value = str(headers.get("Retry-After") or "").strip()
        if value.isdigit() and len(value) < 10:
            return float(value)
        at = _time(value)
        return None if at is None else max(0.0, at - self._now())


def _new_session() -> requests.Session:
    import requests

    return requests.Session()


def _quieten_libraries() -> None:
    """Keep urllib3 and keystoneauth1 from logging URLs with their signatures, tokens' bodies and the like."""
    for name in ("urllib3", "requests", "keystoneauth"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _password_auth(deployment: Deployment) -> Password:
    from keystoneauth1.identity import v3

    # A user's and a project's id are enough; Heat sends no domain.
    return v3.Password(
        auth_url=_auth_url(deployment),
        user_id=_needed(deployment, "deploy_user_id"),
        password=_needed(deployment, "deploy_password"),
        project_id=_needed(deployment, "deploy_project_id"),
    )


def _auth_url(deployment: Deployment) -> str:
    """Keystone's v3 URL, from one that ends with /v3, /v2.0 or no version."""
    url = _needed(deployment, "deploy_auth_url").rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _InputError("deploy_auth_url is no URL to send to")
    for version in ("/v3", "/v2.0"):
        url = url.removesuffix(version)
    return url.rstrip("/") + "/v3"


def _endpoint(access: Any, deployment: Deployment, service: str) -> str:
    region = str(deployment.inputs.get("deploy_region_name") or "") or None
    url = access.service_catalog.url_for(service_type=service, interface="public", region_name=region)
    return str(url).rstrip("/")


def _heat_call(endpoint: str, deployment: Deployment, body: bytes) -> _Call:
    """POST {orchestration}/stacks/{name}/{uuid}/resources/{resource}/signal (heat/api/openstack/v1)."""
    stack = quote(_needed(deployment, "deploy_stack_id"), safe="/")
    resource = quote(_needed(deployment, "deploy_resource_name"), safe="")
    return f"{endpoint}/stacks/{stack}/resources/{resource}/signal", dict(_HEADERS), body


def _zaqar_body(body: bytes) -> bytes:
    return b'{"messages": [{"body": ' + body + b', "ttl": ' + str(ZAQAR_TTL_SECONDS).encode() + b"}]}"


def _no_url(name: str, error: Exception) -> Answer:
    """The answer to an input that is no URL to send to; its text may hold the URL, so only its kind is said."""
    return Answer(AnswerKind.REFUSED, f"{name} is no URL to send to: {type(error).__name__}")


def _needed(deployment: Deployment, name: str) -> str:
    value = deployment.inputs.get(name)
    if not isinstance(value, str) or not value:
        raise _InputError(f"the input {name} is needed and is not there")
    return value


def _time(text: str) -> float | None:
    """Read seconds since the epoch, an ISO 8601 time (UTC where it names no zone) or an HTTP date."""
    text = text.strip()
    if re.fullmatch(r"\d{1,12}", text):
        return float(text)
    try:
        found = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        try:
            found = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)).timestamp()


def shown_url(url: str) -> str:
    """A URL for a person: without its query, user and password."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be read)"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _text_of(response: requests.Response) -> str:
    """The beginning of an error's text: Heat's message where it is JSON or XML, else without markup."""
    try:
        data = next(response.iter_content(_DETAIL_BYTES), b"")
    except (OSError, RuntimeError):
        return ""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        found = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
        text = found[1] if found else re.sub(r"<[^>]*>", " ", text)
    return str(text)


def _cause(error: BaseException) -> str:
    """What the innermost reason of an error says."""
    reason = _innermost(error)
    text = getattr(reason, "strerror", None) or str(reason)
    return f"{type(reason).__name__}: {text}"


def _innermost(error: BaseException) -> BaseException:
    """The innermost reason of an error of requests, urllib3 or keystoneauth1, whose own texts hold the whole URL."""
    for _ in range(8):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), error.__cause__)
        if inner is None and type(error).__module__.startswith("keystoneauth1"):
            inner = error.__context__  # it raises its own without naming the cause
        if inner is None or inner is error:
            break
        error = inner
    return error
