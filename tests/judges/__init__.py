"""Third parties that judge our frontends: `simcord` plays Discord, the npm package `emulate` plays Slack's Web API."""
