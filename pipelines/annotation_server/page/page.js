// The page of `recap annotate`: plays an episode, sends one key, and moves on only when the answer says it is on disk.
"use strict";

const $ = (id) => document.getElementById(id);
const OUTCOMES = { s: "success", f: "failure", a: "aborted" };
const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];

const films = new Map(); // episode id -> promise of {about, sheets}; the current and the next one
let state = null;
let film = null; // what is on the screen
let marks = []; // [[t, kind, text]] of the episode on the screen
let step = 0;
let playing = true;
let speed = 2; // place in SPEEDS
let busy = false; // an answer is on its way: keys wait for it
let seen = false; // the episode on the screen has shown at least one frame
let shownAt = 0;

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: it has ended, or the connection is lost. What was shown as saved is saved.");
  }
  const value = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(value.error), { status: reply.status });
  return value;
}

function picture(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("its film cannot be read; see `recap data verify`"));
    image.src = url;
  });
}

function load(id) {
  if (!films.has(id)) {
    const made = (async () => {
      const about = await ask(`api/episode/${id}`);
      const sheets = Array.from({ length: about.layout.sheets }, () => null);
      const fetchSheet = async (n) => { sheets[n] = await picture(`api/film/${id}/${n}.jpg`); };
      await fetchSheet(0);
      // The rest arrives while the first is played.
      const rest = (async () => { for (let n = 1; n < sheets.length; n++) await fetchSheet(n); })();
      rest.catch((error) => { if (film && film.about.id === id) say(error.message, "trouble"); });
      return { about, sheets };
    })();
    made.catch(() => films.delete(id));
    films.set(id, made);
  }
  return films.get(id);
}

function say(text, kind = "") {
  for (const place of [$("status"), $("endstatus")]) {
    place.textContent = text;
    place.className = kind && `is-${kind}`;
  }
}

function showProgress() {
  const done = state.labelled + state.skipped;
  $("count").textContent = `${state.current ? Math.min(done + 1, state.total) : done} of ${state.total}`;
  $("bar").max = state.total;
  $("bar").value = done;
  $("run").textContent = state.run ? `run ${state.run}${state.node ? ", " + state.node : ""}` : "all episodes";
  for (const button of document.querySelectorAll('[data-key="u"]')) button.disabled = !state.can_undo;
}

