// An exemption from a finding to the cluster and back, with the keyboard alone: STEP=make goes from the list of findings to a
// file of YAML, STEP=seen looks at what the pages say once that holds.

import assert from "node:assert/strict";
import { complaintsOf, launch } from "./chromium.mjs";
import { accessible } from "./looks.mjs";

const { GATEPOST_URL: base, NAMESPACE: namespace, FILE: file, STEP: step } = process.env;
assert.ok(base && namespace && file && step, "GATEPOST_URL, NAMESPACE, FILE and STEP must be set");

const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true })).newPage();
const complaints = complaintsOf(page);

/** Goes with the Tab key to what a selector means, as somebody without a mouse does. */
async function reach(selector) {
  const wanted = page.locator(selector).first();
  for (let steps = 0; steps < 200; steps += 1) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return wanted;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${selector} is not reached by the Tab key`);
}

/** Goes to a link or button and follows it. */
async function follow(selector, url) {
  await reach(selector);
  await Promise.all([page.waitForURL(url), page.keyboard.press("Enter")]);
}

/** Writes into a field over what stands there. */
async function write(selector, text) {
  await reach(selector);
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type(text);
}

async function make() {
  await page.goto(`${base}/findings?namespace=${namespace}&rule=container-image-tag`);
  assert.equal(await page.locator("tr[data-row]").count(), 1, "only the Deployment is told of");
  await follow("tr[data-row] a.subject", /\/findings\/[0-9a-f]{32}/);
  await follow("text=Exempt this", /\/findings\/accept\?/);
  await write("#expires", "2099-01-01");
  await write("#accountable", "team-shop");
  await write("#reason", "moved \"as is\": see SHOP-412 <b>");
  await reach("#planned");
  await page.keyboard.type("recommended");
  await follow("button:has-text('Make exemptions')", /reason=moved/);
  await accessible(page);
  await reach("text=Download accepted.yaml");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  await download.saveAs(file);
}

async function seen() {
  await page.goto(`${base}/findings?namespace=${namespace}&rule=container-image-tag&state=exempt`);
  await follow("tr[data-row] a.subject", /\/findings\/[0-9a-f]{32}/);
  const told = await page.textContent("#exemptions >> xpath=../..");
  assert.match(told, /moved "as is": see SHOP-412 <b>/);
  assert.match(told, /team-shop answers for it/);
  assert.equal(await page.locator("text=Exempt this").count(), 0, "nothing is left to exempt");
  await page.goto(`${base}/exemptions?text=SHOP-412`);
  const rows = await page.$$eval("tbody tr", (found) => found.map((row) => row.textContent));
  assert.equal(rows.length, 1, rows.join("\n"));
  assert.match(rows[0], /in force.*SHOP-412/s);
  await accessible(page);
}

try {
  await { make, seen }[step]();
  assert.deepEqual(complaints, []);
  console.log(`ok ${step}`);
} finally {
  await browser.close();
}
