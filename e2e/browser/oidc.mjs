// Signs in with a real provider of OpenID Connect, in a real Chromium, through a proxy that puts Gatepost under a path:
// what each of three people sees, what they are told, and that nothing can be used twice.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer, request } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import Provider from "oidc-provider";
import { launch } from "./chromium.mjs";

const { GATEPOST_URL: base, GATEPOST_INSIDE: inside, ISSUER: issuer, SHOP: shop, PAYMENTS: payments } = process.env;
const screenshots = process.env.SCREENSHOTS;
assert.ok(base && inside && issuer && shop && payments && screenshots, "GATEPOST_URL and the others must be set");
mkdirSync(screenshots, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const GROUPS = { jane: ["team-shop", "everybody"], olga: ["platform"], bob: ["everybody"], nobody: undefined };

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "gatepost",
      client_secret: process.env.CLIENT_SECRET,
      redirect_uris: [`${base}/sign-in/oidc/callback`],
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "first", use: "sig", alg: "RS256" }] },
  cookies: { keys: [process.env.CLIENT_SECRET] },
  // Groups stand in the ID token itself.
  conformIdTokenClaims: false,
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, ...(GROUPS[id] && { groups: GROUPS[id] }) }),
  }),
});
const providing = provider.listen(Number(new URL(issuer).port), "127.0.0.1");

const proxying = createServer(
  { cert: readFileSync(process.env.PROXY_CERT), key: readFileSync(process.env.PROXY_KEY) },
  (from, answer) => {
    const { method, headers } = from;
    const to = request(inside + from.url, { method, headers, rejectUnauthorized: false }, (answered) => {
      answer.writeHead(answered.statusCode, answered.headers);
      answered.pipe(answer);
    });
    to.on("error", (error) => answer.writeHead(502).end(String(error)));
    from.pipe(to);
  },
).listen(Number(new URL(base).port), "127.0.0.1");

const browser = await launch();
const failures = [];

