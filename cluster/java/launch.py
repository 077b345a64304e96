"""What a virtual machine is started from (J2, J5): harness, image and archive, and how it is told of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cluster.java import archive, image
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, discard, locked

_INSIDE_JAR = "/run/harness.jar"
_INSIDE_ARCHIVE = "/run/harness.jsa"
INSIDE_FILES = (_INSIDE_JAR, _INSIDE_ARCHIVE)
INSIDE_CLASSES = "/app"
"""Where a program's classes are, in the sandbox."""


class Launch:
    """How a program's machine finds the launcher, and the compiler the harness.

    The best there is: among the JDK's own modules, with an archive; beside the JDK, with one; or without.

    Args:
        jdk: whose machines they are.
        jar: the harness, where whoever starts bubblewrap can read it.
        confined: whether there is a sandbox, with paths of its own; an image needs one, to be shown in.
    """

    def __init__(self, jdk: Jdk, jar: Path, *, confined: bool) -> None:
        self._jdk = jdk
        self._jar = jar
        self._confined = confined
        self._archive: Kept | None = None
        self._image: Kept | None = None
        self._left: list[Kept] = []

    def shown(self, *, boot: bool) -> dict[str, str]:
        """What of ours the sandbox shows, and where.

        Args:
            boot: to a program's machine, not to the compiler's.
        """
        shown = {}
        if boot and self._image:
            shown[str(self._image.path)] = str(image.modules_of(self._jdk))
        else:
            shown[str(self._jar)] = _INSIDE_JAR
        if boot and self._archive:
            shown[str(self._archive.path)] = _INSIDE_ARCHIVE
        return shown

    def class_path(self, *, boot: bool, classes: str = INSIDE_CLASSES) -> list[str]:
        """The flags for it: the compiler's class path is the harness, a program's are its own classes.

        Args:
            boot: as for `shown`.
            classes: where the program's are.
        """
        jar = _INSIDE_JAR if self._confined else str(self._jar)
        if not boot:
            return ["-cp", jar]
        return [*self._boot(jar), "-cp", classes]

    def _boot(self, jar: str) -> list[str]:
        argv = []
        if self._archive:
            argv = [f"-XX:SharedArchiveFile={_INSIDE_ARCHIVE if self._confined else self._archive.path}"]
        return argv if self._image else [*argv, f"-Xbootclasspath/a:{jar}"]

    def prepare(self, bwrap: str) -> bool:
        """Make or find image and archive; whether there is an archive. Some ten seconds at a first start.

        An image of which no archive can be made is not used: without one, the launcher is as quick beside it.
        """
        directory = self._jar.parent
        self.release()
        try:
            with locked(directory):
                self._image = image.prepare(self._jdk, directory) if self._confined else None
                if self._image and self._archived(self._image.path, bwrap):
                    return True
                if self._image:
                    path = self._image.path
                    self.release()
                    with suppress(OSError):  # the next start makes another, unless somebody else has this one
                        discard(path)
                return self._archived(self._jar, bwrap)
        except OSError:
            self.release()
            return False

    def _archived(self, whose: Path, bwrap: str) -> bool:
        """Whether there is an archive for machines that start from this, which they see as in the sandbox."""
        prefix: tuple[str, ...] = ()
        made = whose.with_suffix(".jsa") if self._confined else whose.with_name(f"{whose.stem}-bare.jsa")
        if self._confined:
            inside = str(image.modules_of(self._jdk)) if self._image else _INSIDE_JAR
            run = () if self._image else ("--tmpfs", str(Path(_INSIDE_JAR).parent))
            prefix = (bwrap, "--dev-bind", "/", "/", *run, "--ro-bind", str(whose), inside)
            prefix += ("--bind", str(whose.parent), str(whose.parent), "--")
        boot = self._boot(_INSIDE_JAR if self._confined else str(self._jar))
        if archive.prepare((*prefix, str(self._jdk.java), *boot), made, self._jdk):
            self._archive = Kept(made)
        return self._archive is not None

    def look(self) -> None:
        """One updated meanwhile has the launcher beside it, and no archive, until the node's next start."""
        if (self._image and not self._image.fits()) or (self._archive and not self._archive.fits()):
            self._leave()

    def _leave(self) -> None:
        """Nothing is started from image and archive any more; what was may have yet to map them."""
        self._left += filter(None, (self._image, self._archive))
        self._image = self._archive = None

    def release(self) -> None:
        """Nothing is started any more, and nothing runs."""
        self._leave()
        for kept in self._left:
            kept.release()
        self._left.clear()
