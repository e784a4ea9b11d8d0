"""Writing: what goes in comes out, in our reader, OWAMcap's and the mcap library's; nothing half-written shows."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sessions import MS, draw, events_of, write_session
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap_owa.highlevel import OWAMcapReader

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import DataError
from vlm_agent.sessions.appending import AppendedFile
from vlm_agent.sessions.keys import KEY_CODES, key_code, key_name
from vlm_agent.sessions.matroska import CLUSTER, SEGMENT, Block, MatroskaWriter, decode_cluster, read_head
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair
from vlm_agent.sessions.salvage import ChunkSalvage
from vlm_agent.sessions.topics import SCHEMAS
from vlm_agent.sessions.types import Excluded, Goal, RawMotion
from vlm_agent.sessions.writer import SessionWriter


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    path = write_session(tmp_path / "a", seconds=2.5, start_ns=5 * MS)
    reader = SessionReader(path)

    written = [event for step in range(25) for event in events_of(step, 5 * MS + step * 100 * MS)]
    assert list(reader.events()) == written
    assert [state["tick"] for _, state in reader.game_states()] == list(range(25))
    assert next(reader.game_states())[1]["inventory"][2] == {"name": "Ring – ☃"}
    goals = list(reader.goals())
    assert goals[0] == Goal(5 * MS, "craft sapphire rings", "long", "human")
    assert goals[1] == Goal(305 * MS, "step 3", "short", "game", 0.5)
    assert list(reader.controls()) == [(5 * MS, "human")]
    assert next(iter(reader.decisions())) == (305 * MS, {"text": "[]", "latency_ms": 12.5})
    assert reader.meta == {"game": "test", "seed": 7}


def test_frames_come_back_at_their_time_size_and_colour(tmp_path: Path) -> None:
    frames = list(SessionReader(write_session(tmp_path / "a", width_px=765, height_px=503, seconds=1.2)).frames())
    assert [frame.t_ns for frame in frames] == [step * 100 * MS for step in range(12)]
    for step, frame in enumerate(frames):
        original = draw(step, 765, 503)
        assert frame.rgb.shape == original.shape
        assert np.abs(frame.rgb.astype(int) - original).mean() < 1.5
        # Saturated colours survive the way through YUV: a wrong matrix would be off by twenty and more.
        column = (step * 5) % 757
        assert np.abs(frame.rgb[12:20, column + 2 : column + 6].astype(int) - (20, 250, 60)).max() <= 10


@pytest.mark.parametrize(("width_px", "height_px"), [(33, 32), (32, 33), (33, 35), (34, 36)])
def test_frames_of_odd_and_even_sizes_come_back_pixel_by_pixel(tmp_path: Path, width_px: int, height_px: int) -> None:
    rows, columns = np.indices((height_px, width_px))
    chequered = np.repeat(((rows + columns) % 2 * 180 + 30).astype(np.uint8)[:, :, None], 3, axis=2)
    with SessionWriter(tmp_path / "a", width_px=width_px, height_px=height_px, fps=10) as writer:
        writer.write_frame(0, chequered)
    [frame] = SessionReader(writer.path).frames()
    assert frame.rgb.shape == chequered.shape
    # Scaled or shifted by a pixel it would be off by a hundred.
    assert np.abs(frame.rgb.astype(int) - chequered).mean() < 10


def test_a_piece_tells_its_first_and_last_moment_whatever_came_late(tmp_path: Path) -> None:
    times_ms = (100, 50, 300, 20, 900, 700, 850, 1500, 1490)
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        for t_ms in times_ms:
            writer.write_control(t_ms * MS, "human")
    with writer.path.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        spans = [(index.message_start_time, index.message_end_time) for index in summary.chunk_indexes]
        assert summary.statistics is not None
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (20 * MS, 1500 * MS)
    assert min(start for start, _ in spans) == 20 * MS
    assert all(start <= stop for start, stop in spans)
    assert [t_ns // MS for t_ns, _ in SessionReader(writer.path).controls()] == sorted(times_ms)


def test_info_counts_topics_and_frames(tmp_path: Path) -> None:
    info = SessionReader(write_session(tmp_path / "a", seconds=3)).info()
    assert info.frames == info.topics["screen"] == 30
    assert (info.topics["mouse"], info.topics["keyboard"], info.topics["gamestate"]) == (90, 30, 30)
    assert (info.first_frame_ns, info.last_frame_ns) == (0, 2900 * MS)
    assert info.duration_s == pytest.approx(2.903)
    assert (info.width_px, info.height_px, info.video) == (65, 47, "a.mkv")


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_session(tmp_path / folder / "a")
    for name in ("a.mcap", "a.mkv"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_owa_reads_our_files(tmp_path: Path) -> None:
    path = write_session(tmp_path / "a", start_ns=1_700_000_000_000_000_000)
    standard = ("screen", "keyboard", "keyboard/state", "mouse", "mouse/state", "window")
    with OWAMcapReader(path) as reader:
        decoded = {topic: [m.decoded for m in reader.iter_messages(topics=[topic])] for topic in standard}
        own = [m.topic for m in reader.iter_messages() if m.topic not in standard]
    assert decoded["keyboard"][1].event_type == "release"
    assert decoded["keyboard"][1].vk == 0x20
    assert (decoded["mouse"][1].event_type, decoded["mouse"][1].button, decoded["mouse"][1].pressed) == (
        "click",
        "left",
        True,
    )
    assert decoded["window"][0].width == 65
    assert Counter(own) == {"session": 1, "goal": 5, "control": 1, "gamestate": 30, "decision": 4}

    ours = [frame.rgb for frame in SessionReader(path).frames()]
    assert len(decoded["screen"]) == len(ours) == 30
    for index in (0, 13, 29):
        screen = decoded["screen"][index].resolve_relative_path(str(path))
        assert screen.shape == (65, 47)
        # Their reader hands out the padded picture; ours cuts it to its true size.
        theirs = screen.to_rgb_array()[:47, :65].astype(int)
        assert np.abs(theirs - ours[index]).mean() < 2.0


def test_the_mcap_library_reads_our_files_and_confirms_every_checksum(tmp_path: Path) -> None:
    path = write_session(tmp_path / "a")
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "owa"
        indexed = Counter(channel.topic for _, channel, _ in reader.iter_messages())
        summary = reader.get_summary()
    assert indexed == SessionReader(path).info().topics
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.chunk_count == len(summary.chunk_indexes) >= 6
    with path.open("rb") as file:
        assert sum(1 for _ in StreamReader(file, validate_crcs=True).records) > sum(indexed.values())


def write_all_topics(stem: Path) -> Path:
    """A session with a message of every topic that there is."""
    with SessionWriter(stem, width_px=64, height_px=48, fps=10) as writer:
        writer.write_frame(0, draw(0, 64, 48))
        for event in events_of(0, 0):
            writer.write_event(event)
        writer.write_raw_motion(RawMotion(1, 2, 3))
        writer.write_game_state(2, {"tick": 1})
        writer.write_goal(3, Goal(3, "walk", "short", "model", 0.25))
        writer.write_control(4, "agent")
        writer.write_decision(5, {"text": "[]"})
        writer.write_placement(6, Placement.fit(Rect(0, 0, 64, 48), 64, 48), "A game")
        writer.write_excluded(Excluded(7, 8, "paused"))
    return writer.path


def test_messages_keep_to_their_schemas(tmp_path: Path) -> None:
    import jsonschema

    seen = set()
    with write_all_topics(tmp_path / "a").open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None
            assert (schema.name, schema.encoding, channel.message_encoding) == (
                SCHEMAS[channel.topic][0],
                "jsonschema",
                "json",
            )
            told, value = json.loads(schema.data), json.loads(message.data)
            jsonschema.validate(value, told)
            # Every field that is written is described, and each that must be there is asked for.
            if "properties" in told:
                assert set(value) <= set(told["properties"])
                for field in told["required"]:
                    with pytest.raises(jsonschema.ValidationError):
                        jsonschema.validate({name: of for name, of in value.items() if name != field}, told)
            seen.add(channel.topic)
    assert seen == set(SCHEMAS)


def test_players_read_and_seek_our_video(tmp_path: Path) -> None:
    write_session(tmp_path / "a", seconds=4)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.duration == 3_900_000
        assert [frame.pts for frame in container.decode(video=0)] == [step * 100 for step in range(40)]
        container.seek(3_400_000)
        first = next(container.decode(video=0))
        assert (first.pts, first.key_frame) == (3000, True)


@given(st.sampled_from(sorted(KEY_CODES)))
def test_key_names_and_codes_are_one_to_one(name: str) -> None:
    assert key_name(key_code(name)) == name


def test_keys_without_a_name_keep_their_code() -> None:
    assert key_name(179) == "vk_179"
    assert key_code("vk_179") == 179
    for wrong in ("Space", "vk_256", "vk_-1", "vk_", "vk_²", ""):
        with pytest.raises(DataError, match="canonical key name"):
            key_code(wrong)


def test_raw_motion_and_goal_time(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        writer.write_raw_motion(RawMotion(3, -4, 5))
        writer.write_goal(9, Goal(0, "walk", "short", "model"))
    reader = SessionReader(writer.path)
    assert list(reader.raw_motions()) == [RawMotion(3, -4, 5)]
    assert next(reader.goals()).t_ns == 9
    assert reader.info().frames == 0
    assert list(reader.frames()) == []


def test_states_tell_what_is_held(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        writer.write_event(KeyChanged(0, "a", True))
        writer.write_event(ButtonChanged(1, 7, 8, "left", True))
        writer.write_event(PointerMoved(2_000 * MS, 9, 9))
        writer.write_event(KeyChanged(2_001 * MS, "a", False))
        writer.write_event(ButtonChanged(2_002 * MS, 9, 9, "right", True))
        writer.write_event(ButtonChanged(2_003 * MS, 9, 9, "left", False))
    with OWAMcapReader(writer.path) as reader:
        keys = [m.decoded.buttons for m in reader.iter_messages(topics=["keyboard/state"])]
        mice = [(m.decoded.x, m.decoded.buttons) for m in reader.iter_messages(topics=["mouse/state"])]
    assert keys == [set(), {65}, set()]
    assert mice == [(0, set()), (7, {"left"}), (9, {"right"})]


def test_an_unfinished_session_has_no_name_and_is_not_overwritten(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    writer.write_frame(0, draw(0, 32, 32))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap.part", "a.mkv.part"]
    with pytest.raises(DataError, match="unfinished, or being written"):
        SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    with pytest.raises(DataError, match=r"not finished; .*repair"):
        SessionReader(tmp_path / "a.mcap")
    writer.close()
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "a.mkv"]
    with pytest.raises(DataError, match="already exists"):
        SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "a.mkv"]
    with pytest.raises(DataError, match="is closed"):
        writer.write_control(1, "agent")


def test_an_error_in_the_block_keeps_what_was_recorded(tmp_path: Path) -> None:
    def play() -> None:
        with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
            writer.write_frame(0, draw(0, 32, 32))
            raise RuntimeError("game over")

    with pytest.raises(RuntimeError, match="game over"):
        play()
    assert SessionReader(tmp_path / "a.mcap").info().frames == 1


def test_wrong_frames_and_values_are_refused(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=48, fps=10) as writer:
        writer.write_frame(10, draw(0, 32, 48))
        with pytest.raises(ValueError, match=r"expected a \(48, 32, 3\)"):
            writer.write_frame(20, draw(0, 48, 32))
        with pytest.raises(ValueError, match="rise in time"):
            writer.write_frame(10, draw(0, 32, 48))
        with pytest.raises(ValueError, match="from 0 up"):
            writer.write_control(-1, "human")
        with pytest.raises(DataError, match="plain JSON"):
            writer.write_game_state(20, {"x": float("nan")})
        with pytest.raises(DataError, match="canonical key name"):
            writer.write_event(KeyChanged(20, "nope", True))
    assert SessionReader(writer.path).info().frames == 1


def test_frames_closer_than_a_millisecond_and_after_long_pauses(tmp_path: Path) -> None:
    times = [0, 1, 2, 1_000_000, 40_000 * MS, 40_000 * MS + 5, 200_000 * MS]
    with SessionWriter(tmp_path / "a", width_px=64, height_px=32, fps=10) as writer:
        for number, t_ns in enumerate(times):
            writer.write_frame(t_ns, draw(number, 64, 32))
    frames = list(SessionReader(writer.path).frames())
    assert [frame.t_ns for frame in frames] == times
    for number, frame in enumerate(frames):
        assert np.abs(frame.rgb.astype(int) - draw(number, 64, 32)).mean() < 5


def test_a_session_gets_its_name_last_when_both_files_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[tuple[str, dict[str, bytes]]] = []
    rename = Path.rename

    def note(self: Path, target: Path) -> Path:
        named.append((target.name, {path.name: path.read_bytes() for path in tmp_path.iterdir()}))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", note)
    write_session(tmp_path / "a", seconds=1)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert named == [
        ("a.mkv", {"a.mkv.part": whole["a.mkv"], "a.mcap.part": whole["a.mcap"]}),
        ("a.mcap", {"a.mkv": whole["a.mkv"], "a.mcap.part": whole["a.mcap"]}),
    ]


def test_a_video_that_cannot_be_finished_leaves_the_session_without_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    writer.write_frame(0, draw(0, 32, 32))

    def fail(self: MatroskaWriter) -> None:
        raise DataError("disk full")

    monkeypatch.setattr(MatroskaWriter, "finish", fail)
    with pytest.raises(DataError, match=r"disk full; what was complete is kept: .*repair .*a\.mcap\.part"):
        writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mcap.part", "a.mkv.part"]


def read_clusters(video: Path) -> list[list[Block]]:
    data, position, clusters = video.read_bytes(), 0, []
    while position < len(data):
        found = read_head(data, position)
        if found.name == CLUSTER:
            clusters.append(decode_cluster(data[found.start : found.stop]))
        position = found.start if found.name == SEGMENT else found.stop
    return clusters


def test_a_cluster_begins_at_every_key_frame(tmp_path: Path) -> None:
    times_ms = (0, 300, 700, 1100, 1150, 1500, 2090, 2110, 2200)
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        for number, t_ms in enumerate(times_ms):
            writer.write_frame(t_ms * MS, draw(number, 32, 32))
    clusters = read_clusters(tmp_path / "a.mkv")
    keys_ms = [block.pts_ms for blocks in clusters for block in blocks if block.is_keyframe]
    assert keys_ms == [0, 1100, 2110]
    assert not any(block.is_keyframe for blocks in clusters for block in blocks[1:])
    assert [block.pts_ms for blocks in clusters for block in blocks] == list(times_ms)
    # And half a second of the session's clock at most: a piece that ends is written before what comes after it.
    assert all(blocks[-1].pts_ms - blocks[0].pts_ms < 500 for blocks in clusters)


def count_events(path: Path) -> int:
    """What of a recording would be left if it was killed now."""
    salvage = ChunkSalvage(path.read_bytes())
    return sum(message.channel.topic == "mouse" for chunk in salvage.chunks() for message in chunk)


def test_half_a_second_of_the_session_is_written_at_a_time(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        written = []
        for step in range(13):
            writer.write_event(PointerMoved((5 + 100 * step) * MS, 1, 2))
            written.append(count_events(tmp_path / "a.mcap.part"))
        # With the sixth event half a second is over, and again with the eleventh.
        assert written == [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 10, 10]
        # Or where nothing comes, when it is told that so much time has passed.
        writer.pass_time((5 + 1499) * MS)
        assert count_events(tmp_path / "a.mcap.part") == 10
        writer.pass_time((5 + 1500) * MS)
        assert count_events(tmp_path / "a.mcap.part") == 13


@given(times_ms=st.lists(st.integers(0, 4000), max_size=40), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_the_bytes_do_not_depend_on_how_long_writing_took(times_ms: list[int], seed: int) -> None:
    """On a machine under load the wall clock is anywhere, and idle moments come anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("quick", "slow"):
            (Path(folder) / name).mkdir()
            with SessionWriter(Path(folder) / name / "a", width_px=32, height_px=32, fps=10) as writer:
                frame_ms = -1
                for t_ms in [0, *times_ms]:
                    if t_ms > frame_ms:
                        frame_ms = t_ms
                        writer.write_frame(t_ms * MS, draw(1, 32, 32))
                    writer.write_event(PointerMoved(t_ms * MS, 1, 2))
                    if name == "slow":
                        writer.pass_time(frame_ms * MS)
                        wall_ns = time.monotonic_ns() + int(rng.integers(0, 10**10))
                        patch.setattr(time, "monotonic_ns", lambda wall_ns=wall_ns: wall_ns)
            found.append([path.read_bytes() for path in sorted((Path(folder) / name).iterdir())])
    assert found[0] == found[1]


