"""The phone's files: real ones under one host folder, and virtual ones computed on read.

Rule: no path leaves the root. Components are walked one by one, `..` stops at the root, and a
symbolic link's target is read as a path of the phone.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_PATH_NBYTES = 1024
_MAX_LINKS = 40
_WRITABLE = ("/data/local/tmp", "/sdcard")
_READ_ONLY_MODE = stat.S_IFREG | 0o444
SHELL_UID = 2000
"""adb's user on a phone."""

Content = Callable[[], bytes]


@dataclass(frozen=True)
class FileStatus:
    """What stat says. Times are whole seconds, sizes bytes."""

    mode: int
    size: int
    mtime_s: int
    nlink: int = 1
    inode: int = 1
    device: int = 1

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


def failure(number: int, path: str) -> OSError:
    """The OSError that a system call would raise for ``path``."""
    return OSError(number, os.strerror(number), path)


class PhoneFilesystem:
    """Files of one phone; every path is absolute and the phone's own."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._virtual: dict[str, Content] = {}
        self._virtual_folders: dict[str, set[str]] = {}
        self._boot_s = int(time.time())
        self._capacity_nbytes: int | None = None
        self.denied_folders: tuple[str, ...] = ()
        """What lies below can be seen and not read, as SELinux has it."""
        self.hidden_folders: tuple[str, ...] = ()
        """What lies below is not there."""
        for folder in _WRITABLE:
            self._root.joinpath(folder[1:]).mkdir(parents=True, exist_ok=True)

    def add_virtual(self, path: str, content: Content) -> None:
        """A read-only file whose bytes ``content`` makes on each read."""
        self._virtual[path] = content
        while path != "/":
            path, name = posixpath.split(path)
            self._virtual_folders.setdefault(path, set()).add(name)

    def limit_free_space(self, nbytes: int | None) -> None:
        """From now on there are ``nbytes`` left; None lifts the limit."""
        self._capacity_nbytes = None if nbytes is None else self._used_nbytes() + nbytes

    def free_nbytes(self) -> int | None:
        """What is left under a limit; None without one."""
        if self._capacity_nbytes is None:
            return None
        return max(0, self._capacity_nbytes - self._used_nbytes())

    def require_space(self, nbytes: int, path: str) -> None:
        """Before a write. Raises ENOSPC when there is less left."""
        free_nbytes = self.free_nbytes()
        if free_nbytes is not None and nbytes > free_nbytes:
            raise failure(errno.ENOSPC, path)

    def absolute(self, path: str, cwd: str = "/") -> str:
        """``path`` seen from ``cwd``, with `.`, `..` and links resolved; it need not exist.

        Raises:
            OSError: too long, a NUL, or a loop of links.
        """
        if len(path.encode(errors="surrogateescape")) > MAX_PATH_NBYTES:
            raise failure(errno.ENAMETOOLONG, path[:80])
        if "\0" in path or not path:
            raise failure(errno.ENOENT, path)
        todo = [part for part in posixpath.join(cwd, path).split("/") if part][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                del done[-1:]
                continue
            here = self._root.joinpath(*done, part)
            if here.is_symlink():
                links += 1
                if links > _MAX_LINKS:
                    raise failure(errno.ELOOP, path)
                target = str(here.readlink())
                if target.startswith("/"):
                    done.clear()
                todo.extend(reversed([piece for piece in target.split("/") if piece]))
                continue
            done.append(part)
        return "/" + "/".join(done)

    def host_path(self, path: str, cwd: str = "/") -> Path:
        """Where the phone's ``path`` lies on the host, always inside the root."""
        return self._root / self.absolute(path, cwd)[1:]

    def status(self, path: str, cwd: str = "/") -> FileStatus:
        """Raises OSError as ``stat`` does."""
        absolute = self.absolute(path, cwd)
        if _lies_in(absolute, self.hidden_folders):
            raise failure(errno.ENOENT, path)
        if absolute in self._virtual:
            return FileStatus(_READ_ONLY_MODE, 4096, self._boot_s)
        if absolute == "/dev/null":
            return FileStatus(stat.S_IFCHR | 0o666, 0, self._boot_s)
        if absolute in self._virtual_folders or absolute == "/":
            return FileStatus(stat.S_IFDIR | 0o755, 4096, self._boot_s)
        try:
            found = (self._root / absolute[1:]).lstat()
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None
        return FileStatus(
            found.st_mode, found.st_size, int(found.st_mtime), found.st_nlink, found.st_ino
        )

    def names(self, path: str, cwd: str = "/") -> list[str]:
        """Names in a folder, sorted. Raises OSError as ``readdir`` does."""
        if not self.status(path, cwd).is_folder:
            raise failure(errno.ENOTDIR, path)
        absolute = self.absolute(path, cwd)
        if _lies_in(absolute, self.denied_folders):
            raise failure(errno.EACCES, path)
        found = set(self._virtual_folders.get(absolute, ()))
        folder = self._root / absolute[1:]
        if folder.is_dir():
            found.update(entry.name for entry in folder.iterdir())
        return sorted(
            name
            for name in found
            if not _lies_in(posixpath.join(absolute, name), self.hidden_folders)
        )

    def open_read(self, path: str, cwd: str = "/") -> BinaryIO:
        """Raises OSError as ``open`` does; a folder is EISDIR."""
        absolute = self.absolute(path, cwd)
        content = self._virtual.get(absolute)
        if content is not None:
            self.status(path, cwd)
            if _lies_in(absolute, self.denied_folders):
                raise failure(errno.EACCES, path)
            return io.BytesIO(content())
        if absolute == "/dev/null":
            return io.BytesIO()
        status = self.status(path, cwd)
        if status.is_folder:
            raise failure(errno.EISDIR, path)
        if not stat.S_ISREG(status.mode):
            # A fifo that a program left would block the whole phone.
            raise failure(errno.EACCES, path)
        return self._open(absolute, os.O_RDONLY, path)

    def open_write(self, path: str, cwd: str = "/", *, append: bool = False) -> BinaryIO:
        """Create or truncate (or append to) a file. Raises OSError as ``open`` does."""
        absolute = self.writable(path, cwd)
        try:
            mode = self.status(absolute).mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            raise failure(errno.EISDIR, path)
        if not stat.S_ISREG(mode):
            raise failure(errno.EACCES, path)
        self.require_space(1, path)
        how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        return self._open(absolute, how, path)

    def writable(self, path: str, cwd: str = "/") -> str:
        """The absolute path, where the phone lets ``shell`` write. Raises EACCES elsewhere."""
        absolute = self.absolute(path, cwd)
        if not any(absolute.startswith(f"{folder}/") for folder in _WRITABLE):
            raise failure(errno.EACCES, path)
        return absolute

    def make_folder(self, path: str, cwd: str = "/", *, parents: bool = False) -> None:
        """``mkdir``; with ``parents`` an existing folder is no error."""
        if parents and self._exists_as_folder(path, cwd):
            return
        absolute = self.absolute(path, cwd)
        if not parents and self._exists_as_folder(path, cwd):
            raise failure(errno.EEXIST, path)
        self.writable(absolute)
        host = self._root / absolute[1:]
        try:
            host.mkdir(parents=parents, exist_ok=parents)
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None

    def remove(self, path: str, cwd: str = "/") -> None:
        """``unlink`` or ``rmdir``."""
        absolute = self.writable(path, cwd)
        host = self._root / absolute[1:]
        try:
            if host.is_dir():
                host.rmdir()
            else:
                host.unlink()
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None

    def rename(self, old: str, new: str, cwd: str = "/") -> None:
        """``rename``: ``new`` is replaced if it is a file."""
        source, target = self.writable(old, cwd), self.writable(new, cwd)
        try:
            (self._root / source[1:]).rename(self._root / target[1:])
        except OSError as error:
            raise failure(error.errno or errno.EIO, old) from None

    def change_mode(self, path: str, mode: int, cwd: str = "/") -> None:
        """``chmod``; no bits beyond 0777, so nothing becomes set-uid on the host."""
        absolute = self.writable(path, cwd)
        try:
            (self._root / absolute[1:]).chmod(mode & 0o777)
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None

    def set_mtime(self, path: str, mtime_s: int) -> None:
        """``utime``."""
        os.utime(self._root / self.writable(path)[1:], (mtime_s, mtime_s))

    def _used_nbytes(self) -> int:
        """Of all real files. Walks the folder: there are few, and only a limit asks."""
        return sum(
            (Path(folder) / name).lstat().st_size
            for folder, _, names in os.walk(self._root)
            for name in names
        )

    def _exists_as_folder(self, path: str, cwd: str) -> bool:
        try:
            return self.status(path, cwd).is_folder
        except OSError:
            return False

    def _open(self, absolute: str, how: int, path: str) -> BinaryIO:
        try:
            number = os.open(self._root / absolute[1:], how | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise failure(error.errno or errno.EIO, path) from None
        return os.fdopen(number, "rb" if how == os.O_RDONLY else "wb")


def _lies_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
