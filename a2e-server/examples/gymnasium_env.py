#!/usr/bin/env python3
"""Serves an environment of Gymnasium to a host: env/* messages, a line each, on stdin and stdout.

    gymnasium_env.py CartPole-v1
    gymnasium_env.py FrozenLake-v1 '{"is_slippery": false}'

The second argument goes to gymnasium.make. In the host's configuration, under an env plugin's metadata:

    processes:
      - {name: cartpole-gym, command: [python3, gymnasium_env.py, CartPole-v1]}

The state is the observation: a Dict as it is, all else as {"observation": ...}. An action is {"action": ...}.
terminated and truncated both end an episode, and stand in obs.metadata.
"""

import importlib.util
import io
import json
import os
import sys

# What libraries print is none of our messages.
OUT = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
os.dup2(2, 1)
sys.stdout = sys.stderr

import gymnasium  # noqa: E402
import numpy  # noqa: E402
from gymnasium import spaces  # noqa: E402


class Refused(Exception):
    """What is answered with an error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def plain(value):
    """A value of numpy as JSON has it. What is not finite has no number there."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, numpy.ndarray):
        return plain(value.tolist())
    if isinstance(value, numpy.generic):
        return plain(value.item())
    if isinstance(value, float) and not numpy.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def nested(item, shape):
    """The schema of an array of this shape."""
    for length in reversed(shape):
        item = {"type": "array", "items": item, "minItems": length, "maxItems": length}
    return item


def schema(space):
    """A JSON Schema of a space, and what Gymnasium calls it."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        it = {"type": "integer", "minimum": start, "maximum": start + int(space.n) - 1}
    elif isinstance(space, spaces.MultiBinary):
        it = nested({"enum": [0, 1]}, space.shape)
    elif isinstance(space, spaces.MultiDiscrete):
        it = nested({"type": "integer", "minimum": 0}, space.shape)
    elif isinstance(space, spaces.Box):
        number = "integer" if numpy.issubdtype(space.dtype, numpy.integer) else "number"
        it = nested({"type": number}, space.shape)
    elif isinstance(space, spaces.Dict):
        parts = {key: schema(part) for key, part in space.spaces.items()}
        it = {"type": "object", "properties": parts, "required": list(parts)}
    elif isinstance(space, spaces.Tuple):
        it = {"type": "array", "prefixItems": [schema(part) for part in space.spaces]}
    elif isinstance(space, spaces.Text):
        it = {"type": "string"}
    else:
        it = {}
    return {**it, "space": str(space)}


def member(space, value, loc="action"):
    """A value of JSON as the space has it."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or set(value) != set(space.spaces):
            raise Refused("schema_violation", f"{loc}: needs {', '.join(space.spaces)}")
        return {key: member(part, value[key], f"{loc}.{key}") for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, list) or len(value) != len(space.spaces):
            raise Refused("schema_violation", f"{loc}: needs {len(space.spaces)} items")
        pairs = enumerate(zip(space.spaces, value))
        return tuple(member(part, item, f"{loc}[{at}]") for at, (part, item) in pairs)
    if isinstance(space, spaces.Discrete):
        if isinstance(value, bool) or not isinstance(value, int) or not space.contains(value):
            raise Refused("unknown_action", f"{loc}: {value!r} is not in {space}")
        return value
    if isinstance(space, spaces.Text):
        made = value
    else:
        try:
            made = numpy.asarray(value, dtype=space.dtype).reshape(space.shape)
        except (TypeError, ValueError, OverflowError) as error:
            raise Refused("schema_violation", f"{loc}: {error}") from None
    if not space.contains(made):
        raise Refused("unknown_action", f"{loc}: {value!r} is not in {space}")
    return made


def png(picture):
    """A picture as a PNG file, where Pillow is installed; else its colours."""
    try:
        from PIL import Image
    except ImportError:
        return plain(picture)
    import base64

    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    height, width = picture.shape[:2]
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return {"mime": "image/png", "encoding": "base64", "data": data, "width": width, "height": height}


