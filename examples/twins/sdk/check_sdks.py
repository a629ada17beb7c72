"""The vendors' own SDKs complete a session against the twins: clients that this project did not write.

Usage: check_sdks.py PATH_OF_LIVOS_TWINS. Ends with 'N passed, N failed'.
"""

import asyncio
import base64
import email.message
import http.server
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wave

import anthropic
import requests
import discord
import telegram
import telegram.ext
import yarl
from cartesia import Cartesia
from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow

# The twins listen on loopback without TLS, which oauthlib refuses otherwise.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

SPOKEN = "hello there my good old twin how are you"


def http_url(url):
    return url.replace("ws://", "http://")


def tone_speech(binary):
    """SPOKEN in the letter tones that the Deepgram twin hears, followed by a second of silence."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run([binary, "say", SPOKEN, "--rate", "16000", "--out", file.name], check=True)
        with wave.open(file.name) as sound:
            return sound.readframes(sound.getnframes()) + bytes(32000)


def deepgram_session(url, pcm, version):
    """Streams the audio in real time and answers every message, parsed by the SDK."""
    environment = DeepgramClientEnvironment(base=http_url(url), production=url, agent=url, agent_rest=http_url(url))
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


def deepgram_recorded(urls, pcm):
    url = urls["deepgram"]
    environment = DeepgramClientEnvironment(base=http_url(url), production=url, agent=url, agent_rest=http_url(url))
    client = DeepgramClient(api_key="key", environment=environment)
    with tempfile.TemporaryFile() as file:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(16000)
            sound.writeframes(pcm)
        file.seek(0)
        answer = client.listen.v1.media.transcribe_file(request=file.read(), model="nova-3")
    best = answer.results.channels[0].alternatives[0]
    assert best.transcript == SPOKEN, f"heard {best.transcript!r}"
    assert [word.word for word in best.words] == SPOKEN.split(), best.words
    assert abs(answer.metadata.duration - len(pcm) / 32000) < 0.01, answer.metadata


def cartesia_session(urls):
    client = Cartesia(api_key="key", base_url=http_url(urls["cartesia"]), websocket_base_url=urls["cartesia"])
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


GOOGLE_CLIENT = {"client_id": "twin-client.apps.googleusercontent.com", "client_secret": "GOCSPX-twin-secret"}
GOOGLE_SCOPES = ["openid", "https://www.googleapis.com/auth/userinfo.email", "https://www.googleapis.com/auth/gmail.modify"]


def google_order(urls, order, **body):
    response = requests.post(f"{urls['google']}/twin/{order}", json=body, timeout=5)
    assert response.ok, response.text
    return response.json()


def google_credentials(urls, refresh_token):
    return Credentials(None, refresh_token=refresh_token, token_uri=urls["google"] + "/token", scopes=GOOGLE_SCOPES, **GOOGLE_CLIENT)


def google_grant(urls):
    granted = google_order(urls, "grant", account="anna@example.com", scopes=GOOGLE_SCOPES)
    return google_credentials(urls, granted["refresh_token"])


def google_consent(urls):
    """A consent with PKCE in a browser that follows the redirect, and the exchange of its code."""
    redirect = "http://127.0.0.1:1/callback"
    endpoints = {"auth_uri": urls["google"] + "/o/oauth2/v2/auth", "token_uri": urls["google"] + "/token"}
    flow = Flow.from_client_config({"web": {**GOOGLE_CLIENT, **endpoints}}, GOOGLE_SCOPES, redirect_uri=redirect, autogenerate_code_verifier=True)
    location, state = flow.authorization_url(access_type="offline", prompt="consent", include_granted_scopes="true")
    answer = requests.get(location, allow_redirects=False, timeout=5)
    back = answer.headers["location"]
    assert answer.status_code == 302 and back.startswith(redirect) and f"state={state}" in back, back
    flow.fetch_token(authorization_response=back)
    credentials = flow.credentials
    assert credentials.refresh_token and credentials.valid and set(GOOGLE_SCOPES) <= set(credentials.granted_scopes or credentials.scopes)
    answer = AuthorizedSession(credentials).get(urls["google"] + "/v1/userinfo", timeout=5)
    assert answer.json()["email"] == "anna@example.com", answer.text


def google_refresh(urls):
    credentials = google_grant(urls)
    before = credentials.refresh_token
    credentials.refresh(Request())
    assert credentials.valid and credentials.refresh_token == before and credentials.id_token
    google_order(urls, "answers", answers=["new_refresh_token"])
    credentials.refresh(Request())
    assert credentials.refresh_token != before, "a rotated token is taken"
    first = credentials.token
    session = AuthorizedSession(credentials)
    google_order(urls, "answers", answers=[{"error": "internal_failure"}, "text_lifetime"])
    credentials.refresh(Request())
    assert credentials.token != first and session.get(urls["google"] + "/v1/userinfo", timeout=5).ok


def google_deaths(urls):
    for how in ["revoked", "expired", "idle", "pushed_out", "password_changed", "account_deleted", "session_control"]:
        credentials = google_grant(urls)
        google_order(urls, "end", how=how)
        try:
            credentials.refresh(Request())
        except RefreshError as error:
            # The end of a Workspace session has words of its own in this client, which shows that it knew the subtype.
            wanted = "Reauthentication is needed" if how == "session_control" else "invalid_grant"
            assert wanted in str(error) and not error.retryable, error
        else:
            raise AssertionError(f"a grant that was {how} was refreshed")
    credentials = google_grant(urls)
    credentials._client_secret = "guess"
    try:
        credentials.refresh(Request())
    except RefreshError as error:
        assert "invalid_client" in str(error), error
    else:
        raise AssertionError("a wrong secret was taken")


def google_id_tokens(urls):
    """ID tokens and the tokens of pushes, by both forms in which keys are published, before and after keys rotate."""
    audience, account = "https://livos.example/push", "push@project.iam.gserviceaccount.com"
    kept = google_order(urls, "sign", audience=audience, service_account=account)["token"]
    for _ in range(2):
        pushed = google_order(urls, "sign", audience=audience, service_account=account)["token"]
        credentials = google_grant(urls)
        credentials.refresh(Request())
        for certs in ["/oauth2/v1/certs", "/oauth2/v3/certs"]:
            claims = id_token.verify_token(pushed, Request(), audience=audience, certs_url=urls["google"] + certs)
            assert claims["email"] == account and claims["email_verified"] is True, claims
            claims = id_token.verify_token(credentials.id_token, Request(), audience=GOOGLE_CLIENT["client_id"], certs_url=urls["google"] + certs)
            assert claims["iss"] == "https://accounts.google.com" and claims["email"] == "anna@example.com", claims
        google_order(urls, "keys")
    # The first key is published no more by now.
    for token, wanted in [(kept, audience), (pushed, "https://other.example"), (pushed[:-8] + "AAAAAAAA", audience)]:
        try:
            id_token.verify_token(token, Request(), audience=wanted, certs_url=urls["google"] + "/oauth2/v1/certs")
        except ValueError:
            continue
        except Exception as error:
            assert "audience" in str(error).lower() or "signature" in str(error).lower(), error
            continue
        raise AssertionError("a token was taken that should not be")
TELEGRAM_TOKEN = "4242:AbCdEfGhIjKlMnOpQrStUvWxYz_0123456"


def order(urls, twin, what, **body):
    """Has a twin do something that a person or the provider would do."""
    request = urllib.request.Request(f"{urls[twin]}/twin/{what}", data=json.dumps(body).encode(), method="POST")
    return json.loads(urllib.request.urlopen(request, timeout=5).read())


async def until(what, done):
    for _ in range(200):
        value = done()
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come")


async def telegram_bot(urls):
    """Polls, answers, edits, takes a command, and downloads a voice note."""
    builder = telegram.ext.ApplicationBuilder().token(TELEGRAM_TOKEN)
    bot = builder.base_url(urls["telegram"] + "/bot").base_file_url(urls["telegram"] + "/file/bot").build()
    heard, voices, edits = [], [], []

    async def on_text(update, context):
        if update.edited_message:
            edits.append(update.edited_message.text)
            return
        heard.append(update.message.text)
        await update.message.chat.send_action("typing")
        sent = await update.message.reply_text(f"you said {update.message.text}")
        await sent.edit_text(f"you said {update.message.text} 🙂")

    async def on_new(update, context):
        await update.message.reply_text(f"new: {' '.join(context.args)}")

    async def on_voice(update, context):
        file = await update.message.voice.get_file()
        voices.append((update.message.voice.mime_type, bytes(await file.download_as_bytearray())))

    filters = telegram.ext.filters
    bot.add_handler(telegram.ext.CommandHandler("new", on_new))
    bot.add_handler(telegram.ext.MessageHandler(filters.TEXT & ~filters.COMMAND, on_text))
    bot.add_handler(telegram.ext.MessageHandler(filters.VOICE, on_voice))

    def seen():
        return [message["text"] for message in order(urls, "telegram", "messages").get("7", [])]

    async with bot:
        assert bot.bot.username == "livos_twin_bot" and bot.bot.id == 4242, bot.bot
        await bot.bot.set_my_commands([telegram.BotCommand("new", "Begin anew")])
        assert [one.command for one in await bot.bot.get_my_commands()] == ["new"]
        await bot.start()
        await bot.updater.start_polling(timeout=5, allowed_updates=telegram.Update.ALL_TYPES)
        order(urls, "telegram", "say", chat=7, text="hello")
        await until("an answer", lambda: seen() == ["you said hello 🙂"])
        order(urls, "telegram", "say", chat=7, text="/new a b")
        await until("an answer to a command", lambda: seen()[1:] == ["new: a b"])
        person = {"id": 7, "is_bot": False, "first_name": "Ada"}
        message = {"message_id": 90, "date": 1800000000, "chat": {"id": 7, "type": "private"}, "from": person}
        file = order(urls, "telegram", "files", path="voice/file_1.oga", text="OggS and so on")
        voice = {**file, "duration": 2, "mime_type": "audio/ogg"}
        order(urls, "telegram", "updates", message={**message, "voice": voice})
        await until("a voice note", lambda: voices == [("audio/ogg", b"OggS and so on")])
        order(urls, "telegram", "updates", edited_message={**message, "edit_date": 1800000001, "text": "hello there"})
        await until("an edited message", lambda: edits == ["hello there"])
        await bot.updater.stop()
        await bot.stop()
        assert heard == ["hello"], heard
        await telegram_refusals(bot.bot)


async def telegram_refusals(bot):
    for error, call in [
        (telegram.error.BadRequest, bot.send_message(99, "hello")),
        (telegram.error.BadRequest, bot.send_message(7, "x" * 4097)),
        (telegram.error.BadRequest, bot.set_webhook("http://elsewhere.example")),
        (telegram.error.InvalidToken, telegram.Bot("4242:short", base_url=bot.base_url.split("/bot")[0] + "/bot").get_me()),
    ]:
        try:
            await call
        except error:
            continue
        raise AssertionError(f"no {error.__name__}")
    try:
        for _ in range(10):
            await bot.send_message(7, "again")
    except telegram.error.RetryAfter as error:
        assert 0 < float(error._retry_after.total_seconds()) <= 60, error
    else:
        raise AssertionError("ten messages at once were taken")


ANNA, CHANNEL = "900000000000000005", "900000000000000004"


async def discord_bot(urls):
    """Logs in, hears, answers, offers a command and answers it, and takes its session up again."""
    discord.http.Route.BASE = urls["discord"] + "/api/v10"
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(urls["discord"].replace("http", "ws") + "/gateway/")
    bot = discord.Client(intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=True))
    tree = discord.app_commands.CommandTree(bot)
    heard, resumed = [], []

    @tree.command(name="ask", description="Ask something")
    async def ask(interaction, question: str):
        await interaction.response.defer()
        await interaction.followup.send(f"you asked {question}")

    @bot.event
    async def on_message(message):
        if message.author != bot.user:
            heard.append(message.content)
            await message.channel.send(f"you said {message.content}")

    @bot.event
    async def on_resumed():
        resumed.append(True)

    task = asyncio.create_task(bot.start("bot-token"))
    try:
        await asyncio.wait_for(bot.wait_until_ready(), 10)
        assert (bot.user.name, len(bot.guilds)) == ("livos", 1), (bot.user, bot.guilds)
        await tree.sync()
        order(urls, "discord", "say", user=ANNA, text="hello")
        await until("an answer", lambda: order(urls, "discord", "said", user=ANNA)["texts"] == ["you said hello"])
        asked = order(urls, "discord", "command", channel=CHANNEL, name="ask", options={"question": "why"})["id"]
        answered = await until("an answer", lambda: order(urls, "discord", "interaction", id=asked)["follow_ups"])
        assert answered == ["you asked why"], answered
        order(urls, "discord", "trick", trick="reconnect")
        await until("a resume", lambda: resumed)
        order(urls, "discord", "say", user=ANNA, text="still there?")
        await until("a message", lambda: heard == ["hello", "still there?"])
    finally:
        await bot.close()
        await asyncio.wait([task], timeout=5)
TOPIC = "projects/p/topics/t"


def gmail(urls):
    """The client by the discovery document that ships with it."""
    options = {"api_endpoint": urls["gmail"]}
    return build("gmail", "v1", credentials=Credentials("token"), static_discovery=True, client_options=options).users()


def gmail_order(url, name, body):
    request = urllib.request.Request(f"{url}/twin/{name}", data=json.dumps(body).encode(), method="POST")
    return json.loads(urllib.request.urlopen(request, timeout=5).read())


def letter(subject, text, **headers):
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "bob@example.org", "anna@example.org", subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="menu.pdf")
    return message


def gmail_session(urls, pushes):
    users = gmail(urls)
    start = users.getProfile(userId="me").execute()["historyId"]
    watch = users.watch(userId="me", body={"topicName": TOPIC, "labelIds": ["INBOX"], "labelFilterBehavior": "include"}).execute()
    assert int(watch["expiration"]) > time.time() * 1000 + 6 * 86_400_000, watch
    letters = [letter(f"Lunch {n}", "Schön?", Message_ID=f"<{n}@example.org>") for n in range(3)]
    ids = [gmail_order(urls["gmail"], "deliver", {"raw": one.as_string()})["id"] for one in letters]
    history = users.history()
    request = history.list(userId="me", startHistoryId=start, historyTypes=["messageAdded"], labelId="INBOX", maxResults=2)
    added = []
    while request is not None:
        page = request.execute()
        added += [one["message"]["id"] for record in page.get("history", []) for one in record["messagesAdded"]]
        request = history.list_next(request, page)
    assert added == ids, (added, ids)
    whole = users.messages().get(userId="me", id=ids[0], format="full").execute()
    headers = {one["name"].lower(): one["value"] for one in whole["payload"]["headers"]}
    assert headers["subject"] == "Lunch 0" and whole["labelIds"] == ["INBOX", "UNREAD"], whole
    text, pdf = whole["payload"]["parts"]
    assert base64.urlsafe_b64decode(text["body"]["data"]).decode().strip() == "Schön?", text
    part = users.messages().attachments().get(userId="me", messageId=ids[0], id=pdf["body"]["attachmentId"]).execute()
    assert base64.urlsafe_b64decode(part["data"]) == b"%PDF-1.7", part
    raw = users.messages().get(userId="me", id=ids[0], format="raw").execute()["raw"]
    assert base64.urlsafe_b64decode(raw).decode() == letters[0].as_string(), raw
    answer = email.message.EmailMessage()
    answer["To"], answer["Subject"], answer["In-Reply-To"] = "bob@example.org", "Re: Lunch 0", "<0@example.org>"
    answer["References"] = "<0@example.org>"
    answer.set_content("Yes")
    body = {"raw": base64.urlsafe_b64encode(answer.as_bytes()).decode(), "threadId": whole["threadId"]}
    sent = users.messages().send(userId="me", body=body).execute()
    assert sent["threadId"] == whole["threadId"] and "SENT" in sent["labelIds"], sent
    thread = users.threads().get(userId="me", id=sent["threadId"], format="metadata").execute()
    assert [one["id"] for one in thread["messages"]] == [ids[0], sent["id"]], thread
    said = json.loads(base64.urlsafe_b64decode(pushes[0]["message"]["data"]))
    assert said["emailAddress"] == "anna@example.org" and int(said["historyId"]) >= int(start), said
    users.stop(userId="me").execute()


def gmail_labels(urls):
    users = gmail(urls)
    label = users.labels().create(userId="me", body={"name": "Bills"}).execute()
    names = {one["name"] for one in users.labels().list(userId="me").execute()["labels"]}
    assert {"Bills", "INBOX"} <= names, names
    ids = [gmail_order(urls["gmail"], "deliver", {"from": "bob@example.org", "subject": "Bill", "text": "x"})["id"] for _ in range(2)]
    change = {"ids": ids, "addLabelIds": [label["id"]], "removeLabelIds": ["INBOX"]}
    users.messages().batchModify(userId="me", body=change).execute()
    found = users.messages().list(userId="me", q="label:bills from:bob").execute()["messages"]
    assert [one["id"] for one in found] == ids[::-1], found
    users.messages().modify(userId="me", id=ids[0], body={"addLabelIds": ["INBOX"]}).execute()
    users.messages().trash(userId="me", id=ids[1]).execute()
    assert "messages" not in users.messages().list(userId="me", q="in:inbox label:bills", labelIds=["TRASH"]).execute()


def gmail_errors(urls):
    users = gmail(urls)
    gmail_order(urls["gmail"], "forget-history", {})
    calls = [
        (404, "notFound", users.history().list(userId="me", startHistoryId="1")),
        (404, "notFound", users.messages().get(userId="me", id="ffff")),
        (400, "invalidArgument", users.watch(userId="me", body={"topicName": "t"})),
        (400, "invalidArgument", users.messages().modify(userId="me", id="ffff", body={"addLabelIds": ["Label_99"]})),
    ]
    for status, reason, call in calls:
        try:
            call.execute()
        except HttpError as error:
            assert (error.resp.status, error.error_details[0]["reason"]) == (status, reason), error
        else:
            raise AssertionError(f"{reason}: it was answered")
    # The client waits and asks again, as Google's reasons tell it to.
    body = {"fault": "refuse", "count": 1, "status": 403}
    gmail_order(urls["gmail"], "faults", body)
    assert users.getProfile(userId="me").execute(num_retries=2)["emailAddress"] == "anna@example.org"


def push_endpoint():
    """Where the Gmail twin posts its pushes; answers its address and what came."""
    pushes = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            pushes.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/push", pushes


def main():
    binary = sys.argv[1]
    endpoint, pushes = push_endpoint()
    process = subprocess.Popen(
        [binary, "--hearing", "tones", "--voice", "tones", "--gmail-push-to", endpoint], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    passed = failed = 0
    try:
        urls = json.loads(process.stdout.readline())
        pcm = tone_speech(binary)
        checks = [
            ("deepgram-sdk, v1", lambda: deepgram_v1(urls, pcm)),
            ("deepgram-sdk, Flux", lambda: deepgram_flux(urls, pcm)),
            ("deepgram-sdk, recorded", lambda: deepgram_recorded(urls, pcm)),
            ("cartesia, WebSocket", lambda: cartesia_session(urls)),
            ("anthropic, streaming", lambda: anthropic_stream(urls)),
            ("anthropic, tool use", lambda: anthropic_tools(urls)),
            ("anthropic, count_tokens", lambda: anthropic_count(urls)),
            ("anthropic, 429 and 529", lambda: anthropic_retries(urls)),
            ("google-auth-oauthlib, consent with PKCE", lambda: google_consent(urls)),
            ("google-auth, refresh", lambda: google_refresh(urls)),
            ("google-auth, every death of a grant", lambda: google_deaths(urls)),
            ("google-auth, ID tokens and rotating keys", lambda: google_id_tokens(urls)),
            ("python-telegram-bot, polling, answers, files and refusals", lambda: asyncio.run(telegram_bot(urls))),
            ("discord.py, gateway, messages and commands", lambda: asyncio.run(discord_bot(urls))),
            ("google-api-python-client, watch to reply", lambda: gmail_session(urls, pushes)),
            ("google-api-python-client, labels and search", lambda: gmail_labels(urls)),
            ("google-api-python-client, errors", lambda: gmail_errors(urls)),
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
