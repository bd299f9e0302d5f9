"""An environment written with openenv-core that says what it is told, as an OpenEnv server."""

import argparse
import os

import uvicorn
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class EchoAction(Action):
    message: str


class EchoObservation(Observation):
    echoed: str
    total: int


class EchoEnvironment(Environment):
    def __init__(self):
        super().__init__()
        self.steps = 0
        self.total = 0

    def reset(self, seed=None, episode_id=None, **options):
        self.steps, self.total = 0, seed or 0
        return EchoObservation(echoed=options.get("greeting", ""), total=self.total)

    def step(self, action, timeout_s=None, **_):
        if action.message == "die":
            os._exit(3)
        if action.message == "raise":
            raise ValueError("as it was told")
        self.steps += 1
        self.total += len(action.message)
        done = action.message == "done"
        return EchoObservation(echoed=action.message, total=self.total, reward=0.5, done=done)

    @property
    def state(self):
        return State(step_count=self.steps, pid=os.getpid())


app = create_app(EchoEnvironment, EchoAction, EchoObservation, env_name="echo")

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)
