"""The drop-in interfaces in `/openapi.json`: that they are there, and who may use them.

What goes in and comes out the systems define whose clients they are for; docs/drop-in.md has each field.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from cluster.gateway.compat.endpoints import Interface
from cluster.gateway.compat.parts import OTHER_HEADERS
from cluster.gateway.replies import JSON

SCHEMES = {
    name: {
        "type": "apiKey",
        "in": "header",
        "name": name,
        "description": "The same token, as clients of others send it.",
    }
    for name in OTHER_HEADERS
}

_VARIABLE = re.compile(r"<(\w+)>")
_BODIES = frozenset({"POST", "PUT"})


def compat_paths(interfaces: Mapping[str, Interface]) -> dict[str, Any]:
    """The paths of the interfaces that are switched on, by their names."""
    paths: dict[str, Any] = {}
    for name, interface in interfaces.items():
        for path, method, endpoint in interface.endpoints():
            operation: dict[str, Any] = {
                "operationId": f"{name}_{endpoint.__name__}{'_' if path.endswith('/') else ''}",
                "tags": [name],
                "summary": inspect.getdoc(endpoint),
                "responses": {
                    "default": {"description": f"As clients of {name} expect it: docs/drop-in.md."}
                },
            }
            if method in _BODIES:
                operation["requestBody"] = {"content": {JSON: {"schema": {"type": "object"}}}}
            if path not in interface.open_paths:
                operation["security"] = [{"bearer": []}, *({scheme: []} for scheme in SCHEMES)]
            described = paths.setdefault(_VARIABLE.sub(r"{\1}", path), {})
            described[method.lower()] = operation
            if variables := _VARIABLE.findall(path):
                described["parameters"] = [
                    {"in": "path", "name": one, "required": True, "schema": {"type": "string"}}
                    for one in variables
                ]
    return paths
