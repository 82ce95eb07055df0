"""The ground under a study in the chaos tests: clocks that step, files that others see late.

Python imports it before anything else if this folder is on PYTHONPATH, so that no code of the
product knows of it. What is off at the moment the files in the folder CHAOS say: `clock.MACHINE`
(nanoseconds), `late`, `slow` and, for trials of several ranks, `slow.ranks` (seconds). A machine
is a node, or `login`. If there is a file `gpu.MACHINE`, one backward pass there removes it, and
fails as on a GPU that is broken: on nodes, whose Python has loaded torch already.

Files are late for other machines than the one that has made them. Those that are put in the place
of others (checkpoints) are left out: there, one would see the old one, not none.
"""

import builtins
import ctypes
import errno
import io
import os
import sys
import time

_FOLDER, _STUDY = os.environ["CHAOS"], os.environ["CHAOS_STUDY"]
_MACHINE = os.environ.get("SLURMD_NODENAME", "login")
_SLOW = "slow.ranks" if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 else "slow"
_MARK = "user.made"  # an extended attribute: machine and moment
_EVENTS = f"{_STUDY}/events/"
_RENEWED = f"{_STUDY}/checkpoints/"

_open, _os_open, _write, _stat = io.open, os.open, os.write, os.stat
_scandir, _listdir, _time, _time_ns = os.scandir, os.listdir, time.time, time.time_ns
_usleep, _SLICE_US = ctypes.CDLL(None).usleep, 100_000
_logs = set()  # numbers of files


def _said(name):
    try:
        with _open(f"{_FOLDER}/{name}") as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return 0.0


def _time_ns_here():
    return _time_ns() + int(_said(f"clock.{_MACHINE}"))


def _time_here():
    return _time() + _said(f"clock.{_MACHINE}") / 1e9


def _inside(path):
    if isinstance(path, int):
        return None
    text = os.fsdecode(path)
    return text if text.startswith(_STUDY) and not text.startswith(_RENEWED) else None


def _is_late(path):
    text = _inside(path)
    seconds = 0.0 if text is None else _said("late")
    if not seconds:
        return False
    try:
        machine, made = os.getxattr(text, _MARK).decode().split()
    except OSError:
        return False
    return machine != _MACHINE and time.monotonic() - float(made) < seconds


def _check(path):
    if _is_late(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))


def _mark(number):
    try:
        os.setxattr(number, _MARK, f"{_MACHINE} {time.monotonic()}".encode(), os.XATTR_CREATE)
    except OSError:
        return  # it was there before


def _open_here(file, mode="r", *more, **words):
    if not set(mode) & set("xwa"):
        _check(file)
        return _open(file, mode, *more, **words)
    opened = _open(file, mode, *more, **words)
    if _inside(file):
        _mark(opened.fileno())
    return opened


def _os_open_here(path, flags, *more, **words):
    if not flags & os.O_CREAT:
        _check(path)
        return _os_open(path, flags, *more, **words)
    number = _os_open(path, flags, *more, **words)
    text = _inside(path)
    if text:
        _mark(number)
        if text.startswith(_EVENTS):
            _logs.add(number)
    return number


def _write_here(number, data):
    if number in _logs:
        _rest()
    return _write(number, data)


def _rest():
    """Take the time that a line takes at the moment, unless a signal comes: that has to be heard.

    Python's own sleep would go on after a signal.
    """
    begin = time.monotonic()
    while time.monotonic() - begin < _said(_SLOW):
        if _usleep(_SLICE_US):
            return


def _stat_here(path, *more, **words):
    _check(path)
    return _stat(path, *more, **words)


def _listdir_here(path="."):
    if _inside(path) is None:
        return _listdir(path)
    return [name for name in _listdir(path) if not _is_late(os.path.join(path, name))]


class _Scan:
    def __init__(self, path="."):
        self._real = _scandir(path)

    def __iter__(self):
        return self

    def __next__(self):
        while _is_late((entry := next(self._real)).path):
            pass
        return entry

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._real.close()


for _real, _here in ((_os_open, _os_open_here), (_stat, _stat_here)):
    for _able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        if _real in _able:
            _able.add(_here)
io.open = builtins.open = _open_here
os.open, os.stat, os.write = _os_open_here, _stat_here, _write_here
os.scandir, os.listdir = _Scan, _listdir_here
time.time, time.time_ns = _time_here, _time_ns_here


def _plant_gpu_faults(tensor):
    backward = tensor.backward

    def backward_here(*given, **options):
        try:
            os.unlink(f"{_FOLDER}/gpu.{_MACHINE}")
        except FileNotFoundError:
            return backward(*given, **options)
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    tensor.backward = backward_here


if "torch" in sys.modules:
    _plant_gpu_faults(sys.modules["torch"].Tensor)
