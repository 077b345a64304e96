"""The JDK's own modules with the launcher among them (J2), so that a virtual machine starts sooner.

A launcher beside the JDK, on the boot class path, makes every start build the graph of 70 modules anew: the
archive of classes holds it ready only for a JDK as it is. So the launcher becomes part of `java.base`, in a
copy of the JDK's one file of modules, which the sandbox shows in that file's place. The JDK's own `jmod` and
`jlink` make it, once. A JDK without what they need (its `jmods` directory) is no failure: the launcher is put
on the boot class path, and each start takes some 7 ms more.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, State, building, clear_unfinished, hold, states
from cluster.java.splice import NotAsExpected, opened, redirect
from cluster.java.training import sources as training

SOURCES = ("Constants.java", "Launcher.java", "Link.java", "Rehearsal.java", "inside/Host.java")
"""Of the harness: what becomes part of `java.base`."""

LINKAGE = ("inside/Concat.java", "inside/Instances.java")
"""What links joined strings and lambdas there, where the JDK has what they stand before."""

_INVOKE = "java/lang/invoke"
_JOINING = (
    "generateMHInlineCopy",
    "(Ljava/lang/invoke/MethodType;Ljava/util/List;)Ljava/lang/invoke/MethodHandle;",
)
_CONSTANT = ("constant", "(Ljava/lang/Class;Ljava/lang/Object;)Ljava/lang/invoke/MethodHandle;")

MAKE_S = 300.0
"""For each step: ten times what a slow machine needs."""

_KIND = "image"
_QUICK = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")


def modules_of(jdk: Jdk) -> Path:
    """The file in whose place the image is shown."""
    return jdk.home / "lib" / "modules"


def prepare(jdk: Jdk, directory: Path) -> Kept | None:
    """The image in this directory, made if it is not there; None where none can be made.

    Blocks for some eight seconds at a first start. Whoever calls it holds the lock of the directory.
    """
    try:
        clear_unfinished(directory, _KIND)
        made_of = states((modules_of(jdk), *sorted((jdk.home / "jmods").glob("*.jmod"))))
        path = directory / _name(jdk, made_of)
        if not path.exists() and not _make(jdk, path):
            return None
        return hold(path, made_of)
    except (OSError, subprocess.SubprocessError):
        return None


def _name(jdk: Jdk, made_of: Mapping[Path, State]) -> str:
    """Of the sources, and of the modules that it is made from."""
    told = [(str(path), then) for path, then in made_of.items()]
    digest = hashlib.sha256(f"{jdk.home}\n{jdk.version}\n{told}\n".encode())
    for source, text in _sources().items():
        digest.update(f"{source}\n{len(text)}\n".encode() + text)
    digest.update("".join(training().values()).encode())  # the archive beside it is made of that
    return f"{_KIND}-{digest.hexdigest()[:16]}.modules"


def _sources() -> dict[str, bytes]:
    harness = resources.files("cluster.java").joinpath("harness")
    return {source: harness.joinpath(source).read_bytes() for source in (*SOURCES, *LINKAGE)}


def _make(jdk: Jdk, image: Path) -> bool:
    tools, jmods = jdk.home / "bin", jdk.home / "jmods"
    if not (jmods / "java.base.jmod").exists() or not (tools / "jlink").exists():
        return False
    with building(image.parent, _KIND) as work:
        text, base, own, linked = (work / part for part in ("text", "base", "own", "linked"))
        own.mkdir()
        for source, content in _sources().items():
            (text / source).parent.mkdir(exist_ok=True)
            (text / source).write_bytes(content)
        classes = str(base / "classes")
        _run(tools / "jmod", "extract", "--dir", str(base), str(jmods / "java.base.jmod"))
        compiled = [*SOURCES, *LINKAGE] if splice(jdk, base / "classes") else [*SOURCES]
        compiling = ("-nowarn", "-proc:none", "-encoding", "UTF-8", "-d", classes)
        patching = ("--patch-module", f"java.base={text}:{classes}")
        _run(tools / "javac", *compiling, *patching, *(str(text / source) for source in compiled))
        _run(tools / "jmod", "create", "--class-path", classes, str(own / "java.base.jmod"))
        everything = ("--module-path", f"{own}:{jmods}", "--add-modules", "ALL-MODULE-PATH")
        _run(tools / "jlink", *everything, "--output", str(linked))
        made = linked / "lib" / "modules"
        made.chmod(0o644)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(image)
    return True


def splice(jdk: Jdk, classes: Path) -> bool:
    """Lead the linkage of these classes of its `java.base` to ours; False where it is not that of JDK 17.

    A later one may call a method of the same name, and what that calls by others.
    """
    if jdk.version.partition(".")[0] != "17":
        return False
    joining = classes / _INVOKE / "StringConcatFactory.class"
    lambdas = classes / _INVOKE / "InnerClassLambdaMetafactory.class"
    try:
        factory = redirect(joining.read_bytes(), *_JOINING, owner=f"{_INVOKE}/Concat", instead="link")
        factory = opened(factory, *_JOINING)
        meta = redirect(lambdas.read_bytes(), *_CONSTANT, owner=f"{_INVOKE}/Instances", instead="constant")
    except (OSError, NotAsExpected):
        return False
    joining.write_bytes(factory)
    lambdas.write_bytes(meta)
    return True


def _run(*argv: str | Path) -> None:
    subprocess.run(
        [str(argv[0]), *_QUICK, *map(str, argv[1:])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=MAKE_S,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
