// The page in a real Chromium, against a running server: `LIVOS_URL` is its login link, `LIVOS_WAV`
// what the microphone hears. Sound is blocked until a gesture, as in a fresh browser.
// Ends with 'N passed, N failed'.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { LIVOS_URL, LIVOS_WAV, CHROMIUM = "/usr/bin/chromium", LIVOS_SHOTS } = process.env;
if (!LIVOS_URL || !LIVOS_WAV) throw new Error("set LIVOS_URL and LIVOS_WAV");

const profile = mkdtempSync(join(tmpdir(), "livos-browser-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: CHROMIUM,
  headless: true,
  viewport: { width: 900, height: 800 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=document-user-activation-required",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${LIVOS_WAV}`,
  ],
  permissions: ["microphone"],
});
const page = await browser.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => message.type() === "error" && problems.push(message.text()));

let passed = 0;
let failed = 0;
async function check(what, test) {
  try {
    await test();
    passed += 1;
    console.log(`ok: ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${what}: ${error instanceof Error ? error.message : error}`);
    if (LIVOS_SHOTS) await page.screenshot({ path: join(LIVOS_SHOTS, `failed-${failed}.png`) });
  }
}
function assert(condition, message) {
  if (!condition) throw new Error(message);
}
/** Waits until `probe` answers something true in the page. */
function until(probe, timeout = 15000, argument = undefined) {
  return page.waitForFunction(probe, argument, { timeout, polling: 20 });
}
const shot = (name) => LIVOS_SHOTS && page.screenshot({ path: join(LIVOS_SHOTS, `${name}.png`) });
const state = (wanted, timeout) => until((wanted) => window.livos.state === wanted, timeout, wanted);
const hold = page.locator("#hold");
async function down() {
  const box = await hold.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
}

await check("without a login the page says how to get one", async () => {
  const response = await page.goto(new URL("/", LIVOS_URL).href);
  assert(response.status() === 401, `status ${response.status()}`);
  assert((await page.textContent("body")).includes("login link"), "no hint");
});
problems.length = 0;

await check("the login link opens the page, and no second time", async () => {
  await page.goto(LIVOS_URL);
  assert((await page.title()) === "LivOS", "the page did not open");
  const again = await browser.request.get(LIVOS_URL, { maxRedirects: 0 });
  assert(again.status() === 401, `status ${again.status()}`);
});

await check("before any gesture there is no sound and no socket", async () => {
  await page.waitForTimeout(300);
  assert(await page.evaluate(() => window.livos.context() === undefined), "an AudioContext was made without a gesture");
  await shot("welcome");
});

await check("the gesture starts sound and session, and the page names what is simulated", async () => {
  await page.click("#start");
  await until(() => document.querySelector("#banner").textContent.includes("Simulated"));
  assert(await page.evaluate(() => window.livos.context().state === "running"), "the AudioContext does not run");
  await page.waitForTimeout(1500);
});

await check("a spoken turn is heard, and its transcript is shown while it is spoken", async () => {
  // The ear of the test: the first sound of the player, seen beside the player's own report.
  await page.evaluate(() => {
    const context = window.livos.context();
    const analyser = new AnalyserNode(context, { fftSize: 256 });
    window.livos.node().connect(analyser);
    const block = new Float32Array(256);
    window.ear = { released: 0, heard: 0, armed: false };
    addEventListener("pointerup", () => Object.assign(window.ear, { released: performance.now(), heard: 0, armed: true }), true);
    const poll = () => {
      if (window.ear.armed) {
        analyser.getFloatTimeDomainData(block);
        const first = block.findIndex((value) => Math.abs(value) > 0.005);
        if (first >= 0) {
          // The block ends now: its samples sounded up to 256 samples ago, and leave the speaker
          // after the output's latency.
          const ago = ((256 - first) / context.sampleRate) * 1000;
          window.ear.heard = performance.now() - ago + (context.outputLatency || context.baseLatency || 0) * 1000;
          window.ear.armed = false;
        }
      }
    };
    const channel = new MessageChannel();
    channel.port1.onmessage = () => { poll(); setTimeout(() => channel.port2.postMessage(0), 1); };
    channel.port2.postMessage(0);
  });
  await down();
  await state("listening");
  await until(() => document.querySelector("#talk li.user.interim")?.textContent.trim().length > 0, 8000);
  await shot("listening");
  await page.waitForTimeout(3200);
  await page.mouse.up();
  await until(() => document.querySelector("#talk li.user:not(.interim)")?.textContent.trim().length > 0);
});

