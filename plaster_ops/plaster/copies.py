"""One engine as two copies of itself: its turns of a measurement dealt out to "a" and "b", as if two had taken them.

Every measurement so holds its own A/A comparison, taken while the verdict's evidence was, by the same processes.
"""

from dataclasses import replace

from plaster_ops.plaster.evidence import Evidence

COPIES = ("a", "b")


def two_copies(evidence: Evidence, label: str) -> Evidence:
    """The turns of one engine alone, relabelled: of each pair of neighbouring turns one is of "a", the other of "b".

    Who comes first alternates, so that a steady drift of the machine cancels. A turn without a partner is left out.
    """
    dealt = []
    for block in evidence.all_blocks:
        if block.label == label:
            number, second = divmod(block.index, 2)
            dealt.append(replace(block, label=COPIES[(second + number) % 2], index=number))
    return replace(evidence, all_blocks=tuple(dealt))
