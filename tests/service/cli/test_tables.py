from service.cli.tables import shown, table


def test_words_to_the_left_and_numbers_to_the_right() -> None:
    rows = [["a", "1.50", "words"], ["longer", "10.00", ""]]
    assert table(["what", "n", ""], rows, left=(0, 2)) == [
        "what        n",
        "a        1.50  words",
        "longer  10.00",
    ]
    assert table(["what", "n"], []) == ["what  n"]


def test_what_would_move_the_cursor() -> None:
    assert shown("a\x1b[2J\u2028\x9b\tb") == "a\ufffd[2J\ufffd\ufffd\ufffdb"