function showEnd() {
  film = null;
  $("sitting").hidden = true;
  $("end").hidden = false;
  $("ended").textContent = state.skipped ? "You have seen all episodes" : "All episodes are judged";
  const rows = [...Object.entries(state.outcomes), ["skipped, still without a label", state.skipped], ["key frames", state.key_frames]];
  $("totals").replaceChildren(...rows.map(([name, count]) => {
    const row = document.createElement("tr");
    row.append(...[name, count].map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
  $("next").textContent = state.next_command;
  $("endhelp").textContent = `Everything is saved. This page ends by itself after ${state.linger_s} s; U takes the last answer back.`;
}

async function show(id, draft) {
  showProgress();
  if (id === null) { showEnd(); return; }
  $("sitting").hidden = false;
  $("end").hidden = true;
  film = null;
  seen = false;
  marks = draft ? draft.key_frames : [];
  $("note").value = draft ? draft.note : "";
  $("facts").textContent = `${id.slice(0, 12)}, loading`;
  let loaded;
  try {
    loaded = await load(id);
  } catch (error) {
    film = { about: { id, length: 0 }, broken: true };
    const canvas = $("screen");
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    $("facts").textContent = `${id.slice(0, 12)}, not shown`;
    say(`This episode cannot be shown (${error.message}). N skips it.`, "trouble");
    return;
  }
  film = loaded;
  present(film.about);
  for (const known of films.keys()) if (known !== id && known !== state.next) films.delete(known);
  if (state.next && state.next !== id) load(state.next).catch(() => {}); // told when it is its turn
}

function present(about) {
  const { layout } = about;
  $("prompt").textContent = about.prompt ?? `Task ${about.task} (not installed here: its prompt is unknown)`;
  $("success").textContent = about.success ? `Success: ${about.success}` : "Its success definition is unknown here.";
  const who = { demo: "demonstration", rollout: "policy acted", correction: "policy acted, human took over" }[about.source];
  $("facts").textContent = `${about.task}, ${who}, ${about.id.slice(0, 12)}`;
  const canvas = $("screen");
  const wide = layout.widths.reduce((sum, width) => sum + width, 0);
  const enlarged = Math.max(1, Math.floor(1032 / wide));
  canvas.width = wide * enlarged;
  canvas.height = layout.height * enlarged;
  // Narrower rather than taller than the window, with the camera names above their pictures.
  $("stage").style.maxWidth = `calc(52vh * ${wide / layout.height})`;
  $("cameras").replaceChildren(...layout.cameras.map((name, i) => {
    const label = Object.assign(document.createElement("span"), { textContent: name });
    label.style.width = `${(100 * layout.widths[i]) / wide}%`;
    return label;
  }));
  $("spans").replaceChildren(...about.human.map(([begin, end]) => {
    const span = document.createElement("i");
    span.style.left = `${(100 * begin) / about.length}%`;
    span.style.width = `${(100 * (end - begin)) / about.length}%`;
    span.title = "a human acted";
    return span;
  }));
  $("legend").hidden = about.human.length === 0;
  $("seek").max = about.length - 1;
  step = 0;
  playing = true;
  shownAt = performance.now();
  draw();
}

function draw() {
  if (!film || film.broken) return;
  const { layout, length, rate_hz: rate } = film.about;
  const sheet = film.sheets[Math.floor(step / layout.per_sheet)];
  if (sheet) {
    const place = step % layout.per_sheet;
    const wide = layout.widths.reduce((sum, width) => sum + width, 0);
    const canvas = $("screen");
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, (place % layout.columns) * layout.pitch_x, Math.floor(place / layout.columns) * layout.pitch_y,
      wide, layout.height, 0, 0, canvas.width, canvas.height);
    seen = true;
  }
  $("seek").value = step;
  $("clock").textContent = `step ${step} of ${length - 1}, ${(step / rate).toFixed(1)} s of ${((length - 1) / rate).toFixed(1)} s`;
  $("speed").textContent = `${SPEEDS[speed]}x`;
  $("playing").textContent = playing ? "pause" : "play";
  $("marks").replaceChildren(...marks.map(([t, kind]) => {
    const mark = Object.assign(document.createElement("i"), { className: kind > 0 ? "milestone" : "error" });
    mark.style.left = `${(100 * t) / Math.max(1, length - 1)}%`;
    return mark;
  }));
}

function tick(now) {
  if (film && !film.broken && playing) {
    const period = 1000 / (film.about.rate_hz * SPEEDS[speed]);
    const due = Math.floor((now - shownAt) / period);
    if (due > 0) {
      shownAt += due * period;
      const wanted = Math.min(step + due, film.about.length - 1);
      // Waits for a sheet that is on its way rather than judging unseen steps.
      if (film.sheets[Math.floor(wanted / film.about.layout.per_sheet)]) step = wanted;
      if (step === film.about.length - 1) playing = false;
      draw();
    }
  }
  requestAnimationFrame(tick);
}

function go(to) {
  playing = false;
  step = Math.max(0, Math.min(film.about.length - 1, to));
  draw();
}

function toggle() {
  playing = !playing;
  if (playing && step === film.about.length - 1) step = 0;
  shownAt = performance.now();
  draw();
}

function mark(kind) {
  const at = marks.findIndex(([t, k]) => t === step && k === kind);
  const name = kind > 0 ? "milestone" : "error";
  if (at >= 0) marks.splice(at, 1);
  else marks.push([step, kind, ""]);
  say(`${name} at step ${step} ${at >= 0 ? "removed" : "marked"}: saved with your answer`);
  draw();
}

// Does one thing at the server, then shows what the server says is next.
async function act(path, body, told) {
  busy = true;
  say("saving ...");
  try {
    const reply = await ask(path, body);
    state = reply;
    const { undone } = reply;
    await show(undone ? undone.episode : state.current, undone);
    if (!film?.broken) say(...told(reply));
  } catch (error) {
    say(`NOT DONE: ${error.message}`, "trouble");
    if (error.status === 409) {
      // Another tab has gone on: follow it.
      state = await ask("api/state").catch(() => state);
      if (film && state.current !== film.about.id) await show(state.current);
    }
  } finally {
    busy = false;
  }
}

function press(key) {
  if (busy || !state) return;
  if (key === "u") {
    if (!state.can_undo) { say("nothing to undo in this sitting"); return; }
    act("api/undo", {}, ({ undone }) => [`taken back: ${undone.episode.slice(0, 12)}, judge it again`]);
    return;
  }
  if (!$("end").hidden) {
    if (key === "Enter") act("api/finish", {}, () => ["ended; this page can be closed"]);
    return;
  }
  if (!film) return;
  const { id } = film.about;
  if (key === "n") {
    act("api/skip", { episode: id }, () => [`skipped ${id.slice(0, 12)}: it stays without a label`]);
    return;
  }
  if (film.broken || !seen) return;
  if (key in OUTCOMES) {
    const outcome = OUTCOMES[key];
    act("api/label", { episode: id, outcome, key_frames: marks, note: $("note").value },
      () => [`${outcome.toUpperCase()} saved for ${id.slice(0, 12)}`, outcome]);
  } else if (key === " ") toggle();
  else if (key === "ArrowLeft") go(step - 1);
  else if (key === "ArrowRight") go(step + 1);
  else if (key === "ArrowUp" || key === "ArrowDown") {
    speed = Math.max(0, Math.min(SPEEDS.length - 1, speed + (key === "ArrowUp" ? 1 : -1)));
    draw();
  } else if (key === "k") mark(1);
  else if (key === "e") mark(-1);
  else if (key === "t") $("note").focus();
}

const STEPPING = ["ArrowLeft", "ArrowRight"];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("note")) {
    if (event.key === "Enter" || event.key === "Escape") { event.target.blur(); event.preventDefault(); }
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.target instanceof HTMLButtonElement && (key === " " || key === "Enter")) return; // presses the button
  const known = key in OUTCOMES || "unket ".includes(key) || key.startsWith("Arrow") || (key === "Enter" && !$("end").hidden);
  if (!known) return;
  event.preventDefault();
  // A key held down must not judge one episode after the other.
  if (event.repeat && !STEPPING.includes(key)) return;
  press(key);
});
for (const button of document.querySelectorAll("[data-key]")) {
  button.addEventListener("click", () => { button.blur(); press(button.dataset.key); });
}
$("seek").addEventListener("input", (event) => { if (film && !film.broken) go(Number(event.target.value)); });

(async () => {
  try {
    state = await ask("api/state");
    await show(state.current);
    if (film && !film.broken) say("Watch, then press S, F or A");
    requestAnimationFrame(tick);
  } catch (error) {
    say(error.message, "trouble");
  }
})();
