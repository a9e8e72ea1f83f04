"""Posts as Matrix events: what they say, that they fit, that they name nobody, and what is put around them."""

import base64
import html
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.matrix.html import from_markdown, from_output, sanitised
from bots.matrix.rendering import (
    CONTENT_MAX,
    KEYCAPS,
    edited,
    emojis,
    file_content,
    mimetype_of,
    normal,
    qualified,
    relation,
    render,
    shortened,
    size,
)
from orchestrator.transport import Action, Capabilities, Card, File, Post, Tone, Verdict
from orchestrator.words import plain

CAPS = Capabilities(text_max=6_000, actions_max=10)
TAGS = frozenset(
    ["a", "b", "blockquote", "br", "caption", "code", "del", "details", "div", "em", "font", "h1", "h2", "h3", "h4",
     "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "s", "span", "strike", "strong", "sub", "summary", "sup", "table",
     "tbody", "td", "th", "thead", "tr", "u", "ul"]
)  # fmt: skip


def content(post: Post) -> dict[str, Any]:
    [wire] = render(post, CAPS)
    made: dict[str, Any] = wire["content"]
    return made


def act(label: str, line: str = "go", style: Tone = Tone.INFO, name: str = "") -> Action:
    return Action(label=label, line=line, style=style, id=name or f"id {label}")


