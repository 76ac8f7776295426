// What every page is looked at for.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe says against a page fails the test. */
export async function accessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"], rules: { "target-size": { enabled: true } } }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ")}`);
  assert.deepEqual(told, []);
}

/** A page that is wider than its window fails the test. */
export async function fits(page, width) {
  const { wide, culprit } = await page.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("main *, .top *")].find(
      (element) => element.getBoundingClientRect().right > limit + 1 && !element.closest(".scroll, .code, pre, .hidden"),
    );
    return { wide: document.documentElement.scrollWidth - limit, culprit: out?.outerHTML.slice(0, 160) };
  });
  assert.ok(wide <= 0, `${wide} pixels too wide at ${width}: ${culprit}`);
}
