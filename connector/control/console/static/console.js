// Everything works without this file but the figures that move by themselves.
"use strict";

(() => {
  const address = document.body.dataset.live;
  const pulse = document.getElementById("pulse");

  // Live parts: the server sends a part again when it has changed; what the person is doing inside stays.

  function put(part) {
    const place = document.getElementById(part.id);
    if (!place || place.dataset.version === part.version) return;
    const focused = place.contains(document.activeElement) ? trace(document.activeElement) : null;
    const open = [...place.querySelectorAll("details[open] > summary")].map((found) => found.textContent);
    const scrolled = [...place.querySelectorAll("[tabindex]")].map((found) => [found.scrollLeft, found.scrollTop]);
    const ticked = [...place.querySelectorAll(".box input:checked")].map((found) => found.name);
    place.innerHTML = part.html;
    for (const box of place.querySelectorAll(".box input")) box.checked = ticked.includes(box.name);
    if (part.id === "state") document.querySelector("main > .banner.good")?.remove(); // what was said is overtaken
    place.dataset.version = part.version;
    for (const summary of place.querySelectorAll("details > summary")) {
      summary.parentElement.open = open.includes(summary.textContent);
    }
    [...place.querySelectorAll("[tabindex]")].forEach((found, number) => {
      if (scrolled[number]) [found.scrollLeft, found.scrollTop] = scrolled[number];
    });
    if (focused) {
      const again = [...place.querySelectorAll("a, button, input, summary, [tabindex]")].find((found) => trace(found) === focused);
      (again || document.getElementById("main")).focus({ preventScroll: true });
    }
  }

  function trace(element) {
    return [element.tagName, element.getAttribute("formaction") || element.getAttribute("href") || element.name || element.textContent].join(" ");
  }

  function say(text, alive) {
    if (!pulse) return;
    pulse.hidden = false;
    pulse.classList.toggle("alive", alive);
    if (pulse.textContent !== text) pulse.textContent = text;
  }

  let source = null;
  let again = 0;

  function listen() {
    clearTimeout(again);
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("open", () => say("Live", true));
    source.addEventListener("part", (event) => put(JSON.parse(event.data)));
    source.addEventListener("end", () => { hush(); location.reload(); });
    source.addEventListener("replaced", () => { hush(); say("Not live: more pages are open with this key than it may have", false); });
    source.addEventListener("error", () => {
      say("Connecting again…", false);
      if (source && source.readyState === EventSource.CLOSED) {
        hush();
        again = setTimeout(listen, 10000);
      }
    });
  }

  function hush() {
    if (source) source.close();
    source = null;
  }

  if (address) {
    // A hidden page needs no figures, and browsers allow few connections to one host.
    document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
    addEventListener("pagehide", hush);
    addEventListener("pageshow", listen);
    listen();
  }

  // Small comforts.

  document.addEventListener("mouseover", (event) => {
    const time = event.target.closest ? event.target.closest("time") : null;
    if (time && !time.title) time.title = `${new Date(time.dateTime).toLocaleString()} here`;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const ask of document.querySelectorAll("details.ask[open]")) {
      ask.open = false;
      ask.querySelector("summary").focus();
    }
  });

  const all = document.getElementById("tick-all");
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of document.querySelectorAll("tbody .box input")) box.checked = all.checked;
    });
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
})();
