// Opens every page of the dashboard in a real Chromium: what axe, the console and the network say of it, whether it fits
// from 320 to 2560 pixels, and what keys, filters and buttons do. Screenshots are kept in SCREENSHOTS.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { launch } from "./chromium.mjs";
import { accessible, fits } from "./looks.mjs";

const base = process.env.GATEPOST_URL;
const screenshots = process.env.SCREENSHOTS;
assert.ok(base && screenshots, "GATEPOST_URL and SCREENSHOTS must be set");
mkdirSync(screenshots, { recursive: true });

const LOOKS = [
  { name: "desktop", viewport: { width: 1440, height: 900 }, colorScheme: "light" },
  { name: "dark", viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
  { name: "mobile", viewport: { width: 360, height: 740 }, colorScheme: "light" },
];
const WIDTHS = [320, 700, 1000, 2560];

const browser = await launch();
const failures = [];
const only = process.env.ONLY?.split(",");

/** Runs one test, and goes on with the next one whatever comes of it. */
async function test(name, act) {
  if (only && !only.some((part) => name.includes(part))) return;
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (error) {
    failures.push(name);
    console.log(`FAILED ${name}: ${error.message}`);
  }
}

/** Opens a page in a context of its own; what the console or another host says against it fails the test. */
async function visit(path, options, act) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    const isOfStatus = message.text().startsWith("Failed to load resource") && options.status;
    if (message.type() === "error" && !isOfStatus) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith("data:")) complaints.push(`asked ${request.url()}`);
  });
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  try {
    const response = await page.goto(base + path, { waitUntil: "load", timeout: 60000 });
    assert.equal(response.status(), options.status ?? 200, path);
    const result = await act(page, response);
    assert.deepEqual(complaints, [], path);
    return result;
  } finally {
    await context.close();
  }
}

/** Has an audit done, and waits until it has ended. */
async function audited() {
  const post = await fetch(`${base}/api/v1/audits`, { method: "POST" });
  assert.ok([202, 409].includes(post.status), `an audit begins: ${post.status}`);
  for (let tries = 0; tries < 300; tries += 1) {
    await new Promise((done) => setTimeout(done, 200));
    const { items, progress } = await (await fetch(`${base}/api/v1/audits?limit=1`)).json();
    if (!progress && items[0]?.state !== "running") return;
  }
  throw new Error("no audit ended");
}

async function firstFinding(query) {
  const { items } = await (await fetch(`${base}/api/v1/findings?limit=1&${query}`)).json();
  assert.ok(items[0], `there is a finding of ${query}`);
  return items[0];
}

