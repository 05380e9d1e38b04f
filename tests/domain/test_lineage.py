"""What a rollback goes back to, told from the lines of the ledger."""

import pytest

from plaster_ops.domain.lineage import PromotionKind, lineage

KINDS = {"+": PromotionKind.PROMOTE, "*": PromotionKind.RETRAIN, "-": PromotionKind.ROLLBACK}


@pytest.mark.parametrize(
    ("lines", "standing"),
    [
        ("", ""),
        ("*A *B *C", "ABC"),
        ("*A *B *C -B", "AB"),
        ("*A *B *C -B -A", "A"),
        ("*A *B *C -A", "A"),
        ("*A *B *C -B -C", "ABC"),
        ("*A *B -A *C", "AC"),
        ("*A *B *C +A", "ABCA"),
        ("*A *B *C +A -C", "ABC"),
        ("*A *B +B", "AB"),
        ("*A *B *A *B -A", "ABA"),
    ],
)
def test_a_rollback_takes_away_what_is_above_and_a_promotion_comes_on_top(lines: str, standing: str) -> None:
    told = [(KINDS[word[0]], word[1]) for word in lines.split()]
    assert "".join(lineage(told)) == standing
