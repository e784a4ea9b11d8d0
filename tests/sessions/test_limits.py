"""Small files that are large once they are opened are refused in one line, by reader, label stage and import alike."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from labeling.stage import LabelArgs, find_sessions, label_and_build
from tests.attacks import bomb_files as bombs
from vlm_agent.clips import MAX_TICKS, tick_times
from vlm_agent.dataset.recordings import read_recording
from vlm_agent.errors import DataError
from vlm_agent.importing.command import ImportArgs, run
from vlm_agent.sessions import limits
from vlm_agent.sessions.inspect import info
from vlm_agent.sessions.mcap_scan import McapIndex
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair
from vlm_agent.sessions.video_files import open_video


def read_all(path: Path) -> None:
    reader = SessionReader(path)
    info(path)
    for stream in (reader.game_states(), reader.events(), reader.frames(), reader.goals()):
        for _ in stream:
            pass


def label(path: Path) -> None:
    label_and_build(LabelArgs(sessions=path, out=path.parent / "labeled"))


def take(path: Path) -> None:
    run(ImportArgs(path=path, out=path.parent / "imported", as_json=True))


READERS = pytest.mark.parametrize("read", [read_all, label, take])


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@READERS
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_chunks_that_unpack_to_too_much(
    tmp_path: Path, read: Callable[[Path], None], compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bombs.overlapping(tmp_path / "f.mcap", 160 << 20, compression)
    monkeypatch.setattr(limits, "MAX_HELD_BYTES", 40 << 20)
    monkeypatch.setattr(limits, "MAX_UNPACKED_RATIO", 1)

    def refused() -> None:
        with pytest.raises(DataError, match="unpack to 167"):
            read(path)

    assert peak_bytes(refused) < 20 << 20


def test_chunks_that_lie_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bombs.overlapping(tmp_path / "f.mcap", 40 << 20, "", 2 << 20)
    monkeypatch.setattr(limits, "MAX_HELD_BYTES", 8 << 20)

    def refused() -> None:
        with pytest.raises(DataError, match="at the same time"):
            read_all(path)

    assert peak_bytes(refused) < 20 << 20


def test_a_session_of_many_sums_is_read(tmp_path: Path) -> None:
    assert len(list(McapIndex(bombs.write_session(tmp_path / "f.mcap", bombs.shown("x.png"))).messages())) == 4


@READERS
def test_more_messages_in_a_chunk_than_it_may_hold(
    tmp_path: Path, read: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_agent.sessions.mcap_scan.MAX_CHUNK_MESSAGES", 1000)
    path = bombs.tiny_messages(tmp_path / "f.mcap", 1001)
    with pytest.raises(DataError, match="1000 messages"):
        read(path)


def test_more_messages_than_anyone_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_agent.sessions.mcap_scan.MAX_MESSAGES", 3)
    path = bombs.write_session(tmp_path / "f.mcap", bombs.shown("x.png"))
    with pytest.raises(DataError, match="more than 3 messages"):
        list(McapIndex(path).messages())


def test_a_message_at_the_end_of_time(tmp_path: Path) -> None:
    path = bombs.late_message(tmp_path / "f.mcap")
    with pytest.raises(DataError, match=r"f.mcap: its messages are dated from .* expected at most 24 hours"):
        label(path)
    with pytest.raises(DataError, match="expected at most 24 hours"):
        read_recording(path, 600)


def test_no_grid_of_ticks_without_a_bound() -> None:
    assert len(tick_times((), 0, MAX_TICKS * 10**6, 1)) == MAX_TICKS
    for states in ((), (5,), (2**63 - 2,)):
        with pytest.raises(DataError, match="steps of 600 ms"):
            tick_times(states, 0, 2**63, 600)


def test_large_channel_descriptions(tmp_path: Path) -> None:
    large = bombs.channel(1, "a" * limits.MAX_DESCRIPTION_BYTES)
    path = bombs.write_mcap(tmp_path / "f.mcap", [bombs.chunk(large + bombs.message(1, 5, b"{}"), 5, 5)])
    with pytest.raises(DataError, match="longer descriptions"):
        list(McapIndex(path).messages())
    path = bombs.write_mcap(tmp_path / "g.mcap", [large])
    with pytest.raises(DataError, match="a record of"):
        McapIndex(path)
    many = b"".join(bombs.channel(number, "a") for number in range(limits.MAX_CHANNELS + 1))
    path = bombs.write_mcap(tmp_path / "h.mcap", [bombs.chunk(many + bombs.message(1, 5, b"{}"), 5, 5)])
    with pytest.raises(DataError, match="more channels"):
        list(McapIndex(path).messages())


@READERS
@pytest.mark.parametrize("side_px", [13_000, 40_000])
def test_large_stills(tmp_path: Path, read: Callable[[Path], None], side_px: int) -> None:
    path = bombs.write_session(tmp_path / "f.mcap", bombs.shown("big.png"))
    head = bombs.png_of(1, 1).replace((1).to_bytes(4, "big") * 2, side_px.to_bytes(4, "big") * 2, 1)
    # The checksum of the header is Pillow's to judge; it is not looked at before the size.
    (tmp_path / "big.png").write_bytes(fix_header(head))
    with pytest.raises(DataError, match=rf"(f\.mcap|big\.png): .*({side_px}x{side_px} pixels|not a picture)"):
        read(path)


def fix_header(png: bytes) -> bytes:
    import zlib

    return png[:29] + zlib.crc32(png[12:29]).to_bytes(4, "big") + png[33:]


@READERS
@pytest.mark.parametrize("make", [lambda path: bombs.deep_json(path, 10**6), lambda path: bombs.wide_json(path, 10**6)])
def test_json_that_is_deep_or_wide(tmp_path: Path, read: Callable[[Path], None], make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "f.mcap")
    with pytest.raises(DataError, match=r"f\.mcap: .*(not JSON|more than 1000000 values)"):
        read(path)


@READERS
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "circle"])
def test_what_is_no_file_is_refused_by_its_kind(tmp_path: Path, read: Callable[[Path], None], kind: str) -> None:
    path = tmp_path / "f.mcap"
    if kind == "pipe":
        bombs.make_pipe(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path)
    with pytest.raises((DataError, OSError), match=r"f\.mcap|symbolic links"):
        read(path)
    if kind == "pipe":
        with pytest.raises(DataError, match="a named pipe: expected a file"):
            SessionReader(path)
        with pytest.raises(DataError, match="is no file"):
            repair(path)
        assert find_sessions(tmp_path) == [path]


@READERS
def test_a_link_in_a_circle_is_no_picture(tmp_path: Path, read: Callable[[Path], None]) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    path = bombs.write_session(tmp_path / "f.mcap", bombs.shown("a.png"))
    with pytest.raises(DataError, match=r"a\.png"):
        read(path)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return bombs.write_video(tmp_path / "private" / "private.ts", container="mpegts")


@READERS
@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "links", "sdp", "mpegts", "pattern"])
def test_a_video_is_only_itself(tmp_path: Path, private: Path, read: Callable[[Path], None], kind: str) -> None:
    folder = tmp_path / "sessions"
    folder.mkdir()
    texts = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{private}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{private.name}'\n",
        "links": f"file://{private}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "pattern": "",
    }
    name = {"pattern": "a%d.png", "links": "v.mkv"}.get(kind, f"v.{kind}")
    if kind == "mpegts":
        (folder / name).write_bytes(private.read_bytes())
    else:
        (folder / name).write_text(texts[kind])
        (folder / private.name).symlink_to(private)
        (folder / "a1.png").write_bytes(bombs.png_of(4, 4))
    path = bombs.write_session(folder / "f.mcap", bombs.shown(name, pts_ns=0))
    with pytest.raises(DataError, match="Matroska or MP4"):
        read(path)


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_videos_of_both_kinds_are_read(tmp_path: Path, container: str) -> None:
    path = bombs.write_video(tmp_path / "v.bin", container=container)
    with open_video(path) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == 40


def test_an_mp4_that_names_another_file_is_not_followed(tmp_path: Path) -> None:
    other = bombs.write_video(tmp_path / "other.mp4", container="mp4")
    data = bombs.write_video(tmp_path / "v.mp4", 96, 64, container="mp4").read_bytes()
    # A data reference with a name in place of "in this file".
    place = data.index(b"dref")
    own = data[place + 12 : place + 24]
    assert own[4:8] == b"url "
    path = tmp_path / "evil.mp4"
    path.write_bytes(data.replace(own, own[:4] + b"alis" + b"\0\0\0\0"))
    assert other.exists()
    with open_video(path) as opened:
        frame = next(opened.decode(video=0))
        assert (frame.width, frame.height) == (96, 64)


def test_frames_that_grow_within_a_video_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm_agent.importing.videos import decode_frames

    path = bombs.write_video(tmp_path / "v.mkv", 640, 480)
    monkeypatch.setattr("vlm_agent.sessions.video_files.MAX_PICTURE_PX", 1000)
    with pytest.raises(DataError, match="does not decode"):
        list(decode_frames(path))


def test_repair_has_the_same_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bombs.overlapping(tmp_path / "f.mcap", 160 << 20, "zstd")
    monkeypatch.setattr(limits, "MAX_UNPACKED_RATIO", 1)
    with pytest.raises(DataError, match="unpack to"):
        repair(path)
    part = path.rename(tmp_path / "f.mcap.part")
    with pytest.raises(DataError, match="unpack to"):
        repair(part)
    assert list(tmp_path.iterdir()) == [part]
