"""A scripted model on loopback that speaks the dialects of four vendors; the script travels in the prompt.

    async with ModelServer() as server:      # `server.url`; what an agent adds to it says tests/agents/brands.py
        prompt = script({"write": ["a.txt", "hi"]}, {"sh": "touch b"}, {"text": "done"})

The server holds no scenario, so tests run in parallel against one. What the steps can be says `scripts`.
"""

from tests.servers.models.scripts import Usage, script
from tests.servers.models.server import TOKENS_PER_REQUEST, ModelServer

__all__ = ["TOKENS_PER_REQUEST", "ModelServer", "Usage", "script"]
