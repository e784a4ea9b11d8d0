"""What a goal or a title says is text in every form of a report."""

from __future__ import annotations

from vlm_agent.evaluation.sections import PlainTable, Section, escape_markdown

EVIL = "<script>alert(1)</script> a|b `c` [d](http://x) *e* _f_ &lt; \\\n# g\x1b[2J"


def test_markdown_and_html_in_a_text_are_shown_not_done() -> None:
    shown = escape_markdown(EVIL)
    assert "<" not in shown
    assert "\n" not in shown
    assert "\x1b" not in shown
    for special in "|`*_":
        assert shown.count(special) == shown.count(f"\\{special}")
    assert "](" not in shown.replace("\\](", "")
    assert "&amp;lt;" in shown
    assert escape_markdown("13.00 rings a minute (95 % interval 12.70 to 13.30)").startswith("13.00 rings")


def test_every_part_of_a_section_is_text() -> None:
    table = PlainTable((EVIL, EVIL), ((EVIL, EVIL),), EVIL, EVIL)
    text = Section("key", EVIL, (EVIL,), tables=(table,)).to_markdown()
    assert "<script" not in text
    assert "[d](" not in text
    assert "[d\\](" in text
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.split("\n") if line.startswith("|"))
