"""The registry client against a small server that speaks the Confluent API as Apicurio and Confluent do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.compatibility import incompatibilities
from schemas.registry import IncompatibleSchemaError, RegisteredSchema, Registry, RegistryError


class FakeRegistry(ThreadingHTTPServer):
    """Subjects in memory; `seen` holds the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.subjects: dict[str, list[str]] = {}
        self.ids: list[str] = []
        self.rules: dict[str, str] = {"": "NONE"}
        self.seen: list[tuple[str, str, str | None]] = []
        self.broken = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/apis/ccompat/v7"


class Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def answer(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self) -> None:
        state = self.server
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}")
        path = self.path.removeprefix("/apis/ccompat/v7")
        state.seen.append((self.command, path, self.headers.get("Authorization")))
        if state.broken:
            self.answer(200, state.broken)
            return
        match [self.command, *path.strip("/").split("/")]:
            case ["GET", "subjects"]:
                self.answer(200, list(state.subjects))
            case ["POST", "subjects", subject, "versions"]:
                self.register(subject, body["schema"])
            case ["POST", "subjects", subject] if body["schema"] in state.subjects.get(subject, []):
                self.answer(200, self.entry(subject, state.subjects[subject].index(body["schema"])))
            case ["GET", "subjects", subject, "versions"] if subject in state.subjects:
                self.answer(200, list(range(1, len(state.subjects[subject]) + 1)))
            case ["GET", "subjects", subject, "versions", number] if subject in state.subjects:
                index = len(state.subjects[subject]) - 1 if number == "latest" else int(number) - 1
                self.answer(200, self.entry(subject, index))
            case ["GET", "schemas", "ids", number] if int(number) <= len(state.ids):
                self.answer(200, {"schema": state.ids[int(number) - 1]})
            case ["POST", "compatibility", "subjects", subject, "versions"] if subject in state.subjects:
                self.answer(200, {"is_compatible": not self.problems(subject, body["schema"])})
            case ["PUT", "config", *subject]:
                state.rules["".join(subject)] = body["compatibility"]
                self.answer(200, body)
            case ["GET", "config", *subject]:
                self.answer(200, {"compatibilityLevel": state.rules["".join(subject)]})
            case _:
                self.answer(404, {"error_code": 40401, "message": f"{path} not found"})

    do_GET = do_POST = do_PUT = handle_any

    def problems(self, subject: str, schema: str) -> list[str]:
        old = self.server.subjects.get(subject, [])
        return [problem for text in old for problem in incompatibilities(json.loads(schema), json.loads(text))]

    def register(self, subject: str, schema: str) -> None:
        if self.problems(subject, schema):
            self.answer(409, {"error_code": 409, "message": "incompatible"})
            return
        if schema not in self.server.ids:
            self.server.ids.append(schema)
        if schema not in self.server.subjects.setdefault(subject, []):
            self.server.subjects[subject].append(schema)
        self.answer(200, {"id": self.server.ids.index(schema) + 1})

    def entry(self, subject: str, index: int) -> dict[str, Any]:
        text = self.server.subjects[subject][index]
        return {"subject": subject, "version": index + 1, "id": self.server.ids.index(text) + 1, "schema": text}


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def schema(*optional: str) -> str:
    fields: list[dict[str, Any]] = [{"name": "a", "type": "long"}]
    fields += [{"name": name, "type": ["null", "long"], "default": None} for name in optional]
    return json.dumps({"type": "record", "name": "R", "fields": fields})


INCOMPATIBLE = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]})


def test_registered_schema_is_found_by_id_version_and_text(server: FakeRegistry) -> None:
    registry = Registry(server.url + "/")
    first = registry.register("t-value", schema())
    second = registry.register("t-value", schema("b"))
    assert registry.register("t-value", schema()) == first != second
    assert registry.schema(first) == schema()
    assert registry.latest("t-value") == RegisteredSchema("t-value", 2, second, schema("b"))
    assert registry.version("t-value", 1).schema_id == first
    assert registry.versions("t-value") == [1, 2]
    assert registry.subjects() == ["t-value"]
    found = registry.find("t-value", schema())
    assert found is not None
    assert found.version == 1


def test_what_is_unknown_is_none_empty_or_an_error_with_its_status(server: FakeRegistry) -> None:
    registry = Registry(server.url)
    assert registry.find("t-value", schema()) is None
    assert registry.versions("t-value") == []
    assert registry.is_compatible("t-value", schema())
    with pytest.raises(RegistryError, match=r"404 .*not found") as error:
        registry.schema(99)
    assert (error.value.status, error.value.code) == (404, 40401)


def test_incompatible_schema_is_refused(server: FakeRegistry) -> None:
    registry = Registry(server.url)
    registry.register("t-value", schema())
    assert registry.is_compatible("t-value", schema("b"))
    assert not registry.is_compatible("t-value", INCOMPATIBLE)
    with pytest.raises(IncompatibleSchemaError) as error:
        registry.register("t-value", INCOMPATIBLE)
    assert error.value.status == 409


def test_rules_are_set_for_all_and_for_one_subject(server: FakeRegistry) -> None:
    registry = Registry(server.url)
    registry.set_compatibility()
    registry.set_compatibility("NONE", "odd/name-value")
    assert registry.compatibility() == "BACKWARD_TRANSITIVE"
    assert server.rules["odd%2Fname-value"] == "NONE"
    assert registry.compatibility("odd/name-value") == "NONE"


def test_credentials_go_in_the_header_and_not_in_errors(server: FakeRegistry) -> None:
    registry = Registry(server.url, credentials=("user", "secret"))
    with pytest.raises(RegistryError) as error:
        registry.schema(99)
    assert server.seen[0][2] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert "secret" not in str(error.value)


def test_answer_that_is_not_json_asks_whether_the_url_is_right(server: FakeRegistry) -> None:
    server.broken = "<html>welcome</html>"
    with pytest.raises(RegistryError, match="is the URL right"):
        Registry(server.url).subjects()


def test_registry_that_is_down_is_an_error_with_status_zero(server: FakeRegistry) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(RegistryError, match="cannot be reached") as error:
        Registry(url, timeout_s=1).subjects()
    assert error.value.status == 0


def test_url_without_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="http://"):
        Registry("localhost:8080")
