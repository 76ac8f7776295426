// What lives on a page: times, an audit under way, keys. Everything else works without it.

/** What every path begins with behind a proxy. */
const base = document.documentElement.dataset.base ?? "";

const minute = 60, hour = 3600, day = 86400;

/** Words a time as the server does. */
function ago(iso) {
  const seconds = Math.floor(Date.now() / 1000) - Math.floor(Date.parse(iso) / 1000);
  if (Number.isNaN(seconds) || seconds < 0) return null;
  if (seconds < 45) return "just now";
  if (seconds < 90 * minute) return `${Math.max(1, Math.floor((seconds + 30) / minute))} min ago`;
  if (seconds < 2 * day) return `${Math.floor((seconds + hour / 2) / hour)} h ago`;
  if (seconds < 60 * day) return `${Math.floor(seconds / day)} days ago`;
  return null;
}

function retell() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const words = ago(time.dateTime);
    if (words && words !== time.textContent) time.textContent = words;
  }
}
setInterval(retell, 20000);

/** How an audit may have ended: tone, and words. */
const ENDINGS = {
  complete: ["good", "Audit finished. "],
  partial: ["warn", "Audit finished, but not everything could be read. "],
  cancelled: ["bad", "Audit cancelled. "],
};

/** Follows an audit under way, and offers the page anew when it has ended. */
async function follow(fresh) {
  const status = fresh.querySelector("[role=status]");
  let wait = 2000;
  for (;;) {
    await new Promise((done) => setTimeout(done, wait));
    try {
      const answer = await fetch(`${base}/api/v1/audits?limit=1`, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const { items, progress } = await answer.json();
      wait = 2000;
      if (!progress) {
        const [tone, words] = ENDINGS[items[0]?.state] ?? ["bad", "Audit stopped. "];
        fresh.querySelector(".dot").className = `dot ${tone}`;
        for (const past of fresh.querySelectorAll("time, .hidden")) past.remove();
        fresh.removeAttribute("title");
        status.textContent = words;
        const again = document.createElement("a");
        again.href = location.href;
        again.textContent = "Show it";
        status.append(again);
        return;
      }
      for (const shown of document.querySelectorAll("[data-progress]")) {
        shown.textContent = progress.kinds === 0 ? "Asking what the cluster serves" : `${progress.objects.toLocaleString("en-US")} objects read, ${progress.kindsDone} of ${progress.kinds} kinds done`;
      }
      for (const bar of document.querySelectorAll("progress")) {
        bar.max = Math.max(1, progress.kinds);
        bar.value = progress.kindsDone;
      }
    } catch {
      wait = Math.min(wait * 2, 60000);
    }
  }
}
const fresh = document.querySelector("#fresh[data-running]");
if (fresh) follow(fresh);

// Menus close as people expect.
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// Copying.
for (const block of document.querySelectorAll(".copyable")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const lines = [...block.querySelectorAll(".line > .text")].map((line) => line.textContent);
    await navigator.clipboard.writeText(lines.length ? lines.join("\n") + "\n" : block.querySelector("code, pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  block.append(button);
}

// Keys: / searches, j and k go through rows, ? tells. Who dictates, or hits keys by accident, turns them off.
const keys = document.querySelector("#keys"), areOn = document.querySelector("#keys-on"), opener = document.querySelector("#keys-open");
areOn.checked = remembered("keys") !== "off";
areOn.addEventListener("change", () => remember("keys", areOn.checked ? "on" : "off"));
opener.hidden = false;
opener.addEventListener("click", () => keys.showModal());

/** Storage may be forbidden: then a choice holds until the page is left. */
function remembered(name) {
  try {
    return localStorage.getItem(`gatepost-${name}`);
  } catch {
    return null;
  }
}
function remember(name, value) {
  try {
    localStorage.setItem(`gatepost-${name}`, value);
  } catch {}
}

function step(by) {
  const rows = [...document.querySelectorAll("tr[data-row]")].filter((row) => row.querySelector("a"));
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("at"));
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  rows[at]?.classList.remove("at");
  next.classList.add("at");
  next.querySelector("a").focus();
}
addEventListener("keydown", (event) => {
  const open = document.querySelector("details.menu[open]");
  if (event.key === "Escape" && open) {
    open.open = false;
    open.querySelector("summary").focus();
    return;
  }
  if (!areOn.checked || keys.open) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const search = document.querySelector("[data-search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "?") keys.showModal();
});

// The feed: rows are put in at the head, at most ten times a second, and only the last ones stay.
const feed = document.querySelector("#feed");
if (feed) watch(feed);

function watch(feed) {
  const longest = 200;
  const body = document.querySelector("#decisions"), row = document.querySelector("#feed-row"), hole = document.querySelector("#feed-gap");
  const pause = document.querySelector("#feed-pause");
  const dot = feed.querySelector(".dot"), status = feed.querySelector("[role=status]");
  const waiting = [];
  const seen = new Set([...body.querySelectorAll("a.subject")].map((link) => link.getAttribute("href")));
  let isPaused = false, isOpen = false, came = 0, told = "", due = 0;

  function tell() {
    const missed = waiting.length === longest ? `at least ${longest}` : String(waiting.filter(Boolean).length);
    const words = isPaused ? `Paused: ${missed} decisions wait` : isOpen ? `Live: ${came} since you came` : "Not live: the server does not answer. Trying again";
    dot.className = `dot ${isPaused ? "warn" : isOpen ? "running" : "bad"}`;
    if (words !== told) status.textContent = told = words;
  }
  function show() {
    due = 0;
    if (isPaused) return;
    for (const decision of waiting.splice(0)) {
      // What is none stands for those that were missed.
      const tr = decision ? filled(decision) : hole.content.firstElementChild.cloneNode(true);
      body.prepend(tr);
      tr.addEventListener("animationend", () => tr.classList.remove("fresh-row"), { once: true });
    }
    while (body.rows.length > longest) body.lastElementChild.remove();
    if (body.rows.length) {
      document.querySelector("#feed-empty").hidden = true;
      document.querySelector("#feed-list").hidden = false;
    }
  }
  function filled(decision) {
    const tr = row.content.firstElementChild.cloneNode(true);
    const broken = decision.results.filter((result) => result.action !== "record");
    const rules = [...new Set((broken.length ? broken : decision.results).map((result) => result.rule))];
    const [tone, word] = !decision.allowed ? ["deny", "denied"] : decision.breakGlass ? ["warn", "glass broken"] : broken.length ? ["warn", "warned"] : ["good", "allowed"];
    const badge = tr.querySelector("[data-verdict]");
    badge.classList.add(tone);
    badge.querySelector("use").setAttribute("href", `#g-${tone}`);
    badge.querySelector("span").textContent = word;
    const link = tr.querySelector("a");
    link.href = `${base}/decisions/${encodeURIComponent(decision.uid)}`;
    link.textContent = `${decision.kind}/${decision.name}`;
    tr.querySelector("[data-where]").textContent = decision.operation.toLowerCase() + (decision.namespace ? ` in ${decision.namespace}` : "") + (decision.dryRun ? " · dry run" : "");
    const list = tr.querySelector("[data-rules]");
    for (const [index, rule] of rules.slice(0, 3).entries()) {
      const code = document.createElement("code");
      code.textContent = rule;
      list.append(index ? ", " : "", code);
    }
    if (!rules.length || rules.length > 3) list.append(" ", note(rules.length ? "small muted" : "muted", rules.length ? `and ${rules.length - 3} more` : "none broken"));
    const [, namespace, account] = /^system:serviceaccount:([^:]+):(.+)$/.exec(decision.user) ?? [];
    const user = tr.querySelector("[data-user]");
    user.append(account ?? decision.user);
    if (account) user.append(note("second block", `service account in ${namespace}`));
    const took = decision.durationUs;
    tr.querySelector("[data-took]").textContent = took < 1000 ? `${took} µs` : took < 1e6 ? `${(took / 1000).toFixed(1)} ms` : `${(took / 1e6).toFixed(1)} s`;
    const time = tr.querySelector("time");
    time.dateTime = decision.time;
    time.title = decision.time;
    time.textContent = ago(decision.time) ?? "just now";
    return tr;
  }
  function note(kind, words) {
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = words;
    return span;
  }

  let wait = 1000, wasOpen = false;
  function connect() {
    const source = new EventSource(feed.dataset.stream);
    // A new source does not say where the last one ended.
    let isBehind = wasOpen;
    source.addEventListener("open", () => {
      if (isBehind) put(null);
      [wait, isOpen, wasOpen, isBehind] = [1000, true, true, false];
      tell();
    });
    source.addEventListener("error", () => {
      isOpen = false;
      tell();
      // A browser comes back by itself where a connection broke, and not where it was answered with an error.
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 60000);
    });
    source.addEventListener("gap", () => put(null));
    source.addEventListener("decision", (event) => {
      const decision = JSON.parse(event.data);
      const href = `${base}/decisions/${encodeURIComponent(decision.uid)}`;
      if (seen.has(href)) return;
      seen.add(href);
      if (seen.size > 4 * longest) seen.delete(seen.values().next().value);
      came += 1;
      put(decision);
    });
  }
  function put(decision) {
    waiting.push(decision);
    if (waiting.length > longest) waiting.shift();
    due ||= setTimeout(show, 100);
  }
  connect();
  // Readers are told every few seconds, not of each row.
  setInterval(tell, 5000);
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (!isPaused) show();
    tell();
  });
}