def shown(made: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", made))


def test_words_that_are_escaped_are_shown_as_they_were_typed_and_need_no_html() -> None:
    typed = "**md** [x](http://e.vil) <b> `c` \\"
    assert content(Post(text=plain(typed)))["body"] == typed
    assert "formatted_body" not in content(Post(text=plain(typed)))


def test_a_plain_text_has_no_html() -> None:
    for text in ("hello", "a\n  b & <c>\n\n“d” @room", "see https://example.org/x_y_z"):
        assert content(Post(text=text)) == {"msgtype": "m.text", "body": text, "m.mentions": {}}


@pytest.mark.parametrize(
    ("text", "body", "made"),
    [
        (
            "**b** *i* ~~s~~ `<x>`",
            "b i s <x>",
            "<strong>b</strong> <em>i</em> <s>s</s> <code>&lt;x&gt;</code>",
        ),
        ("*a*\nb", "a\nb", "<em>a</em><br>\nb"),
        ("# h\n\nx", "h\n\nx", "<h1>h</h1>\n<p>x</p>"),
        ("```py\na<b\n```", "a<b", '<pre><code class="language-py">a&lt;b\n</code></pre>'),
        ("```py x\na<b\n```", "py x\na<b", '<pre><code class="language-py">a&lt;b\n</code></pre>'),
        ("3. a", "3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("<b>x</b> *y*", "<b>x</b> y", "&lt;b&gt;x&lt;/b&gt; <em>y</em>"),
        (
            "[l](https://x.org/?a=1&b=2)",
            "l (https://x.org/?a=1&b=2)",
            '<a href="https://x.org/?a=1&amp;b=2">l</a>',
        ),
        ("[l](mailto:a@b.org)", "l (mailto:a@b.org)", '<a href="mailto:a@b.org">l</a>'),
        ("[l](ftp://x.org)", "l (ftp://x.org)", "<a>l</a>"),
        ("[l](/relative)", "l (/relative)", "<a>l</a>"),
        (
            "![alt](https://x.org/a.png)",
            "!alt (https://x.org/a.png)",
            '!<a href="https://x.org/a.png">alt</a>',
        ),
        ("\\*not\\* *i*", "*not* i", "*not* <em>i</em>"),
        ("*x* [b]\n\n[b]: http://x", "x [b]\n\n[b]: http://x", "<p><em>x</em> [b]</p>\n<p>[b]: http://x</p>"),
    ],
)
def test_markdown_is_shown_and_its_body_is_plain(text: str, body: str, made: str) -> None:
    event = content(Post(text=text))
    assert event["body"] == body
    assert event["format"] == "org.matrix.custom.html"
    assert event["formatted_body"] == made


def test_a_table_is_a_table_without_styles() -> None:
    made = content(Post(text="|a|b|\n|-|:-:|\n|1|2|"))["formatted_body"]
    assert made.replace("\n", "") == (
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>"
    )


def test_program_output_is_shown_as_it_is_and_progress_is_a_notice() -> None:
    event = content(Post(text="**x** <b>\n\n  y\x1b[31m", verbatim=True, quiet=True))
    assert event["msgtype"] == "m.notice"
    assert event["body"] == "**x** <b>\n\n  y"
    assert event["formatted_body"] == "<pre><code>**x** &lt;b&gt;\n\n  y</code></pre>"


def test_what_is_nested_too_deep_for_html_is_said_in_the_body() -> None:
    event = content(Post(text=">" * 40 + " deep"))
    assert event["body"].endswith("deep")
    assert "formatted_body" not in event


@pytest.mark.parametrize(
    "address",
    [
        "https://matrix.to/#/@bob:hs",
        "HTTPS://MATRIX.TO/#/@bob:hs",
        "https://matrix%2Eto/#/@bob:hs",
        "https://ｍatrix.to/#/@bob:hs",
        "https://matrix。to/#/@bob:hs",
        "https://mat\u00adrix.to/#/@bob:hs",
        "https:\\\\matrix.to/#/@bob:hs",
        "https://x@matrix.to:443/#/@bob:hs",
        "matrix:u/bob:hs",
        "https://app.element.io/#/user/@bob:hs",
        "https://client.example/#/@bob:hs",
    ],
)
def test_no_link_makes_a_pill(address: str) -> None:
    for text in (
        f"*x* [bob]({address})",
        f"*x* [bob](<{address}>)",
        f"*x* <{address}>",
        f"*x* [b]\n\n[b]: {address}",
    ):
        made = content(Post(text=text)).get("formatted_body", "")
        assert "href" not in made, text
    assert "href" not in sanitised(f'<a href="{address}">bob</a>')


def test_only_what_the_specification_lists_is_left() -> None:
    made = sanitised(
        '<img src="x"><script>x</script><mx-reply>q</mx-reply><a href="javascript:x" id="y">l</a>'
        '<span data-mx-color="#ff0000" style="x" onclick="x">r</span>'
        '<font color="red" data-mx-bg-color="#00ff00">g</font><code class="x">c</code>'
    )
    assert made == (
        'q<a>l</a><span data-mx-color="#ff0000">r</span><font data-mx-bg-color="#00ff00">g</font><code>c</code>'
    )


def test_a_card_is_on_the_first_message_and_the_actions_on_the_last() -> None:
    post = Post(
        card=Card(title="The <title>", tone=Tone.GOOD, fields=(("project", "api"), ("change", "1 file\n+2"))),
        text="paragraph of text\n\n" * 500,
        actions=(
            act("Approve", "task approve x", Tone.GOOD, "a1"),
            act("Reject", "task reject x", Tone.BAD, "a2"),
        ),
        files=(File(name="a.diff", content="+x\n"), File(name="b.bin", content="AAE=", encoded=True)),
        reply_to="$event",
        verdict=Verdict.OK,
        data={"a": 1},
    )
    first, second, *files = render(post, CAPS)
    assert first["content"]["body"].startswith(
        "✅ The <title>\nproject: api\nchange: 1 file\n+2\n\nparagraph"
    )
    assert first["content"]["formatted_body"].startswith(
        "<p>✅ <strong>The &lt;title&gt;</strong><br>project: api<br>change: 1 file<br>+2</p>\n<p>paragraph"
    )
    assert set(first) == {"content", "reply_to"}
    assert second["content"]["body"].endswith(
        "\n\nReact or type:\n✅ Approve — !aq task approve x\n❌ Reject — !aq task reject x"
    )
    assert second["content"]["formatted_body"].endswith(
        "<p>React or type:<br>✅ Approve — <code>!aq task approve x</code><br>"
        "❌ Reject — <code>!aq task reject x</code></p>"
    )
    assert second["reactions"] == {"✅": "a1", "❌": "a2"}
    assert (second["reply_to"], second["verdict"]) == ("$event", "ok")
    assert files == [
        {"attachment": True, "file": {"name": "a.diff", "content": "+x\n", "encoded": False}},
        {"attachment": True, "file": {"name": "b.bin", "content": "AAE=", "encoded": True}},
    ]


def test_a_card_alone_and_a_file_alone_are_messages() -> None:
    assert content(Post(card=Card(title="Done")))["body"] == "🔹 Done"
    message, file = render(Post(files=(File(name="a\nb.txt", content="x\ud800"),)), CAPS)
    assert message["content"]["body"] == "a b.txt"
    assert file["file"] == {"name": "a b.txt", "content": "x\ufffd", "encoded": False}


def test_a_long_text_is_summarised_with_the_whole_attached() -> None:
    text = "".join(f"line {n}\n" for n in range(9_000))
    for verbatim, name in ((False, "output.md"), (True, "output.txt")):
        message, file = render(Post(text=text, verbatim=verbatim), CAPS)
        assert "all attached" in message["content"]["body"]
        assert file["file"] == {"name": name, "content": text, "encoded": False}


def test_each_action_has_an_emoji_of_its_own() -> None:
    labels = (
        "Approve",
        "Reject",
        "Diff",
        "Log",
        "Retry",
        "Skip",
        "Let the agent resolve it",
        "Yes, stop it",
        "Other",
    )
    found = emojis([act(label) for label in labels], 10)
    assert found == ["✅", "❌", "📄", KEYCAPS[3], "🔁", "⏭\ufe0f", "🤖", KEYCAPS[7], KEYCAPS[8]]
    assert emojis([act("Go", style=Tone.GOOD), act("No", style=Tone.BAD)], 10) == ["✅", "❌"]


def test_choices_of_an_agent_are_counted() -> None:
    choices = [act(f"Yes, {n}", f'task answer x question:q "Yes, {n}"') for n in range(12)]
    assert emojis(choices, 20) == [*KEYCAPS, "", ""]
    [wire] = render(Post(text="which?", actions=tuple(choices)), CAPS)
    assert list(wire["reactions"]) == [normal(one) for one in KEYCAPS]
    assert '• Yes, 11 — !aq task answer x question:q "Yes, 11"' in wire["content"]["body"]


def test_what_cannot_be_reacted_to_is_typed() -> None:
    for post, caps in (
        (Post(actions=(act("Go", "go"),)), Capabilities(text_max=6_000)),
        (Post(actions=(Action(label="Go", line="go"),)), CAPS),
    ):
        [wire] = render(post, caps, sigil="!q")
        assert wire["content"]["body"] == "Type:\n• Go — !q go"
        assert "reactions" not in wire


@given(
    st.lists(
        st.builds(act, st.sampled_from(["Yes", "Diff", "Log", "x"]), style=st.sampled_from(Tone)), max_size=14
    )
)
def test_no_two_actions_share_an_emoji_however_it_is_written(actions: list[Action]) -> None:
    found = [normal(one) for one in emojis(actions, 10) if one]
    assert len(set(found)) == len(found) == min(len(actions), 10)
    assert all(normal(qualified(one)) == one for one in found)


def test_an_emoji_is_the_same_as_any_client_sends_it() -> None:
    assert normal("1\ufe0f\u20e3") == normal("1\u20e3")
    assert normal("⏭\ufe0f") == normal("⏭") == "⏭"
    assert normal("👍🏽") == "👍"
    assert qualified("⏭") == "⏭\ufe0f"
    assert qualified("1\u20e3") == "1\ufe0f\u20e3"
    assert qualified("👍") == "👍"


NASTY = st.sampled_from(
    ["🙂", "\n", '"', "\\", "<&>", "\ud83d", "\x00", "\x1b[31m", "\u202e", "é", "`", "```\n", "> ", "- ",
     "|a|b|\n|-|-|\n", "**", "[l](http://x)", "[p](https://matrix.to/#/@a:h)",
     "@room ", "word ", "\u2028", "~~~\n", "\t", "&#0;", "\r"]
)  # fmt: skip
TEXTS = st.lists(NASTY | st.text(max_size=5), max_size=40).map("".join)
LONG = st.tuples(TEXTS, st.integers(1, 3_000)).map(lambda drawn: (drawn[0] * drawn[1])[:20_000])
ACTIONS = st.lists(st.builds(act, TEXTS, LONG, st.sampled_from(Tone), st.just("a")), max_size=12).map(tuple)
CARDS = st.none() | st.builds(
    Card,
    title=LONG,
    tone=st.sampled_from(Tone),
    fields=st.lists(st.tuples(TEXTS, LONG), max_size=30).map(tuple),
)
POSTS = st.builds(
    Post,
    text=LONG,
    verbatim=st.booleans(),
    card=CARDS,
    actions=ACTIONS,
    files=st.lists(st.builds(File, name=TEXTS, content=TEXTS), max_size=2).map(tuple),
    quiet=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(POSTS)
def test_whatever_is_said_fits_can_be_sent_and_names_nobody(post: Post) -> None:
    wires = render(post, CAPS)
    messages = [wire["content"] for wire in wires if "content" in wire]
    assert 1 <= len(messages) <= CAPS.parts_max
    assert all("content" in wire for wire in wires[: len(messages)])
    json.dumps(wires, ensure_ascii=False).encode()
    for made in messages:
        assert size(made) < CONTENT_MAX
        assert made["m.mentions"] == {}
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", made["body"])
        rich = made.get("formatted_body", "")
        assert {tag.lower() for tag in re.findall(r"</?([A-Za-z][^\s>/]*)", rich)} <= TAGS
        assert not re.search(r"href=\"[^\"]*matrix", rich)
    assert wires == render(post, CAPS), "rendering is pure"


@pytest.mark.parametrize("piece", ["🙂", "\n", '"', "\\", "<&>", "<", "\u2028", "|", "[", "*", "`", "_a_"])
@pytest.mark.parametrize("verbatim", [False, True])
def test_a_text_of_nothing_but_one_sign_fits(piece: str, verbatim: bool) -> None:
    for length in (5_999, 6_000, 20_000):
        text = (piece * length)[:length]
        wires = render(Post(text=text, verbatim=verbatim), CAPS)
        assert all(size(wire["content"]) < CONTENT_MAX for wire in wires if "content" in wire)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=200))
def test_program_output_as_html_says_what_it_says(text: str) -> None:
    assert shown(from_output(text)) == text


def test_html_that_would_be_too_long_is_none() -> None:
    assert from_markdown("*x* " * 20, 100) == ""
    assert from_markdown("*x*", 100) == "<p><em>x</em></p>"


@given(TEXTS.filter(lambda text: not re.search(r"[\ud800-\udfff]", text)), st.integers(10, 60))
def test_a_shortened_text_fits_in_bytes(text: str, limit: int) -> None:
    made = shortened(text, limit)
    assert size(made) <= limit
    assert made == text or made.endswith("…")


def test_relations_are_put_around_a_content() -> None:
    base = {"body": "x"}
    assert relation(base, root=None, reply_to=None) == base
    assert relation(base, root="$r", reply_to=None)["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$r",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$r"},
    }
    assert relation(base, root="$r", reply_to="$e")["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$r",
        "is_falling_back": False,
        "m.in_reply_to": {"event_id": "$e"},
    }
    assert relation(base, root=None, reply_to="$e")["m.relates_to"] == {"m.in_reply_to": {"event_id": "$e"}}
    assert base == {"body": "x"}


def test_an_edit_carries_the_new_content_once_and_mentions_nobody() -> None:
    made = edited(relation(content(Post(text="**x** " * 100)), root="$r", reply_to=None), "$e")
    assert made["body"] == "* " + ("x " * 100)[:200].rstrip()
    assert made["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$e"}
    assert made["m.new_content"] == content(Post(text="**x** " * 100))
    assert made["m.mentions"] == made["m.new_content"]["m.mentions"] == {}
    assert "formatted_body" not in made


def test_a_file_is_a_picture_or_a_file_in_the_clear_or_encrypted() -> None:
    plain = file_content("a.diff", "text/plain; charset=utf-8", 3, "mxc://hs/x")
    assert plain == {
        "msgtype": "m.file",
        "body": "a.diff",
        "filename": "a.diff",
        "info": {"mimetype": "text/plain; charset=utf-8", "size": 3},
        "m.mentions": {},
        "url": "mxc://hs/x",
    }
    picture = file_content("a.png", "image/png", 3, {"url": "mxc://hs/x", "v": "v2"})
    assert picture["msgtype"] == "m.image"
    assert picture["file"] == {"url": "mxc://hs/x", "v": "v2"}
    assert "url" not in picture


@pytest.mark.parametrize(
    ("name", "raw", "kind"),
    [
        *((name, b"x\n", "text/plain; charset=utf-8") for name in ("a.diff", "a.patch", "a.txt", "a.md", "Makefile")),
        *((name, "é".encode(), "text/plain; charset=utf-8") for name in ("a.ts", "a.html", "a.svg", "a.png")),
        ("a.txt", b"\xff\xfe", "text/plain"),
        ("A.PNG", b"\x89PNG\x00", "image/png"),
        ("a.webp", b"RIFF\x00", "image/webp"),
        ("a.tar.gz", b"\x1f\x8b", "application/gzip"),
        ("a.tar.xz", b"\xfd7z", "application/octet-stream"),
        ("a", b"a\x00b", "application/octet-stream"),
        ("a.zip", base64.b64decode("UEsDBAA="), "application/zip"),
    ],
)  # fmt: skip
def test_what_a_file_is(name: str, raw: bytes, kind: str) -> None:
    assert mimetype_of(name, raw) == kind
