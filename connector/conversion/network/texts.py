"""A guest's text files, read within bounds; each step of a plan sees what the steps before it have changed.

A file that is too large, is binary or cannot be read is not changed, and a note says so.
Nothing here raises about what a guest holds.
"""

from __future__ import annotations

from typing import Final

from connector.conversion.changes import ChangePlan, FileChange
from connector.offline.window import Files, Missing, UnreadableStructure

#: Bytes of one file. Files of networks are a few KiB long, and every step of a plan reads all of them.
LARGEST: Final = 64 << 10
_MOST_FILES: Final = 64  # of one folder
_BUDGET: Final = 512 << 10  # bytes of all files together
_LONGEST_NOTE: Final = 300
_MOST_NOTES: Final = 50


class GuestTexts:
    """The files of one guest as a plan leaves them. For one plan."""

    def __init__(self, files: Files) -> None:
        """Nothing is read yet."""
        self._files = files
        self._before: dict[str, bytes | None] = {}
        self._after: dict[str, bytes | None] = {}
        self._folders: dict[str, tuple[str, ...]] = {}
        self._reasons: dict[str, dict[str, None]] = {}
        self._notes: dict[str, None] = {}
        self._unread: set[str] = set()  # files that are there, and were not understood
        self._left = _BUDGET

    def read(self, path: str) -> str | None:
        """The text as it is planned to be. None: there is no such file, or a note says why it is not used."""
        content = self._after[path] if path in self._after else self._original(path)
        return None if content is None else content.decode("utf-8", "surrogateescape")

    def paths(self, folder: str, *endings: str) -> list[str]:
        """The files of a folder in the order of their names, hidden ones not, planned ones included."""
        if folder not in self._folders:
            self._folders[folder] = self._listed(folder)
        planned = {path for path, content in self._after.items() if content is not None}
        names = {
            *self._folders[folder],
            *(p.rpartition("/")[2] for p in planned if p.startswith(f"{folder}/")),
        }
        gone = {path for path, content in self._after.items() if content is None}
        paths = [f"{folder}/{name}" for name in sorted(names) if name.endswith(endings or "")]
        if len(paths) > _MOST_FILES:
            self.note(f"{folder} has {len(paths)} files, and only the first {_MOST_FILES} were read")
        return [path for path in paths[:_MOST_FILES] if path not in gone]

    def change(self, path: str, text: str | None, why: str) -> None:
        """Plan this text for a file; None: the file goes. Nothing is planned when the file has this text already.

        A file that is there and was not understood is never changed: its note has been made.
        """
        content = None if text is None else text.encode("utf-8", "surrogateescape")
        before = self._after[path] if path in self._after else self._original(path)
        if content != before and path not in self._unread:
            self._after[path] = content
            self._reasons.setdefault(path, {})[why] = None

    def note(self, text: str) -> None:
        """Something a person has to know. It may hold a guest's words, so they are made printable and short."""
        shown = "".join(c if c.isprintable() else "?" for c in text[:_LONGEST_NOTE])
        if len(self._notes) < _MOST_NOTES:
            self._notes[shown] = None

    def plan(self) -> ChangePlan:
        """All that was planned, in the order of the paths."""
        changes = [
            FileChange(path, self._before[path], after, "; ".join(self._reasons[path]))
            for path, after in sorted(self._after.items())
            if after != self._before[path]
        ]
        return ChangePlan(tuple(changes), tuple(self._notes))

    def _original(self, path: str) -> bytes | None:
        if path not in self._before:
            self._before[path] = self._fetched(path)
        return self._before[path]

    def _fetched(self, path: str) -> bytes | None:
        try:
            content = self._files.read(path, LARGEST + 1)
        except Missing:
            return None
        except UnreadableStructure as error:
            self._refuse(path, str(error))
            return None
        self._left -= len(content)
        is_large = len(content) > LARGEST or self._left < 0
        if is_large or b"\0" in content:
            self._refuse(path, f"it is {'too large' if is_large else 'no text'}")
            return None
        return content

    def _refuse(self, path: str, why: str) -> None:
        self._unread.add(path)
        self.note(f"{path} was not looked at: {why}")

    def _listed(self, folder: str) -> tuple[str, ...]:
        try:
            names = self._files.names(folder)
        except Missing:
            return ()
        except UnreadableStructure as why:
            self.note(f"{folder} was not looked at: {why}")
            return ()
        return tuple(
            name for name in names if not name.startswith(".") and "/" not in name and "\0" not in name
        )
