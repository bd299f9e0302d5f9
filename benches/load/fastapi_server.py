"""What a user would write with FastAPI: sessions, posts, answers on a stream of server-sent events."""

import asyncio
import json
import sys
import uuid

import uvicorn
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

app = FastAPI()
sessions: dict[str, asyncio.Queue] = {}


@app.post("/session")
async def open_session():
    session = uuid.uuid4().hex
    sessions[session] = asyncio.Queue(maxsize=1024)
    return {"session_id": session}


@app.post("/send")
async def send(request: Request, x_session_id: str = Header()):
    message = await request.json()
    if message["type"] == "ping":
        answer = {"type": "pong", "req_id": message["id"]}
    else:
        answer = {"type": "tool/call/resp", "req_id": message["id"], "data": message["arguments"]}
    await sessions[x_session_id].put(answer)
    return JSONResponse({"ok": True})


@app.get("/stream")
async def stream(x_session_id: str = Header()):
    queue = sessions[x_session_id]

    async def events():
        yield ":\n\n"
        while True:
            yield f"data: {json.dumps(await queue.get())}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", backlog=4096,
                timeout_keep_alive=3600, access_log=False)
