"""System calls that fail: disks that are full, or that lose what they were told to keep."""

import os

REAL = {name: getattr(os, name) for name in ("write", "fsync", "ftruncate", "open", "pread", "fstat")}


def failing(monkeypatch, names, when, code, half):
    """Of the named system calls, counted together from 1, those in `when` fail; a failing write may write half."""
    count = [0]

    def fake(name):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] not in when:
                return REAL[name](*arguments, **options)
            if name == "write" and half:
                REAL["write"](arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(code, os.strerror(code))

        return call

    for name in names:
        monkeypatch.setattr(os, name, fake(name))
    return count
