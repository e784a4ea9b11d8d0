"""Logs as any program saves them: the same rows, or one line that says what was found and what helps."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.made_imports import COLUMNS_8, COLUMNS_10, EPOCH_MS, MS, import_one, log_text, row, write_tree
from vlm_agent.actions.events import KeyChanged, PointerMoved
from vlm_agent.errors import DataError
from vlm_agent.importing.kinds import find_sources

ROWS = [row(EPOCH_MS + 123 * n, "move", 100 + n, 50) for n in range(12)]
START_NS = EPOCH_MS * MS
EVENTS = [PointerMoved((EPOCH_MS + 123 * n) * MS, 100 + n, 50) for n in range(12)]


def save(tmp_path, data, name="actions.csv"):
    folder = tmp_path / "tree"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return folder


def text_of(rows=ROWS, separator=",", end="\n"):
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS_10, extrasaction="ignore", delimiter=separator, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


FORMS = {
    "semicolons": text_of(separator=";").encode(),
    "tabs": text_of(separator="\t", end="\r\n").encode(),
    "bars": text_of(separator="|").encode(),
    "sep=": b"sep=;\r\n" + text_of(separator=";", end="\r\n").encode(),
    "sep=,": b"SEP=,\n" + text_of().encode(),
    "carriage returns": text_of(end="\r").encode(),
    "mark": codecs.BOM_UTF8 + text_of().encode(),
    "utf-16": text_of().encode("utf-16"),
    "utf-16-le": text_of(separator="\t", end="\r\n").encode("utf-16-le"),
    "utf-16-be": text_of().encode("utf-16-be"),
    "utf-16 be, mark": codecs.BOM_UTF16_BE + text_of(end="\r").encode("utf-16-be"),
    "utf-32": text_of().encode("utf-32"),
    "utf-32-be": text_of().encode("utf-32-be"),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_gives_the_same_rows(tmp_path, form):
    report, reader = import_one(save(tmp_path, FORMS[form]), tmp_path / "out")
    assert list(reader.events()) == EVENTS
    assert not report.left_out


@pytest.mark.parametrize("form", ["utf-16", "tabs", "sep="])
def test_a_packed_log_is_unpacked(tmp_path, form):
    report, reader = import_one(save(tmp_path, gzip.compress(FORMS[form]), "actions.csv.gz"), tmp_path / "out")
    assert list(reader.events()) == EVENTS
    assert report.session == "tree"


def test_a_packed_log_that_ends_early(tmp_path):
    data = gzip.compress(text_of().encode())
    with pytest.raises(DataError, match="does not unpack"):
        import_one(save(tmp_path, data[:-9]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.data())
@settings(max_examples=15)
def test_forms_can_be_combined(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("form")
    text = text_of(separator=data.draw(st.sampled_from(",;\t|")), end=data.draw(st.sampled_from(["\n", "\r\n", "\r"])))
    encoded = text.encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])))
    encoded = gzip.compress(encoded) if data.draw(st.booleans()) else encoded
    assert list(import_one(save(tmp_path, encoded), tmp_path / "out")[1].events()) == EVENTS


def test_an_older_encoding(tmp_path):
    rows = [row(EPOCH_MS, "key_press", key="ü"), row(EPOCH_MS + 5, "key_press", key="a")]
    report, reader = import_one(save(tmp_path, log_text(rows).encode("cp1252")), tmp_path / "out")
    assert [event.key for event in reader.events()] == ["a", "a"]
    assert report.left_out == {"unknown_key": 1}


def test_decimal_commas(tmp_path):
    rows = [row(f"{(EPOCH_MS + n) / 1000:.3f}".replace(".", ","), "move", "12,5", n) for n in range(5)]
    report, reader = import_one(save(tmp_path, text_of(rows).encode()), tmp_path / "out")
    assert [round(event.t_ns / MS) for event in reader.events()] == [EPOCH_MS + n for n in range(5)]
    assert report.decided["times"] == "s since 1970"


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+02:00"])
def test_dates_with_a_zone(tmp_path, zone):
    clock = "14" if zone == "+02:00" else "12"
    rows = [row(f"2024-08-27T{clock}:30:0{n}.123{zone}", "move", n, 1) for n in range(5)]
    write_tree(tmp_path / "tree", rows, seconds=1, start_ms=1_724_761_800_000)
    report, reader = import_one(tmp_path / "tree", tmp_path / "out")
    assert next(reader.events()) == PointerMoved(1_724_761_800_123 * MS, 0, 1)
    assert report.read["frames"] == 5
    assert not report.notes


def test_dates_without_a_zone_stand_alone_only(tmp_path):
    rows = [row(f"2024-08-27 12:30:0{n},123", "move", n, 1) for n in range(5)]
    report, reader = import_one(save(tmp_path, text_of(rows).encode()), tmp_path / "out")
    assert next(reader.events()).t_ns == 1_724_761_800_123 * MS
    assert report.decided["times"] == "dates without a zone, read as UTC"
    write_tree(tmp_path / "whole", rows, seconds=1)
    with pytest.raises(DataError, match=r"without their zone, '2024-08-27 12:30:00,123'"):
        import_one(tmp_path / "whole", tmp_path / "other")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([f"{EPOCH_MS // 1000},{n:03},move,100,50,,,0,0,," for n in range(9)], "line 2, '1724769000,000,move"),
        ([f"27.08.2024 14:30:0{n},move,100,50,,,0,0,," for n in range(9)], "dates like 2024-08-27T14:30:00"),
        ([f'{EPOCH_MS + n},move,"1,024","1,024",,,0,0,,' for n in range(9)], "decimal points"),
        ([f"{EPOCH_MS + n}\tmove\t100\t50" for n in range(9)], "9 of 9 lines are no rows of 10 columns"),
    ],
)
def test_rows_that_can_not_be_read_are_shown(tmp_path, rows, said):
    data = "\n".join([",".join(COLUMNS_10), *rows]).encode()
    with pytest.raises(DataError, match="lines are no rows of") as refused:
        import_one(save(tmp_path, data), tmp_path / "out")
    assert said in str(refused.value)


def archive(kind, name="session"):
    text, file = text_of().encode(), io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr(f"{name}/actions.csv", text)
    elif kind == "xlsx":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("[Content_Types].xml", "<x/>")
            packed.writestr("xl/workbook.xml", "<x/>")
    else:
        with tarfile.open(fileobj=file, mode="w") as packed:
            entry = tarfile.TarInfo(f"{name}/actions.csv")
            entry.size = len(text)
            packed.addfile(entry, io.BytesIO(text))
    tar = file.getvalue()
    packers = {"tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.bz2": bz2.compress}
    return packers[kind](tar) if kind in packers else tar


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("session.zip", archive("zip"), "ZIP archive: unpack it (unzip "),
        ("session.dat", archive("zip"), "ZIP archive"),
        ("book.xlsx", archive("xlsx"), "Excel workbook: save it as CSV UTF-8"),
        ("session.tar", archive("tar"), "tar -xf "),
        ("session.tar.gz", archive("tar.gz"), "tar -xzf "),
        ("session.tar.xz", archive("tar.xz"), "tar -xJf "),
        ("session.tar.bz2", archive("tar.bz2"), "tar -xjf "),
        ("session.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50), "7z x "),
        ("session.rar", b"Rar!\x1a\x07\x00" + bytes(50), "unrar x "),
        ("a.zst", b"\x28\xb5\x2f\xfd" + bytes(50), "unzstd"),
        ("actions.csv", b"", "it is empty"),
        ("actions.csv", b"timestamp;event_type;x;y;btn;key\n1;move;1;1;;\n", "but not x_in_window, y_in_window"),
        ("actions.csv", f"{EPOCH_MS},move,1,1,,,0,0\n".encode(), "a row and no header: put one before it"),
        ("log.csv", b"when,what\n1,2\n", "'when,what', is not the header of a log of actions"),
    ],
)
@pytest.mark.parametrize("where", ["file", "folder"])
def test_what_was_found_and_what_helps(tmp_path, name, data, said, where):
    folder = save(tmp_path, data, name)
    with pytest.raises(DataError) as refused:
        find_sources(folder / name if where == "file" else folder, None)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_of_8_and_a_quoted_separator(tmp_path):
    rows = [row(EPOCH_MS, "key_press", key=";"), row(EPOCH_MS + 9, "key_release", key=";")]
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS_8, extrasaction="ignore", delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    _, reader = import_one(save(tmp_path, file.getvalue().encode()), tmp_path / "out")
    assert list(reader.events()) == [
        KeyChanged(START_NS, "semicolon", True),
        KeyChanged(START_NS + 9 * MS, "semicolon", False),
    ]
