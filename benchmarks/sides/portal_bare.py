"""What the portal is measured beside: a FastAPI route that returns bytes, and a WebSocket that sends frames.

Nothing is read, checked or recorded. The bytes are the same, and so is uvicorn.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.websockets import WebSocket

WINDOW: int = int(sys.argv[2])
CONTENT: bytes = Path(sys.argv[3]).read_bytes()
FRAME: bytes = Path(sys.argv[4]).read_bytes()

app = FastAPI()


@app.get("/v1/claims/{claim_id}")
async def claim(claim_id: str) -> Response:
    del claim_id
    return Response(CONTENT, media_type="application/json")


@app.websocket("/v1/endpoints/{endpoint_id}/stream")
async def stream(socket: WebSocket, endpoint_id: str) -> None:
    del endpoint_id
    await socket.accept("claimbus.v1")
    places = asyncio.Semaphore(WINDOW)

    async def send() -> None:
        while True:
            await places.acquire()
            await socket.send_bytes(FRAME)

    sending = asyncio.create_task(send())
    try:
        while True:
            await socket.receive_bytes()
            places.release()
    finally:
        sending.cancel()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", ws_per_message_deflate=False)