async function test(name, act) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  page.on("dialog", (dialog) => {
    failures.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  try {
    await act(page, context);
    console.log(`ok ${name}`);
  } catch (error) {
    failures.push(name);
    console.log(`FAILED ${name}: ${error.stack}\n${page.url()}\n${(await page.innerText("body").catch(() => "")).slice(0, 2000)}`);
    await page.screenshot({ path: join(screenshots, "oidc-failed.png") }).catch(() => {});
  } finally {
    await context.close();
  }
}

/** Goes to a page of ours, and by its button to the provider, and says there who one is. */
async function signIn(page, name, path = "/findings") {
  const response = await page.goto(base + path);
  assert.equal(response.status(), 401);
  await page.click("text=Sign in with Work");
  await page.waitForURL(`${issuer}/**`);
  await page.fill("input[name=login]", name);
  await page.fill("input[name=password]", "any");
  await page.click("button[type=submit]");
  // The provider asks for consent; its answer leads back to us.
  await page.waitForSelector("text=Continue");
  await Promise.all([page.waitForURL(`${base}/**`), page.click("button:has-text('Continue')")]);
}

/** Asks the API by the browser's own session. */
async function ask(page, path) {
  return page.evaluate(async (url) => {
    const answer = await fetch(url);
    return { status: answer.status, body: await answer.json() };
  }, base + path);
}

const namespacesOf = (items) => [...new Set(items.map((item) => item.resource?.namespace ?? ""))].sort();

await test("a group that may see everything sees everything", async (page) => {
  await signIn(page, "olga");
  assert.equal(page.url(), `${base}/findings`);
  let seen = [];
  for (let tries = 0; tries < 150 && !(seen.includes(shop) && seen.includes(payments)); tries += 1) {
    const { status, body } = await ask(page, "/api/v1/findings?limit=1000");
    assert.equal(status, 200);
    seen = namespacesOf(body.items);
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.ok(seen.includes(shop) && seen.includes(payments), `findings of both: ${seen}`);
  assert.ok(!(await page.innerText("main")).includes("You see the namespaces"));
});

await test("a group sees the findings and counts of its namespaces alone, until it signs out", async (page, context) => {
  let callback;
  page.on("request", (request) => {
    if (request.url().includes("/sign-in/oidc/callback")) callback = request.url();
  });
  await page.goto(`${base}/findings?severity=high,medium`);
  await page.screenshot({ path: join(screenshots, "sign-in-oidc.png") });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map(({ id }) => id), []);
  await signIn(page, "jane", "/findings?severity=high,medium");
  assert.equal(page.url(), `${base}/findings?severity=high,medium`, "where one wanted to go");
  assert.ok((await page.innerText("main")).includes("You see the namespaces shop-*, and nothing outside them."));
  await page.screenshot({ path: join(screenshots, "findings-oidc.png") });

  const findings = (await ask(page, "/api/v1/findings?limit=1000")).body.items;
  const others = namespacesOf(findings).filter((name) => !name.startsWith("shop-"));
  assert.ok(namespacesOf(findings).includes(shop) && others.length === 0, `${namespacesOf(findings)}`);
  const facets = (await ask(page, "/api/v1/findings/facets?facet=namespace")).body;
  assert.ok(!JSON.stringify(facets).includes(payments), JSON.stringify(facets));
  const { items } = (await ask(page, "/api/v1/namespaces?limit=1000")).body;
  assert.deepEqual(items.map(({ name }) => name).filter((name) => !name.startsWith("shop-")), []);
  for (const path of ["/", "/findings", "/namespaces", "/decisions", "/applications", "/enforce", "/modes"]) {
    const response = await page.goto(base + path);
    assert.equal(response.status(), 200, path);
    const text = await page.content();
    assert.ok(text.includes("You see the namespaces shop-*") && !text.includes(payments), path);
  }
  const response = await page.goto(`${base}/namespaces/${payments}`);
  assert.equal(response.status(), 404);
  assert.ok((await page.innerText("main")).includes("among those that you may see"));
  const narrowed = await page.goto(`${base}/findings?namespace=${payments}`);
  assert.equal(narrowed.status(), 200);
  assert.ok((await page.innerText("main")).includes("You see the namespaces shop-*, and nothing outside them."));

  const written = await page.evaluate(async (url) => {
    const headers = { "content-type": "application/json" };
    return (await fetch(url, { method: "POST", headers, body: "{}" })).status;
  }, `${base}/api/v1/audits`);
  assert.equal(written, 403, "they read, and no more");

  const cookie = (await context.cookies()).find(({ name }) => name === "__Host-gatepost");
  assert.ok(cookie.secure && cookie.httpOnly && cookie.sameSite === "Lax" && cookie.path === "/");
  assert.match(cookie.value, /^gs_[\w-]{43}$/);
  const left = cookie.expires - Date.now() / 1000;
  assert.ok(left > 3500 && left <= 3600, `an hour: ${left}`);

  assert.ok(callback.includes("code="));
  const again = await page.goto(callback);
  assert.equal(again.status(), 400, "what came back once opens nothing again");
  assert.ok((await page.innerText("main")).includes("begin again"));

  await page.goto(`${base}/`);
  await page.click("text=Sign out");
  await page.waitForURL(`${base}/sign-in?left=true`);
  await page.screenshot({ path: join(screenshots, "signed-out-oidc.png") });
  assert.ok((await page.innerText("main")).includes("At Work you may still be signed in"));
  await context.addCookies([cookie]);
  assert.equal((await page.goto(`${base}/findings`)).status(), 401, "the session is over, not only the cookie gone");
});

await test("whoever may see nothing is told so in words", async (page, context) => {
  await signIn(page, "bob");
  const told = await page.innerText("main");
  assert.ok(told.includes("you are bob, and none of your groups (everybody) may see anything here"), told);
  await page.screenshot({ path: join(screenshots, "no-rights-oidc.png") });
  assert.ok(!(await context.cookies()).some(({ name }) => name === "__Host-gatepost"));
});

await test("a provider that says nothing of groups is told apart from one that does", async (page) => {
  await signIn(page, "nobody");
  assert.ok((await page.innerText("main")).includes("the provider says nothing of your groups"));
});

await test("the provider's no is told in words", async (page) => {
  await page.goto(`${base}/findings`);
  await page.click("text=Sign in with Work");
  await page.waitForURL(`${issuer}/**`);
  await Promise.all([page.waitForURL(`${base}/**`), page.click("text=Cancel")]);
  assert.ok((await page.innerText("main")).includes("Work says no (access_denied)"), await page.innerText("main"));
});

await test("nobody has another browser end a sign-in, nor leads it elsewhere", async (page, context) => {
  const forged = `${base}/sign-in/oidc/callback?state=x&code=y&error_description=%3Cscript%3Ealert(1)%3C/script%3E`;
  const response = await page.goto(forged);
  assert.equal(response.status(), 400);
  assert.ok((await page.innerText("main")).includes("begun in another browser"));
  assert.ok(!(await page.content()).includes("alert(1)"));
  await page.goto(`${base}/sign-in/oidc?next=${encodeURIComponent("//evil.example/x")}`);
  await page.waitForURL(`${issuer}/**`);
  await page.fill("input[name=login]", "jane");
  await page.fill("input[name=password]", "any");
  await page.click("button[type=submit]");
  await page.waitForSelector("text=Continue");
  await Promise.all([page.waitForURL(`${base}/**`), page.click("button:has-text('Continue')")]);
  assert.equal(page.url(), `${base}/`);
});

await browser.close();
providing.close();
proxying.close();
providing.closeAllConnections();
proxying.closeAllConnections();
if (failures.length > 0) {
  console.log(`${failures.length} failed: ${failures.join(", ")}`);
  process.exit(1);
}
process.exit(0);
