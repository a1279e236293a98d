"""Every sequence can be read back from its last node; no prefix stands twice."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.scoring.prefix_tree import PrefixTree, build_prefix_tree
from models.vocabulary import Sequences


def _path(tree: PrefixTree, node: int) -> list[int]:
    words: list[int] = []
    while node:
        words.append(int(tree.words[node]))
        node = int(tree.parents[node])
    return words[::-1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=12))
def test_tree_holds_each_prefix_once(sequences: list[list[int]]) -> None:
    tree = build_prefix_tree(Sequences.of(sequences), start_id=2)
    assert [_path(tree, int(node)) for node in tree.last_nodes] == sequences
    paths = [tuple(_path(tree, node)) for node in range(len(tree.words))]
    assert len(set(paths)) == len(paths)
    prefixes = {tuple(sequence[:n]) for sequence in sequences for n in range(len(sequence) + 1)}
    assert set(paths) == prefixes | {()}
    assert tree.words[0] == 2
    for start, stop, depth in zip(tree.levels[:-1], tree.levels[1:], range(99), strict=False):
        assert all(len(path) == depth for path in paths[start:stop])
    assert tree.levels[-1] == len(paths)