def test_much_in_a_moment_is_written_in_pieces_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_agent.sessions.writer.PIECE_BYTES", 5_000)
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        for step in range(20):
            writer.write_game_state(step, {"text": "x" * 1_000})
    sizes = [sum(len(m.data) for m in chunk) for chunk in ChunkSalvage(writer.path.read_bytes()).chunks()]
    assert len(sizes) >= 4
    assert max(sizes) < 8_000
    assert len(list(SessionReader(writer.path).game_states())) == 20


def test_a_message_on_the_disk_finds_its_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    append = AppendedFile.append

    def note(self: AppendedFile, piece: bytes) -> None:
        order.append(self.path.suffix)
        append(self, piece)

    writer = SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    monkeypatch.setattr(AppendedFile, "append", note)
    writer.write_frame(0, draw(0, 32, 32))
    writer.flush()
    assert order == [".mkv", ".mcap"]
    writer.close()


def test_frames_are_key_frames_every_second_and_at_their_millisecond(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        start_ns = 10**18
        frames = [writer.encode_frame(start_ns + t_ms * MS, draw(1, 32, 32)) for t_ms in (0, 999, 1000, 1999, 2000)]
        for frame in frames:
            writer.write_encoded(frame)
    assert [(frame.block.pts_ms, frame.block.is_keyframe) for frame in frames] == [
        (0, True),
        (999, False),
        (1000, True),
        (1999, False),
        (2000, True),
    ]
    refs = list(SessionReader(writer.path).screens())
    assert [(ref.t_ns - start_ns, ref.pts_ns) for ref in refs] == [
        (t_ms * MS, t_ms * MS) for t_ms in (0, 999, 1000, 1999, 2000)
    ]


def test_states_are_told_each_second_and_where_it_ends(tmp_path: Path) -> None:
    placement = Placement.fit(Rect(5, 6, 32, 32), 32, 32)
    with SessionWriter(tmp_path / "a", width_px=32, height_px=24, fps=10, meta={"title": "A game"}) as writer:
        writer.write_event(PointerMoved(100, 3, 4))
        writer.write_event(PointerMoved(999 * MS, 5, 6))
        writer.write_placement(1000 * MS + 100, placement, "menu")
        writer.write_event(PointerMoved(1500 * MS, 7, 8))
        # What comes late does not take the clock back.
        writer.write_event(PointerMoved(1400 * MS, 9, 9))
    told: dict[str, list[tuple[int, dict[str, object]]]] = {"window": [], "mouse/state": [], "placement": []}
    for message in SessionReader(writer.path).messages(frozenset(told)):
        told[message.channel.topic].append((message.t_ns, json.loads(message.data)))
    rect = [0, 0, 32, 24]
    assert told["window"] == [
        (100, {"title": "A game", "rect": rect, "hWnd": 0}),
        (999 * MS, {"title": "menu", "rect": rect, "hWnd": 0}),
        (1500 * MS, {"title": "menu", "rect": rect, "hWnd": 0}),
    ]
    assert [(t_ns, state["x"], state["y"]) for t_ns, state in told["mouse/state"]] == [
        (100, 0, 0),
        (999 * MS, 5, 6),
        (1500 * MS, 9, 9),
    ]
    assert [t_ns for t_ns, _ in told["placement"]] == [999 * MS, 1000 * MS + 100, 1500 * MS]


def test_the_size_is_that_of_both_files(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        writer.write_frame(0, draw(0, 32, 32))
        writer.flush()
        assert writer.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Refuse files over 40,000 bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_ends_in_one_line_and_keeps_what_was_complete(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = SessionWriter(tmp_path / "a", width_px=64, height_px=64, fps=10)

    def record() -> None:
        for step in range(1000):
            writer.write_frame(step * 100 * MS, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))

    with pytest.raises(DataError, match=r"can't write .*; what was complete is kept: .*repair") as caught:
        record()
    assert "\n" not in str(caught.value)
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap.part", "a.mkv.part"]
    report = repair(tmp_path / "a.mcap.part")
    kept = list(SessionReader(tmp_path / "a.mcap").frames())
    assert len(kept) == report.frames >= 5
    assert (report.messages_dropped, report.bytes_lost, report.video_bytes_lost) == (0, 0, 0)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_full_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "a", width_px=512, height_px=512, fps=10)
    writer.write_frame(0, np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="can't write"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't create"):
        SessionWriter(tmp_path / "none" / "a", width_px=32, height_px=32, fps=10)


_RECORDER = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from made_sessions import draw
from vlm_agent.actions.events import PointerMoved
from vlm_agent.sessions.writer import SessionWriter
writer = SessionWriter(Path(sys.argv[1]), width_px=64, height_px=48, fps=20)
frame_ns = 0
while True:
    now_ns = time.time_ns()
    if now_ns - frame_ns >= 50_000_000:
        writer.write_frame(now_ns, draw(now_ns // 1_000_000, 64, 48))
        frame_ns = now_ns
    writer.write_event(PointerMoved(now_ns, 1, 2))
    print(now_ns, frame_ns, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("run_s", [1.1, 1.45])
def test_a_killed_recorder_loses_at_most_a_second(tmp_path: Path, run_s: float) -> None:
    command = [sys.executable, "-c", _RECORDER, str(tmp_path / "a"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        first = recorder.stdout.readline()
        time.sleep(run_s)
        os.kill(recorder.pid, signal.SIGKILL)
        lines = [first, *recorder.stdout.read().splitlines()]
    last_event_ns, last_frame_ns = map(int, lines[-1].split())

    report = repair(tmp_path / "a.mcap.part")
    reader = SessionReader(tmp_path / "a.mcap")
    events, frames = list(reader.events()), list(reader.frames())
    assert last_event_ns - events[-1].t_ns <= 1_000 * MS
    assert last_frame_ns - frames[-1].t_ns <= 1_000 * MS
    assert report.frames == len(frames) >= 5
    assert {event.t_ns for event in events} <= {int(line.split()[0]) for line in lines}
    for frame in frames:
        assert np.abs(frame.rgb.astype(int) - draw(frame.t_ns // MS, 64, 48)).mean() < 3