class Served:
    """The episodes of one environment. A host has one at a time in each process."""

    def __init__(self, name, settings):
        self.name = name
        self.settings = settings
        self.episodes = {}
        self.begun = 0

    def make(self):
        """An environment that can draw itself, where it has a mode for that."""
        made = gymnasium.make(self.name, **self.settings)
        modes = made.metadata.get("render_modes") or []
        # Most draw with pygame.
        draws = any(importlib.util.find_spec(name) for name in ("pygame", "mujoco"))
        wanted = ("rgb_array", "ansi") if draws else ("ansi",)
        mode = next((mode for mode in wanted if mode in modes), None)
        if mode is None or "render_mode" in self.settings:
            return made
        made.close()
        return gymnasium.make(self.name, render_mode=mode, **self.settings)

    def episode(self, message):
        """The episode that a message is about."""
        found = self.episodes.get(message.get("episode_id"))
        if found is None:
            raise Refused("runtime_error", "No active episode. Call reset().")
        return found

    def obs(self, episode_id, steps, observation, reward, terminated, truncated, info):
        """What is told of a reset or a step."""
        state = plain(observation)
        if not isinstance(state, dict):
            state = {"observation": state}
        return {
            "episode_id": episode_id,
            "step_num": steps,
            "state": state,
            "done": bool(terminated or truncated),
            "truncated": bool(truncated),
            "reward": None if reward is None else float(reward),
            "metadata": {"terminated": bool(terminated), "truncated": bool(truncated)},
            "info": plain(info),
        }

    def reset(self, message):
        made = self.make()
        seed = message.get("seed")
        try:
            observation, info = made.reset(seed=seed, options=message.get("options") or None)
        except Exception as error:
            made.close()
            raise Refused("reset_denied", f"{type(error).__name__}: {error}") from error
        self.begun += 1
        episode_id = str(self.begun)
        self.episodes[episode_id] = {"env": made, "steps": 0}
        return {"obs": self.obs(episode_id, 0, observation, None, False, False, info)}

    def step(self, message):
        episode = self.episode(message)
        action = message.get("action")
        if not isinstance(action, dict) or not {"action", "payload"} & set(action):
            raise Refused("schema_violation", "action.action: is missing")
        value = action["action"] if "action" in action else action["payload"]
        value = member(episode["env"].action_space, value)
        observation, reward, terminated, truncated, info = episode["env"].step(value)
        episode["steps"] += 1
        told = (message["episode_id"], episode["steps"], observation, reward, terminated, truncated)
        return {"obs": self.obs(*told, info)}

    def space(self, _message):
        made = gymnasium.make(self.name, **self.settings)
        action = schema(made.action_space)
        state = schema(made.observation_space)
        if not isinstance(made.observation_space, spaces.Dict):
            state = {"type": "object", "properties": {"observation": state}}
        made.close()
        action = {"type": "object", "properties": {"action": action}, "required": ["action"]}
        return {"action_space": action, "state_schema": state}

    def render(self, message):
        made = self.episode(message)["env"]
        picture = made.render() if made.render_mode else None
        if isinstance(picture, str):
            return {"render": picture if message.get("mode") == "text" else None}
        if picture is None or message.get("mode") not in ("screenshot", "png", "rgb_array"):
            return {"render": None}
        return {"render": plain(picture) if message["mode"] == "rgb_array" else png(picture)}

    def plan(self, _message):
        return {"suggested_actions": []}

    def close(self, message):
        episode = self.episodes.pop(message.get("episode_id"), None)
        if episode is not None:
            episode["env"].close()
        return {"closed": True}


def main():
    settings = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    served = Served(sys.argv[1], settings)
    answers = {
        f"env/{kind}": getattr(served, kind)
        for kind in ("reset", "step", "space", "render", "plan", "close")
    }
    for line in sys.stdin:
        if not line.strip():
            continue
        message = json.loads(line)
        kind = message["type"].removesuffix("/req")
        try:
            if kind not in answers:
                raise Refused("invalid_message", f"`{message['type']}` is not served here")
            reply = {"type": f"{kind}/resp", **answers[kind](message)}
        except Refused as error:
            reply = {"type": "error", "code": error.code, "message": str(error)}
        except Exception as error:  # the environment's own
            text = f"{type(error).__name__}: {error}"
            reply = {"type": "error", "code": "runtime_error", "message": text}
        reply["req_id"] = message.get("id", "")
        OUT.write(json.dumps(reply, allow_nan=False) + "\n")
        OUT.flush()


if __name__ == "__main__":
    main()
