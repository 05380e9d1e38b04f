"""Text from outside is text, wherever it is shown."""

import pytest

from plaster_ops.report.safe_text import cut_line, markdown_text, one_line


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("two\nlines\t here", "two lines here"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("bell\x07 back\x08", "bell back"),
        ("\u202eright to left\u202c", "right to left"),
        ("מודל 模型 🚀", "מודל 模型 🚀"),
        (12, "12"),
    ],
)
def test_one_line_prints_and_obeys_nothing(given: object, shown: str) -> None:
    assert one_line(given) == shown


def test_a_long_text_is_cut_where_it_was_asked() -> None:
    assert cut_line("abcdefgh", 6) == "abc..."
    assert cut_line("abcdef", 6) == "abcdef"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a|b", r"a\|b"),
        ("`code` *b* _i_ # head of #1", r"\`code\` \*b\* \_i\_ \# head of #1"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("mail @me", "mail @<!-- -->me"),
        ("see http://a.example", "see http<!-- -->://a.example"),
        ("www.a.example", "www<!-- -->.a.example"),
        ("9.1 % slower - 5 % is allowed", "9.1 % slower - 5 % is allowed"),
    ],
)
def test_markdown_reads_as_the_text_itself(given: str, shown: str) -> None:
    assert markdown_text(given) == shown
