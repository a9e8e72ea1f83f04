"""The demo's agent: a script, no model. It reads a task on standard input and does one small thing for real.

It understands "Greet in <language>": it teaches the demo's greeter that language, and its test with it.
Anything else is written down in NOTES.md, so that every task changes something that can be reviewed.
"""

import re
import sys
import time
from pathlib import Path

GREETINGS = {
    "danish": "Hej",
    "dutch": "Hallo",
    "finnish": "Hei",
    "french": "Bonjour",
    "german": "Guten Tag",
    "greek": "Geia sou",
    "irish": "Dia duit",
    "italian": "Buongiorno",
    "japanese": "Konnichiwa",
    "polish": "Dzień dobry",
    "portuguese": "Olá",
    "spanish": "Hola",
    "swahili": "Habari",
    "swedish": "Hej",
    "turkish": "Merhaba",
    "welsh": "Helo",
}
_TABLE = re.compile(r"^GREETINGS = \{\n(?P<rows>.*?)^\}", re.MULTILINE | re.DOTALL)


def say(words: str, pause: float = 0.25) -> None:
    """Tell the thread what is being done, at a pace that can be read along."""
    print(words, flush=True)  # noqa: T201 - standard output is how a `command` agent speaks
    time.sleep(pause)


def teach(language: str, words: str) -> None:
    """Add a language to greeter.py, in alphabetical order."""
    path = Path("greeter.py")
    source = path.read_text(encoding="utf-8")
    table = _TABLE.search(source)
    if table is None:
        raise SystemExit("greeter.py has no table of greetings")
    rows = dict(re.findall(r'^    "([^"]+)": "([^"]+)",$', table["rows"], re.MULTILINE))
    rows[language] = words
    lines = "".join(f'    "{name}": "{rows[name]}",\n' for name in sorted(rows))
    path.write_text(source.replace(table[0], f"GREETINGS = {{\n{lines}}}"), encoding="utf-8")


def main() -> None:
    """Do the task on standard input."""
    task = sys.stdin.read().strip()
    say("I am the demo agent: a script, no model. Reading the task…")
    asked = re.search(r"[Gg]reet in (\w+)", task)
    language = asked[1].lower() if asked else ""
    if language in GREETINGS and Path("greeter.py").exists():
        say(
            f"Looking at greeter.py: {len(Path('greeter.py').read_text(encoding='utf-8').splitlines())} lines"
        )
        if f'"{language}"' in Path("greeter.py").read_text(encoding="utf-8"):
            say(f"The greeter speaks {language.title()} already; there is nothing to do.", pause=0)
            return
        teach(language, GREETINGS[language])
        say(f'Taught it that {language.title()} for "Hello" is "{GREETINGS[language]}"')
        say(f"The greeter speaks {language.title()} now.", pause=0)
        return
    with Path("NOTES.md").open("a", encoding="utf-8") as notes:
        notes.write(f"- {task.splitlines()[0] if task else '(nothing)'}\n")
    say("I do not know how to do that, so I wrote it down in NOTES.md.", pause=0)


if __name__ == "__main__":
    main()
