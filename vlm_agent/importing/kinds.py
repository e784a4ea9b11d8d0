"""What a recording is, found from what is in its files, never from their names.

owamcap  begins with MCAP's magic bytes
ilbot    its first line is the header of an action log
vpt      its first line is a JSON object with `mouse` and `keyboard`
sima2    it is a JSON object with `action_sequence`, or with `messages`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.importing.dated_files import list_names
from vlm_agent.importing.found import describe_file, find_log_header
from vlm_agent.importing.limits import (
    MAX_CSV_LINE_BYTES,
    MAX_FOLDERS_DEEP,
    MAX_JSON_LINE_BYTES,
    MAX_SESSIONS,
)
from vlm_agent.importing.options import KINDS, Kind, Source
from vlm_agent.importing.reading import read_head
from vlm_agent.sessions.mcap_writer import MAGIC

_FILES_LOOKED_AT = 64
"""In a folder: enough to see what it is."""
_RAW_STEM = re.compile(r"(.+_)[0-9]{10,20}")
_LOG_NAMES = ("actions.csv", "actions.csv.gz")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def sniff(head: bytes) -> Kind | None:
    """Return what a file is that begins so, or None.

    Args:
        head: the first `MAX_JSON_LINE_BYTES` of it, or all.
    """
    if head.startswith(MAGIC):
        return "owamcap"
    if find_log_header(head) is not None:
        return "ilbot"
    first, _, rest = head.partition(b"\n")
    if not _begins_an_object(head):
        return None
    value = _parse(first)
    if value is None and rest:
        value = _parse(head)
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("mouse"), Mapping) and isinstance(value.get("keyboard"), Mapping):
        return "vpt"
    return "sima2" if "action_sequence" in value or isinstance(value.get("messages"), list) else None


def sniff_file(root: Path, path: Path) -> Kind | None:
    """Return what a file is, or None; raises DataError if it leads out of the folder or can't be read."""
    head = read_head(root, path, MAX_CSV_LINE_BYTES)
    # Only JSON may need more than the first bytes: a tick, or a label that goes over many lines.
    return sniff(read_head(root, path, MAX_JSON_LINE_BYTES) if _begins_an_object(head) else head)


def find_sources(path: Path, kind: Kind | None) -> list[Source]:
    """Return the recordings at a path, in order of name: a file, a recording's folder, or a folder of such.

    Args:
        path: where to look.
        kind: what to look for; None takes what is there.

    Raises:
        ConfigError: There are several kinds, and `kind` does not say which.
        DataError: There is none, or one leads out of the path.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; name a recording or a folder of recordings")
    found = _look(path, kind)
    if not found:
        wanted = kind or ", ".join(KINDS)
        raise DataError(f"{path} holds no recording that can be imported (looked for: {wanted}), {_hint(path)}")
    kinds = sorted({source.kind for source in found})
    if len(kinds) > 1:
        raise ConfigError(f"{path} holds recordings of several kinds ({', '.join(kinds)}): say which with --kind")
    if len({bool(source.part) for source in found}) > 1:
        raise DataError(f"{path} holds raw frames and segments made of them: import one of the two folders")
    if len(found) > MAX_SESSIONS:
        raise DataError(f"{path} holds more than {MAX_SESSIONS} recordings: import it in parts")
    return found


def _look(path: Path, kind: Kind | None) -> list[Source]:
    if path.is_file():
        return _sources_of_file(path, kind)
    root = path
    level, found = [path], list[Source]()
    for _ in range(MAX_FOLDERS_DEEP):
        below: list[Path] = []
        for folder in level:
            here = _sources_of_folder(root, folder, kind)
            found += here
            if not here:
                below += [one for one in sorted(folder / name for name in list_names(folder)) if one.is_dir()]
        level = [_inside(root, one) for one in below[: 10 * MAX_SESSIONS]]
    return found


def _sources_of_file(path: Path, kind: Kind | None) -> list[Source]:
    found = sniff_file(path.parent, path)
    if found == "sima2":
        raise DataError(f"{path} is one frame's label: name its folder")
    if found is None or kind not in (None, found):
        return []
    return [_source(found, path)]


def _sources_of_folder(root: Path, folder: Path, kind: Kind | None) -> list[Source]:
    kinds: dict[Kind, list[Path]] = {}
    names = sorted(name for name in list_names(folder) if not (folder / name).is_dir())
    for path in (folder / name for name in islice(names, _FILES_LOOKED_AT)):
        found = sniff_file(root, path)
        if found is not None:
            kinds.setdefault(found, []).append(path)
    if kind is not None:
        kinds = {kind: kinds[kind]} if kind in kinds else {}
    return [source for found, paths in kinds.items() for source in _sources(found, root, folder, paths, names)]


def _sources(kind: Kind, root: Path, folder: Path, paths: list[Path], names: list[str]) -> Iterator[Source]:
    if kind == "ilbot":
        log = next((path for path in paths if path.name in _LOG_NAMES), paths[0])
        if len(paths) > 1 and log.name not in _LOG_NAMES:
            raise DataError(f"{folder} holds {len(paths)} action logs: keep the one that belongs to its pictures")
        yield _source(kind, log)
    elif kind == "sima2":
        prefixes = {match[1] for name in names if (match := _RAW_STEM.fullmatch(Path(name).stem))}
        for prefix in sorted(prefixes):
            yield Source(kind, folder, folder, _fit(prefix.rstrip("_")), prefix)
        if not prefixes:
            yield Source(kind, folder, folder, _fit(folder.resolve().name))
    else:
        # The rest of a large folder is looked at here, where the kind is known.
        more = [folder / name for name in names[_FILES_LOOKED_AT:] if Path(name).suffix in {p.suffix for p in paths}]
        for path in [*paths, *more]:
            if path in paths or sniff_file(root, path) == kind:
                yield _source(kind, path)


def _source(kind: Kind, path: Path) -> Source:
    stem = path.resolve().parent.name if path.name in _LOG_NAMES else path.name.removesuffix(".gz")
    stem = stem if path.name in _LOG_NAMES else Path(stem).stem
    return Source(kind, path, path.parent, _fit(stem))


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name).strip("._")[:100] or "imported"


def _inside(root: Path, folder: Path) -> Path:
    try:
        if folder.resolve().is_relative_to(root.resolve()):
            return folder
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder} can't be followed ({error})") from error
    raise DataError(f"{folder} links out of {root}; name the folder it leads to")


def _hint(path: Path) -> str:
    if path.is_file():
        return describe_file(path.parent, path) or "by what is in it"
    for name in sorted(list_names(path))[:_FILES_LOOKED_AT]:
        told = describe_file(path, path / name) if (path / name).is_file() else None
        if told:
            return f"though there is {name}: {told}"
    return f"down to {MAX_FOLDERS_DEEP} folders deep"


def _begins_an_object(head: bytes) -> bool:
    return head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
