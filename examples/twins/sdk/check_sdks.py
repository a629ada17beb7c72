"""The vendors' own SDKs complete a session against the twins: clients that this project did not write.

Usage: check_sdks.py PATH_OF_LIVOS_TWINS. Ends with 'N passed, N failed'.
"""

import base64
import json
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wave

import anthropic
from cartesia import Cartesia
from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

SPOKEN = "hello there my good old twin how are you"


def http(url):
    return url.replace("ws://", "http://")


def tone_speech(binary):
    """SPOKEN in the letter tones that the Deepgram twin hears, followed by a second of silence."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run([binary, "say", SPOKEN, "--rate", "16000", "--out", file.name], check=True)
        with wave.open(file.name) as sound:
            return sound.readframes(sound.getnframes()) + bytes(32000)


def deepgram_session(url, pcm, version):
    """Streams the audio in real time and answers every message, parsed by the SDK."""
    environment = DeepgramClientEnvironment(base=http(url), production=url, agent=url, agent_rest=http(url))
    client = DeepgramClient(api_key="key", environment=environment)
    format = {"encoding": "linear16", "sample_rate": 16000}
    if version == 1:
        connecting = client.listen.v1.connect(
            model="nova-3", interim_results="true", endpointing="300", vad_events="true", utterance_end_ms="1000", **format
        )
    else:
        connecting = client.listen.v2.connect(model="flux-general-en", **format)
    messages = []
    with connecting as connection:
        connection.on(EventType.MESSAGE, messages.append)
        listener = threading.Thread(target=connection.start_listening, daemon=True)
        listener.start()
        time.sleep(0.1)
        for at in range(0, len(pcm), 2560):
            connection.send_media(pcm[at : at + 2560])
            time.sleep(0.08)
        if version == 1:
            connection.send_keep_alive()
            connection.send_finalize()
            time.sleep(0.3)
        connection.send_close_stream()
        listener.join(5)
        assert not listener.is_alive(), "the twin did not end the session"
    return messages


def deepgram_v1(urls, pcm):
    messages = deepgram_session(urls["deepgram"], pcm, 1)
    kinds = [message.type for message in messages]
    results = [message for message in messages if message.type == "Results"]
    finals = " ".join(one.channel.alternatives[0].transcript for one in results if one.is_final).split()
    heard = " ".join(finals).lower().rstrip(".")
    assert heard == SPOKEN, f"heard {heard!r}"
    assert any(not one.is_final for one in results), "no interim result"
    assert "SpeechStarted" in kinds and kinds[-1] == "Metadata", kinds


def deepgram_flux(urls, pcm):
    messages = deepgram_session(urls["deepgram"], pcm, 2)
    assert messages[0].type == "Connected", messages[0]
    turns = [message for message in messages if message.type == "TurnInfo"]
    events = [turn.event for turn in turns]
    assert "StartOfTurn" in events and "EndOfTurn" in events, events
    ended = next(turn for turn in turns if turn.event == "EndOfTurn")
    assert SPOKEN in ended.transcript.lower(), ended.transcript


def cartesia_session(urls):
    client = Cartesia(api_key="key", base_url=http(urls["cartesia"]), websocket_base_url=urls["cartesia"])
    request = {
        "model_id": "sonic-3.5",
        "voice": {"mode": "id", "id": "a0e99841-438c-4a64-b679-ae501e7d6091"},
        "language": "en",
        "context_id": "sdk-check",
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000},
        "max_buffer_delay_ms": 0,
        "add_timestamps": True,
    }
    audio, words, kinds = b"", [], []
    with client.tts.websocket_connect() as connection:
        connection.send({**request, "transcript": "Hello ", "continue": True})
        connection.send({**request, "transcript": "there.", "continue": True})
        connection.send({**request, "transcript": "", "continue": False})
        for event in connection:
            kinds.append(event.type)
            if event.type == "chunk":
                audio += event.audio if getattr(event, "audio", None) else base64.b64decode(event.data)
            elif event.type == "timestamps":
                words += event.word_timestamps.words
            elif event.type in ("done", "error"):
                break
    assert kinds[-1] == "done", kinds
    assert words == ["Hello", "there."], words
    loudest = max(abs(sample) for (sample,) in struct.iter_unpack("<h", audio))
    assert len(audio) > 24000 and loudest > 1000, (len(audio), loudest)


def claude(urls, **options):
    return anthropic.Anthropic(api_key="key", base_url=urls["anthropic"], **options)


MODEL = {"model": "claude-haiku-4-5", "max_tokens": 200}


def anthropic_stream(urls):
    question = [{"role": "user", "content": "what is two plus three"}]
    with claude(urls).messages.stream(messages=question, **MODEL) as stream:
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()
    assert text.startswith("That makes five."), text
    assert whole.stop_reason == "end_turn" and whole.usage.output_tokens > 3, whole


def anthropic_tools(urls):
    client = claude(urls)
    tools = [{"name": "lookup", "description": "Looks things up.", "input_schema": {"type": "object", "properties": {"request": {"type": "string"}}}}]
    messages = [{"role": "user", "content": "please use lookup for the tide"}]
    with client.messages.stream(messages=messages, tools=tools, **MODEL) as stream:
        asked = stream.get_final_message()
    assert asked.stop_reason == "tool_use", asked.stop_reason
    call = next(block for block in asked.content if block.type == "tool_use")
    assert call.name == "lookup" and "tide" in call.input["request"], call
    messages.append({"role": "assistant", "content": [block.model_dump(include={"type", "text", "id", "name", "input"}) for block in asked.content]})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "high at noon"}]})
    told = client.messages.create(messages=messages, tools=tools, **MODEL)
    assert told.content[0].text == "The tool says: high at noon", told


def anthropic_count(urls):
    counted = claude(urls).messages.count_tokens(model=MODEL["model"], messages=[{"role": "user", "content": "hello"}])
    assert counted.input_tokens > 0, counted


def refuse(urls, status, count, headers):
    body = {"fault": "refuse", "count": count, "status": status, "headers": headers}
    request = urllib.request.Request(urls["anthropic"] + "/twin/faults", data=json.dumps(body).encode(), method="POST")
    urllib.request.urlopen(request, timeout=5).read()


def anthropic_retries(urls):
    question = [{"role": "user", "content": "hello"}]
    for status in (429, 529):
        refuse(urls, status, 1, {"retry-after": "0"})
        assert claude(urls, max_retries=1).messages.create(messages=question, **MODEL).content
    refuse(urls, 429, 1, {})
    try:
        claude(urls, max_retries=0).messages.create(messages=question, **MODEL)
    except anthropic.RateLimitError as error:
        assert error.body["error"]["type"] == "rate_limit_error", error.body
    else:
        raise AssertionError("a refused request was answered")


def main():
    binary = sys.argv[1]
    process = subprocess.Popen(
        [binary, "--hearing", "tones", "--voice", "tones"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    passed = failed = 0
    try:
        urls = json.loads(process.stdout.readline())
        pcm = tone_speech(binary)
        checks = [
            ("deepgram-sdk, v1", lambda: deepgram_v1(urls, pcm)),
            ("deepgram-sdk, Flux", lambda: deepgram_flux(urls, pcm)),
            ("cartesia, WebSocket", lambda: cartesia_session(urls)),
            ("anthropic, streaming", lambda: anthropic_stream(urls)),
            ("anthropic, tool use", lambda: anthropic_tools(urls)),
            ("anthropic, count_tokens", lambda: anthropic_count(urls)),
            ("anthropic, 429 and 529", lambda: anthropic_retries(urls)),
        ]
        for name, check in checks:
            try:
                check()
                passed += 1
                print(f"ok: {name}")
            except Exception as error:  # Each check is reported, whatever became of it.
                failed += 1
                print(f"FAILED: {name}: {type(error).__name__}: {error}")
    finally:
        process.terminate()
        process.wait(10)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
