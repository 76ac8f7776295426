// What lives on a page: times, an audit under way, keys. Everything else works without it.

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

/** Follows an audit under way, and offers the page anew when it has ended. */
async function follow(fresh) {
  const status = fresh.querySelector("[role=status]");
  let wait = 2000;
  for (;;) {
    await new Promise((done) => setTimeout(done, wait));
    try {
      const answer = await fetch("/api/v1/audits?limit=1", { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const { progress } = await answer.json();
      wait = 2000;
      if (!progress) {
        fresh.querySelector(".dot").className = "dot good";
        status.textContent = "Audit finished. ";
        const again = document.createElement("a");
        again.href = location.href;
        again.textContent = "Show it";
        status.append(again);
        return;
      }
      for (const shown of document.querySelectorAll("[data-progress]")) {
        shown.textContent = `${progress.objects.toLocaleString("en-US")} objects read, ${progress.kindsDone} of ${progress.kinds} kinds done`;
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
for (const select of document.querySelectorAll("select[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

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

// Keys: / searches, j and k go through rows, ? tells.
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
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const search = document.querySelector("[data-search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "?") document.querySelector("#keys").showModal();
});
