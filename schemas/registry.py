"""Client of a schema registry with the Confluent API (Confluent, Apicurio's /apis/ccompat/v7, Karapace).

Standard library only, because jobs, the command line and tests all use it. Every request has a timeout; nothing is
retried here, since only the caller knows whether waiting is right.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"
CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
NOT_FOUND: Final = 404
CONFLICT: Final = 409


class RegistryError(Exception):
    """The registry could not be reached (status 0) or refused a request (its HTTP status and error code)."""

    def __init__(self, message: str, status: int = 0, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class IncompatibleSchemaError(RegistryError):
    """The schema breaks the compatibility rule of its subject."""


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One version of a subject; `text` is the schema as JSON text."""

    subject: str
    version: int
    schema_id: int
    text: str


class Registry:
    """A registry at `url`, the base that /subjects follows.

    credentials: user and password for basic authentication. context: TLS settings for https.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 10.0,
        credentials: tuple[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"registry URL {url!r} must start with http:// or https://")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
        if urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
            # A proxy of the environment is for the world outside, not for the stack on this machine.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._headers = {"Accept": f"{CONTENT_TYPE}, application/json", "Content-Type": CONTENT_TYPE}
        if credentials is not None:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def register(self, subject: str, schema: str) -> int:
        """Register a schema, or find it when it is registered; returns its id.

        IncompatibleSchemaError when it breaks the subject's rule.
        """
        answer = self._call("POST", f"/subjects/{_quoted(subject)}/versions", {"schema": schema})
        return int(answer["id"])

    def find(self, subject: str, schema: str) -> RegisteredSchema | None:
        """Return the version of a subject that is this schema, or None."""
        try:
            answer = self._call("POST", f"/subjects/{_quoted(subject)}", {"schema": schema})
        except RegistryError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return _registered(answer)

    def latest(self, subject: str) -> RegisteredSchema:
        """Return the latest version of a subject; RegistryError with status 404 when there is none."""
        return _registered(self._call("GET", f"/subjects/{_quoted(subject)}/versions/latest"))

    def version(self, subject: str, number: int) -> RegisteredSchema:
        """Return one version of a subject."""
        return _registered(self._call("GET", f"/subjects/{_quoted(subject)}/versions/{number}"))

    def versions(self, subject: str) -> list[int]:
        """Return the version numbers of a subject; empty when it is unknown."""
        try:
            return [int(number) for number in self._call("GET", f"/subjects/{_quoted(subject)}/versions")]
        except RegistryError as error:
            if error.status == NOT_FOUND:
                return []
            raise

    def subjects(self) -> list[str]:
        """Return the names of all subjects."""
        return sorted(str(name) for name in self._call("GET", "/subjects"))

    def schema(self, schema_id: int) -> str:
        """Return the text of the schema with this id; RegistryError with status 404 when there is none."""
        return str(self._call("GET", f"/schemas/ids/{schema_id}")["schema"])

    def is_compatible(self, subject: str, schema: str) -> bool:
        """Tell whether the subject's rule would take this schema; a subject without versions takes any."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions"
        try:
            return bool(self._call("POST", path, {"schema": schema})["is_compatible"])
        except RegistryError as error:
            if error.status == NOT_FOUND:
                return True
            raise

    def set_compatibility(self, level: str = COMPATIBILITY, subject: str | None = None) -> None:
        """Set the rule of one subject, or of all that have none of their own."""
        self._call("PUT", _config(subject), {"compatibility": level})

    def compatibility(self, subject: str | None = None) -> str:
        """Return the rule of one subject, or the one of all."""
        answer = self._call("GET", _config(subject))
        return str(answer.get("compatibilityLevel") or answer.get("compatibility"))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise _refusal(method, path, error) from error
        except (OSError, TimeoutError) as error:
            raise RegistryError(f"schema registry at {self.url} cannot be reached: {error}") from error
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise RegistryError(f"{method} {self.url}{path}: the answer is not JSON; is the URL right?") from error


def _refusal(method: str, path: str, error: urllib.error.HTTPError) -> RegistryError:
    text = error.read().decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        code, message = int(answer.get("error_code", 0)), str(answer.get("message", text))
    except (ValueError, AttributeError):
        code, message = 0, text[:500]
    kind = IncompatibleSchemaError if error.code == CONFLICT else RegistryError
    return kind(f"schema registry refused {method} {path}: {error.code} {message}", error.code, code)


def _registered(answer: dict[str, Any]) -> RegisteredSchema:
    return RegisteredSchema(str(answer["subject"]), int(answer["version"]), int(answer["id"]), str(answer["schema"]))


def _config(subject: str | None) -> str:
    return "/config" if subject is None else f"/config/{_quoted(subject)}"


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
