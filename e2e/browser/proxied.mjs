// The dashboard behind a proxy that takes a path off: links, files, forms, the feed, and the button that cancels an audit.

import assert from "node:assert/strict";
import http from "node:http";
import { complaintsOf, launch } from "./chromium.mjs";

const target = new URL(process.env.GATEPOST_URL);
const port = Number(process.env.PROXY_PORT);
const prefix = "/tools/gatepost";
const base = `http://127.0.0.1:${port}${prefix}`;
const stray = [];

const proxy = http.createServer((request, response) => {
  const rest = request.url.startsWith(prefix) ? request.url.slice(prefix.length) : null;
  if (rest === null || !/^([/?]|$)/.test(rest)) {
    stray.push(request.url);
    response.writeHead(404).end("of another application\n");
    return;
  }
  const asked = http.request(
    { host: target.hostname, port: target.port, method: request.method, path: rest.startsWith("/") ? rest : `/${rest}`, headers: { ...request.headers, host: target.host } },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    },
  );
  asked.on("error", () => response.destroy());
  response.on("close", () => asked.destroy());
  request.pipe(asked);
});
await new Promise((done) => proxy.listen(port, "127.0.0.1", done));

const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
const complaints = complaintsOf(page);

try {
  // An audit of one request a second is still under way.
  await page.goto(`${base}/audits`);
  await page.click('tbody tr a[href*="/audits/"]');
  await page.waitForURL(/\/tools\/gatepost\/audits\/\d+$/);
  const audit = page.url();
  await page.click("button:has-text('Cancel it')");
  await page.waitForURL(/\/tools\/gatepost\/audits/);
  for (let tries = 0; ; tries += 1) {
    await page.goto(audit);
    if (/It was cancelled/.test(await page.textContent("main"))) break;
    assert.ok(tries < 100, "the audit is cancelled");
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.equal(await page.locator("button:has-text('Cancel it')").count(), 0, "what has ended is not cancelled");
  console.log("ok an audit is cancelled by its button");

  // The feed is open before anything is taken in, and what is taken in comes through.
  await page.goto(`${base}/feed`);
  await page.waitForSelector("#feed .dot.running", { timeout: 5000 });
  const decision = {
    uid: "proxied", name: "proxied", time: new Date().toISOString(), operation: "CREATE", kind: "Pod", namespace: "shop", user: "jane",
    verified: true, dryRun: false, allowed: false, reason: "judged", durationUs: 1234, results: [],
  };
  const report = { apiVersion: "gatepost.dev/v1", kind: "Report", key: "proxied", source: "webhook/test", decisions: [decision] };
  const taken = await fetch(`${base}/api/v1/reports`, { method: "POST", body: JSON.stringify(report), headers: { "content-type": "application/json" } });
  assert.ok(taken.ok, await taken.text());
  await page.click("#decisions tr >> text=Pod/proxied");
  await page.waitForURL(`${base}/decisions/proxied`);
  console.log("ok the feed comes through");

  // Every link of the pages that people come by stays below the path.
  for (const path of ["", "/findings", "/rules/container-privileged", "/modes", "/namespaces", "/status"]) {
    const answer = await page.goto(base + path);
    assert.equal(answer.status(), 200, path);
    const links = await page.$$eval("a[href], form[action], link[href], script[src]", (found) =>
      found.map((element) => element.getAttribute("href") ?? element.getAttribute("action") ?? element.getAttribute("src")));
    const out = links.filter((link) => link.startsWith("/") && link !== prefix && !link.startsWith(`${prefix}/`) && !link.startsWith(`${prefix}?`));
    assert.deepEqual(out, [], path);
  }
  await page.click(".theme button");
  await page.waitForLoadState();
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  assert.ok(page.url().startsWith(base), page.url());
  console.log("ok links and forms stay below the path");

  assert.deepEqual(stray, [], "nothing is asked of other applications");
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
  proxy.closeAllConnections();
  proxy.close();
}