await check("the answer is audible, and its words appear", async () => {
  await until(() => window.livos.peak > 0.02, 20000);
  await until(() => document.querySelector("#talk li.agent")?.textContent.trim().length > 0);
});

await check("the waterfall sums to the silence that was heard, within 20 ms", async () => {
  await until(() => window.livos.waterfall !== undefined && window.ear.heard > 0);
  const { sum, silence, heard } = await page.evaluate(() => ({
    sum: window.livos.waterfall.sum,
    silence: window.livos.waterfall.silence,
    heard: window.ear.heard - window.ear.released,
  }));
  console.log(`    waterfall ${sum.toFixed(1)} ms, player ${silence.toFixed(1)} ms, heard beside it ${heard.toFixed(1)} ms`);
  assert(Math.abs(sum - silence) <= 20, "the sum is not the player's silence");
  assert(Math.abs(sum - heard) <= 20, "the sum is not the silence heard beside the player");
  await page.click("#waterfall-box summary");
  await shot("speaking");
});

await check("talking over the answer stops it", async () => {
  await page.click("#text");
  await page.fill("#text", "please tell me a long story");
  await page.keyboard.press("Enter");
  await until(() => window.livos.playing && window.livos.state === "speaking", 20000);
  await page.waitForTimeout(1200);
  const before = Date.now();
  await down();
  await until(() => !window.livos.playing, 2000);
  const took = Date.now() - before;
  console.log(`    silent ${took} ms after the press`);
  await page.waitForTimeout(200);
  const quiet = await page.evaluate(() => {
    window.livos.peak = 0;
    return new Promise((resolve) => setTimeout(() => resolve(window.livos.peak), 400));
  });
  assert(quiet === 0, `sound after the interruption: ${quiet}`);
  await page.mouse.up();
  await until(() => document.querySelector("#talk li.agent.cut") !== null);
});

await check("typing is answered", async () => {
  const before = await page.locator("#talk li.agent").count();
  await page.fill("#text", "what is two plus three");
  await page.keyboard.press("Enter");
  await until((before) => [...document.querySelectorAll("#talk li.agent")].slice(before).some((item) => item.textContent.includes("five")), 20000, before);
});

await check("the open microphone hears speech by itself and sends no silence", async () => {
  await until(() => !window.livos.playing, 20000);
  const turns = await page.locator("#talk li.user").count();
  await page.check("#open-mic");
  await until((turns) => document.querySelectorAll("#talk li.user").length > turns, 25000, turns);
  await shot("open-microphone");
  await page.uncheck("#open-mic");
  await page.waitForTimeout(300);
  const sent = await page.evaluate(() => window.livos.audioSent);
  await page.waitForTimeout(1500);
  assert((await page.evaluate(() => window.livos.audioSent)) === sent, "audio was sent with the microphone closed");
});

await check("the space bar is a button too, and the page fits a phone", async () => {
  await page.setViewportSize({ width: 390, height: 780 });
  await page.locator("#hold").focus();
  await page.keyboard.down("Space");
  await until(() => document.querySelector("#hold").getAttribute("aria-pressed") === "true", 2000);
  await page.waitForTimeout(300);
  await page.keyboard.up("Space");
  assert(await page.evaluate(() => document.documentElement.scrollWidth <= 390), "the page is wider than the phone");
  await shot("phone");
});

await check("nothing went wrong in the page", async () => {
  assert(problems.length === 0, problems.join(" | "));
});

await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
