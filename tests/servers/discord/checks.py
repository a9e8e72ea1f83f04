"""The documented limits of messages, forms and their parts; what is too much is refused, never cut."""

from typing import Any

from tests.servers.discord.errors import Form, refused
from tests.servers.discord.model import COMPONENTS_V2, EPHEMERAL, SILENT, SUPPRESS_EMBEDS, Json

FILE_BYTES = 10 * 1024**2
FILES = 10
CREATE_FLAGS = SUPPRESS_EMBEDS | SILENT | COMPONENTS_V2 | 1 << 13
ANSWER_FLAGS = CREATE_FLAGS | EPHEMERAL
EDIT_FLAGS = SUPPRESS_EMBEDS | COMPONENTS_V2

_ROW, _BUTTON, _STRING_SELECT, _TEXT_INPUT, _TEXT_DISPLAY, _LABEL = 1, 2, 3, 4, 10, 18
_SELECTS = {3, 5, 6, 7, 8}
_V2 = {9, 10, 11, 12, 13, 14, 17}
_EMBED_TEXTS = {"title": 256, "description": 4096}


def message(body: Json) -> None:
    """Check what a message is made of, for a create as for an edit."""
    form = Form()
    v2 = bool((body.get("flags") or 0) & COMPONENTS_V2)
    form.text("content", body.get("content"), 0, 2000)
    if v2 and (body.get("content") or body.get("embeds")):
        form.wrong("flags", "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", "No content, no embeds.")
    _embeds(form, form.count("embeds", body.get("embeds"), 0, 10))
    components(form, form.count("components", body.get("components"), 0, 40 if v2 else 5), v2=v2)
    form.count("attachments", body.get("attachments"), 0, FILES)
    _mentions(form, body.get("allowed_mentions"))
    _nonce(form, body.get("nonce"))
    form.check()


def flags(value: Any, allowed: int) -> int:
    """The flags that a client sets; others are refused, where Discord may only ignore them."""
    form = Form()
    if value is not None and not isinstance(value, int):
        form.wrong("flags", "NUMBER_TYPE_COERCE", f"Value {value!r} is not int.")
    elif (value or 0) & ~allowed:
        form.wrong("flags", "MESSAGE_FLAGS_INVALID", "These flags cannot be set.")
    form.check()
    return value or 0


def files(sizes: list[int]) -> None:
    """Check what is uploaded: 10 files, and 10 MiB each (documented for a server without boosts)."""
    if any(size > FILE_BYTES for size in sizes):
        raise refused(40005)
    form = Form()
    form.count("attachments", sizes, 0, FILES)
    form.check()


def name(value: Any) -> str:
    """The name of a channel or a thread."""
    form = Form()
    if form.required("name", value):
        form.text("name", value, 1, 100)
    form.check()
    return str(value)


def auto_archive(value: Any) -> int:
    form = Form()
    form.one_of("auto_archive_duration", value, (60, 1440, 4320, 10080))
    form.check()
    return int(value)


def modal(body: Json) -> None:
    """Check a form: title 45, custom_id 100, one to five parts."""
    form = Form()
    if form.required("data.title", body.get("title")):
        form.text("data.title", body["title"], 1, 45)
    if form.required("data.custom_id", body.get("custom_id")):
        form.text("data.custom_id", body["custom_id"], 1, 100)
    form.required("data.components", body.get("components"))
    seen: set[str] = set()
    for at, part in enumerate(form.count("data.components", body.get("components"), 1, 5)):
        path = f"data.components.{at}"
        if part.get("type") == _LABEL:
            form.text(f"{path}.label", part.get("label"), 1, 45)
            form.text(f"{path}.description", part.get("description"), 1, 100)
            _input(form, f"{path}.component", part.get("component") or {}, seen, labelled=True)
        elif part.get("type") == _ROW:
            inner = form.count(f"{path}.components", part.get("components"), 1, 1)
            _input(form, f"{path}.components.0", inner[0] if inner else {}, seen, labelled=False)
        elif part.get("type") != _TEXT_DISPLAY:
            form.wrong(f"{path}.type", "UNION_TYPE_CHOICES", "Not allowed in a modal.")
    form.check()


def choices(body: Json) -> list[Json]:
    """Check what autocomplete offers."""
    form = Form()
    form.required("data.choices", body.get("choices"))
    found = form.count("data.choices", body.get("choices"), 0, 25)
    for at, choice in enumerate(found):
        form.text(f"data.choices.{at}.name", choice.get("name") or "", 1, 100)
        if isinstance(choice.get("value"), str):
            form.text(f"data.choices.{at}.value", choice["value"], 1, 100)
        form.required(f"data.choices.{at}.value", choice.get("value"))
    form.check()
    return found


def components(form: Form, parts: list[Json], *, v2: bool) -> None:
    """Check components: custom ids are unique in a message; 40 in all where they are of the second version."""
    seen: set[str] = set()
    total = [0]
    for at, part in enumerate(parts):
        _component(form, f"components.{at}", part, seen, total, v2=v2)
    if total[0] > 40:
        form.wrong("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", "Must be 40 or fewer in total.")


def buttons(parts: list[Json]) -> list[Json]:
    """All components that can be used, however deep they are."""
    found: list[Json] = []
    for part in parts:
        if "custom_id" in part:
            found.append(part)
        inner = [*(part.get("components") or []), *([part["accessory"]] if part.get("accessory") else [])]
        found.extend(buttons(inner))
    return found