if (!process.env.AUDITED) {
  await audited();
  await audited();
}
// Other tests have objects in the same cluster.
const ofShop = process.env.SHOP ? `&kind=Deployment&namespace=${process.env.SHOP}` : "";
const wrong = await firstFinding(`rule=container-image-tag&mode=enforce,warn${ofShop}`);
const [lastAudit] = (await (await fetch(`${base}/api/v1/audits?limit=1`)).json()).items;
const [lastDecision] = (await (await fetch(`${base}/api/v1/decisions?limit=1&mode=warn`)).json()).items;
assert.ok(lastDecision, "somebody was warned");
/** Has a CI job report what it judged. */
async function checked(commit, passed) {
  const result = {
    policies: ["recommended"], rule: "container-image-tag", severity: "high", category: "workload", result: "fail", action: "warn",
    resource: { apiVersion: "apps/v1", kind: "Deployment", namespace: "shop", name: "web" },
    source: { file: "deploy/web.yaml", document: 0, line: 17 }, path: "/spec/template/spec/containers/0/image", message: "write a fixed tag, for example nginx:1.27.3",
  };
  const check = {
    time: new Date().toISOString(), source: "ci/shop", policies: "sha256:0123", passed, summary: { objects: 12, pass: 180, fail: passed ? 0 : 1, error: 0, skip: 2, exempt: 1 },
    violations: passed ? {} : { high: 1 }, results: passed ? [] : [result],
  };
  const body = JSON.stringify({ apiVersion: "gatepost.dev/v1", kind: "Report", key: commit, source: "ci/shop", commit, checks: [check] });
  const answer = await fetch(`${base}/api/v1/reports`, { method: "POST", body, headers: { "content-type": "application/json" } });
  assert.ok(answer.ok, await answer.text());
}
await checked("0f5cc2e", true);
await checked("77a90c1", false);
const [failedCheck] = (await (await fetch(`${base}/api/v1/checks?state=failed`)).json()).items;
const PAGES = [
  ["overview", "/"],
  ["findings", "/findings"],
  ["findings-all", "/findings?mode=enforce,warn,audit&severity=critical,high"],
  ["findings-by-rule", "/findings?group=rule&mode=enforce,warn,audit"],
  ["findings-none", "/findings?text=nothing-has-this-name"],
  ["finding", `/findings/${wrong.id}`],
  ["accept", `/findings/accept?namespace=${wrong.resource.namespace}&mode=enforce,warn&accountable=team-shop&reason=There+before+we+enforced&enforce=baseline`],
  ["accept-all", "/findings/accept?mode=enforce,warn"],
  ["namespaces", "/namespaces"],
  ["namespace", `/namespaces/${wrong.resource.namespace}`],
  ["enforce", "/enforce?days=1&namespace=shop*,payments*"],
  ["modes", "/modes"],
  ["modes-preview", "/modes?namespace=shop*,payments*&enforce=recommended&scope=all"],
  ["messages", "/messages?rule=container-image-tag&message=%7B%7Bcontainer%7D%7D+of+%7B%7Bname%7D%7D%3A+pin+the+image%2C+see+go.example%2Fimages+or+ask+%23images"],
  ["rules", "/rules"],
  ["rule", "/rules/container-image-tag"],
  ["policies", "/policies"],
  ["policy", "/policies/baseline"],
  ["audits", "/audits"],
  ["audit", `/audits/${lastAudit.id}`],
  ["decisions", "/decisions"],
  ["decisions-none", "/decisions?text=nothing-has-this-name"],
  ["decision", `/decisions/${lastDecision.uid}`],
  ["feed", "/feed"],
  ["applications", "/applications"],
  ["application", "/applications/shop-front"],
  ["resource", `/resources/Deployment.apps/${wrong.resource.namespace}/${wrong.resource.name}`],
  ["checks", "/checks"],
  ["check", `/checks/${failedCheck.id}`],
  ["exemptions", "/exemptions"],
  ["exemptions-none", "/exemptions?state=refused&text=nothing-has-this-name"],
  ["playground", "/playground"],
  ["status", "/status"],
  ["settings", "/settings"],
  ["styleguide", "/styleguide"],
];
const ERRORS = [
  ["not-found", "/nowhere", 404],
  ["no-finding", "/findings/0123456789abcdef0123456789abcdef", 404],
  ["bad-query", "/findings?sevrity=high", 400],
];

for (const [name, path, status] of [...PAGES, ...ERRORS]) {
  for (const look of LOOKS) {
    await test(`${name} ${look.name}`, () =>
      visit(path, { ...look, status }, async (page) => {
        await page.screenshot({ path: join(screenshots, `${name}-${look.name}.png`), fullPage: true });
        await fits(page, look.viewport.width);
        await accessible(page);
      }),
    );
  }
  await test(`${name} widths`, async () => {
    for (const width of WIDTHS) {
      await visit(path, { viewport: { width, height: 900 }, status }, (page) => fits(page, width));
    }
  });
}

const desktop = { viewport: { width: 1440, height: 900 } };

await test("security headers stand on every page", () =>
  visit("/findings", desktop, async (_, response) => {
    const headers = response.headers();
    assert.match(headers["content-security-policy"], /^default-src 'none'; style-src 'self'; script-src 'self';/);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["cache-control"], "no-store");
    assert.equal(headers["content-encoding"], "gzip");
  }),
);

