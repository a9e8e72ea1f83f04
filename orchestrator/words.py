"""Words: task ids that people can say and remember, such as `swift-falcon`, and others' words within our Markdown."""

import itertools
import random
import re
from collections.abc import Awaitable, Callable, Iterator

_TRIES = 8
_MARKS = re.compile(r"[\\`*_\[\]<>#~|&]")
"""What Markdown may read as a mark anywhere in a line."""
_LEADING_NUMBER = re.compile(r"\d+(?=[.)])")
_RUN = re.compile(r"`+")
RUN_MAX = 60
"""Backticks that may follow one another in a fence."""
_BREAK = "\u200b"

_ADJECTIVES = """
able active agile airy alert ample amused apt aware balmy basic bold bouncy brave breezy brief bright
brisk bubbly busy calm candid capable careful caring casual cheery chilly civil classic clean clear clever
comfy cordial cosmic crafty creamy crisp cuddly curious curly dainty dapper daring dashing dear deep deft
devoted direct dreamy driven eager early earnest elated elegant eloquent epic exact expert fabled fair
famous fancy fast fearless festive fiery fine firm fit fleet fluent fluffy flying focused fond formal
frank free fresh friendly frosty frugal full funny fuzzy gallant generous genial gentle genuine giant glad
gleaming global glossy golden good graceful grand grateful great groovy handy happy hardy hearty helpful
heroic hidden honest hopeful huge humble ideal immense jaunty jazzy jolly jovial joyful jumpy keen kind
large lasting lavish learned light limber literal lively lofty logical lovely loyal lucid lucky lunar
magic major mellow merry mighty mild mindful minty misty modern modest musical native natural neat nice
nifty nimble noble normal notable novel oaken open orderly patient peachy perky placid playful plucky
poetic polite popular precise prime prompt proper proud pure quaint quick quiet radiant rapid rare ready
regal relaxed reliable rested rich robust rosy round royal rustic safe sandy savvy scenic serene sharp
shiny silent silky simple sincere sleek slim smart smiling smooth snappy snowy snug social soft solar
solid sonic sound speedy spicy spirited splendid spry square stable stately steady stellar sterling stout
strong sturdy subtle sunny super supple sure sweet swift tactful talented tame tender thankful thorough
tidy timely tiny tough tranquil trim true trusty upbeat useful valiant vast velvet vibrant vivid vocal
warm wavy wealthy wide willing windy wise witty worthy young zany zesty zippy
"""

_NOUNS = """
acorn almond anchor antelope apple apricot arrow aspen atlas aurora avocado badger bamboo banjo barley
basil basket beacon beaver beetle birch bison blossom bobcat bonfire breeze bridge brook buffalo butter
button cabin cactus camel canary candle canoe canyon caramel cardinal carrot castle cedar cello cheetah
cherry chestnut cicada citrus clarinet cliff cloud clover coast cobalt coconut comet compass condor copper
coral cosmos cottage cougar coyote crane crater cricket crocus crystal cypress daffodil daisy dolphin
donkey dragon drum eagle echo elk elm ember emerald falcon feather fern ferret fiddle fig finch firefly
fjord flamingo flute forest fossil fountain fox galaxy garden garlic garnet gazelle gecko geyser ginger
giraffe glacier goose granite grape grove guitar gull hamster harp hawk hazel heather hedge heron hickory
hill hippo honey horizon husky ibex ibis iguana indigo iris island ivory ivy jade jaguar jasmine juniper
kayak kestrel kettle kite kiwi koala lagoon lake lantern larch lark laurel lavender lemon lemur leopard
lichen lilac lily lime lion lizard llama lobster lotus lynx magnolia magpie mammoth mango maple marble
marlin marmot marsh meadow melon meteor mimosa mint mongoose moon moose moss mountain muffin mustang
nebula nectar nutmeg oak oasis ocean ocelot octopus olive onyx opal orange orbit orchard orchid oriole
osprey ostrich otter owl oyster palm panda panther papaya parrot parsnip peach peacock pear pebble pelican
penguin peony pepper petunia piano pigeon pine planet plateau plum pollen pony poplar poppy prairie puffin
puma pumpkin quail quartz quokka rabbit raccoon radish rainbow raven reef river robin rocket rose ruby
sable saffron salmon sapphire seal sequoia shadow shark shell sparrow sphinx spruce squirrel star starling
stone stork summit sunrise sunset swallow swan sycamore teapot thistle thrush thunder tiger topaz toucan
trout truffle tulip tundra turnip turtle valley vanilla violet volcano walnut walrus whale willow window
wolf wombat woodland yak zebra zephyr zinnia
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())


async def task_id(taken: Callable[[str], Awaitable[bool]], rng: random.Random) -> str:
    """Return an id that is not *taken*: two words by *rng*, with a number behind where luck gives none."""
    for _ in range(_TRIES):
        pair = f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}"
        if not await taken(pair):
            return pair
    for number in itertools.count(2):
        if not await taken(f"{pair}-{number}"):
            break
    return f"{pair}-{number}"


def plain(text: str) -> str:
    """Others' words as Markdown that shows them in one line as they were typed."""
    line = _MARKS.sub(r"\\\g<0>", " ".join(text.split()))
    digits = _LEADING_NUMBER.match(line)
    at = digits.end() if digits else 0
    return f"{line[:at]}\\{line[at:]}" if digits or line.startswith(("-", "+", "=", ":")) else line


def said(text: str, lead: str = "") -> str:
    """Others' words behind *lead*: in its line, or in a fence below it where they are several lines."""
    text = text.strip("\n")
    whole = f"{lead}\n{fence(text)}" if "\n" in text else f"{lead} {plain(text)}"
    return whole.strip()


def code(text: str) -> str:
    """Others' words in one line as inline code, whatever they hold."""
    line = " ".join(text.split())
    mark = "`" * (max((len(run) for run in _RUN.findall(line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{mark}{pad}{line}{pad}{mark}" if line else ""


def fence(text: str) -> str:
    """*text* in a code fence that nothing within can close."""
    text = _RUN.sub(lambda run: run[0] if len(run[0]) <= RUN_MAX else _BREAK.join(_chunks(run[0])), text)
    longest = max((len(run) for run in _RUN.findall(text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}\n{text.rstrip(chr(10))}\n{mark}"


def _chunks(run: str) -> Iterator[str]:
    return (run[at : at + RUN_MAX] for at in range(0, len(run), RUN_MAX))


def size(number: float) -> str:
    """A number of bytes for people: `64 MiB`, `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"
