// Opens pages in Chromium with an empty cache and a slowed CPU; prints how much each loads and when it is painted.
// Usage: node paint.mjs BASE_URL RUNS SLOWDOWN PATH...

import { launch } from "../../e2e/browser/chromium.mjs";

const [base, runs, slowdown, ...paths] = process.argv.slice(2);

const browser = await launch();

/** Loads a page once. */
async function load(path) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  try {
    const page = await context.newPage();
    const devtools = await context.newCDPSession(page);
    await devtools.send("Network.enable");
    await devtools.send("Emulation.setCPUThrottlingRate", { rate: Number(slowdown) });
    let bytes = 0, requests = 0;
    devtools.on("Network.responseReceived", ({ response }) => { if (response.url.startsWith("http")) requests += 1; });
    devtools.on("Network.loadingFinished", ({ encodedDataLength }) => { bytes += encodedDataLength; });
    await page.addInitScript(() => {
      globalThis.painted = 0;
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) globalThis.painted = entry.startTime; })
        .observe({ type: "largest-contentful-paint", buffered: true });
    });
    const answer = await page.goto(base + path, { waitUntil: "load", timeout: 120000 });
    if (answer.status() !== 200) throw new Error(`${path}: ${answer.status()}`);
    await page.waitForFunction(() => globalThis.painted > 0, null, { timeout: 60000 });
    await page.waitForTimeout(500);
    const painted = await page.evaluate(() => globalThis.painted);
    return { bytes, requests, painted };
  } finally {
    await context.close();
  }
}

for (const path of paths) {
  const loads = [];
  for (let run = 0; run < Number(runs); run += 1) loads.push(await load(path));
  console.log(JSON.stringify({ path, loads }));
}
await browser.close();
