"""Notes what a program has synced, for `tests.faults.powercut`; Python imports it at its start.

In the environment are FAULTS_DISK, the folder that is watched, and FAULTS_RECORD, the folder of the
notes. A note is a line of JSON. Of what is replaced or removed, the old file is kept under a second
name, since a power cut may bring it back.
"""

import itertools
import json
import os
import stat
import time

_DISK = os.environ.get("FAULTS_DISK", "")
_RECORD = os.environ.get("FAULTS_RECORD", "")
_link, _lstat = os.link, os.lstat
_numbers = itertools.count()


def _note(**facts):
    line = json.dumps({"at": time.time_ns(), **facts}) + "\n"
    handle = os.open(
        os.path.join(_RECORD, "notes.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
    )
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _watched(path):
    """The absolute path, if it is a name in the watched folder."""
    if isinstance(path, int):
        return None
    full = os.path.abspath(os.fsdecode(path))
    return full if full.startswith(_DISK + os.sep) else None


def _kept(path):
    """A second name of the file that is at `path` now; None if there is none."""
    try:
        if not stat.S_ISREG(_lstat(path).st_mode):
            return None
        old = os.path.join(_RECORD, f"{os.getpid()}-{next(_numbers)}")
        _link(path, old)
    except OSError:
        return None
    return old


def _naming(act):
    """Watches what gives a file a name: `act(source, target)`."""

    def do(source, target, **how):
        full = _watched(target) if not how.get("dst_dir_fd") else None
        old = _kept(full) if full else None
        act(source, target, **how)
        if full:
            _note(named=full, old=old)

    return do


def _removing(act):
    def do(path, **how):
        full = _watched(path) if how.get("dir_fd") is None else None
        old = _kept(full) if full else None
        act(path, **how)
        if full and old:
            _note(removed=full, old=old)

    return do


def _making(act):
    def do(path, *mode, **how):
        act(path, *mode, **how)
        full = _watched(path) if how.get("dir_fd") is None else None
        if full:
            _note(made=full)

    return do


def _touching(act):
    """Watches changes of a file's times, as the engine's of outputs: its content stays synced."""

    def do(path, *when, **how):
        full = _watched(path)
        seen = os.stat(full) if full and os.path.isfile(full) else None
        act(path, *when, **how)
        if seen is not None:
            before, after = (seen.st_mtime_ns, seen.st_size), os.stat(full)
            _note(touched=seen.st_ino, before=before, changed=after.st_mtime_ns, size=seen.st_size)

    return do


def _syncing(act):
    def do(handle):
        act(handle)
        number = handle if isinstance(handle, int) else handle.fileno()
        seen = os.fstat(number)
        if stat.S_ISDIR(seen.st_mode):
            _note(folder=seen.st_ino)
        else:
            _note(file=seen.st_ino, changed=seen.st_mtime_ns, size=seen.st_size)

    return do


if _DISK and _RECORD:
    os.replace, os.rename, os.link = _naming(os.replace), _naming(os.rename), _naming(os.link)
    os.unlink, os.remove = _removing(os.unlink), _removing(os.remove)
    os.utime = _touching(os.utime)
    os.mkdir = _making(os.mkdir)
    os.fsync = _syncing(os.fsync)