await test("a whole page is small and asks for little", () =>
  visit("/findings", desktop, async (page) => {
    const loaded = await page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map((entry) => [entry.name, entry.transferSize]),
    );
    const bytes = loaded.reduce((sum, [, size]) => sum + size, 0);
    console.log(`  ${loaded.length} requests, ${bytes} bytes`);
    assert.ok(loaded.length <= 5 && bytes < 120_000, JSON.stringify(loaded));
  }),
);

await test("filters are chosen and taken away, and stand in the address", () =>
  visit("/findings", desktop, async (page) => {
    await page.click('.chips a.chip:has-text("high")');
    await page.waitForURL(/severity=high/);
    const words = await page.$$eval("tr[data-row] .sev", (shown) => [...new Set(shown.map((word) => word.textContent.trim()))]);
    assert.deepEqual(words, ["high"]);
    await page.click('.menu summary:has-text("Rule")');
    await page.click('.menu[open] a:has-text("container-image-tag")');
    await page.waitForURL(/rule=container-image-tag/);
    assert.match(await page.textContent(".chips.chosen"), /container-image-tag/);
    await page.click(".chips.chosen a:has-text('Clear all')");
    await page.waitForURL(`${base}/findings`);
  }),
);

await test("a search is a link that can be shared", () =>
  visit("/findings", desktop, async (page) => {
    await page.keyboard.press("/");
    await page.keyboard.type("fixed tag");
    await page.keyboard.press("Enter");
    await page.waitForURL(/text=fixed/);
    const rows = await page.$$eval("tr[data-row]", (found) => found.map((row) => row.textContent));
    assert.ok(rows.length > 0 && rows.every((row) => row.includes("fixed tag")), rows.join("\n"));
  }),
);

await test("everything is reached by keys alone", () =>
  visit("/findings", desktop, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    assert.equal(await page.evaluate(() => [...document.querySelectorAll("tr[data-row]")].indexOf(document.querySelector("tr.at"))), 0);
    await page.keyboard.press("Enter");
    await page.waitForURL(/findings\/[0-9a-f]{32}/);
    await page.keyboard.press("?");
    assert.ok(await page.isVisible("#keys"));
    await page.keyboard.press("Escape");
    assert.ok(!(await page.isVisible("#keys")));
  }),
);

await test("keys of one character are turned off, and stay so", () =>
  visit("/findings", desktop, async (page) => {
    await page.click("#keys-open");
    await accessible(page);
    await page.screenshot({ path: join(screenshots, "keys.png") });
    await page.uncheck("#keys-on");
    await page.click("#keys button");
    assert.ok(!(await page.isVisible("#keys")));
    await page.reload();
    for (const key of ["j", "?", "/"]) await page.keyboard.press(key);
    assert.equal(await page.locator("tr.at, dialog[open], [data-search]:focus").count(), 0);
    await page.click("#keys-open");
    assert.ok(!(await page.isChecked("#keys-on")));
    await page.check("#keys-on");
    await page.keyboard.press("Escape");
    await page.keyboard.press("j");
    assert.equal(await page.locator("tr.at").count(), 1);
  }),
);

await test("a choice of a list is taken by its button, and not before", () =>
  visit("/findings", desktop, async (page) => {
    await page.selectOption("#sort", "object");
    assert.equal(page.url(), `${base}/findings`);
    await page.click("main button:has-text('Search')");
    await page.waitForURL(/sort=object/);
  }),
);

await test("a finding shows the line and what to write", () =>
  visit(`/findings/${wrong.id}`, desktop, async (page) => {
    assert.match(await page.textContent(".line.hit"), /image:/);
    assert.match(await page.textContent("#mend >> xpath=../.."), /tag/);
  }),
);

