"""Repair: every complete piece of a damaged session is saved, and nothing wrong ever passes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from made_sessions import write_session
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import Writer
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.sessions.appending import AppendedFile
from vlm_agent.sessions.inspect import run_repair
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair
from vlm_agent.sessions.writer import SessionWriter

LoggedText = tuple[str, int, str]
CASES = 200


class Original(NamedTuple):
    """An undamaged session, taken apart without the code under test."""

    mcap: bytes
    mkv: bytes
    chunks: list[tuple[int, int, list[LoggedText]]]
    """Start and stop byte of each chunk, and its messages."""
    clusters: list[tuple[int, int, bool]]
    """Start and stop byte of each cluster, and whether it starts with a keyframe."""
    frames: dict[int, tuple[int, NDArray[np.uint8]]]
    """Time -> cluster and picture."""


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk two thousand waits; no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    path = write_session(tmp_path_factory.mktemp("original") / "a", seconds=3.2, fps=6, width_px=33, height_px=31)
    mcap, mkv = path.read_bytes(), path.with_suffix(".mkv").read_bytes()
    chunks = []
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        topics = {channel.id: channel.topic for channel in summary.channels.values()}
        for index in sorted(summary.chunk_indexes, key=lambda index: index.chunk_start_offset):
            file.seek(index.chunk_start_offset)
            chunk, _ = StreamReader(_only(file.read(index.chunk_length)), skip_magic=True, emit_chunks=True).records
            messages = [
                (topics[record.channel_id], record.log_time, record.data.decode())
                for record in breakup_chunk(chunk, validate_crc=True)
                if hasattr(record, "log_time")
            ]
            start = index.chunk_start_offset
            chunks.append((start, start + index.chunk_length, messages))
    clusters = _find_clusters(mkv)
    frames = {}
    screens = [(t_ns, json.loads(text)) for _, _, m in chunks for topic, t_ns, text in m if topic == "screen"]
    pictures = list(SessionReader(path).frames())
    for (t_ns, screen), frame in zip(screens, pictures, strict=True):
        # Clusters of this session start every half second of video.
        frames[t_ns] = (_cluster_of(mkv, clusters, screen["media_ref"]["pts_ns"] // 1_000_000), frame.rgb)
    assert len(chunks) >= 6
    assert len(clusters) >= 6
    return Original(mcap, mkv, chunks, clusters, frames)


def _only(chunk: bytes) -> Any:
    """A stream of one chunk and the footer a stream reader ends at."""
    return io.BytesIO(chunk + b"\x02" + (20).to_bytes(8, "little") + bytes(20) + b"\x89MCAP0\r\n")


def _find_clusters(mkv: bytes) -> list[tuple[int, int, bool]]:
    clusters = []
    position = mkv.find(b"\x1f\x43\xb6\x75")
    while position >= 0:
        stop = position + 12 + int.from_bytes(mkv[position + 5 : position + 12], "big")
        clusters.append((position, stop, bool(mkv[position + 12 + 42] & 0x80)))
        position = stop if mkv[stop : stop + 4] == b"\x1f\x43\xb6\x75" else -1
    return clusters


def _cluster_of(mkv: bytes, clusters: list[tuple[int, int, bool]], pts_ms: int) -> int:
    starts = [int.from_bytes(mkv[start + 12 + 22 : start + 12 + 30], "big") for start, _, _ in clusters]
    return max(index for index, start_ms in enumerate(starts) if start_ms <= pts_ms)


def _expected(
    original: Original, mcap_damage: Callable[[int, int], bool], mkv_damage: Callable[[int, int], bool]
) -> tuple[list[LoggedText], set[int]]:
    clusters, chained = set(), False
    for index, (start, stop, is_keyframe) in enumerate(original.clusters):
        chained = not mkv_damage(start, stop) and (chained or is_keyframe)
        if chained:
            clusters.add(index)
    messages, frames = [], set()
    # A chunk's head repeats its first and last time, outside the checksum; its messages hold them too.
    for index, (start, stop, _) in enumerate(original.chunks):
        if mcap_damage(start, start + 9) or mcap_damage(start + 25, stop):
            continue
        for topic, t_ns, text in original.chunks[index][2]:
            if topic == "screen" and original.frames[t_ns][0] not in clusters:
                continue
            if topic == "screen":
                frames.add(t_ns)
            messages.append((topic, t_ns, text))
    return sorted(messages, key=lambda message: message[1]), frames


def _check(path: Path, out: Path, original: Original, expected: tuple[list[LoggedText], set[int]]) -> str:
    """Repair and compare; return what happened, for the count at the end."""
    refusal, report = None, None
    try:
        report = repair(path, out)
    except DataError as error:
        refusal = str(error)
    if report is None:
        assert refusal is not None
        assert str(path) in refusal
        assert "\n" not in refusal
        assert not expected[1]
        assert not out.exists()
        return "refused"
    reader = SessionReader(path if report.out is None else out)
    name = reader.path.with_suffix(".mkv").name
    found = [(m.channel.topic, m.t_ns, m.data.decode().replace(name, "a.mkv")) for m in reader.messages()]
    rebuilt = found[0] not in expected[0]
    if rebuilt:
        assert found[0][0] == "session"
        assert reader.meta == {}
        found = found[1:]
    assert found == expected[0]
    shown = {frame.t_ns: frame.rgb for frame in reader.frames()}
    assert set(shown) == expected[1]
    for t_ns, rgb in shown.items():
        np.testing.assert_array_equal(rgb, original.frames[t_ns][1])
    assert report.messages == len(expected[0])
    assert report.frames == len(expected[1])
    return "sound" if report.out is None else "rebuilt" if rebuilt else "repaired"


@pytest.mark.parametrize("kind", ["truncate", "flip"])
@pytest.mark.parametrize("suffix", [".mcap", ".mkv"])
def test_damage_anywhere_loses_only_what_it_touches(tmp_path: Path, original: Original, suffix: str, kind: str) -> None:
    rng = random.Random(f"{suffix} {kind}")
    whole = original.mcap if suffix == ".mcap" else original.mkv
    path = tmp_path / "a.mcap"
    seen: dict[str, int] = {}
    for case in range(CASES):
        offset = rng.randrange(len(whole))
        damaged = bytearray(whole[:offset] if kind == "truncate" else whole)
        if kind == "flip":
            damaged[offset] ^= rng.randrange(1, 256)

        def damage(start: int, stop: int, offset: int = offset) -> bool:
            return stop > offset if kind == "truncate" else start <= offset < stop

        path.write_bytes(damaged if suffix == ".mcap" else original.mcap)
        path.with_suffix(".mkv").write_bytes(damaged if suffix == ".mkv" else original.mkv)
        nothing = lambda start, stop: False  # noqa: E731
        expected = _expected(original, *((damage, nothing) if suffix == ".mcap" else (nothing, damage)))
        outcome = _check(path, tmp_path / f"out{case}.mcap", original, expected)
        seen[outcome] = seen.get(outcome, 0) + 1
    assert seen["repaired"] > CASES / 2
    # A changed byte is always noticed.
    assert "sound" not in seen


def test_damage_to_both_files_at_once(tmp_path: Path, original: Original) -> None:
    rng = random.Random(5)
    path = tmp_path / "a.mcap"
    for case in range(40):
        offsets = [rng.randrange(len(whole)) for whole in (original.mcap, original.mkv)]
        for offset, whole, name in zip(offsets, (original.mcap, original.mkv), ("a.mcap", "a.mkv"), strict=True):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << rng.randrange(8)
            (tmp_path / name).write_bytes(damaged)
        damages = [lambda start, stop, offset=offset: start <= offset < stop for offset in offsets]
        _check(path, tmp_path / f"out{case}.mcap", original, _expected(original, *damages))


def test_a_damaged_session_is_never_read_as_whole(tmp_path: Path, original: Original) -> None:
    rng = random.Random(9)
    path = tmp_path / "a.mcap"
    path.with_suffix(".mkv").write_bytes(original.mkv)
    for _ in range(60):
        damaged = bytearray(original.mcap)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="repair") as caught:
            SessionReader(path)
        assert str(path) in str(caught.value)
    path.write_bytes(original.mcap)
    for start, stop, _ in original.clusters:
        damaged = bytearray(original.mkv)
        damaged[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)
        path.with_suffix(".mkv").write_bytes(damaged)
        with pytest.raises(DataError, match="repair"):
            list(SessionReader(path).frames())


def test_several_cuts_and_alien_bytes(tmp_path: Path, original: Original) -> None:
    """A hole in the middle moves everything after it; what is complete is found all the same."""
    path = tmp_path / "a.mcap"
    chunk, cluster = original.chunks[2], original.clusters[2]
    path.write_bytes(original.mcap[: chunk[0] + 20] + b"\x06junk" * 30 + original.mcap[chunk[1] :])
    path.with_suffix(".mkv").write_bytes(original.mkv[: cluster[0] + 30] + original.mkv[cluster[1] - 7 :])
    expected = _expected(original, lambda start, stop: start == chunk[0], lambda start, stop: start == cluster[0])
    assert _check(path, tmp_path / "out.mcap", original, expected) == "repaired"


def test_names_and_originals(tmp_path: Path, original: Original) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(original.mcap[:-30])
    path.with_suffix(".mkv").write_bytes(original.mkv)
    report = repair(path)
    assert report.out == str(tmp_path / "a.repaired.mcap")
    assert path.read_bytes() == original.mcap[:-30]
    assert SessionReader(tmp_path / "a.repaired.mcap").info().frames == len(original.frames)
    with pytest.raises(DataError, match="already exists"):
        repair(path)
    assert "nothing was written" in run_repair(tmp_path / "a.repaired.mcap")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "a.mkv", "a.repaired.mcap", "a.repaired.mkv"]


def test_a_recorder_killed_between_its_last_two_steps(tmp_path: Path, original: Original) -> None:
    (tmp_path / "a.mcap.part").write_bytes(original.mcap)
    (tmp_path / "a.mkv").write_bytes(original.mkv)
    report = repair(tmp_path / "a.mcap")
    assert report.out is not None
    assert len(list(SessionReader(Path(report.out)).frames())) == len(original.frames)


def test_a_lost_video_leaves_the_messages(tmp_path: Path, original: Original) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(original.mcap)
    report = repair(path)
    assert (report.frames, report.messages_dropped) == (0, len(original.frames))
    info = SessionReader(tmp_path / "a.repaired.mcap").info()
    assert info.frames == 0
    assert info.topics["gamestate"] == len(original.frames)


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"\x00" * 5000, bytes(range(256)) * 40])
def test_nothing_to_save_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(content)
    for video in (None, b"", content):
        if video is not None:
            path.with_suffix(".mkv").write_bytes(video)
        with pytest.raises(DataError, match="intact") as caught:
            repair(path)
        assert str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "a.mkv"]


def test_wrong_paths_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for name, complaint in (("none.mcap", "does not exist"), ("a.txt", "is not a session"), ("", "does not exist")):
        with pytest.raises(DataError, match=complaint):
            repair(tmp_path / name)


@pytest.mark.parametrize("version", ["0.4.2", "0.5.1"])
def test_another_recorders_session(tmp_path: Path, shared_data: Path, version: str) -> None:
    for suffix in (".mcap", ".mkv"):
        shutil.copyfile(shared_data / "owamcap" / f"{version}{suffix}", tmp_path / f"{version}{suffix}")
    path = tmp_path / f"{version}.mcap"
    whole = SessionReader(path)
    data = path.read_bytes()
    # The end is cut off; the one chunk before it is whole.
    path.write_bytes(data[:-200])
    with pytest.raises(DataError, match="repair"):
        SessionReader(path)
    report = repair(path)
    mended = SessionReader(tmp_path / f"{version}.repaired.mcap")
    assert "no checksums" in report.reason
    path.write_bytes(data)
    assert list(mended.events()) == list(whole.events())
    for ours, theirs in zip(mended.frames(), whole.frames(), strict=True):
        assert ours.t_ns == theirs.t_ns
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)


def test_another_recorders_later_chunks_outlive_the_first(tmp_path: Path) -> None:
    """Other recorders describe a channel once, in their first chunk; the summary at the end tells it again."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=200)
        writer.start(profile="owa", library="mcap-owa-support 0.5.6; mcap 1.3.0")
        schema = writer.register_schema("desktop/KeyboardEvent", "jsonschema", b"{}")
        channel = writer.register_channel("keyboard", "json", schema)
        for t_ns in range(40):
            writer.add_message(channel, t_ns, b'{"event_type":"press","vk":65}', t_ns)
        writer.finish()
    whole = list(SessionReader(path).events())
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    first, second = sorted(summary.chunk_indexes, key=lambda index: index.chunk_start_offset)[:2]
    data[first.chunk_start_offset + 60] ^= 1
    path.write_bytes(data)
    report = repair(path)
    assert list(SessionReader(tmp_path / "a.repaired.mcap").events()) == whole[second.message_start_time :]
    assert report.chunks == len(summary.chunk_indexes) - 1
    assert report.bytes_lost >= first.chunk_length


