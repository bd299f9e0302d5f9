"""What the client of openenv-core sees of an A2E host, as JSON."""

import asyncio
import json
import sys

from openenv.core import GenericEnvClient

base = sys.argv[1]


def told(result):
    return {"observation": result.observation, "reward": result.reward, "done": result.done}


async def refused(work):
    try:
        await work
    except RuntimeError as error:
        return str(error)
    return None


async def main():
    seen = {}
    counter = GenericEnvClient(base_url=f"{base}/env/counter_env")
    async with counter as env:
        seen["before"] = await env.state()
        seen["early"] = await refused(env.step({"type": "inc"}))
        seen["begun"] = told(await env.reset(seed=3, episode_id="mine"))
        seen["steps"] = [told(await env.step({"type": "inc"})) for _ in range(5)]
        seen["state"] = await env.state()
        seen["late"] = await refused(env.step({"type": "inc"}))
        seen["again"] = told(await env.reset())
        seen["wrong"] = await refused(env.step({"type": "fly"}))
        other = GenericEnvClient(base_url=f"ws://{base.removeprefix('http://')}/env/counter_env")
        async with other as second:
            seen["full"] = await refused(second.reset())
            await env.close()
            seen["free"] = told(await second.reset())
    with GenericEnvClient(base_url=f"{base}/env/gridworld").sync() as env:
        runs = []
        for _ in range(2):
            begun = env.reset(seed=7, width=4, height=4)
            runs.append([begun.observation, env.step({"type": "right"}).observation])
        seen["equal"] = runs[0] == runs[1]
    try:
        await GenericEnvClient(base_url=f"{base}/env/nowhere").connect()
    except ConnectionError as error:
        seen["nowhere"] = str(error)
    print(json.dumps(seen))


asyncio.run(main())
