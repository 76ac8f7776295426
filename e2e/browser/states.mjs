// What pages say when something is the matter: nobody asks Gatepost, an audit is under way or could not read everything,
// whoever looks may see one namespace only, the store is away; and when nothing is. Screenshots are kept in SCREENSHOTS.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch } from "./chromium.mjs";
import { accessible, fits } from "./looks.mjs";

const { SLOW_URL: slow, CLEAN_URL: clean, AWAY_URL: away, GATEPOST_URL: base, SCREENSHOTS: screenshots, LIMITED_TOKEN: limited } = process.env;
mkdirSync(screenshots, { recursive: true });
const browser = await launch();

/** Opens a page at two widths, says what it must and must not say, and keeps a picture of it. */
async function says(name, url, words, { not = [], status = 200, token } = {}) {
  for (const width of [1280, 360]) {
    const extraHTTPHeaders = token ? { authorization: `Bearer ${token}` } : {};
    const context = await browser.newContext({ viewport: { width, height: 860 }, reducedMotion: "reduce", extraHTTPHeaders });
    const page = await context.newPage();
    const answer = await page.goto(url);
    assert.equal(answer.status(), status, url);
    const text = (await page.textContent("body")).replace(/\s+/g, " ");
    for (const word of words) assert.ok(text.includes(word), `${url} says "${word}": ${text}`);
    for (const word of not) assert.ok(!text.includes(word), `${url} does not say "${word}": ${text}`);
    await accessible(page);
    await fits(page, width);
    if (width === 1280) await page.screenshot({ path: join(screenshots, `state-${name}.png`), fullPage: true });
    await context.close();
  }
  console.log(`ok ${name}`);
}

try {
  await says("first-audit", `${slow}/`, ["No audit has finished yet", "objects"], { not: ["Nothing is wrong"] });
  await says("first-audit-findings", `${slow}/findings`, ["No audit has finished yet"], { not: ["Nothing is wrong"] });
  await says("unregistered", `${base}/`, ["The API server does not ask Gatepost", "could not be read in the last audit", "≥"]);
  await says("unregistered-status", `${base}/status`, ["problem", "There is no ValidatingWebhookConfiguration", "could not read"]);
  await says("partial", `${base}/findings`, ["could not be read in the last audit", "Counts are at least what is shown"]);
  const { items: [audit] } = await (await fetch(`${base}/api/v1/audits?state=partial&limit=1`)).json();
  await says("partial-audit", `${base}/audits/${audit.id}`, ["nobody.example"]);
  await says("nothing-matches", `${base}/findings?text=no-object-is-called-so`, ["Nothing matches these filters", "clear them all"]);
  const seen = { token: limited, not: ["bank"] };
  await says("limited", `${base}/`, ["You see the namespaces shop"], seen);
  await says("limited-findings", `${base}/findings`, ["You see the namespaces shop", "Deployment/web"], seen);
  await says("limited-namespaces", `${base}/namespaces`, ["shop"], seen);
  await says("limited-settings", `${base}/settings`, ["You may not see settings"], seen);
  await says("limited-checks", `${base}/checks`, ["You may not see checks"], seen);
  const { items: [hidden] } = await (await fetch(`${base}/api/v1/findings?namespace=bank&limit=1`)).json();
  await says("limited-finding", `${base}/findings/${hidden.id}`, ["There is no such thing"], { token: limited, status: 404 });
  for (let tries = 0; tries < 100; tries += 1) {
    const { items } = await (await fetch(`${clean}/api/v1/audits?state=complete,partial`)).json();
    if (items.length > 0) break;
    await new Promise((done) => setTimeout(done, 200));
  }
  await says("nothing-wrong", `${clean}/findings`, ["Nothing is wrong here", "0 findings in"]);
  await says("away", `${away}/`, ["does not answer", "request"], { not: ["Nothing is wrong"], status: 503 });
  await says("away-namespaces", `${away}/namespaces`, ["Counts are not known now"], { not: ["Nothing is wrong"] });
  await says("away-status", `${away}/status`, ["problem", "does not answer"]);
  await says("away-findings", `${away}/findings`, ["does not answer", "request"], { status: 503 });
} finally {
  await browser.close();
}
