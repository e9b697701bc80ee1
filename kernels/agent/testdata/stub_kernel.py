"""A kernel of pyzmq alone: quick to start, quick to publish, and ill-behaved on demand.

The code of an execute_request is a line of words:
  flood COUNT BYTES   publish that many stream messages, as fast as libzmq takes them
  forge               publish and reply with wrong signatures, then answer properly
  rebind              close the sockets and bind them again, then answer properly
  anything else       answer
With "deaf" after the connection file it takes no notice of its first subscription.
"""
import hashlib
import hmac
import json
import sys
import time
import uuid

import zmq

with open(sys.argv[1]) as f:
    info = json.load(f)
key = info["key"].encode()
ctx = zmq.Context()
session = uuid.uuid4().hex
deaf = "deaf" in sys.argv


def bind():
    sockets = {}
    iopub = zmq.XPUB if deaf else zmq.PUB
    kinds = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": iopub, "hb": zmq.REP}
    for name, kind in kinds.items():
        s = ctx.socket(kind)
        s.linger = 1000
        if name == "iopub":
            s.sndhwm = 0
        if kind == zmq.XPUB:
            s.xpub_manual = True
        if kind == zmq.ROUTER:
            s.setsockopt(zmq.ROUTER_HANDOVER, 1)
        while True:
            try:
                s.bind(f"tcp://{info['ip']}:{info[name + '_port']}")
                break
            except zmq.ZMQError:  # libzmq closes in the background
                time.sleep(0.01)
        sockets[name] = s
    return sockets


def parts(msg_type, parent, content):
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": msg_type,
        "session": session,
        "username": "stub",
        "date": "2025-01-01T00:00:00Z",
        "version": "5.4",
    }
    body = [json.dumps(header).encode(), parent, b"{}", json.dumps(content).encode()]
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in body:
        mac.update(part)
    return [b"<IDS|MSG>", mac.hexdigest().encode()] + body


sockets = bind()
subscriptions = 0
while True:
    poller = zmq.Poller()
    for name in ("shell", "control") + (("iopub",) if deaf else ()):
        poller.register(sockets[name], zmq.POLLIN)
    for asked, _ in poller.poll():
        s = asked
        if s is sockets["iopub"]:
            wish = s.recv()
            if wish[:1] == b"\1":
                subscriptions += 1
                if subscriptions > 1:
                    s.subscribe(wish[1:])
            continue
        message = s.recv_multipart()
        at = message.index(b"<IDS|MSG>")
        identities, (header, _, _, content) = message[:at], message[at + 2:at + 6]
        msg_type = json.loads(header)["msg_type"]
        reply = msg_type.replace("_request", "_reply")

        def publish(*args):
            sockets["iopub"].send_multipart([b"stub"] + parts(*args))

        publish("status", header, {"execution_state": "busy"})
        words = json.loads(content).get("code", "").split()
        if words[:1] == ["flood"]:
            output = [b"stub"] + parts("stream", header, {"name": "stdout", "text": "x" * int(words[2])})
            for _ in range(int(words[1])):
                sockets["iopub"].send_multipart(output, copy=False)
        elif words == ["forge"]:
            for target, prefix in ((s, identities), (sockets["iopub"], [b"stub"])):
                forged = parts(reply, header, {"status": "forged"})
                forged[1] = b"0" * 64
                target.send_multipart(prefix + forged)
                target.send_multipart(prefix + [b"<IDS|MSG>"])
                target.send_multipart(prefix + [b"rubbish"])
        elif words == ["rebind"]:
            for socket in sockets.values():
                socket.close()
            sockets = bind()
            s = sockets["shell"]
            time.sleep(1)  # until everybody is connected again
        s.send_multipart(identities + parts(reply, header, {"status": "ok", "execution_count": 1}))
        publish("status", header, {"execution_state": "idle"})
        if msg_type == "shutdown_request":
            ctx.destroy(linger=500)
            sys.exit(0)
