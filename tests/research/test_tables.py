from research.tables import Panel, ResultTable, draw_panels, write_markdown
from tfmot_swd.io.tables import as_text

TABLE = ResultTable("Two rows", ("method", "score"), (("first", "1.0"), ("second", "12.5")), left=("method",))


def test_words_stand_on_the_left_and_numbers_on_the_right():
    lines = as_text(TABLE.__rich__()).splitlines()
    assert "Two rows" in lines[0]
    assert "│ first  │   1.0 │" in lines


def test_markdown_has_title_notes_table_and_end(tmp_path):
    noted = ResultTable("Noted", ("a",), (("1",),), notes=("Why.",))
    path = write_markdown(tmp_path / "tables.md", [TABLE, noted], end="\\* a remark")
    assert path.read_text() == (
        "**Two rows**\n\n| method | score |\n|---|---|\n| first | 1.0 |\n| second | 12.5 |\n\n"
        "**Noted**\n\nWhy.\n\n| a |\n|---|\n| 1 |\n\n"
        "\\* a remark\n"
    )


def test_panels_are_drawn_side_by_side(tmp_path):
    panel = Panel("one", "million MACs", {"ours": [(1.0, 80.0), (2.0, 90.0)]}, ("dense", 92.0), bold=("ours",))
    one = draw_panels(tmp_path / "one.png", [panel])
    two = draw_panels(tmp_path / "two.png", [panel, panel])
    assert 10_000 < one.stat().st_size < two.stat().st_size


def test_a_picture_without_panels_is_empty_and_no_error(tmp_path):
    assert draw_panels(tmp_path / "none.png", []).read_bytes().startswith(b"\x89PNG")