def test_what_a_killed_repair_left_is_cleared_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    for step in range(10):
        writer.write_frame(step * 100_000_000, np.full((32, 32, 3), step, np.uint8))
    writer.flush()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    finish = AppendedFile.finish

    class KilledError(Exception):
        """Nothing clears up after a kill."""

    def die(self: AppendedFile) -> None:
        if self.path.suffix == ".mcap":
            raise KilledError
        finish(self)

    with monkeypatch.context() as patched:
        patched.setattr(AppendedFile, "finish", die)
        with pytest.raises(KilledError):
            repair(tmp_path / "a.mcap.part")
    assert {path.name for path in tmp_path.iterdir()} == {*before, "a.mkv", "a.mcap.repairing"}
    report = repair(tmp_path / "a.mcap.part")
    assert report.out == str(tmp_path / "a.mcap")
    assert {path.name for path in tmp_path.iterdir()} == {*before, "a.mkv", "a.mcap"}
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    with pytest.raises(DataError, match=r"a\.mkv already exists"):
        repair(tmp_path / "a.mcap.part")


def test_what_another_process_still_records_is_not_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "a.mcap.part"
    part.touch()
    with part.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"a\.mcap\.part is being written by another process"):
            repair(part)
        with pytest.raises(DataError, match=r"a\.mcap\.part is being written by another process"):
            SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap.part"]
