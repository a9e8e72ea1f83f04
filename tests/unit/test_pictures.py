"""The pictures of the chats show what the frontends' wires say, and are whole whatever that is."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from agent_queue.pictures import Said, picture, pictures, root, sample
from agent_queue.pictures import reading as reading
from agent_queue.pictures.drawing import WIDTH
from agent_queue.pictures.model import Item, Output, Quote, Run, Words
from agent_queue.pictures.text import hard_wrapped, is_emoji, shortened, width, wrapped
from orchestrator.lifecycle import review_actions
from orchestrator.tasks import Task
from orchestrator.transport import Action, Card, File, Post, Tone

SVG = "{http://www.w3.org/2000/svg}"
REMOTE = ("discord", "slack", "matrix")
HOSTILE = "</text><script>alert(1)</script> & \"q\" 'a' ]]> <!-- --> &amp;"


def words(svg: str) -> str:
    """All that a picture says, with one space wherever there is any."""
    said = ("".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text"))
    return " ".join(" ".join(said).split())


def drawn(frontend: str, *posts: Post) -> str:
    return picture(frontend, root(), [Said("now", posts)])


@pytest.mark.parametrize("frontend", REMOTE)
def test_a_picture_is_an_image_with_a_title_and_a_ground(frontend: str) -> None:
    svg = ET.fromstring(pictures()[frontend])
    assert (svg.tag, svg.get("role"), svg.get("width")) == (f"{SVG}svg", "img", "720")
    labels = {one.get("id"): one.text for one in svg if one.get("id")}
    assert svg.get("aria-labelledby") == " ".join(map(str, labels))
    assert frontend in str(labels["title"]).lower()
    ground = svg.find(f"{SVG}rect")
    assert ground is not None
    assert ground.get("class", "").startswith("ground")


@pytest.mark.parametrize("frontend", REMOTE)
def test_a_picture_shows_every_posts_words_and_labels(frontend: str) -> None:
    said = words(pictures()[frontend])
    for post in (post for moment in (root(), *sample()) for post in moment.posts):
        card = post.card or Card(title="")
        for word in re.findall(r"[\w-]+", f"{card.title} {re.sub('https?:[^)]*', '', post.text)}"):
            assert word in said
        for label in [*(label for field in card.fields for label in field), *(f.name for f in post.files)]:
            assert label in said
        for action in post.actions:
            assert action.label in said


@pytest.mark.parametrize("frontend", REMOTE)
def test_hostile_words_are_shown_as_they_are(frontend: str) -> None:
    task = Task(id=HOSTILE, project_id="p", title=HOSTILE)
    svg = drawn(
        frontend,
        Post(text=HOSTILE, verbatim=True),
        Post(
            card=Card(title=HOSTILE, tone=Tone.BAD, fields=((HOSTILE, "`<b>&`"),)),
            actions=(Action(label=HOSTILE, line="help", id="a"), *review_actions(task)),
            files=(File(name="a<b>&.txt", content=HOSTILE),),
        ),
    )
    said = words(svg).replace(" ", "")
    assert "<script" not in svg
    assert {element.tag for element in ET.fromstring(svg).iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "desc", "style", "rect", "circle", "path", "text")
    }
    # as output, as the card's title, its field and a button's label
    assert said.count("<script>alert(1)</script>") >= 4
    assert "<b>&" in said


@pytest.mark.parametrize("frontend", REMOTE)
@pytest.mark.parametrize(
    "text", ["\x00\x1b[31mred\x0b\ud800\ufffe\uffff", "", " \n ", "\t", "\u200b", "e\u0301" * 300]
)
@pytest.mark.parametrize("verbatim", [True, False])
def test_a_picture_is_whole_whatever_is_said(frontend: str, text: str, verbatim: bool) -> None:
    svg = drawn(frontend, Post(text=text, verbatim=verbatim), Post(card=Card(title=text)))
    ET.fromstring(svg.encode())


@pytest.mark.parametrize("frontend", REMOTE)
def test_nothing_stands_outside_of_the_picture_or_runs_into_another(frontend: str) -> None:
    long = "W" * 300
    post = Post(
        text=f"{long} **{long}** `{long}` 👩‍💻{'🔧' * 80} {'漢字' * 90}\n\n- {long}\n  - {long}\n\n> {long}",
        card=Card(title=long, fields=((long, long), ("a", "b"), ("c", "d"), ("e", "f"))),
        actions=tuple(Action(label=f"{n} {long}", line="help", id=str(n)) for n in range(6)),
        files=(File(name=f"{long}.txt", content="x"),),
    )
    svg = ET.fromstring(drawn(frontend, post, Post(text=f"{long}\n{'🔧' * 90}\n\tx", verbatim=True)))
    high = float(svg.get("height", "0"))
    lines: dict[float, list[tuple[float, float]]] = {}
    for text in svg.iter(f"{SVG}text"):
        x, y, wide = (float(text.get(name, "0")) for name in ("x", "y", "textLength"))
        assert 0 < x < x + wide <= WIDTH - 10 or (not wide and x < WIDTH - 25)
        assert 0 < y < high - 10
        lines.setdefault(y, []).append((x, x + wide))
    for line in lines.values():
        ordered = sorted(line)
        assert all(one[1] <= other[0] + 0.2 for one, other in pairwise(ordered))
    for box in svg.iter(f"{SVG}rect"):
        assert (
            0 <= float(box.get("x", "0")) < float(box.get("x", "0")) + float(box.get("width", "0")) <= WIDTH
        )
        assert (
            0 <= float(box.get("y", "0")) < float(box.get("y", "0")) + float(box.get("height", "0")) <= high
        )


def test_words_break_at_spaces_and_long_ones_within() -> None:
    lines = wrapped([Run("one two "), Run("three", bold=True), Run(" " + "x" * 40)], 90, 14)
    said = ["".join(piece.run.text for piece in line) for line in lines]
    assert said[0] == "one two three"
    assert "".join(said[1:]).strip() == "x" * 40
    assert all(line[-1].x + line[-1].width <= 90 for line in lines)


def test_a_line_of_output_is_cut_at_its_columns() -> None:
    assert hard_wrapped("abcdef\n\ng🔧🔧", 4) == ["abcd", "ef", "", "g🔧", "🔧"]


def test_a_line_that_is_too_long_ends_with_a_mark() -> None:
    assert shortened("Approve", 100, 13) == "Approve"
    short = shortened("Approve " * 9, 100, 13)
    assert short.endswith("…")
    assert width(short, 13) <= 100


def test_an_emoji_of_several_characters_is_one() -> None:
    assert is_emoji("1️⃣")
    assert is_emoji("👩‍💻")
    assert is_emoji("⚠️")
    assert not is_emoji("1")
    assert width("1️⃣", 10) == width("👩‍💻", 10) > width("W", 10)


def test_markdown_is_read_as_chats_show_it() -> None:
    text = "# Head\n\na **b** `c`\nd\n\n3. x\n\n   y\n   - z\n\n> q\n\n~~~\no\n~~~"
    assert reading.markdown(text) == [
        Words((Run("Head", bold=True),)),
        Words((Run("a "), Run("b", bold=True), Run(" "), Run("c", code=True), Run("\n"), Run("d"))),
        Item("3.", (Run("x"),)),
        Item("", (Run("y"),)),
        Item("•", (Run("z"),), 1),
        Quote((Run("q"),)),
        Output("o"),
    ]


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        ({"type": "video"}, "video"),
        ({"type": "rich_text", "elements": [{"type": "rich_text_new", "elements": []}]}, "rich_text_new"),
    ],
)
def test_what_cannot_be_drawn_is_not_left_out(wire: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no picture of Slack's \\w+ '{name}'"):
        reading.slack({"text": "", "blocks": [wire]})
