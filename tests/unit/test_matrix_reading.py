"""Which Matrix messages are meant for us, and the words in them; no content raises or takes long."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.matrix.reading import addressed

ME = "@bot:hs.example"
NAME = "Agent Queue"
PILL = f'<a href="https://matrix.to/#/{ME}">{NAME}</a>'
ALICE = '<a href="https://matrix.to/#/@alice:hs">Alice</a>'


def read(content: dict[str, Any], *, direct: bool = False) -> tuple[bool, str]:
    return addressed(content, me=ME, name=NAME, sigil="!aq", direct=direct)


def say(body: str, formatted: str | None = None, **more: Any) -> dict[str, Any]:
    content = {"msgtype": "m.text", "body": body, **more}
    return content if formatted is None else {**content, "formatted_body": formatted}


def naming(*users: str) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": list(users)}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("!aq status", "status"),
        ("!AQ status", "status"),
        ("/aq status", "status"),
        ("  !aq   status  ", "status  "),
        ("!aq", ""),
        ("!aq\nstatus", "status"),
        ("!aq task add x\n\n  body “smart” —x\n", "task add x\n\n  body “smart” —x\n"),
        (f"{ME} status", "status"),
        (f"{ME}: status", "status"),
        ("Agent Queue: status", "status"),
        ("agent queue, status", "status"),
        ("@Agent Queue status", "status"),
        ("Agent Queue: !aq status", "status"),
    ],
)
def test_a_sigil_or_our_name_at_the_beginning_addresses_us(body: str, text: str) -> None:
    assert read(say(body)) == (True, text)


@pytest.mark.parametrize(
    "body",
    [
        "status",
        "Agent Queue",
        "agent queue failed again",
        "!aqua status",
        "x !aq status",
        "Agent Queues: hm",
        "tell Agent Queue",
        "!a q",
        "> !aq x",
        "",
    ],
)
def test_other_words_do_not_address_us_but_in_a_direct_chat(body: str) -> None:
    assert read(say(body)) == (False, body)
    assert read(say(body), direct=True) == (True, body)


def test_another_sigil_is_taken_as_it_is() -> None:
    assert addressed(say(".q status"), me=ME, name="", sigil=".q", direct=False) == (True, "status")
    assert addressed(say("!aq status"), me=ME, name="", sigil=".q", direct=False) == (False, "!aq status")


@pytest.mark.parametrize(
    "pill",
    [
        PILL,
        PILL.replace("@bot:hs.example", "%40bot%3Ahs.example"),
        PILL.replace("https://matrix.to/#/@bot", "matrix:u/bot").replace('">', '?action=chat">'),
        f"<a class='x' HREF='https://matrix.to/#/{ME}?via=hs'>{NAME}</a>",
    ],
)
def test_a_pill_at_the_beginning_addresses_us(pill: str) -> None:
    for colon in ("", ":", ","):
        assert read(say(f"{NAME}{colon} status\nx", f"{pill}{colon} status<br>x")) == (True, "status\nx")
        assert read(say(f"{ME}{colon} status", f"{pill}{colon} status")) == (True, "status")
    assert read(say(f"tell {NAME}", f"tell {pill}")) == (False, f"tell {NAME}")


def test_a_pill_under_another_name_than_ours_is_a_pill() -> None:
    assert read(say("Botty: status", PILL.replace(NAME, "Botty") + ": status")) == (True, "status")


def test_a_mention_anywhere_addresses_us_and_goes_from_the_ends() -> None:
    ours = naming(ME)
    assert read(say(f"status, {NAME}", f"status, {PILL}", **ours)) == (True, "status")
    assert read(say(f"status @{NAME} ", **ours)) == (True, "status")
    assert read(say(f"is {NAME} there", f"is {PILL} there", **ours)) == (True, f"is {NAME} there")
    assert read(say(f"{NAME} status", f"{PILL} status", **ours)) == (True, "status")
    assert read(say("status", **ours)) == (True, "status")
    assert read(say(f"tell {NAME}", **naming("@other:hs"))) == (False, f"tell {NAME}")


def test_others_are_given_by_their_accounts() -> None:
    assert read(say("!aq grant Alice operator", f"!aq grant {ALICE} operator")) == (
        True,
        "grant @alice:hs operator",
    )
    assert read(say("!aq grant [Alice](https://matrix.to/#/%40alice%3Ahs) x", f"!aq grant {ALICE} x")) == (
        True,
        "grant @alice:hs x",
    )
    assert read(say("[Agent Queue](https://matrix.to/#/@bot:hs.example): hi", f"{PILL}: hi")) == (True, "hi")
    body, formatted = f"{NAME}: grant Alice x", f"{PILL}: grant {ALICE} x"
    assert read(say(body, formatted)) == (True, "grant @alice:hs x")


def test_the_name_that_is_a_pill_is_meant_and_not_the_same_word_before_it() -> None:
    content = say("!aq Alice knows Alice, not Alice", f"!aq Alice knows {ALICE}, not Alice")
    assert read(content)[1] == "Alice knows @alice:hs, not Alice"
    two = say(
        "A and A & A",
        '<a href="https://matrix.to/#/@a:h">A</a> and A &amp; <a href="https://matrix.to/#/@b:h">A</a>',
    )
    assert read(two)[1] == "@a:h and A & @b:h"


@pytest.mark.parametrize(
    "link",
    [
        "https://matrix.to/#/!room:hs",
        "https://matrix.to/#/#room:hs",
        "https://matrix.to/#/@alice",
        "https://evil.example/#/@alice:hs",
        "https://matrix.to/#/@alice:hs%20role:admin",
        "https://matrix.to/#/@a%0Ab:hs",
        "javascript:x",
    ],
)
def test_a_link_to_anything_else_stays_as_it_was_typed(link: str) -> None:
    assert read(say("!aq grant Alice x", f'!aq grant <a href="{link}">Alice</a> x')) == (
        True,
        "grant Alice x",
    )


def test_what_a_reply_repeats_is_not_said_again() -> None:
    related: dict[str, Any] = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    quote = "> <@alice:hs> !aq stop\n> more\n\n"
    formatted = f"<mx-reply><blockquote>{PILL} {ALICE} stop</blockquote></mx-reply>{ALICE} !"
    assert read(say(f"{quote}!aq status\nx", **related)) == (True, "status\nx")
    assert read(say(f"{quote}yes\n> quoted by hand", **related)) == (False, "yes\n> quoted by hand")
    assert read(say(f"{quote}Alice !", formatted, **related)) == (False, "@alice:hs !")
    assert read(say(quote, **related)) == (False, "")
    assert read(say("> a quote of mine\n\nyes", **related)) == (False, "> a quote of mine\n\nyes")
    assert read(say(f"{quote}yes")) == (False, f"{quote}yes")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    ["<a", " href=", '"', "'", "https://matrix.to/#/", ME, "@alice:hs", ">", "</a>", "<mx-reply>", "</mx-reply>",
     NAME, "Alice", "&#", "9" * 5000, ";", "&amp", "<!--", "<![CDATA[", "[", "](", ")", "\n", "> <@a:b> x\n", "!aq ",
     "%40", "%ff", "\ud800", "\x00"]
)  # fmt: skip
HOSTILE = st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join)
KEYS = ("body", "formatted_body", "m.mentions", "m.relates_to", "format")


@given(st.dictionaries(st.sampled_from(KEYS), JSON | HOSTILE, max_size=5), st.booleans())
def test_no_content_raises(content: dict[str, Any], direct: bool) -> None:
    meant, text = read(content, direct=direct)
    assert isinstance(text, str)
    assert meant or not direct


@settings(max_examples=300)
@given(HOSTILE, HOSTILE, st.booleans())
def test_no_html_raises(body: str, formatted: str, reply: bool) -> None:
    related: dict[str, Any] = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}} if reply else {}
    read(say(body, formatted, **related, **naming(ME)))


@given(st.text(max_size=200), HOSTILE)
def test_the_words_behind_the_sigil_stay_as_typed(words: str, formatted: str) -> None:
    assert read(say(f"!aq {words}"))[1] == words.lstrip()
    if "matrix.to" not in formatted:
        assert read(say(f"!aq {words}", formatted))[1] == words.lstrip()


@pytest.mark.parametrize(
    "piece",
    ["<", "<a", "<a ", "<a href", "<a href=", '<a href="', "<a href='", "<a>", "<!--", "<![", "</", "&#9", "&", "[",
     "[](", "> ", "<b>x", "href=", 'href="', "href ", ALICE, PILL, "x", "\n", " ", "https://matrix.to/#/",
     "[a](https://matrix.to/#/@a:h)"],
)  # fmt: skip
def test_no_content_takes_long(piece: str) -> None:
    related: dict[str, Any] = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    many = piece * (300_000 // len(piece))
    begun = time.process_time()
    for formatted in (many, f"<a {many}", f'{ALICE}<a href="{many}', f"<{many}", f"{ALICE[:44]}{many}"):
        for body in (many, f"> <@a:b> x\n{many}", f"Alice {many}"):
            read(say(body, formatted, **related, **naming(ME)))
    assert time.process_time() - begun < 8
