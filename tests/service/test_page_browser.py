# ruff: noqa: E501 - scripts read better in one line
"""The page in a real Chromium: as a person uses it, by pointer and by keys alone, narrow and wide, dark and light."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from service.app import create_app
from tests.chromium import Chromium, Page
from tests.service.conftest import World

LISTS = [
    {
        "id": f"utt-{number}",
        "hypotheses": [
            {"text": "a man is writing a horse", "features": {"ac": -10.0, "total": -10.0}},
            {"text": "a man is riding a horse", "features": {"ac": -11.0, "total": -11.0}},
            {"text": f"no man {number}", "features": {"ac": -30.0, "total": -30.0}},
        ],
        "references": ["a man is riding a horse"],
    }
    for number in range(12)
]
TEXT = "".join(json.dumps(one) + "\n" for one in LISTS)
MOSES = "0 ||| a man is writing ||| ac= -1 ||| -1\n0 ||| a man is riding ||| ac= -1.5 ||| -1.5\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server whose models are unigram models."""
    world = World(tmp_path_factory.mktemp("world"))
    app = create_app(world.settings(models=None), opener=world.open_scorer, shipped=["small", "other"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        until = time.monotonic() + 30
        while not running.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join(60)


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Chromium, address: str) -> Open:
    """The page, its models there."""

    def call(**window: Any) -> Any:
        return browser.page(f"{address}/", **window)

    return call


def rescored(page: Page, text: str = TEXT) -> None:
    """Lists in the field, and their ranking on the page."""
    page.wait("document.querySelector('.model')")
    page.fill("#input", text)
    page.click("#go")
    page.wait("document.getElementById('status').textContent.startsWith('Done')")
    page.wait("document.getElementById('go').ariaDisabled !== 'true'")


def first(page: Page) -> str:
    return page.text(".ranks li:first-child .text")


WINDOWS = [(360, False), (360, True), (1280, False), (1280, True)]


@pytest.mark.parametrize(("width", "dark"), WINDOWS)
def test_the_whole_way(opened: Open, width: int, dark: bool) -> None:
    """From lists to tuned weights: nothing reaches beyond the window, nothing fails, nobody else is asked."""
    with opened(width=width, dark=dark) as page:
        rescored(page)
        page.wait("document.querySelectorAll('.token').length")
        page.wait("document.querySelector('.scores-table')")
        assert page.outside() == []
        page.click("#tune-go")
        page.wait("document.querySelector('.tuned')")
        page.run("document.querySelector('.ranks details').open = true")
        page.wait("document.querySelector('.parts')")
        assert page.outside() == []
        assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        inside = "[...document.querySelectorAll('.scores-table')].every((one) => one.offsetWidth <= one.closest('.wide').clientWidth)"
        assert page.run(inside)
        assert page.faults() == []
        assert low_contrast(page) == []


def low_contrast(page: Page) -> list[Any]:
    """Texts that stand out from what is behind them by less than 4.5 to 1 (WCAG 2, 1.4.3)."""
    found: list[Any] = page.run("""(() => {
      const light = (c) => { const [r, g, b] = c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const rgba = (words) => { const v = words.match(/[\\d.]+/g).map(Number); return v.length === 3 ? [...v, 1] : v; };
      const low = [];
      for (const one of document.querySelectorAll("body *")) {
        const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !one.checkVisibility() || one.closest(":disabled, .unseen, noscript, [aria-busy=true]")) continue;
        let behind = one, back = rgba(getComputedStyle(one).backgroundColor);
        while (back[3] === 0 && behind.parentElement) { behind = behind.parentElement; back = rgba(getComputedStyle(behind).backgroundColor); }
        const [a, b] = [light(rgba(getComputedStyle(one).color).slice(0, 3)), light(back.slice(0, 3))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) low.push([one.tagName, one.className, one.textContent.slice(0, 30), ratio.toFixed(2)]);
      }
      return low;
    })()""")
    return found


def test_a_slider_and_a_number_rank_at_once(opened: Open) -> None:
    with opened() as page:
        rescored(page)
        assert first(page) == "a man is writing riding a horse"  # the old word struck out, the new one marked
        assert page.run("document.querySelector('.ranks li:first-child ins').textContent") == "riding"
        weight = "document.querySelector(\"input[aria-label='weight of small']\").valueAsNumber"
        untuned = page.run(weight)
        assert untuned > 0
        page.fill("input[aria-label='weight of small']", "0")
        assert first(page) == "a man is writing a horse"
        assert page.text("#verdict") == "The decoder's first choice stays first."
        assert page.shown("#signature-note")
        page.run("document.getElementById('weight-small').focus()")
        assert page.focused() == "weight-small"
        page.press("End")  # twice the weight
        assert page.run(weight) == pytest.approx(2 * untuned, abs=1e-3)
        assert "riding" in first(page)
        page.click("#reset")
        assert not page.shown("#signature-note")
        assert page.run(weight) == untuned
        page.wait("document.querySelectorAll('.scores-table tbody tr').length === 2")
        assert page.faults() == []


def test_word_by_word(opened: Open) -> None:
    with opened() as page:
        rescored(page)
        page.wait("document.querySelectorAll('.heat').length === 2")
        words = page.run(
            "[...document.querySelector('.heat').children].map((one) => one.innerText.split(/\\s+/))"
        )
        assert words == [
            ["a", "−1.0"], ["man", "−2.0"], ["is", "−1.5"], ["riding", "−3.0"], ["a", "−1.0"], ["horse", "−3.5"], ["end", "−0.5"],
        ]  # fmt: skip
        tints = page.run("[...document.querySelector('.heat').children].map((one) => one.className)")
        assert tints == [f"token tint-{n}" for n in (1, 2, 1, 2, 1, 2, 0)]
        assert page.run("document.querySelectorAll('.legend li').length") == 7
        page.fill("#hypothesis", "2")  # an unknown word
        page.wait("document.querySelector('.heat .oov')")
        assert page.run("document.querySelector('.oov').getAttribute('aria-label')").endswith(
            "−8.000 nats, 1 in 2,981; not in the model's vocabulary"
        )
        page.run("document.querySelector('.heat .token').focus()")
        page.press("ArrowRight")
        assert page.text(".heat-said") == "“man”: −2.000 nats, 14 %"
        page.press("End")
        assert page.text(".heat-said").startswith("“2”: ") is False
        assert page.text(".heat-said").startswith("the end of the sentence: −0.500 nats")
        assert (
            page.run(
                "[...document.querySelector('.heat').children].filter((one) => one.tabIndex === 0).length"
            )
            == 1
        )
        page.run("document.querySelectorAll('.ranks details')[1].open = true")
        page.wait("document.querySelectorAll('.ranks li')[1].querySelector('.buttons button')")
        page.run("document.querySelectorAll('.ranks li')[1].querySelector('.buttons button').click()")
        assert page.focused() == "words-title"
        assert page.run("document.getElementById('hypothesis').selectedOptions[0].textContent").startswith(
            "2. "
        )
        assert page.faults() == []


def test_scores_of_before_and_after(opened: Open) -> None:
    with opened() as page:
        rescored(page)
        page.wait("document.querySelectorAll('.scores-table tbody tr').length === 2")
        rows = page.run(
            "[...document.querySelectorAll('.scores-table tbody tr')].map((one) => one.innerText.split('\\t').map((cell) => cell.trim()))"
        )
        assert rows[0] == ["decoder's first", "16.67\n16.67 – 16.67", "–"]
        assert rows[1][0] == "weights of the answer"
        assert rows[1][1].startswith("0.00\n")
        assert rows[1][2] == "−16.67 better"
        page.fill("input[aria-label='weight of small']", "0")
        page.wait("document.querySelectorAll('.scores-table tbody tr').length === 3")
        assert page.text(".scores-table tbody tr:last-child .change") == "no change"
        page.fill("#metric", "bleu")
        page.wait("document.querySelector('.scores-table caption').textContent.startsWith('BLEU')")
        assert page.shown("#tokenize-field")
        page.fill("#references", "one line\n")
        page.wait("!document.getElementById('score-error').hidden")
        assert page.text("#score-error").startswith("There are 12 lists and 1 lines of references")
        assert page.run("document.getElementById('tune-go').disabled")
        page.fill("#references", "".join(f"utt-{k} a man is riding\n" for k in reversed(range(12))))
        page.wait("document.getElementById('score-error').hidden && document.querySelector('.scores-table')")
        assert page.faults() == []


def test_tuning_with_progress(opened: Open) -> None:
    with opened() as page:
        rescored(page)
        page.wait("!document.getElementById('tune-go').disabled")
        assert page.run("document.getElementById('held-out').value") == "0.5"
        assert page.text("#held-out-hint").startswith("The last 6 of 12 lists")
        page.run("""window.said = []; new MutationObserver(() => said.push(document.getElementById('tune-said').textContent))
            .observe(document.getElementById('tune-said'), {childList: true})""")
        page.click("#tune-go")
        page.wait("document.querySelector('.tuned')")
        said = page.run("said")
        assert "Descent 20 of 20: best 0.00, this one 0.00" in said, said
        rows = page.run(
            "[...document.querySelectorAll('.tuned tbody tr')].map((one) => one.innerText.split('\\t').map((cell) => cell.trim()))"
        )
        name, words = rows[0][0].split("\n")
        assert [name, *rows[0][1:]] == ["6 lists held out", "16.67", "0.00", "−16.67 better"]
        assert words.startswith("change −16.67 to −16.67 (95 %), p = ")
        name, words = rows[1][0].split("\n")
        assert name == "6 lists tuned on"
        assert words.startswith("flatters")
        assert page.text(".command").startswith(
            "nbest tune lists.jsonl --metric wer --lm small --out weights.json"
        )
        assert not page.shown("#name-field")  # without keys no page saves
        page.fill("input[aria-label='weight of small']", "0")
        page.click(".tuned .primary")
        assert "riding" in first(page)
        assert page.run("document.querySelector(\"input[aria-label='weight of total']\").value") == "0"
        page.fill("#restarts", "0")
        page.click("#tune-go")
        page.wait("!document.getElementById('tune-error').hidden")
        assert page.text("#tune-error") == "Descents: a whole number from 1 to 200."
        assert page.faults() == []


def test_a_tuning_can_be_stopped(opened: Open) -> None:
    words = "a man is riding writing horse".split()
    lists = [
        {"id": str(n), "references": [" ".join(words)],
         "hypotheses": [{"text": " ".join(words[: 2 + (n * k) % 5]), "features": {f"f{j}": (n * 7 + k * 13 + j * 29) % 17 * 1.0 for j in range(20)}} for k in range(40)]}
        for n in range(200)
    ]  # fmt: skip
    with opened() as page:
        page.wait("document.querySelector('.model')")
        page.run(
            "document.querySelectorAll('input[name=model]:checked').forEach((one) => (one.checked = false))"
        )
        page.run("document.getElementById('model-small').checked = true")
        page.fill(
            "#input",
            "".join(
                json.dumps(
                    {
                        **one,
                        "hypotheses": [
                            {**h, "features": {**h["features"], "total": 0.0}} for h in one["hypotheses"]
                        ],
                    }
                )
                + "\n"
                for one in lists
            ),
        )  # type: ignore[dict-item]
        page.click("#go")
        page.wait("!document.getElementById('tune-go').disabled")
        page.fill("#restarts", "200")
        page.run("document.getElementById('tune-go').focus()")
        page.press("Enter")
        page.wait("document.getElementById('tune-said').textContent.startsWith('Descent')")
        assert page.focused() == "tune-stop"
        assert page.shown("#tune-bar")
        page.press("Enter")
        page.wait("!document.getElementById('tune-error').hidden")
        assert page.text("#tune-error") == "Stopped: nothing was changed."
        assert page.focused() == "tune-go"
        assert page.faults() == []


def test_the_gallery_of_models(opened: Open) -> None:
    with opened() as page:
        rescored(page)
        page.wait("document.querySelector('[data-name=small] .state.on')")
        assert page.text("[data-name=small] .state") == "loaded"
        assert page.text("[data-name=other] .state") == "loads at first use"
        assert "tokens/s" in page.text("[data-name=small] .facts")
        assert page.run("document.querySelectorAll('input[name=model]:checked').length") == 1
        page.click("label[for=model-other]")
        rescored(page, MOSES)
        assert page.run("[...document.querySelectorAll('.heat-head strong')].length") >= 0
        page.wait("document.querySelectorAll('.heat').length === 4")  # two models, two hypotheses
        assert page.faults() == []


def test_wrong_input_is_said_and_nothing_is_lost(opened: Open) -> None:
    with opened() as page:
        page.wait("document.querySelector('.model')")
        page.click("#go")
        page.wait("!document.getElementById('error').hidden")
        assert "Paste an n-best list first" in page.text("#error")
        assert page.focused() == "input"
        rescored(page)
        before = first(page)
        bad = MOSES + "0 ||| broken\n"
        page.fill("#input", bad)
        page.click("#go")
        page.wait("document.getElementById('status').textContent.startsWith('What stands below')")
        assert page.text("#error").startswith("Line 3: ")
        assert page.run("document.getElementById('input').value") == bad
        assert first(page) == before
        page.run("document.querySelector('#error button').click()")
        assert (
            page.run(
                "(({value, selectionStart, selectionEnd}) => value.slice(selectionStart, selectionEnd))(document.getElementById('input'))"
            )
            == "0 ||| broken"
        )
        rescored(page, json.dumps({"lists": [{"id": "bad", "hypotheses": []}, *LISTS[:2]]}))
        assert page.text("#list-error").startswith("list without hypotheses")
        assert page.run("document.getElementById('list').options[0].textContent") == "bad (error)"
        page.fill("#list", "1")
        assert not page.shown("#list-error")
        assert "riding" in first(page)
        page.wait("document.getElementById('scores').textContent.length > 0")
        faults = [one for one in page.faults() if "400" not in one]  # the browser notes each refusal
        assert faults == []


def test_nemo_is_asked_how_long_its_lists_are(opened: Open) -> None:
    with opened() as page:
        page.wait("document.querySelector('.model')")
        page.fill("#input", "a man\t-1\na horse\t-2\na man\t-1\nhorse\t-3\n")
        page.click("#go")
        page.wait("!document.getElementById('beams-field').hidden")
        assert page.focused() == "beams"
        page.type("2")
        page.press("Enter")
        page.wait("document.getElementById('status').textContent === 'Done: 2 lists, read as nemo.'")


def test_a_file_is_dropped(opened: Open) -> None:
    packed = list(gzip.compress(MOSES.encode()))
    with opened() as page:
        page.wait("document.querySelector('.model')")
        page.run(f"""(() => {{ const held = new DataTransfer();
          held.items.add(new File([new Uint8Array({packed})], "lists.gz"));
          for (const kind of ["dragover", "drop"])
            document.getElementById("form").dispatchEvent(new DragEvent(kind, {{dataTransfer: held, bubbles: true, cancelable: true}})); }})()""")
        page.wait(f"document.getElementById('input').value === {json.dumps(MOSES)}")
        assert page.faults() == []


def test_keys_alone_do_all_of_it(opened: Open) -> None:
    with opened() as page:
        page.wait("document.querySelector('.model')")
        page.press("Tab")
        assert page.run("document.activeElement.className") == "skip"
        assert page.run(
            "document.activeElement.getBoundingClientRect().top >= 0"
        )  # seen where it has the focus
        page.tab_to("input")
        page.type(TEXT)
        page.tab_to("model-other")
        page.press(" ")
        page.tab_to("go")
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.press("Enter")
        page.wait("document.getElementById('status').textContent.startsWith('Done')")
        assert page.focused() == "go"
        page.wait("document.querySelectorAll('.token').length")
        page.wait("!document.getElementById('tune-go').disabled")
        seen = page.tab_to("tune-go")
        for needed in (
            "list",
            "copy-best",
            "download",
            "reset",
            "weight-ac",
            "weight-small",
            "hypothesis",
            "references",
            "metric",
            "optimizer",
            "seed",
            "held-out",
        ):
            assert needed in seen, (needed, seen)
        assert seen.count("SUMMARY") == 3
        assert seen.count("LI") == 4  # a row of words is one stop
        page.press("Enter")
        page.wait("document.querySelector('.tuned')")
        assert page.run("document.activeElement.textContent") == "What was found"
        page.press("Tab", 2)
        page.press("Enter")
        assert "riding" in first(page)
        for _ in range(60):  # no trap: the way goes on to the end of the page and begins again
            page.press("Tab")
            if page.focused() == "BODY" or page.run("document.activeElement.className") == "skip":
                break
        else:
            raise AssertionError(page.focused())
        assert page.faults() == []


def test_what_a_screen_reader_is_told(opened: Open) -> None:
    """Every control has a name, every landmark and heading is there, pictures are named or hidden."""
    with opened() as page:
        rescored(page)
        page.wait("document.querySelector('.heat')")
        tree = page.call("Accessibility.getFullAXTree")["nodes"]
        found = [
            (one["role"]["value"], one.get("name", {}).get("value", "")) for one in tree if not one["ignored"]
        ]
        roles = {role for role, _ in found}
        assert {
            "banner",
            "main",
            "form",
            "region",
            "complementary",
            "status",
            "slider",
            "spinbutton",
        } <= roles
        controls = (
            "button",
            "checkbox",
            "combobox",
            "textbox",
            "slider",
            "spinbutton",
            "searchbox",
            "link",
            "image",
        )
        assert [one for one in found if one[0] in controls and not one[1].strip()] == []
        assert next(name for role, name in found if role == "heading").startswith("Re-rank")
        levels = page.run(
            "[...document.querySelectorAll('h1, h2, h3')].filter((one) => one.checkVisibility()).map((one) => one.tagName)"
        )
        assert levels[0] == "H1"
        assert levels.count("H1") == 1
        names = page.run("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(names) == len(set(names))


@pytest.mark.parametrize("width", [360, 1280])
def test_long_lists_many_features_long_words(opened: Open, width: int) -> None:
    hypotheses = [
        {"text": ("a man " + "is " * (k % 9) + "x" * 150).strip(), "features": {"total": -float(k), **{f"a_rather_long_name_of_a_feature_{n}": float(k * n) for n in range(50)}}}
        for k in range(200)
    ]  # fmt: skip
    with opened(width=width) as page:
        rescored(page, json.dumps({"id": "u" * 80, "hypotheses": hypotheses}))
        assert page.outside() == []
        assert page.run("document.querySelectorAll('.ranks > li').length") == 50
        page.click("#more")
        assert page.run("document.querySelectorAll('.ranks > li').length") == 100
        assert page.shown("#find")
        page.fill("#find", "feature_49")
        assert (
            page.run(
                "[...document.querySelectorAll('.slider')].filter((one) => one.checkVisibility()).length"
            )
            == 1
        )
        took = page.run("""(() => { const one = document.getElementById('weight-total'); const began = performance.now();
          for (let k = 0; k < 10; k++) { one.value = k / 10; one.dispatchEvent(new Event('input')); }
          return (performance.now() - began) / 10; })()""")
        assert took < 250  # milliseconds a move, on a busy machine
        assert page.faults() == []


def test_the_apis_description_is_drawn(browser: Chromium, address: str) -> None:
    for width in (360, 1280):
        with browser.page(f"{address}/docs", width=width) as page:
            page.wait("document.querySelectorAll('.route').length > 9")
            assert "/v1/tune" in page.text("main")
            page.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
            wide = "[...document.querySelectorAll('body *')].filter((one) => !one.closest('pre') && one.getBoundingClientRect().right > innerWidth + 1).length"
            assert page.run(wide) == 0
            assert page.faults() == []