def _component(form: Form, path: str, part: Json, seen: set[str], total: list[int], *, v2: bool) -> None:
    total[0] += 1
    kind = part.get("type")
    if kind == _ROW:
        _row(form, path, part, seen, total)
    elif v2 and kind in _V2:
        if kind == _TEXT_DISPLAY:
            form.text(f"{path}.content", part.get("content") or "", 1, 4000)
        inner = [*(part.get("components") or []), *([part["accessory"]] if part.get("accessory") else [])]
        for at, one in enumerate(inner):
            if one.get("type") == _BUTTON:
                total[0] += 1
                _button(form, f"{path}.components.{at}", one, seen)
            else:
                _component(form, f"{path}.components.{at}", one, seen, total, v2=True)
    else:
        form.wrong(f"{path}.type", "UNION_TYPE_CHOICES", "Value of field 'type' must be an action row here.")


def _row(form: Form, path: str, row: Json, seen: set[str], total: list[int]) -> None:
    inner = form.count(f"{path}.components", row.get("components") or [], 1, 5)
    total[0] += len(inner)
    selects = [one for one in inner if one.get("type") in _SELECTS]
    if selects and len(inner) > 1:
        form.wrong(f"{path}.components", "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "A select takes a whole row.")
    for at, one in enumerate(inner):
        if one.get("type") == _BUTTON:
            _button(form, f"{path}.components.{at}", one, seen)
        elif one in selects:
            _select(form, f"{path}.components.{at}", one, seen)
        else:
            form.wrong(f"{path}.components.{at}.type", "UNION_TYPE_CHOICES", "Not allowed in a message.")


def _button(form: Form, path: str, button: Json, seen: set[str]) -> None:
    form.one_of(f"{path}.style", button.get("style"), (1, 2, 3, 4, 5, 6))
    form.text(f"{path}.label", button.get("label"), 0, 80)
    if not button.get("label") and not button.get("emoji"):
        form.wrong(path, "BUTTON_COMPONENT_INVALID", "A button must have a label or an emoji.")
    if button.get("style") == 5:
        form.required(f"{path}.url", button.get("url"))
        form.text(f"{path}.url", button.get("url"), 1, 512)
        if button.get("custom_id") is not None:
            form.wrong(path, "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", "A url or a custom id.")
    else:
        _custom_id(form, path, button, seen)


def _select(form: Form, path: str, select: Json, seen: set[str]) -> None:
    _custom_id(form, path, select, seen)
    form.text(f"{path}.placeholder", select.get("placeholder"), 0, 150)
    if select.get("type") != _STRING_SELECT:
        return
    for at, option in enumerate(form.count(f"{path}.options", select.get("options") or [], 1, 25)):
        form.text(f"{path}.options.{at}.label", option.get("label") or "", 1, 100)
        form.text(f"{path}.options.{at}.value", option.get("value") or "", 1, 100)
        form.text(f"{path}.options.{at}.description", option.get("description"), 0, 100)


def _custom_id(form: Form, path: str, part: Json, seen: set[str]) -> None:
    value = part.get("custom_id")
    if not form.required(f"{path}.custom_id", value):
        return
    form.text(f"{path}.custom_id", value, 1, 100)
    if value in seen:
        form.wrong(f"{path}.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id duplicated.")
    seen.add(str(value))


def _input(form: Form, path: str, part: Json, seen: set[str], *, labelled: bool) -> None:
    if labelled and part.get("type") in _SELECTS:
        _select(form, path, part, seen)
        return
    if part.get("type") != _TEXT_INPUT:
        form.wrong(f"{path}.type", "UNION_TYPE_CHOICES", "Not allowed in a modal.")
        return
    _custom_id(form, path, part, seen)
    form.one_of(f"{path}.style", part.get("style"), (1, 2))
    if not labelled and form.required(f"{path}.label", part.get("label")):
        form.text(f"{path}.label", part["label"], 1, 45)
    form.text(f"{path}.placeholder", part.get("placeholder"), 0, 100)
    form.text(f"{path}.value", part.get("value"), 0, 4000)


def _embeds(form: Form, embeds: list[Json]) -> None:
    total = 0
    for at, embed in enumerate(embeds):
        path = f"embeds.{at}"
        for key, most in _EMBED_TEXTS.items():
            form.text(f"{path}.{key}", embed.get(key), 0, most)
        form.text(f"{path}.footer.text", (embed.get("footer") or {}).get("text"), 0, 2048)
        form.text(f"{path}.author.name", (embed.get("author") or {}).get("name"), 0, 256)
        for number, row in enumerate(form.count(f"{path}.fields", embed.get("fields"), 0, 25)):
            form.text(f"{path}.fields.{number}.name", row.get("name") or "", 1, 256)
            form.text(f"{path}.fields.{number}.value", row.get("value") or "", 1, 1024)
        total += embed_size(embed)
    if total > 6000:
        form.wrong("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def embed_size(embed: Json) -> int:
    """The characters of an embed that count towards the 6,000 of a message."""
    texts = [embed.get("title"), embed.get("description"), (embed.get("footer") or {}).get("text")]
    texts.append((embed.get("author") or {}).get("name"))
    texts.extend(row.get(key) for row in embed.get("fields") or [] for key in ("name", "value"))
    return sum(len(text) for text in texts if isinstance(text, str))


def _mentions(form: Form, allowed: Any) -> None:
    """Check allowed_mentions: a kind is either parsed or listed, and a list has up to 100 (documented)."""
    if allowed is None:
        return
    parse = allowed.get("parse") or []
    for kind in parse:
        form.one_of("allowed_mentions.parse", kind, ("roles", "users", "everyone"))
    for kind in ("roles", "users"):
        listed = form.count(f"allowed_mentions.{kind}", allowed.get(kind), 0, 100)
        if listed and kind in parse:
            sentence = f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
            form.wrong("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", sentence)


def _nonce(form: Form, nonce: Any) -> None:
    if isinstance(nonce, int):
        nonce = str(nonce)
    form.text("nonce", nonce, 0, 25)