await test("a finding gives its fix as a diff, to copy and as a file", async () => {
  const found = await firstFinding(`rule=container-memory-limit&mode=enforce,warn${ofShop}`);
  for (const look of LOOKS) {
    await visit(`/findings/${found.id}`, look, async (page) => {
      await page.locator("#fix").scrollIntoViewIfNeeded();
      await page.screenshot({ path: join(screenshots, `finding-fix-${look.name}.png`), fullPage: true });
      await fits(page, look.viewport.width);
      await accessible(page);
    });
  }
  await visit(`/findings/${found.id}`, { ...desktop, permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("text=Download .patch")]);
    assert.match(download.suggestedFilename(), /^container-memory-limit-[0-9a-f]+\.patch$/);
    const diff = readFileSync(await download.path(), "utf8");
    assert.match(diff, /^--- a\/deployment-checkout\.yaml\n\+\+\+ b\/deployment-checkout\.yaml\n@@ /);
    assert.match(diff, /^\+ +memory: 16Mi # choose: what it needs as measured$/m);
    assert.match(await page.textContent("#fix >> xpath=../.."), /Choose a value\./);
    await page.click("#fix >> xpath=../.. >> button:has-text('Copy')");
    await page.waitForSelector("text=Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), diff);
  });
});

await test("the theme is remembered without a script", () =>
  visit("/findings", { ...desktop, javaScriptEnabled: false }, async (page) => {
    await page.click(".theme button");
    await page.waitForLoadState();
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    assert.equal(new URL(page.url()).pathname, "/findings");
    await page.click("tr[data-row] a.subject");
    await page.waitForURL(/findings\/[0-9a-f]{32}/);
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  }),
);

for (const colorScheme of ["light", "dark"]) {
  await test(`colours for colour-blindness can be read on ${colorScheme}`, async () => {
    const cookie = { name: "palette", value: "colour-blind", domain: new URL(base).hostname, path: "/", expires: -1, httpOnly: false, secure: false, sameSite: "Strict" };
    for (const path of ["/", "/findings", "/styleguide"]) {
      await visit(path, { ...desktop, colorScheme, storageState: { cookies: [cookie], origins: [] } }, async (page) => {
        assert.equal(await page.getAttribute("html", "data-palette"), "colour-blind");
        await accessible(page);
        await page.screenshot({ path: join(screenshots, `colour-blind-${colorScheme}-${path.slice(1) || "overview"}.png`), fullPage: true });
      });
    }
  });
}

await test("an audit is begun by a button, and followed", () =>
  visit("/audits", desktop, async (page) => {
    const before = await page.locator("tbody tr").count();
    await page.click("text=Start an audit");
    await page.waitForLoadState();
    assert.equal(new URL(page.url()).pathname, "/audits");
    await audited();
    await page.reload();
    assert.ok((await page.locator("tbody tr").count()) > before);
  }),
);

await test("what is found is accepted until a day, and planned, from the page of findings", () =>
  visit("/findings?rule=container-image-tag", desktop, async (page) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("text=As a plan").then(() => page.click("text=By owner, as Markdown"))]);
    assert.equal(download.suggestedFilename(), "plan.md");
    assert.match(readFileSync(await download.path(), "utf8"), /- \[ \] \*\*.*`container-image-tag`/);
    await page.click("text=Accept as it is");
    await page.waitForURL(/findings\/accept\?.*rule=container-image-tag/);
    await page.fill("#accountable", "team-shop");
    await page.fill("#reason", "there before");
    await page.click("text=Make exemptions");
    await page.waitForURL(/accountable=team-shop/);
    assert.match(await page.textContent(".code"), /rules: \[container-image-tag\]/);
    const [yaml] = await Promise.all([page.waitForEvent("download"), page.click("text=Download accepted.yaml")]);
    assert.match(readFileSync(await yaml.path(), "utf8"), /containers: \[/);
  }),
);

const signedIn = { extraHTTPHeaders: { authorization: `Bearer ${process.env.KUBE_TOKEN}` } };

