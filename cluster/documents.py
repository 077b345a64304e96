"""YAML to plain values, for the files that people write."""

from __future__ import annotations

from typing import Any

import yaml

from cluster.errors import ConfigError

DEPTH_MAX = 50
"""Brackets within brackets; PyYAML takes seconds for thousands of them."""


class _Loader(yaml.SafeLoader):
    """Makes plain values only, and no text that can't be written down again."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: ANN401, N803  (PyYAML's own)
        """A bracket opens."""
        if self.flow_level >= DEPTH_MAX:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def construct_scalar(self, node: Any) -> Any:  # noqa: ANN401  (PyYAML's own types are as loose)
        """A scalar as text; an escaped half of a surrogate pair is a ValueError."""
        text = super().construct_scalar(node)
        text.encode()
        return text


def read_yaml(text: str) -> Any:  # noqa: ANN401  (whatever was written)
    """The values that a text describes; None for an empty one.

    Raises:
        ConfigError: it is no YAML, nested deeper than anybody would write, or has a value that is none, such
            as the date 2001-99-99.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (it is a SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigError("not YAML that can be read: it is nested too deeply") from error
    except Exception as error:  # PyYAML passes on whatever Python says of a bad number, date, ...
        raise ConfigError(f"not YAML: a value in it is none of its kind ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
