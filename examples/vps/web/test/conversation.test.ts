import { expect, test } from "vitest";
import { Conversation } from "../src/conversation";

const word = (text: string, start_ms: number) => ({ text, start_ms, end_ms: start_ms + 90 });
const shown = (conversation: Conversation) => conversation.lines.map(({ who, text }) => `${who}: ${text}`);

test("interim words are replaced until they are final", () => {
  const conversation = new Conversation();
  conversation.transcript("turn", false);
  conversation.transcript("turn on", false);
  expect(conversation.lines).toMatchObject([{ text: "turn on", interim: true }]);
  conversation.transcript("Turn on.", true);
  expect(conversation.lines).toMatchObject([{ text: "Turn on.", interim: false }]);
});

test("the agent's words appear as they are heard", () => {
  const conversation = new Conversation();
  conversation.transcript("Hello.", true);
  conversation.words(1, [word("Hello", 0), word("to", 100), word("you.", 200)]);
  conversation.position(1, 120);
  expect(shown(conversation)).toEqual(["user: Hello.", "agent: Hello to"]);
  conversation.end(1, "Hello to you.", true);
  expect(shown(conversation)).toEqual(["user: Hello.", "agent: Hello to you."]);
});

test("an answer that was cut off shows what was heard and says so", () => {
  const conversation = new Conversation();
  conversation.words(1, [word("One", 0), word("two", 100)]);
  conversation.end(1, "One", false);
  expect(conversation.lines).toMatchObject([{ text: "One", cut: true }]);
});

test("an answer that nobody heard leaves no line", () => {
  const conversation = new Conversation();
  conversation.words(1, [word("One", 500)]);
  conversation.end(1, "", false);
  expect(conversation.lines).toEqual([]);
});

test("void words go and come again", () => {
  const conversation = new Conversation();
  conversation.words(1, [word("One", 0), word("two", 100)]);
  conversation.truncate(1, 100);
  conversation.words(1, [word("two", 100), word("three", 200)]);
  conversation.position(1, 250);
  expect(shown(conversation)).toEqual(["agent: One two three"]);
});

test("an answer that comes as text is shown as text", () => {
  const conversation = new Conversation();
  conversation.typed("hello");
  conversation.reply(1, "Hello ");
  conversation.reply(1, "there.");
  conversation.words(1, [word("Hello", 0)]);
  expect(shown(conversation)).toEqual(["user: hello", "agent: Hello there."]);
});

test("what is said after the turn is a new line", () => {
  const conversation = new Conversation();
  conversation.transcript("One.", true);
  conversation.userDone();
  conversation.transcript("Two.", true);
  expect(shown(conversation)).toEqual(["user: One.", "user: Two."]);
});

test("a typed message that the server echoes is shown once", () => {
  const conversation = new Conversation();
  conversation.transcript("spoken before", false);
  conversation.typed("hello");
  conversation.transcript("hello", true);
  expect(shown(conversation)).toEqual(["user: spoken before", "user: hello"]);
});
