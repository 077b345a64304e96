"""`/openapi.json`: paths by hand, schemas from the very types that decode the requests (H6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from twisted.web.server import Request

from cluster.config import GatewaySettings
from cluster.gateway.endpoint import Endpoint
from cluster.gateway.openapi_paths import TEMPLATE, TYPES, paths_of
from cluster.gateway.replies import JSON, Reply
from cluster.limits import Limits
from cluster.version import __version__

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `javacluster keys token`."},
}


class Description:
    """`/openapi.json`."""

    def __init__(self, describe: Callable[[], bytes]) -> None:
        """Made by `describe` when it is first asked for."""
        self._describe = describe
        self._document = b""

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (("/openapi.json", "GET", self.openapi),)

    async def openapi(self, _request: Request) -> Reply:
        """This gateway's interface, described by the schemas that it decodes with (H6)."""
        self._document = self._document or self._describe()
        return Reply(HTTPStatus.OK, self._document, JSON)


def document(
    limits: Limits,
    settings: GatewaySettings,
    *,
    tokens_needed: bool = False,
    more: Mapping[str, Any] | None = None,
    more_schemes: Mapping[str, Any] | None = None,
) -> bytes:
    """The whole description, with this gateway's own limits in it, and whether it asks for tokens.

    `more` are the paths of the drop-in interfaces, `more_schemes` how their clients send tokens.
    """
    _schemas, components = msgspec.json.schema_components(TYPES, ref_template=TEMPLATE)
    _complete(components, limits, settings)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "javacluster",
                "version": __version__,
                "summary": "Compiles and runs Java on a cluster that survives the loss of its machines.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": _secured({**paths_of(settings), **(more or {})}, tokens_needed=tokens_needed),
            "components": {"schemas": components, "securitySchemes": {**SCHEMES, **(more_schemes or {})}},
        }
    )


def _complete(components: dict[str, Any], limits: Limits, settings: GatewaySettings) -> None:
    """Say what types can't: the caps, and what goes together."""
    for name, schema in components["LimitsAsked"]["properties"].items():
        schema["maximum"] = getattr(limits, name)
    request = components["RunRequest"]
    request["oneOf"] = [{"required": ["source"]}, {"required": ["files"]}]
    request["allOf"] = [
        {"not": {"required": ["stdin", "stdin_base64"]}},
        *({"not": {"required": ["tests", name]}} for name in ("args", "stdin", "stdin_base64")),
    ]
    request["properties"]["source"] |= {"maxLength": settings.source_bytes}
    components["TestInput"]["not"] = {"required": ["stdin", "stdin_base64"]}


def _secured(paths: dict[str, Any], *, tokens_needed: bool) -> dict[str, Any]:
    """Where no token is needed, one may still be sent."""
    for path in paths.values():
        for operation in path.values():
            if not tokens_needed and "security" in operation:
                operation["security"].append({})
    return paths
