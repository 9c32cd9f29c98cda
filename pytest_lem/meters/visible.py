"""What CUDA_VISIBLE_DEVICES says, as UUIDs. Pure."""

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
