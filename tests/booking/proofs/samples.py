"""A request for every operation of the OpenAPI document: the smallest that its schema takes, with ids that are given.

What is an id, and of what, is told by its name and place (`KINDS`, `PLACES`). An id that is not told of here is an
error: whoever adds a route says what its ids mean, and then every proof knows it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

# name of a parameter or a field, without _id -> table
KINDS = {
    "appointment": "appointment",
    "busy": "busy",
    "class": "session",
    "credential": "credential",
    "document": "document",
    "entry": "waitlist_entry",
    "first": "queue_ticket",
    "hold": "hold",
    "holder": "person",
    "holiday": "holiday",
    "invite": "join_invite",
    "location": "location",
    "patient": "person",
    "person": "person",
    "provider": "provider",
    "reference": "provider",
    "request": "instant_request",
    "reviewer": "person",
    "second": "queue_ticket",
    "schedule": "schedule",
    "seat": "seat",
    "series": "series",
    "service": "service",
    "source": "ics_source",
    "third": "join_invite",
    "ticket": "queue_ticket",
}
# segment of the path before a parameter -> table
PLACES = {
    "appointments": "appointment",
    "classes": "session",
    "contacts": "identity of patient",
    "dependants": "dependant",
    "holds": "hold",
    "invites": "invite",
    "locations": "location",
    "memberships": "membership",
    "passkeys": "passkey",
    "sessions": "login",
    "tenants": "tenant",
    "waitlist": "waitlist_entry",
}
# path -> what the field of that name means there
EXCEPTIONS = {
    ("/v1/appointments/{appointment}/seats/{seat_id}", "appointment"): "session",
    ("/v1/auth/otp/verify", "ticket"): "code",
    ("/v1/auth/upgrade", "ticket"): "code",
    ("/v1/me/contacts/verify", "ticket"): "code",
    ("/v1/me/password", "ticket"): "code",
    ("/v1/auth/mfa/verify", "ticket"): "code",
    ("/v1/auth/passkeys/login/finish", "id"): "passkey_challenge",
    ("/v1/auth/passkeys/register/finish", "id"): "passkey_challenge",
}
# Strings whose schema tells a pattern, and some that mean more than their schema tells.
TEXTS = {
    "client_id": "clinic",
    "closes": "17:00",
    "country": "PK",
    "currency": "PKR",
    "file": f"{'A' * 43}.ics",
    "email": "somebody@example.com",
    "gender": "female",
    "hosts": "clinic.example",
    "language": "en",
    "languages": "en",
    "locale": "en",
    "name": "somebody",
    "near": "31.5,74.3",
    "opens": "09:00",
    "region": "PK",
    "slug": "clinic",
    "specialties": "general-practice",
    "specialty": "general-practice",
    "timezone": "Asia/Karachi",
    "url": "https://203.0.113.5/calendar.ics",
}
LATER = ("closes", "end", "ends_at", "last_day", "to", "until")
METHODS = ("get", "post", "put", "patch", "delete")
WEBSOCKET = "x-websocket"


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    said: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def right(self) -> str | None:
        right = self.said.get("x-right")
        return None if right is None else str(right)


@dataclass
class Sample:
    """What `World.ask` takes. ``kinds``: tables whose ids stand in it; ``in_path``: those in the path."""

    path: str
    options: dict[str, Any]
    in_path: list[str] = field(default_factory=list)
    in_body: list[str] = field(default_factory=list)


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Everything but sockets."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods and WEBSOCKET not in methods[method]:
                yield Operation(method.upper(), path, methods[method])


class UnknownId(Exception):
    """Say in tests/booking/proofs/samples.py what this id is of."""


class Sampler:
    """``ids``: table -> id; a table without one gets an id that nobody has."""

    def __init__(self, document: Mapping[str, Any], ids: Mapping[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self._ids = ids

    def sample(self, operation: Operation) -> Sample:
        made = Sample(operation.path, {})
        headers: dict[str, str] = {}
        for parameter in operation.said.get("parameters", ()):
            name, schema = parameter["name"], self.plain(parameter["schema"])
            if parameter["in"] == "path":
                before = operation.path.partition("{" + name + "}")[0].rstrip("/").rpartition("/")[2]
                made.path = made.path.replace(
                    "{" + name + "}", self._in_path(operation.path, name, before, schema, made)
                )
            elif parameter["in"] == "query" and (parameter["required"] or self._is_id(schema)):
                made.options.setdefault("params", {})[name] = str(self._value(operation, name, schema, made.in_body))
            elif parameter["in"] == "header" and parameter["required"]:
                headers[name] = f"proof-{uuid4()}"
        content = operation.said.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            made.options["json"] = self._value(
                operation, "", self.plain(content["application/json"]["schema"]), made.in_body
            )
        elif content:
            made.options["data"] = b"%PDF-1.4 proof"
        if headers:
            made.options["headers"] = headers
        return made

    def path_ids(self, operation: Operation) -> dict[str, str]:
        """The path's parameters that are ids."""
        whole, made = operation.path.split("/"), self.sample(operation)
        return {
            part[1:-1]: value
            for part, value in zip(whole, made.path.split("/"))
            if part.startswith("{") and len(made.in_path) > 0 and part[1:-1] not in ("name", "verdict")
        }

    def _in_path(self, path: str, name: str, before: str, schema: Mapping[str, Any], made: Sample) -> str:
        if schema.get("format") != "uuid" and schema.get("type") != "integer" and name.removesuffix("_id") not in KINDS:
            return str(self._text(name, schema))
        kind = EXCEPTIONS.get((path, name)) or KINDS.get(name.removesuffix("_id")) or PLACES.get(before)
        if kind is None:
            raise UnknownId(f"{name} in {made.path}")
        made.in_path.append(kind)
        return str(self._ids.get(kind, 999_999_999 if schema.get("type") == "integer" else uuid4()))

    def plain(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without references, and without the null of what may be missing."""
        while "$ref" in schema or "anyOf" in schema:
            if "$ref" in schema:
                schema = self._schemas[schema["$ref"].rpartition("/")[2]]
            else:
                schema = next(each for each in schema["anyOf"] if each != {"type": "null"})
        return schema

    def value(self, operation: Operation, name: str, schema: Mapping[str, Any]) -> Any:
        """The smallest good value of a field."""
        return self._value(operation, name, schema, [])

    @staticmethod
    def _is_id(schema: Mapping[str, Any]) -> bool:
        return schema.get("format") == "uuid"

    def _value(self, operation: Operation, name: str, schema: Mapping[str, Any], used: list[str]) -> Any:
        schema = self.plain(schema)
        if self._is_id(schema):
            kind = EXCEPTIONS.get((operation.path, name)) or KINDS.get(name.removesuffix("_id"))
            if kind is None:
                raise UnknownId(f"{name} in {operation.name}")
            used.append(kind)
            return str(self._ids.get(kind) or uuid4())
        if "enum" in schema:
            return schema["enum"][0]
        if "const" in schema:
            return schema["const"]
        match schema.get("type"):
            case "object":
                return self._object(operation, schema, used)
            case "array":
                item = self._value(operation, name, schema.get("items", {}), used) if schema.get("minItems") else None
                return [] if item is None else [item] * schema["minItems"]
            case "string":
                return self._text(name, schema)
            case "integer" | "number":
                return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
            case "boolean":
                return True
        return {}

    def _object(self, operation: Operation, schema: Mapping[str, Any], used: list[str]) -> dict[str, Any]:
        """Required fields, those that hold ids, and an e-mail where one of several contacts is asked for."""
        required = set(schema.get("required", ()))
        made = {}
        for name, about in schema.get("properties", {}).items():
            if name in required or self._is_id(self.plain(about)) or name == "email":
                made[name] = self._value(operation, name, about, used)
        return made

    @staticmethod
    def _text(name: str, schema: Mapping[str, Any]) -> str:
        if schema.get("format") == "date-time":
            return f"2030-01-02T{10 if name in LATER else 9:02}:00:00Z"
        if schema.get("format") == "date":
            return f"2030-01-0{3 if name in LATER else 2}"
        text = TEXTS.get(name, "sample text")
        text = text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 1000)]
        if "pattern" in schema and not re.search(schema["pattern"], text):
            raise UnknownId(f"a text for {name} like {schema['pattern']}: put one into TEXTS")
        return text
