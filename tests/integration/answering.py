"""A person who answers a setup's questions from a script, and what they were shown."""

from collections.abc import Callable, Sequence

from bots.asking import Check

Answer = str | Callable[[], str]


class Scripted:
    """Answers in order; each one names a part of the question that it is for."""

    def __init__(self, *answers: tuple[str, Answer]) -> None:
        self._answers = list(answers)
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.shown.append(text)

    def found(self, good: bool, text: str) -> None:
        self.shown.append(f"{'good' if good else 'bad'}: {text}")

    def ask(self, question: str, *, default: str = "", check: Check = str) -> str:
        while True:
            answer = self._next(question) or default
            try:
                return check(answer)
            except ValueError as fault:
                self.shown.append(f"bad: {fault}")

    def secret(self, question: str, *, check: Check = str) -> str:
        return self.ask(question, check=check)

    def choose(self, question: str, options: Sequence[str]) -> int:
        self.shown += options
        wanted = self._next(question)
        return next(at for at, option in enumerate(options) if wanted in option)

    def again(self, question: str) -> bool:
        return self._next(question) != "no"

    def _next(self, question: str) -> str:
        assert self._answers, f"nothing is left to answer {question!r}; shown: {self.shown[-3:]}"
        part, answer = self._answers.pop(0)
        assert part in question, f"{question!r} is not the question of {part!r}; shown: {self.shown[-3:]}"
        return answer if isinstance(answer, str) else answer()

    @property
    def spent(self) -> bool:
        """Whether every answer was asked for."""
        return not self._answers

    def saw(self, *parts: str) -> bool:
        """Whether one thing that was shown has all of *parts*."""
        return any(all(part in one for part in parts) for one in self.shown)
