"""What CUDA_VISIBLE_DEVICES and --lem-gpus say, as UUIDs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.model.errors import UsageError

_OPTION = "CUDA_VISIBLE_DEVICES"


def resolve(value: str | None, uuids: Sequence[str]) -> tuple[str, ...]:
    """The devices that `value` leaves of a machine whose GPUs are `uuids` (in PCI order), in the value's order.

    None leaves all, an empty value none. An entry is an index, a UUID, the beginning of one, or a MIG instance's UUID;
    `-1` ends the list, as in CUDA. Raises UsageError for an entry that names no GPU, several, or one twice.
    """
    if value is None or not uuids:
        return tuple(uuids)
    chosen: list[str] = []
    for entry in value.split(",") if value.strip() else ():
        if entry.strip() == "-1":
            break
        found = _device(entry.strip(), uuids)
        if found in chosen:
            raise UsageError(f"{_OPTION}: {entry.strip()!r} names {found} a second time; name each GPU once")
        chosen.append(found)
    return tuple(chosen)


def restrict(asked: Sequence[str], visible: Sequence[str]) -> tuple[str, ...]:
    """Those of the `visible` GPUs (UUIDs) that `--lem-gpus` asks for, in the order in which they are visible.

    An entry is an index into `visible`, a UUID or the beginning of one. Raises UsageError for one that names no visible
    GPU, or several.
    """
    chosen = {_visible(entry, visible) for entry in asked}
    return tuple(uuid for uuid in visible if uuid in chosen)


def _visible(entry: str, visible: Sequence[str]) -> str:
    if entry.isdecimal() and int(entry) < len(visible):
        return visible[int(entry)]
    found = [uuid for uuid in visible if not entry.isdecimal() and uuid.startswith(entry)]
    if len(found) == 1:
        return found[0]
    fault = f"begins {len(found)} UUIDs" if found else "is no visible GPU"
    known = ", ".join(f"{index} = {uuid}" for index, uuid in enumerate(visible)) or f"none ({_OPTION} counts)"
    raise UsageError(f"--lem-gpus={entry}: {fault}; visible here: {known}")


def _device(entry: str, uuids: Sequence[str]) -> str:
    if entry.isdecimal():
        if int(entry) < len(uuids):
            return uuids[int(entry)]
        raise UsageError(f"{_OPTION}: there is no GPU {entry} here; indices go from 0 to {len(uuids) - 1}")
    if entry.startswith("MIG-"):
        return entry
    found = [uuid for uuid in uuids if entry.startswith("GPU-") and uuid.startswith(entry)]
    if len(found) == 1:
        return found[0]
    fault = f"begins {len(found)} UUIDs" if found else "is no GPU of this machine"
    raise UsageError(f"{_OPTION}: {entry!r} {fault}; known: {', '.join(uuids)}")
