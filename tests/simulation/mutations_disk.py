"""Mutations of how a node writes its record (N3), in place of the product's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.net import store
from cluster.net.files import Disk


def _replaced_by(*calls: str) -> Callable[[Path, bytes, int, Disk], None]:
    """`replace_file` with these calls, in this order."""

    def replace_file(path: Path, data: bytes, mode: int, disk: Disk) -> None:
        temporary = path.with_name(path.name + ".tmp")
        fd = -1
        for call in calls:
            match call:
                case "remove":
                    disk.remove(temporary)
                case "create":
                    fd = disk.create(temporary, mode)
                case "write":
                    disk.write(fd, data)
                case "sync":
                    disk.sync(fd)
                case "rename":
                    disk.rename(temporary, path)
                case "sync_directory":
                    disk.sync_directory(path.parent)
        disk.close(fd)

    return replace_file


def _boot_not_raised(_self: store.RecordStore, stored: int, _utc_seconds: int) -> int:
    return max(stored, 1)


_NO_SYNC = _replaced_by("remove", "create", "write", "rename", "sync_directory")
_NO_DIRECTORY_SYNC = _replaced_by("remove", "create", "write", "sync", "rename")
_SYNC_AFTER_RENAME = _replaced_by("remove", "create", "write", "rename", "sync", "sync_directory")
_LEFT_OVER_STAYS = _replaced_by("create", "write", "sync", "rename", "sync_directory")

MUTATIONS: dict[str, tuple[str, tuple[tuple[Any, str, Any], ...]]] = {
    "no fsync": ("N3", ((store, "replace_file", _NO_SYNC),)),
    "no fsync of the directory": ("N3", ((store, "replace_file", _NO_DIRECTORY_SYNC),)),
    "fsync after the rename": ("N3", ((store, "replace_file", _SYNC_AFTER_RENAME),)),
    "left-over not removed": ("N3", ((store, "replace_file", _LEFT_OVER_STAYS),)),
    "boot not raised": ("N3", ((store.RecordStore, "_next_boot", _boot_not_raised),)),
}