await test("modes are written with the viewer's own token, stand in the history, and are taken back by one click", async () => {
  const shop = process.env.SHOP;
  const path = `/modes?namespace=${shop}&enforce=baseline&severity=critical&scope=all&from=2099-01-01`;
  await visit(path, { ...desktop, ...signedIn, javaScriptEnabled: false }, async (page) => {
    await page.fill("#reason", "nothing critical was found <b>for a month</b>");
    await page.screenshot({ path: join(screenshots, "modes-write.png"), fullPage: true });
    await page.click(`text=Write it to ${shop}`);
    await page.waitForURL(/modes\?namespace=shop/);
    const [row] = await page.$$eval("#history >> xpath=../.. >> tbody tr", (rows) => rows.map((row) => row.textContent));
    assert.match(row, /enforce=baseline.*enforce-from=2099-01-01.*:ann.*nothing critical was found <b>for a month<\/b>/s);
  });
  const history = `/modes?namespace=${shop}`;
  for (const look of LOOKS) {
    await visit(history, { ...look, ...signedIn }, async (page) => {
      await page.screenshot({ path: join(screenshots, `modes-history-${look.name}.png`), fullPage: true });
      await fits(page, look.viewport.width);
      await accessible(page);
    });
  }
  await visit(history, desktop, async (page) => assert.equal(await page.locator("button:has-text('Take back')").count(), 0, "without a token"));
  await visit(history, { ...desktop, ...signedIn }, async (page) => {
    await page.click("button:has-text('Take back')");
    await page.waitForURL(/#history/);
    const rows = await page.$$eval("#history >> xpath=../.. >> tbody tr", (found) => found.map((row) => row.textContent));
    assert.equal(rows.length, 2);
    assert.match(rows[0], /nothing of its own.*takes back change/s);
    assert.equal(await page.locator("button:has-text('Take back')").count(), 1, "only what was changed last is taken back");
  });
});

/** Has somebody's request be denied, as a webhook reports it. */
async function denied(uid, name) {
  const result = { rule: "container-privileged", policy: "baseline", severity: "critical", result: "fail", action: "deny", message: "it is privileged" };
  const decision = {
    uid, name, time: new Date().toISOString(), operation: "CREATE", kind: "Pod", namespace: "shop", user: "jane",
    verified: true, dryRun: false, allowed: false, reason: "judged", durationUs: 1234, results: [result],
  };
  const body = JSON.stringify({ apiVersion: "gatepost.dev/v1", kind: "Report", key: uid, source: "webhook/test", decisions: [decision] });
  const answer = await fetch(`${base}/api/v1/reports`, { method: "POST", body, headers: { "content-type": "application/json" } });
  assert.ok(answer.ok, await answer.text());
}

await test("the feed shows a decision as it is taken, waits while it is paused, and opens it", () =>
  visit("/feed", desktop, async (page) => {
    await page.waitForSelector("#feed .dot.running");
    await denied("feed-1", "<img src=x onerror=alert(1)>");
    const first = page.locator("#decisions tr").first();
    await first.locator("text=denied").waitFor();
    assert.match(await first.textContent(), /Pod\/<img src=x onerror=alert\(1\)>/);
    await page.click("#feed-pause");
    await denied("feed-2", "later");
    await page.waitForSelector("text=/Paused: 1 decision/");
    assert.doesNotMatch(await first.textContent(), /later/);
    await accessible(page);
    await page.click("#feed-pause");
    await page.locator("#decisions tr").first().locator("text=Pod/later").click();
    await page.waitForURL(/decisions\/feed-2/);
    assert.match(await page.textContent("main"), /it is privileged/);
  }),
);

await test("the feed comes back after an error, and says what it missed", () =>
  visit("/feed", { ...desktop, status: 200 }, async (page) => {
    let asked = 0;
    await page.route("**/api/v1/decisions/stream*", (route) => {
      asked += 1;
      if (asked === 1) return route.fulfill({ status: 502 });
      if (asked === 2) return route.fulfill({ status: 200, contentType: "text/event-stream", body: "retry: 100\nevent: gap\ndata: {}\n\n" });
      if (asked === 3) return route.fulfill({ status: 429 });
      return route.continue();
    });
    await page.reload();
    await page.waitForSelector("text=/Not live: the server does not answer/");
    await page.waitForFunction(() => document.querySelectorAll("#decisions tr:not([data-row])").length === 2);
    assert.match(await page.locator("#decisions tr:not([data-row])").first().textContent(), /Some decisions were missed here/);
    assert.ok(asked >= 4, `${asked} times`);
    await denied("feed-3", "after");
    await page.locator("#decisions tr").first().locator("text=Pod/after").waitFor();
    await accessible(page);
  }),
);

await test("names as long as they may be fit at every width", async () => {
  const found = await firstFinding(`namespace=${process.env.LONG}&mode=enforce,warn`);
  const { items: [decision] } = await (await fetch(`${base}/api/v1/decisions?limit=1&namespace=${process.env.LONG}`)).json();
  const { namespace, name } = found.resource;
  const paths = {
    namespace: `/namespaces/${namespace}`,
    finding: `/findings/${found.id}`,
    findings: `/findings?namespace=${namespace}`,
    owners: `/findings?namespace=${namespace}&group=owner`,
    resource: `/resources/Deployment.apps/${namespace}/${name}`,
    decision: `/decisions/${decision.uid}`,
    decisions: `/decisions?namespace=${namespace}`,
    write: `/modes?namespace=${namespace}&enforce=baseline`,
    namespaces: "/namespaces",
    enforce: `/enforce?days=1&namespace=${namespace}&name=${"p".repeat(63)}`,
  };
  const wide = [];
  for (const [page, path] of Object.entries(paths)) {
    for (const width of [320, 360, 700, 1000]) {
      await visit(path, { viewport: { width, height: 740 }, ...signedIn }, async (shown) => {
        if (width === 320) await shown.screenshot({ path: join(screenshots, `long-${page}.png`), fullPage: true });
        if (page === "write") assert.equal(await shown.locator("button:has-text('Write it to')").count(), 1);
        await fits(shown, width).catch((error) => wide.push(`${path}: ${error.message}`));
      });
    }
  }
  assert.deepEqual(wide, []);
});

await test("a manifest is judged in the playground without a script", () =>
  visit("/playground", { ...desktop, javaScriptEnabled: false }, async (page) => {
    await page.selectOption("#policy", "baseline");
    await page.click("text=Judge it");
    await page.waitForSelector("text=container-privileged");
    await page.fill("#manifest", "kind: <script>alert(1)</script>\napiVersion: v1\nmetadata: {name: </textarea><script>alert(1)</script>}");
    await page.click("text=Judge it");
    await page.waitForSelector(".banner");
    assert.match(await page.inputValue("#manifest"), /<\/textarea><script>/);
    await page.screenshot({ path: join(screenshots, "playground-judged.png"), fullPage: true });
  }),
);

await test("the feed says that it is not live without a script", () =>
  visit("/feed", { ...desktop, javaScriptEnabled: false }, async (page) => {
    assert.match(await page.textContent("#feed"), /Not live/);
    assert.ok((await page.locator("#decisions tr").count()) > 0);
    await page.click("text=Denied");
    await page.waitForURL(/state=denied/);
  }),
);

// The images of the documentation: GATEPOST_IMAGES=1 cargo test --test e2e every_page_is_accessible
if (process.env.IMAGES) {
  await test("images of the documentation", async () => {
    const found = await firstFinding(`rule=container-memory-limit&mode=enforce,warn${ofShop}`);
    const images = [
      ["overview", "/"],
      ["findings", "/findings"],
      ["finding", `/findings/${found.id}`, "#fix"],
      ["modes", "/modes?namespace=shop*,payments*&enforce=recommended&scope=all"],
    ];
    mkdirSync(process.env.IMAGES, { recursive: true });
    for (const [name, path, part] of images) {
      await visit(path, { viewport: { width: 1280, height: 860 }, colorScheme: "light" }, async (page) => {
        if (part) await page.evaluate((part) => scrollTo(0, document.querySelector(part).getBoundingClientRect().top - 420), part);
        const file = join(process.env.IMAGES, `${name}.png`);
        await page.screenshot({ path: file });
        // A page has few colours, so a palette loses nothing that is seen.
        spawnSync("pngquant", ["--force", "--ext", ".png", "96", file]);
        assert.ok(statSync(file).size < 150_000, `${name}: ${statSync(file).size} bytes; apt-get install pngquant`);
      });
    }
  });
}

await browser.close();
if (failures.length) {
  console.log(`${failures.length} failed: ${failures.join(", ")}`);
  process.exit(1);
}
